//! Parquet sources: every type as text, places, damage.
use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::*;
use bulkrate_io::SourceOptions;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::support::{Folder, assert_resumable, cells, options, read};

fn write(path: &std::path::Path, columns: Vec<(&str, ArrayRef)>, group_rows: usize) {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn every_type_has_a_text() {
    let folder = Folder::new();
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(1), None]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k\"");
    map.values().append_value(5);
    map.append(true).unwrap();
    let cases: Vec<(&str, ArrayRef, &str)> = vec![
        ("text", Arc::new(StringArray::from(vec!["ä\n"])), "ä\n"),
        ("large_text", Arc::new(LargeStringArray::from(vec!["x"])), "x"),
        ("null_text", Arc::new(StringArray::from(vec![None::<&str>])), ""),
        ("dictionary", Arc::new(vec!["d"].into_iter().collect::<DictionaryArray<types::Int32Type>>()), "d"),
        ("bool", Arc::new(BooleanArray::from(vec![true])), "true"),
        ("i8", Arc::new(Int8Array::from(vec![-8])), "-8"),
        ("i64", Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808"),
        ("u32", Arc::new(UInt32Array::from(vec![u32::MAX])), "4294967295"),
        ("u64", Arc::new(UInt64Array::from(vec![u64::MAX])), "18446744073709551615"),
        ("f32", Arc::new(Float32Array::from(vec![0.1])), "0.1"),
        ("f64", Arc::new(Float64Array::from(vec![1e300])), "1e300"),
        ("whole", Arc::new(Float64Array::from(vec![3.0])), "3.0"),
        ("date", Arc::new(Date32Array::from(vec![19_723])), "2024-01-01"),
        ("time", Arc::new(Time32MillisecondArray::from(vec![3_723_004])), "01:02:03.004"),
        ("stamp", Arc::new(TimestampMicrosecondArray::from(vec![-1])), "1969-12-31T23:59:59.999999"),
        (
            "utc",
            Arc::new(TimestampMillisecondArray::from(vec![0]).with_timezone("UTC")),
            "1970-01-01T00:00:00Z",
        ),
        (
            "money",
            Arc::new(Decimal128Array::from(vec![-1_500]).with_precision_and_scale(9, 3).unwrap()),
            "-1.500",
        ),
        ("binary", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]])), "/wA="),
        ("fixed", Arc::new(FixedSizeBinaryArray::try_from_iter([b"abc"].iter()).unwrap()), "abc"),
        ("list", Arc::new(list.finish()), "[1,null]"),
        ("map", Arc::new(map.finish()), "{\"k\\\"\":5}"),
        ("nothing", Arc::new(NullArray::new(1)), ""),
    ];
    let path = folder.path("types.parquet");
    write(&path, cases.iter().map(|(name, array, _)| (*name, Arc::clone(array))).collect(), 100);
    let got = read(&options(&path)).unwrap();
    assert_eq!(got.columns, cases.iter().map(|case| case.0).collect::<Vec<_>>());
    for ((name, _, want), cell) in cases.iter().zip(&cells(&got)[0]) {
        assert_eq!(cell, want, "{name}");
    }
}

#[test]
fn rows_resume_inside_and_between_row_groups() {
    let folder = Folder::new();
    let path = folder.path("rows.parquet");
    write(&path, vec![("id", Arc::new(Int32Array::from_iter_values(0..23)) as ArrayRef)], 5);
    let got = read(&options(&path)).unwrap();
    assert_eq!(got.rows.len(), 23);
    assert_eq!(got.rows[7].0, 7);
    assert_resumable(&options(&path), &got);
    let limited = SourceOptions { limit: Some(12), ..options(&path) };
    let some = read(&limited).unwrap();
    assert_eq!(some.rows, got.rows[..12]);
    assert_resumable(&limited, &some);
}

#[test]
fn damaged_and_odd_files_are_refused() {
    let folder = Folder::new();
    let path = folder.path("rows.parquet");
    write(&path, vec![("id", Arc::new(Int32Array::from_iter_values(0..23)) as ArrayRef)], 5);
    let bytes = std::fs::read(&path).unwrap();
    let cut = folder.file("cut.parquet", &bytes[..bytes.len() - 9]);
    assert_eq!(read(&options(cut)).unwrap_err().code(), "source-bad-parquet");
    let short = folder.file("short.parquet", b"PAR1");
    assert_eq!(read(&options(short)).unwrap_err().code(), "source-bad-parquet");
    let renamed = folder.file("renamed.csv", &bytes);
    assert_eq!(read(&options(renamed)).unwrap().rows.len(), 23, "told by its first bytes");
    let none = folder.path("none.parquet");
    write(&none, vec![("id", Arc::new(Int32Array::from_iter_values(0..0)) as ArrayRef)], 5);
    assert_eq!(read(&options(none)).unwrap_err().code(), "source-empty");
    let piped = bulkrate_io::Source::from_reader(Box::new(std::io::Cursor::new(bytes)), &options("-"));
    assert_eq!(piped.unwrap_err().code(), "source-unknown-format");
}
