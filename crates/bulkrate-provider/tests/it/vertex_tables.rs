//! Vertex from and to tables of BigQuery, against its simulator and against servers that say what the simulator does not.

use std::path::PathBuf;
use std::time::Duration;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::submission::Phase;
use bulkrate_provider::{Provider, Secret, Settings};
use bulkrate_sim::{Sim, SimConfig};

use crate::server::{self, Peer, response};
use crate::vertex::{LLAMA, account, conforms, with_llama};

const TOKEN: &str = r#"{"access_token":"ya29.canary-token","expires_in":3599}"#;
const DATASET: &str = r#"{"kind":"bigquery#dataset","location":"US"}"#;
const COLUMNS: &str = r#"{"schema":{"fields":[{"name":"custom_id","type":"STRING"},{"name":"request","type":"STRING","mode":"NULLABLE"},{"name":"response","type":"JSON"},{"name":"status","type":"STRING"}]}}"#;
const NO_TABLE: &str =
    r#"{"error":{"code":404,"message":"Not found: Table p:d.t","errors":[{"reason":"notFound"}]}}"#;
const NO_DATASET: &str =
    r#"{"error":{"code":404,"message":"Not found: Dataset p:d","errors":[{"reason":"notFound"}]}}"#;
const OURS: &str = "bq://p.d.bulkrate_sub_0123456789abcdef";

/// An account with a dataset.
fn settings(base: &str) -> Settings {
    let mut settings = Settings { storage: Some("bq://acme_batches".to_owned()), ..account(base, None) };
    settings.variables.insert("BIGQUERY_EMULATOR_HOST".to_owned(), Secret::new(base));
    settings
}

fn tables(base: &str) -> std::sync::Arc<dyn Provider> {
    bulkrate_provider::open("vertex", &settings(base)).unwrap()
}

#[tokio::test]
async fn a_dataset_conforms() {
    for model in ["gemini-3.8-flash", "claude-haiku-5-5", LLAMA] {
        let config = SimConfig { bucket: None, dataset: Some("acme_batches".to_owned()), ..with_llama() };
        let sim = Sim::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let provider = tables(&sim.base_url());
        conforms(&*provider, model, folder.path(), model).await;
    }
}

/// What every script answers; `None`: it is asked for something else.
async fn usual(peer: &mut Peer, base: &str, request: &str) -> Option<()> {
    let path = request.split(' ').nth(1).unwrap();
    if path.starts_with("/computeMetadata") {
        peer.answer("200 OK", TOKEN).await;
    } else if path.ends_with("/datasets/acme_batches") {
        peer.answer("200 OK", DATASET).await;
    } else if request.starts_with("POST /upload/bigquery/v2/projects/acme-labels/jobs?uploadType=resumable") {
        let headers = format!("location: {base}/upload/here\r\n");
        peer.write(&response("200 OK", &headers, "")).await;
    } else {
        return None;
    }
    Some(())
}

fn input(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("input.jsonl");
    std::fs::write(&path, "{\"request\":{}}\n{\"request\":{}}\n").unwrap();
    path
}

