//! Model invocation jobs: an object in S3, one create whose token is our mark, and an object of results.
//!
//! A create with a token that is known makes nothing: it is sent again, byte for byte and soon, where no answer came. Whatever is said
//! then but a job's name proves nothing of the first one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::ids::WireId;
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::request::{Kind, write_json_text};
use bulkrate_core::submission::{KnownBy, Marker, Phase, RemoteBatch};
use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use super::wire::{BedrockWire, embed, native};
use super::{errors, remote, s3};
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Reply};
use crate::http::batches::{self, Shape, in_path, unused};
use crate::http::free::FreeClient;
use crate::settings::Settings;

/// What every model takes of a job; accounts may be given more.
const ITEMS_MAX: u32 = 50_000;
const ITEMS_MIN: u32 = 100;
const BYTES_MAX: u64 = 1_000_000_000;
/// A create without an answer is sent again after so many of the shortest waits of free calls: half a second, five, twenty.
const RESENDS: [u32; 3] = [1, 10, 40];
/// A token is surely remembered for so long.
const TOKEN_LIFE: Duration = Duration::from_secs(600);
const JOB: &str = "/model-invocation-job";
/// How names of files of records in their maker's words end: the job that is made of one says so, whatever the account's setting has become
/// since the file was written.
const NATIVE: &str = "-native.jsonl";
/// The longest place: what is made below it must stay a name that S3, jobs and we take.
const PLACE_BYTES_MAX: usize = 512;

const SHAPE: Shape = Shape {
    first: "/model-invocation-jobs?maxResults=200&sortBy=CreationTime&sortOrder=Descending",
    cursor: "nextToken",
    newest_first: true,
    numbered: false,
    page: remote::read_page,
    batch: remote::read_job,
    is_error: errors::is_error_body,
    is_deleted: |_| false, // nothing of it is deleted but files
};

/// Where batches lie and who runs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) role: String,
    /// `s3://bucket/prefix`, without a slash at its end.
    pub(super) place: String,
}

/// The batch API of one account.
#[derive(Debug)]
pub struct BedrockBatches {
    wire: Arc<BedrockWire>,
    paid: Arc<dyn CallApi>,
    control: Arc<FreeClient>,
    objects: FreeClient,
    stored: Stored,
    takes_no_schema: bool,
    create_timeout: Duration,
    wait_min: Duration,
}

impl BedrockBatches {
    pub(super) fn new(
        wire: Arc<BedrockWire>,
        paid: Arc<dyn CallApi>,
        (control, objects): (Arc<FreeClient>, FreeClient),
        stored: Stored,
        settings: &Settings,
    ) -> Self {
        // A schema that is not sent is not in the way.
        let takes_no_schema = settings.structured_outputs;
        Self {
            wire,
            paid,
            control,
            objects,
            stored,
            takes_no_schema,
            create_timeout: settings.create_timeout,
            wait_min: settings.retry.wait_min,
        }
    }

