//! Whether a job may start: asks a person above one dollar, and wants a budget or `--yes` where nobody can be asked.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::Stop;
use bulkrate_engine::pilot::Outlay;
use bulkrate_engine::plan::Plan;

use crate::report::teller::Teller;
use crate::report::{out, pilot, words};

/// How soon a wish to stop is heard while a person thinks.
const LOOKS: Duration = Duration::from_millis(50);
/// Plans up to this much start without a question.
const ASK_ABOVE: UsdNanos = UsdNanos::dollars(1);

/// What the flags and the terminal say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consent {
    pub yes: bool,
    pub budget_given: bool,
    /// A person can be asked: standard input and standard error are a terminal, and the data does not come that way.
    pub on_terminal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Go,
    Ask,
    /// Nobody can be asked, and nobody said yes.
    No,
}

impl Consent {
    pub(super) fn new(yes: bool, budget_given: bool, data_on_stdin: bool) -> Self {
        let on_terminal = std::io::stdin().is_terminal() && out::stderr_is_terminal() && !data_on_stdin;
        Self { yes, budget_given, on_terminal }
    }

    fn answer(self, plan: &Plan) -> Answer {
        self.answer_to(plan.requests, plan.is_priced(), plan.price().1)
    }

    fn answer_to(self, requests: u64, priced: bool, price: UsdNanos) -> Answer {
        match (self.yes || requests == 0, self.on_terminal) {
            (true, _) => Answer::Go,
            (false, true) if priced && price <= ASK_ABOVE => Answer::Go,
            (false, true) => Answer::Ask,
            (false, false) if self.budget_given => Answer::Go,
            (false, false) => Answer::No,
        }
    }

    /// Shows the plan and decides; `declined` is set when a person says no.
    pub(super) fn confirm(self, plan: &Plan, teller: &Teller, stop: &Stop, declined: &AtomicBool) -> bool {
        teller.plan(plan);
        let question = || question(plan);
        put(self.answer(plan), &question, teller, stop, declined)
    }

    /// The same of what a pilot would cost.
    pub(super) fn confirm_pilot(
        self,
        of: &Outlay,
        teller: &Teller,
        stop: &Stop,
        declined: &AtomicBool,
    ) -> bool {
        teller.say(&pilot::outlay(of));
        put(self.answer_to(of.requests, of.priced, of.p95), &|| pilot_question(of), teller, stop, declined)
    }
}

/// Asks where that is to be asked; `declined` is set when a person says no. Who has stopped the job while its source was read is not asked.
fn put(
    answer: Answer,
    question: &dyn Fn() -> String,
    teller: &Teller,
    stop: &Stop,
    declined: &AtomicBool,
) -> bool {
    match answer {
        _ if stop.is_detaching() => false,
        Answer::Go => true,
        Answer::No => false,
        Answer::Ask => {
            let go = teller.aside(|| ask_until(&question(), stop));
            declined.store(!go, Ordering::Relaxed);
            go
        }
    }
}

fn pilot_question(of: &Outlay) -> String {
    if of.priced {
        format!("Hardly above USD {}. Start?", words::usd(of.p95))
    } else {
        "What it costs is not known, as a model has no known price. Start?".to_owned()
    }
}

fn question(plan: &Plan) -> String {
    let (expected, p95) = plan.price();
    if plan.is_priced() {
        return format!("About USD {}, hardly above USD {}. Start?", words::usd(expected), words::usd(p95));
    }
    let embeds = plan.embedding.as_ref().filter(|of| !of.priced).map(|of| &of.model);
    let unpriced: Vec<&str> = plan.unpriced_models.iter().chain(embeds).map(String::as_str).collect();
    format!("No price is known for `{}`. Start?", unpriced.join("`, `"))
}

/// `true` for `y` and `yes`.
pub(super) fn ask(question: &str) -> bool {
    out::talk(&format!("{question} [y/N] "));
    said_yes()
}

fn said_yes() -> bool {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

/// The same while signals are listened to: a read of a terminal does not hear them, so a thread of its own waits for the answer.
fn ask_until(question: &str, stop: &Stop) -> bool {
    out::talk(&format!("{question} [y/N] "));
    let (sender, answer) = std::sync::mpsc::channel();
    // Nobody may wait for it any more.
    std::thread::spawn(move || sender.send(said_yes()).ok());
    answered(&answer, stop)
}

/// What a person says, or no once somebody wishes to stop.
fn answered(answer: &Receiver<bool>, stop: &Stop) -> bool {
    loop {
        match answer.recv_timeout(LOOKS) {
            Ok(yes) => return yes,
            Err(RecvTimeoutError::Timeout) if !stop.is_detaching() => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::a_plan;

    #[test]
    fn nobody_is_asked_to_agree_to_a_price_that_is_not_known() {
        let of = Outlay {
            items: 10,
            models: vec!["a".to_owned()],
            requests: 10,
            expected: UsdNanos::ZERO,
            p95: UsdNanos::ZERO,
            worst: UsdNanos::ZERO,
            spent: UsdNanos::ZERO,
            priced: false,
            whole: None,
        };
        assert!(pilot_question(&of).contains("not known") && !pilot_question(&of).contains("USD"));
        let priced = Outlay { priced: true, p95: UsdNanos::dollars(2), ..of };
        assert!(pilot_question(&priced).contains("USD 2.00"));
    }

    #[test]
    fn who_stops_instead_of_answering_is_not_waited_for() {
        let (sender, answer) = std::sync::mpsc::channel();
        sender.send(true).ok();
        assert!(answered(&answer, &Stop::new()), "who has answered is heard");
        let stop = Stop::new();
        stop.detach();
        assert!(!answered(&answer, &stop), "nobody says anything any more");
    }

    #[test]
    fn who_is_asked_and_who_is_refused() {
        for (yes, budget, terminal, p95, want) in [
            (true, false, false, 50, Answer::Go),
            (false, true, false, 50, Answer::Go),
            (false, false, false, 0, Answer::No),
            (false, false, true, 1, Answer::Go),
            (false, false, true, 2, Answer::Ask),
            (false, true, true, 2, Answer::Ask), // a budget is a cap, not a consent, where a person is there
        ] {
            let mut plan = a_plan();
            plan.lanes.iter_mut().for_each(|lane| lane.p95 = UsdNanos::dollars(p95));
            let consent = Consent { yes, budget_given: budget, on_terminal: terminal };
            assert_eq!(consent.answer(&plan), want, "{consent:?} {p95}");
        }
        let nothing = Plan { requests: 0, ..a_plan() };
        assert_eq!(
            Consent { yes: false, budget_given: false, on_terminal: false }.answer(&nothing),
            Answer::Go
        );
    }
}
