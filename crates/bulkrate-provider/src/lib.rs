//! SPEAKS to providers: translates requests, sends them, and says what an answer or its absence means.
//!
//! Invariants
//! - A paid call is sent once. No redirect is followed, nothing is repeated on doubt (`http::paid`).
//! - Free calls (files, polling, lists) are repeated inside (`http::free`).
//! - No key is ever printed: not in an error, not by `Debug`, not in a log.
//!
//! The modules stand in the order in which a caller meets them.

pub mod api;
mod settings;
pub mod registry;
pub mod http;
mod json;
mod job;
mod vector;
mod aws;
pub mod openai;
pub mod anthropic;
pub mod gemini;
pub mod bedrock;
pub mod vertex;
pub mod vllm;
pub mod conformance;
#[cfg(test)]
mod testing;

pub use api::{
    ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, CallError, Created, Exchange, Facts,
    Health, LimitHints, Lines, NOT_SENT, Provider, Reply, Unlisted, Unsupported, Wire, WireOptions,
};
pub use registry::{OpenError, Preset, by_settings, forget, names, open, presets, programs};
pub use settings::{
    ChatEndpoint, Deployed, ModelInvocationType, Program, ProxyFrom, RetryPolicy, Secret, Settings,
};
