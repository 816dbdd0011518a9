//! Every preset against a server that is like its service, and what it takes and refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkrate_core::answer::Reading;
use bulkrate_core::request::{
    Blob, Config, Content, Kind, Message, Part, Reasoning, Request, Role, SourceType,
};
use bulkrate_provider::conformance::{self, Column, Field, Options};
use bulkrate_provider::{Deployed, ModelInvocationType, Preset, Provider, Settings, Unlisted, Unsupported};
use bulkrate_sim::{Sim, SimConfig, Speaks};
use bytes::Bytes;

use crate::server::{KEY, settings};

const ID: &str = "AKIAIOSFODNN7EXAMPLE";

/// A model that the service sells for chats, by its own name.
fn model(service: &'static str) -> &'static str {
    Column::of(service).chat
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
    // Batches go to a deployment of their own, of a model that has batches there.
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
        conforms(preset.name, &settings_of(&preset, &sim), model(preset.name)).await;
    }
}

async fn conforms(name: &str, settings: &Settings, model: &str) {
    let folder = tempfile::tempdir().unwrap();
    let provider = bulkrate_provider::open(name, settings).unwrap();
    let health = provider.probe().await.unwrap();
    assert_eq!(health.batches, provider.batches().is_some(), "{name}");
    let options = Options {
        model,
        folder: folder.path(),
        poll_every: Duration::from_millis(5),
        polls_max: 2_000,
        unix_ms: 1_795_046_400_000,
    };
    let report = conformance::run(&*provider, &options).await;
    let passed = report.unwrap_or_else(|violation| panic!("{name}: {violation}")).passed;
    assert_eq!(passed.len(), if provider.batches().is_some() { 9 } else { 2 }, "{name}");
}

/// Every field is taken or refused by name there, too.
#[tokio::test]
async fn claude_in_its_own_words_conforms_at_bedrock() {
    const CLAUDE: Column = Column {
        service: "bedrock",
        chat: "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        embedding: "amazon.titan-embed-text-v2:0",
    };
    let preset = bulkrate_provider::presets().find(|preset| preset.name == CLAUDE.service).unwrap();
    let sim = sim(&preset).await;
    let native =
        Settings { model_invocation_type: ModelInvocationType::InvokeModel, ..settings_of(&preset, &sim) };
    conforms(CLAUDE.service, &native, CLAUDE.chat).await;
    let provider = bulkrate_provider::open(CLAUDE.service, &native).unwrap();
    let mut proved = BTreeMap::new();
    prove(&*provider, CLAUDE, &conformance::fields(), &mut proved).await;
    let taken = |field: &str| proved[&(CLAUDE.service, field)];
    assert!(["system_prompt", "top_k", "output_schema", "image", "kind embedding"].into_iter().all(taken));
    assert!(!taken("seed") && !taken("kind moderation"));
}

/// What stands in a cell of the documentation's table, proved: a server that refuses what its service refuses has taken the field, or
/// an error names it. Nothing is lost in between: what a service passes over in silence must be refused here.
#[tokio::test]
async fn every_cell_of_the_table_works_or_is_refused_by_name() {
    let fields = conformance::fields();
    let mut proved = BTreeMap::new();
    for preset in bulkrate_provider::presets() {
        let sim = sim(&preset).await;
        let provider = bulkrate_provider::open(preset.name, &settings_of(&preset, &sim)).unwrap();
        prove(&*provider, Column::of(preset.name), &fields, &mut proved).await;
    }
    // No list has prices of models that make pictures.
    let config = SimConfig { api_key: Some(KEY.to_owned()), any_model: true, ..SimConfig::default() };
    let sim = Sim::start(config).await.unwrap();
    let openai = bulkrate_provider::open("openai", &settings(&sim.base_url())).unwrap();
    prove(&*openai, Column::of("openai"), &fields, &mut proved).await;
    // `vllm run-batch` takes the bodies of the server, which has answered them.
    for program in bulkrate_provider::programs() {
        let (program, server) = (Column::of(program), Column::of("vllm"));
        let own = bulkrate_provider::open(program.service, &Settings::default()).unwrap();
        let vllm = bulkrate_provider::open("vllm", &settings("http://127.0.0.1:1/v1")).unwrap();
        for field in &fields {
            let (written, answered) = (program.write(&*own, field), server.write(&*vllm, field));
            assert_eq!(written.as_ref().ok(), answered.as_ref().ok(), "{} {}", program.service, field.name);
            written.err().iter().for_each(|error| names(error, field, program));
            proved.insert((program.service, field.name), proved[&("vllm", field.name)]);
        }
    }
    let page = include_str!("../../../../docs/reference/providers.md");
    let (_, table) = page.split_at(page.find("| field |").unwrap());
    let cells = conformance::table(&conformance::columns(), &fields, |column, field| {
        *proved.get(&(column.service, field.name)).unwrap_or_else(|| {
            panic!("the cell of {} and {} stands in the table and is not proved", column.service, field.name)
        })
    });
    assert_eq!(table.trim_end(), cells.trim_end(), "run `cargo xtask docs`");
}

