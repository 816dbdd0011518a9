//! Uploads of a file in one request: in a form, or as its body, as object stores take them.

use std::path::Path;

use reqwest::Method;

use super::{FreeClient, Line};
use crate::api::{ApiError, Reply};
use crate::http::flow;
use crate::http::sign::{Covered, file_digest};

impl FreeClient {
    /// Uploads a file as multipart, the text fields before it.
    pub async fn upload(
        &self,
        what: &str,
        path: &str,
        fields: &[(&str, &str)],
        file: &Path,
        name: &str,
    ) -> Result<Reply, ApiError> {
        self.repeat(|| async {
            let client = match &self.line {
                Line::Http(client) => client,
                Line::Given(line) => return self.give(what, &**line, (Method::POST, path), file).await,
            };
            let _turn = self.transfer().await;
            let (body, length) = self.body_of(what, file).await?;
            let part = reqwest::multipart::Part::stream_with_length(body, length).file_name(name.to_owned());
            let part = part.mime_str("application/jsonl").map_err(|error| self.broken(what, &error))?;
            let mut form = reqwest::multipart::Form::new();
            for (field, value) in fields {
                form = form.text((*field).to_owned(), (*value).to_owned());
            }
            // Who signs bodies has his files put, not posted.
            let request = self.request(what, client, &Method::POST, path, Covered::Bytes(b"")).await?;
            let request = request.multipart(form.part("file", part));
            let sent = request.timeout(flow::upload_time(length, self.retry.try_timeout)).send().await;
            let reply = self.reply(what, sent).await?;
            self.check(what, reply, &[])
        })
        .await
    }

    /// SHA-256 of a file, in hex.
    pub(crate) async fn digest_of(&self, what: &str, file: &Path) -> Result<String, ApiError> {
        let owned = file.to_owned();
        let digest = match &self.line {
            // Where a seed says what comes after what, no other thread has a part in it.
            Line::Given(_) => file_digest(&owned),
            Line::Http(_) => tokio::task::spawn_blocking(move || file_digest(&owned))
                .await
                .map_err(std::io::Error::other)
                .and_then(|digest| digest),
        };
        digest.map_err(|error| self.local(what, file, &error).error)
    }

    /// Puts a file at `path`; one that lies there goes. What is signed covers every byte of it.
    pub(crate) async fn put_file(&self, what: &str, path: &str, file: &Path) -> Result<Reply, ApiError> {
        let client = match &self.line {
            Line::Http(client) => client,
            Line::Given(line) => {
                return self.repeat(|| self.give(what, &**line, (Method::PUT, path), file)).await;
            }
        };
        let digest = self.digest_of(what, file).await?;
        self.repeat(|| async {
            let _turn = self.transfer().await;
            let (body, length) = self.body_of(what, file).await?;
            let request = self.request(what, client, &Method::PUT, path, Covered::File(&digest)).await?;
            let request = request.header(http::header::CONTENT_LENGTH, length).body(body);
            let sent = request.timeout(flow::upload_time(length, self.retry.try_timeout)).send().await;
            self.check(what, self.reply(what, sent).await?, &[])
        })
        .await
    }
}
