//! Writes a message.

use super::Call;
use super::rules::own_name;
use crate::api::text::Composed;
use crate::api::{Context, Prepared, Twist};
use crate::catalogue::Lane;
use crate::json::{push_str, push_u64};
use crate::rng::push_base62;

pub(super) fn message(
    out: &mut Vec<u8>,
    prepared: &Prepared<'_>,
    call: &Call<'_>,
    answer: &Composed,
    context: &Context<'_>,
) {
    out.extend_from_slice(if call.hosted { &b"{\"id\":\"msg_bdrk_01"[..] } else { b"{\"id\":\"msg_01" });
    push_base62(out, context.key, 22);
    out.extend_from_slice(b"\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    push_str(out, own_name(&prepared.served));
    out.extend_from_slice(b",\"content\":[");
    let tool = call.tool.as_deref().filter(|_| !answer.cut && !answer.refused);
    content(out, tool, answer, context.key);
    let reason = match (answer.refused, answer.cut, tool) {
        (true, ..) => "refusal",
        (false, true, _) => "max_tokens",
        (false, false, Some(_)) => "tool_use",
        (false, false, None) => "end_turn",
    };
    out.extend_from_slice(b"],\"stop_reason\":\"");
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\",\"stop_sequence\":null,\"stop_details\":");
    if answer.refused {
        out.extend_from_slice(b"{\"type\":\"refusal\",\"category\":null,\"explanation\":");
        push_str(out, &answer.text);
        out.push(b'}');
    } else {
        out.extend_from_slice(b"null");
    }
    if !call.hosted {
        out.extend_from_slice(b",\"container\":null");
    }
    let tier = match prepared.lane {
        _ if call.hosted => None,
        Lane::Batch => Some("batch"),
        _ => Some("standard"),
    };
    context.twist.push_usage(out, "usage", |out| usage(out, answer, tier, context.twist));
    out.push(b'}');
}

fn content(out: &mut Vec<u8>, tool: Option<&str>, answer: &Composed, key: u64) {
    let thought = answer.usage.reasoning > 0;
    if thought {
        out.extend_from_slice(b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"");
        push_base62(out, key ^ 0x51, 24);
        out.extend_from_slice(b"\"}");
    }
    if answer.refused || answer.text.is_empty() {
        return;
    }
    if thought {
        out.push(b',');
    }
    let Some(name) = tool else {
        out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
        push_str(out, &answer.text);
        out.extend_from_slice(b",\"citations\":null}");
        return;
    };
    out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":\"toolu_01");
    push_base62(out, key ^ 0x70, 22);
    out.extend_from_slice(b"\",\"name\":");
    push_str(out, name);
    out.extend_from_slice(b",\"input\":");
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&answer.text).is_ok();
    out.extend_from_slice(if is_object { answer.text.as_bytes() } else { b"{}" });
    out.push(b'}');
}

/// `tier`: as the models' own maker tells it, with what else only he tells.
fn usage(out: &mut Vec<u8>, answer: &Composed, tier: Option<&str>, twist: Twist) {
    let usage = answer.usage;
    let mut field = |name: &str, value: u64| {
        out.extend_from_slice(name.as_bytes());
        push_u64(out, value);
    };
    field("{\"cache_creation_input_tokens\":", usage.written_5m + usage.written_1h);
    field(",\"cache_read_input_tokens\":", usage.cached);
    field(",\"cache_creation\":{\"ephemeral_5m_input_tokens\":", usage.written_5m);
    field(",\"ephemeral_1h_input_tokens\":", usage.written_1h);
    field("},\"output_tokens\":", usage.output);
    field(",\"output_tokens_details\":{\"thinking_tokens\":", usage.reasoning);
    out.extend_from_slice(b"},\"input_tokens\":");
    twist.push_tokens(out, usage.fresh());
    if let Some(tier) = tier {
        out.extend_from_slice(b",\"server_tool_use\":null,\"service_tier\":\"");
        out.extend_from_slice(tier.as_bytes());
        out.extend_from_slice(b"\",\"inference_geo\":\"global\",\"speed\":\"standard\"");
    }
    out.push(b'}');
}
