//! Samples for reviewers, on a job made by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use std::fs;

use bulkrate_store::View;

use super::Reader;
use crate::deliver::fixture::{Fixture, spec};
use crate::prepare::Shape;
use crate::view::Judged;

/// Three good answers, one of them a follower's, and an open item.
fn job() -> Fixture {
    let mut job = Fixture::new(
        "0abc",
        spec(),
        "in.csv",
        "id,text,_ok\na,one,x\nb,one,y\nc,=two,z\nd,four,\n",
        Shape::Table,
    );
    let a = job.leader("1", "one");
    job.follower(a);
    let c = job.leader("3", "two");
    job.leader("4", "four");
    job.text(a, "=spam");
    job.text(c, "ham");
    job.save();
    job
}

fn reader(job: &Fixture) -> Reader {
    Reader::open(&job.state_dir()).unwrap()
}

#[test]
fn a_sample_holds_good_answers_with_their_inputs_and_room_for_a_verdict() {
    let job = job();
    let path = job.root.path().join("sample.csv");
    assert_eq!(reader(&job).draw_review("0abc", &path, Some(1_000)).unwrap(), 3);
    // A column of the source that has the name of ours is left out; formulas are defused as in every CSV file.
    let want = "_item,id,text,answer,_ok,_note\n1,a,one,'=spam,,\n2,b,one,'=spam,,\n3,c,'=two,ham,,\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), want);
    // One share gives one sample, every time; none gives no file.
    let again = job.root.path().join("none.csv");
    assert_eq!((reader(&job).draw_review("0abc", &again, Some(0)).unwrap(), again.exists()), (0, false));
}

#[test]
fn a_file_with_verdicts_is_never_replaced() {
    let job = job();
    let path = job.root.path().join("sample.csv");
    let draw = || reader(&job).draw_review("0abc", &path, Some(1_000)).map_err(|error| error.code());
    for (text, want) in [
        ("_item,answer,_ok,_note\n1,a,,\n", Ok(3)),
        ("_item,answer,_ok,_note\n1,a,,\n2,b,no,\n", Err("review-kept")),
        ("_item,answer,_ok,_note\n1,a,,hm\n", Err("review-kept")),
        ("id,text\n1,mine\n", Err("review-kept")),
        ("", Err("review-kept")),
    ] {
        fs::write(&path, text).unwrap();
        assert_eq!(draw(), want, "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap() == text, want.is_err(), "{text}");
    }
}

#[test]
fn verdicts_are_counted_kept_and_replaced_by_newer_ones() {
    let job = job();
    let path = job.root.path().join("judged.csv");
    fs::write(&path, "_ok,_item,_note\nyes,1,\n,2,not judged\nNo,3,wrong label\n").unwrap();
    let found = reader(&job).judge("0abc", &path).unwrap();
    assert_eq!((found.items, found.wrong), (2, 1));
    let jsonl = job.root.path().join("judged.jsonl");
    fs::write(&jsonl, "{\"_item\":1,\"_ok\":true}\n{\"_item\":\"2\",\"_ok\":null}\n").unwrap();
    reader(&job).judge("0abc", &jsonl).unwrap();
    let status = reader(&job).status(Some("0abc")).unwrap().pop().unwrap();
    let newest = status.judged.unwrap();
    assert_eq!(Judged { at_ms: 0, ..newest }, Judged::new(1, 0, 0));
    assert_eq!(job.store.orders().unwrap().len(), 2, "what was found before stays on record");
}

#[test]
fn a_file_without_verdicts_says_where_and_why() {
    let job = job();
    let path = job.root.path().join("judged.csv");
    for (text, why) in [
        ("_item,_ok\n1,maybe\n", "line 2: `_ok` is `maybe`"),
        ("_item,_ok\n1,yes\n1,no\n", "line 3: item 1 is there twice"),
        ("_item,_ok\n5,yes\n", "line 2: the job has no item `5`"),
        ("_item,_ok\n0,yes\n", "no item `0`"),
        ("_item,_ok\n1,\n", "no row has a verdict"),
        ("item,ok\n1,yes\n", "no `_item` or no `_ok`"),
    ] {
        fs::write(&path, text).unwrap();
        let error = reader(&job).judge("0abc", &path).unwrap_err();
        assert_eq!(error.code(), "review-invalid");
        assert!(error.to_string().contains(why), "{error} / {why}");
    }
    assert!(job.store.orders().unwrap().is_empty());
}
