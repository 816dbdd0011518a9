//! A learned router and what it is worth, as text and for programs.

use std::fmt::Write as _;

use bulkrate_core::route::learned::metrics::Worth;
use bulkrate_core::route::learned::{Evaluation, Facts, PinReason, Router, Side, Verdict, Way};
use serde_json::{Value, json};

use super::table::Table;
use super::words::{count, counted, share};

/// What a router was made of, what was found on the rows that proved it, and what it does.
#[must_use]
pub fn router(name: &str, router: &Router) -> String {
    let Facts { taught, proved, options, weak, strong, gain_low, .. } = router.facts;
    let mut out = format!("router {name}, version {}\n", router.version());
    let _ = writeln!(
        out,
        "  learnt from {}, proved on {} others; seed {}; {}, {} words and pairs of words",
        counted(u64::from(taught), "label"),
        count(u64::from(proved)),
        options.seed,
        router.model.kind().name(),
        count(router.model.words() as u64),
    );
    let _ = writeln!(
        out,
        "  quality: weak {}, strong {}; the strong one gains at least {} (95 % confidence)",
        share(weak),
        share(strong),
        share(gain_low)
    );
    let _ = writeln!(out, "  reads the column `{}`", router.column);
    out.push_str(&verdict(router));
    out
}

/// What it does with a job's rows.
fn verdict(router: &Router) -> String {
    let Facts { options, cut, .. } = router.facts;
    let allowed = share(f64::from(options.quality_loss_permille) / 1_000.0);
    let sent = share(cut.share_strong);
    match router.verdict {
        Verdict::Pin { side, reason } => {
            let mut out = off(side, reason);
            if side == Side::Strong && cut.threshold.is_some() {
                let _ = writeln!(
                    out,
                    "  for a loss of at most {allowed}, {sent} would have to go there; that saves {}{}",
                    share(router.facts.saving()),
                    at_ratio(options.price_ratio)
                );
            }
            out
        }
        Verdict::Route { threshold } => {
            let sent = format!(
                "  rows that score {:.6} or more go to the strong model: {sent} of those that proved\n",
                threshold.gain()
            );
            let loss = format!(
                "  loses {} of quality against the strong model alone, at most {} (95 % confidence; allowed: {allowed})\n",
                share(cut.loss),
                share(cut.loss_high)
            );
            [sent, loss, saves(router.facts.saving(), options.price_ratio)].concat()
        }
    }
}

fn off(side: Side, reason: PinReason) -> String {
    format!("  routing is off, every row goes to the {} model: {}\n", side.name(), reason.text())
}

fn saves(saving: f64, ratio: Option<f64>) -> String {
    format!("  saves {} of what the strong model alone costs{}\n", share(saving), at_ratio(ratio))
}

fn at_ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(
        || ", if the weak one were free".to_owned(),
        |ratio| format!(", at {ratio} times the weak one's price"),
    )
}

/// The router beside what knows less.
#[must_use]
pub fn ways(found: &Evaluation) -> String {
    let mut table = Table::new(2, &["ordered by", ">APGR", ">CPT50", ">CPT80"]);
    for (way, worth) in &found.ways {
        let name = match way {
            Way::Router => "this router",
            Way::Length => "prompt length alone",
            Way::Random => "chance",
            Way::Category => "the category's mean (a bound: on these very rows)",
        };
        let cells = worth.map_or_else(
            || ["-".to_owned(), "-".to_owned(), "-".to_owned()],
            |worth| [format!("{:.3}", worth.apgr), share(worth.cpt50), share(worth.cpt80)],
        );
        table.row(std::iter::once(name.to_owned()).chain(cells));
    }
    let note =
        if found.strong > found.weak { "" } else { "  the strong model is not better on these rows\n" };
    format!("\n{}{note}", table.text())
}

/// A router on rows that it has not seen.
#[must_use]
pub fn evaluation(name: &str, router: &Router, found: &Evaluation, ratio: Option<f64>) -> String {
    let mut out = format!("{} of {name}", counted(found.rows as u64, "row"));
    for (rows, why) in [(found.taught, "the router learnt from"), (found.equal, "are equal to another")] {
        if rows > 0 {
            let _ = write!(out, "; {} that {why} left out", count(rows as u64));
        }
    }
    let _ = write!(
        out,
        "\n  quality: weak {}, strong {}\n{}\n",
        share(found.weak),
        share(found.strong),
        ways(found)
    );
    if let Verdict::Pin { side, reason } = router.verdict {
        out.push_str(&off(side, reason));
    }
    let _ = writeln!(
        out,
        "  {} go to the strong model; quality lost: {}, at most {} (95 % confidence)",
        share(found.share_strong),
        share(found.loss),
        share(found.loss_high)
    );
    out.push_str(&saves(found.saving(ratio.unwrap_or(f64::INFINITY)), ratio));
    out
}

/// A router for programs; with what was found on the rows that proved it.
#[must_use]
pub fn document(router: &Router, found: Option<&Evaluation>) -> Value {
    let Facts { taught, proved, options, quality_max, weak, strong, gain_low, cut, .. } = router.facts;
    let (threshold, pinned, reason) = match router.verdict {
        Verdict::Route { threshold } => (Some(threshold.0), None, None),
        Verdict::Pin { side, reason } => (None, Some(side.name()), Some(reason.text())),
    };
    json!({
        "version": router.version(), "labels_taught": taught, "labels_proved": proved, "seed": options.seed, "column": router.column,
        "model": router.model.kind().name(), "words": router.model.words(), "quality_max": quality_max,
        "weak_quality": weak, "strong_quality": strong, "gain_low": gain_low,
        "quality_loss_allowed": f64::from(options.quality_loss_permille) / 1_000.0, "price_ratio": options.price_ratio,
        "threshold_millionths": threshold, "pinned": pinned, "reason": reason,
        "cut": {
            "share_strong": cut.share_strong, "loss": cut.loss, "loss_high": cut.loss_high,
            "saving": router.facts.saving(),
        },
        "worth": found.map(worths),
    })
}

/// An evaluation for programs.
#[must_use]
pub fn evaluation_document(router: &Router, found: &Evaluation, ratio: Option<f64>) -> Value {
    json!({
        "version": router.version(), "rows": found.rows, "rows_taught": found.taught, "rows_equal": found.equal,
        "weak_quality": found.weak, "strong_quality": found.strong, "worth": worths(found),
        "share_strong": found.share_strong, "loss": found.loss, "loss_high": found.loss_high,
        "price_ratio": ratio, "saving": found.saving(ratio.unwrap_or(f64::INFINITY)),
    })
}

fn worths(found: &Evaluation) -> Value {
    let worth = |worth: &Option<Worth>| {
        worth.map(|worth| json!({ "apgr": worth.apgr, "cpt50": worth.cpt50, "cpt80": worth.cpt80 }))
    };
    found.ways.iter().map(|(way, found)| (way.name().to_owned(), json!(worth(found)))).collect()
}
