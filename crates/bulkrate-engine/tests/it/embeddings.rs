//! A semantic cache over embeddings: they are made before the run by a job of their own, paid once whatever happens, and their cost is told.

use std::sync::{Arc, Mutex};

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::event::{Event, Observer};
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::settings::{Account, Settings};
use bulkrate_engine::spec::{EmbedSpec, JobSpec, SemanticSpec, SinkSpec};
use bulkrate_engine::{Engine, Reader, Stop};
use bulkrate_sim::SimConfig;

use crate::world::{World, fast};

pub const ROWS: usize = 500;

/// Messages about three things, each in many wordings; the simulator answers by the thing's name.
pub fn spec(world: &World, rows: usize, lane: Lane) -> JobSpec {
    const ASKED: [&str; 4] = [
        "my {} was charged twice, please look into it",
        "please tell me when the {} arrives at my house",
        "the {} is broken and I would like another",
        "somebody else uses my {} without asking me",
    ];
    const WORDS: [&str; 7] = ["", "hello, ", "sorry, ", "again: ", "well, ", "urgent: ", "hi there, "];
    const ENDS: [&str; 8] = ["", ".", "!", " thanks", " bye", " ok", " really", " soon"];
    let mut csv = String::from("id,text\n");
    for row in 0..rows {
        let thing = ["card", "parcel", "account"][row % 3];
        let text = ASKED[row / 3 % 4].replace("{}", thing);
        csv.push_str(&format!("m{row},\"{}{text}{}\"\n", WORDS[row / 12 % 7], ENDS[row / 84 % 8]));
    }
    std::fs::write(world.path("rows.csv"), csv).unwrap();
    let mut spec = world.spec(&world.path("rows.csv"), lane);
    spec.name = "rows".into();
    spec.request.user = Some("{{ text }}".into());
    spec.request.choices = vec!["card".into(), "parcel".into(), "account".into()];
    spec.request.semantic = Some(SemanticSpec {
        error_permille: 50,
        embed: Some(EmbedSpec { model: "openai/text-embedding-3-small".into(), dimensions: Some(256) }),
    });
    spec.run.concurrency_max = 1;
    spec.run.budget = Some(UsdNanos::dollars(1));
    spec
}

/// The bill is what the report says, both jobs are whole, and naive less savings is spend.
#[track_caller]
pub fn proved(world: &World, report: &Report) {
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.open, report.failed), (Ending::Finished, 0, 0), "{report:?} {heard:?}");
    assert_eq!(world.bill()["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?}");
    let saved: UsdNanos = report.saved.values().copied().sum();
    assert_eq!(report.naive - saved, report.spent, "{report:?}");
    let reader = Reader::open(&world.path("state")).unwrap();
    for job in reader.status(None).unwrap() {
        let found = reader.verify(&job.job, &[]).unwrap();
        assert!(found.passed(), "{}: {found:?}", job.name);
    }
    let savings = reader.savings("rows").unwrap();
    let of = report.embedding.as_ref().unwrap();
    let step = savings.steps.iter().find(|step| step.lever == "embedding").unwrap();
    assert_eq!((step.saved.0, savings.spent), (-of.spent.0, report.spent), "{savings:?}");
    assert_eq!(savings.steps.last().unwrap().cost, savings.spent, "{savings:?}");
}

#[tokio::test]
async fn embeddings_come_first_and_similar_rows_share_an_answer() {
    let world = World::new(fast()).await;
    let spec = spec(&world, ROWS, Lane::Sync);
    let engine = world.engine();
    let plan = engine.plan(&spec, &*world.ear).await.unwrap();
    let of = plan.embedding.clone().unwrap();
    assert_eq!((of.requests, of.lane, of.spent), (ROWS as u64, Lane::Sync, UsdNanos::ZERO), "{of:?}");
    assert!(of.pays_from_permille.is_some_and(|permille| (1..300).contains(&permille)), "{of:?}");
    assert!(plan.price().0 > of.expected && world.bill()["requests"] == 0);
    assert_eq!(
        std::fs::read_dir(world.path("state").join("jobs")).unwrap().count(),
        0,
        "a plan leaves nothing"
    );
    drop(engine);
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
    let embedded = report.embedding.clone().unwrap();
    assert_eq!((embedded.texts, embedded.vectors), (ROWS as u64, ROWS as u64));
    assert!(embedded.spent > UsdNanos::ZERO && embedded.spent <= of.p95, "{embedded:?} {of:?}");
    assert!(report.similar > 60 && report.requests_sent + report.similar == ROWS as u64, "{report:?}");
    for row in world.rows() {
        let text = row["text"].as_str().unwrap();
        assert!(text.contains(row["answer"].as_str().unwrap()), "{row}");
    }
    // All of it again asks for nothing.
    let asked = world.bill()["requests"].clone();
    let unwritten = JobSpec { sink: SinkSpec::default(), ..spec.clone() };
    let again = Box::pin(world.run(&unwritten)).await.unwrap();
    assert_eq!((&again.spent, &world.bill()["requests"]), (&report.spent, &asked));
    // Another job of the same texts has its vectors from the first.
    let mut other = spec.clone();
    other.request.semantic.as_mut().unwrap().error_permille = 20;
    other.sink.path = Some(world.path("other.jsonl"));
    let report = Box::pin(world.run(&other)).await.unwrap();
    let embedded = report.embedding.clone().unwrap();
    assert_eq!(
        (embedded.vectors, embedded.spent),
        (ROWS as u64 - report.cached, UsdNanos::ZERO),
        "{report:?}"
    );
    assert!(report.cached < ROWS as u64 && report.saved.contains_key("semantic"), "{report:?}");
}

