//! Whether the beginning that all requests of a job share is marked for a provider's prompt cache, and for how long.
//!
//! Some providers keep of a prompt what is marked, and nothing else. To write costs more than plain input, to read much less
//! ([`Factor`]), so a mark is worth what is found again of it. Nobody promises how much that is: before anything is known,
//! the least that is told of batches is assumed, and what answers report decides from then on ([`Meter`]).
//!
//! Invariants
//! - Pure: the same answers in the same order lead to the same mark.
//! - Where a job did not choose, nothing is marked that is not expected to pay.
//! - Reservations never count on a cache: they hold the price of writing.
//!
//! A second mark may stand behind what only some rows share ([`Second`]); their first call goes alone then ([`Firsts`]).

mod firsts;
mod meter;
mod second;

pub use firsts::{Beginning, Firsts, LeaseOf};
pub use meter::{Meter, Switched};
pub use second::Second;

use serde::{Deserialize, Serialize};

use crate::money::Tokens;
use crate::order::{Factor, HIT_RATES};
use crate::price::bound::Writes;
use crate::price::estimate::Cached;
use crate::price::{RateSet, Rates};

/// For how long a marked beginning is kept after it was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ttl {
    FiveMinutes,
    Hour,
}

impl Ttl {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }

    /// As it stands after "for".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5 min",
            Self::Hour => "1 h",
        }
    }

    /// What a provider may bill for it.
    #[must_use]
    pub fn writes(self) -> Writes {
        match self {
            Self::FiveMinutes => Writes::Short,
            Self::Hour => Writes::Hour,
        }
    }
}

/// What a job says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
pub enum Wish {
    /// Where it is expected to pay, and as long as it does.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "off")]
    Off,
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    Hour,
}

impl Wish {
    /// What is marked for, whatever it brings.
    #[must_use]
    pub fn fixed(self) -> Option<Ttl> {
        match self {
            Self::Auto | Self::Off => None,
            Self::FiveMinutes => Some(Ttl::FiveMinutes),
            Self::Hour => Some(Ttl::Hour),
        }
    }

    /// As it is asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::FiveMinutes => Ttl::FiveMinutes.name(),
            Self::Hour => Ttl::Hour.name(),
        }
    }

    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub fn is_usual(&self) -> bool {
        *self == Self::Auto
    }
}

/// What a provider keeps of a model's prompts, where it is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Shorter beginnings are passed over in silence.
    pub prefix_min: Tokens,
    /// Whether there is a cache of one hour, beside that of five minutes.
    pub hour: bool,
    /// What a mark is called in a request: where the caller's own fields have it, none is added.
    pub word: &'static str,
}

/// What all requests of a job begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// So many tokens, as they are estimated.
    Tokens(u64),
    /// Requests that say all of themselves: nobody has compared them.
    Unknown,
}

/// A job at one model.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub wish: Wish,
    /// The job sets marks of its own.
    pub own: bool,
    /// `None`: the provider takes no marks.
    pub marks: Option<Marks>,
    /// `None`: no price is known.
    pub rates: Option<&'a RateSet>,
    pub shared: Shared,
    /// So many there are at most.
    pub requests: u64,
}

/// Why nothing is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Off,
    Own,
    NoMarks,
    NoHour,
    NoPrice,
    Unknown,
    Nothing,
    Short { tokens: u64, least: Tokens },
    Alone,
    Dear,
}

impl Why {
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Off => "off, as asked".to_owned(),
            Self::Own => "marked as `provider_kwargs` say, and nowhere else".to_owned(),
            Self::NoMarks => "the provider takes no marks here: what it caches, it caches by itself".to_owned(),
            Self::NoHour => "the model keeps no prompt for an hour, or no price of that is known".to_owned(),
            Self::NoPrice => "the model has no price of its own for cached input".to_owned(),
            Self::Unknown => {
                "requests that say all of themselves are not compared; `--prompt-cache 5m` marks each before its last turn"
                    .to_owned()
            }
            Self::Nothing => "no system prompt and no examples: nothing before the user prompt is the same for all rows".to_owned(),
            Self::Short { tokens, least } => format!(
                "about {tokens} tokens are the same for all rows, and the model caches from {} on",
                least.0
            ),
            Self::Alone => "one request alone: nobody would read what it writes".to_owned(),
            Self::Dear => "writing costs more than reading is expected to save".to_owned(),
        }
    }
}

