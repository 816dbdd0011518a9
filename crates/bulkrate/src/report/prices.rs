//! Prices as text: the list, and all about one model.

use std::fmt::Write as _;

use bulkrate_core::lane::Lane;
use bulkrate_core::price::rates::to_usd_per_million;
use bulkrate_core::price::{ModelRow, Rate, Rates, Support};
use jiff::civil::Date;
use serde_json::{Value, json};

use super::table::Table;
use super::words::count;

/// One line a model; prices in USD per million tokens.
#[must_use]
pub fn list(rows: &[&ModelRow], today: Date) -> String {
    let mut table = Table::new(
        0,
        &[
            "model",
            "kind",
            ">sync in",
            ">sync out",
            ">batch in",
            ">batch out",
            ">flex in",
            ">flex out",
            "notes",
        ],
    );
    for row in rows {
        let mut cells = vec![row.qualified.clone(), row.kind.name().to_owned()];
        for lane in [Lane::Sync, Lane::Batch, Lane::Flex] {
            let rates = row.rates(lane);
            cells.push(rates.map_or_else(|| "-".to_owned(), |rates| per_million(rates.base.input)));
            cells.push(rates.map_or_else(|| "-".to_owned(), |rates| per_million(rates.base.output)));
        }
        cells.push(notes(row, today));
        table.row(cells);
    }
    format!("{}{} models; USD per million tokens\n", table.text(), rows.len())
}

fn notes(row: &ModelRow, today: Date) -> String {
    match row.retirement {
        Some(date) if date <= today => format!("retired {date}"),
        Some(date) => format!("retires {date}"),
        None => row.valid_to.map_or_else(String::new, |to| format!("until {to}")),
    }
}

fn per_million(rate: Rate) -> String {
    to_usd_per_million(rate.per_token)
}

/// Everything known about one model.
#[must_use]
pub fn model(row: &ModelRow) -> String {
    let mut out = format!("{} ({})\n", row.qualified, row.kind.name());
    if !row.aliases.is_empty() {
        let _ = writeln!(out, "  also called  {}", row.aliases.join(", "));
    }
    let mut table = Table::new(2, &["lane", ">input", ">cached input", ">cache write", ">output"]);
    for lane in Lane::ALL {
        if let Some(rates) = row.rates(lane) {
            add(&mut table, lane.name(), rates);
        }
    }
    let _ = write!(out, "\n{}  USD per million tokens\n\n", table.text());
    let limits = row.limits;
    for (name, limit) in [
        ("context window", limits.context_window),
        ("input at most", limits.max_input),
        ("output at most", limits.max_output),
    ] {
        if let Some(limit) = limit {
            let _ = writeln!(out, "  {name:<16} {} tokens", count(limit.0));
        }
    }
    let dates = [
        ("prices from", row.valid_from),
        ("prices until", row.valid_to),
        ("retires", row.retirement),
        ("read on", row.as_of),
    ];
    for (name, date) in dates.into_iter().filter_map(|(name, date)| Some((name, date?))) {
        let _ = writeln!(out, "  {name:<16} {date}");
    }
    let texts = [
        ("successor", row.successor.as_deref().unwrap_or("")),
        ("checked", &row.verification),
        ("source", &row.source),
        ("note", &row.note),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        let _ = writeln!(out, "  {name:<16} {text}");
    }
    out
}

fn add(table: &mut Table, lane: &str, rates: &Rates) {
    let tiers =
        [(lane.to_owned(), Some(rates.base)), (format!("{lane}, long"), rates.long.map(|long| long.rates))];
    for (name, set) in tiers.into_iter().filter_map(|(name, set)| Some((name, set?))) {
        table.row([
            name,
            per_million(set.input),
            per_million(set.cache_read),
            per_million(set.cache_write_5m),
            per_million(set.output),
        ]);
    }
}

/// The same for programs; rates in pico-dollars per token, which are exact.
#[must_use]
pub fn document(row: &ModelRow) -> Value {
    let lanes: serde_json::Map<String, Value> = Lane::ALL
        .into_iter()
        .filter_map(|lane| Some((lane.name().to_owned(), rates(row.rates(lane)?))))
        .collect();
    let support = |support: Support| match support {
        Support::Yes => json!(true),
        Support::No => json!(false),
        Support::Unknown => Value::Null,
    };
    json!({
        "model": row.qualified, "kind": row.kind.name(), "aliases": row.aliases, "lanes": lanes,
        "context_window": row.limits.context_window.map(|tokens| tokens.0),
        "max_output": row.limits.max_output.map(|tokens| tokens.0),
        "json_schema": support(row.flags.json_schema), "vision": support(row.flags.vision), "reasoning": support(row.flags.reasoning),
        "retirement": row.retirement.map(|date| date.to_string()), "successor": row.successor,
        "valid_from": row.valid_from.map(|date| date.to_string()), "valid_to": row.valid_to.map(|date| date.to_string()),
        "source": row.source,
    })
}

fn rates(of: &Rates) -> Value {
    let picos = |rate: Rate| rate.per_token.0;
    json!({
        "input_picousd": picos(of.base.input), "cached_input_picousd": picos(of.base.cache_read),
        "output_picousd": picos(of.base.output),
        "input_usd_per_million": per_million(of.base.input), "output_usd_per_million": per_million(of.base.output),
    })
}
