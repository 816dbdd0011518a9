//! One dated row of the catalogue: what a model costs on each lane, what it takes, until when it lives.

use jiff::civil::Date;

use super::lanes::{Lanes, derived, listed};
use super::rates::{RateError, usd_per_million};
use super::table::{Column, Record};
use crate::lane::Lane;
use crate::money::{PicoUsdPerToken, Tokens};

/// One rate, and whether a rule of ours stands in for a published figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Rate {
    pub per_token: PicoUsdPerToken,
    pub derived: bool,
}

/// A rate for every billable class of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RateSet {
    pub input: Rate,
    pub cache_read: Rate,
    pub cache_write_5m: Rate,
    pub cache_write_1h: Rate,
    pub output: Rate,
}

/// Rates that hold for a whole request once its prompt is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LongContext {
    pub threshold: Tokens,
    /// `true`: a prompt of exactly the threshold is long already.
    pub inclusive: bool,
    pub rates: RateSet,
}

/// What one lane costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rates {
    pub base: RateSet,
    pub long: Option<LongContext>,
}

impl Rates {
    /// The set that bills a prompt of so many tokens: the cliff applies to all tokens of the request.
    #[must_use]
    pub fn for_prompt(&self, prompt: u64) -> &RateSet {
        self.long.as_ref().filter(|long| long.covers(prompt)).map_or(&self.base, |long| &long.rates)
    }

    /// Whether nothing is asked for, of whatever kind of token.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let RateSet { input, cache_read, cache_write_5m, cache_write_1h, output } = &self.base;
        let all = [input, cache_read, cache_write_5m, cache_write_1h, output];
        self.long.is_none() && all.iter().all(|rate| rate.per_token.0 == 0)
    }

    /// Flat prices, the same for every prompt length; cached tokens cost what input costs.
    #[must_use]
    pub fn flat(input: PicoUsdPerToken, output: PicoUsdPerToken) -> Self {
        let (listed, derived) = (listed(input), derived(input));
        let base = RateSet {
            input: listed,
            cache_read: derived,
            cache_write_5m: derived,
            cache_write_1h: derived,
            output: Rate { per_token: output, derived: false },
        };
        Self { base, long: None }
    }
}

impl LongContext {
    #[must_use]
    pub fn covers(&self, prompt: u64) -> bool {
        prompt > self.threshold.0 || (self.inclusive && prompt == self.threshold.0)
    }
}

/// What a row prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Chat,
    Embedding,
    Moderation,
    Rerank,
    Decision,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Chat, Self::Embedding, Self::Moderation, Self::Rerank, Self::Decision];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Moderation => "moderation",
            Self::Rerank => "rerank",
            Self::Decision => "decision",
        }
    }
}

/// What the sources say about a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Support {
    Yes,
    No,
    #[default]
    Unknown,
}

/// Caps of a model; `None` where no source gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Limits {
    pub context_window: Option<Tokens>,
    pub max_input: Option<Tokens>,
    pub max_output: Option<Tokens>,
    pub batch_max_requests: Option<u64>,
    pub batch_max_bytes: Option<u64>,
}

/// What a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags {
    pub vision: Support,
    pub pdf: Support,
    pub json_schema: Support,
    pub reasoning: Support,
    pub batch: Support,
}

/// A model at a provider, for the days in `[valid_from, valid_to)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRow {
    pub provider: String,
    /// The id sent to the provider.
    pub id: String,
    /// `provider/id`.
    pub qualified: String,
    /// The only endpoint that the row prices, where it is not the usual one of its kind.
    pub endpoint: Option<String>,
    pub aliases: Vec<String>,
    pub kind: Kind,
    pub sync: Option<Rates>,
    pub batch: Option<Rates>,
    pub flex: Option<Rates>,
    pub limits: Limits,
    pub flags: Flags,
    pub retirement: Option<Date>,
    /// A model id of the same provider that stands in after retirement.
    pub successor: Option<String>,
    pub valid_from: Option<Date>,
    /// The first day on which the row holds no more.
    pub valid_to: Option<Date>,
    pub note: String,
    /// `two-lists-agree`, `one-list`, `CONFLICT`, `user`.
    pub verification: String,
    pub source: String,
    pub as_of: Option<Date>,
}

