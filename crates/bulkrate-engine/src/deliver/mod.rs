//! Deliver: the results of a job, one row per item in the order of the source, failures included.
//!
//! Two passes. The first folds the outcomes into eight bytes an item: where its result line lies. The second reads the
//! source again, in step with the item records, and writes each row from its source record and its result line.
//!
//! Invariants
//! - Row `n` is item `n`; a row is written for every item, whatever became of it.
//! - What lies at the output path is replaced only when the last row is written (see `bulkrate_io::Sink`).
//! - The costs of all rows add up to what the ledger settled: a row carries the price of its failed attempts, a
//!   follower costs nothing.

mod apart;
mod columns;
mod places;
mod lines;
mod source;
mod row;
mod review;
mod stream;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::review::Sample;
use bulkrate_io::{Format, Sink, SinkMode, SinkOptions, SinkReport, Source};
use bulkrate_store::{ItemChunk, ItemRec, JobRow, View};
use serde::de::DeserializeOwned;

use self::columns::Layout;
use self::review::ReviewWriter;
use self::row::{Head, Outcome, RowWriter};
use crate::EngineError;
use crate::paths::JobDir;
use crate::prepare::{Checkpoint, Shape};
use crate::spec::{JobSpec, SinkSpec};

pub(crate) use apart::keep_apart;
pub(crate) use columns::{ITEM_COLUMN, columns};
pub(crate) use lines::{Lines, SealedHead};
pub(crate) use places::{Landed, Places};
pub(crate) use review::{OK_COLUMN, ReviewSpec, is_taken};
pub(crate) use row::{IdColumn, embedding, id_of_row};
pub(crate) use source::{check as check_source, reopen, source_options};
pub(crate) use stream::StreamSink;

/// Progress is told every so many rows.
const ROWS_PER_NEWS: u64 = 8_192;

/// What is written in one pass over a job.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    /// The results. True: an existing file at the path was written by this job and may be replaced.
    pub(crate) sink: Option<(&'a SinkSpec, bool)>,
    pub(crate) review: Option<ReviewSpec>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) report: SinkReport,
    pub(crate) review_items: u64,
}

