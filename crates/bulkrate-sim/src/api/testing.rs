//! A server without a network, for the tests of what calls take, refuse and answer.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Context, Endpoint, Schemas, Twist, prepare, prompt_cache};
use crate::catalogue::Catalogue;
use crate::config::SimConfig;
use crate::like::Sells;
use crate::tokens::Usage;
use serde_json::Value;

pub(super) struct Server {
    pub(super) models: Catalogue,
    pub(super) config: SimConfig,
    schemas: Schemas,
    cache: prompt_cache::PromptCache,
    /// Makes the ids, and decides between forms of a fault.
    pub(super) key: u64,
    pub(super) wait: std::time::Duration,
}

impl Server {
    pub(super) fn of(provider: &'static str) -> Self {
        Self {
            models: Catalogue::load(None, "2026-11-21", false, Sells::Of(provider)).unwrap(),
            config: SimConfig::default(),
            schemas: Schemas::default(),
            cache: prompt_cache::PromptCache::default(),
            key: 7,
            wait: std::time::Duration::ZERO,
        }
    }

    pub(super) fn ask(
        &self,
        (endpoint, named): (Endpoint, Option<&str>),
        body: &str,
        twist: Twist,
    ) -> Result<(Value, Usage), String> {
        let context = Context {
            filters: false,
            config: &self.config,
            schemas: &self.schemas,
            prompt_cache: &self.cache,
            key: self.key,
            at_ms: 0,
            twist,
            wait: self.wait,
        };
        let mut out = Vec::new();
        let answered = prepare(&self.models, endpoint, named, body.as_bytes(), false)
            .and_then(|prepared| prepared.answer(&context, &mut out));
        let usage = answered.map_err(|error| format!("{} {}", error.status, error.message))?;
        Ok((serde_json::from_slice(&out).unwrap(), usage))
    }
}
