//! Services that are nearly OpenAI: where they stand, what they refuse, and how their answers differ.
//!
//! A call for such a service is first checked by its own rules and put into OpenAI's words, then answered as OpenAI would, and the answer is
//! put back into the service's. What is simulated is what tells the services apart, not their models.

mod azure;
pub(crate) mod blobs;
mod dress;
mod entra;
mod fireworks;
mod manners;
mod mistral;
mod openrouter;
mod splice;
mod table;
mod together;
mod xai;

use serde_json::{Map, Value};

use crate::errors::ApiError;
pub(crate) use manners::{Call, Entered, Manners, Own, bearer};
pub(crate) use splice::Splice;

/// One service. Written from its documentation, and not from any client's idea of it.
#[derive(Debug)]
pub(crate) struct Like {
    pub(crate) name: &'static str,
    /// Path of the API: `/openai/v1`.
    pub(crate) base: &'static str,
    pub(crate) sells: Sells,
    pub(crate) batches: bool,
    /// Whether a call needs a key.
    needs_key: bool,
    /// Fields of a chat that it takes besides OpenAI's, or instead of them.
    own: &'static [&'static str],
    /// OpenAI's fields that it refuses by name.
    refuses: &'static [&'static str],
    /// Whether fields that it does not know are passed over in silence.
    ignores_unknown: bool,
    /// Its field and OpenAI's for the same.
    renames: &'static [(&'static str, &'static str)],
    /// Values of `response_format.type` that it takes.
    formats: &'static [&'static str],
    kinds: &'static [&'static str],
    pub(crate) charges: Charges,
    /// The header in which it says who answered, and who did: it chooses itself.
    served: Option<(&'static str, &'static str)>,
    usage: UsageShape,
    errors: ErrorShape,
    /// Written before the answer while the caller waits.
    keep_alive: &'static str,
    /// What it does in a shape of its own.
    pub(crate) manners: Option<&'static dyn Manners>,
}

/// Which rows of the price list it sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sells {
    /// Those of one provider, by their own names.
    Of(&'static str),
    /// Those of every provider, as `provider/model`.
    Routed,
    /// These, at this price per million tokens of either kind, in whole dollars; the price list knows none of them.
    Named(&'static [&'static str], u64),
}

/// Where it says what a call cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charges {
    Nowhere,
    Header(&'static str),
    /// In `usage.cost`, when the caller asked with `usage.include`.
    Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UsageShape {
    OpenAi,
    /// No details at all.
    Bare,
    /// `prompt_cache_hit_tokens` and `prompt_cache_miss_tokens`.
    HitAndMiss,
    /// `reasoning_tokens` beside the sums, and no details of the prompt.
    FlatReasoning,
    /// OpenAI's, but `completion_tokens` leave reasoning out; the total has it.
    ReasoningBeside,
    /// OpenAI's, and times besides.
    Timed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorShape {
    OpenAi,
    /// `code` is the HTTP status.
    NumberedCode,
    /// `{"object":"error","message":...}`, without an outer `error`.
    Flat,
}

impl Like {
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        table::ALL.iter().find(|like| like.name == name)
    }

    pub(crate) fn names() -> Vec<&'static str> {
        table::ALL.iter().map(|like| like.name).collect()
    }

    /// The path as OpenAI would have it; `None`: there is nothing there.
    pub(crate) fn path(&self, path: &str) -> Option<String> {
        if path.starts_with("/sim/") {
            return Some(path.to_owned());
        }
        let rest = path.strip_prefix(self.base)?;
        let part = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
        let there = match part {
            "files" | "batches" => self.batches,
            "chat" | "models" => true,
            other => self.kinds.contains(&other),
        };
        there.then(|| format!("/v1{rest}"))
    }

    pub(crate) fn answers_without_key(&self) -> bool {
        !self.needs_key
    }

    /// A chat's body in OpenAI's words.
    pub(crate) fn chat(&self, body: &[u8]) -> Result<Vec<u8>, ApiError> {
        let mut fields: Map<String, Value> = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            _ => return Ok(body.to_vec()), // refused as OpenAI refuses it
        };
        let names: Vec<String> = fields.keys().cloned().collect();
        for name in &names {
            if self.refuses.contains(&name.as_str()) {
                return Err(refused(name));
            }
            if let Some((_, theirs)) = self.renames.iter().find(|(own, _)| own == name) {
                let value = fields.remove(name).unwrap_or_default();
                fields.insert((*theirs).to_owned(), value);
            } else if self.own.contains(&name.as_str()) {
                fields.remove(name);
            } else if !table::OPENAI_CHAT.contains(&name.as_str()) {
                if !self.ignores_unknown {
                    return Err(refused(name));
                }
                fields.remove(name);
            }
        }
        if let Some(kind) = fields.get("response_format").and_then(|format| format["type"].as_str())
            && !self.formats.contains(&kind)
        {
            let message = format!("This response_format type is unavailable now: {kind}");
            return Err(ApiError::invalid(None, "response_format", message));
        }
        Ok(serde_json::to_vec(&fields).unwrap_or_default())
    }
}

fn refused(name: &str) -> ApiError {
    ApiError::new(422, "invalid_request_error", None, format!("property '{name}' is unsupported"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn translated(service: &str, body: &str) -> Result<Value, u16> {
        let like = Like::find(service).unwrap();
        like.chat(body.as_bytes())
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
            .map_err(|error| error.status)
    }

    #[test]
    fn requests_come_out_in_openais_words_or_are_refused() {
        for (service, body, want) in [
            ("mistral", r#"{"model":"m","random_seed":7}"#, Ok(r#"{"model":"m","seed":7}"#)),
            ("mistral", r#"{"seed":7}"#, Err(422)),
            ("mistral", r#"{"top_k":7}"#, Err(422)),
            ("groq", r#"{"top_k":7}"#, Err(422)),
            ("together", r#"{"top_k":7,"seed":1}"#, Ok(r#"{"seed":1}"#)),
            ("openrouter", r#"{"usage":{"include":true},"model":"m"}"#, Ok(r#"{"model":"m"}"#)),
            ("deepseek", r#"{"response_format":{"type":"json_schema"}}"#, Err(400)),
            (
                "deepseek",
                r#"{"response_format":{"type":"json_object"}}"#,
                Ok(r#"{"response_format":{"type":"json_object"}}"#),
            ),
            ("vllm", r#"{"guided_json":{},"model":"m"}"#, Ok(r#"{"model":"m"}"#)),
        ] {
            let want = want.map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(translated(service, body), want, "{service} {body}");
        }
    }

    #[test]
    fn paths_begin_where_the_service_stands() {
        for (service, path, want) in [
            ("groq", "/openai/v1/chat/completions", Some("/v1/chat/completions")),
            ("groq", "/v1/chat/completions", None),
            ("groq", "/openai/v1/batches", Some("/v1/batches")),
            ("groq", "/openai/v1/embeddings", None),
            ("mistral", "/v1/embeddings", Some("/v1/embeddings")),
            ("openrouter", "/sim/bill", Some("/sim/bill")),
        ] {
            assert_eq!(Like::find(service).unwrap().path(path).as_deref(), want, "{service} {path}");
        }
    }

    #[test]
    fn a_service_that_nobody_knows_is_named() {
        let config = crate::SimConfig { like: Some("nobody".to_owned()), ..crate::SimConfig::default() };
        let error = crate::server::State::new(config).unwrap_err().to_string();
        assert!(error.contains("`nobody`") && error.contains("groq"), "{error}");
    }
}
