//! The learned router: labels in, a file out, and what it is worth on rows that it has not seen.

use super::jobs::nanos;
use super::support::{Place, Sim, table};

/// A generator of whole numbers: the same rows on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Questions with a rule: the weak model fails at four of five proofs, both seldom fail at anything else.
fn questions(rows: usize, seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut csv = String::from("question,luna_ok,sol_ok,topic\n");
    for _ in 0..rows {
        let hard = dice.below(10) < 4;
        let (ask, topic) =
            if hard { ("prove the theorem about", "proofs") } else { ("name the colour of", "names") };
        let thing = ["stone", "river", "number", "house"][usize::try_from(dice.below(4)).unwrap()];
        let weak = if hard { dice.below(5) == 0 } else { dice.below(20) > 0 };
        let strong = dice.below(20) > 0;
        csv.push_str(&format!(
            "{ask} {thing} {},{},{},{topic}\n",
            dice.below(1_000_000_000),
            u8::from(weak),
            u8::from(strong)
        ));
    }
    csv
}

const COLUMNS: [&str; 6] = ["--text", "question", "--weak", "luna_ok", "--strong", "sol_ok"];

#[test]
fn a_router_is_trained_shown_and_measured() {
    let place = Place::new();
    place.put("pilot.csv", questions(1_000, 1)).put("more.csv", questions(3_000, 2));
    let train = "route train pilot.csv --quality-loss 4% --price-ratio 20 --out shop.router";
    let said = place.run(&format!("{train} --json"), &COLUMNS).expect(0).json();
    assert_eq!((said["labels_taught"].as_u64(), said["labels_proved"].as_u64()), (Some(500), Some(500)));
    assert!(said["cut"]["saving"].as_f64().unwrap() > 0.3, "{said}");
    let shown = place.run("route show shop.router --json", &[]).expect(0).json();
    for key in ["version", "threshold_millionths", "cut", "seed", "words"] {
        assert_eq!(shown[key], said[key], "{key}");
    }
    assert!(shown["threshold_millionths"].is_i64() && shown["pinned"].is_null());

    let eval = "route eval more.csv --router shop.router --category topic";
    let found = place.run(&format!("{eval} --json"), &COLUMNS).expect(0).json();
    let rows = |key: &str| found[key].as_u64().unwrap();
    assert_eq!(rows("rows") + rows("rows_taught") + rows("rows_equal"), 3_000);
    let apgr = |way: &str| found["worth"][way]["apgr"].as_f64().unwrap();
    assert!(apgr("router") > apgr("random") + 0.2 && apgr("category") > 0.7, "{found}");
    assert!(found["loss"].as_f64().unwrap() <= 0.04 && found["saving"].as_f64().unwrap() > 0.3, "{found}");

    let text = place.run(eval, &COLUMNS).expect(0).stdout;
    for words in [
        "this router",
        "prompt length alone",
        "chance",
        "the category's mean",
        "go to the strong model",
        "20 times",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Its own labels prove something only where it did not learn from them.
    let own = place.run("route eval pilot.csv --router shop.router --json", &COLUMNS).expect(0).json();
    assert_eq!((own["rows"].as_u64(), own["rows_taught"].as_u64()), (Some(500), Some(500)));
}

#[test]
fn the_same_labels_and_seed_give_the_same_file() {
    let place = Place::new();
    let csv = questions(300, 3);
    let (header, rows) = csv.split_once('\n').unwrap();
    let mut turned: Vec<&str> = rows.lines().collect();
    turned.reverse();
    place.put("a.csv", &csv).put("b.csv", format!("{header}\n{}\n", turned.join("\n")));
    for (file, out, seed) in [("a.csv", "a.router", 7), ("b.csv", "b.router", 7), ("a.csv", "c.router", 8)] {
        place.run(&format!("route train {file} --seed {seed} --out {out}"), &COLUMNS).expect(0);
    }
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!(bytes("a.router"), bytes("b.router"));
    assert_ne!(bytes("a.router"), bytes("c.router"));
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 5, "no state is made");
}

#[test]
fn routing_that_does_not_pay_says_so() {
    let place = Place::new();
    place.put("pilot.csv", questions(400, 4));
    let turned = ["--text", "question", "--weak", "sol_ok", "--strong", "luna_ok"];
    let said = place.run("route train pilot.csv --out weak.router", &turned).expect(0);
    let words = "every row goes to the weak model: on the labels the weak model is as good as the strong one";
    assert!(said.stdout.contains(words), "{said:?}");
    let said = place.run("route train pilot.csv --price-ratio 1.05 --out dear.router", &COLUMNS).expect(0);
    assert!(said.stdout.contains("every row goes to the strong model: within the loss"), "{said:?}");
    let eval = place.run("route eval pilot.csv --router dear.router --json", &COLUMNS).expect(0).json();
    assert_eq!((eval["share_strong"].as_f64(), eval["loss"].as_f64()), (Some(1.0), Some(0.0)));
}

