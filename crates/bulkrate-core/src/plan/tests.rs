#![allow(clippy::unwrap_used, reason = "tests")]
mod routers;

use proptest::prelude::*;

use super::accept::judged;
use super::proof::DOUBT;
use super::*;
use crate::cascade::{Accept, Opinion};
use crate::lane::Lane;
use crate::money::UsdNanos;
use crate::pace::rng::SplitMix64;
use crate::price::Quote;
use crate::prompt_cache::Wish;

fn quote(expected: i64) -> Quote {
    Quote {
        expected: UsdNanos(expected),
        p95: UsdNanos(expected * 6 / 5),
        worst: UsdNanos(expected * 10),
        learned: true,
    }
}

fn says(word: u8) -> Said {
    Said { opinion: Some(Opinion([word; 16])), usable: true, ..Said::default() }
}

fn step(cheap: &[usize], accept: Accept) -> Step {
    Step { cheap: cheap.to_vec(), accept, last: 0 }
}

const NOTHING: Said = Said { opinion: None, usable: false, sure_permille: None, sureness: None, right: None };

/// A strong model that always says 0, and a cheap one that says something else to the first `wrong` items.
fn sheet(items: usize, wrong: usize) -> Sheet {
    let cheap = (0..items).map(|item| says(u8::from(item < wrong))).collect();
    Sheet { models: vec![vec![says(0); items], cheap], labelled: false, ..Sheet::default() }
}

fn alone(sheet: &Sheet, doubt: f64) -> Loss {
    loss(sheet, |item| sheet.said(1, item), doubt).unwrap()
}

#[test]
fn a_loss_is_known_by_its_bound() {
    // scipy.stats.beta.ppf(0.95, k + 1, n - k).
    for (items, wrong, high) in [(298, 0, 0.010_002_5), (148, 0, 0.020_038_1), (100, 1, 0.046_559_8)] {
        let loss = alone(&sheet(items, wrong), DOUBT);
        assert!((loss.high - high).abs() < 1e-6 && loss.low <= loss.share(), "{loss:?}");
    }
    // The more plans are looked at, the less is proved.
    assert!(alone(&sheet(148, 0), DOUBT / 4.0).high > 0.029);
    for (permille, doubt, items) in [(20, DOUBT, 149), (10, DOUBT, 299), (20, DOUBT / 4.0, 217)] {
        assert_eq!(needed(permille, false, doubt), items);
        let high = |items: u64| alone(&sheet(usize::try_from(items).unwrap(), 0), doubt).high;
        assert!(high(items) <= f64::from(permille) / 1e3 && high(items - 1) > f64::from(permille) / 1e3);
    }
}

#[test]
fn what_the_strong_model_cannot_answer_is_not_held_against_another() {
    let mut sheet = sheet(100, 0);
    (0..10).for_each(|item| sheet.models[0][item] = NOTHING);
    (5..20).for_each(|item| sheet.models[1][item] = NOTHING);
    let loss = alone(&sheet, DOUBT);
    assert_eq!((loss.judged, loss.lost, loss.gained), (90, 10, 0));
    sheet.models[0] = vec![Said { usable: true, ..Said::default() }; 100];
    assert_eq!(super::loss(&sheet, |item| sheet.said(1, item), DOUBT), None, "free text");
}

#[test]
fn labels_let_a_cheap_model_gain() {
    let right = |right: bool| Said { right: Some(right), ..says(0) };
    let strong = (0..400).map(|item| right(item % 10 != 0)).collect();
    let cheap = (0..400).map(|item| right(item % 40 != 1)).chain([right(true)]).collect();
    let sheet = Sheet { models: vec![strong, cheap], labelled: true, ..Sheet::default() };
    let found = alone(&sheet, DOUBT);
    assert_eq!((found.lost, found.gained, found.judged), (10, 40, 400));
    assert!(found.high < 0.0 && found.low < found.share() && found.share() < found.high, "{found:?}");
}

