//! Sinks: every type in every format, whole or not at all, streams.
use std::fs;

use bulkrate_io::{Column, ColumnType, Sink, SinkError, SinkMode, SinkOptions, Value};

use crate::support::{Folder, cells, options, read};

fn all_columns() -> Vec<Column> {
    let kinds = [
        ("text", ColumnType::Text),
        ("int", ColumnType::Int),
        ("float", ColumnType::Float),
        ("bool", ColumnType::Bool),
        ("json", ColumnType::Json),
        ("vector", ColumnType::Vector),
        ("cost", ColumnType::Decimal9),
    ];
    kinds.into_iter().map(|(name, kind)| Column::new(name, kind)).collect()
}

fn text_column() -> Vec<Column> {
    vec![Column::new("a", ColumnType::Text)]
}

fn write_all(options: &SinkOptions) {
    let mut sink = Sink::open(options, &all_columns()).unwrap();
    sink.write(&[
        Value::Text("a,\"b\"\n"),
        Value::Int(-5),
        Value::Float(0.1),
        Value::Bool(true),
        Value::Json("{\"k\":\n[1, 2]}"),
        Value::Vector(&[0.5, -0.1]),
        Value::Int(1_500_000),
    ])
    .unwrap();
    sink.write(&[Value::Null; 7]).unwrap();
    sink.write(&[
        Value::Int(7),
        Value::Null,
        Value::Float(f64::NAN),
        Value::Null,
        Value::Text("x"),
        Value::Vector(&[]),
        Value::Int(-1),
    ])
    .unwrap();
    assert_eq!(sink.finish().unwrap().rows, 3);
}

#[test]
fn every_type_in_every_format() {
    let folder = Folder::new();
    for (name, want) in [
        (
            "t.jsonl",
            concat!(
                r#"{"text":"a,\"b\"\n","int":-5,"float":0.1,"bool":true,"json":{"k": [1, 2]},"vector":[0.5,-0.1],"cost":"0.0015"}"#,
                "\n",
                r#"{"text":null,"int":null,"float":null,"bool":null,"json":null,"vector":null,"cost":null}"#,
                "\n",
                r#"{"text":"7","int":null,"float":null,"bool":null,"json":"x","vector":[],"cost":"-0.000000001"}"#,
                "\n"
            ),
        ),
        (
            "t.csv",
            concat!(
                "text,int,float,bool,json,vector,cost\n",
                "\"a,\"\"b\"\"\n\",-5,0.1,true,\"{\"\"k\"\": [1, 2]}\",\"[0.5,-0.1]\",0.0015\n",
                ",,,,,,\n",
                "7,,,,x,[],-0.000000001\n"
            ),
        ),
        (
            "t.tsv",
            concat!(
                "text\tint\tfloat\tbool\tjson\tvector\tcost\n",
                "\"a,\"\"b\"\"\n\"\t-5\t0.1\ttrue\t\"{\"\"k\"\": [1, 2]}\"\t[0.5,-0.1]\t0.0015\n",
                "\t\t\t\t\t\t\n",
                "7\t\t\t\tx\t[]\t-0.000000001\n"
            ),
        ),
    ] {
        let path = folder.path(name);
        write_all(&SinkOptions::new(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), want, "{name}");
    }
    let path = folder.path("t.parquet");
    write_all(&SinkOptions::new(&path));
    let got = read(&options(&path)).unwrap();
    let want = ["a,\"b\"\n", "-5", "0.1", "true", "{\"k\":\n[1, 2]}", "[0.5,-0.1]", "0.001500000"];
    assert_eq!(cells(&got)[0], want);
    assert_eq!(cells(&got)[1], [""; 7]);
    assert_eq!(cells(&got)[2], ["7", "", "NaN", "", "x", "[]", "-0.000000001"]);
}

