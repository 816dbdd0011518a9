//! A router as bytes: a mark, a version, the fields in a fixed order, and the SHA-256 of all that.
//!
//! Of two models the file has version 1, as it always had. Of more it has version 2: their number and names follow the column, and what is
//! said of a model stands there as often as it must.
//!
//! Sparse and rounded: a word takes its distance from the last one, the number of texts that have it and two bytes a head.

use sha2::{Digest as _, Sha256};

use super::MODELS_MAX;
use super::metrics::Worth;
use super::model::{Head, Kind, Model};
use super::space::Space;
use super::sparse::Columns;
use super::threshold::{Alone, Cut};
use super::train::{Facts, PinReason, Router, TrainOptions, Verdict};
use super::words::LOOKS;
use super::{Few, Score};

/// The highest version that this program writes and reads.
pub const FORMAT: u16 = 2;
/// The version of routers between two models.
const OF_TWO: u16 = 1;
const MARK: &[u8] = b"bulkrate router\n";
const SUM_BYTES: usize = 32;

/// Why bytes are no router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    #[error("it is not a router file")]
    NotARouter,
    #[error("it has version {version}, and this program reads versions up to {FORMAT}")]
    TooNew { version: u16 },
    #[error("it is damaged: its checksum does not fit")]
    Checksum,
    #[error("it is damaged: {0}")]
    Field(&'static str),
}

impl FileError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooNew { .. } => "router-too-new",
            Self::NotARouter | Self::Checksum | Self::Field(_) => "router-invalid",
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooNew { .. } => {
                "use the bulkrate that wrote it, or a newer one; or train it again with this one"
            }
            Self::NotARouter => "name a file that `bulkrate route train --out FILE` wrote",
            Self::Checksum | Self::Field(_) => {
                "take it from a backup, or train it again: the same labels and seed give the same router"
            }
        }
    }
}

