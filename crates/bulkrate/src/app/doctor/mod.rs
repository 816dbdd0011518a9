//! `doctor`: free checks of everything a job needs. Each line says what is so and what to do about it.

mod account;
mod here;

use bulkrate_core::price::Catalogue;
use bulkrate_engine::settings::Account;
use bulkrate_provider::Preset;
use jiff::civil::Date;
use serde::Serialize;

use super::accounts::{self, process_env};
use super::prices::today;
use super::{AppError, runtime, state_dir, whose};
use crate::cli::{DoctorArgs, Shared};
use crate::config::Defaults;
use crate::report::out;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warning,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    /// The account that it is about, by the name before the slash of a model.
    account: Option<String>,
    grade: Grade,
    detail: String,
    /// The exit code when this is the gravest finding.
    #[serde(skip)]
    exit: u8,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, account: None, grade: Grade::Ok, detail: detail.into(), exit: 0 }
    }
    fn warning(check: &'static str, detail: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, ..Self::ok(check, detail) }
    }
    fn failed(check: &'static str, exit: u8, detail: impl Into<String>) -> Self {
        Self { grade: Grade::Failed, exit, ..Self::ok(check, detail) }
    }
    fn of(self, account: &Account) -> Self {
        Self { account: Some(account.provider.clone()), ..self }
    }
}

pub(super) fn doctor(shared: &Shared, args: DoctorArgs) -> Result<u8, AppError> {
    let (defaults, today) = (Defaults::load()?, today());
    let dir = state_dir(shared, &defaults);
    let catalogue = accounts::catalogue(shared.prices.as_deref().or(defaults.prices.as_deref()))?;
    let meant = whose::meant(&dir, args.job.as_deref(), args.provider.layer())?;
    let accounts = accounts::open(&meant.reached, 1, accounts::IMPATIENT, &process_env)?;
    let mut models = meant.models;
    models.retain(|model| Some(model) != args.model.as_ref());
    models.splice(0..0, args.model);
    let mut found = vec![here::state(&dir), here::prices(&catalogue, today)];
    let services = whose::services(&accounts);
    let mut chosen: Vec<&Account> = Vec::new();
    let usual = accounts.first().filter(|first| first.has_key || first.custom || services.is_empty());
    for model in &models {
        let of = whose::of_model(&accounts, &catalogue, model, today).or(usual);
        found.push(here::model(&catalogue, of, model, today));
        chosen.extend(of);
    }
    chosen.extend(usual.filter(|_| models.is_empty()));
    chosen.extend(accounts.iter().filter(|account| account.serves.is_some()));
    found.extend(checked(&chosen, &services, &catalogue, today)?);
    found.push(not_set_up(&accounts));
    Ok(tell(shared, &found))
}

/// All there is to know of each account that is meant, and a line for each service that is merely set up.
fn checked(
    chosen: &[&Account],
    services: &[Account],
    catalogue: &Catalogue,
    today: Date,
) -> Result<Vec<Finding>, AppError> {
    let (runtime, mut found, mut done) = (runtime::single()?, Vec::new(), Vec::new());
    for account in chosen {
        if !done.contains(&account.provider.as_str()) {
            done.push(&account.provider);
            let all = runtime.block_on(account::whole(account, catalogue, today));
            found.extend(all.into_iter().map(|finding| finding.of(account)));
        }
    }
    for service in services.iter().filter(|one| !done.contains(&one.provider.as_str())) {
        found.push(runtime.block_on(account::in_short(service, catalogue, today)).of(service));
    }
    Ok(found)
}

fn tell(shared: &Shared, found: &[Finding]) -> u8 {
    if shared.json {
        out::json(&serde_json::json!({ "checks": found }));
    } else {
        out::data(&text(found));
    }
    found.iter().map(|finding| finding.exit).max().unwrap_or(0)
}

/// One line a finding; what is about no account has a `-` in its place.
fn text(found: &[Finding]) -> String {
    let name = |finding: &Finding| finding.account.clone().unwrap_or_else(|| "-".to_owned());
    let wide = found.iter().map(|finding| name(finding).len()).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let mark = match finding.grade {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Failed => "FAILED",
        };
        format!("{mark:<8} {:<8} {:<wide$} {}\n", finding.check, name(finding), finding.detail)
    };
    found.iter().map(line).collect()
}

/// What has an address and credentials of its own is set up by those.
fn takes_key(preset: &Preset) -> bool {
    preset.base_url.is_none() || preset.variables.is_empty()
}

/// What else could be used, and by which variable.
fn not_set_up(accounts: &[Account]) -> Finding {
    let known = |name: &str| accounts.iter().any(|account| account.provider == name);
    let (own, others): (Vec<Preset>, Vec<Preset>) =
        bulkrate_provider::presets().filter(takes_key).partition(|preset| !preset.facts.needs_key);
    let list = |presets: &[Preset], word: &dyn Fn(&Preset) -> String| {
        presets.iter().map(|one| format!("{} ({})", one.name, word(one))).collect::<Vec<_>>().join(", ")
    };
    let missing: Vec<Preset> = others.into_iter().filter(|preset| !known(preset.name)).collect();
    let mut text = format!("your own servers, each by its variable: {}", list(&own, &Preset::base_env));
    if !missing.is_empty() {
        let missing = list(&missing, &|preset| match preset.base_url {
            None => format!("{}, {}", preset.key_env, preset.base_env()),
            Some(_) => preset.key_env.to_owned(),
        });
        text = format!("not set up; each takes a key in its variable: {missing}; {text}");
    }
    Finding::ok("provider", text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_table_names_every_account() {
        let about =
            |account: &str, finding: Finding| Finding { account: Some(account.to_owned()), ..finding };
        let found = [
            Finding::ok("prices", "220 models known"),
            about("openai", Finding::ok("key", "`OPENAI_API_KEY` is set")),
            about("team-b", Finding::failed("key", 4, "`TEAM_B_KEY` is not set")),
            about("groq", Finding::warning("provider", "its clock is an hour ahead")),
        ];
        insta::assert_snapshot!(text(&found), @r"
        ok       prices   -      220 models known
        ok       key      openai `OPENAI_API_KEY` is set
        FAILED   key      team-b `TEAM_B_KEY` is not set
        warning  provider groq   its clock is an hour ahead
        ");
        let json = serde_json::to_value(&found[2]).unwrap();
        let want = serde_json::json!({
            "check": "key", "account": "team-b", "grade": "failed", "detail": "`TEAM_B_KEY` is not set",
        });
        assert_eq!(json, want);
    }
}
