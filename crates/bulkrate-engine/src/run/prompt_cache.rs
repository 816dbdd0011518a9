//! For how long requests are marked for the provider's prompt cache: as the job wishes, or as long as what lands shows that it pays.
//!
//! Invariants
//! - What is decided follows from the outcomes in the order of their commits, so a start finds the same marks again.
//! - A mark is a matter of how a request goes out: the sealed line and its key know nothing of it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::order::Factor;
use bulkrate_core::price::bound::Writes;
use bulkrate_core::prompt_cache::{
    Case, Marks, Meter, Second, Shared, Switched, Ttl, Why, Wish, decide, meter,
};
use bulkrate_core::request::Kind;
use bulkrate_core::usage::Usage;
use bulkrate_store::fold::State as ItemState;
use bulkrate_store::{LogChunk, View};

use super::job::{Job, State};
use super::recover::sender_of;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::prepare::{Checkpoint, Shape};
use crate::spec::{JobSpec, RequestSpec, RunSpec};

/// Bytes that all requests of a table begin with: what stands before the user prompt.
pub(crate) fn static_bytes(request: &RequestSpec) -> u64 {
    let turns: usize = request.turns.iter().map(|turn| turn.content.len()).sum();
    (request.system.as_deref().map_or(0, str::len) + turns) as u64
}

/// What a deployment takes of marks. An hour without a listed price could not be reserved: it would bill above what is booked.
fn marks_of(found: &Deployment, lane: Lane) -> Option<Marks> {
    let priced = found.row.rates(Lane::Sync).is_none_or(|rates| !rates.base.cache_write_1h.derived);
    let marks = found.account.api.wire().marks(lane, &found.model)?;
    Some(Marks { hour: marks.hour && priced, ..marks })
}

/// What a job may set of marks at a deployment: where its own stand none is added.
pub(crate) fn marks_taken(request: &RequestSpec, found: &Deployment, lane: Lane) -> Option<Marks> {
    let marks = marks_of(found, lane).filter(|_| request.kind == Kind::Chat)?;
    (!has_own(request, marks)).then_some(marks)
}

/// Whether the caller's own fields mark something.
fn has_own(request: &RequestSpec, marks: Marks) -> bool {
    let word = format!("\"{}\"", marks.word);
    request.provider_kwargs.as_deref().is_some_and(|own| own.contains(&word))
}

/// What calls of a deployment keep of what only some rows share, and at which prices; `None`: that is not marked there.
pub(crate) fn second_mark(
    request: &RequestSpec,
    run: &RunSpec,
    found: &Deployment,
) -> Option<(Marks, Factor)> {
    if run.prompt_cache == Wish::Off {
        return None;
    }
    let marks = marks_taken(request, found, Lane::Sync)?;
    Some((marks, Factor::of(&found.row.rates(Lane::Sync)?.base, Writes::Short)?))
}

/// For how long a job's requests to a model are marked at first, or why they are not.
pub(crate) fn first_mark(
    spec: &JobSpec,
    source: &Checkpoint,
    found: &Deployment,
    lane: Lane,
) -> Result<Ttl, Why> {
    let request = &spec.request;
    let marks = marks_of(found, lane).filter(|_| request.kind == Kind::Chat);
    let own = marks.is_some_and(|marks| has_own(request, marks));
    let shared = match source.shape {
        Shape::Table => Shared::Tokens(bulkrate_core::price::estimate::prompt_tokens(static_bytes(request))),
        _ => Shared::Unknown,
    };
    let rates = found.row.rates(lane).map(|rates| &rates.base);
    let stats = &source.stats;
    let rows = stats.records.saturating_sub(stats.duplicates).min(spec.source.limit.unwrap_or(u64::MAX));
    decide(&Case { wish: spec.run.prompt_cache, own, marks, rates, shared, requests: rows })
}

/// The marks of one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub meter: Meter,
    /// That behind what some rows share.
    pub second: Second,
    /// Items that were out when the mark was changed, a bit each: what comes of those attempts says nothing of it. Empty until then.
    late: Vec<u64>,
}

impl Marked {
    pub(crate) fn new(meter: Meter) -> Self {
        Self { meter, second: Second::new(None), late: Vec::new() }
    }

    fn learns(&self) -> bool {
        self.meter.learns() || self.second.is_set()
    }

    /// Learns from an answer to an item of this deployment.
    fn note(&mut self, ordinal: Ordinal, usage: &Usage) -> Changed {
        let (usage, second) = self.second.note(usage, self.meter.mark().is_some());
        Changed { first: if self.is_late(ordinal) { None } else { self.meter.note(&usage) }, second }
    }

    fn is_late(&self, ordinal: Ordinal) -> bool {
        self.late.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    /// An attempt of the item has ended: its next one goes out under the mark of then.
    fn ended(&mut self, ordinal: Ordinal) {
        if let Some(word) = self.late.get_mut(ordinal as usize / 64) {
            *word &= !(1 << (ordinal % 64));
        }
    }

    /// The mark was changed while these were out.
    fn switched(&mut self, out: impl Iterator<Item = Ordinal>) {
        self.late.clear();
        for ordinal in out {
            let word = ordinal as usize / 64;
            self.late.resize(self.late.len().max(word + 1), 0);
            self.late[word] |= 1 << (ordinal % 64);
        }
    }
}

/// Marks that an answer has changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub first: Option<Switched>,
    pub second: Option<Switched>,
}

