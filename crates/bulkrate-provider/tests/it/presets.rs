//! Every preset against a server that is like its service, and what it takes and refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkrate_core::answer::Reading;
use bulkrate_core::request::{Config, Content, Kind, Message, Reasoning, Request, Role};
use bulkrate_provider::conformance::{self, Options};
use bulkrate_provider::{Deployed, Preset, Provider, Settings, Unlisted};
use bulkrate_sim::{Sim, SimConfig, Speaks};
use bytes::Bytes;

use crate::server::{KEY, settings};

const ID: &str = "AKIAIOSFODNN7EXAMPLE";

/// A model that the service sells, by its own name.
fn model(service: &str) -> &'static str {
    match service {
        "anthropic" => "claude-haiku-5-5",
        "gemini" | "vertex" => "gemini-3.8-flash",
        "bedrock" => "us.amazon.nova-lite-v1:0",
        "azure" => "gpt-4.1-mini",
        "mistral" => "mistral-small-2603",
        "groq" => "openai/gpt-oss-20b",
        "together" => "openai/gpt-oss-120b",
        "fireworks" => "accounts/fireworks/models/gpt-oss-20b",
        "xai" => "grok-4.3",
        "deepseek" => "deepseek-v4-flash",
        "openrouter" | "modeldatabase" => "openai/gpt-6-luna",
        "doubleword" => "Qwen/Qwen3-30B-A3B",
        "fluxrouter" => "flux-auto",
        _ => "served-model",
    }
}

/// A model that the service sells for vectors, where that is another one than for chats.
fn embeds(service: &str) -> &'static str {
    match service {
        "gemini" | "vertex" => "gemini-embedding-001",
        "azure" => "text-embedding-3-small",
        "mistral" => "mistral-embed",
        "together" => "BAAI/bge-base-en-v1.5",
        "fireworks" => "accounts/fireworks/models/qwen3-embedding-8b",
        _ => model(service),
    }
}

/// Whether calls are signed with credentials that are found, and no key is the usual way.
fn signs(preset: &Preset) -> bool {
    !preset.variables.is_empty() && preset.base_url.is_some()
}

async fn sim(preset: &Preset) -> Sim {
    let signs = signs(preset);
    let api_key =
        if signs { Some(format!("{ID}:{KEY}")) } else { preset.facts.needs_key.then(|| KEY.to_owned()) };
    let (speaks, like) = match preset.name {
        "anthropic" => (Speaks::Anthropic, None),
        "gemini" => (Speaks::Gemini, None),
        "bedrock" => (Speaks::Bedrock, None),
        "vertex" => (Speaks::Vertex, None),
        other => (Speaks::OpenAi, Some(other.to_owned())),
    };
    let records_min = 1;
    Sim::start(SimConfig { speed: 36_000.0, api_key, speaks, like, records_min, ..SimConfig::default() })
        .await
        .unwrap()
}

fn settings_of(preset: &Preset, sim: &Sim) -> Settings {
    let mut settings = settings(&sim.base_url());
    if !preset.facts.needs_key {
        settings.api_key = "".into();
    }
    if preset.name == "vertex" {
        return crate::vertex::account(&sim.base_url(), None);
    }
    if signs(preset) {
        settings.region = Some("us-east-1".to_owned());
        settings.role_arn = Some("arn:aws:iam::123456789012:role/batches".to_owned());
        settings.storage = Some("s3://bkt/bulkrate".to_owned());
        let keys = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", KEY)];
        settings.variables = keys.map(|(name, value)| (name.to_owned(), value.into())).into();
    }
    // Batches go to a deployment of their own.
    let (model, batch) = (model("azure").to_owned(), Some("gpt-4.1-mini-batch".to_owned()));
    settings.deployments = BTreeMap::from([(model.clone(), Deployed { model, batch })]);
    settings
}

