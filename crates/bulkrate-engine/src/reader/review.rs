//! Samples for reviewers: drawn from a job's answers, and read back with verdicts.

use std::collections::HashSet;
use std::path::Path;

use bulkrate_io::{OnBadLine, RowData, Source, SourceOptions};
use bulkrate_store::{JobRow, NewOrder, View};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::deliver::{ITEM_COLUMN, OK_COLUMN, Outputs, ReviewSpec, deliver_to, is_taken, spec_of};
use crate::paths::JobDir;
use crate::view::Judged;

/// The order under which verdicts are kept: any process may leave one, and an engine at work sees it.
const VERB: &str = "review";

#[derive(Serialize, Deserialize)]
struct Payload {
    items: u64,
    wrong: u64,
}

/// The newest verdicts on a job's answers.
pub(crate) fn judged(view: &dyn View, job: u32) -> Result<Option<Judged>, EngineError> {
    let orders = view.orders()?;
    let Some(newest) =
        orders.iter().map(|order| &order.order).rfind(|order| order.job == job && order.verb == VERB)
    else {
        return Ok(None);
    };
    let payload: Payload = serde_json::from_str(&newest.payload).map_err(|error| {
        EngineError::Internal(format!("the verdicts that are kept cannot be read: {error}"))
    })?;
    Ok(Some(Judged::new(payload.items, payload.wrong, newest.at_ms)))
}

pub(super) fn keep(view: &dyn View, job: &JobRow, found: &Judged) -> Result<(), EngineError> {
    let payload = Payload { items: found.items, wrong: found.wrong };
    let payload =
        serde_json::to_string(&payload).map_err(|error| EngineError::Internal(error.to_string()))?;
    view.put_order(&NewOrder { job: job.no, verb: VERB.to_owned(), payload, at_ms: found.at_ms })?;
    Ok(())
}

pub(super) fn draw(
    view: &dyn View,
    job: &JobRow,
    dir: &JobDir,
    path: &Path,
    permille: Option<u32>,
) -> Result<u64, EngineError> {
    if is_taken(path) {
        return Err(EngineError::BadSpec {
            code: "review-kept",
            what: format!("`{}` is there already and was not replaced", path.display()),
            why: "it holds verdicts, or is no sample; choose another name".to_owned(),
        });
    }
    let permille = permille.unwrap_or(spec_of(job)?.run.review_permille);
    let outputs = Outputs { sink: None, review: Some(ReviewSpec { path: path.to_owned(), permille }) };
    Ok(deliver_to(view, job, dir, &outputs, &mut |_, _| ())?.review_items)
}

/// Reads the verdicts in a sample: in `_ok` yes or no, nothing where an answer was not judged.
pub(super) fn read(path: &Path, items: u64, now_ms: i64) -> Result<Judged, EngineError> {
    let options = SourceOptions { on_bad_line: OnBadLine::Fail, ..SourceOptions::new(path) };
    let mut source = Source::open(&options)?;
    let columns = source.columns().to_vec();
    let place = |name: &str| columns.iter().position(|column| column == name);
    let places = (place(ITEM_COLUMN), place(OK_COLUMN));
    let invalid = |why: String| EngineError::BadSpec {
        code: "review-invalid",
        what: format!("`{}` cannot be taken as a judged sample", path.display()),
        why,
    };
    let (mut seen, mut judged, mut wrong) = (HashSet::new(), 0, 0);
    while let Some(row) = source.next()? {
        let line = row.line;
        let cells = match (&row.data, places) {
            (RowData::Json(row), _) => row
                .get(ITEM_COLUMN)
                .map(|item| item.cell().into_owned())
                .zip(row.get(OK_COLUMN).map(|ok| ok.cell().into_owned())),
            (RowData::Cells(cells), (Some(item), Some(ok))) => {
                cells.get(item).map(str::to_owned).zip(cells.get(ok).map(str::to_owned))
            }
            _ => None,
        };
        let Some((item, ok)) = cells else {
            return Err(invalid(format!("line {line} has no `{ITEM_COLUMN}` or no `{OK_COLUMN}`")));
        };
        let number = item.trim().parse::<u64>().ok().filter(|number| (1..=items).contains(number));
        let Some(number) = number else {
            return Err(invalid(format!("line {line}: the job has no item `{item}`")));
        };
        if !seen.insert(number) {
            return Err(invalid(format!("line {line}: item {number} is there twice")));
        }
        match verdict(&ok) {
            Some(Some(right)) => {
                judged += 1;
                wrong += u64::from(!right);
            }
            Some(None) => {}
            None => {
                return Err(invalid(format!("line {line}: `{OK_COLUMN}` is `{ok}`; write `yes` or `no`")));
            }
        }
    }
    if judged == 0 {
        return Err(invalid(format!("no row has a verdict in `{OK_COLUMN}`")));
    }
    Ok(Judged::new(judged, wrong, now_ms))
}

/// `Some(None)`: not judged; `None`: no verdict.
#[allow(clippy::option_option, reason = "three answers: right or wrong, not judged, no verdict")]
fn verdict(text: &str) -> Option<Option<bool>> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "null" => Some(None),
        "yes" | "y" | "true" | "ok" | "right" | "1" => Some(Some(true)),
        "no" | "n" | "false" | "wrong" | "0" => Some(Some(false)),
        _ => None,
    }
}
