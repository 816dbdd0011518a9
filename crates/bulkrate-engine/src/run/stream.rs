//! `--stream`: the row of an item as soon as its outcome is durable.
//!
//! The output begins anew with each run: what is finished already is written first, from the stored outcomes, then rows
//! follow as they land. So a crash can neither lose nor repeat a row.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bulkrate_core::ids::Ordinal;
use bulkrate_store::{Fate, ItemRec, JobRow, Outcome, View};

use super::job::Job;
use crate::EngineError;
use crate::deliver::{IdColumn, Lines, SealedHead, StreamSink, id_of_row, reopen};
use crate::paths::{JobDir, io_error, open_file};
use crate::prepare::{Checkpoint, Shape};
use crate::spec::JobSpec;

/// An open output, and what its rows are made from.
#[derive(Debug)]
pub(crate) struct Stream {
    sink: StreamSink,
    lines: Lines,
    segments: HashSet<u32>,
    ids: Ids,
    /// Items at and beyond this have no row (`--limit`).
    end: Ordinal,
    dirty: bool,
}

/// Bytes of `Ids::texts`.
type Range = (usize, usize);

/// The ids of items that have no sealed request of their own, which only the source knows.
#[derive(Debug, Default)]
struct Ids {
    /// Whether ids are the items' numbers.
    numbers: bool,
    /// Leader (for an invalid item: itself), item, where its id begins and ends in `texts`; sorted.
    places: Vec<(Ordinal, Ordinal, Range)>,
    texts: String,
}

impl Stream {
    /// Opens the output and writes what is finished already.
    pub(crate) fn open(
        view: &dyn View,
        row: &JobRow,
        spec: &JobSpec,
        checkpoint: &Checkpoint,
        dir: &JobDir,
    ) -> Result<Self, EngineError> {
        let ids = Ids::read(view, row, spec, checkpoint, dir)?;
        let sink = StreamSink::open(spec, checkpoint.shape, claim(spec, dir)?, None)?;
        let end =
            spec.source.limit.map_or(Ordinal::MAX, |limit| Ordinal::try_from(limit).unwrap_or(Ordinal::MAX));
        let mut stream =
            Self { sink, lines: Lines::new(dir, &[]), segments: HashSet::from([0]), ids, end, dirty: false };
        stream.again(view, row.no, dir)?;
        Ok(stream)
    }

