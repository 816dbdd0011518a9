//! The semantic cache: similar rows share an answer once that is proved, money adds up, and a killed run goes on where it stood.

use std::collections::BTreeMap;

use super::jobs::nanos;
use super::support::{Place, Sim, table};

/// Messages about a few things, each in many wordings that differ in a few letters; the simulator answers by the thing's name.
pub(crate) fn messages(rows: usize) -> String {
    const ASKED: [&str; 4] = [
        "my {} was charged twice, please look into it",
        "please tell me when the {} arrives at my house",
        "the {} is broken and I would like another",
        "somebody else uses my {} without asking me",
    ];
    const THINGS: [&str; 3] = ["card", "parcel", "account"];
    const WORDS: [&str; 7] = ["", "hello, ", "sorry, ", "again: ", "well, ", "urgent: ", "hi there, "];
    const ENDS: [&str; 11] =
        ["", ".", "!", " thanks", " bye", " ok", " really", " soon", " today", " friends", " folks"];
    let mut csv = String::from("id,text\n");
    for row in 0..rows {
        let (asked, thing) = (ASKED[row / 3 % 4], THINGS[row % 3]);
        let (before, after) = (WORDS[row / 12 % 7], ENDS[row / 84 % 11]);
        csv.push_str(&format!("m-{row},\"{before}{}{after}\"\n", asked.replace("{}", thing)));
    }
    csv
}

pub(crate) const ASK: [&str; 12] = [
    "--user",
    "{{ text }}",
    "--choices",
    "card,parcel,account",
    "--model",
    "openai/gpt-6-luna",
    "--id",
    "id",
    "--semantic-cache",
    "5%",
    "--concurrency-max",
    "1",
];

const RUN: &str = "run rows.csv --yes --lane sync --out a.csv --json";

/// The answer and the lane of each row.
fn answers(place: &Place) -> BTreeMap<String, (String, String)> {
    let (header, rows) = table(&place.path("a.csv"));
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let of = |row: &Vec<String>, name: &str| row[column(name)].clone();
    rows.iter().map(|row| (of(row, "id"), (of(row, "answer"), of(row, "_lane")))).collect()
}

#[test]
fn similar_rows_share_an_answer_and_the_money_adds_up() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    // Forty late rows come twice. One call answers both, so one coin must not decide both: they are asked.
    let rows = messages(600);
    let copies = rows.lines().skip(541).take(40).map(|row| format!("{}\n", row.replacen("m-", "c-", 1)));
    place.put("rows.csv", rows.clone() + &copies.collect::<String>());
    let plan = place.run("plan rows.csv", &ASK).expect(0).stdout;
    assert!(plan.contains("up to 5 % of the rows may be answered wrongly"), "{plan}");
    let report = place.run(RUN, &ASK).expect(0).json();
    let served = report["similar"].as_u64().unwrap();
    assert_eq!(
        (report["succeeded"].as_u64(), report["duplicates"].as_u64()),
        (Some(640), Some(40)),
        "{report}"
    );
    assert!(served > 60 && report["requests_sent"].as_u64() == Some(600 - served), "{report}");
    assert_eq!(place.proved("rows", &sim), nanos(&report, "spent"), "{report}");
    let rows = answers(&place);
    let by_cache: Vec<&String> =
        rows.iter().filter(|(_, (_, lane))| lane == "semantic").map(|(id, _)| id).collect();
    let has_copy = |id: &str| rows.contains_key(&id.replacen("m-", "c-", 1));
    assert!(by_cache.len() as u64 == served && !by_cache.iter().any(|id| has_copy(id)), "{by_cache:?}");
    let shown = place.run(&format!("show rows {}", by_cache[0]), &[]).expect(0).json();
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), attempts[0]["lane"].as_str()), (1, Some("semantic")), "{shown}");
    let origin = &attempts[0]["result"]["semantic"];
    let from = place.run(&format!("show rows {}", origin["from"]), &[]).expect(0).json();
    let of_origin = &from["attempts"][0]["result"];
    assert_eq!(of_origin["response"]["text"], attempts[0]["result"]["response"]["text"], "{shown} {from}");
    assert_eq!(of_origin["semantic"]["kept"], true, "only what was kept is served: {from}");
    assert!(origin["similarity"].as_f64() > Some(0.3) && origin["tau"].as_f64() < Some(1.0), "{shown}");
    let savings = place.run("cost --savings rows --json", &[]).expect(0).json();
    let steps = savings["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["lever"] == "semantic").unwrap_or_else(|| panic!("{savings}"));
    assert_eq!(step["items"].as_u64(), Some(served), "{savings}");
    assert!(!steps.iter().any(|step| step["lever"] == "not explained"), "{savings}");
    // What was served is no answer of the model: a later job without the cache asks those rows, and only those.
    let plain: Vec<&str> =
        ASK.iter().copied().filter(|arg| !["--semantic-cache", "5%"].contains(arg)).collect();
    let later =
        place.run("run rows.csv --yes --lane sync --name later --out b.csv --json", &plain).expect(0).json();
    assert_eq!(
        (later["cached"].as_u64(), later["similar"].as_u64()),
        (Some(600 - served), Some(0)),
        "{later}"
    );
}

