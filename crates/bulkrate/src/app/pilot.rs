//! `plan --pilot` and `run --plan`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_core::route::nearest;
use bulkrate_engine::EngineError;
use bulkrate_engine::event::Observer;
use bulkrate_engine::pilot::{Aim, LOSS_PERMILLE, Line, PilotAsk, Piloted, Promise};
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
        // The engine takes the rest from the job.
        ..PilotAsk::default()
    };
    let loss = args.quality_loss.or(from.quality_loss).map_or(LOSS_PERMILLE, |loss| loss.permille);
    let promise = Promise { aim: Aim::Cheapest, loss_permille: loss };
    let consent = Consent::new(args.yes, job.spec.run.budget.is_some(), false);
    let teller = Arc::new(teller(shared, None, true));
    let (stop, declined) = (Stop::new(), AtomicBool::new(false));
    signals::listen(stop.clone(), Arc::clone(&teller))?;
    let observer: Arc<dyn Observer> = Arc::<crate::report::teller::Teller>::clone(&teller);
    let confirm = |outlay: &_| consent.confirm_pilot(outlay, &teller, &stop, &declined);
    let found = engine::pilot(job.settings, &job.spec, &ask, promise, &confirm, observer, stop.clone());
    teller.end();
    let found = match found {
        Err(AppError::Engine(EngineError::NotConfirmed { .. })) if stop.is_detaching() => {
            return Err(EngineError::Stopped.into());
        }
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
    pick: &Pick,
    loss: Option<Percent>,
) -> Result<JobSpec, AppError> {
    let aim = if *pick == Pick::Fastest { Aim::Fastest } else { Aim::Cheapest };
    if matches!(pick, Pick::Cheapest | Pick::Fastest) {
        // Another plan would ask the items again that this one has paid for.
        if let Some((spec, id)) = engine::taken(job.settings.clone(), &job.spec)? {
            talk(shared, &text::taken_again(&spec, &id));
            return Ok(spec);
        }
    }
    let found = engine::replan(job.settings.clone(), &job.spec, aim, loss.map(|loss| loss.permille))?;
    let (line, spec) = chosen(&found, pick)?;
    talk(shared, &text::taken(&found, line, aim));
    engine::take(job.settings.clone(), &job.spec, spec)?;
    Ok(spec.clone())
}

/// The plan that is asked for.
fn chosen<'p>(found: &'p Piloted, pick: &Pick) -> Result<Line<'p>, EngineError> {
    const LOOK: &str = "`bulkrate plan ... --pilot N` shows their names and numbers";
    let none = |what: String, why: String| EngineError::BadSpec { code: "pilot-no-plan", what, why };
    match pick {
        Pick::Cheapest | Pick::Fastest => {
            found.best().ok_or_else(|| none("no plan keeps what was asked".to_owned(), text::nothing(found)))
        }
        Pick::Name(name) => found.named(name).ok_or_else(|| {
            let near = nearest(name, found.plans.iter().map(|plan| plan.name.as_str()));
            let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            none(format!("there is no plan `{name}`{near}"), LOOK.to_owned())
        }),
        Pick::Number(number) => match found.numbered(*number) {
            None => Err(none(format!("there is no plan {number}"), LOOK.to_owned())),
            Some((_, Some(line))) => Ok(line),
            Some((name, None)) => Err(none(
                format!("the plans are others than those that were shown, where {number} was `{name}`"),
                "take it by its name, if it is still there, or look again with `bulkrate plan ... --pilot N`"
                    .to_owned(),
            )),
        },
    }
}
