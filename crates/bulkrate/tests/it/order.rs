//! `--order prefix` and `fields`: prompts that begin alike one after the other, what they share marked once more, and which fields should
//! come first.

use serde_json::{Value, json};

use super::anthropic;
use super::prompt_cache::{cached_by, proved};
use super::support::{Place, Sim, only_in, table};

const DOCUMENTS: usize = 6;
const ROWS: usize = 60;

/// Questions about six long documents, never two about the same one in a row.
fn questions() -> String {
    let document = |at: usize| format!("Document {at}. {}", format!("It says {at} of {at}. ").repeat(300));
    let mut csv = String::from("id,document,question\n");
    for row in 0..ROWS {
        csv.push_str(&format!("q-{row},{},what about {row}?\n", document(row % DOCUMENTS)));
    }
    csv
}

/// Everything but the input, the order and the output.
const ASK: [&str; 8] = [
    "--user",
    "{{ document }} Question: {{ question }}",
    "--choices",
    "yes,no",
    "--model",
    "openai/gpt-6-luna",
    "--id",
    "id",
];

const CLAUDE: &str = "claude-haiku-5-5";

/// Questions about documents of one length, so many to each and never two about the same one in a row.
fn library(documents: usize, questions: usize) -> String {
    let document = |at: usize| format!("Document {at:02}. {}", "It says nothing of lamps. ".repeat(240));
    (0..documents * questions).fold("id,document,question\n".to_owned(), |csv, row| {
        let how =
            "Say no where the document says nothing of it; and yes where it says so in words. ".repeat(2);
        csv + &format!("q-{row},{},what about {row:03}? {how}\n", document(row % documents))
    })
}

/// [`ASK`] of a model whose provider keeps what is marked.
fn ask_claude() -> [&'static str; 8] {
    let mut ask = ASK;
    ask[5] = "anthropic/claude-haiku-5-5";
    ask
}

#[test]
fn a_document_is_written_once_where_only_what_is_marked_is_kept() {
    // So slow that calls which leave beside the first of their document would all write.
    let sim = Sim::of("anthropic", &["--latency-ms", "60"]);
    let place = anthropic::place(&sim);
    place.put("rows.csv", library(20, 5));
    let ask = ask_claude();
    let plan = place.run("plan rows.csv --order prefix --lane sync --json", &ask).expect(0).json();
    let model = &plan["order"]["models"][0];
    assert_eq!(model["marked"], json!({"rows": 100, "beginnings": 20}), "{plan}");
    let cost = |at: usize| model["costs"][at].as_f64().unwrap();
    assert!(cost(0) > 1.2 && cost(1) < 1.0 && cost(2) < 0.5, "{plan}");
    assert_eq!(plan["prompt_cache"][0]["mark"], Value::Null, "what all rows share is nothing: {plan}");
    let batch = place.run("plan rows.csv --order prefix --lane batch --json", &ask).expect(0).json();
    assert_eq!(batch["order"]["models"][0].get("marked"), None, "{batch}");

    let line = "run rows.csv --yes --lane sync --order prefix --json --out out.csv";
    let report = place.run(line, &ask).expect(0).json();
    let (written, read) = cached_by(&sim, CLAUDE);
    assert!(written > 20 * 1_000 && read == 4 * written, "{written} {read}");
    let all = sim.bill()["by_model"][CLAUDE]["input_tokens"].as_u64().unwrap();
    let share = |tokens: u64, price: f64| tokens as f64 * price / all as f64;
    let cost = share(written, 1.25) + share(read, 0.1) + share(all - written - read, 1.0);
    assert!((0.34..0.43).contains(&cost), "{cost}");
    let (written, read) = (i64::try_from(written).unwrap(), i64::try_from(read).unwrap());
    assert_eq!(proved(&place, &sim, &report), read * 90 - written * 25);
}

