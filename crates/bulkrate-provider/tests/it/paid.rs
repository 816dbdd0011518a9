//! What the client of paid calls concludes from every way in which a call can go wrong.

use std::time::Duration;

use bulkrate_core::answer::Reading;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::Kind;
use bulkrate_provider::{CallError, Provider, ProxyFrom, Reply};
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::server::{self, CHAT_OK, KEY, open, response, settings};

const LONG: Duration = Duration::from_secs(20);

async fn call(provider: &dyn Provider, timeout: Duration) -> Result<Reply, CallError> {
    provider
        .calls()
        .unwrap()
        .call("/chat/completions", Bytes::from_static(b"{\"model\":\"m\"}"), timeout)
        .await
}

fn not_sent(result: &Result<Reply, CallError>) -> bool {
    matches!(result, Err(CallError::NotSent { .. }))
}

fn no_answer(result: &Result<Reply, CallError>, timed_out: bool) -> bool {
    matches!(result, Err(CallError::NoAnswer { timeout, .. }) if *timeout == timed_out)
}

/// Class and doubt of a reply that must be a failure.
fn failure(provider: &dyn Provider, reply: &Reply) -> (FailureClass, bool) {
    match provider.wire().read(Kind::Chat, reply) {
        Reading::Failure(failure) => (failure.class, failure.maybe_paid),
        Reading::Answer(answer) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn f04_a_refused_connection_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let result = call(&*open("custom", &base), LONG).await;
    assert!(not_sent(&result), "{result:?}");
}

#[tokio::test]
async fn f04_a_host_that_does_not_exist_was_not_sent() {
    let result = call(&*open("custom", "http://no-such-host.invalid/v1"), LONG).await;
    assert!(not_sent(&result), "{result:?}");
}

#[tokio::test]
async fn a_reset_before_the_answer_is_in_doubt() {
    let (base, seen) = server::start(|mut peer, _| async move {
        peer.request().await;
        peer.reset();
    })
    .await;
    let result = call(&*open("custom", &base), LONG).await;
    assert!(no_answer(&result, false), "{result:?}");
    assert_eq!(seen.requests(), 1, "nothing is sent twice");
}

#[tokio::test]
async fn answers_cut_short_are_in_doubt() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":\"x",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n{",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let (base, seen) = server::start(move |mut peer, _| async move {
            peer.request().await;
            peer.write(answer).await;
        })
        .await;
        let result = call(&*open("custom", &base), LONG).await;
        assert!(no_answer(&result, false), "{answer:?}: {result:?}");
        assert_eq!(seen.requests(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn silence_is_in_doubt_and_says_so() {
    let (base, seen) = server::start(|mut peer, _| async move {
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let result = call(&*open("custom", &base), Duration::from_millis(100)).await;
    assert!(no_answer(&result, true), "{result:?}");
    assert_eq!(seen.requests(), 1);
}

#[tokio::test]
async fn a_body_half_sent_is_in_doubt() {
    let (base, _) = server::start(|mut peer, _| async move {
        let mut some = [0; 1_000];
        let _ = peer.stream.read(&mut some).await;
        peer.reset();
    })
    .await;
    let provider = open("custom", &base);
    let body = Bytes::from(vec![b' '; 16 << 20]);
    let result = provider.calls().unwrap().call("/chat/completions", body, LONG).await;
    assert!(no_answer(&result, false), "{result:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (base, seen) = server::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.write(&response("307 Temporary Redirect", "location: /v1/elsewhere\r\n", "")).await;
        }
    })
    .await;
    let provider = open("custom", &base);
    let reply = call(&*provider, LONG).await.unwrap();
    assert_eq!(failure(&*provider, &reply), (FailureClass::Transient, true));
    assert_eq!(seen.requests(), 1);
}

#[tokio::test]
async fn who_wrote_an_error_decides_whether_it_may_be_paid() {
    for (status, body, want) in [
        ("502 Bad Gateway", "<html>bad gateway</html>", (FailureClass::Transient, true)),
        (
            "502 Bad Gateway",
            r#"{"error":{"message":"upstream","type":"server_error","param":null,"code":null}}"#,
            (FailureClass::Transient, false),
        ),
        ("400 Bad Request", "<html>", (FailureClass::Transient, true)),
        ("401 Unauthorized", r#"{"error":"Unauthorized"}"#, (FailureClass::Auth, false)),
        ("200 OK", "<html>welcome</html>", (FailureClass::Transient, true)),
        ("200 OK", "", (FailureClass::Transient, true)),
    ] {
        let (base, _) = server::start(move |mut peer, _| async move {
            peer.request().await;
            peer.answer(status, body).await;
        })
        .await;
        let provider = open("custom", &base);
        let reply = call(&*provider, LONG).await.unwrap();
        assert_eq!(failure(&*provider, &reply), want, "{status} {body}");
    }
}

#[tokio::test]
async fn a_length_that_lies_spoils_only_its_own_answer() {
    let (base, _) = server::start(|mut peer, place| async move {
        while peer.request().await.is_some() {
            let text = if place == 0 {
                format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{CHAT_OK}")
            } else {
                response("200 OK", "", CHAT_OK)
            };
            peer.write(&text).await;
        }
    })
    .await;
    let provider = open("custom", &base);
    let reply = call(&*provider, LONG).await.unwrap();
    assert_eq!(failure(&*provider, &reply), (FailureClass::Transient, true));
    tokio::time::sleep(Duration::from_millis(20)).await; // the rest of the first answer arrives on the kept connection
    let reply = call(&*provider, LONG).await.unwrap();
    assert!(matches!(provider.wire().read(Kind::Chat, &reply), Reading::Answer(_)), "{reply:?}");
}

#[tokio::test]
async fn calls_share_a_kept_connection() {
    let (base, seen) = server::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            let (first, second) = CHAT_OK.split_at(40);
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            peer.write(&format!("{head}{:x}\r\n{first}\r\n", first.len())).await;
            tokio::task::yield_now().await;
            peer.write(&format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len())).await;
        }
    })
    .await;
    let provider = open("custom", &base);
    for _ in 0..20 {
        assert_eq!(call(&*provider, LONG).await.unwrap().body, CHAT_OK);
    }
    assert_eq!((seen.connections(), seen.requests()), (1, 20));
}

