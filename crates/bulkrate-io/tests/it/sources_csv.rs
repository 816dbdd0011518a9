//! CSV and TSV: what is read, what is refused, and where.
use bulkrate_io::{BadKind, Foreign, Format, OnBadLine, Source, SourceError, SourceOptions};

use crate::support::{Folder, Owned, Trickle, assert_resumable, cells, drain, options, read, with};

#[test]
fn tricky_files_read_as_they_should() {
    let folder = Folder::new();
    for (name, bytes, columns, rows) in [
        ("plain.csv", "a,b\n1,2\n3,4\n", &["a", "b"][..], &[&["1", "2"][..], &["3", "4"]][..]),
        ("crlf.csv", "a,b\r\n1,2\r\n3,4", &["a", "b"], &[&["1", "2"], &["3", "4"]]),
        ("old_mac.csv", "a,b\r1,2\r3,4\r", &["a", "b"], &[&["1", "2"], &["3", "4"]]),
        ("bom.csv", "\u{feff}a,b\n1,2\n", &["a", "b"], &[&["1", "2"]]),
        ("bom_quoted.csv", "\u{feff}\"a\",b\n1,2\n", &["a", "b"], &[&["1", "2"]]),
        ("quotes.csv", "a,b\n\"x,\"\"y\"\"\",\"\"\n", &["a", "b"], &[&["x,\"y\"", ""]]),
        ("newlines.csv", "a,b\n\"x\ny\r\nz\",2\n", &["a", "b"], &[&["x\ny\r\nz", "2"]]),
        ("blank.csv", "\n\na,b\n\n1,2\n\r\n\n3,4\n\n", &["a", "b"], &[&["1", "2"], &["3", "4"]]),
        ("one_empty.csv", "a\n\"\"\nx\n", &["a"], &[&[""], &["x"]]),
        ("spaces.csv", " a , b\n 1 , \"q\"\n", &[" a ", " b"], &[&[" 1 ", " \"q\""]]),
        ("nul.csv", "a,b\nx\0y,\u{1}\n", &["a", "b"], &[&["x\0y", "\u{1}"]]),
        ("index.csv", ",b\n0,1\n", &["", "b"], &[&["0", "1"]]),
        ("wide.csv", "ä,日本\n😀,\u{2028}\n", &["ä", "日本"], &[&["😀", "\u{2028}"]]),
        ("tabs.tsv", "a\tb\n1,5\t\"x\ty\"\n", &["a", "b"], &[&["1,5", "x\ty"]]),
        ("mid_quote.csv", "a,b\n5\" tv,x\"y\"\n", &["a", "b"], &[&["5\" tv", "x\"y\""]]),
    ] {
        let path = folder.file(name, bytes);
        let got = read(&options(&path)).unwrap();
        assert_eq!(got.columns, columns, "{name}");
        assert_eq!(cells(&got), rows, "{name}");
        assert_resumable(&options(&path), &got);
        for step in [1, 2, 3, 7] {
            let slow = Trickle { bytes: std::io::Cursor::new(bytes.into()), step };
            let format = name.ends_with("tsv").then_some(Format::Tsv);
            let source =
                Source::from_reader(Box::new(slow), &SourceOptions { format, ..options("-") }).unwrap();
            assert_eq!(drain(source).unwrap(), got, "{name} by {step}");
        }
    }
}

