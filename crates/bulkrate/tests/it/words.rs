//! What a person is told, where it was once wrong, vague or missing.

use serde_json::Value;

use super::support::{ASK, Place, Sim, reviews};

/// A place with a key, whose base URL nobody answers.
fn offline() -> Place {
    let place = Place::new().set("OPENAI_API_KEY", "sk-none").set("OPENAI_BASE_URL", "http://127.0.0.1:9/v1");
    place.put("data.csv", reviews(3));
    place
}

const PLAN: &str = "plan data.csv --lane sync --model fast --user {{text}}";

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let place = offline();
    for (flags, words) in [
        (&["--choices", ""][..], "choice 1 of 1 is empty"),
        (&["--choices", "a,,b"], "choice 2 of 3 is empty"),
        (&["--choices", "a,b, A"], "`A` is there twice"),
        (&["--poll-min", "5s", "--poll-max", "1s"], "--poll-min: is longer than `--poll-max`"),
        (&["--deadline", "0s"], "--deadline: must be more than 0"),
        (&["--webhook", "notaurl"], "--webhook: `notaurl` is not a URL"),
        (&["--webhook", "ftp://user:secret@host/x"], "`host/x` is not a URL"),
        (&["--temperature", "2.1"], "--temperature: must be a number from 0 to 2"),
        (&["--temperature=-0.1"], "--temperature: must be a number from 0 to 2"),
        (&["--top-p", "1.5"], "--top-p: must be a number from 0 to 1"),
    ] {
        let run = "run data.csv --lane sync --yes --out out.csv --model fast --user {{text}}";
        for line in [PLAN, run] {
            place.run(line, flags).error(2, "option-invalid", &[words]);
        }
        assert!(!place.path(".bulkrate").exists(), "{flags:?}");
    }
    for flag in ["--budget", "--budget-per-request", "--budget-daily", "--max-in-doubt"] {
        let said = place.run(PLAN, &[flag, "-1"]).expect(2);
        assert!(said.stderr.contains("`-1` is below zero"), "{flag}: {}", said.stderr);
    }
    // One of the two waits alone moves the other.
    place.run(PLAN, &["--poll-max", "1s"]).expect(0);
    place
        .run(
            PLAN,
            &["--temperature", "2", "--reasoning", "none", "--webhook", "https://example.org/hook?x=1"],
        )
        .expect(0);
}

#[test]
fn a_retired_model_is_told_with_its_date_and_its_successor() {
    let place = Place::new().set("OPENAI_API_KEY", "sk-none");
    place.put("data.csv", reviews(3));
    for verb in ["plan", "run"] {
        let line = format!("{verb} data.csv --user {{{{text}}}} --model openai/gpt-4.1-nano");
        let words =
            ["`openai/gpt-4.1-nano` was retired on 2026-10-23", "its successor is `openai/gpt-6-luna`"];
        let said = place.run(&line, &[]);
        said.error(2, "retired-model", &words);
        assert!(said.stderr.contains("hint: pass `--model openai/gpt-6-luna`"), "{}", said.stderr);
    }
}

#[test]
fn a_fallback_without_a_price_is_the_one_that_is_named() {
    let place = offline();
    let line =
        "run data.csv --model openai/gpt-6-luna --user {{text}} --fallback nope --budget 1 --lane sync";
    let said = place.run(line, &[]);
    said.error(3, "model-unpriced", &["nope` has no known price", "--price-in"]);
    assert!(!said.stderr.contains("`openai/gpt-6-luna` has no known price"), "{}", said.stderr);
}

#[test]
fn what_nobody_knows_is_not_called_zero() {
    let sim = Sim::start(&["--any-model"]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(20));
    let ask = ["--user", "{{ text }}", "--model", "llama-of-mine"];
    let plan = place.run("plan data.csv --lane sync", &ask).expect(0).stdout;
    assert!(
        plan.contains("unknown") && plan.contains("no price is known for `openai/llama-of-mine`"),
        "{plan}"
    );
    assert!(!plan.contains(" 0.00"), "{plan}");
    let document = place.run("plan data.csv --lane sync --json", &ask).expect(0).json();
    assert!(document["naive_usd"].is_null() && document["lanes"][0]["p95_usd"].is_null(), "{document}");
    let said = place.run("run data.csv --lane sync --out out.csv", &ask);
    said.error(3, "plan-not-confirmed", &["what the plan costs is not known", "`--price-in`", "`--yes`"]);
    assert!(!said.stderr.contains("`--budget") || said.stderr.contains("a `--budget` could not be kept"));
    let said = place.run("run data.csv --lane sync --yes --out out.csv --json", &ask).expect(0);
    assert!(said.stderr.contains("spent an unknown sum"), "{}", said.stderr);
    let report = said.json();
    assert!(report["spent_usd"].is_null() && report["unpriced"].as_u64() > Some(0), "{report}");
    let cost = place.run("cost --by model", &[]).expect(0).stdout;
    assert!(cost.contains("unknown"), "{cost}");
    let rows = place.run("cost --by model --json", &[]).expect(0).json();
    assert!(rows[0]["spent_usd_nanos"].is_null(), "{rows}");
    assert!(place.run("status data", &[]).expect(0).stdout.contains("spent unknown"));
}

