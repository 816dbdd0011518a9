//! The places where a job's models can be called, with their prices and limits.

use std::sync::Arc;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::{PicoUsdPerToken, Tokens, UsdNanos};
use bulkrate_core::price::bound::bound;
use bulkrate_core::price::cost::prompt_cache_saving;
use bulkrate_core::price::row::Limits;
use bulkrate_core::price::{Catalogue, ModelRow, RequestShape, ResolveError};
use bulkrate_core::request::Kind;
use bulkrate_core::route::edit_distance;
use bulkrate_core::usage::Usage;
use bulkrate_provider::Unlisted;
use jiff::civil::Date;

use crate::EngineError;
use crate::settings::{Account, Settings};
use crate::spec::{JobSpec, RunSpec};

/// The endpoint of `Kind::Decision`, as the price catalogue names it.
const DECISIONS: &str = "/v1/decisions";

/// Who is asked, and in which lane; `None`: in whichever the item is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub place: usize,
    pub lane: Option<Lane>,
}

/// One model at one account.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    /// The pinned model as in the request key: `openai/gpt-6-luna`.
    pub pinned: String,
    /// The id to send.
    pub model: String,
    pub row: Arc<ModelRow>,
    /// What the model's chats cost, where it is asked for something else.
    pub chat: Option<Arc<ModelRow>>,
    pub account: Account,
    /// Whether any price is known.
    pub priced: bool,
}

impl Deployment {
    /// Finds what `name` stands for and who serves it.
    pub(crate) fn resolve(
        settings: &Settings,
        (run, kind): (&RunSpec, Kind),
        name: &str,
        today: Date,
    ) -> Result<Self, EngineError> {
        let found = Self::of_model(settings, run, name, today)?;
        match kind {
            Kind::Decision => found.of_decisions(settings, run, today),
            Kind::Chat | Kind::Embedding | Kind::Moderation | Kind::Image => Ok(found),
        }
    }

    /// The same at the price of the endpoint that decides.
    fn of_decisions(self, settings: &Settings, run: &RunSpec, today: Date) -> Result<Self, EngineError> {
        let row = &self.row;
        if row.source == "user" || run.price_in.is_some() {
            return Ok(self);
        }
        let listed = settings.catalogue.find_endpoint(&row.provider, &row.id, DECISIONS, today);
        let listed = listed.ok_or_else(|| {
            let deciders = settings.catalogue.rows().iter();
            let deciders = deciders.filter(|row| row.endpoint.as_deref() == Some(DECISIONS));
            let known: Vec<String> = deciders.map(|row| format!("`{}`", row.qualified)).collect();
            EngineError::BadSpec {
                code: "model-unpriced",
                what: format!("model `{}` has no price for `{DECISIONS}`", self.pinned),
                why: format!(
                    "the price catalogue has one for {}; take that, or leave out `--kind decision`",
                    known.join(", ")
                ),
            }
        })?;
        // What it writes is not charged, and no length of it is asked for.
        let limits = Limits { max_output: None, ..listed.limits };
        let row = ModelRow { limits, ..listed.clone() };
        let chat = Some(Arc::clone(&self.row));
        Ok(Self { chat, ..Self::new(self.pinned, self.model, row, self.account) })
    }

    fn of_model(settings: &Settings, run: &RunSpec, name: &str, today: Date) -> Result<Self, EngineError> {
        use ResolveError::{Ambiguous, Retired, Unknown};
        let own = own_name(settings, name, today);
        let full = own.as_deref().unwrap_or(name);
        let of = full.split_once('/').map_or("", |(provider, _)| provider);
        if let Some(account) = settings.accounts.iter().find(|account| account.provider == of) {
            meant(account, name)?;
        }
        if let Some((account, model)) = named(settings, full) {
            return Self::at(settings, run, full, (account, model), today);
        }
        let custom = settings.accounts.iter().find(|account| account.custom && account.serves.is_none());
        let listed = settings.catalogue.resolve_alive(full, today);
        let found = match (listed, preset(settings, name)) {
            (Err(Unknown { .. } | Ambiguous { .. }), Some(there)) => {
                return unlisted(settings, run, name, there);
            }
            (Err(Unknown { .. } | Ambiguous { .. } | Retired { .. }), _) if custom.is_some() => None,
            (Err(Unknown { .. }), _) if names_a_preset(name) => {
                return Err(not_set_up(name, name.split('/').next().unwrap_or(name)));
            }
            (other, _) => Some(other.map_err(|error| refused(error, name))?),
        };
        let (row, model, pinned) = match found {
            Some(found) => (
                found.row.clone(),
                found.model.to_owned(),
                format!("{}/{}", found.row.provider, found.pinned),
            ),
            None => {
                let account = custom.ok_or_else(|| EngineError::UnknownModel {
                    model: name.to_owned(),
                    nearest: Vec::new(),
                })?;
                if let Some(nearest) = misspelt(settings, name) {
                    return Err(EngineError::UnknownModel { model: name.to_owned(), nearest: vec![nearest] });
                }
                let model = name.strip_prefix(&format!("{}/", account.provider)).unwrap_or(name);
                (
                    custom_row(run, &account.provider, model)?,
                    model.to_owned(),
                    format!("{}/{model}", account.provider),
                )
            }
        };
        let account = settings
            .accounts
            .iter()
            .find(|account| account.provider == row.provider)
            .or(custom)
            .cloned()
            .ok_or_else(|| not_set_up(name, &row.provider))?;
        meant(&account, name)?;
        Ok(Self::new(pinned, model, overridden(run, row)?, account))
    }

