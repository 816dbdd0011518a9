//! Routers of more than two models.

use super::super::metrics::Qualities;
use super::super::path::place_of;
use super::super::threshold::calibrate;
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
    world.iter().map(|(text, qualities)| Labelled { text, qualities: *qualities }).collect()
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
    let mut router = Router::train(&labelled(&world), "text", three()).unwrap();
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
        .map(|(text, found)| Labelled { text, qualities: found.iter().map(|one| one * 0.5 + 0.2).collect() })
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
        ("nothing can be promised", flat(0.5, 0.5, 0.95), 5, Some((2, PinReason::NoSaving))),
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
            Some((place, _)) => assert!(router.shares()[place] > 0.999, "{name}"),
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
