//! What a sink writes, a source reads: any text in any format.
use bulkrate_io::{Column, ColumnType, RowData, Sink, SinkOptions, Source, SourceOptions, Value};
use proptest::prelude::*;

use crate::support::{Folder, options};

fn any_table() -> impl Strategy<Value = (Vec<String>, Vec<Vec<String>>)> {
    let cell = || prop_oneof![any::<String>(), "[,\"'\t\r\n=+@a\u{feff}\\\\-]{0,6}", "[ -~]{0,400}"];
    prop::collection::btree_set(cell().prop_map(|name| name.replace('\0', "")), 1..5)
        .prop_map(|names| names.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_flat_map(move |names| {
            let row = prop::collection::vec(cell(), names.len());
            (Just(names), prop::collection::vec(row, 1..20))
        })
}

fn write(path: &std::path::Path, raw_csv: bool, names: &[String], rows: &[Vec<String>]) {
    let columns = names.iter().map(|name| Column::new(name, ColumnType::Text)).collect::<Vec<_>>();
    let options = SinkOptions { raw_csv, overwrite: true, ..SinkOptions::new(path) };
    let mut sink = Sink::open(&options, &columns).unwrap();
    for row in rows {
        sink.write(&row.iter().map(|cell| Value::Text(cell)).collect::<Vec<_>>()).unwrap();
    }
    let report = sink.finish().unwrap();
    assert_eq!(report.rows, rows.len() as u64);
    assert_eq!(report.bytes, std::fs::metadata(path).unwrap().len());
}

/// Columns and cells of a file, and the cells after a stop at row `at`.
fn read(options: &SourceOptions, at: usize) -> (Vec<String>, Vec<Vec<String>>, Vec<Vec<String>>) {
    let rest = |source: &mut Source, rows: &mut Vec<Vec<String>>, count: usize| {
        for _ in 0..count {
            let Some(row) = source.next().unwrap() else { return };
            rows.push(match row.data {
                RowData::Cells(cells) => cells.iter().map(String::from).collect(),
                RowData::Json(json) => json.iter().map(|(_, value)| value.cell().into_owned()).collect(),
                RowData::Bad(bad) => panic!("{bad:?}"),
            });
        }
    };
    let mut source = Source::open(options).unwrap();
    let (mut rows, mut tail) = (Vec::new(), Vec::new());
    rest(&mut source, &mut rows, at);
    let start = Some(source.position());
    rest(&mut source, &mut rows, usize::MAX);
    let mut again = Source::open(&SourceOptions { start, ..options.clone() }).unwrap();
    rest(&mut again, &mut tail, usize::MAX);
    (source.columns().to_vec(), rows, tail)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_survives_any_format((names, rows) in any_table(), at in 0_usize..20) {
        let folder = Folder::new();
        for name in ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.csv.gz", "t.tsv.zst", "t.jsonl.gz", "t.jsonl.zst"] {
            let path = folder.path(name);
            write(&path, true, &names, &rows);
            let (columns, cells, tail) = read(&options(&path), at);
            prop_assert_eq!(&columns, &names, "{}", name);
            prop_assert_eq!(&cells, &rows, "{}", name);
            prop_assert_eq!(&tail[..], &rows[at.min(rows.len())..], "{}", name);
        }
    }

    #[test]
    fn guarded_cells_differ_by_one_quote_at_most((names, rows) in any_table()) {
        let folder = Folder::new();
        let path = folder.path("t.csv");
        write(&path, false, &names, &rows);
        let (columns, cells, _) = read(&options(&path), 0);
        let pairs = columns.iter().zip(&names).chain(cells.iter().flatten().zip(rows.iter().flatten()));
        for (got, want) in pairs {
            if got != want {
                prop_assert_eq!(got, &format!("'{want}"));
                prop_assert!(want.starts_with(['=', '+', '-', '@', '\t', '\r', '\0']));
            } else if !want.is_empty() && want.starts_with(['=', '@', '\t', '\r', '\0']) {
                prop_assert!(false, "{:?} was left as it is", want);
            }
        }
    }
}
