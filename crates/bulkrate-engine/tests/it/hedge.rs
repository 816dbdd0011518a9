//! Copies of slow calls: whatever becomes of a call and its copy, the item is answered once and the books hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::HedgeRule;
use bulkrate_engine::ground::{Ground, Pulse};
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::settings::Settings;
use bulkrate_engine::spec::{JobSpec, SyncDoubt};
use bulkrate_engine::{Engine, Reader, Stop};
use bulkrate_provider::openai::{Dialect, OpenAi};
use bulkrate_provider::{CallError, Exchange, Reply};
use bulkrate_store::{LedgerKind, LedgerQuery, SqliteStore, StoreError, View, Writer};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::world::{World, fast};

const ROWS: usize = 12;
/// The row whose first call waits for its copy.
const SLOW: &str = "product 8,";

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Good,
    /// An answer that is none of the choices; and one that does not say what it has used either.
    Flawed,
    Vague,
    /// One that was cut at the output maximum.
    Cut,
    /// Refused: 500 and 429 in the API's own words.
    Broken,
    Limited,
    /// The connection breaks.
    Lost,
    Unsent,
    /// Nothing, for ever.
    Never,
    /// Not even a connection.
    Unconnected,
}

/// A provider that answers at once, but for one item: its first call is held until its copy has come.
#[derive(Debug)]
struct Line {
    /// What the first call and the copy are told, and who is told first; the other is told once that has been heard.
    script: [Says; 2],
    copy_first: bool,
    /// Both are told in the same moment.
    at_once: bool,
    paid: AtomicU64,
    /// Calls for the slow item, and those that have left.
    begun: AtomicU64,
    slow: AtomicU64,
    copied: Notify,
    told: Notify,
}

impl Line {
    fn new(script: [Says; 2], copy_first: bool, at_once: bool) -> Arc<Self> {
        Arc::new(Self {
            script,
            copy_first,
            at_once,
            paid: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            copied: Notify::new(),
            told: Notify::new(),
        })
    }

