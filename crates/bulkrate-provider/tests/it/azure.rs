//! Azure OpenAI, in both generations of its API: deployments, files that are looked into first, the content filter, and its limits.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkrate_core::answer::{Finish, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::{Config, Content, Kind, Message, Request, Role};
use bulkrate_core::submission::{KnownBy, Phase};
use bulkrate_provider::conformance::{self, Options};
use bulkrate_provider::{Deployed, Provider, Reply, Secret, Settings};
use bulkrate_sim::{Sim, SimConfig};
use bytes::Bytes;

use crate::server::{self, KEY, response, settings};

const DATED: &str = "2024-10-21";

fn config() -> SimConfig {
    SimConfig {
        speed: 36_000.0,
        api_key: Some(KEY.to_owned()),
        like: Some("azure".to_owned()),
        deployments: vec!["triage=gpt-4.1-mini".to_owned(), "triage-nightly=gpt-4.1-mini,batch".to_owned()],
        ..SimConfig::default()
    }
}

/// The deployments of the simulated resource.
fn of(base: &str, version: Option<&str>) -> Settings {
    let triage = Deployed { model: "gpt-4.1-mini".to_owned(), batch: Some("triage-nightly".to_owned()) };
    Settings {
        api_version: version.map(str::to_owned),
        deployments: BTreeMap::from([("triage".to_owned(), triage)]),
        ..settings(base)
    }
}

fn chat(text: &'static str) -> Request<'static> {
    let message = Message { role: Role::User, content: Content::text(text), tool_call_id: None };
    let generation_config = Config { max_tokens: Some(64), ..Config::default() };
    Request { messages: vec![message], generation_config, ..Request::default() }
}

async fn call(provider: &dyn Provider, deployment: &str) -> Reply {
    let body = conformance::write(provider, &chat("Say one word."), deployment).unwrap();
    let path = provider.wire().path(Kind::Chat, deployment);
    provider.calls().unwrap().call(&path, Bytes::from(body), Duration::from_secs(20)).await.unwrap()
}

/// The rules of the suite hold, all of them.
async fn conforms(provider: &dyn Provider, case: &str) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        model: "triage",
        folder: folder.path(),
        poll_every: Duration::from_millis(5),
        polls_max: 2_000,
        unix_ms: 1_795_046_400_000,
    };
    let passed =
        conformance::run(provider, &options).await.unwrap_or_else(|broken| panic!("{case}: {broken}"));
    assert_eq!(passed.passed.len(), 9, "{case}");
}

#[tokio::test]
async fn both_generations_conform() {
    for version in [None, Some(DATED)] {
        let sim = Sim::start(config()).await.unwrap();
        let provider = bulkrate_provider::open("azure", &of(&sim.base_url(), version)).unwrap();
        let health = provider.probe().await.unwrap();
        assert!(health.batches && health.models > Some(0), "{version:?}: {health:?}");
        conforms(&*provider, &format!("{version:?}")).await;
        assert!(sim.bill_usd_nanos() > 0);
    }
}

const SAS: &str = "sv=2024-11-04&sp=racwdl&sig=canary%2F0123456789%3D";

/// The same, with batches from and to a container, and these variables.
fn stored(base: &str, version: Option<&str>, variables: &[(&str, &str)]) -> Settings {
    let origin = base.split("/openai").next().unwrap().trim_end_matches("/v1");
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value)));
    Settings {
        storage: Some(format!("{origin}/blobs/batches/labels")),
        variables: variables.collect(),
        ..of(base, version)
    }
}

/// An application of Entra.
fn application(origin: &str) -> [(&str, &str); 4] {
    [
        ("AZURE_TENANT_ID", "contoso"),
        ("AZURE_CLIENT_ID", "app-1"),
        ("AZURE_CLIENT_SECRET", "secret-canary"),
        ("AZURE_AUTHORITY_HOST", origin),
    ]
}

