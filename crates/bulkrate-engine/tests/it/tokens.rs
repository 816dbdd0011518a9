//! Tokens are counted where bytes cannot decide, and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkrate_core::lane::Lane;
use bulkrate_core::money::{Tokens, UsdNanos};
use bulkrate_core::price::Catalogue;
use bulkrate_core::tokens::{CountTokens, Encoding};
use bulkrate_engine::plan::{InputCount, Plan};
use bulkrate_engine::spec::{JobSpec, OnBadLine, RequestSpec, RuleSpec};
use bulkrate_engine::{Engine, EngineError};
use bulkrate_tokens::Tables;

use crate::world::{World, fast};

/// Real tables that remember how often they were asked.
#[derive(Debug, Default)]
struct Asked(AtomicU64);

impl CountTokens for Asked {
    fn count(&self, encoding: Encoding, text: &str) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed);
        Tables.count(encoding, text)
    }
}

/// What the models of these tests can read.
const WINDOW: u64 = 1_000;
/// Around one user message without a system prompt.
const FRAMING: u64 = 7;

struct Bench {
    world: World,
    asked: Arc<Asked>,
}

impl Bench {
    async fn new() -> Self {
        Self { world: World::new(fast()).await, asked: Arc::default() }
    }

    fn engine(&self) -> Engine {
        let bundled = Catalogue::bundled();
        let day = bundled.rows()[0].as_of.unwrap();
        let small = ["gpt-5-mini", "gpt-5-nano"].map(|id| {
            let mut row = bundled.find("openai", id, day).unwrap().clone();
            (row.limits.context_window, row.limits.max_input) = (None, Some(Tokens(WINDOW)));
            (row.retirement, row.valid_to) = (None, None);
            row
        });
        let tables = Arc::<Asked>::clone(&self.asked);
        let catalogue = Arc::new(bundled.with_overrides(small.to_vec()));
        Engine::open(bulkrate_engine::settings::Settings { catalogue, tables, ..self.world.settings() })
            .unwrap()
    }

