//! Routers of more than two models.

use super::super::metrics::Qualities;
use super::super::path::place_of;
use super::super::threshold::{Alone, calibrate};
use super::*;

const WORDS: [[&str; 3]; 3] =
    [["name", "list", "colour"], ["sum", "convert", "translate"], ["prove", "derive", "theorem"]];
/// How often each of three models, the cheapest first, is right on texts of each difficulty.
const RIGHT: [[f64; 3]; 3] = [[0.97, 0.97, 0.97], [0.3, 0.96, 0.97], [0.1, 0.4, 0.96]];
const RATIOS: [f64; 2] = [20.0, 4.0];

/// A world with a rule: 40 of 100 texts are easy, 35 need the middle model, the others the strongest.
fn world(n: usize, seed: u64, right: [[f64; 3]; 3]) -> Vec<(String, Qualities)> {
    let mut dice = SplitMix64::new(seed);
    (0..n)
        .map(|at| {
            let level = match dice.up_to(99) {
                0..40 => 0,
                40..75 => 1,
                _ => 2,
            };
            let word = |dice: &mut SplitMix64| WORDS[level][usize::try_from(dice.up_to(2)).unwrap()];
            let text = format!("{} the {} of number {at}", word(&mut dice), word(&mut dice));
            let qualities = right[level].map(|chance| f64::from(u8::from(dice.unit() < chance)));
            (text, qualities.into())
        })
        .collect()
}

fn labelled(world: &[(String, Qualities)]) -> Vec<Labelled<'_>> {
    world.iter().map(|(text, qualities)| Labelled { text, qualities: *qualities, against: None }).collect()
}

fn three() -> TrainOptions {
    TrainOptions { price_ratios: RATIOS.into(), ..options() }
}

