//! `bulkrate doubt`: what may have been paid and is not known to be, what was tried, and who is next.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::submission::KnownBy;
use bulkrate_store::fold::{ItemStates, State};
use bulkrate_store::{JobRow, LedgerKind, LedgerQuery, NewOrder, Submission, SubmissionState, View};

use crate::EngineError;
use crate::decision::{Decision, VERB, is_ghost, is_hedge, is_kept, is_operators, is_window};
use crate::deliver::spec_of;
use crate::lane::submission::{Evidence, evidence};
use crate::run::recover::open_calls;
use crate::view::DoubtLine;

/// A batch with our mark that no row here knows.
const GHOST_STATE: &str = "ghost";
/// Copies of slow calls: whoever hedges has said that they may be billed.
const HEDGE_STATE: &str = "hedge";

/// An order as the engine takes it.
pub(crate) fn order(job: u32, decision: &Decision, at_ms: i64) -> NewOrder {
    let payload = serde_json::to_string(decision).unwrap_or_default();
    NewOrder { job, verb: VERB.to_owned(), payload, at_ms }
}

pub(crate) fn unknown_doubt(sub: &str, why: &str) -> EngineError {
    EngineError::BadSpec {
        code: "doubt-unknown",
        what: format!("nothing is in doubt about `{sub}`"),
        why: why.to_owned(),
    }
}

/// The line of one submission, named by its id or the beginning of it.
pub(super) fn find(lines: Vec<DoubtLine>, wanted: &str) -> Result<DoubtLine, EngineError> {
    let mut found: Vec<DoubtLine> = lines
        .into_iter()
        .filter(|line| !wanted.is_empty() && line.sub.as_ref().is_some_and(|sub| sub.starts_with(wanted)))
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(unknown_doubt(wanted, "`bulkrate doubt list` shows what is")),
        several => {
            Err(unknown_doubt(wanted, &format!("{several} submissions begin so; write more of the id")))
        }
    }
}

/// All of one job, by the time since when.
pub(super) fn lines(view: &dyn View, job: &JobRow, at_work: bool) -> Result<Vec<DoubtLine>, EngineError> {
    let waiting: Vec<String> = view
        .orders()?
        .into_iter()
        .filter(|order| order.order.job == job.no && order.order.verb == VERB)
        .filter_map(|order| serde_json::from_str::<Decision>(&order.order.payload).ok())
        .map(|decision| decision.sub)
        .collect();
    let mut lines: Vec<DoubtLine> = view
        .open_submissions(job.no)?
        .iter()
        .filter(|row| row.state.is_undecided() && !(at_work && row.state == SubmissionState::Sending))
        .map(|row| batch(job, row, at_work))
        .collect();
    lines.extend(booked(view, job, at_work)?);
    if !at_work {
        lines.extend(unanswered(view, job)?);
    }
    for line in &mut lines {
        line.ordered = line.sub.as_ref().is_some_and(|sub| waiting.contains(sub));
    }
    lines.sort_by(|left, right| (left.since_ms, &left.sub).cmp(&(right.since_ms, &right.sub)));
    Ok(lines)
}

fn line(job: &JobRow, sub: Option<Sub>, lane: Option<Lane>, state: &str) -> DoubtLine {
    DoubtLine {
        job: job.id.clone(),
        name: job.name.clone(),
        sub: sub.map(|sub| sub.to_string()),
        lane: lane.map_or("", Lane::name).to_owned(),
        state: state.to_owned(),
        batch: None,
        items: 0,
        price_at_most: UsdNanos::ZERO,
        since_ms: 0,
        known: Vec::new(),
        next: String::new(),
        suggestion: String::new(),
        waits: true,
        ordered: false,
    }
}