#[tokio::test]
async fn batches_from_and_to_blobs_conform_with_a_signature_and_with_tokens() {
    for (version, signed, keyed) in
        [(None, true, true), (Some(DATED), true, true), (None, false, true), (None, false, false)]
    {
        let sim = Sim::start(config()).await.unwrap();
        let base = sim.base_url();
        let origin = base.split("/openai").next().unwrap().trim_end_matches("/v1").to_owned();
        let variables =
            if signed { vec![("AZURE_STORAGE_SAS_TOKEN", SAS)] } else { application(&origin).to_vec() };
        let mut settings = stored(&base, version, &variables);
        if !keyed {
            settings.api_key = "".into();
        }
        let provider = bulkrate_provider::open("azure", &settings).unwrap();
        provider.ready().unwrap();
        assert!(provider.probe().await.unwrap().batches);
        conforms(&*provider, &format!("{version:?} {signed} {keyed}")).await;
        assert_eq!(provider.batches().unwrap().facts().known_by, KnownBy::Input);
        // One token for the blobs, and one for the models where there is no key.
        let tokens = u64::from(!signed) + u64::from(!keyed);
        assert_eq!((sim.calls_to("token of Entra"), sim.calls_to("POST /v1/files")), (tokens, 0));
        assert!(!format!("{provider:?}").contains("canary"));
    }
}

/// What a store answers to each call in turn, as method and path, and what was asked of it.
async fn store(answers: &'static [(&'static str, &'static str, &'static str)]) -> Settings {
    let (base, _) = server::start(move |mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let asked = request.split(' ').take(2).collect::<Vec<_>>().join(" ");
            let found = answers.iter().find(|(call, ..)| asked.starts_with(call));
            let (_, status, rest) = found.unwrap_or_else(|| panic!("{asked}"));
            let (headers, body) = rest.split_once('|').unwrap_or((rest, ""));
            peer.write(&response(status, headers, body)).await;
        }
    })
    .await;
    stored(&base, None, &[("AZURE_STORAGE_SAS_TOKEN", SAS)])
}

const GONE: &str = "x-ms-error-code: BlobNotFound\r\n|<Error><Code>BlobNotFound</Code></Error>";
const NO_CONTAINER: &str = "x-ms-error-code: ContainerNotFound\r\n|<Error><Message>The specified container does not exist.</Message></Error>";

#[tokio::test]
async fn that_a_blob_is_gone_counts_by_the_services_own_word() {
    for (status, rest, gone) in [
        ("202 Accepted", "x-ms-request-id: 1\r\n", Ok(())),
        ("404 Not Found", GONE, Ok(())),
        ("202 Accepted", "", Err(FailureClass::Transient)),
        ("404 Not Found", "|<html>nobody here</html>", Err(FailureClass::Transient)),
        ("404 Not Found", NO_CONTAINER, Err(FailureClass::Auth)),
    ] {
        let answers: &'static [_] = Box::leak(Box::new([("DELETE /blobs/batches/in", status, rest)]));
        let settings = store(answers).await;
        let storage = settings.storage.clone().unwrap();
        let provider = bulkrate_provider::open("azure", &settings).unwrap();
        let blob = storage.replace("/labels", "/in");
        let deleted = provider.batches().unwrap().delete_file(&blob).await;
        assert_eq!(
            deleted.as_ref().map_err(|error| error.failure.class),
            gone.as_ref().map_err(|class| *class),
            "{status} {rest}"
        );
        assert!(!format!("{deleted:?}").contains("canary"), "{deleted:?}");
    }
}

