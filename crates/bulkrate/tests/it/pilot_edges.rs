//! Pilots: names of plans, what stays counted when jobs are removed, how a pilot ends that cannot go on, and what a budget holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::filter::{self, TRAIN, messages};
use super::jobs::nanos;
use super::pilot::{CHOICES, JOB, LUNA, SOL, TERRA, TWO, billed, pilot, plan, shop, told, winner};
use super::support::{Place, Sim, table};

/// `--budget` of so many nano-dollars.
fn budget(nanos: i64) -> String {
    format!("--budget {}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[test]
fn a_plan_has_a_name_that_another_pilot_does_not_move() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 300);
    let job = [&JOB[..], &CHOICES].concat();
    let run =
        |pick: &str| place.run(&format!("run --plan {pick} --yes --poll-min 50ms --out a.csv --force"), &job);
    let all = pilot(&place, "--pilot 120 --yes --quality-loss 5%", &[&TWO]).expect(0).json();
    let terra = plan(&all, &[TERRA], "sync");
    assert_eq!(terra["name"], "gpt-6.1-terra/sync");
    assert_eq!(plan(&all, &[LUNA, SOL], "batch")["name"], "gpt-6-luna+gpt-6.1-sol/batch");
    assert_eq!(
        plan(&all, &[LUNA, TERRA, SOL], "batch")["name"],
        "gpt-6-luna+gpt-6.1-terra+gpt-6.1-sol@agree/batch"
    );
    // Another pilot has fewer plans: the number is another's, the name is the plan's.
    let fewer =
        pilot(&place, "--pilot 120 --yes --quality-loss 5%", &[&["--candidate", TERRA]]).expect(0).json();
    let moved = plan(&fewer, &[TERRA], "sync");
    assert_ne!(moved["number"], terra["number"]);
    assert_eq!(moved["name"], terra["name"]);
    let said = run("gpt-6.1-terra/sync").expect(0);
    assert!(said.stderr.contains("plan gpt-6.1-terra/sync: "), "{}", said.stderr);
    run("gpt-6-terra/sync").error(2, "pilot-no-plan", &["did you mean `gpt-6.1-terra/sync`"]);
    // A number means what was shown last, and nothing once that list is another.
    run(&moved["number"].to_string()).expect(0);
    run("99").error(2, "pilot-no-plan", &["no plan 99"]);
    place.run("rm reviews-pilot-openai-gpt-6.1-terra --yes", &[]).expect(0);
    run(&moved["number"].to_string()).error(2, "pilot-no-plan", &["was `gpt-6.1-terra/sync`", "by its name"]);
}

#[test]
fn the_quality_loss_of_the_pilot_is_that_of_the_run() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 200);
    let found =
        pilot(&place, "--pilot 100 --yes --quality-loss 5%", &[&["--candidate", LUNA]]).expect(0).json();
    assert_eq!(winner(&found)["models"], serde_json::json!([LUNA]));
    let job = [&JOB[..], &CHOICES].concat();
    let run = |loss: &str| {
        place.run(&format!("run --plan fastest --yes --out a.csv --force {loss}"), &job).expect(0)
    };
    assert!(run("--quality-loss 0.1%").stderr.contains("plan gpt-6.1-sol/"));
    place.run("rm reviews --yes", &[]).expect(0);
    assert!(run("").stderr.contains("plan gpt-6-luna/"));
}

#[test]
fn what_has_no_price_has_a_fastest_plan() {
    let sim = Sim::start(&["--any-model"]);
    let place = shop(&sim, 200);
    let job: Vec<&str> =
        JOB[..7].iter().copied().chain(["--model", "openai/own-large"]).chain(CHOICES).collect();
    let line = "plan --json --pilot 100 --yes --quality-loss 5% --candidate openai/own-small";
    let found = place.run(line, &job).expect(0).json();
    assert!(found["winner"].is_null(), "{found}");
    let told = place.run(&line.replace("--json ", ""), &job).expect(0).stdout;
    assert!(told.contains("`run --plan fastest`"), "{told}");
    place.run("run --plan cheapest --yes --out a.csv", &job).error(2, "pilot-no-plan", &["price not known"]);
    let said = place.run("run --plan fastest --yes --out a.csv", &job).expect(0);
    assert!(said.stderr.contains("the fastest that keeps the promise"), "{}", said.stderr);
}

