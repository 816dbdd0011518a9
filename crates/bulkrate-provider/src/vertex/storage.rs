//! The bucket: an object for each input, a folder of objects for each batch's results.

use std::path::Path;

use async_trait::async_trait;
use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use http::Method;
use serde::Deserialize;

use super::shelf::{OBJECT, Shelf, TABLE, check};
use super::wire::refused;
use crate::api::{ApiError, Reply};
use crate::gemini::errors;
use crate::http::batches::{self, in_path, unused};
use crate::http::free::{FreeClient, Protocol, pieces};
use crate::json::loose::LooseText;

/// The code of a bucket that is not there.
const NO_BUCKET: &str = "no_bucket";
const JSONL: &str = "application/jsonl";
/// The name of an input, below a folder of its own.
const INPUT: &str = "input.jsonl";
/// What a list of objects calls itself.
const LIST: &str = "storage#objects";
/// Bucket and folder together: with what is made below them, and what a job makes below that, a name stays shorter than 256 bytes.
const NAME_BYTES_MAX: usize = 96;
/// Pages of a list, at most: one batch writes a few objects.
const PAGES_MAX: usize = 100;

/// A bucket, or a folder in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    bucket: String,
    /// Without slashes around it; may be empty.
    path: String,
}

/// An object as `gs://bucket/path/of/it`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named<'n> {
    bucket: &'n str,
    object: &'n str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow, default)]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    items: Vec<Item<'a>>,
    #[serde(borrow, default)]
    next_page_token: LooseText<'a>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    name: LooseText<'a>,
}

impl<'a> Page<'a> {
    /// A list without objects says what it is: that a batch has written nothing is concluded from it.
    fn read(body: &'a [u8]) -> Result<Self, String> {
        let page: Self = batches::read(body, "a list of objects")?;
        match page.items.is_empty() && page.kind.as_deref() != Some(LIST) {
            true => Err("the answer is not a list of objects".to_owned()),
            false => Ok(page),
        }
    }
}