    /// A model at an account with a name of its own: `work/gpt-6-luna`. It is pinned under that name, so that the same model at
    /// two accounts is two deployments, each with its limits, its batches and its line in the ledger. Where the names are those of
    /// deployments, they go out and are pinned as they are: two of one model are two.
    fn at(
        settings: &Settings,
        run: &RunSpec,
        name: &str,
        (account, model): (&Account, &str),
        today: Date,
    ) -> Result<Self, EngineError> {
        let deployed = account.api.deployed(model);
        let served = deployed.unwrap_or(model);
        let there = format!("{}/{served}", account.whose());
        let (row, model, pinned) = match settings.catalogue.resolve_alive(&there, today) {
            Ok(found) if deployed.is_some() => (found.row.clone(), model.to_owned(), model.to_owned()),
            Ok(found) => (found.row.clone(), found.model.to_owned(), found.pinned.to_owned()),
            Err(ResolveError::Unknown { .. }) if account.custom => {
                (custom_row(run, &account.provider, model)?, model.to_owned(), model.to_owned())
            }
            Err(ResolveError::Unknown { .. }) if account.api.facts().unlisted != Unlisted::Refused => {
                return unlisted(settings, run, name, (account, model));
            }
            Err(error) => return Err(refused(error, name)),
        };
        let pinned = format!("{}/{pinned}", account.provider);
        Ok(Self::new(pinned, model, overridden(run, row)?, account.clone()))
    }

    fn new(pinned: String, model: String, row: ModelRow, account: Account) -> Self {
        let priced = row.sync.is_some() || row.batch.is_some() || row.flex.is_some();
        Self { pinned, model, row: Arc::new(row), chat: None, account, priced }
    }

    /// Every model a job names outright: the request's, the router's others, the rules', the fallbacks'.
    pub(crate) fn of_job(settings: &Settings, spec: &JobSpec, today: Date) -> Result<Vec<Self>, EngineError> {
        let mut all: Vec<Self> = Vec::new();
        let named = spec.request.models().map(String::as_str);
        for name in named.chain(spec.request.stand_ins().map(|(name, _)| name)) {
            let one = Self::resolve(settings, spec.asks(), name, today)?;
            if !all.iter().any(|known| known.pinned == one.pinned) {
                all.push(one);
            }
        }
        Ok(all)
    }

    /// Which of `all` the job's `fallback` names, in its order, and in which lanes.
    pub(crate) fn fallbacks(
        settings: &Settings,
        spec: &JobSpec,
        today: Date,
        all: &[Self],
    ) -> Result<Vec<Route>, EngineError> {
        let mut routes: Vec<Route> = Vec::new();
        for (name, lane) in spec.request.stand_ins() {
            let one = Self::resolve(settings, spec.asks(), name, today)?;
            let place = all.iter().position(|known| known.pinned == one.pinned);
            let route = place.map(|place| Route { place, lane });
            routes.extend(route.filter(|route| !routes.contains(route)));
        }
        Ok(routes)
    }

    /// Those of them that nothing else names: items come to them only while they stand in.
    pub(crate) fn stand_ins(
        settings: &Settings,
        spec: &JobSpec,
        today: Date,
        all: &[Self],
        fallbacks: &[Route],
    ) -> Result<Vec<usize>, EngineError> {
        let named = Self::places(settings, spec, today, all, spec.request.models())?;
        let mut only: Vec<usize> = fallbacks.iter().map(|route| route.place).collect();
        only.retain(|place| !named.contains(place));
        only.sort_unstable();
        only.dedup();
        // Lines name their models themselves: these are what they name.
        Ok(if only.len() == all.len() { Vec::new() } else { only })
    }

