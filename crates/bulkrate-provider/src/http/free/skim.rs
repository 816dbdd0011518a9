//! Answers that hold a long list beside a few small fields: read while they come, and never held whole.

use std::path::Path;

use bulkrate_core::failure::FailureClass;
use bytes::Bytes;
use reqwest::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::download::Sheet;
use super::{Failed, FreeClient, Line, TOO_LONG};
use crate::api::{ApiError, Reply};
use crate::http::flow::Flow;
use crate::http::sign::Covered;
use crate::http::split::Split;

/// The longest that an answer may be besides its list.
const REST_BYTES_MAX: usize = 1 << 20;

/// What is kept of the list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep<'k> {
    Nothing,
    /// Its first entry, for which the rest is not read.
    First,
    /// All of it, an entry a line, in this file: whole or not at all, and not where there is no list.
    All(&'k Path),
}

/// An answer without its list.
#[derive(Debug)]
pub(crate) struct Skimmed {
    pub(crate) reply: Reply,
    pub(crate) first: Option<Vec<u8>>,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// How far an answer was read.
struct Reading {
    split: Split,
    rest: Vec<u8>,
    lines: Vec<u8>,
    sheet: Option<Sheet>,
    bytes: u64,
}

impl FreeClient {
    /// What lies at `path`, without the entries of the list in its field `key`. `ok` names statuses that are answers, besides 2xx.
    /// An answer of more than `bytes_max` is none that was asked for.
    pub(crate) async fn skim(
        &self,
        what: &str,
        (path, key): (&str, &'static str),
        ok: &[u16],
        keep: Keep<'_>,
        bytes_max: u64,
    ) -> Result<Skimmed, ApiError> {
        self.repeat(|| async {
            let _turn = self.transfer().await;
            let sheet = match keep {
                Keep::All(to) => Some(Sheet::begin(to).await.map_err(|error| self.local(what, to, &error))?),
                Keep::Nothing | Keep::First => None,
            };
            let (rest, lines) = (Vec::new(), Vec::new());
            let mut reading = Reading { split: Split::at(key), rest, lines, sheet, bytes: 0 };
            let read = self.read(what, path, ok, (keep, bytes_max), &mut reading).await;
            let Reading { split, lines, sheet, bytes, .. } = reading;
            if let (Some(sheet), Keep::All(to)) = (sheet, keep) {
                let ended = match &read {
                    Ok(reply) if reply.status / 100 == 2 && split.has_list() => sheet.end(to).await,
                    _ => sheet.discard().await,
                };
                ended.map_err(|error| self.local(what, to, &error))?;
            }
            let first = matches!(keep, Keep::First).then_some(lines).filter(|line| !line.is_empty());
            read.map(|reply| Skimmed { reply, first, bytes })
        })
        .await
    }

    async fn read(
        &self,
        what: &str,
        path: &str,
        ok: &[u16],
        (keep, bytes_max): (Keep<'_>, u64),
        reading: &mut Reading,
    ) -> Result<Reply, Failed> {
        let client = match &self.line {
            Line::Http(client) => client,
            Line::Given(line) => {
                let reply = self.given(what, line.exchange(Method::GET, path, Bytes::new()).await)?;
                let reply = self.check(what, reply, ok)?;
                self.take(what, &reply.body, keep, reading).await?;
                return self.ended(what, reply, keep, reading);
            }
        };
        let asked = self.request(what, client, &Method::GET, path, Covered::Bytes(b"")).await?.send();
        let mut response = tokio::time::timeout(self.retry.try_timeout, asked)
            .await
            .map_err(|_| self.late(what, "no answer").unanswered())?
            .map_err(|error| self.broken(what, &error).unanswered())?;
        let status = response.status().as_u16();
        if !response.status().is_success() && !ok.contains(&status) {
            let reply = tokio::time::timeout(self.retry.try_timeout, self.reply(what, Ok(response)))
                .await
                .map_err(|_| self.late(what, "only a part of the answer"))??;
            return self.check(what, reply, ok);
        }
        self.plain(what, &response)?;
        let headers = std::mem::take(response.headers_mut());
        let mut flow = Flow::new(self.retry.try_timeout, bytes_max, Instant::now());
        while let Some(chunk) = self.chunk(what, &mut response, &mut flow, bytes_max).await? {
            if self.take(what, &chunk, keep, reading).await? {
                break;
            }
        }
        self.ended(what, Reply { status, headers, body: Bytes::new() }, keep, reading)
    }

    /// True: there is no need to read on.
    async fn take(
        &self,
        what: &str,
        piece: &[u8],
        keep: Keep<'_>,
        reading: &mut Reading,
    ) -> Result<bool, Failed> {
        reading.split.push(piece, &mut reading.rest, &mut reading.lines);
        let held = match (keep, &mut reading.sheet) {
            (Keep::All(to), Some(sheet)) => {
                let written = sheet.out.write_all(&reading.lines).await;
                written.map_err(|error| self.local(what, to, &error))?;
                reading.bytes += reading.lines.len() as u64;
                reading.lines.clear();
                0
            }
            (Keep::First, _) => {
                if let Some(end) = reading.lines.iter().position(|byte| *byte == b'\n') {
                    reading.lines.truncate(end);
                    return Ok(true);
                }
                reading.lines.len()
            }
            _ => {
                reading.lines.clear();
                0
            }
        };
        if reading.rest.len() > REST_BYTES_MAX || held > super::BODY_BYTES_MAX {
            let mut failed =
                self.failed(what, None, FailureClass::Transient, "the answer is too long", false);
            failed.error.failure.provider_code = Some(TOO_LONG.to_owned());
            return Err(failed);
        }
        Ok(false)
    }

    fn ended(
        &self,
        what: &str,
        reply: Reply,
        keep: Keep<'_>,
        reading: &mut Reading,
    ) -> Result<Reply, Failed> {
        let has_first = matches!(keep, Keep::First) && !reading.lines.is_empty();
        if reading.split.is_cut() && !has_first {
            let why = "the answer breaks off";
            return Err(self.failed(what, Some(reply.status), FailureClass::Transient, why, true));
        }
        Ok(Reply { body: Bytes::from(std::mem::take(&mut reading.rest)), ..reply })
    }
}
