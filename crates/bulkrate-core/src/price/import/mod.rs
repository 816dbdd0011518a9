//! Foreign price lists to rows of our table: LiteLLM's and genai-prices' JSON.
//!
//! Numbers are read as the text they are written in, never through a float. What cannot be held truly (two long-context
//! tiers, prices by volume, a chat model for nothing) is skipped with a reason rather than imported wrongly.

mod genai;
mod json;
mod litellm;

pub use genai::import_genai_prices;
pub use litellm::import_litellm;

use super::rates::{self, RateError};
use super::table::{self, Column, Record};
use crate::money::PicoUsdPerToken;

/// Rows of a foreign list, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    pub rows: Vec<Record<'static>>,
    /// The foreign id and why it is left out.
    pub skipped: Vec<(String, String)>,
}

impl Imported {
    /// The rows as a price table that `Catalogue::parse` reads.
    #[must_use]
    pub fn to_csv(&self) -> String {
        table::write(&self.rows)
    }
}

/// A price list that we can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Our own table.
    Table,
    LiteLlm,
    GenaiPrices,
}

/// Why a text is not a price list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    #[error("not a price list: {0}")]
    Json(String),
    #[error(
        "not a price list: neither our table, nor LiteLLM's object of models, nor genai-prices' array of providers"
    )]
    Unknown,
    #[error(
        "the price list holds no model that can be used; {skipped} were skipped, the first `{first}`: {reason}"
    )]
    Nothing { skipped: usize, first: String, reason: String },
}

impl ImportError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "price-import-invalid"
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "give LiteLLM's `model_prices_and_context_window.json`, genai-prices' `prices/new_data/v2/data.json`, or a CSV of our own columns"
    }
}

/// Tells by its beginning which list a text is.
pub fn detect(text: &str) -> Result<Format, ImportError> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let head: String = text.chars().take(4_096).collect();
    if head.starts_with('[') && head.contains("\"id\"") {
        Ok(Format::GenaiPrices)
    } else if head.starts_with('{')
        && (head.contains("cost_per_token") || head.contains("\"litellm_provider\""))
    {
        Ok(Format::LiteLlm)
    } else if head.lines().next().is_some_and(|line| line.split(',').any(|name| name == "model_id")) {
        Ok(Format::Table)
    } else {
        Err(ImportError::Unknown)
    }
}

/// Reads any foreign list; `as_of` (YYYY-MM-DD) is written into every row. Our own table comes back as its records.
pub fn import(text: &str, as_of: &str) -> Result<Imported, ImportError> {
    match detect(text)? {
        Format::LiteLlm => import_litellm(text, as_of),
        Format::GenaiPrices => import_genai_prices(text, as_of),
        Format::Table => {
            let records = table::read(text)
                .map_err(|(line, error)| ImportError::Json(format!("line {line}: {error}")))?;
            let rows = table::write(&records.into_iter().map(|(_, record)| record).collect::<Vec<_>>());
            let owned = table::read(&rows)
                .map_err(|(line, error)| ImportError::Json(format!("line {line}: {error}")))?;
            Ok(Imported {
                rows: owned.into_iter().map(|(_, record)| into_owned(&record)).collect(),
                skipped: Vec::new(),
            })
        }
    }
}

fn into_owned(record: &Record<'_>) -> Record<'static> {
    let mut owned = Record::empty();
    for &column in Column::ALL {
        owned.set(column, record.get(column).to_owned());
    }
    owned
}

/// Rates of one lane and tier, as far as a list gives them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Prices {
    input: Option<PicoUsdPerToken>,
    output: Option<PicoUsdPerToken>,
    cache_read: Option<PicoUsdPerToken>,
    cache_write: Option<PicoUsdPerToken>,
    cache_write_1h: Option<PicoUsdPerToken>,
}

/// What an importer has learned of one model, before it becomes a record.
#[derive(Debug, Clone, Default)]
struct Found {
    standard: Prices,
    batch: Prices,
    flex: Prices,
    threshold: Option<u64>,
    long: Prices,
    long_batch: Prices,
}

