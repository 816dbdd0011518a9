//! Reads model invocation jobs. Our mark is the token of the create, which every list shows.

use bulkrate_core::submission::refusal::DENIED;
use bulkrate_core::submission::{BatchCounts, BatchError, Marker, Owner, Phase, RemoteBatch};
use serde::Deserialize;

use super::errors;
use crate::http::batches::{self, Page, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(borrow)]
    invocation_job_summaries: Vec<Job<'a>>,
    #[serde(borrow, default)]
    next_token: LooseText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job<'a> {
    #[serde(borrow)]
    job_arn: LooseText<'a>,
    #[serde(borrow, default)]
    status: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
    #[serde(borrow, default)]
    client_request_token: LooseText<'a>,
    #[serde(borrow, default)]
    submit_time: LooseText<'a>,
    #[serde(borrow, default)]
    end_time: LooseText<'a>,
    #[serde(borrow, default)]
    job_expiration_time: LooseText<'a>,
    #[serde(borrow, default)]
    input_data_config: Input<'a>,
    #[serde(borrow, default)]
    output_data_config: Output<'a>,
    #[serde(default)]
    total_record_count: Count,
    #[serde(default)]
    success_record_count: Count,
    #[serde(default)]
    error_record_count: Count,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(borrow, default)]
    s3_input_data_config: Place<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    #[serde(borrow, default)]
    s3_output_data_config: Place<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    #[serde(borrow, default)]
    s3_uri: LooseText<'a>,
}

/// The token of a create that carries our mark: letters, digits, and hyphens between them.
pub(super) fn token(marker: &Marker) -> String {
    batches::mark(marker, '-')
}

fn marker(token: &str) -> Option<Marker> {
    batches::marker(token, '-')
}

/// One job; `Err` says what is missing.
pub(super) fn read_job(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Job<'_>>(body, "a job")?.into_remote()
}

/// Where the results of a job are, if it wrote any; `Err`: it does not say.
pub(super) fn results(body: &[u8]) -> Result<String, String> {
    let job = read::<Job<'_>>(body, "a job")?;
    job.results().ok_or_else(|| "the job names no places".to_owned())
}

/// One page of the list of jobs.
pub(super) fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: List<'_> = read(body, "a list of jobs")?;
    let batches =
        list.invocation_job_summaries.into_iter().map(Job::into_remote).collect::<Result<_, _>>()?;
    Ok(Page { batches, next: list.next_token.into_owned() })
}

/// The answer to a create names the job and says no more: it was made just now, of what was asked for.
pub(super) fn read_created(body: &[u8], input: &str, marker: &Marker) -> Result<RemoteBatch, String> {
    let made = read_job(body)?;
    let phase = Phase::Validating;
    Ok(RemoteBatch { phase, input_file: Some(input.to_owned()), marker: Some(marker.clone()), ..made })
}

/// What is deleted with the results of a job: the sums that lie beside them.
pub(super) fn manifest_beside(output: &str) -> Option<String> {
    let (folder, _) = output.strip_suffix(".out")?.rsplit_once('/')?;
    Some(format!("{folder}/manifest.json.out"))
}

impl Job<'_> {
    fn input(&self) -> Option<&str> {
        self.input_data_config.s3_input_data_config.s3_uri.as_deref().filter(|uri| !uri.is_empty())
    }

    fn results(&self) -> Option<String> {
        let folder = self.output_data_config.s3_output_data_config.s3_uri.as_deref();
        let folder = folder.filter(|uri| !uri.is_empty())?;
        Some(output(folder, self.job_arn.as_deref()?, self.input()?))
    }

    fn into_remote(self) -> Result<RemoteBatch, String> {
        let id =
            self.job_arn.as_deref().filter(|arn| !arn.is_empty()).ok_or("the job has no ARN")?.to_owned();
        let counts = BatchCounts {
            total: self.total_record_count.or_zero(),
            completed: self.success_record_count.or_zero(),
            failed: self.error_record_count.or_zero(),
        };
        let processed = counts.completed > 0 || counts.failed > 0;
        let status = self.status.as_deref().unwrap_or_default();
        let phase = match phase(status) {
            // Of what failed as a whole nothing was paid: but for what was processed before.
            Phase::Failed if processed => Phase::Completed,
            phase => phase,
        };
        let has_output = phase == Phase::Completed || phase.is_terminal() && processed;
        let message = self.message.as_deref().filter(|message| !message.is_empty());
        let error = |message: &str| BatchError {
            code: errors::denies_place(message).then(|| DENIED.to_owned()),
            message: message.to_owned(),
            line: None,
        };
        Ok(RemoteBatch {
            output_file: self.results().filter(|_| has_output),
            phase,
            status: status.to_owned(),
            input_file: self.input().map(str::to_owned),
            error_file: None,
            counts,
            errors: message.map(error).into_iter().collect(),
            created_at: self.submit_time.as_deref().and_then(unix_s),
            ended_at: self.end_time.as_deref().and_then(unix_s),
            expires_at: self.job_expiration_time.as_deref().and_then(unix_s),
            marker: self.client_request_token.as_deref().and_then(marker),
            owner: Owner::Unknown,
            id,
        })
    }
}