/// The same rows with some of the models.
fn of(items: &[Labelled<'_>], places: [usize; 2], ratio: f64) -> f64 {
    let some = |item: &Labelled<'_>| places.map(|place| item.qualities[place]).into();
    let items: Vec<_> = items.iter().map(|item| Labelled { qualities: some(item), ..*item }).collect();
    let options = TrainOptions { price_ratios: [ratio].into(), ..options() };
    Router::train(&items, "text", options).unwrap().facts.saving()
}

/// A router of three that learnt from so many labels.
pub(super) fn trained(labels: usize) -> Router {
    Router::train(&labelled(&world(labels, 22, RIGHT)), "text", three()).unwrap()
}

#[test]
fn three_models_share_the_rows_and_keep_one_promise() {
    let world = world(4_000, 21, RIGHT);
    let items = labelled(&world);
    let (labels, rest) = items.split_at(2_000);
    let router = Router::train(labels, "text", three()).unwrap();
    assert!(matches!(router.verdict, Verdict::Route { .. }), "{:?} {:?}", router.verdict, router.facts);
    let mut scratch = Scratch::default();
    let places: Vec<usize> = rest.iter().map(|item| router.decide(item.text, &mut scratch).1).collect();
    let lost: f64 = rest.iter().zip(&places).map(|(item, place)| item.qualities.gain(*place)).sum();
    assert!(lost / real(rest.len()) <= 0.04, "{lost}");
    for (place, (least, most)) in [(0.3, 0.45), (0.25, 0.45), (0.15, 0.35)].into_iter().enumerate() {
        let share = real(places.iter().filter(|one| **one == place).count()) / real(rest.len());
        assert!((least..most).contains(&share), "model {place}: {share}");
    }
    // What no two of the models can do.
    let saving = router.facts.saving();
    let (cheap, middle) = (of(labels, [0, 2], 20.0), of(labels, [1, 2], 4.0));
    assert!(saving > cheap + 0.1 && saving > middle + 0.03, "{saving} {cheap} {middle}");

    let told = router.evaluate(&items, None).unwrap();
    assert_eq!((told.rows, told.taught, told.shares.len()), (3_000, 1_000, 3));
    assert!((told.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && told.loss <= 0.04, "{told:?}");
    assert!(told.saving(&RATIOS) > 0.4 && told.ways[0].1.iter().all(|worth| worth.unwrap().apgr > 0.65));
    let two: Vec<_> = items.iter().map(|item| Labelled { qualities: [0.0, 1.0].into(), ..*item }).collect();
    assert_eq!(router.evaluate(&two, None), None, "other models");
}

#[test]
fn a_router_of_three_is_read_back_and_damage_is_told() {
    let world = world(300, 22, RIGHT);
    let mut router = trained(300);
    router.names = ["luna", "terra", "sol"].map(str::to_owned).into();
    let bytes = router.to_bytes();
    assert_eq!(Router::from_bytes(&bytes).unwrap(), router);
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Router::from_bytes(&damaged).is_err(), "byte {at}");
        assert!(Router::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
    let gaps: Vec<_> = world
        .iter()
        .map(|(text, found)| Labelled {
            text,
            qualities: found.iter().map(|one| one * 0.5 + 0.2).collect(),
            against: None,
        })
        .collect();
    let gaps = Router::train(&gaps, "text", three()).unwrap();
    assert_eq!((gaps.model.kind(), gaps.models()), (Kind::Gap, 3));
    assert_eq!(Router::from_bytes(&gaps.to_bytes()).unwrap().models(), 3);
}

#[test]
fn one_model_is_taken_where_no_mix_is_cheaper() {
    let flat = |cheap, middle, strong| [[cheap, middle, strong]; 3];
    for (name, right, loss, want) in [
        (
            "the middle one is better, and nobody knows where the cheap one fails",
            flat(0.6, 0.95, 0.9),
            20,
            Some((1, PinReason::AsGood)),
        ),
        (
            "the middle one loses less than is allowed",
            flat(0.5, 0.93, 0.95),
            80,
            Some((1, PinReason::GoodEnough)),
        ),
        ("the cheap one is better", flat(0.97, 0.9, 0.9), 20, Some((0, PinReason::AsGood))),
        ("all loss is allowed", RIGHT, 900, Some((0, PinReason::GoodEnough))),
        ("nothing can be promised", flat(0.5, 0.5, 0.95), 10, Some((2, PinReason::NoSaving))),
        ("so little cannot be proved", flat(0.5, 0.5, 0.95), 5, Some((2, PinReason::TooFew))),
        // Easy rows are the cheap one's, the others the middle one's: cheaper than the middle one alone.
        (
            "a mix is cheaper than a good middle one",
            [[0.97, 0.97, 0.9], [0.1, 0.97, 0.9], [0.1, 0.97, 0.9]],
            20,
            None,
        ),
    ] {
        let world = world(1_500, 23, right);
        let options = TrainOptions { quality_loss_permille: loss, ..three() };
        let router = Router::train(&labelled(&world), "text", options).unwrap();
        let pinned = match router.verdict {
            Verdict::Pin { place, reason } => Some((place, reason)),
            Verdict::Route { .. } => None,
        };
        assert_eq!(pinned, want, "{name}: {:?}", router.facts);
        match pinned {
            Some((place, _)) => {
                assert!(router.shares()[place] > 0.999, "{name}");
                let alone = router.facts.alone.filter(|one| place == 2 || one.place == place);
                let kept = alone.is_none_or(|one| {
                    one.loss <= one.loss_high && one.loss_high <= f64::from(loss) / 1_000.0
                });
                assert!(kept && alone.is_some() == (place < 2), "{name}: {alone:?}");
            }
            None => assert!(1.0 - router.facts.saving() < 0.25 * 0.9, "{name}: {:?}", router.facts),
        }
    }
}

#[test]
fn prices_must_be_known_and_fall() {
    let world = world(120, 24, RIGHT);
    let items = labelled(&world);
    for ratios in [&[][..], &[20.0], &[4.0, 20.0], &[20.0, f64::INFINITY], &[20.0, 0.5], &[20.0, 4.0, 2.0]] {
        let options = TrainOptions { price_ratios: ratios.iter().copied().collect(), ..options() };
        let found = Router::train(&items, "text", options).map(|_| ()).unwrap_err();
        assert_eq!(found, TrainError::Prices { models: 3 }, "{ratios:?}");
    }
    let mut mixed = items.clone();
    mixed[7].qualities = [0.0, 1.0].into();
    assert_eq!(Router::train(&mixed, "text", three()).map(|_| ()).unwrap_err(), TrainError::Models);
}

/// Scores that know something of what is lost and labels drawn by it: how often thresholds lose more than was promised.
#[test]
fn a_promise_for_three_models_is_rarely_broken() {
    const DRAWS: u32 = 40;
    let mut dice = SplitMix64::new(25);
    let mut broken = 0;
    for _ in 0..DRAWS {
        let mut draw = |n: usize| -> (Vec<Few<Score>>, Vec<Qualities>) {
            (0..n)
                .map(|_| {
                    let hard = dice.unit();
                    let noise = 0.2 * (dice.unit() - 0.5);
                    let losses = [0.5 * hard, 0.2 * hard * hard];
                    let scores = losses.map(|loss| Score::of(loss + noise));
                    let right = losses.map(|loss| f64::from(u8::from(dice.unit() >= loss)));
                    (Few::from(scores), Few::from([right[0], right[1], 1.0]))
                })
                .unzip()
        };
        let (scores, labels) = draw(250);
        let proof = calibrate(&scores, &labels, &RATIOS, 0.04);
        assert!(proof.cut.loss_high <= 0.04);
        let Some(thresholds) = proof.cut.thresholds else { continue };
        let (scores, truth) = draw(4_000);
        let lost = scores.iter().zip(&truth).map(|(scores, item)| item.gain(place_of(scores, &thresholds)));
        broken += u32::from(lost.sum::<f64>() / 4_000.0 > 0.04);
    }
    assert!(broken * 100 <= DRAWS * 8, "{broken} of {DRAWS} jobs lose more than was promised");
}

/// How good the models are on texts of each difficulty, and what rows are worth that a router sends there: nothing of chance is in it.
fn lost(router: &Router, rest: &[Labelled<'_>], right: [[f64; 3]; 3]) -> f64 {
    let mut scratch = Scratch::default();
    let losses = rest.iter().map(|item| {
        let first = item.text.split(' ').next().unwrap();
        let level = WORDS.iter().position(|words| words.contains(&first)).unwrap();
        right[level][2] - right[level][router.decide(item.text, &mut scratch).1]
    });
    losses.sum::<f64>() / real(rest.len())
}

/// What is trained and then done, mix or single model, where the model between loses a little more alone than is allowed.
#[test]
fn what_a_router_does_rarely_loses_more_than_was_promised() {
    // The model between is half a point too bad alone, and nobody can tell where: on few labels it often looks as good as the strongest.
    let level = [[0.5, 0.9, 0.925]; 3];
    // It is nearly half a point too bad, and hard rows are where.
    let sorted = [[0.97, 0.97, 0.97], [0.3, 0.96, 0.97], [0.1, 0.79, 0.97]];
    for (right, loss, labels, draws, routed_min, tempting_min) in
        [(level, 20, 400, 60, 0, 4), (sorted, 45, 500, 30, 15, 0)]
    {
        let rest = world(600, 26, right);
        let rest = labelled(&rest);
        let (mut broken, mut routed, mut tempting) = (0, 0, 0);
        for draw in 0..draws {
            let world = world(labels, 1_000 + draw, right);
            let options = TrainOptions { seed: draw, quality_loss_permille: loss, ..three() };
            let router = Router::train(&labelled(&world), "text", options).unwrap();
            broken += u32::from(lost(&router, &rest, right) > f64::from(loss) / 1_000.0);
            routed += u32::from(matches!(router.verdict, Verdict::Route { .. }));
            tempting += u32::from(router.facts.qualities[1] >= router.facts.strong());
        }
        assert!(u64::from(broken) * 20 <= draws, "{broken} of {draws} lose more than {loss} in 1,000");
        assert!(
            routed >= routed_min && tempting >= tempting_min,
            "{routed} routed, {tempting} looked as good"
        );
    }
}

#[test]
fn a_single_model_is_taken_where_it_saves_a_tenth() {
    let world = world(1_000, 27, [[0.5, 0.95, 0.95]; 3]);
    for (ratios, want) in [
        ([20.0, 4.0], (1, PinReason::AsGood)),
        ([20.0, 1.2], (1, PinReason::AsGood)),
        ([20.0, 1.1], (2, PinReason::NoSaving)),
        ([20.0, 1.0], (2, PinReason::NoSaving)),
    ] {
        let options = TrainOptions { price_ratios: ratios.into(), quality_loss_permille: 60, ..options() };
        let router = Router::train(&labelled(&world), "text", options).unwrap();
        let Verdict::Pin { place, reason } = router.verdict else { panic!("{ratios:?}: {:?}", router.facts) };
        let same = matches!((reason, want.1), (PinReason::GoodEnough, PinReason::AsGood)) || reason == want.1;
        assert!(place == want.0 && same, "{ratios:?}: {place} {reason:?}");
    }
    // Cheap ones that are hardly cheaper are not taken either.
    let options = TrainOptions { price_ratios: [1.05, 1.0].into(), quality_loss_permille: 900, ..options() };
    let router = Router::train(&labelled(&world), "text", options).unwrap();
    assert_eq!(router.verdict, Verdict::Pin { place: 2, reason: PinReason::NoSaving });
}

/// The cheapest model is as good as the strongest on the whole, each on rows of its own.
#[test]
fn a_proved_mix_is_kept_where_the_strongest_is_no_better_than_the_cheapest() {
    let world = world(600, 28, [[0.99, 0.5, 0.8], [0.8, 0.5, 0.93], [0.8, 0.5, 0.93]]);
    let router =
        Router::train(&labelled(&world), "text", TrainOptions { quality_loss_permille: 20, ..three() });
    let router = router.unwrap();
    assert!(router.facts.gain_low < 0.0, "{:?}", router.facts);
    assert!(matches!(router.verdict, Verdict::Route { .. }), "{:?}", router.verdict);
}

#[test]
fn why_routing_is_off_says_what_is_missing() {
    let world = world(200, 29, RIGHT);
    let options = |loss| TrainOptions { quality_loss_permille: loss, ..three() };
    for (loss, words) in [
        (
            20,
            "100 labels cannot prove that 3 models together lose at most 2 %, even without one loss among them: at least 189 must prove, half of 378",
        ),
        (5, "at least 765 must prove, half of 1530"),
        (1, "no labels prove here that 3 models together lose at most 0.1 %"),
    ] {
        let router = Router::train(&labelled(&world), "text", options(loss)).unwrap();
        assert_eq!(router.verdict, Verdict::Pin { place: 2, reason: PinReason::TooFew });
        assert!(router.why().unwrap().contains(words), "{:?}", router.why());
    }
    let same: Vec<_> = labelled(&world)
        .into_iter()
        .map(|item| Labelled { qualities: [0.0, 1.0, 1.0].into(), ..item })
        .collect();
    let no_gap = (31..41).any(|seed| {
        let world = self::world(300, seed, [[0.9, 0.5, 0.9]; 3]);
        let router = Router::train(&labelled(&world), "text", options(30)).unwrap();
        router
            .why()
            .is_some_and(|why| why.contains("nor is the strongest proved to be better than the cheapest"))
    });
    assert!(no_gap);
    let error = Router::train(&same, "text", three()).unwrap_err();
    assert!(error.to_string().contains("0, 1, 1") && !error.hint().contains("weak"), "{error}");
}

#[test]
fn no_loss_on_a_few_rows_is_no_proof_of_none() {
    let mut router = trained(300);
    router.verdict = Verdict::Pin { place: 1, reason: PinReason::AsGood };
    let world = world(120, 30, [[0.0, 1.0, 1.0]; 3]);
    let found = router.evaluate(&labelled(&world), None).unwrap();
    assert!(found.loss.abs() < 1e-12 && (0.02..0.025).contains(&found.loss_high), "{found:?}");
}

#[test]
fn fields_that_cannot_be_are_refused() {
    let three = trained(300);
    let two = Router::from_bytes(include_bytes!("golden/right.router")).unwrap();
    let written = |router: &Router, place, reason| {
        let mut bytes = Router { verdict: Verdict::Pin { place, reason }, ..router.clone() }.to_bytes();
        bytes.truncate(bytes.len() - 32);
        bytes
    };
    // Where two files differ in one thing, that thing stands.
    let at =
        |left: &[u8], right: &[u8]| left.iter().zip(right).position(|(left, right)| left != right).unwrap();
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        Router::from_bytes(&sealed(bytes)).map(|router| router.verdict)
    };
    for (router, strongest, reasons) in [(&two, 1, 4), (&three, 2, 7)] {
        let bytes = written(router, 0, PinReason::NoGap);
        let reason = at(&bytes, &written(router, 0, PinReason::NoSaving));
        let place = at(&bytes, &written(router, 1, PinReason::NoGap));
        assert!(with(&bytes, reason, reasons - 1).is_ok() && with(&bytes, place, strongest + 1).is_ok());
        assert_eq!(with(&bytes, reason, reasons), Err(FileError::Field("the reason")));
        assert_eq!(with(&bytes, place, strongest + 2), Err(FileError::Field("the verdict")));
    }
    let bytes = written(&three, 0, PinReason::NoGap);
    // Behind the mark, the version and the column's name.
    let models = 16 + 2 + 1 + "text".len();
    for (number, fits) in [(2, false), (3, true), (9, false)] {
        assert_eq!(with(&bytes, models, number).is_ok(), fits, "{number} models");
    }
    let mut strongest = three;
    strongest.facts.alone = Some(Alone { place: 2, loss: 0.0, loss_high: 0.0 });
    assert_eq!(
        Router::from_bytes(&strongest.to_bytes()).map(|_| ()),
        Err(FileError::Field("the model that is good enough alone"))
    );
}
