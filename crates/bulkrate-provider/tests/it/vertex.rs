//! Vertex against its simulator: three kinds of credentials, tokens that end, the rules of the suite, results in several objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkrate_core::answer::Reading;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Config, Content, Kind, Message, Request, Role};
use bulkrate_core::submission::Phase;
use bulkrate_provider::conformance::{self, Options};
use bulkrate_provider::{Provider, ProxyFrom, Reply, Secret, Settings, WireOptions};
use bulkrate_sim::{Sim, SimConfig, Speaks};
use bytes::Bytes;

use crate::server::{self, settings};

const MODEL: &str = "gemini-3.8-flash";
const CLAUDE: &str = "claude-haiku-5-5";
pub(crate) const LLAMA: &str = "meta/llama-3.3-70b-instruct-maas";
const PROJECT: &str = "acme-labels";
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vertex");

pub(crate) fn config() -> SimConfig {
    SimConfig {
        speed: 36_000.0,
        speaks: Speaks::Vertex,
        project: Some(PROJECT.to_owned()),
        bucket: Some("acme-batches".to_owned()),
        ..SimConfig::default()
    }
}

/// The same where an open model is sold as well, at the price of another.
pub(crate) fn with_llama() -> SimConfig {
    let list = include_str!("../../../../catalogue/prices.csv");
    let begins = format!("vertex,{MODEL},");
    let row = list.lines().find(|line| line.starts_with(&begins)).unwrap();
    let row = row.replace(&begins, &format!("vertex,{LLAMA},"));
    SimConfig { prices: Some(format!("{}\n{row}\n", list.trim_end())), ..config() }
}