/// What plans compare where a job leaves the mark to us: the mark that is kept while it pays (five minutes to begin with), none, and the hour.
/// Nothing is where the job has chosen or no model takes marks. The mark of five minutes that stays whatever it brings is no choice of its own: it costs the same and cannot be left.
#[must_use]
pub fn compared(wish: Wish, marks: Option<Marks>) -> &'static [Wish] {
    const ALL: [Wish; 3] = [Wish::Auto, Wish::Off, Wish::Hour];
    match marks.filter(|_| wish.is_usual()) {
        None => &[],
        Some(Marks { hour: false, .. }) => &ALL[..2],
        Some(_) => &ALL,
    }
}

/// For how long to mark, before anything is known of what is found again.
pub fn decide(case: &Case<'_>) -> Result<Ttl, Why> {
    if case.wish == Wish::Off {
        return Err(Why::Off);
    }
    if case.own {
        return Err(Why::Own);
    }
    let marks = case.marks.ok_or(Why::NoMarks)?;
    let ttl = case.wish.fixed().unwrap_or(Ttl::FiveMinutes);
    if ttl == Ttl::Hour && !marks.hour {
        return Err(Why::NoHour);
    }
    match case.shared {
        Shared::Unknown if case.wish.is_usual() => return Err(Why::Unknown),
        Shared::Unknown => return Ok(ttl),
        Shared::Tokens(0) => return Err(Why::Nothing),
        Shared::Tokens(tokens) if tokens < marks.prefix_min.0 => {
            return Err(Why::Short { tokens, least: marks.prefix_min });
        }
        Shared::Tokens(_) => {}
    }
    if case.wish.is_usual() {
        if case.requests < 2 {
            return Err(Why::Alone);
        }
        let factor = case.rates.and_then(|rates| Factor::of(rates, ttl.writes())).ok_or(Why::NoPrice)?;
        if !factor.pays(1.0) {
            return Err(Why::Dear);
        }
    }
    Ok(ttl)
}

/// What the input costs as a share of its price without a cache, at [`HIT_RATES`], where `prefix` of `prompt` tokens is
/// marked. `None`: the model has no price for cached input.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a share for people")]
pub fn factors(rates: &RateSet, ttl: Ttl, prefix: u64, prompt: u64) -> Option<[f64; 3]> {
    let factor = Factor::of(rates, ttl.writes())?;
    let shared = prefix as f64 / prompt.max(prefix).max(1) as f64;
    Some(HIT_RATES.map(|hits| factor.cost(shared, hits)))
}

/// What is expected of so many requests whose first `prefix` tokens are marked: three tenths are read, the rest is written.
#[must_use]
pub fn expected(ttl: Ttl, prefix: u64, requests: u64) -> Cached {
    let marked = prefix.saturating_mul(requests);
    let read = marked / 10 * 3;
    Cached { read: Tokens(read), written: Tokens(marked - read), writes: ttl.writes() }
}

