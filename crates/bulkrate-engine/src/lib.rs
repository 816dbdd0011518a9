//! ACTS. Carries items through the stages, recovers after a crash, reports what happens.
//!
//! The decisions are `bulkrate_core`'s; this crate reads, sends, waits and writes. One async thread owns the state of a
//! running job; one more thread writes the store.

// The nouns of the surface: what comes in, what goes out.
pub mod spec;
pub mod event;
pub mod plan;
pub mod report;
pub mod view;
pub mod decision;
mod error;
pub mod dollars;
pub mod settings;
pub mod ground;
pub mod made;
pub mod stop;
// The way of a job.
mod paths;
mod deployment;
mod strong;
mod prepare;
mod cache;
mod exact;
mod planning;
mod cascade_plan;
pub mod pilot;
mod embed;
mod run;
mod lane;
mod result_line;
mod deliver;
mod notify;
pub mod reader;
mod engine;

pub use engine::Engine;
pub use error::EngineError;
pub use reader::Reader;
pub use stop::Stop;
