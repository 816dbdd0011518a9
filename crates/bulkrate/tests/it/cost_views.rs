//! What `bulkrate cost` shows of some months of books: by tags with shares, as a trend, as bars, lever by lever, and as CSV.

use std::collections::BTreeMap;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::spec::{AccountSpec, JobSpec, OnBadLine, RequestSpec, RunSpec, SinkSpec, SourceSpec};
use bulkrate_store::{LedgerEntry, LedgerKind, NewJob, SqliteStore, Store as _, Tx};
use insta::assert_snapshot;
use serde_json::Value;

use super::jobs::nanos;
use super::support::{ASK, Place, Sim, reviews};

/// Noon of a day of 2026, UTC.
fn noon(month: i8, day: i8) -> i64 {
    let noon = jiff::civil::date(2026, month, day).at(12, 0, 0, 0);
    noon.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond()
}

fn create(store: &mut SqliteStore, name: &str, tags: &[(&str, &str)]) -> u32 {
    let spec = JobSpec {
        name: name.to_owned(),
        source: SourceSpec { path: None, format: None, id: None, on_bad_line: OnBadLine::Fail, limit: None },
        request: RequestSpec::default(),
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        run: RunSpec::default(),
        sink: SinkSpec::default(),
        account: AccountSpec::default(),
    };
    let job = NewJob {
        id: format!("{name}-1"),
        name: name.to_owned(),
        spec: serde_json::to_string(&spec).unwrap(),
        source: "-".to_owned(),
        source_digest: name.to_owned(),
        catalogue_digest: String::new(),
        created_at_ms: noon(10, 1),
    };
    store.create_job(&job).unwrap()
}

