//! The bodies of Bedrock's batches: `modelInput` of a record, in the form of Converse or of Nova (which is nearly that), and Claude's and
//! Titan's own.
//!
//! The `name` of a document and of a schema are labels that the API demands, and are given here.

use serde_json::value::RawValue;

use super::kept::Kept;
use super::{MODEL_OF_JOB, Tongue, Translated, anthropic, content, role, turns};
use crate::request::fields::{
    Fields, NO_WORD, Read, at, bad, first_wrong, given, is_empty, most, needed, no_others, numbered, object,
    only, read, texts, untold,
};
use crate::request::{Blob, Config, Kind, Message, Part, Request, SourceType, Text};

/// Types of documents, and what Converse calls them.
pub const DOCUMENT_FORMATS: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
];

const INFERENCE: &str = "inferenceConfig";
/// What goes to the model beside what Converse has names for.
const EXTRAS: &str = "additionalModelRequestFields";
/// What of Claude's own body has another form in Converse.
const OTHERWISE: [&str; 5] = ["messages", "output_config", "system", "tool_choice", "tools"];

pub(super) fn record(body: &str) -> Read<Translated<'_>> {
    let fields = object("", body)?;
    if ["modelId", "model"].into_iter().any(|name| fields.contains_key(name)) {
        let name = if fields.contains_key("model") { "model" } else { "modelId" };
        return Err(bad(name, MODEL_OF_JOB));
    }
    if fields.contains_key(anthropic::VERSION) {
        return claude(fields);
    }
    if fields.contains_key("inputText") {
        return titan(&fields);
    }
    if !fields.contains_key("messages") {
        return Err(bad(
            "messages",
            "is missing: records are read in the form of Converse, Nova and Claude, and of Titan's vectors",
        ));
    }
    let (mut request, mut kept, mut schema) = (Request::default(), Kept::default(), None);
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        match name {
            name if says_nothing(name, raw) => {}
            "messages" => {
                request.messages = kept.unless(name, raw, turns(name, raw, message))?.unwrap_or_default();
            }
            "system" => {
                request.system_prompt = kept.unless(name, raw, system(raw))?.unwrap_or_default();
            }
            INFERENCE => {
                config(&object(INFERENCE, raw.get())?, &mut request.generation_config, &mut kept)?;
            }
            "outputConfig" => {
                let output = kept.unless(name, raw, output(raw))?.unwrap_or_default();
                schema = output.schema;
                if output.effort {
                    kept.keep(name, raw, at(name, "effort"));
                }
            }
            "serviceTier" => return untold(name, "a tier that has no lane here"),
            name => kept.keep(name, raw, name.to_owned()),
        }
    }
    Ok(Translated { schema, ..Translated::new(request, kept, Tongue::Converse) })
}

/// Whether a field says no more than its absence would.
fn says_nothing(name: &str, raw: &RawValue) -> bool {
    let text = raw.get();
    let is = |field: &str, known: &[&str]| {
        object(name, text).is_ok_and(|fields| {
            fields.len() == 1 && fields.get(field).is_some_and(|value| known.contains(&value.get()))
        })
    };
    match name {
        EXTRAS | "requestMetadata" | "additionalModelResponseFieldPaths" => is_empty(text),
        "toolConfig" => {
            object(name, text).is_ok_and(|fields| fields.get("tools").is_none_or(|all| is_empty(all.get())))
        }
        "schemaVersion" => text == "\"messages-v1\"",
        "performanceConfig" => is("latency", &["\"standard\""]),
        // The lane decides it.
        "serviceTier" => is("type", &["\"default\"", "\"flex\""]),
        _ => false,
    }
}

/// Claude's own body: what has no unified name goes to the model beside Converse's fields, where it is said alike there.
fn claude(fields: Fields<'_>) -> Read<Translated<'_>> {
    let (request, kept) = anthropic::message_request(&anthropic::without_version(fields))?;
    if let Some(name) = OTHERWISE.into_iter().find(|name| kept.has(name)) {
        return untold(
            name,
            "Converse, by which Bedrock is asked here, says it in another form: write the record in that one",
        );
    }
    Ok(Translated::new(request, kept.within(EXTRAS), Tongue::Converse))
}

/// One text, and the vector of it.
fn titan<'a>(fields: &Fields<'a>) -> Read<Translated<'a>> {
    let mut request = Request { kind: Kind::Embedding, ..Request::default() };
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        match name {
            "inputText" => request.input.push(read(name, raw.get())?),
            "dimensions" => request.generation_config.dimensions = Some(read(name, raw.get())?),
            "normalize" if raw.get() == "true" => {}
            "embeddingTypes" if raw.get() == "[\"float\"]" => {}
            name => return untold(name, NO_WORD),
        }
    }
    Ok(Translated::new(request, Kept::default(), Tongue::Converse))
}

