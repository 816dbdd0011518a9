//! What of a body has no unified name.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::request::fields::{BodyError, Read};

/// Fields that go out as they came in.
#[derive(Debug, Default)]
pub(super) struct Kept<'a> {
    fields: BTreeMap<String, Slot<'a>>,
    /// The place of the first.
    first: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Slot<'a> {
    Whole(&'a RawValue),
    /// Some fields of an object.
    Within(BTreeMap<String, Slot<'a>>),
}

impl<'a> Kept<'a> {
    pub(super) fn keep(&mut self, name: &str, raw: &'a RawValue, place: String) {
        self.first.get_or_insert(place);
        self.fields.insert(name.to_owned(), Slot::Whole(raw));
    }

    /// Keeps a field of an object in the body, and not all of it.
    pub(super) fn keep_within(&mut self, (outer, name): (&str, &str), raw: &'a RawValue, place: String) {
        self.first.get_or_insert(place);
        let slot = self.fields.entry(outer.to_owned()).or_insert_with(|| Slot::Within(BTreeMap::new()));
        if let Slot::Within(fields) = slot {
            fields.insert(name.to_owned(), Slot::Whole(raw));
        }
    }

    /// What was read of a field: kept whole, where something in it has no name. `None`: so it was.
    pub(super) fn unless<T>(&mut self, name: &str, raw: &'a RawValue, read: Read<T>) -> Read<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(BodyError::Untold { field, .. }) => {
                self.keep(name, raw, field);
                Ok(None)
            }
            Err(bad) => Err(bad),
        }
    }

    /// All of them as fields of one object.
    pub(super) fn within(self, outer: &str) -> Self {
        if self.fields.is_empty() {
            return self;
        }
        let fields = BTreeMap::from([(outer.to_owned(), Slot::Within(self.fields))]);
        Self { fields, first: self.first }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The fields as one object, and the place of the first of them. `None`: there is none.
    pub(super) fn into_parts(self) -> Option<(Box<RawValue>, String)> {
        // What was read as JSON is written as JSON.
        Some((to_raw_value(&self.fields).ok()?, self.first?))
    }
}
