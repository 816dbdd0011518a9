//! Writes a response. Zeros and empty things are left out, as protocol buffers do.

use crate::api::text::Composed;
use crate::api::{Context, Prepared, Twist};
use crate::json::{push_str, push_u64};
use crate::rng::push_base62;

pub(super) fn response(
    out: &mut Vec<u8>,
    prepared: &Prepared<'_>,
    function: Option<&str>,
    answer: &Composed,
    blocked: bool,
    context: &Context<'_>,
) {
    if blocked {
        out.extend_from_slice(b"{\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\"}");
    } else {
        candidate(out, function, answer, context.key);
    }
    context.twist.push_usage(out, "usageMetadata", |out| usage(out, answer, context.twist));
    out.extend_from_slice(b",\"modelVersion\":");
    push_str(out, &prepared.served);
    out.extend_from_slice(b",\"responseId\":\"");
    push_base62(out, context.key, 22);
    out.extend_from_slice(b"\"}");
}

fn candidate(out: &mut Vec<u8>, function: Option<&str>, answer: &Composed, key: u64) {
    out.extend_from_slice(b"{\"candidates\":[{");
    // All that was allowed may have been thought; and what was stopped is not shown.
    if !answer.refused && !answer.text.is_empty() {
        out.extend_from_slice(b"\"content\":{\"parts\":[{");
        part(out, function.filter(|_| !answer.cut), answer);
        if answer.usage.reasoning > 0 {
            out.extend_from_slice(b",\"thoughtSignature\":\"");
            push_base62(out, key ^ 0x51, 24);
            out.push(b'"');
        }
        out.extend_from_slice(b"}],\"role\":\"model\"},");
    }
    let reason = match (answer.refused, answer.cut) {
        (true, _) => "SAFETY",
        (false, true) => "MAX_TOKENS",
        (false, false) => "STOP",
    };
    out.extend_from_slice(format!("\"finishReason\":\"{reason}\",\"index\":0}}]").as_bytes());
}

fn part(out: &mut Vec<u8>, function: Option<&str>, answer: &Composed) {
    let Some(name) = function else {
        out.extend_from_slice(b"\"text\":");
        push_str(out, &answer.text);
        return;
    };
    out.extend_from_slice(b"\"functionCall\":{\"name\":");
    push_str(out, name);
    out.extend_from_slice(b",\"args\":");
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&answer.text).is_ok();
    out.extend_from_slice(if is_object { answer.text.as_bytes() } else { b"{}" });
    out.push(b'}');
}

fn usage(out: &mut Vec<u8>, answer: &Composed, twist: Twist) {
    let usage = answer.usage;
    out.extend_from_slice(b"{\"promptTokenCount\":");
    twist.push_tokens(out, usage.prompt);
    for (name, value) in [
        ("cachedContentTokenCount", usage.cached),
        ("candidatesTokenCount", usage.output - usage.reasoning),
        ("thoughtsTokenCount", usage.reasoning),
        ("totalTokenCount", usage.prompt + usage.output),
    ] {
        if value > 0 {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            push_u64(out, value);
        }
    }
    out.extend_from_slice(b",\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":");
    push_u64(out, usage.prompt);
    out.extend_from_slice(b"}]}");
}
