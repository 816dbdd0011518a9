//! Labelled rows of a file.

use std::borrow::Cow;
use std::path::Path;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::route::learned::Labelled;
use bulkrate_engine::EngineError;
use bulkrate_io::{Row, Source, SourceOptions};

use super::RouteError;
use crate::app::cells::cell;
use crate::app::reads::state;
use crate::app::{AppError, engine};
use crate::cli::Shared;
use crate::cli::route_args::LabelArgs;

/// Rows with both labels, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Labels {
    texts: Vec<String>,
    qualities: Vec<(f64, f64)>,
    /// One a row, or none where no column was named.
    pub(super) categories: Vec<String>,
    /// Rows that lack a label.
    pub(super) unlabelled: u64,
    /// Where they are from.
    pub(super) from: String,
    /// The strong model's price over the weak one's, where it was paid.
    pub(super) price_ratio: Option<f64>,
    /// Of a pilot: what it has cost, and what the strong model alone would cost for the whole job.
    pub(super) cost: Option<(UsdNanos, UsdNanos)>,
}

impl Labels {
    /// From a file, or from a job's last pilot.
    pub(super) fn read(shared: &Shared, args: &LabelArgs) -> Result<Self, AppError> {
        match (&args.file, &args.pilot) {
            (_, Some(job)) => Self::of_pilot(shared, args, job),
            (Some(file), None) => Self::of_file(args, file),
            (None, None) => Ok(Self::default()), // no such command line
        }
    }

    fn of_pilot(shared: &Shared, args: &LabelArgs, job: &str) -> Result<Self, AppError> {
        let lesson = engine::lesson(&state(shared)?, job, args.model_weak.as_deref(), &args.text)?;
        Ok(Self {
            from: format!("the pilot of {job} ({} and {})", lesson.weak, lesson.strong),
            texts: lesson.texts,
            qualities: lesson.qualities,
            categories: Vec::new(),
            unlabelled: lesson.unlabelled,
            price_ratio: lesson.price_ratio,
            cost: lesson.cost,
        })
    }

    fn of_file(args: &LabelArgs, file: &Path) -> Result<Self, AppError> {
        let mut source = Source::open(&SourceOptions::new(file)).map_err(EngineError::from)?;
        let columns = Columns::of(args, file, source.columns())?;
        let mut labels = Self { from: file.display().to_string(), ..Self::default() };
        while let Some(row) = source.next().map_err(EngineError::from)? {
            let (Some(weak), Some(strong)) = (columns.label(&row, WEAK)?, columns.label(&row, STRONG)?)
            else {
                labels.unlabelled += 1;
                continue;
            };
            labels.texts.push(columns.cell(&row, TEXT).into_owned());
            labels.qualities.push((weak, strong));
            if args.category.is_some() {
                labels.categories.push(columns.cell(&row, CATEGORY).into_owned());
            }
        }
        Ok(labels)
    }

    pub(super) fn items(&self) -> Vec<Labelled<'_>> {
        let rows = self.texts.iter().zip(&self.qualities);
        rows.map(|(text, (weak, strong))| Labelled { text, weak: *weak, strong: *strong }).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// Places in [`Columns`]; the last one only where a category was named.
const TEXT: usize = 0;
const WEAK: usize = 1;
const STRONG: usize = 2;
const CATEGORY: usize = 3;

/// The columns that labels are read from.
struct Columns<'a> {
    path: String,
    names: Vec<&'a str>,
    /// Where each of them stands in a row of cells.
    places: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn of(args: &'a LabelArgs, file: &Path, known: &[String]) -> Result<Self, RouteError> {
        let path = file.display().to_string();
        let names = [&args.text, &args.weak, &args.strong].into_iter().chain(&args.category);
        let names: Vec<&str> = names.map(String::as_str).collect();
        let place = |name: &&str| {
            known.iter().position(|column| column == name).ok_or_else(|| RouteError::Column {
                path: path.clone(),
                column: (*name).to_owned(),
                columns: known.to_vec(),
            })
        };
        let places = names.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self { path, names, places })
    }

    fn cell<'r>(&self, row: &'r Row<'_>, at: usize) -> Cow<'r, str> {
        cell(row, self.names[at], self.places[at])
    }

    fn label(&self, row: &Row<'_>, at: usize) -> Result<Option<f64>, RouteError> {
        let cell = self.cell(row, at);
        quality(&cell).ok_or_else(|| RouteError::Label {
            path: self.path.clone(),
            line: row.line,
            column: self.names[at].to_owned(),
            cell: cell.into_owned(),
        })
    }
}

/// The quality that a cell says: `Some(None)` where it is empty, `None` where it is no quality.
fn quality(cell: &str) -> Option<Option<f64>> {
    match cell.trim() {
        "" | "null" => Some(None),
        "true" | "yes" => Some(Some(1.0)),
        "false" | "no" => Some(Some(0.0)),
        number => {
            number.parse::<f64>().ok().filter(|quality| quality.is_finite() && *quality >= 0.0).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_labels_blanks_or_errors() {
        for (cell, want) in [
            ("1", Some(Some(1.0))),
            (" 0 ", Some(Some(0.0))),
            ("7.5", Some(Some(7.5))),
            ("true", Some(Some(1.0))),
            ("no", Some(Some(0.0))),
            ("", Some(None)),
            ("null", Some(None)),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("good", None),
        ] {
            assert_eq!(quality(cell), want, "{cell}");
        }
    }
}
