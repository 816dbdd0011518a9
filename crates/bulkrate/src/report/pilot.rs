//! A pilot as a person reads it: what each model did, the plans side by side, which one wins and why each other one lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::review::{Z95, wilson};
use bulkrate_engine::pilot::{Aim, Losing, Measured, Outlay, Piloted, PlanLine};
use bulkrate_engine::spec::JobSpec;

use super::table::Table;
use super::words::{count, counted, duration, share, share_at_most, usd};

/// What the pilot itself would cost.
#[must_use]
pub fn outlay(of: &Outlay) -> String {
    let mut out = format!(
        "pilot: {} asked of {}: {} to send",
        counted(of.items, "item"),
        of.models.join(", "),
        counted(of.requests, "request")
    );
    match (of.requests, of.priced) {
        (0, _) => out.push_str(", as all of them are answered already"),
        (_, true) => {
            let _ = write!(
                out,
                "; about USD {}, hardly above USD {}, USD {} at most",
                usd(of.expected),
                usd(of.p95),
                usd(of.worst)
            );
        }
        (_, false) => out.push_str("; what they cost is not known, as a model has no known price"),
    }
    out.push('\n');
    if let Some(permille) = of.too_dear() {
        let before = match of.spent {
            UsdNanos::ZERO => String::new(),
            spent => format!("with USD {} of earlier ones ", usd(spent)),
        };
        let _ = writeln!(
            out,
            "  warning: {before}that is {} of what {} alone would cost for the whole job, about USD {}; above 2 % a pilot is seldom earned back: fewer items, or fewer models",
            super::words::percent(permille, 1_000),
            of.models.first().map_or("the strong model", String::as_str),
            usd(of.whole.unwrap_or_default())
        );
    }
    out
}

/// The comparison, several lines.
#[must_use]
pub fn text(found: &Piloted) -> String {
    let mut out = format!(
        "pilot of {} for `{}`: USD {} so far; `run` {} for these items again\n\n",
        counted(found.items, "item"),
        found.name,
        usd(found.spent),
        if found.kept { "does not pay" } else { "pays" }
    );
    out.push_str(&models(found));
    let _ = writeln!(out, "\n  {}", compared(found));
    out.push('\n');
    out.push_str(&plans(found));
    out.push_str(&unavailable(found));
    out.push('\n');
    out.push_str(&outcome(found));
    for warning in &found.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    out
}

fn models(found: &Piloted) -> String {
    let labelled = found.labels.is_some();
    let mut headings = vec![
        "model",
        ">answers",
        ">unusable",
        ">input tokens",
        ">output tokens",
        ">thinking",
        ">from prompt cache",
        ">paid USD",
    ];
    if labelled {
        headings.push(">right by labels");
    }
    let mut table = Table::new(2, &headings);
    for one in &found.models {
        let mut row = vec![one.name()];
        if one.failed.is_some() {
            row.extend(["-"; 7].map(str::to_owned));
        } else {
            row.extend(figures(one));
        }
        if labelled {
            row.push(if one.failed.is_some() { "-".to_owned() } else { right(one) });
        }
        table.row(row);
    }
    let mut out = table.text();
    for one in &found.models {
        if let Some(why) = &one.failed {
            let _ = writeln!(out, "  {} took no part: {why}", one.name());
        }
    }
    for one in found.models.iter().filter(|one| one.cache_write_tokens > 0) {
        let marked = one.cache_read_tokens.saturating_add(one.cache_write_tokens);
        let found_again = super::words::percent(one.cache_read_tokens, marked);
        let _ = writeln!(
            out,
            "  {}: {found_again} of what was marked for the prompt cache was found again",
            one.name()
        );
    }
    out
}

/// How often a model is right, and what share of all items that may be, with 95 % confidence.
fn right(one: &Measured) -> String {
    let of = format!("{} of {}", count(one.right), count(one.labelled));
    if one.labelled == 0 {
        return of;
    }
    let range = wilson(one.right, one.labelled, Z95);
    format!("{of} ({} to {})", share(range.low), share_at_most(range.high))
}

/// Tokens of one item.
fn figures(one: &Measured) -> [String; 7] {
    let each = |tokens: u64| match (tokens * 10).checked_div(one.answered) {
        None => "-".to_owned(),
        Some(tenths) => format!("{}.{}", count(tenths / 10), tenths % 10),
    };
    [
        count(one.answered),
        count(one.unusable),
        each(one.input_tokens),
        each(one.output_tokens),
        each(one.reasoning_tokens),
        super::words::percent(one.cache_read_tokens, one.input_tokens),
        usd(one.spent),
    ]
}

