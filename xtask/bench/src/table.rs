//! Results as a Markdown table or as JSON.

use serde::Serialize;

/// One figure with its bar.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) row: &'static str,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// `None`: shown for comparison only.
    pub(crate) target: Option<Target>,
    pub(crate) note: String,
}

/// The figure to reach.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Line {
    pub(crate) fn new(
        row: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
    ) -> Self {
        Self { row, what: what.into(), value, unit, target: Some(target), note: String::new() }
    }

    /// A figure without a bar.
    pub(crate) fn plain(row: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { row, what: what.into(), value, unit, target: None, note: String::new() }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether the bar is reached; figures without one always are.
    pub(crate) fn passed(&self) -> bool {
        match self.target {
            Some(Target::AtMost(most)) => self.value <= most,
            Some(Target::AtLeast(least)) => self.value >= least,
            None => true,
        }
    }

    fn cells(&self) -> [String; 6] {
        let target = match self.target {
            Some(Target::AtMost(most)) => format!("<= {}", number(most)),
            Some(Target::AtLeast(least)) => format!(">= {}", number(least)),
            None => String::new(),
        };
        let verdict = match self.target {
            Some(_) if self.passed() => "pass",
            Some(_) => "MISS",
            None => "",
        };
        [
            self.row.to_owned(),
            self.what.clone(),
            format!("{} {}", number(self.value), self.unit),
            target,
            verdict.to_owned(),
            self.note.clone(),
        ]
    }
}

/// Three significant digits, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size < 9.995 && value.fract().abs() > 1e-9 {
        return format!("{value:.2}");
    }
    if size < 999.5 && value.fract().abs() > 1e-9 {
        return format!("{value:.1}");
    }
    let digits = format!("{size:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// The table of docs/benchmarks.md.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let head = ["row", "what", "measured", "reach", "", "beside it"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(lines.iter().map(Line::cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("| {cell:<width$} "));
        }
        text.push_str("|\n");
        if at == 0 {
            text.push_str(&widths.map(|width| format!("|{}", "-".repeat(width + 2))).concat());
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, want) in [
            (0.984, "0.98"),
            (18.24, "18.2"),
            (30.0, "30"),
            (1_234.5, "1,234"),
            (300_000.0, "300,000"),
            (0.0, "0"),
            (-2_500.0, "-2,500"),
        ] {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn bars_are_compared_the_right_way_round() {
        for (value, target, passed) in [
            (2.0, Target::AtMost(1.9), false),
            (1.9, Target::AtMost(1.9), true),
            (0.97, Target::AtLeast(0.97), true),
            (0.9, Target::AtLeast(0.97), false),
        ] {
            assert_eq!(Line::new("r", "w", value, "", target).passed(), passed, "{value} {target:?}");
        }
    }
}
