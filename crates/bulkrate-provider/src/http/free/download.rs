//! Files and the beginnings of files, of any length: whole or not at all, and never longer than they can be.

use std::path::{Path, PathBuf};

use bulkrate_core::failure::FailureClass;
use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::{Failed, FreeClient, Line};
use crate::api::{ApiError, Exchange};
use crate::http::flow::{self, Flow, Stop};
use crate::http::sign::Covered;

impl FreeClient {
    /// Downloads to `to`, whole or not at all: a temporary file beside it, synced and renamed. `Ok(None)`: 404.
    /// A body of more than `bytes_max` is none that was asked for.
    pub async fn download(
        &self,
        what: &str,
        path: &str,
        to: &Path,
        bytes_max: u64,
    ) -> Result<Option<u64>, ApiError> {
        let part = part_path(to);
        let result = self
            .repeat(|| async {
                let client = match &self.line {
                    Line::Http(client) => client,
                    Line::Given(line) => {
                        let Some(body) = self.given_body(what, &**line, path).await? else { return Ok(None) };
                        let written = std::fs::write(&part, &body).and_then(|()| std::fs::rename(&part, to));
                        written.map_err(|error| self.local(what, to, &error))?;
                        return Ok(Some(body.len() as u64));
                    }
                };
                let _turn = self.transfer().await;
                let Some(response) = self.begin(what, client, path).await? else { return Ok(None) };
                let length = self.write_body(what, response, &part, bytes_max).await?;
                tokio::fs::rename(&part, to).await.map_err(|error| self.local(what, to, &error))?;
                sync_folder(to).await.map_err(|error| self.local(what, to, &error))?;
                Ok(Some(length))
            })
            .await;
        if !matches!(result, Ok(Some(_))) {
            let _ = tokio::fs::remove_file(&part).await; // it may not exist; what matters is the result above
        }
        result
    }

