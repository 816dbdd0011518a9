//! What a pilot has learned of a cascade, in the plan of the job.

use bulkrate_core::cascade::Accept;
use bulkrate_core::lane::Lane;
use bulkrate_core::price::Ratios;
use bulkrate_engine::plan::LanePlan;
use bulkrate_engine::spec::{CascadeSpec, Learned};

use crate::world::{World, fast};

const STRONG: &str = "openai/gpt-6.1-sol";
const CHEAP: &str = "openai/gpt-6-luna";

/// Answers of so many items, each of so many output tokens.
fn answers(items: u64, output: u64) -> Ratios {
    Ratios {
        items,
        bytes: items * 150,
        input: items * 40,
        output: items * output,
        output_squares: u128::from(items * output * output),
        ..Ratios::default()
    }
}

/// The plan in the sync lane of a job whose models are known by `learned`; with a cascade or without.
async fn planned(world: &World, cascade: bool, learned: Learned) -> LanePlan {
    let mut spec = world.spec(&world.reviews(900), Lane::Sync);
    spec.request.model = Some(STRONG.to_owned());
    spec.request.cascade =
        cascade.then(|| CascadeSpec { models: vec![CHEAP.to_owned()], accept: Accept::Valid });
    spec.run.learned = Some(Box::new(learned));
    let plan = world.engine().plan(&spec, &*world.ear).await.unwrap();
    plan.lanes.into_iter().find(|plan| plan.lane == Lane::Sync).unwrap()
}

/// The cheap model says 5 tokens, the strong one `strong`.
fn both(strong: u64) -> Learned {
    let models = [(STRONG.to_owned(), answers(300, strong)), (CHEAP.to_owned(), answers(300, 5))];
    Learned { models: models.into(), ..Learned::default() }
}

#[tokio::test]
async fn what_goes_on_is_priced_by_what_the_strong_model_used_on_it() {
    let world = World::new(fast()).await;
    let of =
        |items: u64, gone_on: Option<Ratios>| Learned { rejected: Some((items, 300)), gone_on, ..both(5) };
    let average = planned(&world, true, of(60, None)).await;
    let harder = planned(&world, true, of(60, Some(answers(60, 15)))).await;
    // A fifth goes on, so it costs a fifth of what it would cost more if all items were like those.
    let (easy, hard) = (planned(&world, false, both(5)).await, planned(&world, false, both(15)).await);
    let (more, fifth) = (harder.expected - average.expected, (hard.expected - easy.expected).0 / 5);
    assert!(fifth > 0 && (more.0 - fifth).abs() <= 10, "{more} {fifth}");
    assert!(harder.p95 > average.p95 && harder.worst == average.worst, "{harder:?} {average:?}");
    // Of few that went on nothing is promised: the P95 counts each of them at its maximum.
    let (enough, few) = (of(50, Some(answers(50, 15))), of(49, Some(answers(49, 15))));
    assert!(planned(&world, true, few).await.p95 > planned(&world, true, enough).await.p95);
}

#[tokio::test]
async fn a_p95_says_whether_it_is_a_promise() {
    let world = World::new(fast()).await;
    for (strong, cheap, learned) in [(50, 50, true), (50, 49, false), (49, 50, false)] {
        let models = [(STRONG.to_owned(), answers(strong, 5)), (CHEAP.to_owned(), answers(cheap, 5))];
        let known = Learned { models: models.into(), rejected: Some((1, 10)), ..Learned::default() };
        assert_eq!(planned(&world, true, known).await.learned, learned, "{strong} {cheap}");
    }
}

/// A plan in the sync lane of a job that asks in bundles of `size`, by what a pilot has paid for a row of them: input, output.
async fn bundled(world: &World, size: u32, each: Option<(u64, u64)>) -> LanePlan {
    let mut spec = world.spec(&world.reviews(900), Lane::Sync);
    spec.request.system = Some("Say of a review whether it is positive, negative or neutral. ".repeat(20));
    spec.request.bundle = Some(size);
    let alone = Ratios { input: 300 * 340, bytes: 300 * 1_250, ..answers(300, 6) };
    let row = |(input, output)| Ratios { input: 300 * input, bytes: alone.bytes, ..answers(300, output) };
    let bundles = each.map(row).map(|ratios| (CHEAP.to_owned(), ratios));
    spec.run.learned = Some(Box::new(Learned {
        models: [(CHEAP.to_owned(), alone)].into(),
        bundles: bundles.into_iter().collect(),
        ..Learned::default()
    }));
    let plan = world.engine().plan(&spec, &*world.ear).await.unwrap();
    assert_eq!(plan.bundle.unwrap().size, Some(size));
    plan.lanes.into_iter().find(|plan| plan.lane == Lane::Sync).unwrap()
}

#[tokio::test]
async fn bundles_cost_what_the_pilot_paid_for_them_whatever_one_would_have_guessed() {
    let world = World::new(fast()).await;
    // Retries included, the twenties were the dearest of these: the plan says so, and in the other order the other way round.
    for paid in [[(180, 9), (110, 9), (70, 9)], [(120, 9), (150, 11), (190, 13)]] {
        let mut found = Vec::new();
        for (size, each) in [5, 10, 20].into_iter().zip(paid) {
            found.push(bundled(&world, size, Some(each)).await);
        }
        let order = |costs: Vec<i64>| costs.windows(2).map(|two| two[0] > two[1]).collect::<Vec<_>>();
        let costs: Vec<i64> = found.iter().map(|plan| plan.expected.0).collect();
        let tokens = |(input, output): (u64, u64)| i64::try_from(input + 5 * output).unwrap();
        assert_eq!(order(costs.clone()), order(paid.map(tokens).into()), "{costs:?}");
        // Output costs five times what input does, so costs are as tokens are, but for the length of the rows.
        for (plan, each) in found.iter().zip(paid) {
            let ratio = plan.expected.0 * tokens(paid[0]) * 1_000 / (costs[0] * tokens(each));
            assert!((985..=1_015).contains(&ratio), "{ratio} {plan:?} {each:?}");
            assert!(plan.p95 > plan.expected && plan.learned, "{plan:?}");
        }
    }
    // Without a pilot of them what is said once is guessed.
    assert!(bundled(&world, 20, None).await.expected < bundled(&world, 5, None).await.expected);
}
