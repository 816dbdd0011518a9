//! Of every row it is told what chose its model, or its answer: a rule, the router, its line, a filter, or the user's own word.

use bulkrate_core::route::learned::{Router, Scratch};
use serde_json::{Value, json};

use super::filter;
use super::route::{AUTO, shop};
use super::support::{Place, Sim, table};

const SYNC: &str = "--yes --json --lane sync --poll-min 1s";

fn route_of(place: &Place, job: &str, item: &str) -> Value {
    place.run(&format!("show {job} {item}"), &[]).expect(0).json()["route"].clone()
}

const TIERS: &str = "id,tier,text\na,gold,one\nb,basic,two\nc,basic,four words and five\nd,,\"a much longer text, and more, so that it counts\"\n";
const RULES: [&str; 6] = [
    "--user",
    "Say it again: {{ text }}",
    "--rule",
    "tier == 'gold'=>strong",
    "--rule",
    "tier == 'basic' and tokens < 20=>openai/gpt-6.1-terra",
];

#[test]
fn a_rule_is_told_by_its_number_and_a_named_model_by_its_name() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("tiers.csv", TIERS);
    place.run(&format!("run tiers.csv --model fast --id id {SYNC} --out a.csv"), &RULES).expect(0);
    let rule =
        |number: u64, when: &str, to: &str| json!({"by": "rule", "rule": number, "when": when, "to": to});
    let short = "tier == 'basic' and tokens < 20";
    let (_, rows) = table(&place.path("a.csv"));
    for (row, want, model) in [
        (0, rule(1, "tier == 'gold'", "strong"), "gpt-6.1-sol"),
        (1, rule(2, short, "openai/gpt-6.1-terra"), "gpt-6.1-terra"),
        (2, rule(2, short, "openai/gpt-6.1-terra"), "gpt-6.1-terra"),
        (3, json!({"by": "model", "to": "fast"}), "gpt-6-luna"),
    ] {
        assert_eq!(route_of(&place, "tiers", ["a", "b", "c", "d"][row]), want);
        assert!(rows[row].iter().any(|cell| cell == model), "{rows:?}");
    }
    // By number, as by its id.
    assert_eq!(route_of(&place, "tiers", "2"), route_of(&place, "tiers", "b"));
}

/// A line that names its model is pinned, also where the job's own is the same.
#[test]
fn a_line_that_names_its_model_says_so() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let line = |id: &str, model: &str| {
        format!(
            "{{\"custom_id\":\"{id}\",{model}\"messages\":[{{\"role\":\"user\",\"content\":\"{id}\"}}]}}\n"
        )
    };
    let (sol, luna) = ("\"model\":\"strong\",", "\"model\":\"openai/gpt-6-luna\",");
    place.put("lines.jsonl", [line("a", sol), line("b", luna), line("c", "")].concat());
    place.put("named.jsonl", [line("a", sol), line("b", luna)].concat());
    let body = "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"gpt-6-luna\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}}\n";
    place.put("batch.jsonl", body);
    let own = json!({"by": "model", "to": "fast"});
    let named = |model: &str| json!({"by": "line", "to": format!("openai/{model}")});
    for (file, model, want) in [
        ("lines", "--model fast", vec![named("gpt-6.1-sol"), named("gpt-6-luna"), own]),
        ("named", "", vec![named("gpt-6.1-sol"), named("gpt-6-luna")]),
        ("batch", "--model strong", vec![named("gpt-6-luna")]),
    ] {
        place.run(&format!("run {file}.jsonl {model} {SYNC} --out {file}.out.jsonl"), &[]).expect(0);
        for (id, want) in ["a", "b", "c"].iter().zip(want) {
            assert_eq!(route_of(&place, file, id), want, "{file} {id}");
        }
    }
    let ours = line("a", "\"route_by\":\"line\",");
    place.put("ours.jsonl", ours);
    place.run("plan ours.jsonl --model fast", &[]).error(2, "item-bad-request", &["`route_by`"]);
}

