//! genai-prices' data file: an array of providers with models, dated prices in USD per million tokens, and variants.

use jiff::civil::Date;
use serde_json::value::RawValue;

use super::json::{self, Fields};
use super::{Found, ImportError, Imported, Prices, finish};
use crate::money::PicoUsdPerToken;
use crate::price::rates::usd_per_million;
use crate::price::table::{Column, Record};

/// Their provider and ours. Theirs merges Gemini's API and Vertex; the rows are written for the API.
const PROVIDERS: &[(&str, &str)] = &[
    ("openai", "openai"),
    ("azure", "azure"),
    ("anthropic", "anthropic"),
    ("google", "gemini"),
    ("aws", "bedrock"),
    ("mistral", "mistral"),
    ("groq", "groq"),
    ("deepseek", "deepseek"),
    ("x-ai", "xai"),
    ("together", "together"),
    ("fireworks", "fireworks"),
    ("voyageai", "voyage"),
    ("cohere", "cohere"),
];

/// Reads genai-prices' list. `as_of` (YYYY-MM-DD) is written into every row; prices that ended before it are left out.
pub fn import_genai_prices(json_text: &str, as_of: &str) -> Result<Imported, ImportError> {
    let today: Date =
        as_of.parse().map_err(|_| ImportError::Json(format!("`{as_of}` is not a date; write YYYY-MM-DD")))?;
    let top: Vec<Fields<'_>> =
        serde_json::from_str(json_text).map_err(|error| ImportError::Json(error.to_string()))?;
    let mut imported = Imported::default();
    for provider in &top {
        let theirs = provider.text("id").unwrap_or_default();
        let Some((_, ours)) = PROVIDERS.iter().find(|(name, _)| *name == theirs) else {
            imported.skipped.push((theirs, "not one of our providers".to_owned()));
            continue;
        };
        for model in provider.list("models").unwrap_or_default() {
            let model = Fields::of(model).unwrap_or_default();
            let id = model.text("id").unwrap_or_default();
            match rows(ours, &id, &model, today) {
                Ok(rows) => imported.rows.extend(rows),
                Err(reason) => imported.skipped.push((format!("{theirs}/{id}"), reason)),
            }
        }
    }
    finish(imported)
}

/// Prices that hold from a day on, and whether only for some hours.
struct Entry<'a> {
    from: Option<Date>,
    hours: bool,
    prices: Fields<'a>,
}

