//! `bulkrate verify`: what the rows and files of a job prove, computed anew from all of them.
//!
//! Four readings: the database itself, the history (fold, finals, receipts, savings), the files, the ledger. A check that could not
//! be made does not pass.

mod files;
mod unified;
mod savings;
mod served;
mod delivered;
mod history;
mod ledger;

use std::path::PathBuf;

use bulkrate_store::{JobRow, LedgerQuery, View};

use self::delivered::delivered;
use self::files::files;
use self::history::History;
pub(super) use self::ledger::on_word;
use self::ledger::{bill_check, caps, in_windows};
use super::savings::beside;
use super::status::sums;
use crate::EngineError;
use crate::deliver::spec_of;
use crate::engine::intake::{STDIN, identity};
use crate::paths::JobDir;
use crate::view::{Check, Verification};

/// So many faults of one kind are named.
const NAMED_MAX: usize = 5;

/// Makes every check. `bills`: JSON of each provider's side with `total_usd_nanos`.
pub(super) fn verify(
    view: &dyn View,
    dir: &JobDir,
    job: &JobRow,
    bills: &[PathBuf],
) -> Result<Verification, EngineError> {
    let whole = database(view)?;
    match rest(view, dir, job, bills) {
        Ok(mut checks) => {
            checks.insert(0, whole);
            Ok(Verification { job: job.id.clone(), checks })
        }
        // What cannot be read is no surprise then.
        Err(_) if !whole.passed => Ok(Verification { job: job.id.clone(), checks: vec![whole] }),
        Err(error) => Err(error),
    }
}

/// The rows are where the indexes say, and the pages hold together.
fn database(view: &dyn View) -> Result<Check, EngineError> {
    let mut faults = Faults::default();
    for broken in view.breakage()? {
        faults.add(|| broken);
    }
    Ok(faults.check("database is whole", "every page and index was read".to_owned()))
}

/// A job is named after what it asks of which source: a spec that gives another name was edited.
fn spec_fits(job: &JobRow) -> Result<Check, EngineError> {
    let mut faults = Faults::default();
    let spec = spec_of(job)?;
    let digest = if spec.source.path.is_none() { STDIN } else { &job.source_digest };
    let named = identity(&spec, digest)?;
    if named != job.id {
        faults.add(|| format!("the stored request, tags and source are those of a job `{named}`"));
    }
    Ok(faults.check("spec gives the job's id", format!("id {}", job.id)))
}

fn rest(view: &dyn View, dir: &JobDir, job: &JobRow, bills: &[PathBuf]) -> Result<Vec<Check>, EngineError> {
    let mut history = History::read(view, dir, job)?;
    let sums = sums(view, &LedgerQuery::of_job(job.no))?;
    let beside = beside(view, job.no, &sums)?;
    let [.., (_, _, word)] = beside;
    let mut checks = vec![
        history.one_outcome(view, job)?,
        history.paid_once(&sums, word, in_windows(view, job)?),
        history.receipts(view, job, &sums, word)?,
        std::mem::take(&mut history.savings).check(view, job, &beside)?,
        history.misfits(),
        history.readable.check("results are readable", format!("{} stored results read", history.lines_read)),
        spec_fits(job)?,
        files(view, dir, job)?,
        delivered(job),
        caps(view, job, &history.above)?,
    ];
    checks.extend(history.cascade(job)?);
    checks.extend(history.served.check());
    if !bills.is_empty() {
        checks.push(bill_check(view, job.no, &sums, bills)?);
    }
    Ok(checks)
}

/// What was found wrong: all counted, the first few named.
#[derive(Debug, Default)]
struct Faults {
    count: u64,
    named: Vec<String>,
}

impl Faults {
    fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(what());
        }
    }

    /// `proved` is told whether or not the check passes.
    fn check(&self, name: &str, proved: String) -> Check {
        let detail = match self.count {
            0 => proved,
            count => {
                let more = if count > self.named.len() as u64 {
                    format!("; and {} more", count - self.named.len() as u64)
                } else {
                    String::new()
                };
                format!("{}{more} ({proved})", self.named.join("; "))
            }
        };
        Check { name: name.to_owned(), passed: self.count == 0, detail }
    }
}

fn number(ordinal: u32) -> u64 {
    u64::from(ordinal) + 1
}
