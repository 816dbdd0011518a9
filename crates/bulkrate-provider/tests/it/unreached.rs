//! Servers that are not there: both clients say the same of it, and each cause has words of its own.

use std::time::Duration;

use bulkrate_provider::CallError;
use bytes::Bytes;

use crate::server::{self, open};

#[tokio::test]
async fn nobody_there_no_such_name_and_no_tls_are_told_apart() {
    // One that speaks plain HTTP, asked for TLS.
    let (plain, _) = server::start(|mut peer, _| async move {
        peer.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = format!("http://127.0.0.1:{port}/v1");
    for (base, origin, part) in [
        (closed.as_str(), closed.trim_end_matches("/v1"), format!("nothing listens on port {port}")),
        (
            "http://no-such-host.invalid/v1",
            "http://no-such-host.invalid",
            "`no-such-host.invalid` is not known (DNS".into(),
        ),
        (&plain.replace("http://", "https://"), "https://127.0.0.1", "no TLS connection".into()),
    ] {
        let provider = open("openai", base);
        let body = Bytes::from_static(b"{}");
        let paid = provider.calls().unwrap().call("/chat/completions", body, Duration::from_secs(20)).await;
        let Err(error @ CallError::NotSent { .. }) = paid else { panic!("{base}: {paid:?}") };
        let free = provider.batches().unwrap().poll("batch_1").await.unwrap_err();
        assert!(free.is_unanswered(), "{base}: {free:?}");
        for said in [error.to_string(), free.to_string()] {
            assert!(
                said.contains(&part) && said.contains(&format!("could not reach `{origin}")),
                "{base}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn whoever_refuses_has_answered() {
    let (base, _) = server::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let error = open("openai", &base).batches().unwrap().poll("batch_1").await.unwrap_err();
    assert!(!error.is_unanswered() && error.status == Some(502), "{error:?}");
}
