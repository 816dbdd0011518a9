//! Rows of `submission` and `lease`.

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::submission::BatchCounts;
use rusqlite::{OptionalExtension, Row, named_params};

use super::open::SqliteReader;
use super::{all, damaged, failed, signed};
use crate::error::StoreError;
use crate::pack;
use crate::row::{Lease, Submission, SubmissionState};

const UPSERT: &str = "
INSERT INTO submission VALUES (
  :seq, :sub, :job, :lane, :provider, :account, :model, :kind, :state, :reserved, :segment, :items, :input_digest, :input_bytes,
  :remote_input, :remote_batch, :remote_phase, :remote_output, :remote_errors, :total, :completed, :failed, :created, :sent,
  :ended, :settled, :output_cursor, :error_cursor, :epoch, :evidence)
ON CONFLICT (sub) DO UPDATE SET
  lane = excluded.lane, provider = excluded.provider, account = excluded.account, model = excluded.model, kind = excluded.kind,
  state = excluded.state, reserved_usd_nanos = excluded.reserved_usd_nanos, segment = excluded.segment, items = excluded.items,
  input_digest = excluded.input_digest, input_bytes = excluded.input_bytes, remote_input = excluded.remote_input,
  remote_batch = excluded.remote_batch, remote_phase = excluded.remote_phase, remote_output = excluded.remote_output,
  remote_errors = excluded.remote_errors, remote_total = excluded.remote_total, remote_completed = excluded.remote_completed,
  remote_failed = excluded.remote_failed, created_at_ms = excluded.created_at_ms, sent_at_ms = excluded.sent_at_ms,
  ended_at_ms = excluded.ended_at_ms, settled_at_ms = excluded.settled_at_ms, output_cursor = excluded.output_cursor,
  error_cursor = excluded.error_cursor, epoch = excluded.epoch, evidence = excluded.evidence
RETURNING seq";

impl SqliteReader {
    /// Submissions in the order of their creation.
    pub(super) fn submissions_where(
        &self,
        condition: &str,
        value: &dyn rusqlite::ToSql,
    ) -> Result<Vec<Submission>, StoreError> {
        let doing = "read the submissions";
        let sql = format!("SELECT * FROM submission WHERE {condition} ORDER BY seq");
        let mut statement = self.conn.prepare_cached(&sql).map_err(failed(doing))?;
        all(doing, &mut statement, [value], submission_row)
    }