#[tokio::test]
async fn what_a_batch_names_and_never_made_is_no_result_and_what_failed_half_way_is_read() {
    let there = ("200 OK", "x-ms-request-id: 1\r\n");
    let gone = ("404 Not Found", "x-ms-error-code: BlobNotFound\r\n");
    for (status, completed, results, errors, want) in [
        ("completed", 3, there, gone, (Phase::Completed, true, false)),
        ("completed", 0, gone, there, (Phase::Completed, false, true)),
        // It was changed while it ran: what was answered is paid.
        ("failed", 2, there, gone, (Phase::Completed, true, false)),
        ("failed", 0, gone, gone, (Phase::Failed, false, false)),
    ] {
        let (base, _) = server::start(move |mut peer, _| async move {
            while let Some(request) = peer.request().await {
                let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
                let place = format!("http://{host}/blobs/batches");
                let (head, body) = match request.split(' ').nth(1).unwrap() {
                    path if path.contains("/out/results.jsonl") => (results, String::new()),
                    path if path.contains("/out/errors.jsonl") => (errors, String::new()),
                    _ => (("200 OK", ""), format!(r#"{{"id":"batch_1","object":"batch","status":"{status}","input_file_id":null,"output_file_id":null,"error_file_id":null,"input_blob":"{place}/in/input.jsonl","output_blob":"{place}/out/results.jsonl","error_blob":"{place}/out/errors.jsonl","request_counts":{{"total":3,"completed":{completed},"failed":0}}}}"#)),
                };
                peer.write(&response(head.0, head.1, &body)).await;
            }
        })
        .await;
        let provider =
            bulkrate_provider::open("azure", &stored(&base, None, &[("AZURE_STORAGE_SAS_TOKEN", SAS)]))
                .unwrap();
        let batch = provider.batches().unwrap().poll("batch_1").await.unwrap().unwrap();
        assert_eq!(
            (batch.phase, batch.output_file.is_some(), batch.error_file.is_some()),
            want,
            "{status} {completed}"
        );
        assert!(batch.input_file.unwrap().ends_with("/blobs/batches/in/input.jsonl"));
    }
}

#[tokio::test]
async fn a_blob_that_storage_does_not_reach_is_not_gone() {
    let to = tempfile::tempdir().unwrap();
    let to = to.path().join("out.jsonl");
    let sas = [("AZURE_STORAGE_SAS_TOKEN", SAS)];
    let base = "http://127.0.0.1:9";
    for settings in [stored(base, None, &sas), of(base, None)] {
        let provider = bulkrate_provider::open("azure", &settings).unwrap();
        let batches = provider.batches().unwrap();
        let blob = "https://other.blob.core.windows.net/batches/input.jsonl";
        for error in
            [batches.download(blob, &to, 9).await.unwrap_err(), batches.delete_file(blob).await.unwrap_err()]
        {
            assert_eq!(error.failure.class, FailureClass::Auth);
            assert!(error.to_string().contains("not where `storage` is now"), "{error}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_storage_is_told_before_anything_is_sent() {
    let base = "http://127.0.0.1:9";
    for (storage, variables, word) in [
        ("batches", &[("AZURE_STORAGE_SAS_TOKEN", SAS)][..], "no address of a container"),
        (
            "https://acct.blob.core.windows.net/b?sig=canary",
            &[("AZURE_STORAGE_SAS_TOKEN", SAS)],
            "AZURE_STORAGE_SAS_TOKEN",
        ),
        ("https://acct.blob.core.windows.net/b", &[], "nobody who may read it"),
    ] {
        let settings = Settings { storage: Some(storage.to_owned()), ..stored(base, None, variables) };
        let why = bulkrate_provider::open("azure", &settings).unwrap().ready().unwrap_err();
        assert!(why.contains(word) && !why.contains("canary"), "{why}");
    }
}

#[test]
fn a_deployment_has_the_limits_of_what_it_is_said_to_serve() {
    let mut settings = of("https://r.openai.azure.com", None);
    let said = Deployed { model: "gpt-6-luna".to_owned(), batch: None };
    settings.deployments.insert("fast".to_owned(), said);
    let provider = bulkrate_provider::open("azure", &settings).unwrap();
    assert_eq!((provider.deployed("fast"), provider.deployed("other")), (Some("gpt-6-luna"), Some("other")));
    let warm = Request {
        generation_config: Config { temperature: Some(0.5), max_tokens: Some(9), ..Config::default() },
        ..chat("hi")
    };
    let refused = conformance::write(&*provider, &warm, "fast").unwrap_err().to_string();
    assert!(refused.contains("temperature") && refused.contains("fast"), "{refused}");
    let body = conformance::write(&*provider, &warm, "triage").unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains(r#""model":"triage""#) && body.contains(r#""max_completion_tokens":9"#), "{body}");
    assert!(!body.contains("service_tier"), "older versions know no such field: {body}");
}

#[tokio::test]
async fn what_the_filter_keeps_back_is_content_policy_whichever_side_it_was() {
    for version in [None, Some(DATED)] {
        let sim = Sim::start(config().with_fault("refusal").unwrap()).await.unwrap();
        let provider = bulkrate_provider::open("azure", &of(&sim.base_url(), version)).unwrap();
        let (mut prompts, mut answers) = (0, 0);
        for _ in 0..20 {
            let before = sim.bill_usd_nanos();
            let reply = call(&*provider, "triage").await;
            match provider.wire().read(Kind::Chat, &reply) {
                Reading::Failure(failure) => {
                    let got = (failure.class, failure.provider_code.as_deref(), failure.maybe_paid);
                    assert_eq!(got, (FailureClass::ContentPolicy, Some("content_filter"), false));
                    assert_eq!(sim.bill_usd_nanos(), before);
                    prompts += 1;
                }
                Reading::Answer(answer) => {
                    assert_eq!(answer.finish, Finish::ContentFilter);
                    assert!(sim.bill_usd_nanos() > before && answer.usage.is_some());
                    answers += 1;
                }
            }
        }
        assert!(prompts > 0 && answers > 0, "{prompts} {answers}");
    }
}

#[tokio::test]
async fn deployments_that_are_not_there_or_take_no_calls_halt_the_job() {
    let sim = Sim::start(config()).await.unwrap();
    let provider = bulkrate_provider::open("azure", &of(&sim.base_url(), Some(DATED))).unwrap();
    for (deployment, code) in [("nobody", "DeploymentNotFound"), ("triage-nightly", "OperationNotSupported")]
    {
        let reply = call(&*provider, deployment).await;
        let Reading::Failure(failure) = provider.wire().read(Kind::Chat, &reply) else { panic!("{reply:?}") };
        let got = (failure.class, failure.provider_code.as_deref());
        assert_eq!(got, (FailureClass::ModelUnavailable, Some(code)), "{deployment}");
    }
}

#[tokio::test]
async fn a_limit_says_how_long_to_wait_in_headers_and_words() {
    let sim = Sim::start(SimConfig { rpm: Some(60), ..config() }).await.unwrap();
    let provider = bulkrate_provider::open("azure", &of(&sim.base_url(), None)).unwrap();
    let first = call(&*provider, "triage").await;
    assert_eq!((first.status, first.limit_hints().requests_limit), (200, Some(60)));
    let reply = call(&*provider, "triage").await;
    let Reading::Failure(failure) = provider.wire().read(Kind::Chat, &reply) else { panic!("{reply:?}") };
    assert_eq!((failure.class, failure.provider_code.as_deref()), (FailureClass::RateLimited, Some("429")));
    assert!(failure.wait_ms.is_some_and(|wait| (1..=1_000).contains(&wait)), "{failure:?}");
}

/// Answers in turn, then the last one over and over; what was asked comes back.
async fn scripted(answers: &'static [(&'static str, &'static str)]) -> String {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (base, _) = server::start(move |mut peer, _| {
        let asked = asked.clone();
        async move {
            while peer.request().await.is_some() {
                let at = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst).min(answers.len() - 1);
                peer.write(&response(answers[at].0, "", answers[at].1)).await;
            }
        }
    })
    .await;
    base.trim_end_matches("/v1").to_owned()
}

#[tokio::test]
async fn a_file_is_waited_for_and_one_that_is_no_input_is_told_and_deleted() {
    const PENDING: (&str, &str) = ("201 Created", r#"{"id":"file-1","status":"pending"}"#);
    const STILL: (&str, &str) = ("200 OK", r#"{"id":"file-1","status":"Running"}"#);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.jsonl");
    std::fs::write(&file, "{}\n").unwrap();
    let upload = async |base: String| {
        let provider = bulkrate_provider::open("azure", &of(&base, None)).unwrap();
        provider.batches().unwrap().upload(&file, "input").await
    };
    let base = scripted(&[PENDING, STILL, ("200 OK", r#"{"id":"file-1","status":"processed"}"#)]).await;
    assert_eq!(upload(base).await.unwrap(), "file-1");
    let base = scripted(&[
        PENDING,
        ("200 OK", r#"{"id":"file-1","status":"error","status_details":"line 3 is no JSON"}"#),
        ("200 OK", r#"{"id":"file-1","deleted":true}"#),
    ])
    .await;
    let error = upload(base).await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::RefusedByProvider);
    assert!(error.to_string().contains("line 3 is no JSON"), "{error}");
}

#[tokio::test]
async fn a_delete_without_a_word_counts_once_a_look_confirms_it() {
    const NONE: (&str, &str) = ("404 Not Found", r#"{"error":{"code":"404","message":"no such file"}}"#);
    const THERE: (&str, &str) = ("200 OK", r#"{"id":"file-1","status":"processed"}"#);
    for (answers, is_gone) in
        [(&[("204 No Content", ""), NONE], true), (&[("204 No Content", ""), THERE], false)]
    {
        let provider = bulkrate_provider::open("azure", &of(&scripted(answers).await, Some(DATED))).unwrap();
        let deleted = provider.batches().unwrap().delete_file("file-1").await;
        assert_eq!(deleted.is_ok(), is_gone, "{deleted:?}");
    }
}

fn origin(sim: &Sim) -> String {
    sim.base_url().replace("/openai/v1", "").replace("/v1", "")
}

/// A resource without a key, where an application of Entra asks at the simulator for its tokens.
fn of_entra(sim: &Sim, more: &[(&str, &str)]) -> Settings {
    let origin = origin(sim);
    let app = [
        ("AZURE_TENANT_ID", "contoso"),
        ("AZURE_CLIENT_ID", "app-1"),
        ("AZURE_CLIENT_SECRET", "secret-canary-0123456"),
        ("AZURE_AUTHORITY_HOST", origin.as_str()),
    ];
    let named = app.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).into()));
    Settings { api_key: "".into(), variables: named.collect(), ..of(&sim.base_url(), None) }
}

/// Whatever the way, all calls of a provider share one token.
#[tokio::test]
async fn tokens_of_entra_take_the_place_of_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, lines) = (folder.path().join("token"), folder.path().join("in.jsonl"));
    std::fs::write(&cluster, "cluster-canary\n").unwrap();
    std::fs::write(&lines, "{}\n").unwrap();
    let sim = Sim::start(config()).await.unwrap();
    let msi = format!("{}/msi/token", origin(&sim));
    let cluster = cluster.to_str().unwrap();
    let workload = [("AZURE_CLIENT_SECRET", ""), ("AZURE_FEDERATED_TOKEN_FILE", cluster)];
    let machine =
        [("AZURE_TENANT_ID", ""), ("IDENTITY_ENDPOINT", msi.as_str()), ("IDENTITY_HEADER", "header-canary")];
    for (asked, more) in [&[][..], &workload, &machine].into_iter().enumerate() {
        let provider = bulkrate_provider::open("azure", &of_entra(&sim, more)).unwrap();
        assert!(provider.signs() && provider.ready().is_ok() && !provider.facts().needs_key);
        assert!(!format!("{provider:?}").contains("canary"));
        let read = call(&*provider, "triage").await;
        assert!(matches!(provider.wire().read(Kind::Chat, &read), Reading::Answer(_)), "{read:?}");
        let batches = provider.batches().unwrap();
        let file = batches.upload(&lines, "br1").await.unwrap();
        batches.delete_file(&file).await.unwrap();
        assert_eq!((sim.calls_to("token of Entra"), sim.calls_with_status(401)), (asked as u64 + 1, 0));
    }
}

#[tokio::test]
async fn a_token_that_ends_is_renewed() {
    // Taken back between two looks: the next one has another. A paid call is not repeated: its failure says that it may be.
    for fault in ["expired-key:poll@1", "expired-key:sync@1"] {
        let sim = Sim::start(config().with_fault(fault).unwrap()).await.unwrap();
        let provider = bulkrate_provider::open("azure", &of_entra(&sim, &[])).unwrap();
        if fault.contains("poll") {
            assert_eq!(provider.batches().unwrap().poll("batch_1").await.unwrap(), None);
        } else {
            let reply = call(&*provider, "triage").await;
            let Reading::Failure(failure) = provider.wire().read(Kind::Chat, &reply) else {
                panic!("{reply:?}")
            };
            assert_eq!((failure.class, failure.maybe_paid), (FailureClass::Transient, false), "{failure:?}");
            let read = call(&*provider, "triage").await;
            assert!(matches!(provider.wire().read(Kind::Chat, &read), Reading::Answer(_)), "{read:?}");
        }
        assert_eq!((sim.calls_with_status(401), sim.calls_to("token of Entra")), (1, 2), "{fault}");
    }
}

#[tokio::test]
async fn what_entra_refuses_halts_the_job_and_tells_no_secret() {
    let sim = Sim::start(config()).await.unwrap();
    for (name, wrong, said) in [
        ("AZURE_CLIENT_SECRET", "wrong-canary-0123456", "AADSTS7000215"),
        ("AZURE_TENANT_ID", "wrong", "AADSTS90002"),
        ("AZURE_CLIENT_ID", "", "invalid subscription key"),
    ] {
        let provider = bulkrate_provider::open("azure", &of_entra(&sim, &[(name, wrong)])).unwrap();
        assert_eq!(provider.signs(), !wrong.is_empty());
        let reply = call(&*provider, "triage").await;
        let Reading::Failure(failure) = provider.wire().read(Kind::Chat, &reply) else { panic!("{reply:?}") };
        assert_eq!((failure.class, failure.maybe_paid), (FailureClass::Auth, false));
        assert!(failure.message.contains(said), "{failure:?}");
        let error = provider.probe().await.unwrap_err();
        assert_eq!(error.failure.class, FailureClass::Auth);
        assert!(!format!("{error:?} {failure:?}").contains("canary"));
    }
    assert_eq!(sim.bill_usd_nanos(), 0);
    // The token of a workload, also one that its file has held since it was opened.
    let folder = tempfile::tempdir().unwrap();
    let cluster = folder.path().join("token");
    let (base, _) = server::start(|mut peer, _| async move {
        while let Some(asked) = peer.request().await {
            let token = asked.rsplit("client_assertion=").next().unwrap();
            let body =
                format!(r#"{{"error":"invalid_client","error_description":"{token} is not known here"}}"#);
            peer.answer("401 Unauthorized", &body).await;
        }
    })
    .await;
    std::fs::write(&cluster, "first-canary").unwrap();
    let (authority, file) = (base.trim_end_matches("/v1"), cluster.to_str().unwrap());
    let workload = [
        ("AZURE_CLIENT_SECRET", ""),
        ("AZURE_FEDERATED_TOKEN_FILE", file),
        ("AZURE_AUTHORITY_HOST", authority),
    ];
    let provider = bulkrate_provider::open("azure", &of_entra(&sim, &workload)).unwrap();
    for token in ["first-canary", "other-canary"] {
        std::fs::write(&cluster, token).unwrap();
        let said = provider.probe().await.unwrap_err().to_string();
        assert!(said.contains("is not known here") && !said.contains("canary"), "{said}");
    }
    // A key wins, and what is sent in the clear gets no token.
    let keyed = Settings { api_key: KEY.into(), ..of_entra(&sim, &[]) };
    let provider = bulkrate_provider::open("azure", &keyed).unwrap();
    assert!(!provider.signs());
    let read = call(&*provider, "triage").await;
    assert!(matches!(provider.wire().read(Kind::Chat, &read), Reading::Answer(_)), "{read:?}");
    let plain = Settings { base_url: Some("http://resource.example".to_owned()), ..of_entra(&sim, &[]) };
    let refused = bulkrate_provider::open("azure", &plain).unwrap().ready().unwrap_err();
    assert!(refused.contains("no https"), "{refused}");
}
