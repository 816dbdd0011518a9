//! From a text to a direction: pieces of three to five letters, the rare ones heavier.
//!
//! `route::learned::sparse` weighs pieces by rarity too; it is another thing: its columns are few and fixed for a trained model, here
//! every piece counts as a whole 64-bit number, across words, so that two texts meet in a list only where they share a piece.

use crate::pace::rng::mix;

/// Prompts from which a job learns which pieces are rare: its first ones, so that another run learns the same.
pub const SAMPLE: usize = 2_000;
/// Longer texts are not compared: one word among so many turns an answer round and hardly moves the vector.
pub const TEXT_CHARS_MAX: usize = 1_000;
const SIZES: std::ops::RangeInclusive<usize> = 3..=5;
/// Pieces are counted in so many buckets; a shared bucket makes two pieces look more frequent than they are.
const BUCKETS: usize = 1 << 18;
/// What is in more of a hundred prompts than this tells none from the others: what a template says in each of them is not compared.
/// What half of them say may be just what matters.
const COMMON_PERCENT: u32 = 95;

/// A text: its pieces in rising order, each with its weight; one long altogether.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector(pub(super) Vec<(u64, f32)>);

/// How rare pieces are in the prompts of a job.
#[derive(Debug, Clone)]
pub struct Rarity {
    texts: u32,
    /// In how many of them a bucket was met.
    met_in: Box<[u16]>,
}

impl Default for Rarity {
    fn default() -> Self {
        Self { texts: 0, met_in: vec![0; BUCKETS].into_boxed_slice() }
    }
}

impl Rarity {
    /// Learns from one text more, of [`SAMPLE`] at most.
    pub fn learn(&mut self, text: &str) {
        let Some(pieces) = pieces(text) else { return };
        self.texts += 1;
        for (piece, _) in counted(pieces) {
            let met = &mut self.met_in[bucket(piece)];
            *met = met.saturating_add(1);
        }
    }

    /// The direction of a text. `None`: it is too long, or all that it says others say too.
    #[must_use]
    pub fn vector(&self, text: &str) -> Option<Vector> {
        let mut parts: Vec<(u64, f32)> = counted(pieces(text)?)
            .into_iter()
            .map(|(piece, count)| (piece, (1.0 + count.ln()) * self.weight(piece)))
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        parts.shrink_to_fit();
        let length = parts.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
        parts.iter_mut().for_each(|(_, weight)| *weight /= length);
        if parts.is_empty() { None } else { Some(Vector(parts)) }
    }

    #[allow(clippy::cast_precision_loss, reason = "at most 2,000 texts")]
    fn weight(&self, piece: u64) -> f32 {
        let met = u32::from(self.met_in[bucket(piece)]);
        if met * 100 > self.texts * COMMON_PERCENT {
            return 0.0;
        }
        ((1.0 + self.texts as f32) / (1.0 + met as f32)).ln() + 1.0
    }
}

/// Whether a text is one that is compared: neither too long nor blank.
#[must_use]
pub fn is_compared(text: &str) -> bool {
    text.chars().take(TEXT_CHARS_MAX + 1).count() <= TEXT_CHARS_MAX && !text.trim().is_empty()
}

fn bucket(piece: u64) -> usize {
    usize::try_from(piece >> 46).unwrap_or(0)
}

/// The pieces of a text, letters in lower case and white space as one blank; `None`: it is too long.
fn pieces(text: &str) -> Option<Vec<u64>> {
    let mut letters = vec![' '];
    for letter in text.chars().flat_map(char::to_lowercase) {
        let letter = if letter.is_whitespace() { ' ' } else { letter };
        if letter != ' ' || letters.last() != Some(&' ') {
            letters.push(letter);
        }
        if letters.len() > TEXT_CHARS_MAX {
            return None;
        }
    }
    if letters.last() != Some(&' ') {
        letters.push(' ');
    }
    let mut pieces = Vec::with_capacity(letters.len() * 3);
    for start in 0..letters.len() {
        let mut hash = 0;
        for (size, letter) in (1..=*SIZES.end()).zip(&letters[start..]) {
            hash = mix(hash ^ u64::from(u32::from(*letter)) ^ (size as u64) << 32);
            if SIZES.contains(&size) {
                pieces.push(hash);
            }
        }
    }
    Some(pieces)
}

