//! Together's batches: jobs in words of their own that tell no counts, on which nothing can be written. They show their input file.

use bulkrate_core::request::Kind;
use bulkrate_core::submission::{BatchCounts, BatchError, KnownBy, Owner, Phase, RemoteBatch};
use serde::{Deserialize, Serialize};

use super::form::{Form, Upload, bare_line};
use super::remote;
use crate::http::batches::{Page, Shape, read};
use crate::json::loose::LooseText;
use crate::json::unix_s;

pub(super) const JOBS: Form = Form {
    look: "/batches",
    // All of them at once: there are no pages.
    shape: Shape {
        first: "/batches",
        newest_first: false,
        page: read_page,
        batch: read_job,
        ..Form::OPENAI.shape
    },
    line: |_, id, _, body, out| bare_line(id, body, out),
    create: |order| serde_json::to_vec(&Create { endpoint: order.endpoint, input_file_id: order.input_file }),
    kinds: &[Kind::Chat],
    known_by: KnownBy::Input,
    counts: false,
    upload: Upload::Named("batch-api"),
    cancel: ("/cancel", &[409]),
    cut_shows: false,
    ..Form::OPENAI
};

/// The window is a day, and nothing else can be asked for.
#[derive(Serialize)]
struct Create<'a> {
    endpoint: &'a str,
    input_file_id: &'a str,
}

/// The answer to a create, which has the job inside.
#[derive(Deserialize)]
struct Made<'a> {
    #[serde(borrow)]
    job: Job<'a>,
}

#[derive(Deserialize)]
struct Job<'a> {
    #[serde(borrow, default)]
    id: LooseText<'a>,
    #[serde(borrow, default)]
    status: LooseText<'a>,
    #[serde(borrow, default)]
    input_file_id: LooseText<'a>,
    #[serde(borrow, default)]
    output_file_id: LooseText<'a>,
    #[serde(borrow, default)]
    error_file_id: LooseText<'a>,
    #[serde(borrow, default)]
    error: LooseText<'a>,
    /// In percent.
    #[serde(borrow, default)]
    progress: LooseText<'a>,
    #[serde(borrow, default)]
    created_at: LooseText<'a>,
    #[serde(borrow, default)]
    completed_at: LooseText<'a>,
    #[serde(borrow, default)]
    job_deadline: LooseText<'a>,
}

fn read_job(body: &[u8]) -> Result<RemoteBatch, String> {
    let made = serde_json::from_slice::<Made<'_>>(body).map(|made| made.job);
    made.or_else(|_| read::<Job<'_>>(body, "a batch job"))?.into_remote()
}

fn read_page(body: &[u8]) -> Result<Page, String> {
    // An empty list may be `null`.
    let jobs: Option<Vec<Job<'_>>> = read(body, "a list of batch jobs")?;
    let batches = jobs.into_iter().flatten().map(Job::into_remote).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { batches, next: None })
}