/// A batch of which nobody knows yet whether it exists.
fn batch(job: &JobRow, row: &Submission, at_work: bool) -> DoubtLine {
    let sub = row.sub;
    let sent_ms = row.sent_at_ms.unwrap_or(row.created_at_ms);
    let kept = evidence(row);
    let known = kept
        .as_ref()
        .map_or_else(|| vec!["the process ended while the create was under way".to_owned()], tried);
    let next = match (row.state, at_work) {
        (SubmissionState::Unresolved, _) => "nothing: no evidence came in time, it waits for you".to_owned(),
        (_, true) => "it is being looked for".to_owned(),
        (_, false) => format!("`bulkrate resume {}` looks for it", job.name),
    };
    let bundled = spec_of(job).is_ok_and(|spec| spec.request.bundle.is_some());
    let mark = looked_for(kept.as_ref(), row, bundled);
    let since_ms = kept.and_then(|kept| i64::try_from(kept.doubt.since_ms).ok()).unwrap_or(sent_ms);
    DoubtLine {
        items: u64::from(row.items),
        price_at_most: row.reserved,
        since_ms,
        known,
        next,
        suggestion: format!(
            "look in the provider's console for a batch {mark}; it is there: `bulkrate doubt adopt {sub} BATCH`; it is not: `bulkrate doubt release {sub} --absent`; it was paid and is gone: `--paid`"
        ),
        waits: row.state == SubmissionState::Unresolved,
        ..line(job, Some(sub), Some(row.lane), row.state.name())
    }
}

/// What was learned and tried of a batch in doubt.
fn tried(kept: &Evidence) -> Vec<String> {
    let doubt = &kept.doubt;
    let mut known = vec![
        kept.why.clone(),
        match doubt.probes {
            1 => "looked for once in the provider's list".to_owned(),
            probes => format!("looked for {probes} times in the provider's list"),
        },
    ];
    if kept.known_by.has_fence() {
        known.push(match (doubt.fenced_ms, doubt.fence_tries) {
            (Some(_), _) => "its input file is deleted".to_owned(),
            (None, 0) => "its input file was not deleted yet".to_owned(),
            (None, tries) => format!("its input file could not be deleted in {tries} tries"),
        });
    }
    if kept.known_by == KnownBy::Results {
        let why = "no mark can be written on such a batch, and others may make batches there too: only its results can tell";
        known.push(why.to_owned());
    }
    if doubt.clean_first_ms.is_some() {
        known.push("a complete list did not show it".to_owned());
    }
    known.extend(kept.refused.iter().map(|why| format!("not adopted: {why}")));
    known
}

/// What a person looks for at the provider.
fn looked_for(kept: Option<&Evidence>, row: &Submission, bundled: bool) -> String {
    let (sub, items) = (row.sub, row.items);
    let marked = format!("with `br_sub` = {sub}");
    // Several items may be in one request.
    let most = if bundled { "at most " } else { "" };
    let alike = format!("of {most}{items} requests that was made then");
    match kept.map(|kept| kept.known_by) {
        Some(KnownBy::Mark) => marked,
        Some(KnownBy::Input) => {
            format!("of the input file {}", row.remote_input.as_deref().unwrap_or("that was uploaded then"))
        }
        Some(KnownBy::Looks | KnownBy::Results) => alike,
        None => format!("{marked} (where batches have no such mark: one {alike})"),
    }
}

