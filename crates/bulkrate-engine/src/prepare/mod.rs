//! Source -> sealed requests: reads every record, checks it, seals it, finds its equals. Nothing is spent here.
//!
//! One pass, constant memory but for the dedup index. The pass leaves `requests.jsonl`, the item records and a
//! checkpoint; a crash in the middle starts the pass again, as nothing was sent yet.

mod shape;
mod tokens;
mod runs;
mod ids;
mod order;
mod beginnings;
mod keys;
mod takes;
mod fetch;
mod reuse;
mod saved;
mod pass;
mod stats;
mod raw;
pub(crate) mod lists;

pub(crate) use beginnings::Share;
pub(crate) use order::Spot;
pub(crate) use pass::Pass;
pub(crate) use raw::{RAW_TAIL, RawLine};
pub(crate) use shape::Shape;
pub(crate) use stats::{Checkpoint, ModelStats, Stats, request_shape_of};
pub(crate) use takes::Refusal;
pub(crate) use tokens::{vocabulary, with_prompt};
