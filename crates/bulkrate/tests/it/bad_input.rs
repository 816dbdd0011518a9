//! What the user can get wrong: what, where, why, what to do, and the exit code. Nothing is sent.

use super::support::{ASK, Place, Sim, reviews};

/// A place with a key, whose base URL nobody answers: an attempt to send would show.
fn offline() -> Place {
    Place::new().set("OPENAI_API_KEY", "sk-none").set("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
}

const TABLE: &str = "run data.csv --yes --lane sync --out out.csv";

#[test]
fn sources_that_cannot_be_read() {
    for (name, content, code, words) in [
        ("empty.csv", &b""[..], "source-empty", &["empty.csv"][..]),
        ("header.csv", b"id,product,text\n", "source-empty", &["header.csv"]),
        (
            "latin.csv",
            b"id,product,text\n1,lamp,good\n2,lamp,sch\xf6n\n",
            "source-not-utf8",
            &["latin.csv", "3"],
        ),
        (
            "ragged.csv",
            b"id,product,text\n1,lamp,good\n2,lamp\n",
            "source-ragged-row",
            &["ragged.csv", "3", "2", "on-bad-line"],
        ),
        (
            "broken.jsonl",
            b"{\"id\":1,\"product\":\"a\",\"text\":\"b\"}\n{\"id\":2,\n",
            "source-bad-json",
            &["broken.jsonl", "2"],
        ),
    ] {
        let place = offline();
        place.put(name, content);
        let said = place.run(&format!("run {name} --yes --lane sync --out out.csv"), &ASK);
        assert_eq!(said.code, 2, "{name}: {}", said.stderr);
        assert!(said.stderr.contains(&format!("error[{code}]")), "{name}: {}", said.stderr);
        for word in words {
            assert!(said.stderr.contains(word), "{name}: no `{word}` in {}", said.stderr);
        }
        assert!(!place.path("out.csv").exists(), "{name}");
    }
    offline().run("run missing.csv --yes", &ASK).error(2, "source-missing", &["missing.csv", "hint: "]);
}

#[test]
fn a_broken_line_in_the_middle_can_be_skipped() {
    let place = offline();
    let mut lines: Vec<String> = (0..1_000)
        .map(|row| format!("{{\"id\": \"{row}\", \"product\": \"p\", \"text\": \"t {row}\"}}"))
        .collect();
    "{\"id\": \"500\", \"product".clone_into(&mut lines[500]);
    place.put("data.jsonl", lines.join("\n"));
    let said = place.run("plan data.jsonl", &ASK);
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains("501"), "{}", said.stderr);
    let plan = place.run("plan data.jsonl --on-bad-line skip --json", &ASK).expect(0).json();
    assert_eq!((plan["requests"].as_u64(), plan["skipped_lines"].as_u64()), (Some(999), Some(1)), "{plan}");
}

#[test]
fn templates_that_cannot_work() {
    let place = offline();
    place.put("data.csv", reviews(3));
    let ask = |user: &str| place.run(TABLE, &["--user", user, "--model", "fast"]);
    ask("Review: {{ txet }}").error(2, "template-unknown-variable", &["txet", "`text`"]);
    ask("Review: {{ text ").error(2, "template-syntax", &[]);
}

#[test]
fn items_that_cannot_be_asked() {
    for (content, words) in [
        ("id,product,text\n1,lamp,good\n1,lamp,bad\n", &["`1`", "twice", "--id"][..]),
        ("id,product,answer,text\n1,lamp,good,a\n", &["answer"]),
    ] {
        let place = offline();
        place.put("data.csv", content);
        let said = place.run(TABLE, &ASK);
        assert_eq!(said.code, 2, "{}", said.stderr);
        for word in words {
            assert!(said.stderr.contains(word), "no `{word}` in {}", said.stderr);
        }
    }
    let place = offline();
    place.put("data.csv", "id,text\n1,good\n2,\n");
    let said = place.run(TABLE, &["--user", "{{ text }}", "--model", "fast"]);
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains("error[item-empty-prompt]"), "{}", said.stderr);
    let said = place.run(TABLE, &["--user", "{{ text }}", "--model", "fast", "--id", "di"]);
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains("`di`"), "{}", said.stderr);
}