impl Found {
    /// Writes the prices into the columns that hold them.
    fn write(&self, record: &mut Record<'static>) {
        use Column as C;
        let long = |rate: Option<PicoUsdPerToken>| rate.filter(|_| self.threshold.is_some());
        for (column, rate) in [
            (C::Input, self.standard.input),
            (C::Output, self.standard.output),
            (C::CacheRead, self.standard.cache_read),
            (C::CacheWrite5m, self.standard.cache_write),
            (C::CacheWrite1h, self.standard.cache_write_1h),
            (C::BatchInput, self.batch.input),
            (C::BatchOutput, self.batch.output),
            (C::BatchCacheRead, self.batch.cache_read),
            (C::BatchCacheWrite5m, self.batch.cache_write),
            (C::FlexInput, self.flex.input),
            (C::FlexOutput, self.flex.output),
            (C::FlexCacheRead, self.flex.cache_read),
            (C::LcInput, long(self.long.input)),
            (C::LcOutput, long(self.long.output)),
            (C::LcCacheRead, long(self.long.cache_read)),
            (C::LcBatchInput, long(self.long_batch.input)),
            (C::LcBatchOutput, long(self.long_batch.output)),
        ] {
            if let Some(rate) = rate {
                record.set(column, rates::to_usd_per_million(rate));
            }
        }
        if let Some(threshold) = self.threshold {
            record.set(C::LcThreshold, threshold.to_string());
        }
    }

    /// Why these prices must not be used, if they must not.
    fn unusable(&self, kind: &str) -> Option<&'static str> {
        let zero = |rate: Option<PicoUsdPerToken>| rate == Some(PicoUsdPerToken(0));
        match self.standard.input {
            None => Some("no input price per token"),
            Some(_) if kind == "chat" && self.standard.output.is_none() => Some("no output price per token"),
            // A zero in these lists mostly means "not known".
            Some(_) if kind == "chat" && (zero(self.standard.input) || zero(self.standard.output)) => {
                Some("a price of zero, which mostly means unknown; add the model as a price of your own")
            }
            Some(_) if kind != "moderation" && zero(self.standard.input) => {
                Some("a price of zero, which mostly means unknown; add the model as a price of your own")
            }
            Some(_) => None,
        }
    }
}

/// Ends an import: an empty result is an error that shows the first reason.
fn finish(imported: Imported) -> Result<Imported, ImportError> {
    if !imported.rows.is_empty() {
        return Ok(imported);
    }
    let (first, reason) =
        imported.skipped.first().cloned().unwrap_or_else(|| ("-".to_owned(), "the list is empty".to_owned()));
    Err(ImportError::Nothing { skipped: imported.skipped.len(), first, reason })
}

fn reason(field: &str, error: &RateError) -> String {
    format!("field `{field}`: {error}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::price::Catalogue;

    #[test]
    fn the_format_is_told_by_the_beginning() {
        for (text, want) in [
            ("{\"sample_spec\": {\"input_cost_per_token\": 0}}", Ok(Format::LiteLlm)),
            ("\u{feff} [{\"id\": \"openai\"}]", Ok(Format::GenaiPrices)),
            (crate::price::catalogue::BUNDLED_PRICES, Ok(Format::Table)),
            ("{\"data\": []}", Err(ImportError::Unknown)),
            ("<html>", Err(ImportError::Unknown)),
            ("", Err(ImportError::Unknown)),
        ] {
            assert_eq!(detect(text), want, "{text:.20}");
        }
    }

    #[test]
    fn our_own_table_comes_back_unchanged() {
        let bundled = crate::price::catalogue::BUNDLED_PRICES;
        assert_eq!(import(bundled, "2026-11-20").unwrap().to_csv(), bundled);
        assert!(Catalogue::parse(bundled).is_ok());
    }
}
