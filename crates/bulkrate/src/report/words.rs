//! Numbers as people read them.

use bulkrate_core::money::UsdNanos;

/// `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 item`, `2 items`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// An amount with as many decimals as matter: cents above one dollar, millionths below one cent. Rounded half up.
#[must_use]
pub fn usd(amount: UsdNanos) -> String {
    let decimals: u32 = match amount.0.unsigned_abs() {
        0 => 2,
        1..1_000 => 9,
        1_000..10_000_000 => 6,
        10_000_000..1_000_000_000 => 4,
        _ => 2,
    };
    let unit = 10_u64.pow(9 - decimals);
    let rounded = (amount.0.unsigned_abs() + unit / 2) / unit;
    let scale = 10_u64.pow(decimals);
    let sign = if amount.0 < 0 { "-" } else { "" };
    let width = usize::try_from(decimals).unwrap_or(2);
    format!("{sign}{}.{:0width$}", count(rounded / scale), rounded % scale)
}

/// `0 s`, `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `1 d 4 h`.
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 if ms < 100 => "0 s".to_owned(),
        0..10 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 if seconds % 3_600 < 60 => format!("{} h", seconds / 3_600),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `640 B`, `12.5 kB`, `3.1 GB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000_u64), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

/// A share of 1 as `12.3 %`.
#[must_use]
pub fn share(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// An upper bound of a share, rounded up: what is above a limit does not look as if it were at it.
#[must_use]
pub fn share_at_most(bound: f64) -> String {
    share((bound * 1_000.0 - 1e-9).ceil() / 1_000.0 + 0.0) // no `-0.0`
}

/// `part` of `whole` as `12.3 %`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let tenths = u128::from(part) * 1_000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A name as a shell takes it for one word.
#[must_use]
pub fn shell(name: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:@%+=,".contains(letter);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

/// Items a second: whole above ten.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second >= 10.0 { format!("{per_second:.0}/s") } else { format!("{per_second:.1}/s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_never_told_lower_than_it_is() {
        for (bound, want) in
            [(0.02, "2.0 %"), (0.020_4, "2.1 %"), (0.026_9, "2.7 %"), (0.0, "0.0 %"), (1.0, "100.0 %")]
        {
            assert_eq!(share_at_most(bound), want, "{bound}");
        }
    }

    #[test]
    fn numbers_read_well() {
        for (number, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), want);
        }
        for (nanos, want) in [
            (0, "0.00"),
            (75, "0.000000075"),
            (75_000, "0.000075"),
            (12_345_678, "0.0123"),
            (1_999_999_999, "2.00"),
            (-2_500_000_000, "-2.50"),
            (1_234_567_000_000_000, "1,234,567.00"),
        ] {
            assert_eq!(usd(UsdNanos(nanos)), want);
        }
        for (ms, want) in [
            (99, "0 s"),
            (450, "0.4 s"),
            (12_000, "12 s"),
            (200_000, "3 min 20 s"),
            (600_000, "10 min"),
            (7_500_000, "2 h 05 min"),
            (86_400_000, "1 d 0 h"),
        ] {
            assert_eq!(duration(ms), want);
        }
        assert_eq!(
            (bytes(640), bytes(12_500), bytes(3_100_000_000)),
            ("640 B".into(), "12.5 kB".into(), "3.1 GB".into())
        );
        for (name, want) in
            [("a-b.csv", "a-b.csv"), ("my job", "'my job'"), ("it's", "'it'\\''s'"), ("", "''")]
        {
            assert_eq!(shell(name), want);
        }
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3 %".into(), "0 %".into()));
    }
}
