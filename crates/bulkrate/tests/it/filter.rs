//! Rules and a small classifier that answer what needs no model: proved on labels, free, and told.

use serde_json::Value;

use super::jobs::nanos;
use super::savings::adds_up;
use super::support::{Place, Sim, table};

/// Messages with a rule: prizes are spam, meetings are not, and of what only says `maybe` nobody knows.
pub(super) fn messages(rows: usize, from: usize) -> String {
    let mut csv = String::from("id,message,class\n");
    for row in from..from + rows {
        let number = row.wrapping_mul(2_654_435_761) % 1_000_003;
        let coin = ["spam", "ham"][(number / 7) % 2];
        let (text, class) = match row % 3 {
            0 => (format!("you have won a prize: call {number}"), "spam"),
            1 => (format!("shall we meet at {number}?"), "ham"),
            _ => (format!("maybe {number}"), coin),
        };
        csv.push_str(&format!("m-{row},{text},{class}\n"));
    }
    csv
}

const RULES: &str =
    "[[rule]]\nwords = [\"prize\"]\nanswer = \"spam\"\n[[rule]]\npattern = \"^maybe\"\nanswer = \"spam\"\n";

const ASK: [&str; 10] = [
    "--user",
    "Is this spam? {{ message }}",
    "--choices",
    "spam,ham",
    "--model",
    "openai/gpt-6-luna",
    "--id",
    "id",
    "--filter",
    "spam.filter",
];

pub(super) fn place(sim: &Sim) -> Place {
    let place = Place::with(sim);
    place
        .put("labels.csv", messages(2_400, 0))
        .put("rows.csv", messages(90, 50_000))
        .put("rules.toml", RULES);
    place
}

pub(super) const TRAIN: &str =
    "filter train labels.csv --text message --label class --rules rules.toml --out spam.filter";