/// Why a cell cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    #[error(transparent)]
    Rate(#[from] RateError),
    #[error("`{0}` is not a whole number")]
    Count(String),
    #[error("`{0}` is not a date; write YYYY-MM-DD")]
    Date(String),
    #[error("`{0}` is not a kind; kinds are `chat`, `embedding`, `moderation`, `rerank` and `decision`")]
    Kind(String),
    #[error("`{0}` is neither `true`, `false` nor `unknown`")]
    Flag(String),
    #[error("the cell is empty")]
    Empty,
    #[error("`valid_to` is not after `valid_from`")]
    Dates,
}

impl ModelRow {
    /// A model that the catalogue does not know, at a custom base URL. It is priced when both prices are given; every
    /// lane then costs the same, since a user's price says nothing of lanes.
    #[must_use]
    pub fn custom(
        provider: &str,
        model: &str,
        price_in: Option<PicoUsdPerToken>,
        price_out: Option<PicoUsdPerToken>,
    ) -> Self {
        let rates = price_in.zip(price_out).map(|(input, output)| Rates::flat(input, output));
        Self {
            provider: provider.to_owned(),
            id: model.to_owned(),
            qualified: format!("{provider}/{model}"),
            endpoint: None,
            aliases: Vec::new(),
            kind: Kind::Chat,
            sync: rates,
            batch: rates,
            flex: rates,
            limits: Limits::default(),
            flags: Flags::default(),
            retirement: None,
            successor: None,
            valid_from: None,
            valid_to: None,
            note: String::new(),
            verification: "user".to_owned(),
            source: "user".to_owned(),
            as_of: None,
        }
    }

    /// What a lane costs; `None` where no price is known.
    #[must_use]
    pub fn rates(&self, lane: Lane) -> Option<&Rates> {
        match lane {
            Lane::Batch => self.batch.as_ref(),
            Lane::Flex => self.flex.as_ref(),
            Lane::Sync => self.sync.as_ref(),
        }
    }

    /// Whether the row's prices hold on that day.
    #[must_use]
    pub fn holds_on(&self, day: Date) -> bool {
        self.valid_from.is_none_or(|from| from <= day) && self.valid_to.is_none_or(|to| day < to)
    }

    /// Whether the listed retirement date has come.
    #[must_use]
    pub fn is_retired(&self, day: Date) -> bool {
        self.retirement.is_some_and(|retirement| retirement <= day)
    }

