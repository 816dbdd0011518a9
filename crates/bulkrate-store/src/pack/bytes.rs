//! Varints and the frame around them.

const VERSION: u8 = 1;
/// Of outcomes that say what a prompt cache saved.
pub(crate) const VERSION_CACHED: u8 = 2;
const HEAD: usize = 5;

/// Why a BLOB cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("the record is cut short")]
    Short,
    #[error("the record has format {0}, this bulkrate reads formats 1 and 2")]
    Version(u8),
    #[error("the checksum does not match")]
    Checksum,
    #[error("bytes are left over after the last record")]
    Trailing,
    #[error("a field has a value that is never written")]
    Value,
}

/// Writes one BLOB.
#[derive(Debug)]
pub(crate) struct Pack(Vec<u8>);

impl Pack {
    pub(crate) fn new(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + 5 + capacity);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
        Self(bytes)
    }

    /// Of another format than the usual one.
    pub(crate) fn set_version(&mut self, version: u8) {
        self.0[0] = version;
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first.
    #[allow(clippy::cast_possible_truncation, reason = "the low seven bits are what is meant")]
    pub(crate) fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Small magnitudes of either sign are short.
    pub(crate) fn int(&mut self, value: i64) {
        self.uint((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.uint(count as u64);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let sum = checksum(&self.0[HEAD..]);
        self.0[1..HEAD].copy_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// Reads one BLOB.
#[derive(Debug)]
pub(crate) struct Unpack<'a>(&'a [u8]);

impl<'a> Unpack<'a> {
    pub(crate) fn new(blob: &'a [u8]) -> Result<Self, Damage> {
        match Self::versioned(blob)? {
            (VERSION, unpack) => Ok(unpack),
            (version, _) => Err(Damage::Version(version)),
        }
    }

    /// Of any format that is known, and which.
    pub(crate) fn versioned(blob: &'a [u8]) -> Result<(u8, Self), Damage> {
        let (head, body) = blob.split_first_chunk::<HEAD>().ok_or(Damage::Short)?;
        let [version, sum @ ..] = *head;
        if !matches!(version, VERSION | VERSION_CACHED) {
            return Err(Damage::Version(version));
        }
        if checksum(body) != u32::from_le_bytes(sum) {
            return Err(Damage::Checksum);
        }
        Ok((version, Self(body)))
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        let (&byte, rest) = self.0.split_first().ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(byte)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn uint(&mut self) -> Result<u64, Damage> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return if shift == 63 && byte > 1 { Err(Damage::Value) } else { Ok(value) };
            }
        }
        Err(Damage::Value)
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i64, Damage> {
        let value = self.uint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        u32::try_from(self.uint()?).map_err(|_| Damage::Value)
    }

    /// A number of records of at least `size` bytes each: never more than the bytes that are there.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, Damage> {
        let count = usize::try_from(self.uint()?).map_err(|_| Damage::Value)?;
        if count.saturating_mul(size) > self.0.len() { Err(Damage::Short) } else { Ok(count) }
    }

    pub(crate) fn end(&self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage::Trailing) }
    }
}

/// Finds torn or flipped bytes; it is no defence against intent.
#[allow(clippy::cast_possible_truncation, reason = "the upper half is folded in before")]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = ODD ^ bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(ODD).rotate_left(29);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    sum = (sum ^ u64::from_le_bytes(last)).wrapping_mul(ODD);
    (sum ^ (sum >> 32)) as u32
}
