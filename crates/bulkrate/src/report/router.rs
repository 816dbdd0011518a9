//! A learned router and what it is worth, as text and for programs.

use std::fmt::Write as _;

use bulkrate_core::route::learned::metrics::{Worth, price};
use bulkrate_core::route::learned::{Evaluation, Facts, Few, Router, Score, Verdict, Way, quality_interval};
use serde_json::{Value, json};

use super::table::Table;
use super::words::{count, counted, share};

/// What a router was made of, what was found on the rows that proved it, and what it does.
#[must_use]
pub fn router(name: &str, router: &Router) -> String {
    let Facts { taught, proved, options, gain_low, .. } = router.facts;
    let mut out = format!("router {name}, version {}\n", router.version());
    let _ = writeln!(
        out,
        "  learnt from {}, proved on {} others; seed {}; {}, {} words and pairs of words",
        counted(u64::from(taught), "label"),
        count(u64::from(proved)),
        options.seed,
        router.model.kind().name(router.models()),
        count(router.model.words() as u64),
    );
    if router.models() == 2 {
        let _ = writeln!(
            out,
            "{}; the strong one gains at least {} (95 % confidence)",
            Known::of_router(router).of_two(),
            share(gain_low)
        );
    }
    let _ = writeln!(out, "  reads the column `{}`", router.column);
    out.push_str(&verdict(router));
    if router.models() > 2 {
        out.push('\n');
        out.push_str(&Known::of_router(router).table(router));
    }
    out
}

/// What is known of each model of a router, on some labels.
struct Known<'a> {
    qualities: Few<f64>,
    labels: usize,
    shares: Few<f64>,
    /// What the router loses, where it was measured on the same labels.
    loss: Option<f64>,
    ratios: &'a [f64],
}

impl<'a> Known<'a> {
    /// When it was made.
    fn of_router(router: &'a Router) -> Self {
        let Facts { taught, proved, qualities, .. } = router.facts;
        let (labels, ratios) = (taught as usize + proved as usize, &router.facts.options.price_ratios);
        Self { qualities, labels, shares: router.shares(), loss: None, ratios }
    }

    /// On rows that it has not seen.
    fn of_rows(found: &Evaluation, ratios: &'a [f64]) -> Self {
        let Evaluation { rows, qualities, shares, loss, .. } = *found;
        Self { qualities, labels: rows, shares, loss: Some(loss), ratios }
    }

    /// How good each of two models is alone, with what that may really be.
    fn of_two(&self) -> String {
        let of = |quality: Option<&f64>| {
            let quality = quality.copied().unwrap_or_default();
            let range = quality_interval(quality, self.labels);
            format!("{} ({} to {})", share(quality), share(range.low), share(range.high))
        };
        format!("  quality: weak {}, strong {}", of(self.qualities.first()), of(self.qualities.last()))
    }

    /// A row a model: what it is sent, what it costs and how good it is alone.
    fn table(&self, router: &Router) -> String {
        let headings = ["model", ">is sent", ">cost, all by it", ">quality, all by it", "95 %", ">labels"];
        let mut table = Table::new(2, &headings);
        let mut row = |name: String, sent: f64, cost: f64, quality: f64| {
            let range = quality_interval(quality, self.labels);
            let range = format!("{} to {}", share(range.low), share(range.high));
            let labels = count(self.labels as u64);
            table.row([name, share(sent), share(cost), share(quality), range, labels]);
        };
        for (place, quality) in self.qualities.iter().enumerate() {
            let sent = self.shares.get(place).copied().unwrap_or_default();
            row(router.name(place), sent, price(self.ratios, place), *quality);
        }
        if let (Some(loss), Some(strongest)) = (self.loss, self.qualities.last()) {
            let costs = self.shares.iter().enumerate().map(|(place, sent)| sent * price(self.ratios, place));
            row("all by the router".to_owned(), 1.0, costs.sum(), strongest - loss);
        }
        table.text()
    }

    fn document(&self, router: &Router) -> Value {
        let model = |(place, quality): (usize, &f64)| {
            let range = quality_interval(*quality, self.labels);
            json!({
                "name": router.name(place), "share": self.shares.get(place), "cost": price(self.ratios, place),
                "quality": quality, "quality_low": range.low, "quality_high": range.high, "labels": self.labels,
            })
        };
        self.qualities.iter().enumerate().map(model).collect()
    }
}

