//! Gates K1, K2 and K3: what a cascade costs and loses where a cheap model says how sure it is, or its tokens do, and whether one
//! that does not pay stops.

use crate::data::{self, Text, real};
use crate::gates::{Bar, Gates};
use anyhow::Result;
use bulkrate_core::answer::Token;
use bulkrate_core::cascade::{Accept, Opinion, Sureness, Worth, judge};
use bulkrate_core::collect::{Checked, Expectation};
use bulkrate_core::filter::{Classifier, Scratch};
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::rng::{SplitMix64, mix};
use bulkrate_core::route::learned::fingerprint;
use std::path::Path;

/// What the strong model costs more.
const RATIO: i64 = 20;
const CHEAP: UsdNanos = UsdNanos(1_000);
const STRONG: UsdNanos = UsdNanos(1_000 * RATIO);
/// Labels that teach the cheap model.
const TAUGHT: usize = 500;

/// A data set, the most that the cascade may cost of all-strong, and the most that it may lose.
const SETS: [(&str, &str, f64, f64); 2] =
    [("sms_spam", "SMS spam", 0.50, 0.02), ("snips_extract", "SNIPS intents", 0.50, 0.02)];

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    for (name, what, cost_max, loss_max) in SETS {
        let rows = data::texts(root, name)?;
        println!("{} rows of {name}", rows.len());
        by_sureness(&rows, what, (cost_max, loss_max), gates)?;
    }
    stops(gates);
    Ok(())
}

/// How the cheap model says how sure it is, and the rule that reads it.
struct Signal {
    gate: &'static str,
    name: &'static str,
    rule: &'static str,
    /// What the rule decides of a label that has this probability.
    accepts: fn(&Accept, &str, f64) -> bool,
}

const SIGNALS: [Signal; 3] = [
    Signal { gate: "K1", name: "confidence", rule: "sure>=0.9", accepts: by_confidence },
    Signal { gate: "K3", name: "log-probability", rule: "logprob>=0.9", accepts: by_tokens },
    // Without a second label to compare with, the rest of 1 is taken for it: 0.9 - 0.1.
    Signal { gate: "K3", name: "margin", rule: "margin>=0.8", accepts: by_tokens },
];

fn by_confidence(rule: &Accept, label: &str, sure: f64) -> bool {
    let answer = serde_json::json!({ "label": label, "sure": sure }).to_string();
    judge(rule, &Checked::Json(answer.into()), None, &[] as &[Opinion]).is_ok()
}

/// The probability is that of the token which says the label, within what a provider's grammar writes around it.
fn by_tokens(rule: &Accept, label: &str, sure: f64) -> bool {
    let token = |text: String, p: f64| Token {
        likely: vec![(text.clone().into(), p.ln())],
        text: text.into(),
        logprob: p.ln(),
    };
    let tokens = [
        token("{\"answer\":\"".to_owned(), 1.0),
        token(label.to_owned(), sure),
        token("\"}".to_owned(), 1.0),
    ];
    let checked = Checked::Choice(label);
    let sureness = Sureness::of(&tokens, &checked, &Expectation::Choices(vec![label.to_owned()]));
    judge(rule, &checked, sureness, &[] as &[Opinion]).is_ok()
}

/// A small classifier plays the cheap model, the label the strong one.
fn by_sureness(rows: &[Text], what: &str, bars: (f64, f64), gates: &mut Gates) -> Result<()> {
    let mut order: Vec<&Text> = rows.iter().collect();
    order.sort_by_key(|row| mix(fingerprint(&row.text) ^ mix(1)));
    let (teach, rest) = order.split_at(TAUGHT.min(order.len()));
    let pairs: Vec<(&str, &str)> = teach.iter().map(|row| (row.text.as_str(), row.label.as_str())).collect();
    let (cheap, mut scratch) = (Classifier::fit(&pairs, &mut |_, _| ()), Scratch::default());
    let said: Vec<(&str, f64, bool)> = rest
        .iter()
        .map(|row| {
            let (label, sure) = cheap.classify(&row.text, &mut scratch);
            (label, f64::from(sure.0) / 1e6, label != row.label)
        })
        .collect();
    let wrong_alone = said.iter().filter(|(_, _, is_wrong)| *is_wrong).count();
    gates.add(
        "K1",
        format!("{what}, the cheap model alone: wrong"),
        real(wrong_alone) / real(rest.len()),
        Bar::Shown,
    );
    SIGNALS.iter().try_for_each(|signal| by_signal(&said, what, bars, signal, gates))
}

fn by_signal(
    said: &[(&str, f64, bool)],
    what: &str,
    bars: (f64, f64),
    signal: &Signal,
    gates: &mut Gates,
) -> Result<()> {
    let rule: Accept = signal.rule.parse()?;
    let (mut accepted, mut wrong, mut paid) = (0, 0, UsdNanos::ZERO);
    for (label, sure, is_wrong) in said {
        paid += CHEAP;
        if (signal.accepts)(&rule, label, *sure) {
            accepted += 1;
            wrong += usize::from(*is_wrong);
        } else {
            paid += STRONG;
        }
    }
    let (share, all) = (real(accepted) / real(said.len()), STRONG.times(u64::try_from(said.len())?));
    #[allow(clippy::cast_precision_loss, reason = "a share of sums of money")]
    let cost = paid.0 as f64 / all.0 as f64;
    let gate = signal.gate;
    gates.add(gate, format!("{what}, cascade by {}: accepted", signal.name), share, Bar::Shown);
    gates.add(gate, "the same: wrong, of all", real(wrong) / real(said.len()), Bar::AtMost(bars.1));
    gates.add(gate, "the same: cost, strong model for all = 1", cost, Bar::AtMost(bars.0));
    let formula = 1.0 / 20.0 + (1.0 - share);
    gates.add(gate, "the same: away from C_w + (1 - a) C_s", (cost - formula).abs(), Bar::AtMost(1e-9));
    Ok(())
}

/// Jobs that accept just what pays, and jobs that accept a fifth of that.
fn stops(gates: &mut Gates) {
    const JOBS: u64 = 400;
    let after = |permille: u64, items: u64, job: u64| {
        let (mut worth, mut rng) = (Worth::default(), SplitMix64::new(mix(job ^ 0xCA5C)));
        (1..=items).find(|_| worth.judged(rng.next_u64() % 1_000 < permille, CHEAP, STRONG, 0))
    };
    let stopped = (0..JOBS).filter(|job| after(50, 20_000, *job).is_some()).count();
    let share = real(stopped) / 400.0;
    gates.add(
        "K2",
        "accepts just what pays: share of 400 jobs of 20,000 that stop",
        share,
        Bar::AtMost(0.01),
    );
    for (permille, most) in [(10, 700.0), (0, 200.0)] {
        let mut items: Vec<u64> =
            (0..JOBS).map(|job| after(permille, 20_000, job).unwrap_or(20_000)).collect();
        items.sort_unstable();
        let median = usize::try_from(items[items.len() / 2]).map_or(f64::NAN, real);
        gates.add(
            "K2",
            format!("accepts {permille} of 1,000 where 50 pay: median items until it stops"),
            median,
            Bar::AtMost(most),
        );
    }
}
