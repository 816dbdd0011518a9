//! Gates K1 and K2: what a cascade costs and loses where a cheap model says how sure it is, and whether one that does not pay stops.

use crate::data::{self, Text, real};
use crate::gates::{Bar, Gates};
use anyhow::Result;
use bulkrate_core::cascade::{Accept, Opinion, Worth, judge};
use bulkrate_core::collect::Checked;
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
        by_confidence(&rows, what, (cost_max, loss_max), gates)?;
    }
    stops(gates);
    Ok(())
}

/// A small classifier plays the cheap model, the label the strong one.
fn by_confidence(rows: &[Text], what: &str, bars: (f64, f64), gates: &mut Gates) -> Result<()> {
    let mut order: Vec<&Text> = rows.iter().collect();
    order.sort_by_key(|row| mix(fingerprint(&row.text) ^ mix(1)));
    let (teach, rest) = order.split_at(TAUGHT.min(order.len()));
    let pairs: Vec<(&str, &str)> = teach.iter().map(|row| (row.text.as_str(), row.label.as_str())).collect();
    let (cheap, mut scratch) = (Classifier::fit(&pairs, &mut |_, _| ()), Scratch::default());
    let rule: Accept = "sure>=0.9".parse()?;
    let (mut accepted, mut wrong, mut wrong_alone, mut paid) = (0, 0, 0, UsdNanos::ZERO);
    for row in rest {
        let (label, sure) = cheap.classify(&row.text, &mut scratch);
        let answer = serde_json::json!({ "label": label, "sure": f64::from(sure.0) / 1e6 }).to_string();
        let is_wrong = label != row.label;
        wrong_alone += usize::from(is_wrong);
        paid += CHEAP;
        if judge(&rule, &Checked::Json(answer.into()), &[] as &[Opinion]).is_ok() {
            accepted += 1;
            wrong += usize::from(is_wrong);
        } else {
            paid += STRONG;
        }
    }
    let (share, all) = (real(accepted) / real(rest.len()), STRONG.times(u64::try_from(rest.len())?));
    #[allow(clippy::cast_precision_loss, reason = "a share of sums of money")]
    let cost = paid.0 as f64 / all.0 as f64;
    gates.add(
        "K1",
        format!("{what}, the cheap model alone: wrong"),
        real(wrong_alone) / real(rest.len()),
        Bar::Shown,
    );
    gates.add("K1", format!("{what}, cascade by confidence: accepted"), share, Bar::Shown);
    gates.add("K1", "the same: wrong, of all", real(wrong) / real(rest.len()), Bar::AtMost(bars.1));
    gates.add("K1", "the same: cost, strong model for all = 1", cost, Bar::AtMost(bars.0));
    let formula = 1.0 / 20.0 + (1.0 - share);
    gates.add("K1", "the same: away from C_w + (1 - a) C_s", (cost - formula).abs(), Bar::AtMost(1e-9));
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