#[test]
fn a_filter_says_what_is_proved() {
    let sim = Sim::start(&[]);
    let place = place(&sim);
    let said = place.run(&format!("{TRAIN} --json"), &[]).expect(0).json();
    let rules = said["rules"].as_array().unwrap();
    assert_eq!(
        (rules[0]["active"].as_bool(), rules[1]["active"].as_bool()),
        (Some(true), Some(false)),
        "{said}"
    );
    assert_eq!((rules[0]["hits"].as_u64(), rules[0]["wrong"].as_u64()), (Some(800), Some(0)));
    let learned = &said["learned"];
    assert!(
        learned["wrong_high"].as_f64().unwrap() <= 0.02 && learned["answered"].as_u64() > Some(300),
        "{said}"
    );
    let shown = place.run("filter show spam.filter --json", &[]).expect(0).json();
    assert_eq!(shown, said);
    let text = place.run("filter show spam.filter", &[]).expect(0).stdout;
    for words in ["2,400 labelled rows", "prize", "answers", "off: not proved", "taught"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    place.run(TRAIN, &[]).error(2, "file-exists", &["spam.filter"]);
    place.run(&format!("{TRAIN} --force"), &[]).expect(0);
    assert_eq!(place.run("filter show spam.filter --json", &[]).expect(0).json()["version"], said["version"]);
}

#[test]
fn what_is_proved_costs_nothing_and_says_so() {
    let sim = Sim::start(&[]);
    let place = place(&sim);
    place.run(TRAIN, &[]).expect(0);
    let plan = place.run("plan rows.csv --json", &ASK).expect(0).json();
    // Two thirds are proved; of the coins a few may be answered as well, within the error that is allowed.
    let filtered = plan["filtered"].as_u64().unwrap();
    assert!((60..65).contains(&filtered) && plan["requests"].as_u64() == Some(90 - filtered), "{plan}");
    let report = place.run("run rows.csv --yes --lane sync --out a.csv --json", &ASK).expect(0).json();
    assert_eq!(
        (report["filtered"].as_u64(), report["succeeded"].as_u64()),
        (Some(filtered), Some(90)),
        "{report}"
    );
    assert_eq!(report["requests_sent"].as_u64(), Some(90 - filtered), "{report}");
    assert_eq!(place.proved("rows", &sim), nanos(&report, "spent"));

    let (header, rows) = table(&place.path("a.csv"));
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let version = place.run("filter show spam.filter --json", &[]).expect(0).json()["version"].clone();
    for (at, row) in rows.iter().enumerate() {
        let by_filter = row[column("_lane")] == "filter";
        // 50,000 leaves a remainder of 2.
        let proved = (50_000 + at) % 3 != 2;
        assert!(by_filter || !proved, "{row:?}");
        if by_filter {
            assert!(!proved || row[column("answer")] == row[column("class")], "{row:?}");
            assert!(row[column("_cost_usd")].parse::<f64>().unwrap() <= 0.0, "{row:?}");
            assert_eq!(Value::from(row[column("_model")].as_str()), version);
        }
    }
    let shown = |item: &str| place.run(&format!("show rows {item}"), &[]).expect(0).stdout;
    assert!(shown("m-50001").contains("rule 1"), "{}", shown("m-50001"));
    assert!(shown("m-50002").contains("learned, confidence 0.9"), "{}", shown("m-50002"));
    let text = place.run("run rows.csv --yes --lane sync --out a.csv", &ASK).expect(0);
    let words = format!("{filtered} answered by the filter");
    assert!(text.stdout.contains(&words) || text.stderr.contains(&words), "{text:?}");
    assert!(text.stdout.contains("(estimated)") || text.stderr.contains("(estimated)"), "{text:?}");
    // What it saved is what the plan expects of these rows, and called an estimate; the books meet.
    let savings = place.run("cost --savings rows --json", &[]).expect(0).json();
    assert_eq!(adds_up(&savings), ["filter"], "{savings}");
    assert_eq!(nanos(&savings, "naive"), nanos(&report, "naive"));
    let step = &savings["steps"][0];
    assert_eq!((step["items"].as_u64(), &step["estimated"]), (Some(filtered), &true.into()), "{savings}");
    assert_eq!(report["saved_estimated"], serde_json::json!(["filter"]), "{report}");
    let told = place.run("cost --savings rows", &[]).expect(0).stdout;
    assert!(told.contains("filter (estimated)"), "{told}");
    let unfiltered = place.run("plan rows.csv --json --cache off", &ASK[..8]).expect(0).json();
    let (with, without) = (nanos(&plan, "naive"), nanos(&unfiltered, "naive"));
    // Rounded up row by row, and once for all.
    assert!((with - without).abs() * 100 < without, "{with} {without}");
    let share = nanos(step, "saved") * 90 / i64::try_from(filtered).unwrap();
    assert!((share - without).abs() * 10 < without, "{share} {without}");
    // What a filter said is no answer of the model for a later job without it.
    let later = place.run("plan rows.csv --json", &ASK[..8]).expect(0).json();
    assert_eq!(
        (later["cached"].as_u64(), later["requests"].as_u64()),
        (Some(90 - filtered), Some(filtered)),
        "{later}"
    );
}

/// A plan of the rows that a filter leaves is a plan of those rows.
#[test]
fn a_plan_counts_no_row_that_the_filter_answers_itself() {
    let sim = Sim::start(&[]);
    let place = place(&sim);
    place.run(TRAIN, &[]).expect(0);
    // Prizes are longer, and go to another model; each tenth row is there twice.
    let rows = messages(90, 50_000)
        .replace("you have won a prize", "you have won after a long time of waiting a prize");
    let twice: String = rows.lines().skip(1).step_by(10).map(|row| format!("x{row}\n")).collect();
    place.put("rows.csv", format!("{rows}{twice}"));
    let rule = ["--rule", "'prize' in message=>openai/gpt-6-sol"];
    let plan = |file: &str, more: &[&str]| {
        place.run(&format!("plan {file} --json"), &[&ASK[..8], &rule, more].concat()).expect(0).json()
    };
    let filtered = plan("rows.csv", &ASK[8..]);
    let exact = plan("rows.csv", &[&ASK[8..], &["--exact"]].concat());
    let line = "run rows.csv --yes --lane sync --cache off --out a.csv";
    place.run(line, &[&ASK[..], &rule].concat()).expect(0);
    // Rows that equal a filtered one are saved as such, whether the cache is on or off.
    place.run("verify rows", &[]).expect(0);
    let books = place.run("cost --savings rows --json", &[]).expect(0).json();
    let levers = adds_up(&books);
    for lever in ["dedup", "filter"] {
        assert!(levers.iter().any(|known| known == lever), "{lever}: {books}");
    }
    let (header, table) = table(&place.path("a.csv"));
    let lane = header.iter().position(|column| column == "_lane").unwrap();
    let kept: String =
        table.iter().filter(|row| row[lane] != "filter").map(|row| row[..3].join(",") + "\n").collect();
    place.put("left.csv", format!("id,message,class\n{kept}"));
    let left = plan("left.csv", &["--cache", "off"]);
    for key in ["requests", "models", "lanes"] {
        assert_eq!(filtered[key], left[key], "{key}");
    }
    assert!(nanos(&filtered, "naive") > nanos(&left, "naive"), "what the filter saves is in naive");
    assert_eq!(
        (&exact["requests"], &exact["models"][0]["requests"]),
        (&left["requests"], &left["requests"]),
        "{exact}"
    );
}

#[test]
fn what_is_answered_here_has_no_say_in_the_order_of_sending() {
    let sim = Sim::start(&[]);
    let place = place(&sim);
    place.run(TRAIN, &[]).expect(0);
    let is_kept = |line: &&str| line.starts_with("id,") || line.contains("prize");
    let prizes: Vec<String> =
        messages(90, 50_000).lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    place.put("rows.csv", prizes.concat());
    let plan = place.run("plan rows.csv --order prefix --json", &ASK).expect(0).json();
    assert_eq!((plan["filtered"].as_u64(), plan["requests"].as_u64()), (Some(30), Some(0)), "{plan}");
    assert_eq!(plan["order"]["why"], "there is nothing to send", "{plan}");
}

#[test]
fn a_killed_job_keeps_what_the_filter_answered() {
    let sim = Sim::start(&["--latency-ms", "300"]);
    let place = place(&sim);
    place.run(TRAIN, &[]).expect(0);
    let line = "run rows.csv --yes --lane sync --rpm 3000 --poll-min 1s --out a.csv";
    place.kill_when(line.split(' ').chain(ASK), |status| status["succeeded"].as_u64() > Some(62));
    // The filter is not needed any more.
    std::fs::remove_file(place.path("spam.filter")).unwrap();
    let report = place.run("resume rows --json", &[]).expect(0).json();
    assert!(report["filtered"].as_u64() >= Some(60) && report["succeeded"].as_u64() == Some(90), "{report}");
    place.run("verify rows", &[]).expect(0);
}

#[test]
fn what_cannot_be_filtered_says_why() {
    let sim = Sim::start(&[]);
    let place = place(&sim);
    place.run(TRAIN, &[]).expect(0);
    place.put("few.csv", messages(60, 0));
    place.put("bad.toml", "[[rule]]\nwords = [\"x\"]\npattern = \"y\"\nanswer = \"spam\"\n");
    place.put("open.toml", "[[rule]]\npattern = \"(\"\nanswer = \"spam\"\n");
    place.put("typo.toml", RULES.replace("^maybe\"\nanswer = \"spam", "^maybe\"\nanswer = \"Spam"));
    place.put("odd.toml", "[[rule]]\nword = [\"x\"]\nanswer = \"spam\"\n");
    place.put("lines.jsonl", "{\"custom_id\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n");
    let train = "filter train labels.csv --text message --label class --out x.filter";
    for (line, code, words) in [
        (train.replace("labels", "few"), "labels-too-few", "60 labelled rows"),
        (train.replace("class", "klass"), "column-unknown", "no column `klass`"),
        (format!("{train} --rules bad.toml"), "rule-invalid", "`bad.toml`: filter rule 1: it has both"),
        (format!("{train} --rules open.toml"), "rule-invalid", "`open.toml`: filter rule 1"),
        (
            format!("{train} --rules typo.toml"),
            "rule-invalid",
            "`typo.toml`: filter rule 2: it answers `Spam`",
        ),
        (format!("{train} --rules odd.toml"), "job-file-invalid", "did you mean `words`"),
        ("filter show labels.csv".to_owned(), "filter-invalid", "labels.csv"),
        (
            "plan lines.jsonl --model openai/gpt-6-luna --filter spam.filter".to_owned(),
            "filter-needs-choices",
            "unified requests",
        ),
    ] {
        place.run(&line, &[]).error(2, code, &[words]);
    }
    let mut args = ASK;
    args[3] = "yes,no";
    place.run("plan rows.csv", &args).error(2, "filter-needs-choices", &["the filter answers `ham`"]);
    args[1] = "Is this spam?";
    place.put("other.csv", "id,text\n1,a\n");
    args[3] = "spam,ham";
    place.run("plan other.csv", &args).error(2, "column-unknown", &["no column `message`"]);
}

/// An ordinary job of kind embedding; its output is a source with the embeddings in a column.
fn embedded(place: &Place, from: &str, to: &str) -> i64 {
    let ask = ["--user", "{{ message }}", "--kind", "embedding", "--model", "openai/text-embedding-3-small"];
    let line = format!("run {from} --dimensions 64 --budget 1 --lane sync --id id --out {to} --json");
    nanos(&place.run(&line, &ask).expect(0).json(), "spent")
}

/// Beside the filter's saving, and in no sum: the books of the job that embedded have it.
fn what_embeddings_cost_is_told(place: &Place, report: &Value, of_rows: i64) {
    let books = place.run("cost --savings rows2 --json", &[]).expect(0).json();
    let levers = adds_up(&books);
    assert!(of_rows > 0 && !levers.iter().any(|lever| lever == "embedding"), "{books}");
    for told in [&report["source_embeddings"], &books["source_embeddings"]] {
        assert_eq!(nanos(told, "spent"), of_rows, "{told}");
        assert_eq!(told["jobs"].as_array().unwrap().len(), 1, "{told}");
    }
    let text = place.run("cost --savings rows2", &[]).expect(0).stdout;
    assert!(text.contains("the embeddings in its source cost USD 0.000"), "{text}");
    assert!(text.contains("of what the filter saves USD 0.000"), "{text}");
    // Of a file that somebody has changed nobody knows what is in it.
    let changed = place.read("vectors.csv").replacen("m-50000", "x-50000", 1);
    place.put("changed.csv", changed);
    let run = "run changed.csv --yes --lane sync --answers-only --out changed.out.csv --json";
    let report = place.run(run, &ASK).expect(0).json();
    assert!(report["filtered"].as_u64() > Some(40) && report["source_embeddings"].is_null(), "{report}");
}

#[test]
fn embeddings_that_a_job_has_written_are_a_tier_before_the_words() {
    let sim = Sim::start(&[]);
    let place = place(&sim);
    let of_rows = embedded(&place, "rows.csv", "vectors.csv");
    let paid = embedded(&place, "labels.csv", "labelled.jsonl") + of_rows;
    let train =
        "filter train labelled.jsonl --text message --label class --embedding embedding --out spam.filter";
    let said = place.run(&format!("{train} --json"), &[]).expect(0).json();
    let found = &said["embedded"]["learned"];
    assert!(found["answered"].as_u64() > Some(500) && found["wrong_high"].as_f64() <= Some(0.02), "{said}");
    let text = place.run("filter show spam.filter", &[]).expect(0).stdout;
    assert!(text.contains("by the embeddings in column `embedding`: answers"), "{text}");
    let run = "run vectors.csv --yes --lane sync --name rows2 --answers-only --out a.csv --json";
    let report = place.run(run, &ASK).expect(0).json();
    let filtered = report["filtered"].as_u64().unwrap();
    assert!((50..66).contains(&filtered) && report["succeeded"].as_u64() == Some(90), "{report}");
    assert_eq!(report["requests_sent"].as_u64(), Some(90 - filtered), "{report}");
    assert_eq!(place.proved("rows2", &sim), paid + nanos(&report, "spent"), "all three jobs are the bill");
    what_embeddings_cost_is_told(&place, &report, of_rows);
    let (header, rows) = table(&place.path("a.csv"));
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let first = rows.iter().find(|row| row[column("_lane")] == "filter").unwrap();
    assert!(first[column("_cost_usd")].parse::<f64>().unwrap() <= 0.0, "{first:?}");
    let shown = place.run(&format!("show rows2 {}", first[column("_id")]), &[]).expect(0).json();
    let how = shown["attempts"][0]["result"]["filter"].as_str().unwrap_or_default();
    assert!(
        how.starts_with("embedding, confidence 0.") || how.starts_with("embedding, confidence 1."),
        "{shown}"
    );
    // The job needs the column that proves something.
    place.run("plan rows.csv", &ASK).error(2, "column-unknown", &["embedding"]);
}
