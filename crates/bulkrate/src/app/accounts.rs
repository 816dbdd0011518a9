//! Providers opened with the user's keys, and the settings an engine starts with.
//!
//! A key leaves only for an origin that the user named: the provider's own, a flag's, a variable's, or that of the job file
//! they chose to run. `bulkrate.toml`, which is picked up unasked, cannot name one.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::price::{Catalogue, ModelRow};
use bulkrate_engine::settings::{Account, BATCH_ITEMS_KEPT, Settings, local_runs};
use bulkrate_engine::spec::DeploymentSpec;
use bulkrate_provider::{ChatEndpoint, Deployed, Preset, Program, ProxyFrom, RetryPolicy, Secret};
use bulkrate_tokens::Tables;
use sha2::{Digest as _, Sha256};

use super::AppError;
use crate::config::ConfigError;
use crate::config::job_file::Provider;

const KEY_ENV: &str = "OPENAI_API_KEY";
const BASE_ENV: &str = "OPENAI_BASE_URL";
/// Ties the digest of a key to its use here; the digest tells accounts apart and never leaves the machine.
const SALT: &[u8] = b"bulkrate account v1\0";

/// Environment variables as a function, so that tests need not change the process.
pub type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A variable of the process, when it is set and not empty.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// How providers are reached: `[provider]` and what stands for it, and `[accounts.NAME]`.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// The state folder, below which what runs on this machine has its place.
    pub state: PathBuf,
    pub provider: Provider,
    pub accounts: BTreeMap<String, Provider>,
}

/// Lays the providers' own variables between flags and file: `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID`, and
/// `OPENAI_API_VERSION`, which is Azure's.
#[must_use]
pub fn with_env(flags: Provider, file: Provider, env: Env<'_>) -> Provider {
    let base_url = env(BASE_ENV);
    let from_env = Provider {
        base_url_by: flags
            .base_url
            .is_none()
            .then(|| base_url.as_ref().map(|_| BASE_ENV.to_owned()))
            .flatten(),
        base_url,
        organization: env("OPENAI_ORG_ID"),
        project: env("OPENAI_PROJECT_ID"),
        api_version: env("OPENAI_API_VERSION"),
        ..Provider::default()
    };
    flags.over(from_env).over(file)
}

/// A person waits for the answer of a free call: one more try, not six.
pub const IMPATIENT: RetryPolicy = RetryPolicy {
    tries: 2,
    wait_min: Duration::from_millis(200),
    wait_max: Duration::from_secs(1),
    try_timeout: Duration::from_secs(10),
};

/// Every account a job may use. Sends nothing.
pub fn open(
    reached: &Reached,
    connections_max: u32,
    retry: RetryPolicy,
    env: Env<'_>,
) -> Result<Vec<Account>, AppError> {
    let mut accounts = open_with(&reached.provider, connections_max, retry, env)?;
    for name in bulkrate_provider::programs() {
        accounts.push(offline(name, &reached.provider, Some(&reached.state))?);
    }
    for (name, own) in &reached.accounts {
        let serves = |program: &&str| own.provider.as_deref() == Some(program);
        if let Some(program) = bulkrate_provider::programs().find(serves) {
            check_name(name)?;
            let account = offline(program, own, Some(&reached.state))?;
            accounts.push(Account {
                provider: name.clone(),
                serves: Some(account.provider.clone()),
                ..account
            });
            continue;
        }
        let account = named_account(name, own, connections_max, retry, env)?;
        if own.base_url.is_none() && reached.provider.base_url.is_some() {
            let hint = "give it a `base_url` of its own, or take the other away";
            let what = "a base URL stands for everything here, and this account has none";
            return Err(ConfigError::option(&format!("accounts.{name}"), what, Some(hint)).into());
        }
        accounts.push(account);
    }
    Ok(accounts)
}

