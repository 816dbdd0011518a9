//! OpenAI's answers in the words of a service that is nearly OpenAI.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Charges, ErrorShape, Like, UsageShape, xai};
use crate::bill::usd;
use crate::server::Reply;

impl Like {
    /// An answer to a chat that was carried out; `nanos` is what it cost.
    pub(crate) fn answered(&self, asked: &[u8], reply: Reply, nanos: u64) -> Reply {
        let (Some(body), 200) = (reply.whole(), reply.status) else { return reply };
        let Ok(mut answer) = serde_json::from_slice::<Value>(body) else { return reply };
        match self.manners {
            Some(manners) => manners.answer(&mut answer),
            None => {
                answer.as_object_mut().map(|fields| fields.remove("service_tier"));
            }
        }
        if let Some(usage) = answer.get_mut("usage").filter(|usage| usage.is_object()) {
            self.reshape(usage);
            let wants_cost = serde_json::from_slice::<Value>(asked)
                .is_ok_and(|asked| asked["usage"]["include"] == Value::Bool(true));
            if self.charges == Charges::Body
                && wants_cost
                && let Some(cost) = serde_json::Number::from_f64(cost_usd(nanos))
            {
                usage["cost"] = Value::Number(cost);
            }
        }
        let mut bytes = self.keep_alive.as_bytes().to_vec();
        bytes.extend_from_slice(&serde_json::to_vec(&answer).unwrap_or_default());
        let mut reply = reply.with_body(Bytes::from(bytes));
        if let Charges::Header(name) = self.charges {
            reply.header(name, &usd(nanos));
        }
        if let Some((name, model)) = self.served {
            reply.header(name, model);
        }
        reply
    }

    fn reshape(&self, usage: &mut Value) {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let prompt = number(&usage["prompt_tokens"]);
        let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]);
        let reasoning = number(&usage["completion_tokens_details"]["reasoning_tokens"]);
        let Some(fields) = usage.as_object_mut() else { return };
        match self.usage {
            UsageShape::OpenAi => {}
            UsageShape::Timed => {
                fields.insert("queue_time".to_owned(), json!(0.0125));
                fields.insert("total_time".to_owned(), json!(0.25));
            }
            UsageShape::Bare => {
                fields.remove("prompt_tokens_details");
                fields.remove("completion_tokens_details");
            }
            UsageShape::HitAndMiss => {
                fields.remove("prompt_tokens_details");
                fields.insert("prompt_cache_hit_tokens".to_owned(), json!(cached));
                fields.insert("prompt_cache_miss_tokens".to_owned(), json!(prompt - cached.min(prompt)));
            }
            UsageShape::ReasoningBeside => xai::set_reasoning_beside(fields),
            UsageShape::FlatReasoning => {
                fields.insert("prompt_tokens_details".to_owned(), Value::Null);
                fields.remove("completion_tokens_details");
                fields.insert("reasoning_tokens".to_owned(), json!(reasoning));
            }
        }
    }

    /// An error in the service's shape.
    pub(crate) fn error(&self, reply: Reply) -> Reply {
        // A server of tokens has words of its own.
        let Some(error) = reply.said_error().filter(Value::is_object) else { return reply };
        if let Some(own) = self.manners.and_then(|manners| manners.error(reply.status, &error)) {
            return reply.with_body(serde_json::to_vec(&own).unwrap_or_default().into());
        }
        let (message, kind, param) = (&error["message"], &error["type"], &error["param"]);
        let shaped = match self.errors {
            ErrorShape::OpenAi => return reply,
            // vLLM says it with a bare text.
            ErrorShape::NumberedCode if reply.status == 401 && !self.needs_key => {
                json!({"error": "Unauthorized"})
            }
            ErrorShape::NumberedCode => {
                json!({"error": {"message": message, "type": kind, "param": param, "code": reply.status}})
            }
            ErrorShape::Flat => {
                json!({"object": "error", "message": message, "type": kind, "param": param, "code": reply.status.to_string()})
            }
        };
        let bytes = Bytes::from(serde_json::to_vec(&shaped).unwrap_or_default());
        reply.with_body(bytes)
    }
}

/// A service writes a number of JSON; the bill itself is kept in whole nano-dollars.
#[allow(clippy::cast_precision_loss, reason = "the one place where a service's own float is pretended")]
fn cost_usd(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