/// What it does with a job's rows.
fn verdict(router: &Router) -> String {
    let Facts { options, cut, .. } = router.facts;
    let allowed = share(options.loss_max());
    let sent = share(cut.share_strong());
    match &router.verdict {
        Verdict::Pin { place, .. } => {
            let mut out = off(router, *place);
            out.push_str(&alone(router, *place, &allowed));
            if *place + 1 == router.models() && cut.thresholds.is_some() {
                let _ = writeln!(
                    out,
                    "  for a loss of at most {allowed}, {sent} would have to go there; that saves {}{}",
                    share(router.facts.saving()),
                    at_ratios(&options.price_ratios)
                );
            }
            out
        }
        Verdict::Route { thresholds } => {
            let sent = match **thresholds {
                [threshold] => format!(
                    "  rows that score {:.6} or more go to the strong model: {sent} of those that proved\n",
                    threshold.gain()
                ),
                _ => first_below(router, thresholds),
            };
            let loss = loses(cut.loss, cut.loss_high, &allowed);
            [sent, loss, saves(router.facts.saving(), &options.price_ratios)].concat()
        }
    }
}

/// What is proved of a model that all rows go to, of more than two.
fn alone(router: &Router, place: usize, allowed: &str) -> String {
    let Some(one) = router.facts.alone.filter(|one| one.place == place) else { return String::new() };
    let saving = saves(1.0 - router.facts.price(place), &router.facts.options.price_ratios);
    [loses(one.loss, one.loss_high, allowed), saving].concat()
}

fn loses(loss: f64, high: f64, allowed: &str) -> String {
    format!(
        "  loses {} of quality against the strong model alone, at most {} (95 % confidence; allowed: {allowed})\n",
        share(loss),
        share(high)
    )
}

/// Where rows go that are routed among more than two models.
fn first_below(router: &Router, thresholds: &[Score]) -> String {
    let rule = |(place, threshold): (usize, &Score)| match threshold.0 {
        i32::MIN => format!("{}: none", router.name(place)),
        _ => format!("{}: below {:.6}", router.name(place), threshold.gain()),
    };
    let rules: Vec<String> = thresholds.iter().enumerate().map(rule).collect();
    let strongest = router.name(router.models() - 1);
    format!(
        "  a row goes to the first model for which it scores low enough ({}), else to {strongest}\n",
        rules.join("; ")
    )
}

fn off(router: &Router, place: usize) -> String {
    let name = router.name(place);
    let to = if router.models() == 2 { format!("the {name} model") } else { name };
    format!("  routing is off, every row goes to {to}: {}\n", router.why().unwrap_or_default())
}

fn saves(saving: f64, ratios: &[f64]) -> String {
    format!("  saves {} of what the strong model alone costs{}\n", share(saving), at_ratios(ratios))
}

fn at_ratios(ratios: &[f64]) -> String {
    match ratios {
        [ratio] if ratio.is_finite() => format!(", at {ratio} times the weak one's price"),
        [_] | [] => ", if the weak one were free".to_owned(),
        several => {
            let times: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!(", at {} times the others' prices", times.join(" and "))
        }
    }
}

/// The router beside what knows less.
#[must_use]
pub fn ways(router: &Router, found: &Evaluation) -> String {
    let of_two = router.models() == 2;
    let headings: Vec<String> = if of_two {
        ["ordered by", ">APGR", ">CPT50", ">CPT80"].map(str::to_owned).into()
    } else {
        let over = (0..router.models() - 1).map(|place| format!(">APGR over {}", router.name(place)));
        std::iter::once("ordered by".to_owned()).chain(over).collect()
    };
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(2, &headings);
    for (way, worths) in &found.ways {
        let name = match way {
            Way::Router => "this router",
            Way::Length => "prompt length alone",
            Way::Random => "chance",
            Way::Category => "the category's mean (a bound: on these very rows)",
        };
        let cells = |worth: &Option<Worth>| match worth {
            Some(Worth { apgr, cpt50, cpt80 }) if of_two => {
                vec![format!("{apgr:.3}"), share(*cpt50), share(*cpt80)]
            }
            Some(Worth { apgr, .. }) => vec![format!("{apgr:.3}")],
            None => vec!["-".to_owned(); if of_two { 3 } else { 1 }],
        };
        table.row(std::iter::once(name.to_owned()).chain(worths.iter().flat_map(cells)));
    }
    let better = found.qualities.first().is_some_and(|weak| found.strong() > *weak);
    let note = match (better, of_two) {
        (true, _) => String::new(),
        (false, true) => "  the strong model is not better on these rows\n".to_owned(),
        (false, false) => {
            let strongest = router.name(router.models() - 1);
            format!("  {strongest} is not better than {} on these rows\n", router.name(0))
        }
    };
    format!("\n{}{note}", table.text())
}

