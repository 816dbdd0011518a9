//! A store in memory, for tests and simulations. It means exactly what the SQLite store means.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use bulkrate_core::ids::{Ordinal, Sub};

use crate::check::{Facts, check};
use crate::error::StoreError;
use crate::row::{
    ItemChunk, ItemKind, JobRow, Lease, LedgerEntry, LedgerKind, NewJob, NewOrder, Order, Outcome,
    Submission, Tx,
};
use crate::store::{LogChunk, Store, View};
use crate::totals::{LedgerQuery, LedgerTotal, Spent, Sums, Totals, value};

#[derive(Debug, Clone, Default)]
struct Job {
    chunks: Vec<ItemChunk>,
    tag_sets: BTreeMap<u32, String>,
    log: Vec<Event>,
    /// In the order of creation.
    subs: Vec<Sub>,
}

#[derive(Debug, Clone)]
enum Event {
    Leased(Sub),
    Landed(Vec<Outcome>),
}

#[derive(Debug, Clone, Default)]
struct Orders {
    last: u64,
    waiting: BTreeMap<u64, NewOrder>,
}

/// The whole state in memory; `clone` is a snapshot.
#[derive(Debug, Clone, Default)]
pub struct MemStore {
    inst: String,
    epoch: u64,
    meta: BTreeMap<String, String>,
    last_job: u32,
    rows: BTreeMap<u32, JobRow>,
    jobs: BTreeMap<u32, Job>,
    submissions: HashMap<Sub, (Submission, Vec<Lease>)>,
    ledger: Vec<LedgerEntry>,
    orders: RefCell<Orders>,
}

impl MemStore {
    #[must_use]
    pub fn new(inst: &str) -> Self {
        Self { inst: inst.to_owned(), epoch: 1, ..Self::default() }
    }

    /// As if the process had ended and another had opened the state.
    #[must_use]
    pub fn reopened(mut self) -> Self {
        self.epoch += 1;
        self
    }

    fn apply(&mut self, tx: &Tx) {
        let (Some(row), Some(job)) = (self.rows.get_mut(&tx.job), self.jobs.get_mut(&tx.job)) else { return };
        job.chunks.extend(tx.items.iter().cloned());
        if let Some(last) = tx.items.last() {
            row.items = last.end();
        }
        for (no, tags) in &tx.tag_sets {
            job.tag_sets.entry(*no).or_insert_with(|| tags.clone());
        }
        if !tx.outcomes.is_empty() {
            job.log.push(Event::Landed(tx.outcomes.clone()));
        }
        for (submission, leases) in &tx.submissions {
            if let Some(known) = self.submissions.get_mut(&submission.sub) {
                known.0 = submission.clone();
                continue;
            }
            let leases = leases.clone().unwrap_or_default();
            job.subs.push(submission.sub);
            if !leases.is_empty() {
                job.log.push(Event::Leased(submission.sub));
            }
            self.submissions.insert(submission.sub, (submission.clone(), leases));
        }
        self.ledger.extend(tx.ledger.iter().cloned());
        let orders = self.orders.get_mut();
        for no in &tx.orders_done {
            orders.waiting.remove(no);
        }
        row.state = tx.job_state.unwrap_or(row.state);
        row.updated_at_ms = tx.at_ms.unwrap_or(row.updated_at_ms);
        if let Some(spec) = &tx.spec {
            row.spec.clone_from(spec);
        }
        row.checkpoint = tx.checkpoint.clone().or_else(|| row.checkpoint.take());
        row.report = tx.report.clone().or_else(|| row.report.take());
    }
}

impl Facts for MemStore {
    fn items_of(&self, job: u32) -> Option<u64> {
        self.rows.get(&job).map(|row| row.items)
    }

    fn job_of(&self, sub: Sub) -> Result<Option<u32>, StoreError> {
        Ok(self.submissions.get(&sub).map(|(submission, _)| submission.job))
    }

    fn leases_of(&self, sub: Sub) -> Result<Vec<Lease>, StoreError> {
        Ok(self.submissions.get(&sub).map(|(_, leases)| leases.clone()).unwrap_or_default())
    }
}

impl Store for MemStore {
    fn create_job(&mut self, job: &NewJob) -> Result<u32, StoreError> {
        if let Some(known) = self.job_by_id(&job.id)? {
            return Err(StoreError::Rejected {
                job: known.no,
                why: format!("a job with id `{}` exists", job.id),
            });
        }
        self.last_job += 1;
        self.rows.insert(self.last_job, JobRow::new(self.last_job, job));
        self.jobs.insert(self.last_job, Job::default());
        Ok(self.last_job)
    }

    fn commit(&mut self, txs: &[Tx]) -> Result<(), StoreError> {
        check(self, txs)?;
        sync_files(txs)?;
        for tx in txs {
            self.apply(tx);
        }
        Ok(())
    }

    fn set_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.meta.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete_job(&mut self, no: u32) -> Result<(), StoreError> {
        if self.rows.remove(&no).is_none() {
            return Err(StoreError::NoSuchJob { job: no });
        }
        let job = self.jobs.remove(&no).unwrap_or_default();
        for sub in job.subs {
            self.submissions.remove(&sub);
        }
        self.orders.get_mut().waiting.retain(|_, order| order.job != no);
        Ok(())
    }
}

