//! Google's Vertex AI: Gemini, Claude and open models at an address of the account's own, and batch prediction jobs from and to a bucket
//! or tables of BigQuery.
//!
//! Who asks is said by a token that ends, and so is renewed. Project and location stand before every path.

pub mod batch;
mod credentials;
mod remote;
mod shelf;
mod storage;
mod tables;
pub mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;

use crate::api::{ApiError, BatchApi, CallApi, Exchange, Facts, Health, Provider, Unlisted, Wire};
use crate::http::Account;
use crate::http::free::FreeClient;
use crate::http::sign::Sign;
use crate::http::tiers::TieredCalls;
use crate::http::tokens::{self, Tokens};
use crate::registry::{OpenError, Preset};
use crate::settings::{Secret, Settings};

use batch::VertexBatches;
use credentials::{Asks, Found};
use shelf::{BIGQUERY_HOST, Named, STORAGE_HOST};
use wire::{Batched, VertexWire};

/// Variables that Google's own tools look at.
const PROJECT: &str = "GOOGLE_CLOUD_PROJECT";
const LOCATION: &str = "GOOGLE_CLOUD_LOCATION";
const METADATA_HOST: &str = "GCE_METADATA_HOST";
const CONFIG: &str = "CLOUDSDK_CONFIG";
const HOME: &str = "HOME";
/// Where `gcloud auth application-default login` leaves its file, below its folder.
const SIGN_IN: &str = "application_default_credentials.json";
/// The location that is none, and the only one with a flex lane.
const GLOBAL: &str = "global";
/// What throughput was bought goes unused, and the shared one is used by its cheap tier.
const FLEX_HEADERS: [(&str, &str); 2] =
    [("x-vertex-ai-llm-request-type", "shared"), ("x-vertex-ai-llm-shared-request-type", "flex")];

/// One project at one location.
#[derive(Debug)]
pub struct Vertex {
    wire: Arc<VertexWire>,
    calls: TieredCalls,
    free: Arc<FreeClient>,
    batches: Option<VertexBatches>,
    place: Place,
    signs: bool,
    /// What is missing or wrong, before anything is sent.
    ready: Result<(), String>,
}

/// Whose calls run where.
#[derive(Debug, Clone)]
struct Place {
    project: String,
    location: String,
}

impl Vertex {
    pub const PRESET: Preset = Preset {
        name: "vertex",
        base_url: Some("https://aiplatform.googleapis.com"),
        key_env: "GOOGLE_APPLICATION_CREDENTIALS",
        facts: Facts { flex: true, unlisted: Unlisted::Priced, needs_key: true, caches_unmarked: true },
        variables: &[PROJECT, LOCATION, STORAGE_HOST, BIGQUERY_HOST, METADATA_HOST, CONFIG, HOME],
        found: "the machine's Google credentials",
        storage: "gs://bucket/folder",
        versions: &[],
    };

    /// Sends nothing. What is missing of the account is told by [`Provider::ready`]: credentials of Google's may be set for other ends.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        Self::on(settings, None)
    }

    /// Over a line that is given instead of connections, for simulated worlds: calls, jobs and files of a bucket.
    pub fn over(settings: &Settings, line: &Arc<dyn Exchange>) -> Result<Self, OpenError> {
        Self::on(settings, Some(line))
    }

    fn on(settings: &Settings, line: Option<&Arc<dyn Exchange>>) -> Result<Self, OpenError> {
        // A server of the user's own gets the tokens of the key that was named for it, and no others.
        let signs = !settings.own_server || !settings.api_key.is_empty();
        let (found, readable) = match credentials(settings) {
            Ok(found) => (found, Ok(())),
            Err(why) => (Found::machine(), Err(why)),
        };
        let (place, placed) = Place::of(settings, found.project.as_deref());
        let named = settings.storage.as_deref().map(|text| Named::read(text, &place)).transpose();
        let settings = own(settings, &place, found.quota_project);
        let asks = Asks::new(found.credentials, variable(&settings, METADATA_HOST));
        let tokens: Arc<dyn Sign> = Arc::new(Tokens::new(Box::new(asks), &settings)?);
        let tokens = Some(tokens).filter(|_| signs);
        let (account, secret) = account(&settings, tokens.as_ref())?;
        let free = Arc::new(FreeClient::on(line, account.clone(), &settings, wire::refused)?);
        let calls = TieredCalls::new(line, &account, &FLEX_HEADERS, &settings)?;
        let (stored, named) = match named {
            Ok(stored) => (stored, Ok(())),
            Err(why) => (None, Err(why)),
        };
        let batched = Batched {
            in_tables: stored.as_ref().is_some_and(Named::is_dataset),
            at_global: place.location == GLOBAL,
        };
        let wire = Arc::new(VertexWire::new(account, &settings, batched));
        let shelf = stored.map(|stored| stored.open(&settings, tokens.as_ref(), &place, line)).transpose()?;
        let batches = shelf.map(|shelf| {
            let stored = (shelf, place.location.clone());
            VertexBatches::new(Arc::clone(&wire), calls.usual(), Arc::clone(&free), stored, &settings)
        });
        let ready = readable.and(placed).and(named).and(secret);
        Ok(Self { wire, calls, free, batches, place, signs, ready })
    }
}

