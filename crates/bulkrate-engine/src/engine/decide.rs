//! An operator's word about a doubt, carried out while no run is at work.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use bulkrate_core::ids::Sub;
use bulkrate_store::{JobRow, LedgerKind, LedgerQuery, Tx, Urgency, View};
use tokio::task::LocalSet;

use super::Engine;
use crate::EngineError;
use crate::decision::{Act, Decision};
use crate::event::Observer;
use crate::run::operator::obey;
use crate::run::recover::{doubt_lost_calls, open_batches};
use crate::stop::Stop;

impl Engine {
    /// Carries an operator's word out. Nothing that costs is sent; a batch that is adopted is collected by the next run.
    ///
    /// # Errors
    /// The submission is unknown; the provider cannot be asked for the batch that is to be adopted.
    pub async fn decide(&self, decision: &Decision, observer: Arc<dyn Observer>) -> Result<(), EngineError> {
        let reader = self.reader()?;
        let row = job_of(&*reader, decision)?;
        let spec = crate::deliver::spec_of(&row)?;
        let prepared = self.known(row, spec)?;
        if let (Act::Adopt { .. }, Some(found)) = (&decision.act, prepared.deployments.first())
            && found.account.lacks_key()
        {
            return Err(found.account.no_key());
        }
        // An order first: a crash in between leaves it to the next run.
        reader.put_order(&crate::reader::order(prepared.row.no, decision, self.clock.row_ms()))?;
        let plan = self.plan_of(&prepared, None)?;
        let stop = Stop::new();
        stop.detach();
        let job = Rc::new(self.job(&prepared, &plan, plan.lane, observer, stop)?);
        LocalSet::new()
            .run_until(async {
                doubt_lost_calls(&job)?;
                // What is said of these calls is said of rows: they must be there.
                job.commit(Tx::new(job.no), Urgency::Now).await?;
                let open = open_batches(&job)?;
                obey(&job, open).await
            })
            .await
    }
}

fn job_of(view: &dyn View, decision: &Decision) -> Result<JobRow, EngineError> {
    let row = Sub::parse(&decision.sub).map(|sub| view.submission(sub)).transpose()?.flatten();
    let no = match row {
        Some(row) => Some(row.job),
        None => doubted(view, &decision.sub)?,
    };
    let job = no.map(|no| view.job(no)).transpose()?.flatten();
    job.ok_or_else(|| crate::reader::unknown_doubt(&decision.sub, "no submission has this id"))
}

/// The job in whose ledger something without a row is in doubt: a batch that no row knows.
fn doubted(view: &dyn View, sub: &str) -> Result<Option<u32>, EngineError> {
    let Some(sub) = Sub::parse(sub) else { return Ok(None) };
    let mut job = None;
    let query = LedgerQuery { kind: Some(LedgerKind::Doubt), ..LedgerQuery::default() };
    view.ledger_scan(&query, &mut |entry| {
        job = (entry.sub == Some(sub)).then_some(entry.job);
        if job.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(job)
}
