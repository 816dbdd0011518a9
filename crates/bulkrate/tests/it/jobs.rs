//! Whole jobs on 60 rows, over each lane, twice, and every command that looks at them afterwards.

use serde_json::Value;

use super::support::{ASK, Place, Said, Sim, reviews, table};

const ROWS: usize = 60;
/// Of the 60 rows, 6 are equal: one of them runs.
const REQUESTS: u64 = 55;

fn job(place: &Place, line: &str) -> Said {
    place.run(&format!("run reviews.csv --yes --poll-min 100ms {line}"), &ASK)
}

pub(crate) fn nanos(document: &Value, key: &str) -> i64 {
    document[format!("{key}_usd_nanos")].as_i64().unwrap_or_else(|| panic!("{key} in {document}"))
}

/// The output has a row for each input row, in order, with a good answer.
pub(crate) fn check_rows(place: &Place, name: &str) {
    let (header, rows) = table(&place.path(name));
    assert_eq!(header[..3], ["id", "product", "text"]);
    let column = |name: &str| {
        header.iter().position(|one| one == name).unwrap_or_else(|| panic!("no {name} in {header:?}"))
    };
    let (answer, status, cost) = (column("answer"), column("_status"), column("_cost_usd"));
    assert_eq!(rows.len(), ROWS);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row[0], format!("r-{at}"));
        assert!(["positive", "negative", "neutral"].contains(&row[answer].as_str()), "{row:?}");
        assert_eq!(row[status], "succeeded", "{row:?}");
        assert!(row[cost].parse::<f64>().is_ok(), "{row:?}");
    }
    assert_eq!((rows[0][answer].as_str(), rows[1][answer].as_str()), ("positive", "negative"));
}

/// Every row has an answer, and the ledger is the bill. Answers both: report and bill.
pub(crate) fn whole(place: &Place, sim: &Sim, said: Said, rows: usize) -> (Value, Value) {
    let report = said.expect(0).json();
    let (header, found) = table(&place.path("out.csv"));
    let status = header.iter().position(|name| name == "_status").unwrap();
    assert_eq!(found.iter().filter(|row| row[status] == "succeeded").count(), rows, "{report}");
    let bill = sim.bill();
    assert_eq!(nanos(&report, "spent"), nanos(&bill, "total"), "{report} {bill}");
    place.run("verify reviews", &[]).expect(0);
    (report, bill)
}

/// The same rows and the same request are the same job, whatever it is called this time: it is found by its first name, and says so.
#[test]
fn a_job_keeps_its_first_name() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    job(&place, "--lane sync --out out.csv --name first").expect(0);
    let said = job(&place, "--lane sync --out out.csv --name second").expect(0);
    assert!(said.stderr.contains("of `first` asks the same of the same rows"), "{said:?}");
    assert!(said.stderr.contains("`first` (") && !said.stderr.contains("`second` ("), "{said:?}");
    place.run("status first", &[]).expect(0);
    place.run("status second", &[]).error(2, "job-unknown", &["`second`"]);
    assert_eq!(sim.bill()["requests"].as_u64(), Some(REQUESTS));
}

#[test]
fn a_port_that_is_taken_says_how_to_get_another() {
    let sim = Sim::start(&[]);
    let port = sim.base_url.trim_start_matches("http://127.0.0.1:").trim_end_matches("/v1").to_owned();
    let place = Place::with(&sim);
    place.run(&format!("sim openai --port {port}"), &[]).error(2, "simulator-failed", &["--port 0"]);
}

#[test]
fn a_plan_sends_nothing_and_shows_every_lane() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let text = place.run("plan reviews.csv --deadline 6h --budget 5", &ASK).expect(0).stdout;
    for word in ["60 records", "55 requests", "batch", "flex", "sync", "hard cap: USD 5.00"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let plan = place.run("plan reviews.csv --json", &ASK).expect(0).json();
    assert_eq!(
        (plan["records"].as_u64(), plan["requests"].as_u64(), plan["duplicates"].as_u64()),
        (Some(60), Some(REQUESTS), Some(5))
    );
    let lane = |name: &str| {
        plan["lanes"].as_array().unwrap().iter().find(|lane| lane["lane"] == name).unwrap().clone()
    };
    let (batch, sync) = (lane("batch"), lane("sync"));
    assert!(nanos(&batch, "expected") > 0 && nanos(&batch, "expected") < nanos(&sync, "expected"));
    for lane in [&batch, &sync] {
        assert!(
            nanos(lane, "expected") <= nanos(lane, "p95") && nanos(lane, "p95") <= nanos(lane, "worst"),
            "{lane}"
        );
    }
    // By the simulator's own count.
    let asked = sim.get("/sim/requests");
    assert_eq!(asked["total"], 0, "{asked}");
}

