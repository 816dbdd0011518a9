//! Faults that can be switched on, by name or code, share and place.
//!
//! Written `NAME[:PLACE][:SHARE][=VALUE][@N[-M]]`. SHARE is the part of the matching calls, batches or lines that is hit (all
//! unless said). VALUE is one of the fault's words, or a number in its unit, or else a share too. `@N` hits the Nth matching
//! call or batch, or line N of each batch, counted from 1; `@N-M` those from N to M. PLACE narrows a fault of calls to one of
//! `sync`, `create`, `upload`, `content`, `list`, `poll`, `cancel`, `delete`. The names are those of `TABLE`.

mod mixed;
mod rule;
mod table;

use crate::rng::{hash, mix, unit};
pub use mixed::mixed_faults;
pub use rule::FaultRule;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use table::{CATALOGUE, Played};
pub(crate) use table::{Fault, TABLE};

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
    /// The list of models: how a client looks whether anybody is there. Struck only where a rule names it.
    Models,
}

const PLACES: [(&str, Place); 9] = [
    ("sync", Place::Sync),
    ("create", Place::Create),
    ("upload", Place::Upload),
    ("content", Place::Content),
    ("list", Place::List),
    ("poll", Place::Poll),
    ("cancel", Place::Cancel),
    ("delete", Place::Delete),
    ("models", Place::Models),
];

/// Name, code, place and effect of every fault of the simulator, one line each.
pub fn fault_table() -> String {
    let mut text = String::new();
    for row in TABLE {
        let words = if row.words.is_empty() { String::new() } else { format!(" [={}]", row.words.join("|")) };
        let _ =
            writeln!(text, "{:<4} {:<18} {:<12} {}{words}", row.code, row.name, row.sort.word(), row.does);
    }
    text
}

/// The whole catalogue for the documentation: code, what happens, who plays it, names of the simulator, separated by tabs.
pub fn fault_catalogue() -> String {
    let mut text = String::new();
    for (code, what, played) in CATALOGUE {
        let names: Vec<String> =
            TABLE.iter().filter(|row| row.code == *code).map(|row| format!("`{}`", row.name)).collect();
        let played = match played {
            Played::Sim => format!("simulator: {}", names.join(", ")),
            Played::Wire => "a TLS server of the tests; the simulator speaks plain HTTP".to_owned(),
            Played::Local => "this machine".to_owned(),
            Played::NotYet(needs) => format!("does not apply yet: needs {needs}"),
        };
        let _ = writeln!(text, "{code}\t{what}\t{played}");
    }
    text
}

/// How a call, batch or line is hit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    /// The number given, in the fault's unit.
    pub(crate) amount: Option<f64>,
    pub(crate) word: Option<&'static str>,
    /// Every word of the fault.
    words: &'static [&'static str],
}

impl Hit {
    pub(crate) fn amount_or(self, usual: f64) -> f64 {
        self.amount.unwrap_or(usual)
    }

