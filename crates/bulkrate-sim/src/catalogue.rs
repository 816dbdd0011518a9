//! Known models and their prices, read from the price list by column name.
//!
//! Rates are whole pico-dollars per token: every published price is exact in that unit. Text is shifted by six decimal places;
//! no float touches a price.

use crate::config::SimError;
use crate::errors::ApiError;
use crate::like::Sells;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

const BUILT_IN: &str = include_str!("../../../catalogue/prices.csv");

/// How a request is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Sync,
    Batch,
    Flex,
}

/// What a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Embedding,
    Moderation,
    Decision,
    Image,
    /// Accepts every endpoint: a model nobody listed, under `any_model`.
    Any,
}

/// Which parameters a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Classic,
    OSeries,
    /// First generation of reasoning models with `minimal` effort.
    Gpt5,
    /// Reasoning models that can switch reasoning off, and do so by default.
    Current,
    /// Of other makers: takes every parameter.
    Open,
}

/// Pico-dollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) written_5m: u64,
    pub(crate) written_1h: u64,
    pub(crate) output: u64,
}

/// Rates of the three lanes; `None` = the model is not sold that way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tariff {
    sync: Rates,
    batch: Option<Rates>,
    flex: Option<Rates>,
}

impl Tariff {
    pub(crate) fn rates(&self, lane: Lane) -> Option<Rates> {
        match lane {
            Lane::Sync => Some(self.sync),
            Lane::Batch => self.batch,
            Lane::Flex => self.flex,
        }
    }
}

/// One model on one day.
#[derive(Debug)]
pub(crate) struct Model {
    /// Position in the catalogue; limits and bill are kept by it.
    pub(crate) index: usize,
    pub(crate) id: String,
    snapshot: String,
    pub(crate) kind: Kind,
    pub(crate) family: Family,
    pub(crate) tariff: Tariff,
    /// Prompts above this many tokens pay the second tariff for everything.
    pub(crate) long: Option<(u64, Tariff)>,
    pub(crate) input_max: u64,
    pub(crate) output_max: u64,
    pub(crate) json_schema: bool,
}

/// All models sold on the simulator's first day.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) models: Vec<Model>,
    names: HashMap<String, usize>,
    /// Models at the price of their decisions.
    deciders: HashMap<String, usize>,
    /// Names that take batches and nothing else, and whether all others take none: those of deployments.
    for_batches: Option<HashSet<String>>,
    any: Option<usize>,
    /// Those that the account may not use.
    pub(crate) denied: Vec<String>,
    /// Whether who may not use a model is told that it is not there.
    pub(crate) hides_denied: bool,
}

impl Catalogue {
    /// `today` is an ISO date; retired models and prices of other days are left out.
    pub(crate) fn load(
        csv: Option<&str>,
        today: &str,
        any_model: bool,
        sells: Sells,
    ) -> Result<Self, SimError> {
        let text = csv.unwrap_or(BUILT_IN);
        let mut records = csv_records(text).into_iter();
        let header = records.next().ok_or_else(|| SimError::Prices { why: "is empty".to_owned() })?;
        let columns: HashMap<&str, usize> =
            header.iter().enumerate().map(|(at, name)| (name.as_ref(), at)).collect();
        for needed in ["provider", "model_id", "kind", "input", "output"] {
            if !columns.contains_key(needed) {
                return Err(SimError::Prices { why: format!("lacks the column `{needed}`") });
            }
        }
        let mut catalogue = Self {
            models: Vec::new(),
            names: HashMap::new(),
            deciders: HashMap::new(),
            for_batches: None,
            any: None,
            denied: Vec::new(),
            hides_denied: false,
        };
        for (at, record) in records.enumerate() {
            let row = Row { columns: &columns, cells: &record };
            let sold = match sells {
                Sells::Of(provider) => row.get("provider") == provider,
                Sells::Routed => true,
                Sells::Named(..) => false,
            };
            if sold && row.sold_on(today) {
                catalogue
                    .add(&row, sells)
                    .map_err(|why| SimError::Prices { why: format!("line {}: {why}", at + 2) })?;
            }
        }
        if let Sells::Named(names, dollars) = sells {
            for name in names {
                let index = catalogue.models.len();
                catalogue.names.insert((*name).to_owned(), index);
                catalogue.models.push(Model::flat(index, name, dollars));
            }
        }
        if any_model {
            let index = catalogue.models.len();
            catalogue.any = Some(index);
            catalogue.models.push(Model { family: Family::Classic, ..Model::flat(index, "any", 0) });
        }
        Ok(catalogue)
    }

