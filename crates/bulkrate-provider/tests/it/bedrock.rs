//! Bedrock's jobs down to the bytes: what a create carries and its answer proves, when it is sent again, what S3's words mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Sub, WireId};
use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Kind, Request};
use bulkrate_core::submission::{KnownBy, Phase};
use bulkrate_provider::{Created, ModelInvocationType, Provider, Settings, WireOptions};

use crate::batches::marker;
use crate::server::{self, response, settings};

const MODEL: &str = "us.amazon.nova-lite-v1:0";
const INPUT: &str = "s3://bkt/pre/in/x.jsonl";
const ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl";
const TOKEN: &str = "session-canary-0123456789";

fn open(base: &str) -> Arc<dyn Provider> {
    bulkrate_provider::open("bedrock", &account(base)).unwrap()
}

fn account(base: &str) -> Settings {
    let keys =
        [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", TOKEN)];
    Settings {
        api_key: "".into(),
        region: Some("us-east-1".to_owned()),
        role_arn: Some("arn:aws:iam::123456789012:role/r".to_owned()),
        storage: Some("s3://bkt/pre/".to_owned()),
        variables: BTreeMap::from(keys.map(|(name, value)| (name.to_owned(), value.into()))),
        ..settings(base.trim_end_matches("/v1"))
    }
}

/// An error in AWS's shape.
fn refused(status: &str, name: &str, message: &str) -> String {
    response(
        status,
        &format!("x-amzn-errortype: {name}:http://x/\r\n"),
        &format!(r#"{{"message":"{message}"}}"#),
    )
}

fn made() -> String {
    response("200 OK", "", &format!(r#"{{"jobArn":"{ARN}"}}"#))
}

/// What comes of a create that is answered so one time after the other, the last answer for ever; how often it was sent.
async fn created(answers: Vec<String>) -> (Created, Vec<String>) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let (base, _) = server::start(move |mut peer, _| {
        let (answers, kept) = (answers.clone(), Arc::clone(&kept));
        async move {
            while let Some(request) = peer.request().await {
                let place = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(request);
                    kept.len().min(answers.len()) - 1
                };
                match answers[place].as_str() {
                    "" => return peer.reset(),
                    answer => peer.write(answer).await,
                }
            }
        }
    })
    .await;
    let provider = open(&base);
    let made = provider.batches().unwrap().create(INPUT, Kind::Chat, MODEL, &marker()).await;
    let seen = seen.lock().unwrap().clone();
    (made, seen)
}

#[tokio::test]
async fn a_create_carries_its_mark_as_its_token_and_is_signed() {
    let (created, seen) = created(vec![made()]).await;
    let Created::Accepted(batch) = created else { panic!("{created:?}") };
    assert_eq!((batch.id.as_str(), batch.phase, batch.marker), (ARN, Phase::Validating, Some(marker())));
    assert_eq!(batch.input_file.as_deref(), Some(INPUT));
    let (head, body) = seen[0].split_once("\r\n\r\n").unwrap();
    let mark = marker();
    let token = format!("br1-{}-{}-{}-{}", mark.inst, mark.sub, mark.items, mark.digest);
    let want = format!(
        r#"{{"jobName":"bulkrate-{}","clientRequestToken":"{token}","roleArn":"arn:aws:iam::123456789012:role/r","modelId":"{MODEL}","modelInvocationType":"Converse","inputDataConfig":{{"s3InputDataConfig":{{"s3InputFormat":"JSONL","s3Uri":"{INPUT}"}}}},"outputDataConfig":{{"s3OutputDataConfig":{{"s3Uri":"s3://bkt/pre/out/"}}}}}}"#,
        mark.sub
    );
    assert_eq!(body, want);
    let head = head.to_ascii_lowercase();
    for part in [
        "post /model-invocation-job http/1.1",
        "authorization: aws4-hmac-sha256 credential=akid/",
        "/us-east-1/bedrock/aws4_request, signedheaders=host;x-amz-date;x-amz-security-token, signature=",
        "x-amz-security-token: session-canary",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    assert!(!head.contains("secret,") && head.matches("authorization:").count() == 1, "{head}");
    let provider = open("http://127.0.0.1:1");
    let facts = provider.batches().unwrap().facts();
    assert_eq!((facts.known_by, facts.one_file, facts.items_min), (KnownBy::Mark, true, 100));
}

#[tokio::test]
async fn what_the_answer_to_a_create_proves_and_when_it_is_sent_again() {
    let throttled = || refused("429 Too Many Requests", "ThrottlingException", "x");
    let gateway = || response("502 Bad Gateway", "", "<html>");
    let (lost, job) = (String::new, made);
    for (answers, want, sent) in [
        (vec![job()], Ok(()), 1),
        // Refused in AWS's own words: nothing was made.
        (
            vec![refused("400 Bad Request", "ValidationException", "x")],
            Err(Some(FailureClass::RefusedByProvider)),
            1,
        ),
        (
            vec![refused("400 Bad Request", "ValidationException", "Could not assume provided IAM role x")],
            Err(Some(FailureClass::Auth)),
            1,
        ),
        (vec![refused("403 Forbidden", "AccessDeniedException", "x")], Err(Some(FailureClass::Auth)), 1),
        (
            vec![refused("400 Bad Request", "ServiceQuotaExceededException", "x")],
            Err(Some(FailureClass::RateLimited)),
            1,
        ),
        (vec![throttled()], Err(Some(FailureClass::RateLimited)), 1),
        // No answer, or nobody's: the same token again, until one names the job.
        (vec![lost(), job()], Ok(()), 2),
        (vec![gateway(), gateway(), job()], Ok(()), 3),
        (vec![response("200 OK", "", "{}"), job()], Ok(()), 2),
        (vec![refused("500 Internal Server Error", "InternalServerException", "x"), job()], Ok(()), 2),
        (vec![refused("400 Bad Request", "ConflictException", "x"), job()], Ok(()), 2),
        (vec![lost(), throttled(), job()], Ok(()), 3),
        // A refusal of the second proves nothing of the first.
        (vec![lost(), refused("400 Bad Request", "ValidationException", "x")], Err(None), 4),
        (vec![lost(), throttled()], Err(None), 4),
        (vec![lost()], Err(None), 4),
        (vec![refused("400 Bad Request", "ConflictException", "x")], Err(None), 4),
        (vec![response("403 Forbidden", "", "<html>")], Err(None), 4),
    ] {
        let (outcome, seen) = created(answers.clone()).await;
        let got = match outcome {
            Created::Accepted(_) => Ok(()),
            Created::Refused(failure) => Err(Some(failure.class)),
            Created::InDoubt(_) => Err(None),
        };
        assert_eq!((got, seen.len()), (want, sent), "{answers:?}");
        let bodies: Vec<&str> =
            seen.iter().map(|request| request.split_once("\r\n\r\n").unwrap().1).collect();
        assert!(bodies.iter().all(|body| *body == bodies[0]), "byte for byte: {bodies:?}");
    }
}

fn xml(status: &str, code: &str) -> String {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so</Message></Error>");
    response(status, "x-amz-bucket-region: eu-west-1\r\n", &body)
}

#[tokio::test]
async fn only_s3s_own_word_says_that_an_object_is_gone() {
    for (answer, downloaded, deleted) in [
        (xml("404 Not Found", "NoSuchKey"), Ok(()), Ok(())),
        (xml("404 Not Found", "NoSuchBucket"), Err(FailureClass::Auth), Err(FailureClass::Auth)),
        (xml("403 Forbidden", "AccessDenied"), Err(FailureClass::Auth), Err(FailureClass::Auth)),
        (xml("301 Moved Permanently", "PermanentRedirect"), Err(FailureClass::Auth), Err(FailureClass::Auth)),
        (response("404 Not Found", "", "<html>"), Err(FailureClass::Transient), Err(FailureClass::Transient)),
        (response("204 No Content", "x-amz-request-id: r\r\n", ""), Err(FailureClass::Transient), Ok(())),
        (response("204 No Content", "", ""), Err(FailureClass::Transient), Err(FailureClass::Transient)),
    ] {
        let text = answer.clone();
        let (base, _) = server::start(move |mut peer, _| {
            let answer = answer.clone();
            async move {
                while peer.request().await.is_some() {
                    peer.write(&answer).await;
                }
            }
        })
        .await;
        let provider = open(&base);
        let api = provider.batches().unwrap();
        let got = api.delete_file("s3://bkt/pre/out/j/x.jsonl.out").await;
        assert_eq!(got.map_err(|error| error.failure.class), deleted, "{text}");
        if text.starts_with("HTTP/1.1 204") {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let got = api.download("s3://bkt/pre/out/j/x.jsonl.out", &folder.path().join("x"), 1 << 20).await;
        if text.contains("PermanentRedirect") {
            assert!(format!("{got:?}").contains("the bucket lies in `eu-west-1`"), "{got:?}");
        }
        let got = got.map(|found| assert_eq!(found, None)).map_err(|error| error.failure.class);
        assert_eq!(got, downloaded, "{text}");
    }
}

#[tokio::test]
async fn what_an_answer_repeats_of_a_session_is_hidden() {
    let message = format!("The token {TOKEN} is strange");
    let answer = refused("400 Bad Request", "ValidationException", &message);
    let (base, _) = server::start(move |mut peer, _| {
        let answer = answer.clone();
        async move {
            while peer.request().await.is_some() {
                peer.write(&answer).await;
            }
        }
    })
    .await;
    let provider = open(&base);
    let error = provider.batches().unwrap().poll("j").await.unwrap_err();
    assert!(error.failure.message.contains("The token *** is strange"), "{error:?}");
    assert!(!format!("{error:?} {provider:?}").contains("canary"), "{provider:?}");
}

#[tokio::test]
async fn a_server_of_ones_own_gets_no_signatures_of_the_machines_credentials() {
    let (seen, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let (base, _) = server::start(move |mut peer, _| {
        let seen = seen.clone();
        async move {
            while let Some(request) = peer.request().await {
                seen.send(request.to_ascii_lowercase()).unwrap();
                peer.write(&response("200 OK", "", r#"{"modelSummaries":[]}"#)).await;
            }
        }
    })
    .await;
    for own_server in [true, false] {
        let settings = Settings { own_server, ..account(&base) };
        let provider = bulkrate_provider::open("bedrock", &settings).unwrap();
        assert_eq!(provider.signs(), !own_server);
        provider.probe().await.unwrap();
        let head = heads.recv().await.unwrap();
        for word in ["authorization: aws4", "akid", "session-canary"] {
            assert_eq!(head.contains(word), !own_server, "{word}: {head}");
        }
    }
}

/// A server that answers by the first words of a request; what it was asked, line by line.
async fn answers(by: Vec<(&'static str, String)>) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (kept, by) = (Arc::clone(&asked), Arc::new(by));
    let (base, _) = server::start(move |mut peer, _| {
        let (kept, by) = (Arc::clone(&kept), Arc::clone(&by));
        async move {
            while let Some(request) = peer.request().await {
                let line = request.lines().next().unwrap_or_default().to_owned();
                let found = by.iter().find(|(words, _)| line.starts_with(words));
                let answer = found.unwrap_or_else(|| panic!("{line}")).1.clone();
                kept.lock().unwrap().push(line);
                peer.write(&answer).await;
            }
        }
    })
    .await;
    (base, asked)
}

fn job(status: &str, counts: &str) -> String {
    format!(
        r#"{{"jobArn":"{ARN}","status":"{status}","message":"so","inputDataConfig":{{"s3InputDataConfig":{{"s3Uri":"{INPUT}"}}}},"outputDataConfig":{{"s3OutputDataConfig":{{"s3Uri":"s3://bkt/pre/out/"}}}}{counts}}}"#
    )
}

#[tokio::test]
async fn the_results_of_an_ended_job_whose_counters_are_0_or_missing_are_looked_for() {
    const RESULTS: &str = "s3://bkt/pre/out/abcdefghijkl/x.jsonl.out";
    let there = || response("200 OK", "x-amz-request-id: r\r\n", "");
    let page = || response("200 OK", "", "");
    let (gone, no) = (|| xml("404 Not Found", "NoSuchKey"), || xml("403 Forbidden", "AccessDenied"));
    let zero = r#","totalRecordCount":100,"successRecordCount":0,"errorRecordCount":0"#;
    let some = r#","successRecordCount":5"#;
    for (status, counts, head, get, want) in [
        ("Stopped", zero, there(), gone(), Ok((Phase::Cancelled, true))),
        ("PartiallyCompleted", "", there(), gone(), Ok((Phase::Expired, true))),
        ("Expired", zero, there(), gone(), Ok((Phase::Expired, true))),
        // What ran before it failed is paid.
        ("Failed", zero, there(), gone(), Ok((Phase::Completed, true))),
        // Only S3's own word says that nothing was written.
        ("Failed", zero, gone(), gone(), Ok((Phase::Failed, false))),
        ("Stopped", "", gone(), gone(), Ok((Phase::Cancelled, false))),
        ("Stopped", "", page(), gone(), Ok((Phase::Cancelled, false))),
        ("Stopped", "", no(), no(), Err(FailureClass::Auth)),
        ("Stopped", "", gone(), response("404 Not Found", "", "<html>"), Err(FailureClass::Transient)),
        // Nobody asks where the counters tell, or the job runs.
        ("Stopped", some, no(), no(), Ok((Phase::Cancelled, true))),
        ("InProgress", zero, no(), no(), Ok((Phase::InProgress, false))),
    ] {
        let asks = counts != some && status != "InProgress";
        // The answer to a HEAD has a head alone.
        let head = head.split_once("\r\n\r\n").map(|(head, _)| format!("{head}\r\n\r\n")).unwrap();
        let (base, asked) = answers(vec![
            ("GET /model-invocation-job/", response("200 OK", "", &job(status, counts))),
            ("HEAD /bkt/pre/out/abcdefghijkl/x.jsonl.out ", head),
            ("GET /bkt/pre/out/abcdefghijkl/x.jsonl.out ", get),
        ])
        .await;
        let got = open(&base).batches().unwrap().poll(ARN).await;
        let got = got.map(|job| job.map(|job| (job.phase, job.output_file)).unwrap());
        let want = want.map(|(phase, found)| (phase, found.then(|| RESULTS.to_owned())));
        assert_eq!(got.map_err(|error| error.failure.class), want, "{status} {counts}");
        assert_eq!(
            asked.lock().unwrap().iter().any(|line| line.starts_with("HEAD")),
            asks,
            "{status} {counts}"
        );
    }
    // One that does not say where it wrote has not been looked at.
    let (base, _) =
        answers(vec![("GET", response("200 OK", "", r#"{"jobArn":"arn:x/j","status":"Stopped"}"#))]).await;
    let error = open(&base).batches().unwrap().poll("arn:x/j").await.unwrap_err();
    assert!(error.failure.message.contains("names no places"), "{error:?}");
}

#[tokio::test]
async fn a_404_that_does_not_name_the_job_says_nothing_of_it() {
    for (answer, want) in [
        (refused("404 Not Found", "ResourceNotFoundException", "x"), Ok(())),
        (refused("404 Not Found", "UnknownOperationException", "x"), Err(FailureClass::Transient)),
        (response("404 Not Found", "", r#"{"message":"no route"}"#), Err(FailureClass::Transient)),
        (response("404 Not Found", "", "<html>"), Err(FailureClass::Transient)),
    ] {
        let (base, _) = answers(vec![("GET", answer.clone())]).await;
        let got = open(&base).batches().unwrap().poll(ARN).await;
        let got = got.map(|found| assert!(found.is_none())).map_err(|error| error.failure.class);
        assert_eq!(got, want, "{answer}");
    }
}

#[tokio::test]
async fn long_names_are_read_and_those_of_others_are_in_nobodys_way() {
    let token = "br1-inst1-sub1-2-00ff";
    let job = |token: &str, bytes: usize| {
        let uri = format!("s3://bkt/{}", "k".repeat(bytes));
        format!(
            r#"{{"jobArn":"{ARN}","status":"InProgress","clientRequestToken":"{token}","inputDataConfig":{{"s3InputDataConfig":{{"s3Uri":"{uri}"}}}}}}"#
        )
    };
    for (jobs, want) in [
        (job(token, 1_000), Some(vec![true])),
        (format!("{},{}", job("theirs", 1_000), job("", 3_000)), Some(vec![true, false])),
        // Ours has no such name: what is said is not believed.
        (job(token, 3_000), None),
    ] {
        let list = response("200 OK", "", &format!(r#"{{"invocationJobSummaries":[{jobs}]}}"#));
        let (base, _) = answers(vec![("GET", list)]).await;
        let listed = open(&base).batches().unwrap().list_since(0).await.ok();
        let named = listed.map(|jobs| jobs.iter().map(|job| job.input_file.is_some()).collect::<Vec<_>>());
        assert_eq!(named, want, "{}", jobs.len());
    }
    let (base, _) = answers(vec![("GET", response("200 OK", "", &job(token, 1_000)))]).await;
    assert!(open(&base).batches().unwrap().poll(ARN).await.unwrap().unwrap().input_file.is_some());
}

#[tokio::test]
async fn a_place_is_of_names_and_leaves_room_for_those_below_it() {
    for (place, good) in [
        (format!("s3://bkt/{}", "k".repeat(500)), true),
        (format!("s3://bkt/{}", "k".repeat(510)), false),
        ("s3://bkt/.a/b..".to_owned(), true),
        ("s3://bkt/a/../b".to_owned(), false),
        ("s3://bkt/./a".to_owned(), false),
    ] {
        let settings = Settings {
            region: Some("us-east-1".to_owned()),
            role_arn: Some("arn:aws:iam::123456789012:role/r".to_owned()),
            storage: Some(place.clone()),
            ..settings("http://127.0.0.1:1")
        };
        let ready = bulkrate_provider::open("bedrock", &settings).unwrap().ready();
        assert_eq!(ready.is_ok(), good, "{place}: {ready:?}");
        assert!(good || ready.unwrap_err().contains("`storage`"), "{place}");
    }
}

#[tokio::test]
async fn each_upload_has_a_name_of_its_own() {
    let (base, asked) = answers(vec![("PUT", response("200 OK", "x-amz-request-id: r\r\n", ""))]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.jsonl");
    std::fs::write(&file, "{}\n").unwrap();
    let provider = open(&base);
    let mut names = Vec::new();
    for _ in 0..2 {
        names.push(provider.batches().unwrap().upload(&file, "bulkrate-1.jsonl").await.unwrap());
    }
    assert!(names.iter().all(|name| name.starts_with("s3://bkt/pre/in/bulkrate-1-")), "{names:?}");
    assert!(names[0] != names[1] && names.iter().all(|name| name.ends_with(".jsonl")), "{names:?}");
    let lines = names.iter().map(|name| format!("PUT {} HTTP/1.1", name.replace("s3:/", "")));
    assert_eq!(*asked.lock().unwrap(), lines.collect::<Vec<_>>());
}

/// The file says of what type its job is, and not the account, whose setting may have been changed since the file was written.
#[tokio::test]
async fn a_job_is_of_the_type_of_its_records() {
    let there = response("200 OK", "x-amz-request-id: r\r\n", "");
    let (base, _) = answers(vec![("PUT", there)]).await;
    let folder = tempfile::tempdir().unwrap();
    let claude = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
    for (setting, other) in [
        (ModelInvocationType::InvokeModel, ModelInvocationType::Converse),
        (ModelInvocationType::Converse, ModelInvocationType::InvokeModel),
    ] {
        let with = |model_invocation_type, base: &str| {
            let settings = Settings { model_invocation_type, ..account(base) };
            bulkrate_provider::open("bedrock", &settings).unwrap()
        };
        let provider = with(setting, &base);
        let line = r#"{"messages":[{"role":"user","content":"Hi"}],"generation_config":{"max_tokens":9}}"#;
        let request: Request<'_> = serde_json::from_str(line).unwrap();
        let options = WireOptions::new(Lane::Batch, claude);
        let (mut body, mut record) = (Vec::new(), Vec::new());
        provider.wire().encode(&request, options, &mut body).unwrap();
        let id = WireId::one(Sub::new(1, 1), 0);
        provider.batches().unwrap().input_line(id, Kind::Chat, &body, &mut record);
        let file = folder.path().join("x.jsonl");
        std::fs::write(&file, &record).unwrap();
        let input = provider.batches().unwrap().upload(&file, "bulkrate-1.jsonl").await.unwrap();
        for setting in [setting, other] {
            let (base, bodies) = bodies_of(made()).await;
            let create = with(setting, &base);
            create.batches().unwrap().create(&input, Kind::Chat, claude, &marker()).await;
            let body = bodies.lock().unwrap()[0].clone();
            let native = record.windows(17).any(|part| part == b"anthropic_version");
            let kind = if native { "InvokeModel" } else { "Converse" };
            assert!(body.contains(&format!("\"modelInvocationType\":\"{kind}\"")), "{body}");
        }
    }
}

/// A server that always answers so, and what it was asked.
async fn bodies_of(answer: String) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let (base, _) = server::start(move |mut peer, _| {
        let (answer, kept) = (answer.clone(), Arc::clone(&kept));
        async move {
            while let Some(request) = peer.request().await {
                kept.lock().unwrap().push(request);
                peer.write(&answer).await;
            }
        }
    })
    .await;
    (base, seen)
}

#[tokio::test]
async fn the_tier_of_a_call_in_claudes_own_words_is_a_header() {
    let (base, asked) = bodies_of(response("200 OK", "", "{}")).await;
    let settings = Settings { model_invocation_type: ModelInvocationType::InvokeModel, ..account(&base) };
    let provider = bulkrate_provider::open("bedrock", &settings).unwrap();
    for lane in [Lane::Flex, Lane::Sync] {
        let path = provider.wire().path_in(lane, Kind::Chat, "global.anthropic.claude-haiku-5-5");
        let time = std::time::Duration::from_secs(20);
        provider.calls().unwrap().call(&path, "{}".into(), time).await.unwrap();
        let request = asked.lock().unwrap().pop().unwrap().to_ascii_lowercase();
        assert!(
            request.starts_with("post /model/global.anthropic.claude-haiku-5-5/invoke http/1.1"),
            "{request}"
        );
        assert_eq!(request.contains("x-amzn-bedrock-service-tier: flex"), lane == Lane::Flex, "{request}");
    }
}
