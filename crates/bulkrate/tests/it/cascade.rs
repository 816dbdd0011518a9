//! Cascades: cheap answers are judged, what is not accepted goes up, in both lanes; a crash in between neither loses an item nor
//! pays an answer twice; and what it saved adds up.

use std::collections::BTreeMap;

use serde_json::Value;

use super::crash::{At, BATCH, Crashed, SYNC, Seeded};
use super::jobs::nanos;
use super::support::{Place, Sim, reviews, table};

const LUNA: &str = "gpt-6-luna";
const SOL: &str = "gpt-6.1-sol";

/// Everything but the lane, the cascade and the output.
const ASK: [&str; 8] = [
    "--user",
    "Review of a {{ product }}: {{ text }}",
    "--system",
    "Say whether a review is positive, negative or neutral.",
    "--id",
    "id",
    "--model",
    "openai/gpt-6.1-sol",
];
const CHOICES: [&str; 2] = ["--choices", "positive,negative,neutral"];
const SURE: [&str; 6] =
    ["--schema", "sure.json", "--cascade", "openai/gpt-6-luna", "--accept", "confidence>=0.5"];
const AGREE: [&str; 4] = ["--cascade", "openai/gpt-6-luna,openai/gpt-6.1-terra", "--accept", "agree"];

fn shop(sim: &Sim, rows: usize) -> Place {
    let place = Place::with(sim);
    let schema = r#"{"type":"object","additionalProperties":false,"required":["sentiment","confidence"],
        "properties":{"sentiment":{"enum":["positive","negative","neutral"]},
        "confidence":{"type":"number","minimum":0,"maximum":1}}}"#;
    place.put("reviews.csv", reviews(rows)).put("sure.json", schema);
    place
}

/// `naive - savings = spent`; answers what the cascade saved.
#[track_caller]
fn adds_up(report: &Value) -> i64 {
    let saved = report["saved_usd_nanos"].as_object().unwrap();
    let levers: i64 = saved.values().map(|usd| usd.as_i64().unwrap()).sum();
    assert_eq!(nanos(report, "naive") - levers, nanos(report, "spent"), "{report}");
    saved.get("cascade").map_or(0, |usd| usd.as_i64().unwrap())
}

/// Rows by the model that answered them.
fn by_model(place: &Place, file: &str) -> BTreeMap<String, Vec<BTreeMap<String, String>>> {
    let (header, rows) = table(&place.path(file));
    let mut found: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for row in rows {
        let row: BTreeMap<String, String> = header.iter().cloned().zip(row).collect();
        found.entry(row["_model"].clone()).or_default().push(row);
    }
    found
}

#[test]
fn what_a_cheap_model_is_not_sure_of_goes_up_in_both_lanes() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 100);
    let mut first = None;
    for lane in ["sync", "batch"] {
        let line = format!(
            "run reviews.csv --yes --json --cache off --name {lane} --sample {} --lane {lane} --poll-min 50ms --out {lane}.csv",
            lane.len()
        );
        let report = place.run(&line, &[&ASK[..], &SURE].concat()).expect(0).json();
        assert_eq!(report["succeeded"], 100);
        assert!(adds_up(&report) > 0, "{report}");
        assert_eq!(report["naive_model"], "openai/gpt-6.1-sol");
        let rows = by_model(&place, &format!("{lane}.csv"));
        let (cheap, strong) = (&rows[LUNA], &rows[SOL]);
        assert!(cheap.len() > 20 && strong.len() > 20, "{} {}", cheap.len(), strong.len());
        assert!(cheap.iter().all(|row| row["confidence"].parse::<f64>().unwrap() >= 0.5), "{cheap:?}");
        assert!(cheap.iter().all(|row| row["_attempts"] == "1"), "{cheap:?}");
        assert!(strong.iter().all(|row| row["_attempts"] == "2"), "{strong:?}");
        let cascade = &report["cascade"];
        assert_eq!(cascade["accepted"].as_u64().unwrap(), cheap.len() as u64);
        // Equal rows share one leader's way.
        let ways = strong.iter().map(|row| format!("{} {}", row["product"], row["text"]));
        let leaders = ways.collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(cascade["rejected"]["not_accepted"].as_u64().unwrap(), leaders as u64, "{report}");
        assert_eq!(cascade["off"], false);
        place.run(&format!("verify {lane}"), &[]).expect(0);
        let found = place.run(&format!("cost --savings {lane} --json"), &[]).expect(0).json();
        assert_eq!(found["naive_plan"]["model"], "openai/gpt-6.1-sol");
        assert_eq!(found["steps"][0]["lever"], "cascade", "{found}");
        // The answers do not depend on the lane.
        let who: Vec<String> =
            table(&place.path(&format!("{lane}.csv"))).1.into_iter().map(|row| row.join("|")).collect();
        assert_eq!(first.get_or_insert(who.len()), &mut who.len());
    }
    let spent: i64 = place
        .run("cost --json", &[])
        .expect(0)
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| nanos(row, "spent"))
        .sum();
    assert_eq!(nanos(&sim.bill(), "total"), spent);
}

