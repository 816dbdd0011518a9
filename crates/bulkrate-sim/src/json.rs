//! Small pieces of JSON, written by hand and read without a tree.

use serde_json::value::RawValue;
use std::borrow::Cow;

/// Appends `text` as a JSON string.
pub(crate) fn push_str(out: &mut Vec<u8>, text: &str) {
    // Writing a string into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

pub(crate) fn push_opt_str(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_str(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

pub(crate) fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The text of a JSON string, borrowed when nothing in it is escaped; `None` when it is not a string.
pub(crate) fn text<'a>(raw: &'a RawValue) -> Option<Cow<'a, str>> {
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(quoted).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn strings_borrow_unless_escaped() {
        let plain: &RawValue = serde_json::from_str("\"late parcel\"").unwrap();
        assert!(matches!(text(plain), Some(Cow::Borrowed("late parcel"))));
        let escaped: &RawValue = serde_json::from_str("\"a\\nb\"").unwrap();
        assert_eq!(text(escaped).unwrap(), "a\nb");
        let number: &RawValue = serde_json::from_str("12").unwrap();
        assert!(text(number).is_none());
    }
}
