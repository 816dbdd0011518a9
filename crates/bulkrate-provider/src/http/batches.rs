//! What batch APIs have in common, whatever their JSON: pages of a list, the outcome of a create, and what is not believed of
//! a batch.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::time::Duration;

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::submission::{Marker, Observed, Proof, RemoteBatch, classify};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Account;
use super::free::FreeClient;
use crate::api::{ApiError, CallError, Created, LOCAL, NOT_SENT, Reply};

/// What may stand in a path besides letters and digits.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Pages of a list, at most.
const PAGES_MAX: usize = 1_000;
/// Batches that one listing may bring; more are an error, before memory runs out.
const FOUND_MAX: usize = 100_000;
/// The longest id of a batch or a file, and the longest part of a mark.
const ID_BYTES_MAX: usize = 256;
/// The longest address of an object in a store: its key has 1,024 bytes at most.
const URI_BYTES_MAX: usize = 1_100;
/// Errors of a batch that are kept; the first one says why it was refused.
const ERRORS_MAX: usize = 100;

/// Waits between two looks at a file that is not processed yet, and how long it is waited for.
const FILE_LOOK_MIN: Duration = Duration::from_millis(100);
const FILE_LOOK_MAX: Duration = Duration::from_secs(20);
const FILE_WAIT_MAX: Duration = Duration::from_secs(600);

/// The wait before a file that was just uploaded is looked for again.
const FILE_VISIBLE_MS: u64 = 2_000;

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) batches: Vec<RemoteBatch>,
    /// What the cursor of the next page says; `None`: there is none.
    pub(crate) next: Option<String>,
}

impl Page {
    /// A page whose last id is the cursor of the next.
    pub(crate) fn by_last_id(batches: Vec<RemoteBatch>, has_more: bool) -> Self {
        let next = batches.last().filter(|_| has_more).map(|batch| batch.id.clone());
        Self { batches, next }
    }
}

/// A batch API as far as it is data: where its list is, and how what it says is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Path of the first page of the list, with its query.
    pub(crate) first: &'static str,
    /// The parameter that holds the cursor.
    pub(crate) cursor: &'static str,
    /// Whether the list is in order, so that nothing recent follows a page of old ones.
    pub(crate) newest_first: bool,
    /// Pages have numbers, from 0, and no cursors.
    pub(crate) numbered: bool,
    pub(crate) page: fn(&[u8]) -> Result<Page, String>,
    pub(crate) batch: fn(&[u8]) -> Result<RemoteBatch, String>,
    /// An error in the provider's own words, and no gateway's page.
    pub(crate) is_error: fn(&[u8]) -> bool,
    pub(crate) is_deleted: fn(&[u8]) -> bool,
}

/// How a text begins that is our mark.
const MARK: &str = "br1";

/// A marker as one text, for APIs that know a name and no metadata. `between` stands in none of its parts.
pub(crate) fn mark(marker: &Marker, between: char) -> String {
    let Marker { inst, sub, items, digest } = marker;
    [MARK, inst, sub, &items.to_string(), digest].join(&between.to_string())
}

/// The marker that a text is; `None`: it is none of ours.
pub(crate) fn marker(text: &str, between: char) -> Option<Marker> {
    let parts: Vec<&str> = text.split(between).collect();
    let &[first, inst, sub, items, digest] = &*parts else { return None };
    let whole = first == MARK && ![inst, sub, digest].contains(&"");
    let owned = |part: &str| part.to_owned();
    whole.then_some(Marker {
        inst: owned(inst),
        sub: owned(sub),
        items: items.parse().ok()?,
        digest: owned(digest),
    })
}

/// What a body says, or why it says nothing.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the answer is not {what}: {error}"))
}

pub(crate) fn unreadable(free: &FreeClient, what: &str, reply: &Reply, why: &str) -> ApiError {
    free.error(what, Some(reply.status), FailureClass::Transient, why)
}

/// What lies at `path`; `None`: the provider's own word is that nothing does. A gateway's page says nothing of it.
pub(crate) async fn found(
    free: &FreeClient,
    shape: Shape,
    what: &str,
    path: &str,
) -> Result<Option<Reply>, ApiError> {
    let reply = free.send(what, Method::GET, path, &[404]).await?;
    if reply.status != 404 {
        return Ok(Some(reply));
    }
    match (shape.is_error)(&reply.body) {
        true => Ok(None),
        false => Err(unreadable(free, what, &reply, "a page that is not the provider's")),
    }
}

