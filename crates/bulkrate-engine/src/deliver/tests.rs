#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use std::fs;
use std::path::Path;

use bulkrate_core::collect::Checked;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::Kind;
use bulkrate_io::{ColumnType, Format};
use bulkrate_store::{Fate, LedgerKind, LedgerQuery, Place, Via, View};
use serde_json::{Value, json};

use super::fixture::{Fixture, outcome, spec};
use super::{StreamSink, columns, deliver};
use crate::EngineError;
use crate::prepare::Shape;
use crate::result_line::ResultLine;
use crate::spec::{JobSpec, OnBadLine, RequestSpec, SinkSpec};
use bulkrate_core::money::UsdNanos;

const SCHEMA: &str = r#"{"type":"object","properties":{"topic":{"type":"string"},"score":{"type":["integer","null"]},"sure":{"type":"number"},
    "spam":{"type":"boolean"},"parts":{"type":"array"},"tone":{"enum":["good","bad"]},"any":{"anyOf":[]}}}"#;

fn sink(path: &Path) -> SinkSpec {
    SinkSpec { path: Some(path.to_owned()), ..SinkSpec::default() }
}

fn run(fixture: &Fixture, sink: &SinkSpec, owned: bool) -> Result<u64, EngineError> {
    deliver(&fixture.store, &fixture.job(), &fixture.dir, sink, owned, &mut |_, _| {})
        .map(|report| report.rows)
}

/// Delivers JSON lines and reads them back.
fn rows(fixture: &Fixture, fill: impl FnOnce(&mut SinkSpec)) -> Vec<Value> {
    let path = fixture.root.path().join("out.jsonl");
    let mut sink = SinkSpec { force: true, ..sink(&path) };
    fill(&mut sink);
    run(fixture, &sink, false).unwrap();
    read(&path)
}

fn read(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn code(result: Result<u64, EngineError>) -> &'static str {
    result.err().map_or("fine", |error| error.code())
}