    /// Which of `all` these names are.
    pub(crate) fn places<'n>(
        settings: &Settings,
        spec: &JobSpec,
        today: Date,
        all: &[Self],
        names: impl Iterator<Item = &'n String>,
    ) -> Result<Vec<usize>, EngineError> {
        let mut places: Vec<usize> = Vec::new();
        for name in names {
            let one = Self::resolve(settings, spec.asks(), name, today)?;
            let place = all.iter().position(|known| known.pinned == one.pinned);
            places.extend(place.filter(|place| !places.contains(place)));
        }
        Ok(places)
    }

    /// The most one request can cost in `lane`; zero where nothing is priced.
    #[must_use]
    pub(crate) fn bound(&self, lane: Lane, shape: &RequestShape) -> Option<UsdNanos> {
        match self.row.rates(lane) {
            Some(rates) => bound(&self.row, rates, shape),
            None if self.priced => None,
            None => Some(UsdNanos::ZERO),
        }
    }

    /// What an answer cost in `lane`; `None` where no price is known or the sum is beyond the ledger.
    #[must_use]
    pub(crate) fn cost(&self, lane: Lane, usage: &Usage) -> Option<UsdNanos> {
        bulkrate_core::price::price(self.row.rates(lane)?, usage)
    }

    /// The same answer at the standard price, without a prompt cache.
    #[must_use]
    pub(crate) fn naive(&self, usage: &Usage) -> Option<UsdNanos> {
        self.cost(Lane::Sync, &usage.uncached())
    }

    /// What the prompt cache saved on an answer in `lane`; negative where more was written than read.
    #[must_use]
    pub(crate) fn prompt_cache_saved(&self, lane: Lane, usage: &Usage) -> Option<UsdNanos> {
        if !usage.touches_cache() {
            return Some(UsdNanos::ZERO);
        }
        Some(prompt_cache_saving(self.row.rates(lane)?, usage)?.saved)
    }

    #[must_use]
    pub(crate) fn max_output(&self) -> Option<Tokens> {
        self.row.limits.max_output
    }

    /// Why the lane cannot be used with this model; `None` when it can.
    #[must_use]
    pub(crate) fn unavailable(&self, lane: Lane) -> Option<String> {
        let api = &self.account.api;
        match lane {
            Lane::Sync => api.calls().is_none().then(|| format!("`{}` has no calls", api.name())),
            Lane::Batch if api.batches().is_none() => {
                // What is wrong with a setting, or that there is none, may be all that is missing.
                let needs = || api.batches_need().map(|needs| format!("its batches need {needs}"));
                let why = api.ready().err().or_else(needs).map_or_else(String::new, |why| format!(": {why}"));
                Some(format!("`{}` has no batch API here{why}", api.name()))
            }
            Lane::Batch if self.row.flags.batch == bulkrate_core::price::Support::No => {
                Some(format!("`{}` has no batch price", self.model))
            }
            Lane::Flex if !api.facts().flex && !self.account.custom => {
                Some(format!("`{}` has no flex lane", api.name()))
            }
            Lane::Batch | Lane::Flex if self.priced && self.row.rates(lane).is_none() => {
                Some(format!("`{}` has no {lane} price", self.model))
            }
            Lane::Flex if self.account.custom && self.row.source == "user" => {
                Some("flex is not known to exist at this base URL".to_owned())
            }
            Lane::Batch | Lane::Flex => None,
        }
    }
}

/// Refuses a model whose service can be reached by itself while a variable names another address for it: one of the two is paid
/// with the wrong key, and nothing here tells which.
fn meant(account: &Account, name: &str) -> Result<(), EngineError> {
    let Some(rival) = &account.rival else { return Ok(()) };
    let provider = &account.provider;
    let preset = bulkrate_provider::presets().find(|preset| preset.name == provider);
    let (own_env, own_url) =
        preset.map(|one| (one.base_env(), one.base_url.unwrap_or("its address"))).unwrap_or_default();
    let set_up = match account.has_key {
        true => format!("`{provider}` itself, as `{}` is set", account.key_env),
        false => format!("`{provider}` itself, which needs no key"),
    };
    Err(EngineError::BadSpec {
        code: "provider-ambiguous",
        what: format!("model `{name}`"),
        why: format!(
            "this may mean {set_up}, or the address in `{rival}`; for the first set `{own_env}={own_url}` or take `{rival}` away, \
             for the second give that address as `--base-url`"
        ),
    })
}

