//! The batch API by hand: submit, status, results, cancel, list. What is submitted is a job like any other.

use serde_json::Value;

use super::bad_accounts::{self, At};
use super::jobs::{check_rows, nanos};
use super::support::{ASK, Place, Said, Sim, reviews, waited};

const ROWS: usize = 60;
/// Quick enough to end within a test, slow enough to be looked at.
const SLOW: [&str; 4] = ["--speed", "600", "--run-secs", "1200"];

fn place(sim: &Sim) -> Place {
    let place = Place::with(sim);
    place.put("reviews.csv", reviews(ROWS));
    place.put(
        "bulkrate.toml",
        "[run]\nt_lag = \"100ms\"\nt_q = \"1s\"\npoll_min = \"50ms\"\npoll_max = \"100ms\"\n",
    );
    place
}

fn submit(place: &Place, more: &str) -> Said {
    place.run(&format!("batch submit reviews.csv --yes --batch-items-max 30 --json {more}"), &ASK)
}

fn views(said: Said) -> Vec<Value> {
    said.expect(0).json().as_array().unwrap().clone()
}

fn sum(views: &[Value], key: &str) -> u64 {
    views.iter().map(|view| view[key].as_u64().unwrap()).sum()
}

#[test]
fn what_is_submitted_is_asked_after_collected_and_paid_once() {
    let sim = Sim::start(&SLOW);
    let place = place(&sim);
    let handed = submit(&place, "").expect(0).json();
    assert_eq!(handed["batches"].as_array().unwrap().len(), 2, "{handed}");
    assert_eq!(sim.get("/sim/requests")["by_path"].get("POST /v1/chat/completions"), None, "no canary");

    let now = views(place.run("batch status reviews --json", &[]));
    assert_eq!((now.len(), sum(&now, "total")), (2, 55), "{now:?}");
    assert_eq!(sum(&now, "succeeded") + sum(&now, "errored") + sum(&now, "processing"), 55, "{now:?}");
    let text = place.run("batch status reviews", &[]).expect(0).stdout;
    assert!(text.contains("batch_") && text.contains("processing"), "{text}");
    // Of this folder's jobs, by the mark; without the folder they are somebody's.
    let listed = views(place.run("batch list --json", &[]));
    assert_eq!(
        (listed.len(), &listed[0]["job"], &listed[1]["job"]),
        (2, &"reviews".into(), &"reviews".into())
    );
    let elsewhere = views(place.run("batch list --json --state elsewhere --limit 1", &[]));
    assert_eq!((elsewhere.len(), &elsewhere[0]["job"]), (1, &Value::Null), "{elsewhere:?}");

    // Again: it is there already, and nothing is created.
    submit(&place, "").expect(0);
    let report = place.run("batch results reviews --out labels.csv --json", &[]).expect(0).json();
    check_rows(&place, "labels.csv");
    assert_eq!(sim.get("/sim/requests")["by_path"]["POST /v1/batches"]["200"], 2);
    assert_eq!(nanos(&report, "spent"), nanos(&sim.bill(), "total"), "{report}");
    place.proved("reviews", &sim);

    let after = views(place.run("batch status reviews --json", &[]));
    assert!(after.iter().all(|view| view["status"] == "completed"), "{after:?}");
    assert_eq!((sum(&after, "succeeded"), sum(&after, "processing")), (55, 0), "{after:?}");
}

#[test]
fn a_submit_whose_answer_is_lost_adopts_the_batch() {
    let sim = Sim::start(&[&SLOW[..], &["--fault", "create-lost@1"]].concat());
    let place = place(&sim);
    let handed = submit(&place, "").expect(0).json();
    let batches = handed["batches"].as_array().unwrap();
    assert!(batches.iter().all(|batch| batch["batch"].is_string()), "{handed}");
    assert_eq!(views(place.run("batch list --json", &[])).len(), 2, "one create each");
    place.run("batch results reviews --out labels.csv", &[]).expect(0);
    place.proved("reviews", &sim);
}

#[test]
fn a_cancelled_batch_keeps_what_it_has_answered() {
    let sim = Sim::start(&["--speed", "60", "--run-secs", "3600"]);
    let place = place(&sim);
    submit(&place, "").expect(0);
    let said = place.run("batch cancel reviews --json", &[]);
    assert!(matches!(said.code, 0 | 5), "{said:?}");
    let report = said.json();
    assert_eq!(report["ending"], "cancelled", "{report}");
    assert_eq!(nanos(&report, "spent"), nanos(&sim.bill(), "total"), "{report}");
    let after = views(place.run("batch status reviews --json", &[]));
    assert!(after.iter().all(|view| view["status"] == "cancelled"), "{after:?}");
}

/// Looks until all batches of the job have ended.
fn ended(place: &Place) -> Vec<Value> {
    let mut now = Vec::new();
    waited("the batches do not end", || {
        now = views(place.run("batch status reviews --json", &[]));
        now.iter().all(|view| view["completed_at"].is_string())
    });
    now
}

