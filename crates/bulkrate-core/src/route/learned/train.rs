//! From labelled texts to a router: split, learn, cut, and say whether it pays.

use super::labels::{self, LABELS_MIN};
use super::metrics::{Qualities, Worth, gains, price, saving, worth};
use super::model::{Model, Scratch};
use super::path::place_of;
use super::threshold::{Alone, Bound, Cut, calibrate, gain_bounds, needed, prove};
use super::words::fingerprint;
use super::{Few, MODELS_MAX, Score, real};
use crate::review::{Interval, Z95, wilson};

/// Routing must save this share of what the best single model costs, or it is off.
const SAVING_MIN: f64 = 0.1;

/// A text and how well each model answered it: 0 or 1 for wrong and right, or any quality from 0 up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labelled<'a> {
    pub text: &'a str,
    /// Model by model, the cheapest first and the strongest last.
    pub qualities: Qualities,
    /// What losses are counted against; `None`: the strongest model's answer, as it stands there.
    pub against: Option<f64>,
}

impl Labelled<'_> {
    /// What is lost where the model at a place answers: the strongest loses too where something else is the measure.
    #[must_use]
    pub fn loss(&self, place: usize) -> f64 {
        self.judged().gain(place)
    }

    /// The qualities, behind them that which losses are counted against, where it is none of theirs. No thresholds lead to it.
    fn judged(&self) -> Qualities {
        self.qualities.iter().copied().chain(self.against).collect()
    }
}

/// How to learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// Decides which labels teach and which prove.
    pub seed: u64,
    /// Quality that may be lost against the strongest model alone, in thousandths of the highest label.
    pub quality_loss_permille: u32,
    /// The strongest model's price over that of each cheaper one, the cheapest first. None, or an infinite one: as if the weak one of two
    /// were free; with more models each must be known.
    pub price_ratios: Few<f64>,
}

impl TrainOptions {
    /// Share of quality that may be lost.
    #[must_use]
    pub fn loss_max(&self) -> f64 {
        f64::from(self.quality_loss_permille) / 1_000.0
    }
}

/// Why nothing can be learnt.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    #[error(
        "{labels} labelled rows with different texts; at least {LABELS_MIN} are needed, 500 or more are better"
    )]
    TooFew { labels: usize },
    #[error(
        "all labels of the weak model are {weak}, all of the strong one {strong}: there is nothing to tell rows apart by"
    )]
    Equal { weak: f64, strong: f64 },
    #[error(
        "all rows have the same labels, {}, the cheapest model's first: there is nothing to tell rows apart by",
        .qualities.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    AllEqual { qualities: Few<f64> },
    #[error("`{label}` is no label: write 0 or 1 (wrong, right), or a quality of 0 or more")]
    Label { label: f64 },
    #[error("a router chooses among 2 to {MODELS_MAX} models, each with a label in every row")]
    Models,
    #[error(
        "of {models} models the strongest one's price over that of each other must be known: {} numbers, none larger than the one before and none below 1",
        .models - 1
    )]
    Prices { models: usize },
}

impl TrainError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "labels-too-few",
            Self::Equal { .. } | Self::AllEqual { .. } => "labels-equal",
            Self::Label { .. } => "labels-invalid",
            Self::Models | Self::Prices { .. } => "option-invalid",
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "ask the models for more rows, and label what they say",
            Self::Equal { weak, strong } if weak >= strong => {
                "use the weak model for all rows: it is as good on these"
            }
            Self::Equal { .. } => "use the strong model for all rows: no router is needed to know",
            Self::AllEqual { .. } => {
                "use the cheapest model whose label is as high as you need for all rows: no router is needed to know"
            }
            Self::Label { .. } => "leave a cell empty where an answer was not judged",
            Self::Models => "name them with `--models`, the cheapest first",
            Self::Prices { .. } => {
                "name the models the cheapest first, and pass `--price-ratio`, such as `20,4` for three"
            }
        }
    }
}

/// What a router does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// An item goes to the cheapest model whose score of it is below its threshold, else to the strongest.
    Route { thresholds: Few<Score> },
    /// All items go to the model at a place.
    Pin { place: usize, reason: PinReason },
}

/// Why routing is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// The weak model is as good on the labels, or better.
    WeakAsGood,
    /// The strong model is not proved to be better, nor the weak one to be good enough.
    NoGap,
    /// The quality promised leaves too little to save.
    NoSaving,
    /// The whole gap between the models is within the loss allowed.
    LossAllowed,
    /// Of more than two: the model alone keeps the promise, is as good as the strongest on the labels, and no mix costs less.
    AsGood,
    /// Of more than two: the model alone keeps the promise, and no mix costs less.
    GoodEnough,
    /// Of more than two: so few labels would not prove the promise even if no loss were among them.
    TooFew,
}