#[test]
fn a_killed_run_goes_on_with_what_it_had_learned() {
    let whole = {
        let sim = Sim::start(&[]);
        let place = Place::with(&sim);
        place.put("rows.csv", messages(500));
        place.run(RUN, &ASK).expect(0);
        answers(&place)
    };
    // The order in which answers land is that of the source here, and the coins are the job's: killed or not, the same rows are
    // served, unless a call was lost and asked again later than its place.
    let sim = Sim::start(&["--latency-ms", "4"]);
    let place = Place::with(&sim);
    place.put("rows.csv", messages(500));
    for done in [150, 300] {
        let args: Vec<&str> = RUN.split_whitespace().filter(|arg| *arg != "--json").chain(ASK).collect();
        place.kill_when(args, |job| job["succeeded"].as_u64().is_some_and(|count| count >= done));
    }
    let report = place.run(RUN, &ASK).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(500), "{report}");
    place.run("verify rows", &[]).expect(0);
    let killed = answers(&place);
    let served = |rows: &BTreeMap<String, (String, String)>| {
        rows.iter().filter(|(_, (_, lane))| lane == "semantic").map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    let (one, two) = (served(&whole), served(&killed));
    let apart =
        one.iter().filter(|id| !two.contains(id)).count() + two.iter().filter(|id| !one.contains(id)).count();
    assert!(one.len() > 50 && apart * 10 <= one.len(), "{} served, {apart} of them differ", one.len());
}

#[test]
fn in_batches_it_works_from_batch_to_batch() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("rows.csv", messages(600));
    let run = "run rows.csv --yes --lane batch --poll-min 50ms --batches-max 1 --batch-items-max 200 --out a.csv --json";
    let report = place.run(run, &ASK[..10]).expect(0).json();
    let served = report["similar"].as_u64().unwrap();
    assert!(served > 0 && report["succeeded"].as_u64() == Some(600), "{report}");
    assert_eq!(place.proved("rows", &sim), nanos(&report, "spent"), "{report}");
}

/// Rows about cards first, then rows that look the same and are answered otherwise.
fn stream(before: usize, after: usize) -> String {
    let rows = messages(3 * (before + after));
    let cards = rows.lines().skip(1).step_by(3);
    let row = |(at, line): (usize, &str)| match at {
        at if at < before => format!("{line}\n"),
        _ => format!("{}\n", line.replace("card", "crad")),
    };
    "id,text\n".to_owned() + &cards.enumerate().map(row).collect::<String>()
}

#[test]
fn a_stream_that_changes_is_found_out_and_told() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let ask: Vec<&str> =
        ASK.iter().map(|arg| if *arg == "card,parcel,account" { "card,parcel,other" } else { arg }).collect();
    // One by one the share is kept, and that it is used up is said; in batches it is kept as well.
    place.put("rows.csv", stream(300, 300));
    let said = place.run(RUN, &ask).expect(0);
    assert!(said.stderr.contains("semantic-cache-errors"), "{}", said.stderr);
    let report = said.json();
    let rows = answers(&place);
    let wrong = |rows: &BTreeMap<String, (String, String)>| {
        let late = |id: &str| id[2..].parse::<usize>().unwrap() >= 900;
        rows.iter().filter(|(id, (answer, _))| answer != if late(id) { "other" } else { "card" }).count()
    };
    assert!(report["similar"].as_u64() > Some(60), "{report}");
    assert!((1..=60).contains(&wrong(&rows)), "600 rows, 5 %, and what chance adds: {}", wrong(&rows));
    assert_eq!(place.proved("rows", &sim), nanos(&report, "spent"), "{report}");
    let place = Place::with(&sim);
    place.put("rows.csv", stream(300, 300));
    let batches =
        "run rows.csv --yes --lane batch --poll-min 50ms --batches-max 1 --batch-items-max 300 --out a.csv";
    place.run(batches, &ask[..10]).expect(0);
    assert!(wrong(&answers(&place)) <= 60, "decided before the first of them was answered");
    place.run("verify rows", &[]).expect(0);
}