    /// The first line of what lies at `path`; no more is read. `Ok(None)`: 404, or nothing is in it.
    /// A longer line than `bytes_max` is an error.
    pub async fn first_line(
        &self,
        what: &str,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        self.repeat(|| async {
            let client = match &self.line {
                Line::Http(client) => client,
                Line::Given(line) => {
                    let body = self.given_body(what, &**line, path).await?.unwrap_or_default();
                    let line = body.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec);
                    return Ok(line.filter(|line| !line.is_empty()));
                }
            };
            let Some(mut response) = self.begin(what, client, path).await? else { return Ok(None) };
            self.plain(what, &response)?;
            let mut line = Vec::new();
            let mut flow = Flow::new(self.retry.try_timeout, bytes_max, Instant::now());
            while let Some(chunk) = self.chunk(what, &mut response, &mut flow, bytes_max).await? {
                let end = chunk.iter().position(|byte| *byte == b'\n');
                line.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
                if end.is_some() {
                    break;
                }
            }
            Ok(Some(line).filter(|line| !line.is_empty()))
        })
        .await
    }

    /// What lies at `path` of a line that is given; `None`: 404.
    async fn given_body(&self, what: &str, line: &dyn Exchange, path: &str) -> Result<Option<Bytes>, Failed> {
        let reply = self.given(what, line.exchange(Method::GET, path, Bytes::new()).await)?;
        if reply.status == 404 {
            return Ok(None);
        }
        Ok(Some(self.check(what, reply, &[])?.body))
    }

    /// A response whose body is still to come; `None`: 404.
    async fn begin(
        &self,
        what: &str,
        client: &reqwest::Client,
        path: &str,
    ) -> Result<Option<Response>, Failed> {
        let asked = self.request(what, client, &Method::GET, path, Covered::Bytes(b"")).await?.send();
        let response = tokio::time::timeout(self.retry.try_timeout, asked)
            .await
            .map_err(|_| self.late(what, "no answer").unanswered())?
            .map_err(|error| self.broken(what, &error).unanswered())?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if response.status().is_success() {
            return Ok(Some(response));
        }
        let reply = tokio::time::timeout(self.retry.try_timeout, self.reply(what, Ok(response)))
            .await
            .map_err(|_| self.late(what, "only a part of the answer"))??;
        self.check(what, reply, &[]).map(|_| None)
    }

    async fn write_body(
        &self,
        what: &str,
        mut response: Response,
        part: &Path,
        bytes_max: u64,
    ) -> Result<u64, Failed> {
        let local = |error: std::io::Error| self.local(what, part, &error);
        self.plain(what, &response)?;
        let announced = response.content_length();
        let mut flow = Flow::new(self.retry.try_timeout, bytes_max, Instant::now());
        if announced.is_some_and(|announced| announced > bytes_max) {
            return Err(self.stopped(what, Stop::TooLong, bytes_max));
        }
        let mut output = tokio::io::BufWriter::with_capacity(1 << 18, private(part).await.map_err(local)?);
        while let Some(chunk) = self.chunk(what, &mut response, &mut flow, bytes_max).await? {
            output.write_all(&chunk).await.map_err(local)?;
        }
        let length = flow.total();
        if announced.is_some_and(|announced| announced != length) {
            return Err(self.failed(
                what,
                None,
                FailureClass::Transient,
                &format!("the download ended after {length} bytes"),
                true,
            ));
        }
        output.flush().await.map_err(local)?;
        output.get_ref().sync_all().await.map_err(local)?;
        Ok(length)
    }

    /// What comes next of a body that may not stall nor be longer than `bytes_max`.
    pub(super) async fn chunk(
        &self,
        what: &str,
        response: &mut Response,
        flow: &mut Flow,
        bytes_max: u64,
    ) -> Result<Option<Bytes>, Failed> {
        let stopped = |stop| self.stopped(what, stop, bytes_max);
        loop {
            let Ok(read) = tokio::time::timeout_at(flow.deadline(), response.chunk()).await else {
                // Reading is taken up again where it was: the window may have brought enough before.
                flow.look(Instant::now()).map_err(stopped)?;
                continue;
            };
            let chunk = read.map_err(|error| self.broken(what, &error))?;
            if let Some(chunk) = &chunk {
                flow.brought(chunk.len(), Instant::now()).map_err(stopped)?;
            }
            return Ok(chunk);
        }
    }

    /// A body in an encoding is refused: none was asked for, and nobody knows how long it would be.
    pub(super) fn plain(&self, what: &str, response: &Response) -> Result<(), Failed> {
        let Some(encoding) = flow::encoding(response.headers()) else { return Ok(()) };
        let status = Some(response.status().as_u16());
        let why = format!("the answer is encoded (`{encoding}`) although that was not asked for");
        Err(self.failed(what, status, FailureClass::Transient, &why, false))
    }

    fn stopped(&self, what: &str, stop: Stop, bytes_max: u64) -> Failed {
        match stop {
            Stop::Stalled => {
                let why = format!("less than {} KiB of the file", flow::WINDOW_BYTES_MIN >> 10);
                self.late(what, &why)
            }
            Stop::TooLong => {
                let why = format!("the file is longer than {bytes_max} bytes, more than it can be");
                self.failed(what, None, FailureClass::Transient, &why, false)
            }
        }
    }
}

fn part_path(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    to.with_file_name(name)
}

/// A file that is written here: it has its name only once it is whole.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) out: tokio::io::BufWriter<tokio::fs::File>,
    part: PathBuf,
}

impl Sheet {
    /// Begins what is to lie at `to`.
    pub(crate) async fn begin(to: &Path) -> std::io::Result<Self> {
        let part = part_path(to);
        Ok(Self { out: tokio::io::BufWriter::with_capacity(1 << 18, private(&part).await?), part })
    }

    /// It is whole.
    pub(crate) async fn end(mut self, to: &Path) -> std::io::Result<()> {
        self.out.flush().await?;
        self.out.get_ref().sync_all().await?;
        tokio::fs::rename(&self.part, to).await?;
        sync_folder(to).await
    }

    /// It will never be.
    pub(crate) async fn discard(self) -> std::io::Result<()> {
        tokio::fs::remove_file(&self.part).await
    }
}

/// An empty file that only its owner can read: what a provider answers is the user's.
async fn private(path: &Path) -> std::io::Result<tokio::fs::File> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await
}

/// Makes the rename durable.
async fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    tokio::fs::File::open(folder).await?.sync_all().await
}