#[test]
fn each_item_says_why_it_went_up() {
    let sim = Sim::start(&["--fault", "bad-json=0.3"]);
    let place = shop(&sim, 60);
    let line = "run reviews.csv --yes --json --lane sync --out labels.csv";
    let report = place.run(line, &[&ASK[..], &SURE].concat()).json();
    let rejected = &report["cascade"]["rejected"];
    assert!(
        rejected["not_accepted"].as_u64() > Some(5) && rejected["schema_failed"].as_u64() > Some(5),
        "{report}"
    );
    adds_up(&report);
    let (mut unsure, mut invalid) = (0, 0);
    for number in 1..=60 {
        let shown = place.run(&format!("show reviews r-{}", number - 1), &[]).expect(0).json();
        let attempts = shown["attempts"].as_array().unwrap();
        for attempt in attempts.iter().filter(|attempt| attempt["fate"] == "escalate") {
            let error = &attempt["result"]["error"];
            let message = error["message"].as_str().unwrap();
            match attempt["class"].as_str().unwrap() {
                "not_accepted" => {
                    unsure += 1;
                    assert!(
                        message.contains("its `confidence` is 0.") && message.contains("below 0.5"),
                        "{message}"
                    );
                    assert!(error["answer"].as_str().unwrap().contains("confidence"), "{error}");
                }
                "schema_failed" => invalid += 1,
                other => panic!("{other}: {attempt}"),
            }
        }
        let asked: Vec<&str> =
            attempts.iter().map(|attempt| attempt["result"]["model"].as_str().unwrap()).collect();
        let cheap = asked.iter().filter(|model| **model == LUNA).count();
        assert!(cheap == 1 && asked[0] == LUNA, "a cheap model is asked once: {asked:?}");
    }
    assert!(unsure > 5 && invalid > 5);
    place.run("verify reviews", &[]).expect(0);
    assert_eq!(nanos(&sim.bill(), "total"), nanos(&report, "spent"));
}

#[test]
fn two_cheap_models_that_agree_are_enough() {
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.6"]);
    let place = shop(&sim, 100);
    let args = [&ASK[..], &CHOICES, &AGREE].concat();
    let report = place
        .run("run reviews.csv --yes --json --lane batch --poll-min 50ms --out a.csv", &args)
        .expect(0)
        .json();
    let rows = by_model(&place, "a.csv");
    let (agreed, strong) = (&rows["gpt-6.1-terra"], &rows[SOL]);
    assert!(
        !rows.contains_key(LUNA) && agreed.len() > 20 && strong.len() > 10,
        "{} {}",
        agreed.len(),
        strong.len()
    );
    assert!(
        agreed.iter().all(|row| row["_attempts"] == "2") && strong.iter().all(|row| row["_attempts"] == "3")
    );
    adds_up(&report);
    place.run("verify reviews", &[]).expect(0);
    // As the strong model alone would have answered: where the weak one erred, the other did not agree.
    let alone = [&ASK[..], &CHOICES].concat();
    place.run("run reviews.csv --yes --cache off --name alone --lane sync --out b.csv", &alone).expect(0);
    let answers = |file: &str| {
        let (header, rows) = table(&place.path(file));
        let at = header.iter().position(|column| column == "answer").unwrap();
        rows.into_iter().map(|mut row| row.swap_remove(at)).collect::<Vec<_>>()
    };
    assert_eq!(answers("a.csv"), answers("b.csv"));
}

