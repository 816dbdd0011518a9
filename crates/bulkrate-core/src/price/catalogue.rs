//! The price catalogue: dated rows and the user's names for models, found by day.

use std::fmt::Write as _;

use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use super::row::{CellError, ModelRow};
use super::table::{self, Column, TableError};

/// The table that ships with the program.
pub const BUNDLED_PRICES: &str = include_str!("../../../../catalogue/prices.csv");
/// The aliases that ship with the program.
pub const BUNDLED_ALIASES: &str = include_str!("../../../../catalogue/aliases.toml");
/// A table older than this many days deserves a warning.
pub const STALE_DAYS: i32 = 30;

/// Prices and limits of all known models.
#[derive(Debug, Clone)]
pub struct Catalogue {
    rows: Vec<ModelRow>,
    /// The user's name and the model it stands for.
    aliases: Vec<(String, String)>,
    digest: String,
}

/// Why a text is not a price catalogue: where, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    #[error("price table line {line}: {problem}")]
    Table { line: usize, problem: TableError },
    #[error("price table line {line}, column `{column}`: {problem}")]
    Cell { line: usize, column: &'static str, problem: CellError },
    #[error("price table line {line}: `{model}` already has a price for some of these days on line {first}")]
    Overlap { line: usize, first: usize, model: String },
    #[error("alias table line {line}: write `name = \"provider/model\"`, found `{text}`")]
    Alias { line: usize, text: String },
}

impl CatalogueError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "price-table-invalid"
    }

    /// The line of the text, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::Table { line, .. }
            | Self::Cell { line, .. }
            | Self::Overlap { line, .. }
            | Self::Alias { line, .. } => *line,
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Table { .. } | Self::Cell { .. } => {
                format!("mend line {}; `catalogue/README.md` says what each column holds", self.line())
            }
            Self::Overlap { .. } => {
                "set `valid_from` and `valid_to` so that every day has one row".to_owned()
            }
            Self::Alias { .. } => {
                "an alias file holds comments and lines such as `fast = \"openai/gpt-6-luna\"`".to_owned()
            }
        }
    }
}

impl Catalogue {
    /// Reads a price table; the rows stay in the order of the text.
    pub fn parse(csv_text: &str) -> Result<Self, CatalogueError> {
        let records =
            table::read(csv_text).map_err(|(line, problem)| CatalogueError::Table { line, problem })?;
        let mut rows = Vec::with_capacity(records.len());
        for (line, record) in &records {
            rows.push(
                ModelRow::from_record(record).map_err(|(column, problem)| cell(*line, column, problem))?,
            );
        }
        if let Some((first, second)) = overlap(&rows) {
            let (line, first, model) = (records[second].0, records[first].0, rows[second].qualified.clone());
            return Err(CatalogueError::Overlap { line, first, model });
        }
        Ok(Self { rows, aliases: Vec::new(), digest: hex(Sha256::digest(csv_text.as_bytes()).as_slice()) })
    }

    /// The catalogue and aliases that ship with the program.
    #[must_use]
    pub fn bundled() -> Self {
        let catalogue =
            Self::parse(BUNDLED_PRICES).and_then(|catalogue| catalogue.with_aliases(BUNDLED_ALIASES));
        catalogue.expect("the bundled catalogue is read by this crate's tests")
    }

