//! What the provider charges, in whole nano-dollars: pico-dollars per token, summed per request, rounded up once.

use crate::catalogue::{Lane, Model};
use crate::tokens::Usage;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Cost of one answered request in nano-dollars. A lane the model is not sold in costs nothing (it is refused before).
pub(crate) fn cost(model: &Model, lane: Lane, usage: Usage) -> u64 {
    let tariff = match &model.long {
        Some((threshold, long)) if usage.prompt > *threshold => long,
        _ => &model.tariff,
    };
    let rates = tariff.rates(lane).unwrap_or_default();
    let term = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
    let picos = term(usage.fresh(), rates.input)
        + term(usage.cached, rates.cached)
        + term(usage.written_5m, rates.written_5m)
        + term(usage.written_1h, rates.written_1h)
        + term(usage.output, rates.output);
    u64::try_from(picos.div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Nano-dollars as decimal dollars.
pub(crate) fn usd(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Sums of one lane, model or batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sums {
    pub(crate) requests: u64,
    pub(crate) usd_nanos: u64,
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    /// Written to the prompt cache, for however long.
    pub(crate) written_tokens: u64,
    pub(crate) output_tokens: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, usage: Usage, usd_nanos: u64) {
        self.requests += 1;
        self.usd_nanos += usd_nanos;
        self.input_tokens += usage.prompt;
        self.cached_tokens += usage.cached;
        self.written_tokens += usage.written_5m + usage.written_1h;
        self.output_tokens += usage.output;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.usd_nanos += other.usd_nanos;
        self.input_tokens += other.input_tokens;
        self.cached_tokens += other.cached_tokens;
        self.written_tokens += other.written_tokens;
        self.output_tokens += other.output_tokens;
    }
}

/// The account's bill so far.
#[derive(Debug, Default)]
pub(crate) struct Bill {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    lanes: [Sums; 3],
    models: BTreeMap<usize, Sums>,
    batches: BTreeMap<String, u64>,
    clients: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct View<'a> {
    total_usd_nanos: u64,
    batch: u64,
    sync: u64,
    flex: u64,
    requests: u64,
    requests_batch: u64,
    requests_sync: u64,
    requests_flex: u64,
    by_model: BTreeMap<&'a str, Sums>,
    by_batch: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    by_client_id: &'a BTreeMap<String, u64>,
}

impl Bill {
    /// Charges sums already priced request by request.
    pub(crate) fn charge(
        &self,
        model: &Model,
        lane: Lane,
        sums: Sums,
        batch: Option<&str>,
        client: Option<&str>,
    ) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.lanes[lane as usize].merge(sums);
        books.models.entry(model.index).or_default().merge(sums);
        if let Some(batch) = batch {
            *books.batches.entry(batch.to_owned()).or_default() += sums.usd_nanos;
        }
        if let Some(client) = client {
            *books.clients.entry(client.to_owned()).or_default() += sums.usd_nanos;
        }
    }

    pub(crate) fn total_usd_nanos(&self) -> u64 {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.lanes.iter().map(|sums| sums.usd_nanos).sum()
    }

    pub(crate) fn json(&self, models: &[Model]) -> Vec<u8> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let [sync, batch, flex] =
            [Lane::Sync, Lane::Batch, Lane::Flex].map(|lane| books.lanes[lane as usize]);
        let view = View {
            total_usd_nanos: sync.usd_nanos + batch.usd_nanos + flex.usd_nanos,
            batch: batch.usd_nanos,
            sync: sync.usd_nanos,
            flex: flex.usd_nanos,
            requests: sync.requests + batch.requests + flex.requests,
            requests_batch: batch.requests,
            requests_sync: sync.requests,
            requests_flex: flex.requests,
            by_model: books
                .models
                .iter()
                .filter_map(|(&at, &sums)| Some((models.get(at)?.id.as_str(), sums)))
                .collect(),
            by_batch: &books.batches,
            by_client_id: &books.clients,
        };
        serde_json::to_vec(&view).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::catalogue::Catalogue;

    fn nanos(model: &str, lane: Lane, prompt: u64, cached: u64, output: u64) -> u64 {
        let list = Catalogue::load(None, "2026-11-21", false, crate::like::Sells::Of("openai")).unwrap();
        cost(list.find(model).unwrap().0, lane, Usage { prompt, cached, output, ..Usage::default() })
    }

    #[test]
    fn costs_by_hand() {
        // gpt-6-luna: 0.10/0.50 sync, half in batch and flex; 500 in and 200 out cost $0.00015 and $0.000075.
        assert_eq!(nanos("gpt-6-luna", Lane::Sync, 500, 0, 200), 150_000);
        assert_eq!(nanos("gpt-6-luna", Lane::Batch, 500, 0, 200), 75_000);
        assert_eq!(nanos("gpt-6-luna", Lane::Flex, 500, 0, 200), 75_000);
        // One token at 0.0025 USD/M is 2.5 nano-dollars: rounded up once.
        assert_eq!(nanos("gpt-5-nano", Lane::Batch, 1, 1, 0), 3);
        assert_eq!(nanos("gpt-5-nano", Lane::Batch, 2, 2, 0), 5);
        // Cached tokens are part of the prompt.
        assert_eq!(nanos("gpt-4.1-mini", Lane::Batch, 2_000, 1_024, 10), 976 * 200 + 1_024 * 100 + 10 * 800);
    }

    #[test]
    fn what_is_written_to_the_cache_has_its_own_price() {
        let list = Catalogue::load(None, "2026-11-21", false, crate::like::Sells::Of("anthropic")).unwrap();
        let haiku = list.find("claude-haiku-5-5").unwrap().0;
        let usage = |prompt| Usage {
            prompt,
            cached: 100,
            written_5m: 1_000,
            written_1h: 500,
            output: 10,
            reasoning: 0,
        };
        // 0.1 in, 0.01 read, 0.125 and 0.2 written, 0.5 out; in batch half of each; five times of it beyond 100,000.
        assert_eq!(cost(haiku, Lane::Sync, usage(1_610)), 1_000 + 1_000 + 125_000 + 100_000 + 5_000);
        assert_eq!(cost(haiku, Lane::Batch, usage(1_610)), 116_000);
        assert_eq!(
            cost(haiku, Lane::Sync, usage(100_001)),
            98_401 * 500 + 5_000 + 625_000 + 500_000 + 25_000
        );
    }

    #[test]
    fn long_prompts_pay_the_second_tariff_for_everything() {
        assert_eq!(nanos("gpt-6-luna", Lane::Sync, 272_000, 0, 100), 272_000 * 100 + 100 * 500);
        assert_eq!(nanos("gpt-6-luna", Lane::Sync, 272_001, 0, 100), 272_001 * 200 + 100 * 750);
        assert_eq!(nanos("gpt-6-luna", Lane::Flex, 272_001, 0, 100), 272_001 * 100 + 100 * 375);
    }
}