#[test]
fn a_cascade_that_loses_is_off_and_says_so() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 600);
    // A confidence that nothing reaches.
    let args = [&ASK[..], &SURE[..4], &["--accept", "confidence>=1"]].concat();
    let line = "run reviews.csv --yes --json --lane sync --concurrency-max 8 --out a.csv --budget 9";
    let said = place.run(line, &args).expect(0);
    assert!(
        said.stderr.contains("cascade-off") || said.stderr.contains("the cascade pays from"),
        "{}",
        said.stderr
    );
    let report = said.json();
    assert_eq!((report["cascade"]["off"].as_bool(), report["succeeded"].as_u64()), (Some(true), Some(600)));
    assert!(adds_up(&report) < 0, "the cheap answers are lost: {report}");
    let strong = &by_model(&place, "a.csv")[SOL];
    let once = strong.iter().filter(|row| row["_attempts"] == "1").count();
    assert!(once > 200, "{once} of {} went to the strong model at once", strong.len());
    place.run("verify reviews", &[]).expect(0);
}

#[test]
fn what_a_cheap_model_answered_is_not_taken_for_the_strong_ones_answer() {
    let sim = Sim::start(&[]);
    let judged = [&CHOICES[..], &JUDGE].concat();
    for cascade in [&SURE[..], &judged] {
        let place = shop(&sim, 60);
        let line = "run reviews.csv --yes --json --lane sync";
        let report =
            place.run(&format!("{line} --out a.csv"), &[&ASK[..], cascade].concat()).expect(0).json();
        let escalated = report["cascade"]["rejected"]["not_accepted"].as_u64().unwrap();
        let alone = [&ASK[..], &cascade[..2], &["--name", "alone"]].concat();
        let again = place.run(&format!("{line} --out b.csv"), &alone).expect(0).json();
        assert!(escalated > 5);
        assert_eq!(again["cached"].as_u64().unwrap(), escalated, "{again}");
        assert!(by_model(&place, "b.csv").keys().all(|model| model == SOL));
    }
}

#[test]
fn a_budget_that_ends_between_the_two_is_kept_and_goes_on() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 100);
    let args = [&ASK[..], &SURE, &["--max-output-tokens", "64"]].concat();
    let line = "run reviews.csv --yes --json --lane sync --concurrency-max 4";
    let plan = place.run("plan reviews.csv --json --lane sync", &args).expect(0).json();
    let lane = plan["lanes"].as_array().unwrap().iter().find(|lane| lane["lane"] == "sync").unwrap();
    assert!(
        nanos(lane, "expected") < nanos(lane, "p95") && nanos(lane, "p95") <= nanos(lane, "worst"),
        "{plan}"
    );
    assert!(plan["warnings"][0].as_str().unwrap().contains("the cascade pays if more than"), "{plan}");
    let refused = place.run(&format!("{line} --budget 0.000001"), &args).expect(3);
    assert!(refused.stdout.contains("budget-too-small"), "{}", refused.stdout);
    // A daily cap is no gate: the job runs into it.
    let whole =
        place.run(&format!("{line} --cache off --name first --sample 1 --out b.csv"), &args).expect(0).json();
    let cap = nanos(&whole, "spent") * 3 / 2;
    let daily = format!("--budget-daily 0.{cap:09}");
    let short = place.run(&format!("{line} {daily} --out c.csv"), &args).expect(3).json();
    let both = nanos(&short, "spent") + nanos(&whole, "spent");
    assert!(both <= cap && short["open"].as_u64() > Some(0), "{both} of {cap}: {short}");
    assert!(short["cascade"]["rejected"]["not_accepted"].as_u64() > Some(0), "{short}");
    let before = nanos(&whole, "spent");
    let whole = place.run(&format!("{line} --budget-daily 9 --out c.csv"), &args).expect(0).json();
    assert_eq!(whole["succeeded"], 100);
    adds_up(&whole);
    assert_eq!(nanos(&sim.bill(), "total"), nanos(&whole, "spent") + before);
    place.run("verify reviews", &[]).expect(0);
}

