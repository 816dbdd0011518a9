//! Rows of `ledger`, and sums over them.

use std::ops::ControlFlow;

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use rusqlite::{Row, ToSql, params};

use super::failed;
use super::open::SqliteReader;
use crate::error::StoreError;
use crate::row::{LedgerEntry, LedgerKind};
use crate::totals::{By, LedgerQuery, LedgerTotal, Spent, Sums, Totals};

const COLUMNS: &str = "no, job, at_ms, kind, lane, provider, model, tags, lever, sub, items, usd_nanos, note";

fn expression(by: By) -> &'static str {
    match by {
        By::Job => "CAST(job AS TEXT)",
        By::Day => "date(at_ms / 86400000 * 86400, 'unixepoch')",
        By::Lane => "coalesce(lane, '')",
        By::Provider => "provider",
        By::Model => "model",
        By::TagSet => "job || '/' || tags",
        By::Lever => "coalesce(lever, '')",
        By::Note => "coalesce(note, '')",
        By::Kind => "kind",
    }
}

/// The condition of a query and its values.
fn condition(query: &LedgerQuery) -> (String, Vec<Box<dyn ToSql>>) {
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut parts = vec!["1 = 1".to_owned()];
    let mut add = |column: &str, value: Option<Box<dyn ToSql>>| {
        if let Some(value) = value {
            values.push(value);
            parts.push(format!("{column} ?{}", values.len()));
        }
    };
    add("job =", query.job.map(|job| Box::new(job) as _));
    add("kind =", query.kind.map(|kind| Box::new(kind.name()) as _));
    add("lane =", query.lane.map(|lane| Box::new(lane.name()) as _));
    add("model =", query.model.clone().map(|model| Box::new(model) as _));
    add("at_ms >=", query.from_ms.map(|from| Box::new(from) as _));
    add("at_ms <", query.until_ms.map(|until| Box::new(until) as _));
    (parts.join(" AND "), values)
}

fn kind_of(row: i64, name: &str) -> Result<LedgerKind, StoreError> {
    LedgerKind::from_name(name).ok_or_else(|| StoreError::Corrupt {
        table: "ledger",
        row,
        why: format!("`{name}` is no kind of entry"),
    })
}

/// SQLite's `sum` of integers is exact and reports an overflow as an error of its own.
fn summing(error: rusqlite::Error) -> StoreError {
    if error.to_string().contains("integer overflow") {
        StoreError::Overflow
    } else {
        failed("add up the ledger")(error)
    }
}

impl SqliteReader {
    pub(super) fn totals(&self, query: &LedgerQuery) -> Result<Vec<LedgerTotal>, StoreError> {
        let group: String = query.by.iter().map(|by| format!("{}, ", expression(*by))).collect();
        let places: Vec<String> = (1..=query.by.len() + 1).map(|place| place.to_string()).collect();
        let (condition, values) = condition(query);
        let places = places.join(", ");
        let sql = format!(
            "SELECT {group}kind, sum(usd_nanos), sum(items) FROM ledger WHERE {condition} GROUP BY {places}"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(summing)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values)).map_err(summing)?;
        let mut totals = Totals::default();
        let width = query.by.len();
        while let Some(row) = rows.next().map_err(summing)? {
            let group = (0..width)
                .map(|place| row.get(place))
                .collect::<Result<Vec<String>, _>>()
                .map_err(summing)?;
            let kind: String = row.get(width).map_err(summing)?;
            let (usd, items): (i64, i64) =
                (row.get(width + 1).map_err(summing)?, row.get(width + 2).map_err(summing)?);
            totals.add(group, kind_of(0, &kind)?, UsdNanos(usd), items.unsigned_abs())?;
        }
        Ok(totals.into_rows())
    }

    pub(super) fn scan_entries(
        &self,
        query: &LedgerQuery,
        each: &mut dyn FnMut(&LedgerEntry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let doing = failed("read the ledger");
        let (condition, values) = condition(query);
        let sql = format!("SELECT {COLUMNS} FROM ledger WHERE {condition} ORDER BY no");
        let mut statement = self.conn.prepare_cached(&sql).map_err(&doing)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values)).map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            if each(&entry_row(row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn spent(&self, from_ms: i64) -> Result<Spent, StoreError> {
        // What is reserved now is reserved whenever it was; a removed job reserves nothing.
        let sql = "SELECT kind, sum(usd_nanos) FROM ledger WHERE CASE WHEN kind IN ('reserve', 'release')
                   THEN job IN (SELECT no FROM job) ELSE at_ms >= ?1 END GROUP BY kind";
        let mut statement = self.conn.prepare_cached(sql).map_err(summing)?;
        let mut rows = statement.query([from_ms]).map_err(summing)?;
        let mut sums = Sums::default();
        while let Some(row) = rows.next().map_err(summing)? {
            let (kind, usd): (String, i64) = (row.get(0).map_err(summing)?, row.get(1).map_err(summing)?);
            sums.add(kind_of(0, &kind)?, UsdNanos(usd), 0)?;
        }
        Ok(sums.spent().of_period())
    }

    pub(super) fn insert_entry(&self, of: &LedgerEntry) -> Result<(), StoreError> {
        let doing = failed("write the ledger");
        let sql = "INSERT INTO ledger (job, at_ms, kind, lane, provider, model, tags, lever, sub, items, usd_nanos, note)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let (lane, sub) = (of.lane.map(Lane::name), of.sub.map(|sub| sub.to_string()));
        let values = params![
            of.job,
            of.at_ms,
            of.kind.name(),
            lane,
            of.provider,
            of.model,
            of.tags,
            of.lever,
            sub,
            of.items,
            of.usd.0,
            of.note
        ];
        self.conn.prepare_cached(sql).map_err(&doing)?.execute(values).map_err(&doing)?;
        Ok(())
    }
}

fn entry_row(row: &Row<'_>) -> Result<LedgerEntry, StoreError> {
    let doing = failed("read the ledger");
    let no: i64 = row.get(0).map_err(&doing)?;
    let damage = |field: &str, value: &str| StoreError::Corrupt {
        table: "ledger",
        row: no,
        why: format!("`{value}` is no {field}"),
    };
    let kind = kind_of(no, &row.get::<_, String>(3).map_err(&doing)?)?;
    let lane: Option<String> = row.get(4).map_err(&doing)?;
    let lane = lane.map(|lane| lane.parse().map_err(|_| damage("lane", &lane))).transpose()?;
    let sub: Option<String> = row.get(9).map_err(&doing)?;
    let sub = sub.map(|sub| Sub::parse(&sub).ok_or_else(|| damage("submission id", &sub))).transpose()?;
    let fill = || -> rusqlite::Result<LedgerEntry> {
        Ok(LedgerEntry {
            job: row.get(1)?,
            at_ms: row.get(2)?,
            kind,
            lane,
            provider: row.get(5)?,
            model: row.get(6)?,
            tags: row.get(7)?,
            lever: row.get(8)?,
            sub,
            items: row.get(10)?,
            usd: UsdNanos(row.get(11)?),
            note: row.get(12)?,
        })
    };
    fill().map_err(&doing)
}