    /// Every model as a deployment of its own name for calls, and one more for its batches; and those of `own`, `NAME=MODEL`, or
    /// `NAME=MODEL,batch` for batches.
    pub(crate) fn deploy(&mut self, own: &[String]) -> Result<(), SimError> {
        let mut for_batches = HashSet::new();
        for (name, at) in self.names.clone() {
            if self.models[at].tariff.rates(Lane::Batch).is_some() {
                let name = format!("{name}-batch");
                self.names.insert(name.clone(), at);
                for_batches.insert(name);
            }
        }
        for text in own {
            let needs = "NAME=MODEL or NAME=MODEL,batch, with a model of the price list";
            let bad = || SimError::Setting { name: "deployment", value: text.clone(), needs };
            let (name, model) = text.split_once('=').ok_or_else(bad)?;
            let (model, batch) = model.strip_suffix(",batch").map_or((model, false), |model| (model, true));
            let at = self.names.get(model).copied().ok_or_else(bad)?;
            self.names.insert(name.to_owned(), at);
            if batch {
                for_batches.insert(name.to_owned());
            }
        }
        self.for_batches = Some(for_batches);
        Ok(())
    }

    pub(crate) fn takes_only_batches(&self, name: &str) -> bool {
        self.for_batches.as_ref().is_some_and(|names| names.contains(name))
    }

    pub(crate) fn takes_no_batches(&self, name: &str) -> bool {
        self.for_batches.as_ref().is_some_and(|names| !names.contains(name))
    }

    fn add(&mut self, row: &Row<'_>, sells: Sells) -> Result<(), String> {
        let kind = match row.get("kind") {
            "chat" => Kind::Chat,
            "embedding" => Kind::Embedding,
            "moderation" => Kind::Moderation,
            "decision" => Kind::Decision,
            _ => return Ok(()), // other endpoints of the same model
        };
        let mut model = Model::read(row, kind, self.models.len())?;
        let index = model.index;
        if ![Sells::Of("openai"), Sells::Of("azure")].contains(&sells) {
            model.family = Family::Open;
        }
        if kind == Kind::Decision {
            if sells != Sells::Routed {
                // Its own line in the bill.
                self.deciders.insert(model.id.clone(), index);
                model.id.push_str("/v1/decisions");
                self.models.push(model);
            }
            return Ok(());
        }
        if sells == Sells::Routed {
            model.id = format!("{}/{}", row.get("provider"), model.id);
            model.snapshot.clone_from(&model.id);
            self.names.entry(model.id.clone()).or_insert(index);
            self.models.push(model);
            return Ok(());
        }
        self.names.entry(model.id.clone()).or_insert(index);
        for alias in row.aliases() {
            self.names.entry(alias.to_owned()).or_insert(index);
        }
        self.models.push(model);
        Ok(())
    }