fn total(views: &[Value], key: &str) -> u64 {
    views.iter().map(|view| view["request_counts"][key].as_u64().unwrap()).sum()
}

#[test]
fn how_a_batch_ended_is_told_in_one_word_and_its_counts() {
    for (fault, word, beside) in
        [("line-errors:0.3=400", "partial", "errored"), ("expire=0.5", "expired", "expired")]
    {
        let sim = Sim::start(&[&SLOW[..], &["--fault", fault]].concat());
        let place = place(&sim);
        submit(&place, "").expect(0);
        let now = ended(&place);
        assert!(now.iter().all(|view| view["status"] == word), "{fault}: {now:?}");
        let (succeeded, others) = (total(&now, "succeeded"), total(&now, beside));
        assert_eq!((succeeded + others, total(&now, "processing")), (55, 0), "{fault}: {now:?}");
        assert!(succeeded > 0 && others > 0, "{fault}: {now:?}");
        for view in &now {
            let (created, completed) = (&view["created_at_ms"], &view["completed_at_ms"]);
            assert!(completed.as_i64() > created.as_i64(), "{fault}: {view}");
        }
        let text = place.run("batch status reviews", &[]).expect(0).stdout;
        assert!(text.contains(word) && text.contains("completed  "), "{text}");
        assert_eq!(text.contains("expired without an answer"), word == "expired", "{text}");
        let listed = views(place.run("batch list --json", &[]));
        assert!(listed.iter().all(|view| view["status"] == word), "{fault}: {listed:?}");
    }
}

#[test]
fn a_batch_that_its_provider_does_not_know_is_lost() {
    let sim = Sim::start(&["--speed", "60", "--run-secs", "3600", "--fault", "batch-gone"]);
    let place = place(&sim);
    submit(&place, "").expect(0);
    let now = views(place.run("batch status reviews --json", &[]));
    assert!(now.iter().all(|view| view["status"] == "lost" && view["not_asked"].is_null()), "{now:?}");
}

/// The verbs at one provider, as at OpenAI: what is submitted is asked after, listed, collected and paid once; an id that is longer
/// than a service takes stays here; what is cancelled keeps what it answered.
fn verbs(at: &At) {
    let (service, name) = at.model.split_once('/').unwrap();
    let sim = (at.sim)(&["--speed", "1200", "--run-secs", "600"]);
    let place = (at.place)(&sim);
    let long = "x".repeat(60);
    let csv = reviews(AT_EACH).replace("\nr-", &format!("\n{long}r-"));
    // Its models have no public price.
    let price = if service == "doubleword" { "--price-in 1 --price-out 1" } else { "" };
    let status = || views(place.run("batch status reviews --json", &[]));
    at.put_job(&place, "reviews", "batch", &csv);
    let handed = place.run(&format!("batch submit reviews.toml --yes --json {price}"), &[]).expect(0).json();
    assert_eq!(handed["batches"].as_array().unwrap().len(), 1, "{name}: {handed}");
    let input = place.job_dir().join("batches");
    let sent = std::fs::read_to_string(super::support::only_in(&input).join("input.jsonl")).unwrap();
    assert!(sent.lines().count() as u64 == LEADERS && !sent.contains(&long), "{name}");

    // Together's counts say nothing.
    let counts = service != "together";
    let now = status();
    let counted = sum(&now, "succeeded") + sum(&now, "errored") + sum(&now, "processing");
    assert_eq!((now.len(), sum(&now, "total")), (1, LEADERS), "{name}: {now:?}");
    assert!(counted == LEADERS || !counts, "{name}: {now:?}");
    let listed = views(place.run(&format!("batch list reviews --provider {service} --json"), &[]));
    assert_eq!((listed.len(), &listed[0]["job"]), (1, &"reviews".into()), "{name}: {listed:?}");
    assert_eq!(listed[0]["batch"], now[0]["batch"], "{name}: {listed:?}");

    let report = place.run("batch results reviews --json", &[]).expect(0).json();
    let (spent, bill) = (nanos(&report, "spent"), sim.bill());
    assert_eq!(
        (spent, bill["requests_batch"].as_u64()),
        (nanos(&bill, "total"), Some(LEADERS)),
        "{name}: {report}"
    );
    let rows = super::support::table(&place.path("out.csv")).1;
    assert!(rows.len() == AT_EACH && rows[100][0] == format!("{long}r-100"), "{name}");
    let after = status();
    let (succeeded, processing) = (total(&after, "succeeded"), total(&after, "processing"));
    assert_eq!((succeeded, processing), (if counts { LEADERS } else { 0 }, 0), "{name}: {after:?}");
    assert_eq!(after[0]["status"], "completed", "{name}: {after:?}");

    // Another, that is stopped long before its end.
    let sim = (at.sim)(&["--speed", "60", "--run-secs", "3600", "--cancel-secs", "10"]);
    let place = (at.place)(&sim);
    at.put_job(&place, "reviews", "batch", &csv);
    place.run(&format!("batch submit reviews.toml --yes {price}"), &[]).expect(0);
    let said = place.run("batch cancel reviews --json", &[]);
    let report = said.json();
    assert!(report["ending"] == "cancelled" && matches!(said.code, 0 | 5), "{name}: {said:?}");
    let paid = nanos(&sim.bill(), "total");
    let (kept, doubt) = (nanos(&report, "spent"), nanos(&report, "in_doubt"));
    assert!(kept <= paid && paid <= kept + doubt, "{name}: {kept} {paid} {doubt}");
    let after = views(place.run("batch status reviews --json", &[]));
    assert_eq!(
        (&after[0]["status"], total(&after, "processing")),
        (&"cancelled".into(), 0),
        "{name}: {after:?}"
    );
}