#[test]
fn what_removed_pilots_have_spent_goes_on_counting() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 300);
    pilot(&place, "--pilot 60 --yes", &[&["--candidate", LUNA]]).expect(0);
    let paid = billed(&sim);
    let files = || -> Vec<String> {
        let folders = std::fs::read_dir(place.path(".bulkrate/pilots")).unwrap();
        let inside = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        let mut names: Vec<String> =
            inside.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    place.run("rm reviews-pilot-openai-gpt-6-luna --yes", &[]).expect(0);
    assert_eq!(files(), ["pilot.json", "sample-60.jsonl"]);
    // Its answers are gone, and would be paid again: what they have cost is not forgotten.
    let tight = budget(paid + 1_000);
    told(&place, &format!("--pilot 70 {tight}"), &[]).error(3, "budget-too-small", &["earlier pilots"]);
    assert_eq!(billed(&sim), paid);
    // With the last of them go the rows; what is left holds none.
    place.run("rm reviews-pilot-openai-gpt-6.1-sol --yes", &[]).expect(0);
    assert_eq!(files(), ["pilot.json"]);
    told(&place, &format!("--pilot 60 {tight}"), &[]).error(3, "budget-too-small", &["earlier pilots"]);
    let job = [&JOB[..], &CHOICES].concat();
    place.run("run --plan cheapest --yes --out a.csv", &job).error(2, "pilot-missing", &["no pilot"]);
}

#[test]
fn a_pilot_that_cannot_go_on_ends_as_its_job_would() {
    let halted = |flags: &[&str], line: &str, code: i32, words: &[&str]| {
        let sim = Sim::start(flags);
        let place = shop(&sim, 100);
        told(&place, &format!("--pilot 60 --yes {line}"), &[]).error(code, "pilot-halted", words);
    };
    halted(&[], "--budget-daily 0.0005", 3, &["larger `--budget`"]);
    halted(&["--fault", "revoked"], "", 4, &["run the same command again"]);
    let lossy = "--sync-doubt dead --max-in-doubt 0.000000001 --concurrency-max 1";
    halted(&["--fault", "reset:sync:0.3"], lossy, 6, &["`bulkrate doubt list`"]);
    halted(&["--fault", "refusal:1"], "", 5, &["not one of its answers", "bulkrate dead"]);
}

#[test]
fn who_asks_for_the_worst_case_is_told_of_the_worst_case() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 200);
    told(&place, "--pilot 100 --strict --budget 0.0001", &[]).error(
        3,
        "budget-too-small",
        &["(the worst case)"],
    );
    told(&place, "--pilot 100 --budget 0.0001", &[]).error(3, "budget-too-small", &["(the 95th percentile)"]);
}

/// F2: no admitted job exceeds its budget by more than what was reserved in flight, and what is reserved is within the budget, too.
#[test]
fn f2_answers_far_longer_than_planned_do_not_break_the_budget() {
    // In the pilot nobody has read the texts, and the answer is always the same three words.
    let terse = Sim::start(&["--weak", "gpt-6.1-sol=1"]);
    let place = Place::with(&terse);
    let long = "word after word of a sentence that goes on ".repeat(4);
    let rows: String = (0..400).map(|row| format!("{row},{row} {long}\n")).collect();
    place.put("reviews.csv", format!("id,text\n{rows}"));
    let job = ["reviews.csv", "--id", "id", "--user", "{{ text }}", "--model", SOL, "--lane", "sync"];
    let found = place.run("plan --json --pilot 100 --yes", &job).expect(0).json();
    let line = plan(&found, &[SOL], "sync");
    let (gone, p95) = (nanos(&found, "spent"), nanos(line, "p95"));
    // The run is admitted, and every answer is as long as its text.
    let wordy = Sim::start(&[]);
    let place = place.set("OPENAI_BASE_URL", &wordy.base_url);
    let most = gone + p95 + p95 / 20;
    let run = format!("run --json --plan gpt-6.1-sol/sync {} --out a.csv", budget(most));
    let mut answered = 100;
    // It is paused when it will not be enough; and who spends it all is stopped before it is passed.
    for (more, ending) in [("", "budget_forecast"), (" --spend-all", "budget_exhausted")] {
        let report = place.run(&format!("{run}{more}"), &job).expect(3).json();
        assert_eq!(report["ending"], ending, "{report}");
        assert!(
            report["succeeded"].as_u64() > Some(answered) && report["open"].as_u64() > Some(0),
            "{report}"
        );
        answered = report["succeeded"].as_u64().unwrap();
        assert_eq!(billed(&terse), gone);
        assert_eq!(billed(&wordy), nanos(&report, "spent"));
        let held = nanos(&report, "spent") + nanos(&report, "in_doubt") + nanos(&report, "reserved");
        println!("F2: {} of {most} nano-dollars are spent, held or in doubt", gone + held);
        assert!(gone + held <= most, "{gone} {held} {most}");
    }
    place.run("verify reviews", &[]).expect(0);
}