    /// Rows of earlier runs. What was revived counts only as it ended since.
    fn again(&mut self, view: &dyn View, job: u32, dir: &JobDir) -> Result<(), EngineError> {
        let mut revivals: HashMap<Ordinal, u32> = HashMap::new();
        view.scan_outcomes(job, &mut |outcomes| {
            for outcome in outcomes.iter().filter(|outcome| outcome.fate == Fate::Revive) {
                *revivals.entry(outcome.ordinal).or_default() += 1;
            }
            ControlFlow::Continue(())
        })?;
        let mut result = Ok(());
        view.scan_outcomes(job, &mut |outcomes| {
            for outcome in outcomes {
                if outcome.fate == Fate::Revive
                    && let Some(left) = revivals.get_mut(&outcome.ordinal)
                {
                    *left -= 1;
                }
                if outcome.fate == Fate::Final && revivals.get(&outcome.ordinal).is_none_or(|left| *left == 0)
                {
                    result = self.row(view, job, dir, outcome);
                }
                if result.is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        result?;
        self.flush()
    }

    /// The row of an item that ended, and those of its followers.
    fn row(&mut self, view: &dyn View, job: u32, dir: &JobDir, outcome: &Outcome) -> Result<(), EngineError> {
        let ordinal = outcome.ordinal;
        if ordinal >= self.end || outcome.place.is_none() {
            return Ok(());
        }
        if self.segments.insert(outcome.place.segment) {
            let submissions = view.submissions(job)?;
            self.segments.extend(submissions.iter().map(|submission| submission.segment));
            self.lines = Lines::new(dir, &submissions);
        }
        let own = self.ids.own(ordinal);
        let id = match own {
            Some(id) => id,
            None => sealed_id(view, job, &mut self.lines, ordinal)?,
        };
        let line = self.lines.parse(outcome.place)?;
        self.sink.row(ordinal, &id, &line, false)?;
        for (item, id) in self.ids.followers(ordinal).filter(|(item, _)| *item < self.end) {
            self.sink.row(item, &id, &line, true)?;
        }
        self.dirty = true;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        if std::mem::take(&mut self.dirty) {
            self.sink.flush()?;
        }
        Ok(())
    }

    /// Once nothing more lands.
    pub(crate) fn finish(self) -> Result<(), EngineError> {
        self.sink.finish().map(drop)
    }
}

impl Job {
    /// Outcomes that will have a row once they are durable; none where nothing is streamed.
    pub(crate) fn to_stream(&self, outcomes: &[Outcome]) -> Vec<Outcome> {
        if self.stream.borrow().is_none() {
            return Vec::new();
        }
        outcomes.iter().filter(|outcome| outcome.fate == Fate::Final).copied().collect()
    }

    /// Writes the rows of outcomes that are durable now. An output that cannot be written ends the run once what is in flight has
    /// landed: that is paid for, and its rows are written by the next run.
    pub(crate) fn stream(&self, outcomes: &[Outcome]) {
        let mut open = self.stream.borrow_mut();
        let Some(stream) = open.as_mut().filter(|_| !outcomes.is_empty()) else { return };
        let rows =
            outcomes.iter().try_for_each(|outcome| stream.row(&*self.reader, self.no, &self.dir, outcome));
        if let Err(error) = rows.and_then(|()| stream.flush()) {
            *open = None;
            self.state.borrow_mut().unwritable.get_or_insert(error);
            self.changed.notify_waiters();
        }
    }
}

impl Ids {
    fn read(
        view: &dyn View,
        row: &JobRow,
        spec: &JobSpec,
        checkpoint: &Checkpoint,
        dir: &JobDir,
    ) -> Result<Self, EngineError> {
        let stats = &checkpoint.stats;
        let mut ids =
            Self { numbers: checkpoint.shape == Shape::Table && spec.source.id.is_none(), ..Self::default() };
        if stats.duplicates + stats.invalid == 0 {
            return Ok(ids);
        }
        let column = IdColumn::of(spec.source.id.as_deref(), &checkpoint.columns);
        let mut source = if ids.numbers { None } else { Some(reopen(spec, row, dir, row.items)?) };
        let mut failure = Ok(());
        view.scan_items(row.no, 0, &mut |chunk| {
            failure = chunk.iter().try_for_each(|(ordinal, _, item)| {
                let leader = match item {
                    ItemRec::Leader { .. } => None,
                    ItemRec::Follower { leader } => Some(*leader),
                    ItemRec::Invalid => Some(ordinal),
                };
                let read = source.as_mut().map(bulkrate_io::Source::next).transpose()?.flatten();
                if let Some(leader) = leader {
                    let start = ids.texts.len();
                    if let Some(read) = read {
                        ids.texts.push_str(&id_of_row(
                            &read.data,
                            checkpoint.shape,
                            column.as_ref(),
                            u64::from(ordinal) + 1,
                        ));
                    }
                    ids.places.push((leader, ordinal, (start, ids.texts.len())));
                }
                Ok::<(), EngineError>(())
            });
            if failure.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failure?;
        ids.places.sort_unstable();
        Ok(ids)
    }

    /// The id of an item without a request, or of any where ids are numbers.
    fn own(&self, ordinal: Ordinal) -> Option<String> {
        if self.numbers {
            return Some((u64::from(ordinal) + 1).to_string());
        }
        self.of_leader(ordinal).find(|(_, item, _)| *item == ordinal).map(|(_, _, at)| self.text(*at))
    }

    fn followers(&self, leader: Ordinal) -> impl Iterator<Item = (Ordinal, String)> {
        self.of_leader(leader).filter(move |(_, item, _)| *item != leader).map(|(_, item, at)| {
            let id = if self.numbers { (u64::from(*item) + 1).to_string() } else { self.text(*at) };
            (*item, id)
        })
    }

    fn of_leader(&self, leader: Ordinal) -> impl Iterator<Item = &(Ordinal, Ordinal, Range)> {
        let first = self.places.partition_point(|(known, ..)| *known < leader);
        self.places[first..].iter().take_while(move |(known, ..)| *known == leader)
    }

    fn text(&self, (start, end): Range) -> String {
        self.texts[start..end].to_owned()
    }
}

/// The id in an item's sealed request.
fn sealed_id(view: &dyn View, job: u32, lines: &mut Lines, ordinal: Ordinal) -> Result<String, EngineError> {
    let chunk = view.item_chunk_of(job, ordinal)?;
    let found = chunk.and_then(|chunk| chunk.get(ordinal));
    let (offset, _) = found.ok_or_else(|| EngineError::Internal(format!("item {ordinal} is unknown")))?;
    Ok(SealedHead::read(lines.request(offset)?)?.custom_id.to_string())
}

/// Names the outputs that this job has begun, one a line, so that a later run may write them anew.
fn mark(dir: &JobDir) -> PathBuf {
    dir.0.join("outputs")
}

fn full(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Whether the job has claimed its output path before.
pub(crate) fn owns(spec: &JobSpec, dir: &JobDir) -> bool {
    let Some(path) = &spec.sink.path else { return false };
    let (known, path_text) = (std::fs::read_to_string(mark(dir)).unwrap_or_default(), full(path));
    known.lines().any(|known| known == path_text)
}

/// Whether the file at the job's output path is this job's own. A free path is noted as its own before the file
/// appears, so that a crash does not make it a foreign one.
pub(crate) fn claim(spec: &JobSpec, dir: &JobDir) -> Result<bool, EngineError> {
    let Some(path) = spec.sink.path.as_deref().filter(|path| path.as_os_str() != "-") else {
        return Ok(false);
    };
    if owns(spec, dir) {
        return Ok(true);
    }
    let (mark, path_text) = (mark(dir), full(path));
    let mut known = std::fs::read_to_string(&mark).unwrap_or_default();
    if path.is_file() && !spec.sink.force {
        return Ok(false);
    }
    known.push_str(&path_text);
    known.push('\n');
    let written = open_file(&mark, true)?.write_all(known.as_bytes());
    written.map_err(io_error("could not write", &mark))?;
    Ok(false)
}