/// One row for every span of days between two changes of price.
fn rows(provider: &str, id: &str, model: &Fields<'_>, today: Date) -> Result<Vec<Record<'static>>, String> {
    if id.is_empty() {
        return Err("no id".to_owned());
    }
    if model.flag("deprecated") == Some(true) {
        return Err("deprecated in the list".to_owned());
    }
    let base = entries(model.raw("prices").ok_or("no prices")?)?;
    let variants: Vec<Fields<'_>> =
        model.list("price_variants").unwrap_or_default().into_iter().filter_map(Fields::of).collect();
    let batch = variant(&variants, "processing", "batch")?;
    let flex = variant(&variants, "service_tier", "flex")?;
    let mut changes: Vec<Option<Date>> = vec![None];
    changes.extend(base.iter().chain(&batch).chain(&flex).map(|entry| entry.from).filter(Option::is_some));
    changes.sort_unstable();
    changes.dedup();
    let kind = kind(id);
    let mut rows = Vec::new();
    for (at, from) in changes.iter().enumerate() {
        let to = changes.get(at + 1).copied().flatten();
        if to.is_some_and(|to| to <= today) {
            continue;
        }
        let Some(mut found) = span(&base, &batch, &flex, *from)? else { continue };
        if provider == "xai" {
            // Our table writes xAI's threshold as xAI does, inclusive; the list writes one less.
            found.threshold = found.threshold.map(|start| start + 1);
        }
        if let Some(reason) = found.unusable(kind) {
            return Err(reason.to_owned());
        }
        let mut record = Record::empty();
        describe(provider, id, kind, model, &mut record);
        found.write(&mut record);
        record.set(Column::SupportsBatch, if found.batch.input.is_some() { "true" } else { "unknown" });
        record.set(Column::AsOf, today.to_string());
        // A start in the past says nothing to a table of today on; the first span then is open.
        if let Some(from) = from.filter(|&from| from > today) {
            record.set(Column::ValidFrom, from.to_string());
        }
        if let Some(to) = to {
            record.set(Column::ValidTo, to.to_string());
        }
        if base.iter().any(|entry| entry.hours) {
            record.note("priced by the hour of day; the dearest hours are used");
        }
        rows.push(record);
    }
    if rows.is_empty() { Err("no prices that hold today or later".to_owned()) } else { Ok(rows) }
}

/// The prices of all lanes on the day `from` (the beginning of time when `None`).
fn span(
    base: &[Entry<'_>],
    batch: &[Entry<'_>],
    flex: &[Entry<'_>],
    from: Option<Date>,
) -> Result<Option<Found>, String> {
    let Some(standard) = holding(base, from) else { return Ok(None) };
    let mut standard = Tiered::read(&standard.prices)?;
    for hours in base.iter().filter(|entry| entry.hours && entry.from <= from) {
        let other = Tiered::read(&hours.prices)?;
        if other.base.input > standard.base.input {
            standard = other;
        }
    }
    let lane = |entries: &[Entry<'_>]| match holding(entries, from) {
        Some(entry) => Tiered::read(&entry.prices).map(|own| Some(own.over(&standard))),
        None => Ok(None),
    };
    let (batch, flex) = (lane(batch)?.unwrap_or_default(), lane(flex)?.unwrap_or_default());
    Ok(Some(Found {
        threshold: standard.threshold,
        standard: standard.base,
        long: standard.long,
        batch: batch.base,
        long_batch: batch.long,
        flex: flex.base,
    }))
}

/// The last entry whose start has come; entries for some hours only are handled by the caller.
fn holding<'a, 'b>(entries: &'b [Entry<'a>], day: Option<Date>) -> Option<&'b Entry<'a>> {
    entries.iter().rev().find(|entry| !entry.hours && entry.from <= day)
}

/// `prices` is an object, or an array of `{constraint?, prices}`.
fn entries(prices: &RawValue) -> Result<Vec<Entry<'_>>, String> {
    if let Some(fields) = Fields::of(prices) {
        return Ok(vec![Entry { from: None, hours: false, prices: fields }]);
    }
    let list = json::list(prices).ok_or("`prices` is neither an object nor an array")?;
    list.into_iter()
        .map(|item| {
            let item = Fields::of(item).ok_or("an entry of `prices` is not an object")?;
            dated(&item, item.object("prices").ok_or("an entry of `prices` has no prices")?)
        })
        .collect()
}

fn dated<'a>(item: &Fields<'_>, prices: Fields<'a>) -> Result<Entry<'a>, String> {
    let constraint = item.object("constraint").unwrap_or_default();
    let from = match constraint.text("start_date") {
        Some(text) => Some(text.parse().map_err(|_| format!("`{text}` is not a date"))?),
        None => None,
    };
    Ok(Entry { from, hours: constraint.raw("start_time").is_some(), prices })
}

/// All entries of one variant, oldest first, so that a later start wins whatever the order in the list.
fn variant<'a>(variants: &[Fields<'a>], key: &str, value: &str) -> Result<Vec<Entry<'a>>, String> {
    let mut entries = Vec::new();
    for variant in variants {
        if variant.object("when").and_then(|when| when.text(key)).as_deref() == Some(value) {
            entries.push(dated(variant, variant.object("prices").unwrap_or_default())?);
        }
    }
    entries.sort_by_key(|entry| entry.from);
    Ok(entries)
}

/// Prices with at most one long-context tier.
#[derive(Debug, Clone, Copy, Default)]
struct Tiered {
    base: Prices,
    threshold: Option<u64>,
    long: Prices,
}

impl Tiered {
    fn read(prices: &Fields<'_>) -> Result<Self, String> {
        let mut tiered = Self::default();
        let mut read = |name: &str| tiered_rate(prices, name, &mut tiered.threshold);
        let (input, output) = (read("input_mtok")?, read("output_mtok")?);
        let (cache_read, write) = (read("cache_read_mtok")?, read("cache_write_mtok")?);
        let hour = read("cache_write_1h_mtok")?;
        let set = |pick: fn(Option<Pair>) -> Option<PicoUsdPerToken>| Prices {
            input: pick(input),
            output: pick(output),
            cache_read: pick(cache_read),
            cache_write: pick(write),
            cache_write_1h: pick(hour),
        };
        tiered.base = set(|pair| pair.map(|pair| pair.0));
        // A class without a tier keeps its price in a long prompt.
        tiered.long = set(|pair| pair.map(|pair| pair.1.unwrap_or(pair.0)));
        Ok(tiered)
    }