/// An account with a name of the user's own. Nothing of other accounts is taken for it: a server of its own is given the key
/// that its `key_env` names or signatures of its `profile`, and none without.
fn named_account(
    name: &str,
    own: &Provider,
    connections_max: u32,
    retry: RetryPolicy,
    env: Env<'_>,
) -> Result<Account, AppError> {
    check_name(name)?;
    let Some(serves) = own.provider.as_deref() else {
        let hint = "say whose API it is: `provider = \"openai\"`";
        return Err(ConfigError::option(&format!("accounts.{name}"), "no provider", Some(hint)).into());
    };
    let preset = bulkrate_provider::presets().find(|preset| preset.name == serves);
    let key_env =
        own.key_env.clone().unwrap_or_else(|| preset.map_or(KEY_ENV, |preset| preset.key_env).to_owned());
    // Where everybody has an address of his own, it is no other server's.
    let addressed = preset.is_some_and(|preset| preset.base_url.is_none());
    let custom = own.base_url.is_some() && !addressed;
    let key = if custom && own.key_env.is_none() { None } else { env(&key_env) };
    let mut settings = settings(own, &key.unwrap_or_default(), connections_max);
    settings.variables = preset.as_ref().map(|preset| variables(preset, env)).unwrap_or_default();
    if let Some(preset) = preset.filter(|_| addressed) {
        settings.base_url = settings.base_url.or_else(|| env(&preset.base_env()));
        if settings.base_url.is_none() {
            let hint = format!("set `base_url` to the address of your resource, or `{}`", preset.base_env());
            return Err(ConfigError::option(&format!("accounts.{name}"), "no address", Some(&hint)).into());
        }
    }
    let settings = bulkrate_provider::Settings { retry, own_server: custom, ..settings };
    let account = account(serves, &settings, custom, &key_env)?;
    let key_named = own.key_env.is_some();
    Ok(Account { provider: name.to_owned(), serves: Some(serves.to_owned()), key_named, ..account })
}

/// A name of the user's own that is no provider's.
fn check_name(name: &str) -> Result<(), AppError> {
    let refused = |what: &str, hint: &str| {
        Err(ConfigError::option(&format!("accounts.{name}"), what, Some(hint)).into())
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return refused("not a name", "letters, digits, `-` and `_`: it stands before the slash of a model");
    }
    if bulkrate_provider::names().iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return refused("a provider has this name", "give the account a name of its own");
    }
    Ok(())
}

/// A program of this machine. It is reached by no address and no key, so none stands for it. Starts nothing.
pub fn offline(name: &str, from: &Provider, state: Option<&Path>) -> Result<Account, AppError> {
    let usual = Program::default();
    let program = Program {
        command: from.vllm_command.clone().unwrap_or(usual.command),
        args: from.vllm_args.clone().unwrap_or(usual.args),
        folder: state.map(local_runs),
    };
    let structured_outputs = from.structured_outputs.unwrap_or(true);
    let settings =
        bulkrate_provider::Settings { program, structured_outputs, ..bulkrate_provider::Settings::default() };
    account(name, &settings, false, "")
}

/// As [`open`], with another patience for free calls.
pub fn open_with(
    provider: &Provider,
    connections_max: u32,
    retry: RetryPolicy,
    env: Env<'_>,
) -> Result<Vec<Account>, AppError> {
    let key_env = provider.key_env.clone().unwrap_or_else(|| KEY_ENV.to_owned());
    let key = env(&key_env).unwrap_or_default();
    let settings = bulkrate_provider::Settings { retry, ..settings(provider, &key, connections_max) };
    let custom = provider.base_url.is_some();
    let key_named = provider.key_env.is_some();
    let own = |name| Ok(Account { key_named, ..account(name, &settings, custom, &key_env)? });
    let mut accounts: Vec<Account> =
        bulkrate_provider::by_settings(custom).map(own).collect::<Result<_, AppError>>()?;
    for preset in bulkrate_provider::presets() {
        if let Some(settings) = preset_settings(&preset, provider, connections_max, env) {
            let settings = bulkrate_provider::Settings { retry, ..settings };
            let rival = provider.base_url_by.clone().filter(|_| settings.base_url.is_none());
            let account = account(preset.name, &settings, false, preset.key_env)?;
            accounts.push(Account { rival, ..account });
        }
    }
    Ok(accounts)
}