#[tokio::test]
async fn a_run_that_stops_while_it_embeds_goes_on_and_no_text_is_paid_twice() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(SimConfig { latency_ms: 2.0, ..fast() }).await;
        let mut spec = spec(&world, 200, lane);
        spec.run.concurrency_max = 5;
        let part = if lane == Lane::Sync { "note embedding" } else { "batch" };
        let first = Box::pin(world.until("state", &spec, part, 1)).await;
        assert_eq!((first.ending, first.succeeded), (Ending::Detached, 0), "{lane}: {first:?}");
        assert!(first.embedding.as_ref().is_some_and(|of| of.left), "{lane}: {first:?}");
        assert!(world.bill()["requests"].as_u64() < Some(200), "{lane}");
        let report = Box::pin(world.run(&spec)).await.unwrap();
        proved(&world, &report);
        assert_eq!(report.embedding.as_ref().map(|of| of.vectors), Some(200), "{lane}: {report:?}");
        let requests = world.bill()["requests"].as_u64();
        assert_eq!(requests, Some(200 + 200 - report.similar), "{lane}: {report:?}");
    }
}

/// Keeps what each job was told that it may spend.
#[derive(Debug, Default)]
struct HearsBudgets(Mutex<Vec<(String, Option<UsdNanos>)>>);

impl Observer for HearsBudgets {
    fn event(&self, event: &Event<'_>) {
        if let Event::Progress { progress } = event {
            self.0.lock().unwrap().push((progress.job.clone(), progress.budget));
        }
    }
}

#[tokio::test]
async fn a_budget_holds_embeddings_and_answers_together() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, ROWS, Lane::Sync);
    let plan = world.engine().plan(&spec, &*world.ear).await.unwrap();
    let of = plan.embedding.clone().unwrap();
    spec.run.budget = Some(UsdNanos(plan.price().1.0 - of.p95.0 / 2));
    let refused = Box::pin(world.run(&spec)).await.unwrap_err();
    assert_eq!(refused.code(), "budget-too-small", "{refused}");
    assert_eq!(world.bill()["requests"], 0);
    assert!(
        Reader::open(&world.path("state")).unwrap().status(None).unwrap().is_empty(),
        "it leaves nothing"
    );
    spec.run.budget = Some(plan.price().1);
    let ear = Arc::new(HearsBudgets::default());
    let report = Box::pin(world.engine().run(&spec, &|_| true, ear.clone(), Stop::new())).await.unwrap();
    proved(&world, &report);
    // The answers have what the embeddings have left of it.
    let left = Some(plan.price().1 - report.embedding.as_ref().unwrap().spent);
    let told = ear.0.lock().unwrap();
    let told: Vec<_> = told.iter().filter(|(job, _)| *job == report.job).map(|(_, budget)| *budget).collect();
    assert!(!told.is_empty() && told.iter().all(|budget| *budget == left), "{left:?} {told:?}");
    assert!(report.spent <= plan.price().1);
}

/// The embeddings come from an account of their own.
pub fn with_other(world: &World, other: &World) -> Settings {
    let mut settings = world.settings();
    let there = other.settings().accounts.remove(0);
    settings.accounts.push(Account {
        provider: "other".into(),
        serves: Some("openai".into()),
        id: "b".into(),
        ..there
    });
    settings
}

#[tokio::test]
async fn a_row_whose_embedding_failed_is_asked() {
    // The embeddings come from another account, where some lines of a batch fail.
    let (world, other) =
        (World::new(fast()).await, World::new(fast().with_fault("line-errors=400@5-24").unwrap()).await);
    let mut spec = spec(&world, 300, Lane::Batch);
    spec.run.canary = false;
    spec.run.batch_items_max = 300;
    spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model =
        "other/text-embedding-3-small".into();
    let engine = Engine::open(with_other(&world, &other)).unwrap();
    let plan = engine.plan(&spec, &*world.ear).await.unwrap();
    assert!(plan.warnings.iter().any(|told| told.contains("nothing can be served")), "{:?}", plan.warnings);
    let run = engine.run(&spec, &|_| true, world.ear.clone(), Stop::new());
    let report = Box::pin(run).await.unwrap();
    assert_eq!((report.succeeded, report.failed), (300, 0), "{report:?}");
    let bills = [&world, &other].map(|world| world.bill()["total_usd_nanos"].as_i64().unwrap());
    assert_eq!(bills.iter().sum::<i64>(), report.spent.0, "{report:?}");
    let of = report.embedding.as_ref().unwrap();
    assert_eq!((of.texts, of.vectors), (300, 280), "{report:?}");
    assert!(world.ear.heard("20 of 300 texts have no vector"), "{:?}", world.ear.heard.lock().unwrap());
}

