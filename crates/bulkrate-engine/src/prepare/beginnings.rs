//! What rows of a table share behind a column, for models whose providers keep what is marked alone: the order of sending that puts such
//! rows side by side, and a file that says of each item what it shares.
//!
//! As in `order`, nothing is held in memory but a run of each sort. An item has eight bytes in the file, at its number: a retry needs
//! them as well, and comes in no order.

use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use bulkrate_core::ids::Ordinal;
use bulkrate_core::order::{Counter, Ends, Factor, Least, Sharing};
use serde::{Deserialize, Serialize};

use super::order::Spot;
use super::runs::Runs;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::paths::{JobDir, io_error, open_file};
use crate::run::prompt_cache::{second_mark, static_bytes};
use crate::spec::JobSpec;

const KEY: usize = 2 + Ends::BYTES;
const ENTRY: usize = KEY + Spot::BYTES;
/// An item's number, and its share.
const PLACED: usize = 4 + Share::BYTES;

/// What an item shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Bytes of its user prompt.
    pub at: u32,
    /// The number of the beginning, from 1.
    pub id: u32,
}

impl Share {
    pub(crate) const BYTES: usize = 8;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        (u64::from(self.at) << 32 | u64::from(self.id)).to_be_bytes()
    }

    /// `None`: it shares nothing.
    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let word = u64::from_be_bytes(bytes);
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default();
        let share = Self { at: half(word >> 32), id: half(word) };
        (share.id > 0).then_some(share)
    }
}

/// What the rows of one model share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub model: String,
    #[serde(flatten)]
    pub sharing: Sharing,
}

/// Gathers the leaders of a pass whose providers keep what is marked.
#[derive(Debug, Default)]
pub(crate) struct Sharers {
    runs: Runs<ENTRY>,
    /// By deployment; `None`: nothing is marked there.
    marked: Vec<Option<(Least, Factor)>>,
}

impl Sharers {
    pub(super) fn new(spec: &JobSpec, deployments: &[Deployment]) -> Self {
        let before = static_bytes(&spec.request);
        let of = |found: &Deployment| {
            let (marks, factor) = second_mark(&spec.request, &spec.run, found)?;
            Some((Least { before, tokens: marks.prefix_min.0 }, factor))
        };
        Self { runs: Runs::default(), marked: deployments.iter().map(of).collect() }
    }

    pub(super) fn takes(&self, deployment: usize) -> bool {
        self.marked.get(deployment).is_some_and(Option::is_some)
    }

    pub(super) fn add(&mut self, deployment: usize, ends: &Ends, spot: Spot) -> io::Result<()> {
        let mut entry = [0; ENTRY];
        entry[..2].copy_from_slice(&u16::try_from(deployment).unwrap_or(u16::MAX).to_be_bytes());
        entry[2..KEY].copy_from_slice(&ends.to_bytes());
        entry[KEY..].copy_from_slice(&spot.to_bytes());
        self.runs.add(entry)
    }

    /// Writes the spots in order, and what each item shares, durably, if it pays for any of the models.
    pub(super) fn finish(
        self,
        dir: &JobDir,
        deployments: &[Deployment],
        out: &mut impl Write,
    ) -> Result<Vec<Begun>, EngineError> {
        let path = dir.beginnings();
        let failed = || io_error("could not write", &path);
        let (mut sorted, best) = sorted(self.runs, &self.marked).map_err(failed())?;
        let placed = placed(&mut sorted, &self.marked, &best, out).map_err(failed())?;
        if best.iter().all(Option::is_none) {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(io_error("could not remove", &path)(error))
                }
                _ => Ok(Vec::new()),
            };
        }
        let mut file = BufWriter::new(open_file(&path, true)?);
        write(placed, &mut file).map_err(failed())?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_data()).map_err(failed())?;
        let found = deployments.iter().zip(best);
        Ok(found
            .filter_map(|(found, best)| Some(Begun { model: found.pinned.clone(), sharing: best?.1 }))
            .collect())
    }
}

