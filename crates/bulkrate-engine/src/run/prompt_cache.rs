//! For how long requests are marked for the provider's prompt cache: as the job wishes, or as long as what lands shows that it pays.
//!
//! Invariants
//! - What is decided follows from the outcomes in the order of their commits, so a start finds the same marks again.
//! - A mark is a matter of how a request goes out: the sealed line and its key know nothing of it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::{Case, Marks, Meter, Shared, Switched, Ttl, Why, decide, meter};
use bulkrate_core::request::Kind;
use bulkrate_store::{LogChunk, View};

use super::job::{Job, State};
use super::recover::sender_of;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::prepare::{Checkpoint, Shape};
use crate::spec::{JobSpec, RequestSpec};

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

/// For how long a job's requests to a model are marked at first, or why they are not.
pub(crate) fn first_mark(
    spec: &JobSpec,
    source: &Checkpoint,
    found: &Deployment,
    lane: Lane,
) -> Result<Ttl, Why> {
    let request = &spec.request;
    let own = request.provider_kwargs.as_deref().is_some_and(|own| own.contains("\"cache_control\""));
    let marks = marks_of(found, lane).filter(|_| request.kind == Kind::Chat);
    let shared = match source.shape {
        Shape::Table => Shared::Tokens(bulkrate_core::price::estimate::prompt_tokens(static_bytes(request))),
        _ => Shared::Unknown,
    };
    let rates = found.row.rates(lane).map(|rates| &rates.base);
    let stats = &source.stats;
    let rows = stats.records.saturating_sub(stats.duplicates).min(spec.source.limit.unwrap_or(u64::MAX));
    let requests = rows.div_ceil(u64::from(request.bundle.unwrap_or(1).max(1)));
    decide(&Case { wish: spec.run.prompt_cache, own, marks, rates, shared, requests })
}

/// The meters of a job's deployments, before anything has landed.
pub(crate) fn meters(
    spec: &JobSpec,
    source: &Checkpoint,
    deployments: &[Deployment],
    lane: Lane,
) -> Vec<Meter> {
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
        meter(wish, mark, found.row.rates(lane), marks, lane == Lane::Batch)
    };
    deployments.iter().map(of).collect()
}

/// Learns again what earlier runs of a job have learned.
pub(crate) fn replay(
    view: &dyn View,
    job: u32,
    deployments: &[Deployment],
    meters: &mut [Meter],
) -> Result<(), EngineError> {
    if !meters.iter().any(Meter::learns) {
        return Ok(());
    }
    let mut senders: HashMap<Sub, Option<usize>> = HashMap::new();
    if deployments.len() > 1 {
        let submissions = view.submissions(job)?;
        senders.extend(submissions.iter().map(|sent| (sent.sub, sender_of(deployments, sent))));
    }
    let mut out = 0_u64;
    // Who was asked of what is out at a moment of the log: as many as were out then.
    let mut asked: HashMap<Ordinal, usize> = HashMap::new();
    view.scan_log(job, &mut |chunk| {
        match chunk {
            LogChunk::Leases { sub, lane, leases, .. } => {
                out += leases.len() as u64;
                let place =
                    if deployments.len() > 1 { senders.get(&sub).copied().flatten() } else { Some(0) };
                let Some(place) = place else { return ControlFlow::Continue(()) };
                if lane == Lane::Batch {
                    meters[place].batch(leases.len() as u64);
                }
                if deployments.len() > 1 {
                    asked.extend(leases.iter().map(|lease| (lease.ordinal, place)));
                }
            }
            LogChunk::Outcomes(outcomes) => {
                for outcome in outcomes.iter().filter(|outcome| outcome.via.is_attempt()) {
                    out = out.saturating_sub(1);
                    let place = if deployments.len() > 1 { asked.remove(&outcome.ordinal) } else { Some(0) };
                    if let Some(meter) = place.and_then(|place| meters.get_mut(place)) {
                        meter.note(&outcome.usage, out);
                    }
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
        self.prompt_cache.get(deployment).and_then(Meter::mark)
    }
}

impl Job {
    /// Says once that requests are marked otherwise from now on.
    pub(super) fn tell_mark(&self, deployment: usize, switched: &Switched) {
        let found = &self.deployments[deployment].pinned;
        let percent = |share: f64| share * 100.0;
        let then = match switched.to {
            Some(ttl) => format!("what is not sent yet is marked for {}", ttl.words()),
            None => "what is not sent yet is not marked".to_owned(),
        };
        self.alert(
            "prompt-cache-switched",
            &format!(
                "of what was marked for {} in {} answers of `{found}`, {:.1} % was found again, and it pays from {:.1} % on: {then}",
                switched.from.words(),
                switched.answers,
                percent(switched.hits),
                percent(switched.pays_from),
            ),
        );
    }
}
