//! Whole runs against a simulated provider, with the figures that the pacing promises, and laws that hold always.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of a simulation"
)]

mod flight;
mod laws;
mod limits;
mod world;
