//! JSON as providers speak it, whatever the wire: written into a buffer, read without trust.

pub(crate) mod calls;
pub(crate) mod last;
pub(crate) mod loose;
pub(crate) mod object;

use std::borrow::Cow;

use bulkrate_core::request::{Text, write_json_text};

/// The schema of a closed list of answers: strict modes want an object, which `collect` opens again.
pub(crate) fn write_choices_schema(choices: &[Text<'_>], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"object\",\"properties\":{\"answer\":{\"type\":\"string\",\"enum\":");
    object::array(choices, out, |choice, out| write_json_text(choice, out));
    out.extend_from_slice(b"}},\"required\":[\"answer\"],\"additionalProperties\":false}");
}

/// One more piece of a text, of which there is mostly one: it stays borrowed.
pub(crate) fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() {
        *text = more;
    } else {
        text.to_mut().push_str(&more);
    }
}

/// Seconds since the epoch from an integer, a decimal, or an RFC 3339 time.
pub(crate) fn unix_s(text: &str) -> Option<u64> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    if let Ok(seconds) = whole.parse::<u64>() {
        return (seconds > 0).then_some(seconds);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_second()).ok()
}