#[tokio::test]
async fn a_larger_limit_embeds_what_is_new() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 300, Lane::Sync);
    spec.source.limit = Some(120);
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!(report.embedding.as_ref().map(|of| (of.texts, of.vectors)), Some((120, 120)), "{report:?}");
    spec.source.limit = None;
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!(report.embedding.as_ref().map(|of| (of.texts, of.vectors)), Some((300, 300)), "{report:?}");
    assert_eq!(world.bill()["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?}");
    assert_eq!(world.bill()["requests"].as_u64(), Some(600 - report.similar), "{report:?}");
}

#[tokio::test]
async fn a_model_that_does_not_embed_is_refused_before_anything_is_sent() {
    let world = World::new(fast()).await;
    for (model, code) in
        [("openai/gpt-6-luna", "option-invalid"), ("openai/text-embedding-9", "unknown-model")]
    {
        let mut spec = spec(&world, 20, Lane::Sync);
        spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model = model.into();
        let refused = Box::pin(world.run(&spec)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(Reader::open(&world.path("state")).unwrap().status(None).unwrap().is_empty(), "{model}");
    }
    assert_eq!(world.bill()["requests"], 0);
}

#[tokio::test]
async fn a_model_that_embeds_no_text_stops_the_job_before_it_asks() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, 20, Lane::Sync);
    // It has one size alone.
    spec.request.semantic.as_mut().unwrap().embed.as_mut().unwrap().model =
        "openai/text-embedding-ada-002".into();
    for _ in 0..2 {
        let stopped = Box::pin(world.run(&spec)).await.unwrap_err();
        assert_eq!((stopped.code(), stopped.exit_code()), ("embedding-halted", 5), "{stopped}");
        assert!(stopped.to_string().contains("none of its 20 texts has a vector"), "{stopped}");
        let job = Reader::open(&world.path("state")).unwrap().find("rows").unwrap().id;
        let retry = format!("`bulkrate retry {job}` asks for them again");
        assert!(stopped.hint().is_some_and(|hint| hint.contains(&retry)), "{stopped:?}");
    }
    let of_rows = Reader::open(&world.path("state")).unwrap().status(Some("rows")).unwrap();
    assert_eq!((of_rows[0].succeeded, world.bill()["total_usd_nanos"].as_i64()), (0, Some(0)));
}

#[tokio::test]
async fn a_job_that_embeds_is_prepared_once_and_a_plan_changes_nothing_of_it() {
    let world = World::new(SimConfig { latency_ms: 2.0, ..fast() }).await;
    let mut spec = spec(&world, 200, Lane::Sync);
    let first = Box::pin(world.until("state", &spec, "note embedding", 1)).await;
    assert_eq!(first.ending, Ending::Detached, "{first:?}");
    let stored = || {
        let reader = Reader::open(&world.path("state")).unwrap();
        ["rows", "rows-embed"].map(|job| reader.find(job).unwrap())
    };
    let [rows, embed] = stored();
    assert_eq!(embed.no, rows.no + 1, "its texts were read once");
    let budget = |row: &str| serde_json::from_str::<serde_json::Value>(row).unwrap()["run"]["budget"].clone();
    assert_eq!((budget(&rows.spec), budget(&embed.spec)), (1_000_000_000.into(), 1_000_000_000.into()));
    spec.run.budget = Some(UsdNanos::dollars(2));
    world.engine().plan(&spec, &*world.ear).await.unwrap();
    let [rows_now, embed_now] = stored();
    assert_eq!((rows_now.spec, embed_now.spec), (rows.spec, embed.spec), "a plan changes nothing");
}

#[tokio::test]
async fn what_more_embeddings_would_cost_is_admitted_where_answers_tell_the_rest() {
    let world = World::new(fast()).await;
    let mut spec = spec(&world, ROWS, Lane::Sync);
    spec.source.limit = Some(120);
    let first = Box::pin(world.run(&spec)).await.unwrap();
    assert!(first.forecast.is_some(), "{first:?}");
    let asked = world.bill()["requests"].clone();
    spec.source.limit = None;
    let of = world.engine().plan(&spec, &*world.ear).await.unwrap().embedding.unwrap();
    assert_eq!(of.requests, ROWS as u64 - 120);
    spec.run.budget = Some(first.spent + UsdNanos(of.p95.0 / 2));
    let refused = Box::pin(world.run(&spec)).await.unwrap_err();
    assert_eq!(refused.code(), "budget-too-small", "{refused}");
    assert!(refused.to_string().contains("its embeddings"), "{refused}");
    assert_eq!(world.bill()["requests"], asked, "nothing was sent");
    spec.run.budget = Some(UsdNanos::dollars(1));
    let report = Box::pin(world.run(&spec)).await.unwrap();
    proved(&world, &report);
}
