//! What a steady workload of equal items would cost: a mix of models in a lane, equal items sent once, answers reused.
//!
//! Each lever works on what the one before left over, so savings multiply and never add up to more than all. Sums are exact
//! fractions until the end, where each cost is rounded once, upward; a step's saving is the difference of two such costs,
//! so that naive cost less all savings is the last cost to the nano-dollar.

use super::cost::{explain, waterfall};
use super::row::{ModelRow, Rates};
use crate::lane::Lane;
use crate::money::{Tokens, UsdNanos};
use crate::usage::Usage;

/// A whole, in thousandths.
const WHOLE: u32 = 1_000;

/// One model of a mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub model: String,
    /// Its share of the items, in thousandths.
    pub permille: u32,
    /// What it costs in the lanes of [`Lane::ALL`], in that order.
    pub lanes: [Option<Rates>; 3],
}

impl Part {
    /// A model of the catalogue.
    #[must_use]
    pub fn of(row: &ModelRow, permille: u32) -> Self {
        Self { model: row.qualified.clone(), permille, lanes: Lane::ALL.map(|lane| row.rates(lane).copied()) }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub items: u64,
    /// Tokens of one item.
    pub input: Tokens,
    pub output: Tokens,
    pub mix: Vec<Part>,
    /// `None`: the cheapest lane that every model of the mix has.
    pub lane: Option<Lane>,
    /// Items equal to another, in thousandths of all.
    pub duplicates_permille: u32,
    /// Items answered by an earlier job, in thousandths of those that dedup leaves.
    pub cached_permille: u32,
}

/// Why a workload has no cost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    #[error("the mix names no model")]
    Empty,
    #[error("the shares of the mix add up to {}.{} %, not to 100 %", .permille / 10, .permille % 10)]
    Shares { permille: u64 },
    #[error("a share of {permille} thousandths is more than all")]
    Share { permille: u32 },
    #[error("`{model}` has no {lane} price")]
    NoLane { model: String, lane: Lane },
    #[error("the amount is larger than can be counted")]
    TooLarge,
}

impl WorkloadError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty | Self::Shares { .. } | Self::Share { .. } | Self::TooLarge => "option-invalid",
            Self::NoLane { .. } => "lane-unavailable",
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty | Self::Shares { .. } | Self::Share { .. } => {
                Some("write for example `--mix openai/gpt-6-luna=80,openai/gpt-6.1-sol=20`")
            }
            Self::NoLane { lane: Lane::Sync, .. } => None,
            Self::NoLane { .. } => {
                Some("leave `--lane` out to take the cheapest lane that every model of the mix has")
            }
            Self::TooLarge => Some("ask for fewer items"),
        }
    }
}

/// A lever and what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// `batch` or `flex`, then `routing`, `dedup`, `cache`.
    pub lever: &'static str,
    /// Negative where it made things dearer.
    pub saved: UsdNanos,
    /// What all costs once it has worked.
    pub cost: UsdNanos,
}

/// What the workload costs and how it came to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    pub lane: Lane,
    /// The naive plan sends every item to this model of the mix, the dearest, one by one in the sync lane.
    pub dearest: String,
    pub naive: UsdNanos,
    /// In the order in which they work.
    pub steps: Vec<Step>,
    pub cost: UsdNanos,
}

impl Workload {
    /// The cost of the workload, lever by lever.
    ///
    /// # Errors
    /// Shares that are no shares, a lane without a price, an amount beyond the ledger's range.
    pub fn outlook(&self) -> Result<Outlook, WorkloadError> {
        self.check()?;
        let sync = self.per_item(Lane::Sync)?;
        // The first of the dearest, so that the answer does not depend on anything but the mix.
        let dearest = (0..sync.len()).rev().max_by_key(|&at| sync[at]).ok_or(WorkloadError::Empty)?;
        let lane = self.lane.map_or_else(|| self.cheapest(), Ok)?;
        let paid = self.per_item(lane)?;
        let all = |picos: u128| picos.checked_mul(WHOLE.into()).ok_or(WorkloadError::TooLarge);
        let mixed = self.mixed(&paid)?;
        let naive = self.cost(all(sync[dearest])?, 0, 0)?;
        let mut after = Vec::new();
        if lane != Lane::Sync {
            after.push((lane.name(), self.cost(all(paid[dearest])?, 0, 0)?));
        }
        after.push(("routing", self.cost(mixed, 0, 0)?));
        after.push(("dedup", self.cost(mixed, self.duplicates_permille, 0)?));
        after.push(("cache", self.cost(mixed, self.duplicates_permille, self.cached_permille)?));
        let saved = waterfall(naive, &after).ok_or(WorkloadError::TooLarge)?;
        let steps: Vec<Step> = saved
            .into_iter()
            .zip(&after)
            .map(|((lever, saved), &(_, cost))| Step { lever, saved, cost })
            .collect();
        let cost = steps.last().map_or(naive, |step| step.cost);
        Ok(Outlook { lane, dearest: self.mix[dearest].model.clone(), naive, steps, cost })
    }