/// What goes on from a cascade is counted over the rows that are asked: neither over those that equal another nor over those that a filter
/// answers or a rule sends elsewhere.
#[test]
fn what_goes_on_is_counted_over_the_rows_that_reach_a_model() {
    // Luna has read nothing, and says what terra says as often as not.
    let sim = Sim::start(&["--weak", "gpt-6-luna=1"]);
    let rows = messages(300, 50_000);
    let twice: String = rows.lines().skip(1).step_by(5).map(|row| format!("x{row}\n")).collect();
    let job = [
        "rows.csv",
        "--user",
        "Is this spam? {{ message }}",
        "--choices",
        "spam,ham",
        "--model",
        SOL,
        "--id",
        "id",
    ];
    let elsewhere = "not 'maybe' in message=>openai/gpt-6-sol";
    // The filter's classifier knows a few of the others.
    for (more, known_max) in [(["--filter", "spam.filter"], 5), (["--rule", elsewhere], 0)] {
        let place = filter::place(&sim);
        place.put("rows.csv", format!("{rows}{twice}")).run(TRAIN, &[]).expect(0);
        let found =
            place.run("plan --json --pilot 240 --yes", &[&job[..], &TWO, &more].concat()).expect(0).json();
        let asked: BTreeSet<String> =
            sampled(&place, 240).into_iter().filter(|text| text.starts_with("maybe")).collect();
        let asked = asked.len() as u64;
        for model in found["models"].as_array().unwrap() {
            let answered = model["answered"].as_u64().unwrap();
            assert!(
                answered <= asked && asked <= answered + known_max && asked < 100,
                "{more:?} {asked} {model}"
            );
        }
        // Of all rows no more than a third could have gone on.
        let agree = plan(&found, &[LUNA, TERRA, SOL], "batch");
        assert!(agree["rejected_permille"].as_u64().unwrap() > 340, "{more:?} {agree}");
    }
}

