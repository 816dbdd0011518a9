//! The bodies of `generateContent` and `embedContent`: `request` of a line of Gemini's batches.
//!
//! The API takes names in both spellings, `maxOutputTokens` and `max_output_tokens`: they are read in the first. Lines for the models of
//! Claude that Google sells have Anthropic's body in the same place.

use serde_json::value::RawValue;

use super::kept::Kept;
use super::{MODEL_OF_JOB, Tongue, Translated, anthropic, content, turns};
use crate::request::fields::{
    BodyError, Fields, NO_WORD, Read, at, bad, first_wrong, given, is_empty, most, needed, no_others,
    numbered, object, read, texts, untold,
};
use crate::request::{Blob, Config, Kind, Message, Part, Reasoning, Request, Role, SourceType, Text};

const CONFIG: &str = "generationConfig";
/// Types of documents besides texts.
const PDF: &str = "application/pdf";

pub(super) fn request(body: &str) -> Read<Translated<'_>> {
    let fields = object("", body)?;
    if fields.contains_key(anthropic::VERSION) {
        return anthropic::of_host(fields);
    }
    let fields = camel("", fields)?;
    let (request, kept) = if fields.contains_key("content") { embedding(&fields)? } else { chat(&fields)? };
    Ok(Translated::new(request, kept, Tongue::Gemini))
}

/// Names in one spelling.
fn camel<'a>(place: &str, fields: Fields<'a>) -> Read<Fields<'a>> {
    let mut all = Fields::new();
    for (name, raw) in fields {
        let mut words = name.split('_');
        let mut spelled = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            spelled.push_str(&first.to_uppercase());
            spelled.push_str(rest);
        }
        if all.insert(spelled, raw).is_some() {
            return Err(bad(&at(place, &name), "is there twice, in two spellings"));
        }
    }
    Ok(all)
}

fn camel_object<'a>(place: &str, raw: &'a RawValue) -> Read<Fields<'a>> {
    camel(place, object(place, raw.get())?)
}

fn chat<'a>(fields: &Fields<'a>) -> Read<(Request<'a>, Kept<'a>)> {
    let (mut request, mut kept) = (Request::default(), Kept::default());
    needed("", fields, "contents")?;
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        match name {
            "tools" | "safetySettings" | "labels" if is_empty(raw.get()) => {}
            "toolConfig" if fields.get("tools").is_none_or(|tools| is_empty(tools.get())) => {}
            "contents" => {
                request.messages = kept.unless(name, raw, turns(name, raw, message))?.unwrap_or_default();
            }
            "systemInstruction" => {
                request.system_prompt.extend(kept.unless(name, raw, system(raw))?);
            }
            CONFIG => config(&camel_object(CONFIG, raw)?, &mut request.generation_config, &mut kept)?,
            // The lane decides it.
            "serviceTier" if ["\"standard\"", "\"flex\""].contains(&raw.get()) => {}
            "serviceTier" => return untold(name, "a tier that has no lane here"),
            "cachedContent" => {
                return untold(
                    name,
                    "it names tokens that are not in the line, whose price cannot be bounded",
                );
            }
            "model" => return Err(bad(name, MODEL_OF_JOB)),
            name => kept.keep(name, raw, name.to_owned()),
        }
    }
    Ok((request, kept))
}

/// The one text of a system instruction. How several stand together is not for us to say.
fn system(raw: &RawValue) -> Read<Text<'_>> {
    const PLACE: &str = "systemInstruction";
    if !raw.get().starts_with('{') {
        return Err(bad(PLACE, "is an object with `parts`"));
    }
    let fields = camel_object(PLACE, raw)?;
    let place = at(PLACE, "parts");
    let parts = parts(&place, needed(PLACE, &fields, "parts")?)?;
    match <[Part<'_>; 1]>::try_from(parts) {
        Ok([Part::Text { text }]) => Ok(text),
        _ => untold(&place, NO_WORD),
    }
}

fn message<'a>(place: &str, turn: &Fields<'a>) -> Read<Message<'a>> {
    let path = at(place, "role");
    let role = match turn.get("role").map(|raw| read::<Text<'_>>(&path, raw.get())).transpose()?.as_deref() {
        None | Some("user") => Role::User,
        Some("model") => Role::Assistant,
        Some("function") => return untold(&path, NO_WORD),
        Some(_) => return Err(bad(&path, "is none of `user` and `model`")),
    };
    no_others(place, turn, &["role", "parts"])?;
    let parts = parts(&at(place, "parts"), needed(place, turn, "parts")?)?;
    Ok(Message { role, content: content(parts), tool_call_id: None })
}

fn parts<'a>(place: &str, raw: &'a RawValue) -> Read<Vec<Part<'a>>> {
    let all: Vec<Fields<'a>> = read(place, raw.get())?;
    if all.is_empty() {
        return Err(bad(place, "is empty"));
    }
    first_wrong(numbered(place, all).map(|(place, fields)| part(&place, &camel(&place, given(fields))?)))
}