    /// The dated snapshot that the id stands for, where the catalogue knows exactly one.
    #[must_use]
    pub fn snapshot(&self) -> Option<&str> {
        let mut dated = self
            .aliases
            .iter()
            .filter(|alias| super::resolve::without_date(alias).is_some_and(|stem| stem == self.id));
        match (dated.next(), dated.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// Reads one line of a price table. On error: the column and what is wrong with its cell.
    pub fn from_record(record: &Record<'_>) -> Result<Self, (Column, CellError)> {
        let provider = filled(record, Column::Provider)?;
        let id = filled(record, Column::ModelId)?;
        let kind_text = record.get(Column::Kind);
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == kind_text);
        let kind = kind.ok_or_else(|| (Column::Kind, CellError::Kind(kind_text.to_owned())))?;
        let (endpoint, aliases) = names(record.get(Column::Aliases));
        let lanes = Lanes::read(record, kind, provider == "xai")?;
        let (valid_from, valid_to) = (date(record, Column::ValidFrom)?, date(record, Column::ValidTo)?);
        if valid_from.zip(valid_to).is_some_and(|(from, to)| to <= from) {
            return Err((Column::ValidTo, CellError::Dates));
        }
        let successor = record.get(Column::Successor);
        let flags = flags(record)?;
        // Who asks nothing for a call asks nothing for it in a batch; no list says so, as it has no discount to name.
        let is_free =
            |sync: &Rates| kind == Kind::Moderation && flags.batch == Support::Yes && sync.is_free();
        let batch = lanes.batch.or(lanes.sync.filter(is_free));
        Ok(Self {
            qualified: format!("{provider}/{id}"),
            provider,
            id,
            endpoint,
            aliases,
            kind,
            sync: lanes.sync,
            batch,
            flex: lanes.flex,
            limits: limits(record)?,
            flags,
            retirement: date(record, Column::DeprecationDate)?,
            successor: (!successor.is_empty()).then(|| successor.to_owned()),
            valid_from,
            valid_to,
            note: record.get(Column::PriceNote).to_owned(),
            verification: record.get(Column::Verification).to_owned(),
            source: record.get(Column::Source).to_owned(),
            as_of: date(record, Column::AsOf)?,
        })
    }
}

fn filled(record: &Record<'_>, column: Column) -> Result<String, (Column, CellError)> {
    let text = record.get(column).trim();
    if text.is_empty() { Err((column, CellError::Empty)) } else { Ok(text.to_owned()) }
}

pub(super) fn rate(record: &Record<'_>, column: Column) -> Result<Option<Rate>, (Column, CellError)> {
    match record.get(column) {
        "" => Ok(None),
        text => usd_per_million(text).map(|rate| Some(listed(rate))).map_err(|error| (column, error.into())),
    }
}

pub(super) fn count(record: &Record<'_>, column: Column) -> Result<Option<u64>, (Column, CellError)> {
    match record.get(column) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| (column, CellError::Count(text.to_owned()))),
    }
}

fn date(record: &Record<'_>, column: Column) -> Result<Option<Date>, (Column, CellError)> {
    match record.get(column) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| (column, CellError::Date(text.to_owned()))),
    }
}

fn support(record: &Record<'_>, column: Column) -> Result<Support, (Column, CellError)> {
    match record.get(column) {
        "true" => Ok(Support::Yes),
        "false" => Ok(Support::No),
        "" | "unknown" => Ok(Support::Unknown),
        text => Err((column, CellError::Flag(text.to_owned()))),
    }
}

fn limits(record: &Record<'_>) -> Result<Limits, (Column, CellError)> {
    let tokens = |column| Ok(count(record, column)?.map(Tokens));
    Ok(Limits {
        context_window: tokens(Column::ContextWindow)?,
        max_input: tokens(Column::MaxInput)?,
        max_output: tokens(Column::MaxOutput)?,
        batch_max_requests: count(record, Column::BatchMaxRequests)?,
        batch_max_bytes: count(record, Column::BatchMaxBytes)?,
    })
}

fn flags(record: &Record<'_>) -> Result<Flags, (Column, CellError)> {
    Ok(Flags {
        vision: support(record, Column::SupportsVision)?,
        pdf: support(record, Column::SupportsPdf)?,
        json_schema: support(record, Column::SupportsJsonSchema)?,
        reasoning: support(record, Column::SupportsReasoning)?,
        batch: support(record, Column::SupportsBatch)?,
    })
}

/// Splits the alias cell: `endpoint /v1/x` names the row's endpoint; `name (check)` is a name seen at one list only.
fn names(cell: &str) -> (Option<String>, Vec<String>) {
    let (mut endpoint, mut aliases) = (None, Vec::new());
    for part in cell.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        match part.strip_prefix("endpoint ") {
            Some(path) => endpoint = Some(path.trim().to_owned()),
            None => aliases.push(part.strip_suffix("(check)").unwrap_or(part).trim().to_owned()),
        }
    }
    (endpoint, aliases)
}
