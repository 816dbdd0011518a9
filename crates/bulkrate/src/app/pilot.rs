//! `plan --pilot` and `run --plan`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_engine::EngineError;
use bulkrate_engine::event::Observer;
use bulkrate_engine::pilot::{Aim, PilotAsk, Promise};
use bulkrate_engine::spec::JobSpec;

use super::confirm::Consent;
use super::engine::{self, Stop};
use super::reads::talk;
use super::run::{Prepared, teller};
use super::{AppError, signals};
use crate::cli::Shared;
use crate::cli::pilot_args::{Pick, PilotArgs};
use crate::config::value::Percent;
use crate::report::{json, out, pilot as text};

/// What may be lost where nobody says.
const LOSS: Percent = Percent { permille: 20 };
/// Exit code of a command that was stopped.
const STOPPED: u8 = 130;

/// Asks a sample for real, and shows the plans that follow.
pub(super) fn pilot(shared: &Shared, job: Prepared, args: PilotArgs) -> Result<u8, AppError> {
    let from = job.pilot;
    let ask = PilotAsk {
        items: args.pilot.unwrap_or_default(),
        candidates: if args.candidates.is_empty() {
            from.candidates.unwrap_or_default()
        } else {
            args.candidates
        },
        labels: args.labels.or(from.labels),
        limit: None,
        cascade: None,
    };
    let loss = args.quality_loss.or(from.quality_loss).unwrap_or(LOSS);
    let promise = Promise { aim: Aim::Cheapest, loss_permille: loss.permille };
    let consent = Consent::new(args.yes, job.spec.run.budget.is_some(), false);
    let teller = Arc::new(teller(shared, None, true));
    let (stop, declined) = (Stop::new(), AtomicBool::new(false));
    signals::listen(stop.clone(), Arc::clone(&teller))?;
    let observer: Arc<dyn Observer> = Arc::<crate::report::teller::Teller>::clone(&teller);
    let confirm = |outlay: &_| consent.confirm_pilot(outlay, &teller, &declined);
    let found = engine::pilot(job.settings, &job.spec, &ask, promise, &confirm, observer, stop);
    teller.end();
    let found = match found {
        Err(AppError::Engine(EngineError::NotConfirmed { .. })) if declined.load(Ordering::Relaxed) => {
            return Err(AppError::Declined("sent"));
        }
        other => other?,
    };
    let Some(found) = found else {
        talk(shared, "stopped: what was answered is kept, and the same command goes on\n");
        return Ok(STOPPED);
    };
    if shared.json {
        out::json(&json::document(&found));
    } else {
        out::data(&text::text(&found));
    }
    Ok(0)
}

/// The job as a plan of its pilot would run it; says which one and why.
pub(super) fn picked(
    shared: &Shared,
    job: &Prepared,
    pick: Pick,
    loss: Option<Percent>,
) -> Result<JobSpec, AppError> {
    let loss = loss.or(job.pilot.quality_loss).unwrap_or(LOSS);
    let aim = if pick == Pick::Fastest { Aim::Fastest } else { Aim::Cheapest };
    let promise = Promise { aim, loss_permille: loss.permille };
    if !matches!(pick, Pick::Number(_)) {
        // Another plan would ask the items again that this one has paid for.
        if let Some((spec, id)) = engine::taken(job.settings.clone(), &job.spec)? {
            talk(shared, &text::taken_again(&spec, &id));
            return Ok(spec);
        }
    }
    let found = engine::replan(job.settings.clone(), &job.spec, promise)?;
    let number = match pick {
        Pick::Number(number) => Some(number),
        Pick::Cheapest | Pick::Fastest => found.winner,
    };
    let taken = number.and_then(|number| found.plan(number));
    let Some((line, spec)) = taken else {
        let what = number.map_or_else(
            || "no plan keeps what was asked".to_owned(),
            |number| format!("there is no plan {number}"),
        );
        let why = if number.is_some() {
            "`bulkrate plan ... --pilot N` shows their numbers".to_owned()
        } else {
            text::nothing(&found)
        };
        return Err(EngineError::BadSpec { code: "pilot-no-plan", what, why }.into());
    };
    talk(shared, &text::taken(&found, line, aim));
    engine::take(job.settings.clone(), &job.spec, spec)?;
    Ok(spec.clone())
}