#[test]
fn labels_that_cannot_be_used_say_why() {
    let place = Place::new();
    let row = |text: &str, weak: &str, strong: &str| format!("{text},{weak},{strong}\n");
    let rows =
        |n: usize, weak: &str| (0..n).map(|at| row(&format!("text {at}"), weak, "1")).collect::<String>();
    let head = "text,weak,strong\n";
    place.put("few.csv", format!("{head}{}{}", rows(99, "0"), row("text 0", "1", "1")));
    place.put("equal.csv", format!("{head}{}", rows(120, "1")));
    place.put("bad.csv", format!("{head}{}{}", rows(3, "0"), row("x", "good", "1")));
    place.put("blank.csv", format!("{head}{}{}", rows(120, "1"), row("x", "", "1")));
    place.put("other.csv", "text,weak\nx,1\n");
    let train = |file: &str| place.run(&format!("route train {file} --out x.router"), &[]);
    train("few.csv").error(2, "labels-too-few", &["few.csv", "99 labelled rows", "at least 100"]);
    train("equal.csv").error(2, "labels-equal", &["weak model are 1, all of the strong one 1"]);
    train("bad.csv").error(2, "labels-invalid", &["line 5", "`weak` is `good`"]);
    train("blank.csv").error(2, "labels-equal", &[]);
    train("other.csv").error(2, "column-unknown", &["no column `strong`", "text, weak"]);
    train("none.csv").error(2, "source-missing", &["none.csv"]);
    assert!(!place.path("x.router").exists());

    place.put("good.csv", format!("{head}{}{}", rows(90, "0"), rows(130, "1").replace("text", "line")));
    train("good.csv").expect(0);
    train("good.csv").error(2, "file-exists", &["x.router"]);
    place.run("route train good.csv --out x.router --force", &[]).expect(0);
    let said = place.run("route train good.csv --out ./good.csv --force", &[]);
    assert!(said.code == 2 && said.stderr.contains("the labels themselves"), "{said:?}");
    let said = place.run("route show /dev/zero", &[]);
    assert!(said.code == 2 && said.stderr.contains("/dev/zero"), "{said:?}");
    for (line, words) in [
        ("route train good.csv", "--out"),
        ("route train good.csv --out y --price-ratio 0.5", "not a ratio"),
        ("route train good.csv --out y --quality-loss lots", "not a percentage"),
    ] {
        let said = place.run(line, &[]).expect(2);
        assert!(said.stderr.contains(words), "{line}: {}", said.stderr);
    }
}

#[test]
fn files_that_are_no_router_say_why() {
    let place = Place::new();
    place.put("pilot.csv", questions(200, 5));
    place.run("route train pilot.csv --out real.router", &COLUMNS).expect(0);
    let bytes = std::fs::read(place.path("real.router")).unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        bytes
    };
    place
        .put("damaged.router", changed(bytes.len() / 2, bytes[bytes.len() / 2] ^ 1))
        .put("later.router", changed(16, 3));
    for (file, code, words) in [
        ("pilot.csv", "router-invalid", "not a router file"),
        ("damaged.router", "router-invalid", "checksum"),
        ("later.router", "router-too-new", "version 3"),
        ("none.router", "file-unreadable", "none.router"),
    ] {
        place.run(&format!("route show {file}"), &[]).error(2, code, &[file, words]);
        place.run(&format!("route eval pilot.csv --router {file}"), &COLUMNS).error(2, code, &[words]);
    }
    // Only rows that it learnt from are left.
    let eval = place.run("route eval pilot.csv --router real.router --json", &COLUMNS).expect(0).json();
    assert_eq!(eval["rows"], 100);
}

/// Everything but the lane and the output.
pub(crate) const AUTO: [&str; 12] = [
    "--model",
    "auto",
    "--router",
    "shop.router",
    "--model-weak",
    "openai/gpt-6-luna",
    "--model-strong",
    "openai/gpt-6.1-sol",
    "--user",
    "Answer in a word: {{ question }}",
    "--choices",
    "yes,no",
];

/// A folder with a router and a job's rows; the second half repeats ten rows of the first.
pub(crate) fn shop(sim: &Sim) -> Place {
    let place = Place::with(sim);
    place.put("pilot.csv", questions(1_000, 1));
    place
        .run("route train pilot.csv --quality-loss 4% --price-ratio 10 --out shop.router", &COLUMNS)
        .expect(0);
    let rows = questions(90, 8);
    let again: Vec<&str> = rows.lines().skip(1).take(10).collect();
    place.put("items.csv", format!("{rows}{}\n", again.join("\n")));
    place
}

