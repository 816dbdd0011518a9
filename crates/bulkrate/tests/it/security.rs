//! What must never be seen, and who may look: a key as a canary, and the modes of all that is kept.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::support::{ASK, Place, Said, Sim, reviews};

/// Found in nothing that is written or said (I17).
const KEY: &str = "sk-canary-5f0c1d2e3b4a59687766554433221100";

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn holds_no_key(place: &Place, said: &[Said]) {
    let needle = &KEY.as_bytes()[..20];
    for said in said {
        for text in [&said.stdout, &said.stderr] {
            assert!(!text.contains(&KEY[..20]), "{text}");
        }
    }
    let files = files(&place.path("."));
    assert!(files.iter().any(|file| file.ends_with("state.db")), "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(needle.len()).any(|bytes| bytes == needle), "{}", file.display());
    }
}

/// Everything that a person may look at afterwards.
fn looked_at(place: &Place) -> Vec<Said> {
    ["status --json", "dead reviews", "show reviews r-1", "verify reviews --json", "cost --json", "doctor"]
        .map(|line| place.run(line, &[]))
        .into()
}

#[test]
fn a_key_is_in_no_file_and_no_message() {
    let sim = Sim::start(&["--api-key", KEY, "--fault", "5xx=0.1", "--fault", "malformed@7"]);
    let place = Place::new()
        .set("OPENAI_API_KEY", KEY)
        .set("OPENAI_BASE_URL", &sim.base_url)
        .set("BULKRATE_LOG", "trace");
    place.put("reviews.csv", reviews(40));
    for lane in ["sync", "batch"] {
        let line = format!(
            "run reviews.csv --name reviews --yes --lane {lane} --out {lane}.jsonl --events json --poll-min 100ms --cache off"
        );
        let said = place.run(&line, &ASK);
        assert!([0, 5].contains(&said.code), "{said:?}");
        holds_no_key(&place, &[said]);
    }
    holds_no_key(&place, &looked_at(&place));
}

/// A provider that says the key back, in a header and in a body.
#[test]
fn a_key_that_a_provider_repeats_is_hidden() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = vec![0; 64 << 10];
            let _ = stream.read(&mut request);
            let body = format!(
                r#"{{"error":{{"message":"no such key: {KEY}","type":"invalid_request_error","code":"invalid_api_key"}}}}"#
            );
            let head = format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nx-key: {KEY}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let place = Place::new().set("OPENAI_API_KEY", KEY).set("OPENAI_BASE_URL", &base_url);
    place.put("reviews.csv", reviews(5));
    let said =
        place.run("run reviews.csv --yes --lane sync --out out.jsonl --price-in 1 --price-out 1", &ASK);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.stderr.contains("no such key"), "the message is told: {said:?}");
    holds_no_key(&place, &[said]);
    holds_no_key(&place, &looked_at(&place));
}

/// Answers every request with what `answer` makes of its first line: a status and a body; the key is in a header besides.
fn parrot(answer: impl Fn(&str, &str) -> (&'static str, String) + Send + 'static) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let request = whole(&mut stream);
            let (status, body) = answer(request.lines().next().unwrap_or(""), &request);
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-key: {KEY}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    base_url
}

/// One request, head and body.
fn whole(stream: &mut std::net::TcpStream) -> String {
    let (mut text, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        let read = stream.read(&mut chunk).unwrap_or(0);
        text.extend_from_slice(&chunk[..read]);
        let seen = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = seen.split_once("\r\n\r\n") else {
            if read == 0 {
                return seen;
            }
            continue;
        };
        let length = head.to_ascii_lowercase();
        let length =
            length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return seen;
        }
    }
}

/// A batch that is refused as a whole, and calls that are refused one by one, in words that repeat the key.
#[test]
fn a_key_in_the_errors_of_a_batch_or_of_an_item_is_hidden() {
    let says = |path: &str, request: &str| match path {
        _ if path.starts_with("POST /v1/files") => {
            ("200 OK", r#"{"id":"file-1","object":"file"}"#.to_owned())
        }
        _ if path.starts_with("POST /v1/batches") => {
            ("200 OK", r#"{"id":"batch_1","status":"validating"}"#.to_owned())
        }
        _ if path.starts_with("GET /v1/batches/") => (
            "200 OK",
            format!(
                r#"{{"id":"batch_1","status":"failed","errors":{{"data":[{{"code":"{KEY}","message":"no such key: {KEY}"}}]}}}}"#
            ),
        ),
        _ if path.starts_with("POST /v1/chat") => {
            assert!(request.contains("gpt"), "{request}");
            (
                "400 Bad Request",
                format!(r#"{{"error":{{"message":"no such key: {KEY}","type":"{KEY}","code":"{KEY}"}}}}"#),
            )
        }
        _ => ("200 OK", r#"{"object":"list","data":[],"has_more":false}"#.to_owned()),
    };
    for (lane, flags) in [("batch", "--no-canary"), ("sync", "")] {
        let place = Place::new().set("OPENAI_API_KEY", KEY).set("OPENAI_BASE_URL", &parrot(says));
        place.put("reviews.csv", reviews(5));
        let line = format!(
            "run reviews.csv --yes --name reviews --lane {lane} {flags} --poll-min 20ms --out out.jsonl"
        );
        let said = place.run(&line, &ASK);
        assert_ne!(said.code, 0, "{said:?}");
        let mut all = looked_at(&place);
        all.push(said);
        let told = |said: &Said| {
            said.stderr.contains("no such key: ***") || said.stdout.contains("no such key: ***")
        };
        assert!(all.iter().any(told), "{lane}: the message is told: {all:?}");
        holds_no_key(&place, &all);
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(20));
    place.run("run reviews.csv --yes --lane batch --poll-min 100ms --out out.csv", &ASK).expect(0);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let state = place.path(".bulkrate");
    let mut folders = vec![state.clone()];
    for file in files(&state) {
        let folder = file.parent().unwrap().to_owned();
        if !folders.contains(&folder) {
            folders.push(folder);
        }
        // The one file with nothing in it: what git leaves out.
        let open = file.file_name().is_some_and(|name| name == ".gitignore");
        assert!(open || mode(&file) == 0o600, "{}: {:o}", file.display(), mode(&file));
    }
    assert!(folders.len() > 3, "{folders:?}");
    for folder in folders {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
}
