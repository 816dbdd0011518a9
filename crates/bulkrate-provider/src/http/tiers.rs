//! Paid calls of services where a header says which tier one runs in, so that the flex lane has connections of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::origin::Account;
use super::paid::calls;
use crate::api::{CallApi, CallError, Exchange, Lines, Reply};
use crate::registry::OpenError;
use crate::settings::Settings;

/// What stands after the path of a call in the flex lane; it is not sent.
pub(crate) const FLEX: &str = "#flex";

#[derive(Debug)]
pub(crate) struct TieredCalls {
    usual: Arc<dyn CallApi>,
    flex: Arc<dyn CallApi>,
}

impl TieredCalls {
    /// Over a line where one is given. `flex`: the headers that ask for the cheap tier.
    pub(crate) fn new(
        line: Option<&Arc<dyn Exchange>>,
        account: &Account,
        flex: &[(&'static str, &'static str)],
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let usual = calls(line, account.clone(), &[], settings)?;
        let flex = calls(line, account.clone().with_headers(flex), &[], settings)?;
        Ok(Self { usual, flex })
    }

    pub(crate) fn usual(&self) -> Arc<dyn CallApi> {
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
impl CallApi for TieredCalls {
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
