//! Uploads to an address that the service names: first it is told of a file, then the bytes go where it says, then it looks at them.

use std::path::Path;

use bulkrate_core::failure::FailureClass;
use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use super::batch::{OpenAiBatches, UPLOAD};
use crate::api::{ApiError, Reply};
use crate::http::batches::{in_path, unreadable};
use crate::json::loose::LooseText;

/// What is said of a file that is there already: one of the same checksum.
#[derive(Deserialize)]
struct Known<'a> {
    #[serde(borrow)]
    file_id: LooseText<'a>,
}

fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    reply.headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
}

impl OpenAiBatches {
    /// Answers what the service says of the file in the end.
    ///
    /// The lines of an input name its submission, so that a file with the same checksum is this one, of an upload whose answer was lost.
    pub(super) async fn upload_there(
        &self,
        file: &Path,
        name: &str,
        purpose: &str,
    ) -> Result<Reply, ApiError> {
        let checksum = self.free.digest_of(UPLOAD, file).await?;
        let told =
            [("purpose", purpose), ("file_name", name), ("file_type", "jsonl"), ("checksum", &checksum)];
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(told).finish();
        let reply = self.free.post_form(UPLOAD, "/files", Bytes::from(form), &[302, 409]).await?;
        if reply.status == 409 {
            let known = serde_json::from_slice::<Known<'_>>(&reply.body).ok();
            let known = known.and_then(|known| known.file_id.into_owned());
            let Some(id) = known else {
                return Err(unreadable(
                    &self.free,
                    UPLOAD,
                    &reply,
                    "the answer does not say which file it is",
                ));
            };
            return self.free.send(UPLOAD, Method::GET, &format!("/files/{}", in_path(&id)), &[]).await;
        }
        let (Some(url), Some(id)) = (header(&reply, "location"), header(&reply, "x-together-file-id")) else {
            let why = "the answer does not say where to upload to";
            return Err(unreadable(&self.free, UPLOAD, &reply, why));
        };
        let refused =
            |why: String| self.free.error(UPLOAD, Some(reply.status), FailureClass::RefusedByProvider, &why);
        let (there, path) = self.elsewhere.at(url).map_err(refused)?;
        there.put_file(UPLOAD, &path, file).await?;
        let looks = format!("/files/{}/preprocess", in_path(id));
        self.free.send(UPLOAD, Method::POST, &looks, &[]).await
    }
}