/// Cells of a table of text show what a JSON source said, not how it was written down.
#[test]
fn json_of_a_source_is_text_in_cells() {
    let folder = Folder::new();
    let columns = [Column::new("json", ColumnType::Json)];
    let cases = [
        (r#""plain""#, "plain"),
        (r#""a \"q\", \u00e9\n""#, "a \"q\", \u{e9}\n"),
        (r#""""#, ""),
        ("null", ""),
        (r#""null""#, "null"),
        ("-1.50", "-1.50"),
        ("true", "true"),
        (r#" {"k": ["x"]} "#, r#"{"k": ["x"]}"#),
        (r#""=1+1""#, "'=1+1"),
    ];
    for name in ["t.csv", "t.tsv", "t.parquet"] {
        let path = folder.path(name);
        let mut sink = Sink::open(&SinkOptions::new(&path), &columns).unwrap();
        for (json, _) in cases {
            sink.write(&[Value::Json(json)]).unwrap();
        }
        sink.finish().unwrap();
        let got = cells(&read(&options(&path)).unwrap());
        assert_eq!(got.len(), cases.len(), "{name}");
        for ((json, want), got) in cases.iter().zip(got) {
            // A formula is nothing that a Parquet reader would run.
            let want = if name == "t.parquet" { want.trim_start_matches('\'') } else { want };
            assert_eq!(got[0].trim(), want.trim(), "{json} in {name}");
        }
        for bad in ["nope", "\"open", "\"a\" \"b\"", "{", "\"\\x\""] {
            let mut sink =
                Sink::open(&SinkOptions::new(folder.path(&format!("bad-{name}"))), &columns).unwrap();
            assert!(sink.write(&[Value::Json(bad)]).is_err(), "{bad} in {name}");
        }
    }
}

#[test]
fn an_output_appears_whole_or_not_at_all() {
    let folder = Folder::new();
    for name in ["t.jsonl", "t.csv.gz", "t.jsonl.zst", "t.parquet"] {
        let path = folder.path(name);
        let mut sink = Sink::open(&SinkOptions::new(&path), &text_column()).unwrap();
        sink.write(&[Value::Text("x")]).unwrap();
        assert!(!path.exists(), "{name} before finish");
        drop(sink);
        assert_eq!(folder.names(), Vec::<String>::new(), "{name}: nothing is left behind");
        let sink = Sink::open(&SinkOptions::new(&path), &text_column()).unwrap();
        sink.finish().unwrap();
        assert_eq!(folder.names(), [name]);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_existing_file_is_kept_unless_said_otherwise() {
    let folder = Folder::new();
    let path = folder.file("t.jsonl", "precious");
    let error = Sink::open(&SinkOptions::new(&path), &text_column()).unwrap_err();
    assert_eq!((error.code(), error.hint().is_some()), ("sink-exists", true));
    let replace = SinkOptions { overwrite: true, ..SinkOptions::new(&path) };
    let mut sink = Sink::open(&replace, &text_column()).unwrap();
    sink.write(&[Value::Text("new")]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"precious", "until finish");
    sink.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{\"a\":\"new\"}\n");
    // A file that comes between open and finish is kept too.
    let late = folder.path("late.jsonl");
    let sink = Sink::open(&SinkOptions::new(&late), &text_column()).unwrap();
    fs::write(&late, "other").unwrap();
    assert_eq!(sink.finish().unwrap_err().code(), "sink-exists");
    assert_eq!(fs::read(&late).unwrap(), b"other");
    assert_eq!(folder.names(), ["late.jsonl", "t.jsonl"]);
}

#[test]
fn one_writer_at_a_time_and_leftovers_are_taken_over() {
    let folder = Folder::new();
    let path = folder.path("t.jsonl");
    folder.file(".t.jsonl.bulkrate-part", "left by a killed writer, longer than what is written now");
    let sink = Sink::open(&SinkOptions::new(&path), &text_column()).unwrap();
    assert_eq!(Sink::open(&SinkOptions::new(&path), &text_column()).unwrap_err().code(), "sink-busy");
    sink.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert_eq!(folder.names(), ["t.jsonl"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_never_used_as_part_file() {
    let folder = Folder::new();
    let real = folder.file("real.csv", "old");
    let link = folder.path("link.csv");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let replace = SinkOptions { overwrite: true, ..SinkOptions::new(&link) };
    Sink::open(&replace, &text_column()).unwrap().finish().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&real).unwrap(), b"a\n");
    let victim = folder.file("victim", "keep");
    std::os::unix::fs::symlink(&victim, folder.path(".t.csv.bulkrate-part")).unwrap();
    let error = Sink::open(&SinkOptions::new(folder.path("t.csv")), &text_column()).unwrap_err();
    assert_eq!(error.code(), "sink-bad-path");
    assert_eq!(fs::read(&victim).unwrap(), b"keep");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    use bulkrate_io::{Compression, Format};
    for (format, compression) in [
        (Format::Jsonl, Compression::None),
        (Format::Csv, Compression::Gzip),
        (Format::Jsonl, Compression::Zstd),
        (Format::Parquet, Compression::None),
    ] {
        let (format, compression) = (Some(format), Some(compression));
        let options = SinkOptions { format, compression, ..SinkOptions::new("/dev/full") };
        let text = "some text ".repeat(100);
        let result = Sink::open(&options, &text_column()).and_then(|mut sink| {
            for _ in 0..100 {
                sink.write(&[Value::Text(&text)])?;
            }
            sink.finish()
        });
        let error = result.unwrap_err();
        assert_eq!(error.code(), "sink-disk-full", "{format:?}: {error}");
        assert!(
            error.to_string().contains("/dev/full") && error.to_string().contains("no file was replaced")
        );
    }
}

#[test]
fn a_stream_shows_rows_as_they_land_and_goes_on() {
    let folder = Folder::new();
    for (name, head, tail) in [("t.jsonl", "{\"a\":\"1\"}\n", "{\"a\":\"2\"}\n"), ("t.csv", "a\n1\n", "2\n")]
    {
        let path = folder.path(name);
        let stream =
            |resume_at| SinkOptions { mode: SinkMode::Stream { resume_at }, ..SinkOptions::new(&path) };
        let mut sink = Sink::open(&stream(None), &text_column()).unwrap();
        sink.write(&[Value::Text("1")]).unwrap();
        let bytes = sink.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), head);
        sink.write(&[Value::Text("lost by a crash")]).unwrap();
        sink.sync().unwrap();
        drop(sink);
        assert!(path.exists(), "a stream stays");
        assert_eq!(Sink::open(&stream(None), &text_column()).unwrap_err().code(), "sink-exists");
        assert_eq!(Sink::open(&stream(Some(9_999)), &text_column()).unwrap_err().code(), "sink-bad-resume");
        let mut sink = Sink::open(&stream(Some(bytes)), &text_column()).unwrap();
        sink.write(&[Value::Text("2")]).unwrap();
        let report = sink.finish().unwrap();
        assert_eq!((report.rows, report.bytes), (1, (head.len() + tail.len()) as u64));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{head}{tail}"));
    }
    for name in ["t.parquet", "t.csv.gz", "t.jsonl.zst"] {
        let options =
            SinkOptions { mode: SinkMode::Stream { resume_at: None }, ..SinkOptions::new(folder.path(name)) };
        assert_eq!(Sink::open(&options, &text_column()).unwrap_err().code(), "sink-not-streamable", "{name}");
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let open = |name: &str| Sink::open(&SinkOptions::new(folder.path(name)), &text_column());
    assert_eq!(open("t.xlsx").unwrap_err().code(), "sink-unknown-format");
    assert_eq!(open("none/t.csv").unwrap_err().code(), "sink-bad-path");
    fs::create_dir(folder.path("dir.csv")).unwrap();
    assert_eq!(open("dir.csv").unwrap_err().code(), "sink-bad-path");
    let twice = [text_column(), text_column()].concat();
    let options = SinkOptions::new(folder.path("t.csv"));
    assert_eq!(Sink::open(&options, &twice).unwrap_err().code(), "sink-bad-columns");
    assert_eq!(Sink::open(&options, &[]).unwrap_err().code(), "sink-bad-columns");
    for name in ["t.csv", "t.jsonl", "t.parquet"] {
        let options = SinkOptions::new(folder.path(name));
        for (index, value) in [
            (1, Value::Text("x")),
            (3, Value::Int(1)),
            (4, Value::Json("{")),
            (4, Value::Json("1 2")),
            (5, Value::Text("x")),
            (6, Value::Float(1.0)),
        ] {
            let mut sink = Sink::open(&options, &all_columns()).unwrap();
            let mut row = [Value::Null; 7];
            row[index] = value;
            let error = sink.write(&row).unwrap_err();
            assert!(matches!(error, SinkError::BadRow { row: 0, .. }), "{name} {value:?}: {error}");
        }
        let mut sink = Sink::open(&options, &all_columns()).unwrap();
        assert_eq!(sink.write(&[Value::Null]).unwrap_err().code(), "sink-bad-row");
    }
}
