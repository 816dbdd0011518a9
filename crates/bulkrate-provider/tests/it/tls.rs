//! Handshakes with a server of our own: whom the two clients trust, and that a call to anybody else never leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkrate_provider::{CallError, OpenError, Provider, Settings};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server::{CHAT_OK, response, settings};

const BATCH: &str = r#"{"id":"batch_1","object":"batch","status":"in_progress","created_at":1,"input_file_id":"file-1","request_counts":{"total":1,"completed":0,"failed":0}}"#;

/// Who signed the server's certificate, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Right,
    OtherHost,
    Expired,
    SelfSigned,
}

/// A certificate authority of the test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }

    fn show(&self, shown: Shown) -> ServerConfig {
        let host = if shown == Shown::OtherHost { "example.org" } else { "127.0.0.1" };
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        if shown == Shown::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = match shown {
            Shown::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let chain: Vec<CertificateDer<'static>> = vec![certificate.unwrap().der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

/// Answers chats and polls; counts the requests that came through a finished handshake.
async fn serve(config: ServerConfig) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let (acceptor, count) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = vec![0; 16_384];
                while let Ok(read @ 1..) = stream.read(&mut request).await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let body = if request[..read].starts_with(b"POST") { CHAT_OK } else { BATCH };
                    let answer = response("200 OK", "content-type: application/json\r\n", body);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (base, seen)
}

fn open(base: &str, ca_file: Option<PathBuf>) -> Arc<dyn Provider> {
    bulkrate_provider::open("openai", &Settings { ca_file, ..settings(base) }).unwrap()
}

async fn call(provider: &dyn Provider) -> Result<u16, CallError> {
    let body = Bytes::from_static(b"{\"model\":\"m\"}");
    let reply = provider.calls().unwrap().call("/chat/completions", body, Duration::from_secs(20)).await;
    reply.map(|reply| reply.status)
}

#[tokio::test]
async fn a_server_known_to_the_ca_file_is_trusted_by_both_clients() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (base, seen) = serve(authority.show(Shown::Right)).await;
    let provider = open(&base, Some(authority.write(dir.path())));
    assert_eq!(call(&*provider).await.unwrap(), 200);
    let batch = provider.batches().unwrap().poll("batch_1").await.unwrap();
    assert_eq!(batch.map(|batch| batch.id).as_deref(), Some("batch_1"));
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn f05_whoever_cannot_be_trusted_gets_no_request() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let ca_file = authority.write(dir.path());
    for (shown, ca_file) in [
        (Shown::OtherHost, Some(ca_file.clone())),
        (Shown::Expired, Some(ca_file.clone())),
        (Shown::SelfSigned, Some(ca_file)),
        (Shown::Right, None), // an authority that nobody named
    ] {
        let (base, seen) = serve(authority.show(shown)).await;
        let provider = open(&base, ca_file);
        let result = call(&*provider).await;
        assert!(matches!(result, Err(CallError::NotSent { .. })), "{shown:?}: {result:?}");
        let error = provider.batches().unwrap().poll("batch_1").await.unwrap_err();
        assert!(!error.failure.maybe_paid, "{shown:?}: {error:?}");
        assert_eq!(seen.load(Ordering::SeqCst), 0, "{shown:?}");
    }
}

#[test]
fn a_ca_file_without_a_certificate_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("empty.pem", ""), ("none.pem", "no certificate")] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let settings = Settings { ca_file: Some(path), ..settings("https://127.0.0.1:1/v1") };
        let error = bulkrate_provider::open("openai", &settings).unwrap_err();
        assert!(matches!(error, OpenError::CaFile { .. }), "{name}: {error}");
    }
    let settings =
        Settings { ca_file: Some(dir.path().join("missing")), ..settings("https://127.0.0.1:1/v1") };
    assert!(matches!(bulkrate_provider::open("openai", &settings), Err(OpenError::CaFile { .. })));
}
