//! A gzip stream that is small on the wire and large when unpacked, made while it is sent.
//!
//! Deflate with its fixed code: one literal zero, then matches of 258 bytes at distance 1, 13 bits each. Eight matches fill 13
//! whole bytes, so that the body is one block of bytes repeated.

use bytes::Bytes;

const REPEAT: usize = 8 * 258;
/// gzip header; block header (final, fixed code) and the literal zero; one match and a half of padding to a whole byte.
const GZIP: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];

/// Bits as deflate packs them: the first bit is the lowest of its byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, bits: &str) {
        for bit in bits.bytes() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let (b'1', Some(last)) = (bit, self.bytes.last_mut()) {
                *last |= 1 << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }
}

/// Code of length 258 (symbol 285) and of distance 1.
const MATCH: &str = "1100010100000";

/// Pieces that unpack to at least `mb` megabytes of zeros; there is no end of the stream, as a bomb needs none.
pub(super) fn pieces(mb: f64) -> impl Iterator<Item = Bytes> {
    let mut head = Bits::default();
    head.push("1"); // the last block
    head.push("10"); // fixed code, lowest bit first
    head.push("00110000"); // literal zero
    while head.used != 0 {
        head.push(MATCH);
    }
    let mut eight = Bits::default();
    (0..8).for_each(|_| eight.push(MATCH));
    const ROUNDS: usize = 4_096;
    let piece = Bytes::from(eight.bytes.repeat(ROUNDS));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "megabytes, from 0 to 1e9")]
    let count = (mb * 1e6 / (REPEAT * ROUNDS) as f64).ceil() as usize;
    let start = [GZIP.as_slice(), &head.bytes].concat();
    std::iter::once(Bytes::from(start)).chain(std::iter::repeat_n(piece, count))
}
