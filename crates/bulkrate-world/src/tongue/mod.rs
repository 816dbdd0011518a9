//! How a provider says what all of them do: its paths, its shapes and its words, written from its documentation. What happens is the
//! same for all and stands in `remote`; what one of them cannot do is in its manners.

use std::fmt::Debug;
use std::sync::Arc;

use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::{Value, json};

use crate::remote::{Answer, Batch};

mod openai;
mod mistral;
mod anthropic;
mod gemini;
mod vertex;
mod bedrock;
mod together;

/// All that the world speaks.
pub(crate) const OPENAI: &dyn Tongue = &openai::OpenAi;
pub(crate) const OTHERS: &[&dyn Tongue] =
    &[&anthropic::Anthropic, &gemini::Gemini, &vertex::Vertex, &mistral::Mistral];
/// Batches of a hundred items and more, in jobs as large.
pub(crate) const LARGE: &dyn Tongue = &bedrock::Bedrock;
/// Batches that are known by their input file.
pub(crate) const BY_INPUT: &dyn Tongue = &together::Together;

/// By what a batch is known again whose create brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// By what is written on it.
    Mark,
    /// By the input file that it shows: nothing can be written on it.
    Input,
    /// It shows neither: by its looks, and by its results.
    Looks,
}

/// What a provider is and can, as data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// As in `provider/model`.
    pub provider: &'static str,
    pub model: &'static str,
    pub base_url: &'static str,
    pub key_env: &'static str,
    /// How ids of batches and of files begin.
    pub ids: [&'static str; 2],
    pub known_by: Known,
    /// A batch may be refused as a whole after its create.
    pub refuses_whole: bool,
    /// Failures stand among the answers.
    pub one_file: bool,
    /// What a batch that was cut has finished is shown.
    pub shows_cut: bool,
    /// The list of batches is in order.
    pub newest_first: bool,
    /// It has no pages.
    pub lists_all: bool,
    /// The least that a batch holds.
    pub items_min: usize,
    /// Creates have tokens: one that is known makes nothing for a while, and no two batches have one name.
    pub tokens: bool,
    /// The longest that a batch runs, hours.
    pub window_h: u64,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Upload,
    /// A file is told of, whose bytes come later.
    Announce,
    /// They come.
    Bring(String),
    /// They are there, and are to be looked into.
    LookInto(String),
    /// What is to be said of such a file.
    ShowFile(String),
    /// The same under a name.
    Put(String),
    /// Whether a file is there.
    Look(String),
    /// The files whose names begin so.
    Below(String),
    Content(String),
    DeleteFile(String),
    /// The same where nobody is told whether it was there.
    Discard(String),
    DeleteBatch(String),
    Create,
    List(Start),
    Poll(String),
    Cancel(String),
    Call,
    Unknown,
}

impl Ask {
    /// Whether it may cost something.
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self, Self::Create | Self::Call)
    }
}

/// Where a page of a list begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    First,
    After(String),
    /// So many batches are passed over.
    Past(usize),
    /// So many pages are.
    Page(usize),
}

/// A create, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// What is written on the batch, as the provider keeps it.
    pub mark: Value,
    /// What the mark says, where it is one: submission and digest.
    pub says: Option<(String, String)>,
    /// The file of requests; none where the create carries them itself.
    pub input: Option<String>,
    pub carried: Option<Vec<u8>>,
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Limited,
    /// The same for a create.
    LimitedCreate,
    Server,
    NoFile,
    /// The create names a file that is not there.
    NoInput,
    NoBatch,
    /// A batch has that name.
    Taken,
    /// It has ended.
    Over,
    /// A batch that runs is not deleted.
    Runs,
    NoPrompt,
    /// The key may not use the model.
    NotYours,
}

/// How far a file is that was told of before its bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileStage {
    Told,
    Brought,
    LookedInto,
    Ready,
}

/// What the model said.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub model: &'static str,
    pub text: String,
    pub input: u64,
    pub output: u64,
    /// Whether the answer says what was used.
    pub usage: bool,
}

/// How one line of a batch ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LineEnd<'a> {
    Answer(&'a Said),
    /// An error with this status.
    Error(u16),
    Expired,
    Cancelled,
}

/// One provider's.
pub(crate) trait Tongue: Debug + Sync {
    fn manners(&self) -> Manners;
    /// The adapter that speaks to it.
    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String>;
    fn ask(&self, method: &str, path: &str) -> Ask;