fn account(
    name: &str,
    settings: &bulkrate_provider::Settings,
    custom: bool,
    key_env: &str,
) -> Result<Account, AppError> {
    let key = settings.api_key.expose();
    let api = bulkrate_provider::open(name, settings)?;
    // Keys that are found on a machine change by the hour; whose they are does not.
    let whose = if api.signs() { "" } else { key };
    Ok(Account {
        provider: name.to_owned(),
        serves: None,
        id: account_id(name, settings, whose, api.place().as_deref()),
        api,
        custom,
        key_env: key_env.to_owned(),
        has_key: !key.is_empty(),
        key_named: false,
        rival: None,
    })
}

/// How a service is reached; `None` where it is not set up. A base URL that stands for everything takes all that has no address of
/// its own: who rehearses with one never pays by another way. One from [`BASE_ENV`] may have been set for OpenAI's models alone,
/// so a service that could be reached without it has a rival there.
fn preset_settings(
    preset: &Preset,
    provider: &Provider,
    connections_max: u32,
    env: Env<'_>,
) -> Option<bulkrate_provider::Settings> {
    let (own_base, key) = (env(&preset.base_env()), env(preset.key_env));
    let set_up = own_base.is_some()
        || (provider.base_url.is_none() || provider.base_url_by.is_some())
            && preset.base_url.is_some()
            && (key.is_some() || !preset.facts.needs_key);
    let mut own = settings(provider, &key.unwrap_or_default(), connections_max);
    own.base_url = own_base;
    own.variables = variables(preset, env);
    // What belongs to OpenAI's account, or to a gateway that the user named, goes nowhere else.
    own.organization = None;
    own.project = None;
    own.extra_headers = Vec::new();
    own.api_version = own.api_version.filter(|version| preset.has_version(version));
    set_up.then_some(own)
}

/// What is set of the variables that a service's own tools look at.
fn variables(preset: &Preset, env: Env<'_>) -> BTreeMap<String, Secret> {
    let set = |name: &&str| Some(((*name).to_owned(), Secret::new(&env(name)?)));
    preset.variables.iter().filter_map(set).collect()
}

fn settings(from: &Provider, key: &str, connections_max: u32) -> bulkrate_provider::Settings {
    let usual = bulkrate_provider::Settings::default();
    let headers = from.headers.clone().unwrap_or_default();
    bulkrate_provider::Settings {
        base_url: from.base_url.clone(),
        api_key: Secret::new(key),
        organization: from.organization.clone(),
        project: from.project.clone(),
        extra_headers: headers.into_iter().map(|(name, value)| (name, Secret::new(&value))).collect(),
        proxy: match from.proxy.as_deref() {
            None => ProxyFrom::Environment,
            Some("none") => ProxyFrom::None,
            Some(url) => ProxyFrom::Url(Secret::new(url)),
        },
        ca_file: from.ca_file.clone(),
        cost_header: from.cost_header.clone(),
        trust_body_cost: from.trust_body_cost.unwrap_or(usual.trust_body_cost),
        jitter_seed: random(),
        connections_max: usize::try_from(connections_max).unwrap_or(usual.connections_max).max(1),
        chat_endpoint: if from.responses_api == Some(true) {
            ChatEndpoint::Responses
        } else {
            ChatEndpoint::ChatCompletions
        },
        structured_outputs: from.structured_outputs.unwrap_or(usual.structured_outputs),
        exclusive_workspace: from.exclusive_workspace.unwrap_or(usual.exclusive_workspace),
        betas: from.betas.clone().unwrap_or_default(),
        api_version: from.api_version.clone(),
        deployments: from
            .deployments
            .iter()
            .flatten()
            .map(|(name, of)| (name.clone(), deployed(of)))
            .collect(),
        region: from.region.clone(),
        profile: from.profile.clone(),
        role_arn: from.role_arn.clone(),
        storage: from.storage.clone(),
        model_invocation_type: from.model_invocation_type.unwrap_or_default(),
        ..usual
    }
}

