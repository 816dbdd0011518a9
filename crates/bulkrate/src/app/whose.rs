//! Whose accounts a free question is put to: those that a job names, and those that the environment sets up.
//!
//! A key is shown to nobody whom the user did not name: accounts of stored jobs are opened only where the job is named.

use std::path::Path;

use bulkrate_core::price::Catalogue;
use bulkrate_engine::EngineError;
use bulkrate_engine::settings::{Account, local_runs};
use bulkrate_provider::Preset;
use jiff::civil::Date;

use super::accounts::{self, Reached, process_env};
use super::{AppError, engine};
use crate::config::Layer;
use crate::config::job_file::{Provider, is_job_file};

/// How accounts are reached, and which models they are wanted for.
pub(super) struct Meant {
    pub(super) reached: Reached,
    pub(super) models: Vec<String>,
}

/// What a job file or a job of this folder names, below the flags; without one what the environment does.
pub(super) fn meant(state: &Path, job: Option<&str>, flags: Provider) -> Result<Meant, AppError> {
    let layer = match job {
        None => Layer::default(),
        Some(file) if is_job_file(Path::new(file)) => Layer::load(Path::new(file))?,
        Some(job) => return stored(state, job, flags),
    };
    let flags =
        Layer { provider: accounts::with_env(flags, Provider::default(), &process_env), ..Layer::default() };
    let layer = flags.over(layer);
    let models = layer.models();
    let reached = Reached { state: state.to_owned(), provider: layer.provider, accounts: layer.accounts };
    Ok(Meant { reached, models })
}

/// What a job was run with.
pub(super) fn stored(state: &Path, job: &str, flags: Provider) -> Result<Meant, AppError> {
    let spec = engine::stored(state, job)?;
    let models = spec.request.models().chain(&spec.request.fallback).cloned().collect();
    let mut reached = engine::reached(state, spec);
    reached.provider = accounts::with_env(flags.over(reached.provider), Provider::default(), &process_env);
    Ok(Meant { reached, models })
}

/// The services that a variable names. Servers of one's own count only with an address: nobody knows whether they should run.
pub(super) fn services(accounts: &[Account]) -> Vec<Account> {
    let named = |preset: &Preset| preset.facts.needs_key || process_env(&preset.base_env()).is_some();
    let presets: Vec<&str> = bulkrate_provider::presets().filter(named).map(|preset| preset.name).collect();
    accounts.iter().filter(|account| presets.contains(&account.provider.as_str())).cloned().collect()
}

/// Every account with a batch API that somebody has set up: those with a name of the user's own, OpenAI's or the base URL's, services
/// that a variable names, and programs that have run from this folder.
pub(super) fn with_batches(accounts: &[Account], state: &Path) -> Vec<Account> {
    let services = services(accounts);
    let is_service = |account: &Account| services.iter().any(|one| one.provider == account.provider);
    let set_up = |(at, account): &(usize, &Account)| {
        account.api.batches().is_some()
            && match account.api.calls() {
                _ if account.serves.is_some() => true,
                None => local_runs(state).is_dir(),
                Some(_) => is_service(account) || *at == 0 && (account.has_key || account.custom),
            }
    };
    let found: Vec<Account> =
        accounts.iter().enumerate().filter(set_up).map(|(_, account)| account.clone()).collect();
    // Where nothing is set up, the first of them says what is missing.
    if found.is_empty() { accounts.iter().take(1).cloned().collect() } else { found }
}

/// The account that a model belongs to, by the name before its slash or by whose it is in the catalogue.
pub(super) fn of_model<'a>(
    accounts: &'a [Account],
    catalogue: &Catalogue,
    model: &str,
    today: Date,
) -> Option<&'a Account> {
    let at = |name: &str| accounts.iter().find(|account| account.provider == name);
    let listed = || at(&catalogue.resolve_alive(model, today).ok()?.row.provider);
    model.split_once('/').and_then(|(name, _)| at(name)).or_else(listed)
}

/// What the catalogue calls a model of an account: by the provider that it serves, and by the model that a deployment stands for.
pub(super) fn listed_as(account: Option<&Account>, model: &str) -> String {
    let own = |account: &Account| {
        let name = model.strip_prefix(account.provider.as_str())?.strip_prefix('/')?;
        let deployed = account.api.deployed(name);
        (account.serves.is_some() || deployed.is_some())
            .then(|| format!("{}/{}", account.whose(), deployed.unwrap_or(name)))
    };
    account.and_then(own).unwrap_or_else(|| model.to_owned())
}

/// Why an account's models are refused here, where a variable may mean another address for them.
pub(super) fn rivalled(account: &Account) -> Option<String> {
    let rival = account.rival.as_ref()?;
    let set_up =
        if account.has_key { format!("`{}` is set", account.key_env) } else { "it needs no key".to_owned() };
    Some(format!("{set_up}, and so is `{rival}`; its models are refused until one address is named"))
}

/// Refuses an account that nobody can mean, or that has no key though one was named for it.
pub(super) fn check(account: &Account) -> Result<(), AppError> {
    if let Some(why) = rivalled(account) {
        let what = format!("`{}`", account.provider);
        return Err(EngineError::BadSpec { code: "provider-ambiguous", what, why }.into());
    }
    match account.lacks_key() && account.key_named {
        true => Err(account.no_key().into()),
        false => Ok(()),
    }
}