fn compared(found: &Piloted) -> String {
    let what = match (&found.labels, found.compared.is_empty()) {
        (Some(labels), _) => format!("quality is what the column `{labels}` says"),
        (None, _) if found.free_text => return "answers are free text, which is not compared".to_owned(),
        (None, true) => "quality is agreement with the strong model, the first".to_owned(),
        (None, false) => {
            format!(
                "quality is agreement with the strong model, the first, in `{}`",
                found.compared.join("`, `")
            )
        }
    };
    if found.looked_at == 0 {
        return format!("{what}; no other model was named: `--candidate MODEL`");
    }
    format!(
        "{what}; a loss of {} is allowed, kept by all {} together in 95 of 100 jobs",
        share(f64::from(found.quality_loss_permille) / 1_000.0),
        counted(found.looked_at, "measured plan")
    )
}

fn plans(found: &Piloted) -> String {
    let headings = [
        "",
        ">plan",
        "name",
        ">goes on",
        ">expected USD",
        ">P95 USD",
        ">worst USD",
        ">time",
        ">quality lost",
        ">labels",
        "why",
    ];
    let mut table = Table::new(2, &headings);
    let (shown, others) = at_a_glance(found);
    for plan in shown {
        let mark = if plan.lost.is_none() { "*" } else { "" };
        let mut row = vec![mark.to_owned(), plan.number.to_string(), plan.name.clone(), goes_on(plan)];
        row.extend(money(plan));
        row.push(format!("~ {}", duration(plan.seconds.saturating_mul(1_000))));
        row.extend(quality(plan));
        row.push(plan.lost.as_ref().map_or_else(|| "wins".to_owned(), |lost| why(plan, lost, found)));
        table.row(row);
    }
    let mut out = table.text();
    if others > 0 {
        let _ = writeln!(
            out,
            "     {} more: the same models in a lane that is no better; `--json` lists them",
            counted(others, "plan")
        );
    }
    out
}

/// The plans in the order of their merit, each way of answering in its best lane, and the soonest of those that keep the promise; and
/// how many are left out.
fn at_a_glance(found: &Piloted) -> (Vec<&PlanLine>, u64) {
    let keeps = |plan: &PlanLine| plan.lost.is_none() || is(plan, &["dearer", "slower"]);
    let mut all: Vec<&PlanLine> =
        found.plans.iter().filter(|plan| !is(plan, &["unavailable", "other_lane"])).collect();
    all.sort_by_key(|plan| (plan.lost.is_some(), !keeps(plan), plan.expected, plan.seconds, plan.number));
    let soonest = all
        .iter()
        .filter(|plan| keeps(plan))
        .min_by_key(|plan| (plan.seconds, plan.expected))
        .map(|plan| plan.number);
    let (mut seen, mut others) = (BTreeSet::new(), 0);
    all.retain(|plan| {
        let shown = seen.insert((&plan.models, &plan.accept, plan.bundle, &plan.bundles, plan.prompt_cache))
            || soonest == Some(plan.number);
        others += u64::from(!shown);
        shown
    });
    (all, others)
}

fn is(plan: &PlanLine, reasons: &[&str]) -> bool {
    plan.lost.as_ref().is_some_and(|lost| reasons.contains(&lost.reason))
}

/// The share of the items that a cascade sends on to its strong model.
fn goes_on(plan: &PlanLine) -> String {
    plan.rejected_permille.map_or_else(String::new, |up| format!("{}.{} %", up / 10, up % 10))
}

fn money(plan: &PlanLine) -> [String; 3] {
    let of = |amount| if plan.priced { usd(amount) } else { "unknown".to_owned() };
    [of(plan.expected), of(plan.p95), of(plan.worst)]
}

fn quality(plan: &PlanLine) -> [String; 2] {
    match plan.quality {
        None if is(plan, &["quality_unknown"]) => ["unknown".to_owned(), "0".to_owned()],
        None => ["none".to_owned(), "-".to_owned()],
        Some(of) => [
            format!("{} ({} to {})", share(of.loss), share(of.low), share_at_most(of.high)),
            count(of.labels),
        ],
    }
}