    async fn say(&self, says: Says) -> Result<Reply, CallError> {
        let of = |status: u16, body: &str| {
            Ok(Reply { status, headers: http::HeaderMap::new(), body: Bytes::from(body.to_owned()) })
        };
        let usage = r#"{"prompt_tokens":40,"completion_tokens":5,"total_tokens":45}"#;
        let answer = |text: &str, finish: &str, usage: &str| {
            self.paid.fetch_add(1, Ordering::SeqCst);
            of(
                200,
                &format!(
                    r#"{{"id":"c","object":"chat.completion","model":"gpt-6-luna-2026-09-22","choices":[{{"index":0,"finish_reason":"{finish}","message":{{"role":"assistant","content":"{text}"}}}}],"usage":{usage}}}"#
                ),
            )
        };
        let origin = "https://line".to_owned();
        match says {
            Says::Good => answer("neutral", "stop", usage),
            Says::Flawed => answer("who knows", "stop", usage),
            Says::Vague => answer("who knows", "stop", "null"),
            Says::Cut => answer("neu", "length", usage),
            Says::Broken => {
                of(500, r#"{"error":{"message":"oh","type":"server_error","param":null,"code":null}}"#)
            }
            Says::Limited => of(
                429,
                r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            ),
            Says::Lost => {
                Err(CallError::NoAnswer { origin, why: "connection reset".to_owned(), timeout: false })
            }
            Says::Unsent => Err(CallError::NotSent { origin, why: "connection refused".to_owned() }),
            Says::Never | Says::Unconnected => std::future::pending().await,
        }
    }
}

#[async_trait::async_trait]
impl Exchange for Line {
    async fn exchange(&self, _: http::Method, path: &str, body: Bytes) -> Result<Reply, CallError> {
        if path != "/chat/completions" {
            return Ok(Reply {
                status: 200,
                headers: http::HeaderMap::new(),
                body: Bytes::from_static(b"{\"data\":[]}"),
            });
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let slow = text.contains(SLOW);
        if !slow {
            return self.say(Says::Good).await;
        }
        let before = u64::from(self.script[0] == Says::Unconnected);
        match self.slow.fetch_add(1, Ordering::SeqCst) + before {
            0 => {
                self.copied.notified().await;
                if self.copy_first && !self.at_once {
                    self.told.notified().await;
                }
                self.told.notify_one();
                self.say(self.script[0]).await
            }
            1 => {
                self.copied.notify_one();
                if !self.copy_first && !self.at_once {
                    self.told.notified().await;
                    // What the first call brought is heard before.
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                let said = self.say(self.script[1]).await;
                if self.copy_first && !self.at_once {
                    // The first call is told a little later, unless nobody waits for it any more.
                    self.told.notify_one();
                }
                said
            }
            _ => self.say(Says::Good).await,
        }
    }

    async fn connect(&self, _: &str, body: &Bytes) {
        if !String::from_utf8_lossy(body).contains(SLOW) {
            return;
        }
        let at = usize::try_from(self.begun.fetch_add(1, Ordering::SeqCst)).unwrap();
        if self.script.get(at) == Some(&Says::Unconnected) {
            self.copied.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

fn engine(world: &World, line: &Arc<Line>) -> Engine {
    let mut settings = world.settings();
    let of = bulkrate_provider::Settings {
        base_url: Some("https://line.invalid/v1".to_owned()),
        api_key: "sk-test".into(),
        proxy: bulkrate_provider::ProxyFrom::None,
        ..Default::default()
    };
    let given: Arc<dyn Exchange> = Arc::clone(line) as Arc<dyn Exchange>;
    settings.accounts[0].api = Arc::new(OpenAi::over(Dialect::OPENAI, &of, &given).unwrap());
    Engine::on(settings.clone(), ground(&settings)).unwrap()
}

/// As a state folder is opened, with copies after eight answers and one of nine calls at most.
fn ground(settings: &Settings) -> Ground {
    let dir = settings.state_dir.clone();
    // The thread of an engine before may still hold it.
    let store = (0..1_000).find_map(|_| match SqliteStore::open(&dir, "hedge", 1) {
        Err(StoreError::Locked { .. }) => {
            std::thread::sleep(std::time::Duration::from_millis(5));
            None
        }
        other => Some(other.unwrap()),
    });
    let store = store.unwrap();
    let hedge = HedgeRule { answers_min: 8, share_permille: 112 };
    Ground {
        writer: Writer::spawn(Box::new(store)).unwrap(),
        views: Arc::new(move || Ok(Box::new(SqliteStore::open_reader(&dir)?))),
        unix_ms: 1_795_132_800_000,
        pulse: Pulse { hedge, ..Pulse::default() },
    }
}

fn job(world: &World) -> JobSpec {
    write_rows(world, 0, 0);
    let mut spec = world.spec(&world.path("reviews.csv"), Lane::Sync);
    spec.run.hedge = true;
    spec.run.concurrency_max = 2;
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.poll_min_ms = 1;
    spec
}

async fn run(world: &World, spec: &JobSpec, line: &Arc<Line>) -> Report {
    let engine = engine(world, line);
    let run = Box::pin(engine.run(spec, &|_| true, world.ear.clone(), Stop::new()));
    tokio::time::timeout(std::time::Duration::from_secs(30), run).await.expect("it ends").unwrap()
}

/// Sums of the ledger's entries about copies: doubt, cleared, duplicate.
fn of_copies(world: &World) -> [i64; 3] {
    let view = SqliteStore::open_reader(&world.path("state")).unwrap();
    [LedgerKind::Doubt, LedgerKind::DoubtCleared, LedgerKind::Duplicate].map(|kind| {
        let mut sum = 0;
        let query = LedgerQuery { kind: Some(kind), ..LedgerQuery::of_job(1) };
        view.ledger_scan(&query, &mut |entry| {
            let of_copy = entry.note.as_deref().is_some_and(|note| note.starts_with("W9: "));
            sum += if of_copy { entry.usd.0 } else { 0 };
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        sum
    })
}

#[tokio::test]
async fn whatever_becomes_of_a_call_and_its_copy_the_item_is_answered_once() {
    use Says::{Broken, Flawed, Good, Limited, Lost, Never, Unconnected, Unsent, Vague};
    // First call, copy, who is told first; hedged, won, lost, calls for the item; whether the copy's doubt is cleared, and a
    // bound is in doubt at the end; answers paid twice.
    let cases = [
        ("the copy is first", [Never, Good], true, (1, 1, 0, 2), (false, true), 0),
        ("the call is first", [Good, Never], false, (1, 0, 1, 2), (false, true), 0),
        ("the call is refused", [Broken, Good], false, (1, 1, 0, 2), (true, false), 0),
        ("the call is lost", [Lost, Good], false, (1, 1, 0, 2), (true, true), 0),
        ("the call is no answer", [Flawed, Good], false, (1, 1, 0, 2), (true, false), 1),
        ("nobody knows what the call cost", [Vague, Good], false, (1, 1, 0, 2), (false, true), 0),
        ("the copy is refused", [Good, Limited], true, (1, 0, 1, 2), (true, false), 0),
        ("the copy is lost", [Good, Lost], true, (1, 0, 1, 2), (true, true), 0),
        ("the copy is not sent", [Good, Unsent], true, (0, 0, 0, 2), (true, false), 0),
        ("both are refused", [Broken, Broken], false, (1, 0, 0, 3), (true, false), 0),
        (
            "the call has not left when the copy is answered",
            [Unconnected, Good],
            true,
            (1, 1, 0, 1),
            (true, false),
            0,
        ),
        (
            "the copy has not left when the call is answered",
            [Good, Unconnected],
            false,
            (0, 0, 0, 1),
            (true, false),
            0,
        ),
    ];
    for (case, script, copy_first, (hedged, won, lost, calls), (clears, stands), twice) in cases {
        let world = World::new(fast()).await;
        let line = Line::new(script, copy_first, false);
        let spec = job(&world);
        let report = run(&world, &spec, &line).await;
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!(
            (report.ending, report.succeeded),
            (Ending::Finished, ROWS as u64),
            "{case}: {report:?} {heard:?}"
        );
        assert_eq!(
            (report.hedged, report.hedges_won, report.hedges_lost),
            (hedged, won, lost),
            "{case}: {report:?}"
        );
        assert_eq!(line.slow.load(Ordering::SeqCst), calls, "{case}");
        let [doubt, cleared, duplicate] = of_copies(&world);
        assert!(doubt > 0, "{case}");
        let of = |whole: bool| if whole { doubt } else { 0 };
        assert_eq!((cleared, report.in_doubt.0), (of(clears), of(stands)), "{case}");
        let each = report.spent.0 / i64::try_from(ROWS + twice).unwrap();
        assert_eq!(report.spent.0, each * i64::try_from(ROWS + twice).unwrap(), "{case}: {report:?}");
        assert_eq!(duplicate, each * i64::try_from(twice).unwrap(), "{case}");
        holds(&world, &report, &line, case);
    }
}

/// The way from naive to spent is exact, and the provider's bill is within the doubt.
#[track_caller]
fn holds(world: &World, report: &Report, line: &Line, case: &str) {
    assert_eq!(report.reserved, UsdNanos::ZERO, "{case}: {report:?}");
    let levers: i64 = report.saved.values().map(|usd| usd.0).sum();
    assert_eq!(report.naive.0 - levers, report.spent.0, "{case}: {report:?}");
    let each = report.naive.0 / i64::try_from(ROWS).unwrap();
    let bill = each * i64::try_from(line.paid.load(Ordering::SeqCst)).unwrap();
    let path = world.path("bill.json");
    std::fs::write(&path, format!("{{\"total_usd_nanos\":{bill}}}")).unwrap();
    let proof = Reader::open(&world.path("state")).unwrap().verify(&report.job, &[path]).unwrap();
    assert!(proof.passed(), "{case}: {proof:?}");
    if report.in_doubt == UsdNanos::ZERO {
        assert_eq!(bill, report.spent.0, "{case}: all is told, so the bill is exact");
    }
    assert_eq!(world.rows().len(), ROWS, "{case}");
}

#[tokio::test]
async fn two_answers_in_one_moment_are_one_answer_and_a_duplicate() {
    let world = World::new(fast()).await;
    let line = Line::new([Says::Good, Says::Good], true, true);
    let report = run(&world, &job(&world), &line).await;
    assert_eq!((report.succeeded, report.hedged), (ROWS as u64, 1), "{report:?}");
    assert_eq!(
        (line.paid.load(Ordering::SeqCst), report.in_doubt),
        (ROWS as u64 + 1, UsdNanos::ZERO),
        "{report:?}"
    );
    assert_eq!(report.saved["hedge"].0 * (ROWS as i64 + 1), -report.spent.0, "{report:?}");
    holds(&world, &report, &line, "at once");
}

#[tokio::test]
async fn without_the_lever_and_without_the_money_there_is_no_copy() {
    let report = unhelped(0).await;
    let bound = report.in_flight_bound;
    assert!(bound > UsdNanos::ZERO, "{report:?}");

    // Enough for every item, and not for a second call.
    for (more, hedged) in [(UsdNanos(bound.0 / 2), 0), (UsdNanos(bound.0 * 2), 0), (UsdNanos(bound.0 * 6), 1)]
    {
        let world = World::new(fast()).await;
        let line = Line::new([Says::Good, Says::Good], true, true);
        let mut spec = job(&world);
        let answers = report.spent.0 / (ROWS as i64 - 1) * ROWS as i64;
        spec.run.budget_daily = Some(UsdNanos(answers + bound.0 + more.0));
        if hedged == 0 {
            // Nobody comes to its help: it is answered after a while.
            let alone = Arc::clone(&line);
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                alone.copied.notify_one();
            });
        }
        let report = run(&world, &spec, &line).await;
        assert_eq!((report.succeeded, report.hedged), (ROWS as u64, hedged), "{more}: {report:?}");
        holds(&world, &report, &line, "a small budget");
    }
}

#[tokio::test]
async fn doubt_about_copies_holds_nothing_back_in_this_run_or_the_next() {
    let world = World::new(fast()).await;
    let line = Line::new([Says::Never, Says::Good], true, false);
    let mut spec = job(&world);
    spec.run.max_in_doubt = Some(UsdNanos(1));
    spec.source.limit = Some(10);
    let first = run(&world, &spec, &line).await;
    assert_eq!((first.succeeded, first.hedges_won), (10, 1), "{first:?}");
    assert!(first.in_doubt > UsdNanos(1), "{first:?}");
    spec.source.limit = None;
    let report = run(&world, &spec, &line).await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, ROWS as u64), "{report:?}");
    assert_eq!(report.in_doubt, first.in_doubt, "{report:?}");
    holds(&world, &report, &line, "max_in_doubt");
}

#[tokio::test]
async fn where_a_lost_call_ends_its_item_none_is_asked_a_third_time() {
    use Says::{Flawed, Limited, Lost, Unsent};
    for script in [[Lost, Limited], [Lost, Unsent], [Lost, Flawed], [Limited, Lost], [Lost, Lost]] {
        let (case, world) = (format!("{script:?}"), World::new(fast()).await);
        let line = Line::new(script, false, false);
        let mut spec = job(&world);
        spec.run.sync_doubt = SyncDoubt::Dead;
        let report = run(&world, &spec, &line).await;
        assert_eq!(
            (report.ending, report.succeeded),
            (Ending::Finished, ROWS as u64 - 1),
            "{case}: {report:?}"
        );
        assert_eq!(report.failures.get("maybe_paid_unresolved"), Some(&1), "{case}: {report:?}");
        assert_eq!(line.slow.load(Ordering::SeqCst), 2, "{case}");
        let [bound, cleared, _] = of_copies(&world);
        let lost = script.iter().filter(|says| **says == Lost).count() as i64;
        assert_eq!((cleared, report.in_doubt.0), (bound, bound * lost), "{case}: {report:?}");
        assert_eq!(report.reserved, UsdNanos::ZERO, "{case}: {report:?}");
        let proof = Reader::open(&world.path("state")).unwrap().verify(&report.job, &[]).unwrap();
        assert!(proof.passed(), "{case}: {proof:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_lost_beside_its_copy_counts_among_what_is_lost() {
    let world = World::new(fast()).await;
    let line = Line::new([Says::Lost, Says::Good], false, false);
    let mut spec = job(&world);
    spec.run.max_in_doubt = Some(UsdNanos(1));
    spec.source.limit = Some(10);
    let first = run(&world, &spec, &line).await;
    assert!(first.in_doubt > UsdNanos(1), "{first:?}");
    spec.source.limit = None;
    let report = run(&world, &spec, &line).await;
    assert_eq!(report.ending, Ending::InDoubt, "{report:?}");
    assert!(report.open > 0, "{report:?}");
}

#[tokio::test]
async fn an_answer_that_would_be_cut_again_waits_for_no_copy() {
    let world = World::new(fast()).await;
    // The copy is never answered: it is closed, and the item asked for a longer answer.
    let line = Line::new([Says::Cut, Says::Never], false, false);
    let report = run(&world, &job(&world), &line).await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, ROWS as u64), "{report:?}");
    assert_eq!((report.hedged, line.slow.load(Ordering::SeqCst)), (1, 3), "{report:?}");
    assert_eq!(line.paid.load(Ordering::SeqCst), ROWS as u64 + 1, "{report:?}");
    let [doubt, cleared, duplicate] = of_copies(&world);
    assert_eq!((cleared, duplicate, report.in_doubt.0), (0, 0, doubt), "{report:?}");

    // An item that must not be asked beside a call that may be paid waits for it, and knows what it cost.
    let world = World::new(fast()).await;
    let line = Line::new([Says::Cut, Says::Cut], false, false);
    let mut spec = job(&world);
    spec.run.sync_doubt = SyncDoubt::Dead;
    let report = run(&world, &spec, &line).await;
    assert_eq!((report.succeeded, line.slow.load(Ordering::SeqCst)), (ROWS as u64, 3), "{report:?}");
    let [doubt, cleared, duplicate] = of_copies(&world);
    assert!(duplicate > 0 && doubt == cleared && report.in_doubt == UsdNanos::ZERO, "{report:?}");
}

/// A run without copies that ends with the slow row under way, which is so much longer than the others.
async fn unhelped(long: usize) -> Report {
    let world = World::new(fast()).await;
    let line = Line::new([Says::Never, Says::Good], true, false);
    let mut spec = job(&world);
    write_rows(&world, 8, long);
    (spec.run.hedge, spec.run.timeout_ms) = (false, None);
    let report = stopped(&world, &spec, &line, 1).await;
    assert_eq!((report.hedged, line.slow.load(Ordering::SeqCst)), (0, 1), "{report:?}");
    report
}

/// The report of a run that is ended a while after all but the slow row are answered, and so many calls for that one are out.
async fn stopped(world: &World, spec: &JobSpec, line: &Arc<Line>, calls: u64) -> Report {
    stopped_after(world, spec, line, calls, || ()).await
}

/// The same; `look` is what happens just before its end.
async fn stopped_after(
    world: &World,
    spec: &JobSpec,
    line: &Arc<Line>,
    calls: u64,
    look: impl FnOnce(),
) -> Report {
    let engine = engine(world, line);
    let stop = Stop::new();
    let watch = async {
        while line.paid.load(Ordering::SeqCst) < ROWS as u64 - 1 || line.slow.load(Ordering::SeqCst) < calls {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        look();
        stop.abort();
    };
    let work = Box::pin(engine.run(spec, &|_| true, world.ear.clone(), stop.clone()));
    let both = async { tokio::join!(work, watch).0 };
    tokio::time::timeout(std::time::Duration::from_secs(30), both).await.expect("it ends").unwrap()
}

/// The rows of a job, one of them so much longer than the others.
fn write_rows(world: &World, at: usize, long: usize) {
    let row = |row| {
        let more = if row == at { "and more ".repeat(long) } else { String::new() };
        format!("r{row},\"plain product {row}, really {more}\"\n")
    };
    let rows: String = (0..ROWS).map(row).collect();
    std::fs::write(world.path("reviews.csv"), format!("id,text\n{rows}")).unwrap();
}

#[tokio::test]
async fn a_copy_takes_no_money_that_a_row_waits_for() {
    let usual = unhelped(0).await;
    let (each, bound) = (usual.spent.0 / (ROWS as i64 - 1), usual.in_flight_bound);
    let large = unhelped(20_000).await.in_flight_bound;
    assert!(large.0 > bound.0 * 4, "{bound} {large}");
    let world = World::new(fast()).await;
    // Nobody comes to the slow one's help: it is answered after a while.
    let line = Line::new([Says::Good, Says::Good], false, true);
    let mut spec = job(&world);
    write_rows(&world, 11, 20_000);
    // Enough for every row one after the other: the large one, which is the last, waits until the slow one has been answered.
    spec.run.budget_daily = Some(UsdNanos(each * (ROWS as i64 - 1) + each / 2 + large.0));
    let alone = Arc::clone(&line);
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        alone.copied.notify_one();
    });
    let report = run(&world, &spec, &line).await;
    assert_eq!(
        (report.ending, report.succeeded, report.hedged),
        (Ending::Finished, ROWS as u64, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_call_and_its_copy_are_one_lease_that_is_in_flight() {
    let world = World::new(fast()).await;
    let line = Line::new([Says::Never, Says::Never], false, true);
    let report = stopped(&world, &job(&world), &line, 2).await;
    assert_eq!((report.in_flight, report.in_flight_bound), (1, report.reserved), "{report:?}");
    assert_eq!(report.in_doubt, report.reserved, "the copy is in doubt: {report:?}");
}

#[tokio::test]
async fn copies_of_a_run_that_is_at_work_are_for_nobody_to_decide() {
    let world = World::new(fast()).await;
    let line = Line::new([Says::Never, Says::Never], false, true);
    let spec = job(&world);
    let suggested = || {
        let lines = Reader::open(&world.path("state")).unwrap().doubts(None).unwrap();
        let of_copies =
            lines.into_iter().find(|line| line.known.iter().any(|known| known.starts_with("W9: ")));
        of_copies.expect("a copy is in doubt").suggestion
    };
    let mut at_work = String::new();
    stopped_after(&world, &spec, &line, 2, || at_work = suggested()).await;
    assert!(!at_work.contains("doubt release") && at_work.contains("let the run end"), "{at_work}");
    // The thread of the engine may hold the folder a moment longer: whoever opens it waits for that.
    drop(ground(&world.settings()));
    let over = suggested();
    assert!(over.contains("doubt release"), "{over}");
}
