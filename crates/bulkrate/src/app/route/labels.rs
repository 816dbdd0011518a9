//! Labelled rows of a file.

use std::borrow::Cow;
use std::path::Path;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::route::learned::metrics::Qualities;
use bulkrate_core::route::learned::{Labelled, MODELS_MAX, TrainError};
use bulkrate_engine::EngineError;
use bulkrate_io::{Row, Source, SourceOptions};

use super::RouteError;
use crate::app::cells::cell;
use crate::app::reads::state;
use crate::app::{AppError, engine};
use crate::cli::Shared;
use crate::cli::route_args::LabelArgs;

/// Rows with a label for each model, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Labels {
    texts: Vec<String>,
    qualities: Vec<Qualities>,
    /// What the models are called, the cheapest first.
    pub(super) models: Vec<String>,
    /// One a row, or none where no column was named.
    pub(super) categories: Vec<String>,
    /// Rows that lack a label.
    pub(super) unlabelled: u64,
    /// Models of a pilot that cost no less than the strong one and are left out.
    pub(super) dearer: Vec<String>,
    /// Where they are from.
    pub(super) from: String,
    /// The strong model's price over each cheaper one's, where they were paid.
    pub(super) price_ratios: Vec<f64>,
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
        let models = if args.models.is_empty() { args.model_weak.as_slice() } else { &args.models };
        let lesson = engine::lesson(&state(shared)?, job, models, &args.text)?;
        Ok(Self {
            from: format!("the pilot of {job} ({})", lesson.models.join(" and ")),
            texts: lesson.texts,
            qualities: lesson.qualities,
            categories: Vec::new(),
            unlabelled: lesson.unlabelled,
            models: lesson.models,
            dearer: lesson.dearer,
            price_ratios: lesson.price_ratios,
            cost: lesson.cost,
        })
    }

    fn of_file(args: &LabelArgs, file: &Path) -> Result<Self, AppError> {
        let mut source = Source::open(&SourceOptions::new(file)).map_err(EngineError::from)?;
        let columns = Columns::of(args, file, source.columns())?;
        let models = columns.models.iter().map(|name| (*name).to_owned()).collect();
        let mut labels = Self { from: file.display().to_string(), models, ..Self::default() };
        while let Some(row) = source.next().map_err(EngineError::from)? {
            let Some(qualities) = columns.labels(&row)? else {
                labels.unlabelled += 1;
                continue;
            };
            labels.texts.push(columns.cell(&row, TEXT).into_owned());
            labels.qualities.push(qualities);
            if args.category.is_some() {
                labels.categories.push(columns.cell(&row, columns.names.len() - 1).into_owned());
            }
        }
        Ok(labels)
    }

    /// Puts the models in the order of a router's, where those have the same names. `named`: they stand in an order that the user gave.
    pub(super) fn order_by(&mut self, router: &[String], named: bool) -> Result<(), RouteError> {
        let place = |name: &String| self.models.iter().position(|own| own == name);
        let places: Vec<Option<usize>> = router.iter().map(place).collect();
        // Other names say nothing: the router learnt from other columns.
        if places.iter().enumerate().all(|(at, place)| place.is_none_or(|place| place == at)) {
            return Ok(());
        }
        let same: Option<Vec<usize>> = places.into_iter().collect();
        // Against another strongest model other answers are right.
        let Some(places) = same.filter(|places| !named && places.last() == Some(&(self.models.len() - 1)))
        else {
            return Err(RouteError::Order {
                path: self.from.clone(),
                labelled: self.models.clone(),
                router: router.to_vec(),
            });
        };
        for qualities in &mut self.qualities {
            *qualities = places.iter().map(|place| qualities[*place]).collect();
        }
        self.models = router.to_vec();
        // What was paid stands in the other order, and the router has its own.
        self.price_ratios.clear();
        Ok(())
    }

    pub(super) fn items(&self) -> Vec<Labelled<'_>> {
        let rows = self.texts.iter().zip(&self.qualities);
        rows.map(|(text, qualities)| Labelled { text, qualities: *qualities, against: None }).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// The place of the text in [`Columns`]; behind it stand the models, and a category where one was named.
const TEXT: usize = 0;

/// The columns of labels, the cheapest model's first.
pub(super) fn label_columns(args: &LabelArgs) -> impl Iterator<Item = &str> {
    let two = args.models.is_empty().then_some([&args.weak, &args.strong]);
    two.into_iter().flatten().chain(&args.models).map(String::as_str)
}

/// The columns that labels are read from.
struct Columns<'a> {
    path: String,
    /// Those of the labels.
    models: Vec<&'a str>,
    names: Vec<&'a str>,
    /// Where each of them stands in a row of cells.
    places: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn of(args: &'a LabelArgs, file: &Path, known: &[String]) -> Result<Self, RouteError> {
        let path = file.display().to_string();
        let models: Vec<&str> = label_columns(args).collect();
        if !(2..=MODELS_MAX).contains(&models.len()) {
            return Err(RouteError::Train { path, source: TrainError::Models });
        }
        if let Some((_, twice)) = models.iter().enumerate().find(|(at, name)| models[..*at].contains(name)) {
            return Err(RouteError::Twice { path, column: (*twice).to_owned() });
        }
        let text = std::iter::once(args.text.as_str());
        let names: Vec<&str> = text.chain(models.iter().copied()).chain(args.category.as_deref()).collect();
        let place = |name: &&str| {
            known.iter().position(|column| column == name).ok_or_else(|| RouteError::Column {
                path: path.clone(),
                column: (*name).to_owned(),
                columns: known.to_vec(),
            })
        };
        let places = names.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self { path, models, names, places })
    }

    fn cell<'r>(&self, row: &'r Row<'_>, at: usize) -> Cow<'r, str> {
        cell(row, self.names[at], self.places[at])
    }

    /// `None` where one of them is missing.
    fn labels(&self, row: &Row<'_>) -> Result<Option<Qualities>, RouteError> {
        let labels = (1..=self.models.len()).map(|at| self.label(row, at).transpose());
        labels.collect::<Option<Result<_, _>>>().transpose()
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
    fn labels_stand_in_the_routers_order_or_are_refused() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let labels = || Labels {
            models: names(&["terra", "luna", "sol"]),
            qualities: vec![[0.5, 0.0, 1.0].into()],
            ..Labels::default()
        };
        for (router, named, want) in [
            (&["luna", "terra", "sol"][..], false, Some([0.0, 0.5, 1.0])),
            (&["luna", "terra", "sol"], true, None),
            (&["terra", "luna", "sol"], true, Some([0.5, 0.0, 1.0])),
            (&["terra", "sol", "luna"], false, None),
            (&["luna", "nova", "sol"], false, None),
            (&["a", "b", "c"], true, Some([0.5, 0.0, 1.0])),
            (&["a", "luna", "c"], true, Some([0.5, 0.0, 1.0])),
        ] {
            let mut labels = labels();
            let ordered = labels.order_by(&names(router), named).is_ok();
            let found = ordered.then(|| labels.qualities[0]);
            assert_eq!(found, want.map(Qualities::from), "{router:?}");
        }
    }

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
