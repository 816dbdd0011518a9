//! POST /model/{model}/invoke: Bedrock's vectors, asked for in the words of the model's maker. The model stands in the path.

use super::embeddings::{Entry, vector, write_vector};
use super::{Context, Prepared};
use crate::errors::{ApiError, invalid};
use crate::json::push_u64;
use crate::tokens::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

const TEXTS_MAX: usize = 96;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Titan<'a> {
    #[serde(borrow)]
    input_text: Cow<'a, str>,
    dimensions: Option<u64>,
    #[serde(rename = "normalize")]
    _normalize: Option<bool>,
    #[serde(rename = "embeddingTypes")]
    _types: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cohere<'a> {
    #[serde(borrow)]
    texts: Vec<Cow<'a, str>>,
    input_type: String,
    embedding_types: Option<Vec<String>>,
    output_dimension: Option<u64>,
    truncate: Option<String>,
    #[serde(rename = "max_tokens")]
    _max_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Nova<'a> {
    #[serde(rename = "schemaVersion")]
    _schema: Option<IgnoredAny>,
    task_type: String,
    #[serde(borrow)]
    single_embedding_params: Params<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params<'a> {
    #[serde(rename = "embeddingPurpose")]
    _purpose: String,
    embedding_dimension: u64,
    #[serde(borrow)]
    text: NovaText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NovaText<'a> {
    truncation_mode: String,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

/// In whose words a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Titan,
    Cohere,
    Nova,
}

impl Maker {
    fn of(model: &str) -> Option<Self> {
        let named = |part: &str| model.contains(part);
        match () {
            () if named("amazon.titan-embed") => Some(Self::Titan),
            () if named("cohere.embed") => Some(Self::Cohere),
            () if named("amazon.nova-2-multimodal-embeddings") => Some(Self::Nova),
            () => None,
        }
    }

    /// The lengths that a vector may have, the usual one first.
    fn lengths(self) -> &'static [u64] {
        match self {
            Self::Titan => &[1_024, 512, 256],
            Self::Cohere => &[1_536, 1_024, 512, 256],
            Self::Nova => &[3_072, 1_024, 384, 256],
        }
    }
}

#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(super) model: Cow<'a, str>,
    maker: Maker,
    texts: Vec<Cow<'a, str>>,
    dimensions: Option<u64>,
    /// Whether a text that is too long is cut, and not refused.
    is_cut: bool,
}

pub(super) fn read(body: &[u8]) -> Result<Call<'_>, ApiError> {
    let malformed = |error: serde_json::Error| {
        invalid(format!("Malformed input request: {error}, please reformat your input and try again."))
    };
    let has = |field: &str| memchr::memmem::find(body, format!("\"{field}\"").as_bytes()).is_some();
    let model = Cow::Borrowed("");
    Ok(match () {
        () if has("texts") => {
            let body: Cohere<'_> = serde_json::from_slice(body).map_err(malformed)?;
            check_cohere(&body)?;
            let is_cut = body.truncate.is_some_and(|how| how != "NONE");
            Call { model, maker: Maker::Cohere, texts: body.texts, dimensions: body.output_dimension, is_cut }
        }
        () if has("taskType") => {
            let body: Nova<'_> = serde_json::from_slice(body).map_err(malformed)?;
            if body.task_type != "SINGLE_EMBEDDING" {
                return Err(invalid("taskType: a call takes SINGLE_EMBEDDING"));
            }
            let (params, maker) = (body.single_embedding_params, Maker::Nova);
            let is_cut = params.text.truncation_mode != "NONE";
            let dimensions = Some(params.embedding_dimension);
            Call { model, maker, texts: vec![params.text.value], dimensions, is_cut }
        }
        () => {
            let body: Titan<'_> = serde_json::from_slice(body).map_err(malformed)?;
            let (texts, dimensions) = (vec![body.input_text], body.dimensions);
            Call { model, maker: Maker::Titan, texts, dimensions, is_cut: false }
        }
    })
}

fn check_cohere(body: &Cohere<'_>) -> Result<(), ApiError> {
    const USES: &[&str] = &["search_document", "search_query", "classification", "clustering"];
    if !USES.contains(&body.input_type.as_str()) {
        return Err(invalid(format!("input_type: {} is not one of {}", body.input_type, USES.join(", "))));
    }
    if !(1..=TEXTS_MAX).contains(&body.texts.len()) {
        return Err(invalid(format!("texts: between 1 and {TEXTS_MAX} are taken")));
    }
    if body.embedding_types.as_deref() != Some(&["float".to_owned()]) {
        return Err(invalid("embedding_types: only float is simulated"));
    }
    Ok(())
}