    /// Adds names for models: lines `name = "provider/model"`, comments with `#`. Later names win over earlier ones.
    pub fn with_aliases(mut self, toml_text: &str) -> Result<Self, CatalogueError> {
        for (at, text) in toml_text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let pair = alias_line(text)
                .ok_or_else(|| CatalogueError::Alias { line: at + 1, text: text.to_owned() })?;
            self.aliases.retain(|(name, _)| *name != pair.0);
            self.aliases.push(pair);
        }
        Ok(self)
    }

    /// Puts the user's rows in place of all rows of the same provider, model and endpoint. The digest changes.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<ModelRow>) -> Self {
        if overrides.is_empty() {
            return self;
        }
        let key = |row: &ModelRow| (row.qualified.clone(), row.endpoint.clone());
        let replaced: Vec<_> = overrides.iter().map(key).collect();
        self.rows.retain(|row| !replaced.contains(&key(row)));
        let mut hash = Sha256::new();
        hash.update(self.digest.as_bytes());
        for row in &overrides {
            hash.update(identity(row).as_bytes());
        }
        self.digest = hex(hash.finalize().as_slice());
        self.rows.extend(overrides);
        self
    }

    /// SHA-256 of the table's text (and of overrides), in hexadecimal: what a job was priced with.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    #[must_use]
    pub fn rows(&self) -> &[ModelRow] {
        &self.rows
    }

    #[must_use]
    pub fn aliases(&self) -> &[(String, String)] {
        &self.aliases
    }

    /// The row of a model at a provider on a day, by id, alias or dated snapshot of either.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str, day: Date) -> Option<&ModelRow> {
        let of_provider =
            || self.rows.iter().filter(|row| row.provider == provider && row.endpoint.is_none());
        let named = |name: &str| {
            of_provider().find(|row| row.id == name && row.holds_on(day)).or_else(|| {
                of_provider().find(|row| row.holds_on(day) && row.aliases.iter().any(|alias| alias == name))
            })
        };
        named(model).or_else(|| named(super::resolve::without_date(model)?))
    }

    /// The row of a model that is priced for one endpoint only, such as `/v1/decisions`.
    #[must_use]
    pub fn find_endpoint(&self, provider: &str, model: &str, endpoint: &str, day: Date) -> Option<&ModelRow> {
        self.rows.iter().find(|row| {
            row.provider == provider
                && row.id == model
                && row.endpoint.as_deref() == Some(endpoint)
                && row.holds_on(day)
        })
    }

    /// The newest date on which a row was read from its source.
    #[must_use]
    pub fn as_of(&self) -> Option<Date> {
        self.rows.iter().filter_map(|row| row.as_of).max()
    }

    /// Days since the table was read from its sources, where that is more than [`STALE_DAYS`].
    #[must_use]
    pub fn stale_days(&self, today: Date) -> Option<i32> {
        let age = self.as_of()?.until(today).ok()?.get_days();
        (age > STALE_DAYS).then_some(age)
    }
}

fn cell(line: usize, column: Column, problem: CellError) -> CatalogueError {
    CatalogueError::Cell { line, column: column.name(), problem }
}

/// The indices of two rows of one model and endpoint that hold on the same day.
fn overlap(rows: &[ModelRow]) -> Option<(usize, usize)> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let key = |at: usize| (&rows[at].qualified, &rows[at].endpoint, rows[at].valid_from);
    order.sort_by(|&left, &right| key(left).cmp(&key(right)).then(left.cmp(&right)));
    order.windows(2).map(|pair| (pair[0], pair[1])).find(|&(left, right)| {
        let (left, right) = (&rows[left], &rows[right]);
        left.qualified == right.qualified
            && left.endpoint == right.endpoint
            && left.valid_to.is_none_or(|to| right.valid_from.is_none_or(|from| to > from))
    })
}

fn alias_line(text: &str) -> Option<(String, String)> {
    let (name, rest) = text.split_once('=')?;
    let (target, after) = rest.trim().strip_prefix('"')?.split_once('"')?;
    let name = name.trim().trim_matches('"');
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    let clean_end = after.trim().is_empty() || after.trim().starts_with('#');
    (plain(name) && plain(target) && clean_end).then(|| (name.to_owned(), target.to_owned()))
}

