//! The first look at a source, and the way to the place where reading goes on.
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::error::Foreign;
use super::input::{ByteInput, ByteSource, UnpackLimits, open_file};
use super::window::Window;
use super::{Input, Position, SourceError};
use crate::format::{Compression, Format};

/// Goes on at `start`: by a seek in the plain file at `path`, else by reading up to there.
pub(super) fn resume(window: &mut Window, path: Option<&Path>, start: Position) -> Result<(), SourceError> {
    let Position { record, offset, .. } = start;
    let place = window.input.path.clone();
    let beyond = || SourceError::BadPosition { path: place.clone(), record, offset };
    let Some(path) = path else {
        return if window.skip_to(offset)? { Ok(()) } else { Err(beyond()) };
    };
    let (mut file, size) = open_file(path)?;
    if size == 0 {
        return if window.skip_to(offset)? { Ok(()) } else { Err(beyond()) };
    }
    if offset > size {
        return Err(beyond());
    }
    file.seek(SeekFrom::Start(offset)).map_err(|error| SourceError::reading(path, error))?;
    let limits = UnpackLimits { ratio_max: None, bytes_max: None };
    let input = ByteSource {
        path: path.into(),
        reader: Box::new(file),
        total: Some(size - offset),
        head: Vec::new(),
        compression: Compression::None,
        limits,
    };
    window.jump(ByteInput::new(input)?, offset);
    Ok(())
}

/// Takes the first bytes for a look; fewer only at the end of the input.
pub(super) fn peek(path: &Path, reader: &mut impl Read) -> Result<Vec<u8>, SourceError> {
    let mut head = Vec::with_capacity(8);
    reader.by_ref().take(4).read_to_end(&mut head).map_err(|error| SourceError::reading(path, error))?;
    Ok(head)
}

pub(super) fn is_parquet(head: &[u8]) -> bool {
    head.starts_with(b"PAR1")
}

/// How far to look for the first byte that is not blank.
pub(super) const SNIFF_BYTES: usize = 64 << 10;

pub(super) fn first_sign(bytes: &[u8]) -> Option<u8> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    text.iter().find(|byte| !byte.is_ascii_whitespace()).copied()
}

/// Tells JSONL from CSV by the first byte that is not blank. A file whose name says nothing is not taken for CSV.
pub(super) fn sniff(path: &Path, bytes: &[u8], input: &Input) -> Result<Format, SourceError> {
    match first_sign(bytes) {
        Some(b'{') => Ok(Format::Jsonl),
        _ if *input == Input::Stdin => Ok(Format::Csv),
        None => Err(SourceError::EmptySource { path: path.into(), header_only: false }),
        Some(b'[') => Err(SourceError::UnknownFormat { path: path.into(), found: Foreign::JsonArray }),
        Some(_) => Err(SourceError::UnknownFormat { path: path.into(), found: Foreign::Nameless }),
    }
}

/// Refuses kinds of file that people rename to `.csv`, before their bytes are called bad rows.
pub(super) fn refuse_foreign(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let found = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Foreign::Utf16,
        [b'P', b'K', 3, 4, ..] => Foreign::Zip,
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Foreign::OldWorkbook,
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Foreign::StillCompressed,
        _ => return Ok(()),
    };
    Err(SourceError::UnknownFormat { path: path.into(), found })
}
