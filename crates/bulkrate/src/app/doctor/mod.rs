//! `doctor`: free checks of everything a job needs. Each line says what is so and what to do about it.

use std::path::Path;

use bulkrate_core::failure::FailureClass;
use bulkrate_engine::settings::Account;
use bulkrate_provider::{Preset, Unlisted};
use serde::Serialize;

use super::accounts::{self, process_env};
use super::prices::today;
use super::{AppError, runtime, state_dir};
use crate::cli::{DoctorArgs, Shared};
use crate::config::Defaults;
use crate::config::job_file::Provider;
use crate::report::{out, words};

/// More than this between the clocks makes deadlines and daily caps wrong.
const SKEW_MAX_S: i64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    grade: Grade,
    detail: String,
    /// The exit code when this is the gravest finding.
    #[serde(skip)]
    exit: u8,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, grade: Grade::Ok, detail: detail.into(), exit: 0 }
    }
    fn warning(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, grade: Grade::Warning, detail: detail.into(), exit: 0 }
    }
    fn failed(check: &'static str, exit: u8, detail: impl Into<String>) -> Self {
        Self { check, grade: Grade::Failed, detail: detail.into(), exit }
    }
}

pub(super) fn doctor(shared: &Shared, args: DoctorArgs) -> Result<u8, AppError> {
    let defaults = Defaults::load()?;
    let provider = accounts::with_env(args.provider.layer(), Provider::default(), &process_env);
    let catalogue = accounts::catalogue(shared.prices.as_deref().or(defaults.prices.as_deref()))?;
    let mut accounts = accounts::open_with(&provider, 1, accounts::IMPATIENT, &process_env)?;
    let presets = set_up(&accounts);
    // The one that the model belongs to; else OpenAI's, unless only others are set up.
    let named = args.model.as_deref().and_then(|model| model.split_once('/')).map(|(provider, _)| provider);
    if let Some(program) = bulkrate_provider::programs().find(|program| named == Some(program)) {
        accounts.push(accounts::offline(program, &provider, None)?);
    }
    let account = accounts
        .iter()
        .find(|account| Some(account.provider.as_str()) == named)
        .or_else(|| accounts.first().filter(|first| first.has_key || first.custom || presets.is_empty()))
        .cloned();
    let dir = state_dir(shared, &defaults);
    let mut found = vec![stored(&dir).unwrap_or_else(|| state(&dir))];
    found.push(match catalogue.stale_days(today()) {
        Some(days) => Finding::warning(
            "prices",
            format!(
                "{} old; `bulkrate prices import` reads a newer list",
                words::counted(u64::from(days.unsigned_abs()), "day")
            ),
        ),
        None => {
            Finding::ok("prices", format!("{} known", words::counted(catalogue.rows().len() as u64, "model")))
        }
    });
    if let Some(model) = &args.model {
        let custom = account.as_ref().is_some_and(|account| account.custom);
        found.push(match catalogue.resolve_alive(model, today()) {
            Ok(resolved) => match resolved.row.retirement {
                Some(date) => {
                    Finding::warning("model", format!("{} retires on {date}", resolved.row.qualified))
                }
                None => Finding::ok("model", format!("{} is known and priced", resolved.row.qualified)),
            },
            Err(_)
                if account.as_ref().is_some_and(|account| {
                    !account.custom && account.api.facts().unlisted != Unlisted::Refused
                }) =>
            {
                Finding::warning(
                    "model",
                    format!("`{model}` is not in the price catalogue; {}", priced_by(account.as_ref())),
                )
            }
            Err(error) if custom => {
                Finding::warning("model", format!("{error}; with a base URL of your own it is sent as it is"))
            }
            Err(error) => Finding::failed("model", 2, format!("{error}; {}", error.hint())),
        });
    }
    let (runtime, local) = (runtime::single()?, account.as_ref().filter(|one| one.api.calls().is_none()));
    if let Some(account) = account.as_ref().filter(|_| local.is_none()) {
        match rivalled(account) {
            Some(why) => found.push(Finding::failed("provider", 2, why)),
            None => {
                found.push(key(account));
                found.extend(runtime.block_on(reach(account)));
            }
        }
    }
    found.extend(local.map(program));
    for preset in presets.iter().filter(|one| account.as_ref().is_none_or(|chosen| chosen.id != one.id)) {
        found.push(runtime.block_on(preset_reach(preset)));
    }
    found.push(not_set_up(&accounts));
    Ok(tell(shared, &found))
}

fn tell(shared: &Shared, found: &[Finding]) -> u8 {
    if shared.json {
        out::json(&serde_json::json!({ "checks": found }));
    } else {
        for finding in found {
            let mark = match finding.grade {
                Grade::Ok => "ok",
                Grade::Warning => "warning",
                Grade::Failed => "FAILED",
            };
            out::data(&format!("{mark:<8} {:<8} {}\n", finding.check, finding.detail));
        }
    }
    found.iter().map(|finding| finding.exit).max().unwrap_or(0)
}