#[test]
fn labels_that_nobody_says_prove_nothing() {
    let right = |right: bool| Said { right: Some(right), ..says(0) };
    let of = |strong: bool| Sheet {
        models: vec![[vec![right(strong)], vec![right(false); 299]].concat(), vec![right(false); 300]],
        labelled: true,
        ..Sheet::default()
    };
    let found = |sheet: &Sheet| loss(sheet, |item| sheet.said(1, item), DOUBT);
    assert_eq!(found(&of(false)), None, "neither model is ever right, so that none loses");
    assert_eq!(found(&of(true)).map(|loss| (loss.lost, loss.judged)), Some((1, 300)));
}

#[test]
fn a_cascade_is_judged_by_what_it_hands_out() {
    let mut sheet = sheet(100, 20);
    // It is unsure of what it gets wrong, and of twenty more.
    for (item, said) in sheet.models[1].iter_mut().enumerate() {
        said.sure_permille = Some(if item < 40 { 550 } else { 950 });
    }
    (0..5).for_each(|item| sheet.models[1][item] = NOTHING);
    let sure = |least_permille| Accept::Confidence { field: "sure".to_owned(), least_permille };
    for (accept, rejected, lost) in [(Accept::Valid, 5, 15), (sure(900), 40, 0), (sure(500), 5, 15)] {
        let tried = judged(&sheet, &step(&[1], accept.clone()), DOUBT);
        assert_eq!((tried.rejected.len(), tried.loss.unwrap().lost), (rejected, lost), "{accept}");
    }
    let rules: Vec<Accept> = [960, 900, 600, 500].map(sure).into();
    // 0 of 100 proves 3 %: the rule that accepts most and loses nothing is taken, not the one before it.
    assert_eq!(best_accept(&sheet, &[1], &rules, 30, DOUBT).unwrap().step.accept, sure(600));
    // Nothing can be proved: the strictest is shown.
    assert_eq!(best_accept(&sheet, &[1], &rules, 20, DOUBT).unwrap().step.accept, sure(960));
    assert_eq!(best_accept(&sheet, &[1], &[], 20, DOUBT), None);
}

#[test]
fn two_that_agree_are_taken_at_their_word() {
    let mut sheet = sheet(100, 20);
    let second = (0..100).map(|item| says(u8::from(item < 5) + 2 * u8::from(item >= 90))).collect();
    sheet.models.push(second);
    let tried = judged(&sheet, &step(&[1, 2], Accept::Agreement { fields: vec![] }), DOUBT);
    // 0-4 agree on a wrong answer; 5-19 and 90-99 do not agree.
    assert_eq!((tried.rejected.len(), tried.reached, tried.loss.unwrap().lost), (25, 100, 5));
}

#[test]
fn a_cascade_of_bundles_hands_out_what_was_said_in_bundles() {
    // Alone the strong model says 0 to all; in bundles it errs at the first 2 of 200, and the cheap one in bundles has no answer to the first 40.
    let in_bundles = |wrong: usize, empty: usize| -> Vec<Said> {
        (0..200).map(|item| if item < empty { NOTHING } else { says(u8::from(item < wrong)) }).collect()
    };
    let mut sheet = sheet(200, 0);
    // Places: 2 and 3 are the models in fives, 4 and 5 those in tens, where 30 more are lost.
    sheet.models.extend([in_bundles(2, 0), in_bundles(0, 40), in_bundles(2, 0), in_bundles(70, 40)]);
    let of = |last: usize| Step { cheap: vec![last + 1], accept: Accept::Valid, last };
    let found = |permille| cascades(&sheet, &[of(2), of(4)], permille, DOUBT);
    let kept = found(40);
    assert_eq!(kept.iter().map(|tried| tried.step.last).collect::<Vec<_>>(), [2], "tens lose too much");
    assert_eq!((kept[0].rejected.len(), kept[0].loss.unwrap().lost), (40, 2));
    // Where fives are not proved, tens are not looked at.
    assert_eq!(found(10).iter().map(|tried| tried.step.last).collect::<Vec<_>>(), [2]);
    assert_eq!(found(300).len(), 2);
    assert!(cascades(&sheet, &[], 40, DOUBT).is_empty());
}

#[test]
fn what_goes_on_is_counted_over_the_items_that_are_asked() {
    // Of 100 rows 60 equal another or are answered by a filter; the cheap model has no answer to 10 of those, and to 10 others.
    let mut sheet = sheet(100, 0);
    sheet.reached = (0..100).map(|item| item >= 60).collect();
    (50..70).for_each(|item| sheet.models[1][item] = NOTHING);
    let tried = judged(&sheet, &step(&[1], Accept::Valid), DOUBT);
    assert_eq!((tried.rejected, tried.reached), ((60..70).collect(), 40));
    // Quality is a matter of all rows.
    assert_eq!(tried.loss.unwrap().judged, 100);
}

