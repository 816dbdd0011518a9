//! Helpers: a file in a temporary folder, its rows as owned values.
use std::io::Write;
use std::path::{Path, PathBuf};

use bulkrate_io::{BadLine, OnBadLine, Position, Row, RowData, Source, SourceError, SourceOptions};

/// A row that lives on: cells, or a JSON line, or what was bad.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Owned {
    Cells(Vec<String>),
    Json(String),
    Bad(BadLine),
}

pub(crate) fn own(row: &Row<'_>) -> Owned {
    match &row.data {
        RowData::Cells(cells) => Owned::Cells(cells.iter().map(String::from).collect()),
        RowData::Json(json) => Owned::Json(json.text().to_owned()),
        RowData::Bad(bad) => Owned::Bad(bad.clone()),
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Read {
    pub columns: Vec<String>,
    /// Record, line, row.
    pub rows: Vec<(u64, u64, Owned)>,
    /// The place before each row, and after the last.
    pub places: Vec<Position>,
    pub skipped: u64,
}

pub(crate) fn read(options: &SourceOptions) -> Result<Read, SourceError> {
    drain(Source::open(options)?)
}

pub(crate) fn drain(mut source: Source) -> Result<Read, SourceError> {
    let (mut rows, mut places) = (Vec::new(), vec![source.position()]);
    while let Some(row) = source.next()? {
        rows.push((row.record, row.line, own(&row)));
        places.push(source.position());
    }
    Ok(Read { columns: source.columns().to_vec(), rows, places, skipped: source.skipped() })
}

pub(crate) fn cells(read: &Read) -> Vec<Vec<String>> {
    let cells = read.rows.iter().map(|(_, _, row)| match row {
        Owned::Cells(cells) => cells.clone(),
        other => panic!("not cells: {other:?}"),
    });
    cells.collect()
}

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Names in the folder, hidden ones too.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
        names.sort();
        names
    }
}

pub(crate) fn options(path: impl AsRef<Path>) -> SourceOptions {
    SourceOptions::new(path)
}

pub(crate) fn with(path: impl AsRef<Path>, on_bad_line: OnBadLine) -> SourceOptions {
    SourceOptions { on_bad_line, ..SourceOptions::new(path) }
}

/// Every place of `read` leads to the same rest.
pub(crate) fn assert_resumable(options: &SourceOptions, whole: &Read) {
    for (index, place) in whole.places.iter().enumerate() {
        let rest = read(&SourceOptions { start: Some(*place), ..options.clone() }).unwrap();
        assert_eq!(rest.rows, whole.rows[index..], "from {place:?}");
        assert_eq!(rest.columns, whole.columns);
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// A reader that gives `step` bytes at a time.
pub(crate) struct Trickle {
    pub bytes: std::io::Cursor<Vec<u8>>,
    pub step: usize,
}

impl std::io::Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let step = self.step.min(buffer.len());
        self.bytes.read(&mut buffer[..step])
    }
}
