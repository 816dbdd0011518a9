//! The table of services and fields: which models it is shown and proved with, and how it is written.

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Kind, Reasoning};

use super::fields::Field;
use crate::api::{Provider, Unsupported, WireOptions};

/// One service, with the models that its cells are asked of. What services take differs by model: the current ones are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub service: &'static str,
    pub chat: &'static str,
    pub embedding: &'static str,
}

/// Models by the services' own names, where the service has no servers of one's own.
const MODELS: &[(&str, &str, &str)] = &[
    ("openai", "gpt-6-luna", "text-embedding-3-small"),
    ("anthropic", "claude-sonnet-5-5", ""),
    ("gemini", "gemini-3.8-flash", "gemini-embedding-001"),
    ("vertex", "gemini-3.8-flash", "gemini-embedding-001"),
    ("bedrock", "us.amazon.nova-lite-v1:0", "amazon.titan-embed-text-v2:0"),
    ("azure", "gpt-6-luna", "text-embedding-3-small"),
    ("mistral", "mistral-small-2603", "mistral-embed"),
    ("groq", "openai/gpt-oss-20b", ""),
    ("together", "openai/gpt-oss-120b", "BAAI/bge-base-en-v1.5"),
    ("fireworks", "accounts/fireworks/models/gpt-oss-20b", "accounts/fireworks/models/qwen3-embedding-8b"),
    ("xai", "grok-4.3", ""),
    ("openrouter", "openai/gpt-6-luna", ""),
    ("doubleword", "Qwen/Qwen3-30B-A3B", ""),
    ("deepseek", "deepseek-v4-flash", ""),
    ("fluxrouter", "flux-auto", ""),
    ("modeldatabase", "openai/gpt-6-luna", ""),
];
/// What a server of one's own may call its model.
const SERVED: &str = "served-model";

impl Column {
    /// The column of a service.
    #[must_use]
    pub fn of(service: &'static str) -> Self {
        let known = MODELS.iter().find(|(name, ..)| *name == service);
        let (_, chat, embedding) = known.copied().unwrap_or((service, SERVED, ""));
        Self { service, chat, embedding: if embedding.is_empty() { chat } else { embedding } }
    }

    /// The model that a request of this kind is put to.
    #[must_use]
    pub fn model(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Embedding => self.embedding,
            Kind::Moderation if self.service == "openai" => "omni-moderation-latest",
            Kind::Image if self.service == "openai" => "gpt-image-2.5-flare",
            Kind::Chat | Kind::Moderation | Kind::Decision | Kind::Image => self.chat,
        }
    }

    /// The body that says a field in a lane, or the refusal that names it.
    pub fn write(&self, provider: &dyn Provider, lane: Lane, field: &Field) -> Result<Vec<u8>, Unsupported> {
        let (wire, kind) = (provider.wire(), field.request.kind);
        let model = self.model(kind);
        let batches = provider.batches().filter(|_| lane == Lane::Batch);
        if let Some(why) = batches.and_then(|batches| batches.refuses(kind, model)) {
            return Err(Unsupported { field: "kind", model: model.to_owned(), why: why.to_owned() });
        }
        let mut request = field.request.clone();
        // Some models tell log-probabilities only where they are told not to reason.
        if field.alternatives.is_some() && wire.tells_no_logprobs(model, None).is_some() {
            request.generation_config.reasoning = Some(Reasoning::None);
            if let Some(why) = wire.tells_no_logprobs(model, Some(Reasoning::None)) {
                return Err(Unsupported { field: field.name, model: model.to_owned(), why: why.to_owned() });
            }
        }
        let alternatives = field.alternatives;
        let options = WireOptions { lane, model, max_tokens: None, mark: None, alternatives };
        let mut body = Vec::new();
        wire.encode(&request, options, &mut body)?;
        Ok(body)
    }
}

/// The lanes in which cells are asked: calls and batches, as far as the service has them.
#[must_use]
pub fn lanes(provider: &dyn Provider) -> Vec<Lane> {
    let lanes = [(Lane::Sync, provider.calls().is_some()), (Lane::Batch, provider.batches().is_some())];
    lanes.into_iter().filter_map(|(lane, has)| has.then_some(lane)).collect()
}

/// What stands in a cell: whether the field can be said in each of the service's lanes.
#[must_use]
pub fn cell(said: &[(Lane, bool)]) -> &'static str {
    match said.iter().find(|(_, can)| *can) {
        None => "-",
        Some(_) if said.iter().all(|(_, can)| *can) => "yes",
        Some((Lane::Batch, _)) => "batch",
        Some(_) => "sync",
    }
}

/// All columns: OpenAI, every service, and what runs on this machine.
#[must_use]
pub fn columns() -> Vec<Column> {
    let services = crate::presets().map(|preset| preset.name);
    ["openai"].into_iter().chain(services).chain(crate::programs()).map(Column::of).collect()
}

/// The table as the documentation has it; `stands` says what is in a cell.
pub fn table(
    columns: &[Column],
    fields: &[Field],
    stands: impl Fn(&Column, &Field) -> &'static str,
) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.service).collect();
    let mut page = format!("| field | {} |\n|{}\n", names.join(" | "), " --- |".repeat(names.len() + 1));
    for field in fields {
        let cells = columns.iter().map(|column| stands(column, field));
        page.push_str(&format!("| `{}` | {} |\n", field.name, cells.collect::<Vec<_>>().join(" | ")));
    }
    page
}
