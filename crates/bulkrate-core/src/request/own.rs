//! Turns in a request's own fields (`provider_kwargs`), in the words of Anthropic's, Gemini's and Converse: what of them is media, whose price
//! is not that of its text.
//!
//! They are read by their words alone. What only looks like an image counts as one, as a bound may be too high.

use serde_json::value::RawValue;

use super::Request;

/// Fields that hold turns.
const TURNS: [&str; 2] = ["\"messages\"", "\"contents\""];
/// Fields that hold bytes, as base64.
const BYTES: [&str; 2] = ["\"data\":", "\"bytes\":"];
/// What is shorter counts as text.
const DATA_MIN: usize = 64;

/// The text of such fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnTurns<'a>(&'a str);

impl Request<'_> {
    pub(crate) fn own_turns(&self) -> Option<OwnTurns<'_>> {
        let text = self.provider_kwargs.map(RawValue::get)?;
        TURNS.iter().any(|name| text.contains(name)).then_some(OwnTurns(text))
    }
}

impl<'a> OwnTurns<'a> {
    pub(super) fn images(self) -> u64 {
        self.seen() + self.named(&["\"image\"", "\"image_url\""])
    }

    pub(super) fn documents(self) -> u64 {
        self.files() - self.seen() + self.named(&["\"document\"", "\"video\"", "\"audio\""])
    }

    /// Bytes of images and documents themselves.
    pub(super) fn data_bytes(self) -> u64 {
        self.data().iter().map(|data| data.len() as u64).sum()
    }

    /// What stands around them.
    pub(crate) fn texts(self) -> Vec<&'a str> {
        let mut rest = self.0;
        let mut texts = Vec::new();
        for data in self.data() {
            let at = data.as_ptr() as usize - rest.as_ptr() as usize;
            texts.push(&rest[..at]);
            rest = &rest[at + data.len()..];
        }
        texts.push(rest);
        texts
    }

    /// Texts of base64, in their order.
    fn data(self) -> Vec<&'a str> {
        let is_base64 = |data: &str| {
            data.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        };
        let held = |rest: &'a str| {
            let data = rest.trim_ascii_start().strip_prefix('"')?.split('"').next()?;
            (data.len() >= DATA_MIN && is_base64(data)).then_some(data)
        };
        let mut all: Vec<&str> =
            BYTES.iter().flat_map(|name| self.0.split(name).skip(1)).filter_map(held).collect();
        all.sort_unstable_by_key(|data| data.as_ptr() as usize);
        all
    }

    /// Files of Gemini's, which are told by their types.
    fn files(self) -> u64 {
        self.named(&["\"inlineData\"", "\"inline_data\"", "\"fileData\"", "\"file_data\""])
    }

    fn seen(self) -> u64 {
        self.files().min(self.named(&["\"image/"]))
    }

    fn named(self, names: &[&str]) -> u64 {
        names.iter().map(|name| self.0.matches(name).count() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn media_in_own_turns_are_counted_and_their_bytes_are_no_text() {
        let data = "iVBORw0KGgo=".repeat(10);
        let bytes = data.len() as u64;
        for (kwargs, images, documents, data_bytes) in [
            (r#"{"tools":[{"image":1}]}"#.to_owned(), 0, 0, 0),
            (format!(r#"{{"messages":[{{"content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}]}}"#), 1, 0, bytes),
            (r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"f"}},{"type":"image","source":{"type":"url","url":"u"}}]}]}"#.to_owned(), 1, 1, 0),
            (format!(r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"image/png","data": "{data}"}}}},{{"fileData":{{"mimeType":"video/mp4","fileUri":"u"}}}}]}}]}}"#), 1, 1, bytes),
            (format!(r#"{{"messages":[{{"content":[{{"image":{{"format":"png","source":{{"bytes":"{data}"}}}}}},{{"document":{{"source":{{"bytes":"{data}"}}}}}},{{"video":{{}}}}]}}]}}"#), 1, 2, 2 * bytes),
            (r#"{"messages":[{"content":[{"data":"short"},{"bytes":"no base64, whatever its length may be: it is a text and counts as one"}]}]}"#.to_owned(), 0, 0, 0),
        ] {
            let raw: &RawValue = serde_json::from_str(&kwargs).unwrap();
            let request = Request { provider_kwargs: Some(raw), ..Request::default() };
            assert_eq!((request.images(), request.documents(), request.data_bytes()), (images, documents, data_bytes), "{kwargs}");
            assert_eq!(request.prompt_bytes(), kwargs.len() as u64 - data_bytes, "{kwargs}");
            if let Some(turns) = request.own_turns() {
                assert_eq!(turns.texts().concat(), kwargs.replace(&data, ""), "{kwargs}");
            }
        }
    }
}
