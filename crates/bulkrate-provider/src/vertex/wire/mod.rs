//! The JSON of the models that Vertex sells, each in the words of whoever made it: Gemini's and Claude's; and open models', which are
//! called as `publisher/model` and speak OpenAI's language.

mod embed;
mod line;

use std::borrow::Cow;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Marks;
use bulkrate_core::request::{Kind, Part, Request, Tongue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::anthropic;
use crate::anthropic::wire::encode as claude;
use crate::anthropic::wire::host::Host;
use crate::api::{BatchLine, Reply, Unsupported, Wire, WireOptions};
use crate::gemini;
use crate::gemini::wire::encode as google;
use crate::http::Account;
use crate::http::batches::in_path;
use crate::http::limits::now_unix_s;
use crate::http::sign::ENDED;
use crate::http::tiers::FLEX;
use crate::job;
use crate::openai::wire::OpenAiWire;
use crate::openai::{self, presets};
use crate::settings::{ChatEndpoint, Settings};

use super::credentials::REFUSED;

/// Whose words a model is asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Google,
    Anthropic,
    /// Whoever published it: the name says who.
    Open,
}

impl Maker {
    fn of(model: &str) -> Self {
        match model {
            _ if model.contains('/') => Self::Open,
            _ if model.starts_with("claude") => Self::Anthropic,
            _ => Self::Google,
        }
    }
}

/// Who published a model, and its name without that.
fn published(model: &str) -> (&str, &str) {
    let usual = if model.starts_with("claude") { "anthropic" } else { "google" };
    model.split_once('/').unwrap_or((usual, model))
}

/// A model as a resource: `publishers/google/models/gemini-3.8-flash`.
pub(super) fn resource(model: &str) -> String {
    let (publisher, model) = published(model);
    format!("publishers/{publisher}/models/{model}")
}

/// Why batches are not made of open models there. Which region a model is in, its own page tells.
const OPEN_NOT_GLOBAL: &str = "Google runs no batches of open models at `global`; name a region";
/// Why a batch of an open model does not take an item, whatever the model reads in calls.
const OPEN_TEXT_ONLY: &str = "batches of open models take texts alone; use the sync lane";

/// Where batches of an account run and lie, as far as it decides what they take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Batched {
    /// Inputs and results are tables.
    pub in_tables: bool,
    /// They run at no region.
    pub at_global: bool,
}

/// The wire of one account. Texts that come back are redacted: a server may repeat the token it got.
#[derive(Debug)]
pub struct VertexWire {
    google: google::Encoder,
    claude: claude::Encoder,
    open: OpenAiWire,
    account: Account,
    batched: Batched,
}

impl VertexWire {
    #[must_use]
    pub fn new(account: Account, settings: &Settings, batched: Batched) -> Self {
        let structured_outputs = settings.structured_outputs;
        let plain = Settings { chat_endpoint: ChatEndpoint::ChatCompletions, ..settings.clone() };
        Self {
            google: google::Encoder { structured_outputs, host: google::VERTEX },
            claude: claude::Encoder::of_host(Host::Vertex, structured_outputs),
            open: OpenAiWire::new(presets::VERTEX, account.clone(), &plain),
            account,
            batched,
        }
    }

    /// Why batches are not made of such items for a model.
    pub(super) fn no_batches(&self, kind: Kind, model: &str) -> Option<&'static str> {
        match Maker::of(model) {
            Maker::Open => self.batched.at_global.then_some(OPEN_NOT_GLOBAL),
            Maker::Google if kind == Kind::Embedding => embed::no_batches(model, self.batched.in_tables),
            Maker::Google | Maker::Anthropic => None,
        }
    }

    /// What a reply that is no success means for the one call it answers.
    pub(super) fn refused(&self, reply: &Reply) -> Failure {
        self.account.renewing(refused(reply, now_unix_s()))
    }

    pub(super) fn write_line(&self, id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        match line::maker(kind, body) {
            Maker::Open => self.open.input_line(id, kind, body, out),
            maker => line::write(id, (kind, maker), body, self.batched.in_tables, out),
        }
    }

    pub(super) fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let BatchLine { custom_id, reading } = line::read(line, |answer, is_open| {
            // What an open model's row holds may be the error of the server behind it.
            match kind == Kind::Chat && (is_open || self::is_open(answer)) {
                true => self.open.read_answer(kind, answer),
                false => success(kind, answer),
            }
        })?;
        Ok(BatchLine { custom_id, reading: self.account.redacted(reading) })
    }

    /// What a batch of an open model does not take.
    fn check_open(request: &Request<'_>, options: WireOptions<'_>) -> Result<(), Unsupported> {
        let job = job::Job { request, options, family: () };
        match job.has_part(|part| !matches!(part, Part::Text { .. })) {
            true => Err(job.unsupported("messages", OPEN_TEXT_ONLY)),
            false => Ok(()),
        }
    }
}

