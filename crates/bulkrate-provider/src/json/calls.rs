//! Calls of tools as chat completions write them, so that an answer looks the same whoever gave it.

use std::borrow::Cow;

use bulkrate_core::request::write_json_text;
use serde_json::value::RawValue;

#[derive(Debug, Default)]
pub(crate) struct Calls(Vec<u8>);

impl Calls {
    /// `input`: the arguments, as an object.
    pub(crate) fn push(&mut self, id: &str, name: &str, input: Option<&RawValue>) {
        let out = &mut self.0;
        out.push(if out.is_empty() { b'[' } else { b',' });
        out.extend_from_slice(b"{\"id\":");
        write_json_text(id, out);
        out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
        write_json_text(name, out);
        out.extend_from_slice(b",\"arguments\":");
        write_json_text(input.map_or("{}", RawValue::get), out);
        out.extend_from_slice(b"}}");
    }

    pub(crate) fn finish<'a>(mut self) -> Option<Cow<'a, RawValue>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push(b']');
        let calls = String::from_utf8(self.0).ok().and_then(|calls| RawValue::from_string(calls).ok());
        calls.map(Cow::Owned)
    }
}
