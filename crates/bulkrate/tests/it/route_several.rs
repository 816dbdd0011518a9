//! The learned router among more than two models.

use super::jobs::nanos;
use super::support::{Place, Sim, table};

const MODELS: [&str; 3] = ["gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol"];
const COLUMNS: [&str; 4] = ["--text", "question", "--models", "luna_ok,terra_ok,sol_ok"];
const TRAIN: &str = "route train pilot.csv --quality-loss 4% --price-ratio 20,4 --out shop.router";

/// Questions with a rule: names are easy, sums need the middle model, proofs the strongest.
fn questions(rows: u64, seed: u64) -> String {
    let mut csv = String::from("question,luna_ok,terra_ok,sol_ok,topic\n");
    for row in 0..rows {
        // A hash of the row: the same rows on every machine.
        let dice = |salt: u64| {
            let mut hash = (seed << 40) ^ (row << 8) ^ salt;
            for _ in 0..3 {
                hash = (hash ^ (hash >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            }
            (hash >> 33) % 100
        };
        let (ask, topic, right) = match dice(1) {
            0..40 => ("name the colour of", "names", [97, 97, 97]),
            40..75 => ("add up the sums of", "sums", [20, 97, 97]),
            _ => ("prove the theorem about", "proofs", [10, 20, 97]),
        };
        let [luna, terra, sol] = [0_usize, 1, 2].map(|at| u8::from(dice(2 + at as u64) < right[at]));
        csv.push_str(&format!("{ask} stone {seed}{row},{luna},{terra},{sol},{topic}\n"));
    }
    csv
}

fn auto(router: &str) -> Vec<String> {
    let models = MODELS.map(|model| format!("openai/{model}")).join(",");
    let args = [
        "--model",
        "auto",
        "--router",
        router,
        "--models",
        &models,
        "--user",
        "In a word: {{ question }}",
        "--choices",
        "yes,no",
    ];
    args.map(str::to_owned).into()
}

fn shop(sim: &Sim) -> Place {
    let place = Place::with(sim);
    place.put("pilot.csv", questions(1_600, 1)).put("items.csv", questions(90, 8));
    place.run(TRAIN, &COLUMNS).expect(0);
    place
}

#[test]
fn a_router_of_three_is_trained_shown_and_measured() {
    let place = Place::new();
    place.put("pilot.csv", questions(1_600, 1)).put("more.csv", questions(2_000, 2));
    let said = place.run(&format!("{TRAIN} --json"), &COLUMNS).expect(0).json();
    assert_eq!((said["labels_taught"].as_u64(), said["labels_proved"].as_u64()), (Some(800), Some(800)));
    assert_eq!(said["threshold_millionths"].as_array().unwrap().len(), 2, "{said}");
    assert_eq!(said["price_ratio"], serde_json::json!([20.0, 4.0]));
    let shown = place.run("route show shop.router --json", &[]).expect(0).json();
    for key in ["version", "threshold_millionths", "cut", "models", "price_ratio"] {
        assert_eq!(shown[key], said[key], "{key}");
    }
    let text = place.run("route show shop.router", &[]).expect(0).stdout;
    for words in [
        "a logistic head a model",
        "a row goes to the first model for which it scores low enough (luna_ok: below",
        "else to sol_ok",
        "at most",
        "at 20 and 4 times the others' prices",
        "quality, all by it",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }

    let eval = "route eval more.csv --router shop.router --category topic";
    let found = place.run(&format!("{eval} --json"), &COLUMNS).expect(0).json();
    assert!(found["loss"].as_f64().unwrap() <= 0.04 && found["saving"].as_f64().unwrap() > 0.45, "{found}");
    let models = found["models"].as_array().unwrap();
    let sum: f64 = models.iter().map(|model| model["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{found}");
    for (model, cost) in models.iter().zip([0.05, 0.25, 1.0]) {
        assert_eq!((model["cost"].as_f64(), &model["labels"]), (Some(cost), &found["rows"]));
        let quality = |key: &str| model[key].as_f64().unwrap();
        assert!(quality("quality_low") < quality("quality") && quality("quality") < quality("quality_high"));
    }
    for place in 0..2 {
        let apgr = |way: &str| found["worth"][way][place]["apgr"].as_f64().unwrap();
        assert!(apgr("router") > apgr("random") + 0.15, "{found}");
    }
    let text = place.run(eval, &COLUMNS).expect(0).stdout;
    for words in ["all by the router", "APGR over terra_ok", "95 %", "go to the strong model"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let two = ["--text", "question", "--weak", "luna_ok", "--strong", "sol_ok"];
    let said = place.run("route eval more.csv --router shop.router", &two);
    said.error(2, "option-invalid", &["labels of luna_ok, sol_ok", "among luna_ok, terra_ok, sol_ok"]);
    let turned = ["--text", "question", "--models", "terra_ok,luna_ok,sol_ok"];
    let said = place.run("route eval more.csv --router shop.router", &turned);
    said.error(2, "option-invalid", &["among luna_ok, terra_ok, sol_ok, in this order"]);
}

#[test]
fn labels_of_three_that_cannot_be_used_say_why() {
    let place = Place::new();
    place.put("pilot.csv", questions(300, 3));
    let train =
        |more: &str| place.run(&format!("route train pilot.csv --text question --out x.router {more}"), &[]);
    let prices = "over that of each other";
    for (more, code, words) in [
        ("--models luna_ok,terra_ok,sol_ok", "option-invalid", prices),
        ("--models luna_ok,terra_ok,sol_ok --price-ratio 20", "option-invalid", prices),
        ("--models luna_ok,terra_ok,sol_ok --price-ratio 4,20", "option-invalid", prices),
        ("--models luna_ok", "option-invalid", "2 to 8 models"),
        (
            "--models luna_ok,sol_ok,luna_ok --price-ratio 20,4",
            "option-invalid",
            "`luna_ok` is named as the label of two",
        ),
        ("--weak sol_ok --strong sol_ok", "option-invalid", "`sol_ok` is named as the label of two"),
        (
            "--models luna_ok,terra_ok,sol_ok --price-ratio 9,8,7,6,5,4,3,2",
            "option-invalid",
            "8 models at most",
        ),
        ("--models luna_ok,terra_ok,moon_ok --price-ratio 20,4", "column-unknown", "`moon_ok`"),
    ] {
        train(more).error(2, code, &[words]);
    }
    assert!(!place.path("x.router").exists());
    // Too few labels for the promise are told, with how many are needed; every row goes to the strongest.
    let more = "--models luna_ok,terra_ok,sol_ok --price-ratio 20,4 --quality-loss 2%";
    let text = train(more).expect(0).stdout;
    assert!(text.contains("every row goes to sol_ok: 150 labels cannot prove"), "{text}");
    assert!(text.contains("at least 189 must prove, half of 378"), "{text}");
}

/// A middle model that is as good as the strongest: what is proved of it is kept and shown.
#[test]
fn a_single_model_has_its_own_certificate() {
    let place = Place::new();
    let mut csv = "question,luna_ok,terra_ok,sol_ok\n".to_owned();
    for row in 0..900 {
        csv.push_str(&format!("what is stone {row},{},1,1\n", u8::from(row % 3 == 0)));
    }
    place.put("pilot.csv", csv);
    let said = place.run(&format!("{TRAIN} --json"), &COLUMNS).expect(0).json();
    assert_eq!(
        (&said["pinned"], &said["alone"]["model"]),
        (&"terra_ok".into(), &"terra_ok".into()),
        "{said}"
    );
    let number = |key: &str| said["alone"][key].as_f64().unwrap();
    assert!(number("loss").abs() < 1e-12 && (number("saving") - 0.75).abs() < 1e-12, "{said}");
    assert!((0.005..0.04).contains(&number("loss_high")), "{said}");
    let text = place.run("route show shop.router", &[]).expect(0).stdout;
    for words in [
        "goes to terra_ok",
        "loses 0.0 % of quality against the strong model alone, at most 0.8 %",
        "saves 75.0 %",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_job_runs_by_three_models_and_books_what_it_saved() {
    let sim = Sim::start(&[]);
    let place = shop(&sim);
    let args = auto("shop.router");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let plan = place.run("plan items.csv --json", &args).expect(0).json();
    let alone =
        ["--model", "openai/gpt-6.1-sol", "--user", "In a word: {{ question }}", "--choices", "yes,no"];
    let all = place.run("plan items.csv --json", &alone).expect(0).json();
    assert_eq!(plan["naive_usd_nanos"], all["naive_usd_nanos"], "naive is the strongest model for every row");
    assert_eq!(plan["naive_model"], "openai/gpt-6.1-sol");
    assert_eq!(
        (plan["models"].as_array().unwrap().len(), &plan["warnings"]),
        (3, &serde_json::json!([])),
        "{plan}"
    );
    for (sample, (lane, name)) in (1..).zip([("sync", "one"), ("batch", "two")]) {
        let line = format!(
            "run items.csv --yes --json --cache off --name {name} --sample {sample} --lane {lane} --poll-min 1s --out {name}.csv"
        );
        let report = place.run(&line, &args).expect(0).json();
        let saved = report["saved_usd_nanos"].as_object().unwrap();
        let levers: i64 = saved.values().map(|usd| usd.as_i64().unwrap()).sum();
        assert_eq!(nanos(&report, "naive") - levers, nanos(&report, "spent"), "{report}");
        assert!(saved["routing"].as_i64().unwrap() > 0 && report["succeeded"] == 90, "{report}");
        place.run(&format!("verify {name}"), &[]).expect(0);
    }
    let (header, rows) = table(&place.path("one.csv"));
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let topics = ["names", "sums", "proofs"];
    let as_ruled = rows.iter().filter(|row| {
        let model = MODELS.iter().position(|model| row[column("_model")] == *model);
        model == topics.iter().position(|topic| row[column("topic")] == *topic)
    });
    assert!(as_ruled.count() > 80, "{rows:?}");

    // Told of each item: what it scored for each cheaper model, by which thresholds, and where it went.
    let router = place.run("route show shop.router --json", &[]).expect(0).json();
    let numbers = |value: &serde_json::Value| -> Vec<i64> {
        value.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
    };
    let thresholds = numbers(&router["threshold_millionths"]);
    for (number, row) in rows.iter().enumerate().take(20) {
        let route = place.run(&format!("show one {}", number + 1), &[]).expect(0).json()["route"].clone();
        assert_eq!(
            (&route["router"], numbers(&route["threshold_millionths"])),
            (&router["version"], thresholds.clone())
        );
        let place = numbers(&route["score_millionths"])
            .iter()
            .zip(&thresholds)
            .position(|(score, most)| score < most);
        let went = MODELS[place.unwrap_or(2)];
        assert_eq!(
            (route["to"].as_str().unwrap(), &row[column("_model")]),
            (format!("openai/{went}").as_str(), &went.to_owned()),
            "{route}"
        );
    }
    let cost = place.run("cost --json", &[]).expect(0).json();
    let spent: i64 = cost.as_array().unwrap().iter().map(|row| nanos(row, "spent")).sum();
    assert_eq!(nanos(&sim.bill(), "total"), spent);

    place.put(
        "job.toml",
        "[source]\npath = \"items.csv\"\n[request]\nmodel = \"auto\"\nrouter = \"shop.router\"\nuser = \"In a word: {{ question }}\"\n\
         choices = [\"yes\", \"no\"]\nmodels = [\"openai/gpt-6-luna\", \"openai/gpt-6.1-terra\", \"openai/gpt-6.1-sol\"]\n",
    );
    assert_eq!(place.run("plan job.toml --json", &[]).expect(0).json()["models"], plan["models"]);
}

#[test]
fn models_that_are_not_the_routers_say_why() {
    let sim = Sim::start(&[]);
    let place = shop(&sim);
    let user = ["--user", "Ask: {{ question }}"];
    for (more, words) in [
        ("--models fast,openai/gpt-6.1-sol", "3 models: luna_ok, terra_ok, sol_ok"),
        ("--model-weak fast --model-strong openai/gpt-6.1-sol", "3 models: luna_ok, terra_ok, sol_ok"),
        ("--models fast,openai/gpt-6.1-sol,openai/gpt-6.1-sol", "twice"),
        ("--models fast,fast,openai/gpt-6.1-sol", "twice"),
        ("--models fast,auto,openai/gpt-6.1-sol", "as `--model` alone"),
        ("--models fast,strong --model-weak fast", "`--model-weak` and `--model-strong`"),
    ] {
        place.run(&format!("plan items.csv --model auto --router shop.router {more}"), &user).error(
            2,
            "option-invalid",
            &[words],
        );
    }
    // The right ones in another order: the router knows its models by name, or their prices tell.
    let turned = "--model auto --models openai/gpt-6.1-terra,openai/gpt-6-luna,openai/gpt-6.1-sol";
    let labels = questions(1_600, 1).replacen("luna_ok,terra_ok,sol_ok", &MODELS.join(","), 1);
    place.put("named.csv", labels);
    let train =
        "route train named.csv --text question --quality-loss 4% --price-ratio 20,4 --out named.router";
    place.run(train, &["--models", &MODELS.join(",")]).expect(0);
    let right = auto("named.router");
    place.run("plan items.csv", &right.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    place.run(&format!("plan items.csv {turned} --router named.router"), &user).error(
        2,
        "option-invalid",
        &[
            "gpt-6.1-terra, openai/gpt-6-luna",
            "was trained for gpt-6-luna, gpt-6.1-terra, gpt-6.1-sol, in this order",
        ],
    );
    let told =
        place.run(&format!("plan items.csv {turned} --router shop.router --json"), &user).expect(0).json();
    assert!(told["warnings"].to_string().contains("before `openai/gpt-6-luna`, which costs less"), "{told}");
    let named = place.run("plan items.csv --model fast --models a,b", &user);
    named.error(2, "option-invalid", &["--model auto"]);
}
