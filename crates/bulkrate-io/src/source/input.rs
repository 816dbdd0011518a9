//! Bytes of a file or stream, unpacked and counted, with a guard against archives that unpack without end.
use std::fs::File;
use std::io::{self, Chain, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::SourceError;
use crate::format::Compression;

/// An archive may unpack this far at any ratio: short tests of very even data are no bombs.
const RATIO_GRACE_BYTES: u64 = 64 << 20;

/// Limits on what a compressed source may unpack to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnpackLimits {
    pub ratio_max: Option<u64>,
    pub bytes_max: Option<u64>,
}

/// Unpacked bytes, in order.
pub(crate) struct ByteInput {
    pub path: PathBuf,
    reader: Box<dyn Read + Send>,
    compression: Compression,
    limits: UnpackLimits,
    raw: Arc<RawState>,
    /// Unpacked bytes handed out.
    unpacked: u64,
    total: Option<u64>,
}

/// What is known of the packed side, shared with the reader below the decoder.
#[derive(Debug, Default)]
struct RawState {
    bytes: AtomicU64,
    failed: AtomicBool,
    ended: AtomicBool,
}

/// Counts what passes, and remembers whether a fault came from below or from the decoder.
struct RawReader {
    inner: Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>,
    state: Arc<RawState>,
}

impl Read for RawReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        match &result {
            Ok(0) if !buffer.is_empty() => self.state.ended.store(true, Relaxed),
            Ok(read) => {
                self.state.bytes.fetch_add(*read as u64, Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.state.failed.store(true, Relaxed),
        }
        result
    }
}

/// Where the bytes come from and what is to be done with them.
pub(crate) struct ByteSource {
    pub path: PathBuf,
    pub reader: Box<dyn Read + Send>,
    pub total: Option<u64>,
    /// First bytes already taken from `reader` for a look.
    pub head: Vec<u8>,
    pub compression: Compression,
    pub limits: UnpackLimits,
}

impl ByteInput {
    pub(crate) fn new(from: ByteSource) -> Result<Self, SourceError> {
        let raw = Arc::new(RawState::default());
        let inner = Cursor::new(from.head).chain(from.reader);
        let reader = RawReader { inner, state: Arc::clone(&raw) };
        let packed = |error| SourceError::reading(&from.path, error);
        let reader: Box<dyn Read + Send> = match from.compression {
            Compression::None => Box::new(reader),
            Compression::Gzip => {
                let buffered = io::BufReader::with_capacity(64 << 10, reader);
                Box::new(flate2::bufread::MultiGzDecoder::new(buffered))
            }
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader).map_err(packed)?),
        };
        let (compression, limits, total) = (from.compression, from.limits, from.total);
        Ok(Self { path: from.path, reader, compression, limits, raw, unpacked: 0, total })
    }

    /// Reads once; 0 is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let read = loop {
            match self.reader.read(buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fault(error)),
            }
        };
        self.unpacked += read as u64;
        if self.compression != Compression::None {
            self.guard()?;
        }
        Ok(read)
    }

    fn fault(&self, source: io::Error) -> SourceError {
        let path = self.path.clone();
        if self.compression == Compression::None || self.raw.failed.load(Relaxed) {
            return SourceError::reading(&path, source);
        }
        let (offset, read) = (self.unpacked, self.raw_bytes());
        SourceError::Corrupt { path, compression: self.compression.name(), offset, read, source }
    }

    fn guard(&self) -> Result<(), SourceError> {
        let (unpacked, read) = (self.unpacked, self.raw_bytes());
        let over =
            |what: String| SourceError::DecompressionLimit { path: self.path.clone(), what, unpacked, read };
        if let Some(bytes_max) = self.limits.bytes_max
            && unpacked > bytes_max
        {
            return Err(over(format!("{bytes_max} bytes")));
        }
        if let Some(ratio_max) = self.limits.ratio_max
            && unpacked > RATIO_GRACE_BYTES
            && unpacked / ratio_max > read
        {
            return Err(over(format!("{ratio_max} times its size")));
        }
        Ok(())
    }

    /// Packed bytes taken from the file so far.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw.bytes.load(Relaxed)
    }

    /// Packed bytes in all, where the file says so.
    pub(crate) fn raw_total(&self) -> Option<u64> {
        self.total
    }
}

impl std::fmt::Debug for ByteInput {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = out.debug_struct("ByteInput");
        out.field("path", &self.path)
            .field("compression", &self.compression)
            .field("unpacked", &self.unpacked);
        out.finish_non_exhaustive()
    }
}

/// Opens a file for reading. Folders, pipes and devices are refused, by name first: opening a pipe waits for its writer,
/// and a device may never end.
pub(crate) fn open_file(path: &std::path::Path) -> Result<(File, u64), SourceError> {
    let failed = |error| SourceError::opening(path, error);
    plain(&std::fs::metadata(path).map_err(failed)?, path)?;
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    plain(&meta, path)?;
    Ok((file, meta.len()))
}

fn plain(meta: &std::fs::Metadata, path: &std::path::Path) -> Result<(), SourceError> {
    if meta.is_dir() {
        return Err(SourceError::Folder { path: path.into() });
    }
    if meta.is_file() { Ok(()) } else { Err(SourceError::NotAFile { path: path.into() }) }
}
