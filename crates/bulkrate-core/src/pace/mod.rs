//! When the next paid call may go: rate limits, calls in flight, deadlines.
//!
//! Invariants
//! - Pure: times are microseconds of a monotonic clock and come in as arguments; randomness comes in as a number.
//! - A call is never refused for good here: `Admit::At` names a time, and asking again at that time makes progress.
//! - The order is: `Concurrency::limit` first (is there a free place?), then `Pacer::admit` (may it go now?).
//!
//! Acted on by `bulkrate_engine::lane::sync`.

mod adapt;
mod charge;
mod climb;
mod clock;
mod concurrency;
mod curve;
mod deadline;
mod leave;
mod pacer;
pub mod rng;
mod tail;
#[cfg(test)]
mod tests;

pub use concurrency::{Concurrency, Signal};
pub use curve::{BatchCurve, BatchTime, batch_curve};
pub use deadline::{DAY_US, LaneChoice, LanePrices, Priority, cancel_us, choose_lane, switch_at};
pub use leave::{Leave, Nearing, leave};
pub use pacer::{Admit, Hints, Limits, Pacer, RefusalKind};
pub use tail::{HedgeRule, Tail, bears_copy, would_repeat};

/// One second on every clock of this module.
const SECOND_US: f64 = 1e6;

/// A time difference in microseconds as a float; exact below 285 years.
#[allow(clippy::cast_precision_loss, reason = "exact below 2^53, which is 285 years of microseconds")]
fn float(value: u64) -> f64 {
    value as f64
}

/// The smallest whole number not below `value`; negative and NaN become 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer casts saturate")]
fn whole_up(value: f64) -> u64 {
    value.ceil() as u64
}
