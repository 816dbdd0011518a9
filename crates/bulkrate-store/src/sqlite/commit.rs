//! Writing: one transaction for all that is handed over together.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::{Ordinal, Sub};
use rusqlite::{TransactionBehavior, params};

use super::open::{SqliteReader, SqliteStore};
use super::{failed, signed};
use crate::check::{Facts, check};
use crate::error::StoreError;
use crate::mem::sync_files;
use crate::pack;
use crate::row::{
    ItemChunk, ItemKind, JobRow, JobState, Lease, LedgerEntry, NewJob, NewOrder, Order, Outcome, Submission,
    Tx,
};
use crate::store::{LogChunk, Store, View};
use crate::totals::{LedgerQuery, LedgerTotal, Spent};

/// Outcomes in one row.
const OUTCOMES_MAX: usize = 4_096;

impl Facts for SqliteStore {
    fn items_of(&self, job: u32) -> Option<u64> {
        self.items.get(&job).copied()
    }

    fn job_of(&self, sub: Sub) -> Result<Option<u32>, StoreError> {
        self.reader.job_of(sub)
    }

    fn leases_of(&self, sub: Sub) -> Result<Vec<Lease>, StoreError> {
        Ok(self.reader.leases_of(sub)?.unwrap_or_default())
    }
}

/// Writes the rows of one commit; outcomes of a job are gathered into full rows until a lease must come after them.
struct Rows<'a> {
    reader: &'a SqliteReader,
    next_seq: i64,
    outcomes: HashMap<u32, Vec<Outcome>>,
}

impl Rows<'_> {
    fn write(&mut self, tx: &Tx) -> Result<(), StoreError> {
        for chunk in &tx.items {
            self.chunk(tx.job, chunk)?;
        }
        for (no, tags) in &tx.tag_sets {
            self.execute(
                "write the tags",
                "INSERT INTO tag_set VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![tx.job, no, tags],
            )?;
        }
        if !tx.outcomes.is_empty() {
            let gathered = self.outcomes.entry(tx.job).or_default();
            gathered.extend_from_slice(&tx.outcomes);
            if gathered.len() >= OUTCOMES_MAX {
                self.flush(tx.job)?;
            }
        }
        for (submission, leases) in &tx.submissions {
            self.submission(submission, leases.as_deref().unwrap_or_default())?;
        }
        for entry in &tx.ledger {
            self.reader.insert_entry(entry)?;
        }
        for order in &tx.orders_done {
            self.execute("remove an order", "DELETE FROM job_order WHERE no = ?1", params![signed(*order)])?;
        }
        self.job(tx)
    }

    fn chunk(&self, job: u32, chunk: &ItemChunk) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO item_chunk (job, first, count, offset, items, keys) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (items, keys) = (pack::pack_items(chunk), pack::pack_keys(chunk));
        self.execute(
            "write items",
            sql,
            params![job, chunk.first, signed(chunk.items.len() as u64), signed(chunk.offset), items, keys],
        )
    }

    fn submission(&mut self, submission: &Submission, leases: &[Lease]) -> Result<(), StoreError> {
        if !leases.is_empty() {
            self.flush(submission.job)?;
        }
        let seq = self.reader.upsert(self.next_seq, submission)?;
        if seq != self.next_seq {
            return Ok(()); // known: its leases were written with it
        }
        self.next_seq += 1;
        if leases.is_empty() {
            return Ok(());
        }
        let (count, body) = (signed(leases.len() as u64), pack::pack_leases(leases));
        self.execute(
            "write leases",
            "INSERT INTO lease VALUES (?1, ?2, ?3, ?4)",
            params![seq, submission.job, count, body],
        )
    }

    fn flush(&mut self, job: u32) -> Result<(), StoreError> {
        let outcomes = self.outcomes.remove(&job).unwrap_or_default();
        for part in outcomes.chunks(OUTCOMES_MAX) {
            let (seq, count) = (self.next_seq, signed(part.len() as u64));
            self.next_seq += 1;
            self.execute(
                "write outcomes",
                "INSERT INTO outcome VALUES (?1, ?2, ?3, ?4)",
                params![seq, job, count, pack::pack_outcomes(part)],
            )?;
        }
        Ok(())
    }

    fn job(&self, tx: &Tx) -> Result<(), StoreError> {
        let items = tx.items.last().map(|chunk| signed(chunk.end()));
        let state = tx.job_state.map(JobState::name);
        if items.is_none()
            && state.is_none()
            && tx.at_ms.is_none()
            && tx.spec.is_none()
            && tx.checkpoint.is_none()
            && tx.report.is_none()
        {
            return Ok(());
        }
        let sql = "UPDATE job SET items = coalesce(?2, items), state = coalesce(?3, state), updated_at_ms = coalesce(?4, updated_at_ms),
                   spec = coalesce(?5, spec), checkpoint = coalesce(?6, checkpoint), report = coalesce(?7, report) WHERE no = ?1";
        self.execute(
            "write the job",
            sql,
            params![tx.job, items, state, tx.at_ms, tx.spec, tx.checkpoint, tx.report],
        )
    }

    fn execute(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<(), StoreError> {
        let mut statement = self.reader.conn.prepare_cached(sql).map_err(failed(doing))?;
        statement.execute(values).map_err(failed(doing))?;
        Ok(())
    }
}