/// What decides whether a mark goes on to pay: `None` where prices do not say.
#[must_use]
pub fn meter(
    wish: Wish,
    mark: Option<Ttl>,
    rates: Option<&Rates>,
    marks: Option<Marks>,
    spread: bool,
) -> Meter {
    let of = |writes| rates.and_then(|rates| Factor::of(&rates.base, writes));
    // A longer life finds more only where requests of a job lie more than five minutes apart.
    let hour = marks.filter(|marks| marks.hour && spread).and_then(|_| of(Writes::Hour));
    match (wish, of(Writes::Short)) {
        (Wish::Auto, Some(short)) => Meter::auto(mark, short, hour),
        _ => Meter::fixed(mark),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lane::Lane;
    use crate::money::PicoUsdPerToken;
    use crate::price::{Catalogue, Rate};

    fn haiku(lane: Lane) -> Rates {
        let found = Catalogue::bundled();
        *found
            .find("anthropic", "claude-haiku-5-5", jiff::civil::date(2026, 11, 20))
            .unwrap()
            .rates(lane)
            .unwrap()
    }

    const MARKS: Option<Marks> = Some(Marks { prefix_min: Tokens(512), hour: true, word: "cache_control" });

    #[test]
    fn marks_are_compared_where_the_job_leaves_them_to_us() {
        let short = MARKS.map(|marks| Marks { hour: false, ..marks });
        let all = [Wish::Auto, Wish::Off, Wish::Hour];
        for (wish, marks, want) in [
            (Wish::Auto, MARKS, &all[..]),
            (Wish::Auto, short, &all[..2]),
            (Wish::Auto, None, &[]),
            (Wish::Off, MARKS, &[]),
            (Wish::Hour, MARKS, &[]),
        ] {
            assert_eq!(compared(wish, marks), want, "{wish:?} {marks:?}");
        }
        assert_eq!(all.map(Wish::name), ["auto", "off", "1h"]);
    }

    #[test]
    fn a_mark_is_set_where_it_pays_and_else_says_why() {
        let rates = haiku(Lane::Batch).base;
        let rate = |picos| Rate { per_token: PicoUsdPerToken(picos), derived: false };
        let dear = RateSet { cache_write_5m: rate(90_000), ..rates };
        let unlisted = RateSet { cache_read: Rate { derived: true, ..rates.cache_read }, ..rates };
        let usual = Case {
            wish: Wish::Auto,
            own: false,
            marks: MARKS,
            rates: Some(&rates),
            shared: Shared::Tokens(2_000),
            requests: 2,
        };
        let short = Marks { hour: false, ..MARKS.unwrap() };
        for (name, case, want) in [
            ("auto", usual, Ok(Ttl::FiveMinutes)),
            ("off", Case { wish: Wish::Off, ..usual }, Err(Why::Off)),
            ("asked", Case { wish: Wish::Hour, ..usual }, Ok(Ttl::Hour)),
            (
                "asked, dear",
                Case { wish: Wish::FiveMinutes, rates: Some(&dear), ..usual },
                Ok(Ttl::FiveMinutes),
            ),
            ("own", Case { own: true, wish: Wish::Hour, ..usual }, Err(Why::Own)),
            ("elsewhere", Case { marks: None, ..usual }, Err(Why::NoMarks)),
            ("no hour", Case { wish: Wish::Hour, marks: Some(short), ..usual }, Err(Why::NoHour)),
            ("just long enough", Case { shared: Shared::Tokens(512), ..usual }, Ok(Ttl::FiveMinutes)),
            (
                "short",
                Case { shared: Shared::Tokens(511), ..usual },
                Err(Why::Short { tokens: 511, least: Tokens(512) }),
            ),
            ("nothing", Case { shared: Shared::Tokens(0), ..usual }, Err(Why::Nothing)),
            ("lines", Case { shared: Shared::Unknown, ..usual }, Err(Why::Unknown)),
            ("lines, asked", Case { shared: Shared::Unknown, wish: Wish::Hour, ..usual }, Ok(Ttl::Hour)),
            ("alone", Case { requests: 1, ..usual }, Err(Why::Alone)),
            ("alone, asked", Case { requests: 1, wish: Wish::Hour, ..usual }, Ok(Ttl::Hour)),
            ("dear", Case { rates: Some(&dear), ..usual }, Err(Why::Dear)),
            ("no price", Case { rates: None, ..usual }, Err(Why::NoPrice)),
            ("unlisted", Case { rates: Some(&unlisted), ..usual }, Err(Why::NoPrice)),
        ] {
            assert_eq!(decide(&case), want, "{name}");
        }
    }

    #[test]
    fn factors_are_those_of_the_formula() {
        let rates = haiku(Lane::Batch).base;
        let near = |got: Option<[f64; 3]>, want: [f64; 3]| {
            got.unwrap().into_iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-9)
        };
        // Read at 0.1, written at 1.25 and 2, of all of the prompt or half of it; the batch price halves all of them alike.
        assert!(near(factors(&rates, Ttl::FiveMinutes, 900, 900), [1.25, 0.905, 0.215]));
        assert!(near(factors(&rates, Ttl::Hour, 900, 900), [2.0, 1.43, 0.29]));
        assert!(near(factors(&rates, Ttl::FiveMinutes, 900, 1_800), [1.125, 0.9525, 0.6075]));
        // An estimate of the prompt below that of its prefix is none.
        assert!(near(factors(&rates, Ttl::FiveMinutes, 900, 10), [1.25, 0.905, 0.215]));
    }

    #[test]
    fn no_token_is_expected_twice_or_never() {
        let of = expected(Ttl::Hour, 1_234, 5_001);
        assert_eq!(of.read.0 + of.written.0, 1_234 * 5_001);
        assert!(of.read.0 * 10 <= 1_234 * 5_001 * 3 && of.writes == Writes::Hour);
    }
}
