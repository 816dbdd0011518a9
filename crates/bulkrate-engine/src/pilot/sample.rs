//! Which items a pilot asks: those whose hashes are smallest. Uniform, the same whenever it is drawn, and a part of every larger one.

use std::collections::BinaryHeap;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use bulkrate_core::pace::rng::{mix, seed_of};
use bulkrate_core::request::write_json_text;
use bulkrate_io::{RowData, Source};

use crate::EngineError;
use crate::deliver::source_options;
use crate::paths::{create_dir, io_error, open_file, take_place};
use crate::spec::JobSpec;

/// Writes `items` records of the job's source, or all that there are, as JSON lines with the fields that they have, in the order of the
/// source; answers how many. `seed`: the job.
pub(crate) fn write(spec: &JobSpec, seed: &str, items: u64, path: &Path) -> Result<u64, EngineError> {
    let picked = pick(spec, seed, usize::try_from(items).unwrap_or(usize::MAX))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    create_dir(folder)?;
    let draft = path.with_extension("part");
    {
        let mut out = BufWriter::new(open_file(&draft, true)?);
        let wrote = picked.iter().try_for_each(|(_, line)| out.write_all(line));
        wrote.and_then(|()| out.flush()).map_err(io_error("could not write", &draft))?;
        out.get_ref().sync_all().map_err(io_error("could not sync", &draft))?;
    }
    take_place(&draft, path)?;
    Ok(picked.len() as u64)
}

/// Numbers and lines. Records that cannot be read are none of a sample.
fn pick(spec: &JobSpec, seed: &str, items: usize) -> Result<Vec<(u64, Vec<u8>)>, EngineError> {
    let mut source = Source::open(&source_options(&spec.source, spec.source.limit)?)?;
    let columns = source.columns().to_vec();
    let seed = seed_of(seed);
    // The largest hash on top: it is the first to go.
    let mut kept: BinaryHeap<(u64, u64, Vec<u8>)> = BinaryHeap::new();
    while let Some(row) = source.next()? {
        let hash = mix(seed ^ mix(row.record.wrapping_add(1)));
        let full = kept.len() >= items;
        if matches!(row.data, RowData::Bad(_)) || full && kept.peek().is_some_and(|top| top.0 <= hash) {
            continue;
        }
        if full {
            kept.pop();
        }
        kept.push((hash, row.record, line(&row.data, &columns)));
    }
    let mut picked: Vec<_> = kept.into_iter().map(|(_, record, line)| (record, line)).collect();
    picked.sort_unstable_by_key(|(record, _)| *record);
    Ok(picked)
}

/// A record as one JSON line. Cells are texts, as a template takes them from a table.
fn line(data: &RowData<'_>, columns: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    match data {
        RowData::Json(row) => out.extend_from_slice(row.text().trim().as_bytes()),
        RowData::Cells(cells) => {
            for (at, (column, cell)) in columns.iter().zip(cells.iter()).enumerate() {
                out.push(if at == 0 { b'{' } else { b',' });
                write_json_text(column, &mut out);
                out.push(b':');
                write_json_text(cell, &mut out);
            }
            out.push(b'}');
        }
        RowData::Bad(_) => {}
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::collections::BTreeSet;

    fn spec(path: &Path) -> JobSpec {
        let source = serde_json::json!({ "path": path, "format": null, "id": null, "on_bad_line": "fail", "limit": null });
        let request = crate::spec::RequestSpec::default();
        JobSpec {
            name: "job".to_owned(),
            source: serde_json::from_value(source).unwrap(),
            request,
            tags: std::collections::BTreeMap::new(),
            run: crate::spec::RunSpec::default(),
            sink: crate::spec::SinkSpec::default(),
            account: crate::spec::AccountSpec::default(),
        }
    }

    fn drawn(spec: &JobSpec, seed: &str, items: usize) -> Vec<u64> {
        pick(spec, seed, items).unwrap().into_iter().map(|(record, _)| record).collect()
    }

    #[test]
    fn a_sorted_file_is_sampled_all_over_and_a_larger_sample_holds_the_smaller() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let rows: String = (0..10_000).map(|row| format!("{row},\"a \"\"b\"\", {row}\"\n")).collect();
        std::fs::write(&path, format!("id,text\n{rows}")).unwrap();
        let spec = spec(&path);
        let (some, more) = (drawn(&spec, "x", 100), drawn(&spec, "x", 300));
        assert_eq!((some.len(), more.len()), (100, 300));
        assert_eq!(some, drawn(&spec, "x", 100));
        assert_ne!(some, drawn(&spec, "y", 100));
        let more: BTreeSet<u64> = more.into_iter().collect();
        assert!(some.iter().all(|record| more.contains(record)));
        // Each record is as likely as any: over 200 seeds every tenth of the file has its share, 2,000 +- 5 sd.
        let mut tenths = [0_usize; 10];
        for seed in 0..200 {
            for record in drawn(&spec, &format!("seed {seed}"), 100) {
                tenths[usize::try_from(record / 1_000).unwrap()] += 1;
            }
        }
        assert!(tenths.iter().all(|count| (1_790..2_210).contains(count)), "{tenths:?}");
    }

    #[test]
    fn fields_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (csv, jsonl) = (dir.path().join("a.csv"), dir.path().join("a.jsonl"));
        std::fs::write(&csv, "id,text\n1,\"say \"\"hi\"\"\nnow\"\n2,\n").unwrap();
        std::fs::write(&jsonl, "{\"id\": 1, \"deep\": {\"a\": [1.50]}}\n\n{\"id\": 2}\n").unwrap();
        let out = dir.path().join("pilots").join("sample.jsonl");
        assert_eq!(write(&spec(&csv), "x", 9, &out).unwrap(), 2);
        let text = std::fs::read_to_string(&out).unwrap();
        assert_eq!(text, "{\"id\":\"1\",\"text\":\"say \\\"hi\\\"\\nnow\"}\n{\"id\":\"2\",\"text\":\"\"}\n");
        assert_eq!(write(&spec(&jsonl), "x", 9, &out).unwrap(), 2);
        let text = std::fs::read_to_string(&out).unwrap();
        assert_eq!(text, "{\"id\": 1, \"deep\": {\"a\": [1.50]}}\n{\"id\": 2}\n");
        let limited = JobSpec {
            source: crate::spec::SourceSpec { limit: Some(1), ..spec(&jsonl).source },
            ..spec(&jsonl)
        };
        assert_eq!(write(&limited, "x", 9, &out).unwrap(), 1);
    }
}
