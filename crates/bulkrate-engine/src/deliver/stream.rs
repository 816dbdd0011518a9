//! Rows as they land, in no order: the number and the id of the item, and its answer. Input columns are left out, as a
//! row that lands has no source record at hand; `_item` and `_id` join them.

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_io::{Sink, SinkMode};

use super::columns::Layout;
use super::row::{Head, Outcome, RowWriter};
use super::{cost_of, sink_options};
use crate::EngineError;
use crate::prepare::Shape;
use crate::result_line::ResultLine;
use crate::spec::JobSpec;

/// An output that is written while the job runs.
#[derive(Debug)]
pub(crate) struct StreamSink {
    writer: RowWriter,
}

impl StreamSink {
    /// Opens the job's sink. `owned`: an existing file was written by this job. `resume_at`: go on after so many bytes
    /// of it, as [`Self::flush`] gave them; what follows is cut off.
    pub(crate) fn open(
        spec: &JobSpec,
        shape: Shape,
        owned: bool,
        resume_at: Option<u64>,
    ) -> Result<Self, EngineError> {
        let layout = Layout::streamed(spec, shape)?;
        let options = sink_options(&spec.sink, owned, SinkMode::Stream { resume_at })?;
        Ok(Self { writer: RowWriter::new(Some(Sink::open(&options, &layout.columns)?), layout, None) })
    }

    /// Appends the row of an item that landed. `cost` is the line's own for a leader, nothing for a follower.
    pub(crate) fn row(
        &mut self,
        ordinal: Ordinal,
        item_id: &str,
        line: &ResultLine<'_>,
        follows: bool,
    ) -> Result<(), EngineError> {
        let cost = if follows { UsdNanos::ZERO } else { cost_of(&line.cost_usd)? };
        self.writer.write(
            u64::from(ordinal) + 1,
            Head { data: None, id: Some(item_id) },
            Outcome::Line { line, cost },
            false,
        )
    }

    /// Makes the rows visible; the size of the file is the place to resume at.
    pub(crate) fn flush(&mut self) -> Result<u64, EngineError> {
        self.writer.flush()
    }

    /// Rows written, bytes and digest, once nothing more lands.
    pub(crate) fn finish(self) -> Result<bulkrate_io::SinkReport, EngineError> {
        Ok(self.writer.finish()?.0)
    }
}