    /// The model behind a name, and the dated name an answer carries.
    pub(crate) fn find<'a>(&'a self, name: &'a str) -> Result<(&'a Model, Cow<'a, str>), ApiError> {
        if self.denied.iter().any(|denied| denied == name) {
            return Err(if self.hides_denied { ApiError::no_model(name) } else { ApiError::no_access(name) });
        }
        let known = self.names.get(name).copied();
        let Some(index) = known.or(self.any) else { return Err(ApiError::no_model(name)) };
        let model = &self.models[index];
        if known.is_none() || is_dated(name) {
            return Ok((model, Cow::Borrowed(name)));
        }
        Ok((model, Cow::Borrowed(&model.snapshot)))
    }

    /// The same for what is asked of it.
    pub(crate) fn find_for<'a>(
        &'a self,
        kind: Kind,
        name: &'a str,
    ) -> Result<(&'a Model, Cow<'a, str>), ApiError> {
        let (model, served) = self.find(name)?;
        let decider = self.deciders.get(name).filter(|_| kind == Kind::Decision);
        Ok((decider.map_or(model, |index| &self.models[*index]), served))
    }

    /// Every name that `/v1/models` lists.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl Model {
    fn read(row: &Row<'_>, kind: Kind, index: usize) -> Result<Self, String> {
        let id = row.get("model_id").to_owned();
        let base = row.tariff()?;
        let long = match row.get("lc_threshold").parse::<u64>() {
            Ok(threshold) if row.pico("lc_input")?.is_some() => Some((threshold, row.long_tariff(&base)?)),
            _ => None,
        };
        let snapshot = row.aliases().find(|alias| is_dated(alias)).unwrap_or(&id).to_owned();
        Ok(Self {
            index,
            kind,
            family: family(&id, row.get("supports_reasoning") == "true"),
            tariff: base,
            long,
            input_max: row.get("max_input").parse().unwrap_or(u64::MAX),
            output_max: row.get("max_output").parse().unwrap_or(u64::MAX),
            json_schema: row.get("supports_json_schema") != "false",
            snapshot,
            id,
        })
    }

    /// One price for every token, and no limits.
    fn flat(index: usize, id: &str, dollars: u64) -> Self {
        let rate = dollars.saturating_mul(1_000_000);
        let flat = Rates { input: rate, cached: rate, written_5m: rate, written_1h: rate, output: rate };
        Self {
            index,
            id: id.to_owned(),
            snapshot: id.to_owned(),
            kind: Kind::Any,
            family: Family::Open,
            tariff: Tariff { sync: flat, batch: Some(flat), flex: Some(flat) },
            long: None,
            input_max: u64::MAX,
            output_max: u64::MAX,
            json_schema: true,
        }
    }

    pub(crate) fn serves(&self, kind: Kind) -> bool {
        self.kind == kind || self.kind == Kind::Any
    }
}

fn family(id: &str, reasoning: bool) -> Family {
    if !reasoning {
        return Family::Classic;
    }
    if id.starts_with('o') {
        return Family::OSeries;
    }
    if id == "gpt-5" || id.starts_with("gpt-5-") { Family::Gpt5 } else { Family::Current }
}

/// Ends in `-YYYY-MM-DD` or another dated suffix such as `-0125`.
fn is_dated(name: &str) -> bool {
    let tail = name.len().saturating_sub(11);
    let dated = name.get(tail..).is_some_and(|tail| {
        tail.len() == 11
            && tail
                .bytes()
                .enumerate()
                .all(|(at, byte)| if [0, 5, 8].contains(&at) { byte == b'-' } else { byte.is_ascii_digit() })
    });
    dated
        || name
            .rsplit_once('-')
            .is_some_and(|(_, tail)| tail.len() == 4 && tail.bytes().all(|byte| byte.is_ascii_digit()))
}

struct Row<'a> {
    columns: &'a HashMap<&'a str, usize>,
    cells: &'a [Cow<'a, str>],
}

