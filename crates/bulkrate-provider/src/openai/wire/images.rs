//! Pictures, both ways: one of each item's text. Size, quality and format are the caller's own fields.
//!
//! Source: OpenAI's API reference, `POST /images/generations`, and the types of `openai` 3.52.0 (`image_generate_params`, `images_response`).
//! What a picture costs is told by its output tokens; the most that one can have is the request's `max_tokens`, which is not sent.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkrate_core::request::{Blob, SourceType, Text, media_type_by_bytes, write_json_text};

use super::encode::Job;
use crate::api::Unsupported;
use crate::json::object::Object;

/// The caller's own fields that would make several answers of one, or none.
const REFUSED: &[(&str, &str, &str)] = &[
    ("provider_kwargs.stream", "stream", "answers are read whole; leave it out"),
    ("provider_kwargs.partial_images", "partial_images", "answers are read whole; leave it out"),
];
/// As many letters of base64 as tell all that a file begins with, to know what it is.
const START: usize = 16;

pub(super) fn write(job: &Job<'_>, mut body: Object<'_, '_>) -> Result<(), Unsupported> {
    let own = body.own();
    if let Some((field, _, why)) = REFUSED.iter().find(|(_, name, _)| own.has(name)) {
        return Err(job.unsupported(field, *why));
    }
    job.refuse_settings(
        "max_tokens",
        "a picture is made without it; its own settings go into `provider_kwargs`",
    )?;
    if !job.request.system_prompt.is_empty() {
        return Err(job.unsupported("system_prompt", "a picture is made of one text: put it into that"));
    }
    let [prompt] = job.request.input.as_slice() else {
        let why = format!("a picture is made of one text, and here are {}", job.request.input.len());
        return Err(job.unsupported("input", why));
    };
    body.text("model", job.options.model);
    if body.key("prompt") {
        write_json_text(prompt, body.out);
    }
    body.close();
    Ok(())
}

/// The first picture of an answer. `None`: neither bytes nor an address.
pub(super) fn read<'a>(bytes: Option<Cow<'a, str>>, address: Option<Cow<'a, str>>) -> Option<Blob<'a>> {
    let Some(bytes) = bytes else {
        let media_type = Text::from("image/*");
        return Some(Blob { source_type: SourceType::Url, media_type, data: Text(address?) });
    };
    let start = bytes.get(..START).and_then(|start| STANDARD.decode(start).ok());
    let media_type = start.as_deref().and_then(media_type_by_bytes).unwrap_or("image/*");
    Some(Blob { source_type: SourceType::Base64, media_type: Text::from(media_type), data: Text(bytes) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bulkrate_core::lane::Lane;
    use bulkrate_core::request::Request;

    use super::*;
    use crate::api::WireOptions;

    fn told(request: &str) -> String {
        let provider = crate::open("openai", &crate::Settings::default()).unwrap();
        let request: Request<'_> = serde_json::from_str(request).unwrap();
        let model = "gpt-image-2.5-flare";
        let options = WireOptions::new(Lane::Sync, model);
        let mut body = Vec::new();
        match provider.wire().encode(&request, options, &mut body) {
            Ok(()) => String::from_utf8(body).unwrap(),
            Err(refused) => format!("{}: {}", refused.field, refused.why),
        }
    }

    #[test]
    fn a_picture_is_asked_for_by_one_text_and_the_callers_own_fields() {
        let own = r#"{"kind":"image","input":"a cat","generation_config":{"max_tokens":300},"provider_kwargs":{"size":"1024x1536"}}"#;
        assert_eq!(told(own), r#"{"model":"gpt-image-2.5-flare","prompt":"a cat","size":"1024x1536"}"#);
        for (request, field) in [
            (r#"{"kind":"image","input":["a","b"]}"#, "input: a picture is made of one text, and here are 2"),
            (r#"{"kind":"image","input":"a","system_prompt":"b"}"#, "system_prompt"),
            (r#"{"kind":"image","input":"a","generation_config":{"temperature":1}}"#, "temperature"),
            (r#"{"kind":"image","input":"a","provider_kwargs":{"n":2}}"#, "provider_kwargs.n"),
            (
                r#"{"kind":"image","input":"a","provider_kwargs":{"partial_images":1}}"#,
                "provider_kwargs.partial_images",
            ),
        ] {
            assert!(told(request).starts_with(field), "{request}: {}", told(request));
        }
    }

    #[test]
    fn what_a_picture_is_is_known_by_how_it_begins() {
        let of = |text: &str| read(Some(text.to_owned().into()), None).unwrap().media_type.to_string();
        assert_eq!(of(&STANDARD.encode(b"\x89PNG\r\n\x1a\n0000")), "image/png");
        assert_eq!(of(&STANDARD.encode(b"RIFF0000WEBP")), "image/webp");
        assert_eq!((of(""), of("no base64 at all, is it")), ("image/*".into(), "image/*".into()));
        assert_eq!(read(None, Some("https://a".into())).unwrap().source_type, SourceType::Url);
        assert!(read(None, None).is_none());
    }
}
