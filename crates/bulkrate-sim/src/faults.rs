//! Faults that can be switched on, by name, rate and place.
//!
//! Written `NAME[:PLACE][=VALUE][@N]`. VALUE is the share of matching calls or lines that are hit (default 1), except for
//! `expire` (the share of lines that ran) and `vanish` (real seconds). `@N` hits only the Nth matching call, or line N of each
//! batch, counted from 1. PLACE narrows a fault of calls to one of `sync`, `create`, `upload`, `content`, `list`, `poll`,
//! `cancel`, `delete`. Every name is followed in the table by its code in the project's fault catalogue, which is an alias.

use crate::config::SimError;
use crate::rng::{hash, mix, unit};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which kind of call is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Sync,
    Create,
    Upload,
    Content,
    List,
    Poll,
    Cancel,
    Delete,
}

const PLACES: [(&str, Place); 8] = [
    ("sync", Place::Sync),
    ("create", Place::Create),
    ("upload", Place::Upload),
    ("content", Place::Content),
    ("list", Place::List),
    ("poll", Place::Poll),
    ("cancel", Place::Cancel),
    ("delete", Place::Delete),
];

macro_rules! faults {
    ($($variant:ident $name:literal [$($alias:literal),*] $does:literal;)*) => {
        /// Everything that can go wrong on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $($variant),* }

        const TABLE: &[(Fault, &str, &[&str], &str)] = &[$((Fault::$variant, $name, &[$($alias),*], $does)),*];
    };
}

faults! {
    TooMany "429" ["F01", "F02"] "call: 429 rate_limit_exceeded with retry-after (sync and create)";
    SlowDown "slow-down" [] "call: 429 slow_down (sync and create)";
    Quota "insufficient-quota" ["F27"] "call: 429 insufficient_quota, not retryable (sync and create)";
    Flex "flex-unavailable" [] "call: flex requests get 429 resource_unavailable, unbilled";
    FiveXx "5xx" ["F03"] "call: 500, 502 with an HTML page, or 503; not carried out";
    Overloaded "overloaded" [] "call: 503 server_is_overloaded or 529 HTML; not carried out";
    Revoked "revoked" [] "call: 401 invalid_api_key, as with a key that was taken back; not carried out";
    Html "html" ["F11"] "call: carried out, then 200 with an HTML page";
    Malformed "malformed" ["F10"] "call: carried out, then 200 with broken JSON";
    CutBody "truncated-body" ["F07", "F13"] "call: carried out, then half of the body and a closed connection";
    Reset "reset" ["F06"] "call: carried out, then closed before the headers";
    ResetEarly "reset-early" [] "call: closed before anything is carried out";
    Slow "slow" [] "call: answered `--slow-ms` late";
    Trickle "trickle" ["F08"] "call: the body arrives in 32 pieces, 20 ms apart";
    Vanish "vanish" ["F04"] "call: VALUE real seconds (default 2) without a listener; all connections closed (default @10)";
    CostBad "cost-malformed" ["F66"] "call: the cost header says NaN (sync)";
    UploadLost "upload-lost" ["F20"] "upload: stored, answer lost";
    CreateLost "create-lost" ["F21"] "create: created, answer lost";
    Create5xx "create-5xx" ["F22"] "create: created, answered 502";
    CreateNoId "create-no-id" ["F23"] "create: created, answered 200 without an id";
    CreateLate "create-late" ["F17"] "create: answer lost, created `--late-secs` later if the input file still exists";
    ListLag "list-lag" ["F24"] "list: new batches show after `--list-lag` virtual seconds (120 unless set)";
    ListRepeat "list-repeat" ["F25"] "list: a page is served twice";
    ListEmpty "list-empty" ["F26"] "list: empty though batches exist";
    Foreign "foreign-batches" ["F29"] "list: batches of somebody else among ours";
    UnknownStatus "unknown-status" ["F31"] "batch: polls say `paused` while it runs";
    StuckFinalizing "stuck-finalizing" ["F32"] "batch: finalizing for 6 virtual hours";
    StuckValidating "stuck-validating" ["F33"] "batch: validating forever";
    Expire "expire" ["F34"] "batch: expires when VALUE (default 0.5) of the lines ran, the rest is batch_expired";
    FailFile "validation-fails" ["F35"] "batch: failed with invalid_request and no file";
    CancelDone "cancel-late" ["F36"] "batch: a cancelled batch has run every line";
    Gone "batch-gone" ["F37"] "poll: 404 for a batch that exists";
    OutputLate "output-late" [] "batch: completed with output_file_id null for 3 polls";
    NoFiles "no-files" ["F51"] "batch: completed without any file id";
    ErrorOnly "error-only" ["F50"] "batch: every line failed, error file only";
    OutputEmptyId "output-id-empty" ["F52"] "batch: output_file_id is \"\"";
    ErrorEmptyId "error-id-empty" [] "batch: error_file_id is \"\" when there are no errors";
    FileGone "file-gone" ["F53"] "content: 404";
    Shuffled "shuffled" ["F54"] "batch: lines in random order (on by default; shuffled=0 turns it off)";
    LineTwice "duplicate-lines" ["F55"] "line: written twice, every other time with another body";
    LineUnknown "unknown-lines" ["F56"] "line: followed by one with an unknown custom_id";
    LineMissing "missing-lines" ["F57"] "line: ran and billed, but in no file";
    LineError "line-errors" ["F58"] "line: fails with 400, 429, 500, or 200 whose body is an error";
    CutTail "cut-tail" ["F62"] "content: the last line is cut and has no newline";
    Refusal "refusal" ["F59"] "answer: the model refuses";
    Empty "empty" [] "answer: empty content";
    Length "length" [] "answer: cut, finish_reason length";
    BadJson "bad-json" [] "answer: violates the json_schema";
    UsageMissing "usage-missing" ["F65"] "answer: no usage";
}

