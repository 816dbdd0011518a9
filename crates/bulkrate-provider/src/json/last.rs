//! What was found out of a schema, kept for the next request: the items of a job share one.

use std::sync::{Mutex, PoisonError};

use serde_json::value::RawValue;

/// The last schema asked about, and the answer.
#[derive(Debug)]
pub(crate) struct LastSchema<T>(Mutex<Option<(Box<str>, T)>>);

impl<T> Default for LastSchema<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> LastSchema<T> {
    /// `find_out` is asked only about a schema that differs from the last one.
    pub(crate) fn of(&self, schema: &RawValue, find_out: impl FnOnce(&str) -> T) -> T {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((text, known)) = last.as_ref()
            && **text == *schema.get()
        {
            return known.clone();
        }
        let found = find_out(schema.get());
        *last = Some((schema.get().into(), found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_another_schema_is_looked_at() {
        let last = LastSchema::default();
        let mut looks = 0;
        for schema in ["{}", "{}", "[]", "{}"] {
            let raw: Box<RawValue> = serde_json::from_str(schema).unwrap();
            let found = last.of(&raw, |text| {
                looks += 1;
                text.to_owned()
            });
            assert_eq!(found, schema);
        }
        assert_eq!(looks, 3);
    }
}