#[test]
fn a_cascade_killed_at_every_step_of_its_batches_pays_each_answer_once() {
    let sim = Sim::start(&["--speed", "900", "--weak", "gpt-6-luna=0.6"]);
    let ask = [&ASK[..], &CHOICES, &AGREE].concat();
    let mut job =
        Crashed::asking(&sim, 600, &[&BATCH, &["--batches-max", "2", "--budget", "5"][..]].concat(), &ask);
    for step in [
        "\"state\":\"staged\"",
        "\"state\":\"in_progress\"",
        "\"event\":\"progress\"",
        "\"state\":\"ended\"",
        "\"state\":\"settled\"",
    ] {
        for _ in 0..2 {
            assert!(job.kill(At::Event(step)), "{step} did not come");
        }
    }
    let report = job.prove(false);
    assert_eq!(report["succeeded"], 600);
    once_each(&job.place, &report);
}

#[test]
fn a_cascade_killed_at_random_pays_each_answer_once() {
    let mut random = Seeded(0xca5c);
    let ask = [&ASK[..], &CHOICES, &AGREE].concat();
    for round in 0..6 {
        let lane: &[&str] = if round % 2 == 0 { &BATCH } else { &SYNC };
        let flags = ["--speed", "1800", "--latency-ms", "20", "--weak", "gpt-6-luna=0.6"];
        let sim = Sim::start(&flags);
        let mut job = Crashed::asking(&sim, 200, lane, &ask);
        for _ in 0..3 {
            if !job.kill(At::Millis(100 + random.below(500))) {
                break;
            }
        }
        let report = job.prove(round % 2 == 1);
        assert_eq!(report["succeeded"], 200, "round {round}: {report}");
        if round % 2 == 0 {
            once_each(&job.place, &report);
        }
    }
}

const JUDGE: [&str; 4] = ["--cascade", "openai/gpt-6-luna", "--accept", "judge:openai/gpt-6-luna"];

/// A judge reads a question of its own about each answer, and the plan knows what that costs before it is paid.
#[test]
fn a_plan_counts_the_judges_own_question() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 200);
    let planned = |judge: &str, lane: &str| {
        let rule = format!("judge:{judge}");
        let args = [&ASK[..], &CHOICES, &["--cascade", "openai/gpt-6-luna", "--accept", &rule]].concat();
        let plan = place.run(&format!("plan reviews.csv --json --lane {lane}"), &args).expect(0).json();
        let said = plan["warnings"].to_string();
        let share = said.split("more than ").nth(1).or_else(|| said.split("judge cost ").nth(1));
        let share = share.and_then(|rest| rest.split(' ').next()).unwrap_or_default().parse::<f64>();
        (
            share.unwrap_or_else(|_| panic!("{said}")),
            said,
            args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(),
        )
    };
    for lane in ["sync", "batch"] {
        let (dear, said, args) = planned("openai/gpt-6.1-terra", lane);
        assert!(
            dear > 100.0 && said.contains("the cascade can never pay: its cheap models and its judge"),
            "{said}"
        );
        if lane == "sync" {
            // What the run itself says when it gives up is about that.
            let line = "run reviews.csv --yes --json --lane sync --concurrency-max 2 --out a.csv --budget 9";
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let said = place.run(line, &args).expect(0).stderr;
            let found = said.split("its cheap answers cost ").nth(1).and_then(|rest| rest.split(' ').next());
            let found: f64 = found.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
            assert!((dear / found - 1.0).abs() < 0.35, "planned {dear}, found {found}");
        }
        let (cheap, said, _) = planned("openai/gpt-6-luna", lane);
        assert!(cheap < 50.0 && said.contains("the cascade pays if more than"), "{said}");
    }
}

