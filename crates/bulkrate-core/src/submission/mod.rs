//! One paid batch create, from the plan to the last ledger entry.

mod doubt;
mod poll;
mod remote;

pub use doubt::{Doubt, DoubtStep, DoubtTimes};
pub use poll::PollPace;
pub use remote::{BatchCounts, BatchError, Marker, Phase, RemoteBatch};
