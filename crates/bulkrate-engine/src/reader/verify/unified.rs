//! The requests of a batch as they were before a provider's wire: line for line the sealed requests of its items.

use std::fs::File;
use std::io::{BufRead, BufReader};

use bulkrate_store::{Submission, View};

use super::{Faults, number};
use crate::EngineError;
use crate::paths::JobDir;
use crate::run::requests::Requests;

/// What was compared so far, and the sealed requests of the job.
#[derive(Debug, Default)]
pub(super) struct Unified {
    pub lines: u64,
    requests: Option<Requests>,
}

impl Unified {
    pub(super) fn look(
        &mut self,
        view: &dyn View,
        dir: &JobDir,
        batch: &Submission,
        faults: &mut Faults,
    ) -> Result<(), EngineError> {
        let requests = match &mut self.requests {
            Some(requests) => requests,
            none => none.insert(Requests::open(dir, batch.job)?),
        };
        let name = format!("unified.jsonl of {}", batch.sub);
        let file = match File::open(dir.batch(batch.sub).unified()) {
            Ok(file) => file,
            Err(error) => {
                faults.add(|| format!("{name}: {error}"));
                return Ok(());
            }
        };
        let (mut file, mut line) = (BufReader::with_capacity(1 << 18, file), Vec::new());
        let mut next = |line: &mut Vec<u8>| {
            line.clear();
            file.read_until(b'\n', line)
        };
        for lease in view.leases(batch.sub)? {
            let same = next(&mut line).map_err(|error| error.to_string()).and_then(|_| {
                let sealed = requests.get(view, lease.ordinal).map_err(|error| error.to_string())?;
                Ok(line.strip_suffix(b"\n") == Some(sealed.line))
            });
            self.lines += 1;
            match same {
                Ok(true) => {}
                Ok(false) => faults
                    .add(|| format!("{name} has not the sealed request of item {}", number(lease.ordinal))),
                Err(why) => faults.add(|| format!("{name}, item {}: {why}", number(lease.ordinal))),
            }
        }
        if !matches!(next(&mut line), Ok(0)) {
            faults.add(|| format!("{name} goes on after its last item"));
        }
        Ok(())
    }
}
