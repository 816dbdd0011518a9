//! One key file, read: `magic, meta length, check, meta, fences, fingerprints, entries`, integers big-endian.
//!
//! A fingerprint is the first eight bytes of a key; a fence is the first fingerprint of each block of 256. Fences are held
//! in memory (0.3 MB for ten million keys), so that a look-up reads one block of 2 KB.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bulkrate_core::ids::RequestKey;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::Place;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(super) const MAGIC: &[u8; 8] = b"BRKEYS\r\n";
pub(super) const VERSION: u32 = 1;
/// Magic, length of the meta, check.
pub(super) const HEAD_BYTES: usize = 8 + 4 + 8;
pub(super) const BLOCK: usize = 256;
pub(super) const PRINT_BYTES: usize = 8;
/// Rest of the key 24, offset 8, segment 4, naive cost 8, model 2, zero 2, check 4.
pub(super) const ENTRY_BYTES: usize = 52;
const META_BYTES_MAX: usize = 16 << 20;
/// Bytes read at once where the keys looked up lie close together.
const AHEAD_BYTES: usize = 64 << 10;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub version: u32,
    pub job: String,
    pub count: u64,
    /// Served model ids, as entries number them.
    pub models: Vec<String>,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub place: Place,
    pub naive: UsdNanos,
    pub model: u16,
}

