//! Uploads by Google's resumable protocol: begun once, and gone on with after a break from what has arrived.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkrate_core::failure::FailureClass;
use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use url::Url;

use super::{Failed, FreeClient, Line};
use crate::api::{ApiError, Reply};
use crate::http::flow;

const COMMAND: &str = "x-goog-upload-command";
/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 18;

/// What is uploaded, and where it goes on.
struct Upload<'a> {
    what: &'a str,
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
    pub async fn upload_resumable(
        &self,
        what: &str,
        path: &str,
        about: (&[u8], &str),
        file: &Path,
    ) -> Result<Reply, ApiError> {
        let found = tokio::fs::metadata(file).await.map_err(|error| self.local(what, file, &error).error)?;
        let upload = Upload { what, file, length: found.len(), place: Mutex::new(None) };
        self.repeat(|| async {
            let client = match &self.line {
                Line::Http(client) => client,
                Line::Given(line) => {
                    let body = std::fs::read(file).map_err(|error| self.local(what, file, &error))?;
                    let reply = line.exchange(Method::POST, path, Bytes::from(body)).await;
                    return self.check(what, self.given(what, reply)?, &[]);
                }
            };
            let _turn = self.transfer().await;
            let begun = upload.place().clone();
            let (place, from) = match begun {
                None => (self.begin_upload(&upload, client.post(self.account.url(path)), about).await?, 0),
                Some(place) => match self.arrived(&upload, self.command(client, &place, "query")).await? {
                    Arrived::All(reply) => return Ok(reply),
                    Arrived::Until(from) => (place, from),
                },
            };
            self.send_rest(&upload, self.command(client, &place, "upload, finalize"), from).await
        })
        .await
    }

    fn command(&self, client: &reqwest::Client, place: &str, command: &str) -> RequestBuilder {
        client.post(format!("{}{place}", self.account.origin())).header(COMMAND, command)
    }

    /// Where the upload goes on. Only path and query are taken from the answer: the key goes to no origin that an answer names.
    async fn begin_upload(
        &self,
        upload: &Upload<'_>,
        request: RequestBuilder,
        (about, kind): (&[u8], &str),
    ) -> Result<String, Failed> {
        let request = request
            .header(COMMAND, "start")
            .header("x-goog-upload-protocol", "resumable")
            .header("x-goog-upload-header-content-length", upload.length)
            .header("x-goog-upload-header-content-type", kind)
            .header("content-type", "application/json")
            .body(about.to_vec());
        let reply = self.uploaded(upload, request.timeout(self.retry.try_timeout)).await?;
        let url = reply.headers.get("x-goog-upload-url").and_then(|url| Url::parse(url.to_str().ok()?).ok());
        let Some(url) = url else {
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
        let text = |reply: &Reply, name: &str| {
            reply.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let known = reply.as_ref().ok().map(|reply| {
            (
                text(reply, STATUS),
                text(reply, "x-goog-upload-size-received").and_then(|size| size.parse().ok()),
            )
        });
        match known {
            Some((Some(status), _)) if status == "final" => reply.map(Arrived::All),
            Some((_, Some(from))) if from <= upload.length => Ok(Arrived::Until(from)),
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
            .header("x-goog-upload-offset", from)
            .header("content-length", rest)
            .body(reqwest::Body::wrap_stream(input))
            .timeout(flow::upload_time(rest, self.retry.try_timeout));
        let reply = self.uploaded(upload, request).await?;
        if reply.headers.get(STATUS).is_some_and(|status| status == "final") {
            return Ok(reply);
        }
        let why = "the answer does not say that all of it arrived";
        Err(self.failed(upload.what, Some(reply.status), FailureClass::Transient, why, true))
    }

    async fn uploaded(&self, upload: &Upload<'_>, request: RequestBuilder) -> Result<Reply, Failed> {
        let reply = self.reply(upload.what, request.send().await).await?;
        self.check(upload.what, reply, &[])
    }
}

const STATUS: &str = "x-goog-upload-status";

/// What has come of an upload that broke off.
enum Arrived {
    Until(u64),
    /// All of it, and this was the answer.
    All(Reply),
}