    /// A variant's prices; what it does not name, the standard prices give.
    fn over(self, standard: &Self) -> Self {
        let merge = |own: &Prices, other: &Prices| Prices {
            input: own.input.or(other.input),
            output: own.output.or(other.output),
            cache_read: own.cache_read.or(other.cache_read),
            cache_write: own.cache_write.or(other.cache_write),
            cache_write_1h: own.cache_write_1h.or(other.cache_write_1h),
        };
        Self {
            base: merge(&self.base, &standard.base),
            threshold: self.threshold.or(standard.threshold),
            long: merge(&self.long, &standard.long),
        }
    }
}

/// A rate and its long-context rate.
type Pair = (PicoUsdPerToken, Option<PicoUsdPerToken>);

/// A number, or `{base, tiers: [{start, price}]}`.
fn tiered_rate(prices: &Fields<'_>, name: &str, threshold: &mut Option<u64>) -> Result<Option<Pair>, String> {
    let Some(tiered) = prices.object(name) else {
        return Ok(prices.rate(name, usd_per_million)?.map(|rate| (rate, None)));
    };
    let base =
        tiered.rate("base", usd_per_million)?.ok_or_else(|| format!("field `{name}` has no base price"))?;
    let tiers = tiered.list("tiers").unwrap_or_default();
    let tier = match tiers.as_slice() {
        [] => return Ok(Some((base, None))),
        [tier] => {
            Fields::of(tier).ok_or_else(|| format!("field `{name}` has a tier that is not an object"))?
        }
        _ => return Err("more than one long-context tier".to_owned()),
    };
    let start = tier.count("start").ok_or_else(|| format!("field `{name}` has a tier without a start"))?;
    if threshold.is_some_and(|other| other != start) {
        return Err("long-context tiers that start at different sizes".to_owned());
    }
    *threshold = Some(start);
    Ok(Some((base, tier.rate("price", usd_per_million)?)))
}

/// The list does not say what a model is for; the id does.
fn kind(id: &str) -> &'static str {
    match id {
        id if id.contains("embed") || id.starts_with("voyage") => "embedding",
        id if id.contains("rerank") => "rerank",
        id if id.contains("moderation") => "moderation",
        _ => "chat",
    }
}

fn describe(provider: &str, id: &str, kind: &'static str, model: &Fields<'_>, record: &mut Record<'static>) {
    record.set(Column::Provider, provider.to_owned());
    record.set(Column::ModelId, id.to_owned());
    record.set(Column::Kind, kind);
    if let Some(window) = model.count("context_window") {
        record.set(Column::ContextWindow, window.to_string());
    }
    record.set(Column::Aliases, aliases(id, model.object("match")).join(";"));
    record.set(Column::Verification, "one-list");
    record.set(Column::Source, "genai-prices");
}