impl Entry {
    /// All but the fingerprint.
    pub(super) fn pack(&self, key: &RequestKey) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..24].copy_from_slice(&key.0[8..]);
        bytes[24..32].copy_from_slice(&self.place.offset.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.place.segment.to_be_bytes());
        bytes[36..44].copy_from_slice(&self.naive.0.to_be_bytes());
        bytes[44..46].copy_from_slice(&self.model.to_be_bytes());
        let check = check_of(&bytes[..48]);
        bytes[48..].copy_from_slice(&check.to_be_bytes());
        bytes
    }

    /// The entry, if it is this key's and undamaged.
    fn unpack(bytes: &[u8; ENTRY_BYTES], key: &RequestKey) -> Option<Self> {
        if bytes[..24] != key.0[8..] || bytes[48..] != check_of(&bytes[..48]).to_be_bytes() {
            return None;
        }
        Some(Self {
            place: Place {
                offset: u64::from_be_bytes(part(bytes, 24)),
                segment: u32::from_be_bytes(part(bytes, 32)),
            },
            naive: UsdNanos(i64::from_be_bytes(part(bytes, 36))),
            model: u16::from_be_bytes(part(bytes, 44)),
        })
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// FNV-1a, folded to 32 bits: tells a damaged entry from a whole one.
fn check_of(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u32::try_from((hash >> 32) ^ (hash & 0xffff_ffff)).unwrap_or(0)
}

/// Covers the meta and the fences.
pub(super) fn head_check(meta: &[u8], fences: &[u8]) -> [u8; 8] {
    let digest = Sha256::new().chain_update(meta).chain_update(fences).finalize();
    part(&digest, 0)
}

/// An open file.
#[derive(Debug)]
pub(super) struct KeysFile {
    file: File,
    pub(super) meta: Meta,
    fences: Vec<u64>,
    count: usize,
    prints: Window<PRINT_BYTES>,
    entries: Window<ENTRY_BYTES>,
}

/// A column of the file, and the stretch of it that was read last.
#[derive(Debug)]
struct Window<const N: usize> {
    /// Where the column begins.
    at: u64,
    first: usize,
    /// Places read at once; reads begin at a multiple of `step`.
    ahead: usize,
    step: usize,
    bytes: Vec<u8>,
}

impl<const N: usize> Window<N> {
    fn new(at: u64) -> Self {
        Self { at, first: 0, ahead: 1, step: 1, bytes: Vec::new() }
    }

    /// Before a look-up of `keys` keys among `count`: reads are long where most of what they bring is used.
    fn plan(&mut self, count: usize, keys: usize, step: usize) {
        let far = AHEAD_BYTES / N / step * step;
        self.step = step;
        self.ahead = if count / keys * N <= AHEAD_BYTES / 8 { far.max(step) } else { step };
        self.bytes.clear();
    }

    fn get(&mut self, file: &File, count: usize, place: usize) -> io::Result<&[u8; N]> {
        let held = place
            .checked_sub(self.first)
            .map(|within| within * N)
            .filter(|within| within + N <= self.bytes.len());
        let within = match held {
            Some(within) => within,
            None => {
                self.first = place / self.step * self.step;
                self.bytes.resize(self.ahead.min(count - self.first) * N, 0);
                if let Err(error) = file.read_exact_at(&mut self.bytes, self.at + (self.first * N) as u64) {
                    self.bytes.clear();
                    return Err(error);
                }
                (place - self.first) * N
            }
        };
        self.bytes[within..].first_chunk().ok_or_else(|| bad("it is cut"))
    }
}

impl KeysFile {
    /// Opens a file; one that is cut, damaged or of another version is `InvalidData`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(&mut head, 0)?;
        if head[..8] != *MAGIC {
            return Err(bad("it is no key file"));
        }
        let meta_len = usize::try_from(u32::from_be_bytes(part(&head, 8))).unwrap_or(usize::MAX);
        if meta_len > META_BYTES_MAX {
            return Err(bad("its header is damaged"));
        }
        let mut meta_bytes = vec![0; meta_len];
        file.read_exact_at(&mut meta_bytes, HEAD_BYTES as u64)?;
        let meta: Meta = serde_json::from_slice(&meta_bytes).map_err(|_| bad("its header is damaged"))?;
        if meta.version != VERSION {
            return Err(bad("it is of another version"));
        }
        let count = usize::try_from(meta.count).map_err(|_| bad("its header is damaged"))?;
        let blocks = count.div_ceil(BLOCK);
        let fences_at = (HEAD_BYTES + meta_len) as u64;
        let prints_at = fences_at + (blocks * PRINT_BYTES) as u64;
        let entries_at = prints_at.saturating_add(meta.count.saturating_mul(PRINT_BYTES as u64));
        if entries_at.saturating_add(meta.count.saturating_mul(ENTRY_BYTES as u64)) != length {
            return Err(bad("it is not as long as it says"));
        }
        let mut fence_bytes = vec![0; blocks * PRINT_BYTES];
        file.read_exact_at(&mut fence_bytes, fences_at)?;
        if head_check(&meta_bytes, &fence_bytes) != part::<8>(&head, 12) {
            return Err(bad("its checksum is wrong"));
        }
        let fences =
            fence_bytes.chunks_exact(PRINT_BYTES).map(|bytes| u64::from_be_bytes(part(bytes, 0))).collect();
        Ok(Self {
            file,
            meta,
            fences,
            count,
            prints: Window::new(prints_at),
            entries: Window::new(entries_at),
        })
    }

    /// Looks up keys in ascending order; `found` is told the place of a key in `keys`, and its entry. False from `wanted`
    /// passes a key over.
    pub(super) fn find<T>(
        &mut self,
        keys: &[(RequestKey, T)],
        mut wanted: impl FnMut(usize) -> bool,
        mut found: impl FnMut(usize, Entry),
    ) -> io::Result<()> {
        if self.count == 0 || keys.is_empty() {
            return Ok(());
        }
        self.prints.plan(self.count, keys.len(), BLOCK);
        self.entries.plan(self.count, keys.len(), 1);
        let mut fence = 0;
        for (place, (key, _)) in keys.iter().enumerate() {
            if !wanted(place) {
                continue;
            }
            let print = key.fingerprint();
            fence = gallop(&self.fences, fence, print);
            let mut at = self.lower_bound(fence, print)?;
            while at < self.count && self.print(at)? == print {
                if let Some(entry) = Entry::unpack(self.entries.get(&self.file, self.count, at)?, key) {
                    found(place, entry);
                    break;
                }
                at += 1;
            }
        }
        Ok(())
    }

    /// The first place whose fingerprint is not less; `fence`: the first fence that is not less.
    fn lower_bound(&mut self, fence: usize, print: u64) -> io::Result<usize> {
        if fence == 0 {
            return Ok(0);
        }
        let mut low = (fence - 1) * BLOCK;
        let mut high = (low + BLOCK).min(self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.print(middle)? < print {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn print(&mut self, at: usize) -> io::Result<u64> {
        self.prints.get(&self.file, self.count, at).map(|bytes| u64::from_be_bytes(*bytes))
    }
}

/// The first fence from `from` on that is not less than `print`, near first.
fn gallop(fences: &[u64], from: usize, print: u64) -> usize {
    let mut step = 1;
    let mut low = from;
    while low + step < fences.len() && fences[low + step] < print {
        low += step;
        step *= 2;
    }
    let high = (low + step + 1).min(fences.len());
    low + fences[low..high].partition_point(|fence| *fence < print)
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
