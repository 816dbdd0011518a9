#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use std::fs;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{
    Fate, JobState, LedgerEntry, LedgerKind, MemStore, NewJob, Place, Store, Submission, SubmissionState,
    Via, View,
};
use serde_json::json;

use super::*;
use crate::deliver::fixture::{BOUND, Fixture, outcome, spec};
use crate::deliver::spec_of;
use crate::engine::delivered::{DeliveredFile, FIELD};
use crate::prepare::Shape;
use bulkrate_core::collect::Checked;
use bulkrate_core::ids::Sub;

mod proofs;

/// What `job()` is named after.
fn id() -> &'static str {
    static ID: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| job().job().id);
    &ID
}

/// Six items: done with a follower, dead after two attempts with a follower, invalid, done in a batch.
fn job() -> Fixture {
    let mut spec = spec();
    spec.source.id = Some("id".to_owned());
    spec.run.budget = Some(UsdNanos(2_000));
    spec.tags.insert("team".to_owned(), "a".to_owned());
    let mut job = Fixture::new("", spec, "in.csv", "id,text\na,1\nb,1\nc,2\nd,2\ne,\nf,3\n", Shape::Table);
    let a = job.leader("a", "1");
    job.follower(a);
    let c = job.leader("c", "2");
    job.follower(c);
    job.invalid("the prompt is empty");
    let f = job.leader("f", "3");
    job.text(a, "x");
    job.call(&[(c, 1)]);
    job.bad(c, 1, Via::Sync, 0, (FailureClass::SchemaFailed, "no JSON"), Fate::Retry, 30);
    job.call(&[(c, 2)]);
    job.bad(c, 2, Via::Sync, 0, (FailureClass::Refusal, "I cannot"), Fate::Final, 20);
    job.batch(1, &[(f, 1)]);
    job.good(f, 1, Via::Batch, 1, &Checked::Text("y".into()), 40);
    job
}

fn reader(job: &Fixture) -> Reader {
    Reader::open(&job.state_dir()).unwrap()
}

/// The checks that fail.
fn failing(job: &Fixture) -> Vec<String> {
    let verification = reader(job).verify(id(), &[]).unwrap();
    assert_eq!(verification.checks.len(), 11);
    assert_eq!(verification.passed(), verification.checks.iter().all(|check| check.passed));
    verification.checks.into_iter().filter(|check| !check.passed).map(|check| check.name).collect()
}

#[test]
fn jobs_are_found_by_id_name_and_prefix() {
    let mut store = MemStore::new("i");
    for (id, name) in [("0abc", "reviews"), ("0abd", "mails"), ("1xyz", "mails"), ("mails2", "0ab")] {
        store
            .create_job(&NewJob {
                id: id.to_owned(),
                name: name.to_owned(),
                spec: String::new(),
                source: String::new(),
                source_digest: String::new(),
                catalogue_digest: String::new(),
                created_at_ms: 0,
            })
            .unwrap();
    }
    for (wanted, found) in [
        ("0abc", "0abc"),
        ("reviews", "0abc"),
        ("1", "1xyz"),
        ("mails", "job-ambiguous"),
        ("0a", "job-ambiguous"),
        ("0ab", "mails2"),
        ("", "job-unknown"),
        ("reviewz", "job-unknown"),
    ] {
        let got = find(&store, wanted).map_or_else(|error| error.code().to_owned(), |job| job.id);
        assert_eq!(got, found, "{wanted}");
    }
    let error = find(&store, "reviewz").unwrap_err();
    assert!(error.to_string().contains("did you mean `reviews`"), "{error}");
}

#[test]
fn a_status_counts_every_item_once() {
    let mut job = job();
    job.save();
    let status = reader(&job).status(Some("reviews")).unwrap().pop().unwrap();
    assert_eq!(
        (status.items, status.succeeded, status.failed, status.cancelled, status.open),
        (6, 3, 3, 0, 0)
    );
    assert_eq!(
        (status.duplicates, status.in_flight, status.engine_at_work),
        (1, 0, true),
        "the follower of a dead letter was not answered; the fixture holds the lock"
    );
    assert_eq!(
        (status.spent, status.reserved, status.in_doubt),
        (UsdNanos(75 + 50 + 40), UsdNanos::ZERO, UsdNanos::ZERO)
    );
    assert_eq!(
        (status.batches.len(), status.batches[0].state.as_str(), status.batches[0].since_ms),
        (1, "settled", 99)
    );
    assert!(status.disk_bytes > 500);
    let next = job.leader("g", "9");
    job.follower(next);
    job.call(&[(next, 1)]);
    let status = reader(&job).status(None).unwrap().pop().unwrap();
    assert_eq!((status.open, status.in_flight, status.reserved), (2, 1, BOUND));
}

