//! The order of a table's columns in which neighbouring rows share the most text: greedy, column by column.
//!
//! With one order of columns for all rows and the rows sorted by it, a cell is shared with the row before exactly where a row
//! with the same cells up to and including it was there already. So the sum of such cells is what sorting would give, and
//! nothing needs to be sorted to find it. What a column adds can only become less as more columns stand before it, so each step
//! counts only those again that were worth more, when they were last counted, than the best one is now.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Cells looked at in search of an order: half a minute's work. What is left then stands in the order of its last counts.
const LOOKS_MAX: u64 = 1 << 29;

/// Cells as numbers: equal numbers in a column are equal texts.
#[derive(Debug, Clone)]
pub struct FieldTable {
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug, Clone, Default)]
struct Column {
    /// Characters that come with every cell.
    around: u64,
    values: HashMap<String, u32>,
    /// Characters of each value.
    chars: Vec<u64>,
    cells: Vec<u32>,
}

/// Columns in an order, and what rows share in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldOrder {
    /// Places of the columns as the table has them.
    pub columns: Vec<usize>,
    /// Characters of leading cells that equal those of the row before, and of all cells.
    pub shared: u64,
    pub all: u64,
}

impl FieldOrder {
    /// Share of the characters, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a share for people and prices")]
    pub fn share(&self) -> f64 {
        if self.all == 0 { 0.0 } else { self.shared as f64 / self.all as f64 }
    }
}

impl FieldTable {
    /// A table whose cells stand in a prompt by themselves.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        Self { columns: vec![Column::default(); columns], rows: 0 }
    }

    /// A table whose cells stand in a prompt with their names: `"name": "cell", `.
    #[must_use]
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let around = |name: &str| name.chars().count() as u64 + r#""": "", "#.len() as u64;
        let column = |name| Column { around: around(name), ..Column::default() };
        Self { columns: names.into_iter().map(column).collect(), rows: 0 }
    }

    /// Adds a row; what it lacks is empty.
    pub fn push<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        let mut cells = cells.into_iter();
        for column in &mut self.columns {
            column.push(cells.next().unwrap_or_default());
        }
        self.rows += 1;
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds so many characters that stand before the cells and are the same in every row.
    #[must_use]
    pub fn behind(&self, order: &FieldOrder, before: u64) -> FieldOrder {
        let rows = self.rows as u64;
        FieldOrder {
            columns: order.columns.clone(),
            shared: order.shared.saturating_add(before.saturating_mul(rows.saturating_sub(1))),
            all: order.all.saturating_add(before.saturating_mul(rows)),
        }
    }

    /// The rows as they come, with the columns as they stand.
    #[must_use]
    pub fn as_is(&self) -> FieldOrder {
        let mut shared = 0;
        for row in 1..self.rows {
            for column in &self.columns {
                if column.cells[row] != column.cells[row - 1] {
                    break;
                }
                shared += column.chars_at(row);
            }
        }
        FieldOrder { columns: (0..self.columns.len()).collect(), shared, all: self.all() }
    }

    /// The rows sorted by these columns.
    #[must_use]
    pub fn sorted(&self, columns: &[usize]) -> FieldOrder {
        let mut groups = Groups::new(self.rows);
        let shared = columns.iter().map(|place| groups.split(&self.columns[*place])).sum();
        FieldOrder { columns: columns.to_vec(), shared, all: self.all() }
    }

    /// The columns in greedy order and the rows sorted by them. `tell` hears how many columns have their place.
    #[must_use]
    pub fn greedy(&self, tell: &mut dyn FnMut(usize)) -> FieldOrder {
        self.searched(LOOKS_MAX, tell)
    }

    fn searched(&self, looks_max: u64, tell: &mut dyn FnMut(usize)) -> FieldOrder {
        let (mut columns, mut shared) = (Vec::with_capacity(self.columns.len()), 0);
        let (mut groups, mut looks) = (Groups::new(self.rows), 0_u64);
        // The first of the best: what shares nothing more stays as it stood. None has been counted yet.
        let mut left: BinaryHeap<_> =
            (0..self.columns.len()).map(|place| (u64::MAX, Reverse(place))).collect();
        while let Some((_, Reverse(place))) = left.pop() {
            if looks < looks_max {
                looks += groups.rows.len() as u64;
                let now = (groups.gain(&self.columns[place]), Reverse(place));
                if left.peek().is_some_and(|next| now < *next) {
                    left.push(now);
                    continue;
                }
            }
            shared += groups.split(&self.columns[place]);
            columns.push(place);
            tell(columns.len());
        }
        FieldOrder { columns, shared, all: self.all() }
    }

    fn all(&self) -> u64 {
        let of = |column: &Column| column.cells.iter().map(|cell| column.chars[*cell as usize]).sum::<u64>();
        self.columns.iter().map(of).sum()
    }
}

