//! Paid calls. Which tier one runs in is said in headers, so that the flex lane has connections of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::wire::FLEX;
use crate::api::{CallApi, CallError, Exchange, Lines, Reply};
use crate::http::Account;
use crate::http::paid::calls;
use crate::registry::OpenError;
use crate::settings::Settings;

/// What throughput was bought goes unused, and the shared one is used by its cheap tier.
const FLEX_HEADERS: [(&str, &str); 2] =
    [("x-vertex-ai-llm-request-type", "shared"), ("x-vertex-ai-llm-shared-request-type", "flex")];

#[derive(Debug)]
pub(super) struct VertexCalls {
    usual: Arc<dyn CallApi>,
    flex: Arc<dyn CallApi>,
}

impl VertexCalls {
    /// Over a line where one is given.
    pub(super) fn new(
        line: Option<&Arc<dyn Exchange>>,
        account: &Account,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let usual = calls(line, account.clone(), &[], settings)?;
        let flex = calls(line, account.clone().with_headers(&FLEX_HEADERS), &[], settings)?;
        Ok(Self { usual, flex })
    }

    pub(super) fn usual(&self) -> Arc<dyn CallApi> {
        Arc::clone(&self.usual)
    }

    fn of<'p>(&self, path: &'p str) -> (&dyn CallApi, &'p str) {
        match path.strip_suffix(FLEX) {
            Some(path) => (&*self.flex, path),
            None => (&*self.usual, path),
        }
    }
}

#[async_trait]
impl CallApi for VertexCalls {
    async fn call_watched(
        &self,
        path: &str,
        body: Bytes,
        timeout: Duration,
        left: &AtomicBool,
    ) -> Result<Reply, CallError> {
        let (client, path) = self.of(path);
        client.call_watched(path, body, timeout, left).await
    }

    async fn call_lines(&self, path: &str, lines: Lines<'_>, timeout: Duration) -> Result<Reply, CallError> {
        let (client, path) = self.of(path);
        client.call_lines(path, lines, timeout).await
    }

    async fn rest(&self) {
        self.usual.rest().await;
        self.flex.rest().await;
    }
}
