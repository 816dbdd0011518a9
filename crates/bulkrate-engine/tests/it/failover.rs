//! A model that cannot serve any more, and those that stand in for it: in order, told once, with what was answered kept.

use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::ground::{Ground, Pulse, Views};
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::settings::{Account, Settings};
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Engine, Stop};
use bulkrate_provider::RetryPolicy;
use bulkrate_sim::{Sim, SimConfig};
use bulkrate_store::{SqliteStore, Writer};
use serde_json::Value;

use crate::world::{World, fast};

pub const LUNA: &str = "openai/gpt-6-luna";
pub const GROQ: &str = "groq/openai/gpt-oss-20b";
/// Its batches are not spoken.
pub const XAI: &str = "xai/grok-4.5";

/// OpenAI, with services beside it that may stand in.
pub struct Several {
    pub world: World,
    others: Vec<(&'static str, Sim)>,
}

impl Several {
    pub async fn new(config: SimConfig, others: &[(&'static str, SimConfig)]) -> Self {
        let world = World::new(config).await;
        let mut started = Vec::new();
        for (name, config) in others {
            let config = SimConfig { like: Some((*name).to_owned()), ..config.clone() };
            started.push((*name, Sim::start(config).await.unwrap()));
        }
        Self { world, others: started }
    }

    pub fn settings(&self) -> Settings {
        self.settings_with(&RetryPolicy::default())
    }

    /// With clients that try free calls again by this rule.
    fn settings_with(&self, retry: &RetryPolicy) -> Settings {
        let mut settings = self.world.settings();
        let client = |sim: &Sim| bulkrate_provider::Settings {
            base_url: Some(sim.base_url()),
            api_key: "key-test".into(),
            retry: *retry,
            ..Default::default()
        };
        settings.accounts[0].api = bulkrate_provider::open("openai", &client(&self.world.sim)).unwrap();
        for (name, sim) in &self.others {
            let provider = client(sim);
            settings.accounts.push(Account {
                provider: (*name).to_owned(),
                serves: None,
                id: format!("acc-{name}"),
                api: bulkrate_provider::open(name, &provider).unwrap(),
                custom: false,
                key_env: "KEY".into(),
                has_key: true,
                key_named: false,
                rival: None,
            });
        }
        settings
    }

    pub fn spec(&self, lane: Lane, rows: usize, fallback: &[&str]) -> JobSpec {
        let mut spec = self.world.spec(&self.world.reviews(rows), lane);
        spec.request.model = Some(LUNA.into());
        spec.request.fallback = fallback.iter().map(|name| (*name).to_owned()).collect();
        spec.run.budget = Some(UsdNanos::dollars(5));
        spec.run.canary = false;
        spec.run.concurrency_max = 20;
        spec
    }

    pub async fn run(&self, spec: &JobSpec) -> Report {
        let engine = Engine::open(self.settings()).unwrap();
        engine.run(spec, &|_| true, self.world.ear.clone(), Stop::new()).await.unwrap()
    }

    pub async fn plan(&self, spec: &JobSpec) -> bulkrate_engine::plan::Plan {
        Engine::open(self.settings()).unwrap().plan(spec, &*self.world.ear).await.unwrap()
    }

    /// OpenAI's first, then those of the others.
    pub fn sims(&self) -> impl Iterator<Item = &Sim> {
        std::iter::once(&self.world.sim).chain(self.others.iter().map(|(_, sim)| sim))
    }

    /// Requests that were carried out, and their bill: OpenAI's first, then those of the others.
    pub fn bills(&self) -> Vec<(u64, i64)> {
        let of = |sim: &Sim| {
            let bill: Value = serde_json::from_str(&sim.bill_json()).unwrap();
            (bill["requests"].as_u64().unwrap(), bill["total_usd_nanos"].as_i64().unwrap())
        };
        self.sims().map(of).collect()
    }

    pub fn told(&self, start: &str) -> Vec<String> {
        let heard = self.world.ear.heard.lock().unwrap();
        heard.iter().filter(|line| line.starts_with(start)).cloned().collect()
    }

    /// Every item has its row, and the ledger is the sum of the bills.
    pub fn whole(&self, report: &Report, rows: usize) {
        assert_eq!(
            (report.ending, report.succeeded, report.failed),
            (Ending::Finished, rows as u64, 0),
            "{report:?} {:?}",
            self.told("")
        );
        let bill: i64 = self.bills().iter().map(|(_, sum)| sum).sum();
        assert_eq!((report.spent.0, report.reserved.0, report.in_doubt.0), (bill, 0, 0), "{report:?}");
        assert_eq!(self.world.rows().len(), rows);
    }
}

#[tokio::test]
async fn the_next_on_the_list_answers_what_is_left_and_what_landed_stays() {
    // The account is out of credit from its 21st call on; twenty calls at a time find that out.
    let dry = SimConfig { latency_ms: 20.0, ..SimConfig::default() };
    let there = Several::new(
        dry.with_fault("insufficient-quota:sync@21-99999").unwrap(),
        &[("groq", SimConfig::default())],
    )
    .await;
    let report = there.run(&there.spec(Lane::Sync, 100, &[GROQ])).await;
    there.whole(&report, 100);
    let bills = there.bills();
    assert_eq!((bills[0].0, bills[1].0), (20, 70), "each is paid once: {bills:?}");
    let rows = there.world.rows();
    let by = |part: &str| {
        let of = |row: &&Value| row["_model"].as_str().unwrap().contains(part) && row["_cost_usd"] != "0";
        rows.iter().filter(of).count()
    };
    assert_eq!((by("luna"), by("gpt-oss-20b")), (20, 70));
    let alerts = there.told("alert");
    assert!(
        matches!(&alerts[..], [one] if one.starts_with("alert failover: `openai/gpt-6-luna` failed")
            && one.contains("going on with `groq/openai/gpt-oss-20b`")),
        "told once: {alerts:?}"
    );
}

#[tokio::test]
async fn an_alias_stands_in_too() {
    let there = Several::new(
        SimConfig::default(),
        &[("groq", SimConfig::default().with_fault("revoked:sync").unwrap())],
    )
    .await;
    let mut spec = there.spec(Lane::Sync, 20, &["fast"]);
    spec.request.model = Some(GROQ.into());
    let report = there.run(&spec).await;
    there.whole(&report, 20);
    assert_eq!(there.bills().iter().map(|bill| bill.0).collect::<Vec<_>>(), [18, 0]);
    assert_eq!(there.told("alert").len(), 1, "{:?}", there.told("alert"));
}

#[tokio::test]
async fn batches_go_to_the_next_that_has_batches() {
    let there = Several::new(
        fast().with_fault("insufficient-quota:create@1-99").unwrap(),
        &[("xai", fast()), ("groq", fast())],
    )
    .await;
    let spec = there.spec(Lane::Batch, 60, &[XAI, GROQ]);
    let plan = there.plan(&spec).await;
    let warned = |part: &str| plan.warnings.iter().any(|warning| warning.contains(part));
    assert!(warned("`xai/grok-4.5` cannot stand in within the batch lane"), "{plan:?}");
    assert!(warned("the worst case counts that `groq/openai/gpt-oss-20b` may have to stand in"), "{plan:?}");

    let report = there.run(&spec).await;
    there.whole(&report, 60);
    assert_eq!(there.bills().iter().map(|bill| bill.0).collect::<Vec<_>>(), [0, 0, 54]);
    let alerts = there.told("alert");
    assert!(
        matches!(&alerts[..], [one] if one.contains("going on with `groq/openai/gpt-oss-20b`; `xai/grok-4.5` cannot stand in")),
        "{alerts:?}"
    );
}

#[tokio::test]
async fn nobody_left_on_the_list_stops_the_job_and_keeps_what_was_answered() {
    let there = Several::new(
        SimConfig::default().with_fault("insufficient-quota:sync@6-99999").unwrap(),
        &[("groq", SimConfig::default().with_fault("revoked:sync@4-99999").unwrap())],
    )
    .await;
    let mut spec = there.spec(Lane::Sync, 40, &[GROQ]);
    spec.run.concurrency_max = 1;
    let report = there.run(&spec).await;
    assert_eq!((report.ending, report.exit_code()), (Ending::Halted, 4), "{report:?}");
    assert_eq!(report.halted_by.as_deref(), Some("auth"), "the last one's reason: {report:?}");
    assert_eq!(there.bills().iter().map(|bill| bill.0).collect::<Vec<_>>(), [5, 3]);
    let bill: i64 = there.bills().iter().map(|(_, sum)| sum).sum();
    assert_eq!((report.spent.0, report.reserved.0, report.in_doubt.0), (bill, 0, 0), "{report:?}");
    assert!(report.succeeded >= 8 && report.failed == 0 && report.open > 0, "{report:?}");

    // A lane that none of them has: the reason says so.
    let there =
        Several::new(fast().with_fault("insufficient-quota:create").unwrap(), &[("xai", fast())]).await;
    let report = there.run(&there.spec(Lane::Batch, 20, &[XAI])).await;
    assert_eq!((report.ending, report.exit_code(), report.failed), (Ending::Halted, 4, 0), "{report:?}");
    assert!(report.reason.as_deref().unwrap().contains("`xai/grok-4.5` cannot stand in"));
}

/// A simulator that does not know the model that is asked first.
fn without_luna() -> SimConfig {
    let prices = include_str!("../../../../catalogue/prices.csv");
    let prices: String = prices
        .lines()
        .filter(|line| !line.starts_with("openai,gpt-6-luna,"))
        .flat_map(|line| [line, "\n"])
        .collect();
    SimConfig { prices: Some(prices), ..SimConfig::default() }
}

#[tokio::test]
async fn a_dearer_model_stands_in_within_the_budget_alone() {
    let there = Several::new(without_luna(), &[]).await;
    let mut spec = there.spec(Lane::Sync, 60, &["openai/gpt-6-astra"]);
    let plain = JobSpec {
        request: bulkrate_engine::spec::RequestSpec { fallback: Vec::new(), ..spec.request.clone() },
        ..spec.clone()
    };
    let lane = |plan: &bulkrate_engine::plan::Plan| {
        plan.lanes.iter().find(|lane| lane.lane == Lane::Sync).unwrap().clone()
    };
    let (alone, both) = (lane(&there.plan(&plain).await), lane(&there.plan(&spec).await));
    assert_eq!((alone.expected, alone.p95), (both.expected, both.p95), "what is expected is the first model");
    assert!(both.worst.0 > 50 * alone.worst.0, "a hundred times the price: {alone:?} {both:?}");

    // Enough for the model that was asked for, and for some answers of the one that stands in.
    let budget = UsdNanos(both.worst.0 / 10);
    assert!(budget > alone.worst);
    spec.run.budget = Some(budget);
    let report = there.run(&spec).await;
    assert_eq!((report.ending, report.exit_code()), (Ending::BudgetExhausted, 3), "{report:?}");
    assert!(report.succeeded > 0 && report.open > 0, "{report:?}");
    let bill = i64::try_from(there.world.sim.bill_usd_nanos()).unwrap();
    assert_eq!((report.spent.0, report.in_doubt.0), (bill, 0), "{report:?}");
    assert!(report.spent <= budget, "{report:?}");
    assert_eq!(there.told("alert failover").len(), 1);
}

#[tokio::test]
async fn the_model_without_a_price_is_the_one_that_is_blamed() {
    let there = Several::new(SimConfig::default(), &[]).await;
    let mut settings = there.settings();
    settings.accounts = settings
        .accounts
        .into_iter()
        .map(|account| Account { custom: true, api: Arc::clone(&account.api), ..account })
        .collect();
    let spec = there.spec(Lane::Sync, 20, &["nope"]);
    let engine = Engine::open(settings).unwrap();
    let run = engine.run(&spec, &|_| true, there.world.ear.clone(), Stop::new()).await;
    let error = run.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("model-unpriced", 3));
    assert!(error.to_string().contains("`openai/nope` has no known price"), "{error}");
    assert_eq!(there.bills()[0].0, 0);
}

/// Over a store opened here, with less patience.
fn impatient(there: &Several) -> Engine {
    impatient_with(there, &RetryPolicy::default())
}

pub fn impatient_with(there: &Several, retry: &RetryPolicy) -> Engine {
    let settings = there.settings_with(retry);
    let dir = settings.state_dir.clone();
    let store = SqliteStore::open(&dir, "it", 0).unwrap();
    let views: Views = Arc::new(move || Ok(Box::new(SqliteStore::open_reader(&dir)?)));
    let writer = Writer::spawn(Box::new(store)).unwrap();
    let pulse = Pulse { absent: Duration::from_millis(200), ..Pulse::default() };
    let unix_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    Engine::on(settings, Ground { writer, views, unix_ms, pulse }).unwrap()
}

#[tokio::test]
async fn one_that_is_away_is_stood_in_for_and_takes_its_items_back() {
    // A few calls are answered, then a gateway answers for it, the free ones for a while; then all is well.
    let away = SimConfig { latency_ms: 30.0, latency_sigma: 0.0, ..SimConfig::default() };
    let away = away.with_fault("html:sync=502@11-17").unwrap().with_fault("reset-early:models@1-2").unwrap();
    let slow = SimConfig { latency_ms: 60.0, latency_sigma: 0.0, ..SimConfig::default() };
    let there = Several::new(away, &[("groq", slow)]).await;
    let mut spec = there.spec(Lane::Sync, 400, &[GROQ]);
    (spec.run.concurrency_max, spec.run.max_in_doubt) = (4, Some(UsdNanos::dollars(1)));
    let engine = impatient(&there);
    let report = engine.run(&spec, &|_| true, there.world.ear.clone(), Stop::new()).await.unwrap();
    assert_eq!((report.ending, report.succeeded, report.failed), (Ending::Finished, 400, 0), "{report:?}");
    let bills = there.bills();
    assert!(bills[1].0 > 0, "the other one stood in: {bills:?}");
    assert!(bills[0].0 > 11, "and the first one went on: {bills:?}");
    let (alerts, notes) = (there.told("alert failover"), there.told("note `openai"));
    assert!(matches!(&alerts[..], [one] if one.contains("stands in until it is back")), "{alerts:?}");
    assert!(matches!(&notes[..], [one] if one.contains("takes its items back")), "{notes:?}");
    let total: i64 = bills.iter().map(|bill| bill.1).sum();
    assert!((report.spent.0..=report.spent.0 + report.in_doubt.0).contains(&total), "{bills:?} {report:?}");
}

#[tokio::test]
async fn what_waits_at_a_stand_in_that_is_away_too_goes_back_to_the_first() {
    let first = SimConfig { latency_ms: 30.0, latency_sigma: 0.0, ..SimConfig::default() };
    let first =
        first.with_fault("html:sync=502@11-17").unwrap().with_fault("reset-early:models@1-4").unwrap();
    let other = SimConfig { latency_ms: 30.0, latency_sigma: 0.0, ..SimConfig::default() };
    let other = other.with_fault("html:sync=502@6-99999").unwrap().with_fault("reset-early:models").unwrap();
    let there = Several::new(first, &[("groq", other)]).await;
    let mut spec = there.spec(Lane::Sync, 200, &[GROQ]);
    (spec.run.concurrency_max, spec.run.max_in_doubt) = (4, Some(UsdNanos::dollars(1)));
    let engine = impatient(&there);
    let ear = there.world.ear.clone();
    let run = engine.run(&spec, &|_| true, ear, Stop::new());
    let report = tokio::time::timeout(Duration::from_secs(60), run).await.expect("nothing waits for ever");
    let report = report.unwrap();
    assert_eq!((report.ending, report.succeeded, report.failed), (Ending::Finished, 200, 0), "{report:?}");
    let bills = there.bills();
    assert!(bills[1].0 > 5 && bills[0].0 > 100, "both were asked, and the first one went on: {bills:?}");
}

#[tokio::test]
async fn a_model_that_is_named_as_its_own_stand_in_is_called_all_the_same() {
    for (of_lines, fallback) in [(false, &[LUNA][..]), (false, &[GROQ, LUNA]), (true, &[LUNA])] {
        let there = Several::new(SimConfig::default(), &[("groq", SimConfig::default())]).await;
        let mut spec = there.spec(Lane::Sync, 30, fallback);
        if of_lines {
            let lines = there.world.path("lines.jsonl");
            let of = |row| {
                format!(
                    "{{\"custom_id\":\"{row}\",\"model\":\"{LUNA}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Say {row}\"}}]}}\n"
                )
            };
            std::fs::write(&lines, (0..30).map(of).collect::<String>()).unwrap();
            let run = spec.run.clone();
            spec = there.world.spec(&lines, Lane::Sync);
            (spec.source.id, spec.request.user, spec.request.model) = (None, None, None);
            spec.request.choices.clear();
            (spec.run, spec.request.fallback) = (run, vec![LUNA.to_owned()]);
        }
        let run = tokio::time::timeout(Duration::from_secs(60), there.run(&spec));
        let report = run.await.expect("nothing waits for ever");
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 30), "{report:?}");
    }
}

