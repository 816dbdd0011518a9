//! Mistral's batches are jobs: of one model that is named once, with states and counts in words of their own, listed by numbered pages.

use bulkrate_core::submission::{BatchCounts, BatchError, Owner, Phase, RemoteBatch};
use serde::{Deserialize, Serialize};

use super::form::{Form, Metadata, bare_line, without_model};
use super::remote::{self, Marked};
use crate::http::batches::{Page, Shape, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

pub(super) const JOBS: Form = Form {
    path: "/batch/jobs",
    look: "/batch/jobs?page_size=1",
    shape: Shape {
        first: "/batch/jobs?page_size=100&order_by=-created",
        cursor: "page",
        newest_first: true,
        numbered: true,
        page: read_page,
        batch: read_job,
        ..Form::OPENAI.shape
    },
    line: |_, id, _, body, out| bare_line(id, &without_model(body), out),
    create: |order| {
        serde_json::to_vec(&Create {
            endpoint: order.endpoint,
            input_files: [order.input_file],
            model: order.model,
            metadata: Metadata::of(order.marker),
            timeout_hours: 24,
        })
    },
    // Its errors are flat, or lists of what is wrong where.
    is_own: |_| true,
    cut_shows: false,
    ..Form::OPENAI
};

#[derive(Serialize)]
struct Create<'a> {
    endpoint: &'a str,
    input_files: [&'a str; 1],
    model: &'a str,
    metadata: Metadata<'a>,
    timeout_hours: u32,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<Job<'a>>,
}

#[derive(Deserialize)]
struct Job<'a> {
    #[serde(borrow)]
    id: LooseText<'a>,
    #[serde(borrow)]
    status: LooseText<'a>,
    #[serde(borrow, default)]
    input_files: Option<Vec<LooseText<'a>>>,
    #[serde(borrow, default)]
    output_file: LooseText<'a>,
    #[serde(borrow, default)]
    error_file: LooseText<'a>,
    #[serde(default)]
    total_requests: Count,
    #[serde(default)]
    succeeded_requests: Count,
    #[serde(default)]
    failed_requests: Count,
    #[serde(borrow, default)]
    errors: Option<Vec<OneError<'a>>>,
    #[serde(borrow, default)]
    created_at: LooseText<'a>,
    #[serde(borrow, default)]
    completed_at: LooseText<'a>,
    #[serde(borrow, default)]
    metadata: Option<Marked<'a>>,
}

#[derive(Deserialize)]
struct OneError<'a> {
    #[serde(borrow, default)]
    message: LooseText<'a>,
}

fn read_job(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Job<'_>>(body, "a batch job")?.into_remote()
}

fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: List<'_> = read(body, "a list of batch jobs")?;
    let batches = list.data.into_iter().map(Job::into_remote).collect::<Result<Vec<_>, _>>()?;
    // A page that is short may have been filtered: only an empty one is the last.
    let goes_on = !batches.is_empty();
    Ok(Page::by_last_id(batches, goes_on))
}

impl Job<'_> {
    fn into_remote(self) -> Result<RemoteBatch, String> {
        let id = self.id.into_owned().ok_or("the job has no id")?;
        let status = self.status.into_owned().ok_or("the job has no status")?;
        let error = |error: OneError<'_>| BatchError {
            code: None,
            message: error.message.into_owned().unwrap_or_default(),
            line: None,
        };
        Ok(RemoteBatch {
            phase: phase(&status),
            id,
            status,
            input_file: self
                .input_files
                .and_then(|files| files.into_iter().next())
                .and_then(LooseText::into_owned),
            output_file: self.output_file.into_owned(),
            error_file: self.error_file.into_owned(),
            counts: BatchCounts {
                total: self.total_requests.or_zero(),
                completed: self.succeeded_requests.or_zero(),
                failed: self.failed_requests.or_zero(),
            },
            errors: self.errors.into_iter().flatten().map(error).collect(),
            created_at: self.created_at.as_deref().and_then(unix_s),
            ended_at: self.completed_at.as_deref().and_then(unix_s),
            expires_at: None,
            marker: self.metadata.and_then(Marked::into_marker),
            owner: Owner::Unknown,
        })
    }
}

/// A word that we do not know is not an end.
fn phase(status: &str) -> Phase {
    match status {
        "QUEUED" => Phase::Validating,
        "SUCCESS" => Phase::Completed,
        "TIMEOUT_EXCEEDED" => Phase::Expired,
        "CANCELLATION_REQUESTED" => Phase::Cancelling,
        other => remote::phase(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::ids::{Sub, WireId};
    use bulkrate_core::request::Kind;

    #[test]
    fn a_full_job() {
        let job = read_job(include_bytes!("../../fixtures/mistral/job.json")).unwrap();
        assert_eq!((job.phase, job.created_at), (Phase::InProgress, Some(1_795_046_400)));
        assert_eq!(job.counts, BatchCounts { total: 100, completed: 39, failed: 1 });
        assert_eq!((job.errors[0].message.as_str(), job.output_file), ("no such field", None));
        assert_eq!(job.input_file.as_deref(), Some("0a6c3f0e-6f0e-4b0e-9a51-1f1f0c8b7a11"));
        assert_eq!(job.marker.unwrap().items, 100);
    }

    #[test]
    fn states_in_its_own_words() {
        for (word, want) in [
            ("QUEUED", Phase::Validating),
            ("RUNNING", Phase::InProgress),
            ("SUCCESS", Phase::Completed),
            ("FAILED", Phase::Failed),
            ("TIMEOUT_EXCEEDED", Phase::Expired),
            ("CANCELLATION_REQUESTED", Phase::Cancelling),
            ("CANCELLED", Phase::Cancelled),
            ("PAUSED", Phase::Unknown),
        ] {
            assert_eq!(phase(word), want, "{word}");
        }
    }

    #[test]
    fn a_line_names_no_model() {
        let wire = super::super::tests::wire("mistral");
        let id = WireId::one(Sub::new(1, 2), 3);
        for (body, want) in [
            (
                r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"é\n"}]}"#,
                r#""body":{"max_tokens":9,"messages":[{"role":"user","content":"é\n"}]}}"#,
            ),
            (r#"{"mod\u0065l":"m"}"#, r#""body":{"mod\u0065l":"m"}}"#),
        ] {
            let mut line = Vec::new();
            (JOBS.line)(&wire, id, Kind::Chat, body.as_bytes(), &mut line);
            let line = String::from_utf8(line).unwrap();
            assert!(line.ends_with(&format!("{want}\n")) && line.contains(&id.to_string()), "{line}");
        }
    }
}
