//! `bulkrate cost`: the ledger, summed.

use std::collections::{BTreeMap, BTreeSet};

use bulkrate_core::money::UsdNanos;
use bulkrate_store::{By, JobRow, LedgerKind, LedgerQuery, LedgerTotal, View};

use super::periods::{self, Period};
use crate::EngineError;
use crate::decision::is_operators;
use crate::deliver::spec_of;
use crate::view::{CostRow, PeriodCost};

/// Where a value is not known, or there is none.
const NONE: &str = "(none)";

/// Which costs, and how they are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostQuery {
    /// `tag.KEY`, `tag.*` (all tags of an item at once), `model`, `lane`, `job` or `day`.
    pub by: String,
    /// From this time on, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Before this time.
    pub until_ms: Option<i64>,
    /// What each group spent in each of these, too.
    pub trend: Option<Period>,
}

pub(super) fn cost(
    view: &dyn View,
    ask: &CostQuery,
    job: Option<&JobRow>,
) -> Result<Vec<CostRow>, EngineError> {
    let names = Names::of(view, &ask.by)?;
    let query = LedgerQuery {
        job: job.map(|job| job.no),
        from_ms: ask.since_ms,
        until_ms: ask.until_ms,
        ..LedgerQuery::default()
    };
    let by = [names.by(), &[By::Lever, By::Day, By::Job, By::Model]].concat();
    let mut rows = Rows { rows: BTreeMap::new(), unpriced: unpriced(view)?, trend: ask.trend };
    for total in view.ledger_totals(&query.clone().by(&by))? {
        rows.add(&names, &total);
    }
    let by = [names.by(), &[By::Note]].concat();
    for total in view.ledger_totals(&LedgerQuery { kind: Some(LedgerKind::Settle), ..query }.by(&by))? {
        rows.add_word(&names, &total);
    }
    Ok(rows.finish())
}

/// How the first values of a group of totals become the name of a row.
#[derive(Debug)]
enum Names {
    Model,
    /// The value itself.
    Plain(By),
    /// The value's own name.
    Mapped {
        by: By,
        names: BTreeMap<String, String>,
    },
}

impl Names {
    fn of(view: &dyn View, by: &str) -> Result<Self, EngineError> {
        Ok(match (by, by.strip_prefix("tag.")) {
            ("model", _) => Self::Model,
            ("lane", _) => Self::Plain(By::Lane),
            ("day", _) => Self::Plain(By::Day),
            ("job", _) => {
                let jobs = view.jobs()?.into_iter();
                let names = jobs.map(|job| (job.no.to_string(), format!("{} ({})", job.id, job.name)));
                Self::Mapped { by: By::Job, names: names.collect() }
            }
            (_, Some(key)) if !key.is_empty() => {
                Self::Mapped { by: By::TagSet, names: tag_values(view, (key != "*").then_some(key))? }
            }
            _ => return Err(bad_group(by)),
        })
    }

    fn by(&self) -> &[By] {
        match self {
            Self::Model => &[By::Provider, By::Model],
            Self::Plain(by) | Self::Mapped { by, .. } => std::slice::from_ref(by),
        }
    }

    fn name(&self, group: &[String]) -> String {
        match (self, group) {
            (Self::Model, [provider, model, ..]) => self::model(provider, model),
            (Self::Mapped { by, names }, [value, ..]) => match (names.get(value), by) {
                (Some(name), _) => name.clone(),
                (None, By::Job) => format!("(removed job {value})"),
                (None, _) => NONE.to_owned(),
            },
            (_, [value, ..]) => or_none(value),
            (_, []) => NONE.to_owned(),
        }
    }
}

fn bad_group(by: &str) -> EngineError {
    EngineError::BadSpec {
        code: "cost-by",
        what: format!("`--by {by}`"),
        why: "costs are grouped by `tag.KEY`, `tag.*`, `model`, `lane`, `job` or `day`".to_owned(),
    }
}

fn or_none(value: &str) -> String {
    if value.is_empty() { NONE.to_owned() } else { value.to_owned() }
}

fn model(provider: &str, model: &str) -> String {
    match (provider, model) {
        ("", model) => or_none(model),
        (provider, model) if model.starts_with(&format!("{provider}/")) => model.to_owned(),
        (provider, model) => format!("{provider}/{model}"),
    }
}