#[test]
fn a_job_runs_by_the_router_and_books_what_it_saved() {
    let sim = Sim::start(&[]);
    let place = shop(&sim);
    for (lane, name) in [("sync", "one"), ("batch", "two")] {
        let line = format!(
            "run items.csv --yes --json --cache off --name {name} --sample {} --lane {lane}",
            name.len() + lane.len()
        );
        let report = place.run(&format!("{line} --poll-min 1s --out {name}.csv"), &AUTO).expect(0).json();
        let saved = &report["saved_usd_nanos"];
        let levers: i64 = saved.as_object().unwrap().values().map(|usd| usd.as_i64().unwrap()).sum();
        assert_eq!(nanos(&report, "naive") - levers, nanos(&report, "spent"), "{report}");
        assert!(saved["routing"].as_i64().unwrap() > 0 && saved["dedup"].as_i64().unwrap() > 0, "{report}");
        assert_eq!(report["succeeded"], 100);
    }
    // Each row went where its topic says, or nearly: the router learnt the rule.
    let (header, rows) = table(&place.path("one.csv"));
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let as_ruled = rows
        .iter()
        .filter(|row| (row[column("topic")] == "proofs") == (row[column("_model")] == "gpt-6.1-sol"));
    assert!(as_ruled.count() > 90, "{rows:?}");

    // Decided by score and threshold of one router, and told of every item.
    let router = place.run("route show shop.router --json", &[]).expect(0).json();
    for (number, row) in rows.iter().enumerate().take(20) {
        let route = place.run(&format!("show one {}", number + 1), &[]).expect(0).json()["route"].clone();
        assert_eq!(route["router"], router["version"]);
        assert_eq!(route["threshold_millionths"], router["threshold_millionths"]);
        let strong = route["score_millionths"].as_i64() >= route["threshold_millionths"].as_i64();
        assert_eq!(
            (route["to"] == "strong", row[column("_model")] == "gpt-6.1-sol"),
            (strong, strong),
            "{route}"
        );
    }
    for name in ["one", "two"] {
        place.run(&format!("verify {name}"), &[]).expect(0);
    }
    let cost = place.run("cost --json", &[]).expect(0).json();
    let spent: i64 = cost.as_array().unwrap().iter().map(|row| nanos(row, "spent")).sum();
    assert_eq!(nanos(&sim.bill(), "total"), spent);
}

#[test]
fn a_killed_job_goes_on_by_what_was_decided() {
    let sim = Sim::start(&["--latency-ms", "300"]);
    let place = shop(&sim);
    let line = "run items.csv --yes --json --lane sync --out labels.csv --rpm 3000 --poll-min 1s".split(' ');
    let args: Vec<&str> = line.chain(AUTO).collect();
    place.kill_when(&args, |status| status["succeeded"].as_u64() > Some(5));
    // The router is not needed any more.
    std::fs::remove_file(place.path("shop.router")).unwrap();
    let report = place.run("resume items --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"], 100);
    let saved = report["saved_usd_nanos"].as_object().unwrap();
    let levers: i64 = saved.values().map(|usd| usd.as_i64().unwrap()).sum();
    assert!(saved["routing"].as_i64().unwrap() > 0);
    // What a kill left in doubt was never an answer: it has no naive cost.
    assert_eq!(nanos(&report, "naive") - levers, nanos(&report, "spent"), "{report}");
    place.run("verify items", &[]).expect(0);
}