#[test]
fn a_cascade_costs_the_cheap_answers_and_its_share_of_the_strong_ones() {
    let total = cascaded(&[quote(100)], &quote(2_000), 30, 100);
    assert_eq!(total.expected, UsdNanos(100 + 600));
    // 38.5 % with 95 % confidence.
    assert!((120 + 920..120 + 930).contains(&total.p95.0), "{total:?}");
    assert_eq!(total.worst, UsdNanos(1_000 + 20_000));
    assert_eq!(
        cascaded(&[quote(100)], &quote(2_000), 0, 0).expected,
        UsdNanos(2_100),
        "nothing known: all go up"
    );
}

#[test]
fn what_bundles_leave_is_in_what_they_cost_and_more_of_it_is_feared() {
    // 3 of 30 bundles left items; what is left is asked in halves, at 200 for all of them.
    let (bundled, halves) = (quote(100), quote(200));
    let cost = asked_again(&bundled, &halves, 3, 30);
    assert_eq!((cost.expected, cost.worst), (bundled.expected, UsdNanos(1_000 + 2_000)));
    // 23.9 % with 95 % confidence, against the 10 % that were seen and are paid for.
    assert!((120 + 32..120 + 36).contains(&cost.p95.0), "{cost:?}");
    // Of bundles that all went well a tenth may fail, and of few of them more.
    let clean = |bundles| asked_again(&bundled, &halves, 0, bundles).p95.0 - bundled.p95.0;
    assert!((22..26).contains(&clean(30)) && (40..46).contains(&clean(15)), "{} {}", clean(30), clean(15));
    assert_eq!(clean(0), halves.p95.0, "nothing known: all are asked again");
    assert!(!asked_again(&bundled, &Quote { learned: false, ..halves }, 0, 9).learned);
}

/// Section 8 of the calculator's table: 500 tokens in, 200 out, at batch prices of a large and a nano model.
#[test]
fn the_winner_and_why_each_other_one_lost() {
    let (large, nano) = (UsdNanos(1_300_000), UsdNanos(65_000));
    let of = |usd: UsdNanos| Quote { expected: usd, p95: usd, worst: usd, learned: true };
    let base = Candidate {
        way: Way::alone(0),
        lane: Lane::Batch,
        bundle: 1,
        bundles: Vec::new(),
        mark: None,
        cost: Some(of(large)),
        time_s: 3_600,
        latest_s: 4_000,
        quality: Quality::Reference,
        barred: None,
    };
    let measured = |lost: usize| Quality::Measured(alone(&sheet(300, lost), DOUBT));
    let cascade = Way::cascade(vec![1], Accept::Valid);
    let candidates = [
        base.clone(),
        Candidate {
            lane: Lane::Sync,
            cost: Some(of(UsdNanos(2 * large.0))),
            time_s: 60,
            latest_s: 60,
            ..base.clone()
        },
        Candidate { way: Way::alone(1), cost: Some(of(nano)), quality: measured(9), ..base.clone() },
        Candidate {
            way: cascade.clone(),
            cost: Some(of(UsdNanos(nano.0 + large.0 / 10))),
            quality: measured(1),
            ..base.clone()
        },
        Candidate { way: cascade, lane: Lane::Flex, barred: Some("no flex".to_owned()), ..base.clone() },
        Candidate { way: Way::alone(2), quality: Quality::Unknown, ..base.clone() },
        Candidate { way: Way::alone(3), cost: None, quality: measured(0), ..base },
    ];
    let ask = Ask {
        aim: Aim::Cheapest,
        loss_permille: 20,
        deadline_s: Some(7_200),
        budget: Some(UsdNanos(1_400_000)),
        strict: false,
        lane: None,
    };
    let found = search(&candidates, &ask);
    assert_eq!(found.winner, Some(3));
    assert_eq!(found.lost[0], Some(Lost::Dearer { by: UsdNanos(large.0 - 65_000 - 130_000) }));
    assert_eq!(found.lost[1], Some(Lost::OverBudget { by: UsdNanos(1_200_000) }));
    assert!(matches!(found.lost[2], Some(Lost::QualityUnproved { high }) if high > 0.03));
    assert_eq!(found.lost[3], None);
    assert_eq!(found.lost[4], Some(Lost::Barred("no flex".to_owned())));
    assert_eq!(found.lost[5], Some(Lost::QualityUnknown));
    assert_eq!(found.lost[6], Some(Lost::Unpriced));
    let soon = search(&candidates, &Ask { deadline_s: Some(100), budget: None, ..ask });
    assert_eq!((soon.winner, &soon.lost[3]), (Some(1), &Some(Lost::TooSlow { latest_s: 4_000 })));
    let fast = search(&candidates, &Ask { aim: Aim::Fastest, budget: None, ..ask });
    assert_eq!((fast.winner, &fast.lost[3]), (Some(1), &Some(Lost::Slower { by_s: 3_540 })));
    let sync = search(&candidates, &Ask { lane: Some(Lane::Sync), budget: None, ..ask });
    assert_eq!((sync.winner, &sync.lost[3]), (Some(1), &Some(Lost::OtherLane)));
    let strict = search(&candidates, &Ask { strict: true, budget: Some(UsdNanos(0)), ..ask });
    assert_eq!(strict.winner, None);
    // Whose price is not known may be the fastest, and is never the cheapest; no budget could be kept.
    let unpriced = candidates.map(|one| Candidate { cost: None, ..one });
    let won = |ask: Ask| search(&unpriced, &ask).winner;
    assert_eq!(won(Ask { aim: Aim::Fastest, budget: None, ..ask }), Some(1));
    assert_eq!(won(Ask { aim: Aim::Fastest, ..ask }), None);
    assert_eq!(won(Ask { budget: None, ..ask }), None);
}