/// A file of credentials whose tokens come from `base`.
fn credentials(folder: &Path, kind: &str, base: &str) -> PathBuf {
    let text = std::fs::read_to_string(format!("{FIXTURES}/{kind}.json")).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["token_uri"] = format!("{base}/token").into();
    let path = folder.join(format!("{kind}.json"));
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

/// An account with a bucket; `file`: of credentials, or those of the machine.
pub(crate) fn account(base: &str, file: Option<&Path>) -> Settings {
    let host = base.trim_start_matches("http://");
    let variables = [("STORAGE_EMULATOR_HOST", base), ("GCE_METADATA_HOST", host)];
    Settings {
        api_key: Secret::new(&file.map_or(String::new(), |file| file.display().to_string())),
        project: Some(PROJECT.to_owned()),
        region: Some("us-central1".to_owned()),
        storage: Some("gs://acme-batches/labels".to_owned()),
        variables: BTreeMap::from(variables.map(|(name, value)| (name.to_owned(), Secret::new(value)))),
        ..settings(base)
    }
}

fn open(settings: &Settings) -> std::sync::Arc<dyn Provider> {
    bulkrate_provider::open("vertex", settings).unwrap()
}

async fn ask(provider: &dyn Provider, model: &str, lane: Lane) -> Reply {
    let message = Message { role: Role::User, content: Content::text("Say one word."), tool_call_id: None };
    let generation_config = Config { max_tokens: Some(64), ..Config::default() };
    let request = Request { messages: vec![message], generation_config, ..Request::default() };
    let mut body = Vec::new();
    provider.wire().encode(&request, WireOptions::new(lane, model), &mut body).unwrap();
    let path = provider.wire().path_in(lane, Kind::Chat, model);
    provider.calls().unwrap().call(&path, Bytes::from(body), Duration::from_secs(20)).await.unwrap()
}

fn tier(provider: &dyn Provider, reply: &Reply) -> Result<Option<String>, FailureClass> {
    match provider.wire().read(Kind::Chat, reply) {
        Reading::Answer(answer) => Ok(answer.tier.map(std::borrow::Cow::into_owned)),
        Reading::Failure(failure) => Err(failure.class),
    }
}

/// The rules of the suite hold, all of them.
pub(crate) async fn conforms(provider: &dyn Provider, model: &str, folder: &Path, case: &str) {
    provider.ready().unwrap();
    assert!(provider.probe().await.unwrap().batches, "{case}");
    let options = Options {
        model,
        folder,
        poll_every: Duration::from_millis(5),
        polls_max: 2_000,
        unix_ms: 1_795_046_400_000,
    };
    let passed =
        conformance::run(provider, &options).await.unwrap_or_else(|broken| panic!("{case}: {broken}"));
    assert_eq!(passed.passed.len(), 9, "{case}");
}

#[tokio::test]
async fn every_kind_of_credentials_and_model_conforms() {
    for (kind, model) in
        [(Some("service_account"), MODEL), (Some("authorized_user"), CLAUDE), (None, MODEL), (None, LLAMA)]
    {
        let sim = Sim::start(with_llama()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = kind.map(|kind| credentials(folder.path(), kind, &sim.base_url()));
        let provider = open(&account(&sim.base_url(), file.as_deref()));
        conforms(&*provider, model, folder.path(), &format!("{kind:?} {model}")).await;
        assert!(sim.bill_usd_nanos() > 0);
        // One token for all of it, and calls, jobs and bucket with the same.
        let path = if kind.is_some() { "POST /token" } else { "GET /computeMetadata/v1" };
        assert_eq!(sim.calls_to(path), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn the_flex_lane_is_asked_for_in_headers_and_only_where_it_is() {
    let sim = Sim::start(config()).await.unwrap();
    let global = Settings { region: Some("global".to_owned()), ..account(&sim.base_url(), None) };
    let provider = open(&global);
    assert!(provider.facts().flex);
    let said = tier(&*provider, &ask(&*provider, MODEL, Lane::Flex).await);
    assert_eq!(said, Ok(Some("flex".to_owned())));
    let said = tier(&*provider, &ask(&*provider, MODEL, Lane::Sync).await);
    assert_eq!(said, Ok(Some("default".to_owned())));
    assert!(!open(&account(&sim.base_url(), None)).facts().flex);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_after_it_was_taken_back() {
    // A life of four seconds: it is renewed in the last of them.
    let sim = Sim::start(SimConfig { token_secs: 4, ..config() }).await.unwrap();
    let provider = open(&account(&sim.base_url(), None));
    for _ in 0..20 {
        tier(&*provider, &ask(&*provider, MODEL, Lane::Sync).await).unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!((2..=4).contains(&sim.calls_to("GET /computeMetadata/v1")));
    assert_eq!(sim.calls_with_status(401), 0);

    // Taken back between two looks: the next one has another.
    let taken_back = config().with_fault("expired-key:poll@1").unwrap();
    let sim = Sim::start(taken_back).await.unwrap();
    let provider = open(&account(&sim.base_url(), None));
    let batches = provider.batches().unwrap();
    assert_eq!(batches.poll("12").await.unwrap(), None);
    assert_eq!((sim.calls_with_status(401), sim.calls_to("GET /computeMetadata/v1")), (1, 2));

    // A paid call is not repeated: its failure says that it may be.
    let taken_back = config().with_fault("expired-key:sync@1").unwrap();
    let sim = Sim::start(taken_back).await.unwrap();
    let provider = open(&account(&sim.base_url(), None));
    let said = tier(&*provider, &ask(&*provider, MODEL, Lane::Sync).await);
    assert_eq!(said, Err(FailureClass::Transient));
    tier(&*provider, &ask(&*provider, MODEL, Lane::Sync).await).unwrap();
    assert_eq!(sim.calls_with_status(401), 1);
}

#[tokio::test]
async fn credentials_that_are_good_for_nothing_are_told_from_a_server_that_is_away() {
    let sim = Sim::start(config()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = credentials(folder.path(), "authorized_user", &sim.base_url());
    let text = std::fs::read_to_string(&file).unwrap().replace("1//canary", "1//revoked-canary");
    std::fs::write(&file, text).unwrap();
    let provider = open(&account(&sim.base_url(), Some(&file)));
    let reply = ask(&*provider, MODEL, Lane::Sync).await;
    let Reading::Failure(failure) = provider.wire().read(Kind::Chat, &reply) else { panic!("{reply:?}") };
    assert_eq!((failure.class, failure.maybe_paid), (FailureClass::Auth, false));
    assert!(failure.message.contains("invalid_grant: Token has been expired or revoked."), "{failure:?}");
    let error = provider.probe().await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::Auth);
    assert!(!format!("{error:?} {failure:?}").contains("canary"));
    assert_eq!(sim.bill_usd_nanos(), 0);

    // Nobody gives out tokens: nothing is sent, and nothing is the credentials' fault.
    let away = "http://127.0.0.1:9";
    let file = credentials(folder.path(), "service_account", away);
    let provider = open(&account(&sim.base_url(), Some(&file)));
    let error = provider.batches().unwrap().poll("12").await.unwrap_err();
    assert!(error.is_unanswered() && error.failure.class == FailureClass::Transient, "{error:?}");
}

#[tokio::test]
async fn what_is_missing_of_an_account_is_told_before_anything_is_sent() {
    let base = "http://127.0.0.1:9";
    let without = |change: fn(&mut Settings)| {
        let mut settings = account(base, None);
        change(&mut settings);
        let provider = open(&settings);
        (provider.ready().unwrap_err(), provider.batches().is_some())
    };
    for (change, word) in [
        ((|settings| settings.project = None) as fn(&mut Settings), "GOOGLE_CLOUD_PROJECT"),
        (|settings| settings.region = None, "GOOGLE_CLOUD_LOCATION"),
        (|settings| settings.region = Some("us central".to_owned()), "`us central`"),
        (|settings| settings.storage = Some("gs://No Bucket".to_owned()), "`No Bucket`"),
        (|settings| settings.api_key = Secret::new("/nonexistent/key.json"), "/nonexistent/key.json"),
        (
            |settings| settings.base_url = Some("http://192.0.2.1:9".to_owned()),
            "no token is sent to `http://192",
        ),
    ] {
        let (why, _) = without(change);
        assert!(why.contains(word), "{why}");
    }
    // Without a bucket there are calls, and no batches; a key says whose project it is.
    let folder = tempfile::tempdir().unwrap();
    let file = credentials(folder.path(), "service_account", base);
    let provider = open(&Settings { storage: None, project: None, ..account(base, Some(&file)) });
    assert!(provider.ready().is_ok() && provider.batches().is_none());
}

#[tokio::test]
async fn a_wrong_project_location_or_bucket_is_told_by_name() {
    let sim = Sim::start(SimConfig { location: Some("us-central1".to_owned()), ..config() }).await.unwrap();
    let base = sim.base_url();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{}\n").unwrap();
    for (change, class, word) in [
        (
            (|settings| settings.project = Some("nobodys".to_owned())) as fn(&mut Settings),
            FailureClass::Auth,
            "project nobodys",
        ),
        (
            |settings| settings.region = Some("us-centrall1".to_owned()),
            FailureClass::ModelUnavailable,
            "location",
        ),
    ] {
        let mut settings = account(&base, None);
        change(&mut settings);
        let provider = open(&settings);
        let reply = ask(&*provider, MODEL, Lane::Sync).await;
        let Reading::Failure(failure) = provider.wire().read(Kind::Chat, &reply) else { panic!("{reply:?}") };
        assert_eq!((failure.class, failure.maybe_paid), (class, false), "{failure:?}");
        assert!(failure.message.contains(word), "{failure:?}");
    }
    let elsewhere = Settings { storage: Some("gs://nobodys-bucket".to_owned()), ..account(&base, None) };
    let error =
        open(&elsewhere).batches().unwrap().upload(file.path(), "bulkrate-x.jsonl").await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::Auth);
    assert!(error.to_string().contains("bucket does not exist"), "{error}");
    assert_eq!(sim.bill_usd_nanos(), 0);
}

#[tokio::test]
async fn results_in_several_objects_are_one_file_and_all_of_them_are_deleted() {
    let (base, seen) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let line = request.lines().next().unwrap().to_owned();
            let path = line.split(' ').nth(1).unwrap().to_owned();
            let body = match path.as_str() {
                path if path.starts_with("/computeMetadata") => r#"{"access_token":"ya29.canary-token","expires_in":3599}"#,
                "/storage/v1/b/acme-batches/o?prefix=out%2Fp%2F" => r#"{"items":[{"name":"out/p/predictions_2"},{"name":"out/p/notes.txt"}],"nextPageToken":"a/b"}"#,
                "/storage/v1/b/acme-batches/o?prefix=out%2Fp%2F&pageToken=a%2Fb" => r#"{"items":[{"name":"out/p/errors_1"},{"name":"out/p/predictions_1"}]}"#,
                "/storage/v1/b/acme-batches/o/out%2Fp%2Ferrors_1?alt=media" => "e\n",
                "/storage/v1/b/acme-batches/o/out%2Fp%2Fpredictions_1?alt=media" => "p1\n",
                "/storage/v1/b/acme-batches/o/out%2Fp%2Fpredictions_2?alt=media" => "p2\n",
                _ if line.starts_with("DELETE /storage/v1/b/acme-batches/o/out%2Fp%2F") => {
                    peer.answer("204 No Content", "").await;
                    continue;
                }
                _ => panic!("{request}"),
            };
            assert!(path.starts_with("/computeMetadata") || request.contains("Bearer ya29.canary-token"), "{request}");
            peer.answer("200 OK", body).await;
        }
    })
    .await;
    let base = base.trim_end_matches("/v1");
    let provider = open(&Settings { storage: Some("acme-batches".to_owned()), ..account(base, None) });
    let batches = provider.batches().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("output.jsonl");
    let place = "gs://acme-batches/out/p";
    assert_eq!(batches.download(place, &to, 1 << 20).await.unwrap(), Some(8));
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "e\np1\np2\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let before = seen.requests();
    batches.delete_file(place).await.unwrap();
    assert_eq!(seen.requests() - before, 2 + 4);
}

#[tokio::test]
async fn results_of_other_names_are_read_where_nothing_has_a_usual_one() {
    for (items, want) in [
        (
            r#"{"name":"out/p/result-1.jsonl"},{"name":"out/p/result-0.jsonl"},{"name":"out/p/notes.txt"}"#,
            "result-0result-1",
        ),
        (r#"{"name":"out/p/result-1.jsonl"},{"name":"out/p/predictions.jsonl"}"#, "predictions"),
    ] {
        let (base, _) = server::start(move |mut peer, _| async move {
            while let Some(request) = peer.request().await {
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let name = path.strip_prefix("/storage/v1/b/acme-batches/o/out%2Fp%2F");
                let body = match name.and_then(|name| name.strip_suffix(".jsonl?alt=media")) {
                    Some(name) => name.to_owned(),
                    None if path.starts_with("/computeMetadata") => {
                        r#"{"access_token":"ya29.canary-token","expires_in":3599}"#.to_owned()
                    }
                    None => format!("{{\"items\":[{items}]}}"),
                };
                peer.answer("200 OK", &body).await;
            }
        })
        .await;
        let provider = open(&account(base.trim_end_matches("/v1"), None));
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("output.jsonl");
        provider.batches().unwrap().download("gs://acme-batches/out/p", &to, 1 << 20).await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap().replace('\n', ""), want);
    }
}

#[tokio::test]
async fn old_jobs_are_not_listed_and_a_page_of_somebody_else_is_no_list() {
    let (base, _) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            let at = path.find("/batchPredictionJobs").map(|at| &path[at..]);
            let body = match at {
                None => r#"{"access_token":"ya29.canary-token","expires_in":3599}"#,
                // A day before 1795046400, which is 2026-11-19T00:00:00Z, and of every page.
                Some("/batchPredictionJobs?pageSize=100&filter=create_time%3E%222026-11-18T00%3A00%3A00Z%22") => {
                    r#"{"nextPageToken":"t"}"#
                }
                Some("/batchPredictionJobs?pageSize=100&filter=create_time%3E%222026-11-18T00%3A00%3A00Z%22&pageToken=t") => "{}",
                // As a gateway answers that knows nothing of it.
                Some("/batchPredictionJobs?pageSize=100") => r#"{"status":"ok"}"#,
                Some(other) => panic!("{other}"),
            };
            peer.answer("200 OK", body).await;
        }
    })
    .await;
    let provider = open(&account(base.trim_end_matches("/v1"), None));
    let batches = provider.batches().unwrap();
    assert!(batches.list_since(1_795_046_400).await.unwrap().is_empty());
    let error = batches.list_since(0).await.unwrap_err();
    assert!(error.to_string().contains("not a list of batch prediction jobs"), "{error}");
}