/// One fault as given on the command line.
#[derive(Debug, Clone)]
pub struct FaultRule {
    fault: Fault,
    place: Option<Place>,
    value: Option<f64>,
    nth: Option<u64>,
}

impl FromStr for FaultRule {
    type Err = SimError;

    fn from_str(rule: &str) -> Result<Self, SimError> {
        let bad = |why| SimError::Fault { rule: rule.to_owned(), why };
        let (rest, nth) = match rule.split_once('@') {
            Some((rest, nth)) => (
                rest,
                Some(
                    nth.parse::<u64>()
                        .ok()
                        .filter(|&nth| nth > 0)
                        .ok_or(bad("needs a whole number from 1 after `@`"))?,
                ),
            ),
            None => (rule, None),
        };
        let (rest, value) = match rest.split_once('=') {
            Some((rest, value)) => {
                let value = value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
                (rest, Some(value.ok_or(bad("needs a number from 0 after `=`"))?))
            }
            None => (rest, None),
        };
        let (name, place) = match rest.split_once(':') {
            Some((name, place)) => {
                let known = PLACES.iter().find(|(known, _)| *known == place);
                (name, Some(known.ok_or(bad("names an unknown place after `:`"))?.1))
            }
            None => (rest, None),
        };
        let known = TABLE.iter().find(|(_, known, aliases, _)| {
            *known == name || aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
        });
        let fault = known.ok_or(bad("is unknown"))?.0;
        if fault != Fault::Vanish && value.is_some_and(|value| value > 1.0) {
            return Err(bad("needs a share from 0 to 1 after `=`"));
        }
        Ok(Self { fault, place, value, nth })
    }
}

/// Name, aliases and effect of every fault, one line each.
pub fn fault_table() -> String {
    let mut text = String::new();
    for (_, name, aliases, does) in TABLE {
        text.push_str(&format!("{name:<20} {:<9} {does}\n", aliases.join(",")));
    }
    text
}

/// The rules of one simulator and how often each was asked.
#[derive(Debug)]
pub(crate) struct Faults {
    seed: u64,
    rules: Vec<(FaultRule, AtomicU64)>,
}

impl Faults {
    pub(crate) fn new(rules: &[FaultRule], seed: u64) -> Self {
        Self { seed: mix(seed), rules: rules.iter().map(|rule| (rule.clone(), AtomicU64::new(0))).collect() }
    }

    pub(crate) fn none(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.rules.iter().any(|(rule, _)| rule.fault == fault)
    }