#[test]
fn models_that_cannot_be_asked() {
    let place = Place::new().set("OPENAI_API_KEY", "sk-none");
    place.put("data.csv", reviews(3));
    let ask = |model: &str| place.run("plan data.csv", &["--user", "{{ text }}", "--model", model]);
    let said = ask("openai/gpt-6-lnua");
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(
        said.stderr.contains("error[unknown-model]") && said.stderr.contains("`openai/gpt-6-luna`"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_missing_key_is_named_before_anything_is_sent() {
    let place = Place::new();
    place.put("data.csv", reviews(3));
    place.run(TABLE, &ASK).error(4, "credentials-missing", &["OPENAI_API_KEY", "hint: set `OPENAI_API_KEY`"]);
}

#[test]
fn budgets_are_kept_before_anything_is_sent() {
    let place = offline();
    place.put("data.csv", reviews(60));
    let said = place.run("run data.csv --lane sync --budget 0.00001 --out out.csv", &ASK);
    assert_eq!(said.code, 3, "{}", said.stderr);
    assert!(
        said.stderr.contains("error[budget-too-small]") && said.stderr.contains("more"),
        "{}",
        said.stderr
    );
    let said = place.run("run data.csv --lane sync --out out.csv", &ASK);
    assert_eq!(said.code, 3, "{}", said.stderr);
    assert!(
        said.stderr.contains("error[plan-not-confirmed]") && said.stderr.contains("--yes"),
        "{}",
        said.stderr
    );
    assert!(!place.path("out.csv").exists());
}

#[test]
fn schemas_and_job_files_with_mistakes() {
    let place = offline();
    place.put("data.csv", reviews(3)).put("schema.json", "{\"type\": ");
    let ask = ["--user", "{{ text }}", "--model", "fast", "--schema", "schema.json"];
    place.run(TABLE, &ask).error(2, "schema-invalid", &["schema.json", "line 1 column"]);
    place.put("schema.json", "{\"type\": \"objekt\"}");
    for line in [TABLE, "plan data.csv"] {
        place.run(line, &ask).error(2, "schema-invalid", &["`schema.json`", "objekt", "hint: "]);
    }
    place.put("job.toml", "[source]\npath = \"data.csv\"\n[request]\nmodle = \"fast\"\n");
    place.run("run job.toml", &[]).error(
        2,
        "job-file-invalid",
        &["job.toml:4:1", "`modle`", "did you mean `model`?"],
    );
}

#[test]
fn output_that_is_there_already_is_kept() {
    let place = offline();
    place.put("data.csv", reviews(3)).put("out.csv", "precious\n");
    place.run(TABLE, &ASK).error(2, "sink-exists", &["out.csv", "--force"]);
    assert_eq!(place.read("out.csv"), "precious\n");
    // What is wrong with the job itself is told first: this file may be that of the job as it was meant.
    for (more, code) in [
        (["--user", "{{ txet }}"], "template-unknown-variable"),
        (["--id", "row"], "column-unknown"),
        (["--model", "gpt-6-lnua"], "unknown-model"),
    ] {
        let place = Place::new().set("OPENAI_API_KEY", "sk-none");
        place.put("data.csv", reviews(3)).put("out.csv", "precious\n");
        let line = ["--model", "openai/gpt-6-luna", "--user", "{{ text }}"];
        let line = line.chunks(2).filter(|flag| flag[0] != more[0]).flatten().copied();
        for verb in ["plan data.csv --out out.csv", "run data.csv --yes --out out.csv"] {
            let args: Vec<&str> = line.clone().chain(more).collect();
            place.run(verb, &args).error(2, code, &[]);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_created_is_told_before_anything_is_sent() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(3));
    // Nobody creates a file there, whatever else he may do.
    for line in ["plan data.csv", "run data.csv --yes --lane sync", "run data.csv --yes --lane sync --stream"]
    {
        let said = place.run(&format!("{line} --out /sys/labels.csv"), &ASK);
        said.error(1, "sink-io", &["could not write `/sys/labels.csv`", "because: "]);
    }
    assert_eq!(sim.bill()["total_usd_nanos"], 0);
    place.run("run data.csv --yes --lane sync --out out.csv", &ASK).expect(0);
    let left: Vec<_> =
        std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.iter().filter(|name| name.to_string_lossy().contains("probe")).count(), 0, "{left:?}");
}

#[test]
fn a_slip_in_the_lane_of_a_stand_in_is_no_name_of_a_model() {
    let place = offline();
    place.put("data.csv", reviews(3));
    let run = |fallback: &str| place.run(&format!("plan data.csv --lane sync --fallback {fallback}"), &ASK);
    run("openai/gpt-6-luna@bacth").error(
        2,
        "option-invalid",
        &["--fallback", "`bacth` (did you mean `openai/gpt-6-luna@batch`?)"],
    );
    run("openai/some-model@20250514").expect(0);
}

#[test]
fn output_that_has_no_place_is_told_before_anything_is_spent() {
    let sim = Sim::start(&[]);
    let place = Place::new().set("OPENAI_API_KEY", "sk-sim").set("OPENAI_BASE_URL", &sim.base_url);
    place.put("data.csv", reviews(3)).put("other.csv", "precious\n");
    std::fs::create_dir(place.path("folder.csv")).unwrap();
    let bad = |out: &str| place.run(&format!("run data.csv --yes --lane sync --out {out}"), &ASK);
    bad("none/out.csv").error(2, "sink-bad-path", &["none/out.csv", "mkdir -p none"]);
    bad("folder.csv").error(2, "sink-bad-path", &["folder.csv", "is a folder"]);
    place.run("status", &[]).expect(0);
    assert!(!place.path("out.csv").exists());
    // The same holds for a job that is there already and goes on to another file.
    place.run("run data.csv --yes --lane sync --limit 1 --out out.csv", &ASK).expect(0);
    bad("other.csv").error(2, "sink-exists", &["other.csv", "--force"]);
    place.run("resume data --no-limit --out none/out.csv", &[]).error(2, "sink-bad-path", &["none/out.csv"]);
    assert_eq!(place.read("other.csv"), "precious\n");
    assert_eq!(place.run("status data --json", &[]).expect(0).json()[0]["open"], 2, "nothing was sent");
    // Its own file is replaced.
    place.run("resume data --no-limit", &[]).expect(0);
    assert_eq!(place.read("out.csv").lines().count(), 4);
}

#[test]
fn an_output_that_was_edited_is_the_users_own() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("data.csv", reviews(8));
    let line = "run data.csv --yes --lane sync --out out.csv";
    for stream in ["", " --stream"] {
        let run = |more: &str| place.run(&format!("{line}{stream}{more}"), &ASK);
        run(" --limit 3 --force").expect(0);
        run(" --limit 4").expect(0);
        let edited = place.read("out.csv") + "mine\n";
        place.put("out.csv", &edited);
        let billed = sim.bill();
        run("").error(2, "sink-exists", &["out.csv", "was edited since it was written", "--force"]);
        for verb in ["resume data --no-limit", "retry data --no-limit"] {
            place.run(verb, &[]).error(2, "sink-exists", &["was edited since it was written"]);
        }
        assert_eq!((place.read("out.csv"), sim.bill()), (edited, billed), "nothing is spent or lost");
        run(" --force").expect(0);
        assert_eq!(place.read("out.csv").lines().count(), 9);
        // A word to replace is no word for the next time.
        place.put("out.csv", "mine\n");
        place.run("resume data", &[]).error(2, "sink-exists", &["was edited since it was written"]);
        place.run("resume data --force", &[]).expect(0);
        assert_eq!(place.read("out.csv").lines().count(), 9);
        // One that is gone is written again.
        std::fs::remove_file(place.path("out.csv")).unwrap();
        run("").expect(0);
        assert_eq!(place.read("out.csv").lines().count(), 9);
    }
}

#[test]
fn a_lane_that_is_too_dear_is_named_and_one_that_fits_too() {
    let place = offline();
    place.put("data.csv", reviews(60));
    let plan = place.run("plan data.csv --json", &ASK).expect(0).json();
    let lanes = plan["lanes"].as_array().unwrap();
    let p95 = |name: &str| {
        let lane = lanes.iter().find(|lane| lane["lane"] == name).unwrap();
        lane["p95_usd_nanos"].as_i64().unwrap()
    };
    let between = (p95("batch") + p95("sync")) / 2;
    let line = format!("run data.csv --lane sync --budget 0.{between:09} --out o.csv");
    place.run(&line, &ASK).error(
        3,
        "budget-too-small",
        &["the sync lane, as `--lane` asks, costs USD", "leave out `--lane`: the batch lane fits the budget"],
    );
    let line = "run data.csv --lane sync --budget 0.000000001 --out o.csv";
    let said = place.run(line, &ASK).expect(3);
    assert!(!said.stderr.contains("leave out"), "no lane is that cheap: {said:?}");
}

#[test]
fn unknown_jobs_are_said_to_be_unknown() {
    let place = offline();
    assert!(place.run("status", &[]).expect(0).stdout.contains("no jobs here yet"));
    place.run("status nope", &[]).error(1, "state-missing", &[".bulkrate"]);
    place.put("data.csv", reviews(3));
    place.run("plan data.csv", &ASK).expect(0);
    for line in [
        "status nope",
        "results nope",
        "dead nope",
        "verify nope",
        "cancel nope",
        "show nope 1",
        "rm nope --yes",
        "resume nope",
        "retry nope",
    ] {
        let said = place.run(line, &[]);
        assert_eq!(said.code, 2, "{line}: {}", said.stderr);
        assert!(
            said.stderr.contains("error[job-unknown]") && said.stderr.contains("`nope`"),
            "{line}: {}",
            said.stderr
        );
    }
}

#[test]
fn errors_are_one_document_for_programs_too() {
    let place = Place::new();
    place.put("data.csv", reviews(3));
    let said = place.run(&format!("{TABLE} --json"), &ASK).expect(4);
    assert_eq!(
        (said.json()["error"]["code"].as_str(), said.json()["error"]["exit_code"].as_u64()),
        (Some("credentials-missing"), Some(4))
    );
}

#[test]
fn the_source_and_the_state_are_no_outputs_even_by_force() {
    let place = offline();
    place.put("data.csv", reviews(3));
    std::os::unix::fs::symlink(place.path("data.csv"), place.path("link.csv")).unwrap();
    std::fs::hard_link(place.path("data.csv"), place.path("hard.csv")).unwrap();
    place.run("status", &[]).expect(0);
    std::fs::create_dir_all(place.path(".bulkrate/jobs")).unwrap();
    for (out, why) in [
        ("data.csv", "is the source"),
        ("./link.csv", "is the source"),
        ("hard.csv", "is the source"),
        (".bulkrate/state.db", "file of the state folder"),
        (".bulkrate/state.db-wal", "file of the state folder"),
        (".bulkrate/jobs/x.csv", "file of the state folder"),
    ] {
        let line = format!("run data.csv --yes --force --out-format csv --out {out}");
        place.run(&line, &ASK).error(2, "sink-bad-path", &[why, "--force"]);
        place.run(&format!("{line} --stream"), &ASK).error(2, "sink-bad-path", &[why]);
    }
    assert_eq!(place.read("data.csv"), reviews(3));
}

#[test]
fn results_do_not_replace_the_source_or_the_state() {
    let sim = Sim::start(&[]);
    let place = Place::new().set("OPENAI_API_KEY", "sk-sim").set("OPENAI_BASE_URL", &sim.base_url);
    place.put("data.csv", reviews(3));
    place.run("run data.csv --yes --lane sync --out out.csv", &ASK).expect(0);
    for out in ["data.csv", ".bulkrate/state.db"] {
        let line = format!("results data --force --out-format csv --out {out}");
        place.run(&line, &[]).error(2, "sink-bad-path", &[out]);
    }
    assert_eq!(place.read("data.csv"), reviews(3));
    place.run("verify data", &[]).expect(0);
}

#[test]
fn a_pipe_or_a_device_is_no_source() {
    let place = offline();
    assert!(std::process::Command::new("mkfifo").arg(place.path("pipe.csv")).status().unwrap().success());
    for source in ["pipe.csv", "/dev/zero"] {
        for verb in ["plan", "run"] {
            let line = format!("{verb} {source} --format csv --out out.csv --yes");
            let line = if verb == "plan" { line.replace(" --out out.csv --yes", "") } else { line };
            place.run(&line, &ASK).error(2, "source-not-a-file", &[source, "run - --name"]);
        }
    }
    place.put("data.csv", reviews(3));
    let ask = ["--user", "@/dev/zero", "--model", "fast"];
    place.run("plan data.csv", &ask).error(2, "file-unreadable", &["32 MiB"]);
}

#[test]
fn terminal_sequences_in_data_are_shown_not_obeyed() {
    let place = offline();
    place.put("data.csv", "id,product,text\n\u{1b}[2J\u{7}x,lamp,a\n\u{1b}[2J\u{7}x,lamp,b\n");
    let said = place.run(TABLE, &ASK);
    assert!(!said.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", said.stderr);
    said.error(2, "item-duplicate-id", &["`\\u001b[2J\\u0007x`"]);
}

#[test]
fn numbers_that_json_cannot_hold_are_refused() {
    let place = offline();
    place.put("data.csv", reviews(3));
    for option in ["--temperature=NaN", "--temperature=inf", "--top-p=1e400", "--max-output-tokens=0"] {
        place.run(&format!("{TABLE} {option}"), &ASK).error(2, "option-invalid", &["must be"]);
    }
}

#[test]
fn a_stored_answer_that_was_changed_is_found() {
    let sim = Sim::start(&[]);
    let place = Place::new().set("OPENAI_API_KEY", "sk-sim").set("OPENAI_BASE_URL", &sim.base_url);
    place.put("data.csv", reviews(3));
    place.run("run data.csv --yes --lane sync --out out.csv", &ASK).expect(0);
    let job = place.job_dir();
    let lines = std::fs::read_to_string(job.join("results.jsonl")).unwrap();
    let changed = lines.replacen("\"text\":\"", "\"text\":\"not ", 1);
    assert_ne!(lines, changed);
    // As long as before, or the places of later lines would tell.
    let changed = changed.replacen("not ", "", 1).replacen("\"output_tokens\":", "\"output_tokenz\":", 1);
    std::fs::write(job.join("results.jsonl"), changed).unwrap();
    let said = place.run("verify data", &[]).expect(7);
    assert!(said.stdout.contains("FAILED results are readable"), "{}", said.stdout);
    assert_eq!(place.run("results data --force --out again.csv", &[]).code, 1);
    assert!(!place.path("again.csv").exists(), "a changed answer is not handed out");
}
