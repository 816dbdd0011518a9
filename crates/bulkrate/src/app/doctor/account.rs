//! What is checked of one account: its key, whether it answers, its clock, its limits, and which of its models are retired soon.

use bulkrate_core::failure::FailureClass;
use bulkrate_core::price::Catalogue;
use bulkrate_engine::settings::Account;
use bulkrate_provider::{Health, LimitHints};
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::{Finding, Grade};
use crate::app::whose;
use crate::report::words;

/// More than this between the clocks makes deadlines and daily caps wrong.
const SKEW_MAX_S: i64 = 60;
/// A model that is retired later than this is nothing to hurry for.
const SOON_DAYS: i64 = 90;

/// A line for each thing. Paid calls are not made.
pub(super) async fn whole(account: &Account, catalogue: &Catalogue, today: Date) -> Vec<Finding> {
    if account.api.calls().is_none() {
        return vec![program(account)];
    }
    if let Some(why) = whose::rivalled(account) {
        return vec![Finding::failed("provider", 2, why)];
    }
    let mut found = vec![key(account)];
    if account.lacks_key() {
        return found; // an answer would only say the same
    }
    match account.api.probe().await {
        Ok(health) => found.extend(reached(account, &health)),
        Err(error) => {
            let exit =
                if matches!(error.failure.class, FailureClass::Auth | FailureClass::Billing) { 4 } else { 1 };
            found.push(Finding::failed("reach", exit, error.to_string()));
        }
    }
    found.push(dates(account, catalogue, today));
    found
}

/// One line for a service that is set up and that nobody has named: whether it answers, what it can do, and what is odd.
pub(super) async fn in_short(account: &Account, catalogue: &Catalogue, today: Date) -> Finding {
    if let Some(why) = whose::rivalled(account) {
        return Finding::warning("provider", why);
    }
    if account.lacks_key() {
        return Finding::warning("provider", format!("`{}` is not set", account.key_env));
    }
    let health = match account.api.probe().await {
        Ok(health) => health,
        Err(error) => return Finding::warning("provider", error.to_string()),
    };
    let lanes = if account.api.batches().is_some() { "sync and batch" } else { "sync" };
    let mut said = vec![format!("it answers; {lanes}")];
    said.extend(health.models.map(|models| format!("{} offered", words::counted(models, "model"))));
    let told = [health.clock_skew_s.map(|_| clock(&health)), Some(quota(&health.limits))];
    let odd: Vec<Finding> = told.into_iter().flatten().filter(|finding| finding.grade != Grade::Ok).collect();
    said.extend(odd.iter().map(|finding| finding.detail.clone()));
    said.extend(soon(account, catalogue, today));
    let text = said.join("; ");
    if odd.is_empty() { Finding::ok("provider", text) } else { Finding::warning("provider", text) }
}

fn key(account: &Account) -> Finding {
    if !account.has_key && account.api.signs() {
        let said = "calls are signed with the credentials of this machine";
        return match account.api.ready() {
            Ok(()) => Finding::ok("key", said),
            Err(why) => Finding::failed("key", 4, why),
        };
    }
    match (account.has_key, !account.lacks_key()) {
        (true, _) => Finding::ok("key", format!("`{}` is set", account.key_env)),
        (false, true) => {
            Finding::warning("key", format!("`{}` is not set; calls go without a key", account.key_env))
        }
        (false, false) => Finding::failed("key", 4, format!("`{}` is not set", account.key_env)),
    }
}

/// What runs on this machine has no key and no address: it is there or it is not.
fn program(account: &Account) -> Finding {
    match account.api.ready() {
        Ok(()) => Finding::ok("program", "it can be run; batches only"),
        Err(why) => Finding::failed("program", 1, why),
    }
}

fn reached(account: &Account, health: &Health) -> [Finding; 4] {
    let models = health.models.map_or_else(
        || "no list of models".to_owned(),
        |models| format!("{} offered", words::counted(models, "model")),
    );
    let batch = match (health.batches, account.api.batches_need()) {
        (true, _) => Finding::ok("batch", "there is a batch API"),
        (false, Some(needs)) => Finding::warning("batch", format!("batches need {needs}")),
        (false, None) => Finding::warning("batch", "there is no batch API; jobs run in the sync lane"),
    };
    let reach = Finding::ok("reach", format!("the provider answers; {models}"));
    [reach, batch, clock(health), quota(&health.limits)]
}