impl PinReason {
    /// In words, for people; [`Router::why`] says more.
    fn text(self) -> &'static str {
        match self {
            Self::WeakAsGood => "on the labels the weak model is as good as the strong one",
            Self::NoGap => {
                "the labels do not prove that the strong model is better, nor that the weak one is good enough"
            }
            Self::NoSaving => "within the loss of quality allowed, less than 10 % of the cost could be saved",
            Self::LossAllowed => {
                "even without the strong model the loss of quality stays within what is allowed"
            }
            Self::AsGood => {
                "on the labels it is as good as the strongest one, and is proved to stay within the loss of quality allowed; no mix of models costs 10 % less"
            }
            Self::GoodEnough => {
                "alone it stays within the loss of quality allowed, and no mix of models costs 10 % less"
            }
            Self::TooFew => "so few labels prove nothing about so small a loss of quality",
        }
    }
}

/// What a router was made of, and what was found when it was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    pub options: TrainOptions,
    /// Labels that taught, and others that proved.
    pub taught: u32,
    pub proved: u32,
    /// The highest label: a quality of 1.
    pub quality_max: f64,
    /// Mean qualities over all labels, from 0 to 1, model by model.
    pub qualities: Few<f64>,
    /// What the strongest model gains at least over the cheapest, with 95 % confidence.
    pub gain_low: f64,
    /// Of the scores of each model but the strongest, on the labels that proved; `None` where the strongest was not better on them.
    pub worth: Few<Option<Worth>>,
    pub cut: Cut,
    /// Of more than two models: the cheapest one but the strongest that keeps the promise alone.
    pub alone: Option<Alone>,
}

impl Facts {
    /// Share of the strongest model's cost that the cut saves.
    #[must_use]
    pub fn saving(&self) -> f64 {
        saving(&self.cut.shares, &self.options.price_ratios)
    }

    /// Quality of the cheapest model.
    #[must_use]
    pub fn weak(&self) -> f64 {
        self.qualities.first().copied().unwrap_or_default()
    }

    /// Quality of the strongest model.
    #[must_use]
    pub fn strong(&self) -> f64 {
        self.qualities.last().copied().unwrap_or_default()
    }

    /// The price of the model at a place, that of the strongest being 1.
    #[must_use]
    pub fn price(&self, place: usize) -> f64 {
        price(&self.options.price_ratios, place)
    }
}

/// What a mean quality from 0 to 1 of so many labels may really be, with 95 % confidence: Wilson's interval, which is too wide where labels
/// are not 0 and 1 alone.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
pub fn quality_interval(quality: f64, labels: usize) -> Interval {
    let right = (quality.clamp(0.0, 1.0) * real(labels)).round() as u64;
    wilson(right, labels as u64, Z95)
}

/// Decides for each text which model answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    pub model: Model,
    pub verdict: Verdict,
    pub facts: Facts,
    /// The column that held the texts: a job that runs by the router must have it.
    pub column: String,
    /// What the labels call the models, where there are more than two.
    pub names: Vec<String>,
    /// The upper halves of the fingerprints of the texts that taught, in order.
    pub(super) taught: Vec<u32>,
}

