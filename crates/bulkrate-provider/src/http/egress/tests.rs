//! Against servers of this machine: here 127.0.0.1 counts as public, and everything else does not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nwhat a picture";

/// A server, and what it was asked.
struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer`: to the request of this number, from 0, with its head. The connection ends after it, or stays open without a word
    /// where the answer says so by its first byte being 0.
    async fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (heard, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                tokio::spawn(async move {
                    let (mut head, mut block) = (Vec::new(), [0; 4_096]);
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read(&mut block).await {
                            Ok(read @ 1..) => head.extend_from_slice(&block[..read]),
                            _ => return,
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let number = {
                        let mut heard = heard.lock().unwrap();
                        heard.push(head.clone());
                        heard.len() - 1
                    };
                    let said = answer(number, &head);
                    let (open, said) = said.strip_prefix(&[0]).map_or((false, &*said), |rest| (true, rest));
                    drop(stream.write_all(said).await);
                    if open {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { at, asked }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn leads_to(place: &str) -> Vec<u8> {
    reply("302 Found", &format!("Location: {place}\r\n"), b"")
}

/// What names lead to: each answer of a name once, the last for ever.
#[derive(Default)]
struct Names(Mutex<HashMap<String, Vec<SocketAddr>>>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let mut names = self.0.lock().unwrap();
        let found = names.get_mut(name.as_str()).map(|known| match &**known {
            [last] => *last,
            _ => known.remove(0),
        });
        Box::pin(async move {
            let found = found.ok_or_else(|| std::io::Error::other("no such host"))?;
            Ok(Box::new(std::iter::once(found)) as Addrs)
        })
    }
}

fn private(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], port))
}

fn names<const N: usize>(names: [(&str, &[SocketAddr]); N]) -> Arc<dyn Resolve> {
    let known = names.map(|(name, places)| (name.to_owned(), places.to_vec()));
    Arc::new(Names(Mutex::new(HashMap::from(known))))
}

fn egress(names: Arc<dyn Resolve>) -> Egress {
    let limits = Limits { bytes: 1_000, time: Duration::from_secs(20), tries: 3, wait: Duration::ZERO };
    let is_allowed = |address| address == IpAddr::V4(Ipv4Addr::LOCALHOST);
    Egress { limits, ..Egress::with(Hosts::default(), ProxyFrom::None, None, names, is_allowed).unwrap() }
}

/// One that knows `public.example` as this server, and `private.example` as the same beside it.
fn at(server: &Server) -> Egress {
    egress(names([("public.example", &[server.at]), ("private.example", &[private(server.at.port())])]))
}

const URL: &str = "http://public.example/a.png";

fn why(found: Result<Fetched, AddressError>) -> String {
    found.unwrap_err().to_string()
}

#[tokio::test]
async fn a_picture_comes_as_what_it_is_and_nothing_is_said_of_us() {
    let server = Server::start(|_, _| reply("200 OK", "Content-Type: text/plain\r\n", PNG)).await;
    let found = at(&server).fetch("http://public.example/a.jpg?token=x#part").await.unwrap();
    assert_eq!((found.media_type, &*found.data), ("image/png", &*STANDARD.encode(PNG)));
    let head = server.asked.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /a.jpg?token=x http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: public.example\r\n"), "{head}");
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    for word in ["cookie", "authorization", "referer"] {
        assert!(!head.contains(word), "{head}");
    }
}

#[tokio::test]
async fn what_is_not_public_is_not_asked() {
    let server = Server::start(|_, _| reply("200 OK", "", PNG)).await;
    let egress = at(&server);
    for (url, part) in [
        ("http://private.example/a.png", "`private.example` leads to 127.0.0.2"),
        ("http://10.0.0.1/a.png", "`10.0.0.1` is no public address"),
        ("http://169.254.169.254/latest/meta-data", "is no public address"),
        ("http://0xa9fea9fe/latest/meta-data", "`169.254.169.254` is no public address"),
        ("http://2130706434/a.png", "`127.0.0.2` is no public address"),
        ("http://[::1]/a.png", "`[::1]` is no public address"),
        ("http://[::ffff:127.0.0.1]/a.png", "is no public address"),
        ("http://public.example:22/", "its port is 22"),
        ("http://public.example:8080/", "`public.example:8080` in `fetch_from`"),
        ("http://user@public.example/", "a user or a password"),
        ("http://:secret@public.example/", "a user or a password"),
        ("ftp://public.example/a.png", "only `http` and `https`"),
        ("file:///etc/passwd", "only `http` and `https`"),
        ("http://", "no URL"),
    ] {
        let said = egress.fetch(url).await.unwrap_err();
        assert!(matches!(&said, AddressError::Refused(why) if why.contains(part)), "{url}: {said}");
        assert!(!said.to_string().contains("secret"), "{said}");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_address_leads_nowhere_else() {
    let server = Server::start(|number, _| match number {
        0 => reply("200 OK", "", PNG),
        _ => leads_to("/again"),
    })
    .await;
    // What was looked at is what is connected to: one answer of the name for each connection.
    let port = server.at.port();
    let names = names([("public.example", &[server.at, server.at, private(port)])]);
    let egress = egress(names);
    egress.fetch(URL).await.unwrap();
    let said = why(egress.fetch(URL).await);
    assert!(said.contains("leads to 127.0.0.2"), "{said}");
    assert_eq!(server.asked(), 2, "the redirect was not followed");
}

#[tokio::test]
async fn a_redirect_is_looked_at_like_any_address() {
    for place in [
        "http://private.example/",
        "http://10.0.0.1/",
        "http://[fd00::1]/",
        "//169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://user:pass@public.example/",
        "http://public.example:22/",
    ] {
        let server = Server::start(move |_, _| leads_to(place)).await;
        let said = at(&server).fetch(URL).await;
        assert!(matches!(said, Err(AddressError::Refused(_))), "{place}: {said:?}");
        assert_eq!(server.asked(), 1, "{place}");
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    for (redirects, asked, said) in
        [(3, 4, None), (4, 4, Some("was not fetched: it leads on more than 3 times"))]
    {
        let server = Server::start(move |number, _| match number {
            number if number < redirects => leads_to(&format!("hop-{number}")),
            _ => reply("200 OK", "", PNG),
        })
        .await;
        let found = at(&server).fetch(URL).await.map_err(|error| error.to_string());
        assert_eq!((found.err().as_deref(), server.asked()), (said, asked), "{redirects}");
    }
    let server = Server::start(|_, _| reply("302 Found", "", b"")).await;
    assert!(why(at(&server).fetch(URL).await).contains("leads on to nowhere"));
}

#[tokio::test]
async fn an_answer_has_a_largest_size() {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    let announced = format!("{head}Content-Length: 300000000\r\n\r\n");
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{}",
        "200\r\n".to_owned() + &"x".repeat(512) + "\r\n200\r\n" + &"x".repeat(512) + "\r\n"
    );
    for (answer, part) in
        [(announced, "it has 300000000 bytes, and 1000 are the most"), (chunked, "it has more bytes")]
    {
        // Both would go on for ever.
        let server = Server::start(move |_, _| [&[0], answer.as_bytes()].concat()).await;
        let said = why(at(&server).fetch(URL).await);
        assert!(said.contains(part) && server.asked() == 1, "{said}");
    }
}

#[tokio::test]
async fn an_answer_has_a_longest_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n\x05";
    let server = Server::start(move |_, _| [&[0], head.as_bytes()].concat()).await;
    let egress = at(&server);
    let limits = Limits { time: Duration::from_millis(60), tries: 2, ..egress.limits };
    let said = why(Egress { limits, ..egress }.fetch(URL).await);
    assert!(said.contains("no whole answer within") && server.asked() <= 2, "{said}");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (answers, asked, part) in [
        (&["503 Service Unavailable", "200 OK"][..], 2, None),
        (&["429 Too Many Requests", "500 Oh", "200 OK"], 3, None),
        (&["503 Service Unavailable"], 3, Some("its server answers 503")),
        (&["404 Not Found"], 1, Some("its server answers 404 Not Found")),
        (&["403 Forbidden"], 1, Some("its server answers 403")),
        (&["206 Partial Content"], 1, Some("its server answers 206")),
    ] {
        let server = Server::start(move |number, _| {
            reply(answers.get(number).unwrap_or(&answers[answers.len() - 1]), "", PNG)
        })
        .await;
        let found = at(&server).fetch(URL).await.map_err(|error| error.to_string());
        let fits = part.map_or(found.is_ok(), |part| found.as_ref().is_err_and(|said| said.contains(part)));
        assert!(fits && server.asked() == asked, "{answers:?}: {found:?}, {} times", server.asked());
    }
}

#[tokio::test]
async fn what_is_no_picture_is_told() {
    for (headers, body, part) in [
        ("Content-Type: image/png\r\n", &b" <!doctype html><p>Sign in"[..], "a web page"),
        ("Content-Type: image/png\r\n", b"{}", "something else"),
        ("", b"", "something else"),
        ("Content-Encoding: gzip\r\n", b"\x1f\x8b", "`gzip`"),
    ] {
        let server = Server::start(move |_, _| reply("200 OK", headers, body)).await;
        let said = why(at(&server).fetch(URL).await);
        assert!(said.contains(part) && server.asked() == 1, "{said}");
    }
}

#[tokio::test]
async fn nobody_there_is_told() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let egress = egress(names([("public.example", &[gone])]));
    assert!(why(egress.fetch(URL).await).contains("nothing listens on port"));
    assert!(why(egress.fetch("http://unknown.example/").await).contains("`unknown.example` is not known"));
}

#[tokio::test]
async fn a_host_that_the_user_named_may_be_anywhere_and_leads_no_further() {
    let server = Server::start(|number, _| match number {
        0 => reply("200 OK", "", PNG),
        _ => leads_to("http://10.0.0.1/"),
    })
    .await;
    let hosts = Hosts::parse(&[server.at.to_string()]).unwrap();
    let egress = Egress::with(hosts, ProxyFrom::None, None, Arc::new(System), is_public).unwrap();
    let url = format!("http://{}/a.png", server.at);
    assert_eq!(egress.fetch(&url).await.unwrap().media_type, "image/png");
    assert!(why(egress.fetch(&url).await).contains("`10.0.0.1` is no public address"));
    let beside = format!("http://127.0.0.1:{}/a.png", server.at.port() ^ 1);
    assert!(why(egress.fetch(&beside).await).contains("its port is"));
}

#[tokio::test]
async fn behind_a_proxy_only_named_hosts_are_fetched() {
    let proxy = Server::start(|_, _| reply("200 OK", "", PNG)).await;
    let from = ProxyFrom::Url(format!("http://{}", proxy.at).as_str().into());
    let hosts = Hosts::parse(&["images.internal"]).unwrap();
    let egress = Egress::with(hosts, from, None, names([]), is_public).unwrap();
    let said = why(egress.fetch(URL).await);
    assert!(said.contains("a proxy (127.0.0.1:") && said.contains("`NO_PROXY`"), "{said}");
    assert_eq!(egress.fetch("http://images.internal/a.png").await.unwrap().media_type, "image/png");
    let asked = proxy.asked.lock().unwrap().clone();
    assert!(
        matches!(&asked[..], [head] if head.starts_with("GET http://images.internal/a.png ")),
        "{asked:?}"
    );
}
