//! The rows of a table, page by page. Those of results are made as they are read.

use super::tables::{Named, denied, no_table, split};
use crate::batches::lines::Run;
use crate::batches::words::Words;
use crate::faults::{Fault, Place};
use crate::files::{Content, File};
use crate::server::{Reply, State};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Bytes of a page, at most, but for its first row.
const PAGE_BYTES: usize = 10 << 20;

/// The columns of a table: as it was loaded, or of results.
fn columns(file: &File) -> Vec<Value> {
    let results: &[(&str, &str)] = match &file.content {
        Content::Lines(run, _) if run.words == Words::Open => {
            &[("custom_id", "STRING"), ("response", "JSON"), ("id", "STRING"), ("error", "STRING")]
        }
        _ => &[
            ("custom_id", "STRING"),
            ("request", "JSON"),
            ("response", "JSON"),
            ("status", "STRING"),
            ("processed_time", "STRING"),
        ],
    };
    let of_results = |_| results.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
    let mut fields: Vec<Value> = serde_json::from_str(&file.purpose).unwrap_or_else(of_results);
    for field in &mut fields {
        field["mode"] = "NULLABLE".into();
    }
    fields
}

/// Where reading goes on: after so many rows, at a byte of stored lines or at a line of a run, and behind so many rows of that one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    rows: usize,
    at: usize,
    within: usize,
}

impl Mark {
    fn token(self) -> String {
        format!("{}-{}-{}", self.rows, self.at, self.within)
    }

    fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('-').map(str::parse::<usize>);
        let mut next = || parts.next()?.ok();
        Some(Self { rows: next()?, at: next()?, within: next()? })
    }
}

/// Rows of a table.
fn total(file: &File) -> usize {
    match &file.content {
        Content::Stored(lines) | Content::Bare(lines, _) => split(lines).count(),
        Content::Lines(run, _) => run.rows.get().copied().unwrap_or_default(),
    }
}

/// Reads on from a mark as long as `takes` says so; answers where the first row is that was not taken.
fn read(state: &State, file: &File, from: Mark, mut takes: impl FnMut(usize, &[u8]) -> bool) -> Mark {
    match &file.content {
        Content::Stored(lines) | Content::Bare(lines, _) => {
            let mut mark = from;
            for line in lines.get(from.at..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
                if !line.trim_ascii().is_empty() {
                    if !takes(mark.rows, line) {
                        return mark;
                    }
                    mark.rows += 1;
                }
                mark.at += line.len();
            }
            mark
        }
        Content::Lines(run, _) => of_run(state, run, from, takes),
    }
}

fn of_run(state: &State, run: &Run, from: Mark, mut takes: impl FnMut(usize, &[u8]) -> bool) -> Mark {
    let (mut mark, mut text) = (from, Vec::new());
    while mark.at < run.order.len() {
        run.output_of(state, mark.at, &mut text);
        for line in split(&text).skip(mark.within) {
            if !takes(mark.rows, line) {
                return mark;
            }
            mark.rows += 1;
            mark.within += 1;
        }
        (mark.at, mark.within) = (mark.at + 1, 0);
    }
    mark
}

pub(super) fn table(state: &State, named: &Named) -> Reply {
    let Some(file) = state.files.get(&named.id()) else { return no_table(named) };
    let made = (file.created_at * 1_000).to_string();
    Reply::of(&json!({
        "kind": "bigquery#table", "id": named.shown(), "tableReference": named.reference(), "type": "TABLE",
        "schema": {"fields": columns(&file)}, "numRows": total(&file).to_string(),
        "numBytes": file.bytes.to_string(), "location": state.config.dataset_location,
        "creationTime": made, "lastModifiedTime": made,
    }))
}