#[test]
fn columns_follow_the_request() {
    let request = |fill: fn(&mut RequestSpec)| {
        let mut spec = spec();
        fill(&mut spec.request);
        spec
    };
    let answers_only = |mut spec: JobSpec| {
        spec.sink.answers_only = true;
        spec
    };
    let streamed = JobSpec { sink: SinkSpec { stream: true, ..SinkSpec::default() }, ..spec() };
    let with_id = |mut spec: JobSpec| {
        spec.source.id = Some("id".to_owned());
        spec
    };
    let schema = |spec: &mut RequestSpec| spec.schema = Some(SCHEMA.to_owned());
    let tail = "_status:Text _error:Text _model:Text _lane:Text _cost_usd:Decimal9 _attempts:Int";
    let fields = "topic:Text score:Int sure:Float spam:Bool parts:Json tone:Text any:Json";
    for (name, spec, format, source, shape, want) in [
        ("text", spec(), Format::Csv, &["id", "text"][..], Shape::Table, "id:Text text:Text answer:Text"),
        ("json lines", spec(), Format::Jsonl, &["a"], Shape::Table, "a:Json answer:Text"),
        ("schema", request(schema), Format::Parquet, &["a"], Shape::Table, &format!("a:Text {fields}")),
        (
            "schema of a list",
            request(|spec| spec.schema = Some(r#"{"type":"array"}"#.to_owned())),
            Format::Csv,
            &["a"],
            Shape::Table,
            "a:Text answer:Json",
        ),
        (
            "embedding",
            request(|spec| spec.kind = Kind::Embedding),
            Format::Csv,
            &["a"],
            Shape::Table,
            "a:Text embedding:Vector",
        ),
        (
            "moderation",
            request(|spec| spec.kind = Kind::Moderation),
            Format::Csv,
            &["a"],
            Shape::Table,
            "a:Text answer:Json",
        ),
        ("request lines", spec(), Format::Jsonl, &[], Shape::Unified, "custom_id:Text answer:Text"),
        (
            "a schema is a line's own matter",
            request(schema),
            Format::Jsonl,
            &[],
            Shape::OpenAi,
            "custom_id:Text answer:Text",
        ),
        (
            "answers only",
            answers_only(spec()),
            Format::Csv,
            &["answer"],
            Shape::Table,
            "_item:Int answer:Text",
        ),
        (
            "answers only, ids",
            answers_only(with_id(spec())),
            Format::Csv,
            &["id"],
            Shape::Table,
            "_item:Int _id:Text answer:Text",
        ),
        ("stream", streamed, Format::Csv, &["answer"], Shape::Table, "_item:Int _id:Text answer:Text"),
    ] {
        let source: Vec<String> = source.iter().map(|&name| name.to_owned()).collect();
        let got = columns(&spec, format, &source, shape).unwrap();
        let got: Vec<String> =
            got.iter().map(|column| format!("{}:{:?}", column.name, column.kind)).collect();
        assert_eq!(got.join(" "), format!("{want} {tail}"), "{name}");
    }
    assert_eq!(ColumnType::Decimal9, columns(&spec(), Format::Csv, &[], Shape::Table).unwrap()[5].kind);
}

#[test]
fn columns_that_collide_are_refused_before_any_spend() {
    let schema = |text: &str| JobSpec {
        request: RequestSpec { schema: Some(text.to_owned()), ..spec().request },
        ..spec()
    };
    for (name, spec, source, bad) in [
        ("an answer column", spec(), "answer", true),
        ("a status column", spec(), "_status", true),
        ("a schema field", schema(r#"{"properties":{"text":{}}}"#), "text", true),
        ("a schema field like a status column", schema(r#"{"properties":{"_error":{}}}"#), "text", true),
        ("no answer column with a schema", schema(r#"{"properties":{"a":{}}}"#), "answer", false),
        ("other letters", spec(), "Answer", false),
    ] {
        let got =
            columns(&spec, Format::Csv, &[source.to_owned()], Shape::Table).err().map(|error| error.code());
        assert_eq!(got, bad.then_some("column-collision"), "{name}");
    }
}

/// Good, follower, dead after a paid retry, batch, cancelled without a line, open.
fn mixed() -> Fixture {
    let text = "id,text\na,one\nb,one\nc,\"two, three\"\nd,four\ne,five\nf,six\n";
    let mut job = Fixture::new("job1", spec(), "in.csv", text, Shape::Table);
    let a = job.leader("1", "one");
    job.follower(a);
    let c = job.leader("3", "two");
    let d = job.leader("4", "four");
    let e = job.leader("5", "five");
    job.leader("6", "six");
    job.text(a, "=spam \"x\"\n");
    job.call(&[(c, 1)]);
    job.bad(c, 1, Via::Sync, 0, (FailureClass::SchemaFailed, "no JSON"), Fate::Retry, 30);
    job.call(&[(c, 2)]);
    job.bad(c, 2, Via::Sync, 0, (FailureClass::AttemptsExhausted, "gave up"), Fate::Final, 12);
    job.call(&[(d, 1)]);
    job.bad(d, 1, Via::Sync, 0, (FailureClass::Empty, "empty"), Fate::Retry, 5);
    job.batch(1, &[(d, 2)]);
    job.good(d, 2, Via::Batch, 1, &Checked::Choice("ham"), 40);
    job.land(outcome(
        e,
        0,
        Via::Prepare,
        Some(FailureClass::CancelledByUser),
        Fate::Final,
        UsdNanos::ZERO,
        Place::NONE,
    ));
    job.save();
    job
}

#[test]
fn one_row_per_item_in_input_order_whatever_became_of_it() {
    let job = mixed();
    let path = job.root.path().join("out.csv");
    let mut news = Vec::new();
    deliver(&job.store, &job.job(), &job.dir, &sink(&path), false, &mut |done, all| news.push((done, all)))
        .unwrap();
    let want = "id,text,answer,_status,_error,_model,_lane,_cost_usd,_attempts\n\
        a,one,\"'=spam \"\"x\"\"\n\",succeeded,,m-1,sync,0.000000075,1\n\
        b,one,\"'=spam \"\"x\"\"\n\",succeeded,,m-1,sync,0,1\n\
        c,\"two, three\",,errored,attempts_exhausted: gave up,m-1,sync,0.000000042,2\n\
        d,four,ham,succeeded,,m-1,batch,0.000000045,2\n\
        e,five,,cancelled,cancelled_by_user: the job was cancelled,,,0,0\n\
        f,six,,open,,,,,\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), want);
    assert_eq!((news.first(), news.last()), (Some(&(0, 6)), Some(&(6, 6))));
    let settled =
        job.store.ledger_totals(&LedgerQuery::of_job(job.no)).unwrap()[0].sums.usd(LedgerKind::Settle);
    assert_eq!(settled, UsdNanos(75 + 42 + 45), "the rows' costs add up to the ledger");
}

#[test]
fn a_limit_ends_the_rows() {
    let mut job = mixed();
    let mut limited: JobSpec = super::spec_of(&job.job()).unwrap();
    limited.source.limit = Some(2);
    job.commit(|tx| tx.spec = Some(serde_json::to_string(&limited).unwrap()));
    assert_eq!(rows(&job, |_| {}).len(), 2);
}

#[test]
fn a_source_that_changed_is_refused_and_answers_are_written_without_it() {
    for gone in [false, true] {
        let job = mixed();
        if gone {
            fs::remove_file(&job.source).unwrap();
        } else {
            fs::write(&job.source, "id,text\nz,z\n").unwrap();
        }
        let path = job.root.path().join("out.jsonl");
        assert_eq!(code(run(&job, &sink(&path), false)), "source-changed");
        assert!(!path.exists());
        let rows = rows(&job, |sink| sink.answers_only = true);
        assert_eq!(rows.len(), 6);
        assert_eq!((&rows[1]["_item"], &rows[1]["answer"]), (&json!(2), &json!("=spam \"x\"\n")));
        assert_eq!(
            rows[0].as_object().unwrap().keys().next().unwrap(),
            "_attempts",
            "no input columns: {}",
            rows[0]
        );
    }
}

#[test]
fn ids_of_answers_only_come_from_the_source_or_else_from_the_sealed_requests() {
    let mut with_id = spec();
    with_id.source.id = Some("id".to_owned());
    let mut job = Fixture::new("job1", with_id, "in.csv", "text,id\none,a\none,b\n", Shape::Table);
    let a = job.leader("a", "one");
    job.follower(a);
    job.text(a, "x");
    job.save();
    let ids = |job: &Fixture| {
        rows(job, |sink| sink.answers_only = true).iter().map(|row| row["_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&job), [json!("a"), json!("b")]);
    fs::remove_file(&job.source).unwrap();
    assert_eq!(ids(&job), [json!("a"), Value::Null]);
}

#[test]
fn json_lines_keep_their_types_and_bad_lines_their_row() {
    let text = "{\"a\":1,\"b\":\"x\\n\"}\n{\"b\":null,\"a\":[1, 2]}\nnot json\n{\"c\":{\"d\":1.50}}\n";
    let mut dead = spec();
    dead.source.on_bad_line = OnBadLine::Dead;
    let mut job = Fixture::new("job1", dead, "in.jsonl", text, Shape::Table);
    let first = job.leader("1", "p");
    job.leader("2", "q");
    job.invalid("not a JSON object");
    job.leader("4", "r");
    job.text(first, "é");
    job.save();
    let path = job.root.path().join("out.jsonl");
    run(&job, &sink(&path), false).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0]
            .starts_with(r#"{"a":1,"b":"x\n","c":null,"answer":"é","_status":"succeeded","_error":null,"#),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with(r#"{"a":[1, 2],"b":null,"c":null,"answer":null,"_status":"open""#),
        "{}",
        lines[1]
    );
    assert!(lines[2].starts_with(r#"{"a":null,"b":null,"c":null,"answer":null,"_status":"errored","_error":"invalid_input: not a JSON object","_model":null,"_lane":"prepare""#), "{}", lines[2]);
    assert!(lines[3].starts_with(r#"{"a":null,"b":null,"c":{"d":1.50},"#), "{}", lines[3]);
}

#[test]
fn a_schema_gives_a_column_per_field() {
    let mut with_schema = spec();
    with_schema.request.schema = Some(SCHEMA.to_owned());
    let mut job = Fixture::new("job1", with_schema, "in.csv", "text\na\nb\nc\n", Shape::Table);
    let answers = [
        r#"{"topic":"a\n\"b\"","score":3.0,"sure":0.5,"spam":true,"parts":[1],"tone":"bad","any":null}"#,
        r#"{"tone":"good","topic":"t","score":null}"#,
        r#"{"score":99999999999999999999,"topic":"t"}"#,
    ];
    for (place, answer) in answers.into_iter().enumerate() {
        let item = job.leader(&place.to_string(), &place.to_string());
        job.call(&[(item, 1)]);
        job.good(item, 1, Via::Sync, 0, &Checked::Json(answer.into()), 1);
    }
    job.save();
    let rows = rows(&job, |_| {});
    let fields = |row: &Value| {
        ["topic", "score", "sure", "spam", "parts", "tone", "any", "_error"].map(|name| row[name].clone())
    };
    assert_eq!(
        fields(&rows[0]),
        [
            json!("a\n\"b\""),
            json!(3),
            json!(0.5),
            json!(true),
            json!([1]),
            json!("bad"),
            Value::Null,
            Value::Null
        ]
    );
    assert_eq!(
        fields(&rows[1]),
        [
            json!("t"),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            json!("good"),
            Value::Null,
            Value::Null
        ]
    );
    assert_eq!(rows[2]["score"], Value::Null);
    assert_eq!(rows[2]["_error"], json!("`score` does not fit its column: 99999999999999999999"));
}

#[test]
fn vectors_and_verdicts_become_columns() {
    let base64 = "AACAPwAAIMAAAAAA"; // 1.0, -2.5, 0.0
    for (kind, column, checked, want) in [
        (Kind::Embedding, "embedding", Checked::VectorBase64(base64.into()), json!([1.0, -2.5, 0.0])),
        (Kind::Embedding, "embedding", Checked::VectorNumbers("[0.25, -1e-3]"), json!([0.25, -0.001])),
        (Kind::Moderation, "answer", Checked::Json(r#"{"flagged":true}"#.into()), json!({"flagged": true})),
        (Kind::Chat, "answer", Checked::VectorBase64(base64.into()), json!("[1.0,-2.5,0.0]")),
    ] {
        let mut asked = spec();
        asked.request.kind = kind;
        let mut job = Fixture::new("job1", asked, "in.csv", "text\na\n", Shape::Table);
        let item = job.leader("1", "a");
        job.call(&[(item, 1)]);
        job.good(item, 1, Via::Sync, 0, &checked, 1);
        job.save();
        assert_eq!(rows(&job, |_| {})[0][column], want, "{kind:?}");
    }
}

#[test]
fn request_lines_are_named_by_their_ids() {
    let text = "{\"custom_id\":\"q-1\",\"messages\":[]}\n{\"messages\":[]}\n";
    let mut job = Fixture::new("job1", spec(), "in.jsonl", text, Shape::Unified);
    let first = job.leader("q-1", "a");
    job.follower(first);
    job.text(first, "x");
    job.save();
    let ids: Vec<Value> = rows(&job, |_| {}).iter().map(|row| row["custom_id"].clone()).collect();
    assert_eq!(ids, [json!("q-1"), json!("2")]);
}

#[test]
fn standard_input_is_read_again_from_what_was_kept() {
    let mut job = mixed();
    let mut piped: JobSpec = super::spec_of(&job.job()).unwrap();
    piped.source.path = None;
    fs::rename(&job.source, job.dir.spool()).unwrap();
    job.commit(|tx| tx.spec = Some(serde_json::to_string(&piped).unwrap()));
    assert_eq!(rows(&job, |_| {})[2]["text"], json!("two, three"));
}

#[test]
fn outputs_are_replaced_only_by_their_owner() {
    let job = mixed();
    let path = job.root.path().join("out.jsonl");
    fs::write(&path, "mine\n").unwrap();
    assert_eq!(code(run(&job, &sink(&path), false)), "sink-exists");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
    assert_eq!(code(run(&job, &sink(&path), true)), "fine");
    assert_eq!(code(run(&job, &SinkSpec::default(), true)), "no-output");
    assert_eq!(
        code(run(&job, &SinkSpec { format: Some("xls".to_owned()), ..sink(&path) }, true)),
        "format-unknown"
    );
}

#[test]
fn a_damaged_result_file_stops_the_delivery() {
    let job = mixed();
    fs::write(job.dir.results(), "{}\n").unwrap();
    let path = job.root.path().join("out.jsonl");
    assert_eq!(code(run(&job, &sink(&path), false)), "io-failed");
    assert!(!path.exists());
}

#[test]
fn a_stream_gives_rows_as_they_land_and_goes_on_where_it_stood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let streamed = JobSpec { sink: SinkSpec { stream: true, ..sink(&path) }, ..spec() };
    let line = br#"{"item":4,"attempt":2,"status":"succeeded","response":{"text":"ham","finish_reason":"stop"},"cost_usd":"0.000000075","provider":"openai","model":"m","lane":"sync"}"#;
    let line = ResultLine::parse(line).unwrap();
    let mut stream = StreamSink::open(&streamed, Shape::Table, false, None).unwrap();
    stream.row(4, "e", &line, false).unwrap();
    let at = stream.flush().unwrap();
    stream.row(9, "lost", &line, true).unwrap();
    stream.flush().unwrap();
    drop(stream);
    assert_eq!(read(&path).len(), 2);
    let mut stream = StreamSink::open(&streamed, Shape::Table, true, Some(at)).unwrap();
    stream.row(7, "h", &line, true).unwrap();
    assert_eq!(stream.finish().unwrap().rows, 1);
    let rows = read(&path);
    let got: Vec<_> = rows
        .iter()
        .map(|row| ["_item", "_id", "answer", "_cost_usd"].map(|name| row[name].clone()))
        .collect();
    assert_eq!(
        got,
        [
            [json!(5), json!("e"), json!("ham"), json!("0.000000075")],
            [json!(8), json!("h"), json!("ham"), json!("0")],
        ]
    );
}
