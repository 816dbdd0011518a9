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

    /// The body that says a field, or the refusal that names it.
    pub fn write(&self, provider: &dyn Provider, field: &Field) -> Result<Vec<u8>, Unsupported> {
        let (wire, model) = (provider.wire(), self.model(field.request.kind));
        let mut request = field.request.clone();
        // Some models tell log-probabilities only where they are told not to reason.
        if field.alternatives.is_some() && wire.tells_no_logprobs(model, None).is_some() {
            request.generation_config.reasoning = Some(Reasoning::None);
            if let Some(why) = wire.tells_no_logprobs(model, Some(Reasoning::None)) {
                return Err(Unsupported { field: field.name, model: model.to_owned(), why: why.to_owned() });
            }
        }
        let (lane, alternatives) = (Lane::Sync, field.alternatives);
        let options = WireOptions { alternatives, ..WireOptions::new(lane, model) };
        let mut body = Vec::new();
        wire.encode(&request, options, &mut body)?;
        Ok(body)
    }
}

/// All columns: OpenAI, every service, and what runs on this machine.
#[must_use]
pub fn columns() -> Vec<Column> {
    let services = crate::presets().map(|preset| preset.name);
    ["openai"].into_iter().chain(services).chain(crate::programs()).map(Column::of).collect()
}

/// The table as the documentation has it; `takes` says what stands in a cell.
pub fn table(columns: &[Column], fields: &[Field], takes: impl Fn(&Column, &Field) -> bool) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.service).collect();
    let mut page = format!("| field | {} |\n|{}\n", names.join(" | "), " --- |".repeat(names.len() + 1));
    for field in fields {
        let cells = columns.iter().map(|column| if takes(column, field) { "yes" } else { "-" });
        page.push_str(&format!("| `{}` | {} |\n", field.name, cells.collect::<Vec<_>>().join(" | ")));
    }
    page
}