/// The meters of a job's deployments, before anything has landed. `shares`: what some rows share is marked as well.
pub(crate) fn meters(
    spec: &JobSpec,
    source: &Checkpoint,
    deployments: &[Deployment],
    lane: Lane,
    shares: bool,
) -> Vec<Marked> {
    let of = |found: &Deployment| {
        let wish = spec.run.prompt_cache;
        let mark = match first_mark(spec, source, found, lane) {
            Ok(ttl) => Some(ttl),
            // Where the caller's own marks stand none is added; that they may be for an hour has to be known.
            Err(Why::Own) => wish.fixed(),
            Err(_) => None,
        };
        let marks = marks_of(found, lane);
        // Calls follow each other in seconds; the items of a batch may run an hour apart.
        let first = meter(wish, mark, found.row.rates(lane), marks, lane == Lane::Batch);
        let second = if shares { second_mark(&spec.request, &spec.run, found) } else { None };
        Marked { second: Second::new(second.map(|(_, factor)| factor)), ..Marked::new(first) }
    };
    deployments.iter().map(of).collect()
}

/// Learns from an answer of a deployment to an item. `out`: the items that are out, if the mark is changed by it.
fn learn(
    marked: &mut [Marked],
    deployment: usize,
    ordinal: Ordinal,
    usage: &Usage,
    out: impl Iterator<Item = Ordinal>,
) -> Changed {
    let Some(one) = marked.get_mut(deployment) else { return Changed::default() };
    let changed = one.note(ordinal, usage);
    marked.iter_mut().for_each(|one| one.ended(ordinal));
    if changed.first.is_some() {
        marked[deployment].switched(out);
    }
    changed
}

/// Learns again what earlier runs of a job have learned.
pub(crate) fn replay(
    view: &dyn View,
    job: u32,
    deployments: &[Deployment],
    marked: &mut [Marked],
) -> Result<(), EngineError> {
    if !marked.iter().any(Marked::learns) {
        return Ok(());
    }
    let submissions = view.submissions(job)?;
    let senders: HashMap<Sub, Option<usize>> =
        submissions.iter().map(|sent| (sent.sub, sender_of(deployments, sent))).collect();
    drop(submissions);
    // Who was asked of what is out at a moment of the log: as many as were out then.
    let mut asked: HashMap<Ordinal, usize> = HashMap::new();
    view.scan_log(job, &mut |chunk| {
        match chunk {
            LogChunk::Leases { state, .. } if state.voids_leases() => {}
            LogChunk::Leases { sub, lane, leases, .. } => {
                let Some(place) = senders.get(&sub).copied().flatten() else {
                    return ControlFlow::Continue(());
                };
                if lane == Lane::Batch {
                    marked[place].meter.batch(leases.len() as u64);
                }
                asked.extend(leases.iter().map(|lease| (lease.ordinal, place)));
            }
            LogChunk::Outcomes(outcomes) => {
                for outcome in outcomes.iter().filter(|outcome| outcome.via.is_attempt()) {
                    let Some(place) = asked.remove(&outcome.ordinal) else { continue };
                    learn(marked, place, outcome.ordinal, &outcome.usage, asked.keys().copied());
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

impl State {
    /// For how long a request to a deployment is marked now.
    pub(crate) fn mark(&self, deployment: usize) -> Option<Ttl> {
        self.prompt_cache.get(deployment).and_then(|one| one.meter.mark())
    }

    /// Whether what some rows share is marked in calls to a deployment now.
    pub(crate) fn marks_shares(&self, deployment: usize) -> bool {
        self.prompt_cache.get(deployment).is_some_and(|one| one.second.is_set())
    }

    /// Learns from an answer that was booked.
    pub(super) fn note_mark(&mut self, deployment: usize, ordinal: Ordinal, usage: &Usage) -> Changed {
        let out = self.items.iter().filter(|(_, item)| item.state == ItemState::Leased);
        learn(&mut self.prompt_cache, deployment, ordinal, usage, out.map(|(ordinal, _)| ordinal))
    }
}

impl Job {
    /// Says once that requests are marked otherwise from now on.
    pub(super) fn tell_mark(&self, deployment: usize, changed: &Changed) {
        if let Some(switched) = &changed.first {
            let then = match switched.to {
                Some(ttl) => format!("what is not sent yet is marked for {}", ttl.words()),
                None => "what is not sent yet is not marked".to_owned(),
            };
            self.tell_switched(deployment, switched, "of what was", &then);
        }
        if let Some(switched) = &changed.second {
            let then = "what is not sent yet is not marked there";
            self.tell_switched(deployment, switched, "of what some rows share and was", then);
        }
    }

    fn tell_switched(&self, deployment: usize, switched: &Switched, what: &str, then: &str) {
        let found = &self.deployments[deployment].pinned;
        let percent = |share: f64| share * 100.0;
        self.alert(
            "prompt-cache-switched",
            &format!(
                "{what} marked for {} in {} answers of `{found}`, {:.1} % was found again, and it pays from {:.1} % on: {then}",
                switched.from.words(),
                switched.answers,
                percent(switched.hits),
                percent(switched.pays_from),
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_out_when_a_mark_changed_says_nothing_of_the_new_one() {
        let mut marked = Marked::new(Meter::fixed(None));
        assert!(!marked.is_late(7));
        marked.switched([3, 64, 129].into_iter());
        let late = |marked: &Marked| (0..300).filter(|item| marked.is_late(*item)).collect::<Vec<_>>();
        assert_eq!(late(&marked), [3, 64, 129]);
        // Only until its attempt has ended: the next one goes out under the new mark.
        marked.ended(64);
        marked.ended(5_000);
        assert_eq!(late(&marked), [3, 129]);
        marked.switched([1].into_iter());
        assert_eq!(late(&marked), [1]);
    }
}
