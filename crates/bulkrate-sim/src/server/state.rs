//! Everything one simulated account knows.

use crate::api::prompt_cache::PromptCache;
use crate::api::{Context, Schemas, Twist};
use crate::batches::Batches;
use crate::bedrock::jobs::Tokens;
use crate::bill::Bill;
use crate::catalogue::Catalogue;
use crate::clock::{Clock, VirtualMs};
use crate::config::{SimConfig, SimError, Speaks};
use crate::faults::{Fault, Faults, Place};
use crate::files::Files;
use crate::like::{Like, Manners, Sells};
use crate::limits::Limits;
use crate::message_batches::MessageBatches;
use crate::rng::Keys;
use crate::uploads::Uploads;
use crate::vertex;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: SimConfig,
    /// The service to be instead of OpenAI.
    pub(crate) like: Option<&'static Like>,
    pub(crate) clock: Clock,
    pub(crate) models: Catalogue,
    pub(crate) bill: Bill,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) keys: Keys,
    pub(crate) schemas: Schemas,
    pub(crate) prompt_cache: PromptCache,
    pub(crate) files: Files,
    pub(crate) uploads: Uploads,
    pub(crate) access: vertex::Tokens,
    pub(crate) sessions: vertex::Sessions,
    pub(crate) loads: vertex::Loads,
    pub(crate) batches: Batches,
    /// What creates of AWS's jobs are known by.
    pub(crate) tokens: Tokens,
    pub(crate) message_batches: MessageBatches,
    pub(crate) counts: Counts,
    pub(crate) stop: CancellationToken,
    presence: Mutex<Presence>,
    /// Virtual end of what lasts a while once it has struck.
    dark_until: Mutex<Vec<(Fault, u64)>>,
}

/// Whether the account listens.
#[derive(Debug, Default)]
struct Presence {
    generation: CancellationToken,
    vanish_for: Duration,
}

impl State {
    pub(crate) fn new(config: SimConfig) -> Result<Self, SimError> {
        check(&config)?;
        let clock = Clock::new(config.start_unix, config.speed);
        let like = config.like.as_deref().map(service).transpose()?;
        let sells = match (config.speaks, like) {
            (Speaks::Anthropic, _) => Sells::Of("anthropic"),
            (Speaks::Gemini, _) => Sells::Of("gemini"),
            (Speaks::Bedrock, _) => Sells::Of("bedrock"),
            (Speaks::Vertex, _) => Sells::Of("vertex"),
            (Speaks::OpenAi, Some(like)) => like.sells,
            (Speaks::OpenAi, None) => Sells::Of("openai"),
        };
        let mut models =
            Catalogue::load(config.prices.as_deref(), &today(clock.now()), config.any_model, sells)?;
        models.denied.clone_from(&config.denied);
        models.hides_denied = like.is_some();
        if like.and_then(|like| like.manners).is_some_and(Manners::deploys) {
            models.deploy(&config.deployments)?;
        }
        Ok(Self {
            bill: Bill::default(),
            limits: Limits::new(config.rpm, config.tpm, models.models.len()),
            faults: Faults::new(&config.faults, config.fault_seed),
            keys: Keys::new(config.seed),
            schemas: Schemas::default(),
            prompt_cache: PromptCache::default(),
            files: Files::default(),
            uploads: Uploads::default(),
            access: vertex::Tokens::default(),
            sessions: vertex::Sessions::default(),
            loads: vertex::Loads::default(),
            batches: Batches::default(),
            tokens: Tokens::default(),
            message_batches: MessageBatches::default(),
            counts: Counts::default(),
            stop: CancellationToken::new(),
            presence: Mutex::default(),
            like,
            dark_until: Mutex::default(),
            clock,
            models,
            config,
        })
    }