#[test]
fn a_job_runs_once_over_each_lane_and_again_for_nothing() {
    for (lane, saves) in [("batch", "batch"), ("sync", "dedup")] {
        let sim = Sim::start(&[]);
        let place = Place::with(&sim);
        place.put("reviews.csv", reviews(ROWS));
        let line = format!("--lane {lane} --out labels.csv --json --tag feature=sentiment");
        let first = job(&place, &line).expect(0).json();
        check_rows(&place, "labels.csv");
        assert_eq!(
            (first["succeeded"].as_u64(), first["failed"].as_u64()),
            (Some(60), Some(0)),
            "{lane}: {first}"
        );
        assert_eq!(
            (first["duplicates"].as_u64(), first["exit_code"].as_i64()),
            (Some(5), Some(0)),
            "{lane}: {first}"
        );
        assert!(
            nanos(&first, "spent") > 0 && nanos(&first, "spent") < nanos(&first, "naive"),
            "{lane}: {first}"
        );
        assert!(first["saved_usd_nanos"][saves].as_i64().is_some_and(|saved| saved > 0), "{lane}: {first}");

        let labels = place.read("labels.csv");
        let second = job(&place, &line).expect(0);
        assert!(
            second.stderr.contains("resum") || second.stderr.contains("already"),
            "{lane}: {}",
            second.stderr
        );
        assert_eq!(
            nanos(&second.json(), "spent"),
            nanos(&first, "spent"),
            "{lane}: nothing is paid for twice"
        );
        assert_eq!(place.read("labels.csv"), labels, "{lane}");

        look_at(&place, lane, &first);
    }
}

/// status, results, verify, cost, dead, show, rm.
fn look_at(place: &Place, lane: &str, report: &Value) {
    let status = place.run("status --json", &[]).expect(0).json();
    let status = &status.as_array().unwrap()[0];
    assert_eq!(
        (status["name"].as_str(), status["state"].as_str()),
        (Some("reviews"), Some("done")),
        "{status}"
    );
    assert_eq!(nanos(status, "spent"), nanos(report, "spent"));
    assert!(place.run("status reviews", &[]).expect(0).stdout.contains("60 answered"));

    assert!(place.run("status --watch", &[]).expect(0).stdout.contains("reviews"));

    place.run("results reviews --out again.csv", &[]).expect(0);
    check_rows(place, "again.csv");
    let lines = place.run("results reviews", &[]).expect(0).stdout;
    assert_eq!(lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), ROWS);

    let proof = place.run("verify reviews --json", &[]).expect(0).json();
    assert_eq!(proof["passed"], true, "{proof}");

    for (by, group) in [
        ("lane", None),
        ("model", Some("openai/gpt-6-luna")),
        ("tag.feature", Some("sentiment")),
        ("job", None),
        ("day", None),
    ] {
        let rows = place.run(&format!("cost --by {by} --json"), &[]).expect(0).json();
        let rows = rows.as_array().unwrap();
        let sum: i64 = rows.iter().map(|row| nanos(row, "spent")).sum();
        assert_eq!(sum, nanos(report, "spent"), "{lane} by {by}: {rows:?}");
        if let Some(group) = group {
            assert!(
                rows.iter().any(|row| row["group"].as_str().is_some_and(|name| name.contains(group))),
                "{by}: {rows:?}"
            );
        }
    }
    assert_eq!(place.run("dead reviews --json", &[]).expect(0).json().as_array().map(Vec::len), Some(0));
    let item = place.run("show reviews r-7", &[]).expect(0).stdout;
    assert!(item.contains("r-7"), "{item}");

    place.run("rm reviews", &[]).error(3, "not-confirmed", &["nothing was deleted", "--yes"]);
    // Nobody is asked about what is not there.
    place.run("rm nobody", &[]).error(2, "job-unknown", &["`nobody`"]);
    place.run("rm reviews --yes", &[]).expect(0);
    assert_eq!(place.run("status --json", &[]).expect(0).json().as_array().map(Vec::len), Some(0));
}

