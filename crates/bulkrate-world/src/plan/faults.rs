//! What may go wrong, and how often.

use crate::dice::Dice;

/// Chances in a thousand of what may go wrong, by the names of the fault catalogue.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// F04: no connection; nothing leaves.
    pub no_connection: u64,
    /// F01: 429.
    pub limited: u64,
    /// F03: a 5xx in the provider's own words, or a gateway's page; nothing was done.
    pub failing: u64,
    /// The key may not use the model.
    pub refused: u64,
    /// F06, F09: a request that is lost on its way.
    pub lost: u64,
    /// F07, F21: done, and the answer is lost.
    pub answer_lost: u64,
    /// F22: done, and a gateway answers 502.
    pub done_but_5xx: u64,
    /// F10, F11, F23: done, and the answer is garbage, or has no id.
    pub garbage: u64,
    /// F17: a create that arrives late.
    pub late: u64,
    /// F18, F28: a create that is delivered twice, the second time up to an hour late.
    pub twice: u64,
    /// Calls that are answered twenty times as late as others.
    pub slow: u64,
    /// Calls that wait twenty times as long as others for their connection, before anything leaves.
    pub unconnected: u64,
    /// F24: the list lags, up to so many milliseconds.
    pub list_lag_ms: u64,
    /// F25: a page repeats what the one before showed.
    pub page_repeats: u64,
    /// F29: batches of others in the list, some made of the very same file.
    pub foreign: u64,
    /// F30, F31: a status that goes back, or that nobody knows.
    pub odd_status: u64,
    /// F37: the batch is denied, for once.
    pub denied: u64,
    /// F34, F39: batches that expire with a part done.
    pub expires: u64,
    /// F36: batches that never come to an end by themselves.
    pub stuck: u64,
    /// F35: batches refused as a whole.
    pub batch_fails: u64,
    /// F50, F58: lines that are errors.
    pub line_errors: u64,
    /// F57: lines that are missing though paid for.
    pub line_missing: u64,
    /// F55: lines that come twice.
    pub line_twice: u64,
    /// F56, F61: lines of nobody, and lines that are none.
    pub line_strange: u64,
    /// F59: answers that are empty.
    pub empty: u64,
    /// Answers to several items of which some are missing, exchanged, shifted or cut, or that are no list.
    pub bundle_wrong: u64,
    /// F65: no usage.
    pub no_usage: u64,
    /// F53: a result file that is not there, for once.
    pub file_missing: u64,
    /// An input that may not be deleted, where that is told from one that is not there.
    pub input_kept: u64,
    /// Results that are named so long after the end.
    pub results_late_ms: u64,
    /// F72, F73: a commit that fails; the disk is not asked again.
    pub disk: u64,
    /// Chance in a thousand at each point between two effects that the process dies there (F70).
    pub crash: u64,
    /// F75: what was written and not synced is lost in part when the process dies.
    pub torn: bool,
    /// F40: the clock stands elsewhere after a restart.
    pub clock: bool,
}

/// Each fault is on in some seeds only.
pub(super) fn faults(dice: &mut Dice) -> Faults {
    let crash = if dice.permille(700) { dice.pick(&[5, 20, 60]) } else { 0 };
    let clock = dice.permille(250);
    if dice.permille(100) {
        return Faults { crash, clock, ..Faults::default() }; // a well-behaved provider
    }
    let mut on = |chance: u64, strengths: &[u64]| {
        if dice.permille(chance) { dice.pick(strengths) } else { 0 }
    };
    Faults {
        no_connection: on(200, &[20, 200]),
        limited: on(250, &[30, 200]),
        failing: on(250, &[30, 200]),
        refused: 0,
        lost: on(200, &[20, 100, 300]),
        answer_lost: on(300, &[20, 100, 300]),
        done_but_5xx: on(250, &[50, 300]),
        garbage: on(200, &[20, 200]),
        late: on(200, &[100, 400]),
        twice: 0,
        slow: 0,
        unconnected: 0,
        list_lag_ms: on(300, &[5_000, 119_000]),
        page_repeats: on(150, &[200]),
        foreign: on(300, &[300, 900]),
        odd_status: on(200, &[100]),
        denied: on(150, &[50]),
        expires: on(250, &[200, 600]),
        stuck: 0,
        batch_fails: on(150, &[200]),
        line_errors: on(300, &[50, 300]),
        line_missing: on(200, &[100]),
        line_twice: on(250, &[200]),
        line_strange: on(150, &[200]),
        empty: on(150, &[50]),
        bundle_wrong: 0,
        no_usage: on(100, &[100]),
        file_missing: on(150, &[200]),
        input_kept: 0,
        results_late_ms: 0,
        disk: on(100, &[5]),
        torn: false,
        crash,
        clock,
    }
}