#[test]
fn bad_rows_name_their_place() {
    let folder = Folder::new();
    let good = "a,b\n1,2\n";
    for (bytes, code, line, column, shown) in [
        (&b"x,y,z\n"[..], "source-ragged-row", 3, 5, "the row has 3 cells and the header 2"),
        (b"x\n", "source-ragged-row", 3, 2, "the row has 1 cells and the header 2"),
        (b"\"m\nn\",y,z\n", "source-ragged-row", 4, 6, "the row has 3 cells and the header 2"),
        (b"x,\xe9t\xe9\n", "source-not-utf8", 3, 3, "not UTF-8: byte 0xe9"),
        (b"\"x\ny\xff\",z\n", "source-not-utf8", 4, 2, "not UTF-8: byte 0xff"),
        (
            b"\"x\" y,z\n",
            "source-bad-quote",
            3,
            4,
            "text after a closing quote; a quote inside a quoted cell must be doubled",
        ),
        (b"x,\"y\n", "source-bad-quote", 3, 3, "a quoted cell opens here and never closes"),
    ] {
        let path = folder.file("bad.csv", [good.as_bytes(), bytes].concat());
        let error = read(&options(&path)).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.hint().is_some());
        let rest = if line == 3 { shown.to_owned() } else { format!("{shown} (the row starts on line 3)") };
        let want = format!("`{}` line {line}, column {column}: {rest}", path.display());
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn bad_rows_are_skipped_or_kept_as_asked() {
    let folder = Folder::new();
    let path = folder.file("bad.csv", "a,b\n1,2\nragged\n3,4\nx,\"open\n5,6\n\"q\" r,s\n7,8\n");
    let skipped = read(&with(&path, OnBadLine::Skip)).unwrap();
    assert_eq!(cells(&skipped), [["1", "2"], ["3", "4"], ["5", "6"], ["7", "8"]]);
    assert_eq!(
        skipped.rows.iter().map(|row| (row.0, row.1)).collect::<Vec<_>>(),
        [(0, 2), (1, 4), (2, 6), (3, 8)]
    );
    assert_eq!(skipped.skipped, 3);
    let dead = read(&with(&path, OnBadLine::Dead)).unwrap();
    assert_eq!(dead.rows.len(), 7);
    let Owned::Bad(bad) = &dead.rows[3].2 else { panic!("row 3 is bad") };
    assert_eq!((bad.row_line, dead.rows[3].1), (5, 5));
    assert_eq!((dead.rows[3].0, bad.line, bad.column, &bad.kind), (3, 7, 2, &BadKind::BadQuote));
    assert!(bad.excerpt.starts_with("x,\"open\n5,6"));
    assert_resumable(&with(&path, OnBadLine::Skip), &skipped);
    assert_resumable(&with(&path, OnBadLine::Dead), &dead);
}

#[test]
fn a_row_over_the_cap_is_a_bad_row() {
    let folder = Folder::new();
    let long = "x".repeat(3 << 20);
    let path = folder.file("long.csv", format!("a,b\n1,2\n{long},3\n4,5\n\"{long}\n6,7\n"));
    let capped = |on_bad_line| SourceOptions { record_bytes_max: 1 << 20, ..with(&path, on_bad_line) };
    let error = read(&capped(OnBadLine::Fail)).unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("line 3")), ("source-row-too-long", true));
    let skipped = read(&capped(OnBadLine::Skip)).unwrap();
    assert_eq!(cells(&skipped), [["1", "2"], ["4", "5"], ["6", "7"]]);
    assert_eq!(skipped.rows[2].1, 6);
}