#[test]
fn a_job_file_does_what_the_flags_do() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    std::fs::create_dir(place.path("jobs")).unwrap();
    place.put("jobs/reviews.csv", reviews(ROWS));
    let file = "[source]\npath = \"reviews.csv\"\nid = \"id\"\n[request]\nmodel = \"fast\"\nuser = \"Review of a {{ product }}: {{ text }}\"\nsystem = \"Say whether a review is positive, negative or neutral.\"\nchoices = [\"positive\", \"negative\", \"neutral\"]\n[run]\nlane = \"sync\"\nbudget = \"1\"\n[sink]\npath = \"labels.csv\"\n";
    place.put("jobs/nightly.toml", file);
    let report = place.run("run jobs/nightly.toml --json", &[]).expect(0).json();
    assert_eq!((report["name"].as_str(), report["succeeded"].as_u64()), (Some("nightly"), Some(60)));
    check_rows(&place, "jobs/labels.csv");
}

#[test]
fn results_stream_to_standard_output_and_events_elsewhere() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let said = job(&place, "--lane sync --out - --out-format jsonl --stream --events json").expect(0);
    assert_eq!(said.stdout.lines().count(), ROWS, "{}", said.stdout);
    assert!(
        said.stdout
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|row| row["answer"].is_string()))
    );
    let events: Vec<Value> = said.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((named("planned"), named("finished")), (1, 1), "{}", said.stderr);
    assert!(said.stderr.lines().all(|line| line.starts_with('{')), "{}", said.stderr);
}

#[test]
fn standard_input_is_a_source() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("in.csv", reviews(ROWS));
    let input = std::fs::File::open(place.path("in.csv")).unwrap();
    let args = [
        "run", "-", "--name", "piped", "--format", "csv", "--lane", "sync", "--budget", "1", "--out",
        "out.csv",
    ];
    let output = place.command(args.iter().chain(&ASK)).stdin(input).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    check_rows(&place, "out.csv");
}

#[test]
fn failed_items_are_dead_letters_until_the_cause_is_mended() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    // A line that cannot be read becomes a dead letter; the others run.
    place.put("reviews.csv", format!("{}r-x,only two cells\n", reviews(20)));
    let report = job(&place, "--lane sync --on-bad-line dead --fail-above 50 --out labels.csv --json")
        .expect(5)
        .json();
    assert_eq!((report["succeeded"].as_u64(), report["failed"].as_u64()), (Some(20), Some(1)), "{report}");
    assert_eq!(report["failures"]["invalid_input"], 1, "{report}");
    let dead = place.run("dead reviews --json", &[]).expect(0).json();
    assert_eq!(dead[0]["class"], "invalid_input", "{dead}");
    assert_eq!(table(&place.path("labels.csv")).1.len(), 21);
    // Above the threshold the exit code says so.
    let other = Place::with(&sim);
    other.put("reviews.csv", format!("{}r-x,only two cells\n", reviews(5)));
    job(&other, "--lane sync --on-bad-line dead --out labels.csv").expect(1);
}

#[test]
fn retry_asks_dead_letters_again() {
    // Each of the five hits one call; the sync lane gives an item five attempts.
    let sim = Sim::start(&["--fault", "empty@1"].repeat(5));
    let place = Place::with(&sim);
    place.put("reviews.csv", "id,product,text\na,lamp,great\n");
    let first = job(&place, "--lane sync --fail-above 100 --json --out labels.csv").expect(5).json();
    assert_eq!(
        first["failures"]["empty"].as_u64().or(first["failures"]["attempts_exhausted"].as_u64()),
        Some(1),
        "{first}"
    );
    let letters = place.run("dead reviews --json", &[]).expect(0).json();
    assert!(letters[0]["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()), "{letters}");
    let report = place.run("retry reviews --json", &[]).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), report["failed"].as_u64()), (Some(1), Some(0)), "{report}");
}

