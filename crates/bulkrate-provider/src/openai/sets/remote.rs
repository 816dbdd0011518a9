//! Reads what the API says of accounts, data sets and jobs: names are whole, and their last part is the id.

use std::collections::BTreeMap;

use bulkrate_core::submission::{BatchCounts, BatchError, Owner, Phase, RemoteBatch};
use serde::Deserialize;

use crate::http::batches::{Page, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Jobs<'a> {
    #[serde(borrow, default)]
    batch_inference_jobs: Option<Vec<Job<'a>>>,
    #[serde(borrow, default)]
    next_page_token: LooseText<'a>,
    #[serde(default)]
    total_size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job<'a> {
    #[serde(borrow, default)]
    name: LooseText<'a>,
    #[serde(borrow, default)]
    state: LooseText<'a>,
    #[serde(borrow, default)]
    status: Option<Status<'a>>,
    #[serde(borrow, default)]
    input_dataset_id: LooseText<'a>,
    #[serde(borrow, default)]
    output_dataset_id: LooseText<'a>,
    #[serde(default)]
    job_progress: Option<Progress>,
    #[serde(borrow, default)]
    create_time: LooseText<'a>,
    #[serde(borrow, default)]
    expire_time: LooseText<'a>,
    #[serde(borrow, default)]
    lifecycle: Option<Lifecycle<'a>>,
}

/// Not every answer has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle<'a> {
    #[serde(borrow, default)]
    end_time: LooseText<'a>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    code: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Progress {
    /// As the data set was declared, and only once it was read.
    total_input_requests: Count,
    total_processed_requests: Count,
    successfully_processed_requests: Count,
    failed_requests: Count,
    output_rows: Count,
    output_tokens: Count,
}

impl Progress {
    /// Whether something of the job may have been answered, and so paid.
    fn has_run(&self) -> bool {
        let told = [
            self.total_processed_requests,
            self.successfully_processed_requests,
            self.failed_requests,
            self.output_rows,
            self.output_tokens,
        ];
        told.into_iter().any(|count| count.or_zero() > 0)
    }

    /// Whether it says that nothing was answered: a count that is not there says nothing.
    fn is_unrun(&self) -> bool {
        let told = [self.total_processed_requests, self.successfully_processed_requests, self.output_rows];
        !self.has_run() && told.into_iter().any(|count| matches!(count, Count::Known(_)))
    }
}

/// The last part of a name.
fn id_of(name: LooseText<'_>) -> Option<String> {
    let name = name.into_owned()?;
    name.rsplit('/').next().filter(|id| !id.is_empty()).map(str::to_owned)
}

/// The data set that the results of an input go to.
pub(super) fn output_of(input: &str) -> String {
    format!("{input}-out")
}

pub(super) fn read_job(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Job<'_>>(body, "a batch job")?.into_remote()
}

pub(super) fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: Jobs<'_> = read(body, "a list of batch jobs")?;
    // A list that is not there is empty only where it says so: that a job is absent may be proved by it.
    let jobs = match (list.batch_inference_jobs, list.total_size) {
        (Some(jobs), _) => jobs,
        (None, Some(0)) => Vec::new(),
        (None, _) => return Err("the answer holds no list of batch jobs".to_owned()),
    };
    let batches = jobs.into_iter().map(Job::into_remote).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { batches, next: list.next_page_token.into_owned() })
}

/// The ids of the accounts that a key may use.
pub(super) fn read_accounts(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Accounts<'a> {
        #[serde(borrow)]
        accounts: Vec<Account<'a>>,
    }
    #[derive(Deserialize)]
    struct Account<'a> {
        #[serde(borrow)]
        name: LooseText<'a>,
    }
    let list: Accounts<'_> = read(body, "a list of accounts")?;
    Ok(list.accounts.into_iter().filter_map(|account| id_of(account.name)).collect())
}

/// Whether a data set may be read.
pub(super) fn is_ready(body: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Set<'a> {
        #[serde(borrow)]
        state: LooseText<'a>,
    }
    let set: Set<'_> = read(body, "a data set")?;
    Ok(set.state.as_deref() == Some("READY"))
}

/// Where the files of a data set lie, those of failures too.
pub(super) fn read_addresses(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Endpoint {
        filename_to_signed_urls: BTreeMap<String, String>,
    }
    let endpoint: Endpoint = read(body, "a list of addresses")?;
    Ok(endpoint.filename_to_signed_urls.into_values().collect())
}

/// Whether the answer to a delete confirms it: an empty object.
pub(super) fn says_deleted(body: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, serde::de::IgnoredAny>>(body).is_ok_and(|map| map.is_empty())
}

