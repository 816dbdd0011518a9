//! Writes turns and their blocks, each with its mark for the prompt cache where it has one.

use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{Blob, Content, Message, Part, Role, SourceType, Text, write_json_text};

use crate::json::object::array;

pub(super) fn write_turn(message: &Message<'_>, mark: Option<Ttl>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"role\":\"");
    out.extend_from_slice(message.role.name().as_bytes());
    out.extend_from_slice(b"\",\"content\":");
    match &message.content {
        // A block of nothing is refused, and so is a mark on it.
        Content::Text(text) if mark.is_none() || text.is_empty() => write_json_text(text, out),
        Content::Text(text) => {
            out.push(b'[');
            write_text(text, mark, out);
            out.push(b']');
        }
        Content::Parts(parts) => {
            // An empty text is refused, and says nothing.
            let is_said = |part: &&Part<'_>| !matches!(part, Part::Text { text } if text.is_empty());
            let said: Vec<&Part<'_>> = parts.iter().filter(is_said).collect();
            let last = said.len().saturating_sub(1);
            array(said.into_iter().enumerate(), out, |(at, part), out| {
                write_part(part, mark.filter(|_| at == last), out);
            });
        }
    }
    out.push(b'}');
}

fn write_part(part: &Part<'_>, mark: Option<Ttl>, out: &mut Vec<u8>) {
    match part {
        Part::Text { text } => write_text(text, mark, out),
        Part::Image(blob) => write_blob("image", blob, mark, out),
        Part::Document(blob) => write_blob("document", blob, mark, out),
    }
}

/// A turn of text that is marked within.
pub(super) fn write_halves(role: Role, [shared, own]: [&str; 2], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"role\":\"{}\",\"content\":[", role.name()).as_bytes());
    write_text(shared, Some(Ttl::FiveMinutes), out);
    out.push(b',');
    write_text(own, None, out);
    out.extend_from_slice(b"]}");
}

pub(super) fn write_text(text: &str, mark: Option<Ttl>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    write_json_text(text, out);
    close(mark, out);
}

/// Ends a block, after its mark where it has one. Five minutes are the default.
fn close(mark: Option<Ttl>, out: &mut Vec<u8>) {
    out.extend_from_slice(match mark {
        None => b"}",
        Some(Ttl::FiveMinutes) => b",\"cache_control\":{\"type\":\"ephemeral\"}}",
        Some(Ttl::Hour) => b",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}}",
    });
}

fn write_blob(kind: &str, blob: &Blob<'_>, mark: Option<Ttl>, out: &mut Vec<u8>) {
    let field = |name: &str, value: &Text<'_>, out: &mut Vec<u8>| {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        write_json_text(value, out);
    };
    out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"source\":{{\"type\":").as_bytes());
    match blob.source_type {
        SourceType::Url => {
            out.extend_from_slice(b"\"url\"");
            field("url", &blob.data, out);
        }
        SourceType::Base64 => {
            out.extend_from_slice(b"\"base64\"");
            field("media_type", &blob.media_type, out);
            field("data", &blob.data, out);
        }
    }
    out.push(b'}');
    close(mark, out);
}
