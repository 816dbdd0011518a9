//! Questions to the ledger, and the sums that answer them.

use std::collections::BTreeMap;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

use crate::error::StoreError;
use crate::row::{LedgerEntry, LedgerKind};

/// What totals are grouped by. The value is text: a job's number, a day `2026-11-21` (UTC), a lane's name or empty, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    Job,
    Day,
    Lane,
    Provider,
    Model,
    /// `job/number` of the tag set.
    TagSet,
    Lever,
    Note,
    Kind,
}

/// Which entries, and how they are grouped. The default is everything in one sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerQuery {
    pub by: Vec<By>,
    pub job: Option<u32>,
    pub kind: Option<LedgerKind>,
    pub lane: Option<Lane>,
    pub model: Option<String>,
    /// From this time on.
    pub from_ms: Option<i64>,
    /// Before this time.
    pub until_ms: Option<i64>,
}

impl LedgerQuery {
    #[must_use]
    pub fn of_job(job: u32) -> Self {
        Self { job: Some(job), ..Self::default() }
    }

    #[must_use]
    pub fn by(mut self, by: &[By]) -> Self {
        self.by = by.to_vec();
        self
    }

    /// Whether an entry is asked for.
    #[must_use]
    pub fn matches(&self, entry: &LedgerEntry) -> bool {
        self.job.is_none_or(|job| job == entry.job)
            && self.kind.is_none_or(|kind| kind == entry.kind)
            && self.lane.is_none_or(|lane| Some(lane) == entry.lane)
            && self.model.as_ref().is_none_or(|model| *model == entry.model)
            && self.from_ms.is_none_or(|from| entry.at_ms >= from)
            && self.until_ms.is_none_or(|until| entry.at_ms < until)
    }
}

/// Sums by kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    usd: [i64; LedgerKind::ALL.len()],
    items: [u64; LedgerKind::ALL.len()],
}

impl Sums {
    #[must_use]
    pub fn usd(&self, kind: LedgerKind) -> UsdNanos {
        UsdNanos(self.usd[kind as usize])
    }

    #[must_use]
    pub fn items(&self, kind: LedgerKind) -> u64 {
        self.items[kind as usize]
    }

    /// Adds an amount; an overflow is an error.
    pub fn add(&mut self, kind: LedgerKind, usd: UsdNanos, items: u64) -> Result<(), StoreError> {
        let sum = &mut self.usd[kind as usize];
        *sum = sum.checked_add(usd.0).ok_or(StoreError::Overflow)?;
        let count = &mut self.items[kind as usize];
        *count = count.saturating_add(items);
        Ok(())
    }

    /// What these entries hold against a cap.
    #[must_use]
    pub fn spent(&self) -> Spent {
        use LedgerKind::{Doubt, DoubtCleared, Duplicate, Release, Reserve, Settle};
        let of = |kind| self.usd(kind).0;
        Spent {
            settled: UsdNanos(of(Settle).saturating_add(of(Duplicate))),
            doubt: UsdNanos(of(Doubt).saturating_sub(of(DoubtCleared))),
            reserved: UsdNanos(of(Reserve).saturating_sub(of(Release))),
        }
    }
}

/// What counts against a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Paid, duplicates included.
    pub settled: UsdNanos,
    /// Perhaps paid.
    pub doubt: UsdNanos,
    /// Set aside for what is in flight.
    pub reserved: UsdNanos,
}

impl Spent {
    #[must_use]
    pub fn total(&self) -> UsdNanos {
        self.settled.saturating_add(self.doubt).saturating_add(self.reserved)
    }
}

impl Spent {
    /// Both together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            settled: self.settled.saturating_add(more.settled),
            doubt: self.doubt.saturating_add(more.doubt),
            reserved: self.reserved.saturating_add(more.reserved),
        }
    }

    /// Of entries from a period: clearing a doubt of an earlier one gives nothing back here.
    pub(crate) fn of_period(self) -> Self {
        Self { doubt: self.doubt.max(UsdNanos::ZERO), ..self }
    }
}

/// One group: the values of [`LedgerQuery::by`] in the same order, and the sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerTotal {
    pub group: Vec<String>,
    pub sums: Sums,
}

/// Groups while adding up; both stores use it, SQLite with sums it has made itself.
#[derive(Debug, Default)]
pub(crate) struct Totals(BTreeMap<Vec<String>, Sums>);

impl Totals {
    pub(crate) fn add(
        &mut self,
        group: Vec<String>,
        kind: LedgerKind,
        usd: UsdNanos,
        items: u64,
    ) -> Result<(), StoreError> {
        self.0.entry(group).or_default().add(kind, usd, items)
    }

    pub(crate) fn into_rows(self) -> Vec<LedgerTotal> {
        self.0.into_iter().map(|(group, sums)| LedgerTotal { group, sums }).collect()
    }
}

/// The value of an entry in a group.
pub(crate) fn value(by: By, entry: &LedgerEntry) -> String {
    match by {
        By::Job => entry.job.to_string(),
        By::Day => day(entry.at_ms),
        By::Lane => entry.lane.map_or_else(String::new, |lane| lane.name().to_owned()),
        By::Provider => entry.provider.clone(),
        By::Model => entry.model.clone(),
        By::TagSet => format!("{}/{}", entry.job, entry.tags),
        By::Lever => entry.lever.clone().unwrap_or_default(),
        By::Note => entry.note.clone().unwrap_or_default(),
        By::Kind => entry.kind.name().to_owned(),
    }
}

/// The UTC day of a time, as `2026-11-21`.
fn day(at_ms: i64) -> String {
    // Days since 1 March of year 0, in eras of 400 years: leap days then fall at the end of a year.
    let days = at_ms.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_utc_and_know_leap_years() {
        for (at_ms, want) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (1_709_251_199_999, "2024-02-29"),
            (1_709_251_200_000, "2024-03-01"),
            (1_798_761_599_999, "2026-12-31"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(day(at_ms), want, "{at_ms}");
        }
    }
}
