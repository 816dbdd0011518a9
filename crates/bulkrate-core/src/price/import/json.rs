//! JSON objects as ordered fields with their values as text: the only way to read a number without rounding it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::money::PicoUsdPerToken;
use crate::price::rates::RateError;

/// An object's fields in their order; of a name that stands twice the later one counts.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object; `None` for anything else.
    pub(super) fn of(value: &'a RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// The value as its JSON text; `null` counts as absent.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
            .filter(|value| value.get() != "null")
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    pub(super) fn list(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        list(self.raw(name)?)
    }

    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.raw(name)?)
    }

    /// `true`, `false` or absent.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// A whole number, also when written as `8192.0` or as text.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        let text = self.raw(name)?.get().trim_matches('"');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        whole.parse().ok().filter(|_| fraction.bytes().all(|byte| byte == b'0'))
    }

    /// A price, read by `read` from the number's text.
    pub(super) fn rate(
        &self,
        name: &str,
        read: fn(&str) -> Result<PicoUsdPerToken, RateError>,
    ) -> Result<Option<PicoUsdPerToken>, String> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        read(value.get().trim_matches('"')).map(Some).map_err(|error| super::reason(name, &error))
    }
}

/// The elements of an array; `None` for anything else.
pub(super) fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A key, borrowed from the text where it holds no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