#[test]
fn a_cancelled_job_keeps_its_answers() {
    let sim = Sim::start(&["--speed", "1", "--cancel-secs", "2"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let args = ["run", "reviews.csv", "--yes", "--lane", "batch", "--poll-min", "100ms", "--out", "l.csv"];
    let mut child = place.start(args.iter().chain(&ASK));
    place.wait_for(&mut child, |job| job["batches"].as_array().is_some_and(|all| !all.is_empty()));
    place.run("cancel reviews", &[]).expect(0);
    // A batch that is being cancelled at the simulator's pace: the process detaches or ends, the order stands.
    let over = std::time::Instant::now();
    loop {
        let state = place.run("status reviews --json", &[]).expect(0).json()[0]["state"].clone();
        if state == "cancelled" {
            break;
        }
        assert!(over.elapsed().as_secs() < 90, "still {state}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    child.kill().ok();
    child.wait().unwrap();
}

#[cfg(unix)]
#[test]
fn an_interrupted_job_detaches_and_comes_back() {
    let sim = Sim::start(&["--speed", "100"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let args =
        ["run", "reviews.csv", "--yes", "--lane", "batch", "--poll-min", "500ms", "--out", "l.csv", "--json"];
    let mut child = place
        .command(args.iter().chain(&ASK))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    place.wait_for(&mut child, |job| job["batches"][0]["batch"].is_string());
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("bulkrate resume reviews"), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ending"], "detached");
    let report = place.run("resume reviews --json", &[]);
    assert_eq!(report.code, 0, "{report:?}");
    check_rows(&place, "l.csv");
    place.run("verify reviews", &[]).expect(0);
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_stops_at_once_and_prices_what_was_in_flight() {
    let sim = Sim::start(&["--latency-ms", "20000", "--latency-sigma", "0"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(8));
    let args = [
        "run",
        "reviews.csv",
        "--yes",
        "--lane",
        "sync",
        "--sync-doubt",
        "dead",
        "--fail-above",
        "100",
        "--out",
        "l.csv",
        "--json",
    ];
    let piped = std::process::Stdio::piped;
    let child = place.command(args.iter().chain(&ASK)).stdout(piped()).stderr(piped()).spawn().unwrap();
    let waiting = std::time::Instant::now();
    while place.run("status --json", &[]).json()[0]["in_flight"].as_u64().is_none_or(|calls| calls == 0) {
        assert!(waiting.elapsed().as_secs() < 15, "no call was made");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for _ in 0..2 {
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(waiting.elapsed().as_secs() < 18, "it waited for the calls in flight");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ending"], "aborted", "{report}");
    assert!(report["in_flight"].as_u64().is_some_and(|calls| calls > 0), "{report}");
    assert!(nanos(&report, "in_flight_bound") > 0, "{report}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("in flight, USD "), "{output:?}");
}

#[test]
fn variables_stand_between_flags_and_files() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim)
        .set("BULKRATE_BUDGET", "0.5")
        .set("BULKRATE_LANE", "sync")
        .set("BULKRATE_STATE", "elsewhere");
    place
        .put("reviews.csv", reviews(3))
        .put("bulkrate.toml", "[run]\nlane = \"batch\"\nbudget = \"9\"\n[tags]\nteam = \"data\"\n");
    let plan = place.run("plan reviews.csv --json", &ASK).expect(0).json();
    assert_eq!((plan["lane"].as_str(), nanos(&plan, "cap")), (Some("sync"), 500_000_000), "{plan}");
    let plan = place.run("plan reviews.csv --json --budget 2", &ASK).expect(0).json();
    assert_eq!(nanos(&plan, "cap"), 2_000_000_000, "{plan}");
    assert!(place.path("elsewhere").is_dir() && !place.path(".bulkrate").exists());
    place.put("bulkrate.toml", "[run]\nlaen = \"batch\"\n");
    place.run("plan reviews.csv", &ASK).error(
        2,
        "job-file-invalid",
        &["bulkrate.toml:2:1", "did you mean `lane`?"],
    );
}

#[test]
fn doctor_finds_the_simulator_well() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let said = place.run("doctor --model fast --json", &[]).expect(0).json();
    let grade = |check: &str| {
        said["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["check"] == check)
            .map(|one| one["grade"].clone())
    };
    for check in ["state", "model", "key", "reach", "batch"] {
        assert_eq!(grade(check), Some(Value::from("ok")), "{check}: {said}");
    }
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0, "doctor leaves nothing behind");
}

/// Planning asks nobody, so the provider's own address will do; a custom one hides the tokenizer.
#[test]
fn an_exact_plan_marks_what_it_has_counted() {
    let place = Place::new();
    place.put("in.csv", "id,text\na,2 + 2 = 4\nb,tiktoken is great!\n");
    let ask = ["--user", "{{ text }}", "--model", "openai/gpt-5.6-luna", "--id", "id"];
    let text = place.run("plan in.csv --exact", &ask).expect(0).stdout;
    assert!(text.contains("27 exact"), "7 + 6 tokens, and 7 around each: {text}");
    let plan = place.run("plan in.csv --exact --json", &ask).expect(0).json();
    assert_eq!(plan["models"][0]["input_tokens"], 27);
    let how = serde_json::json!({ "exact": true, "encoding": "o200k_base", "why": null });
    assert_eq!(plan["models"][0]["input_count"], how);
    let plan = place.run("plan in.csv --json", &ask).expect(0).json();
    assert_eq!(plan["models"][0].get("input_count"), None, "without the flag nothing changes");

    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("in.csv", "id,text\na,2 + 2 = 4\n");
    let text = place.run("plan in.csv --exact", &ask).expect(0).stdout;
    assert!(text.contains("estimated: what tokenizer is behind a custom base URL is not known"), "{text}");
}

/// Rows could not be written from another file: nobody pays for them first and is told afterwards.
#[test]
fn a_source_that_is_gone_or_changed_is_told_before_more_is_paid() {
    for lane in ["sync", "batch"] {
        let sim = Sim::start(&[]);
        let place = Place::with(&sim);
        place.put("reviews.csv", reviews(40));
        let ask = [&ASK[..], &["--limit", "10", "--budget", "1", "--poll-min", "100ms"]].concat();
        place.run(&format!("run reviews.csv --lane {lane} --out out.csv"), &ask).expect(0);
        let paid = place.proved("reviews", &sim);
        place.put("reviews.csv", reviews(39));
        let said = place.run("resume reviews --no-limit", &[]);
        assert_ne!(said.code, 0, "{said:?}");
        assert!(
            said.stderr.contains("nothing new is sent") && said.stderr.contains("--answers-only"),
            "{said:?}"
        );
        assert_eq!(place.proved("reviews", &sim), paid, "{lane}: nothing was paid for");
        // The file is back: the job goes on.
        place.put("reviews.csv", reviews(40));
        place.run("resume reviews --no-limit", &[]).expect(0);
        assert_eq!(table(&place.path("out.csv")).1.len(), 40, "{lane}");
        assert!(place.proved("reviews", &sim) > paid);
    }
}

/// What a JSON source said stands in the cells as text.
#[test]
fn json_lines_become_cells() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put(
        "in.jsonl",
        concat!(
            "{\"id\":\"x1\",\"text\":\"a \\\"q\\\" \\u00e9\",\"n\":1.50,\"z\":null,\"list\":[1,\"b\"]}\n",
            "{\"text\":\"y\",\"id\":\"x2\",\"late\":\"kept\"}\n"
        ),
    );
    let ask = [
        "--user",
        "{{ text }}",
        "--model",
        "openai/gpt-6-luna",
        "--budget",
        "1",
        "--choices",
        "positive,negative",
    ];
    place.run("run in.jsonl --id id --lane sync --out out.csv", &ask).expect(0);
    let (columns, rows) = table(&place.path("out.csv"));
    assert_eq!(columns[..6], ["id", "text", "n", "z", "list", "late"], "the keys of all lines");
    assert_eq!(rows[0][..5], ["x1", "a \"q\" \u{e9}", "1.50", "", "[1,\"b\"]"]);
    assert_eq!(rows[0][5], "");
    assert_eq!(rows[1][..6], ["x2", "y", "", "", "", "kept"]);
}

#[test]
fn a_job_that_has_met_the_cap_of_the_day_says_how_to_go_on() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(40));
    let ask = [&ASK[..], &["--budget", "1", "--budget-daily", "0.0001"]].concat();
    let said = place.run("run reviews.csv --lane sync --out out.csv", &ask);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(
        said.stderr.contains("after midnight UTC") && said.stderr.contains("--budget-daily USD"),
        "{said:?}"
    );
}

/// What other jobs of the folder have spent since the first of the month counts, whatever they asked.
#[test]
fn the_cap_of_the_month_holds_all_jobs_of_a_folder() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(40)).put("others.csv", reviews(60));
    let ask = [&ASK[..], &["--budget", "1"]].concat();
    let first =
        place.run("run reviews.csv --lane sync --distinct --cache off --out out.csv --json", &ask).expect(0);
    let spent = nanos(&first.json(), "spent");
    // Room for less than the first job cost, so that the second must stop in the middle.
    let cap = format!("0.{:09}", spent + spent / 2);
    let ask = [&ask[..], &["--budget-monthly", &cap]].concat();
    let said = place.run("run others.csv --lane sync --distinct --cache off --out others.out.csv", &ask);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stderr.contains("next month") && said.stderr.contains("--budget-monthly USD"), "{said:?}");
    let bill = sim.bill()["total_usd_nanos"].as_i64().unwrap();
    assert!(bill <= spent + spent / 2, "{bill} of {cap}");
}

/// The same model at two accounts: each is paid with its own key, and one takes over from the other.
#[test]
fn several_accounts_at_one_provider() {
    let (ours, theirs) = (Sim::start(&["--fault", "insufficient-quota@1-1000"]), Sim::start(&[]));
    let place = Place::with(&ours).set("TEAM_B_KEY", "sk-b");
    place.put("reviews.csv", reviews(20));
    let file = |model: &str, fallback: &str| {
        let ask = "system = \"One word.\"\nuser = \"{{ text }}\"\nchoices = [\"positive\", \"negative\", \"neutral\"]";
        format!(
            "[source]\npath = \"reviews.csv\"\nid = \"id\"\n[request]\nmodel = \"{model}\"\n{fallback}\n{ask}\n[run]\nlane = \"sync\"\nbudget = \"1\"\n\
             [sink]\npath = \"out.csv\"\n[accounts.team-b]\nprovider = \"openai\"\nkey_env = \"TEAM_B_KEY\"\nbase_url = \"{}\"\n",
            theirs.base_url
        )
    };
    place.put("b.toml", file("team-b/gpt-6-luna", ""));
    place.run("run b.toml --limit 5 --json", &[]).expect(0);
    assert_eq!(
        place.proved("b", &theirs),
        ledger(&place),
        "what the account was billed for is what the ledger has"
    );
    // What is stored says where the account is: the job goes on without its file.
    std::fs::remove_file(place.path("b.toml")).unwrap();
    place.run("resume b --no-limit", &[]).expect(0);
    assert_eq!(place.proved("b", &theirs), ledger(&place));
    let by_model = place.run("cost --by model --json", &[]).expect(0).stdout;
    assert!(by_model.contains("team-b/gpt-6-luna"), "{by_model}");
    // An account without money hands over to the other.
    place.put("c.toml", file("openai/gpt-6-luna", "fallback = [\"team-b/gpt-6-luna\"]"));
    let report = place.run("run c.toml --state second --out second.csv --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"], 20, "{report}");
    let (header, rows) = table(&place.path("second.csv"));
    let model = header.iter().position(|name| name == "_model").unwrap();
    assert!(rows.iter().all(|row| row[model].contains("gpt-6-luna")), "{rows:?}");
    for (line, want) in [
        ("[accounts.openai]\nprovider = \"openai\"", "a provider has this name"),
        ("[accounts.\"a/b\"]\nprovider = \"openai\"", "not a name"),
        ("[accounts.team-c]\nkey_env = \"X\"", "no provider"),
        ("[accounts.team-c]\nprovider = \"opnai\"", "`opnai` is not a provider"),
        ("[provider]\nprovider = \"openai\"", "names no provider"),
        ("[accounts.team-c]\nprovider = \"openai\"", "a base URL stands for everything here"),
    ] {
        place.put("bad.toml", format!("{}{line}\n", file("team-b/gpt-6-luna", "")));
        let said = place.run("plan bad.toml", &[]);
        assert!(said.code == 2 && said.stderr.contains(want), "{line}: {said:?}");
    }
}

fn ledger(place: &Place) -> i64 {
    let rows = place.run("cost --by job --json", &[]).expect(0).json();
    nanos(&rows[0], "spent")
}
