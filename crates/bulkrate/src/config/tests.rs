//! What a person who mistypes a job file reads.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::{ConfigError, Defaults, Layer, job};

fn shown(error: &ConfigError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}

fn mistake(text: &str) -> String {
    match Layer::parse("job.toml", text).and_then(job) {
        Ok(spec) => panic!("accepted: {spec:?}"),
        Err(error) => shown(&error),
    }
}

const HEAD: &str = "name = \"n\"\n[source]\npath = \"a.csv\"\n";

#[test]
fn an_unknown_key_names_its_place_and_what_was_meant() {
    insta::assert_snapshot!(mistake("[run]\nbugdet = 5\n"), @r"
    job.toml:2:1: unknown key `bugdet` (did you mean `budget`?)
    hint: the keys known here are lane, priority, deadline, budget, budget_per_request, budget_daily, budget_monthly, budget_tags, max_in_doubt, strict, spend_all, rpm, tpm, concurrency_max, poll_min, poll_max, timeout, cache, distinct, order, canary, hedge, fallback_when, fail_above, review_sample, max_error_rate, sync_doubt, batch_doubt, t_lag, t_q, keep_remote, batch_items_max, batch_bytes_max, batches_max, enqueued_tokens_max, webhook, price_in, price_out
    ");
    insta::assert_snapshot!(mistake("[sinks]\npath = \"a\"\n"), @r"
    job.toml:1:2: unknown key `sinks` (did you mean `sink`?)
    hint: the keys known here are name, source, request, cascade, semantic_cache, pilot, tags, run, sink, provider, accounts
    ");
    insta::assert_snapshot!(mistake("[tags]\nä = \"ü\"\n[sink]\n  zebra = 1\n"), @"job.toml:2:1: invalid unquoted key, expected letters, numbers, `-`, `_`");
}

#[test]
fn a_wrong_value_says_what_would_be_right() {
    insta::assert_snapshot!(mistake("[run]\nlane = \"bach\"\n"), @r"
    job.toml:2:8: unknown value `bach` (did you mean `batch`?)
    hint: the values known here are auto, batch, flex, sync
    ");
    insta::assert_snapshot!(mistake("[run]\ndeadline = 6\n"), @"job.toml:2:12: `6` is not a duration: a unit is missing; write for example `90s`, `6h` or `1d12h`");
    insta::assert_snapshot!(mistake("[run]\ndeadline = \"6 hours\"\n"), @"job.toml:2:12: `6 hours` is not a duration: the units are ms, s, m, h, d, w; write for example `90s`, `6h` or `1d12h`");
    insta::assert_snapshot!(mistake("[run]\nbudget = \"five\"\n"), @"job.toml:2:10: `five` is not an amount in US dollars; write for example `5`, `0.25` or `1.50`, with at most nine decimals");
    insta::assert_snapshot!(mistake("[run]\nrpm = -1\n"), @"job.toml:2:7: invalid value: integer `-1`, expected u64");
    insta::assert_snapshot!(mistake("[request]\nmodel = 5\n"), @"job.toml:2:9: invalid type: integer `5`, expected a string");
    insta::assert_snapshot!(mistake("[run]\nfail_above = \"5,5\"\n"), @"job.toml:2:14: `5,5` is not a percentage from 0 to 100 with at most one decimal, such as `5` or `0.5%`");
}

#[test]
fn broken_toml_names_its_place() {
    insta::assert_snapshot!(mistake("name = \"a\n[run]\n"), @r#"job.toml:1:10: invalid basic string, expected `"`"#);
    insta::assert_snapshot!(mistake("[run]\nbudget = 5\nbudget = 6\n"), @"job.toml:3:1: duplicate key");
}

#[test]
fn contradictions_are_refused() {
    insta::assert_snapshot!(mistake(""), @r"
    source: no data to read
    hint: pass a data file, or set `path` in `[source]` of the job file
    ");
    insta::assert_snapshot!(mistake("[source]\npath = \"-\"\n"), @r"
    --name: standard input needs a name
    hint: a name tells the job apart when it is run again
    ");
    insta::assert_snapshot!(mistake(&format!("{HEAD}[request]\nchoices = [\"a\"]\nschema = {{ type = \"object\" }}\n")), @r"
    --choices: cannot go together with a schema
    hint: use `choices` for one word out of a list, a schema for fields
    ");
    insta::assert_snapshot!(mistake(&format!("{HEAD}[request]\nschema = 5\n")), @r"
    the schema `[request] schema` is no JSON Schema: it is not a JSON object
    hint: mend the schema file; it must hold one JSON Schema, which is a JSON object
    ");
    insta::assert_snapshot!(mistake(&format!("{HEAD}[run]\nconcurrency_max = 0\n")), @"--concurrency-max: must be more than 0");
    insta::assert_snapshot!(mistake(&format!("{HEAD}[run]\nprice_in = \"1\"\n")), @r"
    --price-in: goes together with `--price-out`
    hint: a price of 0 is fine; embeddings have no output
    ");
    insta::assert_snapshot!(mistake(&format!("{HEAD}[sink]\nstream = true\npath = \"a.parquet\"\n")), @r"
    --stream: rows cannot be written as they land here
    hint: name a `.jsonl` or `.csv` file with `--out`, or `-` for standard output
    ");
    insta::assert_snapshot!(mistake(&format!("{HEAD}[run]\nbudget_tags = {{ triage = 2 }}\n")), @r#"
    budget_tags: `triage` is not `key=value`
    hint: write `"feature=triage" = "2"` under `[run.budget_tags]`, or `--budget-tag feature=triage=2`
    "#);
}

#[test]
fn defaults_cannot_name_a_base_url() {
    let error =
        Defaults::parse("bulkrate.toml", "[provider]\nbase_url = \"http://elsewhere/v1\"\n").unwrap_err();
    insta::assert_snapshot!(shown(&error), @r"
    bulkrate.toml:1:2: unknown key `provider`
    hint: the keys known here are state, prices, tags, run
    ");
}

#[test]
fn a_file_that_came_with_a_folder_cannot_send_anything_elsewhere() {
    let text = "[tags]\nteam = \"a\"\n[run]\nrpm = 5\nwebhook = \"https://elsewhere/hook\"\n";
    insta::assert_snapshot!(shown(&Defaults::parse("bulkrate.toml", text).unwrap_err()), @r"
    bulkrate.toml:5:11: `webhook` cannot stand here: this file is picked up unasked, and would send what becomes of every job elsewhere
    hint: set it in the job file, or pass `--webhook`
    ");
    // Whoever runs a job file has named it.
    let named = Layer::parse("job.toml", &format!("{HEAD}[run]\nwebhook = \"https://here/hook\"\n")).unwrap();
    assert_eq!(job(named).unwrap().run.webhook.as_deref(), Some("https://here/hook"));
}

#[test]
fn files_named_by_a_job_file_are_found_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put("prompt.txt", "Say {{ text }}\n");
    put("schema.json", "{\"type\": \"object\"}");
    put(
        "nightly.toml",
        "[source]\npath = \"a.csv\"\n[request]\nuser = \"@prompt.txt\"\nschema = \"schema.json\"\n[sink]\npath = \"-\"\n",
    );
    let spec = job(Layer::load(&dir.path().join("nightly.toml")).unwrap()).unwrap();
    assert_eq!(spec.name, "nightly");
    assert_eq!(spec.source.path.unwrap(), dir.path().join("a.csv"));
    assert_eq!(spec.request.user.unwrap(), "Say {{ text }}");
    assert_eq!(spec.request.schema.unwrap(), "{\"type\":\"object\"}");
    assert_eq!(spec.sink.path.unwrap().as_os_str(), "-");

    put("schema.json", "{\"type\": ");
    let error = Layer::load(&dir.path().join("nightly.toml")).and_then(job).unwrap_err();
    assert_eq!(error.code(), "schema-invalid");
    assert!(error.to_string().contains("line 1 column"), "{error}");
    assert_eq!(Layer::load(&dir.path().join("none.toml")).unwrap_err().code(), "file-unreadable");
}

#[test]
fn the_name_of_a_job_is_that_of_its_file() {
    for (path, want) in [
        ("a/reviews.csv.gz", "reviews"),
        ("items.jsonl", "items"),
        ("x.parquet", "x"),
        ("notes", "notes"),
        (".csv", ".csv"),
    ] {
        let spec = job(Layer::parse("job.toml", &format!("[source]\npath = \"{path}\"\n")).unwrap()).unwrap();
        assert_eq!(spec.name, want);
    }
}