impl<'a> Row<'a> {
    fn get(&self, column: &str) -> &'a str {
        self.columns.get(column).and_then(|&at| self.cells.get(at)).map_or("", |cell| cell.trim())
    }

    fn aliases(&self) -> impl Iterator<Item = &'a str> {
        self.get("aliases")
            .split(';')
            .map(|alias| alias.trim().trim_end_matches("(check)").trim())
            .filter(|alias| !alias.is_empty() && !alias.contains(' '))
    }

    /// Valid from the first day to before the last, and not retired. ISO dates compare as text.
    fn sold_on(&self, today: &str) -> bool {
        let (from, until, retired) =
            (self.get("valid_from"), self.get("valid_to"), self.get("deprecation_date"));
        (from.is_empty() || from <= today)
            && (until.is_empty() || today < until)
            && (retired.is_empty() || today < retired)
    }

    fn pico(&self, column: &str) -> Result<Option<u64>, String> {
        match self.get(column) {
            "" => Ok(None),
            text => {
                pico_per_token(text).map(Some).ok_or_else(|| format!("`{column}` is `{text}`, not a price"))
            }
        }
    }

    fn tariff(&self) -> Result<Tariff, String> {
        let input = self.pico("input")?.ok_or("`input` is empty")?;
        let read = self.pico("cache_read")?;
        let written_5m = self.pico("cache_write_5m")?.unwrap_or(input);
        let sync = Rates {
            input,
            cached: read.unwrap_or(input),
            written_5m,
            written_1h: self.pico("cache_write_1h")?.unwrap_or(written_5m),
            output: self.pico("output")?.unwrap_or(0),
        };
        Ok(Tariff {
            sync,
            batch: self.discounted("batch", read, sync)?,
            flex: self.discounted("flex", read, sync)?,
        })
    }

    /// Rates of a cheaper lane. Without a cached rate of its own: the lower of the standard cached and the lane's input rate.
    fn discounted(&self, lane: &str, read: Option<u64>, sync: Rates) -> Result<Option<Rates>, String> {
        let Some(input) = self.pico(&format!("{lane}_input"))? else { return Ok(None) };
        let own = self.pico(&format!("{lane}_cache_read"))?;
        let cached = own.unwrap_or_else(|| read.map_or(input, |read| read.min(input)));
        let output = self.pico(&format!("{lane}_output"))?.unwrap_or(0);
        // Writes without a rate of their own are as much cheaper as the input is.
        let written = self.pico(&format!("{lane}_cache_write_5m"))?;
        Ok(Some(Rates {
            input,
            cached,
            written_5m: written.unwrap_or_else(|| scaled(sync.written_5m, sync.input, input)),
            written_1h: scaled(sync.written_1h, sync.input, input),
            output,
        }))
    }

    /// Long-context rates; those the list lacks keep the ratio of the base rates, rounded up.
    fn long_tariff(&self, base: &Tariff) -> Result<Tariff, String> {
        let input = self.pico("lc_input")?.unwrap_or(base.sync.input);
        let output =
            self.pico("lc_output")?.unwrap_or_else(|| scaled(input, base.sync.input, base.sync.output));
        let cached =
            self.pico("lc_cache_read")?.unwrap_or_else(|| scaled(input, base.sync.input, base.sync.cached));
        let written = |lane: u64| scaled(lane, base.sync.input, input);
        let sync = Rates {
            input,
            cached,
            written_5m: written(base.sync.written_5m),
            written_1h: written(base.sync.written_1h),
            output,
        };
        let derive = |lane: Rates| Rates {
            input: scaled(lane.input, base.sync.input, sync.input),
            cached: scaled(lane.cached, base.sync.cached, sync.cached),
            written_5m: written(lane.written_5m),
            written_1h: written(lane.written_1h),
            output: scaled(lane.output, base.sync.output, sync.output),
        };
        let mut batch = base.batch.map(derive);
        if let Some(rates) = &mut batch {
            rates.input = self.pico("lc_batch_input")?.unwrap_or(rates.input);
            rates.output = self.pico("lc_batch_output")?.unwrap_or(rates.output);
        }
        Ok(Tariff { sync, batch, flex: base.flex.map(derive) })
    }
}