fn part<'a>(place: &str, fields: &Fields<'a>) -> Read<Part<'a>> {
    let mut said = fields.iter().filter(|(name, raw)| !(*name == "thought" && raw.get() == "false"));
    let (Some((name, raw)), None) = (said.next(), said.next()) else {
        return if fields.is_empty() { Err(bad(place, "is empty")) } else { untold(place, NO_WORD) };
    };
    let path = at(place, name);
    let data = match name.as_str() {
        "text" => return Ok(Part::Text { text: read(&path, raw.get())? }),
        "inlineData" => "data",
        "fileData" => "fileUri",
        _ => return untold(place, NO_WORD),
    };
    let file = camel_object(&path, raw)?;
    if let Some(name) = file.keys().find(|name| ![data, "mimeType"].contains(&name.as_str())) {
        return untold(&at(&path, name), NO_WORD);
    }
    let text = |name: &str| read::<Text<'a>>(&at(&path, name), needed(&path, &file, name)?.get());
    let data = text(data)?;
    // The type of its own file is known to Google.
    let Some(kind) = file.get("mimeType") else { return untold(&path, NO_WORD) };
    let media_type: Text<'a> = read(&at(&path, "mimeType"), kind.get())?;
    let source_type = if name == "inlineData" { SourceType::Base64 } else { SourceType::Url };
    if source_type == SourceType::Url && !is_of_anyone(&data) {
        return untold(&path, NO_WORD);
    }
    let (is_image, is_text) = (media_type.starts_with("image/"), media_type.starts_with("text/"));
    let blob = Blob { source_type, data, media_type };
    match () {
        () if is_image => Ok(Part::Image(blob)),
        () if is_text || &*blob.media_type == PDF => Ok(Part::Document(blob)),
        () => untold(&path, NO_WORD),
    }
}

/// Whether others than Google can read what lies there.
fn is_of_anyone(address: &str) -> bool {
    let own = ["https://generativelanguage.googleapis.com/", "https://www.youtube.com/", "https://youtu.be/"];
    address.starts_with("http") && !own.iter().any(|start| address.starts_with(start))
}

fn config<'a>(fields: &Fields<'a>, config: &mut Config<'a>, kept: &mut Kept<'a>) -> Read<()> {
    let is_json = fields.get("responseMimeType").is_some_and(|kind| kind.get() == "\"application/json\"");
    let by_schema = is_json && fields.contains_key("responseJsonSchema");
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        let (place, text) = (at(CONFIG, name), raw.get());
        match name {
            "maxOutputTokens" => config.max_tokens = Some(most(&place, raw)?),
            "temperature" => config.temperature = Some(read(&place, text)?),
            "topP" => config.top_p = Some(read(&place, text)?),
            "topK" => config.top_k = Some(whole(&place, raw)?),
            "seed" => config.seed = Some(read(&place, text)?),
            "presencePenalty" => config.presence_penalty = Some(read(&place, text)?),
            "frequencyPenalty" => config.frequency_penalty = Some(read(&place, text)?),
            "stopSequences" => config.stop_sequences = texts(&place, raw)?,
            "candidateCount" if text == "1" => {}
            "candidateCount" => return untold(&place, "one whole answer is kept for each request"),
            "responseMimeType" if by_schema || text == "\"text/plain\"" => {}
            "responseJsonSchema" if by_schema => config.output_schema = Some(raw),
            "responseModalities" if text.replace(' ', "") == "[\"TEXT\"]" => {}
            "responseModalities" => return untold(&place, "answers of text are read"),
            "responseLogprobs" if text == "false" => {}
            "thinkingConfig" => match thinking(&place, raw) {
                Ok(reasoning) => config.reasoning = reasoning,
                Err(BodyError::Untold { field, .. }) => kept.keep_within((CONFIG, name), raw, field),
                Err(bad) => return Err(bad),
            },
            name => kept.keep_within((CONFIG, name), raw, place),
        }
    }
    Ok(())
}

/// A whole number, which may be written as a float.
fn whole(place: &str, raw: &RawValue) -> Read<u32> {
    let text = raw.get();
    read(place, text.strip_suffix(".0").unwrap_or(text))
}

fn thinking(place: &str, raw: &RawValue) -> Read<Option<Reasoning>> {
    let mut fields = camel_object(place, raw)?;
    fields.retain(|name, raw| !(name == "includeThoughts" && raw.get() == "false"));
    let mut said = fields.into_iter();
    let (one, another) = (said.next(), said.next());
    let Some((name, raw)) = one else { return Ok(None) };
    if another.is_some() {
        return untold(place, NO_WORD);
    }
    let path = at(place, &name);
    Ok(Some(match name.as_str() {
        "thinkingBudget" => match read::<i64>(&path, raw.get())? {
            0 => Reasoning::None,
            tokens => match u32::try_from(tokens) {
                Ok(tokens) => Reasoning::Tokens(tokens),
                Err(_) => return untold(&path, NO_WORD),
            },
        },
        "thinkingLevel" => match &*read::<Text<'_>>(&path, raw.get())?.to_ascii_uppercase() {
            "LOW" => Reasoning::Low,
            "MEDIUM" => Reasoning::Medium,
            "HIGH" => Reasoning::High,
            _ => return untold(&path, NO_WORD),
        },
        _ => return untold(&path, NO_WORD),
    }))
}

/// One text, and the vector of it.
fn embedding<'a>(fields: &Fields<'a>) -> Read<(Request<'a>, Kept<'a>)> {
    let (mut request, mut kept) = (Request { kind: Kind::Embedding, ..Request::default() }, Kept::default());
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        match name {
            "content" => {
                let place = at(name, "parts");
                let parts = parts(&place, needed(name, &camel_object(name, raw)?, "parts")?)?;
                let Ok([Part::Text { text }]) = <[Part<'_>; 1]>::try_from(parts) else {
                    return untold(&place, "an item has one vector, of one text");
                };
                request.input.push(text);
            }
            "outputDimensionality" => {
                request.generation_config.dimensions = Some(read(name, raw.get())?);
            }
            "model" => return Err(bad(name, MODEL_OF_JOB)),
            name => kept.keep(name, raw, name.to_owned()),
        }
    }
    Ok((request, kept))
}