fn why(plan: &PlanLine, lost: &Losing, found: &Piloted) -> String {
    let by = lost.cost.map(usd).unwrap_or_default();
    match lost.reason {
        "dearer" if lost.cost.is_some_and(|by| by.0 == 0) => "as dear, and no sooner".to_owned(),
        "dearer" => format!("USD {by} dearer"),
        "slower" => "slower".to_owned(),
        "over_budget" => {
            let most = if found.strict { "worst case" } else { "P95" };
            format!("its {most} is USD {by} over what is left of the budget")
        }
        "too_slow" => format!("may take {}", duration(plan.seconds_at_most.saturating_mul(1_000))),
        "quality_unknown" => "quality not known".to_owned(),
        "quality_unproved" => format!(
            "not proved: up to {} may be lost",
            plan.quality.map_or_else(String::new, |quality| share_at_most(quality.high))
        ),
        "unpriced" => "price not known".to_owned(),
        "other_lane" => "another lane was asked for".to_owned(),
        _ => lost.why.clone().unwrap_or_else(|| format!("not within {}", found.name)),
    }
}

/// One line a lane and reason, not one a plan.
fn unavailable(found: &Piloted) -> String {
    let mut reasons: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for plan in found.plans.iter().filter(|plan| is(plan, &["unavailable", "other_lane"])) {
        if let Some(lost) = &plan.lost {
            let reason = (plan.lane.to_string(), why(plan, lost, found));
            reasons.entry(reason).or_default().push(plan.number.to_string());
        }
    }
    let line = |((lane, why), plans): (&(String, String), &Vec<String>)| {
        format!("     {lane} lane (plans {}): {why}\n", plans.join(", "))
    };
    reasons.iter().map(line).collect()
}

fn outcome(found: &Piloted) -> String {
    let mut out = String::new();
    match found.plans.iter().find(|plan| Some(plan.number) == found.winner) {
        None => {
            let _ = writeln!(out, "  no plan is taken: {}", nothing(found));
            if found.plans.iter().any(|plan| is(plan, &["unpriced"])) && found.budget.is_none() {
                out.push_str("  without prices none is the cheapest; `run --plan fastest` takes the soonest that is good enough\n");
            }
        }
        Some(plan) => {
            let _ = writeln!(out, "  {} wins: {}", plan.name, reason(plan, Aim::Cheapest));
            let _ = writeln!(
                out,
                "  one by one in the sync lane at {} it would be USD {}",
                found.models.first().map_or("the strong model", |one| one.model.as_str()),
                usd(found.naive)
            );
            let _ = writeln!(
                out,
                "  to run it: the same command as `run`, with `--plan cheapest` in place of `--pilot N`, and without `--candidate` and `--labels`"
            );
        }
    }
    if found.plans.iter().any(|plan| is(plan, &["quality_unproved"])) && found.items < found.items_needed {
        let _ = writeln!(
            out,
            "  {} without one loss would prove {}: a larger `--pilot` asks only what is new, or allow more with `--quality-loss`",
            counted(found.items_needed, "item"),
            share(f64::from(found.quality_loss_permille) / 1_000.0)
        );
    }
    out
}

fn reason(plan: &PlanLine, aim: Aim) -> String {
    let word = if aim == Aim::Fastest { "fastest" } else { "cheapest" };
    let kept = match plan.quality {
        None => "the strong model itself answers".to_owned(),
        Some(of) => format!(
            "at most {} of the quality is lost, by {}",
            share_at_most(of.high.max(0.0)),
            counted(of.labels, "label")
        ),
    };
    let costs = if plan.priced {
        format!("about USD {}, hardly above USD {}", usd(plan.expected), usd(plan.p95))
    } else {
        "what it costs is not known".to_owned()
    };
    format!("the {word} that keeps the promise: {kept}; {costs}")
}

/// Why there is no winner.
#[must_use]
pub fn nothing(found: &Piloted) -> String {
    let mut reasons: Vec<String> =
        found.plans.iter().filter_map(|plan| Some(why(plan, plan.lost.as_ref()?, found))).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.join("; ")
}

/// Which plan a run takes.
#[must_use]
pub fn taken(found: &Piloted, plan: &PlanLine, aim: Aim) -> String {
    match &plan.lost {
        None => format!("plan {}: {}\n", plan.name, reason(plan, aim)),
        Some(lost) => {
            format!("plan {}: as asked, though it does not win: {}\n", plan.name, why(plan, lost, found))
        }
    }
}

