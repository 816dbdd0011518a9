//! What a twin is billed for, and the ledger's entries about it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::rc::Rc;

use bulkrate_core::answer::Reading;
use bulkrate_core::ids::WireId;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::submission::{Phase, RemoteBatch};
use bulkrate_provider::BatchApi;
use bulkrate_store::{LedgerEntry, LedgerKind, Submission};

use super::why;
use crate::EngineError;
use crate::lane::collect::read_line;
use crate::lane::fetch::{Fetched, fetch, longest, named};
use crate::paths::io_error;
use crate::run::heaps::{Heaps, Of, booked, count, heaps_of};
use crate::run::job::Job;
use crate::run::land::Landing;
use crate::run::ready::Ready;
use crate::run::recover;

/// What a twin is billed for.
pub(super) struct Bill {
    /// By item: what its answer cost; `None` where no line tells.
    costs: Vec<Option<UsdNanos>>,
    /// Items without a line that the provider says it answered: it counts requests, of which each may hold several.
    silent: u64,
}

/// Reads what a twin left. `None`: its files could not be had in this run.
pub(super) async fn bill(
    job: &Rc<Job>,
    api: &dyn BatchApi,
    row: &Submission,
    items: &[Ready],
    remote: &RemoteBatch,
    place: usize,
) -> Result<Option<Bill>, EngineError> {
    let mut bill = Bill { costs: vec![None; items.len()], silent: 0 };
    let mut answered = 0;
    for (file, name) in [(&remote.output_file, "output"), (&remote.error_file, "errors")] {
        let Some(file) = named(file.as_deref()) else { continue };
        let path = job.dir.batch(row.sub).0.join(format!("twin-{place}-{name}.jsonl"));
        match fetch(job, (api, &row.account), file, &path, true, longest(items)).await? {
            Fetched::Whole => answered += read(job, api, row, items, &path, &mut bill.costs)?,
            Fetched::Missing => {}
            Fetched::Refused => return Ok(None),
        }
    }
    // A batch that completed and counts nothing tells nothing: then every item may have been answered. So it is with one that was
    // cancelled and left files, and with any where what was cancelled may have run.
    let has_files =
        [&remote.output_file, &remote.error_file].into_iter().any(|file| named(file.as_deref()).is_some());
    let ended = matches!(remote.phase, Phase::Completed | Phase::Expired | Phase::Cancelled);
    let uncounted = remote.counts.total == 0 && (remote.phase != Phase::Cancelled || has_files);
    let told = if ended && (uncounted || api.facts().cancels_late) {
        items.len() as u64
    } else {
        remote.counts.completed
    };
    // Answers that may be the other batch's say nothing of this one: its counts do.
    if shares_place(row, remote) && (job.spec.run.keep_remote || answered > told) {
        (bill.costs, answered) = (vec![None; items.len()], 0);
    }
    let each = u64::from(job.spec.request.bundle.unwrap_or(1));
    bill.silent = told.saturating_sub(answered).saturating_mul(each);
    Ok(Some(bill))
}