fn variable<'s>(settings: &'s Settings, name: &str) -> Option<&'s str> {
    settings.variables.get(name).map(Secret::expose).filter(|text| !text.is_empty())
}

/// Those of the file that was named, of a person's sign-in on this machine, or of the machine.
fn credentials(settings: &Settings) -> Result<Found, String> {
    let named = settings.api_key.expose();
    if settings.own_server && named.is_empty() {
        return Ok(Found::machine());
    }
    if !named.is_empty() {
        return Found::read(named.as_ref());
    }
    let folder = variable(settings, CONFIG).map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(variable(settings, HOME)?).join(".config/gcloud")));
    let sign_in = folder.map(|folder| folder.join(SIGN_IN)).filter(|file| file.is_file());
    sign_in.map_or_else(|| Ok(Found::machine()), |file| Found::read(&file))
}

/// An account with tokens; the second says why it has none.
fn account(
    settings: &Settings,
    tokens: Option<&Arc<dyn Sign>>,
) -> Result<(Account, Result<(), String>), OpenError> {
    Ok(tokens::signed(Account::new(None, Vertex::PRESET.name, settings)?, tokens))
}

/// The user's settings with what the service adds to them: the project stands in the path and in no header, and a token is no key.
fn own(settings: &Settings, place: &Place, quota_project: Option<String>) -> Settings {
    let mut settings = settings.clone();
    settings.without_version(&["/v1beta1", "/v1"]);
    let base = settings.base_url.clone().unwrap_or_else(|| place.usual_base());
    settings.base_url = Some(format!("{}{}", base.trim_end_matches('/'), place.path()));
    settings.api_key = Secret::default();
    settings.project = None;
    settings.organization = None;
    settings.usual_headers =
        quota_project.map(|project| ("x-goog-user-project", project)).into_iter().collect();
    settings
}

/// Whether a text may be a project or a location, and so stand in a path: `..` may not.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-:._".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && name.len() <= 100 && name.bytes().all(plain)
}

impl Place {
    /// Project and location, or what stands for them, and what is wrong with them.
    fn of(settings: &Settings, of_key: Option<&str>) -> (Self, Result<(), String>) {
        let project = settings.project.as_deref().or(variable(settings, PROJECT)).or(of_key);
        let location = settings.region.as_deref().or(variable(settings, LOCATION));
        let missing =
            |what: &str, key: &str, name: &str| Err(format!("there is no {what}: set `{key}` or `{name}`"));
        let state = match (project, location) {
            (None, _) => missing("project", "project", PROJECT),
            (_, None) => missing("location", "region", LOCATION),
            (Some(project), _) if !is_plain(project) => Err(format!("`{project}` is no name of a project")),
            (_, Some(location)) if !is_plain(location) => Err(format!("`{location}` is no location")),
            _ => Ok(()),
        };
        let named = |name: Option<&str>| name.filter(|name| is_plain(name)).unwrap_or("-").to_owned();
        (Self { project: named(project), location: named(location) }, state)
    }

    fn usual_base(&self) -> String {
        match self.location.as_str() {
            GLOBAL | "-" => "https://aiplatform.googleapis.com".to_owned(),
            several @ ("us" | "eu") => format!("https://aiplatform.{several}.rep.googleapis.com"),
            region => format!("https://{region}-aiplatform.googleapis.com"),
        }
    }

    fn path(&self) -> String {
        format!("/v1/projects/{}/locations/{}", self.project, self.location)
    }
}

#[async_trait]
impl Provider for Vertex {
    fn name(&self) -> &'static str {
        Self::PRESET.name
    }

    fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    fn calls(&self) -> Option<&dyn CallApi> {
        Some(&self.calls)
    }

    fn batches(&self) -> Option<&dyn BatchApi> {
        self.batches.as_ref().map(|batches| -> &dyn BatchApi { batches })
    }

    fn facts(&self) -> Facts {
        // A machine of Google's vouches for itself.
        Facts { flex: self.place.location == GLOBAL, needs_key: false, ..Self::PRESET.facts }
    }

    fn signs(&self) -> bool {
        self.signs
    }

    fn place(&self) -> Option<String> {
        Some(self.place.path())
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }

    fn batches_need(&self) -> Option<&'static str> {
        self.batches.is_none().then_some(
            "`storage`, a bucket (`--storage gs://bucket/folder`) or a data set (`bq://project.dataset`)",
        )
    }

    /// Two free calls: the list of jobs, which shows whether project and location are right, and a look into the bucket or the
    /// dataset.
    async fn probe(&self) -> Result<Health, ApiError> {
        const WHAT: &str = "list batch prediction jobs";
        let own_fault =
            |why: &String| self.free.error(WHAT, None, bulkrate_core::failure::FailureClass::Auth, why);
        self.ready.as_ref().map_err(own_fault)?;
        let path = "/batchPredictionJobs?pageSize=1";
        let reply = self.free.send(WHAT, Method::GET, path, &[]).await?;
        if let Err(why) = remote::read_page(&reply.body) {
            return Err(crate::http::batches::unreadable(&self.free, WHAT, &reply, &why));
        }
        if let Some(batches) = &self.batches {
            batches.look().await?;
        }
        Ok(Health { batches: self.batches.is_some(), ..Health::said_by(&reply, None) })
    }
}