#[test]
fn the_lock_tells_whether_an_engine_works() {
    let job = job();
    let dir = job.state_dir();
    assert!(engine_at_work(&dir));
    let Fixture { root, store, .. } = job;
    drop(store);
    assert!(!engine_at_work(&dir));
    assert!(!engine_at_work(&root.path().join("none")));
}

#[test]
fn dead_letters_tell_every_attempt() {
    let job = job();
    job.save();
    let letters = reader(&job).dead(id()).unwrap();
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                letter.item,
                letter.item_id.as_str(),
                letter.class.as_str(),
                letter.message.as_str(),
                letter.followers,
            )
        })
        .collect();
    assert_eq!(
        told,
        [(3, "c", "refusal", "I cannot", 1), (5, "5", "invalid_input", "the prompt is empty", 0)]
    );
    let attempts: Vec<_> = letters[0]
        .attempts
        .iter()
        .map(|attempt| (attempt.attempt, attempt.class.as_str(), attempt.cost.0))
        .collect();
    assert_eq!(attempts, [(1, "schema_failed", 30), (2, "refusal", 20)]);
    assert!(
        letters[0].attempts[0].evidence.contains("no JSON")
            && letters[0].replay.contains(&format!("retry {}", id()))
    );
    let mut seen = 0;
    reader(&job)
        .dead_each(id(), &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_revived_item_is_no_dead_letter() {
    let mut job = job();
    job.land(outcome(2, 0, Via::Prepare, None, Fate::Revive, UsdNanos::ZERO, Place::NONE));
    job.save();
    assert_eq!(reader(&job).dead(id()).unwrap().len(), 1);
    job.call(&[(2, 3)]);
    job.bad(2, 3, Via::Sync, 0, (FailureClass::Empty, "empty"), Fate::Final, 0);
    job.save();
    assert_eq!(reader(&job).dead(id()).unwrap()[0].attempts.len(), 1, "earlier attempts are forgotten");
    assert_eq!(failing(&job), [""; 0]);
}

#[test]
fn an_item_is_shown_by_id_and_by_number() {
    let job = job();
    job.save();
    let reader = reader(&job);
    let shown = reader.show(id(), "c").unwrap();
    assert_eq!(
        (&shown["item"], &shown["state"], &shown["request"]["messages"][0]["content"]),
        (&json!(3), &json!("dead"), &json!("2"))
    );
    assert_eq!(
        (shown["attempts"].as_array().unwrap().len(), &shown["attempts"][1]["result"]["error"]["message"]),
        (2, &json!("I cannot"))
    );
    assert_eq!(shown["submissions"].as_array().unwrap().len(), 2);
    assert_eq!(reader.show(id(), "3").unwrap()["item_id"], json!("c"));
    let follower = reader.show(id(), "d").unwrap();
    assert_eq!(
        (&follower["item"], &follower["follows"], &follower["item_id"]),
        (&json!(4), &json!(3), &json!("d"))
    );
    assert_eq!(reader.show(id(), "5").unwrap()["attempts"][0]["class"], json!("invalid_input"));
    for unknown in ["0", "7", "nobody"] {
        assert_eq!(reader.show(id(), unknown).unwrap_err().code(), "item-unknown", "{unknown}");
    }
}

#[test]
fn costs_are_grouped() {
    let mut job = job();
    let saving = LedgerEntry {
        tags: 1,
        lever: Some("dedup".to_owned()),
        ..job.entry(LedgerKind::Saving, Lane::Sync, UsdNanos(7))
    };
    let tagged = LedgerEntry { tags: 2, ..job.entry(LedgerKind::Doubt, Lane::Flex, UsdNanos(9)) };
    job.commit(|tx| {
        tx.tag_sets = vec![(1, r#"{"lang":"de"}"#.to_owned()), (2, r#"{"team":"b"}"#.to_owned())];
        tx.ledger = vec![saving, tagged];
    });
    let reader = reader(&job);
    let ask = |by: &str| CostQuery { by: by.to_owned(), since_ms: None, until_ms: None, trend: None };
    let rows = |by: &str| {
        let rows = reader.cost(&ask(by), None).unwrap();
        rows.into_iter()
            .map(|row| (row.group, row.items, row.spent.0, row.in_doubt.0, row.saved.0))
            .collect::<Vec<_>>()
    };
    let row = |group: &str, items, spent, doubt, saved| (group.to_owned(), items, spent, doubt, saved);
    assert_eq!(
        rows("lane"),
        [row("batch", 1, 40, 0, 0), row("flex", 0, 0, 9, 0), row("sync", 3, 125, 0, 82)]
    );
    assert_eq!(rows("model"), [row("openai/m", 4, 165, 9, 82)]);
    assert_eq!(rows("job"), [row(&format!("{} (reviews)", id()), 4, 165, 9, 82)]);
    assert_eq!(rows("day"), [row("1970-01-01", 4, 165, 9, 82)]);
    assert_eq!(
        rows("tag.team"),
        [row("a", 4, 165, 0, 82), row("b", 0, 0, 9, 0)],
        "an item's own tag wins over the job's"
    );
    assert_eq!(rows("tag.lang"), [row("(none)", 4, 165, 9, 75), row("de", 0, 0, 0, 7)]);
    assert_eq!(
        rows("tag.*"),
        [row("lang=de, team=a", 0, 0, 0, 7), row("team=a", 4, 165, 0, 75), row("team=b", 0, 0, 9, 0)]
    );
    assert_eq!(reader.cost(&ask("tag."), None).unwrap_err().code(), "cost-by");
}

#[test]
fn costs_have_shares_levers_and_a_trend() {
    let mut job = job();
    let day = |day: i64| 86_400_000 * day;
    let at = |at_ms, entry: LedgerEntry| LedgerEntry { at_ms, ..entry };
    let settle = job.entry(LedgerKind::Settle, Lane::Flex, UsdNanos(35));
    let doubt = job.entry(LedgerKind::Doubt, Lane::Flex, UsdNanos(9));
    let cleared = job.entry(LedgerKind::DoubtCleared, Lane::Flex, UsdNanos(9));
    job.commit(|tx| tx.ledger = vec![at(day(2), settle), doubt, at(day(2), cleared)]);
    let reader = reader(&job);
    let ask = CostQuery { by: "lane".to_owned(), since_ms: None, until_ms: None, trend: Some(Period::Day) };
    let rows = reader.cost(&ask, None).unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.group.as_str(), row.share, row.saved_by.len())).collect();
    assert_eq!(seen, [("batch", Some(0.2), 0), ("flex", Some(0.175), 0), ("sync", Some(0.625), 1)]);
    assert_eq!(rows[2].saved_by.values().copied().sum::<UsdNanos>(), rows[2].saved);
    let trend = |row: usize| {
        rows[row].trend.iter().map(|step| (step.period.as_str(), step.spent.0)).collect::<Vec<_>>()
    };
    assert_eq!(trend(0), [("1970-01-01", 40), ("1970-01-02", 0), ("1970-01-03", 0)]);
    assert_eq!(trend(1), [("1970-01-01", 0), ("1970-01-02", 0), ("1970-01-03", 35)]);
    // What is cleared later gives nothing back to those days.
    let late = reader.cost(&CostQuery { since_ms: Some(day(1)), ..ask.clone() }, None).unwrap();
    assert!(
        matches!(&late[..], [row] if row.group == "flex" && row.spent.0 == 35 && row.in_doubt.0 == 0),
        "{late:?}"
    );
    let early = reader.cost(&CostQuery { until_ms: Some(day(1)), ..ask }, None).unwrap();
    assert_eq!(early.iter().map(|row| row.in_doubt.0).sum::<i64>(), 9);
}

#[test]
fn a_cancel_leaves_an_order_for_a_job_that_is_not_over() {
    let mut job = job();
    assert!(reader(&job).cancel(id()).unwrap());
    let order = reader(&job).store.orders().unwrap().pop().unwrap().order;
    assert_eq!((order.verb.as_str(), order.job), ("cancel", job.no));
    job.finish();
    assert_eq!(reader(&job).cancel(id()).unwrap_err().code(), "job-finished");
}

#[test]
fn a_removed_job_leaves_nothing_but_its_ledger() {
    let mut job = job();
    job.finish();
    let dir = job.state_dir();
    let keys = dir.join("cache").join(format!("{}.keys", id()));
    fs::create_dir_all(keys.parent().unwrap()).unwrap();
    fs::write(&keys, "k").unwrap();
    assert_eq!(Reader::remove(&dir, id()).unwrap_err().code(), "state-locked");
    let Fixture { root: _root, store, dir: files, .. } = job;
    drop(store);
    Reader::remove(&dir, id()).unwrap();
    assert!(!files.0.exists() && !keys.exists());
    let reader = Reader::open(&dir).unwrap();
    assert_eq!(reader.find(id()).unwrap_err().code(), "job-unknown");
    let ask = CostQuery { by: "job".to_owned(), since_ms: None, until_ms: None, trend: None };
    assert_eq!(reader.cost(&ask, None).unwrap()[0].spent, UsdNanos(165));
}

#[test]
fn a_job_with_batches_at_the_provider_is_not_removed() {
    let mut job = job();
    let sent = Submission::new(Sub::new(1, 1), job.no, Lane::Batch, SubmissionState::Accepted, 1);
    let staged = Submission::new(Sub::new(2, 2), job.no, Lane::Batch, SubmissionState::Staged, 1);
    job.lease(staged, &[]);
    job.lease(sent, &[]);
    let dir = job.state_dir();
    let Fixture { root: _root, store, .. } = job;
    drop(store);
    let error = Reader::remove(&dir, id()).unwrap_err();
    assert!(error.code() == "job-in-flight" && error.to_string().contains("1 of its batches"), "{error}");
}

#[test]
fn a_job_with_a_standing_ghost_is_not_removed_before_the_operator_has_spoken() {
    let mut job = job();
    job.finish();
    let sub = Sub::new(9, 9);
    let note = |note: &str| (Some(sub), Some(note.to_owned()));
    let (of, noted) = note("W5: batch b9 runs or ran, and no row here knows it");
    let doubt =
        LedgerEntry { sub: of, note: noted, ..job.entry(LedgerKind::Doubt, Lane::Batch, UsdNanos(9)) };
    let (of, noted) = note("operator ada: it was not run");
    let word =
        LedgerEntry { sub: of, note: noted, ..job.entry(LedgerKind::DoubtCleared, Lane::Batch, UsdNanos(9)) };
    job.commit(|tx| tx.ledger.push(doubt));
    let dir = job.state_dir();
    let Fixture { root: _root, store, no, dir: files, .. } = job;
    drop(store);
    let error = Reader::remove(&dir, id()).unwrap_err();
    assert_eq!(error.code(), "job-in-flight");
    assert!(error.to_string().contains(&format!("bulkrate doubt release {sub}")), "{error}");
    assert!(files.0.exists() && Reader::open(&dir).unwrap().find(id()).is_ok());

    let mut store = SqliteStore::open(&dir, "inst", 2).unwrap();
    let mut tx = bulkrate_store::Tx::new(no);
    tx.ledger.push(word);
    store.commit(&[tx]).unwrap();
    drop(store);
    Reader::remove(&dir, id()).unwrap();
    assert!(!files.0.exists());
}

#[test]
fn results_replace_only_what_the_job_wrote() {
    let mut job = job();
    let path = job.root.path().join("out.jsonl");
    fs::write(&path, "old\n").unwrap();
    job.finish();
    let sink = SinkSpec { path: Some(path.clone()), ..SinkSpec::default() };
    let results = |job: &Fixture| {
        reader(job)
            .results("reviews", &sink, &mut |_, _| {})
            .map_or_else(|error| error.code().to_owned(), |report| report.rows.to_string())
    };
    assert_eq!(results(&job), "sink-exists");
    job.commit(|tx| tx.report = Some(json!({ "output": path }).to_string()));
    assert_eq!(results(&job), "6");
}

#[test]
fn every_code_given_here_has_its_page() {
    for code in [
        "bill-invalid",
        "column-collision",
        "cost-by",
        "format-unknown",
        "item-unknown",
        "job-finished",
        "job-in-flight",
        "job-preparing",
        "no-output",
        "source-changed",
        "job-unknown",
        "job-ambiguous",
        "io-failed",
        "internal",
    ] {
        let page = format!("{}/../../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
        assert!(Path::new(&page).exists(), "{page}");
    }
}