/// What is booked as doubt: items have ended or were asked again, only money is open.
fn booked(view: &dyn View, job: &JobRow, at_work: bool) -> Result<Vec<DoubtLine>, EngineError> {
    let mut lines: BTreeMap<Option<Sub>, DoubtLine> = BTreeMap::new();
    for kind in [LedgerKind::Doubt, LedgerKind::DoubtCleared] {
        let query = LedgerQuery { kind: Some(kind), ..LedgerQuery::of_job(job.no) };
        view.ledger_scan(&query, &mut |entry| {
            let of = lines.entry(entry.sub).or_insert_with(|| DoubtLine {
                since_ms: entry.at_ms,
                ..line(job, entry.sub, entry.lane, "booked")
            });
            if kind == LedgerKind::Doubt {
                of.items += u64::from(entry.items);
                of.price_at_most = of.price_at_most.saturating_add(entry.usd);
            } else {
                of.price_at_most.0 -= entry.usd.0;
            }
            let note = entry.note.as_deref().unwrap_or("");
            if (is_operators(note) || is_window(note)) && !of.known.iter().any(|known| known == note) {
                of.known.push(note.to_owned());
            }
            if is_ghost(note) && kind == LedgerKind::Doubt {
                GHOST_STATE.clone_into(&mut of.state);
            }
            if is_hedge(note) {
                HEDGE_STATE.clone_into(&mut of.state);
                of.waits = false;
            }
            if is_kept(note) {
                "kept".clone_into(&mut of.state);
                of.waits = false;
            }
            ControlFlow::Continue(())
        })?;
    }
    let mut open = Vec::new();
    for (sub, line) in lines.into_iter().filter(|(_, line)| line.price_at_most > UsdNanos::ZERO) {
        let row = sub
            .filter(|_| at_work && line.state == HEDGE_STATE)
            .map(|sub| view.submission(sub))
            .transpose()?;
        let goes_on = row.flatten().is_some_and(|row| row.epoch == view.epoch());
        let line = explained(job, line);
        open.push(if goes_on { of_this_run(line) } else { line });
    }
    Ok(open)
}

/// Copies of the run that is at work: more of them may go out, and some of this may still end by itself.
fn of_this_run(line: DoubtLine) -> DoubtLine {
    DoubtLine {
        next: "the run at work sends copies under it; what of this stands when it has ended is for you to decide".to_owned(),
        suggestion: "let the run end, then ask again".to_owned(),
        ..line
    }
}

fn explained(job: &JobRow, mut line: DoubtLine) -> DoubtLine {
    let why = if line.lane == Lane::Batch.name() {
        "the batch ended, or was given up, without a word about these items"
    } else {
        "sent, and no answer came that could be read"
    };
    if !line.known.iter().any(|known| is_window(known)) {
        line.known.insert(0, why.to_owned());
    }
    let next = if line.state == GHOST_STATE {
        "nothing: no job here sends anything new until you decide"
    } else {
        "nothing: it counts against the budget until the bill or you decide"
    };
    next.clone_into(&mut line.next);
    line.suggestion = match &line.sub {
        Some(sub) if line.state == GHOST_STATE => format!(
            "look in the provider's console what the batch with `br_sub` = {sub} has cost: `bulkrate doubt release {sub} --paid --cost USD`; it was not run: `--absent`. Is a copy of this folder at work elsewhere? End it first"
        ),
        Some(sub) if line.waits || line.state == HEDGE_STATE => format!(
            "compare with the bill: `bulkrate verify {} --bill FILE`; then `bulkrate doubt release {sub} --absent`, or `--paid --cost USD`",
            job.name
        ),
        _ => format!("compare with the bill: `bulkrate verify {} --bill FILE`", job.name),
    };
    line
}

/// Calls of a process that is gone: leased, and no outcome. The next run books them.
fn unanswered(view: &dyn View, job: &JobRow) -> Result<Vec<DoubtLine>, EngineError> {
    let states = ItemStates::load(view, job.no)?;
    if states.counts().of(State::Leased) == 0 {
        return Ok(Vec::new());
    }
    let mut lines: BTreeMap<Sub, DoubtLine> = BTreeMap::new();
    for (sub, lane, lease) in open_calls(view, job.no, &states)?.into_values() {
        let of = lines.entry(sub).or_insert_with(|| DoubtLine {
            known: vec!["the process ended while the calls were under way".to_owned()],
            next: format!("`bulkrate resume {}` books it and goes on", job.name),
            suggestion: "resume the job, or say what became of them: `bulkrate doubt release`".to_owned(),
            waits: false,
            ..line(job, Some(sub), Some(lane), "unanswered")
        });
        of.items += 1;
        of.price_at_most = of.price_at_most.saturating_add(lease.bound);
    }
    for (sub, line) in &mut lines {
        line.since_ms = view.submission(*sub)?.map_or(0, |row| row.created_at_ms);
    }
    Ok(lines.into_values().collect())
}