#[test]
fn a_state_that_cannot_be_used_is_said_to_be_so() {
    let place = offline();
    place.put("plain", "x");
    place.run("status --state plain", &[]).error(1, "state-io", &["plain", "names a folder"]);
    let said = place.run("doctor --state plain", &[]);
    assert!(said.stdout.contains("FAILED   state") && said.stdout.contains("plain"), "{}", said.stdout);

    std::fs::create_dir(place.path("rubbish")).unwrap();
    place.put("rubbish/state.db", "this is no database, and long enough to be read as one by mistake");
    let said = place.run("status --state rubbish", &[]);
    said.error(1, "state-corrupt", &["restore a backup"]);
    assert!(!said.stderr.contains("bulkrate verify"), "{}", said.stderr);

    place.run(PLAN, &[]).expect(0);
    from_the_future(&place);
    let said = place.run("doctor", &[]);
    assert!(
        said.stdout.contains("FAILED   state") && said.stdout.contains("newer bulkrate"),
        "{}",
        said.stdout
    );
}

/// Marks the state as that of a version to come.
fn from_the_future(place: &Place) {
    let path = place.path(".bulkrate/state.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // `user_version` of a SQLite file: four bytes, big-endian, at 60.
    bytes[60..64].copy_from_slice(&999_u32.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    for beside in ["state.db-wal", "state.db-shm"] {
        std::fs::remove_file(place.path(&format!(".bulkrate/{beside}"))).ok();
    }
}

#[test]
fn a_base_url_is_repeated_unless_it_may_hold_a_password() {
    let place = Place::new().set("OPENAI_API_KEY", "sk-none");
    place.put("data.csv", reviews(3));
    let with = |url: &str| place.run(PLAN, &["--base-url", url]);
    with("127.0.0.1:9/v1").error(2, "provider-setup", &["`127.0.0.1:9/v1`", "has no scheme"]);
    for url in ["user:hunter2@host:9/v1", "https://user:hunter2@host/v1", "user:hunter2@"] {
        let said = with(url);
        said.error(2, "provider-setup", &["`...@"]);
        assert!(!said.stderr.contains("hunter2"), "{}", said.stderr);
    }
}

#[test]
fn templates_and_tables_say_what_to_do() {
    let place = offline();
    place.put("semi.csv", "id;text\n1;good\n").put("pipe.csv", "id|text\n1|good\n");
    place.put("tabs.csv", "id\ttext\n1\tgood\n");
    place.put("wide.csv", [0xff_u8, 0xfe, b'i', 0, b'd', 0, b'\n', 0, b'1', 0]);
    let plan = |file: &str, more: &[&str]| place.run(&format!("plan {file} --lane sync --model fast"), more);
    let user = ["--user", "{{ text }}"];
    plan("semi.csv", &user).error(2, "template-unknown-variable", &["`id;text`", "separated by `;`"]);
    plan("pipe.csv", &user).error(2, "template-unknown-variable", &["separated by `|`"]);
    plan("tabs.csv", &user).error(2, "template-unknown-variable", &["--format tsv"]);
    plan("semi.csv", &["--user", "hello", "--id", "id"]).error(2, "column-unknown", &["separated by `;`"]);
    let said = plan("wide.csv", &user);
    said.error(2, "source-unknown-format", &["UTF-16", "hint: convert it: `iconv"]);
    assert!(!said.stderr.contains("--format"), "{}", said.stderr);
    plan("data.csv", &["--user", "{{ text|nofilter }}"]).error(
        2,
        "template-render",
        &["nofilter", "hint: filters are"],
    );
    let said = plan("data.csv", &["--user", "{{ text.foo }}"]);
    said.error(2, "template-render", &["line 1 of the template", "hint: a column is text"]);
    assert!(!said.stderr.contains("in template:1"), "{}", said.stderr);

    let said = plan("data.csv", &["--user", "{{ text }}", "--system", "About {{ product }}"]).expect(0);
    assert!(
        said.stdout.contains("the system prompt has `{{ ... }}` in it and is sent as it is"),
        "{}",
        said.stdout
    );

    place.put("schema.json", r#"{"type":"object","properties":{"size":{"type":"objekt"}}}"#);
    let said = plan("data.csv", &["--user", "{{ text }}", "--schema", "schema.json"]);
    said.error(
        2,
        "schema-invalid",
        &["`properties` > `size` > `type`", "\"objekt\" is no type", "`integer`"],
    );
}

#[test]
fn dead_letters_and_items_are_counted_from_one() {
    let sim = Sim::start(&["--fault", "refusal@2-99"]);
    let place = Place::with(&sim);
    place.put("data.csv", "id,product,text\na,lamp,good\nb,lamp,bad\n");
    let run = "run data.csv --yes --lane sync --concurrency-max 1 --fail-above 100 --out out.csv";
    place.run(run, &ASK).expect(5);
    let letters = place.run("dead data --json", &[]).expect(0).json();
    assert_eq!((letters[0]["item"].as_u64(), letters[0]["item_id"].as_str()), (Some(2), Some("b")));
    let evidence: Value =
        serde_json::from_str(letters[0]["attempts"][0]["evidence"].as_str().unwrap()).unwrap();
    assert_eq!(evidence["item"], 2, "{evidence}");
    let shown = place.run("show data b", &[]).expect(0).json();
    assert_eq!((&shown["item"], &shown["attempts"][0]["result"]["item"]), (&2.into(), &2.into()), "{shown}");
}

#[test]
fn a_resumed_job_takes_what_is_no_part_of_it() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(6));
    place.run("run data.csv --yes --lane sync --limit 2 --out out.csv", &ASK).expect(0);
    let more =
        "--poll-min 20ms --poll-max 90ms --timeout 9s --sync-doubt dead --fail-above 7 --budget-monthly 3";
    let said = place.run(&format!("resume data --no-limit --budget-daily 0 {more}"), &[]);
    assert_eq!(said.code, 3, "a day without money: {said:?}");
    place.run(&format!("resume data --no-limit --budget-daily 2 {more}"), &[]).expect(0);
    let bad = place.run("resume data --poll-min 9s --poll-max 1s", &[]);
    bad.error(2, "option-invalid", &["longer than `--poll-max`"]);
}

#[test]
fn quiet_says_nothing_but_errors() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(20));
    let said = place.run("run data.csv --yes --quiet --lane sync --out out.csv", &ASK).expect(0);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    assert_eq!(place.read("out.csv").lines().count(), 21);
    let said = place.run("cancel data --quiet", &[]);
    assert!(said.code == 2 && said.stderr.starts_with("error[job-finished]"), "{said:?}");
}

