//! Records of a source. However the bytes arrive, the same records come out, each whole and in its place.

use std::io::Read;

use bulkrate_io::{Format, OnBadLine, RowData, Source, SourceOptions};
use serde::de::IgnoredAny;

/// Hands out a few bytes at a time.
#[derive(Debug)]
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let length = self.step.min(into.len()).min(self.bytes.len() - self.at);
        into[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

pub fn jsonl(bytes: &[u8]) {
    both_ways(bytes, Format::Jsonl);
}

pub fn csv(bytes: &[u8]) {
    both_ways(bytes, Format::Csv);
}

fn both_ways(bytes: &[u8], format: Format) {
    let whole = records(bytes, format, usize::MAX);
    let step = 1 + bytes.len() % 7;
    let pieces = records(bytes, format, step);
    assert_eq!(whole, pieces, "in pieces of {step} bytes");
}

/// Every record as text, and how the reading ended.
fn records(bytes: &[u8], format: Format, step: usize) -> (Vec<String>, String) {
    let reader = Pieces { bytes: bytes.to_vec(), at: 0, step };
    let options = SourceOptions {
        format: Some(format),
        compression: Some(bulkrate_io::Compression::None),
        on_bad_line: OnBadLine::Dead,
        record_bytes_max: 4_096,
        ..SourceOptions::new("-")
    };
    let mut source = match Source::from_reader(Box::new(reader), &options) {
        Ok(source) => source,
        Err(error) => return (Vec::new(), error.to_string()),
    };
    let width = source.columns().len();
    let mut records = Vec::new();
    let end = loop {
        match source.next() {
            Ok(Some(row)) => {
                assert_eq!(row.record, records.len() as u64, "records are counted from 0");
                let text = match &row.data {
                    RowData::Cells(cells) => {
                        assert_eq!(cells.len(), width, "one cell a column");
                        format!("{:?}", cells.iter().collect::<Vec<_>>())
                    }
                    RowData::Json(json) => {
                        let known = serde_json::from_str::<IgnoredAny>(json.text());
                        assert!(known.is_ok(), "taken for JSON: {:?}", json.text());
                        json.iter().map(|(key, value)| format!("{key:?}={:?}", value.cell())).collect()
                    }
                    RowData::Bad(bad) => format!("{bad:?}"),
                };
                records.push(format!("{}: {text}", row.line));
            }
            Ok(None) => break "end".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    (records, end)
}
