//! Another batch that the way to the provider made of one create (W1): it is cancelled, and what it is billed for is booked.
//!
//! Invariants
//! - Only a batch with the mark of this store and of the submission is cancelled (I14).
//! - From the commit that knows of a twin its bound is in doubt; that ends in the commit that books what it cost.
//! - Nothing of a twin lands: its items run elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::answer::Reading;
use bulkrate_core::ids::WireId;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::submission::{DENIALS_MAX, Marker, Phase, RemoteBatch, Stray, created_since_s, sweep};
use bulkrate_provider::{BatchApi, Provider};
use bulkrate_store::{LedgerEntry, LedgerKind, Submission, Tx, Urgency};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::collect::read_line;
use super::fetch::{Fetched, LATE_FILE_TRIES, awaits_files, fetch, longest, named};
use super::outage::{Redirects, halts};
use crate::EngineError;
use crate::event::Event;
use crate::paths::io_error;
use crate::run::heaps::{Heaps, Of, booked, count, heaps_of};
use crate::run::job::Job;
use crate::run::land::Landing;
use crate::run::ready::Ready;
use crate::run::recover;

/// A list that fails is asked for so often.
const LIST_TRIES: u32 = 3;

/// What a row keeps of a twin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Twin {
    pub batch: String,
    /// What it cost stands in the ledger, or its doubt does for good.
    #[serde(default)]
    pub booked: bool,
}

#[derive(Deserialize)]
struct Kept {
    #[serde(default)]
    twins: Vec<Twin>,
}

/// The twins that a row knows of.
pub(crate) fn kept(row: &Submission) -> Vec<Twin> {
    let evidence = row.evidence.as_deref().unwrap_or("{}");
    serde_json::from_str::<Kept>(evidence).map(|kept| kept.twins).unwrap_or_default()
}

/// Puts twins beside whatever else the row's evidence says.
pub(crate) fn keep(row: &mut Submission, twins: &[Twin]) {
    if twins.is_empty() {
        return;
    }
    let evidence = row.evidence.as_deref().unwrap_or("{}");
    let mut evidence: Map<String, Value> = serde_json::from_str(evidence).unwrap_or_default();
    evidence.insert("twins".to_owned(), serde_json::json!(twins));
    row.evidence = Some(Value::Object(evidence).to_string());
}

/// Writes a twin into the row. What comes back goes with the commit of the row: all that the twin may cost, as doubt.
pub(crate) fn note(
    job: &Rc<Job>,
    row: &mut Submission,
    batch: &str,
) -> Result<Vec<LedgerEntry>, EngineError> {
    let mut twins = kept(row);
    if twins.iter().any(|twin| twin.batch == batch) {
        return Ok(Vec::new());
    }
    twins.push(Twin { batch: batch.to_owned(), booked: false });
    keep(row, &twins);
    job.alert("batch-anomaly", &format!("batch {} was made twice by the way to the provider: {batch} runs as well; it is cancelled, and what it is billed for is booked as a duplicate", row.sub));
    let heaps = heaps_of(job, &recover::items(job, row)?);
    let entries: Vec<LedgerEntry> =
        heaps.iter().map(|(of, heap)| of.entry(job, LedgerKind::Doubt, row.sub, *heap, why(batch))).collect();
    count(job, &entries);
    Ok(entries)
}

/// Looks for twins that nobody knows of yet, and takes all that are known to their last ledger entry.
///
/// The rows of batches that are over belong to nobody else; the others are looked at again when they are.
pub(crate) async fn settle(job: &Rc<Job>) -> Result<(), EngineError> {
    let rows: Vec<Submission> =
        job.reader.submissions(job.no)?.into_iter().filter(|row| row.lane == Lane::Batch).collect();
    let strays = search(job, &rows).await;
    for mut row in rows.into_iter().filter(|row| row.state.is_terminal()) {
        let sub = row.sub.to_string();
        for (_, batch) in strays.iter().filter(|(of, _)| *of == sub) {
            let entries = note(job, &mut row, batch)?;
            commit(job, &row, entries).await?;
        }
        for place in 0..kept(&row).len() {
            if !kept(&row)[place].booked && !run(job, &mut row, place).await? {
                return Ok(()); // the next run goes on with it
            }
        }
    }
    Ok(())
}

/// Submission and batch of every twin in the lists of the accounts that sent something.
async fn search(job: &Rc<Job>, rows: &[Submission]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut asked: Vec<&str> = Vec::new();
    for account in job.deployments.iter().map(|deployment| &deployment.account) {
        let sent = rows.iter().filter(|row| row.account == account.id).filter_map(|row| row.sent_at_ms).min();
        let (Some(sent_ms), Some(api)) = (sent, account.api.batches()) else { continue };
        if asked.contains(&account.id.as_str()) {
            continue;
        }
        asked.push(&account.id);
        let since_s = created_since_s(u64::try_from(sent_ms).unwrap_or(0));
        let Some(listed) = list(job, api, since_s).await else { continue };
        for stray in sweep(&job.inst, &listed, &known(rows)) {
            if let Stray::Twin(remote, sub) = stray {
                found.push((sub.to_owned(), remote.id.clone()));
            }
        }
    }
    found
}

