//! Standard input, read by a thread of its own: whoever waits for it can be told to stop, which a read of a pipe cannot.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::EngineError;
use crate::paths::io_error;
use crate::stop::Stop;

const BLOCK_BYTES: usize = 1 << 18;
/// How soon a wish to stop is heard while nothing comes.
const LOOKS: Duration = Duration::from_millis(50);

/// Blocks as they come; two of them are held at most.
#[derive(Debug)]
pub(super) struct Patient {
    blocks: Receiver<std::io::Result<Vec<u8>>>,
}

impl Patient {
    /// The thread ends with its input, or once nobody waits for the next block.
    pub(super) fn read(mut input: impl Read + Send + 'static) -> Result<Self, EngineError> {
        let (sender, blocks) = sync_channel(1);
        let reads = move || {
            loop {
                let mut block = vec![0; BLOCK_BYTES];
                let next = match input.read(&mut block) {
                    Ok(0) => return,
                    Ok(read) => {
                        block.truncate(read);
                        Ok(block)
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                if sender.send(next).is_err() {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("input".to_owned()).spawn(reads);
        spawned.map_err(io_error("could not read", Path::new("standard input")))?;
        Ok(Self { blocks })
    }

    /// The next block; `None` at the end.
    pub(super) fn next(&mut self, stop: &Stop) -> Result<Option<Vec<u8>>, EngineError> {
        loop {
            stop.heed()?;
            match self.blocks.recv_timeout(LOOKS) {
                Ok(block) => {
                    return block.map(Some).map_err(io_error("could not read", Path::new("standard input")));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_read_is_what_was_there() {
        let bytes: Vec<u8> = (0..=250_u8).cycle().take(BLOCK_BYTES * 3 + 7).collect();
        let mut input = Patient::read(std::io::Cursor::new(bytes.clone())).unwrap();
        let mut read = Vec::new();
        while let Some(block) = input.next(&Stop::new()).unwrap() {
            read.extend(block);
        }
        assert_eq!(read, bytes);
    }

    #[test]
    fn a_wish_to_stop_is_heard_while_nothing_comes() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut input = Patient::read(reader).unwrap();
        let stop = Stop::new();
        stop.detach();
        assert!(matches!(input.next(&stop), Err(EngineError::Stopped)));
        drop(writer);
    }
}
