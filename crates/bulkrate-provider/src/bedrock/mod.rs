//! AWS Bedrock: Converse in the sync and flex lanes, model invocation jobs over S3 in the batch lane. Where an account says so, Claude is
//! asked in its maker's own words instead, in all of them.
//!
//! There is a host for calls, one for jobs and one for files. Behind a base URL that is given, all three are one.

pub mod batch;
pub mod errors;
mod remote;
mod s3;
pub mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;

use crate::api::{ApiError, BatchApi, CallApi, Exchange, Facts, Health, Provider, Unlisted, Wire};
use crate::aws::{Chain, Profile, Service, Signer, Variables};
use crate::http::Account;
use crate::http::free::FreeClient;
use crate::http::paid::calls;
use crate::http::tiers::TieredCalls;
use crate::registry::{OpenError, Preset};
use crate::settings::{Secret, Settings};

use batch::{BedrockBatches, Stored};
use wire::BedrockWire;

/// What asks for the cheap tier where the body does not.
const FLEX_HEADERS: [(&str, &str); 1] = [("x-amzn-bedrock-service-tier", "flex")];

/// One account in one region.
#[derive(Debug)]
pub struct Bedrock {
    wire: Arc<BedrockWire>,
    paid: TieredCalls,
    /// Of jobs and models.
    control: Arc<FreeClient>,
    /// Where a role and a place for the files of batches are named.
    batches: Option<BedrockBatches>,
    region: Option<String>,
    /// The profile that is named, by the settings or by its variable.
    profile: Option<String>,
    signs: bool,
}

/// What all hosts of an account have in common.
struct Place<'s> {
    settings: &'s Settings,
    region: String,
    chain: Arc<Chain>,
}

impl Place<'_> {
    /// The account as one host of it sees it. A key of the service's own takes the place of signatures where it is known.
    fn account(&self, service: Service, host: &str) -> Result<Account, OpenError> {
        let usual = format!("https://{host}.{}.amazonaws.com", self.region);
        let mut settings = self.settings.clone();
        if service == Service::S3 {
            settings.api_key = Secret::default();
        }
        let account = Account::new(Some(&usual), Bedrock::PRESET.name, &settings)?;
        if !settings.api_key.is_empty() || !signs(&settings) {
            return Ok(account);
        }
        let (chain, region) = (Arc::clone(&self.chain), self.region.clone());
        Ok(account.signed_by(Arc::new(Signer { chain, region, service })))
    }
}

impl Bedrock {
    pub const PRESET: Preset = Preset {
        name: "bedrock",
        base_url: Some("https://bedrock-runtime.REGION.amazonaws.com"),
        key_env: "AWS_BEARER_TOKEN_BEDROCK",
        facts: Facts { flex: true, unlisted: Unlisted::Priced, needs_key: false, caches_unmarked: false },
        variables: crate::aws::VARIABLES,
        found: "the machine's AWS credentials",
        storage: "s3://bucket/prefix",
        versions: &[],
    };

    /// Sends nothing.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        Self::on(settings, None)
    }

    /// Over a line that is given instead of connections, for simulated worlds. Nothing is signed there.
    pub fn over(settings: &Settings, line: &Arc<dyn Exchange>) -> Result<Self, OpenError> {
        Self::on(settings, Some(line))
    }

    fn on(settings: &Settings, line: Option<&Arc<dyn Exchange>>) -> Result<Self, OpenError> {
        let region = region(settings);
        // Nothing is sent without one: `ready` says so before.
        let named = region.clone().unwrap_or_else(|| "no-region".to_owned());
        let chain = Arc::new(Chain::new(settings, &named));
        let place = Place { settings, region: named, chain };
        let account = place.account(Service::Bedrock, "bedrock-runtime")?;
        let jobs = place.account(Service::Bedrock, "bedrock")?;
        let paid = TieredCalls::new(line, &account, &FLEX_HEADERS, settings)?;
        let control = Arc::new(FreeClient::on(line, jobs.clone(), settings, errors::classify)?);
        let wire = Arc::new(BedrockWire::new(account, settings));
        let batches = match stored(settings) {
            None => None,
            Some(stored) => {
                let account = place.account(Service::S3, "s3")?;
                let objects = FreeClient::on(line, account, settings, s3::classify)?;
                let clients = (Arc::clone(&control), objects);
                let jobs = calls(line, jobs, &[], settings)?;
                Some(BedrockBatches::new(Arc::clone(&wire), jobs, clients, stored, settings))
            }
        };
        let signs = signs(settings) || !settings.api_key.is_empty();
        Ok(Self { wire, paid, control, batches, region, profile: profile(settings), signs })
    }
}