impl SqliteStore {
    /// Runs `write` in one durable transaction; after a failure of the database no other one is tried.
    fn durably<R>(
        &mut self,
        write: impl FnOnce(&SqliteReader) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        if self.halted {
            return Err(StoreError::Stopped);
        }
        let reader = &self.reader;
        let attempt = || {
            let transaction =
                rusqlite::Transaction::new_unchecked(&reader.conn, TransactionBehavior::Immediate)
                    .map_err(failed("begin"))?;
            let answer = write(reader)?; // dropped on an error, which rolls back
            transaction.commit().map_err(failed("commit"))?;
            Ok(answer)
        };
        let result = attempt();
        self.halted = match &result {
            Ok(_) | Err(StoreError::Rejected { .. } | StoreError::NoSuchJob { .. }) => false,
            Err(_) => true,
        };
        result
    }
}

impl Store for SqliteStore {
    fn create_job(&mut self, job: &NewJob) -> Result<u32, StoreError> {
        if let Some(known) = self.reader.job_by_id(&job.id)? {
            return Err(StoreError::Rejected {
                job: known.no,
                why: format!("a job with id `{}` exists", job.id),
            });
        }
        let no = self.durably(|reader| {
            let sql = "INSERT INTO job (id, name, state, items, created_at_ms, updated_at_ms, source, source_digest, catalogue_digest, spec)
                       VALUES (?1, ?2, ?3, 0, ?4, ?4, ?5, ?6, ?7, ?8) RETURNING no";
            let state = JobState::Preparing.name();
            let values = params![job.id, job.name, state, job.created_at_ms, job.source, job.source_digest, job.catalogue_digest, job.spec];
            reader.conn.query_row(sql, values, |row| row.get(0)).map_err(failed("create a job"))
        })?;
        self.items.insert(no, 0);
        Ok(no)
    }

    fn commit(&mut self, txs: &[Tx]) -> Result<(), StoreError> {
        if self.halted {
            return Err(StoreError::Stopped);
        }
        let items = check(self, txs)?;
        if let Err(error) = sync_files(txs) {
            self.halted = true;
            return Err(error);
        }
        let next_seq = self.next_seq;
        self.next_seq = self.durably(|reader| {
            let mut rows = Rows { reader, next_seq, outcomes: HashMap::new() };
            txs.iter().try_for_each(|tx| rows.write(tx))?;
            let mut left: Vec<u32> = rows.outcomes.keys().copied().collect();
            left.sort_unstable();
            left.into_iter().try_for_each(|job| rows.flush(job))?;
            Ok(rows.next_seq)
        })?;
        self.items.extend(items);
        Ok(())
    }

