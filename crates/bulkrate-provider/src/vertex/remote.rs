//! Reads batch prediction jobs. Counts come as texts, -1 where nobody knows.

use std::collections::BTreeMap;

use bulkrate_core::request::write_json_text;
use bulkrate_core::submission::{BatchCounts, BatchError, Marker, Owner, Phase, RemoteBatch};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::shelf::TABLE;
use super::tables::is_ours;
use crate::gemini::errors::read_status;
use crate::gemini::remote::{display_name, marker, phase};
use crate::http::batches::{Page, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

/// A job waits for up to three days, and runs for one.
const WINDOW_S: u64 = (72 + 24) * 3_600;

/// All that a list has.
const LIST_FIELDS: [&str; 2] = ["batchPredictionJobs", "nextPageToken"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(borrow, default)]
    batch_prediction_jobs: Vec<Job<'a>>,
    #[serde(borrow, default)]
    next_page_token: LooseText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job<'a> {
    #[serde(borrow)]
    name: LooseText<'a>,
    #[serde(borrow, default)]
    display_name: LooseText<'a>,
    #[serde(borrow, default)]
    state: LooseText<'a>,
    #[serde(borrow, default)]
    create_time: LooseText<'a>,
    #[serde(borrow, default)]
    end_time: LooseText<'a>,
    #[serde(borrow, default)]
    input_config: Option<Input<'a>>,
    #[serde(borrow, default)]
    output_config: Option<Output<'a>>,
    #[serde(borrow, default)]
    output_info: Option<Info<'a>>,
    #[serde(default)]
    completion_stats: Option<Stats>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_failures: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(borrow, default)]
    gcs_source: Option<Source<'a>>,
    #[serde(borrow, default)]
    bigquery_source: Option<Source<'a>>,
}

/// Objects, or a table.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(borrow, default)]
    uris: Vec<LooseText<'a>>,
    #[serde(borrow, default)]
    input_uri: LooseText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    #[serde(borrow, default)]
    gcs_destination: Option<Destination<'a>>,
    #[serde(borrow, default)]
    bigquery_destination: Option<Destination<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destination<'a> {
    #[serde(borrow, default)]
    output_uri_prefix: LooseText<'a>,
    #[serde(borrow, default)]
    output_uri: LooseText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    #[serde(borrow, default)]
    gcs_output_directory: LooseText<'a>,
    #[serde(borrow, default)]
    bigquery_output_dataset: LooseText<'a>,
    #[serde(borrow, default)]
    bigquery_output_table: LooseText<'a>,
}

impl Input<'_> {
    fn address(self) -> Option<String> {
        let source = self.gcs_source.or(self.bigquery_source)?;
        source.input_uri.into_owned().or_else(|| source.uris.into_iter().next()?.into_owned())
    }
}

impl Output<'_> {
    fn address(self) -> Option<String> {
        let destination = self.gcs_destination.or(self.bigquery_destination)?;
        destination.output_uri.into_owned().or_else(|| destination.output_uri_prefix.into_owned())
    }
}

