//! `bulkrate verify`: what the rows and files of a job prove, computed anew from all of them.
//!
//! Three readings: the history (fold, finals, receipts), the files, the ledger. A check that could not be made does
//! not pass.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::prepare::key_of;
use bulkrate_io::digest_file;
use bulkrate_store::fold::{ItemStates, State};
use bulkrate_store::{
    Fate, ItemChunk, ItemRec, JobRow, JobState, LedgerEntry, LedgerKind, LedgerQuery, LogChunk, Outcome,
    SubmissionState, Sums, View,
};

use super::status::sums;
use crate::EngineError;
use crate::deliver::{Lines, spec_of};
use crate::paths::{JobDir, io_error};
use crate::result_line::ResultLine;
use crate::view::{Check, Verification};

/// So many faults of one kind are named.
const NAMED_MAX: usize = 5;

/// Makes every check. `bill`: JSON of the provider's side with `total_usd_nanos`.
pub(super) fn verify(
    view: &dyn View,
    dir: &JobDir,
    job: &JobRow,
    bill: Option<&Path>,
) -> Result<Verification, EngineError> {
    let history = History::read(view, dir, job)?;
    let sums = sums(view, &LedgerQuery::of_job(job.no))?;
    let word = on_word(view, job)?;
    let mut checks = vec![
        history.one_outcome(view, job)?,
        history.paid_once(&sums, word),
        history.receipts(view, job, &sums, word)?,
        history.misfits(),
        history.readable.check("results are readable", format!("{} stored results read", history.lines_read)),
        files(view, dir, job)?,
        caps(view, job, &history.above)?,
    ];
    if let Some(bill) = bill {
        checks.push(bill_check(view, job.no, &sums, bill)?);
    }
    Ok(Verification { job: job.id.clone(), checks })
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

/// What one reading of leases and outcomes gives.
#[derive(Debug, Default)]
struct History {
    states: ItemStates,
    /// Final outcomes since the last revival, in the low four bits, and good ones ever, in the high four.
    finals: Vec<u8>,
    costs: UsdNanos,
    line_costs: UsdNanos,
    lines_read: u64,
    readable: Faults,
    above: Above,
}

/// Answers that cost more than was reserved for them.
#[derive(Debug, Default)]
struct Above {
    /// Bounds of open leases.
    bounds: HashMap<u32, UsdNanos>,
    answers: Faults,
    excess: UsdNanos,
}

impl Above {
    fn feed(&mut self, chunk: LogChunk<'_>) {
        match chunk {
            LogChunk::Leases { leases, .. } => {
                self.bounds.extend(leases.iter().map(|lease| (lease.ordinal, lease.bound)));
            }
            LogChunk::Outcomes(outcomes) => outcomes.iter().for_each(|outcome| self.look(outcome)),
        }
    }

    fn look(&mut self, outcome: &Outcome) {
        if !outcome.via.is_attempt() {
            return;
        }
        // Nothing is reserved for what has no price.
        let bound = self.bounds.remove(&outcome.ordinal).filter(|bound| *bound > UsdNanos::ZERO);
        let Some(bound) = bound.filter(|bound| outcome.cost > *bound) else { return };
        self.excess = self.excess.saturating_add(outcome.cost - bound);
        self.answers
            .add(|| format!("item {} USD {} of at most USD {bound}", number(outcome.ordinal), outcome.cost));
    }

    /// What is to be said of them; they are no fault of the books.
    fn told(&self) -> String {
        if self.answers.count == 0 {
            return String::new();
        }
        format!(
            "; answers that cost more than their bounds: {}, by USD {} in all ({})",
            self.answers.count,
            self.excess,
            self.answers.named.join(", ")
        )
    }
}

impl History {
    fn read(view: &dyn View, dir: &JobDir, job: &JobRow) -> Result<Self, EngineError> {
        let mut history = Self::default();
        view.scan_items(job.no, 0, &mut |chunk| {
            history.states.push(chunk);
            ControlFlow::Continue(())
        })?;
        history.finals = vec![0; history.states.len()];
        let mut lines = Lines::new(dir, &view.submissions(job.no)?);
        view.scan_log(job.no, &mut |chunk| {
            history.states.feed(chunk);
            history.above.feed(chunk);
            if let LogChunk::Outcomes(outcomes) = chunk {
                for outcome in outcomes {
                    history.count(outcome);
                    history.line(outcome, &mut lines);
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(history)
    }

    fn count(&mut self, outcome: &Outcome) {
        self.costs = self.costs.saturating_add(outcome.cost);
        let Some(finals) = self.finals.get_mut(outcome.ordinal as usize) else { return };
        match outcome.fate {
            Fate::Revive => *finals &= 0xf0,
            Fate::Retry => {}
            Fate::Final => {
                if *finals & 0x0f < 0x0f {
                    *finals += 1;
                }
                if outcome.class.is_none() && *finals & 0xf0 < 0xf0 {
                    *finals += 0x10;
                }
            }
        }
    }

    /// Reads the line that an outcome points at: it must be the same attempt at the same item, at the same cost.
    fn line(&mut self, outcome: &Outcome, lines: &mut Lines) {
        if outcome.place.is_none() {
            self.line_costs = self.line_costs.saturating_add(outcome.cost);
            if outcome.fate == Fate::Final && outcome.class.is_none() {
                self.readable
                    .add(|| format!("item {} has a good answer without a line", number(outcome.ordinal)));
            }
            return;
        }
        self.lines_read += 1;
        let read = lines
            .parse(outcome.place)
            .map_err(|error| error.to_string())
            .and_then(|line| fits(&line, outcome));
        match read {
            Ok(cost) => self.line_costs = self.line_costs.saturating_add(cost),
            Err(why) => self
                .readable
                .add(|| format!("item {}, attempt {}: {why}", number(outcome.ordinal), outcome.attempt)),
        }
    }

    fn one_outcome(&self, view: &dyn View, job: &JobRow) -> Result<Check, EngineError> {
        let mut faults = Faults::default();
        let counts = self.states.recount();
        if self.states.len() as u64 != job.items && job.state != JobState::Preparing {
            faults.add(|| format!("{} items are stored, the job has {}", self.states.len(), job.items));
        }
        for (ordinal, item) in self.states.iter() {
            let finals = self.finals[ordinal as usize] & 0x0f;
            let want = u8::from(item.state.is_final());
            if finals != want {
                faults.add(|| {
                    format!("item {} is {:?} with {finals} final outcomes", number(ordinal), item.state)
                });
            }
        }
        self.followers(view, job, &mut faults)?;
        let open = counts.open();
        if open > 0 && job.state == JobState::Done {
            faults.add(|| format!("the job is done, but {open} items are open"));
        }
        let proved = format!(
            "{} items: {} done, {} dead, {} cancelled, {} invalid, {} followers, {open} open",
            counts.total(),
            counts.of(State::Done),
            counts.of(State::Dead),
            counts.of(State::Cancelled),
            counts.of(State::Invalid),
            counts.of(State::Follower)
        );
        Ok(faults.check("one outcome per item", proved))
    }

    /// Every follower copies an item that runs.
    fn followers(&self, view: &dyn View, job: &JobRow, faults: &mut Faults) -> Result<(), EngineError> {
        if self.states.counts().of(State::Follower) == 0 {
            return Ok(());
        }
        view.scan_items(job.no, 0, &mut |chunk| {
            for (ordinal, _, item) in chunk.iter() {
                if let ItemRec::Follower { leader } = item
                    && self
                        .states
                        .get(*leader)
                        .is_none_or(|led| matches!(led.state, State::Follower | State::Invalid))
                {
                    faults.add(|| {
                        format!(
                            "item {} follows item {}, which does not run",
                            number(ordinal),
                            number(*leader)
                        )
                    });
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    fn paid_once(&self, sums: &Sums, word: UsdNanos) -> Check {
        let mut faults = Faults::default();
        for (ordinal, finals) in (0_u32..).zip(&self.finals).filter(|(_, finals)| **finals >> 4 > 1) {
            faults.add(|| format!("item {} has {} good answers", number(ordinal), finals >> 4));
        }
        let settled = sums.usd(LedgerKind::Settle) - word;
        if settled > self.costs {
            faults.add(|| format!("USD {} were settled beyond what the outcomes cost", settled - self.costs));
        }
        let twice = sums.usd(LedgerKind::Duplicate);
        if twice != UsdNanos::ZERO {
            faults.add(|| format!("USD {twice} were paid for answers that were there already; the ledger's notes name the windows"));
        }
        let good = self.finals.iter().filter(|finals| **finals >> 4 > 0).count();
        faults.check("no item paid twice", format!("{good} items have a good answer"))
    }

    fn receipts(
        &self,
        view: &dyn View,
        job: &JobRow,
        sums: &Sums,
        word: UsdNanos,
    ) -> Result<Check, EngineError> {
        let mut faults = Faults::default();
        let spent = sums.spent();
        let settled = sums.usd(LedgerKind::Settle) - word;
        if settled != self.costs {
            faults.add(|| format!("the ledger settled USD {settled}, the outcomes cost USD {}", self.costs));
        }
        if self.line_costs != self.costs {
            faults.add(|| {
                format!("the result files say USD {}, the outcomes USD {}", self.line_costs, self.costs)
            });
        }
        let unresolved = |state: SubmissionState| state != SubmissionState::Call && !state.is_terminal();
        let busy = self.states.counts().of(State::Leased) > 0
            || view.submissions(job.no)?.iter().any(|submission| unresolved(submission.state));
        if spent.reserved < UsdNanos::ZERO || (!busy && spent.reserved != UsdNanos::ZERO) {
            faults.add(|| {
                format!(
                    "USD {} are reserved, and {}",
                    spent.reserved,
                    if busy { "it cannot be less than nothing" } else { "nothing is in flight" }
                )
            });
        }
        if spent.doubt < UsdNanos::ZERO {
            faults.add(|| {
                format!("USD {} of doubt were cleared that were never booked", UsdNanos(-spent.doubt.0))
            });
        }
        let mut proved =
            format!("settled USD {settled}, reserved USD {}, in doubt USD {}", spent.reserved, spent.doubt);
        if word != UsdNanos::ZERO {
            proved.push_str(&format!(", settled on an operator's word USD {word}"));
        }
        if spent.doubt != UsdNanos::ZERO {
            proved.push_str(&doubts(view, job)?);
        }
        Ok(faults.check("ledger equals receipts", proved))
    }

    fn misfits(&self) -> Check {
        let mut faults = Faults::default();
        let misfits = self.states.misfits();
        for (count, what) in [
            (misfits.late, "outcomes ended no open attempt"),
            (misfits.leases, "leases took items that could not be taken"),
            (misfits.unknown, "rows name items that do not exist"),
        ] {
            if count > 0 {
                faults.add(|| format!("{count} {what}"));
            }
        }
        faults.check("fold has no misfits", format!("{} items folded", self.states.len()))
    }
}

/// The cost in the line, if the line is what the outcome says.
fn fits(line: &ResultLine<'_>, outcome: &Outcome) -> Result<UsdNanos, String> {
    if (line.item, line.attempt) != (outcome.ordinal, outcome.attempt) {
        return Err(format!("its line is of item {}, attempt {}", number(line.item), line.attempt));
    }
    if (line.status == "succeeded") != outcome.class.is_none() {
        return Err(format!(
            "its line says `{}`, its outcome `{}`",
            line.status,
            outcome.class.map_or("succeeded", bulkrate_core::failure::FailureClass::name)
        ));
    }
    UsdNanos::parse(&line.cost_usd).map_err(|error| error.to_string())
}

/// What was settled without a receipt, because an operator said that it was paid.
fn on_word(view: &dyn View, job: &JobRow) -> Result<UsdNanos, EngineError> {
    let mut sum = UsdNanos::ZERO;
    let query = LedgerQuery { kind: Some(LedgerKind::Settle), ..LedgerQuery::of_job(job.no) };
    view.ledger_scan(&query, &mut |entry| {
        if entry.note.as_deref().is_some_and(crate::decision::is_operators) {
            sum = sum.saturating_add(entry.usd);
        }
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}

/// The first doubts of a job, by submission or time.
fn doubts(view: &dyn View, job: &JobRow) -> Result<String, EngineError> {
    let mut named = Vec::new();
    let query = LedgerQuery { kind: Some(LedgerKind::Doubt), ..LedgerQuery::of_job(job.no) };
    view.ledger_scan(&query, &mut |entry| {
        let of = entry.sub.map_or_else(|| format!("at {} ms", entry.at_ms), |sub| format!("of {sub}"));
        named.push(format!("USD {} {of}", entry.usd));
        if named.len() < NAMED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(format!(" ({})", named.join(", ")))
}

/// Batch inputs against their digests, sealed requests against their keys.
fn files(view: &dyn View, dir: &JobDir, job: &JobRow) -> Result<Check, EngineError> {
    let mut faults = Faults::default();
    let mut inputs = 0_u64;
    for submission in view.submissions(job.no)?.iter().filter(|submission| submission.lane == Lane::Batch) {
        let Some(want) = &submission.input_digest else { continue };
        inputs += 1;
        match digest_file(dir.batch(submission.sub).input()) {
            Ok(digest) if digest == *want => {}
            Ok(digest) => {
                faults.add(|| format!("input.jsonl of {} has digest {digest}, not {want}", submission.sub));
            }
            Err(error) => faults.add(|| format!("input.jsonl of {}: {error}", submission.sub)),
        }
    }
    let keys = keys(view, dir, job, &mut faults)?;
    Ok(faults
        .check("files match digests", format!("{inputs} batch inputs and {keys} sealed requests hashed")))
}

/// Hashes every sealed request; returns how many.
fn keys(view: &dyn View, dir: &JobDir, job: &JobRow, faults: &mut Faults) -> Result<u64, EngineError> {
    let path = dir.requests();
    if job.items == 0 {
        return Ok(0);
    }
    let mut file =
        BufReader::with_capacity(1 << 20, File::open(&path).map_err(io_error("could not open", &path))?);
    let (mut hashed, mut line, mut at) = (0, Vec::new(), 0);
    view.scan_items(
        job.no,
        0,
        &mut |chunk| match hash_chunk(chunk, &mut file, &mut line, &mut at, faults) {
            Ok(count) => {
                hashed += count;
                ControlFlow::Continue(())
            }
            Err(error) => {
                faults.add(|| format!("requests.jsonl, byte {at}: {error}"));
                ControlFlow::Break(())
            }
        },
    )?;
    Ok(hashed)
}

fn hash_chunk(
    chunk: &ItemChunk,
    file: &mut impl Read,
    line: &mut Vec<u8>,
    at: &mut u64,
    faults: &mut Faults,
) -> std::io::Result<u64> {
    let mut hashed = 0;
    for (ordinal, offset, item) in chunk.iter() {
        let ItemRec::Leader { key, header_len, len, .. } = item else { continue };
        line.resize(*len as usize, 0);
        file.read_exact(line)?;
        hashed += 1;
        // The canonical form begins with the brace that stands in for the end of the header.
        let start = (*header_len as usize).checked_sub(1);
        let fits = start.is_some_and(|start| {
            let ends = *at == offset && line.last() == Some(&b'\n') && start < line.len();
            ends && {
                line[start] = b'{';
                key_of(&line[start..line.len() - 1]) == *key
            }
        });
        *at += u64::from(*len);
        if !fits {
            faults.add(|| format!("the sealed request of item {} does not have its key", number(ordinal)));
        }
    }
    Ok(hashed)
}

/// Folds the ledger and looks at every moment whether the job's cap held. Entries of one moment count together, as a
/// commit is one moment and gives back what it settles.
fn caps(view: &dyn View, job: &JobRow, above: &Above) -> Result<Check, EngineError> {
    let name = "caps held";
    let Some(budget) = spec_of(job)?.run.budget else {
        return Ok(Check {
            name: name.to_owned(),
            passed: true,
            detail: format!("the job has no budget of its own{}", above.told()),
        });
    };
    let mut faults = Faults::default();
    let (mut running, mut peak, mut moment, mut overflow) = (Sums::default(), UsdNanos::ZERO, None, false);
    let mut look = |at_ms: i64, running: &Sums| {
        let total = running.spent().total();
        peak = peak.max(total);
        if total > budget {
            faults.add(|| format!("USD {total} were settled, in doubt or reserved at {at_ms} ms"));
        }
    };
    view.ledger_scan(&LedgerQuery::of_job(job.no), &mut |entry: &LedgerEntry| {
        if let Some(before) = moment.replace(entry.at_ms).filter(|before| *before != entry.at_ms) {
            look(before, &running);
        }
        overflow |= running.add(entry.kind, entry.usd, 0).is_err();
        if overflow { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(last) = moment {
        look(last, &running);
    }
    if overflow {
        faults.add(|| "the ledger's sums overflow".to_owned());
    }
    Ok(faults.check(name, format!("at most USD {peak} of the budget of USD {budget}{}", above.told())))
}

/// What was settled at the bound because the provider reported no usage: the bill may be lower by as much.
fn estimated(view: &dyn View, jobs: &[u32]) -> Result<i64, EngineError> {
    let mut sum: i64 = 0;
    for job in jobs {
        view.scan_outcomes(*job, &mut |outcomes| {
            let costs = outcomes.iter().filter(|outcome| outcome.estimated).map(|outcome| outcome.cost.0);
            sum = sum.saturating_add(costs.sum());
            ControlFlow::Continue(())
        })?;
    }
    Ok(sum)
}

/// Decision 2: settled <= bill <= settled + doubt, for this job or, where the bill is of several jobs, for all of them.
/// What was settled without usage is an upper bound itself.
fn bill_check(view: &dyn View, job: u32, sums_of_job: &Sums, path: &Path) -> Result<Check, EngineError> {
    let text = std::fs::read_to_string(path).map_err(io_error("could not read", path))?;
    let total = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|bill| bill.get("total_usd_nanos")?.as_i64());
    let Some(total) = total else {
        return Err(EngineError::BadSpec {
            code: "bill-invalid",
            what: format!("`{}` is no bill", path.display()),
            why: "a bill is a JSON object with the whole number `total_usd_nanos`".to_owned(),
        });
    };
    let within = |sums: &Sums, estimated: i64| {
        let spent = sums.spent();
        let least = spent.settled.0.saturating_sub(estimated);
        (least..=spent.settled.0.saturating_add(spent.doubt.0)).contains(&total)
    };
    let all = sums(view, &LedgerQuery::default())?;
    let numbers: Vec<u32> = view.jobs()?.iter().map(|job| job.no).collect();
    let (own, every) = (estimated(view, &[job])?, estimated(view, &numbers)?);
    let (of, sums, estimated) = if within(sums_of_job, own) || !within(&all, every) {
        ("the job", *sums_of_job, own)
    } else {
        ("all jobs of the state", all, every)
    };
    let spent = sums.spent();
    let exact = if total == spent.settled.0 { "exactly" } else { "within the doubt and the bounds" };
    let told = format!(
        "bill USD {}, {of} settled USD {} and in doubt USD {}",
        UsdNanos(total),
        spent.settled,
        spent.doubt
    );
    let passed = within(&sums, estimated);
    let told = if estimated > 0 {
        format!("{told}, of it USD {} at the bound for lack of usage", UsdNanos(estimated))
    } else {
        told
    };
    let detail = if passed { format!("{told}: it fits {exact}") } else { told };
    Ok(Check { name: "bill equals ledger".to_owned(), passed, detail })
}