fn phase(state: &str) -> Phase {
    match state.trim_start_matches("JOB_STATE_") {
        "UNSPECIFIED" | "VALIDATING" => Phase::Validating,
        "CREATING_INPUT_DATASET" | "PENDING" | "CREATING" | "RUNNING" | "RE_QUEUEING" | "IDLE" | "PAUSED" => {
            Phase::InProgress
        }
        "WRITING_RESULTS" => Phase::Finalizing,
        "COMPLETED" => Phase::Completed,
        "FAILED" => Phase::Failed,
        "EXPIRED" | "EARLY_STOPPED" => Phase::Expired,
        // A job is cancelled by being deleted.
        "CANCELLING" | "DELETING" | "DELETING_CLEANING_UP" => Phase::Cancelling,
        "CANCELLED" | "DELETED" | "ARCHIVED" => Phase::Cancelled,
        _ => Phase::Unknown,
    }
}

/// A job that was deleted, and its results with it.
pub(super) fn gone(id: &str) -> RemoteBatch {
    RemoteBatch {
        phase: Phase::Cancelled,
        id: id.to_owned(),
        status: "deleted".to_owned(),
        input_file: None,
        output_file: None,
        error_file: None,
        counts: BatchCounts::default(),
        errors: Vec::new(),
        created_at: None,
        expires_at: None,
        ended_at: None,
        marker: None,
        owner: Owner::Unknown,
    }
}