/// A router on rows that it has not seen.
#[must_use]
pub fn evaluation(name: &str, router: &Router, found: &Evaluation, ratios: &[f64]) -> String {
    let mut out = format!("{} of {name}", counted(found.rows as u64, "row"));
    for (rows, why) in [(found.taught, "the router learnt from"), (found.equal, "are equal to another")] {
        if rows > 0 {
            let _ = write!(out, "; {} that {why} left out", count(rows as u64));
        }
    }
    match *found.qualities {
        [_, _] => {
            let _ = write!(out, "\n{} (95 % confidence)\n", Known::of_rows(found, ratios).of_two());
        }
        _ => {
            let _ = write!(out, "\n\n{}", Known::of_rows(found, ratios).table(router));
        }
    }
    let _ = writeln!(out, "{}", ways(router, found));
    if let Verdict::Pin { place, .. } = router.verdict {
        out.push_str(&off(router, place));
    }
    let sent = found.shares.last().copied().unwrap_or_default();
    let _ = writeln!(
        out,
        "  {} go to the strong model; quality lost: {}, at most {} (95 % confidence)",
        share(sent),
        share(found.loss),
        share(found.loss_high)
    );
    out.push_str(&saves(found.saving(ratios), ratios));
    out
}

/// A router for programs; with what was found on the rows that proved it.
#[must_use]
pub fn document(router: &Router, found: Option<&Evaluation>) -> Value {
    let Facts { taught, proved, options, quality_max, gain_low, cut, .. } = router.facts;
    let (thresholds, pinned) = match router.verdict {
        Verdict::Route { thresholds } => (Some(thresholds), None),
        Verdict::Pin { place, .. } => (None, Some(router.name(place))),
    };
    let alone = router.facts.alone.map(|one| {
        let saving = 1.0 - router.facts.price(one.place);
        json!({ "model": router.name(one.place), "loss": one.loss, "loss_high": one.loss_high, "saving": saving })
    });
    let millionths = thresholds.map(|all| one_or_list(all.iter().map(|threshold| threshold.0.into())));
    let ratios = &options.price_ratios;
    json!({
        "version": router.version(), "labels_taught": taught, "labels_proved": proved, "seed": options.seed, "column": router.column,
        "model": router.model.kind().name(router.models()), "words": router.model.words(), "quality_max": quality_max,
        "weak_quality": router.facts.weak(), "strong_quality": router.facts.strong(), "gain_low": gain_low,
        "quality_loss_allowed": options.loss_max(), "price_ratio": price_ratio(ratios),
        "threshold_millionths": millionths, "pinned": pinned, "reason": router.why(),
        "cut": {
            "share_strong": cut.share_strong(), "loss": cut.loss, "loss_high": cut.loss_high,
            "saving": router.facts.saving(),
        },
        "alone": alone,
        "models": Known::of_router(router).document(router),
        "worth": found.map(worths),
    })
}

/// An evaluation for programs.
#[must_use]
pub fn evaluation_document(router: &Router, found: &Evaluation, ratios: &[f64]) -> Value {
    json!({
        "version": router.version(), "rows": found.rows, "rows_taught": found.taught, "rows_equal": found.equal,
        "weak_quality": found.qualities.first(), "strong_quality": found.strong(), "worth": worths(found),
        "models": Known::of_rows(found, ratios).document(router),
        "share_strong": found.shares.last(), "loss": found.loss, "loss_high": found.loss_high,
        "price_ratio": price_ratio(ratios), "saving": found.saving(ratios),
    })
}

/// Null where the weak model counts as free.
fn price_ratio(ratios: &[f64]) -> Value {
    one_or_list(ratios.iter().map(|ratio| json!(Some(*ratio).filter(|ratio| ratio.is_finite()))))
}

/// What there is one of for two models stands alone; of more it is a list, the cheapest model's first.
fn one_or_list(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.collect();
    if values.len() == 1 { values.remove(0) } else { values.into() }
}

fn worths(found: &Evaluation) -> Value {
    let worth = |worth: &Option<Worth>| {
        json!(worth.map(|worth| json!({ "apgr": worth.apgr, "cpt50": worth.cpt50, "cpt80": worth.cpt80 })))
    };
    let of = |(way, found): &(Way, Few<Option<Worth>>)| {
        (way.name().to_owned(), one_or_list(found.iter().map(worth)))
    };
    found.ways.iter().map(of).collect()
}
