//! From labelled texts to a router: split, learn, cut, and say whether it pays.

use super::labels::{self, LABELS_MIN};
use super::metrics::{Qualities, Worth, saving, worth};
use super::model::{Model, Scratch};
use super::threshold::{Cut, calibrate, gain_bounds};
use super::words::fingerprint;
use super::{Score, Side, real};

/// Routing must save this share of the strong model's cost, or it is off.
const SAVING_MIN: f64 = 0.1;

/// A text and how well each model answered it: 0 or 1 for wrong and right, or any quality from 0 up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labelled<'a> {
    pub text: &'a str,
    pub weak: f64,
    pub strong: f64,
}

impl Labelled<'_> {
    #[must_use]
    pub fn qualities(&self) -> Qualities {
        Qualities { weak: self.weak, strong: self.strong }
    }
}

/// How to learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// Decides which labels teach and which prove.
    pub seed: u64,
    /// Quality that may be lost against the strong model alone, in thousandths of the highest label.
    pub quality_loss_permille: u32,
    /// The strong model's price over the weak one's; `None`: as if the weak one were free.
    pub price_ratio: Option<f64>,
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
    #[error("`{label}` is no label: write 0 or 1 (wrong, right), or a quality of 0 or more")]
    Label { label: f64 },
}

impl TrainError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "labels-too-few",
            Self::Equal { .. } => "labels-equal",
            Self::Label { .. } => "labels-invalid",
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "ask both models for more rows, and label what they say",
            Self::Equal { weak, strong } if weak >= strong => {
                "use the weak model for all rows: it is as good on these"
            }
            Self::Equal { .. } => "use the strong model for all rows: no router is needed to know",
            Self::Label { .. } => "leave a cell empty where an answer was not judged",
        }
    }
}

/// What a router does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Items with this score or a higher one go to the strong model.
    Route { threshold: Score },
    /// All items go to one model.
    Pin { side: Side, reason: PinReason },
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
}

impl PinReason {
    /// In words, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::WeakAsGood => "on the labels the weak model is as good as the strong one",
            Self::NoGap => {
                "the labels do not prove that the strong model is better, nor that the weak one is good enough"
            }
            Self::NoSaving => "within the loss of quality allowed, less than 10 % of the cost could be saved",
            Self::LossAllowed => {
                "even without the strong model the loss of quality stays within what is allowed"
            }
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
    /// Mean qualities over all labels, from 0 to 1.
    pub weak: f64,
    pub strong: f64,
    /// What the strong model gains at least, with 95 % confidence.
    pub gain_low: f64,
    /// On the labels that proved; `None` where the strong model was not better on them.
    pub worth: Option<Worth>,
    pub cut: Cut,
}

impl Facts {
    /// Share of the strong model's cost that the cut saves.
    #[must_use]
    pub fn saving(&self) -> f64 {
        saving(self.cut.share_strong, self.options.price_ratio.unwrap_or(f64::INFINITY))
    }
}

/// Decides for each text which model answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    pub model: Model,
    pub verdict: Verdict,
    pub facts: Facts,
    /// The column that held the texts: a job that runs by the router must have it.
    pub column: String,
    /// The upper halves of the fingerprints of the texts that taught, in order.
    pub(super) taught: Vec<u32>,
}