    /// Whether role and place are written as AWS writes them; `Err` says what is not.
    pub(super) fn ready(&self) -> Result<(), String> {
        let Stored { role, place } = &self.stored;
        if !(role.starts_with("arn:aws") && role.contains(":role/")) {
            return Err(format!(
                "`role_arn` is `{role}`; it is written as `arn:aws:iam::123456789012:role/NAME`"
            ));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-!_*'().".contains(&byte);
        let parts = place.strip_prefix("s3://").map(|place| place.split('/').collect::<Vec<_>>());
        // Parts of dots alone are steps and no names, on the way to S3.
        let is_name = |part: &&str| !["", ".", ".."].contains(part) && part.bytes().all(plain);
        match parts {
            _ if place.len() > PLACE_BYTES_MAX => {
                Err(format!("`storage` is longer than {PLACE_BYTES_MAX} bytes"))
            }
            Some(parts) if parts.iter().all(is_name) => Ok(()),
            _ => Err(format!(
                "`storage` is `{place}`; it is written as `s3://bucket/prefix`, without spaces and colons"
            )),
        }
    }

    /// How a file is called; one without a bucket lies where all of ours do.
    fn uri(&self, file: &str) -> String {
        if file.starts_with("s3://") { file.to_owned() } else { format!("{}/{file}", self.stored.place) }
    }

    fn body(&self, input: &str, kind: Kind, model: &str, marker: &Marker) -> Vec<u8> {
        let mut body = Vec::with_capacity(512);
        let mut text = |before: &str, text: &str| {
            body.extend_from_slice(before.as_bytes());
            write_json_text(text, &mut body);
        };
        text("{\"jobName\":", &format!("bulkrate-{}", marker.sub));
        text(",\"clientRequestToken\":", &remote::token(marker));
        text(",\"roleArn\":", &self.stored.role);
        text(",\"modelId\":", model);
        let invokes = kind == Kind::Embedding || input.ends_with(NATIVE);
        text(",\"modelInvocationType\":", if invokes { "InvokeModel" } else { "Converse" });
        text(",\"inputDataConfig\":{\"s3InputDataConfig\":{\"s3InputFormat\":\"JSONL\",\"s3Uri\":", input);
        text(
            "}},\"outputDataConfig\":{\"s3OutputDataConfig\":{\"s3Uri\":",
            &format!("{}/out/", self.stored.place),
        );
        body.extend_from_slice(b"}}}");
        body
    }

    async fn send_create(&self, body: &Bytes, input: &str, marker: &Marker) -> Created {
        match self.paid.call(JOB, body.clone(), self.create_timeout).await {
            Ok(reply) => self.created(&reply, input, marker),
            Err(error) => batches::unanswered(error),
        }
    }

    fn created(&self, reply: &Reply, input: &str, marker: &Marker) -> Created {
        let account = self.control.account();
        let said = errors::read(reply);
        if said.as_ref().is_some_and(|said| said.name == "ConflictException") {
            return Created::InDoubt("a job of this name is there already: it may be this one".to_owned());
        }
        let refused = said.map(|_| {
            let failure = account.redacted_failure(errors::of(reply));
            account.renewing(failure)
        });
        batches::created(account, reply, remote::read_created(&reply.body, input, marker), refused)
    }
}

/// The first bytes of a file.
fn head_of(file: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(native::HEAD_BYTES);
    File::open(file)?.take(native::HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[async_trait]
impl BatchApi for BedrockBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        BatchLimits { items_max: ITEMS_MAX, bytes_max: BYTES_MAX, embedding_inputs_max: u64::MAX }
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts {
            known_by: KnownBy::Mark,
            one_file: true,
            items_min: ITEMS_MIN,
            takes_no_schema: self.takes_no_schema,
            repeats_requests: true,
            ..BatchFacts::default()
        }
    }

    fn input_line(&self, id: WireId, _: Kind, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"recordId\":\"{id}\",\"modelInput\":").as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"}\n");
    }

    fn refuses(&self, kind: Kind, model: &str) -> Option<&'static str> {
        embed::no_batches(model).filter(|_| kind == Kind::Embedding)
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_line(kind, line)
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        const WHAT: &str = "upload a batch file";
        let name = name.strip_suffix(".jsonl").unwrap_or(name);
        let head = head_of(file).map_err(|error| self.objects.local_error(WHAT, file, &error))?;
        let end = if native::begins(&head) { NATIVE } else { ".jsonl" };
        let uri = format!("{}/in/{name}-{}{end}", self.stored.place, unused());
        self.objects.put_file(WHAT, &s3::path_of(&uri), file).await?;
        Ok(uri)
    }

    async fn create(&self, input_file: &str, kind: Kind, model: &str, marker: &Marker) -> Created {
        let body = Bytes::from(self.body(input_file, kind, model, marker));
        let began = Instant::now();
        let first = self.send_create(&body, input_file, marker).await;
        if !matches!(first, Created::InDoubt(_)) {
            return first;
        }
        let body = match planted::has(Bug::TokenRenewed) {
            true => self
                .body(input_file, kind, model, &Marker { items: marker.items + 1, ..marker.clone() })
                .into(),
            false => body,
        };
        for wait in RESENDS.map(|times| self.wait_min.saturating_mul(times)) {
            if began.elapsed() + wait + self.create_timeout > TOKEN_LIFE {
                break;
            }
            tokio::time::sleep(wait).await;
            if let Created::Accepted(batch) = self.send_create(&body, input_file, marker).await {
                return Created::Accepted(batch);
            }
        }
        first
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        const WHAT: &str = "poll a batch";
        let reply = self.control.send(WHAT, Method::GET, &format!("{JOB}/{}", in_path(id)), &[404]).await?;
        let unreadable = |why: &str| batches::unreadable(&self.control, WHAT, &reply, why);
        if reply.status == 404 {
            // A gateway's page says nothing of the job, nor does a host that knows no jobs.
            let is_unknown =
                errors::read(&reply).is_some_and(|said| said.name == "ResourceNotFoundException");
            return if is_unknown { Ok(None) } else { Err(unreadable("a page that is not the provider's")) };
        }
        let mut job = remote::read_job(&reply.body).map_err(|why| unreadable(&why))?;
        if job.phase.is_terminal() && job.output_file.is_none() {
            // Counters that are 0 or missing prove nothing: what was written is paid, and may be read.
            let results = remote::results(&reply.body).map_err(|why| unreadable(&why))?;
            if s3::is_there(&self.objects, "look for the results of a batch", &results).await? {
                job.output_file = Some(results);
                job.phase = if job.phase == Phase::Failed { Phase::Completed } else { job.phase };
            }
        }
        batches::plain(self.control.account(), Ok(job)).map(Some).map_err(|why| unreadable(&why))
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        batches::list_since(&self.control, SHAPE, created_at_min).await
    }

    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        const WHAT: &str = "stop a batch";
        let path = format!("{JOB}/{}/stop", in_path(id));
        let reply = self.control.send(WHAT, Method::POST, &path, &[400, 409]).await?;
        // One that has ended is stopped.
        let has_ended = errors::read(&reply).is_some_and(|said| said.name == "ConflictException");
        if has_ended { Ok(()) } else { self.control.accept(WHAT, reply, &[]).map(|_| ()) }
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        const WHAT: &str = "download the results of a batch";
        let uri = self.uri(file);
        let found = self.objects.download(WHAT, &s3::path_of(&uri), to, bytes_max).await?;
        if found.is_none() && !s3::is_absent(&self.objects, WHAT, &uri).await? {
            // It is there by now.
            return self.objects.download(WHAT, &s3::path_of(&uri), to, bytes_max).await;
        }
        Ok(found)
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        const WHAT: &str = "delete a batch file";
        s3::delete(&self.objects, WHAT, &self.uri(file)).await?;
        match remote::manifest_beside(file) {
            Some(manifest) => s3::delete(&self.objects, WHAT, &manifest).await,
            None => Ok(()),
        }
    }
}