/// GET .../tables/{table}/data.
pub(super) fn page(state: &State, named: &Named, query: &HashMap<String, String>) -> Reply {
    let cut = state.faults.call(Fault::CutTail, Place::Content).is_some();
    if state.faults.hit(Fault::Forbidden, Place::Content) {
        let table = named.shown();
        return denied(&format!(
            "Table {table}: User does not have permission to query table {table}, or perhaps it does not exist."
        ));
    }
    let gone = state.faults.hit(Fault::FileGone, Place::Content);
    let Some(file) = state.files.get(&named.id()).filter(|_| !gone) else { return no_table(named) };
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let start = query.get("pageToken").and_then(|token| Mark::read(token)).unwrap_or_default();
    let first = number("startIndex").unwrap_or(0).max(start.rows);
    let most = state.config.page_rows;
    let size = number("maxResults").unwrap_or(most).min(most);
    let mut fields = columns(&file);
    if let Some(selected) = query.get("selectedFields") {
        let selected: Vec<&str> = selected.split(',').collect();
        fields.retain(|field| selected.contains(&name_of(field)));
    }
    let (mut rows, mut ends, mut bytes) = (Vec::new(), Vec::new(), 0);
    let end = read(state, &file, start, |before, line| {
        if before < first {
            return true;
        }
        bytes += line.len();
        let fits = ends.len() < size && (ends.is_empty() || bytes <= PAGE_BYTES);
        if fits {
            ends.push(rows.len());
            rows.extend_from_slice(if ends.len() > 1 { b"," } else { b"" });
            row(&fields, line, &mut rows);
        }
        fits
    });
    if cut {
        rows.truncate(ends.pop().unwrap_or_default());
    }
    let total = total(&file);
    let next = (end.rows < total && size > 0).then_some(end);
    Reply::bytes(200, shown(total, next, rows))
}

fn shown(total: usize, next: Option<Mark>, mut rows: Vec<u8>) -> Vec<u8> {
    let mut body = format!("{{\"kind\":\"bigquery#tableDataList\",\"totalRows\":\"{total}\"").into_bytes();
    if let Some(next) = next {
        body.extend_from_slice(format!(",\"pageToken\":\"{}\"", next.token()).as_bytes());
    }
    if !rows.is_empty() {
        body.extend_from_slice(b",\"rows\":[");
        body.append(&mut rows);
        body.push(b']');
    }
    body.push(b'}');
    body
}

fn name_of(field: &Value) -> &str {
    field["name"].as_str().unwrap_or_default()
}

/// A line as a row: every cell is a text.
fn row(fields: &[Value], line: &[u8], out: &mut Vec<u8>) {
    let line: BTreeMap<&str, &RawValue> = serde_json::from_slice(line).unwrap_or_default();
    out.extend_from_slice(b"{\"f\":[");
    for (at, field) in fields.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"v\":" } else { b"{\"v\":" });
        match line.get(name_of(field)).map(|value| value.get()) {
            None | Some("null") => out.extend_from_slice(b"null"),
            Some(value) if value.starts_with('"') && field["type"] != "JSON" => {
                out.extend_from_slice(value.as_bytes());
            }
            Some(value) => drop(serde_json::to_writer(&mut *out, value)),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_to_go_on() {
        let mark = Mark { rows: 12, at: 9, within: 1 };
        assert_eq!(Mark::read(&mark.token()), Some(mark));
        assert_eq!(Mark::read("12"), None);
    }

    #[test]
    fn a_line_is_a_row_of_texts() {
        let fields = [
            json!({"name": "custom_id", "type": "STRING"}),
            json!({"name": "response", "type": "JSON"}),
            json!({"name": "error", "type": "STRING"}),
        ];
        let mut out = Vec::new();
        row(&fields, br#"{"response":{"a":"\u00e9\n"},"custom_id":"x\"","error":null}"#, &mut out);
        let found: Value = serde_json::from_slice(&out).unwrap_or_default();
        assert_eq!(found, json!({"f": [{"v": "x\""}, {"v": "{\"a\":\"\\u00e9\\n\"}"}, {"v": null}]}));
    }
}
