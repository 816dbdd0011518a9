//! LiteLLM's `model_prices_and_context_window.json`: an object from id to entry, prices in USD per token.

use super::json::Fields;
use super::{Found, ImportError, Imported, Prices, finish};
use crate::price::rates::usd_per_token;
use crate::price::table::{Column, Record};

/// Their provider, ours, and whether their ids start with a segment that is not part of the model id.
const PROVIDERS: &[(&str, &str, bool)] = &[
    ("openai", "openai", false),
    ("azure", "azure", true),
    ("azure_ai", "azure", true),
    ("anthropic", "anthropic", false),
    ("gemini", "gemini", true),
    ("bedrock", "bedrock", false),
    ("bedrock_converse", "bedrock", false),
    ("mistral", "mistral", true),
    ("groq", "groq", true),
    ("deepseek", "deepseek", true),
    ("xai", "xai", true),
    ("together_ai", "together", true),
    ("fireworks_ai", "fireworks", true),
    ("voyage", "voyage", true),
    ("cohere", "cohere", false),
    ("cohere_chat", "cohere", false),
];
/// Azure deployments bound to a region are priced apart; the plain id is the global one.
const AZURE_REGIONS: [&str; 4] = ["eu/", "us/", "global/", "global-standard/"];

/// Reads LiteLLM's list. `as_of` is written into every row.
pub fn import_litellm(json_text: &str, as_of: &str) -> Result<Imported, ImportError> {
    let top: Fields<'_> =
        serde_json::from_str(json_text).map_err(|error| ImportError::Json(error.to_string()))?;
    let mut imported = Imported::default();
    let mut seen = std::collections::HashSet::new();
    for (id, value) in &top.0 {
        if id == "sample_spec" {
            continue;
        }
        let outcome = Fields::of(value)
            .ok_or_else(|| "not an object".to_owned())
            .and_then(|entry| row(id, &entry, as_of));
        match outcome {
            Ok(row)
                if seen
                    .insert((row.get(Column::Provider).to_owned(), row.get(Column::ModelId).to_owned())) =>
            {
                imported.rows.push(row);
            }
            Ok(_) => {
                imported.skipped.push((id.to_string(), "another entry prices the same model".to_owned()));
            }
            Err(reason) => imported.skipped.push((id.to_string(), reason)),
        }
    }
    finish(imported)
}