/// `from` in the ratio of `to` and `of`, rounded up.
fn scaled(from: u64, of: u64, to: u64) -> u64 {
    if of == 0 {
        return to;
    }
    u64::try_from((u128::from(from) * u128::from(to)).div_ceil(u128::from(of))).unwrap_or(u64::MAX)
}

/// `0.0025` USD per million tokens is 2,500 pico-dollars per token. `None` unless exact.
fn pico_per_token(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(padded)
}

/// Splits RFC 4180 text into records; blank lines are skipped.
fn csv_records(text: &str) -> Vec<Vec<Cow<'_, str>>> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.trim_start_matches('\u{feff}').chars().peekable());
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => cell.push(chars.next().unwrap_or('"')),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(Cow::Owned(std::mem::take(&mut cell))),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                record.push(Cow::Owned(std::mem::take(&mut cell)));
                records.push(std::mem::take(&mut record));
            }
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(Cow::Owned(cell));
        records.push(record);
    }
    records.retain(|record| record.len() > 1);
    records
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn prices_are_exact() {
        for (text, pico) in [
            ("0.0025", Some(2_500)),
            ("10", Some(10_000_000)),
            ("1.250", Some(1_250_000)),
            ("0.0000001", None),
            ("1.2.3", None),
            ("-1", None),
            ("NaN", None),
        ] {
            assert_eq!(pico_per_token(text), pico, "{text}");
        }
    }

    #[test]
    fn built_in_list_has_the_current_models() {
        let list = Catalogue::load(None, "2026-11-21", false, Sells::Of("openai")).unwrap();
        let (luna, name) = list.find("gpt-6-luna").unwrap();
        assert_eq!((luna.kind, luna.family, name.as_ref()), (Kind::Chat, Family::Current, "gpt-6-luna"));
        assert_eq!(
            luna.tariff.rates(Lane::Batch).unwrap(),
            Rates { input: 50_000, cached: 5_000, written_5m: 62_500, written_1h: 62_500, output: 250_000 }
        );
        let (threshold, long) = luna.long.unwrap();
        assert_eq!((threshold, long.rates(Lane::Batch).unwrap().cached), (272_000, 10_000));
        let (mini, name) = list.find("gpt-4.1-mini").unwrap();
        assert_eq!((mini.family, name.as_ref()), (Family::Classic, "gpt-4.1-mini-2025-04-14"));
        // No batch cached rate is published: the lower of 0.10 and 0.20.
        assert_eq!(mini.tariff.rates(Lane::Batch).unwrap().cached, 100_000);
        assert!(mini.tariff.rates(Lane::Flex).is_none());
    }

    #[test]
    fn retired_and_unknown_models_are_refused_unless_any() {
        let today = Catalogue::load(None, "2026-11-21", false, Sells::Of("openai")).unwrap();
        assert_eq!(today.find("gpt-4.1-nano").unwrap_err().status, 404);
        assert!(
            Catalogue::load(None, "2026-10-01", false, Sells::Of("openai"))
                .unwrap()
                .find("gpt-4.1-nano")
                .is_ok()
        );
        assert!(today.find("my-llama").is_err());
        let any = Catalogue::load(None, "2026-11-21", true, Sells::Of("openai")).unwrap();
        assert_eq!(any.find("my-llama").unwrap().1, "my-llama");
    }

    #[test]
    fn quoted_cells_and_dates_of_validity() {
        let csv = "provider,model_id,kind,input,output,price_note,valid_from,valid_to\n\
                   openai,m,chat,1,2,\"a, \"\"b\"\"\",,2026-12-01\nopenai,m,chat,2,4,x,2026-12-01,\n";
        let rate = |day| {
            Catalogue::load(Some(csv), day, false, Sells::Of("openai"))
                .unwrap()
                .find("m")
                .unwrap()
                .0
                .tariff
                .rates(Lane::Sync)
                .unwrap()
                .input
        };
        assert_eq!((rate("2026-11-30"), rate("2026-12-01")), (1_000_000, 2_000_000));
    }
}
