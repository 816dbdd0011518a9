//! Wrong answers: a sample to judge, its verdicts, and a job that stops before more of them are paid for.

use serde_json::Value;

use super::support::{ASK, Place, Said, Sim, reviews, table};

fn run(place: &Place, line: &str) -> Said {
    place.run(&format!("run reviews.csv --yes --lane sync --json {line}"), &ASK)
}

/// The sample with a verdict on each row.
fn judge(place: &Place, name: &str, verdict: impl Fn(usize) -> &'static str) {
    let (header, mut rows) = table(&place.path(name));
    let ok = header.iter().position(|column| column == "_ok").unwrap();
    let mut out = csv::Writer::from_path(place.path("judged.csv")).unwrap();
    out.write_record(&header).unwrap();
    for (at, row) in rows.iter_mut().enumerate() {
        row[ok] = verdict(at).to_owned();
        out.write_record(row).unwrap();
    }
    out.flush().unwrap();
}

#[test]
fn a_sample_is_written_judged_and_shown() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(60));
    let report = run(&place, "--out labels.csv --review-sample 50").expect(0).json();
    let items = report["review"]["items"].as_u64().unwrap();
    let (header, rows) = table(&place.path("labels.csv.review.csv"));
    assert_eq!(header, ["_item", "id", "product", "text", "answer", "_ok", "_note"]);
    assert_eq!(
        (rows.len() as u64, report["review"]["path"].as_str()),
        (items, Some("labels.csv.review.csv"))
    );
    assert!((15..=45).contains(&items), "{items}");
    let (_, all) = table(&place.path("labels.csv"));
    for row in &rows {
        let number: usize = row[0].parse().unwrap();
        assert_eq!(row[1..5], all[number - 1][..4], "the item and its answer");
    }
    judge(&place, "labels.csv.review.csv", |at| if at < 3 { "no" } else { "yes" });
    let found = place.run("review reviews judged.csv --json", &[]).expect(0).json();
    assert_eq!((found["items"].as_u64(), found["wrong"].as_u64()), (Some(items), Some(3)));
    let rate = |key: &str| found[key].as_f64().unwrap();
    assert!(0.0 < rate("low") && rate("low") < rate("error_rate") && rate("error_rate") < rate("high"));
    let status = place.run("status reviews --json", &[]).expect(0).json();
    assert_eq!(status[0]["judged"], found);
    let said = place.run("status reviews", &[]).expect(0);
    assert!(said.stdout.contains(&format!("3 of {items} judged answers wrong")), "{said:?}");
    // Verdicts survive another delivery, which shows them.
    std::fs::copy(place.path("judged.csv"), place.path("labels.csv.review.csv")).unwrap();
    let again = run(&place, "--out labels.csv --review-sample 50").expect(0).json();
    assert_eq!((&again["judged"], &again["review"]), (&found, &Value::Null));
    assert_eq!(place.read("labels.csv.review.csv"), place.read("judged.csv"));
}

#[test]
fn a_job_without_a_file_or_a_share_has_no_sample_until_one_is_asked_for() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(20));
    run(&place, "--out labels.jsonl --stream --review-sample 0").expect(0);
    assert!(!place.path("labels.jsonl.review.csv").exists());
    let drawn = place.run("review reviews --out sample.csv --share 100 --json", &[]).expect(0).json();
    assert_eq!((drawn["items"].as_u64(), table(&place.path("sample.csv")).1.len()), (Some(20), 20));
    assert_eq!(place.run("review reviews", &[]).expect(0).stdout, "no answer was judged yet\n");
    let said = place.run("review reviews sample.csv", &[]);
    said.error(2, "review-invalid", &["no row has a verdict"]);
    // Rows that were written as they landed have a sample as well.
    let report = run(&place, "--out labels.jsonl --stream --review-sample 100").expect(0).json();
    assert_eq!(report["review"]["items"], 20, "{report}");
}

#[test]
fn answers_that_fail_their_checks_stop_a_job_before_the_rest_is_paid() {
    let sim = Sim::start(&["--fault", "empty=0.6"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(4_000));
    let limit = "--out labels.csv --distinct --concurrency-max 4 --fail-above 100";
    let report = run(&place, &format!("{limit} --max-error-rate 2")).expect(1).json();
    assert_eq!(
        (report["ending"].as_str(), report["halted_by"].as_str()),
        (Some("halted"), Some("error_rate"))
    );
    let why = report["reason"].as_str().unwrap();
    assert!(
        why.contains("answers failed their checks") && why.ends_with("`--max-error-rate` is 2.0 %"),
        "{why}"
    );
    assert!(report["open"].as_u64().is_some_and(|open| open > 3_000), "{report}");
    // It stays halted, at no cost, until the limit is changed.
    let sent = |report: &Value| report["requests_sent"].as_u64().unwrap();
    let again = place.run("resume reviews --json", &[]).expect(1).json();
    assert_eq!((again["halted_by"].as_str(), sent(&again)), (Some("error_rate"), 0), "{again}");
    let said = place.run("resume reviews", &[]).expect(1);
    assert!(
        said.stderr.contains("alert[error-rate]: ") && said.stderr.contains("--max-error-rate PERCENT"),
        "{said:?}"
    );
    let free = place.run("resume reviews --json --limit 300 --max-error-rate 100", &[]);
    assert_eq!(free.json()["ending"], "finished", "{free:?}");
}

#[test]
fn a_finished_job_whose_answers_are_wrong_does_not_end_well() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(60));
    run(&place, "--out labels.csv --max-error-rate 1").expect(0);
    place.run("review reviews --out sample.csv --share 100", &[]).expect(0);
    judge(&place, "sample.csv", |_| "no");
    place.run("review reviews judged.csv", &[]).expect(0);
    let said = place.run("resume reviews", &[]).expect(1);
    let words = "more answers are wrong than `--max-error-rate` allows: exit code 1";
    assert!(said.stdout.contains(words) || said.stderr.contains(words), "{said:?}");
    let report = run(&place, "--out labels.csv --max-error-rate 1").expect(1).json();
    assert_eq!(
        (report["ending"].as_str(), report["halted_by"].as_str(), report["exit_code"].as_u64()),
        (Some("finished"), Some("error_rate"), Some(1))
    );
    run(&place, "--out labels.csv --max-error-rate 100").expect(0);
}

#[test]
fn verdicts_stop_a_job_that_goes_on() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(80));
    run(&place, "--out labels.csv --limit 40 --max-error-rate 10").expect(0);
    place.run("review reviews --out sample.csv --share 100", &[]).expect(0);
    // 4 of 40 may be 10 % or less of all; 12 of 40 may not.
    judge(&place, "sample.csv", |at| if at < 12 { "no" } else { "yes" });
    place.run("review reviews judged.csv", &[]).expect(0);
    let report = place.run("resume reviews --no-limit --json", &[]).expect(1).json();
    assert_eq!(
        (report["halted_by"].as_str(), report["requests_sent"].as_u64()),
        (Some("error_rate"), Some(0))
    );
    assert!(
        report["reason"].as_str().unwrap().starts_with("a reviewer found 12 of 40 answers wrong"),
        "{report}"
    );
    judge(&place, "sample.csv", |at| if at < 4 { "no" } else { "yes" });
    place.run("review reviews judged.csv", &[]).expect(0);
    place.run("resume reviews --no-limit --json", &[]).expect(0);
}