/// A request of one setting.
fn with(config: Config<'static>) -> Request<'static> {
    let message = Message { role: Role::User, content: Content::text("Say one word."), tool_call_id: None };
    Request {
        messages: vec![message],
        generation_config: Config { max_tokens: Some(64), ..config },
        ..Request::default()
    }
}

async fn answered(
    provider: &dyn Provider,
    (kind, model): (Kind, &str),
    body: Vec<u8>,
) -> bulkrate_provider::Reply {
    let path = provider.wire().path(kind, model);
    provider.calls().unwrap().call(&path, Bytes::from(body), Duration::from_secs(20)).await.unwrap()
}

#[tokio::test]
async fn every_preset_conforms() {
    for preset in bulkrate_provider::presets() {
        let sim = sim(&preset).await;
        let folder = tempfile::tempdir().unwrap();
        let provider = bulkrate_provider::open(preset.name, &settings_of(&preset, &sim)).unwrap();
        let health = provider.probe().await.unwrap();
        assert_eq!(health.batches, provider.batches().is_some(), "{}", preset.name);
        let options = Options {
            model: model(preset.name),
            folder: folder.path(),
            poll_every: Duration::from_millis(5),
            polls_max: 2_000,
            unix_ms: 1_795_046_400_000,
        };
        let report = conformance::run(&*provider, &options).await;
        let passed = report.unwrap_or_else(|violation| panic!("{}: {violation}", preset.name)).passed;
        assert_eq!(passed.len(), if provider.batches().is_some() { 9 } else { 2 }, "{}", preset.name);
    }
}

/// A field either is taken by a server that refuses what its service refuses, or is an error that names it. Nothing is lost in between:
/// what a service passes over in silence must be refused here.
#[tokio::test]
async fn every_field_works_or_is_refused_by_name() {
    let mut table = String::new();
    for preset in bulkrate_provider::presets() {
        let sim = sim(&preset).await;
        let provider = bulkrate_provider::open(preset.name, &settings_of(&preset, &sim)).unwrap();
        let mut refused = Vec::new();
        for field in conformance::fields() {
            let kind = field.request.kind;
            let model = if kind == Kind::Embedding { embeds(preset.name) } else { model(preset.name) };
            match conformance::write(&*provider, &field.request, model) {
                Ok(body) => {
                    let reply = answered(&*provider, (kind, model), body).await;
                    assert!(
                        matches!(provider.wire().read(kind, &reply), Reading::Answer(_)),
                        "{} {}: {reply:?}",
                        preset.name,
                        field.name
                    );
                }
                Err(error) => {
                    let (error, word) = (error.to_string(), field.name.split(' ').next().unwrap());
                    assert!(error.contains(word) && error.contains(model), "{error}");
                    refused.push(field.name);
                }
            }
        }
        table.push_str(&format!("{}: {}\n", preset.name, refused.join(", ")));
    }
    let want = "\
anthropic: temperature, top_p, top_k, presence_penalty, frequency_penalty, seed, reasoning tokens, kind embedding, kind moderation, kind decision
gemini: reasoning none, reasoning tokens, kind moderation, kind decision
vertex: reasoning none, reasoning tokens, kind moderation, kind decision
bedrock: presence_penalty, frequency_penalty, seed, reasoning low, reasoning high, reasoning tokens, kind embedding, kind moderation, kind decision
azure: top_k, reasoning low, reasoning high, reasoning tokens, kind moderation, kind decision
mistral: top_k, reasoning none, reasoning low, reasoning high, reasoning tokens, document, kind moderation, kind decision
groq: top_k, reasoning tokens, document, kind embedding, kind moderation, kind decision
together: reasoning none, reasoning tokens, document, kind moderation, kind decision
fireworks: reasoning tokens, document, kind moderation, kind decision
xai: top_k, reasoning tokens, document, kind embedding, kind moderation, kind decision
openrouter: kind embedding, kind moderation, kind decision
doubleword: top_k, reasoning tokens, document, kind moderation, kind decision
deepseek: top_k, seed, reasoning tokens, output_schema, image, document, kind embedding, kind moderation, kind decision
fluxrouter: top_k, reasoning none, reasoning low, reasoning high, reasoning tokens, document, kind embedding, kind moderation, kind decision
modeldatabase: top_k, reasoning none, reasoning low, reasoning high, reasoning tokens, document, kind embedding, kind moderation, kind decision
vllm: document, kind moderation, kind decision
sglang: reasoning none, reasoning tokens, document, kind moderation, kind decision
llamacpp: reasoning none, reasoning low, reasoning high, reasoning tokens, document, kind moderation, kind decision
ollama: top_k, reasoning tokens, document, kind moderation, kind decision
";
    assert_eq!(table, want);
}

#[tokio::test]
async fn what_a_service_says_it_charged_is_read_to_the_nano_dollar() {
    for preset in bulkrate_provider::presets() {
        let sim = sim(&preset).await;
        let provider = bulkrate_provider::open(preset.name, &settings_of(&preset, &sim)).unwrap();
        let body = conformance::write(&*provider, &with(Config::default()), model(preset.name)).unwrap();
        let reply = answered(&*provider, (Kind::Chat, model(preset.name)), body).await;
        let Reading::Answer(answer) = provider.wire().read(Kind::Chat, &reply) else { panic!("{reply:?}") };
        let bill = i64::try_from(sim.bill_usd_nanos()).unwrap();
        let charged = answer.charged.map(|charged| charged.0);
        assert_eq!(charged, (preset.facts.unlisted == Unlisted::Reported).then_some(bill), "{}", preset.name);
        let costs = preset.facts.needs_key || !preset.variables.is_empty();
        assert_eq!(bill > 0, costs, "{}", preset.name);
        let usage = answer.usage.unwrap();
        assert!(usage.input > 0 && usage.output > 0, "{}: {usage:?}", preset.name);
    }
}

/// The names under which fields go out, where they are not OpenAI's.
#[test]
fn fields_have_the_services_own_names() {
    let config = || Config { seed: Some(7), ..Config::default() };
    let reasoned = |reasoning| Config { reasoning: Some(reasoning), ..Config::default() };
    for (name, config, want) in [
        ("mistral", config(), r#""max_tokens":64,"random_seed":7"#),
        ("groq", config(), r#""max_completion_tokens":64,"seed":7"#),
        ("vllm", reasoned(Reasoning::Tokens(9)), r#""max_completion_tokens":64,"thinking_token_budget":9"#),
        (
            "openrouter",
            reasoned(Reasoning::Tokens(9)),
            r#""reasoning":{"max_tokens":9},"usage":{"include":true}"#,
        ),
        ("openrouter", reasoned(Reasoning::Low), r#""reasoning":{"effort":"low"}"#),
        ("deepseek", reasoned(Reasoning::None), r#""thinking":{"type":"disabled"}"#),
        ("deepseek", reasoned(Reasoning::High), r#""reasoning_effort":"high""#),
    ] {
        let provider = bulkrate_provider::open(name, &settings("http://127.0.0.1:1/v1")).unwrap();
        let body = conformance::write(&*provider, &with(config), "m").unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(want), "{name}: {body}");
        assert!(!body.contains("service_tier"), "{name}: {body}");
    }
}

#[test]
fn kinds_that_a_service_has_not_are_refused() {
    for (name, kind, taken) in [
        ("groq", Kind::Embedding, false),
        ("deepseek", Kind::Embedding, false),
        ("mistral", Kind::Embedding, true),
        ("mistral", Kind::Moderation, false),
        ("vllm", Kind::Embedding, true),
    ] {
        let provider = bulkrate_provider::open(name, &settings("http://127.0.0.1:1/v1")).unwrap();
        let request = Request { kind, input: vec!["a".into()], ..Request::default() };
        let written = conformance::write(&*provider, &request, "m");
        assert_eq!(written.is_ok(), taken, "{name} {kind:?}: {written:?}");
        if let Err(error) = written.map_err(|error| error.to_string()) {
            assert!(error.contains("`kind`") && error.contains(kind.name()), "{error}");
        }
    }
}