#[tokio::test]
async fn a_kept_connection_closed_meanwhile_is_replaced() {
    let (base, seen) = server::start(|mut peer, _| async move {
        peer.request().await;
        peer.answer("200 OK", CHAT_OK).await;
    })
    .await;
    let provider = open("custom", &base);
    for _ in 0..5 {
        let result = call(&*provider, LONG).await;
        assert!(result.is_ok(), "{result:?}");
        tokio::time::sleep(Duration::from_millis(20)).await; // the close arrives
    }
    assert_eq!((seen.connections(), seen.requests()), (5, 5));
}

/// The server closes after every answer while the client sends the next call: whatever wins the race, no call may
/// arrive twice, and a call that arrived may not be called unsent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_races_with_a_call_is_told_apart() {
    const CALLS: usize = 300;
    let (base, seen) = server::start(|mut peer, _| async move {
        peer.request().await;
        peer.answer("200 OK", CHAT_OK).await;
    })
    .await;
    let provider = open("custom", &base);
    let (mut answered, mut in_doubt) = (0, 0);
    for _ in 0..CALLS {
        match call(&*provider, LONG).await {
            Ok(_) => answered += 1,
            Err(CallError::NoAnswer { .. }) => in_doubt += 1,
            Err(error @ CallError::NotSent { .. }) => panic!("a fresh connection was there: {error}"),
        }
    }
    assert_eq!(answered + in_doubt, CALLS);
    let received = seen.requests();
    assert!(
        received >= answered && received <= answered + in_doubt,
        "{received} received, {answered} answered, {in_doubt} in doubt"
    );
}

#[tokio::test]
async fn waiting_for_a_connection_is_not_a_doubt() {
    let (base, seen) = server::start(|mut peer, _| async move {
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut settings = settings(&base);
    settings.connections_max = 1;
    let provider = bulkrate_provider::open("custom", &settings).unwrap();
    let (first, second) = tokio::join!(
        call(&*provider, Duration::from_millis(200)),
        call(&*provider, Duration::from_millis(100))
    );
    assert!(no_answer(&first, true), "{first:?}");
    assert!(not_sent(&second), "{second:?}");
    assert_eq!(seen.requests(), 1);
}

#[tokio::test]
async fn the_request_as_the_server_sees_it() {
    let (base, _) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            peer.answer("200 OK", &request).await;
        }
    })
    .await;
    let mut settings = settings(&base);
    settings.organization = Some("org-1".to_owned());
    settings.extra_headers = vec![("X-Gateway".to_owned(), "g".into())];
    let provider = bulkrate_provider::open("openai", &settings).unwrap();
    let reply = call(&*provider, LONG).await.unwrap();
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let host = base.trim_start_matches("http://").trim_end_matches("/v1");
    for part in [
        "POST /v1/chat/completions HTTP/1.1\r\n",
        &format!("host: {host}\r\n"),
        &format!("authorization: Bearer {KEY}\r\n"),
        "content-type: application/json\r\n",
        "content-length: 13\r\n",
        "openai-organization: org-1\r\n",
        "x-gateway: g\r\n",
        "\r\n\r\n{\"model\":\"m\"}",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test]
