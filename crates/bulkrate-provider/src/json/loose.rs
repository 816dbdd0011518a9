//! JSON as servers really send it: absent, null and "" mean the same; numbers come as text; side fields of any type.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text or a number as text; `None` for null, "" and anything else. Never an error, so that a side field of an
/// unexpected type does not cost a paid answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LooseText<'a>(pub Option<Cow<'a, str>>);

impl<'a> Deref for LooseText<'a> {
    type Target = Option<Cow<'a, str>>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl LooseText<'_> {
    pub(crate) fn into_owned(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }

    pub(crate) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

struct LooseTextVisitor;

impl<'de> Visitor<'de> for LooseTextVisitor {
    type Value = LooseText<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(LooseText((!text.is_empty()).then_some(Cow::Borrowed(text))))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(LooseText((!text.is_empty()).then(|| Cow::Owned(text.to_owned()))))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(LooseText(Some(Cow::Owned(number.to_string()))))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(LooseText(Some(Cow::Owned(number.to_string()))))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(LooseText(Some(Cow::Owned(number.to_string()))))
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(LooseText(None))
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(LooseText(None))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LooseText(None))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LooseText(None))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LooseText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseTextVisitor)
    }
}

/// A message's content: a text, null, or parts of which the texts count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LooseContent<'a>(pub Cow<'a, str>);

#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    text: LooseText<'a>,
}

struct LooseContentVisitor;

impl<'de> Visitor<'de> for LooseContentVisitor {
    type Value = LooseContent<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, null, or an array of parts")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(LooseContent(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(LooseContent(Cow::Owned(text.to_owned())))
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(LooseContent::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut text = Cow::Borrowed("");
        while let Some(part) = seq.next_element::<ContentPart<'de>>()? {
            if matches!(part.kind.as_deref(), None | Some("text" | "output_text"))
                && let Some(more) = part.text.0
            {
                if text.is_empty() {
                    text = more;
                } else {
                    text.to_mut().push_str(&more);
                }
            }
        }
        Ok(LooseContent(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LooseContent<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseContentVisitor)
    }
}

/// A number of tokens. Servers send integers, whole floats, digits in quotes - and nonsense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Count {
    #[default]
    Absent,
    Known(u64),
    Nonsense,
}

/// Above this a count is nonsense: no float holds it exactly, and no request has it.
const COUNT_MAX: u64 = 1 << 50;

impl Count {
    fn checked(count: u64) -> Self {
        if count <= COUNT_MAX { Self::Known(count) } else { Self::Nonsense }
    }

    /// Absent counts as `absent`; `None` for nonsense.
    pub(crate) fn or(self, absent: Option<u64>) -> Option<u64> {
        match self {
            Self::Absent => absent,
            Self::Known(count) => Some(count),
            Self::Nonsense => None,
        }
    }

    /// What is absent or nonsense counts as none: for numbers that nothing hangs on.
    pub(crate) fn or_zero(self) -> u64 {
        self.or(None).unwrap_or(0)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of tokens")
    }
    fn visit_u64<E: Error>(self, count: u64) -> Result<Count, E> {
        Ok(Count::checked(count))
    }
    fn visit_i64<E: Error>(self, count: i64) -> Result<Count, E> {
        Ok(u64::try_from(count).map_or(Count::Nonsense, Count::checked))
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and within 2^50"
    )]
    fn visit_f64<E: Error>(self, count: f64) -> Result<Count, E> {
        // A zero with a sign is no count of anything.
        let whole = (0.0..=COUNT_MAX as f64).contains(&count)
            && count.is_sign_positive()
            && count.fract().abs() < f64::EPSILON;
        Ok(if whole { Count::Known(count as u64) } else { Count::Nonsense })
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Count::Absent);
        }
        Ok(text.parse().map_or(Count::Nonsense, Count::checked))
    }
    fn visit_unit<E: Error>(self) -> Result<Count, E> {
        Ok(Count::Absent)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Count, E> {
        Ok(Count::Nonsense)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count::Nonsense)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count::Nonsense)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}