/// Writes the results of `job` to `sink`. `owned`: an existing file at the path was written by this job and may be
/// replaced. `progress` is called with the rows written and the rows in all.
///
/// # Errors
/// `SourceChanged` where input columns are wanted and the source is not what the job was made from; `BadSpec` for a
/// job that is not prepared yet or columns that collide; a result line that cannot be read; everything a sink refuses.
pub(crate) fn deliver(
    view: &dyn View,
    job: &JobRow,
    dir: &JobDir,
    sink: &SinkSpec,
    owned: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SinkReport, EngineError> {
    let outputs = Outputs { sink: Some((sink, owned)), review: None };
    Ok(deliver_to(view, job, dir, &outputs, progress)?.report)
}

/// As [`deliver`], with the sample for a reviewer.
pub(crate) fn deliver_to(
    view: &dyn View,
    job: &JobRow,
    dir: &JobDir,
    outputs: &Outputs<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Delivered, EngineError> {
    let spec = spec_of(job)?;
    let checkpoint = checkpoint_of(job)?;
    let rows = job.items.min(spec.source.limit.unwrap_or(u64::MAX));
    let answers_only = outputs.sink.is_some_and(|(sink, _)| sink.answers_only);
    let source = open_source(&spec, job, dir, checkpoint.shape, answers_only, rows)?;
    let format = source.as_ref().map_or(Format::Jsonl, Source::format);
    let layout = Layout::new(&spec, format, &checkpoint.columns, checkpoint.shape, answers_only)?;
    let open = |(sink, owned): (&SinkSpec, bool)| {
        let options = sink_options(sink, owned, SinkMode::Whole)?;
        Ok::<_, EngineError>(Sink::open(&options, &layout.columns)?)
    };
    let sink = outputs.sink.map(open).transpose()?;
    let review = outputs.review.as_ref().and_then(|of| ReviewWriter::new(&of.path, &layout));
    let places = Places::load(view, job)?;
    let mut walk = Walk {
        alone: sink.is_none(),
        writer: RowWriter::new(sink, layout, review),
        sample: Sample::new(&job.id, outputs.review.as_ref().map_or(0, |review| review.permille)),
        source,
        lines: Lines::new(dir, &view.submissions(job.no)?),
        places,
        shape: checkpoint.shape,
        id: IdColumn::of(spec.source.id.as_deref(), &checkpoint.columns),
        path: source::path_text(&spec),
        rows,
        done: 0,
    };
    progress(0, rows);
    let mut failure = Ok(());
    view.scan_items(job.no, 0, &mut |chunk| match walk.chunk(chunk, progress) {
        Ok(flow) => flow,
        Err(error) => {
            failure = Err(error);
            ControlFlow::Break(())
        }
    })?;
    failure?;
    let (report, review_items) = walk.writer.finish()?;
    progress(report.rows, rows);
    Ok(Delivered { report, review_items })
}

/// The source, where its columns or ids are wanted. Answers alone are written without it when it is gone.
fn open_source(
    spec: &JobSpec,
    job: &JobRow,
    dir: &JobDir,
    shape: Shape,
    answers_only: bool,
    rows: u64,
) -> Result<Option<Source>, EngineError> {
    if !answers_only {
        return reopen(spec, job, dir, rows).map(Some);
    }
    let has_ids = spec.source.id.is_some() || shape != Shape::Table;
    Ok(if has_ids { reopen(spec, job, dir, rows).ok() } else { None })
}

/// How an output is opened.
pub(crate) fn sink_options(sink: &SinkSpec, owned: bool, mode: SinkMode) -> Result<SinkOptions, EngineError> {
    let Some(path) = &sink.path else {
        return Err(EngineError::BadSpec {
            code: "no-output",
            what: "no output".to_owned(),
            why: "`--out FILE` says where the results go; `--out -` prints them".to_owned(),
        });
    };
    let format = sink.format.as_deref().map(format_of).transpose()?;
    Ok(SinkOptions {
        format,
        raw_csv: sink.raw_csv,
        overwrite: sink.force || owned,
        mode,
        ..SinkOptions::new(path)
    })
}

/// Reads the name of a format.
pub(crate) fn format_of(name: &str) -> Result<Format, EngineError> {
    Format::from_name(name).ok_or_else(|| EngineError::BadSpec {
        code: "format-unknown",
        what: format!("unknown format `{name}`"),
        why: format!("formats are: {}", Format::NAMES),
    })
}

/// The spec in a job's row.
pub(crate) fn spec_of(job: &JobRow) -> Result<JobSpec, EngineError> {
    stored(job, "spec", &job.spec)
}

/// Where intake stands.
pub(crate) fn checkpoint_of(job: &JobRow) -> Result<Checkpoint, EngineError> {
    let text = job.checkpoint.as_ref().ok_or_else(|| preparing(job))?;
    stored(job, "checkpoint", text)
}

/// A job that was looked at and not begun.
pub(crate) fn preparing(job: &JobRow) -> EngineError {
    EngineError::BadSpec {
        code: "job-preparing",
        what: format!("job `{}` is not prepared yet", job.id),
        why: "its source was not read to the end, or nobody has confirmed it; run the job again".to_owned(),
    }
}

fn stored<T: DeserializeOwned>(job: &JobRow, what: &str, text: &str) -> Result<T, EngineError> {
    serde_json::from_str(text).map_err(|error| {
        EngineError::Internal(format!("the {what} of job `{}` cannot be read: {error}", job.id))
    })
}

/// The second pass.
struct Walk {
    writer: RowWriter,
    sample: Sample,
    /// Only the sample is written.
    alone: bool,
    source: Option<Source>,
    lines: Lines,
    places: Places,
    shape: Shape,
    /// The column that holds the ids.
    id: Option<IdColumn>,
    path: String,
    rows: u64,
    done: u64,
}

impl Walk {
    fn chunk(
        &mut self,
        chunk: &ItemChunk,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ControlFlow<()>, EngineError> {
        for (ordinal, offset, item) in chunk.iter() {
            if self.done >= self.rows {
                return Ok(ControlFlow::Break(()));
            }
            let leader = if let ItemRec::Follower { leader } = item { *leader } else { ordinal };
            self.item(ordinal, leader, offset, item)?;
            self.done += 1;
            if self.done.is_multiple_of(ROWS_PER_NEWS) {
                progress(self.done, self.rows);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn item(&mut self, ordinal: u32, leader: u32, offset: u64, item: &ItemRec) -> Result<(), EngineError> {
        let Self { writer, source, lines, places, shape, id, path, sample, alone, .. } = self;
        let number = u64::from(ordinal) + 1;
        let data = match source {
            None => None,
            Some(source) => match source.next()? {
                Some(row) if row.record == u64::from(ordinal) => Some(row.data),
                _ => return Err(EngineError::SourceChanged { path: path.clone() }),
            },
        };
        let landed = places.get(leader);
        let picked = matches!(landed, Landed::Line { good: true, .. }) && sample.picks(ordinal);
        if *alone && !picked {
            return Ok(());
        }
        let id = match &data {
            _ if !writer.wants_id() => None,
            Some(data) => Some(id_of_row(data, *shape, id.as_ref(), number)),
            // Followers have no sealed line; the source alone knows their ids.
            None if item.is_empty() => None,
            None => Some(Cow::Owned(SealedHead::read(lines.request(offset)?)?.custom_id.to_string())),
        };
        let follows = leader != ordinal;
        // A follower costs nothing.
        let own = |cost: UsdNanos| if follows { UsdNanos::ZERO } else { cost };
        let line;
        let outcome = match landed {
            Landed::Open => Outcome::Open,
            Landed::NoLine(class) => Outcome::NoLine { class, cost: own(places.extra(leader)) },
            Landed::Line { place, good } => {
                line = lines.parse(place)?;
                let answer = if good && !follows { cost_of(&line.cost_usd)? } else { UsdNanos::ZERO };
                Outcome::Line { line: &line, cost: own(places.extra(leader)).saturating_add(answer) }
            }
        };
        writer.write(number, Head { data: data.as_ref(), id: id.as_deref() }, outcome, picked)
    }
}

/// The cost in a result line.
pub(crate) fn cost_of(text: &str) -> Result<UsdNanos, EngineError> {
    UsdNanos::parse(text)
        .map_err(|error| EngineError::Internal(format!("the cost in a stored result: {error}")))
}

/// A file of stored results that does not hold what the state says.
pub(crate) fn damaged(path: &Path, why: String) -> EngineError {
    EngineError::Io {
        what: "could not read a stored line of",
        path: path.display().to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, why),
    }
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("rows", &self.rows).field("done", &self.done).finish_non_exhaustive()
    }
}