/// A refusal has the field and the model.
fn names(error: &Unsupported, field: &Field, column: Column) {
    let (error, word) = (error.to_string(), field.name.split(' ').next().unwrap());
    assert!(error.contains(word) && error.contains(column.model(field.request.kind)), "{error}");
}

/// Asks for each field, and notes whether it was answered.
async fn prove(
    provider: &dyn Provider,
    column: Column,
    fields: &[Field],
    proved: &mut BTreeMap<(&'static str, &'static str), bool>,
) {
    for field in fields {
        let (kind, name) = (field.request.kind, field.name);
        let (model, place) = (column.model(kind), (column.service, name));
        let written = column.write(provider, field);
        proved.insert(place, written.is_ok());
        let body = match written {
            Ok(body) => body,
            Err(error) => {
                names(&error, field, column);
                continue;
            }
        };
        let reply = answered(provider, (kind, model), body).await;
        let Reading::Answer(answer) = provider.wire().read(kind, &reply) else {
            panic!("{place:?}: {reply:?}");
        };
        assert_eq!(!answer.tokens.is_empty(), field.alternatives.is_some(), "{place:?}");
    }
}

/// Where a wire says that its service fetches an address itself, the address is sent, and where it does not, it is refused.
#[tokio::test]
async fn an_address_is_sent_exactly_where_the_service_reads_it() {
    let (mut images, mut documents) = (Vec::new(), Vec::new());
    for preset in bulkrate_provider::presets() {
        let sim = sim(&preset).await;
        let provider = bulkrate_provider::open(preset.name, &settings_of(&preset, &sim)).unwrap();
        let model = model(preset.name);
        type Wrap = fn(Blob<'static>) -> Part<'static>;
        let media: [(Wrap, &str, &mut Vec<&str>); 2] =
            [(Part::Image, "image/png", &mut images), (Part::Document, "application/pdf", &mut documents)];
        for (wrap, media_type, unread) in media {
            let part = |source_type, data: &'static str| {
                wrap(Blob { source_type, media_type: media_type.into(), data: data.into() })
            };
            let write = |part: Part<'static>| {
                let content = Content::Parts(vec![Part::Text { text: "What is it?".into() }, part]);
                let message = Message { role: Role::User, content, tool_call_id: None };
                let request = Request { messages: vec![message], ..with(Config::default()) };
                conformance::write(&*provider, &request, model)
            };
            if write(part(SourceType::Base64, "AAAA")).is_err() {
                continue; // it takes none at all
            }
            let address = part(SourceType::Url, "https://example.org/a");
            let reads = provider.wire().reads(&address, model);
            assert_eq!(write(address).is_ok(), reads, "{} {media_type}", preset.name);
            assert!(provider.wire().reads(&part(SourceType::Base64, "AAAA"), model));
            unread.extend((!reads).then_some(preset.name));
        }
    }
    assert_eq!(images, ["gemini", "vertex", "bedrock", "ollama"]);
    assert_eq!(documents, ["gemini", "vertex", "bedrock", "azure", "openrouter"]);
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