/// As many as Bedrock takes at least, and some; and of these so many differ.
const AT_EACH: usize = 120;
const LEADERS: u64 = 109;

#[test]
fn the_five_verbs_say_the_same_at_every_provider_with_batches() {
    let more = [
        At::of(
            |flags| bad_accounts::like("groq", flags),
            |sim| bad_accounts::keyed("GROQ", sim),
            "groq/openai/gpt-oss-20b",
        ),
        At::of(
            |flags| bad_accounts::like("doubleword", flags),
            |sim| bad_accounts::keyed("DOUBLEWORD", sim),
            "doubleword/Qwen/Qwen3-30B-A3B",
        ),
    ];
    let all: Vec<At> = bad_accounts::ALL.into_iter().chain(more).collect();
    // Whoever has batches is here, but for what runs on this machine and for who cancels none, whose verbs `openrouter_batch` asks.
    for service in services_with_batches().into_iter().filter(|service| service != "openrouter") {
        assert!(all.iter().any(|at| at.model.starts_with(&format!("{service}/"))), "{service}");
    }
    bad_accounts::each(&all, verbs);
}

/// The services of the documentation's table that have a batch lane.
fn services_with_batches() -> Vec<String> {
    let page = include_str!("../../../../docs/reference/providers.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells =
        rows.map(|line| line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect::<Vec<_>>());
    let found =
        cells.filter(|cells| cells.len() == 5 && cells[3].contains("batch") && cells[3].contains("sync"));
    found.map(|cells| cells[0].to_owned()).collect()
}

/// The four files of seed 004's packages: what was asked in the common form and in the provider's, what came, and what it means.
#[test]
fn the_files_of_each_submission_are_kept() {
    let sim = Sim::start(&SLOW);
    let by_hand = place(&sim);
    submit(&by_hand, "").expect(0);
    by_hand.run("batch results reviews --out labels.csv", &[]).expect(0);
    let by_run = place(&sim);
    let run = "run reviews.csv --yes --lane batch --no-canary --batch-items-max 30 --out labels.csv";
    by_run.run(run, &ASK).expect(0);
    for place in [by_hand, by_run] {
        let batches = place.job_dir().join("batches");
        let folders: Vec<_> = std::fs::read_dir(batches).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(folders.len(), 2);
        let lines = |name: &str| -> usize {
            let read = |folder: &std::path::PathBuf| std::fs::read_to_string(folder.join(name)).unwrap();
            folders.iter().map(|folder| read(folder).lines().count()).sum()
        };
        for name in ["unified.jsonl", "input.jsonl", "output.jsonl", "results.jsonl"] {
            assert_eq!(lines(name), 55, "{name}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_said() {
    let sim = Sim::start(&SLOW);
    let place = place(&sim);
    for (line, code, part) in [
        ("batch status nothing", 1, "state-missing"),
        ("batch list --provider nobody", 2, "provider-not-set-up"),
        ("batch list --provider deepseek", 2, "provider-not-set-up"),
        ("batch submit gone.csv --model openai/gpt-6-luna --user x --budget 1", 2, "source-missing"),
        ("batch submit reviews.csv --model nobody/m --user x --budget 1", 3, "model-unpriced"),
    ] {
        let said = place.run(line, &[]);
        assert!(said.code == code && said.stderr.contains(part), "{line}: {said:?}");
    }
    // Without the server the last known state is told, and that it is.
    submit(&place, "").expect(0);
    drop(sim);
    let text = place.run("batch status reviews", &[]).expect(0).stdout;
    assert!(text.contains("as last known"), "{text}");
    let listed = place.run("batch list", &[]);
    listed.error(1, "provider-unreachable", &["the network and the proxy"]);
    // Who listens and says no has refused.
    let strict = Sim::start(&["--api-key", "sk-other"]);
    Place::with(&strict).run("batch list", &[]).error(4, "provider-refused", &["the key"]);
}
