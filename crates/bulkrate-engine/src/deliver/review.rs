//! The sample of good answers that a person or a model judges: a CSV file with a blank column for the verdict.

use std::path::{Path, PathBuf};

use bulkrate_io::{Column, ColumnType, Format, RowData, Sink, SinkOptions, Source, SourceOptions, Value};

use super::columns::{AnswerForm, ITEM_COLUMN, Layout, Lead};
use super::row::Head;
use crate::EngineError;
use crate::spec::JobSpec;

pub(crate) const OK_COLUMN: &str = "_ok";
const NOTE_COLUMN: &str = "_note";
const REQUEST_COLUMN: &str = "_request";

/// What is drawn, and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct ReviewSpec {
    pub(crate) path: PathBuf,
    pub(crate) permille: u32,
}

impl ReviewSpec {
    /// The sample beside a job's output: `labels.csv.review.csv`. None for standard output, devices and pipes, nor where a
    /// file is there that was judged already or is no sample.
    pub(crate) fn beside(spec: &JobSpec) -> Option<Self> {
        let out = spec.sink.path.as_deref().filter(|path| path.as_os_str() != "-")?;
        if spec.run.review_permille == 0 || (out.exists() && !out.is_file()) {
            return None;
        }
        let mut path = out.as_os_str().to_owned();
        path.push(".review.csv");
        let path = PathBuf::from(path);
        (!is_taken(&path)).then_some(Self { path, permille: spec.run.review_permille })
    }
}

/// Whether a file is there that no new sample may replace: a verdict stands in it, or it is not a sample at all.
pub(crate) fn is_taken(path: &Path) -> bool {
    if !path.exists() {
        return false;
    }
    let options = SourceOptions { format: Some(Format::Csv), ..SourceOptions::new(path) };
    let Ok(mut source) = Source::open(&options) else { return true };
    let places = [ITEM_COLUMN, OK_COLUMN, NOTE_COLUMN]
        .map(|name| source.columns().iter().position(|column| column == name));
    let [Some(_), Some(ok), Some(note)] = places else { return true };
    loop {
        match source.next() {
            Ok(None) => return false,
            Ok(Some(row)) => match row.data {
                RowData::Cells(cells) if [ok, note].iter().all(|place| cells.get(*place) == Some("")) => {}
                _ => return true,
            },
            Err(_) => return true,
        }
    }
}

/// Writes the rows of a sample; the file appears with the first.
#[derive(Debug)]
pub(crate) struct ReviewWriter {
    path: PathBuf,
    columns: Vec<Column>,
    /// Places in a row of the output that the sample shows as well.
    kept: Vec<usize>,
    with_request: bool,
    sink: Option<Sink>,
}

impl ReviewWriter {
    /// Nothing for embeddings: nobody can tell a wrong one.
    pub(crate) fn new(path: &Path, layout: &Layout) -> Option<Self> {
        if layout.answer == AnswerForm::Vector {
            return None;
        }
        let own = [ITEM_COLUMN, REQUEST_COLUMN, OK_COLUMN, NOTE_COLUMN];
        let kept: Vec<usize> = (0..layout.columns.len() - super::columns::TAIL.len())
            .filter(|place| !own.contains(&layout.columns[*place].name.as_str()))
            .collect();
        let with_request = layout.lead == Lead::CustomId;
        let text = |name: &str| Column::new(name, ColumnType::Text);
        let columns = std::iter::once(Column::new(ITEM_COLUMN, ColumnType::Int))
            .chain(kept.iter().map(|place| layout.columns[*place].clone()))
            .chain(with_request.then(|| text(REQUEST_COLUMN)))
            .chain([text(OK_COLUMN), text(NOTE_COLUMN)])
            .collect();
        Some(Self { path: path.to_owned(), columns, kept, with_request, sink: None })
    }

    pub(crate) fn write(
        &mut self,
        number: u64,
        head: Head<'_>,
        row: &[Value<'_>],
    ) -> Result<(), EngineError> {
        let mut values = Vec::with_capacity(self.columns.len());
        values.push(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)));
        values.extend(self.kept.iter().map(|place| row[*place]));
        if self.with_request {
            values.push(match head.data {
                Some(RowData::Json(line)) => Value::Text(line.text()),
                _ => Value::Null,
            });
        }
        values.extend([Value::Null, Value::Null]);
        let sink = match &mut self.sink {
            Some(sink) => sink,
            none => {
                let options = SinkOptions {
                    format: Some(Format::Csv),
                    overwrite: true,
                    ..SinkOptions::new(&self.path)
                };
                none.insert(Sink::open(&options, &self.columns)?)
            }
        };
        Ok(sink.write(&values)?)
    }

    /// The items in the sample.
    pub(crate) fn finish(self) -> Result<u64, EngineError> {
        Ok(self.sink.map(Sink::finish).transpose()?.map_or(0, |report| report.rows))
    }
}