async fn list(job: &Rc<Job>, api: &dyn BatchApi, since_s: u64) -> Option<Vec<RemoteBatch>> {
    for again in 0..LIST_TRIES {
        match api.list_since(since_s).await {
            Ok(listed) => return Some(listed),
            Err(error) if again + 1 == LIST_TRIES || job.stop.is_detaching() => {
                job.tell(&Event::Note {
                    message: &format!("{error}; whether a create was delivered twice could not be looked up"),
                });
                return None;
            }
            Err(_) => pause(job, job.spec.run.poll_min_ms.min(10_000)).await,
        }
    }
    None
}

/// What a sweep takes for known. A batch of a submission that was proved unpaid is a twin too: its items run elsewhere.
fn known(rows: &[Submission]) -> HashMap<String, Option<String>> {
    let batch = |row: &Submission| {
        let none = row.state.voids_leases() && row.sent_at_ms.is_some();
        row.remote_batch.clone().or_else(|| none.then(String::new))
    };
    rows.iter().map(|row| (row.sub.to_string(), batch(row))).collect()
}

/// One twin from the cancel to the booking. False: it goes on in another run.
async fn run(job: &Rc<Job>, row: &mut Submission, place: usize) -> Result<bool, EngineError> {
    let twin = kept(row).swap_remove(place).batch;
    let sender = job.deployments.iter().find(|found| found.account.id == row.account);
    let Some(provider) = sender.map(|found| found.account.api.clone()) else { return Ok(true) };
    let Some(api) = provider.batches() else { return Ok(true) };
    let (remote, ended) = match end(job, api, row, &twin).await {
        Ended::Batch(remote) => (Some(remote), true),
        Ended::Gone => (None, true),
        Ended::Later => (None, false),
    };
    if !ended {
        return Ok(false);
    }
    let items = recover::items(job, row)?;
    let mut entries = Vec::new();
    if let Some(remote) = &remote {
        let Some(bill) = bill(job, &*provider, row, &items, remote, place).await? else { return Ok(false) };
        entries = bill.entries(job, row, &twin, &items)?;
    }
    let mut twins = kept(row);
    twins[place].booked = true;
    keep(row, &twins);
    commit(job, row, entries).await?;
    if let Some(remote) = remote.filter(|_| !job.spec.run.keep_remote) {
        for file in remote.output_file.iter().chain(&remote.error_file).filter(|file| !file.is_empty()) {
            drop(api.delete_file(file).await); // it expires there
        }
    }
    Ok(true)
}

/// A provider that does not answer does not keep the run from ending: the next one asks again.
const FAILURES_MAX: u32 = 20;

enum Ended {
    Batch(Box<RemoteBatch>),
    /// The provider denies it, or it is not ours: its doubt stands.
    Gone,
    /// Not in this run.
    Later,
}

/// Cancels a twin and waits until it has ended and shows its files.
async fn end(job: &Rc<Job>, api: &dyn BatchApi, row: &Submission, twin: &str) -> Ended {
    let pace = job.spec.run.pace();
    let (mut polls, mut denials, mut late, mut failures) = (0, 0, 0, 0);
    let redirects = Redirects::default();
    loop {
        if job.stop.is_detaching() {
            return Ended::Later;
        }
        match api.poll(twin).await {
            Ok(Some(remote)) if !is_of(remote.marker.as_ref(), job, row) => {
                job.alert("batch-anomaly", &format!("batch {twin} has no mark of submission {}; it is left alone, what it may cost stays in doubt", row.sub));
                return Ended::Gone;
            }
            Ok(Some(remote)) if !remote.phase.is_terminal() => {
                if remote.phase != Phase::Cancelling {
                    drop(api.cancel(twin).await); // asked again after the next poll
                }
            }
            Ok(Some(remote)) if is_late(&remote) && late < LATE_FILE_TRIES => late += 1,
            Ok(Some(remote)) => return Ended::Batch(Box::new(remote)),
            Ok(None) if denials >= DENIALS_MAX => {
                job.alert(
                    "batch-vanished",
                    &format!("batch {twin} is unknown to the provider; what it may have cost stays in doubt"),
                );
                return Ended::Gone;
            }
            Ok(None) => denials += 1,
            Err(error) if halts(job, &error, &redirects) || failures >= FAILURES_MAX => return Ended::Later,
            Err(_) => failures += 1,
        }
        pause(job, pace.wait_ms(polls, job.random())).await;
        polls = polls.saturating_add(1);
    }
}

fn is_of(marker: Option<&Marker>, job: &Job, row: &Submission) -> bool {
    marker.is_some_and(|marker| marker.inst == job.inst && marker.sub == row.sub.to_string())
}