/// The texts of the only job's sample.
fn sampled(place: &Place, items: usize) -> Vec<String> {
    let mut folders = std::fs::read_dir(place.path(".bulkrate/pilots")).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(folder.join(format!("sample-{items}.jsonl"))).unwrap();
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|line| row(line)["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_pilot_teaches_a_filter() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 1_500);
    // The strong model's answers are enough: no candidate is asked.
    let found = pilot(&place, "--pilot 400 --yes", &[]).expect(0).json();
    let paid = billed(&sim);
    let train = |more: &str| place.run(&format!("filter train --pilot reviews --error 5% {more}"), &[]);
    let said = train("--json --out a.filter").expect(0).json();
    // Each different prompt is a label: an equal row is no second one.
    let answered = found["models"][0]["answered"].as_u64().unwrap();
    assert_eq!(said["labels"].as_u64(), Some(answered), "{said}");
    assert!(answered < 400, "equal rows are one label");
    assert!(said["learned"]["wrong_high"].as_f64().unwrap() <= 0.05, "{said}");
    // The same pilot makes the same filter, whatever the job is called by; nothing is sent.
    place
        .run(
            &format!(
                "filter train --pilot {} --error 5% --out b.filter",
                found["models"][0]["job"].as_str().unwrap()
            ),
            &[],
        )
        .expect(0);
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!((bytes("a.filter"), billed(&sim)), (bytes("b.filter"), paid));
    // A name is no part of a job: the same one piloted under another name is found by both, and by the name of a job that runs its plan.
    pilot(&place, "--pilot 400 --yes", &[&["--name", "nightly"]]).expect(0);
    let named = [&JOB[..], &CHOICES, &["--name", "planned"]].concat();
    place.run("run --plan 1 --yes --limit 1 --lane sync --out planned.csv", &named).expect(0);
    for name in ["nightly", "reviews", "planned"] {
        place.run(&format!("filter train --pilot {name} --error 5% --force --out b.filter"), &[]).expect(0);
        assert_eq!(bytes("a.filter"), bytes("b.filter"), "{name}");
    }
    // Most of the job needs no model any more, and says what the model would have said.
    let run = |more: &str| {
        place
            .run(&format!("run --json --yes --lane sync {more}"), &[&JOB[..], &CHOICES].concat())
            .expect(0)
            .json()
    };
    let report = run("--filter a.filter --out a.csv");
    assert!(report["filtered"].as_u64() > Some(1_000), "{report}");
    let all = run("--out all.csv");
    assert_eq!((&report["succeeded"], &all["filtered"]), (&all["succeeded"], &0.into()));
    // The promise is of different prompts: one that stands in a tenth of the rows is one.
    let answers = |file: &str| -> BTreeMap<String, String> {
        let (header, rows) = table(&place.path(file));
        let at = |name: &str| header.iter().position(|column| column == name).unwrap();
        rows.iter().map(|row| (row[at("text")].clone(), row[at("answer")].clone())).collect()
    };
    let (by_filter, by_model) = (answers("a.csv"), answers("all.csv"));
    let wrong = by_model.iter().filter(|(text, answer)| by_filter[*text] != **answer).count();
    assert!(wrong * 20 <= by_model.len(), "{wrong} of {}", by_model.len());
    place.run(&format!("verify {}", report["job"].as_str().unwrap()), &[]).expect(0);

    // What cannot teach says why.
    train("--out a.filter").error(2, "file-exists", &["a.filter"]);
    train("--text wrong --out c.filter").error(2, "column-unknown", &["`wrong`", "text"]);
    let nobody = place.run("filter train --pilot review --out c.filter", &[]);
    nobody.error(
        2,
        "pilot-missing",
        &["no pilot was made of `review` (did you mean `reviews`?)", "pilots of"],
    );
    place.put("typo.toml", "[[rule]]\nwords = [\"lamp\"]\nanswer = \"Neutral\"\n");
    train("--rules typo.toml --out c.filter").error(
        2,
        "rule-invalid",
        &["no row of the pilot has that answer"],
    );
    let said = place.run("filter train reviews.csv --pilot reviews --out c.filter", &[]).expect(2);
    assert!(said.stderr.contains("cannot be used with"), "{said:?}");
    let free = [&JOB[..], &["--name", "free"]].concat();
    place.run("plan --pilot 100 --yes", &free).expect(0);
    place.run("filter train --pilot free --out c.filter", &[]).error(2, "pilot-unfit", &["no choices"]);
}

#[test]
fn a_pilot_teaches_a_router() {
    // Luna has not read two of five texts, and says `neutral`: what is neutral it knows all the same.
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.4"]);
    let place = shop(&sim, 1_500);
    let found = pilot(&place, "--pilot 400 --yes", &[&TWO]).expect(0);
    assert!(
        found.stderr.contains("of what openai/gpt-6.1-sol alone would cost for the whole job"),
        "{}",
        found.stderr
    );
    let found = found.json();
    let warned = |what: &str| {
        found["warnings"].as_array().unwrap().iter().any(|one| one.as_str().unwrap().contains(what))
    };
    assert!(warned("of what the strong model alone would cost"), "{found}");
    assert!(warned("this job does not earn it back"), "{found}");
    let paid = billed(&sim);
    let train =
        |more: &str| place.run(&format!("route train --pilot reviews --model-weak gpt-6-luna {more}"), &[]);
    let said = train("--json --out a.router").expect(0).json();
    // Each different prompt is a label, and none both teaches and proves.
    let labels = said["labels_taught"].as_u64().unwrap() + said["labels_proved"].as_u64().unwrap();
    let answered = found["models"][1]["answered"].as_u64().unwrap();
    assert_eq!(labels, answered, "{said}");
    assert!(answered < 400, "equal rows are one label");
    assert!(said["cut"]["loss_high"].as_f64().unwrap() <= 0.02, "{said}");
    assert_eq!(said["price_ratio"], 20.5, "as the pilot has paid them: {said}");
    let eval = "route eval --pilot reviews --model-weak openai/gpt-6-luna --router a.router --json";
    let own = place.run(eval, &[]).expect(0).json();
    assert_eq!(
        (own["rows"].as_u64(), own["rows_taught"].as_u64()),
        (said["labels_proved"].as_u64(), said["labels_taught"].as_u64())
    );
    // The same pilot makes the same router; nothing is sent.
    let told = train("--out b.router").expect(0);
    assert!(told.stderr.contains("above 2 % it is seldom earned back"), "{}", told.stderr);
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!((bytes("a.router"), billed(&sim)), (bytes("b.router"), paid));
    // All that it asked, the cheapest first: terra says what sol says, and what luna knows costs still less.
    let all = place
        .run("route train --pilot reviews --quality-loss 3% --json --out all.router", &[])
        .expect(0)
        .json();
    let named = |key: &str| -> Vec<_> {
        all["models"].as_array().unwrap().iter().map(|one| one[key].clone()).collect()
    };
    assert_eq!(named("name"), [LUNA, TERRA, SOL], "{all}");
    assert_eq!(
        (&all["alone"]["model"], &all["price_ratio"][0]),
        (&TERRA.into(), &said["price_ratio"]),
        "{all}"
    );
    let saving = |key: &str| all[key]["saving"].as_f64().unwrap();
    assert!(all["pinned"].is_null() && saving("cut") > saving("alone") && named("share")[2] == 0.0, "{all}");
    let same = "route train --pilot reviews --quality-loss 3% --models gpt-6-luna,gpt-6.1-terra,gpt-6.1-sol --out same.router";
    place.run(same, &[]).expect(0);
    assert_eq!(bytes("same.router"), bytes("all.router"));
    place.run("route train --pilot reviews --models gpt-6.1-terra,gpt-9 --out c.router", &[]).error(
        2,
        "pilot-unfit",
        &["`gpt-9`", LUNA, TERRA, SOL],
    );
    // The strong one alone is not "all of them".
    place.run("route train --pilot reviews --model-weak gpt-6.1-sol --out c.router", &[]).error(
        2,
        "pilot-unfit",
        &["is the strong model", LUNA],
    );
    place.run("route train --pilot review --out c.router", &[]).error(2, "pilot-missing", &["no pilot"]);
    train("--text wrong --out c.router").error(2, "column-unknown", &["`wrong`", "text"]);
    // A run by the router takes the pilot's answers, of either model.
    let auto = ["--model", "auto", "--router", "a.router", "--model-weak", LUNA, "--model-strong", SOL];
    let run = [&JOB[..7], &CHOICES, &auto].concat();
    let report = place.run("run --json --yes --lane sync --out a.csv", &run).expect(0).json();
    assert_eq!(
        (report["succeeded"].as_u64(), report["cached"].as_u64()),
        (Some(1_500), Some(answered)),
        "{report}"
    );
    place.run("verify reviews", &[]).expect(0);
}

#[test]
fn how_sure_a_cheap_models_tokens_are_is_a_plan_where_the_job_asks_for_it() {
    // Two of five answers of luna are guesses; nearly all of those are told with a small margin.
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.4"]);
    let place = shop(&sim, 1_200);
    let ask = ["--reasoning", "none", "--cascade", LUNA, "--accept", "margin>=0.9"];
    let line = "--pilot 400 --yes --quality-loss 15%";
    // Answers that came without do not stand for any: they are asked for again.
    pilot(&place, line, &[&ask[..2], &["--candidate", LUNA]]).expect(0);
    let found = pilot(&place, line, &[&ask]).expect(0).json();
    let sure = |found: &Value| {
        let plans = found["plans"].as_array().unwrap().clone();
        plans.into_iter().find(|plan| plan["name"].as_str().unwrap().contains("@margin:"))
    };
    let proved = sure(&found).unwrap();
    assert_eq!(proved["models"], serde_json::json!([LUNA, SOL]), "{found}");
    let high = proved["quality"]["high"].as_f64().unwrap();
    assert!(high > 0.01 && high <= 0.15 && proved["priced"] == true, "{proved}");
    // What is not sure enough goes on, and is priced.
    let rejected = proved["rejected_permille"].as_u64().unwrap();
    assert!((100..900).contains(&rejected), "{proved}");

    let paid = billed(&sim);
    let name = proved["name"].as_str().unwrap();
    let job = [&JOB[..], &CHOICES, &ask].concat();
    let line = format!("run --plan {name} --quality-loss 15% --yes --json --poll-min 50ms --out a.csv");
    let report = place.run(&line, &job).expect(0).json();
    assert_eq!((&report["succeeded"], billed(&sim) - paid), (&1_200.into(), nanos(&report, "spent")));
    assert!(report["cascade"]["accepted"].as_u64().unwrap() > 300, "{report}");
    place.run("verify reviews", &[]).expect(0);

    // Nobody who does not ask for it has it.
    let plain = Sim::start(&[]);
    let place = shop(&plain, 300);
    let found =
        pilot(&place, "--pilot 100 --yes", &[&["--reasoning", "none", "--candidate", LUNA]]).expect(0);
    assert_eq!(sure(&found.json()), None);
}

#[test]
fn a_router_is_a_plan_of_a_large_pilot_and_is_run() {
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.4"]);
    let place = shop(&sim, 2_000);
    let found = pilot(&place, "--pilot 900 --yes --lane sync", &[&["--candidate", LUNA]]).expect(0).json();
    let name = "gpt-6-luna+gpt-6.1-sol@router/sync";
    let plans = found["plans"].as_array().unwrap();
    let routed = plans.iter().find(|plan| plan["name"] == name).unwrap();
    assert_eq!(found["looked_at"], 3, "luna alone, luna and then sol, the router");
    assert_eq!(
        (&routed["accept"], &routed["models"]),
        (&"router".into(), &serde_json::json!([LUNA, SOL])),
        "{routed}"
    );
    let quality = |key: &str| routed["quality"][key].as_f64().unwrap();
    // Half of the different prompts prove.
    assert!(quality("high") <= 0.02 && quality("labels") < 450.0 && quality("labels") > 300.0, "{routed}");
    let strong = plans.iter().find(|plan| plan["name"] == "gpt-6.1-sol/sync").unwrap();
    assert!(nanos(routed, "expected") < nanos(strong, "expected"), "{routed} {strong}");
    assert_eq!(winner(&found)["name"], name, "{found}");

    let paid = billed(&sim);
    let run = [&JOB[..], &CHOICES].concat();
    let report = place.run("run --json --yes --lane sync --plan cheapest --out a.csv", &run).expect(0).json();
    assert_eq!(report["succeeded"], 2_000, "{report}");
    assert!(report["cached"].as_u64().unwrap() > 500, "the pilot's answers are taken: {report}");
    let saved = report["saved_usd_nanos"].as_object().unwrap();
    let levers: i64 = saved.values().map(|usd| usd.as_i64().unwrap()).sum();
    assert_eq!(nanos(&report, "naive") - levers, nanos(&report, "spent"), "{report}");
    assert!(saved["routing"].as_i64().unwrap() > 0, "{report}");
    assert_eq!(billed(&sim) - paid, nanos(&report, "spent"));
    place.run("verify reviews", &[]).expect(0);
    let route = place.run("show reviews 1", &[]).expect(0).json()["route"].clone();
    assert!(route["score_millionths"].is_i64(), "{route}");
    // A second run is of the same plan, and pays nothing.
    let again = place.run("run --json --yes --lane sync --plan cheapest --out a.csv", &run).expect(0);
    assert!(
        again.stderr.contains("is gone on with: openai/gpt-6-luna > openai/gpt-6.1-sol"),
        "{}",
        again.stderr
    );
    assert_eq!(billed(&sim) - paid, nanos(&report, "spent"));
}

#[test]
fn a_small_pilot_tries_no_router_and_one_that_proves_nothing_says_so() {
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.4"]);
    let place = shop(&sim, 1_500);
    let names = |found: &Value| found["plans"].to_string();
    let small = pilot(&place, "--pilot 300 --yes --lane sync", &[&["--candidate", LUNA]]).expect(0).json();
    assert_eq!((&small["looked_at"], names(&small).contains("router")), (&2.into(), false), "{small}");
    let strict = "--pilot 600 --yes --lane sync --quality-loss 0.1%";
    let strict = pilot(&place, strict, &[&["--candidate", LUNA]]).expect(0).json();
    assert_eq!((&strict["looked_at"], names(&strict).contains("router")), (&3.into(), false), "{strict}");
    let told = strict["warnings"].to_string();
    assert!(told.contains("no plan with a router (openai/gpt-6-luna > openai/gpt-6.1-sol): "), "{told}");
}