    fn set_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.durably(|reader| {
            let sql =
                "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            reader.conn.execute(sql, [key, value]).map_err(failed("write meta"))
        })?;
        Ok(())
    }

    fn delete_job(&mut self, no: u32) -> Result<(), StoreError> {
        if !self.items.contains_key(&no) {
            return Err(StoreError::NoSuchJob { job: no });
        }
        self.durably(|reader| {
            for sql in [
                "DELETE FROM lease WHERE job = ?1",
                "DELETE FROM submission WHERE job = ?1",
                "DELETE FROM outcome WHERE job = ?1",
                "DELETE FROM item_chunk WHERE job = ?1",
                "DELETE FROM tag_set WHERE job = ?1",
                "DELETE FROM job_order WHERE job = ?1",
                "DELETE FROM job WHERE no = ?1",
            ] {
                reader.conn.execute(sql, [no]).map_err(failed("remove a job"))?;
            }
            Ok(())
        })?;
        self.items.remove(&no);
        Ok(())
    }
}

/// The engine reads as everyone does.
impl View for SqliteStore {
    fn inst(&self) -> &str {
        self.reader.inst()
    }
    fn epoch(&self) -> u64 {
        self.reader.epoch()
    }
    fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.reader.meta(key)
    }
    fn breakage(&self) -> Result<Vec<String>, StoreError> {
        self.reader.breakage()
    }
    fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        self.reader.jobs()
    }
    fn job(&self, no: u32) -> Result<Option<JobRow>, StoreError> {
        self.reader.job(no)
    }
    fn job_by_id(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        self.reader.job_by_id(id)
    }
    fn tag_sets(&self, job: u32) -> Result<Vec<(u32, String)>, StoreError> {
        self.reader.tag_sets(job)
    }
    fn scan_items(
        &self,
        job: u32,
        from: Ordinal,
        each: &mut dyn FnMut(&ItemChunk) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reader.scan_items(job, from, each)
    }
    fn scan_kinds(
        &self,
        job: u32,
        each: &mut dyn FnMut(Ordinal, &[ItemKind]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reader.scan_kinds(job, each)
    }
    fn item_chunk_of(&self, job: u32, ordinal: Ordinal) -> Result<Option<ItemChunk>, StoreError> {
        self.reader.item_chunk_of(job, ordinal)
    }
    fn submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError> {
        self.reader.submissions(job)
    }
    fn open_submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError> {
        self.reader.open_submissions(job)
    }
    fn batches(&self) -> Result<Vec<Submission>, StoreError> {
        self.reader.batches()
    }
    fn submission(&self, sub: Sub) -> Result<Option<Submission>, StoreError> {
        self.reader.submission(sub)
    }
    fn leases(&self, sub: Sub) -> Result<Vec<Lease>, StoreError> {
        self.reader.leases(sub)
    }
    fn scan_log(
        &self,
        job: u32,
        each: &mut dyn FnMut(LogChunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reader.scan_log(job, each)
    }
    fn scan_outcomes(
        &self,
        job: u32,
        each: &mut dyn FnMut(&[Outcome]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reader.scan_outcomes(job, each)
    }
    fn ledger_totals(&self, query: &LedgerQuery) -> Result<Vec<LedgerTotal>, StoreError> {
        self.reader.ledger_totals(query)
    }
    fn ledger_scan(
        &self,
        query: &LedgerQuery,
        each: &mut dyn FnMut(&LedgerEntry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reader.ledger_scan(query, each)
    }
    fn spent_since(&self, from_ms: i64) -> Result<Spent, StoreError> {
        self.reader.spent_since(from_ms)
    }
    fn put_order(&self, order: &NewOrder) -> Result<u64, StoreError> {
        self.reader.put_order(order)
    }
    fn orders(&self) -> Result<Vec<Order>, StoreError> {
        self.reader.orders()
    }
}