/// Two jobs, one of which has rows of a feature of their own, from October to the end of November.
fn books() -> Place {
    let place = Place::new();
    let mut store = SqliteStore::open(&place.path(".bulkrate"), "test", 0).unwrap();
    let shop = create(&mut store, "shop", &[("team", "shop"), ("feature", "reviews")]);
    let desk = create(&mut store, "desk", &[("team", "desk")]);
    let entry = |job, day: (i8, i8), kind, tags, items, usd: i64| LedgerEntry {
        job,
        at_ms: noon(day.0, day.1),
        kind,
        lane: Some(if job == shop { Lane::Batch } else { Lane::Sync }),
        provider: "openai".to_owned(),
        model: if job == shop { "gpt-6-luna" } else { "gpt-6.1-sol" }.to_owned(),
        tags,
        lever: None,
        sub: None,
        items,
        usd: UsdNanos(usd * 1_000_000),
        note: None,
    };
    let saving = |lever: &str, of| LedgerEntry { lever: Some(lever.to_owned()), ..of };
    use LedgerKind::{Doubt, Duplicate, Saving, Settle};
    let of_shop = vec![
        entry(shop, (10, 30), Settle, 0, 1_000, 1_200),
        entry(shop, (11, 26), Settle, 0, 400, 300),
        entry(shop, (11, 28), Settle, 0, 500, 600),
        entry(shop, (11, 28), Settle, 1, 100, 150),
        entry(shop, (11, 28), Duplicate, 0, 1, 2),
        saving("batch", entry(shop, (10, 30), Saving, 0, 1_000, 1_200)),
        saving("batch", entry(shop, (11, 28), Saving, 0, 900, 1_050)),
        saving("dedup", entry(shop, (11, 28), Saving, 0, 50, 75)),
        saving("dedup", entry(shop, (11, 28), Saving, 1, 10, 30)),
        saving("cascade", entry(shop, (11, 28), Saving, 0, 3, -20)),
    ];
    let of_desk = vec![
        entry(desk, (11, 27), Settle, 0, 10, 90),
        entry(desk, (11, 28), Settle, 0, 20, 60),
        entry(desk, (11, 28), Doubt, 0, 1, 5),
    ];
    let tag_sets = vec![(1, r#"{"feature":"search"}"#.to_owned())];
    let (one, two) =
        (Tx { tag_sets, ledger: of_shop, ..Tx::new(shop) }, Tx { ledger: of_desk, ..Tx::new(desk) });
    store.commit(&[one, two]).unwrap();
    place
}

fn shown(place: &Place, line: &str) -> String {
    place.run(&format!("cost {line}"), &[]).expect(0).stdout
}

#[test]
fn each_tag_has_its_share() {
    let place = books();
    assert_snapshot!(shown(&place, "--by tag.feature"), @r"
    tag.feature  items  spent USD    share  in doubt USD  saved USD  beside USD
    (none)          30       0.15    6.2 %         0.005       0.00        0.00
    reviews      1,900      2.102   87.5 %          0.00      2.305       0.002
    search         100       0.15    6.2 %          0.00       0.03        0.00
    sum          2,030      2.402  100.0 %         0.005      2.335       0.002
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    ");
    assert_snapshot!(shown(&place, "--by tag.*"), @r"
    tag.*                       items  spent USD    share  in doubt USD  saved USD  beside USD
    feature=reviews, team=shop  1,900      2.102   87.5 %          0.00      2.305       0.002
    feature=search, team=shop     100       0.15    6.2 %          0.00       0.03        0.00
    team=desk                      30       0.15    6.2 %         0.005       0.00        0.00
    sum                         2,030      2.402  100.0 %         0.005      2.335       0.002
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    ");
    assert_snapshot!(shown(&place, "shop-1 --by tag.feature --since 2026-11-28"), @r"
    tag.feature  items  spent USD    share  in doubt USD  saved USD  beside USD
    reviews        500      0.602   80.1 %          0.00      1.105       0.002
    search         100       0.15   19.9 %          0.00       0.03        0.00
    sum            600      0.752  100.0 %          0.00      1.135       0.002
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    ");
    let rows = place.run("cost --by tag.feature --json", &[]).expect(0).json();
    let rows = rows.as_array().unwrap();
    let shares: f64 = rows.iter().map(|row| row["share"].as_f64().unwrap()).sum();
    let spent: i64 = rows.iter().map(|row| nanos(row, "spent")).sum();
    assert!((shares - 1.0).abs() < 1e-9 && spent == 2_402_000_000, "{rows:?}");
    for row in rows {
        let share = nanos(row, "spent") as f64 / spent as f64;
        assert!((row["share"].as_f64().unwrap() - share).abs() < 1e-9, "{row}");
    }
}

#[test]
fn a_trend_goes_by_days_weeks_and_months() {
    let place = books();
    assert_snapshot!(shown(&place, "--by tag.feature --trend --since 2026-11-24"), @r"
    tag.feature  items  spent USD    share  in doubt USD  saved USD  beside USD  trend    change
    (none)          30       0.15   12.5 %         0.005       0.00        0.00  ·█▆     -33.3 %
    reviews        900      0.902   75.0 %          0.00      1.105       0.002  ▄·█         new
    search         100       0.15   12.5 %          0.00       0.03        0.00  ··█         new
    sum          1,030      1.202  100.0 %         0.005      1.135       0.002  ▃▁█    +802.2 %
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    trend: from 2026-11-26 to 2026-11-28 in 3 steps; change: of the last to the one before
    ");
    assert_snapshot!(shown(&place, "--by tag.feature --trend=week"), @r"
    tag.feature  items  spent USD    share  in doubt USD  saved USD  beside USD  trend  change
    (none)          30       0.15    6.2 %         0.005       0.00        0.00  ····█     new
    reviews      1,900      2.102   87.5 %          0.00      2.305       0.002  █···▇     new
    search         100       0.15    6.2 %          0.00       0.03        0.00  ····█     new
    sum          2,030      2.402  100.0 %         0.005      2.335       0.002  █···█     new
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    trend: from 2026-10-26 to 2026-11-23 in 5 steps; change: of the last to the one before
    ");
    assert_snapshot!(shown(&place, "--by job --trend=month"), @r"
    job            items  spent USD    share  in doubt USD  saved USD  beside USD  trend   change
    desk-1 (desk)     30       0.15    6.2 %         0.005       0.00        0.00  ·█         new
    shop-1 (shop)  2,000      2.252   93.8 %          0.00      2.335       0.002  ██     -12.3 %
    sum            2,030      2.402  100.0 %         0.005      2.335       0.002  ██      +0.2 %
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    trend: from 2026-10-01 to 2026-11-01 in 2 steps; change: of the last to the one before
    ");
    let rows = place.run("cost --by tag.feature --trend=month --json", &[]).expect(0).json();
    for row in rows.as_array().unwrap() {
        let steps: i64 = row["trend"].as_array().unwrap().iter().map(|step| nanos(step, "spent")).sum();
        assert_eq!(steps, nanos(row, "spent"), "what was spent is in one step: {row}");
    }
}

#[test]
fn bars_are_as_long_as_shares() {
    let place = books();
    assert_snapshot!(shown(&place, "--by tag.feature --plot"), @r"
    tag.feature  items  spent USD    share  in doubt USD  saved USD  beside USD
    (none)          30       0.15    6.2 %         0.005       0.00        0.00  █▌
    reviews      1,900      2.102   87.5 %          0.00      2.305       0.002  █████████████████████
    search         100       0.15    6.2 %          0.00       0.03        0.00  █▌
    sum          2,030      2.402  100.0 %         0.005      2.335       0.002
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    ");
    assert_snapshot!(shown(&place, "--by model --plot --trend=month"), @r"
    model               items  spent USD    share  in doubt USD  saved USD  beside USD  trend   change
    openai/gpt-6-luna   2,000      2.252   93.8 %          0.00      2.335       0.002  ██     -12.3 %  ██████████████████████▌
    openai/gpt-6.1-sol     30       0.15    6.2 %         0.005       0.00        0.00  ·█         new  █▌
    sum                 2,030      2.402  100.0 %         0.005      2.335       0.002  ██      +0.2 %
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    trend: from 2026-10-01 to 2026-11-01 in 2 steps; change: of the last to the one before
    ");
}

#[test]
fn levers_are_columns() {
    let place = books();
    assert_snapshot!(shown(&place, "--levers"), @r"
    job            batch  cascade  dedup  saved USD  of naive  spent USD
    desk-1 (desk)                              0.00     0.0 %       0.15
    shop-1 (shop)   2.25    -0.02  0.105      2.335    50.9 %      2.252
    sum             2.25    -0.02  0.105      2.335    49.3 %      2.402
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    ");
    assert_snapshot!(shown(&place, "--levers --by tag.feature"), @r"
    tag.feature  batch  cascade  dedup  saved USD  of naive  spent USD
    (none)                                   0.00     0.0 %       0.15
    reviews       2.25    -0.02  0.075      2.305    52.3 %      2.102
    search                        0.03       0.03    16.7 %       0.15
    sum           2.25    -0.02  0.105      2.335    49.3 %      2.402
    beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside
    ");
}

#[test]
fn csv_has_a_line_a_group() {
    let place = books();
    assert_snapshot!(shown(&place, "--by tag.feature --csv --trend=month"), @r"
    tag.feature,items,spent_usd,share,in_doubt_usd,saved_usd,beside_usd,unpriced,saved_batch_usd,saved_cascade_usd,saved_dedup_usd,spent_usd_2026-10-01,spent_usd_2026-11-01
    (none),30,0.15,0.062448,0.005,0.00,0.00,false,0.00,0.00,0.00,0.00,0.15
    reviews,1900,2.102,0.875104,0.00,2.305,0.002,false,2.25,-0.02,0.075,1.20,0.902
    search,100,0.15,0.062448,0.00,0.03,0.00,false,0.00,0.00,0.03,0.00,0.15
    ");
    // What is read back is what the table says.
    let csv = shown(&place, "--by tag.* --csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    let shares: f64 = rows.iter().map(|row| row["share"].parse::<f64>().unwrap()).sum();
    assert!(rows.len() == 3 && (shares - 1.0).abs() < 1e-5, "{csv}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let place = books();
    for line in ["--levers --plot", "--levers --trend", "--csv --levers", "--csv --plot", "--csv --json"] {
        let said = place.run(&format!("cost {line}"), &[]).expect(2);
        assert!(said.stderr.contains("cannot be used with"), "{line}: {}", said.stderr);
    }
    place.run("cost --by colour", &[]).expect(2);
    let none = Place::new();
    assert_eq!(shown(&none, "--by tag.feature"), "nothing was spent here\n");
}

/// Of real runs: what all groups have spent is the bill, whatever they are grouped by, and levers are the way to it.
#[test]
fn every_view_of_a_run_adds_up_to_the_bill() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(50));
    for (lane, feature, sample) in [("sync", "reviews", "0"), ("batch", "search", "1")] {
        let line = format!(
            "run reviews.csv --yes --lane {lane} --poll-min 1s --name {feature} --out {feature}.out.csv"
        );
        let tags = ["--tag", &format!("feature={feature}"), "--sample", sample];
        place.run(&line, &[&ASK[..], &tags].concat()).expect(0);
    }
    let bill = nanos(&sim.bill(), "total");
    let sum =
        |rows: &Value, what: &str| rows.as_array().unwrap().iter().map(|row| nanos(row, what)).sum::<i64>();
    for by in ["job", "model", "lane", "day", "tag.feature", "tag.*", "tag.none"] {
        let rows = place.run(&format!("cost --by {by} --trend --json"), &[]).expect(0).json();
        assert_eq!(sum(&rows, "spent"), bill, "{by}");
        let shares: f64 = rows.as_array().unwrap().iter().filter_map(|row| row["share"].as_f64()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{by}: {rows}");
    }
    let rows = place.run("cost --by tag.feature --json", &[]).expect(0).json();
    let of = |group: &str| rows.as_array().unwrap().iter().find(|row| row["group"] == group).unwrap().clone();
    assert_eq!(of("search")["saved_by_usd_nanos"].as_object().unwrap().len(), 2, "batch and dedup: {rows}");
    for name in ["reviews", "search"] {
        let books = place.run(&format!("cost --savings {name} --json"), &[]).expect(0).json();
        assert_eq!(nanos(&books, "naive") - nanos(&of(name), "saved"), nanos(&of(name), "spent"), "{rows}");
    }
}