    /// What one item costs at each model in a lane, in pico-dollars.
    ///
    /// # Errors
    /// A model without a price there.
    pub fn per_item(&self, lane: Lane) -> Result<Vec<u128>, WorkloadError> {
        let usage = Usage { input: self.input.0, output: self.output.0, ..Usage::default() };
        let one = |part: &Part| {
            let rates =
                Lane::ALL.iter().zip(&part.lanes).find_map(|(one, rates)| rates.filter(|_| *one == lane));
            let rates = rates.ok_or_else(|| WorkloadError::NoLane { model: part.model.clone(), lane })?;
            explain(&rates, &usage).map(|cost| cost.picos).ok_or(WorkloadError::TooLarge)
        };
        self.mix.iter().map(one).collect()
    }

    fn check(&self) -> Result<(), WorkloadError> {
        if self.mix.is_empty() {
            return Err(WorkloadError::Empty);
        }
        let permille = self.mix.iter().map(|part| u64::from(part.permille)).sum();
        if permille != u64::from(WHOLE) {
            return Err(WorkloadError::Shares { permille });
        }
        let over = [self.duplicates_permille, self.cached_permille].into_iter().find(|share| *share > WHOLE);
        over.map_or(Ok(()), |permille| Err(WorkloadError::Share { permille }))
    }

    /// The cheapest lane that every model of the mix has; the sync lane where none is cheaper.
    fn cheapest(&self) -> Result<Lane, WorkloadError> {
        let mut best = (self.mixed(&self.per_item(Lane::Sync)?)?, Lane::Sync);
        for lane in [Lane::Batch, Lane::Flex] {
            let Ok(paid) = self.per_item(lane) else { continue };
            let mixed = self.mixed(&paid)?;
            if mixed < best.0 {
                best = (mixed, lane);
            }
        }
        Ok(best.1)
    }

    /// A thousand times the pico-dollars of an average item.
    fn mixed(&self, paid: &[u128]) -> Result<u128, WorkloadError> {
        let weighed = |(part, picos): (&Part, &u128)| picos.checked_mul(part.permille.into());
        let parts = self.mix.iter().zip(paid).map(weighed);
        parts.into_iter().try_fold(0_u128, |sum, part| sum.checked_add(part?)).ok_or(WorkloadError::TooLarge)
    }

