//! Bodies of OpenAI's API read as unified requests: for a batch line in OpenAI's form that names another provider's model.
//!
//! A field that a unified request has no word for is refused by its name, and none is dropped but those that say what holds anyway, and
//! labels: the `name` of a schema and the `filename` of a file, which OpenAI demands and other providers have no place for.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::blob::media_type_of;
use super::fields::{
    BodyError, Fields, NO_WORD, Read, at, given, is_empty, needed, object, only, read, texts, untold,
};
use super::{Blob, Config, Content, Kind, Message, Part, Reasoning, Request, Role, SourceType, Text};

/// Tiers that lanes stand for.
const TIERS: [&str; 3] = ["\"auto\"", "\"default\"", "\"flex\""];
const OWN_FORM: &str =
    "each provider has a form of its own for it, which `provider_kwargs` of a unified request can hold";

impl<'a> Request<'a> {
    /// Reads the body of a request to `/v1/chat/completions`, `/v1/embeddings` or `/v1/moderations`. The model is
    /// left to the caller, and the service tier to the lane.
    ///
    /// # Errors
    /// The first field that is wrong, or that a unified request has no word for.
    pub fn of_openai(kind: Kind, body: &'a str) -> Result<Self, BodyError> {
        body_of(kind, body).map_err(|error| error.within("body"))
    }
}

fn body_of(kind: Kind, body: &str) -> Read<Request<'_>> {
    let mut request = Request { kind, ..Request::default() };
    let fields = object("", body)?;
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        match (kind, name) {
            (_, "model") => {}
            (_, name) if says_nothing(name, raw) => {}
            (_, "service_tier") if TIERS.contains(&raw.get()) => {}
            (_, "service_tier") => return untold(name, "a tier that has no lane here"),
            (Kind::Chat, "messages") => request.messages = messages(raw)?,
            (Kind::Chat, name) => setting(name, raw, &fields, &mut request.generation_config)?,
            (_, "input") => request.input = texts("input", raw)?,
            (Kind::Embedding, "dimensions") => {
                request.generation_config.dimensions = Some(read(name, raw.get())?);
            }
            (Kind::Embedding, "encoding_format") if raw.get() == "\"float\"" => {}
            (_, name) => return untold(name, NO_WORD),
        }
    }
    Ok(request)
}

/// Whether a field says no more than its absence would: what writes bodies often writes all of their fields. Of tools only none say
/// nothing, and then so does what is said about them.
fn says_nothing(name: &str, raw: &RawValue) -> bool {
    let text = raw.get();
    match name {
        "tools" | "functions" | "tool_calls" | "metadata" | "logit_bias" | "annotations" | "stop" => {
            is_empty(text)
        }
        "user" | "safety_identifier" | "prompt_cache_key" | "refusal" | "description" => text == "\"\"",
        "stream" | "store" | "logprobs" => text == "false",
        "n" => text == "1",
        "top_logprobs" | "presence_penalty" | "frequency_penalty" => text.parse() == Ok(0.0),
        "tool_choice" | "function_call" => ["\"none\"", "\"auto\""].contains(&text),
        "parallel_tool_calls" => ["true", "false"].contains(&text),
        "modalities" => serde_json::from_str::<[Text<'_>; 1]>(text).is_ok_and(|only| &*only[0] == "text"),
        _ => false,
    }
}

/// Takes a field of a chat that is no message.
fn setting<'a>(name: &str, raw: &'a RawValue, fields: &Fields<'a>, config: &mut Config<'a>) -> Read<()> {
    let text = raw.get();
    match name {
        // The newer name wins, as it does there.
        "max_tokens" if fields.contains_key("max_completion_tokens") => {}
        "max_tokens" | "max_completion_tokens" => config.max_tokens = Some(read(name, text)?),
        "temperature" => config.temperature = Some(read(name, text)?),
        "top_p" => config.top_p = Some(read(name, text)?),
        "presence_penalty" => config.presence_penalty = Some(read(name, text)?),
        "frequency_penalty" => config.frequency_penalty = Some(read(name, text)?),
        "seed" => config.seed = Some(read(name, text)?),
        "stop" => config.stop_sequences = texts(name, raw)?,
        "reasoning_effort" => {
            let effort: Text<'_> = read(name, text)?;
            config.reasoning = match Reasoning::parse(&effort) {
                None | Some(Reasoning::Tokens(_)) => {
                    return untold(name, "it is `none`, `low`, `medium` or `high`");
                }
                known => known,
            };
        }
        "response_format" => config.output_schema = schema(raw)?,
        "stream" | "n" => return untold(name, "one whole answer is kept for each request"),
        "tools" | "tool_choice" | "parallel_tool_calls" | "functions" | "function_call" => {
            return untold(name, OWN_FORM);
        }
        name => return untold(name, NO_WORD),
    }
    Ok(())
}

