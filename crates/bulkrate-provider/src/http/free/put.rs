//! Uploads of a file as the body of one request, as object stores take them.

use std::path::Path;

use bytes::Bytes;
use reqwest::Method;

use super::{FreeClient, Line};
use crate::api::{ApiError, Reply};
use crate::http::flow;
use crate::http::sign::Covered;

impl FreeClient {
    /// Puts a file at `path`; one that lies there goes. What is signed covers every byte of it.
    pub(crate) async fn put_file(&self, what: &str, path: &str, file: &Path) -> Result<Reply, ApiError> {
        let local = |error: std::io::Error| self.local(what, file, &error);
        let owned = file.to_owned();
        let digest = tokio::task::spawn_blocking(move || crate::aws::file_digest(&owned)).await;
        let digest = digest.map_err(std::io::Error::other).and_then(|digest| digest);
        let digest = digest.map_err(|error| local(error).error)?;
        self.repeat(|| async {
            let client = match &self.line {
                Line::Http(client) => client,
                Line::Given(line) => {
                    let body = Bytes::from(std::fs::read(file).map_err(local)?);
                    let reply = self.given(what, line.exchange(Method::PUT, path, body).await)?;
                    return self.check(what, reply, &[]);
                }
            };
            let _turn = self.transfer().await;
            let input = tokio::fs::File::open(file).await.map_err(local)?;
            let length = input.metadata().await.map_err(local)?.len();
            let body =
                reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::with_capacity(input, 1 << 18));
            let request = self.request(what, client, &Method::PUT, path, Covered::File(&digest)).await?;
            let request = request.header(http::header::CONTENT_LENGTH, length).body(body);
            let sent = request.timeout(flow::upload_time(length, self.retry.try_timeout)).send().await;
            self.check(what, self.reply(what, sent).await?, &[])
        })
        .await
    }
}
