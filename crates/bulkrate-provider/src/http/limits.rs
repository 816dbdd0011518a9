//! Reads what headers and error texts say about limits and waits.

use std::time::Duration;

use http::HeaderMap;

use crate::api::{LimitHints, Reply};

impl Reply {
    /// What the reply tells about the account's limits; all `None` where it tells nothing.
    #[must_use]
    pub fn limit_hints(&self) -> LimitHints {
        limit_hints(&self.headers)
    }
}

/// Both families of headers: `x-ratelimit-*` with spans until the reset, `anthropic-ratelimit-*` with its instant.
#[must_use]
pub fn limit_hints(headers: &HeaderMap) -> LimitHints {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("anthropic-ratelimit-requests-limit").or(text("anthropic-ratelimit-tokens-limit")).is_some() {
        return instant_hints(text, now_unix_ms());
    }
    let number = |name: &str| text(name).and_then(|text| text.trim().parse().ok());
    let span = |name: &str| text(name).and_then(go_duration_ms);
    LimitHints {
        requests_limit: number("x-ratelimit-limit-requests"),
        requests_left: number("x-ratelimit-remaining-requests"),
        requests_reset_ms: span("x-ratelimit-reset-requests"),
        tokens_limit: number("x-ratelimit-limit-tokens"),
        tokens_left: number("x-ratelimit-remaining-tokens"),
        tokens_reset_ms: span("x-ratelimit-reset-tokens"),
    }
}

/// `anthropic-ratelimit-*`: resets are RFC 3339 instants, so that spans are as right as the two clocks agree.
fn instant_hints<'h>(text: impl Fn(&str) -> Option<&'h str>, now_unix_ms: i64) -> LimitHints {
    let number = |name: &str| text(name).and_then(|text| text.trim().parse().ok());
    let span = |name: &str| {
        let at: jiff::Timestamp = text(name)?.trim().parse().ok()?;
        u64::try_from(at.as_millisecond().saturating_sub(now_unix_ms).max(0)).ok()
    };
    LimitHints {
        requests_limit: number("anthropic-ratelimit-requests-limit"),
        requests_left: number("anthropic-ratelimit-requests-remaining"),
        requests_reset_ms: span("anthropic-ratelimit-requests-reset"),
        tokens_limit: number("anthropic-ratelimit-tokens-limit"),
        tokens_left: number("anthropic-ratelimit-tokens-remaining"),
        tokens_reset_ms: span("anthropic-ratelimit-tokens-reset"),
    }
}

/// A longer wait is a mistake of the server; to ask again after an hour costs nothing.
const WAIT_MAX_MS: u64 = 3_600_000;

/// How long a refusal asks to wait, in milliseconds, at most an hour: headers first, then its text, then a limit that is used up.
///
/// `now_unix_s` is compared with a `retry-after` date. Waits of 0 or less say nothing.
#[must_use]
pub fn wait_ms(headers: &HeaderMap, message: &str, now_unix_s: i64) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let positive = |wait: u64| (wait > 0).then_some(wait);
    let milliseconds = || text("retry-after-ms").and_then(|text| decimal_ms(text, 1)).and_then(positive);
    let seconds = || text("retry-after").and_then(|text| decimal_ms(text, 1_000)).and_then(positive);
    let date = || text("retry-after").and_then(|text| until_date_ms(text, now_unix_s)).and_then(positive);
    let resets = || {
        let hints = limit_hints(headers);
        let requests = hints.requests_reset_ms.filter(|_| hints.requests_left == Some(0));
        let tokens = hints.tokens_reset_ms.filter(|_| hints.tokens_left == Some(0));
        requests.max(tokens).and_then(positive)
    };
    milliseconds()
        .or_else(seconds)
        .or_else(date)
        .or_else(|| text_wait_ms(message).and_then(positive))
        .or_else(resets)
        .map(|wait| wait.min(WAIT_MAX_MS))
}

