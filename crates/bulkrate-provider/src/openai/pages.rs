//! Results that are had page by page from below their batch, and lie here as lines of a file of OpenAI's.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use bulkrate_core::request::write_json_text;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt as _;

use super::batch::OpenAiBatches;
use super::xai::read_cancelled;
use crate::api::{ApiError, Reply};
use crate::http::batches::{in_path, read, unreadable};
use crate::http::free::{Sheet, is_too_much};
use crate::json::loose::LooseText;

const READ: &str = "read the results of a batch";
/// What stands below a batch.
const RESULTS: &str = "/results";
/// Results of a page, at most.
const PAGE_MAX: u32 = 1_000;

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
    results: Vec<Answered<'a>>,
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

/// What became of each request, and not what it was answered.
#[derive(Deserialize)]
struct Fates<'a> {
    #[serde(borrow)]
    batch_request_metadata: Vec<Fate<'a>>,
    #[serde(borrow, default)]
    pagination_token: LooseText<'a>,
}

#[derive(Deserialize)]
struct Fate<'a> {
    #[serde(borrow, default)]
    batch_request_id: LooseText<'a>,
    #[serde(borrow, default)]
    state: LooseText<'a>,
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

impl Answered<'_> {
    fn push_line(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let id = self.batch_request_id.as_deref().ok_or("a result has no `batch_request_id`")?;
        let outcome = self.batch_result.as_ref();
        let answers = outcome.and_then(|outcome| outcome.response.as_ref()).into_iter().flatten();
        let answer = answers.map(|(_, answer)| *answer).find(|answer| answer.get() != "null");
        if let Some(answer) = answer {
            push_line_head(id, out);
            out.extend_from_slice(b"{\"status_code\":200,\"body\":");
            push_raw(answer.get(), out);
            out.extend_from_slice(b"},\"error\":null}\n");
            return Ok(());
        }
        let error = outcome.and_then(|outcome| outcome.error).map_or("", RawValue::get);
        let text = serde_json::from_str::<String>(error).ok();
        let said: Refusal<'_> = serde_json::from_str(error).unwrap_or_default();
        let message = text.as_deref().or(said.message.as_deref()).or(self.error_message.as_deref());
        let code = said.code.as_deref().unwrap_or("request_failed");
        push_failure(id, status(code), (code, message.unwrap_or("no answer, and no reason")), out);
        Ok(())
    }
}

/// Lines on their way from pages to a file.
struct Writer<'w> {
    sheet: &'w mut Sheet,
    bytes: u64,
    bytes_max: u64,
    line: Vec<u8>,
    /// Requests that have a line, as far as anybody will ask.
    seen: Option<HashSet<String>>,
}