    /// The leases of a submission; `None` = it has none.
    pub(super) fn leases_of(&self, sub: Sub) -> Result<Option<Vec<Lease>>, StoreError> {
        let doing = failed("read the leases");
        let sql = "SELECT lease.seq, body FROM submission JOIN lease USING (seq) WHERE sub = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(&doing)?;
        let found = statement
            .query_row([sub.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        match found.optional().map_err(&doing)? {
            None => Ok(None),
            Some((seq, body)) => pack::unpack_leases(&body).map(Some).map_err(damaged("lease", seq)),
        }
    }

    /// The job of a submission.
    pub(super) fn job_of(&self, sub: Sub) -> Result<Option<u32>, StoreError> {
        let doing = failed("look for a submission");
        let mut statement =
            self.conn.prepare_cached("SELECT job FROM submission WHERE sub = ?1").map_err(&doing)?;
        statement.query_row([sub.to_string()], |row| row.get(0)).optional().map_err(&doing)
    }

    /// Inserts or replaces; returns the `seq` the row has, `seq` where it is new.
    pub(super) fn upsert(&self, seq: i64, of: &Submission) -> Result<i64, StoreError> {
        let doing = failed("write a submission");
        let mut statement = self.conn.prepare_cached(UPSERT).map_err(&doing)?;
        let values = named_params! {
            ":seq": seq, ":sub": of.sub.to_string(), ":job": of.job, ":lane": of.lane.name(), ":provider": of.provider,
            ":account": of.account, ":model": of.model, ":kind": of.kind, ":state": of.state.name(), ":reserved": of.reserved.0,
            ":segment": of.segment, ":items": of.items, ":input_digest": of.input_digest, ":input_bytes": signed(of.input_bytes),
            ":remote_input": of.remote_input, ":remote_batch": of.remote_batch, ":remote_phase": of.remote_phase,
            ":remote_output": of.remote_output, ":remote_errors": of.remote_errors, ":total": signed(of.counts.total),
            ":completed": signed(of.counts.completed), ":failed": signed(of.counts.failed), ":created": of.created_at_ms,
            ":sent": of.sent_at_ms, ":ended": of.ended_at_ms, ":settled": of.settled_at_ms,
            ":output_cursor": signed(of.output_cursor), ":error_cursor": signed(of.error_cursor), ":epoch": signed(of.epoch),
            ":evidence": of.evidence,
        };
        statement.query_row(values, |row| row.get(0)).map_err(&doing)
    }
}

fn corrupt(row: i64, field: &str, value: &str) -> StoreError {
    StoreError::Corrupt { table: "submission", row, why: format!("`{value}` is no {field}") }
}

fn words(seq: i64, sub: &str, lane: &str, state: &str) -> Result<(Sub, Lane, SubmissionState), StoreError> {
    Ok((
        Sub::parse(sub).ok_or_else(|| corrupt(seq, "submission id", sub))?,
        lane.parse().map_err(|_| corrupt(seq, "lane", lane))?,
        SubmissionState::from_name(state).ok_or_else(|| corrupt(seq, "state", state))?,
    ))
}

/// Reads `SELECT *`: the columns in the order of the table.
fn submission_row(row: &Row<'_>) -> Result<Submission, StoreError> {
    let doing = failed("read a submission");
    let text = |place| row.get::<_, String>(place).map_err(&doing);
    let (sub, lane, state) = words(row.get(0).map_err(&doing)?, &text(1)?, &text(3)?, &text(8)?)?;
    let fill = || -> rusqlite::Result<Submission> {
        let unsigned = |place| row.get::<_, i64>(place).map(i64::unsigned_abs);
        Ok(Submission {
            sub,
            job: row.get(2)?,
            lane,
            provider: row.get(4)?,
            account: row.get(5)?,
            model: row.get(6)?,
            kind: row.get(7)?,
            state,
            reserved: UsdNanos(row.get(9)?),
            segment: row.get(10)?,
            items: row.get(11)?,
            input_digest: row.get(12)?,
            input_bytes: unsigned(13)?,
            remote_input: row.get(14)?,
            remote_batch: row.get(15)?,
            remote_phase: row.get(16)?,
            remote_output: row.get(17)?,
            remote_errors: row.get(18)?,
            counts: BatchCounts { total: unsigned(19)?, completed: unsigned(20)?, failed: unsigned(21)? },
            created_at_ms: row.get(22)?,
            sent_at_ms: row.get(23)?,
            ended_at_ms: row.get(24)?,
            settled_at_ms: row.get(25)?,
            output_cursor: unsigned(26)?,
            error_cursor: unsigned(27)?,
            epoch: unsigned(28)?,
            evidence: row.get(29)?,
        })
    };
    fill().map_err(&doing)
}

/// A row of `lease` with what the history needs of its submission, not yet unpacked.
pub(super) struct PackedLeases {
    pub(super) seq: i64,
    pub(super) body: Vec<u8>,
    pub(super) sub: Sub,
    pub(super) lane: Lane,
    pub(super) state: SubmissionState,
}

/// Reads `seq, body, sub, lane, state`.
pub(super) fn next_lease(rows: &mut rusqlite::Rows<'_>) -> Result<Option<PackedLeases>, StoreError> {
    let doing = failed("read the leases");
    let Some(row) = rows.next().map_err(&doing)? else { return Ok(None) };
    let text = |place| row.get::<_, String>(place).map_err(&doing);
    let seq = row.get(0).map_err(&doing)?;
    let (sub, lane, state) = words(seq, &text(2)?, &text(3)?, &text(4)?)?;
    Ok(Some(PackedLeases { seq, body: row.get(1).map_err(&doing)?, sub, lane, state }))
}