#[test]
fn files_that_are_no_tables_are_refused() {
    let folder = Folder::new();
    for (name, bytes, code) in [
        ("empty.csv", &b""[..], "source-empty"),
        ("blank.csv", b"\n\r\n", "source-empty"),
        ("header.csv", b"a,b\n\n", "source-empty"),
        ("twice.csv", b"a,b,a\n1,2,3\n", "source-duplicate-column"),
        ("utf16.csv", b"\xff\xfea\0,\0b\0", "source-unknown-format"),
        ("utf16_no_mark.csv", b"a\0,\0b\0\n\0", "source-bad-header"),
        ("excel.csv", b"PK\x03\x04rest", "source-unknown-format"),
        ("notes.txt", b"Dear all,\nhello\n", "source-unknown-format"),
        ("array.json", b"[{\"a\":1}]", "source-unknown-format"),
        ("fake.parquet", b"a,b\n1,2\n", "source-bad-parquet"),
        ("empty.parquet", b"", "source-empty"),
        ("empty.jsonl", b"", "source-empty"),
        ("blank.jsonl", b"\n  \n", "source-empty"),
    ] {
        let error = read(&options(folder.file(name, bytes))).unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(read(&options(folder.path("none.csv"))).unwrap_err().code(), "source-missing");
    std::fs::create_dir(folder.path("dir.csv")).unwrap();
    assert_eq!(read(&options(folder.path("dir.csv"))).unwrap_err().code(), "source-folder");
    let SourceError::DuplicateColumn { first, second, .. } =
        read(&options(folder.file("t.csv", "a,b,a\n1,2,3\n"))).unwrap_err()
    else {
        panic!("two columns named `a`")
    };
    assert_eq!((first, second), (1, 3));
}

#[test]
fn a_file_of_a_foreign_kind_says_what_it_is_and_what_to_do_about_it() {
    let folder = Folder::new();
    for (name, bytes, want, what, hint) in [
        ("utf16.csv", &b"\xff\xfea\0,\0b\0"[..], Foreign::Utf16, "it is UTF-16", "iconv -f UTF-16"),
        ("book.csv", b"PK\x03\x04rest", Foreign::Zip, "an Excel workbook", "as CSV"),
        ("old.csv", b"\xd0\xcf\x11\xe0rest", Foreign::OldWorkbook, "an old Excel workbook", "as CSV"),
        ("array.json", b"[{\"a\":1}]", Foreign::JsonArray, "a JSON array", "one object per line"),
        ("notes.txt", b"Dear all,\n", Foreign::Nameless, "its name does not say", "--format"),
        ("UTF-16 notes.txt", b"Dear all,\n", Foreign::Nameless, "its name does not say", "--format"),
    ] {
        let error = read(&options(folder.file(name, bytes))).unwrap_err();
        let SourceError::UnknownFormat { found, .. } = &error else { panic!("{name}: {error}") };
        assert_eq!(*found, want, "{name}");
        assert!(error.to_string().contains(what), "{name}: {error}");
        assert!(error.hint().unwrap().contains(hint), "{name}: {:?}", error.hint());
    }
}

#[test]
fn limit_counts_from_the_first_record() {
    let folder = Folder::new();
    let path = folder.file("a.csv", "a\n1\n2\n3\n4\n");
    let two = SourceOptions { limit: Some(2), ..options(&path) };
    let got = read(&two).unwrap();
    assert_eq!(cells(&got), [["1"], ["2"]]);
    assert_resumable(&two, &got);
}

#[test]
fn a_place_beyond_the_end_is_refused() {
    let folder = Folder::new();
    let path = folder.file("a.csv", "a\n1\n2\n");
    let mut place = read(&options(&path)).unwrap().places[2];
    place.offset += 100;
    for path in [path, folder.file("a.csv.gz", crate::support::gzip(b"a\n1\n2\n"))] {
        let error = read(&SourceOptions { start: Some(place), ..options(&path) }).unwrap_err();
        assert_eq!(error.code(), "source-bad-position");
    }
}

#[test]
fn rows_longer_than_the_window_are_whole() {
    let folder = Folder::new();
    let long = "line\n\"quoted\" ".repeat(200_000);
    let quoted = long.replace('"', "\"\"");
    let path = folder.file("long.csv", format!("a,b\n1,\"{quoted}\"\n2,x\n"));
    let got = read(&options(&path)).unwrap();
    assert_eq!(cells(&got), [["1", long.as_str()], ["2", "x"]]);
    assert_eq!(got.rows[1].1, 2 + 200_000 + 1);
}

#[test]
fn rows_agree_with_the_csv_crate() {
    use proptest::prelude::*;
    proptest!(|(text in "[ab,\"\n\r]{0,40}")| {
        let whole = format!("x,y\n{text}");
        let ours = Source::from_reader(Box::new(std::io::Cursor::new(whole.clone())), &options("-")).map(drain);
        if let Ok(Ok(ours)) = ours {
            // Where we read a table, everybody does, and the same one.
            let mut theirs = csv::ReaderBuilder::new().from_reader(whole.as_bytes());
            let theirs = theirs.records().map(|row| row.unwrap().iter().map(String::from).collect()).collect::<Vec<Vec<_>>>();
            prop_assert_eq!(cells(&ours), theirs);
        }
    });
}