/// Whether what a twin has written lies where the batch's own results are or were: jobs of one create write below one place, and this one
/// does not say which folder there is its.
pub(super) fn shares_place(row: &Submission, remote: &RemoteBatch) -> bool {
    let (own, place) = (named(row.remote_output.as_deref()), named(remote.output_file.as_deref()));
    let Some((own, place)) = own.zip(place) else { return false };
    let rest = own.strip_prefix(place.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Prices the lines of one file; how many answers there were.
fn read(
    job: &Rc<Job>,
    api: &dyn BatchApi,
    row: &Submission,
    items: &[Ready],
    path: &Path,
    costs: &mut [Option<UsdNanos>],
) -> Result<u64, EngineError> {
    let mut reader =
        BufReader::with_capacity(1 << 18, File::open(path).map_err(io_error("could not open", path))?);
    let (mut line, mut answers) = (Vec::new(), 0);
    loop {
        line.clear();
        if read_line(&mut reader, &mut line).map_err(io_error("could not read", path))? == 0 {
            return Ok(answers);
        }
        let kind = recover::kind_of(row);
        let Ok(found) = api.read_line(kind, line.trim_ascii()) else { continue };
        let Some(id) = WireId::parse(&found.custom_id).filter(|id| id.sub == row.sub) else { continue };
        let places = id.places();
        let Some(asked) = items.get(places.clone()).filter(|_| costs[id.seq as usize].is_none()) else {
            continue;
        };
        if let Reading::Answer(answer) = &found.reading {
            answers += 1;
            let landing = |ready| Landing { ready, lane: Lane::Batch, sub: Some(row.sub), group: None };
            let members: Vec<Landing<'_>> = asked.iter().map(landing).collect();
            for (place, cost) in places.zip(job.costs_of(&members, answer)) {
                costs[place] = Some(cost);
            }
        } else {
            costs[places].fill(Some(UsdNanos::ZERO));
        }
    }
}

impl Bill {
    /// The doubt ends as far as lines tell, and what they cost was paid twice. A doubt that the operator has decided in
    /// the meantime stays decided.
    pub(super) fn entries(
        &self,
        job: &Rc<Job>,
        row: &Submission,
        twin: &str,
        items: &[Ready],
    ) -> Result<Vec<LedgerEntry>, EngineError> {
        let stand = booked(&*job.reader, job.no, row.sub)?;
        let mut paid = Heaps::new();
        for (ready, cost) in items.iter().zip(&self.costs) {
            let heap = paid.entry(Of::item(job, ready)).or_default();
            if let Some(cost) = cost.filter(|cost| *cost > UsdNanos::ZERO) {
                *heap = (heap.0 + 1, heap.1 + cost);
            }
        }
        let mut kept: BTreeMap<Of, UsdNanos> = BTreeMap::new();
        for place in self.unsure(items) {
            *kept.entry(Of::item(job, &items[place])).or_default() += items[place].bound;
        }
        let entry = |kind, of: &Of, heap| of.entry(job, kind, row.sub, heap, why(twin));
        let mut entries = Vec::new();
        for (of, (count, bound)) in heaps_of(job, items) {
            let Some((_, standing)) = stand.get(&of) else { continue };
            let ends = (bound - kept.get(&of).copied().unwrap_or_default()).min(*standing);
            entries.push(entry(LedgerKind::DoubtCleared, &of, (count, ends)));
            entries.push(entry(LedgerKind::Duplicate, &of, paid.remove(&of).unwrap_or_default()));
        }
        count(job, &entries);
        Ok(entries)
    }

    /// The dearest of the items without a line, as many as may have been answered.
    fn unsure(&self, items: &[Ready]) -> Vec<usize> {
        let mut places: Vec<usize> = (0..items.len()).filter(|place| self.costs[*place].is_none()).collect();
        places.sort_by_key(|place| std::cmp::Reverse(items[*place].bound));
        places.truncate(usize::try_from(self.silent).unwrap_or(usize::MAX));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::fixture::remote;
    use bulkrate_core::ids::Sub;
    use bulkrate_store::SubmissionState;

    #[test]
    fn a_place_above_the_batchs_own_results_is_shared_with_them() {
        for (own, place, shared) in [
            (Some("gs://b/in/out/p1"), Some("gs://b/in/out"), true),
            (Some("gs://b/in/out/p1"), Some("gs://b/in/out/"), true),
            (Some("gs://b/in/out"), Some("gs://b/in/out"), true),
            (Some("gs://b/in/out/p1"), Some("gs://b/in/out/p2"), false),
            (Some("gs://b/in/out2"), Some("gs://b/in/out"), false),
            (Some("file-1"), Some("file-2"), false),
            (None, Some("gs://b/in/out"), false),
            (Some("gs://b/in/out"), None, false),
            (Some("gs://b/in/out"), Some(""), false),
        ] {
            let mut row = Submission::new(Sub::new(1, 1), 1, Lane::Batch, SubmissionState::Settled, 1);
            row.remote_output = own.map(str::to_owned);
            let output_file = place.map(str::to_owned);
            let remote = RemoteBatch { output_file, ..remote(Phase::Cancelled) };
            assert_eq!(shares_place(&row, &remote), shared, "{own:?} {place:?}");
        }
    }
}
