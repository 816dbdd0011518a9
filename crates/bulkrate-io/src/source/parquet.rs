//! Parquet rows: row groups are decoded column by column in small batches, each row rendered as text.
//!
//! What is decided here
//! - The types of the Parquet schema count; an Arrow schema stored beside it is not read.
//! - A batch holds about 4 MiB by the averages in the footer, so memory depends on the page and row sizes only.
use std::path::Path;

use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use arrow_array::{Array, RecordBatch};

use super::csv::check_header;
use super::input::open_file;
use super::parquet_text::{render, supported};
use super::{RowBuffer, SourceError, Span, Step};

const BATCH_BYTES: u64 = 4 << 20;
const BATCH_ROWS_MAX: u64 = 4_096;

pub(crate) struct ParquetReader {
    path: std::path::PathBuf,
    batches: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    /// Next row of `batch`.
    at: usize,
    /// Next row of the file.
    row: u64,
    pub rows_total: u64,
    pub bytes_total: u64,
}

impl ParquetReader {
    /// Opens at row `start`; `limit` is the first row not wanted.
    pub(crate) fn open(
        path: &Path,
        start: u64,
        limit: Option<u64>,
    ) -> Result<(Self, Vec<String>), SourceError> {
        let (file, bytes_total) = open_file(path)?;
        if bytes_total == 0 {
            return Err(SourceError::EmptySource { path: path.into(), header_only: false });
        }
        let bad = |what: String| SourceError::BadParquet { path: path.into(), what };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata =
            ArrowReaderMetadata::load(&file, options).map_err(|error| bad(plain(&error.to_string())))?;
        for field in metadata.schema().fields() {
            if !supported(field.data_type()) {
                return Err(bad(format!("column `{}` has the type {}", field.name(), field.data_type())));
            }
        }
        let columns = metadata.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        check_header(path, &columns)?;
        let groups = metadata.metadata().row_groups();
        let rows = groups.iter().map(|group| count(group.num_rows())).collect::<Vec<_>>();
        let rows_total = rows.iter().sum::<u64>();
        if rows_total == 0 || columns.is_empty() {
            return Err(SourceError::EmptySource { path: path.into(), header_only: true });
        }
        if start > rows_total {
            return Err(SourceError::BadPosition { path: path.into(), record: start, offset: start });
        }
        let widest =
            groups.iter().map(|group| count(group.total_byte_size()) / count(group.num_rows()).max(1)).max();
        let batch_rows = (BATCH_BYTES / widest.unwrap_or(1).max(1)).clamp(1, BATCH_ROWS_MAX);
        let (first, offset) = locate(&rows, start);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(small(batch_rows))
            .with_row_groups((first..rows.len()).collect())
            .with_offset(small(offset));
        if let Some(limit) = limit {
            builder = builder.with_limit(small(limit.saturating_sub(start)));
        }
        let batches = builder.build().map_err(|error| bad(plain(&error.to_string())))?;
        let path = path.to_path_buf();
        Ok((Self { path, batches, batch: None, at: 0, row: start, rows_total, bytes_total }, columns))
    }

    pub(crate) fn advance(&mut self, row: &mut RowBuffer) -> Result<Step, SourceError> {
        loop {
            if let Some(batch) = &self.batch
                && self.at < batch.num_rows()
            {
                write_row(batch, self.at, row).map_err(|what| self.bad(what))?;
                self.at += 1;
                self.row += 1;
                return Ok(Step::Row { line: self.row });
            }
            match self.batches.next() {
                None => return Ok(Step::End),
                Some(Ok(batch)) => (self.batch, self.at) = (Some(batch), 0),
                Some(Err(error)) => {
                    let what = format!("{} (after row {})", plain(&error.to_string()), self.row);
                    return Err(self.bad(what));
                }
            }
        }
    }

    fn bad(&self, what: String) -> SourceError {
        SourceError::BadParquet { path: self.path.clone(), what }
    }

    /// A share of the file by rows: its bytes are not read in order.
    pub(crate) fn bytes_read(&self) -> u64 {
        let share = u128::from(self.bytes_total) * u128::from(self.row) / u128::from(self.rows_total.max(1));
        u64::try_from(share).unwrap_or(self.bytes_total)
    }
}

impl std::fmt::Debug for ParquetReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = out.debug_struct("ParquetReader");
        out.field("path", &self.path).field("row", &self.row).field("rows_total", &self.rows_total);
        out.finish_non_exhaustive()
    }
}

fn write_row(batch: &RecordBatch, at: usize, row: &mut RowBuffer) -> Result<(), String> {
    row.text.clear();
    row.spans.clear();
    for column in batch.columns() {
        let start = row.text.len();
        if !column.is_null(at) {
            render(column.as_ref(), at, false, &mut row.text);
        }
        let offset =
            |offset: usize| u32::try_from(offset).map_err(|_| "a row is longer than 4 GiB".to_owned());
        row.spans.push(Span { start: offset(start)?, end: offset(row.text.len())?, escaped: false });
    }
    Ok(())
}

/// The row group that holds row `start`, and the rows to skip in it.
fn locate(rows: &[u64], start: u64) -> (usize, u64) {
    let mut left = start;
    for (index, rows) in rows.iter().enumerate() {
        if left < *rows {
            return (index, left);
        }
        left -= rows;
    }
    (rows.len(), 0)
}

/// Footers hold signed counts; a negative one is damage and reads as none.
fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

fn small(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// The reader's message without its own prefixes.
fn plain(message: &str) -> String {
    let message =
        message.trim_start_matches("Parquet argument error: ").trim_start_matches("Parquet error: ");
    message.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::locate;

    #[test]
    fn the_row_group_of_a_row() {
        for (start, want) in [(0, (0, 0)), (9, (0, 9)), (10, (2, 0)), (14, (2, 4)), (15, (3, 0))] {
            assert_eq!(locate(&[10, 0, 5], start), want, "{start}");
        }
    }
}