    /// A job that asks `{{ text }}` of each text.
    fn spec(&self, texts: &[String]) -> JobSpec {
        let lines: Vec<String> = texts
            .iter()
            .enumerate()
            .map(|(place, text)| serde_json::json!({ "id": format!("t{place}"), "text": text }).to_string())
            .collect();
        let path = self.world.path("texts.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let mut spec = self.world.spec(&path, Lane::Sync);
        spec.request = RequestSpec {
            model: Some("openai/gpt-5-mini".into()),
            user: Some("{{ text }}".into()),
            ..RequestSpec::default()
        };
        spec
    }

    async fn plan(&self, spec: &JobSpec) -> Result<Plan, EngineError> {
        self.engine().plan(spec, &*self.world.ear).await
    }

    fn asked(&self) -> u64 {
        self.asked.0.swap(0, Ordering::Relaxed)
    }
}

/// A text of exactly so many tokens, and twice as many bytes.
fn tokens(count: usize) -> String {
    let text = format!("a{}", " a".repeat(count - 1));
    assert_eq!(Tables.count(Encoding::O200kBase, &text), count as u64);
    text
}

#[tokio::test]
async fn the_context_window_has_an_exact_edge() {
    let bench = Bench::new().await;
    let most = usize::try_from(WINDOW - FRAMING).unwrap();
    assert_eq!(bench.plan(&bench.spec(&[tokens(most)])).await.unwrap().requests, 1);
    assert_eq!(bench.asked(), 1);
    let refused = bench.plan(&bench.spec(&[tokens(most + 1)])).await.unwrap_err();
    let told = format!(
        "{refused}: {}",
        std::error::Error::source(&refused).map_or_else(String::new, ToString::to_string)
    );
    assert!(
        told.contains("1001 input tokens do not fit `openai/gpt-5-mini") && !told.contains("about"),
        "{told}"
    );
    assert_eq!(bench.asked(), 1);

    // Far on either side nothing is counted.
    let mut spec = bench.spec(&[tokens(100), tokens(9_000)]);
    spec.source.on_bad_line = OnBadLine::Dead;
    let plan = bench.plan(&spec).await.unwrap();
    assert_eq!((plan.requests, plan.invalid, bench.asked()), (1, 1, 0));
}

/// Image data is no text: it does not make a prompt too long.
#[tokio::test]
async fn an_image_larger_than_the_window_is_no_long_prompt() {
    let bench = Bench::new().await;
    let path = bench.world.path("photos.jsonl");
    let photo = format!("data:image/png;base64,{}", "A".repeat(40_000));
    std::fs::write(&path, serde_json::json!({ "id": "p", "photo": photo }).to_string()).unwrap();
    let mut spec = bench.spec(&[]);
    spec.source.path = Some(path);
    spec.request.user = Some("What is it?".into());
    spec.request.image = Some("photo".into());
    assert_eq!(bench.plan(&spec).await.unwrap().requests, 1);
    assert_eq!(bench.asked(), 0, "eleven bytes of text need no count");
}

#[tokio::test]
async fn a_rule_at_its_edge_is_decided_exactly() {
    let bench = Bench::new().await;
    let rule = |when: &str| vec![RuleSpec { when: when.into(), model: "openai/gpt-5-nano".into() }];
    let edge = usize::try_from(20 - FRAMING).unwrap();
    let chosen = |plan: &Plan| {
        let of = |model: &str| {
            plan.models
                .iter()
                .filter(|found| found.model.contains(model))
                .map(|found| found.requests)
                .sum::<u64>()
        };
        (of("gpt-5-nano"), of("gpt-5-mini"))
    };
    for (texts, counted, want) in [
        // 19 tokens are below 20, 20 are not: bytes cannot tell.
        (vec![tokens(edge - 1), tokens(edge)], 2, (1, 1)),
        // Below 20 even if each byte were a token; above even at sixteen bytes a token.
        (vec![tokens(5)], 0, (1, 0)),
        (vec![tokens(150)], 0, (0, 1)),
    ] {
        let mut spec = bench.spec(&texts);
        spec.request.rules = rule("tokens < 20");
        assert_eq!(chosen(&bench.plan(&spec).await.unwrap()), want, "{texts:?}");
        assert_eq!(bench.asked(), counted, "{texts:?}");
    }
    // Rules that do not read `tokens` count nothing.
    let mut spec = bench.spec(&[tokens(edge)]);
    spec.request.rules = rule("text == \"a\"");
    assert_eq!(chosen(&bench.plan(&spec).await.unwrap()), (0, 1));
    assert_eq!(bench.asked(), 0);
}

#[tokio::test]
async fn an_exact_plan_counts_every_request_and_prices_it() {
    let bench = Bench::new().await;
    let texts = [tokens(50), "antidisestablishmentarianism".to_owned(), tokens(50)];
    let spec = bench.spec(&texts);
    let estimated = bench.plan(&spec).await.unwrap();
    assert_eq!((bench.asked(), &estimated.models[0].input_count), (0, &None));

    let exact = bench.engine().plan_exact(&spec, &*bench.world.ear).await.unwrap();
    // The third row equals the first, and is asked once with it.
    let input = (50 + FRAMING) + (6 + FRAMING);
    assert_eq!((exact.requests, exact.models[0].input_tokens, bench.asked()), (2, input, 2));
    let how = InputCount { exact: true, encoding: Some("o200k_base"), why: None };
    assert_eq!(exact.models[0].input_count, Some(how));
    // 0.25 and 2 USD per million; 256 output tokens each are a guess, as before; two roundings.
    let sync = exact.lanes.iter().find(|lane| lane.lane == Lane::Sync).unwrap();
    let nanos = (input * 250_000 + 2 * 256 * 2_000_000 + 2 * 999).div_ceil(1_000);
    assert_eq!(sync.expected, UsdNanos(i64::try_from(nanos).unwrap()));
    // What a run would do stays what a run does without counts.
    let worst = |plan: &Plan| plan.lanes.iter().map(|lane| lane.worst).collect::<Vec<_>>();
    assert_eq!(worst(&exact), worst(&estimated));
    assert_eq!((exact.lane, exact.cap), (estimated.lane, estimated.cap));
}

#[tokio::test]
async fn an_exact_plan_says_where_it_is_not_exact() {
    let bench = Bench::new().await;
    let exact = async |spec: &JobSpec| {
        let plan = bench.engine().plan_exact(spec, &*bench.world.ear).await.unwrap();
        let model = plan.models[0].clone();
        let how = model.input_count.unwrap();
        (model.input_tokens, how.exact, how.encoding, how.why.unwrap_or_default())
    };
    // No published tokenizer: counted with that of the models before.
    let mut unpublished = bench.spec(&[tokens(20)]);
    unpublished.request.model = Some("openai/gpt-6-luna".into());
    let (input, is_exact, encoding, why) = exact(&unpublished).await;
    assert_eq!((input, is_exact, encoding), (20 + FRAMING, false, Some("o200k_base")));
    assert!(why.contains("not published"), "{why}");
    // A closed list of answers becomes a schema.
    let mut choices = bench.spec(&[tokens(20)]);
    choices.request.choices = vec!["yes".into(), "no".into()];
    let (input, is_exact, _, why) = exact(&choices).await;
    assert_eq!((input, is_exact), (20 + FRAMING + 2, false));
    assert!(why.contains("1 requests"), "{why}");
    // OpenAI's own lines.
    let path = bench.world.path("lines.jsonl");
    let line = serde_json::json!({
        "custom_id": "x", "method": "POST", "url": "/v1/chat/completions",
        "body": { "model": "gpt-5-mini", "messages": [{ "role": "user", "content": tokens(33) }] },
    });
    std::fs::write(&path, line.to_string()).unwrap();
    let mut lines = bench.spec(&[]);
    (lines.source.path, lines.source.id, lines.request) = (Some(path), None, RequestSpec::default());
    assert_eq!(exact(&lines).await, (33 + FRAMING, true, Some("o200k_base"), String::new()));
}

#[tokio::test]
async fn a_run_does_not_count() {
    let bench = Bench::new().await;
    let spec = bench.world.spec(&bench.world.reviews(20), Lane::Sync);
    let engine = bench.engine();
    let report =
        engine.run(&spec, &|_| true, bench.world.ear.clone(), bulkrate_engine::Stop::new()).await.unwrap();
    assert_eq!((report.succeeded, bench.asked()), (20, 0));
}
