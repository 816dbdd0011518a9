//! Bedrock's jobs down to the bytes: what a create carries and its answer proves, when it is sent again, what S3's words mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Phase};
use bulkrate_provider::{Created, Provider, Settings};

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
