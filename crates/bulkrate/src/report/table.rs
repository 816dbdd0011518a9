//! Aligned columns of text.

/// Which side a column's cells lean to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// A heading and rows, printed with two spaces between columns and no lines.
#[derive(Debug, Clone)]
pub struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// Columns by heading; a heading that begins with `>` leans to the right.
    #[must_use]
    pub fn new(indent: usize, headings: &[&str]) -> Self {
        let side = |heading: &&str| if heading.starts_with('>') { Side::Right } else { Side::Left };
        let text = |heading: &&str| heading.trim_start_matches('>').to_owned();
        Self {
            sides: headings.iter().map(side).collect(),
            rows: vec![headings.iter().map(text).collect()],
            indent,
        }
    }

    /// A row with fewer cells than headings is filled up with empty ones.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        cells.resize(self.sides.len(), String::new());
        self.rows.push(cells);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    #[must_use]
    pub fn text(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (at, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[at].saturating_sub(cell.chars().count()));
                let apart = if at == 0 { "" } else { "  " };
                let (before, after) =
                    if self.sides[at] == Side::Right { (gap.as_str(), "") } else { ("", gap.as_str()) };
                line.extend([apart, before, cell, after]);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}