    /// What a create asks for.
    fn order(&self, body: &[u8]) -> Order;
    /// What somebody else has written on a batch made of the same requests; `copy`: by another bulkrate.
    fn foreign_mark(&self, ours: &Value, copy: bool) -> Value;
    /// The id and the body of a line of an input file.
    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)>;
    /// What a body asks the model last.
    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str>;
    /// The model that a body names, where it names one.
    fn model<'b>(&self, body: &'b Value) -> Option<&'b str> {
        body["model"].as_str()
    }

    /// Whether a call goes to the flex lane.
    fn is_flex(&self, body: &Value) -> bool {
        let _ = body;
        false
    }

    fn uploaded(&self, id: &str) -> Value;
    /// The sum of the bytes that are announced, and what is answered: where they go, or under which id they are known.
    fn announced(&self, body: &[u8]) -> Option<String> {
        let _ = body;
        None
    }
    fn goes_to(&self, id: &str, known: bool) -> Answer {
        let _ = (id, known);
        self.error(Wrong::NoFile)
    }
    fn file(&self, id: &str, stage: FileStage) -> Value {
        let _ = stage;
        self.uploaded(id)
    }
    /// A list of files.
    fn files(&self, names: &[&str]) -> Value {
        json!(names)
    }
    fn deleted(&self, id: &str) -> Value;
    fn cancelled(&self, batch: &Batch, now_ms: u64) -> Value {
        self.batch(batch, now_ms)
    }
    fn batch(&self, batch: &Batch, now_ms: u64) -> Value;
    /// A batch whose status is another than it was, or one that nobody knows.
    fn oddly(&self, shown: &mut Value, unknown: bool);
    /// A page of a list; `next`: how many batches stand up to its end, where others follow.
    fn page(&self, shown: Vec<Value>, next: Option<usize>) -> Value;
    fn answer(&self, said: &Said) -> Value;
    /// Whether an answer says what was used.
    fn says_usage(&self, body: &[u8]) -> bool {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        ["usage", "usageMetadata"].iter().any(|name| answer[*name].is_object())
    }
    /// A line of results; `None`: what ended so has none.
    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value>;
    /// Whether a line that says so was surely not paid.
    fn says_unpaid(&self, end: LineEnd<'_>) -> bool {
        matches!(end, LineEnd::Error(400 | 429) | LineEnd::Expired)
    }
    /// What the file of a batch's results is called; `None`: as any file.
    fn results_of(&self, batch: &Batch) -> Option<String> {
        let _ = batch;
        None
    }
    /// What a create is answered with.
    fn created(&self, batch: &Batch, now_ms: u64) -> Value {
        self.batch(batch, now_ms)
    }
    /// A header that every answer has.
    fn header(&self) -> Option<(&'static str, &'static str)> {
        None
    }
    /// A path as it is told, without what is chance.
    fn told(&self, path: &str) -> String {
        path.to_owned()
    }
    fn error(&self, wrong: Wrong) -> Answer;
    /// A file that is there and may not be deleted now.
    fn keeps_file(&self) -> Option<Answer> {
        None
    }
}

/// The submission and the digest that a name says which is a mark of ours.
fn says(name: &str, between: char) -> Option<(String, String)> {
    match name.split(between).collect::<Vec<_>>()[..] {
        ["br1", _, sub, _, digest] => Some((sub.to_owned(), digest.to_owned())),
        _ => None,
    }
}

/// A create whose mark is a name.
pub(crate) fn named(name: &Value, between: char, input: &Value) -> Order {
    let says = says(name.as_str().unwrap_or(""), between);
    Order { mark: name.clone(), says, input: input.as_str().map(str::to_owned), carried: None }
}

/// The name that somebody else gives; `copy`: another bulkrate that sends the same.
pub(crate) fn foreign_name(ours: &Value, between: char, copy: bool) -> Value {
    let mut parts: Vec<&str> = ours.as_str().unwrap_or("").split(between).collect();
    match parts.get_mut(1) {
        Some(inst) if copy => *inst = "somebodyelse",
        _ => return "search".into(),
    }
    parts.join(&between.to_string()).into()
}

/// Where a page begins if its token, the part of a query that is called so, is a number of batches.
pub(crate) fn past(path: &str, name: &str) -> Start {
    in_query(path, name).and_then(|past| past.parse().ok()).map_or(Start::First, Start::Past)
}

/// Such a page: how its list and the token of the next one are called.
pub(crate) fn paged((list, token): (&str, &str), shown: Vec<Value>, next: Option<usize>) -> Value {
    let mut page = json!({});
    page[list] = shown.into();
    if let Some(next) = next {
        page[token] = next.to_string().into();
    }
    page
}

/// The part of a query that is called so.
pub(crate) fn in_query<'q>(path: &'q str, name: &str) -> Option<&'q str> {
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The parts of a path without its query.
pub(crate) fn parts(path: &str) -> Vec<&str> {
    path.split('?').next().unwrap_or("").trim_start_matches('/').split('/').collect()
}

/// `2026-11-20T00:00:00Z`.
pub(crate) fn instant(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
