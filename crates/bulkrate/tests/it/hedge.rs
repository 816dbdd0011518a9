//! `--hedge`: slow calls have copies, the end of a run comes sooner, and the books say what that may have cost.

use super::jobs::nanos;
use super::support::{ASK, Place, Sim, table};

/// So many reviews, each unlike the others.
fn reviews(rows: usize) -> String {
    let row = |row| format!("r-{row},lamp {row},\"{} ({row})\"\n", ["great", "bad", "a lamp"][row % 3]);
    "id,product,text\n".to_owned() + &(0..rows).map(row).collect::<String>()
}

const ROWS: usize = 900;
const LINE: &str = "run reviews.csv --yes --lane sync --json --budget 50 --out l.csv --concurrency-max 20";

#[test]
fn two_slow_calls_hold_nobody_up() {
    // Far longer than all the others together.
    let sim = Sim::start(&["--latency-ms", "3", "--fault", "slow:sync@400-401", "--slow-ms", "60000"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(ROWS));
    let report = place.run(&format!("{LINE} --hedge"), &ASK).expect(0).json();
    assert!(report["seconds"].as_f64().unwrap() < 40.0, "{report}");
    assert_eq!(report["succeeded"].as_u64(), Some(ROWS as u64), "{report}");
    let [hedged, won, lost, sent] =
        ["hedged", "hedges_won", "hedges_lost", "requests_sent"].map(|key| report[key].as_u64().unwrap());
    assert!(won >= 2 && won + lost == hedged && hedged * 50 <= sent - hedged, "{report}");
    assert_eq!(sent, ROWS as u64 + hedged, "one copy each, and nothing else is asked again: {report}");
    let (_, rows) = table(&place.path("l.csv"));
    assert_eq!(rows.len(), ROWS);
    assert!((0..ROWS).zip(&rows).all(|(at, row)| row[0] == format!("r-{at}")));

    // Every call was carried out, those whose connections were closed too.
    let (total, spent, doubt) =
        (place.proved("reviews", &sim), nanos(&report, "spent"), nanos(&report, "in_doubt"));
    assert!(spent < total && total <= spent + doubt, "{spent} < {total} <= {spent} + {doubt}");
    let found = place.run("doubt list --json", &[]).expect(0).json();
    let [of_copies] = found.as_array().unwrap().as_slice() else { panic!("one for the run: {found}") };
    assert_eq!(
        (of_copies["state"].as_str(), of_copies["waits"].as_bool()),
        (Some("hedge"), Some(false)),
        "{found}"
    );
    assert_eq!(nanos(of_copies, "price_at_most"), doubt, "{found}");

    // The bill is there: what the closed calls cost is said, and all is exact.
    let sub = of_copies["sub"].as_str().unwrap();
    let cost = format!("{:.9}", (total - spent) as f64 / 1e9);
    place.run(&format!("doubt release {sub} --paid --cost {cost} --yes"), &[]).expect(0);
    let found = place.run("cost --savings reviews --json", &[]).expect(0).json();
    assert_eq!((nanos(&found, "spent"), nanos(&found, "in_doubt")), (total, 0), "{found}");
    let step = found["steps"].as_array().unwrap().iter().find(|step| step["lever"] == "hedge").unwrap();
    assert!(nanos(step, "saved") <= spent - total, "{found}");
    assert_eq!(place.proved("reviews", &sim), total);
}

#[test]
fn whoever_does_not_ask_for_it_has_no_copy() {
    let sim = Sim::start(&["--latency-ms", "3", "--fault", "slow:sync@200", "--slow-ms", "1500"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(300));
    let plan = place.run("plan reviews.csv --lane sync", &ASK).expect(0);
    assert!(!plan.stdout.contains("--hedge"), "{plan:?}");
    for (lane, words) in [
        ("--lane sync", "up to 2 % of the calls may be billed twice"),
        ("--lane batch", "this job hardly makes any"),
        ("--lane sync --bundle 4", "`--hedge` does nothing beside `--bundle`"),
    ] {
        let plan = place.run(&format!("plan reviews.csv {lane} --hedge"), &ASK).expect(0);
        let said = plan.stdout.clone() + &plan.stderr;
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(words), "{lane}: {said}");
    }
    let report = place.run(LINE, &ASK).expect(0).json();
    assert_eq!(
        (report["hedged"].as_u64(), report["requests_sent"].as_u64()),
        (Some(0), Some(300)),
        "{report}"
    );
    assert!(report["seconds"].as_f64().unwrap() > 1.5, "{report}");
    assert_eq!(place.proved("reviews", &sim), nanos(&report, "spent"));
}

#[test]
fn killed_while_a_copy_is_out_nothing_is_lost_and_the_bill_is_within_the_doubt() {
    // The last eight calls are slow, and so are the copies: of three hundred six have one.
    let sim = Sim::start(&["--latency-ms", "3", "--fault", "slow:sync@293-330", "--slow-ms", "4000"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(300));
    let line = format!("{} --hedge", LINE.replace(" --json", ""));
    place.kill_when(line.split(' ').chain(ASK), |job| {
        job["succeeded"].as_u64() == Some(292) && sim.bill()["requests"].as_u64() == Some(306)
    });
    let left = place.run("status --json", &[]).expect(0).json();
    let copies = nanos(&left[0], "in_doubt");
    // What is left knows of each copy that has reached the provider.
    let found = place.run("doubt list --json", &[]).expect(0).json();
    let booked =
        found.as_array().unwrap().iter().find(|line| line["state"] == "hedge").expect("a doubt of copies");
    assert_eq!((booked["items"].as_u64(), nanos(booked, "price_at_most")), (Some(6), copies), "{found}");
    let report = place.run("resume reviews --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(300), "{report}");
    let (total, spent, doubt) =
        (place.proved("reviews", &sim), nanos(&report, "spent"), nanos(&report, "in_doubt"));
    assert!(
        doubt > copies && (spent..=spent + doubt).contains(&total),
        "{copies}: {spent} <= {total} <= {spent} + {doubt}"
    );
    let (_, rows) = table(&place.path("l.csv"));
    assert_eq!(rows.len(), 300);
}