fn system(raw: &RawValue) -> Read<Vec<Text<'_>>> {
    let text = |part| match part {
        Part::Text { text } => Ok(text),
        _ => untold("system", NO_WORD),
    };
    blocks("system", raw)?.into_iter().map(text).collect()
}

fn message<'a>(place: &str, turn: &Fields<'a>) -> Read<Message<'a>> {
    let role = role(place, turn)?;
    no_others(place, turn, &["role", "content"])?;
    let (raw, place) = (needed(place, turn, "content")?, at(place, "content"));
    if raw.get().starts_with('"') {
        let why =
            "is a text: Converse has a list of blocks there, and Claude's own body an `anthropic_version`";
        return Err(bad(&place, why));
    }
    let parts = blocks(&place, raw)?;
    if parts.is_empty() {
        return Err(bad(&place, "is empty"));
    }
    Ok(Message { role, content: content(parts), tool_call_id: None })
}

/// The parts of a list of blocks, without the marks among them.
fn blocks<'a>(place: &str, raw: &'a RawValue) -> Read<Vec<Part<'a>>> {
    let all: Vec<Fields<'a>> = read(place, raw.get())?;
    let parts = numbered(place, all).map(|(place, block)| part(&place, &given(block)));
    Ok(first_wrong(parts)?.into_iter().flatten().collect())
}

/// `None`: it is a mark for the prompt cache.
fn part<'a>(place: &str, block: &Fields<'a>) -> Read<Option<Part<'a>>> {
    let mut all = block.iter();
    let (Some((name, raw)), None) = (all.next(), all.next()) else {
        return Err(bad(place, "is a block of one field, which says what it is"));
    };
    let path = at(place, name);
    Ok(Some(match name.as_str() {
        "text" => Part::Text { text: read(&path, raw.get())? },
        "cachePoint" => return Ok(None),
        "image" => {
            let fields = only(&path, raw, &["format", "source"])?;
            let format: Text<'_> = read(&at(&path, "format"), needed(&path, &fields, "format")?.get())?;
            Part::Image(bytes(&path, &fields, format!("image/{}", &*format).into())?)
        }
        "document" => {
            let fields = only(&path, raw, &["format", "name", "source"])?;
            let format: Text<'_> = read(&at(&path, "format"), needed(&path, &fields, "format")?.get())?;
            let Some((kind, _)) = DOCUMENT_FORMATS.iter().find(|(_, name)| *name == &*format) else {
                return untold(&at(&path, "format"), NO_WORD);
            };
            Part::Document(bytes(&path, &fields, (*kind).into())?)
        }
        _ => return untold(place, NO_WORD),
    }))
}

/// What stands in a `source`. An object in S3 is only for Bedrock to read.
fn bytes<'a>(place: &str, fields: &Fields<'a>, media_type: Text<'a>) -> Read<Blob<'a>> {
    let (raw, place) = (needed(place, fields, "source")?, at(place, "source"));
    let source = only(&place, raw, &["bytes"])?;
    let data = read(&at(&place, "bytes"), needed(&place, &source, "bytes")?.get())?;
    Ok(Blob { source_type: SourceType::Base64, media_type, data })
}

fn config<'a>(fields: &Fields<'a>, config: &mut Config<'a>, kept: &mut Kept<'a>) -> Read<()> {
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        let (place, text) = (at(INFERENCE, name), raw.get());
        match name {
            "maxTokens" => config.max_tokens = Some(most(&place, raw)?),
            "temperature" => config.temperature = Some(read(&place, text)?),
            "topP" => config.top_p = Some(read(&place, text)?),
            // Nova's own.
            "topK" => config.top_k = Some(read(&place, text)?),
            "stopSequences" => config.stop_sequences = texts(&place, raw)?,
            name => kept.keep_within((INFERENCE, name), raw, place),
        }
    }
    Ok(())
}

#[derive(Default)]
struct Output {
    effort: bool,
    schema: Option<Box<RawValue>>,
}

/// The schema of the answer, which is written as a text.
fn output(raw: &RawValue) -> Read<Output> {
    const PLACE: &str = "outputConfig";
    let fields = only(PLACE, raw, &["effort", "textFormat"])?;
    let effort = fields.contains_key("effort");
    let Some(raw) = fields.get("textFormat") else { return Ok(Output { effort, schema: None }) };
    let place = at(PLACE, "textFormat");
    let format = only(&place, raw, &["type", "structure"])?;
    let (raw, place) = (needed(&place, &format, "structure")?, at(&place, "structure"));
    let structure = only(&place, raw, &["jsonSchema"])?;
    let (raw, place) = (needed(&place, &structure, "jsonSchema")?, at(&place, "jsonSchema"));
    let named = only(&place, raw, &["name", "schema"])?;
    let (raw, place) = (needed(&place, &named, "schema")?, at(&place, "schema"));
    let text: Text<'_> = read(&place, raw.get())?;
    let schema = read::<&RawValue>(&place, &text)?.to_owned();
    Ok(Output { effort, schema: Some(schema) })
}