    /// The word given, or one of the fault's by `pick`. For faults that have words.
    pub(crate) fn word_or(self, pick: u64) -> &'static str {
        self.word.unwrap_or_else(|| self.words[crate::rng::below(mix(pick), self.words.len())])
    }
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
        self.rules.iter().any(|(rule, _)| rule.row.fault == fault)
    }

    /// Whether this call is hit. Counts one matching call.
    pub(crate) fn hit(&self, fault: Fault, place: Place) -> bool {
        self.call(fault, place).is_some()
    }

    /// As [`Self::hit`]; says how.
    pub(crate) fn call(&self, fault: Fault, place: Place) -> Option<Hit> {
        for (at, (rule, calls)) in self.rules.iter().enumerate() {
            let other = rule.place.map_or(place == Place::Models, |only| only != place);
            if rule.row.fault != fault || other {
                continue;
            }
            let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
            if self.struck(at, rule, call, call) {
                return Some(rule.hit());
            }
        }
        None
    }

    /// Whether line `line` (from 0) of batch number `batch` is hit. The same question always gets the same answer.
    pub(crate) fn line(&self, fault: Fault, batch: u64, line: u64) -> Option<Hit> {
        self.find(fault, line + 1, mix(batch) ^ line)
    }

    /// Whether batch number `batch` (from 0) is hit.
    pub(crate) fn batch(&self, fault: Fault, batch: u64) -> Option<Hit> {
        self.find(fault, batch + 1, batch)
    }

    fn find(&self, fault: Fault, place: u64, key: u64) -> Option<Hit> {
        self.rules.iter().enumerate().find_map(|(at, (rule, _))| {
            (rule.row.fault == fault && self.struck(at, rule, place, key)).then(|| rule.hit())
        })
    }

    fn struck(&self, at: usize, rule: &FaultRule, place: u64, key: u64) -> bool {
        let nth = rule.nth.or(match rule.row.fault {
            Fault::Vanish => Some((10, 10)),
            Fault::Storm | Fault::Unreadable => Some((1, 1)),
            _ => None,
        });
        match nth {
            Some((first, last)) if !(first..=last).contains(&place) => false,
            Some(_) if rule.share.is_none() => true,
            _ => unit(hash(&key.to_le_bytes(), self.seed ^ at as u64)) < rule.share.unwrap_or(1.0),
        }
    }

    /// A hash for choices within a fault, such as which status.
    pub(crate) fn pick(&self, key: u64) -> u64 {
        mix(self.seed ^ mix(key))
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
        for good in [
            "429",
            "429=0.1",
            "create-lost@1",
            "F21",
            "f34=0.3",
            "5xx:poll=0.5",
            "vanish=3@50",
            "shuffled=0",
            "F01=negative@2",
            "F03:0.1",
            "F03:sync:0.1=502",
            "F21@2-5",
            "F59=length",
            "F65=null:",
            "F60=1@2",
        ] {
            // A colon after the value belongs to the value.
            assert_eq!(good.parse::<FaultRule>().is_ok(), !good.ends_with(':'), "{good}");
        }
        for bad in [
            "",
            "4299",
            "429=x",
            "429=1.5",
            "429@0",
            "429@3-2",
            "429:moon",
            "expire=NaN",
            "429=-1",
            "F99",
            "F16",
        ] {
            assert!(bad.parse::<FaultRule>().is_err(), "{bad}");
        }
        let unknown = "F99".parse::<FaultRule>().unwrap_err().to_string();
        assert!(unknown.contains("F21 create-lost") && unknown.contains("--list-faults"), "{unknown}");
    }

    #[test]
    fn the_table_is_sound() {
        let mut seen = std::collections::HashSet::new();
        for row in TABLE {
            assert!(seen.insert(row.name), "{}", row.name);
            let known = CATALOGUE.iter().find(|(code, ..)| *code == row.code);
            assert!(
                row.code.is_empty() || known.is_some_and(|(_, _, by)| *by == Played::Sim),
                "{}",
                row.name
            );
        }
        for (code, _, played) in CATALOGUE {
            assert!(seen.insert(code), "{code}");
            assert_eq!(*played == Played::Sim, TABLE.iter().any(|row| row.code == *code), "{code}");
        }
        assert_eq!(fault_table().lines().count(), TABLE.len());
        assert_eq!(fault_catalogue().lines().count(), CATALOGUE.len());
    }

    #[test]
    fn a_code_stands_for_its_first_form_or_the_one_that_is_named() {
        let row = |rule: &str| rule.parse::<FaultRule>().unwrap().row.fault;
        assert_eq!(
            (row("F59"), row("F59=length"), row("F52")),
            (Fault::Refusal, Fault::Cut, Fault::OutputEmptyId)
        );
    }

    #[test]
    fn a_mix_repeats_and_parses() {
        assert_eq!(mixed_faults(7), mixed_faults(7));
        let mut used = std::collections::HashSet::new();
        for seed in 0..500 {
            let rules = mixed_faults(seed);
            assert!((3..=6).contains(&rules.len()));
            for rule in rules {
                used.insert(
                    rule.parse::<FaultRule>().unwrap_or_else(|error| panic!("{rule}: {error}")).row.name,
                );
            }
        }
        assert_eq!(used.len(), TABLE.iter().filter(|row| row.mixed != table::Mixed::No).count());
    }

    #[test]
    fn only_those_of_the_span_are_hit() {
        for (rule, hits) in
            [("create-lost@2", [false, true, false, false]), ("F21@2-3", [false, true, true, false])]
        {
            let faults = faults(&[rule]);
            let got: Vec<bool> = (0..4).map(|_| faults.hit(Fault::CreateLost, Place::Create)).collect();
            assert_eq!(got, hits, "{rule}");
        }
    }

    #[test]
    fn shares_are_kept_and_repeat() {
        let (first, second) = (faults(&["line-errors=0.2"]), faults(&["line-errors:0.2=500"]));
        let hit = |faults: &Faults| {
            (0..10_000).filter(|&line| faults.line(Fault::LineError, 3, line).is_some()).collect::<Vec<u64>>()
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