impl Info<'_> {
    /// The folder that was made, or the table, which is named beside its dataset.
    fn address(self) -> Option<String> {
        self.gcs_output_directory.into_owned().or_else(|| {
            let (dataset, table) = (self.bigquery_output_dataset.0?, self.bigquery_output_table.0?);
            let is_whole = table.starts_with(TABLE);
            Some(if is_whole { table.into_owned() } else { format!("{dataset}.{table}") })
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    successful_count: Count,
    #[serde(default)]
    failed_count: Count,
    #[serde(default)]
    incomplete_count: Count,
}

/// The folder below which a job makes one for its results.
const OUT: &str = "out";

/// Below what the results of an input go, or the table of them.
pub(super) fn place_of(input: &str) -> String {
    match input.strip_prefix(TABLE) {
        Some(_) => format!("{input}_{OUT}"),
        None => format!("{}/{OUT}", input.rsplit_once('/').map_or(input, |(folder, _)| folder)),
    }
}

/// The body of a create: what is read, where results go, and our mark as its name. Labels say the same to whoever looks at the list.
pub(super) fn create(input: &str, out: &str, model: &str, mark: &Marker) -> Vec<u8> {
    let mut body = b"{\"displayName\":".to_vec();
    write_json_text(&display_name(mark), &mut body);
    body.extend_from_slice(b",\"model\":");
    write_json_text(model, &mut body);
    let (format, before, between, to) = match input.starts_with(TABLE) {
        true => ("bigquery", "bigquerySource\":{\"inputUri\":", "", "bigqueryDestination\":{\"outputUri\":"),
        false => ("jsonl", "gcsSource\":{\"uris\":[", "]", "gcsDestination\":{\"outputUriPrefix\":"),
    };
    body.extend_from_slice(
        format!(",\"inputConfig\":{{\"instancesFormat\":\"{format}\",\"{before}").as_bytes(),
    );
    write_json_text(input, &mut body);
    let output = format!("{between}}}}},\"outputConfig\":{{\"predictionsFormat\":\"{format}\",\"{to}");
    body.extend_from_slice(output.as_bytes());
    write_json_text(out, &mut body);
    body.extend_from_slice(b"}},\"labels\":{\"br_inst\":");
    write_json_text(&mark.inst, &mut body);
    body.extend_from_slice(b",\"br_sub\":");
    write_json_text(&mark.sub, &mut body);
    body.extend_from_slice(format!(",\"br_n\":\"{}\"}}}}", mark.items).as_bytes());
    body
}

/// One job; `Err` says what is missing.
pub(super) fn read_batch(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Job<'_>>(body, "a batch prediction job")?.into_remote()
}

/// One page of the list of jobs.
pub(super) fn read_page(body: &[u8]) -> Result<Page, String> {
    // Nothing at all is an empty list: but only as an object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("the answer is not a list of batch prediction jobs".to_owned());
    }
    let list: List<'_> = read(body, "a list of batch prediction jobs")?;
    if list.batch_prediction_jobs.is_empty() {
        let fields: BTreeMap<String, IgnoredAny> = read(body, "a list of batch prediction jobs")?;
        // That a job does not exist may be concluded from it: what a gateway says of itself proves nothing.
        if let Some(name) = fields.keys().find(|name| !LIST_FIELDS.contains(&name.as_str())) {
            return Err(format!(
                "the answer is not a list of batch prediction jobs: it has a field `{name}`"
            ));
        }
    }
    let batches =
        list.batch_prediction_jobs.into_iter().map(Job::into_remote).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { batches, next: list.next_page_token.into_owned() })
}

/// Where a job's results are, by what it says of that. A table that looks like one of ours is believed only where it is the one beside
/// this input: what has landed is deleted.
fn own_place(named: String, input: Option<&str>) -> String {
    match input.map(place_of) {
        Some(own) if is_ours(&named) && named != own => own,
        _ => named,
    }
}