/// One batch; `None`: the provider says that it knows none.
pub(crate) async fn poll(
    free: &FreeClient,
    shape: Shape,
    path: &str,
) -> Result<Option<RemoteBatch>, ApiError> {
    const WHAT: &str = "poll a batch";
    let Some(reply) = found(free, shape, WHAT, path).await? else { return Ok(None) };
    let batch = plain(free.account(), (shape.batch)(&reply.body));
    batch.map(Some).map_err(|why| unreadable(free, WHAT, &reply, &why))
}

/// The name of a file that is no file at the provider: the create carries what is in it.
pub(crate) fn staged(free: &FreeClient, file: &Path) -> Result<String, ApiError> {
    let local = |why: String| {
        let mut error = free.error("look at a batch file", None, FailureClass::Transient, &why);
        error.failure.provider_code = Some(LOCAL.to_owned());
        error
    };
    let found = std::fs::metadata(file);
    let found = found.map_err(|error| local(format!("`{}`: {error}", file.display())))?;
    match file.to_str() {
        Some(name) if found.is_file() && found.len() > 1 => Ok(name.to_owned()),
        Some(name) => Err(local(format!("`{name}` holds no requests"))),
        None => Err(local(format!("`{}`: the path is no UTF-8", file.display()))),
    }
}

/// What a look at an uploaded file shows.
pub(crate) enum Looked {
    Ready,
    NotYet,
    Bad(ApiError),
}

/// Until the provider has looked into a file. What is not ready by then is uploaded anew: it is free.
pub(crate) async fn until_ready(
    free: &FreeClient,
    what: &str,
    path: &str,
    look: impl Fn(&Reply) -> Looked + Send,
) -> Result<(), ApiError> {
    let mut wait = FILE_LOOK_MIN;
    let mut waited = Duration::ZERO;
    while waited < FILE_WAIT_MAX {
        tokio::time::sleep(wait).await;
        waited += wait;
        wait = (wait * 2).min(FILE_LOOK_MAX);
        match look(&free.send(what, Method::GET, path, &[]).await?) {
            Looked::Ready => return Ok(()),
            Looked::NotYet => {}
            Looked::Bad(error) => return Err(error),
        }
    }
    let why = format!("the provider has not looked into the file within {} s", waited.as_secs());
    Err(free.error(what, None, FailureClass::Transient, &why))
}

/// Deletes what lies at `path`. The fence of a create in doubt may stand on this: only the provider's own word counts.
pub(crate) async fn delete(free: &FreeClient, shape: Shape, what: &str, path: &str) -> Result<(), ApiError> {
    let is_gone = |reply: &Reply| reply.status == 404 && (shape.is_error)(&reply.body);
    let reply = free.send(what, Method::DELETE, path, &[404]).await?;
    if is_gone(&reply) || (shape.is_deleted)(&reply.body) {
        return Ok(());
    }
    // Done, without a word: a look says whether it is true.
    if reply.status == 204 && is_gone(&free.send(what, Method::GET, path, &[404]).await?) {
        return Ok(());
    }
    Err(unreadable(free, what, &reply, "the answer does not say that it is deleted"))
}

/// A part of a name that nothing else has: what arrives late finds no file under a name that is used again, and brings none back.
pub(crate) fn unused() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// An id as a part of a path or of a query.
pub(crate) fn in_path(id: &str) -> impl Display {
    utf8_percent_encode(id, IN_PATH)
}

/// Every batch created since, newest first, all pages.
pub(crate) async fn list_since(
    free: &FreeClient,
    shape: Shape,
    created_at_min: u64,
) -> Result<Vec<RemoteBatch>, ApiError> {
    list_from(free, shape, shape.first, created_at_min).await
}

/// The same from a first page of its own, which may leave out what is older.
pub(crate) async fn list_from(
    free: &FreeClient,
    shape: Shape,
    first: &str,
    created_at_min: u64,
) -> Result<Vec<RemoteBatch>, ApiError> {
    const WHAT: &str = "list batches";
    let mut found: Vec<RemoteBatch> = Vec::new();
    let mut cursors: HashSet<String> = HashSet::new();
    let mut path = first.to_owned();
    for page in 1..=PAGES_MAX {
        let reply = free.send(WHAT, Method::GET, &path, &[]).await?;
        let unreadable = |why: &str| unreadable(free, WHAT, &reply, why);
        let Page { batches, next } = (shape.page)(&reply.body).map_err(|why| unreadable(&why))?;
        let is_recent =
            |batch: &RemoteBatch| batch.created_at.is_none_or(|created| created >= created_at_min);
        let all_older = shape.newest_first && !batches.iter().any(is_recent);
        for batch in batches.into_iter().filter(is_recent) {
            found.push(plain(free.account(), Ok(listed(batch))).map_err(|why| unreadable(&why))?);
        }
        if found.len() > FOUND_MAX {
            return Err(unreadable(&format!("more than {FOUND_MAX} batches")));
        }
        let Some(next) = next.filter(|_| !all_older && !planted::has(Bug::FirstPageOnly)) else {
            return Ok(found);
        };
        if !cursors.insert(next.clone()) {
            return Err(unreadable(&format!("the list turns in a circle at `{next}`")));
        }
        let next = if shape.numbered { page.to_string() } else { next };
        path = format!("{first}&{}={}", shape.cursor, in_path(&next));
    }
    Err(free.error(WHAT, None, FailureClass::Transient, &format!("more than {PAGES_MAX} pages")))
}

