#![allow(clippy::unwrap_used, reason = "tests")]
use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::json::{Form, Load};
use super::load::Input;
use super::*;

#[test]
fn a_dataset_may_come_with_its_project() {
    for (text, project, id) in [
        ("labels", "acme", "labels"),
        ("other.labels", "other", "labels"),
        ("example.com:p.d_1", "example.com:p", "d_1"),
    ] {
        let dataset = Dataset::read(text, "acme").unwrap();
        assert_eq!((dataset.project.as_str(), dataset.id.as_str()), (project, id), "{text}");
        let address = dataset.address("t_1");
        let table = Table::read(&address).unwrap();
        assert_eq!((table.project, table.dataset, table.id), (project, id, "t_1"), "{address}");
    }
    for text in ["", "a-b", "p.", "p.d ", "a b.d", ".d", "..d", "...d", &"x".repeat(201)] {
        assert!(Dataset::read(text, "acme").is_err(), "{text}");
    }
    for name in ["gs://b/o/x.jsonl", "bq://p.d", "bq://p..t", "bq://", "bq://..d.t", "bq://...d.t"] {
        assert_eq!(Table::read(name), None, "{name}");
    }
    let path = Table::read("bq://example.com:p.d.t").unwrap().path();
    assert_eq!(path, "/bigquery/v2/projects/example.com%3Ap/datasets/d/tables/t");
}

#[test]
fn jobs_read_what_is_at_their_place_or_around_it() {
    for (location, region, near) in [
        ("US", "us-central1", true),
        ("EU", "europe-west4", true),
        ("us-central1", "us-central1", true),
        ("US", "us", true),
        ("EU", "global", true),
        ("EU", "us-central1", false),
        ("us-east1", "us-central1", false),
        ("US", "europe-west4", false),
        // London and Zurich are no part of the EU.
        ("EU", "europe-west2", false),
        ("EU", "europe-west6", false),
        ("europe-west2", "europe-west2", true),
    ] {
        assert_eq!(is_near(location, region), near, "{location} {region}");
    }
}

#[test]
fn only_what_was_made_here_is_deleted() {
    for (name, ours) in [
        ("bq://p.d.bulkrate_01kaxvhz_0123456789abcdef", true),
        ("bq://p.d.bulkrate_01kaxvhz_0123456789abcdef_out", true),
        ("bq://p.d.bulkrate_0123456789abcdef", true),
        ("bq://p.d.bulkrate_01kaxvhz_0123456789abcdeF", false),
        ("bq://p.d.bulkrate_01kaxvhz", false),
        ("bq://p.d.sales_0123456789abcdef", false),
        ("bq://p.d.customers", false),
        ("gs://b/bulkrate_0123456789abcdef", false),
    ] {
        assert_eq!(is_ours(name), ours, "{name}");
    }
}

