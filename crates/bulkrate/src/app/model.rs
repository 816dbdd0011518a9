//! `cost model`: what a workload would cost, from prices alone. It reads no state.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::{PicoUsdPerToken, Tokens};
use bulkrate_core::price::rates::usd_per_million;
use bulkrate_core::price::{Catalogue, Part, Rates, ResolveError, Workload};

use super::prices::{catalogue, today};
use super::{AppError, reads::talk};
use crate::cli::{CostModelArgs, Shared};
use crate::config::mix::{MixPart, MixPrices};
use crate::config::value::PerMillion;
use crate::report::{out, outlook as text};

pub(super) fn model(shared: &Shared, args: &CostModelArgs) -> Result<u8, AppError> {
    let known = catalogue(shared)?;
    let mix = args.mix.iter().map(|part| priced(&known, part)).collect::<Result<_, _>>()?;
    let workload = Workload {
        items: args.items.0,
        input: Tokens(args.input.0),
        output: Tokens(args.output.0),
        mix,
        lane: args.lane.lane(),
        duplicates_permille: args.dup.permille,
        cached_permille: args.cache.permille,
    };
    let outlook = workload.outlook()?;
    let (sync, paid) = (workload.per_item(Lane::Sync)?, workload.per_item(outlook.lane)?);
    if shared.json {
        out::json(&text::document(&workload, &outlook, &sync, &paid));
    } else {
        out::data(&text::table(&workload, &outlook, &sync, &paid));
        talk(shared, text::NOTE);
    }
    Ok(0)
}

/// Sizes that stand for a family whose prices people know: only where nothing else is called so.
const SIZES: [(&str, &str); 3] =
    [("nano", "openai/gpt-4.1-nano"), ("mini", "openai/gpt-4.1-mini"), ("large", "openai/gpt-4.1")];

/// A part with its own prices, or those of the catalogue.
fn priced(catalogue: &Catalogue, part: &MixPart) -> Result<Part, AppError> {
    let Some(prices) = &part.prices else {
        let sized = SIZES.iter().find(|(size, _)| *size == part.model).map(|(_, model)| *model);
        let row = match (catalogue.resolve(&part.model, today()), sized) {
            (Err(ResolveError::Unknown { .. }), Some(model)) => catalogue.resolve(model, today())?.row,
            (found, _) => found?.row,
        };
        return Ok(Part::of(row, part.share.permille));
    };
    let MixPrices { sync, batch } = prices;
    let lanes = [batch.as_ref().map(flat), None, Some(flat(sync))];
    Ok(Part { model: part.model.clone(), permille: part.share.permille, lanes })
}

/// The text was checked when it was read.
fn flat(prices: &[PerMillion; 2]) -> Rates {
    let rate = |text: &PerMillion| usd_per_million(&text.0).unwrap_or(PicoUsdPerToken(u64::MAX));
    Rates::flat(rate(&prices[0]), rate(&prices[1]))
}
