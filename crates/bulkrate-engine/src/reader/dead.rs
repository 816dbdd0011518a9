//! Dead letters: every item that failed for good, with each attempt and its evidence.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_store::fold::{ItemStates, State};
use bulkrate_store::{Fate, ItemChunk, ItemRec, JobRow, Outcome, View};

use crate::EngineError;
use crate::deliver::{Lines, SealedHead};
use crate::paths::JobDir;
use crate::result_line::ResultLine;
use crate::view::{AttemptLine, DeadLetter};

/// Dead items whose outcomes are held at once.
const HELD_MAX: usize = 65_536;
const EVIDENCE_BYTES_MAX: usize = 4_096;

/// Hands over the dead letters of a job in item order, until `each` breaks.
pub(super) fn dead_each(
    view: &dyn View,
    dir: &JobDir,
    job: &JobRow,
    each: &mut dyn FnMut(DeadLetter) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let states = ItemStates::load(view, job.no)?;
    let is_dead = |state| matches!(state, State::Dead | State::Invalid);
    let dead: Vec<Ordinal> =
        states.iter().filter(|(_, item)| is_dead(item.state)).map(|(ordinal, _)| ordinal).collect();
    drop(states);
    let followers = followers(view, job, &dead)?;
    let mut lines = Lines::new(dir, &view.submissions(job.no)?);
    for part in dead.chunks(HELD_MAX) {
        let histories = histories(view, job, part)?;
        let mut post = Post { job, lines: &mut lines, followers: &followers, histories, waiting: part, each };
        if post.deliver(view)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn followers(view: &dyn View, job: &JobRow, dead: &[Ordinal]) -> Result<HashMap<Ordinal, u64>, EngineError> {
    let mut counts = HashMap::new();
    if dead.is_empty() {
        return Ok(counts);
    }
    view.scan_items(job.no, 0, &mut |chunk| {
        for item in &chunk.items {
            if let ItemRec::Follower { leader } = item
                && dead.binary_search(leader).is_ok()
            {
                *counts.entry(*leader).or_default() += 1;
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(counts)
}

/// The outcomes of some items since each was last revived.
pub(super) fn histories(
    view: &dyn View,
    job: &JobRow,
    of: &[Ordinal],
) -> Result<HashMap<Ordinal, Vec<Outcome>>, EngineError> {
    let wanted: HashSet<Ordinal> = of.iter().copied().collect();
    let mut histories: HashMap<Ordinal, Vec<Outcome>> = HashMap::with_capacity(of.len());
    view.scan_outcomes(job.no, &mut |outcomes| {
        for outcome in outcomes.iter().filter(|outcome| wanted.contains(&outcome.ordinal)) {
            let history = histories.entry(outcome.ordinal).or_default();
            if outcome.fate == Fate::Revive {
                history.clear();
            } else {
                history.push(*outcome);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(histories)
}

/// Makes the letters of one part.
struct Post<'p> {
    job: &'p JobRow,
    lines: &'p mut Lines,
    followers: &'p HashMap<Ordinal, u64>,
    histories: HashMap<Ordinal, Vec<Outcome>>,
    /// Ordinals whose letter is still to come, ascending.
    waiting: &'p [Ordinal],
    each: &'p mut dyn FnMut(DeadLetter) -> ControlFlow<()>,
}

impl Post<'_> {
    fn deliver(&mut self, view: &dyn View) -> Result<ControlFlow<()>, EngineError> {
        let Some(first) = self.waiting.first().copied() else { return Ok(ControlFlow::Continue(())) };
        let mut end = Ok(ControlFlow::Continue(()));
        view.scan_items(self.job.no, first, &mut |chunk| {
            end = self.chunk(chunk);
            match &end {
                Ok(ControlFlow::Continue(())) if !self.waiting.is_empty() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })?;
        end
    }

    fn chunk(&mut self, chunk: &ItemChunk) -> Result<ControlFlow<()>, EngineError> {
        for (ordinal, offset, item) in chunk.iter() {
            let Some((next, rest)) = self.waiting.split_first() else { break };
            if *next != ordinal {
                continue;
            }
            self.waiting = rest;
            let letter = self.letter(ordinal, offset, item)?;
            if (self.each)(letter).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn letter(&mut self, ordinal: Ordinal, offset: u64, item: &ItemRec) -> Result<DeadLetter, EngineError> {
        let number = u64::from(ordinal) + 1;
        // A record that could not be read has no id.
        let item_id = match item {
            ItemRec::Leader { .. } => SealedHead::read(self.lines.request(offset)?)?.custom_id.to_string(),
            ItemRec::Follower { .. } | ItemRec::Invalid => number.to_string(),
        };
        let history = self.histories.remove(&ordinal).unwrap_or_default();
        let last = history.iter().rfind(|outcome| outcome.fate == Fate::Final).copied();
        let class = last.and_then(|outcome| outcome.class);
        let (class, meaning) =
            class.map_or(("unknown", ""), |class: FailureClass| (class.name(), class.meaning()));
        let mut message = meaning.to_owned();
        let mut attempts = Vec::with_capacity(history.len());
        for outcome in &history {
            let evidence = evidence(self.lines, outcome)?;
            if Some(outcome) == last.as_ref()
                && let Some(failure) = ResultLine::parse(evidence.as_bytes()).ok().and_then(|line| line.error)
            {
                message = failure.message.to_string();
            }
            attempts.push(attempt_line(outcome, &evidence));
        }
        let replay = match item {
            ItemRec::Invalid => {
                format!("mend record {number} of {}, then run the job again", self.job.source)
            }
            _ => format!("bulkrate retry {}", self.job.id),
        };
        let followers = self.followers.get(&ordinal).copied().unwrap_or(0);
        Ok(DeadLetter {
            item: number,
            item_id,
            class: class.to_owned(),
            message,
            attempts,
            followers,
            replay,
        })
    }
}

/// A stored line as people see it: its item is counted from 1 there too.
pub(super) fn from_one(line: &str) -> Cow<'_, str> {
    const HEAD: &str = "{\"item\":";
    let Some(rest) = line.strip_prefix(HEAD) else { return line.into() };
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    match rest[..end].parse::<u64>() {
        Ok(ordinal) => format!("{HEAD}{}{}", ordinal.saturating_add(1), &rest[end..]).into(),
        Err(_) => line.into(),
    }
}

fn attempt_line(outcome: &Outcome, evidence: &str) -> AttemptLine {
    let mut evidence = from_one(evidence).into_owned();
    evidence.truncate(evidence.floor_char_boundary(EVIDENCE_BYTES_MAX));
    let class = outcome.class.map_or("succeeded", FailureClass::name).to_owned();
    AttemptLine {
        attempt: outcome.attempt,
        lane: outcome.via.name().to_owned(),
        class,
        cost: outcome.cost,
        evidence,
    }
}

/// The whole stored line; empty where none was written.
pub(super) fn evidence(lines: &mut Lines, outcome: &Outcome) -> Result<String, EngineError> {
    if outcome.place.is_none() {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(lines.line(outcome.place)?).into_owned())
}
