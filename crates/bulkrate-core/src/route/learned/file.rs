//! A router as bytes: a mark, a version, the fields in a fixed order, and the SHA-256 of all that.
//!
//! Sparse and rounded: a word takes its distance from the last one, the number of texts that have it and two bytes a head.

use sha2::{Digest as _, Sha256};

use super::metrics::Worth;
use super::model::{Head, Kind, Model};
use super::space::Space;
use super::sparse::Columns;
use super::threshold::Cut;
use super::train::{Facts, PinReason, Router, TrainOptions, Verdict};
use super::words::LOOKS;
use super::{Score, Side};

/// The version that this program writes, and the highest that it reads.
pub const FORMAT: u16 = 1;
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
        out.0.extend_from_slice(&FORMAT.to_le_bytes());
        out.text(&self.column);
        write_facts(&mut out, &self.facts);
        write_verdict(&mut out, self.verdict);
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
        match u16::from_le_bytes(*version) {
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
        let facts = read_facts(&mut from)?;
        let verdict = read_verdict(&mut from)?;
        let model = read_model(&mut from)?;
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
        Ok(Self { model, verdict, facts, column, taught })
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
    let TrainOptions { seed, quality_loss_permille, price_ratio } = facts.options;
    out.varint(seed);
    out.varint(u64::from(quality_loss_permille));
    out.float(price_ratio.unwrap_or(f64::INFINITY));
    out.varint(u64::from(facts.taught));
    out.varint(u64::from(facts.proved));
    for float in [facts.quality_max, facts.weak, facts.strong, facts.gain_low] {
        out.float(float);
    }
    let worth = facts.worth.unwrap_or(Worth { apgr: f64::NAN, cpt50: f64::NAN, cpt80: f64::NAN });
    for float in [worth.apgr, worth.cpt50, worth.cpt80] {
        out.float(float);
    }
    out.0.push(u8::from(facts.cut.threshold.is_some()));
    out.score(facts.cut.threshold.unwrap_or_default());
    for float in [facts.cut.share_strong, facts.cut.loss, facts.cut.loss_high] {
        out.float(float);
    }
}

fn read_facts(from: &mut Reader<'_>) -> Result<Facts, FileError> {
    let small = |number: u64| u32::try_from(number).map_err(|_| FileError::Field("a count"));
    let options = TrainOptions {
        seed: from.varint()?,
        quality_loss_permille: small(from.varint()?)?,
        price_ratio: Some(from.float()?).filter(|ratio| ratio.is_finite()),
    };
    Ok(Facts {
        options,
        taught: small(from.varint()?)?,
        proved: small(from.varint()?)?,
        quality_max: from.float()?,
        weak: from.float()?,
        strong: from.float()?,
        gain_low: from.float()?,
        worth: {
            let worth = Worth { apgr: from.float()?, cpt50: from.float()?, cpt80: from.float()? };
            Some(worth).filter(|worth| !worth.apgr.is_nan())
        },
        cut: {
            let (some, score) = (from.byte()? != 0, from.score()?);
            Cut {
                threshold: some.then_some(score),
                share_strong: from.float()?,
                loss: from.float()?,
                loss_high: from.float()?,
            }
        },
    })
}

const REASONS: [PinReason; 4] =
    [PinReason::WeakAsGood, PinReason::NoGap, PinReason::NoSaving, PinReason::LossAllowed];

fn write_verdict(out: &mut Writer, verdict: Verdict) {
    match verdict {
        Verdict::Route { threshold } => {
            out.0.push(0);
            out.score(threshold);
        }
        Verdict::Pin { side, reason } => {
            out.0.push(if side == Side::Weak { 1 } else { 2 });
            let place = REASONS.iter().position(|one| *one == reason).unwrap_or(0);
            out.count(place);
        }
    }
}

fn read_verdict(from: &mut Reader<'_>) -> Result<Verdict, FileError> {
    let side = match from.byte()? {
        0 => return Ok(Verdict::Route { threshold: from.score()? }),
        1 => Side::Weak,
        2 => Side::Strong,
        _ => return Err(FileError::Field("the verdict")),
    };
    let place = usize::try_from(from.varint()?).ok();
    let reason = place.and_then(|place| REASONS.get(place)).ok_or(FileError::Field("the reason"))?;
    Ok(Verdict::Pin { side, reason: *reason })
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

fn read_model(from: &mut Reader<'_>) -> Result<Model, FileError> {
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
    for _ in 0..if kind == Kind::Heads { 2 } else { 1 } {
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

    fn score(&mut self, score: Score) {
        self.0.extend_from_slice(&score.0.to_le_bytes());
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

    fn score(&mut self) -> Result<Score, FileError> {
        self.array().map(|bytes| Score(i32::from_le_bytes(bytes)))
    }
}
