//! The one paid call of a batch, and the list that settles doubts about it.

use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::Marker;
use bulkrate_provider::Created;

use crate::server::{self, open};

pub(crate) fn marker() -> Marker {
    Marker {
        inst: "inst-1".to_owned(),
        sub: "01kaxvhz0000000000000000aa".to_owned(),
        items: 2,
        digest: "00ff".to_owned(),
    }
}

/// How a create ended: the refusal's class and code, or `None` in doubt.
async fn create(
    status: &'static str,
    body: &'static str,
) -> (&'static str, Option<(FailureClass, Option<String>)>) {
    let (base, seen) = server::always(status, body).await;
    let created = open("openai", &base)
        .batches()
        .unwrap()
        .create("file-1", Kind::Chat, "gpt-4.1-mini", &marker())
        .await;
    assert_eq!(seen.requests(), 1, "a create goes out once: {status}");
    match created {
        Created::Accepted(_) => ("accepted", None),
        Created::Refused(failure) => {
            assert!(!failure.maybe_paid);
            ("refused", Some((failure.class, failure.provider_code)))
        }
        Created::InDoubt(_) => ("in doubt", None),
    }
}

const OURS: &str = r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#;

#[tokio::test]
async fn the_outcome_table() {
    for (status, body, want) in [
        ("200 OK", r#"{"id":"batch_1","object":"batch","status":"validating"}"#, "accepted"),
        ("200 OK", r#"{"object":"batch","status":"validating"}"#, "in doubt"), // no id
        ("200 OK", "<html>", "in doubt"),
        ("200 OK", "", "in doubt"),
        ("202 Accepted", r#"{"ok":true}"#, "in doubt"),
        ("302 Found", OURS, "in doubt"),
        ("307 Temporary Redirect", "", "in doubt"),
        ("400 Bad Request", OURS, "refused"),
        ("401 Unauthorized", OURS, "refused"),
        ("402 Payment Required", OURS, "refused"),
        ("403 Forbidden", OURS, "refused"),
        ("404 Not Found", OURS, "refused"),
        ("405 Method Not Allowed", OURS, "refused"),
        ("413 Payload Too Large", OURS, "refused"),
        ("415 Unsupported Media Type", OURS, "refused"),
        ("422 Unprocessable Entity", OURS, "refused"),
        ("429 Too Many Requests", OURS, "refused"),
        ("400 Bad Request", "<html>proxy</html>", "in doubt"),
        ("403 Forbidden", r#"{"message":"Forbidden"}"#, "in doubt"), // a gateway
        ("429 Too Many Requests", r#"{"error":"slow down"}"#, "in doubt"), // not OpenAI's shape
        ("408 Request Timeout", OURS, "in doubt"),
        ("409 Conflict", OURS, "in doubt"),
        ("418 I'm a teapot", OURS, "in doubt"),
        ("425 Too Early", OURS, "in doubt"),
        ("500 Internal Server Error", OURS, "in doubt"),
        ("502 Bad Gateway", "<html>", "in doubt"),
        ("503 Service Unavailable", OURS, "in doubt"),
        ("504 Gateway Timeout", OURS, "in doubt"),
        ("524 Timeout", "", "in doubt"),
    ] {
        assert_eq!(create(status, body).await.0, want, "{status} {body}");
    }
}

#[tokio::test]
async fn refusals_say_what_they_mean() {
    let code = |text: &str| Some(text.to_owned());
    for (status, body, want) in [
        (
            "400 Bad Request",
            r#"{"error":{"message":"Cannot find file file-1, or project x does not have access to it.","type":"invalid_request_error","param":"file_id","code":null}}"#,
            (FailureClass::Transient, code("file_not_found")),
        ),
        (
            "400 Bad Request",
            r#"{"error":{"message":"Missing required parameter: 'input_file_id'.","type":"invalid_request_error","param":"input_file_id","code":"missing_required_parameter"}}"#,
            (FailureClass::RefusedByProvider, code("missing_required_parameter")),
        ),
        (
            "400 Bad Request",
            r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#,
            (FailureClass::Billing, code("billing_hard_limit_reached")),
        ),
        (
            "429 Too Many Requests",
            r#"{"error":{"message":"Too many batches","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#,
            (FailureClass::RateLimited, code("rate_limit_exceeded")),
        ),
    ] {
        assert_eq!(create(status, body).await, ("refused", Some(want)), "{body}");
    }
}

#[tokio::test]
async fn a_create_that_cannot_be_sent_is_refused() {
    let created = open("openai", "http://no-such-host.invalid/v1")
        .batches()
        .unwrap()
        .create("file-1", Kind::Chat, "gpt-4.1-mini", &marker())
        .await;
    assert!(
        matches!(&created, Created::Refused(failure) if failure.provider_code.as_deref() == Some("not_sent")),
        "{created:?}"
    );
}

#[tokio::test]
async fn a_create_without_an_answer_is_in_doubt() {
    let (base, seen) = server::start(|mut peer, _| async move {
        peer.request().await;
        peer.reset();
    })
    .await;
    let created = open("openai", &base)
        .batches()
        .unwrap()
        .create("file-1", Kind::Chat, "gpt-4.1-mini", &marker())
        .await;
    assert!(matches!(created, Created::InDoubt(_)), "{created:?}");
    assert_eq!(seen.requests(), 1);
}

#[tokio::test]
async fn a_create_carries_the_marker_as_texts() {
    let (base, _) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let want = r#"{"input_file_id":"file-1","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"br_inst":"inst-1","br_sub":"01kaxvhz0000000000000000aa","br_n":"2","br_digest":"00ff"}}"#;
            let body = if request.starts_with("POST /v1/batches ") && request.ends_with(want) { r#"{"id":"b","status":"validating"}"# } else { "{}" };
            peer.answer("200 OK", body).await;
        }
    })
    .await;
    let created = open("openai", &base)
        .batches()
        .unwrap()
        .create("file-1", Kind::Embedding, "gpt-4.1-mini", &marker())
        .await;
    assert!(matches!(created, Created::Accepted(_)), "{created:?}");
}

fn page(first: u64, last: u64, has_more: bool) -> String {
    let rows: Vec<String> = (last..=first)
        .rev()
        .map(|at| format!(r#"{{"id":"batch_{at}","status":"completed","created_at":{at}}}"#))
        .collect();
    format!(r#"{{"object":"list","data":[{}],"has_more":{has_more}}}"#, rows.join(","))
}

#[tokio::test]
async fn a_list_reads_every_page_down_to_the_bound() {
    let (base, seen) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let after = request
                .split("after=batch_")
                .nth(1)
                .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok())
                .unwrap_or(1_001);
            peer.answer("200 OK", &page(after - 1, after - 100, true)).await;
        }
    })
    .await;
    let provider = open("openai", &base);
    let found = provider.batches().unwrap().list_since(750).await.unwrap();
    let times: Vec<u64> = found.iter().filter_map(|batch| batch.created_at).collect();
    assert_eq!(times, (750..=1_000).rev().collect::<Vec<_>>());
    assert_eq!(seen.requests(), 4); // the fourth page is older than the bound
}

#[tokio::test]
async fn a_list_that_turns_in_a_circle_is_an_error() {
    let (base, _) = server::always("200 OK", &page(1_000, 901, true)).await;
    let error = open("openai", &base).batches().unwrap().list_since(0).await.unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
}

#[tokio::test]
async fn gone_is_told_from_unknown() {
    for (status, body, gone) in [
        (
            "404 Not Found",
            r#"{"error":{"message":"No batch found with id 'b'.","type":"invalid_request_error"}}"#,
            true,
        ),
        ("404 Not Found", "<html>", false),
    ] {
        let (base, _) = server::always(status, body).await;
        let provider = open("openai", &base);
        let batches = provider.batches().unwrap();
        assert_eq!(matches!(batches.poll("b").await, Ok(None)), gone, "{body}");
        assert_eq!(batches.delete_file("f").await.is_ok(), gone, "{body}");
    }
}

#[tokio::test]
async fn cancelling_what_has_ended_is_no_error() {
    let body = r#"{"error":{"message":"Cannot cancel a batch with status 'completed'.","type":"invalid_request_error","param":null,"code":null}}"#;
    let (base, seen) = server::always("409 Conflict", body).await;
    open("openai", &base).batches().unwrap().cancel("batch_1").await.unwrap();
    assert_eq!(seen.requests(), 1);
}

#[tokio::test]
async fn a_list_without_an_end_is_an_error() {
    let (base, seen) = server::start(|mut peer, _| async move {
        let mut at = u64::MAX / 2;
        while peer.request().await.is_some() {
            peer.answer("200 OK", &page(at, at, true)).await;
            at -= 1;
        }
    })
    .await;
    let error = open("openai", &base).batches().unwrap().list_since(0).await.unwrap_err();
    assert!(error.to_string().contains("more than 1000 pages"), "{error}");
    assert_eq!(seen.requests(), 1_000);
    // Nor may one page hold more than a person can have.
    let long = page(200_001, 1, true);
    let (base, _) = server::always("200 OK", &long).await;
    let error = open("openai", &base).batches().unwrap().list_since(0).await.unwrap_err();
    assert!(error.to_string().contains("more than 100000 batches"), "{error}");
}

#[tokio::test]
async fn what_a_batch_says_holds_no_key() {
    let key = server::KEY;
    let failed = format!(
        r#"{{"id":"b","status":"failed {key}","errors":{{"data":[{{"code":"{key}","message":"bad key {key}"}}]}}}}"#
    );
    for (body, readable) in [
        (failed, true),
        (format!(r#"{{"id":"{key}","status":"completed"}}"#), false),
        (format!(r#"{{"id":"b","status":"completed","output_file_id":"{key}"}}"#), false),
        (format!(r#"{{"id":"b","status":"completed","request_counts":"{key}"}}"#), false),
        (format!(r#"{{"id":"{}","status":"completed"}}"#, "x".repeat(2_000)), false),
    ] {
        let (base, _) = server::always("200 OK", &body).await;
        let seen = open("openai", &base).batches().unwrap().poll("b").await;
        assert_eq!(seen.is_ok(), readable, "{body}");
        assert!(!format!("{seen:?}").contains(&key[..12]), "{seen:?}");
    }
}

#[tokio::test]
async fn a_page_is_not_taken_for_the_api() {
    // Anthropic's service has a list of models always; a server that speaks OpenAI's language may lack it.
    for (status, body, openai, anthropic) in [
        ("200 OK", "<html>welcome</html>", false, false),
        ("404 Not Found", "<!doctype html>", false, false),
        ("200 OK", "hello", false, false),
        ("404 Not Found", r#"{"detail":"Not Found"}"#, true, false),
        ("404 Not Found", "", true, false),
        ("200 OK", r#"{"object":"list","data":[]}"#, true, true),
    ] {
        let (base, _) = server::always(status, body).await;
        for (name, fine) in [("openai", openai), ("anthropic", anthropic)] {
            let health = open(name, &base).probe().await;
            assert_eq!(health.is_ok(), fine, "{name} {status} {body}: {health:?}");
            let said = health.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(said.contains("HTML"), body.starts_with("<"), "{name}: {said}");
        }
    }
}