/// Uploads two lines to a server that answers the upload with `uploaded`, and looks at the job with `job`.
async fn upload(
    uploaded: (&'static str, &'static str),
    job: &'static str,
) -> Result<String, (FailureClass, String)> {
    let (base, _) = server::start(move |mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            let base = format!("http://{host}");
            if usual(&mut peer, &base, &request).await.is_some() {
                continue;
            }
            match request.split(' ').next().unwrap() {
                "PUT" => peer.answer(uploaded.0, uploaded.1).await,
                "DELETE" => peer.answer("204 No Content", "").await,
                _ if request.contains("/jobs/bulkrate_sub_") => peer.answer("200 OK", job).await,
                _ => peer.answer("404 Not Found", NO_TABLE).await,
            }
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let provider = tables(base.trim_end_matches("/v1"));
    let sent = provider.batches().unwrap().upload(&input(&folder), "bulkrate-sub.jsonl").await;
    sent.map_err(|error| (error.failure.class, error.to_string()))
}

const RUNNING: (&str, &str) = ("200 OK", r#"{"status":{"state":"RUNNING"}}"#);
const DUPLICATE: (&str, &str) = (
    "409 Conflict",
    r#"{"error":{"code":409,"message":"Already Exists: Job acme-labels:US.bulkrate_sub_1","errors":[{"reason":"duplicate"}]}}"#,
);
const TWO_ROWS: &str = r#"{"status":{"state":"DONE"},"statistics":{"load":{"outputRows":"2"}}}"#;

#[tokio::test]
async fn a_load_that_is_there_already_is_the_same_one() {
    for uploaded in [RUNNING, DUPLICATE] {
        let address = upload(uploaded, TWO_ROWS).await.unwrap();
        assert!(address.starts_with("bq://acme-labels.acme_batches.bulkrate_sub_"), "{address}");
    }
}

#[tokio::test]
async fn a_load_that_failed_or_brought_other_rows_is_no_input() {
    let failed =
        r#"{"status":{"state":"DONE","errorResult":{"reason":"invalid","message":"No such field: x"}}}"#;
    let denied =
        r#"{"status":{"state":"DONE","errorResult":{"reason":"accessDenied","message":"Access Denied"}}}"#;
    let one_row = r#"{"status":{"state":"DONE"},"statistics":{"load":{"outputRows":"1"}}}"#;
    for (job, class, words) in [
        (failed, FailureClass::RefusedByProvider, "No such field"),
        (denied, FailureClass::Auth, "Access Denied"),
        (one_row, FailureClass::Transient, "the table has 1 rows of 2"),
    ] {
        let (found, error) = upload(RUNNING, job).await.unwrap_err();
        assert!(found == class && error.contains(words), "{found:?} {error}");
    }
}

/// What is asked for of a table: four columns, and as few bytes as may be.
const ROWS: &str = "/bigquery/v2/projects/p/datasets/d/tables/t/data?selectedFields=custom_id%2Crequest%2Cresponse%2Cstatus&prettyPrint=false&maxResults=2000";

/// A server with one table of results, whose first page is followed by `second`; by nothing, the table is gone.
async fn results(second: &'static str) -> (String, std::sync::Arc<server::Seen>) {
    let (base, seen) = server::start(move |mut peer, _| async move {
        while let Some(request) = peer.request().await {
            if usual(&mut peer, "", &request).await.is_some() {
                continue;
            }
            let first = r#"{"totalRows":"3","pageToken":"a/b","rows":[{"f":[{"v":"x"},{"v":null},{"v":"{\"a\":1}"},{"v":""}]},{"f":[{"v":"y"},{"v":null},{"v":"{}"},{"v":"Bad"}]}]}"#;
            let body = match request.split(' ').nth(1).unwrap() {
                "/bigquery/v2/projects/p/datasets/d/tables/t" => COLUMNS,
                path if path == ROWS => first,
                path if !second.is_empty() && path.strip_prefix(ROWS) == Some("&pageToken=a%2Fb") => second,
                _ => {
                    peer.answer("404 Not Found", NO_TABLE).await;
                    continue;
                }
            };
            peer.answer("200 OK", body).await;
        }
    })
    .await;
    (base.trim_end_matches("/v1").to_owned(), seen)
}

#[tokio::test]
async fn pages_are_one_file_and_only_all_of_them_are() {
    let last = r#"{"totalRows":"3","rows":[{"f":[{"v":"z"},{"v":null},{"v":null},{"v":"Bad"}]}]}"#;
    let (base, _) = results(last).await;
    let provider = tables(&base);
    let batches = provider.batches().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("output.jsonl");
    let read = batches.download("bq://p.d.t", &to, 1 << 20).await.unwrap();
    let lines = "{\"custom_id\":\"x\",\"response\":{\"a\":1}}\n{\"custom_id\":\"y\",\"status\":\"Bad\",\"response\":{}}\n{\"custom_id\":\"z\",\"status\":\"Bad\"}\n";
    assert_eq!(std::fs::read_to_string(&to).unwrap(), lines);
    assert_eq!(read, Some(lines.len() as u64));
    std::fs::remove_file(&to).unwrap();
    assert_eq!(batches.download("bq://p.d.none", &to, 1 << 20).await.unwrap(), None);
    let error = batches.download("bq://p.d.t", &to, 40).await.unwrap_err();
    assert!(error.to_string().contains("longer than 40 bytes"), "{error}");
    // Deleted between two pages.
    let (base, _) = results("").await;
    assert_eq!(tables(&base).batches().unwrap().download("bq://p.d.t", &to, 1 << 20).await.unwrap(), None);
    // Of three rows there are two.
    let (base, _) = results(r#"{"totalRows":"3"}"#).await;
    let error = tables(&base).batches().unwrap().download("bq://p.d.t", &to, 1 << 20).await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::Transient);
    assert!(error.to_string().contains("has 3 rows, and its pages hold 2"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn pages_that_do_not_fit_together_are_no_results() {
    let row = r#"{"f":[{"v":"z"},{"v":null},{"v":null},{"v":"Bad"}]}"#;
    let page = |more: &str| -> &'static str { format!("{{{more},\"rows\":[{row},{row}]}}").leak() };
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("output.jsonl");
    for (second, words) in [
        (page(r#""totalRows":"3""#), "its pages hold more"),
        (page(r#""totalRows":"4""#), "had 3 rows a page before, and now has 4"),
        (page(r#""pageToken":"c""#), "not a page of a table"),
    ] {
        let (base, _) = results(second).await;
        let error = tables(&base).batches().unwrap().download("bq://p.d.t", &to, 1 << 30).await.unwrap_err();
        assert!(
            error.failure.class == FailureClass::Transient && error.to_string().contains(words),
            "{error}"
        );
    }
    // Two tokens that name each other, of a table that says it is long.
    let (base, seen) = server::start(move |mut peer, _| async move {
        while let Some(request) = peer.request().await {
            if usual(&mut peer, "", &request).await.is_some() {
                continue;
            }
            let next = if request.contains("pageToken=a") { "b" } else { "a" };
            let body = match request.contains("/data?") {
                true => format!(r#"{{"totalRows":"1000000","pageToken":"{next}","rows":[{row}]}}"#),
                false => COLUMNS.to_owned(),
            };
            peer.answer("200 OK", &body).await;
        }
    })
    .await;
    let provider = tables(base.trim_end_matches("/v1"));
    let error = provider.batches().unwrap().download("bq://p.d.t", &to, 1 << 20).await.unwrap_err();
    assert!(error.to_string().contains("the pages turn in a circle at `a`"), "{error}");
    assert!(seen.requests() < 10, "{}", seen.requests());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn a_page_that_takes_too_long_is_asked_for_in_halves() {
    let (base, seen) = server::start(move |mut peer, _| async move {
        while let Some(request) = peer.request().await {
            if usual(&mut peer, "", &request).await.is_some() {
                continue;
            }
            let body = match request.contains("/data?") {
                true if !request.contains("maxResults=500 ") => std::future::pending().await,
                true => r#"{"totalRows":"1","rows":[{"f":[{"v":"z"},{"v":null},{"v":null},{"v":"Bad"}]}]}"#,
                false => COLUMNS,
            };
            peer.answer("200 OK", body).await;
        }
    })
    .await;
    let mut settings = settings(base.trim_end_matches("/v1"));
    settings.retry.tries = 1;
    settings.retry.try_timeout = Duration::from_millis(300);
    let provider = bulkrate_provider::open("vertex", &settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("output.jsonl");
    assert!(provider.batches().unwrap().download("bq://p.d.t", &to, 1 << 20).await.unwrap().is_some());
    assert!(seen.requests() >= 4);
}

#[tokio::test]
async fn a_dataset_that_is_gone_is_no_table_that_is_gone_and_no_address_is_none_either() {
    let (base, seen) = server::start(move |mut peer, _| async move {
        while let Some(request) = peer.request().await {
            if usual(&mut peer, "", &request).await.is_none() {
                peer.answer("404 Not Found", NO_DATASET).await;
            }
        }
    })
    .await;
    let provider = tables(base.trim_end_matches("/v1"));
    let batches = provider.batches().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out");
    let error = batches.download("bq://p.d.t", &to, 1 << 20).await.unwrap_err();
    assert_eq!(
        (error.failure.class, error.failure.provider_code.as_deref()),
        (FailureClass::Auth, Some("no_dataset"))
    );
    assert!(batches.delete_file(OURS).await.is_err());
    let asked = seen.requests();
    // Neither is asked for, and neither is taken for gone.
    for name in ["bq://p", "bq://..d.t", "bq://p..t"] {
        let error = batches.download(name, &to, 1 << 20).await.unwrap_err();
        assert!(error.to_string().contains("no address of a table"), "{error}");
    }
    for name in ["bq://p.d.customers", "bq://p.d.t_out", "bq://p"] {
        let error = batches.delete_file(name).await.unwrap_err();
        assert_eq!(error.failure.provider_code.as_deref(), Some("not_our_table"), "{name}");
    }
    assert_eq!(seen.requests(), asked);
}

#[tokio::test]
async fn a_table_is_gone_when_the_provider_says_so() {
    for (looked, gone) in [
        (("404 Not Found", NO_TABLE), true),
        (("404 Not Found", "<html>"), false),
        (("404 Not Found", NO_DATASET), false),
        (("200 OK", COLUMNS), false),
    ] {
        let (base, _) = server::start(move |mut peer, _| async move {
            while let Some(request) = peer.request().await {
                if usual(&mut peer, "", &request).await.is_none() {
                    match request.starts_with("DELETE") {
                        true => peer.answer("204 No Content", "").await,
                        false => peer.answer(looked.0, looked.1).await,
                    }
                }
            }
        })
        .await;
        let provider = tables(base.trim_end_matches("/v1"));
        let deleted = provider.batches().unwrap().delete_file(OURS).await;
        assert_eq!(deleted.is_ok(), gone, "{looked:?}");
    }
}

#[tokio::test]
async fn a_failed_job_that_has_written_rows_is_read() {
    for (rows, phase) in [
        (r#"{"totalRows":"0"}"#, Phase::Failed),
        (r#"{"totalRows":"1","rows":[{"f":[]}]}"#, Phase::Completed),
    ] {
        let (base, _) = server::start(move |mut peer, _| async move {
            while let Some(request) = peer.request().await {
                if usual(&mut peer, "", &request).await.is_some() {
                    continue;
                }
                let body = match request.contains("/batchPredictionJobs/") {
                    true => r#"{"name":"projects/p/locations/l/batchPredictionJobs/12","state":"JOB_STATE_FAILED","inputConfig":{"bigquerySource":{"inputUri":"bq://p.d.t"}}}"#,
                    false if request.contains("/tables/t_out/data?maxResults=1 ") => rows,
                    false => panic!("{request}"),
                };
                peer.answer("200 OK", body).await;
            }
        })
        .await;
        let provider = tables(base.trim_end_matches("/v1"));
        let batch = provider.batches().unwrap().poll("12").await.unwrap().unwrap();
        let output = (phase == Phase::Completed).then_some("bq://p.d.t_out");
        assert_eq!((batch.phase, batch.output_file.as_deref()), (phase, output));
    }
}

#[tokio::test]
async fn what_lies_on_the_other_shelf_is_not_taken_for_gone() {
    let (base, seen) = server::always("404 Not Found", NO_TABLE).await;
    let base = base.trim_end_matches("/v1");
    let folder = tempfile::tempdir().unwrap();
    let bucket = bulkrate_provider::open("vertex", &account(base, None)).unwrap();
    for (provider, name) in [(tables(base), "gs://acme-batches/in/1/input.jsonl"), (bucket, "bq://p.d.t")] {
        let batches = provider.batches().unwrap();
        let deleted = batches.delete_file(name).await.unwrap_err();
        let read = batches.download(name, &folder.path().join("out"), 1 << 20).await.unwrap_err();
        for error in [deleted, read] {
            assert_eq!(error.failure.class, FailureClass::Auth);
            assert!(error.to_string().contains("name what it named"), "{error}");
        }
    }
    assert_eq!(seen.requests(), 0);
}