/// The state in the folder, if there is one: it can be read, and it is not that of a newer version.
fn stored(dir: &Path) -> Option<Finding> {
    match bulkrate_engine::Reader::open(dir) {
        Ok(_) => None,
        Err(error) if error.code() == "state-missing" => None,
        Err(error) => {
            let error = AppError::from(error);
            let hint = error.hint().map_or_else(String::new, |hint| format!("; {hint}"));
            Some(Finding::failed("state", error.exit_code(), format!("{error}{hint}")))
        }
    }
}

/// The folder, or the nearest one above it that exists, takes a file.
fn state(dir: &Path) -> Finding {
    let there =
        dir.ancestors().find(|folder| folder.is_dir()).filter(|folder| !folder.as_os_str().is_empty());
    let probe = there.unwrap_or(Path::new(".")).join(format!(".bulkrate-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => Finding::ok("state", format!("`{}` can be written", dir.display())),
        Err(error) => Finding::failed(
            "state",
            1,
            format!("`{}` cannot be written: {error}; choose another folder with `--state`", dir.display()),
        ),
    }
}

/// The services that a variable names. Servers of one's own count only with an address: nobody knows whether they should run.
fn set_up(accounts: &[Account]) -> Vec<Account> {
    let named = |preset: &Preset| preset.facts.needs_key || process_env(&preset.base_env()).is_some();
    let presets: Vec<&str> = bulkrate_provider::presets().filter(named).map(|preset| preset.name).collect();
    accounts.iter().filter(|account| presets.contains(&account.provider.as_str())).cloned().collect()
}

fn priced_by(account: Option<&Account>) -> &'static str {
    match account.map(|account| account.api.facts().unlisted) {
        Some(Unlisted::Free) => "it costs nothing",
        Some(Unlisted::Reported) => "its answers say what they cost",
        _ => "give its price with `--price-in` and `--price-out`",
    }
}

/// Why an account's models are refused here, where a variable may mean another address for them.
fn rivalled(account: &Account) -> Option<String> {
    let (name, rival) = (&account.provider, account.rival.as_ref()?);
    let set_up =
        if account.has_key { format!("`{}` is set", account.key_env) } else { "it needs no key".to_owned() };
    Some(format!("{name}: {set_up}, and so is `{rival}`; its models are refused until one address is named"))
}

/// One line a service: whether it answers, and what it can do.
async fn preset_reach(account: &Account) -> Finding {
    if let Some(why) = rivalled(account) {
        return Finding::warning("provider", why);
    }
    if account.lacks_key() {
        return Finding::warning(
            "provider",
            format!("{}: `{}` is not set", account.provider, account.key_env),
        );
    }
    match account.api.probe().await {
        Ok(health) => {
            let lanes = if account.api.batches().is_some() { "sync and batch" } else { "sync" };
            let models = health
                .models
                .map(|models| format!("; {} offered", words::counted(models, "model")))
                .unwrap_or_default();
            Finding::ok("provider", format!("{}: it answers; {lanes}{models}", account.provider))
        }
        Err(error) => Finding::warning("provider", format!("{}: {error}", account.provider)),
    }
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
        Ok(()) => Finding::ok("program", format!("`{}` can be run; batches only", account.provider)),
        Err(why) => Finding::failed("program", 1, why),
    }
}

async fn reach(account: &Account) -> Vec<Finding> {
    if account.lacks_key() {
        return Vec::new(); // the answer would only say what the line above says
    }
    let health = match account.api.probe().await {
        Ok(health) => health,
        Err(error) => {
            let exit =
                if matches!(error.failure.class, FailureClass::Auth | FailureClass::Billing) { 4 } else { 1 };
            return vec![Finding::failed("reach", exit, error.to_string())];
        }
    };
    let models = health.models.map_or_else(
        || "no list of models".to_owned(),
        |models| format!("{} offered", words::counted(models, "model")),
    );
    let mut found = vec![Finding::ok("reach", format!("the provider answers; {models}"))];
    found.push(match health.batches {
        true => Finding::ok("batch", "there is a batch API"),
        false => Finding::warning("batch", "there is no batch API; jobs run in the sync lane"),
    });
    found.push(match health.clock_skew_s {
        Some(skew) if skew.abs() > SKEW_MAX_S => {
            let way = if skew > 0 { "behind" } else { "ahead of" };
            Finding::warning(
                "clock",
                format!(
                    "this machine is {} {way} the provider; set its clock",
                    words::counted(skew.unsigned_abs(), "second")
                ),
            )
        }
        Some(_) => Finding::ok("clock", "it agrees with the provider's"),
        None => Finding::warning("clock", "the provider sends no date"),
    });
    found
}
