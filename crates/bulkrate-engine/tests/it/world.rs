//! A state directory, a simulated provider, and jobs over small tables.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::price::Catalogue;
use bulkrate_engine::event::{Event, Observer};
use bulkrate_engine::report::Report;
use bulkrate_engine::settings::{Account, Settings};
use bulkrate_engine::spec::{AccountSpec, JobSpec, OnBadLine, RequestSpec, RunSpec, SinkSpec, SourceSpec};
use bulkrate_engine::{Engine, EngineError, Stop};
use bulkrate_sim::{Sim, SimConfig};

/// Keeps what a person would be told.
#[derive(Debug, Default)]
pub struct Ear {
    pub heard: Mutex<Vec<String>>,
}

impl Observer for Ear {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Alert { code, message } => format!("alert {code}: {message}"),
            Event::Note { message } => format!("note {message}"),
            Event::Batch { batch } => format!("batch {} {}", batch.state, batch.items),
            Event::Progress { progress } if !progress.away.is_empty() => {
                format!(
                    "away {:?}: {} in flight, left {:?}",
                    progress.away, progress.in_flight, progress.eta_ms
                )
            }
            Event::Resumed { done, left, .. } => format!("resumed {done} done, {left} left"),
            _ => return,
        };
        self.heard.lock().unwrap().push(line);
    }
}

impl Ear {
    pub fn heard(&self, part: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub sim: Sim,
    pub ear: Arc<Ear>,
}

impl World {
    pub async fn new(config: SimConfig) -> Self {
        let sim = Sim::start(config).await.unwrap();
        Self { dir: tempfile::tempdir().unwrap(), sim, ear: Arc::new(Ear::default()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A CSV of `rows` short reviews; every tenth repeats the first.
    pub fn reviews(&self, rows: usize) -> PathBuf {
        let path = self.path("reviews.csv");
        let mut text = "id,text\n".to_owned();
        for row in 0..rows {
            let words = if row % 10 == 9 {
                "great product 0".to_owned()
            } else {
                format!("{} product {row}", ["great", "terrible", "plain"][row % 3])
            };
            text.push_str(&format!("r{row},\"{words}, really\"\n"));
        }
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn spec(&self, source: &Path, lane: Lane) -> JobSpec {
        JobSpec {
            name: "reviews".into(),
            source: SourceSpec {
                path: Some(source.to_owned()),
                format: None,
                id: Some("id".into()),
                on_bad_line: OnBadLine::Fail,
                limit: None,
            },
            request: RequestSpec {
                model: Some("openai/gpt-6-luna".into()),
                system: Some("Classify the sentiment.".into()),
                user: Some("Review: {{ text }}".into()),
                choices: vec!["positive".into(), "negative".into(), "neutral".into()],
                ..RequestSpec::default()
            },
            tags: [("feature".to_owned(), "test".to_owned())].into(),
            run: RunSpec {
                lane: Some(lane),
                poll_min_ms: 20,
                poll_max_ms: 50,
                t_lag_ms: 100,
                t_q_ms: 200,
                concurrency_max: 50,
                ..RunSpec::default()
            },
            sink: SinkSpec { path: Some(self.path("out.jsonl")), ..SinkSpec::default() },
            account: AccountSpec::default(),
        }
    }

    pub fn engine(&self) -> Engine {
        Engine::open(self.settings()).unwrap()
    }

    pub fn settings(&self) -> Settings {
        let settings = bulkrate_provider::Settings {
            base_url: Some(self.sim.base_url()),
            api_key: "sk-test".into(),
            ..Default::default()
        };
        let api = bulkrate_provider::open("openai", &settings).unwrap();
        let account = Account {
            provider: "openai".into(),
            serves: None,
            id: "acc".into(),
            api,
            custom: false,
            key_env: "OPENAI_API_KEY".into(),
            has_key: true,
            key_named: false,
            rival: None,
        };
        Settings {
            state_dir: self.path("state"),
            catalogue: Arc::new(Catalogue::bundled()),
            accounts: vec![account],
            tables: Arc::new(bulkrate_tokens::Tables),
            seed: 7,
            batch_items_kept: 0,
        }
    }

    pub async fn run(&self, spec: &JobSpec) -> Result<Report, EngineError> {
        self.engine().run(spec, &|_| true, self.ear.clone(), Stop::new()).await
    }

    /// Runs in this state folder, and detaches when a person would have heard this so often.
    pub async fn until(&self, dir: &str, spec: &JobSpec, part: &str, times: usize) -> Report {
        let (stop, ear) = (Stop::new(), Arc::new(Ear::default()));
        let engine = Engine::open(Settings { state_dir: self.path(dir), ..self.settings() }).unwrap();
        let heard = || ear.heard.lock().unwrap().iter().filter(|line| line.contains(part)).count();
        let watch = async {
            while heard() < times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.detach();
        };
        let run = Box::pin(engine.run(spec, &|_| true, ear.clone(), stop.clone()));
        let run = async { tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends") };
        let (report, ()) = tokio::join!(run, watch);
        report.unwrap()
    }

    /// What the simulator would charge.
    pub fn bill(&self) -> serde_json::Value {
        serde_json::from_str(&self.sim.bill_json()).unwrap()
    }

    pub fn rows(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("out.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Batches end within milliseconds.
pub fn fast() -> SimConfig {
    SimConfig { speed: 100_000.0, ..SimConfig::default() }
}
