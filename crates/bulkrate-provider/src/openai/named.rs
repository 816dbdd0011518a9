//! Uploads to an address that the service names: first it is told of a file, then the bytes go where it says, then it looks at them.

use std::path::Path;

use bulkrate_core::failure::FailureClass;
use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use super::batch::{OpenAiBatches, UPLOAD};
use crate::api::{ApiError, BatchApi as _, Reply};
use crate::http::batches::{in_path, unreadable};
use crate::json::loose::LooseText;

/// What is said of a file that is there already: one of the same checksum.
#[derive(Deserialize)]
struct Known<'a> {
    #[serde(borrow)]
    file_id: LooseText<'a>,
}

/// What is said of a file whose bytes may never have come.
#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(default, alias = "Processed")]
    processed: Option<bool>,
    #[serde(borrow, default, alias = "processing_status")]
    status: LooseText<'a>,
}

/// Whether a file was only told of: nothing looks into it, and nothing did.
fn is_empty(there: &Reply) -> bool {
    let seen = serde_json::from_slice::<Seen<'_>>(&there.body);
    seen.is_ok_and(|seen| seen.processed == Some(false) && seen.status.is_none())
}

impl OpenAiBatches {
    /// Answers what the service says of the file in the end.
    ///
    /// The lines of an input name its submission, so that a file with the same checksum is this one, of an upload whose answer was lost. One
    /// whose bytes never came is deleted and told of anew.
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
        let form = Bytes::from(form);
        let mut reply = self.free.post_form(UPLOAD, "/files", form.clone(), &[302, 409]).await?;
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
            let there = self.free.send(UPLOAD, Method::GET, &format!("/files/{}", in_path(&id)), &[]).await?;
            if !is_empty(&there) {
                return Ok(there);
            }
            self.delete_file(&id).await?;
            reply = self.free.post_form(UPLOAD, "/files", form, &[302]).await?;
        }
        let said = |name: &str| reply.header(name).filter(|text| !text.is_empty());
        let (Some(url), Some(id)) = (said("location"), said("x-together-file-id")) else {
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