/// A duration as Go prints it: `6m0s`, `120ms`, `8.64s`, `1h2m3.5s`. Fractions of a millisecond round up.
#[must_use]
pub fn go_duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut sum_ns: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale_ns: u64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        sum_ns = sum_ns.checked_add(scaled(number, scale_ns)?)?;
        rest = after;
    }
    u64::try_from(sum_ns.div_ceil(1_000_000)).ok()
}

/// The wait named in a refusal's text: `Please try again in 1h2m3.89s`, or Azure's `Please retry after 20 seconds`.
#[must_use]
pub fn text_wait_ms(message: &str) -> Option<u64> {
    const LEAD: &str = "try again in ";
    const SECONDS: (&str, &str) = ("retry after ", " second");
    let seconds = message.split_once(SECONDS.0).and_then(|(_, rest)| rest.split_once(SECONDS.1));
    if let Some(wait) = seconds.and_then(|(seconds, _)| decimal_ms(seconds, 1_000)) {
        return Some(wait);
    }
    let at = message.find(LEAD)?;
    let rest = &message[at + LEAD.len()..];
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | 'h' | 'm' | 's')))
        .unwrap_or(rest.len());
    go_duration_ms(rest[..end].trim_end_matches('.'))
}

/// Decimal text times `scale`, in milliseconds, rounded up.
fn decimal_ms(text: &str, scale: u64) -> Option<u64> {
    let (number, rest) = split_number(text)?;
    if !rest.is_empty() {
        return None;
    }
    u64::try_from(scaled(number, scale.checked_mul(1_000_000)?)?.div_ceil(1_000_000)).ok()
}

/// The leading `digits[.digits]` and what follows.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1)
        .then_some((number, rest))
}

/// `number` times `scale`, without floats; digits below one part of the scale are rounded up.
fn scaled(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = &fraction[..fraction.len().min(15)];
    let part: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let unit = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    whole.checked_mul(u128::from(scale))?.checked_add((part * u128::from(scale)).div_ceil(unit))
}

/// Milliseconds from now until an HTTP date; 0 when it has passed.
fn until_date_ms(text: &str, now_unix_s: i64) -> Option<u64> {
    let date = http_date_unix_s(text)?;
    u64::try_from(date.saturating_sub(now_unix_s).max(0)).ok()?.checked_mul(1_000)
}

/// Seconds since the epoch of a date such as `Wed, 21 Oct 2026 07:28:00 GMT`.
#[must_use]
pub fn http_date_unix_s(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp().as_second())
}

/// The server's clock minus ours, in seconds, where an answer is dated.
pub(crate) fn clock_skew_s(headers: &HeaderMap) -> Option<i64> {
    let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    date.and_then(http_date_unix_s).map(|theirs| theirs - now_unix_s())
}

/// Seconds since the epoch by this host's clock.
pub(crate) fn now_unix_s() -> i64 {
    now_unix_ms() / 1_000
}

