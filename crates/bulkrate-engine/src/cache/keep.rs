//! What a finished job adds to the response cache.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Fate, ItemRec, Outcome, Place, Via, View};

use super::Served;
use super::build::Builder;
use super::file::Entry;
use crate::EngineError;
use crate::deliver::Lines;
use crate::paths::{JobDir, io_error};

/// Items whose answers are held in memory at once, 6 MB; more are done in several passes over the outcomes.
const WINDOW: usize = 1 << 18;

/// Where the newest served snapshot of a pinned model is kept in the store.
pub(crate) fn snapshot_key(pinned: &str) -> String {
    format!("snapshot/{pinned}")
}

/// Served ids by number.
#[derive(Debug, Default)]
struct Models(Vec<String>);

impl Models {
    fn number(&mut self, model: &str) -> u16 {
        let place = self.0.iter().position(|known| known == model).unwrap_or_else(|| {
            self.0.push(model.to_owned());
            self.0.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }
}

/// What is known of a job's answers without reading them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers<'a> {
    pub items: usize,
    pub served: &'a Served,
    /// Models of its cascade that are asked before the one that the key names: only what has all of them behind it is
    /// answered by that.
    pub cheap: usize,
    /// The last of them is a judge, who is not asked of what has failed.
    pub judged: bool,
}

/// Writes the key file of a job's good answers to `path`; answers how many there are.
pub(crate) fn keep(
    reader: &dyn View,
    job: u32,
    id: &str,
    dir: &JobDir,
    answers: Answers<'_>,
    path: &Path,
) -> Result<u64, EngineError> {
    let Answers { items, served, cheap, judged } = answers;
    let mut builder = Builder::new(id);
    let mut models = Models::default();
    let only = served.only().map(|model| models.number(model));
    let uncached = crate::prepare::lists::read(&dir.uncached())?;
    let kept = |outcome: &&Outcome| is_good(outcome) && uncached.binary_search(&outcome.ordinal).is_err();
    let mut lines = None;
    let mut window = vec![None; items.min(WINDOW)];
    for first in (0..items).step_by(WINDOW) {
        window.fill(None);
        let mut steps: HashMap<Ordinal, usize> = HashMap::new();
        let mut failure = Ok(());
        reader.scan_outcomes(job, &mut |outcomes| {
            failure = outcomes.iter().try_for_each(|outcome| {
                if outcome.fate == Fate::Escalate {
                    let passed = judged && outcome.class != Some(FailureClass::NotAccepted);
                    *steps.entry(outcome.ordinal).or_default() += if passed { cheap } else { 1 };
                }
                let is_named = !outcome.via.is_attempt()
                    || cheap == 0
                    || steps.get(&outcome.ordinal).is_some_and(|steps| *steps >= cheap);
                if !kept(&outcome) || !is_named {
                    return Ok(());
                }
                let slot =
                    (outcome.ordinal as usize).checked_sub(first).and_then(|place| window.get_mut(place));
                let Some(slot @ None) = slot else { return Ok(()) };
                let model = match only.filter(|_| outcome.via.is_attempt()) {
                    Some(model) => model,
                    None => models.number(&served_by(reader, job, dir, &mut lines, outcome.place)?),
                };
                *slot = Some(Entry { place: outcome.place, naive: outcome.naive, model });
                Ok::<(), EngineError>(())
            });
            if failure.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failure?;
        add(reader, job, first, &window, &mut builder).map_err(|error| match error {
            Added::Engine(error) => error,
            Added::Io(error) => io_error("could not write", path)(error),
        })?;
    }
    if builder.is_empty() { Ok(0) } else { builder.finish(path, &models.0) }
}

enum Added {
    Engine(EngineError),
    Io(std::io::Error),
}

fn add(
    reader: &dyn View,
    job: u32,
    first: usize,
    window: &[Option<Entry>],
    builder: &mut Builder,
) -> Result<(), Added> {
    let from = Ordinal::try_from(first).unwrap_or(Ordinal::MAX);
    let mut failure = Ok(());
    reader
        .scan_items(job, from, &mut |chunk| {
            for (ordinal, _, item) in chunk.iter().filter(|(ordinal, ..)| *ordinal >= from) {
                let Some(slot) = window.get(ordinal as usize - first) else { return ControlFlow::Break(()) };
                if let (ItemRec::Leader { key, .. }, Some(entry)) = (item, slot) {
                    failure = builder.add(key, entry);
                }
                if failure.is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| Added::Engine(error.into()))?;
    failure.map_err(Added::Io)
}

fn is_good(outcome: &Outcome) -> bool {
    outcome.fate == Fate::Final
        && outcome.class.is_none()
        && !outcome.place.is_none()
        // What a filter says is no answer of the model, and what a similar item got none to this request.
        && !matches!(outcome.via, Via::Filter | Via::Semantic)
        && outcome.naive >= UsdNanos::ZERO
}

fn served_by(
    reader: &dyn View,
    job: u32,
    dir: &JobDir,
    lines: &mut Option<Lines>,
    place: Place,
) -> Result<String, EngineError> {
    let lines = match lines {
        Some(lines) => lines,
        None => lines.insert(Lines::new(dir, &reader.submissions(job)?)),
    };
    Ok(lines.parse(place)?.model.to_string())
}
