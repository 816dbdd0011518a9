//! What users write: requests, templates, rules, job files.

use bulkrate::config::{Defaults, Layer};
use bulkrate_core::lane::Lane;
use bulkrate_core::prepare::{Cell, Template, key_of};
use bulkrate_core::request::{Dialect, Kind, Request, Translated, write_canonical};
use bulkrate_core::route::{Rule, Rules};
use bulkrate_provider::WireOptions;

use crate::replies::wire;

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A request that can be read has one canonical form, which is a request itself and its own canonical form; what is sent
/// of it is JSON.
pub fn unified(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(bytes) else { return };
    let _ = (request.prompt_bytes(), request.images(), request.documents(), request.is_blank());
    let mut canonical = Vec::new();
    write_canonical(&request, &mut canonical);
    let again: Request<'_> = match serde_json::from_slice(&canonical) {
        Ok(again) => again,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&canonical)),
    };
    let mut twice = Vec::new();
    write_canonical(&again, &mut twice);
    assert_eq!(key_of(&canonical), key_of(&twice), "{}", String::from_utf8_lossy(&canonical));
    let mut body = Vec::new();
    let options = WireOptions { max_tokens: Some(9), ..WireOptions::new(Lane::Batch, "m") };
    if wire().encode(&request, options, &mut body).is_ok() {
        let known = serde_json::from_slice::<serde::de::IgnoredAny>(&body);
        assert!(known.is_ok(), "sent: {}", String::from_utf8_lossy(&body));
    } else {
        assert!(body.is_empty(), "nothing is written of what cannot be sent");
    }
}

/// A body that can be read, in whichever form, is a request that can be read again; what binds it is there, and what is not told in
/// turns is.
pub fn provider_line(bytes: &[u8]) {
    let Some(body) = text(bytes) else { return };
    for dialect in Dialect::ALL {
        let read = dialect.translate(body);
        let body_of = dialect.form().body;
        let Translated { request, kwargs, bound, .. } = match read {
            Ok(read) => read,
            Err(error) => {
                assert!(error.to_string().starts_with(&format!("`{body_of}")), "{error}");
                continue;
            }
        };
        assert_eq!(kwargs.is_some(), bound.is_some());
        assert!(bound.is_none_or(|bound| bound.field.starts_with(body_of)));
        assert!(request.kind != Kind::Chat || !request.messages.is_empty() || kwargs.is_some());
        let request = Request { provider_kwargs: kwargs.as_deref(), ..request };
        let mut canonical = Vec::new();
        write_canonical(&request, &mut canonical);
        unified(&canonical);
        assert!(serde_json::from_slice::<Request<'_>>(&canonical).is_ok(), "{body}");
    }
}

/// The template, a NUL byte, the cell of every variable.
pub fn template(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (source, cell) = (parts.next().and_then(text), parts.next().and_then(text).unwrap_or("cell"));
    let Some(Ok(template)) = source.map(|source| Template::compile("user template", source)) else { return };
    let cell = Cell::text(cell);
    let mut out = String::new();
    let rendered = template.render(|_| &cell, &mut out);
    let known: Vec<String> = template.variables().to_vec();
    assert!(template.check(&known).is_ok());
    if rendered.is_ok() {
        assert!(out.len() <= 32 << 20, "rendered {} bytes", out.len());
    }
}

/// A condition, a NUL byte, the cell of every column.
pub fn rules(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (when, cell) = (parts.next().and_then(text), parts.next().and_then(text).unwrap_or("7"));
    let Some(when) = when else { return };
    let rule = Rule { when: when.to_owned(), model: "m".to_owned() };
    let Ok(rules) = Rules::compile(&[rule]) else { return };
    let cells: Vec<Cell<'_>> = rules.columns().iter().map(|_| Cell::text(cell)).collect();
    for tokens in [0, 1, 200, u64::from(u32::MAX), u64::MAX] {
        let _ = rules.choose(&cells, tokens);
    }
}

/// A file that is refused says where.
pub fn job_file(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for refused in
        [Layer::parse("job.toml", text).err(), Defaults::parse("job.toml", text).err()].iter().flatten()
    {
        assert!(refused.to_string().starts_with("job.toml"), "{refused}");
    }
}