fn now_unix_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since: Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn go_durations() {
        for (text, want) in [
            ("1s", Some(1_000)),
            ("6m0s", Some(360_000)),
            ("120ms", Some(120)),
            ("8.64s", Some(8_640)),
            ("1h2m3.5s", Some(3_723_500)),
            ("7m12s", Some(432_000)),
            ("1.5ms", Some(2)), // rounded up
            ("250µs", Some(1)),
            ("3ns", Some(1)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("1", None),
            ("1d", None),
            ("-1s", None),
            ("1..5s", None),
            (".s", None),
            ("99999999999999999999999h", None),
        ] {
            assert_eq!(go_duration_ms(text), want, "{text}");
        }
    }

    #[test]
    fn waits_in_texts() {
        for (text, want) in [
            (
                "Rate limit reached for m on tokens per min (TPM): Limit 30000. Please try again in 3.89s.",
                Some(3_890),
            ),
            ("Please try again in 120ms. Visit the page", Some(120)),
            ("Please try again in 1h2m3s", Some(3_723_000)),
            ("Please try again in 6m0s.", Some(360_000)),
            ("Please retry after 86400 seconds. To increase", Some(86_400_000)),
            ("Please retry after 1 second.", Some(1_000)),
            ("Please retry after some seconds.", None),
            ("please try again in a moment", None),
            ("try again in ", None),
            ("Request too large", None),
        ] {
            assert_eq!(text_wait_ms(text), want, "{text}");
        }
    }

    #[test]
    fn waits_by_precedence() {
        let now = 1_792_567_680; // Wed, 21 Oct 2026 07:28:00 GMT
        let text = "Please try again in 3s.";
        for (pairs, message, want) in [
            (&[("retry-after-ms", "1530"), ("retry-after", "20")][..], text, Some(1_530)),
            (&[("retry-after", "20")], text, Some(20_000)),
            (&[("retry-after", "0.25")], text, Some(250)),
            (&[("retry-after", "Wed, 21 Oct 2026 07:28:05 GMT")], text, Some(5_000)),
            (&[("retry-after", "Wed, 21 Oct 2026 07:00:00 GMT")], "", None),
            (&[("retry-after", "0")], text, Some(3_000)), // 0 says nothing
            (&[("retry-after", "-5")], text, Some(3_000)),
            (&[("retry-after", "soon")], "", None),
            (
                &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "2s")],
                text,
                Some(3_000),
            ),
            (
                &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "2s")],
                "",
                Some(2_000),
            ),
            (&[("x-ratelimit-remaining-requests", "7"), ("x-ratelimit-reset-requests", "2s")], "", None),
            (&[], "", None),
        ] {
            assert_eq!(wait_ms(&headers(pairs), message, now), want, "{pairs:?}");
        }
    }

    #[test]
    fn f01_a_wait_of_thirty_years_is_an_hour() {
        for (name, value) in [
            ("retry-after", "1000000000"),
            ("retry-after", "Thu, 29 Nov 2057 08:00:00 GMT"),
            ("retry-after-ms", "1e15"),
        ] {
            let wait = wait_ms(&headers(&[(name, value)]), "", 1_795_000_000);
            assert_eq!(wait, (value != "1e15").then_some(WAIT_MAX_MS), "{value}");
        }
    }

    #[test]
    fn hints_of_a_reply() {
        let headers = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "many"),
        ]);
        let reply = Reply { status: 200, headers, body: bytes::Bytes::new() };
        let want = LimitHints {
            requests_limit: Some(60),
            requests_left: Some(59),
            requests_reset_ms: Some(1_000),
            tokens_limit: Some(150_000),
            tokens_left: None,
            tokens_reset_ms: None,
        };
        assert_eq!(reply.limit_hints(), want);
    }

    #[test]
    fn hints_with_instants() {
        let pairs = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-20T18:37:24.500Z"),
            ("anthropic-ratelimit-tokens-limit", "40000"),
            ("anthropic-ratelimit-tokens-remaining", "39000"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-20T18:37:20Z"),
        ];
        let text = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let want = LimitHints {
            requests_limit: Some(50),
            requests_left: Some(0),
            requests_reset_ms: Some(3_500),
            tokens_limit: Some(40_000),
            tokens_left: Some(39_000),
            tokens_reset_ms: Some(0), // has passed
        };
        let now = "2026-11-20T18:37:21Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!(instant_hints(text, now), want);
        assert_eq!(limit_hints(&headers(&pairs)).requests_limit, Some(50));
        assert_eq!(instant_hints(|_| Some("soon"), now), LimitHints::default());
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = (go_duration_ms(&text), text_wait_ms(&format!("try again in {text}")), decimal_ms(&text, 1_000), http_date_unix_s(&text));
        }

        #[test]
        fn a_printed_duration_is_read(hours in 0_u64..1_000, minutes in 0_u64..60, millis in 0_u64..60_000) {
            let text = format!("{hours}h{minutes}m{}.{:03}s", millis / 1_000, millis % 1_000);
            prop_assert_eq!(go_duration_ms(&text), Some((hours * 60 + minutes) * 60_000 + millis));
        }
    }
}
