//! Uploads by Google's resumable protocols: begun once, and gone on with after a break from what has arrived.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkrate_core::failure::FailureClass;
use reqwest::{Method, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use url::Url;

use super::{Failed, FreeClient, Line};
use crate::api::{ApiError, Reply};
use crate::http::flow;
use crate::http::sign::Covered;

const COMMAND: &str = "x-goog-upload-command";
const STATUS: &str = "x-goog-upload-status";
/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 18;

/// In what words an upload is begun and gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Commands in headers: Gemini's files.
    Commands,
    /// Ranges of bytes: Cloud Storage.
    Ranges,
}

impl Protocol {
    fn begin(self, request: RequestBuilder, length: u64, kind: &str) -> RequestBuilder {
        match self {
            Self::Commands => request
                .header(COMMAND, "start")
                .header("x-goog-upload-protocol", "resumable")
                .header("x-goog-upload-header-content-length", length)
                .header("x-goog-upload-header-content-type", kind),
            Self::Ranges => {
                request.header("x-upload-content-length", length).header("x-upload-content-type", kind)
            }
        }
    }

    /// The header that says where the upload has its place.
    fn place(self) -> &'static str {
        match self {
            Self::Commands => "x-goog-upload-url",
            Self::Ranges => "location",
        }
    }

    fn query(self, client: &reqwest::Client, url: &str, length: u64) -> RequestBuilder {
        match self {
            Self::Commands => client.post(url).header(COMMAND, "query"),
            Self::Ranges => client.put(url).header("content-range", format!("bytes */{length}")),
        }
    }

    fn rest(self, client: &reqwest::Client, url: &str, from: u64, length: u64) -> RequestBuilder {
        match self {
            Self::Commands => {
                client.post(url).header(COMMAND, "upload, finalize").header("x-goog-upload-offset", from)
            }
            Self::Ranges => {
                let last = length.saturating_sub(1);
                client.put(url).header("content-range", format!("bytes {from}-{last}/{length}"))
            }
        }
    }

    /// Statuses that are answers, besides 2xx.
    fn answers(self) -> &'static [u16] {
        match self {
            Self::Commands => &[],
            Self::Ranges => &[308],
        }
    }

    fn is_final(self, reply: &Reply) -> bool {
        match self {
            Self::Commands => reply.header(STATUS) == Some("final"),
            Self::Ranges => reply.status != 308,
        }
    }

    /// How many bytes have arrived. `None`: the answer does not say.
    fn received(self, reply: &Reply) -> Option<u64> {
        match self {
            Self::Commands => reply.header("x-goog-upload-size-received")?.parse().ok(),
            // Nothing said of a range is nothing that arrived.
            Self::Ranges => reply
                .header("range")
                .map_or(Some(0), |range| range.strip_prefix("bytes=0-")?.parse::<u64>().ok()?.checked_add(1)),
        }
    }
}

/// What is uploaded, and where it goes on.
struct Upload<'a> {
    what: &'a str,
    protocol: Protocol,
    file: &'a Path,
    length: u64,
    /// Path and query of the upload, once it has begun.
    place: Mutex<Option<String>>,
}