#[test]
fn no_row_is_lost_behind_a_first_call_that_fails_or_dies() {
    let sim = Sim::of("anthropic", &["--latency-ms", "100", "--fault", "429=0.1", "--fault", "5xx:0.1=503"]);
    let place = anthropic::place(&sim);
    place.put("rows.csv", library(12, 5));
    let line = "run rows.csv --yes --lane sync --order prefix --hedge --out out.csv";
    place.kill_when(line.split(' ').chain(ask_claude()), |status| status["succeeded"].as_u64() > Some(5));
    let report = place.run("resume rows --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(60), "{report}");
    assert!(cached_by(&sim, CLAUDE).1 > 0);
    place.run("verify rows", &[]).expect(0);
}

#[test]
fn a_second_mark_that_loses_is_taken_away() {
    let sim = Sim::of("anthropic", &["--marked-hits", "0.05"]);
    let place = anthropic::place(&sim);
    place.put("rows.csv", library(20, 10));
    let line =
        "run rows.csv --yes --lane sync --order prefix --concurrency-max 4 --rpm 60000 --json --out out.csv";
    let said = place.run(line, &ask_claude()).expect(0);
    assert_eq!(said.stderr.matches("what is not sent yet is not marked there").count(), 1, "{said:?}");
    let (written, read) = cached_by(&sim, CLAUDE);
    let all = sim.bill()["by_model"][CLAUDE]["input_tokens"].as_u64().unwrap();
    assert!(written + read < all / 2, "fifty answers, and what was under way: {written} {read} {all}");
    assert!(proved(&place, &sim, &said.json()) < 0);
}

/// How often the document changes from one line of a batch's input to the next.
fn changes(place: &Place) -> (usize, usize) {
    let input = only_in(&place.job_dir().join("batches")).join("input.jsonl");
    let lines: Vec<String> = std::fs::read_to_string(input)
        .unwrap()
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let prompt = line["body"]["messages"].to_string();
            prompt[prompt.find("Document ").unwrap()..].chars().take(10).collect()
        })
        .collect();
    (lines.len(), lines.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

#[test]
fn prompts_that_begin_alike_are_sent_one_after_the_other() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("rows.csv", questions());
    let plan = place.run("plan rows.csv --order prefix --lane batch --json", &ASK).expect(0).json();
    let order = &plan["order"];
    assert_eq!(order["by_prefix"], true, "{order}");
    let model = &order["models"][0];
    let share = |key: &str| model[key].as_f64().unwrap();
    assert!(share("as_is") < 0.01 && share("ordered") > 0.6, "{order}");
    // Written at 1.25 and read at 0.1 of the input's price.
    let cost = |hits: f64| share("ordered") * (hits * 0.1 + (1.0 - hits) * 1.25) + 1.0 - share("ordered");
    for (at, hits) in [0.0, 0.3, 0.9].into_iter().enumerate() {
        assert!((model["costs"][at].as_f64().unwrap() - cost(hits)).abs() < 1e-9, "{order}");
    }
    let text = place.run("plan rows.csv --order prefix", &ASK).expect(0).stdout;
    assert!(text.contains("order: prompts that begin alike go one after the other"), "{text}");
    assert!(text.contains("at 90 % found of its price"), "{text}");

    let line = "run rows.csv --yes --lane batch --poll-min 1s --out a.csv --order prefix";
    place.run(line, &ASK).expect(0);
    // The canary went alone; the rest is sorted by document.
    assert_eq!(changes(&place), (ROWS - 1, DOCUMENTS - 1));
    let (header, rows) = table(&place.path("a.csv"));
    let status = header.iter().position(|name| name == "_status").unwrap();
    for (at, row) in rows.iter().enumerate() {
        assert_eq!((row[0].as_str(), row[status].as_str()), (format!("q-{at}").as_str(), "succeeded"));
    }
    let paid = place.proved("rows", &sim);
    // It is the same job in any order: nothing is sent again, and the answers are the same.
    place.run("run rows.csv --yes --lane batch --poll-min 1s --out a.csv", &ASK).expect(0);
    assert_eq!((place.proved("rows", &sim), table(&place.path("a.csv")).1), (paid, rows));
}

