//! `--order prefix`: the leaders of a job in the order of their prompts' beginnings, as a file.
//!
//! Nothing is held in memory but one run of the sort, however many items there are: an entry is the prefix, the item's number
//! and where its sealed line lies, forty bytes. The file keeps what a lane needs to read a line without asking the database,
//! as items that follow each other in it are far apart in `requests.jsonl`. A run that is gone on with reads the same file.

use std::io::{self, BufWriter, Write};

use bulkrate_core::ids::Ordinal;
use bulkrate_core::order::{Ends, Factor, Prefix, Shared, Verdict, judge};
use bulkrate_core::price::bound::Writes;
use serde::{Deserialize, Serialize};

use super::beginnings::{Begun, Sharers};
use super::runs::Runs;
use super::stats::ModelStats;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::paths::{JobDir, io_error, open_file};
use crate::spec::JobSpec;

const KEY: usize = 16;
const SPOT: usize = 24;
const ENTRY: usize = KEY + SPOT;

/// Where the sealed line of a leader lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub ordinal: Ordinal,
    pub header_len: u32,
    /// With its newline.
    pub len: u32,
    pub tags: u32,
    pub offset: u64,
}

impl Spot {
    pub(crate) const BYTES: usize = SPOT;

    /// The number leads, so that equal prefixes keep the order of the source.
    pub(crate) fn to_bytes(self) -> [u8; SPOT] {
        let mut bytes = [0; SPOT];
        for (place, number) in [self.ordinal, self.header_len, self.len, self.tags].into_iter().enumerate() {
            bytes[place * 4..place * 4 + 4].copy_from_slice(&number.to_be_bytes());
        }
        bytes[16..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; SPOT]) -> Self {
        let four = |place: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&bytes[place * 4..place * 4 + 4]);
            u32::from_be_bytes(four)
        };
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[16..]);
        Self {
            ordinal: four(0),
            header_len: four(1),
            len: four(2),
            tags: four(3),
            offset: u64::from_be_bytes(eight),
        }
    }
}

/// What was decided, as the job's row keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ordered {
    /// The order file is there.
    pub by_prefix: bool,
    /// Why it is not.
    pub why: Option<String>,
    /// What rows share behind which calls are marked once more, by model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<Begun>,
}

/// Gathers the leaders of a pass that go to a model.
#[derive(Debug, Default)]
pub(crate) struct Orderer {
    runs: Runs<ENTRY>,
    /// By deployment: what was gathered, and the prompt before.
    shared: Vec<(Shared, Option<Prefix>)>,
    /// Those among them that are sorted by what they share up to a column, as their providers keep what is marked alone.
    sharers: Sharers,
}

impl Orderer {
    pub(crate) fn new(spec: &JobSpec, deployments: &[Deployment]) -> Self {
        Self { sharers: Sharers::new(spec, deployments), ..Self::default() }
    }

    pub(crate) fn add(
        &mut self,
        deployment: usize,
        canonical: &[u8],
        ends: &Ends,
        spot: Spot,
    ) -> io::Result<()> {
        let prefix = Prefix::of(deployment, &wired(canonical));
        if self.shared.len() <= deployment {
            self.shared.resize(deployment + 1, (Shared::default(), None));
        }
        let (shared, before) = &mut self.shared[deployment];
        shared.bytes += canonical.len() as u64;
        shared.as_is += before.replace(prefix).map_or(0, |before| before.shared(&prefix));
        if !ends.is_none() && self.sharers.takes(deployment) {
            return self.sharers.add(deployment, ends, spot);
        }
        let mut entry = [0; ENTRY];
        entry[..KEY].copy_from_slice(&prefix.0);
        entry[KEY..].copy_from_slice(&spot.to_bytes());
        self.runs.add(entry)
    }