    /// Whether this call is hit. Counts one matching call.
    pub(crate) fn hit(&self, fault: Fault, place: Place) -> bool {
        self.hit_value(fault, place).is_some()
    }

    /// As [`Self::hit`]; gives the rule's value.
    pub(crate) fn hit_value(&self, fault: Fault, place: Place) -> Option<Option<f64>> {
        if self.rules.is_empty() {
            return None;
        }
        for (at, (rule, calls)) in self.rules.iter().enumerate() {
            if rule.fault != fault || rule.place.is_some_and(|only| only != place) {
                continue;
            }
            let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
            let nth = rule.nth.or((fault == Fault::Vanish).then_some(10));
            let struck = match nth {
                Some(nth) => call == nth,
                None => self.drawn(at, call, rule.value.unwrap_or(1.0)),
            };
            if struck {
                return Some(rule.value);
            }
        }
        None
    }

    /// Whether line `line` (from 0) of batch number `batch` is hit. The same question always gets the same answer.
    pub(crate) fn line(&self, fault: Fault, batch: u64, line: u64) -> bool {
        self.rules.iter().enumerate().any(|(at, (rule, _))| {
            rule.fault == fault
                && match rule.nth {
                    Some(nth) => line + 1 == nth,
                    None => self.drawn(at, mix(batch) ^ line, rule.value.unwrap_or(1.0)),
                }
        })
    }

    /// Whether batch number `batch` (from 0) is hit; gives the rule's value.
    pub(crate) fn batch(&self, fault: Fault, batch: u64) -> Option<Option<f64>> {
        let share = |rule: &FaultRule| if fault == Fault::Expire { 1.0 } else { rule.value.unwrap_or(1.0) };
        self.rules.iter().enumerate().find_map(|(at, (rule, _))| {
            let struck = rule.fault == fault
                && match rule.nth {
                    Some(nth) => batch + 1 == nth,
                    None => self.drawn(at, batch, share(rule)),
                };
            struck.then_some(rule.value)
        })
    }

    /// A hash for choices within a fault, such as which status.
    pub(crate) fn pick(&self, key: u64) -> u64 {
        mix(self.seed ^ mix(key))
    }

    fn drawn(&self, rule: usize, key: u64, share: f64) -> bool {
        unit(hash(&key.to_le_bytes(), self.seed ^ rule as u64)) < share
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn faults(rules: &[&str]) -> Faults {
        Faults::new(&rules.iter().map(|rule| rule.parse().unwrap()).collect::<Vec<_>>(), 9)
    }

    #[test]
    fn rules_parse_or_say_why() {
        for good in
            ["429", "429=0.1", "create-lost@1", "F21", "f34=0.3", "5xx:poll=0.5", "vanish=3@50", "shuffled=0"]
        {
            assert!(good.parse::<FaultRule>().is_ok(), "{good}");
        }
        for bad in ["", "4299", "429=x", "429=1.5", "429@0", "429:moon", "expire=NaN", "429=-1"] {
            assert!(bad.parse::<FaultRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_aliases_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for (_, name, aliases, _) in TABLE {
            assert!(seen.insert(*name));
            aliases.iter().for_each(|alias| assert!(seen.insert(alias), "{alias}"));
        }
        assert_eq!(fault_table().lines().count(), TABLE.len());
    }

    #[test]
    fn only_the_nth_call_is_hit() {
        let faults = faults(&["create-lost@2"]);
        let hits: Vec<bool> = (0..4).map(|_| faults.hit(Fault::CreateLost, Place::Create)).collect();
        assert_eq!(hits, [false, true, false, false]);
    }

    #[test]
    fn shares_are_kept_and_repeat() {
        let (first, second) = (faults(&["line-errors=0.2"]), faults(&["line-errors=0.2"]));
        let hit = |faults: &Faults| {
            (0..10_000).filter(|&line| faults.line(Fault::LineError, 3, line)).collect::<Vec<u64>>()
        };
        assert_eq!(hit(&first), hit(&second));
        assert!((1_800..2_200).contains(&hit(&first).len()));
    }

    #[test]
    fn places_narrow_a_fault() {
        let faults = faults(&["5xx:poll"]);
        assert!(!faults.hit(Fault::FiveXx, Place::Sync));
        assert!(faults.hit(Fault::FiveXx, Place::Poll));
    }
}
