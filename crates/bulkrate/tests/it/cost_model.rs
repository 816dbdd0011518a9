//! `cost model`: what a workload would cost, from prices alone.

use super::jobs::nanos;
use super::support::Place;

const KIN: &str = "openai/gpt-4.1-nano=80,openai/gpt-4.1-mini=15,openai/gpt-4.1=5";
const OWN: &str = "nano=80@0.1/0.4/0.05/0.2,mini=15@0.4/1.6/0.2/0.8,large=5@2/8/1/4";

#[test]
fn the_worked_table_is_reproduced_to_the_cent() {
    let place = Place::new();
    for mix in [KIN, OWN, "nano=80,mini=15,large=5"] {
        for (items, want) in [
            ("100k", [260_000, 130_000, 15_600, 11_700, 9_945]),
            ("5M", [13_000_000, 6_500_000, 780_000, 585_000, 497_250]),
            ("50M", [130_000_000, 65_000_000, 7_800_000, 5_850_000, 4_972_500]),
        ] {
            let line =
                format!("cost model --items {items} --input 500 --output 200 --dup 25% --cache 15% --json");
            let said = place.run(&line, &["--lane", "batch", "--mix", mix]).expect(0).json();
            let steps = said["steps"].as_array().unwrap();
            let costs =
                std::iter::once(nanos(&said, "naive")).chain(steps.iter().map(|step| nanos(step, "cost")));
            let want = want.map(|thousandths: i64| thousandths * 1_000_000);
            assert_eq!(costs.collect::<Vec<_>>(), want, "{items}");
            let saved: i64 = steps.iter().map(|step| nanos(step, "saved")).sum();
            assert_eq!(nanos(&said, "naive") - saved, nanos(&said, "cost"));
            let levers: Vec<&str> = steps.iter().filter_map(|step| step["lever"].as_str()).collect();
            assert_eq!(levers, ["batch", "routing", "dedup", "cache"]);
        }
    }
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0, "no state is made");
}

#[test]
fn people_read_a_waterfall() {
    let place = Place::new();
    let line = format!("cost model --items 5M --input 500 --output 200 --dup 25 --cache 15 --mix {KIN}");
    let said = place.run(&line, &[]).expect(0);
    for words in [
        "5,000,000 items of 500 input and 200 output tokens",
        "openai/gpt-4.1-nano  80.0 %",
        "naive: every item to openai/gpt-4.1, one by one in the sync lane",
        "USD 497.25 in the batch lane, 3.8 % of naive",
    ] {
        assert!(said.stdout.contains(words), "{words}: {}", said.stdout);
    }
}

#[test]
fn what_cannot_be_worked_out_says_why() {
    let place = Place::new();
    for (mix, code, words) in [
        ("openai/gpt-4.1=80", "option-invalid", "add up to 80.0 %"),
        ("gpt-4.1=100", "ambiguous-model", "openai/gpt-4.1"),
        ("openai/gpt-4.l=100", "unknown-model", "openai/gpt-4.1"),
        ("own=100@1/2", "lane-unavailable", "`own` has no batch price"),
    ] {
        let line = "cost model --items 1k --input 1 --output 1 --lane batch --mix";
        place.run(&format!("{line} {mix}"), &[]).error(2, code, &[words]);
    }
    for (line, words) in [
        ("cost model --items 1.5 --input 1 --output 1 --mix a=100@1/2", "is not a number"),
        ("cost model --items 1k --input 1 --output 1 --mix a=100@1", "neither two prices"),
        ("cost model --items 1k --input 1 --output 1", "--mix"),
        ("cost job-1 model --items 1k", "cannot be used with"),
    ] {
        let said = place.run(line, &[]).expect(2);
        assert!(said.stderr.contains(words), "{line}: {}", said.stderr);
    }
}
