//! Prints what goes out: a JSON line for each field of the unified request, in each lane, at the services whose own clients, or servers, have
//! types for it. The Python tests hold them against those.

use bulkrate_core::ids::{Sub, WireId};
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::Kind;
use bulkrate_provider::conformance::{self, Field};
use bulkrate_provider::{ChatEndpoint, ModelInvocationType, Provider, ProxyFrom, Settings, WireOptions};
use serde_json::{Value, json};

type Failed = Box<dyn std::error::Error>;

/// Services, and models of theirs of which each field is taken by one, if the service takes it at all.
const ALL: &[(&str, &[&str], &[&str])] = &[
    ("anthropic", &["claude-sonnet-5-5", "claude-sonnet-4-5"], &["claude-sonnet-5-5"]),
    ("gemini", &["gemini-3.8-flash", "gemini-2.5-flash"], &["gemini-embedding-001"]),
    ("openai", &["gpt-6-luna", "gpt-4.1-mini"], &["text-embedding-3-small"]),
    ("azure", &["gpt-6-luna", "gpt-4.1-mini"], &["text-embedding-3-small"]),
    ("mistral", &["mistral-small-2603"], &["mistral-embed"]),
    // Three dialects: Google's own, Anthropic's and, for open models, OpenAI's.
    (
        "vertex",
        &[
            "openai/gpt-oss-120b-maas",
            "gemini-3.8-flash",
            "gemini-2.5-flash",
            "claude-sonnet-5-5",
            "claude-sonnet-4-5",
        ],
        &["gemini-embedding-001", "text-embedding-005"],
    ),
    // Claude in its own words: of Converse botocore's models judge all that goes out, and of vectors too.
    (
        "bedrock",
        &["global.anthropic.claude-sonnet-5-5", "us.anthropic.claude-haiku-4-5-20251001-v1:0"],
        &["global.anthropic.claude-sonnet-5-5"],
    ),
    ("groq", &["openai/gpt-oss-120b"], &["openai/gpt-oss-120b"]),
    ("together", &["openai/gpt-oss-120b"], &["BAAI/bge-base-en-v1.5"]),
    ("fireworks", &["accounts/fireworks/models/gpt-oss-20b"], &["nomic-ai/nomic-embed-text-v1.5"]),
    ("vllm", &["org/model"], &["org/model"]),
    ("vllm-offline", &["org/model"], &["org/model"]),
];

fn main() -> Result<(), Failed> {
    for (service, models, embedders) in ALL {
        let endpoints: &[ChatEndpoint] = match *service {
            "openai" => &[ChatEndpoint::ChatCompletions, ChatEndpoint::Responses],
            _ => &[ChatEndpoint::ChatCompletions],
        };
        for endpoint in endpoints {
            // Nothing is sent: any address will do.
            let settings = Settings {
                proxy: ProxyFrom::None,
                base_url: (*service == "azure").then(|| "https://resource.invalid".to_owned()),
                storage: match *service {
                    "vertex" => Some("gs://bucket/labels".to_owned()),
                    "bedrock" => Some("s3://bucket/labels".to_owned()),
                    _ => None,
                },
                role_arn: Some("arn:aws:iam::123456789012:role/labels".to_owned()),
                model_invocation_type: ModelInvocationType::InvokeModel,
                chat_endpoint: *endpoint,
                ..Settings::default()
            };
            let provider = bulkrate_provider::open(service, &settings)?;
            for field in conformance::fields() {
                let models = if field.request.kind == Kind::Embedding { *embedders } else { *models };
                for model in models {
                    print_field(&*provider, service, &field, model)?;
                }
            }
        }
    }
    Ok(())
}

/// The field in each lane, marked for the prompt cache and with log-probabilities where that is possible.
fn print_field(provider: &dyn Provider, service: &str, field: &Field, model: &str) -> Result<(), Failed> {
    let wire = provider.wire();
    let plain = WireOptions::new(Lane::Sync, model);
    let mut ways = Vec::new();
    if provider.calls().is_some() {
        ways.push(plain);
    }
    if provider.facts().flex {
        ways.push(WireOptions { lane: Lane::Flex, ..plain });
    }
    if provider.batches().is_some_and(|batches| batches.refuses(field.request.kind, model).is_none()) {
        ways.push(WireOptions { lane: Lane::Batch, ..plain });
    }
    if wire.marks(Lane::Sync, model).is_some() {
        ways.extend([Ttl::FiveMinutes, Ttl::Hour].map(|ttl| WireOptions { mark: Some(ttl), ..plain }));
        ways.push(WireOptions { mark: Some(Ttl::Hour), second: Some(1), ..plain });
    }
    let reasoning = field.request.generation_config.reasoning;
    let tells = field.request.kind == Kind::Chat && wire.tells_no_logprobs(model, reasoning).is_none();
    if tells && provider.calls().is_some() {
        ways.push(WireOptions { alternatives: Some(3), ..plain });
    }
    for way in ways {
        println!("{}", written(provider, service, field, way)?);
    }
    Ok(())
}

fn written(
    provider: &dyn Provider,
    service: &str,
    field: &Field,
    way: WireOptions<'_>,
) -> Result<Value, Failed> {
    let (kind, wire) = (field.request.kind, provider.wire());
    let mut body = Vec::new();
    let refused = wire.encode(&field.request, way, &mut body).err();
    let mut line = Vec::new();
    if refused.is_none() && way.lane == Lane::Batch {
        let batches = provider.batches().ok_or("it has no batches")?;
        batches.input_line(WireId::one(Sub::new(1, 1), 0), kind, &body, &mut line);
    }
    let read = |bytes: &[u8]| match bytes {
        [] => Ok(Value::Null),
        bytes => serde_json::from_slice(bytes),
    };
    Ok(json!({
        "service": service, "model": way.model, "field": field.name, "kind": kind.name(), "lane": way.lane.name(),
        "path": wire.path_in(way.lane, kind, way.model), "body": read(&body)?, "line": read(&line)?,
        "refused": refused.map(|refused| refused.to_string()),
    }))
}
