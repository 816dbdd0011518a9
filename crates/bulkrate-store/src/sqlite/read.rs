//! Reading: jobs, items, history, orders.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use rusqlite::{OptionalExtension, Row, params};

use super::open::SqliteReader;
use super::{all, damaged, failed};
use crate::error::StoreError;
use crate::pack;
use crate::row::{
    ItemChunk, ItemKind, JobRow, JobState, Lease, LedgerEntry, NewOrder, Order, Outcome, Submission,
};
use crate::store::{LogChunk, View};
use crate::totals::{LedgerQuery, LedgerTotal, Spent};

const JOB: &str = "SELECT no, id, name, state, items, created_at_ms, updated_at_ms, source, source_digest, catalogue_digest, spec, \
                   checkpoint, report FROM job";
const CHUNK: &str =
    "SELECT first, offset, items, keys, rowid FROM item_chunk WHERE job = ?1 AND first >= ?2 ORDER BY first";
const FIRST: &str = "SELECT first FROM item_chunk WHERE job = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1";

impl SqliteReader {
    pub(super) fn items_by_job(&self) -> Result<HashMap<u32, u64>, StoreError> {
        Ok(self.jobs()?.into_iter().map(|job| (job.no, job.items)).collect())
    }

    fn jobs_where(&self, condition: &str, value: &dyn rusqlite::ToSql) -> Result<Vec<JobRow>, StoreError> {
        let doing = "read the jobs";
        let mut statement = self
            .conn
            .prepare_cached(&format!("{JOB} WHERE {condition} ORDER BY no"))
            .map_err(failed(doing))?;
        all(doing, &mut statement, [value], job_row)
    }
}

fn job_row(row: &Row<'_>) -> Result<JobRow, StoreError> {
    let job = |row: &Row<'_>| -> rusqlite::Result<(JobRow, String)> {
        let state: String = row.get(3)?;
        let job = JobRow {
            no: row.get(0)?,
            id: row.get(1)?,
            name: row.get(2)?,
            state: JobState::Preparing,
            items: row.get::<_, i64>(4)?.unsigned_abs(),
            created_at_ms: row.get(5)?,
            updated_at_ms: row.get(6)?,
            source: row.get(7)?,
            source_digest: row.get(8)?,
            catalogue_digest: row.get(9)?,
            spec: row.get(10)?,
            checkpoint: row.get(11)?,
            report: row.get(12)?,
        };
        Ok((job, state))
    };
    let (mut job, state) = job(row).map_err(failed("read a job"))?;
    job.state = JobState::from_name(&state).ok_or_else(|| StoreError::Corrupt {
        table: "job",
        row: i64::from(job.no),
        why: format!("`{state}` is no state of a job"),
    })?;
    Ok(job)
}

fn chunk_row(row: &Row<'_>) -> Result<ItemChunk, StoreError> {
    let doing = failed("read items");
    let first: u32 = row.get(0).map_err(&doing)?;
    let offset: i64 = row.get(1).map_err(&doing)?;
    let blob = |place| row.get_ref(place).and_then(|value| Ok(value.as_blob()?)).map_err(&doing);
    let rowid = row.get(4).map_err(&doing)?;
    pack::unpack_items(first, offset.unsigned_abs(), blob(2)?, blob(3)?).map_err(damaged("item_chunk", rowid))
}

/// A row of `lease` or `outcome`, read but not yet unpacked.
type Packed = Option<(i64, Vec<u8>)>;

fn next_packed(rows: &mut rusqlite::Rows<'_>) -> Result<Packed, StoreError> {
    let doing = failed("read the history");
    let Some(row) = rows.next().map_err(&doing)? else { return Ok(None) };
    Ok(Some((row.get(0).map_err(&doing)?, row.get(1).map_err(&doing)?)))
}

impl View for SqliteReader {
    fn inst(&self) -> &str {
        &self.inst
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let mut statement =
            self.conn.prepare_cached("SELECT value FROM meta WHERE key = ?1").map_err(failed("read meta"))?;
        statement.query_row([key], |row| row.get(0)).optional().map_err(failed("read meta"))
    }