/// All that decides a price, as text that does not depend on how the struct prints.
fn identity(row: &ModelRow) -> String {
    let mut text = format!("{}|{:?}|{}", row.qualified, row.endpoint, row.kind.name());
    for rates in [&row.sync, &row.batch, &row.flex] {
        text.push('|');
        let Some(rates) = rates else { continue };
        let long = rates.long.as_ref();
        for set in std::iter::once(&rates.base).chain(long.map(|long| &long.rates)) {
            for rate in [set.input, set.cache_read, set.cache_write_5m, set.cache_write_1h, set.output] {
                let _ = write!(text, "{},", rate.per_token.0);
            }
        }
        if let Some(long) = long {
            let _ = write!(text, "{}{}", long.threshold.0, long.inclusive);
        }
    }
    let _ = write!(text, "|{:?}|{:?}", row.valid_from, row.valid_to);
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lane::Lane;
    use crate::price::row::{Kind, Support};

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn the_bundled_table_is_whole() {
        let catalogue = Catalogue::bundled();
        assert_eq!(catalogue.rows().len(), 220);
        assert_eq!(catalogue.digest().len(), 64);
        assert_eq!(catalogue.as_of(), Some(day("2026-11-12")));
        assert_eq!(catalogue.stale_days(day("2026-12-12")), None);
        assert_eq!(catalogue.stale_days(day("2026-12-13")), Some(31));
        let records = table::read(BUNDLED_PRICES).unwrap();
        let plain: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        assert_eq!(table::write(&plain), BUNDLED_PRICES, "the bundled table is written in canonical form");
    }

    #[test]
    fn successors_and_aliases_name_models_that_exist() {
        let catalogue = Catalogue::bundled();
        let today = day("2026-11-20");
        for row in catalogue.rows() {
            if let Some(successor) = &row.successor {
                let next = catalogue.find(&row.provider, successor, today).unwrap();
                assert!(
                    next.retirement.is_none_or(|date| date > row.retirement.unwrap()),
                    "{}",
                    row.qualified
                );
            }
        }
        for (name, target) in catalogue.aliases() {
            let (provider, id) = target.split_once('/').unwrap();
            let row = catalogue.find(provider, id, today).unwrap_or_else(|| unreachable!("{name}"));
            assert_eq!(row.retirement, None, "{name} stands for a model that goes away");
        }
    }

    #[test]
    fn a_row_holds_what_the_table_says() {
        let catalogue = Catalogue::bundled();
        let luna = catalogue.find("openai", "gpt-6-luna", day("2026-11-20")).unwrap();
        let batch = luna.rates(Lane::Batch).unwrap();
        assert_eq!((batch.base.input.per_token.0, batch.base.output.per_token.0), (50_000, 250_000));
        assert_eq!((batch.base.cache_read.per_token.0, batch.base.cache_read.derived), (5_000, false));
        let long = batch.long.unwrap();
        assert_eq!(
            (long.threshold.0, long.inclusive, long.rates.output.per_token.0),
            (272_000, false, 375_000)
        );
        assert_eq!(
            (long.rates.cache_write_5m.per_token.0, long.rates.cache_write_5m.derived),
            (125_000, true)
        );
        let flex = luna.rates(Lane::Flex).unwrap();
        assert_eq!((flex.base.cache_write_5m.per_token.0, flex.base.cache_write_5m.derived), (62_500, true));
        assert_eq!(
            (luna.kind, luna.flags.batch, luna.limits.batch_max_requests),
            (Kind::Chat, Support::Yes, Some(50_000))
        );

        let nano = catalogue.find("openai", "gpt-4.1-nano-2025-04-14", day("2026-11-20")).unwrap();
        assert!(nano.is_retired(day("2026-10-23")) && !nano.is_retired(day("2026-10-22")));
        assert_eq!(nano.successor.as_deref(), Some("gpt-6-luna"));
        assert_eq!(nano.snapshot(), Some("gpt-4.1-nano-2025-04-14"));
        // No batch rate for cached input is published: the standard one stands in.
        let read = nano.rates(Lane::Batch).unwrap().base.cache_read;
        assert_eq!((read.per_token.0, read.derived), (25_000, true));
        assert!(
            catalogue
                .find("xai", "grok-4.7", day("2026-11-20"))
                .unwrap()
                .sync
                .unwrap()
                .long
                .unwrap()
                .inclusive
        );
        let haiku = catalogue.find("anthropic", "claude-haiku-4-5", day("2026-11-20")).unwrap();
        assert_eq!(haiku.batch.unwrap().base.cache_write_1h.per_token.0, 1_000_000);
    }

    #[test]
    fn the_day_chooses_the_row_and_endpoints_stay_apart() {
        let catalogue = Catalogue::bundled();
        let input = |text: &str| {
            catalogue
                .find("gemini", "gemini-4-argon", day(text))
                .unwrap()
                .sync
                .unwrap()
                .base
                .input
                .per_token
                .0
        };
        assert_eq!((input("2026-11-30"), input("2026-12-01")), (2_000_000, 4_000_000));
        let decisions =
            catalogue.find_endpoint("openai", "gpt-6-luna", "/v1/decisions", day("2026-11-20")).unwrap();
        assert_eq!((decisions.kind, decisions.sync.unwrap().base.output.per_token.0), (Kind::Decision, 0));
        assert_eq!(catalogue.find("openai", "gpt-6-luna", day("2026-11-20")).unwrap().kind, Kind::Chat);
    }

    #[test]
    fn overrides_replace_and_change_the_digest() {
        let before = Catalogue::bundled();
        let price = crate::price::rates::usd_per_million("0.5").ok();
        let after =
            Catalogue::bundled().with_overrides(vec![ModelRow::custom("openai", "gpt-6-luna", price, price)]);
        assert_ne!(before.digest(), after.digest());
        assert_eq!(before.rows().len(), after.rows().len());
        let row = after.find("openai", "gpt-6-luna", day("2026-11-20")).unwrap();
        assert_eq!(row.sync.unwrap().base.input.per_token.0, 500_000);
        let unpriced = ModelRow::custom("local", "llama", price, None);
        assert!(Lane::ALL.iter().all(|&lane| unpriced.rates(lane).is_none()));
        assert_eq!(Catalogue::bundled().with_overrides(Vec::new()).digest(), before.digest());
    }

    #[test]
    fn errors_name_line_and_column() {
        let head = "provider,model_id,kind,input,output,valid_from,valid_to\n";
        for (body, want) in [
            ("p,m,chat,abc,1,,\n", "price table line 2, column `input`: `abc` is not a decimal number"),
            ("p,m,chat,1,1,,\np,,chat,1,1,,\n", "price table line 3, column `model_id`: the cell is empty"),
            (
                "p,m,talk,1,1,,\n",
                "price table line 2, column `kind`: `talk` is not a kind; kinds are `chat`, `embedding`, `moderation`, `rerank` and `decision`",
            ),
            (
                "p,m,chat,1,1,soon,\n",
                "price table line 2, column `valid_from`: `soon` is not a date; write YYYY-MM-DD",
            ),
            (
                "p,m,chat,1,1,2026-01-02,2026-01-02\n",
                "price table line 2, column `valid_to`: `valid_to` is not after `valid_from`",
            ),
            (
                "p,m,chat,1,1,,\np,m,chat,1,1,,\n",
                "price table line 3: `p/m` already has a price for some of these days on line 2",
            ),
            (
                "p,m,chat,1,1,,2027-01-01\np,m,chat,1,1,2026-12-01,\n",
                "price table line 3: `p/m` already has a price for some of these days on line 2",
            ),
        ] {
            assert_eq!(Catalogue::parse(&format!("{head}{body}")).unwrap_err().to_string(), want);
        }
        let error = Catalogue::bundled().with_aliases("# x\nfast = gpt\n").unwrap_err();
        assert_eq!((error.line(), error.code()), (2, "price-table-invalid"));
    }
}