#[test]
fn a_parquet_output_holds_what_the_report_says() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(20));
    let report = place.run("run data.csv --yes --lane sync --out out.parquet --json", &ASK).expect(0).json();
    let mut source =
        bulkrate_io::Source::open(&bulkrate_io::SourceOptions::new(place.path("out.parquet"))).unwrap();
    let columns = source.columns().to_vec();
    let at = |name: &str| {
        columns.iter().position(|column| column == name).unwrap_or_else(|| panic!("{columns:?}"))
    };
    let (id, text, answer, status, cost) =
        (at("id"), at("text"), at("answer"), at("_status"), at("_cost_usd"));
    let (mut rows, mut spent) = (0, 0);
    while let Some(row) = source.next().unwrap() {
        let bulkrate_io::RowData::Cells(cells) = row.data else { panic!("{row:?}") };
        let cell = |column: usize| cells.get(column).unwrap();
        assert_eq!((cell(id), cell(status)), (format!("r-{rows}").as_str(), "succeeded"));
        assert!(["positive", "negative", "neutral"].contains(&cell(answer)), "{}", cell(answer));
        let want =
            if rows % 10 == 9 { "the same again, word for word".to_owned() } else { format!("({rows})") };
        assert!(cell(text).ends_with(&want), "{}", cell(text));
        spent += bulkrate_core::money::UsdNanos::parse(cell(cost)).unwrap().0;
        rows += 1;
    }
    assert_eq!((rows, Some(spent)), (20, report["spent_usd_nanos"].as_i64()), "{report}");
}

/// The first Ctrl-C lets calls in flight end: none of them is in doubt, and nobody speaks of batches.
#[cfg(unix)]
#[test]
fn an_interrupt_waits_for_the_calls_in_flight() {
    let sim = Sim::start(&["--latency-ms", "1500", "--latency-sigma", "0"]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(60));
    let line = "run data.csv --yes --lane sync --concurrency-max 5 --out out.csv --json";
    let piped = std::process::Stdio::piped;
    let mut child =
        place.command(line.split_whitespace().chain(ASK)).stdout(piped()).stderr(piped()).spawn().unwrap();
    place.wait_for(&mut child, |job| job["in_flight"].as_u64() > Some(3));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("calls in flight have up to 30 s") && !stderr.contains("batches go on"),
        "{stderr}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (report["ending"].as_str(), report["in_doubt_usd_nanos"].as_i64()),
        (Some("detached"), Some(0))
    );
    assert!(report["succeeded"].as_u64() > Some(0) && report["open"].as_u64() > Some(0), "{report}");
    assert_eq!(place.proved("data", &sim), report["spent_usd_nanos"].as_i64().unwrap(), "ledger = bill");
}