/// The role and the place of batches, where both are named.
fn stored(settings: &Settings) -> Option<Stored> {
    let said = |text: &Option<String>| {
        text.clone().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let (role, place) = (said(&settings.role_arn)?, said(&settings.storage)?);
    Some(Stored { role, place: place.trim_end_matches('/').to_owned() })
}

/// As the settings, the environment or the profile say.
fn region(settings: &Settings) -> Option<String> {
    let variables = Variables(settings.variables.clone());
    let variable = |name: &str| variables.get(name).map(str::to_owned);
    let of_profile =
        || Profile::find(&variables, settings.profile.as_deref()).get("region").map(str::to_owned);
    let named = settings.region.clone().filter(|region| !region.trim().is_empty());
    named.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION")).or_else(of_profile)
}

/// Whether what has no key is signed. A server of the user's own gets signatures of the profile that was named for it, and no others.
fn signs(settings: &Settings) -> bool {
    !settings.own_server || settings.profile.is_some()
}

/// The name of the profile that credentials are taken from: none where they stand in the environment.
fn profile(settings: &Settings) -> Option<String> {
    let variable = |name: &str| settings.variables.get(name).map(|value| value.expose().to_owned());
    let of_environment = || variable("AWS_PROFILE").filter(|_| variable("AWS_ACCESS_KEY_ID").is_none());
    settings.profile.clone().or_else(of_environment).filter(|name| !name.is_empty())
}

#[async_trait]
impl Provider for Bedrock {
    fn name(&self) -> &'static str {
        Self::PRESET.name
    }

    fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    fn calls(&self) -> Option<&dyn CallApi> {
        Some(&self.paid)
    }

    fn batches(&self) -> Option<&dyn BatchApi> {
        self.batches.as_ref().map(|batches| batches as &dyn BatchApi)
    }

    fn facts(&self) -> Facts {
        Self::PRESET.facts
    }

    fn signs(&self) -> bool {
        self.signs
    }

    fn place(&self) -> Option<String> {
        let said = |text: &Option<String>| text.clone().unwrap_or_default();
        Some(format!("{}/{}", said(&self.region), said(&self.profile)))
    }

    fn batches_need(&self) -> Option<&'static str> {
        self.batches().is_none().then_some("`storage`, a bucket (`--storage s3://bucket/prefix`), and `role_arn`, the role that reads it (`--role-arn`)")
    }

    fn ready(&self) -> Result<(), String> {
        match &self.region {
            None => Err("no region is named: set `region` in the job file, or `AWS_REGION`".to_owned()),
            Some(region) if !is_region(region) => {
                Err(format!("`{region}` is no region of AWS; they are written as `us-east-1`"))
            }
            Some(_) => self.batches.as_ref().map_or(Ok(()), BedrockBatches::ready),
        }
    }

    /// One free call: the models. Credentials that may not list them are good all the same.
    async fn probe(&self) -> Result<Health, ApiError> {
        const WHAT: &str = "list models";
        if let Err(why) = self.ready() {
            return Err(self.control.error(WHAT, None, bulkrate_core::failure::FailureClass::Auth, &why));
        }
        let reply = match self.control.send(WHAT, Method::GET, "/foundation-models", &[403]).await? {
            reply if reply.status == 403 && errors::denies_this(&reply) => reply,
            reply => self.control.accept(WHAT, reply, &[])?,
        };
        let models = wire::models_listed(&reply.body);
        Ok(Health { batches: self.batches().is_some(), ..Health::said_by(&reply, models) })
    }
}

/// Letters, digits and hyphens: it becomes a part of a host's name.
fn is_region(region: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    region.contains('-') && region.bytes().all(plain)
}
