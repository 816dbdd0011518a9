//! What a provider and a machine can do wrong.

use std::io::{Read as _, Write as _};

use super::support::{ASK, Place, Sim, reviews};

const JOB: &str = "run data.csv --yes --lane sync --out out.csv --json";

/// Answers every connection with these bytes.
fn answering(response: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 65_536]);
                let _ = stream.write_all(response.as_bytes());
            });
        }
    });
    format!("http://{address}/v1")
}

#[test]
fn a_wrong_key_halts_the_job() {
    let sim = Sim::start(&["--api-key", "sk-right"]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(20));
    let report = place.run(JOB, &ASK).expect(4).json();
    assert_eq!(
        (report["ending"].as_str(), report["halted_by"].as_str()),
        (Some("halted"), Some("auth")),
        "{report}"
    );
    assert_eq!(report["spent_usd_nanos"], 0);
    // With the key mended the job goes on.
    let place = place.set("OPENAI_API_KEY", "sk-right");
    let report = place.run(JOB, &ASK).expect(0).json();
    assert_eq!(report["succeeded"], 20, "{report}");
}

#[test]
fn a_server_that_wants_a_key_names_the_variable() {
    let sim = Sim::start(&["--api-key", "sk-right"]);
    let place = Place::new();
    place.put("data.csv", reviews(3));
    let said = place.run(&format!("{JOB} --base-url {}", sim.base_url), &ASK).expect(4);
    for words in ["no key was sent, as `OPENAI_API_KEY` is not set", "check the key in `OPENAI_API_KEY`"] {
        assert!(said.stderr.contains(words), "no `{words}` in {}", said.stderr);
    }
    let line = "run data.csv --yes --lane sync --out out.csv --key-env MINE --base-url";
    let named = place.run(&format!("{line} {}", sim.base_url), &ASK);
    named.error(4, "credentials-missing", &["`MINE` is not set"]);
}

#[test]
fn a_base_url_without_its_version_is_told() {
    let sim = Sim::start(&[]);
    let place = Place::new().set("OPENAI_API_KEY", "sk-x");
    place.put("data.csv", reviews(3));
    let bare = sim.base_url.trim_end_matches("/v1");
    let want =
        format!("the base URL `{bare}` has no version at its end, and most servers want one: `{bare}/v1`");
    let planned = place.run(&format!("plan data.csv --base-url {bare}"), &ASK).expect(0);
    assert!(planned.stdout.contains(&want), "{}", planned.stdout);
    let said = place.run(&format!("{JOB} --base-url {bare}"), &ASK).expect(1);
    assert!(said.stderr.contains(&want), "{}", said.stderr);
}

#[test]
fn a_model_that_a_server_does_not_have_is_answered_with_one_that_it_has() {
    let sim = Sim::start(&[]);
    let place = Place::new().set("OPENAI_API_KEY", "sk-x");
    place.put("data.csv", reviews(3));
    let ask = ["--user", "Say: {{ text }}", "--model", "gpt-6-lnua", "--base-url", &sim.base_url];
    let planned = place.run("plan data.csv", &ask).expect(0);
    let want = "`gpt-6-lnua` is not among the models that the server lists (did you mean `gpt-6-luna`?)";
    assert!(planned.stdout.contains(want), "{}", planned.stdout);
    let said = place.run(JOB, &ask).expect(1);
    assert!(said.stderr.contains("(did you mean `gpt-6-luna`?)"), "{}", said.stderr);
    // The server knows it: nothing is said.
    let known = [&ask[..2], &["--model", "gpt-6-luna"], &ask[4..]].concat();
    assert!(!place.run("plan data.csv", &known).expect(0).stdout.contains("did you mean"));
}

#[test]
fn a_base_url_that_answers_html_is_named() {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21\r\nConnection: close\r\n\r\n<html>welcome</html>\n";
    let place = Place::new().set("OPENAI_API_KEY", "sk-x").set("OPENAI_BASE_URL", &answering(page));
    place.put("data.csv", "id,product,text\n1,lamp,good\n");
    let said = place.run(&format!("{JOB} --sync-doubt dead"), &ASK);
    assert!([1, 5, 6].contains(&said.code), "{said:?}");
    // It says so as `doctor` does, in the run or with the dead letters.
    let told = format!("{}{}", said.stderr, place.run("dead data", &[]).stdout);
    assert!(told.contains("a web page (HTML) and no answer of the API"), "{told}");
    let doctor = place.run("doctor", &[]);
    assert!(doctor.stdout.contains("HTML"), "{doctor:?}");
}

#[test]
fn an_expired_key_halts_the_job_and_a_new_one_goes_on() {
    let sim = Sim::start(&["--fault", "expired-key:sync@3-99"]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(20));
    let said = place.run(&format!("{JOB} --concurrency-max 1"), &ASK).expect(4);
    assert!(said.stderr.contains("has expired") && said.stderr.contains("OPENAI_API_KEY"), "{}", said.stderr);
    let report = said.json();
    assert_eq!((report["ending"].as_str(), report["halted_by"].as_str()), (Some("halted"), Some("auth")));
    assert!(report["succeeded"].as_u64() >= Some(2), "what was answered stays: {report}");
    let bill = place.proved("data", &sim);
    assert_eq!(report["spent_usd_nanos"], bill);
}

#[test]
fn garbage_with_status_200_is_doubt_and_never_an_answer() {
    let sim = Sim::start(&["--fault", "malformed:sync=1"]);
    let place = Place::with(&sim);
    place.put("data.csv", "id,product,text\n1,lamp,good\n");
    let said = place.run(&format!("{JOB} --sync-doubt dead"), &ASK);
    assert!([1, 5, 6].contains(&said.code), "{said:?}");
    let report = said.json();
    assert_eq!(report["succeeded"], 0, "{report}");
    assert!(report["in_doubt_usd_nanos"].as_i64().is_some_and(|doubt| doubt > 0), "{report}");
}

#[test]
fn f84_two_processes_on_one_state_folder() {
    let sim = Sim::start(&["--latency-ms", "3000"]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(3)).put("more.csv", reviews(3));
    let args = ["run", "data.csv", "--yes", "--lane", "sync", "--out", "out.csv"];
    let mut first =
        place.command(args.iter().chain(&ASK)).stderr(std::process::Stdio::null()).spawn().unwrap();
    let waiting = std::time::Instant::now();
    while place.run("status --json", &[]).json()[0]["engine_at_work"] != true {
        assert!(waiting.elapsed().as_secs() < 30, "the first process does not work");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let said = place.run("run more.csv --yes --lane sync", &ASK);
    said.error(1, "state-locked", &["in use by process", "wait for it or stop it"]);
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_state_folder_from_a_newer_version_is_left_alone() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(3));
    place.run(JOB, &ASK).expect(0);
    let databases: Vec<_> = std::fs::read_dir(place.path(".bulkrate"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db" || extension == "sqlite"))
        .collect();
    let [database] = databases.as_slice() else { panic!("{databases:?}") };
    // SQLite keeps `user_version` as a big-endian number at byte 60 of the file.
    let mut bytes = std::fs::read(database).unwrap();
    bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes());
    std::fs::write(database, bytes).unwrap();
    let said = place.run("status", &[]);
    said.error(1, "state-newer", &["newer"]);
}

#[test]
fn a_provider_that_nobody_reaches_is_no_doubt() {
    // A port that was free a moment ago: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new()
        .set("OPENAI_API_KEY", "sk-x")
        .set("OPENAI_BASE_URL", &format!("http://127.0.0.1:{port}/v1"));
    let said = place.run("doctor", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("FAILED   reach"), "{}", said.stdout);
}