/// A bare name that several providers have is the one of the accounts that are set up.
fn own_name(settings: &Settings, name: &str, today: Date) -> Option<String> {
    if !matches!(settings.catalogue.resolve(name, today), Err(ResolveError::Ambiguous { .. })) {
        return None;
    }
    let full = |account: &Account| format!("{}/{name}", account.provider);
    let clear = settings.accounts.iter().filter(|account| account.rival.is_none());
    clear.map(full).find(|full| settings.catalogue.resolve(full, today).is_ok())
}

/// The account that `name/model` means, where the name is the user's own, or the model is called as its owner wished.
fn named<'s, 'n>(settings: &'s Settings, name: &'n str) -> Option<(&'s Account, &'n str)> {
    let (account, model) = name.split_once('/').filter(|(_, model)| !model.is_empty())?;
    let is_own = |one: &&Account| one.serves.is_some() || one.api.deployed(model).is_some();
    let found = settings.accounts.iter().find(|one| one.provider == account && is_own(one))?;
    Some((found, model))
}

/// `opnai/x`: one slip away from a provider that is set up. A server's own names (`meta-llama/...`) are further away.
fn misspelt(settings: &Settings, name: &str) -> Option<String> {
    let (provider, model) = name.split_once('/')?;
    let mut known = settings.accounts.iter().map(|account| account.provider.as_str());
    if known.clone().any(|known| known == provider) {
        return None;
    }
    let near = known.find(|known| known.len() >= 5 && is_near(provider, known))?;
    Some(format!("{near}/{model}"))
}

/// Whether one letter too many, missing, wrong or exchanged with its neighbour makes one of the other.
fn is_near(left: &str, right: &str) -> bool {
    edit_distance(left, right) == 1
}

fn names_a_preset(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(provider, _)| bulkrate_provider::presets().any(|preset| preset.name == provider))
}

/// The account that `provider/model` names, where the provider takes models that the catalogue does not list.
fn preset<'s, 'n>(settings: &'s Settings, name: &'n str) -> Option<(&'s Account, &'n str)> {
    let (provider, model) = name.split_once('/')?;
    let account = settings
        .accounts
        .iter()
        .find(|account| account.provider == provider && !account.custom && !model.is_empty())?;
    (account.api.facts().unlisted != Unlisted::Refused).then_some((account, model))
}

/// A model that only its provider knows. It has a price from the user, one that answers report, or none.
fn unlisted(
    settings: &Settings,
    run: &RunSpec,
    name: &str,
    (account, model): (&Account, &str),
) -> Result<Deployment, EngineError> {
    let (price_in, price_out) = given_prices(run)?;
    let free = Some(PicoUsdPerToken(0));
    let (price_in, price_out) = match (account.api.facts().unlisted, price_in) {
        (Unlisted::Free, None) => (free, free),
        (Unlisted::Refused | Unlisted::Priced, None) => {
            return Err(EngineError::BadSpec {
                code: "model-unpriced",
                what: format!("model `{name}`"),
                why: match account.api.deployed(model) {
                    Some(served) => unpriced_deployment(&account.provider, model, served),
                    None => format!(
                        "it is not in the price catalogue{}; give its price with `--price-in` and `--price-out`",
                        near(settings, account, name)
                    ),
                },
            });
        }
        _ => (price_in, price_out),
    };
    let row = ModelRow::custom(&account.provider, model, price_in, price_out);
    Ok(Deployment::new(format!("{}/{model}", account.provider), model.to_owned(), row, account.clone()))
}

/// Why a deployment has no price, and what to write.
fn unpriced_deployment(provider: &str, name: &str, served: &str) -> String {
    let prices = "or give its price with `--price-in` and `--price-out`";
    if served != name {
        return format!(
            "it is said to serve `{served}`, which is not in the price catalogue; see `bulkrate prices list azure`, {prices}"
        );
    }
    // A flag speaks for what has no name of the user's own.
    let (flag, section) = match bulkrate_provider::names().contains(&provider) {
        true => (format!("`--deployment {name}=MODEL`, or "), "[provider]".to_owned()),
        false => (String::new(), format!("[accounts.{provider}]")),
    };
    format!(
        "which model this deployment serves is not known; write {flag}`deployments = {{ \"{name}\" = \"MODEL\" }}` in `{section}` of the job file, {prices}"
    )
}

/// The provider's models with names like this one, for a message.
fn near(settings: &Settings, account: &Account, name: &str) -> String {
    let own = |found: &&str| found.starts_with(&format!("{}/", account.provider));
    match settings.catalogue.nearest(name).into_iter().find(own) {
        Some(found) => format!(" (did you mean `{found}`?)"),
        None => String::new(),
    }
}

