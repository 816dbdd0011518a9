//! Days, weeks and months of the ledger, UTC.

use jiff::civil::{Date, Weekday};
use jiff::{Span, ToSpan as _};

/// A year of days; of a longer time the last is shown.
const MOST: usize = 366;

/// How long a step of a trend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Day,
    /// From Monday on.
    Week,
    Month,
}

impl Period {
    /// The first day of the period in which a day lies; what is no day stays as it is.
    pub(super) fn of(self, day: &str) -> String {
        day.parse::<Date>().map_or_else(|_| day.to_owned(), |day| self.first(day).to_string())
    }

    fn first(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Week => {
                day.checked_sub(i64::from(day.weekday().since(Weekday::Monday)).days()).unwrap_or(day)
            }
            Self::Month => day.first_of_month(),
        }
    }

    fn step(self) -> Span {
        match self {
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
        }
    }
}

/// Every period from the first to the last of these, those between them too.
pub(super) fn span<'a>(period: Period, named: impl Iterator<Item = &'a String>) -> Vec<String> {
    let days = named.filter_map(|name| name.parse::<Date>().ok());
    let (first, last) = days.fold((None, None), |(first, last): (Option<Date>, Option<Date>), day| {
        (Some(first.map_or(day, |first| first.min(day))), last.max(Some(day)))
    });
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    let all: Vec<String> =
        first.series(period.step()).take_while(|day| *day <= last).map(|day| day.to_string()).collect();
    all[all.len().saturating_sub(MOST)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_fall_into_weeks_and_months() {
        for (period, day, want) in [
            (Period::Day, "2026-11-30", "2026-11-30"),
            (Period::Week, "2026-11-30", "2026-11-30"), // a Monday
            (Period::Week, "2026-11-29", "2026-11-23"),
            (Period::Week, "2026-01-01", "2025-12-29"),
            (Period::Month, "2026-11-30", "2026-11-01"),
            (Period::Month, "", ""),
        ] {
            assert_eq!(period.of(day), want, "{period:?} {day}");
        }
    }

    #[test]
    fn a_trend_has_no_holes() {
        let of = |period, days: &[&str]| {
            let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
            span(period, days.iter())
        };
        assert_eq!(
            of(Period::Day, &["2026-03-01", "2026-02-27"]),
            ["2026-02-27", "2026-02-28", "2026-03-01"]
        );
        assert_eq!(
            of(Period::Month, &["2025-12-01", "2026-02-01"]),
            ["2025-12-01", "2026-01-01", "2026-02-01"]
        );
        assert_eq!(of(Period::Week, &["2026-11-23", "2026-11-30"]), ["2026-11-23", "2026-11-30"]);
        assert!(of(Period::Day, &[]).is_empty());
        let long = of(Period::Day, &["2020-01-01", "2026-11-30"]);
        assert_eq!((long.len(), long.last().map(String::as_str)), (MOST, Some("2026-11-30")));
    }
}
