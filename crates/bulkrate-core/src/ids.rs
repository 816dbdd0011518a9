//! Identities: ours at a provider, a submission's, a job's.

use std::fmt;

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// SHA-256 over the canonical request and the pinned model; dedup and the response cache use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub [u8; 32]);

impl RequestKey {
    /// The first eight bytes, enough to find a candidate; a hit is confirmed on the full key.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }
}

/// Place of an item in its source, from 0.
pub type Ordinal = u32;

/// One paid request: a UUIDv7, written as 26 Crockford base32 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sub(pub u128);

impl Sub {
    /// A UUIDv7 from a time in milliseconds since the epoch and 74 random bits.
    #[must_use]
    pub fn new(unix_ms: u64, random: u128) -> Self {
        let time = u128::from(unix_ms & 0xffff_ffff_ffff) << 80;
        let high = (random >> 62) & 0xfff;
        let low = random & ((1 << 62) - 1);
        Self(time | (7 << 76) | (high << 64) | (2 << 62) | low)
    }

    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 26 {
            return None;
        }
        let mut value: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let digit = CROCKFORD.iter().position(|&known| known == byte)?;
            if place == 0 && digit > 7 {
                return None; // 26 digits hold 130 bits; the first carries three
            }
            value = (value << 5) | u128::try_from(digit).ok()?;
        }
        Some(Self(value))
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = CROCKFORD[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sub({self})")
    }
}

/// Our id of an item at a provider: `br1-<sub>-<seq36>`, or of a bundle of `n` items, that one and those after it:
/// `br1-<sub>-<seq36>-<n36>`. At most 46 characters of `[a-z0-9-]`. The user's own id never leaves the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WireId {
    pub sub: Sub,
    pub seq: u32,
    /// Leases that the request holds, from `seq` on; 1 for an item alone.
    pub n: u32,
}

impl WireId {
    /// An item alone.
    #[must_use]
    pub fn one(sub: Sub, seq: u32) -> Self {
        Self { sub, seq, n: 1 }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (sub, rest) = text.strip_prefix("br1-")?.split_at_checked(26)?;
        let (seq, n) = match rest.strip_prefix('-')?.split_once('-') {
            None => (rest.strip_prefix('-')?, 1),
            // One item has no count: one spelling per id.
            Some((seq, n)) => (seq, base36(n).filter(|n| *n > 1)?),
        };
        Some(Self { sub: Sub::parse(sub)?, seq: base36(seq)?, n })
    }

    /// Places of its items among the leases of its submission.
    #[must_use]
    pub fn places(&self) -> std::ops::Range<usize> {
        let first = self.seq as usize;
        first..first.saturating_add(self.n as usize)
    }
}

/// Reads what [`write_base36`] writes, and no other spelling of it.
fn base36(text: &str) -> Option<u32> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    if text.is_empty() || (text.len() > 1 && text.starts_with('0')) || !text.bytes().all(is_digit) {
        return None;
    }
    u32::from_str_radix(text, 36).ok()
}

fn write_base36(number: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [0_u8; 7];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    f.write_str(std::str::from_utf8(&digits[at..]).unwrap_or_default())
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "br1-{}-", self.sub)?;
        write_base36(self.seq, f)?;
        if self.n == 1 {
            return Ok(());
        }
        f.write_str("-")?;
        write_base36(self.n, f)
    }
}

/// Base32 text of the first `characters` * 5 bits of a hash; names jobs.
#[must_use]
pub fn short_id(hash: &[u8; 32], characters: usize) -> String {
    let mut text = String::with_capacity(characters);
    for place in 0..characters.min(48) {
        let bit = place * 5;
        let window = (u16::from(hash[bit / 8]) << 8) | u16::from(*hash.get(bit / 8 + 1).unwrap_or(&0));
        let digit = (window >> (11 - bit % 8)) & 31;
        text.push(char::from(CROCKFORD[usize::from(digit)]));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wire_id_survives_the_wire(time in 0_u64..1 << 48, random: u128, seq in 0_u32..2_000_000_000, n in 1_u32..200) {
            let id = WireId { sub: Sub::new(time, random), seq, n };
            let text = id.to_string();
            prop_assert!(text.len() <= 46 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
            prop_assert_eq!(WireId::parse(&text), Some(id));
        }

        #[test]
        fn reading_an_id_never_panics_and_has_one_spelling(text in "\\PC{0,40}") {
            if let Some(id) = WireId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn a_bundle_names_its_leases_in_one_way() {
        let sub = Sub::new(1, 2);
        let id = WireId { sub, seq: 40, n: 20 };
        assert_eq!((id.to_string(), id.places()), (format!("br1-{sub}-14-k"), 40..60));
        assert_eq!(WireId::one(sub, 40).to_string(), format!("br1-{sub}-14"));
        for end in
            ["14-1", "14-0", "14-", "14-02", "14-K", "14--k", "14-k-k", "-k", "+1", "14-+k", "14-zzzzzzzzz"]
        {
            assert_eq!(WireId::parse(&format!("br1-{sub}-{end}")), None, "{end}");
        }
    }

    #[test]
    fn later_submissions_sort_later() {
        assert!(Sub::new(1_000, u128::MAX).to_string() < Sub::new(1_001, 0).to_string());
    }

    #[test]
    fn a_version_seven_uuid() {
        let sub = Sub::new(0x0123_4567_89ab, u128::MAX);
        assert_eq!(format!("{:032x}", sub.0), "0123456789ab7fffbfffffffffffffff");
    }

    #[test]
    fn short_ids_read_the_hash_from_its_start() {
        let mut hash = [0; 32];
        hash[0] = 0b0000_1000;
        assert_eq!(short_id(&hash, 4), "1000");
    }
}