/// The provider has a price list and no account here: for lack of a key, or because it cannot be spoken to.
fn not_set_up(name: &str, provider: &str) -> EngineError {
    match bulkrate_provider::presets().find(|preset| preset.name == provider) {
        Some(preset) if preset.base_url.is_none() => EngineError::BadSpec {
            code: "provider-not-set-up",
            what: format!("model `{name}`"),
            why: format!(
                "provider `{provider}` is not set up here; set `{}` and `{}`, or make an account in `[accounts.NAME]`",
                preset.base_env(),
                preset.key_env
            ),
        },
        Some(preset) => {
            EngineError::NoCredentials { provider: provider.to_owned(), key_env: preset.key_env.to_owned() }
        }
        None => EngineError::BadSpec {
            code: "provider-not-set-up",
            what: format!("model `{name}`"),
            why: format!("provider `{provider}` is not set up here"),
        },
    }
}

fn refused(error: ResolveError, name: &str) -> EngineError {
    match error {
        ResolveError::Retired { name, date, successor } => {
            EngineError::RetiredModel { model: name, date: date.to_string(), successor }
        }
        ResolveError::Unknown { nearest, .. } => {
            EngineError::UnknownModel { model: name.to_owned(), nearest }
        }
        ResolveError::Ambiguous { choices, .. } => {
            EngineError::UnknownModel { model: name.to_owned(), nearest: choices }
        }
        other => EngineError::BadSpec {
            code: "unknown-model",
            what: format!("model `{name}`"),
            why: other.to_string(),
        },
    }
}

fn custom_row(run: &RunSpec, provider: &str, model: &str) -> Result<ModelRow, EngineError> {
    let (price_in, price_out) = given_prices(run)?;
    Ok(ModelRow::custom(provider, model, price_in, price_out))
}

/// Prices given with the job win over the catalogue's.
fn overridden(run: &RunSpec, row: ModelRow) -> Result<ModelRow, EngineError> {
    let (price_in, price_out) = given_prices(run)?;
    if price_in.is_none() && price_out.is_none() {
        return Ok(row);
    }
    let priced = ModelRow::custom(&row.provider, &row.id, price_in, price_out);
    Ok(ModelRow { sync: priced.sync, batch: priced.batch, flex: priced.flex, ..row })
}

fn given_prices(run: &RunSpec) -> Result<(Option<PicoUsdPerToken>, Option<PicoUsdPerToken>), EngineError> {
    let read = |what: &str, text: &Option<String>| {
        text.as_deref().map(bulkrate_core::price::rates::usd_per_million).transpose().map_err(|error| {
            EngineError::BadSpec { code: "price-invalid", what: what.to_owned(), why: error.to_string() }
        })
    };
    match (read("--price-in", &run.price_in)?, read("--price-out", &run.price_out)?) {
        (Some(price), None) => Ok((Some(price), Some(PicoUsdPerToken(0)))),
        // What goes in would be free, and of decisions and embeddings all of it.
        (None, Some(_)) => Err(EngineError::BadSpec {
            code: "price-invalid",
            what: "--price-out".to_owned(),
            why: "it is given without `--price-in`; a price of 0 is fine".to_owned(),
        }),
        both => Ok(both),
    }
}

/// The catalogue's age and the model's retirement, where a person should know.
#[must_use]
pub(crate) fn warnings(catalogue: &Catalogue, deployments: &[Deployment], today: Date) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(days) = catalogue.stale_days(today).filter(|days| *days > 30) {
        warnings.push(format!(
            "the price catalogue is {days} days old; `bulkrate prices import FILE` brings newer prices"
        ));
    }
    for deployment in deployments {
        let row = &deployment.row;
        if let Some(date) = row.retirement.filter(|date| (*date - today).get_days() <= 60) {
            let next = row
                .successor
                .as_ref()
                .map(|next| format!("; its successor is `{}/{next}`", row.provider))
                .unwrap_or_default();
            warnings.push(format!("`{}` retires on {date}{next}", row.qualified));
        }
        if !deployment.priced {
            warnings.push(format!(
                "`{}` has no known price: the ledger will show what the provider reports, or nothing",
                deployment.pinned
            ));
        }
        if row.verification == "CONFLICT" {
            warnings.push(format!("sources disagree on the price of `{}`: {}", row.qualified, row.note));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn one_slip_is_near() {
        for (word, near) in [
            ("opnai", true),
            ("opeenai", true),
            ("opebai", true),
            ("oepnai", true),
            ("openia", true),
            ("openaix", true),
            ("penai", true),
            ("openrouter", false),
            ("opnia", false),
            ("ollama", false),
            ("", false),
        ] {
            assert_eq!(is_near(word, "openai"), near, "{word}");
        }
    }
}