#[test]
fn a_dataset_says_how_long_its_tables_live() {
    let of = |more: &str| {
        json::described(format!(r#"{{"location":"US"{more}}}"#).as_bytes()).map(|found| found.expiration_ms)
    };
    assert_eq!(of("").unwrap(), None);
    assert_eq!(of(r#","defaultTableExpirationMs":"86400000""#).unwrap(), Some(86_400_000));
    assert!(of(r#","defaultTableExpirationMs":"soon""#).is_err() && json::described(b"{}").is_err());
}

#[test]
fn a_load_has_its_tables_name() {
    let dataset = Dataset::read("data.labels", "acme").unwrap();
    let columns = |columns: &[(&str, &str)]| {
        columns.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect::<Vec<_>>()
    };
    for (form, fields) in [
        (Form::Texts, columns(&[("custom_id", "STRING"), ("request", "STRING")])),
        (Form::Requests, columns(&[("custom_id", "STRING"), ("request", "JSON")])),
        (
            Form::Lines,
            columns(&[("custom_id", "STRING"), ("method", "STRING"), ("url", "STRING"), ("body", "JSON")]),
        ),
    ] {
        let body = json::load_job("acme", &dataset, ("t_1", "US"), form);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({
                "jobReference": {"projectId": "acme", "jobId": "t_1", "location": "US"},
                "configuration": {"load": {
                    "destinationTable": {"projectId": "data", "datasetId": "labels", "tableId": "t_1"},
                    "schema": {"fields": fields},
                    "sourceFormat": "NEWLINE_DELIMITED_JSON",
                    "createDisposition": "CREATE_IF_NEEDED",
                    "writeDisposition": "WRITE_EMPTY",
                }},
            })
        );
    }
}

#[test]
fn loads() {
    let said = |body: &str| match json::load(body.as_bytes()).unwrap() {
        Load::Running => "running".to_owned(),
        Load::Loaded(rows) => format!("{rows} rows"),
        Load::Failed(failure) => format!("{:?} {} {}", failure.class, failure.maybe_paid, failure.message),
    };
    let failed = |reason: &str| {
        said(&format!(
            r#"{{"status":{{"state":"DONE","errorResult":{{"reason":"{reason}","message":"why"}},"errors":[]}}}}"#
        ))
    };
    for state in ["PENDING", "RUNNING", "OF_TOMORROW"] {
        assert_eq!(said(&format!(r#"{{"status":{{"state":"{state}"}}}}"#)), "running");
    }
    let done = r#"{"status":{"state":"DONE"},"statistics":{"load":{"outputRows":"37"}}}"#;
    assert_eq!(said(done), "37 rows");
    for (reason, want) in [
        ("invalid", "RefusedByProvider false the table was not loaded: why"),
        ("accessDenied", "Auth false the table was not loaded: why"),
        ("quotaExceeded", "RateLimited false the table was not loaded: why"),
        ("backendError", "Transient false the table was not loaded: why"),
    ] {
        assert_eq!(failed(reason), want);
    }
    // An end that says nothing of rows is no empty table.
    for body in ["{}", "[]", "", "null", r#"{"status":{"state":"DONE"}}"#] {
        assert!(json::load(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn errors_mean_what_bigquery_means_by_them() {
    let of = |status: u16, reason: &str, message: &str| {
        let body = json!({"error": {"code": status, "message": message, "errors": [{"message": message, "domain": "global", "reason": reason}]}});
        let body = Bytes::from(body.to_string());
        let failure = classify(&Reply { status, headers: HeaderMap::new(), body }, 0);
        format!("{:?} {}", failure.class, failure.provider_code.unwrap_or_default())
    };
    for (status, reason, message, want) in [
        (403, "accessDenied", "Access Denied: Dataset p:d", "Auth accessDenied"),
        // Not a matter of rights.
        (403, "rateLimitExceeded", "Exceeded rate limits", "RateLimited rateLimitExceeded"),
        (403, "quotaExceeded", "Quota exceeded", "RateLimited quotaExceeded"),
        (403, "billingNotEnabled", "Billing has not been enabled", "Billing billingNotEnabled"),
        (404, "notFound", "Not found: Dataset p:d", "Auth no_dataset"),
        (404, "notFound", "Not found: Project p", "Auth notFound"),
    ] {
        assert_eq!(of(status, reason, message), want);
    }
    assert!(of(400, "invalid", "x").starts_with("RefusedByProvider"));
    assert!(of(503, "backendError", "x").starts_with("RateLimited"));
}

const TABLE_OF_RESULTS: &str = r#"{"kind":"bigquery#table","schema":{"fields":[{"name":"custom_id","type":"STRING"},{"name":"request","type":"JSON"},{"name":"processed_time","type":"TIMESTAMP"},{"name":"response","type":"JSON"},{"name":"status","type":"STRING"}]}}"#;

#[test]
fn rows_become_the_lines_that_a_bucket_would_hold() {
    let columns = Columns::read(TABLE_OF_RESULTS.as_bytes()).unwrap();
    assert_eq!(columns.selected(), "custom_id,request,response,status");
    let line = |cells: Value| {
        let cells: Vec<Value> = cells.as_array().unwrap().iter().map(|cell| json!({"v": cell})).collect();
        let body = json!({"totalRows": "1", "rows": [{"f": cells}]}).to_string();
        let mut out = Vec::new();
        columns.write(&Rows::read(body.as_bytes()).unwrap().rows[0], &mut out)?;
        Ok::<_, String>(String::from_utf8(out).unwrap())
    };
    let request = r#"{"labels":{"bulkrate":"a"},
"contents":[]}"#;
    assert_eq!(
        line(json!([null, request, r#"{"candidates":[]}"#, ""])).unwrap(),
        "{\"request\":{\"labels\":{\"bulkrate\":\"a\"},\"contents\":[]},\"response\":{\"candidates\":[]}}\n"
    );
    assert_eq!(
        line(json!(["a", null, "{}", "Bad \"Request\""])).unwrap(),
        "{\"custom_id\":\"a\",\"status\":\"Bad \\\"Request\\\"\",\"response\":{}}\n"
    );
    // What should be JSON and is none.
    assert_eq!(line(json!(["a", "{", "", null])).unwrap(), "{\"custom_id\":\"a\",\"request\":\"{\"}\n");
    assert!(line(json!(["a"])).is_err());
    for body in ["{}", r#"{"schema":{"fields":[{"name":"request","type":"JSON"}]}}"#, r#"{"status":"ok"}"#] {
        assert!(Columns::read(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn what_is_no_text_is_no_empty_cell() {
    for (kind, mode) in [("RECORD", "NULLABLE"), ("JSON", "REPEATED"), ("INTEGER", "NULLABLE")] {
        let table =
            json!({"schema": {"fields": [{"name": "response", "type": kind, "mode": mode}]}}).to_string();
        let why = Columns::read(table.as_bytes()).unwrap_err();
        assert!(why.contains("the column `response` of the table holds no texts"), "{why}");
    }
    // An open model's `error` is read where it is a text.
    let open = |kind: &str| {
        let table = format!(
            r#"{{"schema":{{"fields":[{{"name":"error","type":"{kind}"}},{{"name":"response","type":"JSON"}}]}}}}"#
        );
        Columns::read(table.as_bytes()).unwrap().selected().to_owned()
    };
    assert_eq!((open("STRING").as_str(), open("RECORD").as_str()), ("error,response", "response"));
    // Nobody reads it.
    let foreign = r#"{"schema":{"fields":[{"name":"response","type":"STRING"},{"name":"n","type":"RECORD","mode":"REPEATED"}]}}"#;
    assert_eq!(Columns::read(foreign.as_bytes()).unwrap().selected(), "response");
    for cell in ["{}", r#"{"v":{"f":[]}}"#, r#"{"v":[{"v":"x"}]}"#, r#"{"v":7}"#, r#"{"v":true}"#] {
        let page = format!(r#"{{"totalRows":"1","rows":[{{"f":[{cell}]}}]}}"#);
        assert!(Rows::read(page.as_bytes()).is_err(), "{cell}");
    }
}

#[test]
fn an_object_of_somebody_else_is_no_empty_table() {
    for body in [
        r#"{"status":"ok"}"#,
        "{}",
        "[]",
        "",
        r#"{"totalRows":"-1"}"#,
        r#"{"rows":[]}"#,
        r#"{"rows":[{"f":[]}]}"#,
    ] {
        assert!(Rows::read(body.as_bytes()).is_err(), "{body}");
    }
    let page = Rows::read(br#"{"kind":"bigquery#tableDataList","totalRows":"0"}"#).unwrap();
    assert_eq!((page.rows.len(), page.next, page.total), (0, None, 0));
    let page = Rows::read(br#"{"totalRows":"3","pageToken":"t","rows":[{"f":[{"v":"x"}]}]}"#).unwrap();
    assert_eq!((page.rows.len(), page.next.as_deref(), page.total), (1, Some("t"), 3));
}

#[tokio::test]
async fn lines_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input.jsonl");
    for (line, form) in [
        (r#"{"custom_id":"br1-a","request":"{}"}"#, Form::Texts),
        (r#"{"custom_id":"br1-a","request":{"x":"","request":""}}"#, Form::Requests),
        (r#"{"custom_id":"br1-a","method":"POST","url":"/v1/chat/completions","body":{}}"#, Form::Lines),
    ] {
        std::fs::write(&path, format!("{line}\n").repeat(100_000)).unwrap();
        assert_eq!(Input::of(&path).await.unwrap(), Input { lines: 100_000, form });
    }
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), text in ".{0,40}") {
        let _ = (json::load(&bytes), Rows::read(&bytes).map(|page| page.total), Columns::read(&bytes), json::described(&bytes));
        let columns = Columns::read(TABLE_OF_RESULTS.as_bytes()).unwrap();
        let cells = json!([{"v": text}, {"v": text}, {"v": text}, {"v": text}]);
        let body = json!({"totalRows": 1, "rows": [{"f": cells}]}).to_string();
        let mut out = Vec::new();
        columns.write(&Rows::read(body.as_bytes()).unwrap().rows[0], &mut out).unwrap();
        // One line, and JSON, whatever stood in the cells.
        prop_assert!(out.iter().filter(|byte| **byte == b'\n').count() == 1 && serde_json::from_slice::<Value>(&out).is_ok());
    }
}