fn deployed(of: &DeploymentSpec) -> Deployed {
    match of.clone() {
        DeploymentSpec::Model(model) => Deployed { model, batch: None },
        DeploymentSpec::Lanes { model, batch } => Deployed { model, batch: Some(batch) },
    }
}

/// 32 hexadecimal digits: what limits and bills attach to. Another key is another account, and so is another `place`.
fn account_id(
    provider: &str,
    settings: &bulkrate_provider::Settings,
    key: &str,
    place: Option<&str>,
) -> String {
    let mut hash = Sha256::new();
    hash.update(SALT);
    let base = settings.base_url.as_deref().unwrap_or("").trim_end_matches('/');
    let parts = [
        provider,
        base,
        settings.organization.as_deref().unwrap_or(""),
        settings.project.as_deref().unwrap_or(""),
    ];
    let aws = [&settings.region, &settings.profile, &settings.role_arn];
    // Accounts that say none of it keep the ids that they had before it could be said.
    let aws = aws.into_iter().flatten().map(String::as_str).chain(place);
    for part in parts.into_iter().chain([key.trim()]).chain(aws) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The bundled catalogue, and the user's table over it.
pub fn catalogue(prices: Option<&Path>) -> Result<Catalogue, AppError> {
    let bundled = Catalogue::bundled();
    let Some(path) = prices else { return Ok(bundled) };
    Ok(bundled.with_overrides(price_rows(path)?))
}

fn price_rows(path: &Path) -> Result<Vec<ModelRow>, AppError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        what: "the price table",
        path: path.to_owned(),
        source,
    })?;
    let table = Catalogue::parse(&text)
        .map_err(|source| AppError::Prices { path: path.display().to_string(), source })?;
    Ok(table.rows().to_vec())
}

/// What an engine in `state_dir` starts with.
#[must_use]
pub fn engine_settings(state_dir: PathBuf, catalogue: Catalogue, accounts: Vec<Account>) -> Settings {
    Settings {
        state_dir,
        catalogue: Arc::new(catalogue),
        accounts,
        tables: Arc::new(Tables),
        seed: random(),
        batch_items_kept: BATCH_ITEMS_KEPT,
    }
}

