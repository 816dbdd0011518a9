//! Whether what answers at an address is an API at all: one free call.

use bulkrate_core::failure::FailureClass;
use http::Method;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::free::FreeClient;
use super::limits;
use crate::api::{ApiError, Health, Reply};

const WHAT: &str = "list models";
/// Statuses of a server that has no list of models.
const WITHOUT_LIST: &[u16] = &[404, 405];

/// Ids that are kept of a list.
const NAMES_MAX: usize = 5_000;

#[derive(Deserialize)]
struct Models<'a> {
    #[serde(borrow, alias = "models")]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl Models<'_> {
    fn names(&self) -> Vec<String> {
        let named = self.data.iter().take(NAMES_MAX).map(|one| serde_json::from_str::<Named>(one.get()));
        named.filter_map(|one| Some(one.ok()?.id)).collect()
    }
}

impl Health {
    /// What any answer tells besides what was asked; nothing of batches.
    pub(crate) fn said_by(reply: &Reply, models: Option<u64>) -> Self {
        let clock_skew_s = limits::clock_skew_s(&reply.headers);
        Self { models, names: Vec::new(), batches: false, clock_skew_s, limits: reply.limit_hints() }
    }
}

impl FreeClient {
    /// Asks for the models at `path`. A server without such a list says so in JSON, and is healthy if `may_lack_list`; a site answers a
    /// page, and `usual_base` says what a base URL looks like. Nothing is found out of batches.
    pub(crate) async fn list_models(
        &self,
        path: &str,
        may_lack_list: bool,
        usual_base: &str,
    ) -> Result<Health, ApiError> {
        let reply = self.send(WHAT, Method::GET, path, WITHOUT_LIST).await?;
        let listed = serde_json::from_slice::<Models<'_>>(&reply.body).ok();
        let names = listed.as_ref().map(Models::names).unwrap_or_default();
        let models = listed.map(|models| models.data.len() as u64);
        if models.is_none() && !says_json(&reply) {
            let what = if is_html(&reply) { "HTML" } else { "something that is no JSON" };
            let why = format!("the base URL answers {what}, not the API; {usual_base}");
            return Err(self.error(WHAT, Some(reply.status), FailureClass::Transient, &why));
        }
        let reply = self.accept(WHAT, reply, if may_lack_list { WITHOUT_LIST } else { &[] })?;
        Ok(Health { names, ..Health::said_by(&reply, models) })
    }
}

/// An empty answer to a path that is not there is one too.
fn says_json(reply: &Reply) -> bool {
    let body = reply.body.trim_ascii();
    body.is_empty() && reply.status >= 400 || serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn is_html(reply: &Reply) -> bool {
    let kind = reply.header(CONTENT_TYPE.as_str());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"))
        || reply.body.trim_ascii_start().starts_with(b"<")
}