#[test]
fn rules_come_first_and_rows_unlike_the_labels_are_told() {
    let sim = Sim::start(&[]);
    let place = shop(&sim);
    let plan =
        |more: &[&str]| place.run("plan items.csv --json", &[&AUTO[..], more].concat()).expect(0).json();
    let requests = |plan: &serde_json::Value, model: &str| {
        let models = plan["models"].as_array().unwrap().iter();
        models
            .filter(|one| one["model"].as_str().unwrap().ends_with(model))
            .map(|one| one["requests"].as_u64().unwrap())
            .sum::<u64>()
    };
    let routed = plan(&[]);
    let (weak, strong) = (requests(&routed, "gpt-6-luna"), requests(&routed, "gpt-6.1-sol"));
    assert!(weak > 30 && strong > 20 && weak + strong == 90, "{routed}");
    assert_eq!(routed["warnings"], serde_json::json!([]));
    let all = place
        .run("plan items.csv --json", &[&["--model", "openai/gpt-6.1-sol"], &AUTO[8..]].concat())
        .expect(0)
        .json();
    assert_eq!(routed["naive_usd_nanos"], all["naive_usd_nanos"], "naive is the strong model for every row");
    assert_eq!(
        (routed["naive_model"].as_str(), all["naive_model"].as_str()),
        (Some("openai/gpt-6.1-sol"), Some("openai/gpt-6.1-sol"))
    );
    // Counted by the tokenizer, which is known for OpenAI itself alone; a plan sends it nothing.
    let naive = |model: &[&str]| {
        let args = [&["plan", "items.csv", "--exact", "--json"], model].concat();
        let said = place.command(args).env_remove("OPENAI_BASE_URL").output().unwrap();
        let plan: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(plan["models"][0]["input_count"]["encoding"], "o200k_base", "{plan}");
        plan["naive_usd_nanos"].as_i64().unwrap()
    };
    assert_eq!(naive(&AUTO), naive(&[&["--model", "openai/gpt-6.1-sol"], &AUTO[8..]].concat()));
    let text = place.run("plan items.csv", &AUTO).expect(0).stdout;
    assert!(
        text.contains("in the sync lane, all at openai/gpt-6.1-sol and equal ones too, it would be USD"),
        "{text}"
    );
    let ruled = plan(&["--rule", "topic == 'proofs'=>openai/gpt-6-luna"]);
    assert!(requests(&ruled, "gpt-6-luna") > weak && requests(&ruled, "gpt-6.1-sol") < 10, "{ruled}");
    let other: String = (0..60)
        .map(|at| format!("prove the theorem about stone {},,,proofs\n", 500_000_000 + at * 1_234_567))
        .collect();
    place.put("items.csv", format!("question,luna_ok,sol_ok,topic\n{other}"));
    let told = plan(&[])["warnings"].to_string();
    assert!(told.contains("100 % of the requests go to the strong model"), "{told}");
}

#[test]
fn a_router_that_cannot_be_used_in_a_job_says_why() {
    let sim = Sim::start(&[]);
    let place = shop(&sim);
    place.put("other.csv", "id,text\n1,a\n");
    place.put("lines.jsonl", "{\"custom_id\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n");
    place.put(
        "scored.jsonl",
        "{\"custom_id\":\"a\",\"route_score\":1,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n",
    );
    place.put("broken.router", "no router");
    let auto = &AUTO[..8];
    let user = ["--user", "Ask: {{ text }}"];
    for (line, more, code, words) in [
        ("plan other.csv", [auto, &user].concat(), "column-unknown", "no column `question`"),
        ("plan lines.jsonl", auto.to_vec(), "router-needs-table", "unified requests"),
        ("plan scored.jsonl --model openai/gpt-6-luna", vec![], "item-bad-request", "`route_score`"),
        ("plan items.csv --model auto", user.to_vec(), "option-invalid", "needs `--router`"),
        (
            "plan items.csv --model auto --router shop.router",
            user.to_vec(),
            "option-invalid",
            "needs `--model-weak`",
        ),
        ("plan items.csv --model fast --router shop.router", user.to_vec(), "option-invalid", "--model auto"),
        (
            "plan items.csv --model auto --router shop.router --model-weak fast --model-strong openai/gpt-6-luna",
            user.to_vec(),
            "option-invalid",
            "the same model",
        ),
        (
            "plan items.csv --model auto --router broken.router --model-weak fast --model-strong strong",
            user.to_vec(),
            "router-invalid",
            "not a router file",
        ),
    ] {
        place.run(line, &more).error(2, code, &[words]);
    }
}

/// A server of one's own would be asked for a model called `auto`, and others would be when they are needed.
#[test]
fn auto_is_refused_wherever_a_model_must_be_named() {
    let sim = Sim::start(&[]);
    let place = shop(&sim);
    place.put(
        "auto.jsonl",
        "{\"custom_id\":\"a\",\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n",
    );
    let user = ["--user", "Ask: {{ question }}"];
    let rule = [&user[..], &["--rule", "topic == 'proofs'=>auto"]].concat();
    for (line, more, code, words) in [
        ("plan items.csv --model fast", rule, "option-invalid", "as `--model` alone"),
        (
            "plan items.csv --model fast --fallback auto",
            user.to_vec(),
            "option-invalid",
            "as `--model` alone",
        ),
        (
            "plan items.csv --model auto --router shop.router --model-weak auto --model-strong fast",
            user.to_vec(),
            "option-invalid",
            "--model-weak",
        ),
        (
            "plan items.csv --model auto --router shop.router --model-weak fast --model-strong auto",
            user.to_vec(),
            "option-invalid",
            "--model-strong",
        ),
        ("plan auto.jsonl", Vec::new(), "router-needs-table", "a line names the model `auto`"),
        (
            "plan auto.jsonl --base-url http://127.0.0.1:9/v1",
            Vec::new(),
            "router-needs-table",
            "`openai/auto`",
        ),
        (
            "plan items.csv --model auto --base-url http://127.0.0.1:9/v1",
            user.to_vec(),
            "option-invalid",
            "`openai/auto`",
        ),
    ] {
        place.run(line, &more).error(2, code, &[words]);
    }
}