fn clock(health: &Health) -> Finding {
    match health.clock_skew_s {
        Some(skew) if skew.abs() > SKEW_MAX_S => {
            let way = if skew > 0 { "behind" } else { "ahead of" };
            let apart = words::counted(skew.unsigned_abs(), "second");
            Finding::warning("clock", format!("this machine is {apart} {way} the provider; set its clock"))
        }
        Some(_) => Finding::ok("clock", "it agrees with the provider's"),
        None => Finding::warning("clock", "the provider sends no date"),
    }
}

/// What the provider tells of its limits on a free call. What a queue of batches takes is told by nobody before it is full.
fn quota(limits: &LimitHints) -> Finding {
    let told = |limit: Option<u64>, left: Option<u64>, what: &str| match (limit, left) {
        (Some(limit), Some(left)) => {
            Some(format!("{} of {} {what} left", words::count(left), words::count(limit)))
        }
        (Some(limit), None) => Some(format!("{} {what}", words::count(limit))),
        (None, Some(left)) => Some(format!("{} {what} left", words::count(left))),
        (None, None) => None,
    };
    let said: Vec<String> = [
        told(limits.requests_limit, limits.requests_left, "requests"),
        told(limits.tokens_limit, limits.tokens_left, "tokens"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if said.is_empty() {
        return Finding::ok("quota", "not told by free calls; a run learns it from its answers");
    }
    let text = format!("{}; what its queue of batches takes is not told", said.join(", "));
    match [limits.requests_left, limits.tokens_left].contains(&Some(0)) {
        true => Finding::warning("quota", format!("used up for now: {text}")),
        false => Finding::ok("quota", text),
    }
}

/// Which of the models that the account has, as far as they are in the catalogue, are retired soon.
fn dates(account: &Account, catalogue: &Catalogue, today: Date) -> Finding {
    if !catalogue.rows().iter().any(|row| row.provider == account.whose()) {
        return Finding::ok("dates", "no date is known: its models are not in the price catalogue");
    }
    let none = || format!("none of its models that are priced here is retired within {SOON_DAYS} days");
    Finding::ok("dates", soon(account, catalogue, today).unwrap_or_else(none))
}

/// `2 models are retired within 90 days: a on 2027-01-01, b on 2027-02-01`.
fn soon(account: &Account, catalogue: &Catalogue, today: Date) -> Option<String> {
    const NAMED: usize = 5;
    let until = today.checked_add(SOON_DAYS.days()).ok()?;
    let mut models: Vec<(Date, &str)> = catalogue
        .rows()
        .iter()
        .filter(|row| row.provider == account.whose())
        .filter_map(|row| {
            Some((row.retirement.filter(|date| (today..=until).contains(date))?, row.id.as_str()))
        })
        .collect();
    models.sort_unstable();
    models.dedup();
    let named: Vec<String> =
        models.iter().take(NAMED).map(|(date, model)| format!("{model} on {date}")).collect();
    let more = if models.len() > NAMED { ", and more" } else { "" };
    let are = if models.len() == 1 { "is" } else { "are" };
    let count = words::counted(models.len() as u64, "model");
    (!models.is_empty())
        .then(|| format!("{count} {are} retired within {SOON_DAYS} days: {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_quota_is_what_headers_say_or_is_not_told() {
        let all = LimitHints {
            requests_limit: Some(60),
            requests_left: Some(59),
            tokens_limit: Some(150_000),
            tokens_left: Some(149_984),
            ..LimitHints::default()
        };
        let queue = "; what its queue of batches takes is not told";
        for (limits, grade, want) in [
            (all, Grade::Ok, format!("59 of 60 requests left, 149,984 of 150,000 tokens left{queue}")),
            (
                LimitHints { tokens_left: Some(0), ..all },
                Grade::Warning,
                format!("used up for now: 59 of 60 requests left, 0 of 150,000 tokens left{queue}"),
            ),
            (
                LimitHints { requests_limit: Some(60), ..LimitHints::default() },
                Grade::Ok,
                format!("60 requests{queue}"),
            ),
            (
                LimitHints::default(),
                Grade::Ok,
                "not told by free calls; a run learns it from its answers".to_owned(),
            ),
        ] {
            let found = quota(&limits);
            assert_eq!((found.check, found.grade, found.detail), ("quota", grade, want));
        }
    }

    #[test]
    fn clocks_may_differ_by_a_minute() {
        for (skew, grade, word) in [
            (Some(59), Grade::Ok, "agrees"),
            (Some(-61), Grade::Warning, "61 seconds ahead of"),
            (Some(3_600), Grade::Warning, "3,600 seconds behind"),
            (None, Grade::Warning, "no date"),
        ] {
            let found = clock(&Health { clock_skew_s: skew, ..Health::default() });
            assert!(found.grade == grade && found.detail.contains(word), "{found:?}");
        }
    }
}