fn row(id: &str, entry: &Fields<'_>, as_of: &str) -> Result<Record<'static>, String> {
    let theirs = entry.text("litellm_provider").ok_or("no `litellm_provider`")?;
    let (provider, model) = names(id, &theirs)?;
    let kind = match entry.text("mode").as_deref() {
        Some("chat" | "responses" | "completion") => "chat",
        Some("embedding") => "embedding",
        Some("moderation") => "moderation",
        Some("rerank") => "rerank",
        Some("decisions") => "decision",
        other => return Err(format!("mode `{}` is not priced by tokens here", other.unwrap_or("none"))),
    };
    if entry.raw("tiered_pricing").is_some() {
        return Err("prices in several tiers (`tiered_pricing`)".to_owned());
    }
    let found = found(entry)?;
    if let Some(reason) = found.unusable(kind) {
        return Err(reason.to_owned());
    }
    let mut record = Record::empty();
    record.set(Column::Provider, provider);
    record.set(Column::ModelId, model);
    record.set(Column::Kind, kind);
    if kind == "decision" {
        record.set(Column::Aliases, "endpoint /v1/decisions");
    }
    found.write(&mut record);
    describe(entry, &found, &mut record);
    record.set(Column::Verification, "one-list");
    record.set(Column::Source, "litellm");
    record.set(Column::AsOf, as_of.to_owned());
    Ok(record)
}

/// Our provider and the id that is sent there.
fn names(id: &str, theirs: &str) -> Result<(&'static str, String), String> {
    let vertex = theirs.starts_with("vertex_ai");
    let known = PROVIDERS.iter().find(|(name, ..)| *name == theirs);
    let (provider, strip) = match known {
        Some((_, ours, strip)) => (*ours, *strip),
        None if vertex => ("vertex", true),
        None => return Err(format!("provider `{theirs}` is not one of ours")),
    };
    let model = match id.split_once('/') {
        Some((first, rest)) if strip && (first == theirs || vertex) => rest,
        Some((first, _)) if first.contains("-x-") => return Err("an image size, not a model".to_owned()),
        _ => id,
    };
    let regional = (provider == "azure" && AZURE_REGIONS.iter().any(|region| model.starts_with(region)))
        || (provider == "bedrock" && id.starts_with("bedrock/"));
    if regional { Err("a regional price".to_owned()) } else { Ok((provider, model.to_owned())) }
}

/// All prices of an entry that our table has columns for.
fn found(entry: &Fields<'_>) -> Result<Found, String> {
    let threshold = threshold(entry)?;
    let long = |lane: &str| match threshold {
        Some(thousands) => prices(entry, &format!("_above_{thousands}k_tokens"), lane),
        None => Ok(Prices::default()),
    };
    let mut found = Found {
        standard: prices(entry, "", "")?,
        batch: prices(entry, "", "_batches")?,
        flex: prices(entry, "", "_flex")?,
        threshold: threshold.map(|thousands| thousands * 1_000),
        long: long("")?,
        long_batch: long("_batches")?,
    };
    if found.long.input.is_none() {
        found.threshold = None;
    }
    // A write for nothing is "not known": a write never costs less than plain input.
    for lane in [&mut found.standard, &mut found.batch] {
        lane.cache_write = lane.cache_write.filter(|rate| rate.0 > 0);
        lane.cache_write_1h = lane.cache_write_1h.filter(|rate| rate.0 > 0);
    }
    Ok(found)
}

/// The long-context threshold in thousands of tokens; an error where there are several.
fn threshold(entry: &Fields<'_>) -> Result<Option<u64>, String> {
    let mut found = None;
    for (name, _) in
        entry.0.iter().filter(|(name, value)| name.contains("cost_per_token") && value.get() != "null")
    {
        let Some((_, rest)) = name.split_once("_above_") else { continue };
        let Some((thousands, _)) = rest.split_once("k_tokens") else { continue };
        let thousands: u64 = thousands.parse().map_err(|_| format!("field `{name}` names no token count"))?;
        if found.is_some_and(|other| other != thousands) {
            return Err("more than one long-context tier".to_owned());
        }
        found = Some(thousands);
    }
    Ok(found)
}

fn prices(entry: &Fields<'_>, tier: &str, lane: &str) -> Result<Prices, String> {
    // The lane stands after the tier, in some entries before it.
    let read = |base: &str| match entry.rate(&format!("{base}{tier}{lane}"), usd_per_token)? {
        None if !tier.is_empty() && !lane.is_empty() => {
            entry.rate(&format!("{base}{lane}{tier}"), usd_per_token)
        }
        found => Ok(found),
    };
    Ok(Prices {
        input: read("input_cost_per_token")?,
        output: read("output_cost_per_token")?,
        cache_read: read("cache_read_input_token_cost")?,
        cache_write: read("cache_creation_input_token_cost")?,
        cache_write_1h: read("cache_creation_input_token_cost_above_1hr")?,
    })
}

fn describe(entry: &Fields<'_>, found: &Found, record: &mut Record<'static>) {
    let output = entry.count("max_output_tokens").or_else(|| entry.count("max_tokens"));
    for (column, count) in [(Column::MaxInput, entry.count("max_input_tokens")), (Column::MaxOutput, output)]
    {
        if let Some(count) = count {
            record.set(column, count.to_string());
        }
    }
    let endpoints = entry.list("supported_endpoints");
    let batch = endpoints.is_some_and(|list| list.iter().any(|path| path.get() == "\"/v1/batch\""));
    record.set(Column::SupportsBatch, if batch || found.batch.input.is_some() { "true" } else { "unknown" });
    for (column, name) in [
        (Column::SupportsVision, "supports_vision"),
        (Column::SupportsPdf, "supports_pdf_input"),
        (Column::SupportsJsonSchema, "supports_response_schema"),
        (Column::SupportsReasoning, "supports_reasoning"),
    ] {
        // Their entries name what is supported and leave out the rest.
        record.set(column, if entry.flag(name) == Some(true) { "true" } else { "false" });
    }
    if let Some(date) =
        entry.text("deprecation_date").filter(|text| text.parse::<jiff::civil::Date>().is_ok())
    {
        record.set(Column::DeprecationDate, date);
    }
    if entry.raw("off_peak_pricing").is_some() {
        record.note("cheaper at off-peak hours, which are not modelled");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lane::Lane;
    use crate::price::Catalogue;

    const SAMPLE: &str = r#"{
        "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of many", "mode": "chat"},
        "brook-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.25e-07,
            "output_cost_per_token": 5e-7, "cache_read_input_token_cost": 1.25E-08, "cache_creation_input_token_cost": 0.0,
            "input_cost_per_token_batches": 6.25e-08, "output_cost_per_token_batches": 0.00000025,
            "input_cost_per_token_flex": 6.25e-08, "output_cost_per_token_flex": 2.5e-07,
            "input_cost_per_token_above_200k_tokens": 2.5e-07, "output_cost_per_token_above_200k_tokens": 7.5e-07,
            "input_cost_per_token_batches_above_200k_tokens": 1.25e-07,
            "output_cost_per_token_above_200k_tokens_batches": 3.75e-07,
            "max_input_tokens": 400000, "max_output_tokens": "128000", "supports_vision": true,
            "supported_endpoints": ["/v1/chat/completions", "/v1/batch"], "deprecation_date": "2027-01-02",
            "something_new": {"a": [1, 2]}},
        "azure/brook-1": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        "azure/eu/brook-1": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        "groq/open/brook-2": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        "vertex_ai/brook-3": {"litellm_provider": "vertex_ai-language-models", "mode": "embedding", "input_cost_per_token": 1e-07, "output_cost_per_token": 0.0},
        "brook-free": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        "brook-mod": {"litellm_provider": "openai", "mode": "moderation", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        "brook-img": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 1e-06},
        "brook-two": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06,
            "input_cost_per_token_above_128k_tokens": 2e-06, "input_cost_per_token_above_256k_tokens": 3e-06},
        "brook-noise": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.0000000000001e-06, "output_cost_per_token": 1e-06},
        "brook-else": {"litellm_provider": "nowhere", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}
    }"#;

    #[test]
    fn entries_become_rows_and_the_rest_says_why() {
        let imported = import_litellm(SAMPLE, "2026-11-20").unwrap();
        let keys: Vec<String> = imported
            .rows
            .iter()
            .map(|row| format!("{}/{}", row.get(Column::Provider), row.get(Column::ModelId)))
            .collect();
        assert_eq!(
            keys,
            ["openai/brook-1", "azure/brook-1", "groq/open/brook-2", "vertex/brook-3", "openai/brook-mod"]
        );
        let skipped: Vec<String> = imported.skipped.iter().map(|(id, why)| format!("{id}: {why}")).collect();
        assert_eq!(
            skipped,
            [
                "azure/eu/brook-1: a regional price",
                "brook-free: a price of zero, which mostly means unknown; add the model as a price of your own",
                "brook-img: mode `image_generation` is not priced by tokens here",
                "brook-two: more than one long-context tier",
                "brook-noise: field `input_cost_per_token`: `1.0000000000001e-06` is finer than one pico-dollar per token (0.000001 USD per million tokens), which cannot be held exactly",
                "brook-else: provider `nowhere` is not one of ours",
            ]
        );
    }

    #[test]
    fn imported_rows_make_a_catalogue_and_a_stable_table() {
        let imported = import_litellm(SAMPLE, "2026-11-20").unwrap();
        let csv = imported.to_csv();
        assert_eq!(super::super::import(&csv, "x").unwrap().to_csv(), csv);
        let catalogue = Catalogue::parse(&csv).unwrap();
        let row = catalogue.find("openai", "brook-1", jiff::civil::date(2026, 11, 20)).unwrap();
        let sync = row.rates(Lane::Sync).unwrap();
        assert_eq!((sync.base.input.per_token.0, sync.base.cache_read.per_token.0), (125_000, 12_500));
        // A write for nothing is not believed.
        assert_eq!((sync.base.cache_write_5m.per_token.0, sync.base.cache_write_5m.derived), (125_000, true));
        let long = row.rates(Lane::Batch).unwrap().long.unwrap();
        assert_eq!(
            (long.threshold.0, long.rates.input.per_token.0, long.rates.output.per_token.0),
            (200_000, 125_000, 375_000)
        );
        assert_eq!(row.limits.max_output.unwrap().0, 128_000);
        assert_eq!(row.retirement, Some(jiff::civil::date(2027, 1, 2)));
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for (text, want) in [
            ("{\"a\": {\"input_cost_per_token\": 1", "not a price list: "),
            ("[1]", "not a price list: "),
            ("{}", "the price list holds no model"),
            (
                "{\"a\": 3}",
                "the price list holds no model that can be used; 1 were skipped, the first `a`: not an object",
            ),
        ] {
            let error = import_litellm(text, "2026-11-20").unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