impl Router {
    /// The file. The same router is always the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(MARK.to_vec());
        let models = self.models();
        let version = if models == 2 { OF_TWO } else { FORMAT };
        out.0.extend_from_slice(&version.to_le_bytes());
        out.text(&self.column);
        if version > OF_TWO {
            out.count(models);
            (0..models).for_each(|place| out.text(&self.name(place)));
        }
        write_facts(&mut out, &self.facts);
        write_verdict(&mut out, &self.verdict, models);
        write_model(&mut out, &self.model);
        out.count(self.taught.len());
        let mut last = 0;
        for mark in &self.taught {
            out.varint(u64::from(mark - last));
            last = *mark;
        }
        let sum = Sha256::digest(&out.0);
        out.0.extend_from_slice(&sum);
        out.0
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// Another kind of file, a later version, a damaged file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let rest = bytes.strip_prefix(MARK).ok_or(FileError::NotARouter)?;
        let (version, _) = rest.split_first_chunk::<2>().ok_or(FileError::Checksum)?;
        let version = u16::from_le_bytes(*version);
        match version {
            0 => return Err(FileError::Field("version 0")),
            version if version > FORMAT => return Err(FileError::TooNew { version }),
            _ => {}
        }
        let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>().ok_or(FileError::Checksum)?;
        if Sha256::digest(body)[..] != sum[..] {
            return Err(FileError::Checksum);
        }
        let mut from = Reader(body.get(MARK.len() + 2..).ok_or(FileError::Checksum)?);
        let column = from.text()?;
        let names = if version > OF_TWO { read_names(&mut from)? } else { Vec::new() };
        let models = names.len().max(2);
        let facts = read_facts(&mut from, models)?;
        let verdict = read_verdict(&mut from, models)?;
        let model = read_model(&mut from, models)?;
        let (n, mut last) = (from.count()?, 0_u32);
        let mut taught = Vec::with_capacity(n);
        for _ in 0..n {
            let step = u32::try_from(from.varint()?).ok();
            last =
                step.and_then(|step| last.checked_add(step)).ok_or(FileError::Field("a mark of a text"))?;
            taught.push(last);
        }
        if !from.0.is_empty() {
            return Err(FileError::Field("more bytes than fields"));
        }
        Ok(Self { model, verdict, facts, column, names, taught })
    }

    /// Names this very router: the beginning of its checksum. Recorded with each decision.
    #[must_use]
    pub fn version(&self) -> String {
        let bytes = self.to_bytes();
        let (_, sum) = bytes.split_at(bytes.len() - SUM_BYTES);
        sum[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn write_facts(out: &mut Writer, facts: &Facts) {
    let TrainOptions { seed, quality_loss_permille, price_ratios } = facts.options;
    out.varint(seed);
    out.varint(u64::from(quality_loss_permille));
    out.floats(&price_ratios);
    out.varint(u64::from(facts.taught));
    out.varint(u64::from(facts.proved));
    out.float(facts.quality_max);
    out.floats(&facts.qualities);
    out.float(facts.gain_low);
    for worth in &*facts.worth {
        let worth = worth.unwrap_or(Worth { apgr: f64::NAN, cpt50: f64::NAN, cpt80: f64::NAN });
        out.floats(&[worth.apgr, worth.cpt50, worth.cpt80]);
    }
    let Cut { thresholds, shares, loss, loss_high } = facts.cut;
    out.0.push(u8::from(thresholds.is_some()));
    out.scores(&thresholds.unwrap_or(Few::all(Score::default(), price_ratios.len())));
    // The cheapest has the rest.
    out.floats(&shares[1..]);
    out.floats(&[loss, loss_high]);
    if price_ratios.len() > 1 {
        // Nought, or the place from 1.
        out.count(facts.alone.map_or(0, |one| one.place + 1));
        facts.alone.iter().for_each(|one| out.floats(&[one.loss, one.loss_high]));
    }
}

fn read_names(from: &mut Reader<'_>) -> Result<Vec<String>, FileError> {
    let models = from.count()?;
    if !(3..=MODELS_MAX).contains(&models) {
        return Err(FileError::Field("the number of models"));
    }
    (0..models).map(|_| from.text()).collect()
}

fn read_facts(from: &mut Reader<'_>, models: usize) -> Result<Facts, FileError> {
    let small = |number: u64| u32::try_from(number).map_err(|_| FileError::Field("a count"));
    let options = TrainOptions {
        seed: from.varint()?,
        quality_loss_permille: small(from.varint()?)?,
        price_ratios: from.floats(models - 1)?,
    };
    Ok(Facts {
        options,
        taught: small(from.varint()?)?,
        proved: small(from.varint()?)?,
        quality_max: from.float()?,
        qualities: from.floats(models)?,
        gain_low: from.float()?,
        worth: {
            let worth = |_| {
                let worth = Worth { apgr: from.float()?, cpt50: from.float()?, cpt80: from.float()? };
                Ok(Some(worth).filter(|worth| !worth.apgr.is_nan()))
            };
            (1..models).map(worth).collect::<Result<_, FileError>>()?
        },
        cut: {
            let (some, scores) = (from.byte()? != 0, from.scores(models - 1)?);
            let dearer = from.floats(models - 1)?;
            Cut {
                thresholds: some.then_some(scores),
                shares: Cut::shares_of(&dearer),
                loss: from.float()?,
                loss_high: from.float()?,
            }
        },
        alone: if models > 2 { read_alone(from, models)? } else { None },
    })
}

fn read_alone(from: &mut Reader<'_>, models: usize) -> Result<Option<Alone>, FileError> {
    let number = usize::try_from(from.varint()?).unwrap_or(usize::MAX);
    let Some(place) = number.checked_sub(1) else { return Ok(None) };
    if place + 1 >= models {
        return Err(FileError::Field("the model that is good enough alone"));
    }
    Ok(Some(Alone { place, loss: from.float()?, loss_high: from.float()? }))
}

/// The first four were there before routers of more than two models, and are all that one of two can have.
const REASONS: [PinReason; 7] = [
    PinReason::WeakAsGood,
    PinReason::NoGap,
    PinReason::NoSaving,
    PinReason::LossAllowed,
    PinReason::AsGood,
    PinReason::GoodEnough,
    PinReason::TooFew,
];
const REASONS_OF_TWO: usize = 4;

/// Nought where rows are routed, else the place of the model that has them all, from 1.
fn write_verdict(out: &mut Writer, verdict: &Verdict, models: usize) {
    match verdict {
        Verdict::Route { thresholds } => {
            out.0.push(0);
            out.scores(thresholds);
        }
        Verdict::Pin { place, reason } => {
            let number = (*place).min(models - 1) + 1;
            out.0.push(u8::try_from(number).unwrap_or(u8::MAX));
            let place = REASONS.iter().position(|one| one == reason).unwrap_or(0);
            out.count(place);
        }
    }
}

fn read_verdict(from: &mut Reader<'_>, models: usize) -> Result<Verdict, FileError> {
    let place = match usize::from(from.byte()?).checked_sub(1) {
        None => return Ok(Verdict::Route { thresholds: from.scores(models - 1)? }),
        Some(place) if place < models => place,
        Some(_) => return Err(FileError::Field("the verdict")),
    };
    let known = if models > 2 { &REASONS[..] } else { &REASONS[..REASONS_OF_TWO] };
    let reason = usize::try_from(from.varint()?).ok().and_then(|reason| known.get(reason));
    let reason = reason.ok_or(FileError::Field("the reason"))?;
    Ok(Verdict::Pin { place, reason: *reason })
}

fn write_model(out: &mut Writer, model: &Model) {
    out.0.push(if model.kind == Kind::Heads { 2 } else { 1 });
    out.varint(u64::from(model.space.words.texts));
    for (mean, spread) in model.space.looks {
        out.float(mean);
        out.float(spread);
    }
    out.count(model.space.words.width());
    let mut last = 0;
    for &(bucket, texts) in &model.space.words.kept {
        out.varint(u64::from(bucket - last));
        out.varint(u64::from(texts));
        last = bucket;
    }
    for head in &model.heads {
        out.float(head.bias);
        out.float(head.unit);
        head.weights.iter().for_each(|weight| out.0.extend_from_slice(&weight.to_le_bytes()));
    }
}

fn read_model(from: &mut Reader<'_>, models: usize) -> Result<Model, FileError> {
    let kind = match from.byte()? {
        1 => Kind::Gap,
        2 => Kind::Heads,
        _ => return Err(FileError::Field("the kind of model")),
    };
    let texts = u32::try_from(from.varint()?).map_err(|_| FileError::Field("the number of texts"))?;
    let mut looks = [(0.0, 0.0); LOOKS];
    for look in &mut looks {
        *look = (from.float()?, from.float()?);
    }
    let (n, mut last) = (from.count()?, None);
    let mut kept = Vec::with_capacity(n);
    for _ in 0..n {
        let step = u16::try_from(from.varint()?).ok();
        // Rising: two columns of one bucket would be one column.
        let bucket = step.and_then(|step| match last {
            None => Some(step),
            Some(last) if step > 0 => u16::checked_add(last, step),
            Some(_) => None,
        });
        let bucket = bucket.ok_or(FileError::Field("a word"))?;
        let found_in = u32::try_from(from.varint()?).map_err(|_| FileError::Field("a word's texts"))?;
        kept.push((u32::from(bucket), found_in));
        last = Some(bucket);
    }
    let space = Space { words: Columns::of(texts, kept), looks };
    let mut heads = Vec::new();
    for _ in 0..kind.heads(models) {
        let (bias, unit) = (from.float()?, from.float()?);
        let weights = from.take(space.width() * 2)?;
        let weights = weights.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
        heads.push(Head { bias, unit, weights });
    }
    Ok(Model::of(kind, space, heads))
}

struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first.
    #[allow(clippy::cast_possible_truncation, reason = "masked to seven bits")]
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number as u8 & 0x7f) | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn count(&mut self, count: usize) {
        self.varint(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn float(&mut self, float: f64) {
        self.0.extend_from_slice(&float.to_le_bytes());
    }

    fn floats(&mut self, floats: &[f64]) {
        floats.iter().for_each(|float| self.float(*float));
    }

    fn scores(&mut self, scores: &[Score]) {
        scores.iter().for_each(|score| self.0.extend_from_slice(&score.0.to_le_bytes()));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], FileError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(FileError::Field("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(FileError::Field("it ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, FileError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Result<u64, FileError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(FileError::Field("a number without an end"))
    }

    /// A number of things that follow, each at least a byte long: more than there are bytes cannot be.
    fn count(&mut self) -> Result<usize, FileError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.0.len() { Err(FileError::Field("a count larger than the file")) } else { Ok(count) }
    }

    fn text(&mut self) -> Result<String, FileError> {
        let bytes = self.count()?;
        let text = std::str::from_utf8(self.take(bytes)?);
        text.map(str::to_owned).map_err(|_| FileError::Field("a text is no UTF-8"))
    }

    fn float(&mut self) -> Result<f64, FileError> {
        self.array().map(f64::from_le_bytes)
    }

    fn floats(&mut self, count: usize) -> Result<Few<f64>, FileError> {
        (0..count).map(|_| self.float()).collect()
    }

    fn scores(&mut self, count: usize) -> Result<Few<Score>, FileError> {
        let score = |_| self.array().map(|bytes| Score(i32::from_le_bytes(bytes)));
        (0..count).map(score).collect()
    }
}