/// Rules come first, then the router: each row is told by the one that decided, before a kill and after it.
#[test]
fn what_chose_outlives_a_kill() {
    let sim = Sim::start(&["--latency-ms", "300"]);
    let place = shop(&sim);
    let rule = ["--rule", "topic == 'proofs'=>openai/gpt-6-luna"];
    let line = "run items.csv --yes --json --lane sync --out labels.csv --rpm 3000 --poll-min 1s".split(' ');
    let args: Vec<&str> = line.chain(AUTO).chain(rule).collect();
    place.kill_when(&args, |status| status["succeeded"].as_u64() > Some(5));
    let rows: Vec<String> = place
        .read("items.csv")
        .lines()
        .skip(1)
        .map(|row| row.rsplit(',').next().unwrap().to_owned())
        .collect();
    let told =
        || -> Vec<Value> { (1..=12).map(|row: usize| route_of(&place, "items", &row.to_string())).collect() };
    let before = told();
    for (route, topic) in before.iter().zip(&rows) {
        let want = match topic.as_str() {
            "proofs" => {
                json!({"by": "rule", "rule": 1, "when": "topic == 'proofs'", "to": "openai/gpt-6-luna"})
            }
            _ => json!({"by": "router", "to": route["to"], "score_millionths": route["score_millionths"],
                "threshold_millionths": route["threshold_millionths"], "router": route["router"]}),
        };
        assert_eq!(route, &want, "{topic}");
        assert_eq!(topic == "proofs", route["score_millionths"].is_null());
    }
    assert!(
        before.iter().any(|route| route["by"] == "rule")
            && before.iter().any(|route| route["by"] == "router")
    );
    std::fs::remove_file(place.path("shop.router")).unwrap();
    place.run("resume items --json", &[]).expect(0);
    assert_eq!(told(), before);
    place.run("verify items", &[]).expect(0);
}

/// A filter's answer has no model; what found it stands in its result.
#[test]
fn an_answer_of_a_filter_says_what_found_it() {
    let sim = Sim::start(&[]);
    let place = filter::place(&sim);
    place.run(filter::TRAIN, &[]).expect(0);
    let ask = ["--user", "Is this spam? {{ message }}", "--choices", "spam,ham", "--id", "id"];
    let line = format!("run rows.csv --model fast --filter spam.filter {SYNC} --out a.csv");
    place.run(&line, &ask).expect(0);
    let (header, rows) = table(&place.path("a.csv"));
    let lane = header.iter().position(|column| column == "_lane").unwrap();
    for row in rows.iter().take(9) {
        let shown = place.run(&format!("show rows {}", row[0]), &[]).expect(0).json();
        let attempt = &shown["attempts"][0];
        let found = attempt["result"]["filter"].as_str().unwrap_or_default();
        match row[1].split(' ').next().unwrap() {
            "you" => assert_eq!((attempt["lane"].as_str(), found), (Some("filter"), "rule 1"), "{shown}"),
            _ if row[lane] == "filter" => assert!(found.starts_with("learned, confidence "), "{shown}"),
            _ => assert_eq!((attempt["lane"].as_str(), found), (Some("sync"), ""), "{shown}"),
        }
        assert_eq!(
            shown["route"],
            json!({"by": "model", "to": "fast"}),
            "the model that it would have gone to"
        );
    }
}

/// From what is stored of an item alone: its text gives the score, the score and the threshold its model. In every state folder.
#[test]
fn what_a_router_decided_is_decided_again() {
    let sealed = || {
        let sim = Sim::start(&[]);
        let place = shop(&sim);
        let args = ["--rule", "topic == 'names' and '7' in question=>openai/gpt-6.1-terra"];
        place.run(&format!("run items.csv {SYNC} --out a.csv"), &[&AUTO[..], &args].concat()).expect(0);
        let router = Router::from_bytes(&std::fs::read(place.path("shop.router")).unwrap()).unwrap();
        (router, std::fs::read_to_string(place.job_dir().join("requests.jsonl")).unwrap())
    };
    let ((router, lines), (_, again)) = (sealed(), sealed());
    assert_eq!(lines, again);
    let (mut scratch, mut weak, mut ruled) = (Scratch::default(), 0, 0);
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let asked = line["messages"][0]["content"].as_str().unwrap();
        let (scores, place) = router.decide(asked.strip_prefix("Answer in a word: ").unwrap(), &mut scratch);
        let model = line["model"].as_str().unwrap();
        if line["route_score"].is_null() {
            assert_eq!((&line["route_by"], model.contains("terra")), (&json!({"rule": 1}), true), "{line}");
            ruled += 1;
            continue;
        }
        assert_eq!(line["route_score"].as_i64(), Some(i64::from(scores[0].0)), "{line}");
        assert_eq!(model.contains("luna"), place == 0, "{line}");
        weak += usize::from(place == 0);
    }
    assert!(weak > 10 && ruled > 10 && lines.lines().count() > weak + ruled + 10, "{weak} {ruled}");
}