impl View for MemStore {
    fn inst(&self) -> &str {
        &self.inst
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.meta.get(key).cloned())
    }

    fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        Ok(self.rows.values().cloned().collect())
    }

    fn job(&self, no: u32) -> Result<Option<JobRow>, StoreError> {
        Ok(self.rows.get(&no).cloned())
    }

    fn job_by_id(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        Ok(self.rows.values().find(|row| row.id == id).cloned())
    }

    fn tag_sets(&self, job: u32) -> Result<Vec<(u32, String)>, StoreError> {
        let tags = self.jobs.get(&job).map(|job| &job.tag_sets);
        Ok(tags.into_iter().flatten().map(|(no, tags)| (*no, tags.clone())).collect())
    }

    fn scan_items(
        &self,
        job: u32,
        from: Ordinal,
        each: &mut dyn FnMut(&ItemChunk) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let chunks = self.jobs.get(&job).map(|job| &job.chunks);
        for chunk in chunks.into_iter().flatten().filter(|chunk| chunk.end() > u64::from(from)) {
            if each(chunk).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_kinds(
        &self,
        job: u32,
        each: &mut dyn FnMut(Ordinal, &[ItemKind]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.scan_items(job, 0, &mut |chunk| {
            let kinds: Vec<ItemKind> = chunk.items.iter().map(crate::row::ItemRec::kind).collect();
            each(chunk.first, &kinds)
        })
    }

    fn item_chunk_of(&self, job: u32, ordinal: Ordinal) -> Result<Option<ItemChunk>, StoreError> {
        let mut found = None;
        self.scan_items(job, ordinal, &mut |chunk| {
            found = Some(chunk.clone());
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    fn submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError> {
        let subs = self.jobs.get(&job).map(|job| &job.subs);
        Ok(subs
            .into_iter()
            .flatten()
            .filter_map(|sub| self.submissions.get(sub))
            .map(|(row, _)| row.clone())
            .collect())
    }

    fn submission(&self, sub: Sub) -> Result<Option<Submission>, StoreError> {
        Ok(self.submissions.get(&sub).map(|(row, _)| row.clone()))
    }

    fn leases(&self, sub: Sub) -> Result<Vec<Lease>, StoreError> {
        Ok(self.submissions.get(&sub).map(|(_, leases)| leases.clone()).unwrap_or_default())
    }

    fn scan_log(
        &self,
        job: u32,
        each: &mut dyn FnMut(LogChunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for event in self.jobs.get(&job).map(|job| &job.log).into_iter().flatten() {
            let chunk = match event {
                Event::Landed(outcomes) => LogChunk::Outcomes(outcomes),
                Event::Leased(sub) => match self.submissions.get(sub) {
                    Some((row, leases)) => {
                        LogChunk::Leases { sub: *sub, lane: row.lane, state: row.state, leases }
                    }
                    None => continue,
                },
            };
            if each(chunk).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_outcomes(
        &self,
        job: u32,
        each: &mut dyn FnMut(&[Outcome]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.scan_log(job, &mut |chunk| match chunk {
            LogChunk::Outcomes(outcomes) => each(outcomes),
            LogChunk::Leases { .. } => ControlFlow::Continue(()),
        })
    }

    fn ledger_totals(&self, query: &LedgerQuery) -> Result<Vec<LedgerTotal>, StoreError> {
        let mut totals = Totals::default();
        for entry in self.ledger.iter().filter(|entry| query.matches(entry)) {
            let group = query.by.iter().map(|by| value(*by, entry)).collect();
            totals.add(group, entry.kind, entry.usd, u64::from(entry.items))?;
        }
        Ok(totals.into_rows())
    }

    fn ledger_scan(
        &self,
        query: &LedgerQuery,
        each: &mut dyn FnMut(&LedgerEntry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for entry in self.ledger.iter().filter(|entry| query.matches(entry)) {
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn spent_since(&self, from_ms: i64) -> Result<Spent, StoreError> {
        let mut sums = Sums::default();
        for entry in &self.ledger {
            let counts = match entry.kind {
                LedgerKind::Reserve | LedgerKind::Release => self.rows.contains_key(&entry.job),
                _ => entry.at_ms >= from_ms,
            };
            if counts {
                sums.add(entry.kind, entry.usd, 0)?;
            }
        }
        Ok(sums.spent().of_period())
    }

    fn put_order(&self, order: &NewOrder) -> Result<u64, StoreError> {
        if !self.rows.contains_key(&order.job) {
            return Err(StoreError::NoSuchJob { job: order.job });
        }
        let mut orders = self.orders.borrow_mut();
        orders.last += 1;
        let no = orders.last;
        orders.waiting.insert(no, order.clone());
        Ok(no)
    }

    fn orders(&self) -> Result<Vec<Order>, StoreError> {
        Ok(self
            .orders
            .borrow()
            .waiting
            .iter()
            .map(|(no, order)| Order { no: *no, order: order.clone() })
            .collect())
    }
}

/// Makes the files of a commit durable, each once.
pub(crate) fn sync_files(txs: &[Tx]) -> Result<(), StoreError> {
    let mut files: Vec<_> = txs.iter().flat_map(|tx| &tx.sync_first).collect();
    files.sort_by_key(|file| Arc::as_ptr(file));
    files.dedup_by_key(|file| Arc::as_ptr(file));
    files.into_iter().try_for_each(|file| file.sync_data().map_err(|source| StoreError::Sync { source }))
}