/// The promise, however often the luckiest of several plans is taken: broken in no more than one job of twenty.
#[test]
fn the_luckiest_of_many_keeps_the_promise_too() {
    const MODELS: usize = 6;
    const PERMILLE: u32 = 40;
    let mut rng = SplitMix64::new(7);
    let (mut broken, mut broken_uncorrected, mut taken) = (0, 0, 0);
    for _ in 0..400 {
        // All are just not good enough: whatever is taken breaks the promise.
        let models = (0..=MODELS)
            .map(|model| {
                let word = |rng: &mut SplitMix64| u8::from(model > 0 && rng.next_u64() % 1_000 < 41);
                (0..200).map(|_| says(word(&mut rng))).collect()
            })
            .collect();
        let sheet = Sheet { models, labelled: false, ..Sheet::default() };
        let keeps = |doubt: f64| {
            (1..=MODELS).any(|model| {
                loss(&sheet, |item| sheet.said(model, item), doubt).unwrap().high <= f64::from(PERMILLE) / 1e3
            })
        };
        broken += usize::from(keeps(DOUBT / 6.0));
        broken_uncorrected += usize::from(keeps(DOUBT));
        taken += 1;
    }
    assert!(broken * 20 <= taken, "{broken} of {taken}");
    assert!(broken_uncorrected * 8 > taken, "the correction is needed: {broken_uncorrected} of {taken}");
}