/// The plan that the job runs by already.
#[must_use]
pub fn taken_again(spec: &JobSpec, id: &str) -> String {
    let cheap = spec.request.cascade.iter().flat_map(|cascade| &cascade.models);
    let routed = spec.request.router.iter().flat_map(|router| router.weak.iter());
    let models: Vec<&str> = cheap.chain(routed).chain(&spec.request.model).map(String::as_str).collect();
    format!(
        "the plan of job {id} is gone on with: {}; another would pay for its items again, and is taken by its name or number alone\n",
        models.join(" > ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkrate_core::lane::Lane;
    use bulkrate_engine::pilot::Proved;

    fn model(model: &str, input_tokens: u64, failed: Option<&str>) -> Measured {
        Measured {
            model: model.to_owned(),
            bundle: None,
            job: None,
            failed: failed.map(str::to_owned),
            unusable: 2,
            right: 290,
            labelled: 300,
            answered: 300,
            input_tokens,
            output_tokens: 1_746,
            reasoning_tokens: 0,
            cache_read_tokens: input_tokens / 4,
            cache_write_tokens: 0,
            spent: UsdNanos(37_700_000),
        }
    }

    fn line(number: u64, models: &[&str], lane: Lane, expected: i64, lost: Option<&'static str>) -> PlanLine {
        let usd = |times: i64| UsdNanos(expected * times / 10);
        PlanLine {
            number,
            name: format!("{}/{lane}", models.join("+").replace("openai/", "")),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            accept: (models.len() > 1).then(|| "valid".to_owned()),
            rejected_permille: (models.len() > 1).then_some(83),
            lane,
            bundle: 1,
            bundles: Vec::new(),
            prompt_cache: None,
            priced: true,
            expected: usd(10),
            p95: usd(12),
            worst: usd(90),
            learned: true,
            seconds: 3_600,
            seconds_at_most: 4_000,
            quality: (number > 2).then_some(Proved {
                loss: 0.003,
                low: 0.0,
                high: if number == 5 { 0.019 } else { 0.027 },
                labels: 300,
            }),
            lost: lost.map(|reason| Losing {
                reason,
                why: (reason == "unavailable").then(|| "`openai` has no flex lane".to_owned()),
                cost: (reason == "dearer").then_some(UsdNanos(41_000_000)),
            }),
        }
    }

    fn found() -> Piloted {
        let (sol, luna) = ("openai/gpt-6.1-sol", "openai/gpt-6-luna");
        Piloted {
            name: "reviews".to_owned(),
            items: 300,
            labels: None,
            compared: Vec::new(),
            free_text: false,
            models: vec![
                model(sol, 10_130, None),
                model(luna, 10_130, None),
                model("openai/nil", 0, Some("unknown model")),
            ],
            spent: UsdNanos(39_600_000),
            kept: true,
            budget: None,
            strict: false,
            quality_loss_permille: 20,
            looked_at: 2,
            items_needed: 366,
            plans: vec![
                line(1, &[sol], Lane::Batch, 44_000_000, Some("dearer")),
                line(2, &[sol], Lane::Flex, 44_000_000, Some("unavailable")),
                line(3, &[luna], Lane::Batch, 2_200_000, Some("quality_unproved")),
                line(4, &[luna], Lane::Sync, 4_400_000, Some("quality_unproved")),
                line(5, &[luna, sol], Lane::Batch, 3_000_000, None),
            ],
            winner: Some(5),
            naive: UsdNanos(125_800_000),
            warnings: vec!["a word of warning".to_owned()],
            specs: Vec::new(),
            shown: Vec::new(),
        }
    }

    #[test]
    fn a_comparison_reads_like_this() {
        insta::assert_snapshot!(text(&found()), @"
        pilot of 300 items for `reviews`: USD 0.0396 so far; `run` does not pay for these items again

          model               answers  unusable  input tokens  output tokens  thinking  from prompt cache  paid USD
          openai/gpt-6.1-sol      300         2          33.7            5.8       0.0             24.9 %    0.0377
          openai/gpt-6-luna       300         2          33.7            5.8       0.0             24.9 %    0.0377
          openai/nil                -         -             -              -         -                  -         -
          openai/nil took no part: unknown model

          quality is agreement with the strong model, the first; a loss of 2.0 % is allowed, kept by all 2 measured plans together in 95 of 100 jobs

             plan  name                          goes on  expected USD   P95 USD  worst USD   time            quality lost  labels  why
          *     5  gpt-6-luna+gpt-6.1-sol/batch    8.3 %      0.003000  0.003600     0.0270  ~ 1 h  0.3 % (0.0 % to 1.9 %)     300  wins
                1  gpt-6.1-sol/batch                            0.0440    0.0528     0.3960  ~ 1 h                    none       -  USD 0.0410 dearer
                3  gpt-6-luna/batch                           0.002200  0.002640     0.0198  ~ 1 h  0.3 % (0.0 % to 2.7 %)     300  not proved: up to 2.7 % may be lost
             1 plan more: the same models in a lane that is no better; `--json` lists them
             flex lane (plans 2): `openai` has no flex lane

          gpt-6-luna+gpt-6.1-sol/batch wins: the cheapest that keeps the promise: at most 1.9 % of the quality is lost, by 300 labels; about USD 0.003000, hardly above USD 0.003600
          one by one in the sync lane at openai/gpt-6.1-sol it would be USD 0.1258
          to run it: the same command as `run`, with `--plan cheapest` in place of `--pilot N`, and without `--candidate` and `--labels`
          366 items without one loss would prove 2.0 %: a larger `--pilot` asks only what is new, or allow more with `--quality-loss`
          warning: a word of warning
        ");
    }

    #[test]
    fn what_is_paid_again_is_not_said_to_be_kept() {
        let told = text(&Piloted { kept: false, ..found() });
        assert!(told.starts_with(
            "pilot of 300 items for `reviews`: USD 0.0396 so far; `run` pays for these items again"
        ));
    }

    #[test]
    fn labels_show_how_often_each_model_is_right() {
        let told = text(&Piloted { labels: Some("right".to_owned()), ..found() });
        assert!(told.contains("right by labels"), "{told}");
        // Wilson's interval: what the label of 300 says of all items.
        assert_eq!(told.matches("290 of 300 (94.0 % to 98.2 %)").count(), 2, "{told}");
    }

    #[test]
    fn a_plan_that_is_taken_says_why() {
        let found = found();
        let told = taken(&found, &found.plans[2], Aim::Cheapest);
        assert_eq!(
            told,
            "plan gpt-6-luna/batch: as asked, though it does not win: not proved: up to 2.7 % may be lost\n"
        );
        let told = taken(&found, &found.plans[4], Aim::Fastest);
        assert!(told.starts_with("plan gpt-6-luna+gpt-6.1-sol/batch: the fastest that keeps"), "{told}");
    }

    #[test]
    fn a_pilot_says_beforehand_what_it_costs() {
        let of = Outlay {
            items: 100,
            models: vec!["a".to_owned(), "b".to_owned()],
            requests: 200,
            expected: UsdNanos(20_000_000),
            p95: UsdNanos(50_000_000),
            worst: UsdNanos::dollars(1),
            spent: UsdNanos::ZERO,
            priced: true,
            whole: Some(UsdNanos(1_000_000_001)),
        };
        let want = "pilot: 100 items asked of a, b: 200 requests to send; about USD 0.0200, hardly above USD 0.0500, USD 1.00 at most\n";
        assert_eq!(outlay(&of), want);
        let dear = |whole| outlay(&Outlay { whole: Some(whole), ..of.clone() });
        let warned = "  warning: that is 3.1 % of what a alone would cost for the whole job, about USD 0.6400; above 2 % a pilot is seldom earned back: fewer items, or fewer models\n";
        assert_eq!(dear(UsdNanos(640_000_000)), format!("{want}{warned}"));
        let again =
            Outlay { spent: UsdNanos(20_000_000), whole: Some(UsdNanos(1_280_000_000)), ..of.clone() };
        assert!(outlay(&again).contains("warning: with USD 0.0200 of earlier ones that is 3.1 % of"));
        let alone = Outlay { whole: Some(UsdNanos(640_000_000)), models: vec!["a".to_owned()], ..of.clone() };
        assert!(!outlay(&alone).contains("warning"), "the run takes its answers");
        assert!(outlay(&Outlay { requests: 0, ..of.clone() }).ends_with("answered already\n"));
        assert!(outlay(&Outlay { priced: false, ..of }).contains("not known"));
    }
}