    /// Writes the order, durably, if it pays for any of the models; notes in `stats` what their prompts share.
    pub(crate) fn finish(
        self,
        dir: &JobDir,
        deployments: &[Deployment],
        stats: &mut [ModelStats],
    ) -> Result<Ordered, EngineError> {
        let path = dir.order();
        let mut shared: Vec<Shared> = self.shared.into_iter().map(|(shared, _)| shared).collect();
        let mut out = BufWriter::new(open_file(&path, true)?);
        sort(self.runs, &mut shared, &mut out).map_err(io_error("could not write", &path))?;
        let begun = self.sharers.finish(dir, deployments, &mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_data()).map_err(io_error("could not write", &path))?;
        let mut by_prefix = false;
        // The reason of the model with the most text stands for all.
        let mut why: Option<(u64, &str)> = None;
        for (deployment, shared) in deployments.iter().zip(&mut shared).filter(|(_, shared)| shared.bytes > 0)
        {
            let found = begun.iter().find(|found| found.model == deployment.pinned);
            if let Some(found) = found {
                shared.ordered = found.sharing.read;
                by_prefix = true;
            }
            if let Some(stats) = stats.iter_mut().find(|stats| stats.model == deployment.pinned) {
                stats.shared = *shared;
            }
            if found.is_some() {
                continue;
            }
            let rates = deployment.row.rates(bulkrate_core::lane::Lane::Sync);
            let factor = rates.and_then(|rates| Factor::of(&rates.base, Writes::Short));
            match judge(factor, !deployment.account.api.facts().caches_unmarked, *shared) {
                Verdict::Ordered => by_prefix = true,
                Verdict::AsIs(reason) if why.is_none_or(|(bytes, _)| bytes < shared.bytes) => {
                    why = Some((shared.bytes, reason.text()));
                }
                Verdict::AsIs(_) => {}
            }
        }
        if !by_prefix {
            std::fs::remove_file(&path).map_err(io_error("could not remove", &path))?;
        }
        let nothing = "there is nothing to send";
        let why = (!by_prefix).then(|| why.map_or(nothing, |(_, why)| why).to_owned());
        Ok(Ordered { by_prefix, why, begun })
    }
}

/// Writes the spots in order and adds up what neighbours share.
fn sort(runs: Runs<ENTRY>, shared: &mut [Shared], out: &mut impl Write) -> io::Result<()> {
    let mut entries = runs.merged()?;
    let mut before: Option<Prefix> = None;
    while let Some(entry) = entries.next()? {
        let mut key = [0; KEY];
        key.copy_from_slice(&entry[..KEY]);
        let prefix = Prefix(key);
        let deployment = usize::from(u16::from_be_bytes([key[0], key[1]]));
        if let (Some(before), Some(shared)) = (before, shared.get_mut(deployment)) {
            shared.ordered += before.shared(&prefix);
        }
        before = Some(prefix);
        out.write_all(&entry[KEY..])?;
    }
    Ok(())
}

/// The canonical form in the order of the wire: there a system prompt is the first of the messages, here it is the last key.
fn wired(canonical: &[u8]) -> [&[u8]; 2] {
    const SYSTEM: &[u8] = b",\"system_prompt\":";
    // Within a text the quotes would be escaped.
    let place = memchr::memmem::rfind(canonical, SYSTEM);
    let (rest, system) = canonical.split_at(place.unwrap_or(canonical.len()));
    [system, rest]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_spot_is_read_as_it_was_written() {
        let spot = Spot { ordinal: 7, header_len: 30, len: u32::MAX, tags: 2, offset: 1 << 40 };
        assert_eq!(Spot::from_bytes(&spot.to_bytes()), spot);
    }

    #[test]
    fn a_system_prompt_comes_first() {
        let plain = br#"{"messages":[{"content":"x","role":"user"}],"model":"m"}"#.as_slice();
        assert_eq!(wired(plain), [b"".as_slice(), plain]);
        let (rest, system) =
            (br#"{"messages":[{"content":",\"system_prompt\":"}]"#, br#","system_prompt":"s"}"#);
        let whole = [rest.as_slice(), system].concat();
        assert_eq!(wired(&whole), [system.as_slice(), rest]);
    }

    #[test]
    fn a_merge_of_many_runs_keeps_every_item_once() {
        let count = u32::try_from(Runs::<ENTRY>::RUN_ENTRIES * 2 + 5).unwrap();
        let (long, short) = (vec![b'x'; 5_000], b"short".to_vec());
        let mut orderer = Orderer::default();
        for ordinal in 0..count {
            let spot = Spot { ordinal, header_len: 0, len: 0, tags: 0, offset: 0 };
            let text = if ordinal % 2 == 0 { &long } else { &short };
            orderer.add(0, text, &Ends::default(), spot).unwrap();
        }
        let (mut out, mut shared) = (Vec::new(), vec![orderer.shared[0].0]);
        sort(orderer.runs, &mut shared, &mut out).unwrap();
        let ordinals = |bytes: &[u8]| {
            bytes.as_chunks::<SPOT>().0.iter().map(|spot| Spot::from_bytes(spot).ordinal).collect::<Vec<_>>()
        };
        let found = ordinals(&out);
        // Short prompts first, each kind in the order of the source.
        let want: Vec<u32> =
            (0..count).filter(|at| at % 2 == 1).chain((0..count).filter(|at| at % 2 == 0)).collect();
        assert!(found == want);
        assert_eq!((shared[0].as_is, shared[0].ordered), (0, u64::from(count.div_ceil(2) - 1) * 4_096));
    }
}
