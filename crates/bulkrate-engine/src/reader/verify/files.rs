//! The second reading: the files of a job.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_core::prepare::key_of;
use bulkrate_io::digest_file;
use bulkrate_store::{ItemChunk, ItemRec, JobRow, View};

use super::unified::Unified;
use super::{Faults, number};
use crate::EngineError;
use crate::lane::brought::Brought;
use crate::paths::{JobDir, io_error};
use crate::view::Check;

/// Batch inputs and what batches have brought against their digests, sealed requests against their keys.
pub(super) fn files(view: &dyn View, dir: &JobDir, job: &JobRow) -> Result<Check, EngineError> {
    let mut faults = Faults::default();
    let (mut inputs, mut brought, mut unified) = (0_u64, 0_u64, Unified::default());
    for submission in view.submissions(job.no)?.iter().filter(|submission| submission.lane == Lane::Batch) {
        let folder = dir.batch(submission.sub);
        for (name, path, want) in Brought::kept(submission).files(&folder) {
            brought += 1;
            same(&format!("{name} of {}", submission.sub), &path, &want, &mut faults);
        }
        let Some(want) = &submission.input_digest else { continue };
        inputs += 1;
        unified.look(view, dir, submission, &mut faults)?;
        same(&format!("input.jsonl of {}", submission.sub), &folder.input(), want, &mut faults);
    }
    let keys = keys(view, dir, job, &mut faults)?;
    let lines = unified.lines;
    Ok(faults.check(
        "files match digests",
        format!("{inputs} batch inputs, {brought} result files and {keys} sealed requests hashed, {lines} lines of batches are sealed requests"),
    ))
}

/// Whether a file has the digest that stands in the rows.
fn same(name: &str, path: &Path, want: &str, faults: &mut Faults) {
    match digest_file(path) {
        Ok(digest) if digest == want => {}
        Ok(digest) => faults.add(|| format!("{name} has digest {digest}, not {want}")),
        Err(error) => faults.add(|| format!("{name}: {error}")),
    }
}

/// Hashes every sealed request; returns how many.
fn keys(view: &dyn View, dir: &JobDir, job: &JobRow, faults: &mut Faults) -> Result<u64, EngineError> {
    let path = dir.requests();
    if job.items == 0 {
        return Ok(0);
    }
    let mut file =
        BufReader::with_capacity(1 << 20, File::open(&path).map_err(io_error("could not open", &path))?);
    let (mut hashed, mut line, mut at) = (0, Vec::new(), 0);
    view.scan_items(
        job.no,
        0,
        &mut |chunk| match hash_chunk(chunk, &mut file, &mut line, &mut at, faults) {
            Ok(count) => {
                hashed += count;
                ControlFlow::Continue(())
            }
            Err(error) => {
                faults.add(|| format!("requests.jsonl, byte {at}: {error}"));
                ControlFlow::Break(())
            }
        },
    )?;
    Ok(hashed)
}

fn hash_chunk(
    chunk: &ItemChunk,
    file: &mut impl Read,
    line: &mut Vec<u8>,
    at: &mut u64,
    faults: &mut Faults,
) -> std::io::Result<u64> {
    let mut hashed = 0;
    for (ordinal, offset, item) in chunk.iter() {
        let ItemRec::Leader { key, header_len, len, .. } = item else { continue };
        line.resize(*len as usize, 0);
        file.read_exact(line)?;
        hashed += 1;
        // The canonical form begins with the brace that stands in for the end of the header.
        let start = (*header_len as usize).checked_sub(1);
        let fits = start.is_some_and(|start| {
            let ends = *at == offset && line.last() == Some(&b'\n') && start < line.len();
            ends && {
                line[start] = b'{';
                key_of(&line[start..line.len() - 1]) == *key
            }
        });
        *at += u64::from(*len);
        if !fits {
            faults.add(|| format!("the sealed request of item {} does not have its key", number(ordinal)));
        }
    }
    Ok(hashed)
}
