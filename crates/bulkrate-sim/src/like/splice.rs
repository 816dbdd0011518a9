//! Lines of services whose batches say once what OpenAI's lines say each: the path, and in some the model.

use crate::files::{Content, File};
use crate::json::push_str;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a batch says for all its lines, as JSON, and how the service's fields are OpenAI's.
#[derive(Debug)]
pub(crate) struct Splice {
    pub(super) endpoint: String,
    /// `None`: each line names its model.
    pub(super) model: Option<String>,
    /// The service's word for a field, and OpenAI's.
    pub(super) renames: &'static [(&'static str, &'static str)],
    /// Fields that OpenAI does not have.
    pub(super) drops: &'static [&'static str],
}

impl Splice {
    /// A file whose lines are spliced as they are read.
    pub(super) fn into_file(self, file: Arc<File>) -> Arc<File> {
        let Content::Stored(bytes) = &file.content else { return file };
        Arc::new(File {
            id: file.id.clone(),
            bytes: file.bytes,
            created_at: file.created_at,
            expires_at: file.expires_at,
            filename: file.filename.clone(),
            purpose: file.purpose.clone(),
            content: Content::Bare(bytes.clone(), Arc::new(self)),
        })
    }

    /// A line as OpenAI would have it; as it is where it is to be refused like a line without a method.
    pub(crate) fn whole<'l>(&self, line: &'l [u8]) -> Cow<'l, [u8]> {
        self.spliced(line).map_or(Cow::Borrowed(line), Cow::Owned)
    }

    fn spliced(&self, line: &[u8]) -> Option<Vec<u8>> {
        let bare: Bare<'_> = serde_json::from_slice(line).ok()?;
        let body = bare.body.filter(|body| self.model.is_none() || !body.contains_key("model"))?;
        if bare.method.is_some() || bare.url.is_some() {
            return None;
        }
        let mut out = Vec::with_capacity(line.len() + self.endpoint.len() + 128);
        out.extend_from_slice(b"{\"custom_id\":");
        out.extend_from_slice(bare.custom_id.map_or("null", RawValue::get).as_bytes());
        for part in [",\"method\":\"POST\",\"url\":", &self.endpoint, ",\"body\":{"] {
            out.extend_from_slice(part.as_bytes());
        }
        let start = out.len();
        if let Some(model) = &self.model {
            out.extend_from_slice(format!("\"model\":{model}").as_bytes());
        }
        for (name, value) in body.iter().filter(|(name, _)| !self.drops.contains(&name.as_str())) {
            if out.len() > start {
                out.push(b',');
            }
            let renamed = self.renames.iter().find(|(own, _)| own == name);
            push_str(&mut out, renamed.map_or(name, |(_, theirs)| theirs));
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        out.extend_from_slice(b"}}");
        Some(out)
    }
}

/// A line: what it has of one of OpenAI's, and what it must not have.
#[derive(Deserialize)]
struct Bare<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<BTreeMap<String, &'a RawValue>>,
    method: Option<IgnoredAny>,
    url: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn splice(model: Option<&str>) -> Splice {
        Splice {
            endpoint: "\"/v1/chat/completions\"".to_owned(),
            model: model.map(str::to_owned),
            renames: &[("random_seed", "seed")],
            drops: &["top_k"],
        }
    }

    #[test]
    fn lines_that_name_what_the_job_names_are_left_as_they_are() {
        let line = br#"{"custom_id":"a","body":{"random_seed":1,"top_k":2,"stop":["\u0041"]}}"#;
        let whole: Value = serde_json::from_slice(&splice(Some("\"m\"")).whole(line)).unwrap_or_default();
        assert_eq!(whole["body"], json!({"seed": 1, "model": "m", "stop": ["A"]}));
        assert_eq!((&whole["url"], &whole["custom_id"]), (&json!("/v1/chat/completions"), &json!("a")));
        let named = br#"{"custom_id":"a","body":{"model":"m"}}"#;
        let whole: Value = serde_json::from_slice(&splice(None).whole(named)).unwrap_or_default();
        assert_eq!((&whole["body"], &whole["method"]), (&json!({"model": "m"}), &json!("POST")));
        for line in [&named[..], br#"{"custom_id":"a","url":"/x","body":{}}"#, b"no"] {
            assert_eq!(splice(Some("\"m\"")).whole(line), line);
        }
    }
}
