//! Sealed requests, read back: in order with one read per chunk, or one by one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::request::{Kind, Request};
use bulkrate_store::{ItemChunk, ItemRec, View};

use crate::EngineError;
use crate::paths::{JobDir, io_error};
use crate::prepare::{RAW_TAIL, RawLine, Spot};

/// The requests of one job.
#[derive(Debug)]
pub(crate) struct Requests {
    file: File,
    path: PathBuf,
    job: u32,
    /// First ordinal, and of each item in the chunk: place in `bytes`, header length, tags.
    first: Ordinal,
    items: Vec<Option<Held>>,
    bytes: Vec<u8>,
    /// A line from before the chunk, as retries want them, and the chunk that the last such line was in.
    single: Vec<u8>,
    single_chunk: Option<ItemChunk>,
    /// Which item's line `single` is.
    single_of: Option<Line>,
    /// Items are asked for in no order: each is read alone.
    scattered: bool,
}

/// A line that was read alone.
#[derive(Debug, Clone, Copy)]
struct Line {
    ordinal: Ordinal,
    header_len: u32,
    tags: u32,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    start: usize,
    len: usize,
    header_len: usize,
    tags: u32,
}

/// One sealed line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed<'a> {
    pub line: &'a [u8],
    pub header_len: usize,
    pub tags: u32,
}

/// A sealed line, understood.
#[derive(Debug)]
pub(crate) enum Draft<'a> {
    Unified(Box<Request<'a>>),
    Raw(RawLine<'a>),
}

impl Requests {
    pub(crate) fn open(dir: &JobDir, job: u32) -> Result<Self, EngineError> {
        let path = dir.requests();
        let file = File::open(&path).map_err(io_error("could not open", &path))?;
        Ok(Self {
            file,
            path,
            job,
            first: 0,
            items: Vec::new(),
            bytes: Vec::new(),
            single: Vec::new(),
            single_chunk: None,
            single_of: None,
            scattered: dir.order().exists(),
        })
    }

    /// The sealed line of a leader. Going forward neighbours share one read; going back reads that line alone.
    pub(crate) fn get(&mut self, reader: &dyn View, ordinal: Ordinal) -> Result<Sealed<'_>, EngineError> {
        let held = ordinal.checked_sub(self.first).is_some_and(|place| (place as usize) < self.items.len());
        if self.scattered || !held && ordinal < self.first {
            return self.single(reader, ordinal);
        }
        if !held {
            self.load(reader, ordinal)?;
        }
        let spot = self.items.get((ordinal - self.first) as usize).copied().flatten();
        let spot = spot.ok_or_else(|| EngineError::Internal(format!("item {ordinal} has no request")))?;
        Ok(Sealed {
            line: &self.bytes[spot.start..spot.start + spot.len - 1],
            header_len: spot.header_len,
            tags: spot.tags,
        })
    }

    /// The sealed line of a leader that is known to lie there.
    pub(crate) fn at(&mut self, spot: Spot) -> Result<Sealed<'_>, EngineError> {
        let Spot { ordinal, header_len, len, tags, offset } = spot;
        self.single_of = None;
        self.single.resize(len as usize, 0);
        self.file.read_exact_at(&mut self.single, offset).map_err(io_error("could not read", &self.path))?;
        let line = Line { ordinal, header_len, tags };
        self.single_of = Some(line);
        Ok(self.alone(line))
    }

    fn alone(&self, line: Line) -> Sealed<'_> {
        let end = self.single.len().saturating_sub(1);
        Sealed { line: &self.single[..end], header_len: line.header_len as usize, tags: line.tags }
    }

    fn single(&mut self, reader: &dyn View, ordinal: Ordinal) -> Result<Sealed<'_>, EngineError> {
        if let Some(line) = self.single_of.filter(|line| line.ordinal == ordinal) {
            return Ok(self.alone(line));
        }
        let covers = |chunk: &ItemChunk| chunk.first <= ordinal && u64::from(ordinal) < chunk.end();
        if !self.single_chunk.as_ref().is_some_and(covers) {
            self.single_chunk = reader.item_chunk_of(self.job, ordinal)?;
        }
        let found = self.single_chunk.as_ref().and_then(|chunk| chunk.get(ordinal));
        let Some((offset, ItemRec::Leader { header_len, len, tags, .. })) = found else {
            return Err(EngineError::Internal(format!("item {ordinal} has no request")));
        };
        self.at(Spot { ordinal, header_len, len, tags, offset })
    }

    fn load(&mut self, reader: &dyn View, ordinal: Ordinal) -> Result<(), EngineError> {
        let chunk = reader
            .item_chunk_of(self.job, ordinal)?
            .ok_or_else(|| EngineError::Internal(format!("item {ordinal} is unknown")))?;
        self.first = chunk.first;
        self.items.clear();
        let mut start = 0;
        for item in &chunk.items {
            self.items.push(match item {
                ItemRec::Leader { header_len, len, tags, .. } => {
                    let spot =
                        Held { start, len: *len as usize, header_len: *header_len as usize, tags: *tags };
                    start += spot.len;
                    Some(spot)
                }
                ItemRec::Follower { .. } | ItemRec::Invalid => None,
            });
        }
        self.bytes.resize(start, 0);
        self.file.read_exact_at(&mut self.bytes, chunk.offset).map_err(io_error("could not read", &self.path))
    }
}

impl<'a> Sealed<'a> {
    pub(crate) fn draft(&self) -> Result<Draft<'a>, EngineError> {
        let broken = |why: String| EngineError::Internal(format!("a stored request cannot be read: {why}"));
        if self.tail().starts_with(RAW_TAIL) {
            return RawLine::unseal(self.line)
                .map(Draft::Raw)
                .ok_or_else(|| broken("not a passed-through line".to_owned()));
        }
        serde_json::from_slice(self.line)
            .map(|request| Draft::Unified(Box::new(request)))
            .map_err(|error| broken(error.to_string()))
    }

    /// The canonical form without its opening brace.
    pub(crate) fn tail(&self) -> &'a [u8] {
        &self.line[self.header_len..]
    }

    /// Bytes of the canonical form.
    pub(crate) fn canonical_len(&self) -> u64 {
        (self.line.len() - self.header_len + 1) as u64
    }
}

impl Draft<'_> {
    pub(crate) fn model(&self) -> &str {
        match self {
            Self::Unified(request) => &request.model,
            Self::Raw(line) => &line.model,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Unified(request) => request.kind,
            Self::Raw(line) => line.kind,
        }
    }

    pub(crate) fn max_tokens(&self) -> u32 {
        match self {
            Self::Unified(request) => request.generation_config.max_tokens.unwrap_or(0),
            Self::Raw(line) => {
                u32::try_from(line.max_tokens(&mut bulkrate_io::JsonScanner::new()).unwrap_or(0))
                    .unwrap_or(u32::MAX)
            }
        }
    }
}
