//! One paid batch create, from the plan to the last ledger entry.

mod remote;
mod state;
mod classify;
mod poll;
mod doubt;
mod known;
mod find;
pub mod refusal;
mod message;
mod machine;
#[cfg(test)]
mod tests;

pub use classify::{Observed, Proof, classify};
pub use doubt::{Doubt, DoubtStep, DoubtTimes};
pub use find::{Found, LATE_MS, Ours, Stray, is_in_time, sweep};
pub use known::KnownBy;
pub use machine::{ASKED_MAX_MS, DENIALS_MAX, Machine, created_since_s, step};
pub use message::{Creation, Effect, Env, Event, Notice, Poll};
pub use poll::PollPace;
pub use remote::{BatchCounts, BatchError, Marker, Owner, Phase, RemoteBatch};
pub use state::{EndKind, State, Unresolved};
