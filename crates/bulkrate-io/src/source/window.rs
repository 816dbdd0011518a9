//! A sliding window over the unpacked bytes of a source: the rows that are handed out borrow it.
use super::SourceError;
use super::input::ByteInput;

const WINDOW_BYTES: usize = 256 << 10;
/// Below this, one more read is asked for at a time, so that rows of a slow pipe are not held back.
const PATIENT_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Window {
    pub input: ByteInput,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// No byte follows `end`.
    pub ended: bool,
    /// Unpacked offset of `start`.
    pub offset: u64,
}

impl Window {
    pub(crate) fn new(input: ByteInput) -> Self {
        Self { input, buffer: vec![0; WINDOW_BYTES], start: 0, end: 0, ended: false, offset: 0 }
    }

    /// Bytes read and not yet consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Moves past `length` bytes.
    pub(crate) fn consume(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }

    /// Reads more behind what is there: at least as much again for long rows, so that parsing one anew after each
    /// `fill` stays linear in its length. Sets `ended` at the end.
    pub(crate) fn fill(&mut self) -> Result<(), SourceError> {
        let kept = self.end - self.start;
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, kept);
        }
        let wanted = kept + if kept < PATIENT_BYTES { 1 } else { kept };
        if wanted > self.buffer.len() {
            self.buffer.resize(wanted.next_power_of_two(), 0);
        }
        while self.end < wanted && !self.ended {
            let read = self.input.read(&mut self.buffer[self.end..])?;
            self.end += read;
            self.ended = read == 0;
        }
        Ok(())
    }

    /// Gives back the memory of a very long row once it is gone.
    pub(crate) fn shrink(&mut self) {
        if self.buffer.len() > 16 * WINDOW_BYTES && self.end - self.start < WINDOW_BYTES {
            let mut buffer = vec![0; WINDOW_BYTES];
            let kept = self.end - self.start;
            buffer[..kept].copy_from_slice(&self.buffer[self.start..self.end]);
            (self.buffer, self.start, self.end) = (buffer, 0, kept);
        }
    }

    /// Drops bytes until the unpacked offset is `offset`; false when the source ends before.
    pub(crate) fn skip_to(&mut self, offset: u64) -> Result<bool, SourceError> {
        while self.offset < offset {
            let left = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
            let here = self.bytes().len().min(left);
            self.consume(here);
            if here == left {
                break;
            }
            if self.ended {
                return Ok(false);
            }
            self.fill()?;
        }
        Ok(true)
    }

    /// Continues with another input that starts at `offset`, as after a seek.
    pub(crate) fn jump(&mut self, input: ByteInput, offset: u64) {
        (self.input, self.offset) = (input, offset);
        (self.start, self.end, self.ended) = (0, 0, false);
    }

    /// Consumes up to and including the next LF, or all there is.
    pub(crate) fn discard_line(&mut self) -> Result<(), SourceError> {
        loop {
            let found = memchr::memchr(b'\n', self.bytes());
            self.consume(found.map_or(self.bytes().len(), |end| end + 1));
            if found.is_some() || self.ended {
                return Ok(());
            }
            self.fill()?;
        }
    }
}