impl Wire for VertexWire {
    fn path(&self, kind: Kind, model: &str) -> Cow<'static, str> {
        let verb = match Maker::of(model) {
            Maker::Open => return Cow::Owned(format!("/endpoints/openapi{}", self.open.path(kind, model))),
            Maker::Google if kind == Kind::Embedding => embed::verb(model),
            Maker::Google => "generateContent",
            Maker::Anthropic => "rawPredict",
        };
        Cow::Owned(format!("/publishers/{}/models/{}:{verb}", published(model).0, in_path(model)))
    }

    fn path_in(&self, lane: Lane, kind: Kind, model: &str) -> Cow<'static, str> {
        let path = self.path(kind, model);
        if lane == Lane::Flex { Cow::Owned(format!("{path}{FLEX}")) } else { path }
    }

    fn takes_openai(&self, kind: Kind, model: &str) -> bool {
        Maker::of(model) == Maker::Open && self.open.takes_openai(kind, model)
    }

    fn speaks(&self, tongue: Tongue, kind: Kind, model: &str) -> bool {
        match Maker::of(model) {
            Maker::Anthropic => tongue == Tongue::Anthropic,
            // Vectors are asked for in other words than there.
            Maker::Google => tongue == Tongue::Gemini && kind == Kind::Chat,
            Maker::Open => false,
        }
    }

    fn marks(&self, _: Lane, model: &str) -> Option<Marks> {
        (Maker::of(model) == Maker::Anthropic).then(|| anthropic::wire::models::marks(model))
    }

    fn reads(&self, part: &Part<'_>, model: &str) -> bool {
        match Maker::of(model) {
            Maker::Google => part.blob().is_none_or(|blob| google::VERTEX.reads(blob)),
            Maker::Open => self.open.reads(part, model),
            Maker::Anthropic => true,
        }
    }

    fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        if let Some(why) =
            self.no_batches(request.kind, options.model).filter(|_| options.lane == Lane::Batch)
        {
            return Err(Unsupported { field: "kind", model: options.model.to_owned(), why: why.to_owned() });
        }
        match Maker::of(options.model) {
            Maker::Open => {
                if options.lane == Lane::Batch {
                    Self::check_open(request, options)?;
                }
                self.open.encode(request, options, out)
            }
            Maker::Google if request.kind == Kind::Embedding => embed::encode(request, options, out),
            Maker::Google => {
                line::check_words(request, options.model)?;
                if options.lane == Lane::Batch {
                    line::check_labels(request, options.model)?;
                }
                self.google.encode(request, options, out)
            }
            Maker::Anthropic => self.claude.encode(request, options, out),
        }
    }

    fn read<'a>(&self, kind: Kind, reply: &'a Reply) -> Reading<'a> {
        let reading = if (200..300).contains(&reply.status) {
            if kind == Kind::Chat && is_open(&reply.body) {
                return self.open.read(kind, reply);
            }
            success(kind, &reply.body)
        } else {
            Reading::Failure(self.refused(reply))
        };
        self.account.redacted(reading)
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.account.hide(text)
    }
}

/// What only Gemini's answers have, and what only open models'. Any name may stand deeper in an answer, in what a model gives to a tool.
#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    candidates: Option<IgnoredAny>,
    #[serde(default)]
    choices: Option<IgnoredAny>,
}

fn has(body: &[u8], name: &[u8]) -> bool {
    memchr::memmem::find(body, name).is_some()
}

/// An answer in OpenAI's language, which is an open model's.
fn is_open(body: &[u8]) -> bool {
    has(body, b"\"choices\"") && serde_json::from_slice::<Top>(body).is_ok_and(|top| top.choices.is_some())
}

/// An answer of whichever maker's model. A quote within a text is escaped: a name in quotes is one of a field.
fn success(kind: Kind, body: &[u8]) -> Reading<'_> {
    if kind == Kind::Embedding {
        return embed::success(body);
    }
    let of_google = || serde_json::from_slice::<Top>(body).is_ok_and(|top| top.candidates.is_some());
    if has(body, b"\"stop_reason\"") && !(has(body, b"\"candidates\"") && of_google()) {
        return anthropic::wire::read::success(body);
    }
    gemini::wire::read::success(body)
}

/// In the page of Google's front where an address is that of nobody.
const NOBODY: &[u8] = b"Error 404 (Not Found)!!1";

/// Whether Google's front says so: nobody was there to carry anything out.
pub(super) fn is_nobodys(reply: &Reply) -> bool {
    reply.status == 404 && memchr::memmem::find(&reply.body, NOBODY).is_some()
}

/// What a reply that is no success means, in the words of whoever wrote it.
pub(super) fn refused(reply: &Reply, now_unix_s: i64) -> Failure {
    if is_nobodys(reply) {
        return Failure {
            class: FailureClass::ModelUnavailable,
            message: "Google has nothing at this address: there may be no such location (`region`)"
                .to_owned(),
            provider_code: Some("no_such_address".to_owned()),
            wait_ms: None,
            maybe_paid: false,
        };
    }
    let failure = match gemini::errors::read(&reply.body) {
        // Claude's own, or an open model's server's, passed on.
        None if anthropic::errors::read(&reply.body).is_some() => {
            anthropic::errors::classify(reply, now_unix_s)
        }
        None if openai::errors::read(&reply.body).is_some() => openai::errors::classify(reply, now_unix_s),
        _ => gemini::errors::classify(reply, now_unix_s),
    };
    // A token is refused for its age, most often: there is no telling from the outside.
    let given = failure.provider_code.as_deref() != Some(REFUSED);
    let is_token = reply.status == 401 && failure.class == FailureClass::Auth && given;
    if is_token { Failure { provider_code: Some(ENDED.to_owned()), ..failure } } else { failure }
}

#[cfg(test)]
mod tests;