    /// What the service does in a shape of its own.
    pub(crate) fn manners(&self) -> Option<&'static dyn Manners> {
        self.like.and_then(|like| like.manners)
    }

    /// A new id of a batch.
    pub(crate) fn batch_id(&self) -> String {
        let hex = self.keys.id("", 32, true);
        self.manners().map_or_else(|| format!("batch_{hex}"), |manners| manners.batch_id(&hex))
    }

    /// What an answer is made with.
    /// `wait`: until the answer begins.
    pub(crate) fn context(&self, key: u64, at_ms: VirtualMs, twist: Twist, wait: Duration) -> Context<'_> {
        let Self { config, schemas, prompt_cache, .. } = self;
        let filters = self.manners().is_some_and(Manners::filters);
        Context { filters, config, schemas, prompt_cache, key, at_ms, twist, wait }
    }

    /// Does something besides the calls, until it is done or the simulator stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Carries out a create that was slow on its way.
    pub(crate) fn spawn_late(self: &Arc<Self>, create: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let at = self.clock.now_ms() + crate::clock::ms(self.config.late_secs);
        let state = self.clone();
        self.spawn(async move {
            state.clock.sleep_until(at).await;
            create(&state);
        });
    }

    pub(super) fn set_generation(&self, generation: CancellationToken) {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner).generation = generation;
    }

    pub(super) fn vanish_for(&self) -> Duration {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner).vanish_for
    }

    /// Whether a fault that lasts is on: it begins with the call that it strikes and ends after its amount of `unit_secs`.
    pub(super) fn dark(&self, fault: Fault, place: Place, usual_secs: f64, unit_secs: f64) -> bool {
        if !self.faults.has(fault) {
            return false;
        }
        let (now, mut lasting) =
            (self.clock.now_ms(), self.dark_until.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(hit) = self.faults.call(fault, place) {
            let secs = hit.amount.map_or(usual_secs, |amount| amount * unit_secs);
            lasting.push((fault, now + crate::clock::ms(secs)));
        }
        lasting.iter().any(|(lasts, until)| *lasts == fault && now < *until)
    }

    /// Closes the listener and every connection for a while.
    pub(super) fn vanish(&self, secs: f64) {
        let mut presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner);
        presence.vanish_for = Duration::from_secs_f64(secs.clamp(0.0, 86_400.0));
        presence.generation.cancel();
    }
}

fn service(name: &str) -> Result<&'static Like, SimError> {
    Like::find(name).ok_or_else(|| SimError::Service { name: name.to_owned(), known: Like::names() })
}

fn check(config: &SimConfig) -> Result<(), SimError> {
    let bad = |name, value: f64, needs| Err(SimError::Setting { name, value: value.to_string(), needs });
    if !(config.speed.is_finite() && config.speed > 0.0 && config.speed <= 1e9) {
        return bad("speed", config.speed, "above 0 and at most 1e9");
    }
    let own = matches!(config.speaks, Speaks::Anthropic | Speaks::Gemini | Speaks::Vertex | Speaks::Bedrock);
    if let (true, Some(like)) = (own, &config.like) {
        let needs = "left out: only OpenAI has others like it";
        return Err(SimError::Setting { name: "like", value: like.clone(), needs });
    }
    let spans = [
        ("latency_ms", config.latency_ms),
        ("latency_sigma", config.latency_sigma),
        ("validating_secs", config.validating_secs),
        ("run_secs", config.run_secs),
        ("finalizing_secs", config.finalizing_secs),
        ("cancel_secs", config.cancel_secs),
        ("list_lag_secs", config.list_lag_secs),
        ("late_secs", config.late_secs),
    ];
    for (name, value) in spans {
        if !(0.0..=1e9).contains(&value) {
            return bad(name, value, "from 0 to 1e9");
        }
    }
    for (name, share) in [("cached_share", config.cached_share), ("marked_hits", config.marked_hits)] {
        if !(0.0..=1.0).contains(&share) {
            return bad(name, share, "from 0 to 1");
        }
    }
    Ok(())
}

/// The ISO date of a time in UTC.
fn today(unix: u64) -> String {
    let at = i64::try_from(unix)
        .ok()
        .and_then(|secs| jiff::Timestamp::from_second(secs).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// Calls by path and status; status 0 is a call closed without an answer.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    calls: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Headers that tell what a call is to be read by, by call and value (Anthropic).
    headers: Mutex<BTreeMap<(&'static str, &'static str, String), u64>>,
}

impl Counts {
    pub(super) fn add(&self, label: &'static str, status: u16) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry((label, status)).or_default() += 1;
    }

    pub(super) fn add_header(&self, name: &'static str, label: &'static str, value: &str) {
        let key = (name, label, value.to_owned());
        *self.headers.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    pub(super) fn with_status(&self, status: u16) -> u64 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|((_, known), _)| *known == status).map(|(_, count)| count).sum()
    }

    pub(super) fn of(&self, path: &str) -> u64 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|((known, _), _)| *known == path).map(|(_, count)| count).sum()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_path = serde_json::Map::new();
        for ((label, status), count) in calls.iter() {
            let entry = by_path.entry(*label).or_insert_with(|| serde_json::json!({}));
            entry[status.to_string()] = (*count).into();
        }
        let mut said = serde_json::json!({"total": calls.values().sum::<u64>(), "by_path": by_path});
        for ((name, label, value), count) in
            self.headers.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            said["headers"][*name][*label][value] = (*count).into();
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso() {
        assert_eq!(today(0), "1970-01-01");
        assert_eq!(today(1_795_046_400), "2026-11-19");
    }

    #[test]
    fn nonsense_settings_are_refused() {
        for config in [
            SimConfig { speed: 0.0, ..SimConfig::default() },
            SimConfig { speed: f64::NAN, ..SimConfig::default() },
            SimConfig { run_secs: -1.0, ..SimConfig::default() },
            SimConfig { prices: Some("a,b\n".to_owned()), ..SimConfig::default() },
        ] {
            assert!(State::new(config).is_err());
        }
    }
}