fn schema(raw: &RawValue) -> Read<Option<&RawValue>> {
    const PLACE: &str = "response_format";
    let format = only(PLACE, raw, &["type", "json_schema"])?;
    let kind: Text<'_> = read("response_format.type", needed(PLACE, &format, "type")?.get())?;
    let named = format.get("json_schema").map(|named| named_schema(named)).transpose()?.flatten();
    match (&*kind, named) {
        ("text", None) => Ok(None),
        ("json_schema", Some(schema)) => Ok(Some(schema)),
        _ => untold(PLACE, "only `text` and `json_schema` with a schema can be said"),
    }
}

/// The schema of an answer, of what stands around it. Every answer is held to its schema here, whatever `strict` says: it decides
/// how OpenAI gets there, and one that does not keep to its schema is of no use to who asks in bulk.
fn named_schema(raw: &RawValue) -> Read<Option<&RawValue>> {
    const PLACE: &str = "response_format.json_schema";
    let fields = object(PLACE, raw.get())?;
    for (name, raw) in &fields {
        match name.as_str() {
            "name" | "schema" => {}
            "strict" => _ = read::<bool>(&format!("{PLACE}.strict"), raw.get())?,
            name if says_nothing(name, raw) => {}
            name => return untold(&format!("{PLACE}.{name}"), NO_WORD),
        }
    }
    Ok(fields.get("schema").copied())
}

fn messages(raw: &RawValue) -> Read<Vec<Message<'_>>> {
    let turns: Vec<Fields<'_>> = read("messages", raw.get())?;
    let turns = turns.into_iter().map(given).enumerate();
    turns.map(|(at, turn)| message(&format!("messages[{at}]"), &turn)).collect()
}

fn message<'a>(place: &str, turn: &Fields<'a>) -> Read<Message<'a>> {
    let path = |name: &str| at(place, name);
    let known = ["role", "content", "tool_call_id"];
    let more = turn.iter().find(|(name, raw)| !known.contains(&name.as_str()) && !says_nothing(name, raw));
    if let Some((name, _)) = more {
        return untold(&path(name), if name == "tool_calls" { OWN_FORM } else { NO_WORD });
    }
    let role: Text<'_> = read(&path("role"), needed(place, turn, "role")?.get())?;
    let role = match &*role {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => return untold(&path("role"), "roles are `system`, `developer`, `user`, `assistant` and `tool`"),
    };
    let content = needed(place, turn, "content")?;
    let content = if content.get().starts_with('[') {
        let parts: Vec<Fields<'a>> = read(&path("content"), content.get())?;
        let place = |at| format!("{place}.content[{at}]");
        Content::Parts(
            parts
                .into_iter()
                .map(given)
                .enumerate()
                .map(|(at, fields)| part(&place(at), &fields))
                .collect::<Read<_>>()?,
        )
    } else {
        Content::Text(read(&path("content"), content.get())?)
    };
    let tool_call_id =
        turn.get("tool_call_id").map(|raw| read(&path("tool_call_id"), raw.get())).transpose()?;
    Ok(Message { role, content, tool_call_id })
}

#[derive(Deserialize)]
struct Url<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow, default)]
    detail: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    file_data: Option<Text<'a>>,
    #[serde(borrow, default)]
    file_id: Option<&'a RawValue>,
}