#[tokio::test]
async fn a_failed_job_that_has_written_results_is_read() {
    const WRITTEN: &str = r#","items":[{"name":"out/p1/predictions.jsonl"}]"#;
    let place = Some("gs://acme-batches/out");
    for (items, phase, output) in [("", Phase::Failed, None), (WRITTEN, Phase::Completed, place)] {
        let (base, _) = server::start(move |mut peer, _| async move {
            while let Some(request) = peer.request().await {
                let body = if request.contains("computeMetadata") {
                    r#"{"access_token":"ya29.canary-token","expires_in":3599}"#.to_owned()
                } else if request.contains("/batchPredictionJobs/") {
                    r#"{"name":"projects/p/locations/l/batchPredictionJobs/12","state":"JOB_STATE_FAILED","inputConfig":{"gcsSource":{"uris":["gs://acme-batches/input.jsonl"]}}}"#.to_owned()
                } else {
                    format!("{{\"kind\":\"storage#objects\"{items}}}")
                };
                peer.answer("200 OK", &body).await;
            }
        })
        .await;
        let provider = open(&account(base.trim_end_matches("/v1"), None));
        let batch = provider.batches().unwrap().poll("12").await.unwrap().unwrap();
        assert_eq!((batch.phase, batch.output_file.as_deref()), (phase, output));
    }
}

