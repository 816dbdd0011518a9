#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn frame(usage: Option<&Usage>) -> Frame<'_> {
    Frame {
        ordinal: 7,
        attempt: 2,
        attempts: 1,
        provider: "openai",
        model: "m\"1",
        via: "batch",
        cost: UsdNanos(75),
        usage,
        sureness: None,
        chances: &[],
        instead: None,
    }
}

#[test]
fn what_is_written_is_read() {
    let usage = Usage { input: 3, output: 2, ..Usage::default() };
    let mut out = Vec::new();
    write_good(frame(Some(&usage)), &Checked::Text("a\n\"b\"".into()), Finish::Stop, None, &mut out);
    let line = ResultLine::parse(&out).unwrap();
    assert_eq!(
        (line.item, line.attempt, line.attempts, &*line.status, &*line.cost_usd, &*line.model),
        (7, 2, Some(1), "succeeded", "0.000000075", "m\"1")
    );
    assert_eq!(&**line.response.unwrap().text.as_ref().unwrap(), "a\n\"b\"");
    let whole: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(serde_json::from_value::<Usage>(whole["usage"].clone()).unwrap(), usage);

    out.clear();
    write_bad(frame(None), FailureClass::Transient, "no \"luck\"", Some("500"), None, &mut out);
    let line = ResultLine::parse(&out).unwrap();
    let error = line.error.unwrap();
    assert_eq!((&*error.class, &*error.message), ("transient", "no \"luck\""));
    assert!(out.ends_with(b"}\n"));
    let whole: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(whole.get("usage").is_none());
    assert_eq!(whole["error"]["provider_code"], "500");
}

#[test]
fn what_an_answer_taught_is_read_as_it_was_written() {
    let mut out = Vec::new();
    let near = Some((16, Similarity(912), false));
    let at = Moment { after: 40, out: 4.75 };
    let chance = Some((semantic::Chance { entry: 0, tau: 0.05, at }, true));
    for (compared, want) in [
        (None, None),
        (
            Some(Compared { near: None, chance: None, kept: Some(UsdNanos(12_345)) }),
            Some((None, None, None, None, Some(UsdNanos(12_345)))),
        ),
        (
            Some(Compared { near, chance, kept: None }),
            Some((Some(17), Some(912), Some(false), Some((0.05, true)), None)),
        ),
    ] {
        out.clear();
        write_good(frame(None), &Checked::Choice("a"), Finish::Stop, compared, &mut out);
        let read = ResultLine::parse(&out).unwrap().semantic;
        let read = read.map(|read| {
            let similarity = read.similarity.map(|share| Similarity::of(share).0);
            assert_eq!(read.kept, read.naive().is_some());
            (read.like, similarity, read.same, read.tau.zip(read.right), read.naive())
        });
        assert_eq!(read, want);
        // What has no good answer teaches as well.
        out.clear();
        let evidence = Evidence { compared, ..Evidence::default() };
        write_failed(frame(None), FailureClass::Refusal, "no", evidence, &mut out);
        let read = ResultLine::parse(&out).unwrap();
        assert_eq!(read.semantic.is_some(), compared.is_some());
    }
    // What was served teaches nothing.
    out.clear();
    let origin = Origin { from: 16, similarity: Similarity(1_000), tau: 0.031_4, at };
    write_served(frame(None), &Checked::Json(r#"{"n":1}"#.into()), origin, &mut out);
    let line = ResultLine::parse(&out).unwrap();
    let lesson = line.semantic.unwrap();
    assert_eq!((lesson.like, lesson.same, lesson.kept, lesson.from), (None, None, false, Some(17)));
    let whole: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let want = serde_json::json!({"from": 17, "similarity": 1.0, "tau": 0.031, "after": 40, "out": 4.75});
    assert_eq!(whole["semantic"], want);
}

#[test]
fn a_changed_byte_of_a_line_is_told() {
    let usage = Usage { input: 3, output: 2, ..Usage::default() };
    let mut out = b"a line before\n".to_vec();
    let start = out.len();
    write_good(frame(Some(&usage)), &Checked::Text("positive".into()), Finish::Stop, None, &mut out);
    let line = out.split_off(start);
    assert!(ResultLine::parse(&line).is_ok());
    let changed = |from: &str, to: &str| String::from_utf8(line.clone()).unwrap().replace(from, to);
    for (from, to) in
        [("positive", "negative"), ("\"input_tokens\":3", "\"input_tokens\":9"), ("batch", "sync")]
    {
        let line = changed(from, to);
        let error = ResultLine::parse(line.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{from}: {error}");
    }
    for at in 0..line.len() - SUM_BYTES - 1 {
        let mut line = line.clone();
        line[at] ^= 1;
        assert!(ResultLine::parse(&line).is_err(), "byte {at}");
    }
    let older = format!("{}}}\n", std::str::from_utf8(&line[..line.len() - SUM_BYTES - 1]).unwrap());
    assert!(ResultLine::parse(older.as_bytes()).is_ok(), "{older}");
}

#[test]
fn json_answers_stay_json() {
    let mut out = Vec::new();
    write_good(frame(None), &Checked::Json(r#"{"n":1}"#.into()), Finish::Stop, None, &mut out);
    assert_eq!(ResultLine::parse(&out).unwrap().response.unwrap().parsed.unwrap().get(), r#"{"n":1}"#);
}

#[test]
fn chances_stand_in_the_line_of_a_decision() {
    let chance = |choice: &'static str, probability| Chance { choice: choice.into(), probability };
    let chances = [chance("a \"b\"", 0.75), chance("c", 0.25)];
    let mut out = Vec::new();
    let frame = Frame { chances: &chances, ..frame(None) };
    write_good(frame, &Checked::Choice("c"), Finish::Stop, None, &mut out);
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line["probabilities"], serde_json::json!({"a \"b\"": 0.75, "c": 0.25}));
    assert_eq!(&*ResultLine::parse(&out).unwrap().response.unwrap().text.unwrap(), "c");
}

#[test]
fn who_stood_in_for_whom_is_said_with_the_reason() {
    let instead = Instead { of: "openai/gpt-6-luna", asked: "team-b/gpt-6-luna", why: "away" };
    let mut out = Vec::new();
    let frame = Frame { instead: Some(instead), ..frame(None) };
    write_good(frame, &Checked::Choice("c"), Finish::Stop, None, &mut out);
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let want = serde_json::json!({"of": "openai/gpt-6-luna", "asked": "team-b/gpt-6-luna", "why": "away"});
    assert_eq!(line["instead"], want);
    assert!(ResultLine::parse(&out).is_ok());
}

#[test]
fn evidence_is_cut_between_characters() {
    let mut out = Vec::new();
    write_bad(frame(None), FailureClass::Empty, &"é".repeat(5_000), None, None, &mut out);
    assert!(ResultLine::parse(&out).unwrap().error.unwrap().message.len() <= EVIDENCE_BYTES_MAX);
}