/// A pilot that is made larger until something is proved: the promise holds over all its looks, not for each.
#[test]
fn looking_again_until_it_is_proved_keeps_the_promise_too() {
    const PILOTS: usize = 300;
    const SIZES: [usize; 8] = [100, 150, 200, 300, 400, 600, 800, 1_200];
    let mut rng = SplitMix64::new(11);
    let mut broken_unpaid = 0;
    for permille in [20_u32, 40] {
        // Fewer losses than so many prove the promise at a size.
        let bars = |doubt: &dyn Fn(usize) -> f64| -> Vec<usize> {
            let proves = |items: usize, lost: usize, doubt: f64| {
                alone(&sheet(items, lost), doubt).high <= f64::from(permille) / 1e3
            };
            let each = SIZES.iter().enumerate();
            each.map(|(look, items)| {
                (0..*items).take_while(|lost| proves(*items, *lost, doubt(look + 1))).count()
            })
            .collect()
        };
        let (paid_bars, unpaid_bars) = (bars(&|look| doubt_at(look, 1)), bars(&|_| DOUBT));
        let (mut broken, mut unpaid) = (0, 0);
        for _ in 0..PILOTS {
            // The plan loses a hair more than is allowed: whoever takes it breaks the promise.
            let wrong: Vec<bool> =
                (0..SIZES[7]).map(|_| rng.next_u64() % 10_000 < u64::from(permille) * 10 + 1).collect();
            let lost = |items: usize| wrong[..items].iter().filter(|wrong| **wrong).count();
            let proved = |bars: &[usize]| SIZES.iter().zip(bars).any(|(items, bar)| lost(*items) < *bar);
            broken += usize::from(proved(&paid_bars));
            unpaid += usize::from(proved(&unpaid_bars));
        }
        assert!(broken * 100 <= PILOTS * 8, "{permille}: {broken} of {PILOTS}");
        broken_unpaid += unpaid;
    }
    assert!(
        broken_unpaid * 100 > 2 * PILOTS * 8,
        "looks must be paid for: {broken_unpaid} of {}",
        2 * PILOTS
    );
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let quality = prop_oneof![
        Just(Quality::Unknown),
        (0_u64..10).prop_map(|lost| Quality::Measured(Loss {
            lost,
            gained: 0,
            judged: 300,
            low: 0.0,
            high: f64::from(u32::try_from(lost).unwrap()) / 200.0,
        })),
    ];
    let barred = prop_oneof![4 => Just(None), 1 => Just(Some("no".to_owned()))];
    (
        0_usize..4,
        0_usize..4,
        0_usize..3,
        (
            prop_oneof![Just(1_u32), Just(5), Just(20)],
            prop_oneof![Just(None), Just(Some(Wish::Off)), Just(Some(Wish::Hour))],
        ),
        proptest::option::weighted(0.9, 1_i64..50),
        1_u64..50,
        quality,
        barred,
    )
        .prop_map(|(model, kind, lane, (bundle, mark), cost, time, quality, barred)| {
            // Of places 0 to 3 each model stands at; in bundles they have places of their own.
            let last = if bundle > 1 { 4 } else { 0 };
            let way = match (kind, model) {
                (1, 1..) => Way { last, ..Way::cascade(vec![model + last], Accept::Valid) },
                (2, 1..) => Way { router: vec![model + last], ..Way::alone(last) },
                // The cheap one alone, the strong one in bundles.
                (3, 1..) => Way { router: vec![model], ..Way::alone(last) },
                _ => Way::alone(model + last),
            };
            let bundles = if kind == 3 && model > 0 && bundle > 1 { vec![1, bundle] } else { Vec::new() };
            let quality = if way.is_reference() { Quality::Reference } else { quality };
            let latest_s = time * 110;
            Candidate {
                way,
                lane: Lane::ALL[lane],
                bundle,
                bundles,
                mark,
                cost: cost.map(quote),
                time_s: time * 100,
                latest_s,
                quality,
                barred,
            }
        })
}

fn ask() -> impl Strategy<Value = Ask> {
    (any::<bool>(), 0_u32..50, proptest::option::of(1_u64..6_000), proptest::option::of(1_i64..60)).prop_map(
        |(fast, loss_permille, deadline_s, budget)| Ask {
            aim: if fast { Aim::Fastest } else { Aim::Cheapest },
            loss_permille,
            deadline_s,
            budget: budget.map(UsdNanos),
            strict: false,
            lane: None,
        },
    )
}

