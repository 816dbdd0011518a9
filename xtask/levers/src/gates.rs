//! Figures and their bars.

use std::fmt::Write as _;

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
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
        self.0.iter().filter(|gate| !gate.met()).count()
    }

    /// Markdown, as it stands in the documentation.
    pub(crate) fn table(&self) -> String {
        let mut out = "| gate | figure | measured | bar | |\n| --- | --- | ---: | ---: | --- |\n".to_owned();
        for gate in &self.0 {
            let (bar, word) = match gate.bar {
                Bar::AtLeast(bar) => {
                    (format!(">= {}", short(bar)), if gate.met() { "met" } else { "MISSED" })
                }
                Bar::AtMost(bar) => (format!("<= {}", short(bar)), if gate.met() { "met" } else { "MISSED" }),
                Bar::Shown => (String::new(), ""),
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
            Bar::AtLeast(bar) => self.figure >= bar,
            Bar::AtMost(bar) => self.figure <= bar,
            Bar::Shown => true,
        }
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
        ] {
            gates.add("A1", "a figure", figure, bar);
        }
        assert_eq!((gates.missed(), gates.table().matches("MISSED").count()), (2, 2));
        assert!(gates.table().contains("| A1 | a figure | 0.700 | >= 0.600 | met |"), "{}", gates.table());
    }
}