/// 64 bits from the system: the standard library seeds every hasher with them.
fn random() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn at(url: &str) -> Provider {
        Provider { base_url: Some(url.to_owned()), ..Provider::default() }
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_that_over_the_file() {
        let env = |name: &str| (name == "OPENAI_BASE_URL").then(|| "http://env/v1".to_owned());
        let none = |_: &str| None;
        for (flags, env, file, want) in [
            (at("http://flag/v1"), &env as Env<'_>, at("http://file/v1"), Some("http://flag/v1")),
            (Provider::default(), &env, at("http://file/v1"), Some("http://env/v1")),
            (Provider::default(), &none, at("http://file/v1"), Some("http://file/v1")),
            (Provider::default(), &none, Provider::default(), None),
        ] {
            assert_eq!(with_env(flags, file, env).base_url.as_deref(), want);
        }
    }

    #[test]
    fn accounts_differ_by_all_that_bills_differ_by() {
        let id = |provider: &Provider, key: &str| {
            let env = |name: &str| (name == KEY_ENV).then(|| key.to_owned());
            open_with(provider, 10, RetryPolicy::default(), &env).unwrap()[0].id.clone()
        };
        let project = Provider { project: Some("p".to_owned()), ..at("http://127.0.0.1:1/v1") };
        let base = id(&at("http://127.0.0.1:1/v1"), "sk-a");
        assert_eq!(base.len(), 32);
        assert_eq!(base, id(&at("http://127.0.0.1:1/v1/"), " sk-a\n"));
        let others = [
            id(&at("http://127.0.0.1:1/v1"), "sk-b"),
            id(&at("http://127.0.0.1:2/v1"), "sk-a"),
            id(&project, "sk-a"),
        ];
        for other in others {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn accounts_differ_by_the_place_that_variables_name_and_others_keep_their_ids() {
        let id = |name: &str, variables: &[(&str, &str)]| {
            let env = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let accounts = open_with(&Provider::default(), 10, RetryPolicy::default(), &env).unwrap();
            accounts.into_iter().find(|account| account.provider == name).unwrap().id
        };
        let vertex = |project, location| {
            let base = ("VERTEX_BASE_URL", "http://127.0.0.1:1");
            id("vertex", &[base, ("GOOGLE_CLOUD_PROJECT", project), ("GOOGLE_CLOUD_LOCATION", location)])
        };
        assert_eq!(vertex("p", "us-central1"), vertex("p", "us-central1"));
        assert_ne!(vertex("p", "us-central1"), vertex("p", "europe-west4"));
        assert_ne!(vertex("p", "us-central1"), vertex("q", "us-central1"));
        let bedrock = |more: &[(&str, &str)]| {
            id("bedrock", &[&[("BEDROCK_BASE_URL", "http://127.0.0.1:1")], more].concat())
        };
        let at = |region| bedrock(&[("AWS_REGION", region)]);
        assert_ne!(at("us-east-1"), at("us-west-2"));
        assert_eq!(at("us-east-1"), bedrock(&[("AWS_DEFAULT_REGION", "us-east-1")]));
        assert_ne!(at("us-east-1"), bedrock(&[("AWS_REGION", "us-east-1"), ("AWS_PROFILE", "work")]));
        // As it was before places were told apart: batches that are open are found again.
        assert_eq!(id("openai", &[(KEY_ENV, "sk-a")]), "fcecd2a0769d0a2f002aafd6b7651ebc");
    }

    #[test]
    fn nothing_that_is_found_here_signs_for_a_server_of_ones_own() {
        let signs = |serves: &str, key_env: Option<&str>, profile: Option<&str>| {
            let own = Provider {
                provider: Some(serves.to_owned()),
                key_env: key_env.map(str::to_owned),
                profile: profile.map(str::to_owned),
                region: Some("us-east-1".to_owned()),
                ..at("http://127.0.0.1:1")
            };
            let env = |_: &str| Some("found".to_owned());
            named_account("own", &own, 10, RetryPolicy::default(), &env).unwrap().api.signs()
        };
        assert!(!signs("vertex", None, None) && !signs("bedrock", None, None));
        assert!(signs("vertex", Some("OWN_KEY"), None) && signs("bedrock", None, Some("own")));
    }

    #[test]
    fn a_version_that_is_set_for_all_is_that_of_the_service_that_has_it() {
        let anthropic = bulkrate_provider::presets().find(|preset| preset.name == "anthropic").unwrap();
        for (version, want) in
            [(Some("2026-10-21"), Some("2026-10-21")), (Some("2024-10-21"), None), (None, None)]
        {
            let provider = Provider { api_version: version.map(str::to_owned), ..Provider::default() };
            let settings = preset_settings(&anthropic, &provider, 1, &|name| {
                (name == "ANTHROPIC_API_KEY").then(|| "sk".to_owned())
            });
            assert_eq!(settings.unwrap().api_version.as_deref(), want);
        }
    }

    #[test]
    fn only_a_custom_base_url_opens_the_compatible_names() {
        let none = |_: &str| None;
        let accounts = open_with(&at("http://127.0.0.1:1/v1"), 10, RetryPolicy::default(), &none).unwrap();
        let names: Vec<&str> = accounts.iter().map(|account| account.provider.as_str()).collect();
        assert_eq!(names, ["openai", "openai-compatible", "custom"]);
        assert!(
            accounts.iter().all(|account| account.custom && !account.has_key && account.key_env == KEY_ENV)
        );
    }
}
