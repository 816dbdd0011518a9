//! The binary as people use it, against its own simulator: whole jobs, both lanes, and every bad input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;
mod basics;
mod batch_lane;
mod batch_verbs;
mod cost_model;
mod cost_table;
mod jobs;
mod mixed;
mod killed;
mod review;
mod route;
mod route_several;
mod savings;
mod order;
mod pilot;
mod pilot_bundles;
mod pilot_edges;
mod pilot_real;
mod pilot_savings;
mod filter;
mod cascade;
mod cascade_edges;
mod crash;
mod decisions;
mod doubt;
mod faults;
#[cfg(target_os = "linux")]
mod local_faults;
mod anthropic;
mod anthropic_batch;
mod prompt_cache;
mod gemini;
mod gemini_batch;
mod hedge;
mod azure;
mod bedrock;
mod bedrock_batch;
mod bad_accounts;
mod bad_input;
mod bad_provider;
mod clock;
mod words;
mod security;
mod semantic;
mod semantic_embed;
mod services;
mod stops;
mod accounts;
mod images;
mod input_batches;
mod vertex;
mod vertex_batch;
mod vertex_tables;
mod vllm;