    /// All items at `mixed` each, less the shares that are not sent; rounded here and nowhere else.
    fn cost(&self, mixed: u128, duplicates: u32, cached: u32) -> Result<UsdNanos, WorkloadError> {
        let left = u128::from(WHOLE - duplicates) * u128::from(WHOLE - cached);
        let exact = mixed.checked_mul(self.items.into()).and_then(|all| all.checked_mul(left));
        // Thousandths of shares three times, and a thousand pico-dollars in a nano-dollar.
        let nanos = exact.ok_or(WorkloadError::TooLarge)?.div_ceil(u128::from(WHOLE).pow(4));
        i64::try_from(nanos).map(UsdNanos).map_err(|_| WorkloadError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::PicoUsdPerToken;
    use proptest::prelude::*;

    fn part(model: &str, permille: u32, sync: (u64, u64), batch: Option<(u64, u64)>) -> Part {
        let flat = |(input, output)| Rates::flat(PicoUsdPerToken(input), PicoUsdPerToken(output));
        Part { model: model.to_owned(), permille, lanes: [batch.map(flat), None, Some(flat(sync))] }
    }

    /// GPT-4.1 and its smaller kin, pico-dollars per token, February 2026.
    fn kin(shares: [u32; 3]) -> Vec<Part> {
        vec![
            part("nano", shares[0], (100_000, 400_000), Some((50_000, 200_000))),
            part("mini", shares[1], (400_000, 1_600_000), Some((200_000, 800_000))),
            part("large", shares[2], (2_000_000, 8_000_000), Some((1_000_000, 4_000_000))),
        ]
    }

    fn workload(items: u64, mix: Vec<Part>) -> Workload {
        Workload {
            items,
            input: Tokens(500),
            output: Tokens(200),
            mix,
            lane: None,
            duplicates_permille: 250,
            cached_permille: 150,
        }
    }

    #[test]
    fn the_worked_table_is_reproduced_to_the_cent() {
        for (items, sync, batch, mix, dedup, cache) in [
            (100_000, "260.00", "130.00", "15.60", "11.70", "9.945"),
            (5_000_000, "13000.00", "6500.00", "780.00", "585.00", "497.25"),
            (50_000_000, "130000.00", "65000.00", "7800.00", "5850.00", "4972.50"),
        ] {
            let outlook = workload(items, kin([800, 150, 50])).outlook().unwrap();
            let costs: Vec<String> = outlook.steps.iter().map(|step| step.cost.to_string()).collect();
            assert_eq!(outlook.naive.to_string(), sync, "{items}");
            assert_eq!(costs, [batch, mix, dedup, cache], "{items}");
            assert_eq!((outlook.lane, outlook.dearest.as_str()), (Lane::Batch, "large"));
        }
        for (items, sync, batch) in [
            (100_000, "52.00", "26.00"),
            (5_000_000, "2600.00", "1300.00"),
            (50_000_000, "26000.00", "13000.00"),
        ] {
            let mini = kin([0, 1_000, 0]).into_iter().filter(|part| part.permille > 0).collect();
            let outlook = workload(items, mini).outlook().unwrap();
            let at = |at: usize| outlook.steps[at].cost.to_string();
            assert_eq!(
                (outlook.naive.to_string(), at(0), outlook.steps[1].saved.0),
                (sync.to_owned(), batch.to_owned(), 0)
            );
        }
        let one = |shares, lane| workload(1, kin(shares)).per_item(lane).unwrap();
        assert_eq!(one([1_000, 0, 0], Lane::Sync), [130_000_000, 520_000_000, 2_600_000_000]);
    }

    #[test]
    fn what_has_no_cost_says_why() {
        let no_batch = vec![part("own", 1_000, (1, 1), None)];
        let ask = |change: &dyn Fn(&mut Workload)| {
            let mut workload = workload(10, kin([800, 150, 50]));
            change(&mut workload);
            workload.outlook().map(|outlook| outlook.lane)
        };
        let lane = |model: &str, lane| WorkloadError::NoLane { model: model.to_owned(), lane };
        for (got, want) in [
            (ask(&|workload| workload.mix.clear()), Err(WorkloadError::Empty)),
            (ask(&|workload| workload.mix[0].permille = 801), Err(WorkloadError::Shares { permille: 1_001 })),
            (
                ask(&|workload| workload.cached_permille = 1_001),
                Err(WorkloadError::Share { permille: 1_001 }),
            ),
            (ask(&|workload| workload.items = u64::MAX), Err(WorkloadError::TooLarge)),
            (ask(&|workload| workload.lane = Some(Lane::Flex)), Err(lane("nano", Lane::Flex))),
            (ask(&|workload| workload.lane = Some(Lane::Sync)), Ok(Lane::Sync)),
            (ask(&|workload| workload.mix = no_batch.clone()), Ok(Lane::Sync)),
        ] {
            assert_eq!(got, want);
        }
    }

    proptest! {
        /// Naive less every saving is the cost, a lane or a share never costs more than all, and the order of shares is free.
        #[test]
        fn savings_multiply_and_lose_no_nano(
            items in 0_u64..1_000_000_000,
            input in 0_u64..20_000,
            output in 0_u64..5_000,
            shares in (0_u32..=1_000, 0_u32..=1_000).prop_map(|(one, two)| [one.min(two), one.max(two) - one.min(two), 1_000 - one.max(two)]),
            duplicates in 0_u32..=1_000,
            cached in 0_u32..=1_000,
        ) {
            let mut workload = Workload {
                input: Tokens(input), output: Tokens(output),
                duplicates_permille: duplicates, cached_permille: cached,
                ..workload(items, kin(shares))
            };
            let outlook = workload.outlook().unwrap();
            let saved: UsdNanos = outlook.steps.iter().map(|step| step.saved).sum();
            prop_assert_eq!(outlook.naive - saved, outlook.cost);
            prop_assert!(outlook.steps.iter().all(|step| step.saved.0 >= 0));
            let left = |permille: u32| u128::from(1_000 - permille);
            let each = |inp: u128, out: u128| u128::from(input) * inp + u128::from(output) * out;
            let mixed = u128::from(shares[0]) * each(50_000, 200_000)
                + u128::from(shares[1]) * each(200_000, 800_000)
                + u128::from(shares[2]) * each(1_000_000, 4_000_000);
            let exact = mixed * u128::from(items) * left(duplicates) * left(cached);
            prop_assert_eq!(u128::try_from(outlook.cost.0).unwrap(), exact.div_ceil(1_000_000_000_000));
            workload.mix.reverse();
            prop_assert_eq!(workload.outlook().unwrap().cost, outlook.cost);
        }
    }
}
