//! What `verify` proves of a job, and every breach that it must see.

use super::*;

#[test]
fn a_sound_job_passes_every_check() {
    let mut job = job();
    job.finish();
    assert_eq!(failing(&job), [""; 0]);
}

#[test]
fn an_unfinished_job_passes_and_says_what_is_open() {
    let mut job = job();
    let open = job.leader("g", "9");
    job.call(&[(open, 1)]);
    job.save();
    assert_eq!(failing(&job), [""; 0]);
    let verification = reader(&job).verify(id(), &[]).unwrap();
    assert!(verification.checks[1].detail.contains("1 open"), "{:?}", verification.checks[1]);
}

/// What is broken, how, and the checks that must see it.
type Breach = (&'static str, fn(&mut Fixture), &'static [&'static str]);

const BREACHES: &[Breach] = &[
    ("an open item in a finished job", |job| _ = job.leader("g", "9"), &["one outcome per item"]),
    (
        "a second good answer",
        |job| {
            let again =
                outcome(0, 1, Via::Sync, None, Fate::Final, UsdNanos::ZERO, Place { segment: 0, offset: 0 });
            job.commit(|tx| tx.outcomes.push(again));
        },
        &["one outcome per item", "no item paid twice", "fold has no misfits", "results are readable"],
    ),
    (
        "a settlement without a receipt",
        |job| {
            let entry = job.entry(LedgerKind::Settle, Lane::Sync, UsdNanos(1));
            job.commit(|tx| tx.ledger.push(entry));
        },
        &["no item paid twice", "ledger equals receipts"],
    ),
    (
        "a payment for an answer that was there",
        |job| {
            let entry = job.entry(LedgerKind::Duplicate, Lane::Sync, UsdNanos(1));
            job.commit(|tx| tx.ledger.push(entry));
        },
        &["no item paid twice"],
    ),
    (
        "a reservation that was never released",
        |job| {
            let entry = job.entry(LedgerKind::Reserve, Lane::Sync, UsdNanos(1));
            job.commit(|tx| tx.ledger.push(entry));
        },
        &["ledger equals receipts"],
    ),
    (
        "a release beyond the reservation",
        |job| {
            let entry = job.entry(LedgerKind::Release, Lane::Sync, UsdNanos(1));
            job.commit(|tx| tx.ledger.push(entry));
        },
        &["ledger equals receipts"],
    ),
    (
        "a lease of an item that is done",
        |job| {
            let sub = Submission::new(Sub::new(5, 5), job.no, Lane::Sync, SubmissionState::Call, 1);
            job.lease(sub, &[(0, 2)]);
            let entry = job.entry(LedgerKind::Release, Lane::Sync, BOUND);
            job.commit(|tx| tx.ledger.push(entry));
        },
        &["fold has no misfits"],
    ),
    (
        "more in flight than the budget allows",
        |job| {
            let (reserve, release) = (
                job.entry(LedgerKind::Reserve, Lane::Sync, UsdNanos(1_900)),
                job.entry(LedgerKind::Release, Lane::Sync, UsdNanos(1_900)),
            );
            job.commit(|tx| tx.ledger = vec![reserve, release]);
        },
        &["caps held"],
    ),
    (
        "a saving that nothing saved",
        |job| {
            let lever = Some("dedup".to_owned());
            let entry = LedgerEntry { lever, ..job.entry(LedgerKind::Saving, Lane::Sync, UsdNanos(1)) };
            job.commit(|tx| tx.ledger.push(entry));
        },
        &["savings add up"],
    ),
    (
        "a saving of a lever that is none",
        |job| {
            let lever = Some("luck".to_owned());
            let entry = LedgerEntry { lever, ..job.entry(LedgerKind::Saving, Lane::Sync, UsdNanos(1)) };
            job.commit(|tx| tx.ledger.push(entry));
        },
        &["savings add up"],
    ),
    (
        "a router's saving that the report does not know",
        |job| {
            let lever = Some("routing".to_owned());
            let entry = LedgerEntry { lever, ..job.entry(LedgerKind::Saving, Lane::Sync, UsdNanos(1)) };
            job.commit(|tx| {
                tx.ledger.push(entry);
                tx.report = Some(json!({ "saved": {} }).to_string());
            });
        },
        &["savings add up"],
    ),
    (
        "a result line of another item",
        |job| {
            let stray = outcome(
                5,
                1,
                Via::Batch,
                Some(FailureClass::Empty),
                Fate::Retry,
                UsdNanos::ZERO,
                Place { segment: 0, offset: 0 },
            );
            job.commit(|tx| tx.outcomes.push(stray));
        },
        &["fold has no misfits", "results are readable"],
    ),
];

#[test]
fn every_breach_of_the_rows_is_seen() {
    for (name, breach, want) in BREACHES {
        let mut job = job();
        breach(&mut job);
        job.finish();
        assert_eq!(failing(&job), *want, "{name}");
    }
}

#[test]
fn every_damage_to_the_files_is_seen() {
    let edit = |path: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{}", path.display());
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let mut base = job();
    base.finish();
    let (dir, sub) = (base.dir.clone(), base.store.submissions(base.no).unwrap().pop().unwrap().sub);
    let sealed = "files match digests";
    let (readable, receipts) = ("results are readable", "ledger equals receipts");
    let cases: [(&str, PathBuf, &str, &str, &[&str]); 12] = [
        ("a prompt was changed", dir.requests(), r#""content":"2""#, r#""content":"7""#, &[sealed]),
        ("an id may be mended", dir.requests(), r#""custom_id":"a""#, r#""custom_id":"z""#, &[]),
        ("a request was cut off", dir.requests(), "\"f\"", "", &[sealed]),
        ("a batch input was changed", dir.batch(sub).input(), "[", "{", &[sealed]),
        ("a prompt of a batch was changed", dir.batch(sub).unified(), "\"3\"", "\"4\"", &[sealed]),
        ("an id of a batch was changed", dir.batch(sub).unified(), "\"f\"", "\"g\"", &[sealed]),
        ("a batch has a line more", dir.batch(sub).unified(), "\n", "\n{}\n", &[sealed]),
        ("an answer of the provider was changed", dir.batch(sub).output(), "1", "2", &[sealed]),
        ("an error of the provider was changed", dir.batch(sub).errors(), "0", "1", &[sealed]),
        ("a result line was broken", dir.results(), "{\"item\":0", "{\"item\":x", &[receipts, readable]),
        (
            "a result line has another cost",
            dir.results(),
            "0.000000075",
            "0.000000076",
            &[receipts, readable],
        ),
        (
            "a result says the opposite",
            dir.batch(sub).results(),
            "succeeded",
            "errored..",
            &[receipts, readable],
        ),
    ];
    for (name, path, from, to, want) in cases {
        let kept = fs::read(&path).unwrap();
        edit(&path, from, to);
        assert_eq!(failing(&base), want, "{name}");
        fs::write(&path, kept).unwrap();
    }
    let batch = dir.batch(sub);
    for path in [batch.input(), batch.unified(), batch.output(), batch.errors()] {
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(failing(&base), [sealed]);
        fs::write(&path, kept).unwrap();
    }
}

#[test]
fn an_edit_of_the_delivered_file_is_seen_and_one_that_is_gone_is_told() {
    let mut job = job();
    job.finish();
    let path = job.root.path().join("out.csv");
    fs::write(&path, "id,answer\na,x\n").unwrap();
    let file = DeliveredFile::of(&path).unwrap();
    job.commit(|tx| tx.report = Some(json!({ FIELD: file }).to_string()));
    let told = |job: &Fixture| {
        let checks = reader(job).verify(id(), &[]).unwrap().checks;
        checks.into_iter().find(|check| check.name == "delivered file is as written").unwrap()
    };
    for (text, passed, says) in [
        (Some("id,answer\na,x\n"), true, "is as the job wrote it"),
        (Some("id,answer\na,y\n"), false, "is not what the job wrote"),
        (None, true, "is not there any more"),
    ] {
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let check = told(&job);
        assert_eq!(check.passed, passed, "{text:?}: {check:?}");
        assert!(check.detail.contains(says) && check.detail.contains("out.csv"), "{text:?}: {check:?}");
    }
}

/// An edit of the stored spec, and whether it must be seen.
type Edit = (fn(&mut crate::spec::JobSpec), bool);

#[test]
fn a_spec_that_was_edited_is_seen() {
    let mut job = job();
    job.finish();
    // What is no part of a job's identity may be set anew by each run.
    let cases: [Edit; 4] = [
        (|spec| spec.run.budget = None, false),
        (|spec| spec.request.user = Some("another prompt".to_owned()), true),
        (|spec| spec.request.model = Some("openai/another".to_owned()), true),
        (|spec| drop(spec.tags.insert("team".to_owned(), "b".to_owned())), true),
    ];
    for (change, seen) in cases {
        let kept = job.job().spec;
        let mut spec = spec_of(&job.job()).unwrap();
        change(&mut spec);
        job.commit(|tx| tx.spec = Some(serde_json::to_string(&spec).unwrap()));
        let want: &[&str] = if seen { &["spec gives the job's id"] } else { &[] };
        assert_eq!(failing(&job), want, "{spec:?}");
        job.commit(|tx| tx.spec = Some(kept));
    }
}

#[test]
fn a_bill_of_a_job_with_a_batch_in_doubt_fits_within_that_doubt() {
    let mut job = job();
    let open = job.leader("g", "9");
    let doubted = Submission {
        reserved: BOUND,
        ..Submission::new(Sub::new(7, 7), job.no, Lane::Batch, SubmissionState::InDoubt, 1)
    };
    job.lease(doubted, &[(open, 1)]);
    let running = job.leader("h", "10");
    let accepted = Submission {
        reserved: BOUND,
        ..Submission::new(Sub::new(8, 8), job.no, Lane::Batch, SubmissionState::Accepted, 1)
    };
    job.lease(accepted, &[(running, 1)]);
    job.save();
    let path = job.root.path().join("bill.json");
    for (total, want) in [(164, false), (165, true), (165 + 2 * BOUND.0, true), (166 + 2 * BOUND.0, false)] {
        fs::write(&path, json!({ "total_usd_nanos": total }).to_string()).unwrap();
        let checks = reader(&job).verify(id(), std::slice::from_ref(&path)).unwrap().checks;
        let bill = checks.last().unwrap();
        assert_eq!(bill.passed, want, "{bill:?}");
        let said = format!(
            "USD {BOUND} in doubt for batches that may or may not exist, USD {BOUND} at most for what is under way"
        );
        assert!(bill.detail.contains(&said), "{bill:?}");
    }
}

#[test]
fn only_doubts_that_stand_are_named_as_doubts() {
    let mut job = job();
    let sub = |no: u64| Some(Sub::new(no, u128::from(no)));
    for (kind, no, usd, note) in [
        (LedgerKind::Doubt, 11, 10, None),
        (LedgerKind::DoubtCleared, 11, 10, Some("operator ada: it was not run")),
        (LedgerKind::Doubt, 12, 20, None),
        (LedgerKind::DoubtCleared, 12, 5, None),
        (LedgerKind::Doubt, 13, 30, None),
        (LedgerKind::DoubtCleared, 13, 0, Some("operator ada: it was paid, the bound is kept")),
        (LedgerKind::Doubt, 14, 40, Some("W1: b was made by the same create")),
        (LedgerKind::DoubtCleared, 14, 40, Some("W1: b was made by the same create")),
    ] {
        let note = note.map(str::to_owned);
        let entry = LedgerEntry { sub: sub(no), note, ..job.entry(kind, Lane::Batch, UsdNanos(usd)) };
        job.commit(|tx| tx.ledger.push(entry));
    }
    job.finish();
    let checks = reader(&job).verify(id(), &[]).unwrap().checks;
    let receipts = checks.iter().find(|check| check.name == "ledger equals receipts").unwrap();
    let want = format!(
        "in doubt USD 0.000000045 (USD 0.000000015 of {}; USD 0.00000003 of {}, kept on an operator's word)",
        sub(12).unwrap(),
        sub(13).unwrap()
    );
    assert!(receipts.passed && receipts.detail.ends_with(&want), "{receipts:?}");
}

#[test]
fn a_bill_must_lie_between_what_was_settled_and_what_is_in_doubt() {
    let mut job = job();
    job.finish();
    let path = job.root.path().join("bill.json");
    let bill = |job: &Fixture, text: &str| {
        fs::write(&path, text).unwrap();
        reader(job).verify(id(), std::slice::from_ref(&path)).map(|verification| verification.passed())
    };
    let of = |total: i64| json!({ "total_usd_nanos": total }).to_string();
    for (total, doubt, want) in [
        (165, 0, true),
        (164, 0, false),
        (166, 0, false),
        (164, 10, false),
        (165, 10, true),
        (175, 10, true),
        (176, 10, false),
    ] {
        if doubt > 0 && reader(&job).status(None).unwrap()[0].in_doubt == UsdNanos::ZERO {
            let entry = job.entry(LedgerKind::Doubt, Lane::Sync, UsdNanos(doubt));
            job.commit(|tx| tx.ledger.push(entry));
        }
        assert_eq!(bill(&job, &of(total)).unwrap(), want, "bill {total}, doubt {doubt}");
    }
    assert_eq!(bill(&job, "{}").unwrap_err().code(), "bill-invalid");
    assert_eq!(spec_of(&job.job()).unwrap().run.budget, Some(UsdNanos(2_000)));
    assert_eq!(job.job().state, JobState::Done);
}
