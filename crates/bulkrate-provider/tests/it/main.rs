//! Behaviour of the crate against servers of its own, and against the simulator.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod anthropic;
mod azure;
mod batches;
mod bedrock;
mod conformance;
mod free;
mod gemini;
mod input_known;
mod lines;
mod mistral;
mod paid;
mod presets;
mod server;
mod sets;
mod tls;
mod unreached;
mod vertex;
mod vertex_tables;
