//! `bulkrate doubt`: shows what is in doubt, and carries the operator's word to the engine, or out where none is at work.

use std::sync::Arc;

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::decision::{Act, Decision};
use bulkrate_engine::event::Observer;
use bulkrate_engine::spec::RunSpec;
use bulkrate_engine::view::DoubtLine;
use serde_json::json;

use super::confirm::ask;
use super::reads::{state, talk};
use super::{AppError, accounts, engine, run, whose};
use crate::cli::{AdoptArgs, DoubtCommand, ReleaseArgs, Shared};
use crate::config::job_file::Provider;
use crate::config::{ConfigError, Defaults};
use crate::report::teller::{Talk, Teller};
use crate::report::{json, out, views, words};

/// An engine at work takes an order within a second, and may have to ask the provider first.
const WAIT_MS: u64 = 10_000;

pub(super) fn doubt(shared: &Shared, command: DoubtCommand) -> Result<u8, AppError> {
    match command {
        DoubtCommand::List { job } => list(shared, job.as_deref()),
        DoubtCommand::Adopt(args) => adopt(shared, args),
        DoubtCommand::Release(args) => release(shared, &args),
    }
}

fn list(shared: &Shared, job: Option<&str>) -> Result<u8, AppError> {
    let lines = engine::doubts(&state(shared)?, job)?;
    if shared.json {
        out::json(&json::document(&lines));
    } else {
        out::data(&views::doubts(&lines));
    }
    Ok(0)
}

fn adopt(shared: &Shared, args: AdoptArgs) -> Result<u8, AppError> {
    let line = engine::doubt(&state(shared)?, &args.sub)?;
    if matches!(line.state.as_str(), "booked" | "kept" | "unanswered" | "ghost") {
        let why = if line.state == "ghost" {
            "no row of this state folder says which items it has: its answers cannot be taken in"
        } else {
            "its items have ended, or are calls: there is no batch to adopt"
        };
        return Err(
            ConfigError::option("SUB", why, Some("`bulkrate doubt release` decides what was paid")).into()
        );
    }
    said(shared, &line, Act::Adopt { batch: args.batch })
}

fn release(shared: &Shared, args: &ReleaseArgs) -> Result<u8, AppError> {
    use std::io::IsTerminal as _;
    let line = engine::doubt(&state(shared)?, &args.sub)?;
    let cost = args.cost.map(|cost| cost.0);
    // What a ghost can cost is guessed from another job's items: the bill knows better.
    let too_much = |cost: UsdNanos| cost > line.price_at_most && line.state != "ghost";
    if cost.is_some_and(|cost| cost < UsdNanos::ZERO || too_much(cost)) {
        let why = format!("it can have cost USD {} at most", line.price_at_most);
        return Err(ConfigError::option("--cost", &why, None).into());
    }
    let act = if args.absent { Act::Absent } else { Act::Paid { cost, again: args.again } };
    let can_ask = std::io::stdin().is_terminal() && out::stderr_is_terminal();
    if !(args.yes || (can_ask && ask(&question(&line, &act)))) {
        return Err(AppError::Declined("changed"));
    }
    said(shared, &line, act)
}

fn question(line: &DoubtLine, act: &Act) -> String {
    let items = words::counted(line.items, "item");
    match act {
        Act::Absent => format!(
            "{items}, USD {} at most: if it was run after all, it is paid twice. Was it surely not run?",
            words::usd(line.price_at_most)
        ),
        Act::Paid { again: true, .. } => format!("{items} are asked for and paid once more. Go on?"),
        _ => format!("Book {items} as paid?"),
    }
}

/// To the engine at work, or carried out here.
fn said(shared: &Shared, line: &DoubtLine, act: Act) -> Result<u8, AppError> {
    let dir = state(shared)?;
    let sub = line.sub.clone().unwrap_or_default();
    let decision = Decision { sub: sub.clone(), act, who: who() };
    let taken = engine::order_doubt(&dir, &decision, WAIT_MS)?;
    if taken.is_none() {
        let defaults = Defaults::load()?;
        let reached = whose::stored(&dir, &line.job, Provider::default())?.reached;
        let settings = run::settings(shared, &defaults, &reached, RunSpec::default().concurrency_max)?;
        let talk = if shared.quiet { Talk::Quiet } else { Talk::Lines };
        let teller: Arc<dyn Observer> = Arc::new(Teller::new(talk, None));
        engine::decide(settings, &decision, teller)?;
    }
    let ordered = taken == Some(false);
    let left = engine::doubts(&dir, Some(&line.job))?.into_iter().find(|left| left.sub == line.sub);
    let decided = !ordered && left.as_ref().is_none_or(|left| settles(&decision.act, line, left));
    if shared.json {
        out::json(&json!({ "job": line.job, "sub": sub, "ordered": ordered, "decided": decided }));
    }
    talk(shared, &outcome(line, ordered, decided, left.as_ref()));
    Ok(if decided || ordered { 0 } else { 1 })
}

/// Whether what is left in doubt is what the word leaves.
fn settles(act: &Act, before: &DoubtLine, left: &DoubtLine) -> bool {
    match act {
        Act::Paid { cost: None, .. } => left.state == "kept",
        Act::Adopt { .. } | Act::Absent | Act::Paid { .. } => {
            left.state == "booked" && !matches!(before.state.as_str(), "booked" | "ghost")
        }
    }
}

fn outcome(line: &DoubtLine, ordered: bool, decided: bool, left: Option<&DoubtLine>) -> String {
    if ordered {
        return "the order waits: it is taken when this job is next at work\n".to_owned();
    }
    if decided {
        return format!("decided; the ledger of `{}` says by whom\n", line.name);
    }
    let why = left.and_then(|left| left.known.last().cloned()).unwrap_or_default();
    format!("nothing was changed: {why}\n")
}

/// Who speaks, for the ledger.
fn who() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(accounts::process_env)
        .map_or_else(|| "unknown".to_owned(), |name| name.chars().take(64).collect())
}
