//! `bulkrate cost`: the ledger, summed.

use std::collections::{BTreeMap, BTreeSet};

use bulkrate_core::money::UsdNanos;
use bulkrate_store::{By, JobRow, LedgerKind, LedgerQuery, LedgerTotal, View};

use crate::EngineError;
use crate::deliver::spec_of;
use crate::view::CostRow;

/// Where a value is not known, or there is none.
const NONE: &str = "(none)";

pub(super) fn cost(view: &dyn View, by: &str, job: Option<&JobRow>) -> Result<Vec<CostRow>, EngineError> {
    let query = job.map_or_else(LedgerQuery::default, |job| LedgerQuery::of_job(job.no));
    let mut rows = Rows { rows: BTreeMap::new(), unpriced: unpriced(view)? };
    match by {
        "model" => {
            rows.add(&totals(view, query, &[By::Provider, By::Model])?, |group| model(&group[0], &group[1]));
        }
        "lane" => rows.add(&totals(view, query, &[By::Lane])?, |group| or_none(&group[0])),
        "day" => rows.add(&totals(view, query, &[By::Day])?, |group| or_none(&group[0])),
        "job" => {
            let names: BTreeMap<String, String> = view
                .jobs()?
                .into_iter()
                .map(|job| (job.no.to_string(), format!("{} ({})", job.id, job.name)))
                .collect();
            rows.add(&totals(view, query, &[By::Job])?, |group| {
                names.get(&group[0]).cloned().unwrap_or_else(|| format!("(removed job {})", group[0]))
            });
        }
        _ => {
            let Some(key) = by.strip_prefix("tag.").filter(|key| !key.is_empty()) else {
                return Err(bad_group(by));
            };
            let values = tag_values(view, key)?;
            rows.add(&totals(view, query, &[By::TagSet])?, |group| {
                values.get(&group[0]).cloned().unwrap_or_else(|| NONE.to_owned())
            });
        }
    }
    Ok(rows
        .rows
        .into_values()
        .filter(|row| row.items > 0 || row.spent.0 != 0 || row.in_doubt.0 != 0 || row.saved.0 != 0)
        .collect())
}

fn bad_group(by: &str) -> EngineError {
    EngineError::BadSpec {
        code: "cost-by",
        what: format!("`--by {by}`"),
        why: "costs are grouped by `tag.KEY`, `model`, `lane`, `job` or `day`".to_owned(),
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

/// The value of a tag for every `job/number` of a tag set; an item's own tags win over its job's.
pub(crate) fn tag_values(view: &dyn View, key: &str) -> Result<BTreeMap<String, String>, EngineError> {
    let mut values = BTreeMap::new();
    for job in view.jobs()? {
        let own = spec_of(&job)?.tags.get(key).cloned();
        if let Some(value) = &own {
            values.insert(format!("{}/0", job.no), value.clone());
        }
        for (no, tags) in view.tag_sets(job.no)? {
            let tags: BTreeMap<String, String> = serde_json::from_str(&tags).unwrap_or_default();
            if let Some(value) = tags.get(key).or(own.as_ref()) {
                values.insert(format!("{}/{no}", job.no), value.clone());
            }
        }
    }
    Ok(values)
}

/// Sums by these groups, and below each by job and model.
fn totals(view: &dyn View, query: LedgerQuery, by: &[By]) -> Result<Vec<LedgerTotal>, EngineError> {
    Ok(view.ledger_totals(&query.by(&[by, &[By::Job, By::Model]].concat()))?)
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
    rows: BTreeMap<String, CostRow>,
    /// Job and model.
    unpriced: BTreeSet<(String, String)>,
}

impl Rows {
    /// Totals of several groups may fall together.
    fn add(&mut self, totals: &[LedgerTotal], name: impl Fn(&[String]) -> String) {
        for total in totals {
            let group = name(&total.group);
            let row = self.rows.entry(group.clone()).or_insert_with(|| CostRow {
                group,
                items: 0,
                spent: UsdNanos::ZERO,
                in_doubt: UsdNanos::ZERO,
                saved: UsdNanos::ZERO,
                unpriced: false,
            });
            let (spent, answered) = (total.sums.spent(), total.sums.items(LedgerKind::Settle));
            row.items += answered;
            row.spent = row.spent.saturating_add(spent.settled);
            row.in_doubt = row.in_doubt.saturating_add(spent.doubt);
            row.saved = row.saved.saturating_add(total.sums.usd(LedgerKind::Saving));
            if let [.., job, model] = total.group.as_slice() {
                row.unpriced |= answered > 0 && self.unpriced.contains(&(job.clone(), model.clone()));
            }
        }
    }
}