fn part<'a>(place: &str, fields: &Fields<'a>) -> Read<Part<'a>> {
    let path = |name: &str| at(place, name);
    let kind: Text<'_> = read(&path("type"), needed(place, fields, "type")?.get())?;
    let known = ["type", &*kind];
    if let Some(name) = fields.keys().map(String::as_str).find(|name| !known.contains(name)) {
        return untold(&path(name), NO_WORD);
    }
    let own = || needed(place, fields, &kind);
    match &*kind {
        "text" => Ok(Part::Text { text: read(&path("text"), own()?.get())? }),
        "image_url" => {
            only(&path("image_url"), own()?, &["url", "detail"])?;
            let Url { url, detail } = read(&path("image_url"), own()?.get())?;
            if detail.is_some_and(|detail| &*detail != "auto") {
                return untold(&path("image_url.detail"), NO_WORD);
            }
            let media_type = media_type_of(&url).into();
            Ok(Part::Image(Blob { source_type: SourceType::Url, media_type, data: url }))
        }
        "file" => {
            only(&path("file"), own()?, &["file_data", "file_id", "filename"])?;
            let File { file_data, file_id } = read(&path("file"), own()?.get())?;
            let Some(data) = file_data.filter(|_| file_id.is_none()) else {
                return untold(&path("file.file_id"), "the file is OpenAI's: give its bytes as `file_data`");
            };
            let media_type = "application/pdf".into();
            Ok(Part::Document(Blob { source_type: SourceType::Base64, media_type, data }))
        }
        _ => untold(place, NO_WORD),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::write_canonical;
    use super::*;

    fn canonical(kind: Kind, body: &str) -> String {
        let mut request = Request::of_openai(kind, body).unwrap();
        request.settle_blobs().unwrap();
        let mut out = Vec::new();
        write_canonical(&request, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_body_is_read_as_the_unified_request_that_says_the_same() {
        for (kind, body, unified) in [
            (
                Kind::Chat,
                r#"{"model":"m","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"Hi \"you\""}],"max_tokens":9,"max_completion_tokens":7,"temperature":0.5,"top_p":1,"stop":"END","seed":4,"n":1,"stream":false,"service_tier":"auto","presence_penalty":null,"reasoning_effort":"low"}"#,
                r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi \"you\""}],"generation_config":{"max_tokens":7,"temperature":0.5,"top_p":1,"stop_sequences":["END"],"seed":4,"reasoning":"low"}}"#,
            ),
            (
                Kind::Chat,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"See"},{"type":"image_url","image_url":{"url":"https://x.org/a.png?b","detail":"auto"}},{"type":"image_url","image_url":{"url":"data:image/gif;base64,AAAA"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}}]},{"role":"assistant","content":"Yes","refusal":null},{"role":"tool","tool_call_id":"c1","content":"4"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}}}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"See"},{"type":"image","source_type":"url","media_type":"image/png","data":"https://x.org/a.png?b"},{"type":"image","source_type":"base64","media_type":"image/gif","data":"AAAA"},{"type":"document","source_type":"base64","media_type":"application/pdf","data":"JVBERi0="}]},{"role":"assistant","content":"Yes"},{"role":"tool","tool_call_id":"c1","content":"4"}],"generation_config":{"output_schema":{"type":"object"}}}"#,
            ),
            (
                Kind::Embedding,
                r#"{"model":"m","input":"a","dimensions":8,"encoding_format":"float"}"#,
                r#"{"kind":"embedding","input":["a"],"generation_config":{"dimensions":8}}"#,
            ),
            (Kind::Moderation, r#"{"input":["a"]}"#, r#"{"kind":"moderation","input":"a"}"#),
        ] {
            let request: Request<'_> = serde_json::from_str(unified).unwrap();
            let mut want = Vec::new();
            write_canonical(&request, &mut want);
            assert_eq!(canonical(kind, body), String::from_utf8(want).unwrap(), "{body}");
        }
    }

    #[test]
    fn what_says_no_more_than_its_absence_is_not_refused() {
        const PLAIN: &str = r#"{"messages":[{"role":"user","content":"a"}]}"#;
        for nothing in [
            r#""stop":null"#,
            r#""stop":[]"#,
            r#""tools":[ ]"#,
            r#""tools":[],"tool_choice":"auto","parallel_tool_calls":true"#,
            r#""tool_choice":"none""#,
            r#""functions":[],"function_call":"none""#,
            r#""metadata":{}"#,
            r#""logit_bias":{ }"#,
            r#""logprobs":false,"top_logprobs":0"#,
            r#""n":1,"stream":false,"store":false"#,
            r#""presence_penalty":0,"frequency_penalty":0.0"#,
            r#""user":"","safety_identifier":"""#,
            r#""modalities":["text"]"#,
            r#""response_format":{"type":"text"}"#,
            r#""response_format":{"type":"text","json_schema":null}"#,
            r#""service_tier":"auto","seed":null,"reasoning_effort":null"#,
        ] {
            let body = PLAIN.replace("{\"messages\"", &format!("{{{nothing},\"messages\""));
            assert_eq!(canonical(Kind::Chat, &body), canonical(Kind::Chat, PLAIN), "{nothing}");
        }
        for nothing in [
            r#""tool_calls":[]"#,
            r#""annotations":[]"#,
            r#""refusal":"""#,
            r#""name":null,"audio":null,"function_call":null"#,
        ] {
            let body = PLAIN.replace("{\"role\"", &format!("{{{nothing},\"role\""));
            assert_eq!(canonical(Kind::Chat, &body), canonical(Kind::Chat, PLAIN), "{nothing}");
        }
        let plain = canonical(Kind::Embedding, r#"{"input":"a"}"#);
        assert_eq!(canonical(Kind::Embedding, r#"{"input":"a","user":"","dimensions":null}"#), plain);
    }

    #[test]
    fn a_schema_is_read_with_all_that_stands_around_it() {
        let of = |more: &str| {
            let body = format!(
                r#"{{"response_format":{{"type":"json_schema","json_schema":{{{more}"schema":{{"type":"object"}}}}}}}}"#
            );
            match Request::of_openai(Kind::Chat, &body) {
                Ok(request) => {
                    request.generation_config.output_schema.map(|schema| schema.get().to_owned()).unwrap()
                }
                Err(error) => error.to_string(),
            }
        };
        for held in [
            "",
            r#""strict":true,"#,
            r#""strict":false,"#,
            r#""strict":null,"description":"","#,
            r#""name":"n","#,
        ] {
            assert_eq!(of(held), r#"{"type":"object"}"#, "{held}");
        }
        for (more, field) in [
            (r#""name":"n","strict":"no","#, "`body.response_format.json_schema.strict`"),
            (r#""description":"A receipt.","#, "`body.response_format.json_schema.description`"),
            (r#""x":1,"#, "`body.response_format.json_schema.x`"),
        ] {
            assert!(of(more).starts_with(field), "{more}: {}", of(more));
        }
    }

    #[test]
    fn what_there_is_no_word_for_is_named() {
        let told = |kind, body: &str| match Request::of_openai(kind, body) {
            Err(BodyError::Untold { field, .. }) => field,
            other => panic!("{body}: {other:?}"),
        };
        for (body, field) in [
            (r#"{"tools":[{"type":"function"}]}"#, "body.tools"),
            (r#"{"tool_choice":"required"}"#, "body.tool_choice"),
            (r#"{"logit_bias":{"1":2}}"#, "body.logit_bias"),
            (r#"{"logprobs":true}"#, "body.logprobs"),
            (r#"{"modalities":["text","audio"]}"#, "body.modalities"),
            (r#"{"user":"u"}"#, "body.user"),
            (r#"{"metadata":{"a":"b"}}"#, "body.metadata"),
            (r#"{"store":true}"#, "body.store"),
            (r#"{"stream":true}"#, "body.stream"),
            (r#"{"n":2}"#, "body.n"),
            (r#"{"service_tier":"priority"}"#, "body.service_tier"),
            (r#"{"reasoning_effort":"minimal"}"#, "body.reasoning_effort"),
            (r#"{"reasoning_effort":"9"}"#, "body.reasoning_effort"),
            (r#"{"response_format":{"type":"json_object"}}"#, "body.response_format"),
            (
                r#"{"response_format":{"type":"json_schema","strict":true,"json_schema":{"schema":{}}}}"#,
                "body.response_format.strict",
            ),
            (r#"{"response_format":{"type":"text","schema":{}}}"#, "body.response_format.schema"),
            (r#"{"messages":[{"role":"user","content":"a","name":"n"}]}"#, "body.messages[0].name"),
            (r#"{"messages":[{"role":"function","content":"a"}]}"#, "body.messages[0].role"),
            (
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"a","tool_calls":[{"id":"c"}]}]}"#,
                "body.messages[1].tool_calls",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]}"#,
                "body.messages[0].content[0]",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}"#,
                "body.messages[0].content[0].file.file_id",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f","file_data":"AAAA"}}]}]}"#,
                "body.messages[0].content[0].file.file_id",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x","detail":"high"}}]}]}"#,
                "body.messages[0].content[0].image_url.detail",
            ),
        ] {
            assert_eq!(told(Kind::Chat, body), field, "{body}");
        }
        let seen = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x","format":"png"}}]}]}"#;
        assert_eq!(told(Kind::Chat, seen), "body.messages[0].content[0].image_url.format");
        assert_eq!(
            told(Kind::Embedding, r#"{"input":"a","encoding_format":"base64"}"#),
            "body.encoding_format"
        );
        assert_eq!(told(Kind::Moderation, r#"{"input":"a","dimensions":3}"#), "body.dimensions");
    }

    #[test]
    fn what_is_no_body_is_bad() {
        for (body, field) in [
            ("[]", "body"),
            (r#"{"temperature":"warm"}"#, "body.temperature"),
            (r#"{"max_tokens":-1}"#, "body.max_tokens"),
            (r#"{"messages":[{"content":"a"}]}"#, "body.messages[0].role"),
            (r#"{"messages":[{"role":"user"}]}"#, "body.messages[0].content"),
        ] {
            match Request::of_openai(Kind::Chat, body) {
                Err(BodyError::Bad { field: found, .. }) => assert_eq!(found, field, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
