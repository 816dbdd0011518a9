//! Lines of other providers' batch files, read as unified requests.
//!
//! What has a unified name is said by it. What has none is kept as it is written, in `provider_kwargs`, and binds the request to who
//! speaks that language. Marks for a prompt cache are left out: where they pay is decided for the whole job, and what they cost is
//! reserved with it. Only a mark within something that is kept whole stays.

mod kept;
mod anthropic;
mod gemini;
mod converse;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::kept::Kept;
use super::fields::{
    BodyError, Fields, NO_WORD, Read, at, bad, first_wrong, given, needed, numbered, read, untold,
};
use super::{Content, Message, Part, Request, Role, Text};
pub use converse::DOCUMENT_FORMATS;

/// Whose form a line of a batch file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    Anthropic,
    Gemini,
    Bedrock,
}

/// In which words a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// The Messages API.
    Anthropic,
    /// `generateContent`.
    Gemini,
    Converse,
}

/// What a line looks like.
#[derive(Debug)]
pub struct Form {
    /// Whose it is.
    pub maker: &'static str,
    /// How such lines are called.
    pub name: &'static str,
    /// The field that holds the body: a line is known by it.
    pub body: &'static str,
    /// Fields that may hold the item's id.
    pub ids: &'static [&'static str],
    /// Whether the body names the model.
    pub names_model: bool,
    read: for<'a> fn(&'a str) -> Read<Translated<'a>>,
}

/// A body as a unified request. What it was written with otherwise is held beside it, as a request only borrows.
#[derive(Debug)]
pub struct Translated<'a> {
    /// Without the fields of its own and the schema that stand here. Without turns, where these are among the former.
    pub request: Request<'a>,
    /// To be its `provider_kwargs`.
    pub kwargs: Option<Box<RawValue>>,
    /// To be its schema, where that was written as a text.
    pub schema: Option<Box<RawValue>>,
    /// Why it goes to no other provider; `None`: to all.
    pub bound: Option<Bound>,
    /// Whether marks for a prompt cache were left out.
    pub unmarked: bool,
}

/// A request that is bound to who speaks a language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub tongue: Tongue,
    /// The first field that has no unified name.
    pub field: String,
}

const ANTHROPIC: Form = Form {
    maker: "Anthropic",
    name: "anthropic batch lines",
    body: "params",
    ids: &["custom_id"],
    names_model: true,
    read: anthropic::params,
};

const GEMINI: Form = Form {
    maker: "Gemini",
    name: "gemini batch lines",
    body: "request",
    ids: &["key", "custom_id"],
    names_model: false,
    read: gemini::request,
};

const BEDROCK: Form = Form {
    maker: "Bedrock",
    name: "bedrock records",
    body: "modelInput",
    ids: &["recordId"],
    names_model: false,
    read: converse::record,
};

/// What marks for a prompt cache are called.
const MARKS: [&str; 2] = ["\"cache_control\"", "\"cachePoint\""];
/// Of a model in a body for an API whose path names it.
const MODEL_OF_JOB: &str = "names a model, which is for the job to do (`--model`): leave it out";

impl Dialect {
    pub const ALL: [Self; 3] = [Self::Anthropic, Self::Gemini, Self::Bedrock];

    /// The dialect of a line that has such fields.
    #[must_use]
    pub fn of(has: impl Fn(&str) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| has(dialect.form().body))
    }

    #[must_use]
    pub fn form(self) -> &'static Form {
        match self {
            Self::Anthropic => &ANTHROPIC,
            Self::Gemini => &GEMINI,
            Self::Bedrock => &BEDROCK,
        }
    }

    /// Reads the body of a line.
    ///
    /// # Errors
    /// The first field that is wrong, or that no provider can be sent from here.
    pub fn translate(self, body: &str) -> Result<Translated<'_>, BodyError> {
        let form = self.form();
        let mut translated = (form.read)(body).map_err(|error| error.within(form.body))?;
        if let Some(bound) = &mut translated.bound {
            bound.field = at(form.body, &bound.field);
        }
        let marked = |text: &str| MARKS.iter().any(|mark| text.contains(mark));
        let kept = translated.kwargs.as_ref().is_some_and(|kwargs| marked(kwargs.get()));
        translated.unmarked = !kept && marked(body);
        Ok(translated)
    }
}

impl Tongue {
    /// Whose words these are.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "Anthropic's",
            Self::Gemini => "Gemini's",
            Self::Converse => "Converse's",
        }
    }
}

impl<'a> Translated<'a> {
    fn new(request: Request<'a>, kept: Kept<'_>, tongue: Tongue) -> Self {
        let (kwargs, bound) = match kept.into_parts() {
            Some((kwargs, field)) => (Some(kwargs), Some(Bound { tongue, field })),
            None => (None, None),
        };
        Self { request, kwargs, schema: None, bound, unmarked: false }
    }
}

/// The turns of a chat.
fn turns<'a>(
    place: &str,
    raw: &'a RawValue,
    message: fn(&str, &Fields<'a>) -> Read<Message<'a>>,
) -> Read<Vec<Message<'a>>> {
    let turns: Vec<Fields<'a>> = read(place, raw.get())?;
    if turns.is_empty() {
        return Err(bad(place, "holds no turn"));
    }
    first_wrong(numbered(place, turns).map(|(place, turn)| message(&place, &given(turn))))
}

/// Whose turn it is, in the words of Anthropic's and of Converse.
fn role(place: &str, turn: &Fields<'_>) -> Read<Role> {
    let path = at(place, "role");
    match &*read::<Text<'_>>(&path, needed(place, turn, "role")?.get())? {
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        // Some models take one among the others: that is for them to say.
        "system" => untold(&path, NO_WORD),
        _ => Err(bad(&path, "is none of `user`, `assistant` and `system`")),
    }
}

/// One text alone is a text: a turn has one spelling, however it was written.
fn content<'a>(mut parts: Vec<Part<'a>>) -> Content<'a> {
    match parts.pop() {
        Some(Part::Text { text }) if parts.is_empty() => Content::Text(text),
        last => {
            parts.extend(last);
            Content::Parts(parts)
        }
    }
}