/// The value of a tag for every `job/number` of a tag set; an item's own tags win over its job's. Without a key all its tags, as
/// `key=value, key=value`.
pub(crate) fn tag_values(
    view: &dyn View,
    key: Option<&str>,
) -> Result<BTreeMap<String, String>, EngineError> {
    let value = |tags: &BTreeMap<String, String>| match key {
        Some(key) => tags.get(key).cloned(),
        None => {
            let all: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            (!all.is_empty()).then(|| all.join(", "))
        }
    };
    let mut values = BTreeMap::new();
    for job in view.jobs()? {
        let of_job = spec_of(&job)?.tags;
        values.extend(value(&of_job).map(|value| (format!("{}/0", job.no), value)));
        for (no, own) in view.tag_sets(job.no)? {
            let own: BTreeMap<String, String> = serde_json::from_str(&own).unwrap_or_default();
            let mut tags = of_job.clone();
            tags.extend(own);
            values.extend(value(&tags).map(|value| (format!("{}/{no}", job.no), value)));
        }
    }
    Ok(values)
}

/// Job and model of the answers whose cost is not known, as the report of each job's last run names them.
fn unpriced(view: &dyn View) -> Result<BTreeSet<(String, String)>, EngineError> {
    let mut found = BTreeSet::new();
    for job in view.jobs()? {
        found.extend(unpriced_models(&job).into_iter().map(|model| (job.no.to_string(), model)));
    }
    Ok(found)
}

/// The models of a job that have answered without a known price.
pub(super) fn unpriced_models(job: &JobRow) -> Vec<String> {
    let report = job.report.as_deref().and_then(|report| serde_json::from_str(report).ok());
    let report: serde_json::Value = report.unwrap_or_default();
    let models = report["unpriced_models"].as_array().into_iter().flatten();
    models.filter_map(|model| model.as_str().map(str::to_owned)).collect()
}

#[derive(Debug)]
struct Rows {
    /// Each row, and what it spent by period.
    rows: BTreeMap<String, (CostRow, BTreeMap<String, UsdNanos>)>,
    /// Job and model.
    unpriced: BTreeSet<(String, String)>,
    trend: Option<Period>,
}

impl Rows {
    /// Totals of several groups may fall together.
    fn add(&mut self, names: &Names, total: &LedgerTotal) {
        let [.., lever, day, job, model] = total.group.as_slice() else { return };
        let group = names.name(&total.group);
        let (row, periods) = self.rows.entry(group.clone()).or_default();
        row.group = group;
        let (spent, answered) = (total.sums.spent(), total.sums.items(LedgerKind::Settle));
        row.items += answered;
        row.spent = row.spent.saturating_add(spent.settled);
        row.in_doubt = row.in_doubt.saturating_add(spent.doubt);
        let saved = total.sums.usd(LedgerKind::Saving);
        row.saved = row.saved.saturating_add(saved);
        row.beside = row.beside.saturating_add(total.sums.usd(LedgerKind::Duplicate));
        if saved != UsdNanos::ZERO {
            let by_lever = row.saved_by.entry(lever.clone()).or_default();
            *by_lever = by_lever.saturating_add(saved);
        }
        row.unpriced |= answered > 0 && self.unpriced.contains(&(job.clone(), model.clone()));
        if let Some(period) = self.trend.filter(|_| spent.settled != UsdNanos::ZERO) {
            let sum = periods.entry(period.of(day)).or_default();
            *sum = sum.saturating_add(spent.settled);
        }
    }

    /// What was settled without an answer, on an operator's word.
    fn add_word(&mut self, names: &Names, total: &LedgerTotal) {
        let Some((row, _)) = self.rows.get_mut(&names.name(&total.group)) else { return };
        if total.group.last().is_some_and(|note| is_operators(note)) {
            row.beside = row.beside.saturating_add(total.sums.usd(LedgerKind::Settle));
        }
    }

    fn finish(self) -> Vec<CostRow> {
        let spent = |(row, _): &(CostRow, _)| row.spent;
        let all = self.rows.values().map(spent).fold(UsdNanos::ZERO, UsdNanos::saturating_add);
        let named = self.rows.values().flat_map(|(_, periods)| periods.keys());
        let span = self.trend.map_or_else(Vec::new, |trend| periods::span(trend, named));
        let rows = self.rows.into_values().map(|(row, periods)| CostRow {
            // What is cleared here may be a doubt from before `since_ms`.
            in_doubt: row.in_doubt.max(UsdNanos::ZERO),
            share: share(row.spent, all),
            trend: span
                .iter()
                .map(|period| PeriodCost {
                    period: period.clone(),
                    spent: periods.get(period).copied().unwrap_or_default(),
                })
                .collect(),
            ..row
        });
        rows.filter(|row| row.items > 0 || row.spent.0 != 0 || row.in_doubt.0 != 0 || row.saved.0 != 0)
            .collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: UsdNanos, whole: UsdNanos) -> Option<f64> {
    (whole.0 > 0).then(|| part.0 as f64 / whole.0 as f64)
}
