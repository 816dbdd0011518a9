//! The JSON of the models that Vertex sells, each in the words of whoever made it: Gemini's and Claude's.

mod embed;
mod line;

use std::borrow::Cow;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Marks;
use bulkrate_core::request::{Kind, Request};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::anthropic;
use crate::anthropic::wire::encode as claude;
use crate::api::{BatchLine, Reply, Unsupported, Wire, WireOptions};
use crate::gemini;
use crate::gemini::wire::encode as google;
use crate::http::Account;
use crate::http::batches::in_path;
use crate::http::limits::now_unix_s;
use crate::http::sign::ENDED;
use crate::settings::Settings;

pub(super) use line::write as write_line;

use super::tokens::REFUSED;

/// What stands after the path of a call in the flex lane; it is not sent.
pub(super) const FLEX: &str = "#flex";

/// Who made a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Google,
    Anthropic,
}

impl Maker {
    fn of(model: &str) -> Self {
        if model.starts_with("claude") { Self::Anthropic } else { Self::Google }
    }

    fn publisher(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Anthropic => "anthropic",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Google => "generateContent",
            Self::Anthropic => "rawPredict",
        }
    }
}

/// A model as a resource: `publishers/google/models/gemini-3.8-flash`.
pub(super) fn resource(model: &str) -> String {
    format!("publishers/{}/models/{model}", Maker::of(model).publisher())
}

/// The wire of one account. Texts that come back are redacted: a server may repeat the token it got.
#[derive(Debug)]
pub struct VertexWire {
    google: google::Encoder,
    claude: claude::Encoder,
    account: Account,
    /// Whether batches come from tables.
    in_tables: bool,
}

impl VertexWire {
    #[must_use]
    pub fn new(account: Account, settings: &Settings, in_tables: bool) -> Self {
        let structured_outputs = settings.structured_outputs;
        Self {
            google: google::Encoder { structured_outputs, host: google::VERTEX },
            claude: claude::Encoder::of_vertex(structured_outputs),
            account,
            in_tables,
        }
    }

    /// Why batches are not made for embeddings.
    pub(super) fn refuses_vectors(&self) -> Option<&'static str> {
        self.in_tables.then_some(embed::NO_TABLES)
    }

    /// What a reply that is no success means for the one call it answers.
    pub(super) fn refused(&self, reply: &Reply) -> Failure {
        self.account.renewing(refused(reply, now_unix_s()))
    }

    pub(super) fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let BatchLine { custom_id, reading } = line::read(kind, line)?;
        Ok(BatchLine { custom_id, reading: self.account.redacted(reading) })
    }
}

impl Wire for VertexWire {
    fn path(&self, kind: Kind, model: &str) -> Cow<'static, str> {
        let maker = Maker::of(model);
        let verb = if kind == Kind::Embedding { embed::verb(model) } else { maker.verb() };
        let publisher = maker.publisher();
        Cow::Owned(format!("/publishers/{publisher}/models/{}:{verb}", in_path(model)))
    }

    fn path_in(&self, lane: Lane, kind: Kind, model: &str) -> Cow<'static, str> {
        let path = self.path(kind, model);
        if lane == Lane::Flex { Cow::Owned(format!("{path}{FLEX}")) } else { path }
    }

    fn marks(&self, _: Lane, model: &str) -> Option<Marks> {
        (Maker::of(model) == Maker::Anthropic).then(|| anthropic::wire::models::marks(model))
    }

    fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        match Maker::of(options.model) {
            Maker::Google if request.kind == Kind::Embedding => {
                embed::encode(request, options, self.in_tables, out)
            }
            Maker::Google => {
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

/// What only Gemini's answers have. Any name may stand deeper in an answer, in what a model gives to a tool.
#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    candidates: Option<IgnoredAny>,
}

/// An answer of whichever maker's model. A quote within a text is escaped: a name in quotes is one of a field.
fn success(kind: Kind, body: &[u8]) -> Reading<'_> {
    if kind == Kind::Embedding {
        return embed::success(body);
    }
    let has = |name: &[u8]| memchr::memmem::find(body, name).is_some();
    let of_google = || serde_json::from_slice::<Top>(body).is_ok_and(|top| top.candidates.is_some());
    if has(b"\"stop_reason\"") && !(has(b"\"candidates\"") && of_google()) {
        return anthropic::wire::read::success(body);
    }
    gemini::wire::read::success(body)
}

/// In the page of Google's front where an address is that of nobody.
const NOBODY: &[u8] = b"Error 404 (Not Found)!!1";

/// What a reply that is no success means, in the words of whoever wrote it.
pub(super) fn refused(reply: &Reply, now_unix_s: i64) -> Failure {
    if reply.status == 404 && memchr::memmem::find(&reply.body, NOBODY).is_some() {
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
        // Claude's own, passed on.
        None if anthropic::errors::read(&reply.body).is_some() => {
            anthropic::errors::classify(reply, now_unix_s)
        }
        _ => gemini::errors::classify(reply, now_unix_s),
    };
    // A token is refused for its age, most often: there is no telling from the outside.
    let given = failure.provider_code.as_deref() != Some(REFUSED);
    let is_token = reply.status == 401 && failure.class == FailureClass::Auth && given;
    if is_token { Failure { provider_code: Some(ENDED.to_owned()), ..failure } } else { failure }
}

#[cfg(test)]
mod tests;