#[test]
fn a_killed_run_goes_on_in_the_same_order_and_a_limit_is_kept() {
    let sim = Sim::start(&["--latency-ms", "300"]);
    let place = Place::with(&sim);
    place.put("rows.csv", questions());
    let line =
        "run rows.csv --yes --lane sync --rpm 3000 --poll-min 1s --order prefix --limit 50 --out a.csv";
    place.kill_when(line.split(' ').chain(ASK), |status| status["succeeded"].as_u64() > Some(5));
    let report = place.run("resume rows --json", &[]).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), report["items"].as_u64()), (Some(50), Some(50)), "{report}");
    let report = place.run("resume rows --no-limit --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(60), "{report}");
    place.run("verify rows", &[]).expect(0);
}

#[test]
fn an_order_that_does_not_pay_is_off_and_says_why() {
    let sim = Sim::start(&[]);
    let place =
        Place::with(&sim).set("ANTHROPIC_API_KEY", "sk-sim").set("ANTHROPIC_BASE_URL", "http://127.0.0.1:9");
    let sorted = {
        let csv = questions();
        let (header, rows) = csv.split_once('\n').unwrap();
        let mut rows: Vec<&str> = rows.lines().collect();
        rows.sort_by_key(|row| row.split(',').nth(1).unwrap().to_owned());
        format!("{header}\n{}\n", rows.join("\n"))
    };
    place.put("rows.csv", questions()).put("sorted.csv", sorted).put("alone.csv", library(20, 1));
    place.put("short.csv", "id,document,question\n1,a,b\n2,a,c\n");
    for (file, model, why) in [
        ("alone.csv", "anthropic/claude-haiku-5-5", "caches only what a request marks"),
        ("rows.csv --prompt-cache off", "anthropic/claude-haiku-5-5", "caches only what a request marks"),
        ("rows.csv", "openai/gpt-4o-2024-05-13", "no price of its own for cached input"),
        ("sorted.csv", "openai/gpt-6-luna", "stand side by side in the source"),
        ("short.csv", "openai/gpt-6-luna", "no two prompts share a beginning"),
    ] {
        let mut args = ASK.to_vec();
        args[5] = model;
        let line = format!("plan {file} --order prefix");
        let plan = place.run(&format!("{line} --json"), &args).expect(0).json();
        assert_eq!(plan["order"]["by_prefix"], false, "{file}: {plan}");
        assert!(plan["order"]["why"].as_str().unwrap().contains(why), "{file}: {plan}");
        let text = place.run(&line, &args).expect(0).stdout;
        assert!(text.contains("order: as in the source: "), "{text}");
    }
    let plan = place.run("plan rows.csv --json", &ASK).expect(0).json();
    assert!(plan.get("order").is_none(), "nobody asked: {plan}");
}

#[test]
fn the_best_order_of_fields_is_told_and_nothing_changes() {
    let place = Place::new();
    place.put("rows.csv", questions());
    let found = place.run("fields rows.csv --json", &[]).expect(0).json();
    let orders = found["orders"].as_array().unwrap();
    assert_eq!(orders[2]["columns"], json!(["document", "id", "question"]), "{found}");
    let share = |at: usize| orders[at]["shared"].as_f64().unwrap();
    assert!(share(0) < 0.01 && share(1) < 0.01 && share(2) > 0.8, "{found}");
    assert_eq!(found["costs"], Value::Null);

    let text = place.run("fields rows.csv --model openai/gpt-6-luna", &[]).expect(0).stdout;
    for words in [
        "60 rows, 3 columns",
        "best order: document, id, question",
        "it saves from 21.7 % found on; it is worth it",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let two = place
        .run("fields rows.csv --columns question,id --model openai/gpt-6-luna --json", &[])
        .expect(0)
        .json();
    assert_eq!(
        (&two["caching"], two["orders"][0]["columns"].as_array().unwrap().len()),
        (&Value::Bool(false), 2)
    );
    // Long instructions before the fields make up for short ones.
    let before = place.run("fields rows.csv --columns id --before 8k --model openai/gpt-6-luna --json", &[]);
    assert_eq!(before.expect(0).json()["caching"], true);
    place.run("fields rows.csv --columns id,Document", &[]).error(
        2,
        "column-unknown",
        &["did you mean `document`?"],
    );
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 1, "no state is made");
}