impl Router {
    /// Learns from labelled texts. Of equal texts the first counts.
    ///
    /// # Errors
    /// Too few labels, labels that are all the same, labels that are no qualities.
    pub fn train(items: &[Labelled<'_>], column: &str, options: TrainOptions) -> Result<Self, TrainError> {
        Self::train_with(items, column, options, None)
    }

    /// The same, with thresholds that are proved by another bound: the most that a mean of these losses can be.
    ///
    /// # Errors
    /// As of [`Router::train`].
    pub fn train_by(
        items: &[Labelled<'_>],
        column: &str,
        options: TrainOptions,
        bound: Bound<'_>,
    ) -> Result<Self, TrainError> {
        Self::train_with(items, column, options, Some(bound))
    }

    fn train_with(
        items: &[Labelled<'_>],
        column: &str,
        options: TrainOptions,
        bound: Option<Bound<'_>>,
    ) -> Result<Self, TrainError> {
        let options = priced(items, options)?;
        let (items, quality_max) = distinct(items, options.seed)?;
        let (proving, teach) = labels::split(&items);
        let model = Model::fit(teach);
        let mut scratch = Scratch::default();
        let scores: Vec<Few<Score>> =
            proving.iter().map(|item| model.scores(item.text, &mut scratch)).collect();
        let qualities = |items: &[Labelled<'_>]| items.iter().map(|item| item.qualities).collect::<Vec<_>>();
        let (proved, all) = (qualities(proving), qualities(&items));
        let judged: Vec<Qualities> = proving.iter().map(Labelled::judged).collect();
        let loss_max = options.loss_max();
        let proof = match bound {
            None => calibrate(&scores, &judged, &options.price_ratios, loss_max),
            Some(bound) => prove(&scores, &judged, &options.price_ratios, loss_max, bound),
        };
        let worth = |place: usize| {
            let scores: Vec<Score> = scores.iter().map(|scores| scores[place]).collect();
            worth(&scores, &gains(&proved, place), options.seed)
        };
        let facts = Facts {
            options,
            taught: u32::try_from(teach.len()).unwrap_or(u32::MAX),
            proved: u32::try_from(proving.len()).unwrap_or(u32::MAX),
            quality_max,
            qualities: means(&all),
            gain_low: gain_bounds(&gains(&all, 0)).0,
            worth: (0..model.models() - 1).map(worth).collect(),
            cut: proof.cut,
            alone: proof.alone.filter(|_| model.models() > 2),
        };
        let mut taught: Vec<u32> = teach.iter().map(|item| mark(item.text)).collect();
        taught.sort_unstable();
        let verdict = if model.models() == 2 { of_two(&facts) } else { of_several(&facts) };
        Ok(Self { model, verdict, facts, column: column.to_owned(), names: Vec::new(), taught })
    }

    /// Whether the router learnt from this text: what it says of it is no proof.
    #[must_use]
    pub fn was_taught(&self, text: &str) -> bool {
        self.taught.binary_search(&mark(text)).is_ok()
    }

    /// How much a text needs the strongest model, and the place of the model that answers it.
    #[must_use]
    pub fn decide(&self, text: &str, scratch: &mut Scratch) -> (Few<Score>, usize) {
        let scores = self.model.scores(text, scratch);
        let place = match &self.verdict {
            Verdict::Pin { place, .. } => *place,
            Verdict::Route { thresholds } => place_of(&scores, thresholds),
        };
        (scores, place)
    }

    /// Models that it chooses among.
    #[must_use]
    pub fn models(&self) -> usize {
        self.model.models()
    }

    /// Why routing is off, in words for people.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        let Verdict::Pin { reason, .. } = self.verdict else { return None };
        let models = self.models();
        Some(match reason {
            PinReason::NoGap if models > 2 => {
                "no mix that saves 10 % and no cheaper model is proved to be good enough, nor is the strongest proved to be better than the cheapest"
                    .to_owned()
            }
            PinReason::TooFew => {
                let percent = f64::from(self.facts.options.quality_loss_permille) / 10.0;
                let proved = self.facts.proved;
                match needed(models, self.facts.options.loss_max()) {
                    Some(needed) => format!(
                        "{proved} labels cannot prove that {models} models together lose at most {percent} %, even without one loss among them: \
                         at least {needed} must prove, half of {}",
                        2 * needed
                    ),
                    None => format!(
                        "no labels prove here that {models} models together lose at most {percent} %: allow more, or choose between two"
                    ),
                }
            }
            reason => reason.text().to_owned(),
        })
    }

    /// Names the models as the labels do; two are the weak and the strong one.
    pub fn call(&mut self, models: &[String]) {
        if self.models() > 2 {
            self.names = models.to_vec();
        }
    }

    /// What all models are called, the cheapest first.
    #[must_use]
    pub fn called(&self) -> Vec<String> {
        (0..self.models()).map(|place| self.name(place)).collect()
    }

    /// What the model at a place is called.
    #[must_use]
    pub fn name(&self, place: usize) -> String {
        match (self.models(), place) {
            (2, 0) => "weak".to_owned(),
            (2, _) => "strong".to_owned(),
            _ => self.names.get(place).cloned().unwrap_or_else(|| format!("model {}", place + 1)),
        }
    }

    /// The share of the rows that each model is sent: of those that proved, or all to one.
    #[must_use]
    pub fn shares(&self) -> Few<f64> {
        match self.verdict {
            Verdict::Route { .. } => self.facts.cut.shares,
            Verdict::Pin { place, .. } => {
                (0..self.models()).map(|one| if one == place { 1.0 } else { 0.0 }).collect()
            }
        }
    }
}

/// Whether routing between two models pays, and which one is pinned where it does not.
fn of_two(facts: &Facts) -> Verdict {
    let pin = |place, reason| Verdict::Pin { place, reason };
    match facts.cut.thresholds {
        _ if facts.weak() >= facts.strong() => pin(0, PinReason::WeakAsGood),
        Some(_) if facts.cut.share_strong() <= 0.0 => pin(0, PinReason::LossAllowed),
        _ if facts.gain_low <= 0.0 => pin(1, PinReason::NoGap),
        Some(thresholds) if beats(facts, 1.0) => Verdict::Route { thresholds },
        _ => pin(1, PinReason::NoSaving),
    }
}

/// The same among more. A mean of labels is no proof: one of several models is the best of them by luck now and then, so that only what is
/// proved is taken, and only where it saves enough.
fn of_several(facts: &Facts) -> Verdict {
    let strongest = facts.qualities.len() - 1;
    let single = facts.alone.filter(|one| facts.price(one.place) <= 1.0 - SAVING_MIN);
    let price = single.map_or(1.0, |one| facts.price(one.place));
    let (place, reason) = match (single, facts.cut.thresholds) {
        (single, Some(thresholds)) if single.is_none_or(|one| one.place > 0) && beats(facts, price) => {
            return Verdict::Route { thresholds };
        }
        (Some(one), _) if facts.qualities[one.place] >= facts.strong() => (one.place, PinReason::AsGood),
        (Some(one), _) => (one.place, PinReason::GoodEnough),
        (None, _) if facts.alone.is_some() => (strongest, PinReason::NoSaving),
        (None, None) if !can_be_proved(facts) => (strongest, PinReason::TooFew),
        (None, _) if facts.gain_low <= 0.0 => (strongest, PinReason::NoGap),
        (None, _) => (strongest, PinReason::NoSaving),
    };
    Verdict::Pin { place, reason }
}

/// Whether so many labels prove anything at all.
fn can_be_proved(facts: &Facts) -> bool {
    let needed = needed(facts.qualities.len(), facts.options.loss_max());
    needed.is_some_and(|needed| needed <= usize::try_from(facts.proved).unwrap_or(usize::MAX))
}

/// Whether the mix costs less than a model of this price.
fn beats(facts: &Facts, price: f64) -> bool {
    facts.saving() - (1.0 - price) >= SAVING_MIN * price
}

/// Mean qualities, model by model.
pub(super) fn means(items: &[Qualities]) -> Few<f64> {
    let models = items.first().map_or(0, |item| item.len());
    let n = real(items.len().max(1));
    (0..models).map(|place| items.iter().map(|item| item[place]).sum::<f64>() / n).collect()
}

/// The options with a price for each model, where labels and prices are of so many models.
fn priced(items: &[Labelled<'_>], options: TrainOptions) -> Result<TrainOptions, TrainError> {
    let Some(models) = items.first().map(|item| item.qualities.len()) else { return Ok(options) };
    let is_odd = |item: &Labelled<'_>| {
        item.qualities.len() != models || item.against.is_some() && models == MODELS_MAX
    };
    if !(2..=MODELS_MAX).contains(&models) || items.iter().any(is_odd) {
        return Err(TrainError::Models);
    }
    let given = &options.price_ratios;
    let falls = given.windows(2).all(|two| two[0] >= two[1]) && given.iter().all(|ratio| *ratio >= 1.0);
    match (models, given.len()) {
        (2, 0) => Ok(TrainOptions { price_ratios: Few::from([f64::INFINITY]), ..options }),
        (2, 1) => Ok(options),
        (_, ratios) if ratios + 1 == models && falls && given.iter().all(|ratio| ratio.is_finite()) => {
            Ok(options)
        }
        _ => Err(TrainError::Prices { models }),
    }
}

/// Labels of different texts, as shares of the highest.
fn distinct<'a>(items: &[Labelled<'a>], seed: u64) -> Result<(Vec<Labelled<'a>>, f64), TrainError> {
    let bad = |label: &&f64| !label.is_finite() || **label < 0.0;
    let labels = || items.iter().flat_map(|item| item.qualities.iter().chain(&item.against));
    if let Some(label) = labels().find(bad) {
        return Err(TrainError::Label { label: *label });
    }
    let kept = labels::distinct(items, |item| item.text, seed);
    if kept.len() < LABELS_MIN {
        return Err(TrainError::TooFew { labels: kept.len() });
    }
    let first = kept[0].qualities;
    let same = |item: &Labelled<'_>| {
        item.qualities.iter().zip(&*first).all(|(quality, first)| quality.total_cmp(first).is_eq())
    };
    if kept.iter().all(same) {
        return Err(match *first {
            [weak, strong] => TrainError::Equal { weak, strong },
            _ => TrainError::AllEqual { qualities: first },
        });
    }
    let quality_max = labels().fold(0.0_f64, |most, quality| most.max(*quality));
    // `abs` for -0 alone.
    let part = |quality: f64| quality.abs() / quality_max;
    let share = |item: Labelled<'a>| Labelled {
        qualities: item.qualities.iter().map(|quality| part(*quality)).collect(),
        against: item.against.map(part),
        ..item
    };
    Ok((kept.into_iter().map(share).collect(), quality_max))
}

fn mark(text: &str) -> u32 {
    u32::try_from(fingerprint(text) >> 32).unwrap_or(u32::MAX)
}
