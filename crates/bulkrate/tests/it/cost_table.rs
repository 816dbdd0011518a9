//! The worked cost table, run end to end: 500 input and 200 output tokens an item, every way of sending them, bill = ledger.

use std::fmt::Write as _;

use super::jobs::nanos;
use super::support::{Place, Sim};

/// So many that every share of them is whole.
const ROWS: usize = 1_600;
const TIERS: [(&str, usize); 3] = [("nano", 80), ("mini", 15), ("large", 5)];

/// Answers whose JSON is of 200 tokens, at four bytes each as the simulator counts.
fn choices() -> String {
    let label = |letter: &str| letter.repeat(200 * 4 - r#"{"answer":""}"#.len());
    format!("{},{}", label("a"), label("b"))
}

/// A prompt of 500 tokens: four of them are for the message.
fn text(tier: &str, number: usize) -> String {
    format!("{tier} row {number:06} {}", "x".repeat((500 - 4) * 4 - tier.len() - 12))
}

/// The rows of the job. A quarter of them ask what another asks.
fn rows() -> String {
    table(|of| (0..of).map(|at| at % (of * 75 / 100)).collect())
}

/// What an earlier job has answered: 15 % of the different ones.
fn before() -> String {
    table(|of| (0..of * 75 / 100 * 15 / 100).collect())
}

/// `numbers`: of the rows of a tier that has so many.
fn table(numbers: impl Fn(usize) -> Vec<usize>) -> String {
    let mut csv = String::from("tier,text\n");
    for (tier, share) in TIERS {
        for number in numbers(ROWS * share / 100) {
            writeln!(csv, "{tier},{}", text(tier, number)).unwrap();
        }
    }
    csv
}

/// The price list with models that never retire: the table's are of early 2026.
fn prices() -> Vec<u8> {
    let mut list = csv::Reader::from_reader(include_str!("../../../../catalogue/prices.csv").as_bytes());
    let header = list.headers().unwrap().clone();
    let retires = header.iter().position(|column| column == "deprecation_date").unwrap();
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(&header).unwrap();
    for row in list.records().map(Result::unwrap) {
        out.write_record(row.iter().enumerate().map(|(at, cell)| if at == retires { "" } else { cell }))
            .unwrap();
    }
    out.into_inner().unwrap()
}

#[test]
fn the_worked_table_is_what_a_run_costs() {
    let lists = Place::new();
    lists.put("prices.csv", prices());
    let prices = lists.path("prices.csv").display().to_string();
    let sim = Sim::start(&["--prices", &prices]);
    let choices = choices();
    let rules = ["tier == \"nano\"=>openai/gpt-4.1-nano", "tier == \"mini\"=>openai/gpt-4.1-mini"];
    let mix: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", rule]).collect();
    let mini = ["--rule", "true=>openai/gpt-4.1-mini"];
    let mut billed = 0;
    // For each row of the table: how it is sent, and USD for 100,000 items, in thousandths.
    for (name, flags, rules, cost) in [
        ("large-sync", "--lane sync --distinct --cache off", &[][..], 260_000),
        ("large-batch", "--lane batch --distinct --cache off", &[], 130_000),
        ("mini-sync", "--lane sync --distinct --cache off", &mini[..], 52_000),
        ("mini-batch", "--lane batch --distinct --cache off", &mini, 26_000),
        ("mix-batch", "--lane batch --distinct --cache off", &mix, 15_600),
        ("mix-dedup", "--lane batch --cache off", &mix, 11_700),
        ("mix-cache", "--lane batch", &mix, 9_945),
    ] {
        let place = Place::with(&sim).set("BULKRATE_PRICES", &prices);
        place.put("rows.csv", rows()).put("before.csv", before());
        let ask = [&["--user", "{{ text }}", "--choices", &choices][..], rules].concat();
        let send = |file: &str, flags: &str| {
            let line =
                format!("run {file} --model openai/gpt-4.1 --no-canary --poll-min 50ms --yes --json {flags}");
            place.run(&line, &ask).expect(0).json()
        };
        if name == "mix-cache" {
            billed += nanos(&send("before.csv", "--lane batch"), "spent");
        }
        let report = send("rows.csv", flags);
        let spent = nanos(&report, "spent");
        assert_eq!(spent, cost * 1_000_000 * i64::try_from(ROWS).unwrap() / 100_000, "{name}: {report}");
        billed += spent;
        assert_eq!(nanos(&sim.bill(), "total"), billed, "{name}");
        let levers = report["saved_usd_nanos"].as_object().unwrap();
        let saved: i64 = levers.values().map(|usd| usd.as_i64().unwrap()).sum();
        assert_eq!(nanos(&report, "naive") - saved, spent, "{name}");
        place.run("verify rows", &[]).expect(0);
    }
}
