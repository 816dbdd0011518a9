//! URLs of images for a provider that takes bytes alone: refused, or fetched once and sealed with the requests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::gemini;
use super::support::{Place, Sim};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nwhat a picture";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0another picture";

/// A server with pictures on this machine, and the paths that it was asked for.
struct Pictures {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pictures {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut head, mut block) = (Vec::new(), [0; 4_096]);
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut block) {
                        Ok(read @ 1..) => head.extend_from_slice(&block[..read]),
                        _ => break,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let Some(path) = head.split(' ').nth(1) else { continue };
                let first = {
                    let mut heard = heard.lock().unwrap();
                    heard.push(path.to_owned());
                    heard.iter().filter(|one| *one == path).count() == 1
                };
                let (status, body) = match path.split('?').next() {
                    Some("/a.jpg" | "/same.png") => ("200 OK", PNG.to_vec()),
                    Some("/b.png") => ("200 OK", JPEG.to_vec()),
                    Some("/a.pdf") => ("200 OK", b"%PDF-1.7 a page".to_vec()),
                    Some("/large.png") => ("200 OK", [PNG, &[7; 600_000]].concat()),
                    Some("/tired.png") if first => ("503 Service Unavailable", Vec::new()),
                    Some("/tired.png") => ("200 OK", [PNG, b"tired"].concat()),
                    Some("/page.png") => ("200 OK", b"<html>Sign in</html>".to_vec()),
                    Some("/away") => ("302 Found\r\nLocation: http://10.0.0.1/a.png", Vec::new()),
                    _ => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                drop(stream.write_all(&[head.as_bytes(), &body].concat()));
            }
        });
        Self { at, asked }
    }

    /// A table of these pictures, each with its question.
    fn table(&self, rows: &[(&str, &str)]) -> String {
        let rows = rows.iter().map(|(path, ask)| format!("http://{}/{path},{ask}\n", self.at));
        "photo,ask\n".to_owned() + &rows.collect::<String>()
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort_unstable();
        asked
    }
}

const ASK: &str = "--yes --lane sync --model gemini/gemini-3.8-flash --image photo --out out.jsonl";

fn run(place: &Place, pictures: &Pictures, line: &str) -> super::support::Said {
    let from = pictures.at.to_string();
    place.run(
        &format!("run in.csv {ASK} {line} --fetch-urls"),
        &["--user", "{{ ask }}", "--fetch-from", &from],
    )
}

/// What row `id` was sent, as type and data of its picture.
fn sealed(place: &Place, id: &str) -> Value {
    let shown = place.run(&format!("show in {id}"), &[]).expect(0).json();
    let image = &shown["request"]["messages"][0]["content"][1];
    json!([image["source_type"], image["media_type"], image["data"]])
}

#[test]
fn pictures_are_fetched_once_and_sealed_as_what_they_are() {
    let (sim, pictures) = (Sim::of("gemini", &[]), Pictures::start());
    let place = gemini::place(&sim);
    // While the first is tried again, the others are read and wait for it.
    let rows = [
        ("tired.png", "Who?"),
        ("a.jpg", "Who?"),
        ("b.png", "Who?"),
        ("a.jpg", "Where?"),
        ("same.png", "Who?"),
    ];
    place.put("in.csv", pictures.table(&rows));
    let said = run(&place, &pictures, "").expect(0);
    assert!(said.stderr.contains("fetched 4 addresses, 0.0 MB"), "{}", said.stderr);
    let once = ["/a.jpg", "/b.png", "/same.png", "/tired.png", "/tired.png"];
    assert_eq!(pictures.asked(), once, "the same URL once, and what passes again");
    // The bytes say what it is; one picture at two addresses is one request.
    assert_eq!(sealed(&place, "2"), json!(["base64", "image/png", "iVBORw0KGgp3aGF0IGEgcGljdHVyZQ=="]));
    assert_eq!(sealed(&place, "3")[1], "image/jpeg");
    assert_eq!(sealed(&place, "5"), sealed(&place, "2"));
    assert_eq!(sim.bill()["requests"], 4);
    place.proved("in", &sim);
    // The job is there: nothing is fetched or paid again.
    run(&place, &pictures, "").expect(0);
    assert_eq!((pictures.asked().len(), sim.bill()["requests"].as_u64()), (once.len(), Some(4)));
}