    fn breakage(&self) -> Result<Vec<String>, StoreError> {
        let doing = "check the database";
        let told = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.conn.prepare("PRAGMA integrity_check(5)")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        match told() {
            Ok(told) => Ok(told.into_iter().filter(|line| line != "ok").collect()),
            // So broken that it cannot even be looked through.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
                Ok(vec![error.to_string()])
            }
            Err(error) => Err(failed(doing)(error)),
        }
    }

    fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        self.jobs_where("no > ?1", &0)
    }

    fn job(&self, no: u32) -> Result<Option<JobRow>, StoreError> {
        Ok(self.jobs_where("no = ?1", &no)?.pop())
    }

    fn job_by_id(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        Ok(self.jobs_where("id = ?1", &id)?.pop())
    }

    fn tag_sets(&self, job: u32) -> Result<Vec<(u32, String)>, StoreError> {
        let doing = "read the tags";
        let mut statement = self
            .conn
            .prepare_cached("SELECT no, tags FROM tag_set WHERE job = ?1 ORDER BY no")
            .map_err(failed(doing))?;
        let rows = statement.query_map([job], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed(doing))?;
        rows.collect::<Result<_, _>>().map_err(failed(doing))
    }

    fn scan_items(
        &self,
        job: u32,
        from: Ordinal,
        each: &mut dyn FnMut(&ItemChunk) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let doing = "read items";
        let mut before = self.conn.prepare_cached(FIRST).map_err(failed(doing))?;
        let first: Option<u32> =
            before.query_row(params![job, from], |row| row.get(0)).optional().map_err(failed(doing))?;
        let mut statement = self.conn.prepare_cached(CHUNK).map_err(failed(doing))?;
        let mut rows = statement.query(params![job, first.unwrap_or(0)]).map_err(failed(doing))?;
        while let Some(row) = rows.next().map_err(failed(doing))? {
            let chunk = chunk_row(row)?;
            if chunk.end() > u64::from(from) && each(&chunk).is_break() {
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
        let doing = failed("read items");
        let sql = "SELECT first, items, rowid FROM item_chunk WHERE job = ?1 ORDER BY first";
        let mut statement = self.conn.prepare_cached(sql).map_err(&doing)?;
        let mut rows = statement.query([job]).map_err(&doing)?;
        let mut kinds = Vec::new();
        while let Some(row) = rows.next().map_err(&doing)? {
            let rowid = row.get(2).map_err(&doing)?;
            let blob = row.get_ref(1).and_then(|value| Ok(value.as_blob()?)).map_err(&doing)?;
            kinds.clear();
            pack::unpack_kinds(blob, &mut kinds).map_err(damaged("item_chunk", rowid))?;
            if each(row.get(0).map_err(&doing)?, &kinds).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn item_chunk_of(&self, job: u32, ordinal: Ordinal) -> Result<Option<ItemChunk>, StoreError> {
        let mut found = None;
        self.scan_items(job, ordinal, &mut |chunk| {
            found = (chunk.first <= ordinal).then(|| chunk.clone());
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    fn submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError> {
        self.submissions_where("job = ?1", &job)
    }

    fn open_submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError> {
        self.submissions_where("job = ?1 AND state NOT IN ('call', 'settled', 'refused', 'absent')", &job)
    }

    fn batches(&self) -> Result<Vec<Submission>, StoreError> {
        self.submissions_where("lane = ?1", &Lane::Batch.name())
    }

    fn submission(&self, sub: Sub) -> Result<Option<Submission>, StoreError> {
        Ok(self.submissions_where("sub = ?1", &sub.to_string())?.pop())
    }

    fn leases(&self, sub: Sub) -> Result<Vec<Lease>, StoreError> {
        Ok(self.leases_of(sub)?.unwrap_or_default())
    }

    fn scan_log(
        &self,
        job: u32,
        each: &mut dyn FnMut(LogChunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let doing = failed("read the history");
        // Two cursors in `seq` order, merged here: a sorted UNION would copy every BLOB.
        // One read transaction, so that both see the same moment while an engine writes.
        let _moment = self.conn.unchecked_transaction().map_err(&doing)?;
        let leases = "SELECT lease.seq, body, sub, lane, state FROM lease JOIN submission USING (seq) WHERE lease.job = ?1 ORDER BY lease.seq";
        let outcomes = "SELECT seq, body FROM outcome WHERE job = ?1 ORDER BY seq";
        let mut leases = self.conn.prepare_cached(leases).map_err(&doing)?;
        let mut outcomes = self.conn.prepare_cached(outcomes).map_err(&doing)?;
        let mut leases = leases.query([job]).map_err(&doing)?;
        let mut outcomes = outcomes.query([job]).map_err(&doing)?;
        let mut buffer = Vec::new();
        let mut lease = super::submissions::next_lease(&mut leases)?;
        let mut landed = next_packed(&mut outcomes)?;
        loop {
            let flow = match (&lease, &landed) {
                (Some(next), other) if other.as_ref().is_none_or(|(seq, _)| next.seq < *seq) => {
                    let unpacked = pack::unpack_leases(&next.body).map_err(damaged("lease", next.seq))?;
                    let flow = each(LogChunk::Leases {
                        sub: next.sub,
                        lane: next.lane,
                        state: next.state,
                        leases: &unpacked,
                    });
                    lease = super::submissions::next_lease(&mut leases)?;
                    flow
                }
                (_, Some((seq, body))) => {
                    pack::unpack_outcomes_into(body, &mut buffer).map_err(damaged("outcome", *seq))?;
                    landed = next_packed(&mut outcomes)?;
                    each(LogChunk::Outcomes(&buffer))
                }
                _ => break,
            };
            if flow.is_break() {
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
        let doing = failed("read the outcomes");
        let mut statement = self
            .conn
            .prepare_cached("SELECT seq, body FROM outcome WHERE job = ?1 ORDER BY seq")
            .map_err(&doing)?;
        let mut rows = statement.query([job]).map_err(&doing)?;
        let mut buffer = Vec::new();
        while let Some(row) = rows.next().map_err(&doing)? {
            let seq = row.get(0).map_err(&doing)?;
            let blob = row.get_ref(1).and_then(|value| Ok(value.as_blob()?)).map_err(&doing)?;
            pack::unpack_outcomes_into(blob, &mut buffer).map_err(damaged("outcome", seq))?;
            if each(&buffer).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn ledger_totals(&self, query: &LedgerQuery) -> Result<Vec<LedgerTotal>, StoreError> {
        self.totals(query)
    }

    fn ledger_scan(
        &self,
        query: &LedgerQuery,
        each: &mut dyn FnMut(&LedgerEntry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.scan_entries(query, each)
    }

    fn spent_since(&self, from_ms: i64) -> Result<Spent, StoreError> {
        self.spent(from_ms)
    }

    fn put_order(&self, order: &NewOrder) -> Result<u64, StoreError> {
        let doing = failed("leave an order");
        if self.job(order.job)?.is_none() {
            return Err(StoreError::NoSuchJob { job: order.job });
        }
        let sql = "INSERT INTO job_order (job, verb, payload, at_ms) VALUES (?1, ?2, ?3, ?4)";
        self.conn.execute(sql, params![order.job, order.verb, order.payload, order.at_ms]).map_err(doing)?;
        Ok(self.conn.last_insert_rowid().unsigned_abs())
    }

    fn orders(&self) -> Result<Vec<Order>, StoreError> {
        let doing = failed("read the orders");
        let sql = "SELECT no, job, verb, payload, at_ms FROM job_order ORDER BY no";
        let mut statement = self.conn.prepare_cached(sql).map_err(&doing)?;
        let rows = statement.query_map([], |row| {
            let order =
                NewOrder { job: row.get(1)?, verb: row.get(2)?, payload: row.get(3)?, at_ms: row.get(4)? };
            Ok(Order { no: row.get::<_, i64>(0)?.unsigned_abs(), order })
        });
        rows.map_err(&doing)?.collect::<Result<_, _>>().map_err(&doing)
    }
}