/// By deployment: the end that is taken, and what is shared up to it.
type Best = Vec<Option<(usize, Sharing)>>;

/// All entries in a file, ascending, and which end pays the most for each deployment.
fn sorted(
    runs: Runs<ENTRY>,
    marked: &[Option<(Least, Factor)>],
) -> io::Result<(BufReader<std::fs::File>, Best)> {
    let mut counters: Vec<Option<(Counter, Factor)>> =
        marked.iter().map(|one| one.map(|(least, factor)| (Counter::new(least), factor))).collect();
    let mut file = BufWriter::new(tempfile::tempfile()?);
    let mut entries = runs.merged()?;
    while let Some(entry) = entries.next()? {
        let (deployment, ends) = read(&entry);
        if let Some(Some((counter, _))) = counters.get_mut(deployment) {
            counter.add(&ends);
        }
        file.write_all(&entry)?;
    }
    let best = counters.iter().map(|one| one.as_ref().and_then(|(counter, factor)| counter.best(*factor)));
    let best = best.collect();
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok((BufReader::new(file), best))
}

fn read(entry: &[u8; ENTRY]) -> (usize, Ends) {
    let mut ends = [0; Ends::BYTES];
    ends.copy_from_slice(&entry[2..KEY]);
    (usize::from(u16::from_be_bytes([entry[0], entry[1]])), Ends::from_bytes(&ends))
}

/// Writes the spots as they come; answers what each item shares. Who shares nothing with the one before or after has no share.
fn placed(
    sorted: &mut impl Read,
    marked: &[Option<(Least, Factor)>],
    best: &Best,
    out: &mut impl Write,
) -> io::Result<Runs<PLACED>> {
    let (mut placed, mut id) = (Runs::default(), 0);
    // The item before, and whether it is known to share.
    let mut before: Option<(usize, Ends, [u8; 4], bool)> = None;
    let mut entry = [0; ENTRY];
    while fill(sorted, &mut entry)? {
        out.write_all(&entry[KEY..])?;
        let (deployment, ends) = read(&entry);
        // The number leads in a spot.
        let ordinal = [entry[KEY], entry[KEY + 1], entry[KEY + 2], entry[KEY + 3]];
        let end = best.get(deployment).copied().flatten().map(|(end, _)| end);
        let least = marked.get(deployment).copied().flatten().map(|(least, _)| least);
        let at = end.map_or(0, |end| ends.0[end].at);
        let same = |other: &Ends| end.is_some_and(|end| ends.is_shared(other, end));
        let long = least.is_some_and(|least| least.keeps(at));
        let shares = long && before.is_some_and(|(place, other, ..)| place == deployment && same(&other));
        if let Some((_, _, first, false)) = before.filter(|_| shares) {
            id += 1;
            placed.add(entry_of(first, Share { at, id }))?;
        }
        if shares {
            placed.add(entry_of(ordinal, Share { at, id }))?;
        }
        before = Some((deployment, ends, ordinal, shares));
    }
    Ok(placed)
}

fn entry_of(ordinal: [u8; 4], share: Share) -> [u8; PLACED] {
    let mut entry = [0; PLACED];
    entry[..4].copy_from_slice(&ordinal);
    entry[4..].copy_from_slice(&share.to_bytes());
    entry
}

