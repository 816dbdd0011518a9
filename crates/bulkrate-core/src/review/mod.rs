//! Are the answers right? A sample for a reviewer, what its verdicts prove, and when an error rate stops a job.
//!
//! Invariants
//! - Pure: whether an item is in the sample depends on the job and the item's number alone, so nothing is remembered of it.
//! - A larger share only adds items to the sample: verdicts that were given stay verdicts on the sample.
//! - A job is stopped only on evidence that chance hardly ever makes: see [`proves`] and [`wilson`].
//!
//! Acted on by `bulkrate_engine`: `deliver::review` draws, `reader::review` reads verdicts, `run::review` stops.

mod sample;
mod interval;
mod stop;
#[cfg(test)]
mod tests;

pub use interval::{Interval, Z95, wilson};
pub use sample::Sample;
pub use stop::{FlawMeter, lowers, proves};
