//! The form of a request: all but its words.

use bulkrate_core::request::{Config, Content, Message, Part, Reasoning, Request, SourceType};
use serde_json::value::RawValue;

/// Appends all of a request that may decide whether it is taken: two that differ in nothing of it differ in their words alone.
pub(super) fn write_form(request: &Request<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(request.kind.name().as_bytes());
    for texts in [&request.system_prompt, &request.input] {
        out.push(b'\n');
        out.extend(texts.iter().map(|text| said(text)));
    }
    out.push(b'\n');
    request.messages.iter().for_each(|message| write_turn(message, out));
    write_config(&request.generation_config, out);
    write_text(request.provider_kwargs.map_or("", RawValue::get), out);
}

/// Settings as they are: what is the same in other words (a schema with more white space) is asked about once more.
fn write_config(config: &Config<'_>, out: &mut Vec<u8>) {
    let Config {
        max_tokens,
        temperature,
        top_p,
        top_k,
        stop_sequences,
        presence_penalty,
        frequency_penalty,
        seed,
        reasoning,
        output_schema,
        choices,
        dimensions,
    } = config;
    for number in [max_tokens, top_k, dimensions] {
        write_number(number.map(u64::from), out);
    }
    for number in [temperature, top_p, presence_penalty, frequency_penalty] {
        write_number(number.map(f64::to_bits), out);
    }
    write_number(seed.map(|seed| u64::from_le_bytes(seed.to_le_bytes())), out);
    let effort = |reasoning| match reasoning {
        Reasoning::None => 0,
        Reasoning::Low => 1,
        Reasoning::Medium => 2,
        Reasoning::High => 3,
        Reasoning::Tokens(tokens) => 4 + u64::from(tokens),
    };
    write_number(reasoning.map(effort), out);
    write_text(output_schema.map_or("", RawValue::get), out);
    for texts in [stop_sequences, choices] {
        write_number(Some(texts.len() as u64), out);
        texts.iter().for_each(|text| write_text(text, out));
    }
}

fn write_number(number: Option<u64>, out: &mut Vec<u8>) {
    out.push(u8::from(number.is_some()));
    out.extend_from_slice(&number.unwrap_or(0).to_le_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_number(Some(text.len() as u64), out);
    out.extend_from_slice(text.as_bytes());
}

fn write_turn(message: &Message<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(message.role.name().as_bytes());
    out.push(u8::from(message.tool_call_id.is_some()));
    match &message.content {
        Content::Text(text) => out.push(said(text)),
        Content::Parts(parts) => parts.iter().for_each(|part| write_part(part, out)),
    }
    out.push(b'\n');
}

fn write_part(part: &Part<'_>, out: &mut Vec<u8>) {
    let (name, blob) = match part {
        Part::Text { text } => return out.extend_from_slice(&[b't', said(text)]),
        Part::Image(blob) => (b'i', blob),
        Part::Document(blob) => (b'd', blob),
    };
    out.push(name);
    out.extend_from_slice(blob.media_type.as_bytes());
    // Who takes addresses may not take all.
    if blob.source_type == SourceType::Url {
        out.push(b' ');
        out.extend_from_slice(blob.data.as_bytes());
    }
    out.push(b'\n');
}

/// Whether there is anything in a text.
fn said(text: &str) -> u8 {
    match text {
        "" => b'0',
        text if text.trim_start().is_empty() => b'_',
        _ => b'a',
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn form(line: &str) -> Vec<u8> {
        let mut form = Vec::new();
        write_form(&serde_json::from_str(line).unwrap(), &mut form);
        form
    }

    #[test]
    fn requests_that_differ_in_their_words_have_one_form_and_others_have_another() {
        const LINE: &str = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"one"},{"type":"image","source_type":"base64","media_type":"image/png","data":"aaaa"}]}],"system_prompt":"s","generation_config":{"max_tokens":5,"output_schema":{"type":"object"}},"provider_kwargs":{"x":1}}"#;
        for (from, to, is_same) in [
            ("one", "two words", true),
            ("aaaa", "bbbb", true),
            ("\"s\"", "\"other\"", true),
            ("one", " ", false),
            ("one", "", false),
            ("png", "tiff", false),
            ("base64", "url", false),
            ("user", "assistant", false),
            (":5", ":6", false),
            ("object", "string", false),
            ("\"x\":1", "\"x\":2", false),
            ("\"max_tokens\"", "\"temperature\":0.5,\"max_tokens\"", false),
            ("\"s\"", "[\"s\",\"t\"]", false),
        ] {
            assert_eq!(form(LINE) == form(&LINE.replace(from, to)), is_same, "{from} -> {to}");
        }
    }
}