impl Column {
    fn push(&mut self, cell: &str) {
        let number = self.values.get(cell).copied().unwrap_or_else(|| {
            let number = u32::try_from(self.chars.len()).unwrap_or(u32::MAX);
            self.values.insert(cell.to_owned(), number);
            self.chars.push(self.around + cell.chars().count() as u64);
            number
        });
        self.cells.push(number);
    }

    fn chars_at(&self, row: usize) -> u64 {
        self.chars[self.cells[row] as usize]
    }
}

/// Rows that agree in all columns taken so far. A row that is alone shares nothing any more and is left out.
struct Groups {
    rows: Vec<(u32, u32)>,
}

impl Groups {
    fn new(rows: usize) -> Self {
        let count = u32::try_from(rows).unwrap_or(u32::MAX);
        Self { rows: (0..count).map(|row| (row, 0)).collect() }
    }

    /// Characters that the column adds to what rows share.
    fn gain(&self, column: &Column) -> u64 {
        let mut seen = HashSet::with_capacity(self.rows.len());
        let mut gain = 0;
        for (row, group) in &self.rows {
            let cell = column.cells[*row as usize];
            if !seen.insert((*group, cell)) {
                gain += column.chars[cell as usize];
            }
        }
        gain
    }

    /// Takes the column; answers its gain.
    fn split(&mut self, column: &Column) -> u64 {
        let gain = self.gain(column);
        let mut groups: HashMap<(u32, u32), (u32, u32)> = HashMap::with_capacity(self.rows.len());
        for (row, group) in &mut self.rows {
            let fresh = u32::try_from(groups.len()).unwrap_or(u32::MAX);
            let found = groups.entry((*group, column.cells[*row as usize])).or_insert((fresh, 0));
            found.1 += 1;
            *group = found.0;
        }
        let mut sizes = vec![0; groups.len()];
        for (group, size) in groups.into_values() {
            sizes[group as usize] = size;
        }
        self.rows.retain(|(_, group)| sizes[*group as usize] > 1);
        gain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(rows: &[&[&str]]) -> FieldTable {
        let mut table = FieldTable::new(rows.first().map_or(0, |row| row.len()));
        rows.iter().for_each(|row| table.push(row.iter().copied()));
        table
    }

    /// What the rows share once they are really sorted.
    fn by_sorting(rows: &[Vec<String>], columns: &[usize]) -> u64 {
        let cells = |row: &Vec<String>| columns.iter().map(|place| row[*place].clone()).collect::<Vec<_>>();
        let mut rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
        rows.sort();
        let equal = |pair: &[Vec<String>]| {
            let same = pair[0].iter().zip(&pair[1]).take_while(|(left, right)| left == right);
            same.map(|(left, _)| left.chars().count() as u64).sum::<u64>()
        };
        rows.windows(2).map(equal).sum()
    }

    #[test]
    fn what_repeats_comes_first_and_ids_last() {
        let table = table(&[
            &["1", "a long document", "x"],
            &["2", "another document", "y"],
            &["3", "a long document", "x"],
            &["4", "another document", "z"],
        ]);
        let best = table.greedy(&mut |_| ());
        assert_eq!(best.columns, [1, 2, 0]);
        assert_eq!((best.shared, best.all), (15 + 16 + 1, 4 + 2 * 15 + 2 * 16 + 4));
        assert_eq!((table.as_is().shared, table.sorted(&[0, 1, 2]).shared), (0, 0));
        assert_eq!(
            FieldTable::new(2).greedy(&mut |_| ()),
            FieldOrder { columns: vec![0, 1], shared: 0, all: 0 }
        );
    }

    #[test]
    fn names_are_shared_as_well() {
        let mut table = FieldTable::named(["id", "kind"]);
        table.push(["1", ""]);
        table.push(["2", ""]);
        // `"kind": "", ` twice, `"id": "1", ` and `"id": "2", `.
        let best = table.greedy(&mut |_| ());
        assert_eq!((best.columns, best.shared, best.all), (vec![1, 0], 12, 2 * 12 + 2 * 11));
    }

    #[test]
    fn what_stands_before_the_cells_is_shared_by_all_but_the_first() {
        let table = table(&[&["a"], &["b"], &["a"]]);
        let behind = table.behind(&table.greedy(&mut |_| ()), 10);
        assert_eq!((behind.shared, behind.all), (1 + 20, 3 + 30));
    }

    /// Column by column, each time the first of those that add the most.
    fn by_counting_all(table: &FieldTable) -> Vec<usize> {
        let (mut left, mut columns) = ((0..table.columns.len()).collect::<Vec<_>>(), Vec::new());
        let mut groups = Groups::new(table.rows);
        while !left.is_empty() {
            let gain = |place: &usize| (groups.gain(&table.columns[*place]), Reverse(*place));
            let best = left.iter().map(gain).max().map_or(0, |(_, Reverse(place))| place);
            left.retain(|place| *place != best);
            groups.split(&table.columns[best]);
            columns.push(best);
        }
        columns
    }

    #[test]
    fn many_columns_are_ordered_with_few_counts() {
        // Columns of 1 to 50 different cells, in no order.
        let mut table = FieldTable::new(600);
        for row in 0..300_u64 {
            let cells: Vec<String> =
                (0..600).map(|at| ((row * 7919 + at * 104_729) % (1 + at * 37 % 50)).to_string()).collect();
            table.push(cells.iter().map(String::as_str));
        }
        let mut told = Vec::new();
        let best = table.searched(600 * 300 * 8, &mut |done| told.push(done));
        assert_eq!(
            best.columns,
            by_counting_all(&table),
            "the work of eight passes finds what all of them would"
        );
        assert_eq!((told.first(), told.last(), told.len()), (Some(&1), Some(&600), 600));
        // With no work left every column has a place all the same.
        let mut places = table.searched(1, &mut |_| ()).columns;
        places.sort_unstable();
        assert_eq!(places, (0..600).collect::<Vec<_>>());
    }

    #[test]
    fn columns_that_share_nothing_stay_as_they_stand() {
        let table = table(&[&["1", "a", "", "p"], &["2", "b", "", "q"]]);
        assert_eq!(table.greedy(&mut |_| ()).columns, [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn the_sum_is_what_sorting_gives(
            rows in prop::collection::vec(prop::collection::vec("[ab]{0,3}", 4), 0..40),
        ) {
            let mut table = FieldTable::new(4);
            rows.iter().for_each(|row| table.push(row.iter().map(String::as_str)));
            let best = table.greedy(&mut |_| ());
            prop_assert_eq!(&best.columns, &by_counting_all(&table));
            let mut places = best.columns.clone();
            places.sort_unstable();
            prop_assert_eq!(places, vec![0, 1, 2, 3]);
            prop_assert_eq!(best.shared, by_sorting(&rows, &best.columns));
            prop_assert_eq!(table.sorted(&[2, 0, 3, 1]).shared, by_sorting(&rows, &[2, 0, 3, 1]));
        }
    }
}