/// A list is looked through for ids and marks. How somebody else calls his files says nothing of ours, however long it is.
fn listed(batch: RemoteBatch) -> RemoteBatch {
    let mut batch = RemoteBatch { errors: Vec::new(), ..batch };
    if batch.marker.is_none() {
        for file in [&mut batch.input_file, &mut batch.output_file, &mut batch.error_file] {
            file.take_if(|file| is_long(file));
        }
    }
    batch
}

fn is_long(id: &str) -> bool {
    id.len() > if id.contains("://") { URI_BYTES_MAX } else { ID_BYTES_MAX }
}

/// What the server says in a batch is shown and kept: without the account's secrets. An id that holds one is none.
pub(crate) fn plain(account: &Account, found: Result<RemoteBatch, String>) -> Result<RemoteBatch, String> {
    let mut batch = found?;
    let files = [&batch.input_file, &batch.output_file, &batch.error_file].into_iter().flatten();
    let marks = batch.marker.iter().flat_map(|marker| [&marker.inst, &marker.sub, &marker.digest]);
    let repeats = |id: &String| matches!(account.hide(id), Cow::Owned(_));
    let is_bad = |id: &String| id.len() > ID_BYTES_MAX || repeats(id);
    if marks.chain([&batch.id]).any(is_bad) || files.into_iter().any(|file| is_long(file) || repeats(file)) {
        return Err("an id in it is too long or repeats the key".to_owned());
    }
    batch.status = account.redact(&batch.status);
    batch.errors.truncate(ERRORS_MAX);
    for error in &mut batch.errors {
        error.message = account.redact(&error.message);
        error.code = error.code.take().map(|code| account.redact(&code));
    }
    Ok(batch)
}

/// The answer to a create, by the outcome table of `classify`. `refused`: what the provider's own error means, where it is one.
pub(crate) fn created(
    account: &Account,
    reply: &Reply,
    batch: Result<RemoteBatch, String>,
    refused: Option<Failure>,
) -> Created {
    let batch = plain(account, batch);
    let (status, names_batch, own_error) = (reply.status, batch.is_ok(), refused.is_some());
    match (classify(Observed::Answered { status, names_batch, own_error }), batch, refused) {
        (Proof::Accepted, Ok(batch), _) => Created::Accepted(batch),
        // The table takes nothing for a refusal that is not in the provider's own words.
        (Proof::Refused, _, refused) => Created::Refused(refused.unwrap_or_else(|| Failure {
            class: FailureClass::Transient,
            message: format!("status {status}"),
            provider_code: None,
            wait_ms: None,
            maybe_paid: false,
        })),
        (_, Err(why), _) if status / 100 == 2 => {
            Created::InDoubt(account.redact(&format!("status {status} but {why}")))
        }
        _ if own_error || status >= 500 => {
            Created::InDoubt(format!("status {status}: the batch may have been made all the same"))
        }
        _ => Created::InDoubt(format!("status {status} with a page that is not the provider's")),
    }
}

/// A create was refused for want of its file. It shows up a moment after its upload: the same create may pass later.
pub(crate) fn file_not_found(refused: Failure) -> Failure {
    Failure {
        class: FailureClass::Transient,
        provider_code: Some("file_not_found".to_owned()),
        wait_ms: refused.wait_ms.or(Some(FILE_VISIBLE_MS)),
        ..refused
    }
}

/// A create that brought no reply.
pub(crate) fn unanswered(error: CallError) -> Created {
    match error {
        CallError::NotSent { why, .. } => Created::Refused(not_sent(why)),
        CallError::NoAnswer { why, .. } => Created::InDoubt(why),
    }
}

pub(crate) fn not_sent(why: String) -> Failure {
    Failure {
        class: FailureClass::Transient,
        message: why,
        provider_code: Some(NOT_SENT.to_owned()),
        wait_ms: None,
        maybe_paid: false,
    }
}