async fn a_proxy_gets_the_whole_url_or_a_connect() {
    let (base, _) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let status =
                if request.starts_with("CONNECT ") { "407 Proxy Authentication Required" } else { "200 OK" };
            peer.answer(status, &request).await;
        }
    })
    .await;
    let proxy = base.trim_end_matches("/v1").replace("http://", "http://user:proxy-canary@");
    let mut settings = settings("http://service.invalid/v1");
    settings.proxy = ProxyFrom::Url(proxy.as_str().into());
    let provider = bulkrate_provider::open("custom", &settings).unwrap();
    let reply = call(&*provider, LONG).await.unwrap();
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.starts_with("POST http://service.invalid/v1/chat/completions HTTP/1.1\r\n"), "{text}");
    assert!(
        text.contains("proxy-authorization: Basic dXNlcjpwcm94eS1jYW5hcnk=\r\n")
            && text.contains("host: service.invalid\r\n"),
        "{text}"
    );

    settings.base_url = Some("https://service.invalid/v1".to_owned());
    let provider = bulkrate_provider::open("custom", &settings).unwrap();
    let result = call(&*provider, LONG).await;
    assert!(not_sent(&result), "{result:?}");
    let text = format!("{result:?} {provider:?} {settings:?}");
    assert!(text.contains("407") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn the_key_is_never_printed() {
    let (base, _) = server::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}}}"#);
            peer.answer("401 Unauthorized", &body).await;
        }
    })
    .await;
    let provider = open("openai", &base);
    let reply = call(&*provider, LONG).await.unwrap();
    let reading = format!("{:?}", provider.wire().read(Kind::Chat, &reply));
    assert!(reading.contains("Incorrect API key provided: ***"), "{reading}");
    let error = provider.batches().unwrap().poll("batch_1").await.unwrap_err();
    let created = provider
        .batches()
        .unwrap()
        .create("file-1", Kind::Chat, "gpt-4.1-mini", &crate::batches::marker())
        .await;
    for text in [
        reading,
        format!("{error} {error:?}"),
        format!("{created:?}"),
        format!("{provider:?} {:?}", settings(&base)),
    ] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn an_answer_in_an_encoding_is_in_doubt_and_not_unpacked() {
    let (base, seen) = server::start(|mut peer, _| async move {
        let request = peer.request().await.unwrap();
        assert!(request.to_ascii_lowercase().contains("accept-encoding: identity\r\n"), "{request}");
        peer.write(&response("200 OK", "content-encoding: gzip\r\n", "bomb")).await;
    })
    .await;
    let result = call(&*open("custom", &base), LONG).await;
    assert!(no_answer(&result, false), "{result:?}");
    assert!(format!("{result:?}").contains("`gzip`"), "{result:?}");
    assert_eq!(seen.requests(), 1);
}

/// Nine answers of 32 MiB do not fit into 256 MiB: the ninth is read once one of the others is dropped.
#[tokio::test]
async fn long_answers_in_flight_have_a_bound_together() {
    let (base, _) = server::start(|mut peer, _| async move {
        let body = "x".repeat(32 << 20);
        while peer.request().await.is_some() {
            peer.answer("200 OK", &body).await;
        }
    })
    .await;
    let provider = open("custom", &base);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(call(&*provider, LONG).await.unwrap());
    }
    let ninth = call(&*provider, Duration::from_millis(500)).await;
    assert!(no_answer(&ninth, true), "there was room for a ninth");
    let short = Bytes::clone(&held[0].body).len();
    held.pop();
    assert_eq!(call(&*provider, LONG).await.unwrap().body.len(), short);
}

const MESSAGE_OK: &str = r#"{"model":"m","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1,"service_tier":"t"}}"#;

#[test]
fn names_that_a_server_makes_up_are_cut_and_hold_no_key() {
    let long = "m".repeat(5_000);
    for (name, answer) in [("custom", CHAT_OK), ("anthropic", MESSAGE_OK)] {
        let provider = open(name, "http://127.0.0.1:1/v1");
        for (said, want) in [(long.as_str(), format!("{}...", "m".repeat(253))), (KEY, "***".to_owned())] {
            let body = answer.replacen("\"model\":", &format!("\"model\":\"{said}\",\"was\":"), 1).replacen(
                "\"service_tier\":",
                &format!("\"service_tier\":\"{said}\",\"was\":"),
                1,
            );
            let reply = Reply { status: 200, headers: http::HeaderMap::new(), body: Bytes::from(body) };
            let Reading::Answer(answer) = provider.wire().read(Kind::Chat, &reply) else {
                panic!("no answer: {reply:?}")
            };
            assert_eq!(answer.model.as_deref(), Some(want.as_str()), "{name}");
            assert_eq!(answer.tier.as_deref(), Some(want.as_str()), "{name}");
        }
        let error = |code: &str| {
            format!("{{\"error\":{{\"message\":\"{code}\",\"type\":\"{code}\",\"code\":\"{code}\"}}}}")
        };
        for body in [error(KEY), error(&long), format!("{}{KEY}", "x ".repeat(95))] {
            let reply = Reply { status: 400, headers: http::HeaderMap::new(), body: Bytes::from(body) };
            let Reading::Failure(failure) = provider.wire().read(Kind::Chat, &reply) else {
                panic!("{reply:?}")
            };
            assert!(!format!("{failure:?}").contains(&KEY[..8]), "{name}: {failure:?}");
            assert!(failure.provider_code.is_none_or(|code| code.len() <= 256), "{name}");
        }
    }
}