#[test]
fn a_job_goes_on_by_what_was_sealed_whatever_became_of_the_pictures() {
    let (sim, pictures) = (Sim::of("gemini", &[]), Pictures::start());
    let place = gemini::place(&sim);
    let rows: Vec<(String, &str)> = (0..150).map(|row| (format!("a.jpg?row={row}"), "Who?")).collect();
    let rows: Vec<(&str, &str)> = rows
        .iter()
        .map(|(path, _)| path.as_str())
        .zip((0..150).map(|row| ["Who?", "Where?"][row % 2]))
        .collect();
    place.put("in.csv", pictures.table(&rows));
    // More records than wait at once; a limit takes them in their order.
    run(&place, &pictures, "--limit 1").expect(0);
    assert_eq!((pictures.asked().len(), sim.bill()["requests"].as_u64()), (150, Some(1)));
    run(&place, &pictures, "").expect(0);
    assert_eq!((pictures.asked().len(), sim.bill()["requests"].as_u64()), (150, Some(2)));
    assert_eq!(place.read("out.jsonl").lines().count(), 150);
    place.proved("in", &sim);
}

#[test]
fn what_cannot_be_fetched_ends_the_run_before_it_begins_or_its_row_alone() {
    let (sim, pictures) = (Sim::of("gemini", &[]), Pictures::start());
    for (path, code, words) in [
        (
            "none.png",
            "item-url-failed",
            &["in.csv:3: the image at `http://127.0.0.1:", "/none.png`", "answers 404"][..],
        ),
        ("page.png", "item-url-failed", &["in.csv:3", "a web page"]),
        (
            "away?key=secret",
            "item-url-refused",
            &["in.csv:3", "/away?...`", "`10.0.0.1` is no public address"],
        ),
    ] {
        let place = gemini::place(&sim);
        place.put("in.csv", pictures.table(&[("a.jpg", "Who?"), (path, "Who?"), ("b.png", "Who?")]));
        let said = run(&place, &pictures, "");
        said.error(2, code, words);
        assert!(!said.stderr.contains("secret"), "{}", said.stderr);
        let before = sim.bill()["requests"].as_u64().unwrap();
        let said = run(&place, &pictures, "--on-bad-line dead --fail-above 50%").expect(5);
        assert!(said.stderr.contains("fetched 2 of 3 addresses"), "{}", said.stderr);
        let rows: Vec<Value> =
            place.read("out.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let states: Vec<_> = rows.iter().map(|row| row["_status"].as_str().unwrap()).collect();
        assert_eq!((&states[..2], &states[2..]), (&["succeeded", "errored"][..], &["succeeded"][..]));
        assert!(rows[1]["_error"].to_string().contains(words[words.len() - 1]), "{}", rows[1]);
        assert_eq!(sim.bill()["requests"].as_u64(), Some(before + 2));
    }
}

#[test]
fn a_document_is_fetched_for_a_chat_completion_and_must_be_one() {
    let (sim, pictures) = (Sim::start(&[]), Pictures::start());
    let place = Place::with(&sim);
    let line = |path: &str| {
        let data = format!("http://{}/{path}", pictures.at);
        let document = json!({ "type": "document", "source_type": "url", "media_type": "application/pdf", "data": data });
        let ask = json!({ "type": "text", "text": "What is it?" });
        json!({ "messages": [{ "role": "user", "content": [ask, document] }] }).to_string()
    };
    let from = pictures.at.to_string();
    let run = |line: &str| {
        let flags = "--yes --lane sync --model openai/gpt-6-luna --out out.jsonl --fetch-urls";
        place.run(&format!("run {line} {flags}"), &["--fetch-from", &from])
    };
    place.put("in.jsonl", line("a.pdf"));
    run("in.jsonl").expect(0);
    assert_eq!(sealed(&place, "1"), json!(["base64", "application/pdf", "JVBERi0xLjcgYSBwYWdl"]));
    place.put("bad.jsonl", line("a.jpg"));
    let words = ["bad.jsonl:1: the document at `http://", "`image/png`, no document"];
    run("bad.jsonl --force").error(2, "item-url-failed", &words);
}

#[test]
fn a_picture_is_fetched_for_a_fallback_too() {
    let (own, other, pictures) = (Sim::start(&[]), Sim::of("gemini", &[]), Pictures::start());
    let place = Place::with(&own).set("GEMINI_API_KEY", "AIza-sim").set("GEMINI_BASE_URL", &other.base_url);
    place.put("in.csv", pictures.table(&[("b.png", "Who?")]));
    let from = pictures.at.to_string();
    let line = "run in.csv --yes --lane sync --model openai/gpt-6-luna --fallback gemini/gemini-3.8-flash --image photo --fetch-urls --out o.jsonl";
    place.run(line, &["--user", "{{ ask }}", "--fetch-from", &from]).expect(0);
    assert_eq!((sealed(&place, "1")[0].as_str(), pictures.asked().len()), (Some("base64"), 1));
}

#[test]
fn nothing_is_fetched_unasked_or_from_this_machine() {
    let (sim, pictures) = (Sim::of("gemini", &[]), Pictures::start());
    let place = gemini::place(&sim);
    place.put("in.csv", pictures.table(&[("a.jpg", "Who?")]));
    let plain = format!("run in.csv {ASK}");
    let said = place.run(&plain, &["--user", "{{ ask }}"]);
    said.error(2, "item-unsupported", &["in.csv:2", "`fetch_urls`"]);
    let said = place.run(&format!("{plain} --fetch-urls"), &["--user", "{{ ask }}"]);
    said.error(2, "item-url-refused", &["in.csv:2", "its port is"]);
    place.put("in.csv", "photo,ask\nhttp://localhost/a.png,Who?\n");
    let said = place.run(&format!("{plain} --fetch-urls"), &["--user", "{{ ask }}"]);
    said.error(2, "item-url-refused", &["`localhost` leads to", "no public address"]);
    for (more, why) in
        [("--fetch-from x", "without `fetch_urls`"), ("--fetch-urls --fetch-from http://x", "is no host")]
    {
        let said = place.run(&format!("{plain} {more}"), &["--user", "{{ ask }}"]);
        said.error(2, "option-invalid", &[why]);
    }
    assert_eq!((pictures.asked().len(), sim.bill()["requests"].as_u64()), (0, Some(0)));
}

#[test]
fn the_bytes_of_a_picture_are_no_tokens() {
    let (sim, pictures) = (Sim::of("gemini", &[]), Pictures::start());
    let place = gemini::place(&sim);
    let planned = |path: &str| {
        place.put("in.csv", pictures.table(&[(path, "Who?")]));
        let from = pictures.at.to_string();
        let line =
            "plan in.csv --lane sync --model gemini/gemini-3.8-flash --image photo --fetch-urls --json";
        let said = place.run(line, &["--user", "{{ ask }}", "--fetch-from", &from]).expect(0);
        said.json()["lanes"].clone()
    };
    let (small, large) = (planned("same.png"), planned("large.png"));
    let priced = |lanes: &Value| -> Vec<Value> {
        let lanes = lanes.as_array().unwrap();
        lanes.iter().map(|lane| json!([lane["lane"], lane["expected_usd"], lane["worst_usd"]])).collect()
    };
    assert_eq!(priced(&small), priced(&large));
    assert!(small[0]["expected_usd"].is_string() || small[0]["expected_usd"].is_number(), "{small}");
    // A provider that fetches itself is left to it, whatever is switched on.
    let own = Sim::of("openai", &[]);
    let place = Place::with(&own);
    place.put("in.csv", pictures.table(&[("b.png", "Who?")]));
    let line =
        "run in.csv --yes --lane sync --model openai/gpt-6-luna --image photo --fetch-urls --out o.jsonl";
    let asked = pictures.asked().len();
    place.run(line, &["--user", "{{ ask }}"]).expect(0);
    assert_eq!((sealed(&place, "1")[0].as_str(), pictures.asked().len()), (Some("url"), asked));
}