fn is_late(remote: &RemoteBatch) -> bool {
    awaits_files(remote.counts, remote.output_file.as_deref(), remote.error_file.as_deref())
}

async fn pause(job: &Job, wait_ms: u64) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
        () = job.stop.changed() => {}
    }
}

/// What a twin is billed for.
struct Bill {
    /// By item: what its answer cost; `None` where no line tells.
    costs: Vec<Option<UsdNanos>>,
    /// Items without a line that the provider says it answered.
    silent: u64,
}

/// Reads what a twin left. `None`: its files could not be had in this run.
async fn bill(
    job: &Rc<Job>,
    provider: &dyn Provider,
    row: &Submission,
    items: &[Ready],
    remote: &RemoteBatch,
    place: usize,
) -> Result<Option<Bill>, EngineError> {
    let Some(api) = provider.batches() else { return Ok(None) };
    let mut bill = Bill { costs: vec![None; items.len()], silent: 0 };
    let mut answered = 0;
    for (file, name) in [(&remote.output_file, "output"), (&remote.error_file, "errors")] {
        let Some(file) = named(file.as_deref()) else { continue };
        let path = job.dir.batch(row.sub).0.join(format!("twin-{place}-{name}.jsonl"));
        match fetch(job, api, file, &path, true, longest(items)).await? {
            Fetched::Whole => answered += read(job, provider, row, items, &path, &mut bill.costs)?,
            Fetched::Missing => {}
            Fetched::Refused => return Ok(None),
        }
    }
    // A batch that completed and counts nothing tells nothing: then every item may have been answered.
    let told = match remote.phase {
        Phase::Completed | Phase::Expired if remote.counts.total == 0 => items.len() as u64,
        _ => remote.counts.completed,
    };
    bill.silent = told.saturating_sub(answered);
    Ok(Some(bill))
}

/// Prices the lines of one file; how many answers there were.
fn read(
    job: &Rc<Job>,
    provider: &dyn Provider,
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
        let Ok(found) = provider.wire().read_line(kind, line.trim_ascii()) else { continue };
        let Some(id) = WireId::parse(&found.custom_id).filter(|id| id.sub == row.sub) else { continue };
        let seq = id.seq as usize;
        let Some(ready) = items.get(seq).filter(|_| costs[seq].is_none()) else { continue };
        let cost = if let Reading::Answer(answer) = &found.reading {
            answers += 1;
            let landing = Landing { ready, lane: Lane::Batch, sub: Some(row.sub), group: None };
            job.cost_of(landing, answer)
        } else {
            UsdNanos::ZERO
        };
        costs[seq] = Some(cost);
    }
}

impl Bill {
    /// The doubt ends as far as lines tell, and what they cost was paid twice. A doubt that the operator has decided in
    /// the meantime stays decided.
    fn entries(
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

/// The note of a twin's entries: the window it came through.
fn why(twin: &str) -> String {
    format!("W1: {twin} was made by the same create")
}

async fn commit(job: &Rc<Job>, row: &Submission, ledger: Vec<LedgerEntry>) -> Result<(), EngineError> {
    let mut tx = Tx::new(job.no);
    tx.ledger = ledger;
    tx.submissions.push((row.clone(), None));
    job.commit(tx, Urgency::Now).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::ids::Sub;
    use bulkrate_store::SubmissionState;

    #[test]
    fn twins_are_kept_beside_the_doubt() {
        let mut row = Submission::new(Sub::new(1, 1), 1, Lane::Batch, SubmissionState::Accepted, 1);
        assert!(kept(&row).is_empty());
        row.evidence = Some("{\"why\":\"lost\",\"doubt\":7}".to_owned());
        let twins = [Twin { batch: "b".into(), booked: false }, Twin { batch: "c".into(), booked: true }];
        keep(&mut row, &twins);
        assert_eq!(kept(&row), twins);
        let evidence: Value = serde_json::from_str(row.evidence.as_deref().unwrap()).unwrap();
        assert_eq!((&evidence["why"], &evidence["doubt"]), (&"lost".into(), &7.into()));
        keep(&mut row, &[]);
        assert_eq!(kept(&row), twins, "nothing new forgets nothing");
    }

    #[test]
    fn what_was_proved_unpaid_can_only_have_twins() {
        let row = |no, state, batch: Option<&str>, sent: Option<i64>| Submission {
            remote_batch: batch.map(str::to_owned),
            sent_at_ms: sent,
            ..Submission::new(Sub::new(no, 1), 1, Lane::Batch, state, 1)
        };
        for (row, want) in [
            (row(1, SubmissionState::Settled, Some("b"), Some(1)), Some("b")),
            (row(2, SubmissionState::Absent, None, Some(1)), Some("")),
            (row(3, SubmissionState::Refused, None, None), None),
            (row(4, SubmissionState::InDoubt, None, Some(1)), None),
        ] {
            let sub = row.sub.to_string();
            assert_eq!(known(&[row])[&sub].as_deref(), want, "{sub}");
        }
    }
}
