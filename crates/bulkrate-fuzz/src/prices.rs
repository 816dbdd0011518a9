//! Prices that others publish. What is imported is a table that we can read ourselves.

use bulkrate_core::price::Catalogue;
use std::sync::OnceLock;

use bulkrate_core::price::import::{Format, detect, import_genai_prices, import_litellm};
use jiff::civil::date;

/// Enough for aliases to point at.
const TABLE: &str = include_str!("../corpus/catalogue/rows");
const AS_OF: &str = "2026-11-01";

/// The table, a NUL byte, aliases.
pub fn catalogue(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (table, aliases) = text.split_once('\0').unwrap_or((text, ""));
    match Catalogue::parse(table) {
        Ok(catalogue) => look_up(&catalogue),
        Err(error) => assert!(!error.hint().is_empty() && !error.to_string().is_empty()),
    }
    static KNOWN: OnceLock<Catalogue> = OnceLock::new();
    if aliases.is_empty() {
        return;
    }
    let known = KNOWN.get_or_init(|| match Catalogue::parse(TABLE.split('\0').next().unwrap_or_default()) {
        Ok(catalogue) => catalogue,
        Err(error) => panic!("{error}"),
    });
    if let Ok(catalogue) = known.clone().with_aliases(aliases) {
        for (alias, _) in catalogue.aliases().iter().take(4) {
            let _ = catalogue.resolve(alias, date(2026, 11, 1));
        }
    }
}

fn look_up(catalogue: &Catalogue) {
    let day = date(2026, 11, 1);
    let _ = (catalogue.as_of(), catalogue.stale_days(day), catalogue.nearest("gpt"));
    for row in catalogue.rows().iter().take(8) {
        let _ =
            (catalogue.resolve(&row.qualified, day).is_ok(), catalogue.resolve_alive(&row.id, day).is_ok());
        let _ = (row.holds_on(day), row.is_retired(day), row.snapshot().is_some());
    }
}

pub fn import(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = match detect(text) {
        Ok(Format::LiteLlm) => import_litellm(text, AS_OF),
        Ok(Format::GenaiPrices) => import_genai_prices(text, AS_OF),
        Ok(Format::Table) | Err(_) => return,
    };
    if let Ok(imported) = read {
        let table = imported.to_csv();
        assert!(Catalogue::parse(&table).is_ok(), "{:?}\n{table}", Catalogue::parse(&table).err());
    }
}
