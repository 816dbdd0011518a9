//! JSONL: lines, their checks, their values.
use bulkrate_io::{OnBadLine, RowData, Source, SourceOptions};

use crate::support::{Folder, Owned, Trickle, assert_resumable, drain, options, read, with};

fn lines(read: &crate::support::Read) -> Vec<&str> {
    let lines = read.rows.iter().map(|(_, _, row)| match row {
        Owned::Json(line) => line.as_str(),
        other => panic!("not a line: {other:?}"),
    });
    lines.collect()
}

#[test]
fn tricky_files_read_as_they_should() {
    let folder = Folder::new();
    for (bytes, columns, want) in [
        ("{\"a\":1}\n{\"a\":2}\n", &["a"][..], &["{\"a\":1}", "{\"a\":2}"][..]),
        ("{\"a\":1}\r\n{\"a\":2}", &["a"], &["{\"a\":1}", "{\"a\":2}"]),
        ("\u{feff}{\"a\":1}\n", &["a"], &["{\"a\":1}"]),
        ("\n  \n{\"b\":\"\u{2028}\u{85}\"}\n\n\n{}\n \t", &["b"], &["{\"b\":\"\u{2028}\u{85}\"}", "{}"]),
        ("{\"x\":1,\"y\":2,\"x\":3}\n", &["x", "y"], &["{\"x\":1,\"y\":2,\"x\":3}"]),
        ("{\"a\":\r1}\n", &["a"], &["{\"a\":\r1}"]),
    ] {
        let path = folder.file("t.jsonl", bytes);
        let got = read(&options(&path)).unwrap();
        assert_eq!(got.columns, columns);
        assert_eq!(lines(&got), want);
        assert_resumable(&options(&path), &got);
        for step in [1, 2, 5] {
            let slow = Trickle { bytes: std::io::Cursor::new(bytes.into()), step };
            let source = Source::from_reader(Box::new(slow), &options("-")).unwrap();
            assert_eq!(drain(source).unwrap(), got, "by {step}");
        }
    }
}

#[test]
fn a_broken_line_in_the_middle_is_named() {
    let folder = Folder::new();
    for (broken, code, column) in [
        (&b"{\"a\":1"[..], "source-bad-json", 7),
        (b"{\"a\":1}}", "source-bad-json", 8),
        (b"[1]", "source-bad-json", 1),
        (b"{\"a\":\"x\ry\"}", "source-bad-json", 8),
        (b"{\"a\":\"\xff\"}", "source-not-utf8", 7),
    ] {
        let mut bytes = b"{\"a\":0}\n".repeat(1_000);
        bytes.extend_from_slice(broken);
        bytes.extend_from_slice(b"\n{\"a\":2}\n");
        let path = folder.file("t.jsonl", &bytes);
        let error = read(&options(&path)).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(&format!("line 1001, column {column}: ")), "{error}");
        let skipped = read(&with(&path, OnBadLine::Skip)).unwrap();
        assert_eq!((skipped.rows.len(), skipped.skipped), (1_001, 1));
        let dead = read(&with(&path, OnBadLine::Dead)).unwrap();
        let Owned::Bad(bad) = &dead.rows[1_000].2 else { panic!("a bad line") };
        assert_eq!(bad.excerpt, String::from_utf8_lossy(broken));
        assert_eq!(dead.rows[1_001].0, 1_001);
    }
}

#[test]
fn half_a_character_is_named_with_its_place_and_what_to_do() {
    let folder = Folder::new();
    for (line, escape, column) in [
        (r#"{"a":"x\ud83d"}"#, r"\ud83d", 8),
        (r#"{"a":1,"b":["\uDE00 y"]}"#, r"\uDE00", 14),
        (r#"{"\ud800":1}"#, r"\ud800", 3),
    ] {
        let path = folder.file("t.jsonl", format!("{{\"a\":0}}\n{line}\n"));
        let error = read(&options(&path)).unwrap_err();
        assert_eq!(error.code(), "source-bad-json", "{error}");
        let want = format!("t.jsonl` line 2, column {column}: `{escape}` is half of a character");
        assert!(error.to_string().contains(&want), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains(r"\ud83d\ude00") && hint.contains("--on-bad-line skip"), "{hint}");
        assert_eq!(read(&with(&path, OnBadLine::Skip)).unwrap().skipped, 1);
    }
    // Both halves are a character.
    let path = folder.file("t.jsonl", "{\"a\":\"\\ud83d\\ude00\"}\n");
    assert_eq!(read(&options(&path)).unwrap().rows.len(), 1);
}

#[test]
fn a_line_over_the_cap_is_a_bad_line() {
    let folder = Folder::new();
    let long = "x".repeat(2 << 20);
    let path =
        folder.file("t.jsonl", format!("{{\"a\":1}}\n{{\"a\":\"{long}\"}}\n{{\"a\":2}}\n{{\"a\":\"{long}"));
    let options = SourceOptions { record_bytes_max: 1 << 20, ..with(&path, OnBadLine::Skip) };
    let got = read(&options).unwrap();
    assert_eq!((lines(&got), got.skipped), (vec!["{\"a\":1}", "{\"a\":2}"], 2));
    assert_resumable(&options, &crate::support::Read { skipped: 0, ..got });
}

#[test]
fn the_excerpt_ends_between_characters() {
    let folder = Folder::new();
    let path = folder.file("t.jsonl", format!("{{}}\n{{\"a\":{}", "ä".repeat(300)));
    let dead = read(&with(&path, OnBadLine::Dead)).unwrap();
    let Owned::Bad(bad) = &dead.rows[1].2 else { panic!("a bad line") };
    assert_eq!(bad.excerpt, format!("{{\"a\":{}", "ä".repeat(125)));
}

#[test]
fn values_are_at_hand() {
    let folder = Folder::new();
    let path = folder.file("t.jsonl", "{\"id\":7,\"text\":\"a\\tb\",\"tags\":[1, 2]}\n");
    let mut source = Source::open(&options(&path)).unwrap();
    let row = source.next().unwrap().unwrap();
    let RowData::Json(json) = row.data else { panic!("a JSON row") };
    assert_eq!(json.get("id").unwrap().cell(), "7");
    assert_eq!(json.get("text").unwrap().cell(), "a\tb");
    assert_eq!(json.get("tags").unwrap().raw(), "[1, 2]");
}

#[test]
fn a_broken_line_in_the_middle_of_a_million_is_placed() {
    const LINES: usize = 1_000_000;
    let folder = Folder::new();
    let mut text = "{\"a\":1}\n".repeat(LINES / 2);
    text.push_str("{\"a\":2,\n");
    text.push_str(&"{\"a\":3}\n".repeat(LINES / 2 - 1));
    let path = folder.file("million.jsonl", text.as_bytes());
    let mut source = Source::open(&options(path.clone())).unwrap();
    let mut rows = 0;
    let error = loop {
        match source.next() {
            Ok(Some(_)) => rows += 1,
            Ok(None) => panic!("the line was not seen"),
            Err(error) => break error,
        }
    };
    assert_eq!((rows, error.code()), (LINES / 2, "source-bad-json"));
    assert!(error.to_string().contains("500001"), "{error}");

    let skipping = SourceOptions { on_bad_line: OnBadLine::Skip, ..options(path) };
    let mut source = Source::open(&skipping).unwrap();
    let mut rows = 0;
    while source.next().unwrap().is_some() {
        rows += 1;
    }
    assert_eq!((rows, source.skipped()), (LINES - 1, 1));
}
