//! Writes a JSON object straight into a buffer, and merges the caller's own fields into it.

use bulkrate_core::request::{Text, write_json_text};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The caller's own fields (`provider_kwargs`), in their order.
#[derive(Debug, Default)]
pub(crate) struct Own<'a> {
    raw: Option<&'a RawValue>,
    fields: Vec<(Text<'a>, &'a RawValue)>,
}

struct Fields<'a>(Vec<(Text<'a>, &'a RawValue)>);

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Vec<(Text<'de>, &'de RawValue)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format!("`{}` is there twice", &*key)));
            }
            fields.push((key, value));
        }
        Ok(Fields(fields))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl<'a> Own<'a> {
    /// `Err` says why the text is no object whose fields can be merged.
    pub(crate) fn read(raw: Option<&'a RawValue>) -> Result<Self, String> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(Self::default()) };
        let fields: Fields<'a> = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        Ok(Self { raw: Some(raw), fields: fields.0 })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(key, _)| &**key == name).map(|(_, value)| value.get())
    }

    /// His fields within one of his fields. `Err` says why it is no object.
    pub(crate) fn within(&self, name: &str) -> Result<Self, String> {
        Self::read(self.fields.iter().find(|(key, _)| &**key == name).map(|(_, value)| *value))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(key, _)| &**key)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Takes a field out: ours stands in its place.
    pub(crate) fn remove(&mut self, name: &str) {
        let before = self.fields.len();
        self.fields.retain(|(key, _)| &**key != name);
        if self.fields.len() != before {
            self.raw = None; // no longer the text as the caller wrote it
        }
    }
}

/// An object under construction. A field that the caller gives himself is not written.
pub(crate) struct Object<'o, 'a> {
    pub(crate) out: &'o mut Vec<u8>,
    own: Own<'a>,
    empty: bool,
}

impl<'o, 'a> Object<'o, 'a> {
    pub(crate) fn open(out: &'o mut Vec<u8>, own: Own<'a>) -> Self {
        out.push(b'{');
        Self { out, own, empty: true }
    }

    pub(crate) fn own(&self) -> &Own<'a> {
        &self.own
    }

    /// Starts a field; `false`: the caller gives it, so its value is not to be written.
    pub(crate) fn key(&mut self, name: &str) -> bool {
        if self.own.has(name) {
            return false;
        }
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        true
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        if self.key(name) {
            write_json_text(value, self.out);
        }
    }

    pub(crate) fn literal(&mut self, name: &str, json: &str) {
        if self.key(name) {
            self.out.extend_from_slice(json.as_bytes());
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value
            && self.key(name)
        {
            self.out.extend_from_slice(value.to_string().as_bytes());
        }
    }

    /// Ends the object with the caller's own fields, as he wrote them.
    pub(crate) fn close(mut self) {
        let own = std::mem::take(&mut self.own);
        if let Some(raw) = own.raw {
            let inner = raw.get().trim();
            let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or("");
            if !own.fields.is_empty() {
                self.separate();
                write_on_one_line(inner, self.out);
            }
        } else {
            for (key, value) in &own.fields {
                self.separate();
                write_json_text(key, self.out);
                self.out.push(b':');
                write_on_one_line(value.get(), self.out);
            }
        }
        self.out.push(b'}');
    }

    fn separate(&mut self) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
    }
}

/// JSON text without line breaks, which can only stand between tokens: a batch file holds one object a line.
pub(crate) fn write_on_one_line(json: &str, out: &mut Vec<u8>) {
    for piece in json.as_bytes().split(|&byte| byte == b'\n' || byte == b'\r') {
        out.extend_from_slice(piece);
    }
}

/// Writes `items` as an array.
pub(crate) fn array<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}
