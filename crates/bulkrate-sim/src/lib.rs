//! Pretends to be OpenAI: files, batches, chat, responses, embeddings, moderations, with its limits, its failures and its bill.
//! Or Anthropic: messages and message batches, with theirs. Or Google: Gemini's `generateContent`, with theirs, or Vertex AI with its
//! tokens and its bucket. Or AWS: Bedrock's Converse and its jobs over S3, with theirs. Or the command `vllm run-batch`.
//!
//! Written from the wire reference alone. It shares no code with the client crates, so that a mistake on one side cannot hide
//! the same mistake on the other. Money is counted here a second time, from the same price list, with arithmetic of its own.
//!
//! ```no_run
//! # async fn demo() -> Result<(), bulkrate_sim::SimError> {
//! let sim = bulkrate_sim::Sim::start(bulkrate_sim::SimConfig::default()).await?;
//! println!("{}", sim.base_url()); // http://127.0.0.1:PORT/v1
//! # Ok(())
//! # }
//! ```

mod answers;
mod anthropic;
mod api;
mod batches;
mod bedrock;
mod bill;
mod catalogue;
pub mod cli;
mod clock;
mod config;
mod errors;
mod faults;
mod files;
mod gemini;
mod json;
mod like;
mod limits;
mod message_batches;
mod multipart;
mod pieces;
mod rng;
mod server;
mod shelf;
mod tokens;
mod uploads;
mod vertex;
pub mod vllm;
mod weak;

pub use config::{SimConfig, SimError, Speaks};
pub use faults::{FaultRule, fault_catalogue, fault_table, mixed_faults};
pub use server::{Sim, serve};
pub use weak::Weak;
