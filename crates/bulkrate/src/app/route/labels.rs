//! Labelled rows of a file.

use std::borrow::Cow;

use bulkrate_core::route::learned::Labelled;
use bulkrate_engine::EngineError;
use bulkrate_io::{RowData, Source, SourceOptions};

use super::RouteError;
use crate::app::AppError;
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
}

impl Labels {
    pub(super) fn read(args: &LabelArgs) -> Result<Self, AppError> {
        let mut source = Source::open(&SourceOptions::new(&args.file)).map_err(EngineError::from)?;
        let path = args.file.display().to_string();
        let wanted: Vec<&str> = [&args.text, &args.weak, &args.strong]
            .into_iter()
            .chain(&args.category)
            .map(String::as_str)
            .collect();
        let places = wanted
            .iter()
            .map(|wanted| {
                let columns = source.columns();
                columns.iter().position(|column| column == wanted).ok_or_else(|| RouteError::Column {
                    path: path.clone(),
                    column: (*wanted).to_owned(),
                    columns: columns.to_vec(),
                })
            })
            .collect::<Result<Vec<usize>, _>>()?;
        let mut labels = Self::default();
        while let Some(row) = source.next().map_err(EngineError::from)? {
            let cell = |at: usize| -> Cow<'_, str> {
                match &row.data {
                    RowData::Cells(cells) => Cow::Borrowed(cells.get(places[at]).unwrap_or_default()),
                    RowData::Json(object) => {
                        object.get(wanted[at]).map_or(Cow::Borrowed(""), |value| value.cell())
                    }
                    RowData::Bad(_) => Cow::Borrowed(""), // not handed out: bad rows end the reading
                }
            };
            let label = |at: usize| {
                let cell = cell(at);
                quality(&cell).ok_or_else(|| RouteError::Label {
                    path: path.clone(),
                    line: row.line,
                    column: wanted[at].to_owned(),
                    cell: cell.into_owned(),
                })
            };
            let (Some(weak), Some(strong)) = (label(1)?, label(2)?) else {
                labels.unlabelled += 1;
                continue;
            };
            labels.texts.push(cell(0).into_owned());
            labels.qualities.push((weak, strong));
            if wanted.len() > 3 {
                labels.categories.push(cell(3).into_owned());
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