/// Each piece once, with how often it was there.
fn counted(mut pieces: Vec<u64>) -> Vec<(u64, f32)> {
    pieces.sort_unstable();
    let mut counted: Vec<(u64, f32)> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match counted.last_mut() {
            Some((last, count)) if *last == piece => *count += 1.0,
            _ => counted.push((piece, 1.0)),
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn cosine(one: &str, other: &str) -> f32 {
        let mut rarity = Rarity::default();
        ["lost card", "late transfer", "wrong fee", "new passcode", one]
            .iter()
            .for_each(|text| rarity.learn(text));
        let [one, other] = [one, other].map(|text| rarity.vector(text).unwrap().0);
        let theirs =
            |piece| other.iter().find(|(known, _)| *known == piece).map_or(0.0, |(_, weight)| *weight);
        one.iter().map(|(piece, weight)| weight * theirs(*piece)).sum()
    }

    #[test]
    fn what_is_alike_is_near() {
        for (one, other, least, most) in [
            ("where is my parcel", "where is my parcel", 0.999, 1.001),
            ("where is my parcel", "Where  IS my\nparcel", 0.999, 1.001),
            ("where is my parcel", "where is my parcel?", 0.85, 0.999),
            ("where is my parcel", "where are my parcels", 0.4, 0.9),
            ("where is my parcel", "tax on books", 0.0, 0.1),
            ("wo ist mein Päckchen", "WO IST MEIN PÄCKCHEN", 0.999, 1.001),
        ] {
            let cosine = cosine(one, other);
            assert!((least..=most).contains(&cosine), "{one} | {other}: {cosine}");
        }
    }

    #[test]
    fn what_every_prompt_says_is_not_compared() {
        let template =
            |text: &str| format!("You are a very careful clerk. Sort this message of a customer: {text}");
        let texts =
            ["my card is lost", "the transfer is late", "what a strange fee", "I forgot the passcode"];
        let mut rarity = Rarity::default();
        texts.iter().for_each(|text| rarity.learn(&template(text)));
        let [one, other] = [texts[0], texts[2]].map(|text| rarity.vector(&template(text)).unwrap());
        let shared =
            one.0.iter().filter(|(piece, _)| other.0.iter().any(|(theirs, _)| theirs == piece)).count();
        assert!(shared * 10 < one.0.len(), "{shared} of {}", one.0.len());
    }

    /// Half of the rows say the one, half the other, and all else is alike: they are not equal.
    #[test]
    fn a_field_with_two_values_moves_the_vector() {
        let row = |field: &str| format!("Settled early: {field}. Where is my parcel, please?");
        let mut rarity = Rarity::default();
        for field in ["yes indeed", "by cash"].repeat(8) {
            rarity.learn(&row(field));
        }
        let [one, other] = ["yes indeed", "by cash"].map(|field| rarity.vector(&row(field)).unwrap());
        let theirs =
            |piece| other.0.iter().find(|(known, _)| *known == piece).map_or(0.0, |(_, weight)| *weight);
        let cosine: f32 = one.0.iter().map(|(piece, weight)| weight * theirs(*piece)).sum();
        assert!(cosine < 0.9, "{cosine}");
    }

    #[test]
    fn what_is_too_long_or_empty_has_none() {
        let rarity = Rarity::default();
        for (text, want) in [
            (String::new(), false),
            (" \n ".to_owned(), false),
            ("a".to_owned(), true),
            ("ab ".repeat(TEXT_CHARS_MAX / 3 - 1), true),
            ("ab ".repeat(TEXT_CHARS_MAX / 3 + 1), false),
            (" ".repeat(9_000), false),
        ] {
            assert_eq!(rarity.vector(&text).is_some(), want, "{} letters", text.len());
        }
    }
}