impl Job<'_> {
    fn into_remote(self) -> Result<RemoteBatch, String> {
        let id = self.name.into_owned().ok_or("the job has no name")?;
        let stats = self.completion_stats.unwrap_or_default();
        let (completed, failed) = (stats.successful_count.or_zero(), stats.failed_count.or_zero());
        let total = completed.saturating_add(failed).saturating_add(stats.incomplete_count.or_zero());
        let input = self.input_config.and_then(Input::address);
        let directory =
            self.output_info.and_then(Info::address).map(|named| own_place(named, input.as_deref()));
        let prefix =
            self.output_config.and_then(Output::address).map(|named| own_place(named, input.as_deref()));
        let is_answered = directory.is_some() || completed > 0;
        let phase = match phase(self.state.as_deref().unwrap_or_default()) {
            // Of what failed as a whole nothing was paid: but for what stands there as answered.
            Phase::Failed if is_answered => Phase::Completed,
            phase => phase,
        };
        let said = self.error.into_iter().chain(self.partial_failures).filter_map(read_status);
        let created_at = self.create_time.as_deref().and_then(unix_s);
        let ended_at = self.end_time.as_deref().and_then(unix_s);
        Ok(RemoteBatch {
            phase,
            id,
            status: self.state.into_owned().unwrap_or_default(),
            input_file: input,
            // Where it does not say which folder it made, all that is below its own place is its.
            output_file: directory
                .or_else(|| prefix.filter(|_| phase.is_terminal() && phase != Phase::Failed)),
            error_file: None,
            counts: BatchCounts { total, completed, failed },
            errors: said
                .map(|said| BatchError { code: Some(said.status), message: said.message, line: None })
                .collect(),
            created_at,
            ended_at,
            expires_at: created_at.map(|created| created.saturating_add(WINDOW_S)),
            marker: self.display_name.as_deref().and_then(marker),
            owner: Owner::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const ENDED: &str = include_str!("../../fixtures/vertex/job_ended.json");

    #[test]
    fn a_full_job() {
        let batch = read_batch(ENDED.as_bytes()).unwrap();
        assert_eq!(
            batch.id,
            "projects/510528649030/locations/us-central1/batchPredictionJobs/3814889423749775360"
        );
        assert_eq!((batch.phase, batch.status.as_str()), (Phase::Completed, "JOB_STATE_SUCCEEDED"));
        assert_eq!(batch.counts, BatchCounts { total: 100, completed: 98, failed: 2 });
        assert_eq!((batch.created_at, batch.expires_at), (Some(1_795_168_800), Some(1_795_514_400)));
        assert_eq!(batch.input_file.as_deref(), Some("gs://bkt/in/part-0001.jsonl"));
        assert_eq!(
            batch.output_file.as_deref(),
            Some("gs://bkt/out/prediction-model-2026-11-20T10:00:00.000001Z")
        );
        assert_eq!(batch.errors[0].message, "could not read one file");
        let mark = batch.marker.unwrap();
        assert_eq!((mark.inst.as_str(), mark.items, mark.digest.len()), ("k3v9q1x7m2c5n8d4", 100, 64));
    }

    #[test]
    fn states_and_what_results_make_of_them() {
        let prefix = r#""outputConfig":{"gcsDestination":{"outputUriPrefix":"gs://b/out/"}}"#;
        let directory = r#""outputInfo":{"gcsOutputDirectory":"gs://b/out/p1"}"#;
        for (state, rest, phase, output) in [
            ("QUEUED", prefix, Phase::Validating, None),
            ("PENDING", prefix, Phase::Validating, None),
            ("RUNNING", prefix, Phase::InProgress, None),
            ("CANCELLING", prefix, Phase::Cancelling, None),
            // Stuck, and an end of its own making.
            ("PAUSED", prefix, Phase::Unknown, None),
            ("PARTIALLY_SUCCEEDED", directory, Phase::Completed, Some("gs://b/out/p1")),
            ("CANCELLED", prefix, Phase::Cancelled, Some("gs://b/out/")),
            ("EXPIRED", prefix, Phase::Expired, Some("gs://b/out/")),
            ("FAILED", prefix, Phase::Failed, None),
            // What was answered is paid, and may be read.
            ("FAILED", directory, Phase::Completed, Some("gs://b/out/p1")),
            (
                "FAILED",
                r#""completionStats":{"successfulCount":"7","incompleteCount":"-1"}"#,
                Phase::Completed,
                None,
            ),
            ("OF_TOMORROW", prefix, Phase::Unknown, None),
        ] {
            let body = format!(
                r#"{{"name":"projects/p/locations/l/batchPredictionJobs/1","state":"JOB_STATE_{state}",{rest}}}"#
            );
            let batch = read_batch(body.as_bytes()).unwrap();
            assert_eq!((batch.phase, batch.output_file.as_deref()), (phase, output), "{body}");
        }
        for body in ["{}", r#"{"displayName":"x"}"#, "[]", "", "null"] {
            assert!(read_batch(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn what_a_create_says_is_read_back() {
        let mark = Marker {
            inst: "k3v9q1x7m2c5n8d4".into(),
            sub: "01kaxvhz0000000000000000aa".into(),
            items: 50_000,
            digest: "0".repeat(64),
        };
        let body = create("gs://b/in/input.jsonl", "gs://b/in/out", "publishers/google/models/m", &mark);
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(said["inputConfig"]["gcsSource"]["uris"][0], "gs://b/in/input.jsonl");
        assert_eq!(said["outputConfig"]["gcsDestination"]["outputUriPrefix"], "gs://b/in/out");
        // A label's value: small letters, digits, dashes, 63 at most.
        for label in ["br_inst", "br_sub", "br_n"] {
            let value = said["labels"][label].as_str().unwrap();
            assert!(
                value.len() <= 63
                    && value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            );
        }
        assert!(said["displayName"].as_str().unwrap().len() <= 128);
        let in_tables = create("bq://p.d.t", &place_of("bq://p.d.t"), "publishers/google/models/m", &mark);
        let in_tables: serde_json::Value = serde_json::from_slice(&in_tables).unwrap();
        assert_eq!(
            in_tables["inputConfig"],
            serde_json::json!({"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://p.d.t"}})
        );
        assert_eq!(
            in_tables["outputConfig"],
            serde_json::json!({"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://p.d.t_out"}})
        );
        assert_eq!(place_of("gs://b/in/1/input.jsonl"), "gs://b/in/1/out");
        let mut back = said;
        back["name"] = "projects/p/locations/l/batchPredictionJobs/1".into();
        assert_eq!(read_batch(back.to_string().as_bytes()).unwrap().marker, Some(mark));
    }

    #[test]
    fn a_job_of_tables_names_the_one_it_made_or_the_one_it_was_to_make() {
        let of = |state: &str, info: &str| {
            let body = format!(
                r#"{{"name":"projects/p/locations/l/batchPredictionJobs/1","state":"JOB_STATE_{state}","inputConfig":{{"bigquerySource":{{"inputUri":"bq://p.d.t"}}}},"outputConfig":{{"bigqueryDestination":{{"outputUri":"bq://p.d.t_out"}}}}{info}}}"#
            );
            let batch = read_batch(body.as_bytes()).unwrap();
            (batch.phase, batch.input_file.unwrap(), batch.output_file)
        };
        let table = r#","outputInfo":{"bigqueryOutputDataset":"bq://p.d","bigqueryOutputTable":"made"}"#;
        let others = r#","outputInfo":{"bigqueryOutputDataset":"bq://p.d","bigqueryOutputTable":"bulkrate_x_0123456789abcdef_out"}"#;
        let named = |name: &str| Some(format!("bq://p.d.{name}"));
        for (state, info, phase, output) in [
            ("SUCCEEDED", table, Phase::Completed, named("made")),
            ("SUCCEEDED", "", Phase::Completed, named("t_out")),
            ("RUNNING", "", Phase::InProgress, None),
            ("CANCELLED", "", Phase::Cancelled, named("t_out")),
            ("FAILED", "", Phase::Failed, None),
            ("FAILED", table, Phase::Completed, named("made")),
            // The results of another batch of ours.
            ("SUCCEEDED", others, Phase::Completed, named("t_out")),
        ] {
            assert_eq!(of(state, info), (phase, "bq://p.d.t".to_owned(), output), "{state} {info}");
        }
    }

    #[test]
    fn pages() {
        let page = format!(r#"{{"batchPredictionJobs":[{ENDED}],"nextPageToken":"t"}}"#);
        let page = read_page(page.as_bytes()).unwrap();
        assert_eq!((page.batches.len(), page.next.as_deref()), (1, Some("t")));
        assert!(read_page(b"{}").unwrap().batches.is_empty());
        assert!(read_page(b"[]").is_err() && read_page(br#"{"batchPredictionJobs":[{}]}"#).is_err());
    }

    #[test]
    fn an_object_of_somebody_else_is_no_empty_list() {
        for body in [
            r#"{"status":"ok"}"#,
            r#"{"nextPageToken":"","error":{"code":503}}"#,
            r#"{"batchPredictionJobs":[],"unreachable":["us-central1"]}"#,
        ] {
            assert!(read_page(body.as_bytes()).is_err(), "{body}");
        }
        for body in ["{}", r#"{"batchPredictionJobs":[]}"#, r#"{"nextPageToken":"t"}"#] {
            assert!(read_page(body.as_bytes()).unwrap().batches.is_empty(), "{body}");
        }
        // A field more is no harm to jobs that are there.
        let page = format!(r#"{{"batchPredictionJobs":[{ENDED}],"totalSize":1}}"#);
        assert_eq!(read_page(page.as_bytes()).unwrap().batches.len(), 1);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = (read_batch(&bytes), read_page(&bytes));
        }
    }
}