#[test]
fn a_judge_decides_in_both_lanes() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 100);
    for lane in ["sync", "batch"] {
        let line = format!(
            "run reviews.csv --yes --json --cache off --name {lane} --sample {} --lane {lane} --poll-min 50ms --out {lane}.csv",
            lane.len()
        );
        let args = [&ASK[..], &CHOICES, &JUDGE].concat();
        let report = place.run(&line, &args).expect(0).json();
        adds_up(&report);
        let rows = by_model(&place, &format!("{lane}.csv"));
        // What the judge accepts is the cheap model's answer: nobody's `yes` is a row.
        let (cheap, strong) = (&rows[LUNA], &rows[SOL]);
        assert!(rows.len() == 2 && cheap.len() > 10 && strong.len() > 10, "{} {}", cheap.len(), strong.len());
        assert!(
            cheap.iter().all(|row| row["_attempts"] == "2")
                && strong.iter().all(|row| row["_attempts"] == "3")
        );
        assert!(
            rows.values().flatten().all(|row| CHOICES[1].split(',').any(|choice| choice == row["answer"]))
        );
        assert_eq!(report["cascade"]["accepted"].as_u64().unwrap(), cheap.len() as u64);
        assert_eq!(report["cascade"]["off"], false);
        place.run(&format!("verify {lane}"), &[]).expect(0);
    }
    let spent: i64 = place
        .run("cost --json", &[])
        .expect(0)
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| nanos(row, "spent"))
        .sum();
    assert_eq!(nanos(&sim.bill(), "total"), spent);
    let shown = (1..=20).map(|number| place.run(&format!("show sync r-{number}"), &[]).expect(0).json());
    let said: Vec<String> = shown
        .flat_map(|shown| shown["attempts"].as_array().unwrap().clone())
        .filter_map(|attempt| attempt["result"]["error"]["message"].as_str().map(str::to_owned))
        .collect();
    for words in ["has not judged it yet", "the judge says that it is wrong"] {
        assert!(said.iter().any(|message| message.contains(words)), "{words}: {said:?}");
    }
}

#[test]
fn a_judge_asked_between_two_kills_judges_the_answer_that_was_paid() {
    let mut random = Seeded(0x10d6e);
    let ask = [&ASK[..], &CHOICES, &JUDGE].concat();
    for round in 0..6 {
        let lane: &[&str] = if round % 2 == 0 { &BATCH } else { &SYNC };
        let sim = Sim::start(&["--speed", "1800", "--latency-ms", "20", "--seed", &round.to_string()]);
        let mut job = Crashed::asking(&sim, 200, lane, &ask);
        for _ in 0..3 {
            if !job.kill(At::Millis(100 + random.below(500))) {
                break;
            }
        }
        let report = job.prove(round % 2 == 1);
        assert_eq!(report["succeeded"], 200, "round {round}: {report}");
        adds_up(&report);
        let rows = by_model(&job.place, "labels.csv");
        assert_eq!(report["cascade"]["accepted"].as_u64().unwrap(), rows[LUNA].len() as u64, "{report}");
        if round % 2 == 0 {
            for (model, attempts) in [(LUNA, "2"), (SOL, "3")] {
                assert!(rows[model].iter().all(|row| row["_attempts"] == attempts), "{:?}", rows[model]);
            }
        }
    }
}

/// Every model answered an item at most once, in the order of the cascade, and the report's counts are those of the rows.
#[track_caller]
fn once_each(place: &Place, report: &Value) {
    adds_up(report);
    let rows = by_model(place, "labels.csv");
    assert!(!rows.contains_key(LUNA), "one opinion is not enough");
    for (model, attempts) in [("gpt-6.1-terra", "2"), (SOL, "3")] {
        assert!(rows[model].iter().all(|row| row["_attempts"] == attempts), "{model}: {:?}", rows[model]);
    }
    assert_eq!(report["cascade"]["accepted"].as_u64().unwrap(), rows["gpt-6.1-terra"].len() as u64);
}

/// The cheap model is wrong on a third of the rows, and mostly unsure there.
const PROBABLE: [&str; 6] =
    ["--reasoning", "none", "--cascade", "openai/gpt-6-luna", "--accept", "margin>=0.9"];