#[test]
fn places_have_addresses_of_their_own() {
    for (region, want) in [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ] {
        let settings = Settings {
            base_url: None,
            proxy: ProxyFrom::None,
            region: Some(region.to_owned()),
            ..account("http://127.0.0.1:9", None)
        };
        let shown = format!("{:?}", open(&settings));
        assert!(shown.contains(want), "{shown}");
    }
}

#[tokio::test]
async fn a_job_that_is_not_known_here_but_runs_elsewhere_has_not_vanished() {
    let sim = Sim::start(config()).await.unwrap();
    let provider = open(&account(&sim.base_url(), None));
    let batches = provider.batches().unwrap();
    let name = |location: &str| format!("projects/{PROJECT}/locations/{location}/batchPredictionJobs/17");
    assert!(batches.poll(&name("us-central1")).await.unwrap().is_none());
    let error = batches.poll(&name("europe-west4")).await.unwrap_err();
    assert!(error.to_string().contains("`europe-west4`"), "{error}");
}

#[tokio::test]
async fn a_server_of_ones_own_gets_the_tokens_of_its_own_key_and_none_of_the_machine() {
    let sim = Sim::start(config()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // A sign-in lies where it is looked for, and the machine has an account.
    let sign_in = folder.path().join("application_default_credentials.json");
    std::fs::rename(credentials(folder.path(), "authorized_user", &sim.base_url()), sign_in).unwrap();
    let own = |file: Option<&Path>| {
        let mut settings = Settings { own_server: true, ..account(&sim.base_url(), file) };
        let config = Secret::new(&folder.path().display().to_string());
        settings.variables.insert("CLOUDSDK_CONFIG".to_owned(), config);
        open(&settings)
    };
    let provider = own(None);
    assert!(!provider.signs() && provider.ready().is_ok());
    assert_eq!(provider.probe().await.unwrap_err().failure.class, FailureClass::Auth);
    assert_eq!((sim.calls_to("POST /token"), sim.calls_to("GET /computeMetadata/v1")), (0, 0));
    let file = credentials(folder.path(), "service_account", &sim.base_url());
    assert!(own(Some(&file)).probe().await.unwrap().batches);
}

#[tokio::test]
async fn a_bucket_that_stands_in_elsewhere_without_https_gets_no_token() {
    let sim = Sim::start(config()).await.unwrap();
    let mut settings = account(&sim.base_url(), None);
    assert!(open(&settings).probe().await.unwrap().batches);
    // The same server, by an address that is not sure to be this machine's.
    let elsewhere = Secret::new(&sim.base_url().replace("127.0.0.1", "0.0.0.0"));
    settings.variables.insert("STORAGE_EMULATOR_HOST".to_owned(), elsewhere);
    assert_eq!(open(&settings).probe().await.unwrap_err().failure.class, FailureClass::Auth);
}
