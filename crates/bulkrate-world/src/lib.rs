//! SHAKES the rest: the real core, engine and adapters under a simulated provider, disk and clock, all of one seed.
//!
//! Invariants
//! - One seed is one history: the same seed twice leaves the same trace (I18).
//! - What is checked is computed here from committed rows and from the provider's own bill; nothing is taken from the engine.
//! - A crash forgets all that was not committed, and everything that was under way goes on without the engine.
//!
//! The modules stand in the order in which they build on each other.

pub mod dice;
pub mod plan;
pub mod trace;
pub mod check;
mod bundle;
mod tongue;
pub mod remote;
pub mod hub;
mod torn;
mod backup;
mod disk;
mod view;
mod leaves;
mod line;
mod operator;
mod judge;
pub mod run;
pub mod hurry;

pub use check::Violation;
pub use hurry::Hurry;
pub use plan::Plan;
pub use run::{Lived, live, live_as};
