//! Writes a response.

use crate::api::text::Composed;
use crate::api::{Context, Prepared};
use crate::json::{push_str, push_u64};
use crate::rng::push_base62;
use crate::tokens::Usage;

pub(super) fn response(
    out: &mut Vec<u8>,
    prepared: &Prepared<'_>,
    tool: Option<&str>,
    answer: &Composed,
    context: &Context<'_>,
) {
    let called = tool.filter(|_| !answer.cut && !answer.refused);
    out.extend_from_slice(b"{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[");
    if answer.usage.reasoning > 0 && !answer.refused {
        out.extend_from_slice(
            b"{\"reasoningContent\":{\"reasoningText\":{\"text\":\"Let me see.\",\"signature\":\"",
        );
        push_base62(out, context.key ^ 0x51, 24);
        out.extend_from_slice(b"\"}}},");
    }
    match called {
        Some(name) => tool_use(out, name, answer, context.key),
        None => {
            out.extend_from_slice(b"{\"text\":");
            push_str(out, &answer.text);
            out.push(b'}');
        }
    }
    let reason = match (answer.refused, answer.cut, called) {
        (true, ..) => "content_filtered",
        (_, true, _) => "max_tokens",
        (.., Some(_)) => "tool_use",
        _ => "end_turn",
    };
    out.extend_from_slice(format!("]}}}},\"stopReason\":\"{reason}\"").as_bytes());
    let usage = answer.usage;
    context.twist.push_usage(out, "usage", |out| {
        out.extend_from_slice(b"{\"inputTokens\":");
        context.twist.push_tokens(out, usage.fresh());
        for (name, value) in [("outputTokens", usage.output), ("totalTokens", usage.prompt + usage.output)] {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            push_u64(out, value);
        }
        cached(out, usage);
        out.push(b'}');
    });
    out.extend_from_slice(b",\"metrics\":{\"latencyMs\":");
    push_u64(out, 100 + context.key % 900);
    out.push(b'}');
    if prepared.tier() == "flex" {
        out.extend_from_slice(b",\"serviceTier\":{\"type\":\"flex\"}");
    }
    out.push(b'}');
}

/// What was read and written, where anything was.
fn cached(out: &mut Vec<u8>, usage: Usage) {
    let written = [("1h", usage.written_1h), ("5m", usage.written_5m)];
    let all = usage.written_1h + usage.written_5m;
    if usage.cached + all == 0 {
        return;
    }
    let (read, details) = (usage.cached, written.into_iter().filter(|(_, tokens)| *tokens > 0));
    let details: Vec<String> =
        details.map(|(ttl, tokens)| format!("{{\"ttl\":\"{ttl}\",\"inputTokens\":{tokens}}}")).collect();
    let said = format!(
        ",\"cacheReadInputTokens\":{read},\"cacheWriteInputTokens\":{all},\"cacheDetails\":[{}]",
        details.join(",")
    );
    out.extend_from_slice(said.as_bytes());
}

fn tool_use(out: &mut Vec<u8>, name: &str, answer: &Composed, key: u64) {
    out.extend_from_slice(b"{\"toolUse\":{\"toolUseId\":\"tooluse_");
    push_base62(out, key, 22);
    out.extend_from_slice(b"\",\"name\":");
    push_str(out, name);
    out.extend_from_slice(b",\"input\":");
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&answer.text).is_ok();
    out.extend_from_slice(if is_object { answer.text.as_bytes() } else { b"{}" });
    out.extend_from_slice(b"}}");
}
