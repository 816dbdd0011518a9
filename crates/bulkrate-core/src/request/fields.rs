//! Bodies of providers' APIs, read field by field: what is wrong is told by its place.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Text;

/// Why a body is no unified request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not what the API takes either.
    #[error("`{field}` {why}")]
    Bad { field: String, why: String },
    /// There is no word for it.
    #[error("`{field}`: {why}")]
    Untold { field: String, why: &'static str },
}

impl BodyError {
    /// The same, of a body that stands in this field of a line.
    pub(super) fn within(self, root: &str) -> Self {
        match self {
            Self::Bad { field, why } => Self::Bad { field: at(root, &field), why },
            Self::Untold { field, why } => Self::Untold { field: at(root, &field), why },
        }
    }
}

/// The fields of an object as they are written.
pub(super) type Fields<'a> = BTreeMap<String, &'a RawValue>;
pub(super) type Read<T> = Result<T, BodyError>;

pub(super) const NO_WORD: &str = "a unified request has no word for it";

/// The place of a field within another.
pub(super) fn at(place: &str, name: &str) -> String {
    match (place, name) {
        ("", name) => name.to_owned(),
        (place, "") => place.to_owned(),
        (place, name) => format!("{place}.{name}"),
    }
}

pub(super) fn read<'a, T: Deserialize<'a>>(place: &str, text: &'a str) -> Read<T> {
    serde_json::from_str(text).map_err(|error| bad(place, &format!("cannot be read: {error}")))
}

/// The fields of an object that say something: one that is null is none.
pub(super) fn object<'a>(place: &str, text: &'a str) -> Read<Fields<'a>> {
    Ok(given(read(place, text)?))
}

/// A field that is null is none.
pub(super) fn given(mut fields: Fields<'_>) -> Fields<'_> {
    fields.retain(|_, raw| raw.get() != "null");
    fields
}

/// An array or an object without anything in it.
pub(super) fn is_empty(text: &str) -> bool {
    let within = |open, close| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    within('[', ']').or_else(|| within('{', '}')).is_some_and(|within| within.trim_ascii().is_empty())
}

/// A field that must be there.
pub(super) fn needed<'a>(place: &str, fields: &Fields<'a>, name: &str) -> Read<&'a RawValue> {
    fields.get(name).copied().ok_or_else(|| bad(&at(place, name), "is missing"))
}

/// The fields of an object, which may be these alone.
pub(super) fn only<'a>(place: &str, raw: &'a RawValue, known: &[&str]) -> Read<Fields<'a>> {
    let fields = object(place, raw.get())?;
    no_others(place, &fields, known)?;
    Ok(fields)
}

/// Whether there are no fields but these.
pub(super) fn no_others(place: &str, fields: &Fields<'_>, known: &[&str]) -> Read<()> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => untold(&at(place, name), NO_WORD),
        None => Ok(()),
    }
}

/// The output maximum. One of 0, which fills a cache and answers nothing, has no use in a job.
pub(super) fn most(place: &str, raw: &RawValue) -> Read<u32> {
    match read(place, raw.get())? {
        0 => Err(bad(place, "must be at least 1")),
        most => Ok(most),
    }
}

/// One text, or an array of them.
pub(super) fn texts<'a>(place: &str, raw: &'a RawValue) -> Read<Vec<Text<'a>>> {
    if raw.get().starts_with('"') {
        return Ok(vec![read(place, raw.get())?]);
    }
    read(place, raw.get())
}

/// Each with its place.
pub(super) fn numbered<T>(place: &str, items: Vec<T>) -> impl Iterator<Item = (String, T)> {
    items.into_iter().enumerate().map(move |(at, item)| (format!("{place}[{at}]"), item))
}

/// All of them; else the first that is wrong, and only then the first without a word.
pub(super) fn first_wrong<T>(all: impl Iterator<Item = Read<T>>) -> Read<Vec<T>> {
    let (mut whole, mut without) = (Vec::new(), None);
    for one in all {
        match one {
            Ok(one) => whole.push(one),
            Err(BodyError::Bad { field, why }) => return Err(BodyError::Bad { field, why }),
            Err(untold) => without = without.or(Some(untold)),
        }
    }
    without.map_or(Ok(whole), Err)
}

pub(super) fn bad(place: &str, why: &str) -> BodyError {
    BodyError::Bad { field: place.to_owned(), why: why.to_owned() }
}

pub(super) fn untold<T>(place: &str, why: &'static str) -> Read<T> {
    Err(BodyError::Untold { field: place.to_owned(), why })
}