impl Upload<'_> {
    fn place(&self) -> MutexGuard<'_, Option<String>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FreeClient {
    /// Uploads a file; `about`: what is said of it, as JSON, and its type. Answers what the last byte was answered with.
    pub(crate) async fn upload_resumable(
        &self,
        what: &str,
        (protocol, path): (Protocol, &str),
        about: (&[u8], &str),
        file: &Path,
    ) -> Result<Reply, ApiError> {
        let found = std::fs::metadata(file).map_err(|error| self.local(what, file, &error).error)?;
        let upload = Upload { what, protocol, file, length: found.len(), place: Mutex::new(None) };
        self.repeat(|| async {
            let client = match &self.line {
                Line::Http(client) => client,
                Line::Given(line) => return self.give(what, &**line, (Method::POST, path), file).await,
            };
            let _turn = self.transfer().await;
            let begun = upload.place().clone();
            let (place, from) = match begun {
                None => (self.begin_upload(&upload, client.post(self.account.url(path)), about).await?, 0),
                Some(place) => {
                    let query = protocol.query(client, &self.at(&place), upload.length);
                    match self.arrived(&upload, query).await? {
                        Arrived::All(reply) => return Ok(reply),
                        Arrived::Until(from) => (place, from),
                    }
                }
            };
            let rest = protocol.rest(client, &self.at(&place), from, upload.length);
            self.send_rest(&upload, rest, from).await
        })
        .await
    }

    fn at(&self, place: &str) -> String {
        format!("{}{place}", self.account.origin())
    }

    /// Where the upload goes on. Only path and query are taken from the answer: the key goes to no origin that an answer names.
    async fn begin_upload(
        &self,
        upload: &Upload<'_>,
        request: RequestBuilder,
        (about, kind): (&[u8], &str),
    ) -> Result<String, Failed> {
        let request = upload
            .protocol
            .begin(request, upload.length, kind)
            .header("content-type", "application/json")
            .body(about.to_vec());
        let reply = self.uploaded(upload, request.timeout(self.retry.try_timeout)).await?;
        let Some(url) = reply.header(upload.protocol.place()).and_then(|url| Url::parse(url).ok()) else {
            let why = "the answer does not say where to upload to";
            return Err(self.failed(upload.what, Some(reply.status), FailureClass::Transient, why, true));
        };
        let place = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        upload.place().replace(place.clone());
        Ok(place)
    }

    /// How much of it is there. An upload that nobody knows any more begins again.
    async fn arrived(&self, upload: &Upload<'_>, request: RequestBuilder) -> Result<Arrived, Failed> {
        let asked = request.header("content-length", 0).timeout(self.retry.try_timeout);
        let reply = self.uploaded(upload, asked).await;
        match &reply {
            Ok(reply) if upload.protocol.is_final(reply) => return Ok(Arrived::All(reply.clone())),
            Ok(_) | Err(_) => {}
        }
        match reply.as_ref().ok().map(|reply| upload.protocol.received(reply)) {
            Some(Some(from)) if from <= upload.length => Ok(Arrived::Until(from)),
            Some(_) => {
                upload.place().take();
                Err(self.failed(upload.what, None, FailureClass::Transient, "the upload was forgotten", true))
            }
            None => {
                let failed = reply.err().unwrap_or_else(|| self.late(upload.what, "no answer"));
                // An answer that is no success says that there is no such upload.
                if failed.error.status.is_some_and(|status| (400..500).contains(&status)) {
                    upload.place().take();
                    return Err(Failed { again: true, ..failed });
                }
                Err(failed)
            }
        }
    }

    async fn send_rest(
        &self,
        upload: &Upload<'_>,
        request: RequestBuilder,
        from: u64,
    ) -> Result<Reply, Failed> {
        let local = |error: std::io::Error| self.local(upload.what, upload.file, &error);
        let mut input = tokio::fs::File::open(upload.file).await.map_err(local)?;
        input.seek(std::io::SeekFrom::Start(from)).await.map_err(local)?;
        let rest = upload.length - from;
        let input = tokio_util::io::ReaderStream::with_capacity(input.take(rest), PIECE_BYTES);
        let request = request
            .header("content-length", rest)
            .body(reqwest::Body::wrap_stream(input))
            .timeout(flow::upload_time(rest, self.retry.try_timeout));
        let reply = self.uploaded(upload, request).await?;
        if upload.protocol.is_final(&reply) {
            return Ok(reply);
        }
        let why = "the answer does not say that all of it arrived";
        Err(self.failed(upload.what, Some(reply.status), FailureClass::Transient, why, true))
    }

    async fn uploaded(&self, upload: &Upload<'_>, request: RequestBuilder) -> Result<Reply, Failed> {
        // An upload goes to a place that the service has named: what signs it covers nothing of that.
        let signed = self.signature(upload.what, &Method::POST, "", Covered::Bytes(b"")).await?;
        let reply = self.reply(upload.what, request.headers(signed).send().await).await?;
        self.check(upload.what, reply, upload.protocol.answers())
    }
}

/// What has come of an upload that broke off.
enum Arrived {
    Until(u64),
    /// All of it, and this was the answer.
    All(Reply),
}