impl Job<'_> {
    /// Whether something of it may have been answered, and so paid.
    fn has_run(&self) -> bool {
        let percent = self.progress.as_deref().and_then(|text| text.parse::<f64>().ok());
        self.has_files() || percent.is_some_and(|done| done > 0.0)
    }

    fn has_files(&self) -> bool {
        self.output_file_id.is_some() || self.error_file_id.is_some()
    }

    fn into_remote(self) -> Result<RemoteBatch, String> {
        let phase = match remote::phase(self.status.as_deref().unwrap_or_default()) {
            // What has failed as a whole was not paid: but for what had begun.
            Phase::Failed if self.has_run() => Phase::Completed,
            // What had begun and is not handed out was paid all the same: that it was cut says nothing of its lines.
            Phase::Cancelled if self.has_run() && !self.has_files() => Phase::Completed,
            phase => phase,
        };
        let error = self.error.into_owned().map(|message| BatchError { code: None, message, line: None });
        Ok(RemoteBatch {
            phase,
            id: self.id.into_owned().ok_or("the job has no id")?,
            status: self.status.into_owned().ok_or("the job has no status")?,
            input_file: self.input_file_id.into_owned(),
            output_file: self.output_file_id.into_owned(),
            error_file: self.error_file_id.into_owned(),
            counts: BatchCounts::default(),
            errors: error.into_iter().collect(),
            created_at: self.created_at.as_deref().and_then(unix_s),
            ended_at: self.completed_at.as_deref().and_then(unix_s),
            expires_at: self.job_deadline.as_deref().and_then(unix_s),
            marker: None,
            owner: Owner::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::ids::{Sub, WireId};

    const JOB: &str = include_str!("../../fixtures/together/job.json");

    #[test]
    fn a_job_is_read_bare_and_as_the_answer_to_its_create() {
        let wrapped = format!(r#"{{"job":{JOB},"warning":"slow today"}}"#);
        for body in [JOB, &wrapped] {
            let job = read_job(body.as_bytes()).unwrap();
            assert_eq!((job.phase, job.status.as_str()), (Phase::InProgress, "IN_PROGRESS"));
            assert_eq!(job.input_file.as_deref(), Some("file-7c2f6a10-5d4e-4b0e-9a51-1f1f0c8b7a11"));
            assert_eq!((job.created_at, job.expires_at), (Some(1_795_046_400), Some(1_795_132_800)));
            assert_eq!((job.counts, job.marker), (BatchCounts::default(), None));
        }
        let page = read_page(format!("[{JOB},{JOB}]").as_bytes()).unwrap();
        assert_eq!((page.batches.len(), page.next), (2, None));
        for body in ["{}", "[]", "", "null", r#"{"job":null}"#, r#"{"job":{"id":"j"}}"#] {
            assert!(read_job(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_page(b"{}").is_err() && read_page(b"").is_err());
        assert!(read_page(b"null").is_ok_and(|page| page.batches.is_empty() && page.next.is_none()));
    }

    /// A job that failed is asked again as a whole only where nothing of it can have run.
    #[test]
    fn what_failed_after_it_had_begun_is_read_like_what_ended() {
        for (rest, phase) in [
            ("", Phase::Failed),
            (r#","progress":0,"error":"no such model""#, Phase::Failed),
            (r#","progress":0.5"#, Phase::Completed),
            (r#","output_file_id":"f""#, Phase::Completed),
            (r#","error_file_id":"f""#, Phase::Completed),
        ] {
            let job = read_job(format!(r#"{{"id":"j","status":"FAILED"{rest}}}"#).as_bytes()).unwrap();
            assert_eq!(job.phase, phase, "{rest}");
        }
    }

    /// What a second batch of a create had answered when it was cancelled, and does not hand out, is not taken for unpaid.
    #[test]
    fn what_was_cancelled_after_it_had_begun_and_shows_nothing_may_have_been_paid() {
        for (rest, phase) in [
            ("", Phase::Cancelled),
            (r#","progress":0"#, Phase::Cancelled),
            (r#","progress":0.5"#, Phase::Completed),
            (r#","progress":0.5,"output_file_id":"""#, Phase::Completed),
            (r#","progress":0.5,"output_file_id":"f""#, Phase::Cancelled),
        ] {
            let job = read_job(format!(r#"{{"id":"j","status":"CANCELLED"{rest}}}"#).as_bytes()).unwrap();
            assert_eq!(job.phase, phase, "{rest}");
        }
    }

    #[test]
    fn states_in_capitals() {
        use Phase::{Cancelled, Completed, Expired, Unknown, Validating};
        let words = ["VALIDATING", "COMPLETED", "EXPIRED", "CANCELLED", "PAUSED"];
        let phases = words
            .map(|word| read_job(format!(r#"{{"id":"j","status":"{word}"}}"#).as_bytes()).unwrap().phase);
        assert_eq!(phases, [Validating, Completed, Expired, Cancelled, Unknown]);
    }

    #[test]
    fn a_line_says_what_is_asked_and_nothing_else() {
        let mut line = Vec::new();
        let wire = super::super::tests::wire("together");
        let id = WireId::one(Sub::new(1, 2), 3);
        (JOBS.line)(&wire, id, Kind::Chat, br#"{"model":"m"}"#, &mut line);
        let want = format!("{{\"custom_id\":\"{id}\",\"body\":{{\"model\":\"m\"}}}}\n");
        assert_eq!(String::from_utf8(line).unwrap(), want);
    }
}