#[test]
fn a_damaged_line_does_not_keep_a_run_from_starting() {
    let sim = Sim::start(&["--latency-ms", "4"]);
    let place = Place::with(&sim);
    place.put("rows.csv", messages(300));
    let args: Vec<&str> = RUN.split_whitespace().filter(|arg| *arg != "--json").chain(ASK).collect();
    place.kill_when(args, |job| job["succeeded"].as_u64().is_some_and(|count| count >= 100));
    let results = place.job_dir().join("results.jsonl");
    let lines = std::fs::read_to_string(&results).unwrap();
    std::fs::write(&results, lines.replacen("\"output_tokens\":", "\"output_tokenz\":", 1)).unwrap();
    let said = place.run(RUN, &ASK);
    assert!(
        said.stderr.contains("1 stored results cannot be read: the semantic cache does without"),
        "{}",
        said.stderr
    );
    let status = place.run("status rows --json", &[]).expect(0).json();
    assert_eq!(status[0]["succeeded"].as_u64(), Some(300), "all the rest was sent: {status}");
}

#[test]
fn what_is_asked_for_again_is_asked() {
    let sim = Sim::start(&["--fault", "refusal:0.5"]);
    let place = Place::with(&sim);
    place.put("rows.csv", messages(400));
    let ask = [&ASK[..], &["--fail-above", "100%"]].concat();
    let first = place.run(RUN, &ask).json();
    let (served, failed) = (first["similar"].as_u64(), first["failed"].as_u64());
    assert!(failed > Some(5), "{first}");
    let again = place.run("retry rows --json", &[]).json();
    assert!(again["failed"].as_u64() < failed && again["similar"].as_u64() == served, "{first} {again}");
    place.run("verify rows", &[]).expect(0);
}

#[test]
fn a_row_served_from_a_bundle_is_worth_what_it_costs_alone() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("rows.csv", messages(500));
    let long = "You sort messages of customers by what they are about. ".repeat(12);
    let ask = [&ASK[..], &["--system", &long]].concat();
    let bundled = place.run(&format!("{RUN} --bundle 10"), &ask).expect(0).json();
    let plain: Vec<&str> =
        ask.iter().copied().filter(|arg| !["--semantic-cache", "5%"].contains(arg)).collect();
    let alone = "run rows.csv --yes --lane sync --out b.csv --cache off --name alone --json";
    let alone = place.run(alone, &plain).expect(0).json();
    let (served, saved) =
        (bundled["similar"].as_i64().unwrap(), bundled["saved_usd_nanos"]["semantic"].as_i64());
    let (each, want) = (saved.unwrap() / served, nanos(&alone, "naive") / 500);
    assert!(served > 20 && (each - want).abs() * 8 < want, "{served} at {each}, not {want}: {bundled}");
    place.run("verify rows", &[]).expect(0);
}

#[test]
fn what_could_not_be_proved_is_refused() {
    let place = Place::new();
    place.put("rows.csv", messages(3));
    let plan = |more: &[&str]| place.run("plan rows.csv --user x --model openai/gpt-6-luna", more);
    plan(&["--semantic-cache", "2%"]).error(
        2,
        "option-invalid",
        &["--semantic-cache", "free texts", "--choices"],
    );
    plan(&["--semantic-cache", "40%", "--choices", "a,b"]).error(2, "option-invalid", &["0.1% to 20%"]);
    place.put(
        "job.toml",
        "[source]\npath = \"rows.csv\"\n[request]\nmodel = \"openai/gpt-6-luna\"\nuser = \"{{ text }}\"\n\
         choices = [\"a\", \"b\"]\n[semantic_cache]\nembeddings = \"openai/text-embedding-3-small\"\n",
    );
    place.run("plan job.toml", &[]).error(2, "job-file-invalid", &["embeddings", "error"]);
}