/// False: there is no further entry.
fn fill(from: &mut impl Read, entry: &mut [u8; ENTRY]) -> io::Result<bool> {
    match from.read_exact(entry) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Eight bytes an item, at its number.
fn write(placed: Runs<PLACED>, out: &mut impl Write) -> io::Result<()> {
    let mut entries = placed.merged()?;
    let mut next: u64 = 0;
    while let Some(entry) = entries.next()? {
        let ordinal = Ordinal::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let gap = (u64::from(ordinal) - next) * Share::BYTES as u64;
        io::copy(&mut io::repeat(0).take(gap), out)?;
        out.write_all(&entry[4..])?;
        next = u64::from(ordinal) + 1;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::order::{CellDigest, End};

    const MARKED: Option<(Least, Factor)> =
        Some((Least { before: 0, tokens: 500 }, Factor { read: 0.1, write: 1.25 }));

    fn ends(cells: [(&str, u32); 2]) -> Ends {
        let (mut ends, mut digest, mut at) = (Ends::default(), CellDigest::default(), 0);
        for (end, (cell, bytes)) in ends.0.iter_mut().zip(cells) {
            digest.add(cell);
            at += bytes;
            *end = End { at, digest: digest.value() };
        }
        ends
    }

    /// What each of so many items shares, and the order of sending.
    fn shares(rows: &[(usize, Ends)], marked: &[Option<(Least, Factor)>]) -> (Vec<Option<Share>>, Vec<u32>) {
        let mut runs = Sharers { runs: Runs::default(), marked: marked.to_vec() };
        for (ordinal, (deployment, ends)) in (0..).zip(rows) {
            let spot = Spot { ordinal, header_len: 0, len: 0, tags: 0, offset: 0 };
            runs.add(*deployment, ends, spot).unwrap();
        }
        let (mut file, best) = sorted(runs.runs, marked).unwrap();
        let (mut order, mut bytes) = (Vec::new(), Vec::new());
        let placed = placed(&mut file, marked, &best, &mut order).unwrap();
        write(placed, &mut bytes).unwrap();
        bytes.resize(rows.len() * Share::BYTES, 0);
        let spots = order.as_chunks().0.iter().map(Spot::from_bytes);
        let shares = bytes.as_chunks().0.iter().map(|bytes| Share::from_bytes(*bytes));
        (shares.collect(), spots.map(|spot| spot.ordinal).collect())
    }

    #[test]
    fn rows_of_one_document_stand_together_and_share_it() {
        // Three documents in turn, one that is alone, and one that is too short.
        let document = |row: u32| match row {
            9 => ("alone", 4_000),
            3 | 7 => ("short", 1_000),
            _ => (["a", "b", "c"][row as usize % 3], 3_000 + row % 3),
        };
        let rows: Vec<(usize, Ends)> =
            (0..12).map(|row| (0, ends([document(row), (&format!("q{row}"), 30)]))).collect();
        let (shares, order) = shares(&rows, &[MARKED]);
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>(), "none is left out, none comes twice");
        for row in 0..12 {
            let of = shares[row as usize];
            assert_eq!(
                of.map(|share| share.at),
                (![3, 7, 9].contains(&row)).then_some(document(row).1),
                "{row}"
            );
            let kin = |other: u32| of.is_some() && shares[other as usize] == of;
            assert!((0..12).all(|other| of.is_none() || kin(other) == (document(other) == document(row))));
        }
        let changes = order.windows(2).filter(|pair| document(pair[0]).0 != document(pair[1]).0).count();
        assert_eq!(changes, 4, "{order:?}");
    }

    #[test]
    fn models_do_not_share_a_cache_and_what_does_not_pay_has_no_share() {
        let rows: Vec<(usize, Ends)> =
            (0..4).map(|row| (row % 2, ends([("a", 3_000), (&format!("q{row}"), 30)]))).collect();
        let dear = MARKED.map(|(least, factor)| (least, Factor { write: 9.0, ..factor }));
        let (found, order) = shares(&rows, &[MARKED, dear]);
        let share = Some(Share { at: 3_000, id: 1 });
        assert_eq!((found, order.len()), (vec![share, None, share, None], 4));
        let (found, _) = shares(&rows, &[MARKED, MARKED]);
        assert_eq!((found[0], found[1]), (found[2], found[3]));
        assert_ne!(found[0], found[1]);
    }
}
