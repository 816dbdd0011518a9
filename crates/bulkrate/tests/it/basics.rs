//! Commands that need no job.

use super::support::Place;

#[test]
fn help_and_version_are_data_and_cost_nothing() {
    let place = Place::new();
    let help = place.run("--help", &[]).expect(0);
    for command in [
        "run", "plan", "status", "results", "resume", "cancel", "retry", "dead", "verify", "cost", "sim",
        "prices", "doctor", "init",
    ] {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command}: {}", help.stdout);
    }
    assert!(!help.stdout.contains("help-markdown"));
    assert!(place.run("--version", &[]).expect(0).stdout.starts_with("bulkrate 0."));
    assert!(place.run("completions bash", &[]).expect(0).stdout.contains("_bulkrate"));
    assert!(place.run("help-markdown", &[]).expect(0).stdout.starts_with("# Command line\n"));
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn every_error_is_explained_by_the_program_itself() {
    let place = Place::new();
    let page = place.run("explain budget-too-small", &[]).expect(0).stdout;
    assert!(page.starts_with("# budget-too-small\n") && page.contains("What to do"), "{page}");
    let all = place.run("explain", &[]).expect(0).stdout;
    assert!(all.lines().count() > 100 && all.contains("\nbudget-too-small "), "{all}");
    place.run("explain budget-to-small", &[]).error(
        2,
        "option-invalid",
        &["did you mean `budget-too-small`?"],
    );
    // What an error names is there.
    let said = place.run("status nobody", &[]);
    let code = said.stderr.rsplit_once("docs: bulkrate explain ").unwrap().1.trim();
    assert_eq!(place.run(&format!("explain {code} --json"), &[]).expect(0).json()["code"], code);
}

#[test]
fn wrong_flags_are_usage_errors() {
    let place = Place::new();
    for (line, words) in [
        ("run", "<INPUT>"),
        ("run a.csv --lane fast", "auto, batch, flex, sync"),
        ("run a.csv --deadline 6", "a unit is missing"),
        ("run a.csv --budget five", "not an amount in US dollars"),
        ("run a.csv --bugdet 5", "--budget"),
        ("run a.csv --fail-above 500", "not a percentage"),
        ("run a.csv --tag x", "key=value"),
        ("cost --by colour", "tag.NAME"),
        ("frobnicate", "unrecognized subcommand"),
    ] {
        let said = place.run(line, &[]).expect(2);
        assert!(said.stderr.contains(words), "{line}: {}", said.stderr);
        assert_eq!(said.stdout, "", "{line}");
    }
}

#[test]
fn init_writes_a_job_and_never_over_one() {
    let place = Place::new();
    place.run("init", &[]).expect(0);
    assert!(place.read("job.toml").contains("[request]"));
    place.put("job.toml", "mine");
    place.run("init", &[]).error(2, "file-exists", &["`job.toml` is there already"]);
    assert_eq!(place.read("job.toml"), "mine");
    assert_eq!(place.run("init other.toml --json", &[]).expect(0).json()["output"], "other.toml");
}

#[test]
fn prices_are_listed_shown_and_imported() {
    let place = Place::new();
    let list = place.run("prices list gpt-6-luna", &[]).expect(0).stdout;
    assert!(list.contains("openai/gpt-6-luna") && list.contains("sync in"), "{list}");
    let fast = place.run("prices show fast --json", &[]).expect(0).json();
    assert_eq!(fast["model"], "openai/gpt-6-luna");
    assert!(fast["lanes"]["batch"]["input_picousd"].is_u64());
    place.run("prices show gtp-6-luna", &[]).error(2, "unknown-model", &["gpt-6-luna"]);

    let list = r#"{"acme/one": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}}"#;
    place.put("list.json", list);
    let said = place.run("prices import list.json --out mine.csv --json", &[]).expect(0).json();
    assert_eq!(said["models"], 1, "{said}");
    place.run("prices import list.json --out mine.csv", &[]).error(2, "file-exists", &["mine.csv"]);
    let shown = place.run("prices list acme/one --prices mine.csv", &[]).expect(0).stdout;
    assert!(shown.contains("acme/one"), "{shown}");
    place.put("bad.csv", "provider,model_id,kind,input\na,b,chat,cheap\n");
    place.run("prices list --prices bad.csv", &[]).error(
        2,
        "price-table-invalid",
        &["bad.csv", "line 2", "`input`"],
    );
    place.run("prices import bad.csv --out x.csv", &[]).error(2, "price-table-invalid", &["line 2"]);
    place.run("prices import none.json", &[]).error(2, "file-unreadable", &["none.json"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let mut child = place
        .command(["prices", "list", "--csv"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