impl Job<'_> {
    fn into_remote(self) -> Result<RemoteBatch, String> {
        let state = self.state.into_owned().ok_or("the job has no state")?;
        let progress = self.job_progress.unwrap_or_default();
        // An input that cannot be read is refused before anything runs.
        let is_refused =
            self.status.as_ref().and_then(|told| told.code.as_deref()) == Some("INVALID_ARGUMENT");
        let is_unpaid = progress.is_unrun() || is_refused && !progress.has_run();
        let [total, processed] =
            [progress.total_input_requests, progress.total_processed_requests].map(Count::or_zero);
        let counts = BatchCounts {
            total: total.max(processed),
            completed: progress.successfully_processed_requests.or_zero(),
            failed: progress.failed_requests.or_zero(),
        };
        let phase = match phase(&state) {
            // What has failed as a whole was not paid only where the job says so: else what has no line is in doubt.
            Phase::Failed if !is_unpaid => Phase::Completed,
            phase => phase,
        };
        let has_results = phase.is_terminal() && phase != Phase::Failed;
        let told = self.status.filter(|_| phase == Phase::Failed);
        let ended_at = self.lifecycle.and_then(|told| told.end_time.into_owned());
        Ok(RemoteBatch {
            phase,
            id: id_of(self.name).ok_or("the job has no name")?,
            status: state,
            input_file: id_of(self.input_dataset_id),
            output_file: id_of(self.output_dataset_id).filter(|_| has_results),
            error_file: None,
            counts,
            errors: told
                .map(|told| BatchError {
                    code: told.code.into_owned(),
                    message: told.message.into_owned().unwrap_or_default(),
                    line: None,
                })
                .into_iter()
                .collect(),
            created_at: self.create_time.as_deref().and_then(unix_s),
            expires_at: self.expire_time.as_deref().and_then(unix_s),
            // When a job was last changed may be later.
            ended_at: ended_at.and_then(|text| unix_s(&text)).filter(|_| phase.is_terminal()),
            marker: None,
            owner: Owner::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const JOB: &str = include_str!("../../../fixtures/fireworks/job.json");

    #[test]
    fn a_full_job() {
        let job = read_job(JOB.as_bytes()).unwrap();
        assert_eq!((job.id.as_str(), job.phase), ("bulkrate-01k-0f", Phase::Completed));
        assert_eq!(job.counts, BatchCounts { total: 100, completed: 99, failed: 1 });
        assert_eq!(job.input_file.as_deref(), Some("bulkrate-01k-0f"));
        assert_eq!(job.output_file.as_deref(), Some("bulkrate-01k-0f-out"));
        assert_eq!((job.created_at, job.expires_at), (Some(1_795_046_400), Some(1_795_132_800)));
        assert!(job.marker.is_none() && job.errors.is_empty());
        let page = read_page(format!(r#"{{"batchInferenceJobs":[{JOB}],"nextPageToken":"t"}}"#).as_bytes());
        let page = page.unwrap();
        assert_eq!((page.batches.len(), page.next.as_deref()), (1, Some("t")));
        for body in
            ["{}", "[]", "", r#"{"name":"accounts/a/batchInferenceJobs/j"}"#, r#"{"state":"RUNNING"}"#]
        {
            assert!(read_job(body.as_bytes()).is_err() && read_page(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn states_and_what_failed_after_it_had_begun() {
        let job = |state: &str, rest: &str| {
            let body = format!(
                r#"{{"name":"accounts/a/batchInferenceJobs/j","state":"JOB_STATE_{state}","outputDatasetId":"accounts/a/datasets/o"{rest}}}"#
            );
            read_job(body.as_bytes()).unwrap()
        };
        for (state, phase) in [
            ("VALIDATING", Phase::Validating),
            ("RE_QUEUEING", Phase::InProgress),
            ("WRITING_RESULTS", Phase::Finalizing),
            ("EXPIRED", Phase::Expired),
            ("DELETING_CLEANING_UP", Phase::Cancelling),
            ("OF_TOMORROW", Phase::Unknown),
        ] {
            assert_eq!(job(state, "").phase, phase, "{state}");
        }
        let refused = job("FAILED", r#","status":{"code":"INVALID_ARGUMENT","message":"invalid role"}"#);
        assert_eq!((refused.phase, refused.output_file), (Phase::Failed, None));
        assert_eq!(refused.errors[0].message, "invalid role");
        const INVALID: &str = r#","status":{"code":"INVALID_ARGUMENT"}"#;
        for (progress, status, unpaid) in [
            // Input tokens are counted before anything is answered.
            (r#"{"totalInputRequests":9,"inputTokens":900,"totalProcessedRequests":0}"#, "", true),
            (r#"{"successfullyProcessedRequests":"0"}"#, "", true),
            (r#"{"outputRows":0,"outputTokens":0}"#, r#","status":{"code":"INTERNAL"}"#, true),
            ("null", INVALID, true),
            (r#"{"inputTokens":900}"#, INVALID, true),
            // What is not said may have been answered.
            ("null", "", false),
            ("null", r#","status":{"code":"INTERNAL"}"#, false),
            ("{}", "", false),
            (r#"{"totalInputRequests":9,"inputTokens":900}"#, "", false),
            (r#"{"successfullyProcessedRequests":"3"}"#, INVALID, false),
            (r#"{"outputRows":1,"totalProcessedRequests":0}"#, "", false),
            (r#"{"outputTokens":7}"#, INVALID, false),
        ] {
            let failed = job("FAILED", &format!(r#","jobProgress":{progress}{status}"#));
            let (phase, output) = if unpaid { (Phase::Failed, None) } else { (Phase::Completed, Some("o")) };
            assert_eq!((failed.phase, failed.output_file.as_deref()), (phase, output), "{progress} {status}");
        }
    }

    #[test]
    fn a_job_may_tell_when_it_ended() {
        for (state, lifecycle, ended_at) in [
            ("COMPLETED", r#"{"startTime":"x","endTime":"2026-11-19T00:01:00.5Z"}"#, Some(1_795_046_460)),
            ("COMPLETED", "{}", None),
            ("COMPLETED", "null", None),
            ("RUNNING", r#"{"endTime":"2026-11-19T00:01:00Z"}"#, None),
        ] {
            let job = format!(r#"{{"name":"a/j","state":"JOB_STATE_{state}","lifecycle":{lifecycle}}}"#);
            assert_eq!(read_job(job.as_bytes()).unwrap().ended_at, ended_at, "{job}");
        }
    }

    /// Whether a job is absent may hang on it.
    #[test]
    fn a_list_that_is_not_there_is_empty_only_where_it_says_so() {
        for (body, there) in [
            (r#"{"batchInferenceJobs":[],"nextPageToken":"","totalSize":0}"#, true),
            (r#"{"batchInferenceJobs":null,"totalSize":0}"#, true),
            (r#"{"totalSize":0}"#, true),
            (r#"{"nextPageToken":"","totalSize":3}"#, false),
            (r#"{"batchInferenceJobs":null}"#, false),
            ("{}", false),
        ] {
            let page = read_page(body.as_bytes());
            assert_eq!(
                page.is_ok_and(|page| page.batches.is_empty() && page.next.is_none()),
                there,
                "{body}"
            );
        }
    }

    #[test]
    fn accounts_sets_and_addresses() {
        let accounts = br#"{"accounts":[{"name":"accounts/mine"},{"name":"accounts/ours"}]}"#;
        assert_eq!(read_accounts(accounts).unwrap(), ["mine", "ours"]);
        assert_eq!(is_ready(br#"{"state":"UPLOADING"}"#), Ok(false));
        assert_eq!(is_ready(br#"{"state":"READY"}"#), Ok(true));
        assert!(is_ready(b"{}").is_err());
        let urls = br#"{"filenameToSignedUrls":{"dataset/o/BIJOutputSet.jsonl":"https://s/a","dataset/o/error-data":"https://s/b"}}"#;
        assert_eq!(read_addresses(urls).unwrap(), ["https://s/a", "https://s/b"]);
        assert!(read_addresses(b"{}").is_err());
        assert!(says_deleted(b"{}") && !says_deleted(b"[]") && !says_deleted(br#"{"code":5}"#));
    }
}
