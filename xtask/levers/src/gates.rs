//! Figures and their bars.

use std::fmt::Write as _;

/// How often a share is drawn whose bar says what it can be.
pub(crate) const DRAWS: f64 = 500.0;

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    /// At least so much; but what is measured allows no more than the second, by a law of chance that the page names. A figure between them is
    /// a miss that is told and ends nothing; what is below both is one that does.
    AtLeastIfItCan(f64, f64),
    /// Shown beside the others, with nothing to reach.
    Shown,
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Gates(Vec<Gate>);

#[derive(Debug)]
struct Gate {
    name: &'static str,
    what: String,
    figure: f64,
    bar: Bar,
}

impl Gates {
    pub(crate) fn add(&mut self, name: &'static str, what: impl Into<String>, figure: f64, bar: Bar) {
        self.0.push(Gate { name, what: what.into(), figure, bar });
    }

    pub(crate) fn missed(&self) -> usize {
        self.0.iter().filter(|gate| !gate.met() && !gate.is_excused()).count()
    }

    /// Figures that miss their bar as nothing could reach it.
    pub(crate) fn excused(&self) -> usize {
        self.0.iter().filter(|gate| gate.is_excused()).count()
    }

    /// Markdown, as it stands in the documentation.
    pub(crate) fn table(&self) -> String {
        let mut out = "| gate | figure | measured | bar | |\n| --- | --- | ---: | ---: | --- |\n".to_owned();
        for gate in &self.0 {
            let word = match (gate.bar, gate.met()) {
                (Bar::Shown, _) => String::new(),
                (_, true) => "met".to_owned(),
                (Bar::AtLeastIfItCan(_, can), false) if gate.is_excused() => {
                    format!("MISSED, as it must: at most {} can be", short(can))
                }
                (_, false) => "MISSED".to_owned(),
            };
            let bar = match gate.bar {
                Bar::AtLeast(bar) | Bar::AtLeastIfItCan(bar, _) => format!(">= {}", short(bar)),
                Bar::AtMost(bar) => format!("<= {}", short(bar)),
                Bar::Shown => String::new(),
            };
            let _ =
                writeln!(out, "| {} | {} | {} | {bar} | {word} |", gate.name, gate.what, short(gate.figure));
        }
        out
    }
}

impl Gate {
    /// What is no number meets nothing.
    fn met(&self) -> bool {
        match self.bar {
            Bar::AtLeast(bar) | Bar::AtLeastIfItCan(bar, _) => self.figure >= bar,
            Bar::AtMost(bar) => self.figure <= bar,
            Bar::Shown => true,
        }
    }

    /// Whether it misses its bar only because no figure could reach it: drawn so often, chance alone moves it by two of its errors.
    fn is_excused(&self) -> bool {
        let Bar::AtLeastIfItCan(bar, can) = self.bar else { return false };
        let chance = 2.0 * (can * (1.0 - can) / DRAWS).max(0.0).sqrt();
        !self.met() && can < bar && self.figure >= can - chance
    }
}

fn short(figure: f64) -> String {
    if figure.abs() >= 1_000.0 { format!("{figure:.0}") } else { format!("{figure:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_counted_and_told() {
        let mut gates = Gates::default();
        for (figure, bar) in [
            (0.7, Bar::AtLeast(0.6)),
            (0.5, Bar::AtLeast(0.6)),
            (0.5, Bar::AtMost(0.6)),
            (f64::NAN, Bar::AtMost(0.6)),
            (1.0, Bar::Shown),
            // What can be 0.94 is 0.92 once in twenty times; 0.91 is something else, and so is a miss where the bar can be reached.
            (0.96, Bar::AtLeastIfItCan(0.95, 0.94)),
            (0.92, Bar::AtLeastIfItCan(0.95, 0.94)),
            (0.91, Bar::AtLeastIfItCan(0.95, 0.94)),
            (0.945, Bar::AtLeastIfItCan(0.95, 0.96)),
        ] {
            gates.add("A1", "a figure", figure, bar);
        }
        assert_eq!((gates.missed(), gates.excused()), (4, 1));
        assert_eq!(gates.table().matches("MISSED").count(), 5, "{}", gates.table());
        assert!(gates.table().contains("| 0.920 | >= 0.950 | MISSED, as it must: at most 0.940 can be |"));
        assert!(gates.table().contains("| A1 | a figure | 0.700 | >= 0.600 | met |"), "{}", gates.table());
    }
}
