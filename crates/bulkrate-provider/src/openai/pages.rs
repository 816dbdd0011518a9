//! Results that are had page by page from below their batch, and lie here as lines of a file of OpenAI's.
//!
//! Invariants
//! - What is called cancelled gets no line: it may have run all the same, and its answer may be here a moment later. So its bound stays
//!   in doubt (W8) until a line proves more.
//! - A row that cannot be read is kept as it came, and keeps no other from landing.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use bulkrate_core::request::write_json_text;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt as _;

use super::batch::OpenAiBatches;
use crate::api::ApiError;
use crate::http::batches::{found, in_path, read, unreadable};
use crate::http::free::Sheet;
use crate::json::loose::LooseText;

const READ: &str = "read the results of a batch";
/// What stands below a batch.
const RESULTS: &str = "/results";
/// Results of a page, at most.
const PAGE_MAX: u32 = 1_000;
/// gRPC's code of what was cancelled.
const CANCELLED: &str = "1";

/// What a batch's results are called here: they are in no file.
pub(super) fn of(batch: &str) -> String {
    format!("{batch}{RESULTS}")
}

/// The batch whose results a name names.
pub(super) fn batch_of(file: &str) -> Option<&str> {
    file.strip_suffix(RESULTS)
}

#[derive(Deserialize)]
struct Answers<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pagination_token: LooseText<'a>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, default)]
    batch_request_id: LooseText<'a>,
    #[serde(borrow, default)]
    batch_result: Option<Outcome<'a>>,
    #[serde(borrow, default)]
    error_message: LooseText<'a>,
}

#[derive(Default, Deserialize)]
struct Outcome<'a> {
    /// An answer, under the name of the API that gave it.
    #[serde(borrow, default)]
    response: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A text, or a code of gRPC or HTTP with one.
#[derive(Default, Deserialize)]
struct Refusal<'a> {
    #[serde(borrow, default)]
    code: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
}

/// JSON that may have been written over several lines, as one.
fn push_raw(json: &str, out: &mut Vec<u8>) {
    // Line ends stand only between its parts: in a text they are escaped.
    out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

/// The status of HTTP that a code stands for, where it is one of gRPC.
fn status(code: &str) -> Option<u16> {
    Some(match code.parse::<u16>().ok()? {
        3 | 9 | 11 => 400,
        5 => 404,
        7 => 403,
        8 => 429,
        13 => 500,
        14 => 503,
        16 => 401,
        http @ 400..600 => http,
        _ => return None,
    })
}

fn push_line_head(id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"custom_id\":");
    write_json_text(id, out);
    out.extend_from_slice(b",\"response\":");
}

/// A line of a request that brought no answer. `None`: nothing of it ran.
fn push_failure(id: &str, status: Option<u16>, (code, message): (&str, &str), out: &mut Vec<u8>) {
    push_line_head(id, out);
    let (before, after) = match status {
        Some(status) => (format!("{{\"status_code\":{status},\"body\":{{\"error\":"), "}},\"error\":null}\n"),
        None => ("null,\"error\":".to_owned(), "}\n"),
    };
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(b"{\"code\":");
    write_json_text(code, out);
    out.extend_from_slice(b",\"message\":");
    write_json_text(message, out);
    out.push(b'}');
    out.extend_from_slice(after.as_bytes());
}

impl<'a> Answered<'a> {
    fn answer(&self) -> Option<&'a RawValue> {
        let answers = self.batch_result.as_ref()?.response.as_ref()?.values();
        answers.copied().find(|answer| answer.get() != "null")
    }

    /// Why there is no answer: the code and the text of it, or the text alone.
    fn refusal(&self) -> (Option<String>, Option<String>) {
        let error = self.batch_result.as_ref().and_then(|outcome| outcome.error).map_or("", RawValue::get);
        let said: Refusal<'_> = serde_json::from_str(error).unwrap_or_default();
        let text: Option<String> = serde_json::from_str(error).ok();
        let beside = || self.error_message.as_deref().map(str::to_owned);
        (said.code.into_owned(), text.or(said.message.into_owned()).or_else(beside))
    }

    /// Nothing of a request that a cancel has kept from running, as far as can be told so early.
    fn push_line(&self, id: &str, out: &mut Vec<u8>) {
        if let Some(answer) = self.answer() {
            push_line_head(id, out);
            out.extend_from_slice(b"{\"status_code\":200,\"body\":");
            push_raw(answer.get(), out);
            return out.extend_from_slice(b"},\"error\":null}\n");
        }
        let (code, message) = self.refusal();
        let words = message.as_deref().unwrap_or_default().to_ascii_lowercase();
        if code.as_deref() == Some(CANCELLED) || words.contains("cancelled") || words.contains("canceled") {
            return;
        }
        let code = code.as_deref().unwrap_or("request_failed");
        let message = message.as_deref().unwrap_or("no answer, and no reason");
        push_failure(id, status(code), (code, message), out);
    }
}