/// The names that the match tree states outright; patterns are not names.
fn aliases(id: &str, matching: Option<Fields<'_>>) -> Vec<String> {
    let Some(matching) = matching else { return Vec::new() };
    let branches = matching.list("or").unwrap_or_default();
    let names = branches.into_iter().filter_map(Fields::of).filter_map(|branch| branch.text("equals"));
    names.chain(matching.text("equals")).filter(|name| name != id && !name.contains([';', ','])).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lane::Lane;
    use crate::price::{Catalogue, price};
    use crate::usage::Usage;

    const SAMPLE: &str = r#"[
      {"id": "openai", "name": "O", "models": [
        {"id": "brook-1", "match": {"or": [{"equals": "brook-1"}, {"equals": "brook-1-2026-01-02"}, {"regex": "^brook-1-x"}]},
         "context_window": 128000, "prices": {"input_mtok": 0.4, "cache_read_mtok": 0.1, "output_mtok": 1.6},
         "price_variants": [
           {"when": {"service_tier": "priority"}, "prices": {"input_mtok": 0.7, "output_mtok": 2.8}},
           {"when": {"processing": "batch"}, "prices": {"input_mtok": 0.2, "output_mtok": 0.8}, "constraint": {"start_date": "2026-10-14"}}]},
        {"id": "brook-2", "prices": [
           {"prices": {"input_mtok": {"base": 2, "tiers": [{"start": 200000, "price": 4}]}, "output_mtok": {"base": 10, "tiers": [{"start": 200000, "price": 15}]}}},
           {"constraint": {"start_date": "2025-01-01"}, "prices": {"input_mtok": 1, "output_mtok": 5}},
           {"constraint": {"start_date": "2026-12-01"}, "prices": {"input_mtok": 2e0, "output_mtok": 1.0E1}}],
         "price_variants": [
           {"when": {"processing": "batch"}, "constraint": {"start_date": "2026-12-01"}, "prices": {"input_mtok": 1, "output_mtok": 5}},
           {"when": {"processing": "batch"}, "constraint": {"start_date": "2026-10-14"}, "prices": {"input_mtok": 0.5, "output_mtok": 2.5}}]},
        {"id": "brook-old", "deprecated": true, "prices": {"input_mtok": 1, "output_mtok": 1}},
        {"id": "brook-embed", "prices": {"input_mtok": 0.02}},
        {"id": "brook-audio", "prices": {"input_audio_mtok": 3}}]},
      {"id": "deepseek", "models": [
        {"id": "brook-3", "prices": [
           {"prices": {"input_mtok": 0.15, "output_mtok": 0.6}},
           {"constraint": {"start_time": "01:00:00Z", "end_time": "04:00:00Z"}, "prices": {"input_mtok": 0.3, "output_mtok": 1.2}}]}]},
      {"id": "x-ai", "models": [
        {"id": "brook-4", "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 199999, "price": 4}]}, "output_mtok": {"base": 6, "tiers": [{"start": 199999, "price": 12}]}}}]},
      {"id": "perplexity", "models": []}]"#;

    #[test]
    fn models_become_dated_rows() {
        let imported = import_genai_prices(SAMPLE, "2026-11-20").unwrap();
        let rows: Vec<String> = imported
            .rows
            .iter()
            .map(|row| {
                let cell = |column| row.get(column);
                format!(
                    "{} {} {}/{} {}/{} [{}..{}]",
                    cell(Column::ModelId),
                    cell(Column::Kind),
                    cell(Column::Input),
                    cell(Column::Output),
                    cell(Column::BatchInput),
                    cell(Column::BatchOutput),
                    cell(Column::ValidFrom),
                    cell(Column::ValidTo)
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                "brook-1 chat 0.4/1.6 0.2/0.8 [..]",
                "brook-2 chat 1/5 0.5/2.5 [..2026-12-01]",
                "brook-2 chat 2/10 1/5 [2026-12-01..]",
                "brook-embed embedding 0.02/ / [..]",
                "brook-3 chat 0.3/1.2 / [..]",
                "brook-4 chat 2/6 / [..]",
            ]
        );
        let skipped: Vec<String> = imported.skipped.iter().map(|(id, why)| format!("{id}: {why}")).collect();
        assert_eq!(
            skipped,
            [
                "openai/brook-old: deprecated in the list",
                "openai/brook-audio: no input price per token",
                "perplexity: not one of our providers",
            ]
        );
        assert_eq!(imported.rows[0].get(Column::Aliases), "brook-1-2026-01-02");
        // A variant inherits what it does not name.
        assert_eq!(imported.rows[0].get(Column::BatchCacheRead), "0.1");
    }

    #[test]
    fn an_earlier_day_sees_the_earlier_prices() {
        let imported = import_genai_prices(SAMPLE, "2024-06-01").unwrap();
        let spans = imported.rows.iter().filter(|row| row.get(Column::ModelId) == "brook-2");
        let spans: Vec<_> = spans
            .map(|row| (row.get(Column::Input), row.get(Column::LcThreshold), row.get(Column::ValidFrom)))
            .collect();
        assert_eq!(
            spans,
            [("2", "200000", ""), ("1", "", "2025-01-01"), ("1", "", "2026-10-14"), ("2", "", "2026-12-01")]
        );
    }

    #[test]
    fn imported_rows_price_as_the_list_says() {
        let csv = import_genai_prices(SAMPLE, "2026-11-20").unwrap().to_csv();
        assert_eq!(super::super::import(&csv, "x").unwrap().to_csv(), csv);
        let catalogue = Catalogue::parse(&csv).unwrap();
        let day = jiff::civil::date(2026, 11, 20);
        let row = catalogue.find("openai", "brook-1", day).unwrap();
        let usage = Usage { input: 1_000, cache_read: 1_000, output: 10, ..Default::default() };
        assert_eq!(price(row.rates(Lane::Batch).unwrap(), &usage).unwrap().0, 200_000 + 100_000 + 8_000);
        // The list writes an inclusive threshold of 200,000 as a start of 199,999; ours must not shift it.
        let long = catalogue.find("xai", "brook-4", day).unwrap().sync.unwrap();
        let at = |input| price(&long, &Usage { input, ..Default::default() }).unwrap().0;
        assert_eq!((at(199_999), at(200_000)), (399_998_000, 800_000_000));
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in ["[", "{}", "[]", "[{\"id\": \"openai\", \"models\": [{\"id\": \"a\"}]}]"] {
            assert!(import_genai_prices(text, "2026-11-20").is_err(), "{text}");
        }
        assert!(import_genai_prices("[]", "today").is_err());
    }
}