#[test]
fn what_a_cheap_model_finds_improbable_goes_up_in_both_lanes() {
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.35"]);
    let place = shop(&sim, 200);
    let args = [&ASK[..], &CHOICES, &PROBABLE].concat();
    let alone = [&ASK[..], &CHOICES, &["--reasoning", "none"]].concat();
    place.run("run reviews.csv --yes --cache off --name alone --lane sync --out right.csv", &alone).expect(0);
    let answers = |file: &str| {
        let (header, rows) = table(&place.path(file));
        let at = |name: &str| header.iter().position(|column| column == name).unwrap();
        let (answer, model) = (at("answer"), at("_model"));
        rows.into_iter().map(|row| (row[answer].clone(), row[model].clone())).collect::<Vec<_>>()
    };
    let right = answers("right.csv");
    for lane in ["sync", "batch"] {
        let line = format!(
            "run reviews.csv --yes --json --cache off --name {lane} --sample {} --lane {lane} --poll-min 50ms --out {lane}.csv",
            lane.len()
        );
        let report = place.run(&line, &args).expect(0).json();
        adds_up(&report);
        let said = answers(&format!("{lane}.csv"));
        let cheap = said.iter().filter(|(_, model)| model == LUNA).count();
        let wrong = said.iter().zip(&right).filter(|(said, right)| said.0 != right.0).count();
        // Without the rule a third would be wrong; some are wrong and sure.
        assert!((60..170).contains(&cheap), "{cheap}");
        assert!(wrong > 0 && wrong < 30, "{wrong} of 200 are wrong");
        let rejected = report["cascade"]["rejected"]["not_accepted"].as_u64().unwrap();
        assert!(rejected > 20, "{report}");
        place.run(&format!("verify {lane}"), &[]).expect(0);
        let told: Vec<Value> = (0..20)
            .flat_map(|row| {
                let shown = place.run(&format!("show {lane} r-{row}"), &[]).expect(0).json();
                shown["attempts"].as_array().unwrap().clone()
            })
            .collect();
        for attempt in &told {
            let result = &attempt["result"];
            match (attempt["fate"].as_str().unwrap(), result["model"].as_str().unwrap()) {
                ("escalate", LUNA) => {
                    let message = result["error"]["message"].as_str().unwrap();
                    assert!(
                        message.contains("its `margin` is ") && message.contains("below 0.9"),
                        "{message}"
                    );
                }
                (_, LUNA) => assert!(result["sureness"]["margin"].as_f64().unwrap() >= 0.9, "{result}"),
                // The strong model is asked as without the cascade.
                (_, model) => assert!(model == SOL && result.get("sureness").is_none(), "{result}"),
            }
        }
    }
}

#[test]
fn a_cheap_model_that_tells_no_probabilities_is_refused_before_it_is_paid() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 5);
    for (model, more, why) in [
        ("openai/gpt-6-luna", &[][..], "only without reasoning; set `reasoning` to `none`"),
        ("openai/gpt-6-luna", &["--reasoning", "low"], "only without reasoning"),
        ("openai/o4-mini", &[], "always reasons"),
    ] {
        let args = [&ASK[..], &CHOICES, &["--cascade", model, "--accept", "logprob>=0.9"], more].concat();
        for verb in ["plan", "run --yes"] {
            let said = place.run(&format!("{verb} reviews.csv --lane sync"), &args);
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(text.contains("option-invalid") && text.contains(why), "{model}: {text}");
        }
    }
    assert_eq!(nanos(&sim.bill(), "total"), 0);
}

#[test]
fn an_answer_without_the_probabilities_that_were_asked_for_is_not_accepted() {
    let sim = Sim::start(&["--fault", "no-logprobs=1"]);
    let place = shop(&sim, 10);
    let args = [&ASK[..], &CHOICES, &PROBABLE].concat();
    let report = place.run("run reviews.csv --yes --json --lane sync --out a.csv", &args).expect(0).json();
    assert_eq!(report["cascade"]["accepted"], 0, "{report}");
    assert!(by_model(&place, "a.csv").keys().all(|model| model == SOL));
    let shown = place.run("show reviews r-0", &[]).expect(0).json();
    let error = &shown["attempts"][0]["result"]["error"];
    assert_eq!(error["class"], "not_accepted");
    assert!(error["message"].as_str().unwrap().contains("no log-probabilities came with it"), "{error}");
}