/// One row as a line, or nothing.
fn push_row(row: &str, out: &mut Vec<u8>) {
    let read = serde_json::from_str::<Answered<'_>>(row).ok();
    match read.as_ref().and_then(|result| Some((result, result.batch_request_id.as_deref()?))) {
        Some((result, id)) => result.push_line(id, out),
        None => {
            push_raw(row, out);
            out.push(b'\n');
        }
    }
}

/// Lines on their way from pages to a file.
struct Writer<'w> {
    sheet: &'w mut Sheet,
    bytes: u64,
    bytes_max: u64,
    line: Vec<u8>,
}

impl Writer<'_> {
    /// `Err` where the file would be longer than it can be.
    async fn write(&mut self) -> Result<std::io::Result<()>, String> {
        self.bytes += self.line.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(format!(
                "the results are longer than {} bytes, more than they can be",
                self.bytes_max
            ));
        }
        Ok(self.sheet.out.write_all(&self.line).await)
    }
}

impl OpenAiBatches {
    /// Writes all results of a batch to `to`, whole or not at all; answers how many bytes. `None`: there is no such batch.
    pub(super) async fn write_results(
        &self,
        batch: &str,
        to: &Path,
        bytes_max: u64,
    ) -> Result<Option<u64>, ApiError> {
        let path = self.path_of(batch);
        if found(&self.free, self.form.shape, READ, &path).await?.is_none() {
            return Ok(None);
        }
        let local = |error: std::io::Error| self.free.local_error(READ, to, &error);
        let mut sheet = Sheet::begin(to).await.map_err(local)?;
        let mut writer = Writer { sheet: &mut sheet, bytes: 0, bytes_max, line: Vec::new() };
        match self.write_pages(&path, &mut writer, to).await {
            Ok(()) => {
                let bytes = writer.bytes;
                sheet.end(to).await.map_err(local)?;
                Ok(Some(bytes))
            }
            Err(error) => {
                let _ = sheet.discard().await; // what matters is the error
                Err(error)
            }
        }
    }

    async fn write_pages(&self, path: &str, writer: &mut Writer<'_>, to: &Path) -> Result<(), ApiError> {
        let mut pages = Pages::of(format!("{path}{RESULTS}"));
        let mut rows = PAGE_MAX;
        while let Some(next) = pages.next.clone() {
            let (reply, _turn) = self.free.page(READ, &mut rows, |rows| pages.path(&next, rows), &[]).await?;
            let bad = |why: String| unreadable(&self.free, READ, &reply, &why);
            let page: Answers<'_> = read(&reply.body, "a page of results").map_err(bad)?;
            for row in &page.results {
                writer.line.clear();
                push_row(row.get(), &mut writer.line);
                let written = writer.write().await.map_err(bad)?;
                written.map_err(|error| self.free.local_error(READ, to, &error))?;
            }
            pages.turn(page.pagination_token.into_owned()).map_err(bad)?;
        }
        Ok(())
    }
}

/// How far a list in pages was read.
struct Pages {
    path: String,
    /// What the next query ends in; `None`: the last page was read.
    next: Option<String>,
    seen: HashSet<String>,
}

impl Pages {
    fn of(path: String) -> Self {
        Self { path, next: Some(String::new()), seen: HashSet::new() }
    }

    fn path(&self, next: &str, rows: u32) -> String {
        format!("{}?limit={rows}{next}", self.path)
    }