proptest! {
    #[test]
    fn the_winner_is_fit_and_no_fit_one_is_better(all in proptest::collection::vec(candidate(), 0..12), ask in ask()) {
        let found = search(&all, &ask);
        let behind = |lost: &Option<Lost>| matches!(lost, Some(Lost::Dearer { .. } | Lost::Slower { .. }));
        let winner = found.winner.map(|place| &all[place]);
        prop_assert_eq!(found.lost.iter().filter(|lost| lost.is_none()).count(), usize::from(winner.is_some()));
        prop_assert_eq!(found.lost.iter().any(behind), winner.is_some() && found.lost.iter().filter(|lost| behind(lost)).count() > 0);
        if let Some(winner) = winner {
            prop_assert!(winner.barred.is_none() && winner.quality != Quality::Unknown);
            prop_assert!(ask.budget.is_none_or(|budget| winner.cost.unwrap().p95 <= budget));
            prop_assert!(ask.deadline_s.is_none_or(|deadline| winner.latest_s <= deadline));
            for (place, other) in all.iter().enumerate().filter(|(place, _)| behind(&found.lost[*place])) {
                let better = match ask.aim {
                    Aim::Cheapest => other.cost.unwrap().expected < winner.cost.unwrap().expected,
                    Aim::Fastest => other.time_s < winner.time_s,
                };
                prop_assert!(!better, "{}: {:?}", place, other);
            }
        }
    }

    /// Models, cascades, routers, sizes of bundles for all or for some of their models, lanes and marks: the winner is the cheapest, or the soonest, of those that can be taken.
    #[test]
    fn the_winner_is_that_of_brute_force(
        all in proptest::collection::vec(candidate(), 0..24), ask in ask(), strict in any::<bool>(),
        lane in proptest::option::of(0_usize..3),
    ) {
        let ask = Ask { strict, lane: lane.map(|lane| Lane::ALL[lane]), ..ask };
        let mut best: Option<&Candidate> = None;
        for one in &all {
            let proved = match one.quality {
                Quality::Reference => true,
                Quality::Unknown => false,
                Quality::Measured(loss) => loss.high <= f64::from(ask.loss_permille) / 1_000.0,
            };
            let paid = match (one.cost, ask.budget) {
                (Some(cost), Some(budget)) => (if strict { cost.worst } else { cost.p95 }) <= budget,
                (Some(_), None) => true,
                (None, budget) => ask.aim == Aim::Fastest && budget.is_none(),
            };
            let soon = ask.deadline_s.is_none_or(|deadline| one.latest_s <= deadline);
            let takes = one.barred.is_none() && ask.lane.is_none_or(|lane| lane == one.lane);
            let merit = |one: &Candidate| match ask.aim {
                Aim::Cheapest => (one.cost.map_or(i64::MAX, |cost| cost.expected.0), one.time_s),
                Aim::Fastest => (i64::try_from(one.time_s).unwrap(), one.cost.map_or(u64::MAX, |cost| cost.expected.0.unsigned_abs())),
            };
            if proved && paid && soon && takes && best.is_none_or(|best| merit(one) < merit(best)) {
                best = Some(one);
            }
        }
        let merit = |one: &Candidate| (one.cost.map(|cost| cost.expected), one.time_s);
        let found = search(&all, &ask);
        prop_assert_eq!(found.winner.map(|place| merit(&all[place])), best.map(merit));
    }

    #[test]
    fn the_order_of_candidates_does_not_matter(
        all in proptest::collection::vec(candidate(), 1..12), ask in ask(), turn in 0_usize..12,
    ) {
        let mut turned = all.clone();
        turned.rotate_left(turn % all.len());
        turned.reverse();
        let won = |all: &[Candidate]| search(all, &ask).winner.map(|place| (all[place].way.clone(), all[place].lane, all[place].cost, all[place].time_s));
        prop_assert_eq!(won(&all), won(&turned));
    }

    #[test]
    fn one_more_to_choose_from_is_never_a_loss(
        all in proptest::collection::vec(candidate(), 0..12), more in candidate(), ask in ask(),
    ) {
        let ask = Ask { aim: Aim::Cheapest, ..ask };
        let cost = |all: &[Candidate]| search(all, &ask).winner.map(|place| all[place].cost.unwrap().expected);
        let before = cost(&all);
        let after = cost(&[all, vec![more]].concat());
        prop_assert!(before.is_none() || after <= before, "{:?} {:?}", before, after);
    }

    #[test]
    fn a_bound_is_above_its_estimate_and_grows_with_doubt(items in 1_usize..300, wrong in 0_usize..300) {
        let sheet = sheet(items, wrong.min(items));
        let (loose, tight) = (alone(&sheet, DOUBT), alone(&sheet, DOUBT / 10.0));
        prop_assert!(loose.low <= loose.share() + 1e-9 && loose.share() <= loose.high + 1e-9);
        prop_assert!(tight.high >= loose.high && tight.low <= loose.low);
    }
}
