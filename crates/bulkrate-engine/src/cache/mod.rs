//! The response cache: good answers of finished jobs, found by request key.
//!
//! A finished job leaves one immutable file, `cache/<job>.keys`: its keys in order, and where each answer lies in the job's
//! result files. A job that is prepared looks its leaders up chunk by chunk, newest job first; nothing is inserted while a
//! job runs, and where there is no file nothing is done.
//!
//! Invariants
//! - Only good answers are in a file; a hit is confirmed on the full key.
//! - An answer counts only while the snapshot that gave it is the newest seen for its model.
//! - What cannot be read is a miss with a note, never an error.

mod file;
mod build;
mod keep;
mod probe;
mod served;

pub(crate) use keep::{Answers, keep, snapshot_key};
pub(crate) use probe::{Asked, Cache, Hit};
pub(crate) use served::Served;