/// One paid call goes alone where a deployment has not answered yet, is away, or has just come back. Only its own items wait for it.
#[tokio::test]
async fn items_of_others_go_on_while_one_deployment_is_tried_alone() {
    let slow = SimConfig { latency_ms: 60_000.0, latency_sigma: 0.0, ..SimConfig::default() };
    let away = SimConfig { latency_ms: 30.0, latency_sigma: 0.0, ..SimConfig::default() };
    let away = away.with_fault("html:sync=502@8-99999").unwrap().with_fault("reset-early:models").unwrap();
    for (openai, fallback) in [(slow.clone(), &[][..]), (slow, &[GROQ]), (away, &[])] {
        let there = Several::new(openai, &[("groq", SimConfig::default())]).await;
        let mut spec = there.spec(Lane::Sync, 900, fallback);
        let when = "'great' in text".to_owned();
        spec.request.rules = vec![bulkrate_engine::spec::RuleSpec { when, model: GROQ.into() }];
        (spec.run.concurrency_max, spec.run.max_in_doubt) = (4, Some(UsdNanos::dollars(1)));
        let groq = (0..900).filter(|row| row % 3 == 0 && row % 10 != 9).count() as u64;
        let others_are_done = async {
            while there.bills()[1].0 < groq {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            report = there.run(&spec) => panic!("one of them does not answer: {report:?}"),
            () = others_are_done => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("held back: {:?} {:?}", there.bills(), there.told("")),
        }
        assert!(there.bills()[0].0 < 30, "all but a few of the 600 wait: {:?}", there.bills());
    }
}
