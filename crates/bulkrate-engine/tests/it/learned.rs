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