impl Folder {
    /// Reads `bucket`, `bucket/folder` or either with `gs://` before it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix(OBJECT).unwrap_or(text).trim_end_matches('/');
        let (bucket, path) = text.split_once('/').unwrap_or((text, ""));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if !(3..=222).contains(&bucket.len()) || !bucket.bytes().all(plain) {
            return Err(format!("`{bucket}` is no name of a bucket"));
        }
        let path = path.trim_matches('/');
        // What is made below it must stay a name that is believed of a server.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if !path.bytes().all(plain) || bucket.len() + path.len() > NAME_BYTES_MAX {
            return Err(format!("`{path}` is longer or stranger than a folder of a bucket may be here"));
        }
        Ok(Self { bucket: bucket.to_owned(), path: path.to_owned() })
    }

    fn object(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

/// The bucket of one account: an input has a folder of its own there.
#[derive(Debug)]
pub(super) struct Storage {
    free: FreeClient,
    folder: Folder,
}

impl Storage {
    pub(super) fn new(free: FreeClient, folder: Folder) -> Self {
        Self { free, folder }
    }

    async fn delete_object(&self, what: &str, named: Named<'_>) -> Result<(), ApiError> {
        let reply = self.free.send(what, Method::DELETE, &named.path(), &[404]).await?;
        // The fence of a create in doubt may stand on this: only the provider's own word counts.
        let said = errors::read(&reply.body).is_some();
        match reply.status {
            204 => Ok(()),
            404 if said => Ok(()),
            _ => Err(batches::unreadable(
                &self.free,
                what,
                &reply,
                "the answer does not say that it is deleted",
            )),
        }
    }

    /// The objects that hold results, in the order of their names. Of open models' Google's page says that they are lines of JSON, and not
    /// what they are called: where nothing has a usual name, all such files count. Nobody else writes there.
    async fn results(&self, what: &str, named: Named<'_>) -> Result<Vec<String>, ApiError> {
        let mut found = self.below(what, named).await?;
        let is_usual = |object: &String| {
            let name = object.rsplit('/').next().unwrap_or_default();
            name.starts_with("predictions") || name.starts_with("errors")
        };
        match found.iter().any(is_usual) {
            true => found.retain(is_usual),
            false => found.retain(|object| object.ends_with(".jsonl")),
        }
        found.sort();
        Ok(found)
    }

    /// The objects below a name, all pages.
    async fn below(&self, what: &str, named: Named<'_>) -> Result<Vec<String>, ApiError> {
        let prefix = format!("{}/", named.object.trim_end_matches('/'));
        let first = format!("/storage/v1/b/{}/o?prefix={}", named.bucket, in_path(&prefix));
        let (mut path, mut found) = (first.clone(), Vec::new());
        for _ in 0..PAGES_MAX {
            let reply = self.free.send(what, Method::GET, &path, &[]).await?;
            let unreadable = |why: &str| batches::unreadable(&self.free, what, &reply, why);
            let page = Page::read(&reply.body).map_err(|why| unreadable(&why))?;
            let names = page.items.into_iter().filter_map(|item| item.name.into_owned());
            found.extend(names.filter(|name| name.starts_with(&prefix)));
            match page.next_page_token.into_owned() {
                Some(next) => path = format!("{first}&pageToken={}", in_path(&next)),
                None => return Ok(found),
            }
        }
        Err(self.free.error(what, None, FailureClass::Transient, &format!("more than {PAGES_MAX} pages")))
    }
}

#[async_trait]
impl Shelf for Storage {
    async fn look(&self) -> Result<(), ApiError> {
        let path = format!("/storage/v1/b/{}/o?maxResults=1", self.folder.bucket);
        let reply = self.free.send("look into the bucket", Method::GET, &path, &[]).await?;
        Page::read(&reply.body)
            .map(|_| ())
            .map_err(|why| batches::unreadable(&self.free, "look into the bucket", &reply, &why))
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        let object = self.folder.object(&format!("{name}/{}/{INPUT}", unused()));
        let bucket = &self.folder.bucket;
        let path = format!("/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={}", in_path(&object));
        self.free
            .upload_resumable("upload a batch file", (Protocol::Ranges, &path), (b"{}", JSONL), file)
            .await?;
        Ok(format!("gs://{bucket}/{object}"))
    }

    async fn download(&self, name: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        const WHAT: &str = "download the results of a batch";
        check(&self.free, WHAT, name, TABLE)?;
        let Some(named) = Named::read(name) else { return Ok(None) };
        let mut results = self.results(WHAT, named).await?;
        let Some(last) = results.pop() else { return Ok(None) };
        if results.is_empty() {
            return self.free.download(WHAT, &named.with(&last).media(), to, bytes_max).await;
        }
        results.push(last);
        let (mut whole, mut left) = (Vec::new(), bytes_max);
        for (place, object) in results.iter().enumerate() {
            let piece = pieces::beside(to, place);
            // One that is gone meanwhile is no part of a whole.
            let Some(bytes) = self.free.download(WHAT, &named.with(object).media(), &piece, left).await?
            else {
                return Ok(None);
            };
            left = left.saturating_sub(bytes);
            whole.push(piece);
        }
        pieces::join(&whole, to).await.map(Some).map_err(|error| self.free.local_error(WHAT, to, &error))
    }

    async fn has_results(&self, name: &str) -> Result<bool, ApiError> {
        const WHAT: &str = "look for the results of a batch";
        check(&self.free, WHAT, name, TABLE)?;
        let Some(named) = Named::read(name) else { return Ok(false) };
        Ok(!self.results(WHAT, named).await?.is_empty())
    }

    async fn delete(&self, name: &str) -> Result<(), ApiError> {
        const WHAT: &str = "delete a batch file";
        check(&self.free, WHAT, name, TABLE)?;
        let Some(named) = Named::read(name) else { return Ok(()) };
        if !named.is_folder() {
            return self.delete_object(WHAT, named).await;
        }
        for object in self.below(WHAT, named).await? {
            self.delete_object(WHAT, named.with(&object)).await?;
        }
        Ok(())
    }
}

impl<'n> Named<'n> {
    fn read(name: &'n str) -> Option<Self> {
        let (bucket, object) = name.strip_prefix(OBJECT)?.split_once('/')?;
        (!bucket.is_empty() && !object.is_empty()).then_some(Self { bucket, object })
    }

    fn with(self, object: &'n str) -> Self {
        Self { object, ..self }
    }

    /// Our inputs are files; whatever a batch writes is below a name.
    fn is_folder(self) -> bool {
        !self.object.ends_with(".jsonl")
    }

    fn path(self) -> String {
        format!("/storage/v1/b/{}/o/{}", in_path(self.bucket), in_path(self.object))
    }

    fn media(self) -> String {
        format!("{}?alt=media", self.path())
    }
}

/// What an error of Cloud Storage means. A bucket that is not there is a matter of the account, and of no model.
pub(super) fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    let failure = refused(reply, now_unix_s);
    if reply.status == 404 && failure.message.contains("bucket") {
        return Failure { class: FailureClass::Auth, provider_code: Some(NO_BUCKET.to_owned()), ..failure };
    }
    failure
}

#[cfg(test)]
mod tests;
