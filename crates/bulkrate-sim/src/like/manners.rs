//! What a service does around OpenAI's calls in a shape of its own: where it is called, how it names things, what it answers.
//!
//! A call is put into OpenAI's words before it is carried out, and its answer into the service's after.

use crate::errors::ApiError;
use crate::faults::Place;
use crate::files::File;
use crate::server::{Reply, State};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

/// A call in OpenAI's words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entered {
    /// OpenAI's path; `None`: there is nothing there.
    pub(crate) path: Option<String>,
    /// The model, where the path named it.
    pub(crate) model: Option<String>,
    /// The version of the API, where the call named one.
    pub(crate) version: Option<String>,
    /// The query of a list, where the service's own says it otherwise; `offset`: so many are passed over.
    pub(crate) query: Option<HashMap<String, String>>,
    /// A call that OpenAI does not have.
    pub(crate) own: Option<Own>,
    /// It needs no key: its address is the permission.
    pub(crate) is_open: bool,
    /// It makes a batch.
    pub(crate) creates: bool,
    /// It is a POST in OpenAI's words, whatever the service calls it.
    pub(crate) is_post: bool,
}

/// A call that only this service has: where faults strike it, and under which name it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) place: Place,
    pub(crate) label: &'static str,
}

/// Such a call as it came.
#[derive(Debug)]
pub(crate) struct Call<'c> {
    pub(crate) method: &'c Method,
    pub(crate) path: &'c str,
    pub(crate) query: &'c HashMap<String, String>,
    pub(crate) headers: &'c HeaderMap,
    pub(crate) body: &'c Bytes,
}

/// Everything has OpenAI's way where nothing else is said.
pub(crate) trait Manners: Debug + Sync {
    fn enter(
        &self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
    ) -> Result<Entered, ApiError>;

    /// Answers a call of its own.
    fn serve(&self, state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
        let _ = state;
        Err(ApiError::not_found(format!("Unknown request URL: {} {}.", call.method, call.path)))
    }

    /// Whether its list of batches has no pages.
    fn lists_all(&self) -> bool {
        false
    }

    /// The key of a call; empty: none.
    fn key<'h>(&self, headers: &'h HeaderMap) -> &'h str {
        bearer(headers)
    }

    /// Whether a key is a token that holds; `None`: it is no token.
    fn holds(&self, state: &State, key: &str) -> Option<bool> {
        let _ = (state, key);
        None
    }

    /// Names deployments: a model is called by names of its owner's choice, and batches go to deployments of their own.
    fn deploys(&self) -> bool {
        false
    }

    /// A create that carries its requests, as one of a file that is made of them.
    fn stage(&self, state: &State, raw: &[u8], body: Value) -> Result<Value, ApiError> {
        let _ = (state, raw);
        Ok(body)
    }

    /// The body of a create. `id`: the caller chooses it.
    fn create(&self, body: Value, query: &HashMap<String, String>) -> Result<Value, ApiError> {
        let _ = query;
        Ok(body)
    }

    /// Whether lines of results hold an answer, or an error, and nothing around it.
    fn has_flat_lines(&self) -> bool {
        false
    }

    /// The file that a batch is made of.
    fn input(&self, file: Arc<File>, order: &Value) -> Arc<File> {
        let _ = order;
        file
    }

    /// Why no batch can be made of a file of this age, in virtual seconds.
    fn refuses_file(&self, id: &str, age_secs: u64) -> Option<ApiError> {
        let _ = (id, age_secs);
        None
    }

    /// Whether a batch ends with its window.
    fn expires(&self) -> bool {
        true
    }

    /// Whether a batch has a file of errors when there are none.
    fn writes_empty_files(&self) -> bool {
        false
    }

    /// One reason why a batch was refused as a whole.
    fn refusal(&self, refusal: Value) -> Value {
        refusal
    }

    /// An id of 32 hexadecimal digits, as the service writes it.
    fn batch_id(&self, hex: &str) -> String {
        format!("batch_{hex}")
    }

    /// A prompt that a filter keeps from the model; `None`: the model itself refuses.
    fn filtered(&self, key: u64) -> Option<ApiError> {
        let _ = key;
        None
    }

    /// Whether an answer that is refused was cut off by a filter.
    fn filters(&self) -> bool {
        false
    }

    /// What an answer to a chat has besides OpenAI's fields, or has not.
    fn answer(&self, answer: &mut Value) {
        answer.as_object_mut().map(|fields| fields.remove("service_tier"));
    }

    /// The body of an error.
    fn error(&self, status: u16, error: &Value) -> Option<Value> {
        let _ = (status, error);
        None
    }

    /// The answer to a call of its own.
    fn leave_own(&self, own: Own, reply: Reply) -> Reply {
        let _ = own;
        reply
    }

    /// The answer to a call that OpenAI has too.
    fn leave(&self, state: &State, entered: &Entered, reply: Reply) -> Reply {
        let _ = (state, entered);
        reply
    }
}

/// What a success says that is in one piece, and JSON.
pub(super) fn said(reply: &Reply) -> Option<Value> {
    let body = reply.whole().filter(|_| reply.status == 200)?;
    serde_json::from_slice(body).ok()
}

/// 32 hexadecimal digits, with the dashes of an UUID.
pub(super) fn guid(hex: &str) -> String {
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

pub(crate) fn bearer(headers: &HeaderMap) -> &str {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.strip_prefix("Bearer ").unwrap_or_default().trim()
}