    /// A page was read. `Err`: what follows it was read before.
    fn turn(&mut self, next: Option<String>) -> Result<(), String> {
        if let Some(token) = &next
            && !self.seen.insert(token.clone())
        {
            return Err(format!("the pages turn in a circle at `{token}`"));
        }
        self.next = next.map(|token| format!("&pagination_token={}", in_path(&token)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::answer::Reading;
    use bulkrate_core::request::Kind;

    fn line(row: &str) -> String {
        let mut line = Vec::new();
        push_row(row, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn an_answer_is_a_line_whatever_its_spacing() {
        let body = "{\n \"choices\": [{\"message\": {\"content\": \"a\\nb\"}, \"finish_reason\": \"stop\"}],\r\n \"usage\": {\"prompt_tokens\": 5, \"completion_tokens\": 1}}";
        let line = line(&format!(
            r#"{{"batch_request_id":"id \"1\"","batch_result":{{"response":{{"chat_get_completion":{body}}}}}}}"#
        ));
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
        let wire = super::super::tests::wire("xai");
        let read = wire.read_line(Kind::Chat, line.trim_end().as_bytes()).unwrap();
        assert_eq!(read.custom_id, "id \"1\"");
        assert!(matches!(&read.reading, Reading::Answer(answer) if answer.usage.is_some()), "{read:?}");
    }

    #[test]
    fn failures_keep_their_meaning() {
        use bulkrate_core::failure::FailureClass::{RateLimited, RefusedByProvider, Transient};
        for (error, class, words) in [
            (r#""error":{"code":3,"message":"bad"}"#, RefusedByProvider, "bad"),
            (r#""error":{"code":8,"message":"slow"}"#, RateLimited, "slow"),
            (r#""error":{"code":"13","message":"oops"}"#, Transient, "oops"),
            (r#""error":{"code":422,"message":"no"}"#, RefusedByProvider, "no"),
            (r#""error":"a text alone""#, Transient, "a text alone"),
            (r#""response":null,"error":null"#, Transient, "said beside"),
        ] {
            let line = line(&format!(
                r#"{{"batch_request_id":"i","batch_result":{{{error}}},"error_message":"said beside"}}"#
            ));
            let wire = super::super::tests::wire("xai");
            let read = wire.read_line(Kind::Chat, line.trim_end().as_bytes()).unwrap();
            let Reading::Failure(failure) = read.reading else { panic!("{line}") };
            assert!(failure.class == class && failure.message == words && !failure.maybe_paid, "{failure:?}");
        }
    }

    /// A counter of xAI's that said `cancelled` has said `success` a few seconds later: a line would make it unpaid for good.
    #[test]
    fn what_is_called_cancelled_has_no_line() {
        for error in [
            r#""Batch cancelled""#,
            r#""batch canceled before the request was run""#,
            r#"{"code":1,"message":"x"}"#,
            r#"{"code":"request_failed","message":"Cancelled"}"#,
        ] {
            let row = format!(r#"{{"batch_request_id":"i","batch_result":{{"error":{error}}}}}"#);
            assert_eq!(line(&row), "", "{error}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_a_line_that_cannot() {
        let wire = super::super::tests::wire("xai");
        for row in [
            "{}",
            "7",
            r#"{"batch_request_id":"i","batch_result":{"response":[1]}}"#,
            "{\"batch_request_id\":null,\n\"batch_result\":{}}",
        ] {
            let line = line(row);
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
            assert!(wire.read_line(Kind::Chat, line.trim_end().as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn pages_are_read_until_no_token_follows_and_never_in_a_circle() {
        let mut pages = Pages::of("/b/results".to_owned());
        let path = |pages: &Pages| pages.next.as_deref().map(|next| pages.path(next, 1_000));
        assert_eq!(path(&pages).as_deref(), Some("/b/results?limit=1000"));
        pages.turn(Some("a b".to_owned())).unwrap();
        assert_eq!(path(&pages).as_deref(), Some("/b/results?limit=1000&pagination_token=a%20b"));
        assert!(pages.turn(Some("a b".to_owned())).is_err());
        pages.turn(None).unwrap();
        assert_eq!(path(&pages), None);
        assert_eq!((batch_of(&of("b")), batch_of("file-1")), (Some("b"), None));
    }
}