impl Writer<'_> {
    /// `Err` where the file would be longer than it can be.
    async fn write(&mut self, id: Option<&str>) -> Result<std::io::Result<()>, String> {
        self.bytes += self.line.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(format!(
                "the results are longer than {} bytes, more than they can be",
                self.bytes_max
            ));
        }
        if let (Some(seen), Some(id)) = (&mut self.seen, id) {
            seen.insert(id.to_owned());
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
        let reply = self.free.send(READ, Method::GET, &path, &[404]).await?;
        if reply.status == 404 {
            return self.absent(&reply).map(|()| None);
        }
        let cancelled =
            read_cancelled(&reply.body).map_err(|why| unreadable(&self.free, READ, &reply, &why))?;
        let local = |error: std::io::Error| self.free.local_error(READ, to, &error);
        let mut sheet = Sheet::begin(to).await.map_err(local)?;
        let seen = (cancelled > 0).then(HashSet::new);
        let mut writer = Writer { sheet: &mut sheet, bytes: 0, bytes_max, line: Vec::new(), seen };
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

    /// The provider's own word that nothing is there; a gateway's page says nothing.
    fn absent(&self, reply: &Reply) -> Result<(), ApiError> {
        match super::errors::read(&reply.body) {
            Some(_) => Ok(()),
            None => Err(unreadable(&self.free, READ, reply, "a page that is not the provider's")),
        }
    }

    async fn write_pages(&self, path: &str, writer: &mut Writer<'_>, to: &Path) -> Result<(), ApiError> {
        let mut pages = Pages::of(format!("{path}{RESULTS}"));
        while let Some(reply) = self.page(&mut pages).await? {
            let bad = |why: String| unreadable(&self.free, READ, &reply, &why);
            let page: Answers<'_> = read(&reply.body, "a page of results").map_err(bad)?;
            for result in &page.results {
                writer.line.clear();
                result.push_line(&mut writer.line).map_err(bad)?;
                let written = writer.write(result.batch_request_id.as_deref()).await.map_err(bad)?;
                written.map_err(|error| self.free.local_error(READ, to, &error))?;
            }
            pages.turn(page.pagination_token.into_owned()).map_err(bad)?;
        }
        if writer.seen.is_some() { self.write_cancelled(path, writer, to).await } else { Ok(()) }
    }

    /// Lines of what was cancelled before it ran, which results leave out.
    async fn write_cancelled(&self, path: &str, writer: &mut Writer<'_>, to: &Path) -> Result<(), ApiError> {
        let mut pages = Pages::of(format!("{path}/requests"));
        while let Some(reply) = self.page(&mut pages).await? {
            let bad = |why: String| unreadable(&self.free, READ, &reply, &why);
            let page: Fates<'_> = read(&reply.body, "a page of requests").map_err(bad)?;
            for fate in &page.batch_request_metadata {
                let Some(id) = fate.batch_request_id.as_deref() else { continue };
                let told = writer.seen.as_ref().is_some_and(|seen| seen.contains(id));
                if told || fate.state.as_deref() != Some("cancelled") {
                    continue;
                }
                writer.line.clear();
                let why = ("batch_cancelled", "the batch ended before this request was run");
                push_failure(id, None, why, &mut writer.line);
                let written = writer.write(None).await.map_err(bad)?;
                written.map_err(|error| self.free.local_error(READ, to, &error))?;
            }
            pages.turn(page.pagination_token.into_owned()).map_err(bad)?;
        }
        Ok(())
    }

    /// The next page, or one of fewer rows where so many do not come. `None`: the last one was read.
    async fn page(&self, pages: &mut Pages) -> Result<Option<Reply>, ApiError> {
        loop {
            let Some(path) = pages.path() else { return Ok(None) };
            // A page is held whole: as many at once as files are on their way.
            let _turn = self.free.transfer().await;
            match self.free.send(READ, Method::GET, &path, &[]).await {
                Err(error) if pages.rows > 1 && is_too_much(&error) => pages.rows /= 2,
                reply => return reply.map(Some),
            }
        }
    }
}

/// How far a list in pages was read.
struct Pages {
    path: String,
    rows: u32,
    token: Option<String>,
    seen: HashSet<String>,
    read: bool,
}

impl Pages {
    fn of(path: String) -> Self {
        Self { path, rows: PAGE_MAX, token: None, seen: HashSet::new(), read: false }
    }

    fn path(&self) -> Option<String> {
        let token = self.token.as_deref().map(|token| format!("&pagination_token={}", in_path(token)));
        let first = || Some(String::new()).filter(|_| !self.read);
        Some(format!("{}?limit={}{}", self.path, self.rows, token.or_else(first)?))
    }

    /// A page was read. `Err`: what follows it was read before.
    fn turn(&mut self, next: Option<String>) -> Result<(), String> {
        self.read = true;
        if let Some(token) = &next
            && !self.seen.insert(token.clone())
        {
            return Err(format!("the pages turn in a circle at `{token}`"));
        }
        self.token = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::answer::Reading;
    use bulkrate_core::request::Kind;

    fn line(result: &str) -> String {
        let result: Answered<'_> = serde_json::from_str(result).unwrap();
        let mut line = Vec::new();
        result.push_line(&mut line).unwrap();
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
        let nobodys: Answered<'_> = serde_json::from_str("{}").unwrap();
        assert!(nobodys.push_line(&mut Vec::new()).is_err());
    }

    #[test]
    fn pages_are_read_until_no_token_follows_and_never_in_a_circle() {
        let mut pages = Pages::of("/b/results".to_owned());
        assert_eq!(pages.path().as_deref(), Some("/b/results?limit=1000"));
        pages.turn(Some("a b".to_owned())).unwrap();
        assert_eq!(pages.path().as_deref(), Some("/b/results?limit=1000&pagination_token=a%20b"));
        assert!(pages.turn(Some("a b".to_owned())).is_err());
        pages.turn(None).unwrap();
        assert_eq!(pages.path(), None);
        assert_eq!((batch_of(&of("b")), batch_of("file-1")), (Some("b"), None));
    }
}