/// Where a job writes what came of an input file: below its own id, under the input's name.
fn output(folder: &str, arn: &str, input: &str) -> String {
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    format!("{}/{}/{}.out", folder.trim_end_matches('/'), last(arn), last(input))
}

/// One that we do not know is not an end.
fn phase(status: &str) -> Phase {
    match status {
        "Submitted" | "Validating" | "Scheduled" => Phase::Validating,
        "InProgress" => Phase::InProgress,
        "Stopping" => Phase::Cancelling,
        "Completed" => Phase::Completed,
        "Failed" => Phase::Failed,
        "Stopped" => Phase::Cancelled,
        // Both ran out of time, one of them before it began.
        "PartiallyCompleted" | "Expired" => Phase::Expired,
        _ => Phase::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const PARTIAL: &str = include_str!("../../fixtures/bedrock/job_partial.json");

    #[test]
    fn a_full_job() {
        let job = read_job(PARTIAL.as_bytes()).unwrap();
        assert_eq!(job.id, "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl");
        assert_eq!((job.phase, job.status.as_str()), (Phase::Expired, "PartiallyCompleted"));
        assert_eq!(job.counts, BatchCounts { total: 100, completed: 88, failed: 2 });
        assert_eq!((job.created_at, job.expires_at), (Some(1_795_168_800), Some(1_795_255_200)));
        assert_eq!(job.input_file.as_deref(), Some("s3://bkt/in/part-0001.jsonl"));
        let output = "s3://bkt/out/abcdefghijkl/part-0001.jsonl.out";
        assert_eq!(job.output_file.as_deref(), Some(output));
        assert_eq!(manifest_beside(output).as_deref(), Some("s3://bkt/out/abcdefghijkl/manifest.json.out"));
        assert_eq!((manifest_beside("s3://bkt/in/part-0001.jsonl"), job.marker), (None, None));
    }

    #[test]
    fn states_and_whether_anything_is_to_be_had() {
        for (status, counts, phase, has_output) in [
            ("Submitted", "", Phase::Validating, false),
            ("Validating", "", Phase::Validating, false),
            ("Scheduled", "", Phase::Validating, false),
            ("InProgress", r#","successRecordCount":5"#, Phase::InProgress, false),
            ("Stopping", r#","successRecordCount":5"#, Phase::Cancelling, false),
            ("Completed", "", Phase::Completed, true),
            ("PartiallyCompleted", r#","successRecordCount":5"#, Phase::Expired, true),
            ("Stopped", r#","errorRecordCount":5"#, Phase::Cancelled, true),
            ("Stopped", "", Phase::Cancelled, false),
            ("Expired", "", Phase::Expired, false),
            ("Failed", "", Phase::Failed, false),
            // What was processed is paid, and may be read.
            ("Failed", r#","successRecordCount":"5""#, Phase::Completed, true),
            ("Paused", "", Phase::Unknown, false),
        ] {
            let body = format!(
                r#"{{"jobArn":"arn:x/j","status":"{status}","message":"so","inputDataConfig":{{"s3InputDataConfig":{{"s3Uri":"s3://b/i.jsonl"}}}},"outputDataConfig":{{"s3OutputDataConfig":{{"s3Uri":"s3://b/o"}}}}{counts}}}"#
            );
            let job = read_job(body.as_bytes()).unwrap();
            assert_eq!((job.phase, job.output_file.is_some()), (phase, has_output), "{body}");
            assert!(job.output_file.is_none_or(|file| file == "s3://b/o/j/i.jsonl.out"));
            assert_eq!(job.errors[0].message, "so");
        }
        for body in ["{}", r#"{"jobArn":""}"#, "[]", "", "null"] {
            assert!(read_job(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_page(b"{}").is_err() && read_page(br#"{"invocationJobSummaries":[]}"#).is_ok());
    }

    #[test]
    fn a_token_is_our_mark_or_none() {
        let ours = Marker {
            inst: "k3v9q1x7m2c5n8d4".into(),
            sub: "01kaxvhz0000000000000000aa".into(),
            items: 50_000,
            digest: "0".repeat(64),
        };
        let token = token(&ours);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        assert!(token.len() <= 256 && token.bytes().all(plain) && marker(&token) == Some(ours), "{token}");
        for token in
            ["", "job-1", "br1", "br1-a-b-3", "br1-a-b-3-c-d", "br2-a-b-3-c", "br1--b-3-c", "br1-a-b-x-c"]
        {
            assert_eq!(marker(token), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = (read_job(&bytes), read_page(&bytes));
        }
    }
}
