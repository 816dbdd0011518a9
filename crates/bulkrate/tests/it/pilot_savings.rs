//! What a pilot's plan saves by its choice of model, and what the pilot itself has cost, stand in the books.

use serde_json::Value;

use super::jobs::nanos;
use super::pilot::{CHOICES, JOB, LUNA, SOL, pilot, shop, winner};
use super::savings::adds_up;
use super::support::{Place, Sim, reviews};

/// The job, asked of this model, and its report.
fn run(place: &Place, line: &str, file: &str, model: &str) -> Value {
    let mut args = [&JOB[..], &CHOICES].concat();
    (args[0], args[8]) = (file, model);
    place.run(&format!("run --json --yes --poll-min 50ms {line}"), &args).expect(0).json()
}

fn savings(place: &Place, job: &Value) -> Value {
    let job = job["job"].as_str().unwrap();
    place.run(&format!("verify {job}"), &[]).expect(0);
    let found = place.run(&format!("cost --savings {job} --json"), &[]).expect(0).json();
    adds_up(&found);
    found
}

fn saved(of: &Value, lever: &str) -> i64 {
    let steps = of["steps"].as_array().unwrap();
    steps.iter().find(|step| step["lever"] == lever).map_or(0, |step| nanos(step, "saved"))
}

#[test]
fn the_choice_of_a_model_is_a_saving_and_the_pilot_a_cost() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 400);
    // A tenth of the rows is there twice, of those that the pilot asks as well.
    let rows = String::from_utf8(std::fs::read(place.path("reviews.csv")).unwrap()).unwrap();
    let twice: String = rows.lines().skip(1).step_by(10).map(|row| format!("x{row}\n")).collect();
    place.put("reviews.csv", format!("{rows}{twice}"));
    let found =
        pilot(&place, "--pilot 150 --yes --quality-loss 5%", &[&["--candidate", LUNA]]).expect(0).json();
    assert_eq!(winner(&found)["models"], serde_json::json!([LUNA]));
    let chosen = run(&place, "--plan cheapest --quality-loss 5% --out a.csv", "reviews.csv", SOL);
    let books = savings(&place, &chosen);
    assert_eq!(books["naive_plan"], serde_json::json!({"model": SOL, "models": [LUNA], "lane": "sync"}));
    assert!(
        saved(&books, "routing") > 0 && saved(&books, "cache") > 0 && saved(&books, "dedup") > 0,
        "{books}"
    );
    // As if all had been asked of the strong model, those that the pilot had paid for included.
    let strong = run(&place, "--cache off --lane sync --out strong.csv", "reviews.csv", SOL);
    assert_eq!(nanos(&books, "naive"), nanos(&strong, "naive"), "{books}");
    // The pilot's cost is in its own books, and told beside these.
    for of in [&books, &chosen] {
        assert_eq!(nanos(&of["pilot"], "spent"), nanos(&found, "spent"), "{of}");
        assert_eq!(of["pilot"]["jobs"].as_array().unwrap().len(), 2, "{of}");
    }
    assert!(savings(&place, &strong)["pilot"].is_null());
    let text =
        place.run(&format!("cost --savings {}", chosen["job"].as_str().unwrap()), &[]).expect(0).stdout;
    for words in
        ["naive: every item to openai/gpt-6.1-sol", "its pilot cost USD 0.", "which stands in the books of"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }

    // And each row says that the plan chose its model.
    let job = chosen["job"].as_str().unwrap();
    let route = place.run(&format!("show {job} 1"), &[]).expect(0).json()["route"].clone();
    assert_eq!((&route["by"], &route["to"]), (&"plan".into(), &LUNA.into()), "{route}");

    // The same job by its own model's name is the same books; another job of that model is compared with it alone.
    let again = run(&place, "--out a.csv", "reviews.csv", LUNA);
    assert_eq!((&again["job"], &again["naive_model"]), (&chosen["job"], &SOL.into()));
    assert_eq!(savings(&place, &again), books);
    place.put("more.csv", reviews(420));
    let other = savings(&place, &run(&place, "--out b.csv", "more.csv", LUNA));
    assert_eq!((other["naive_plan"]["model"].as_str(), saved(&other, "routing")), (Some(LUNA), 0), "{other}");
    assert!(saved(&other, "cache") > 0 && other["pilot"].is_null(), "{other}");
}

#[test]
fn rows_beyond_the_limit_are_no_saving() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 400);
    // No row equals another.
    let rows = reviews(444);
    let different = rows.lines().filter(|row| !row.contains("the same again"));
    place.put("reviews.csv", different.map(|row| format!("{row}\n")).collect::<String>());
    let found =
        pilot(&place, "--pilot 150 --yes --quality-loss 5%", &[&["--candidate", LUNA]]).expect(0).json();
    // The pilot has answered 150 of all rows, and few of the first 40.
    let few = run(&place, "--plan cheapest --quality-loss 5% --limit 40 --out a.csv", "reviews.csv", SOL);
    let one = nanos(&found, "naive") / 400;
    assert_eq!(few["succeeded"], 40);
    assert!((nanos(&few, "naive") - 40 * one).abs() < 4 * one, "{few}");
    // All of them: the books meet, and no row is compared with more than it would have cost.
    let all = run(&place, "--plan cheapest --quality-loss 5% --out a.csv", "reviews.csv", SOL);
    assert_eq!((&all["job"], &all["succeeded"]), (&few["job"], &400.into()));
    savings(&place, &all);
    assert!(nanos(&all, "naive") <= nanos(&found, "naive") * 101 / 100, "{all}");
}