impl Call<'_> {
    pub(super) fn tokens(&self) -> u64 {
        self.texts.iter().map(|text| crate::tokens::of(text).max(1)).sum()
    }

    /// Appends the response. How many tokens were read only Titan says in it.
    pub(super) fn answer(
        &self,
        prepared: &Prepared<'_>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Usage, ApiError> {
        if Maker::of(&prepared.model.id) != Some(self.maker) {
            return Err(invalid(
                "Malformed input request: #: required key not found, please reformat your input and try again.",
            ));
        }
        if self.texts.iter().any(|text| text.is_empty()) {
            return Err(invalid("Malformed input request: expected minLength: 1, actual: 0"));
        }
        let most = prepared.model.input_max;
        if self.tokens() > most && !self.is_cut {
            return Err(invalid(format!("Too many input tokens. Max input tokens: {most}.")));
        }
        let lengths = self.maker.lengths();
        let length = self.dimensions.unwrap_or(lengths[0]);
        if !lengths.contains(&length) {
            return Err(invalid(format!("Malformed input request: {length} is not a valid enum value")));
        }
        let tokens = self.tokens().min(most);
        self.write(usize::try_from(length).unwrap_or(1), tokens, context, out);
        Ok(Usage { prompt: tokens, ..Usage::default() })
    }

    fn write(&self, length: usize, tokens: u64, context: &Context<'_>, out: &mut Vec<u8>) {
        let write = |text: &str, out: &mut Vec<u8>| {
            write_vector(out, &vector(&Entry::Text(Cow::Borrowed(text)), length), false);
        };
        match self.maker {
            Maker::Titan => {
                out.extend_from_slice(b"{\"embedding\":");
                write(&self.texts[0], out);
                context.twist.push_usage(out, "inputTextTokenCount", |out| {
                    context.twist.push_tokens(out, tokens);
                });
            }
            Maker::Cohere => {
                out.extend_from_slice(b"{\"id\":\"");
                push_u64(out, context.key);
                out.extend_from_slice(
                    b"\",\"response_type\":\"embeddings_by_type\",\"embeddings\":{\"float\":[",
                );
                for (at, text) in self.texts.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write(text, out);
                }
                out.extend_from_slice(b"]}");
            }
            Maker::Nova => {
                out.extend_from_slice(b"{\"embeddings\":[{\"embeddingType\":\"TEXT\",\"embedding\":");
                write(&self.texts[0], out);
                out.extend_from_slice(b"}]");
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use crate::api::testing::Server;
    use crate::api::{Endpoint, Twist};
    use serde_json::{Value, json};

    const TITAN: &str = "amazon.titan-embed-text-v2:0";
    const COHERE: &str = "us.cohere.embed-v4:0";
    const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";

    fn asked(model: &str, body: &Value) -> Result<Value, String> {
        let server = Server::of("bedrock");
        server
            .ask((Endpoint::Invoke, Some(model)), &body.to_string(), Twist::None)
            .map(|(answer, usage)| json!([answer, usage.prompt]))
    }

    #[test]
    fn each_maker_has_its_own_words() {
        let cohere = |more: Value| {
            let mut body = json!({"texts": ["some words"], "input_type": "search_document", "embedding_types": ["float"]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let nova = |dimension: u64| json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": dimension, "text": {"truncationMode": "NONE", "value": "some words"}}});
        let titan = json!({"inputText": "some words", "dimensions": 256});
        for (model, body, at, length) in [
            (TITAN, titan.clone(), "/embedding", 256),
            (COHERE, cohere(json!({})), "/embeddings/float/0", 1_536),
            (NOVA, nova(384), "/embeddings/0/embedding", 384),
        ] {
            let said = asked(model, &body).unwrap();
            assert_eq!(
                (said[0].pointer(at).unwrap().as_array().unwrap().len(), &said[1]),
                (length, &json!(3))
            );
            assert_eq!(said[0]["inputTextTokenCount"].is_u64(), model == TITAN);
        }
        for (model, body, words) in [
            (NOVA, titan.clone(), "required key not found"),
            (TITAN, json!({"inputText": "x", "dimensions": 3}), "enum value"),
            (TITAN, json!({"inputText": ""}), "minLength"),
            (TITAN, json!({"inputText": "word ".repeat(9_000)}), "Max input tokens"),
            (TITAN, json!({"inputText": "x", "model": "y"}), "Malformed"),
            (COHERE, cohere(json!({"input_type": "poetry"})), "input_type"),
            (COHERE, cohere(json!({"embedding_types": ["int8"]})), "embedding_types"),
            ("us.amazon.nova-lite-v1:0", titan, "cannot be used with"),
        ] {
            let error = asked(model, &body).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