impl Router {
    /// Learns from labelled texts. Of equal texts the first counts.
    ///
    /// # Errors
    /// Too few labels, labels that are all the same, labels that are no qualities.
    pub fn train(items: &[Labelled<'_>], column: &str, options: TrainOptions) -> Result<Self, TrainError> {
        let (items, quality_max) = distinct(items, options.seed)?;
        let (prove, teach) = labels::split(&items);
        let model = Model::fit(teach);
        let mut scratch = Scratch::default();
        let scores: Vec<Score> = prove.iter().map(|item| model.score(item.text, &mut scratch)).collect();
        let qualities = |items: &[Labelled<'_>]| items.iter().map(Labelled::qualities).collect::<Vec<_>>();
        let (proved, all) = (qualities(prove), qualities(&items));
        let cut = calibrate(&scores, &proved, f64::from(options.quality_loss_permille) / 1_000.0);
        let n = real(all.len());
        let mean = |quality: fn(&Qualities) -> f64| all.iter().map(quality).sum::<f64>() / n;
        let facts = Facts {
            options,
            taught: u32::try_from(teach.len()).unwrap_or(u32::MAX),
            proved: u32::try_from(prove.len()).unwrap_or(u32::MAX),
            quality_max,
            weak: mean(|item| item.weak),
            strong: mean(|item| item.strong),
            gain_low: gain_bounds(&all).0,
            worth: worth(&scores, &proved, options.seed),
            cut,
        };
        let mut taught: Vec<u32> = teach.iter().map(|item| mark(item.text)).collect();
        taught.sort_unstable();
        Ok(Self { model, verdict: verdict(&facts), facts, column: column.to_owned(), taught })
    }

    /// Whether the router learnt from this text: what it says of it is no proof.
    #[must_use]
    pub fn was_taught(&self, text: &str) -> bool {
        self.taught.binary_search(&mark(text)).is_ok()
    }

    /// How much a text needs the strong model, and which model answers it.
    #[must_use]
    pub fn decide(&self, text: &str, scratch: &mut Scratch) -> (Score, Side) {
        let score = self.model.score(text, scratch);
        let side = match self.verdict {
            Verdict::Pin { side, .. } => side,
            Verdict::Route { threshold } if score >= threshold => Side::Strong,
            Verdict::Route { .. } => Side::Weak,
        };
        (score, side)
    }
}

/// Whether routing pays, and which model is pinned where it does not.
fn verdict(facts: &Facts) -> Verdict {
    let pin = |side, reason| Verdict::Pin { side, reason };
    if facts.weak >= facts.strong {
        return pin(Side::Weak, PinReason::WeakAsGood);
    }
    match facts.cut.threshold {
        Some(_) if facts.cut.share_strong <= 0.0 => pin(Side::Weak, PinReason::LossAllowed),
        _ if facts.gain_low <= 0.0 => pin(Side::Strong, PinReason::NoGap),
        Some(threshold) if facts.saving() >= SAVING_MIN => Verdict::Route { threshold },
        _ => pin(Side::Strong, PinReason::NoSaving),
    }
}

/// Labels of different texts, as shares of the highest.
fn distinct<'a>(items: &[Labelled<'a>], seed: u64) -> Result<(Vec<Labelled<'a>>, f64), TrainError> {
    let bad = |label: &f64| !label.is_finite() || *label < 0.0;
    if let Some(label) = items.iter().flat_map(|item| [item.weak, item.strong]).find(bad) {
        return Err(TrainError::Label { label });
    }
    let kept = labels::distinct(items, |item| item.text, seed);
    if kept.len() < LABELS_MIN {
        return Err(TrainError::TooFew { labels: kept.len() });
    }
    let first = kept[0];
    let same = |item: &Labelled<'_>| {
        item.weak.total_cmp(&first.weak).is_eq() && item.strong.total_cmp(&first.strong).is_eq()
    };
    if kept.iter().all(same) {
        return Err(TrainError::Equal { weak: first.weak, strong: first.strong });
    }
    let quality_max = items.iter().fold(0.0_f64, |most, item| most.max(item.weak).max(item.strong));
    let share = |item: Labelled<'a>| Labelled {
        // `abs` for -0 alone.
        weak: item.weak.abs() / quality_max,
        strong: item.strong.abs() / quality_max,
        ..item
    };
    Ok((kept.into_iter().map(share).collect(), quality_max))
}

fn mark(text: &str) -> u32 {
    u32::try_from(fingerprint(text) >> 32).unwrap_or(u32::MAX)
}
