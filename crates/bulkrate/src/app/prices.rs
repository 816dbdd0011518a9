//! `prices list`, `prices show`, `prices import`.

use std::path::Path;

use bulkrate_core::price::catalogue::BUNDLED_PRICES;
use bulkrate_core::price::{Catalogue, ModelRow, import};
use jiff::civil::Date;
use serde_json::{Value, json};

use super::{AppError, accounts};
use crate::cli::{PricesCommand, Shared};
use crate::config::{ConfigError, Defaults};
use crate::report::{out, prices as text, words};

pub(super) fn prices(shared: &Shared, command: PricesCommand) -> Result<u8, AppError> {
    match command {
        PricesCommand::List { csv: true, .. } => out::data(BUNDLED_PRICES),
        PricesCommand::List { filter, provider, all, csv: false } => {
            let catalogue = catalogue(shared)?;
            let wanted = |row: &&ModelRow| {
                provider.as_ref().is_none_or(|provider| row.provider == *provider)
                    && filter.as_ref().is_none_or(|filter| row.qualified.contains(filter.as_str()))
                    && (all || row.holds_on(today()))
            };
            let rows: Vec<&ModelRow> = catalogue.rows().iter().filter(wanted).collect();
            if shared.json {
                out::json(&rows.iter().map(|row| text::document(row)).collect::<Value>());
            } else {
                out::data(&text::list(&rows, today()));
            }
        }
        PricesCommand::Show { model } => {
            let catalogue = catalogue(shared)?;
            let row = catalogue.resolve(&model, today())?.row;
            if shared.json {
                out::json(&text::document(row));
            } else {
                out::data(&text::model(row));
            }
        }
        PricesCommand::Import { file, out, only, force } => {
            import_list(shared, &file, &out, only.as_deref(), force)?;
        }
    }
    Ok(0)
}

/// The day in UTC, by which prices hold.
pub(super) fn today() -> Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

pub(super) fn catalogue(shared: &Shared) -> Result<Catalogue, AppError> {
    let prices = match &shared.prices {
        Some(path) => Some(path.clone()),
        None => Defaults::load()?.prices,
    };
    accounts::catalogue(prices.as_deref())
}

/// Turns a foreign list into our table, proves that it reads back, and writes it.
fn import_list(
    shared: &Shared,
    file: &Path,
    to: &Path,
    only: Option<&str>,
    force: bool,
) -> Result<(), AppError> {
    use import::{Imported, import};
    let read = std::fs::read_to_string(file);
    let foreign =
        read.map_err(|source| ConfigError::Read { what: "the price list", path: file.to_owned(), source })?;
    let name = || file.display().to_string();
    let found =
        import(&foreign, &today().to_string()).map_err(|source| AppError::Import { path: name(), source })?;
    let rows: Vec<_> =
        found.rows.into_iter().filter(|row| only.is_none_or(|only| qualified(row).contains(only))).collect();
    let (kept, skipped) = (rows.len(), found.skipped);
    let table = Imported { rows, skipped: Vec::new() }.to_csv();
    Catalogue::parse(&table).map_err(|source| AppError::Prices { path: name(), source })?;
    if to.exists() && !force {
        return Err(ConfigError::Exists { path: to.to_owned() }.into());
    }
    std::fs::write(to, table).map_err(|source| ConfigError::Write { path: to.to_owned(), source })?;
    if shared.json {
        let skipped: Vec<Value> =
            skipped.iter().map(|(model, why)| json!({ "model": model, "why": why })).collect();
        out::json(&json!({ "output": to.display().to_string(), "models": kept, "skipped": skipped }));
    }
    if !shared.quiet {
        for (model, why) in &skipped {
            out::talk(&format!("left out {model}: {why}\n"));
        }
        out::talk(&format!(
            "{} written to {1}; use them with `--prices {1}`, BULKRATE_PRICES or `prices = \"{1}\"` in bulkrate.toml\n",
            words::counted(kept as u64, "model"),
            to.display()
        ));
    }
    Ok(())
}

fn qualified(row: &bulkrate_core::price::table::Record<'_>) -> String {
    use bulkrate_core::price::table::Column;
    format!("{}/{}", row.get(Column::Provider), row.get(Column::ModelId))
}
