//! The lines of a batch's input file: its requests, which are fewer than its items where they are bundles.
//!
//! The file is durable before its items are leased, so that what it says is told after a crash, too.

use std::fs::File;
use std::io::{BufRead, BufReader};

use bulkrate_core::ids::WireId;
use bulkrate_store::Submission;

use crate::paths::JobDir;

/// Requests of a batch. `bundled`: the job asks several items in one.
pub(crate) fn requests(dir: &JobDir, row: &Submission, bundled: bool) -> u32 {
    // A file that is lost or was never finished says nothing; such a batch is packed again.
    bundled.then(|| counted(dir, row)).flatten().unwrap_or(row.items)
}

/// How many of a batch's items are completed and failed: the provider counts requests, which hold alike many, as far as can be
/// told.
pub(crate) fn ended_items(row: &Submission) -> (u64, u64) {
    let (items, total) = (u64::from(row.items), row.counts.total);
    let each = |requests: u64| {
        if total == 0 || total >= items { requests } else { requests.min(total) * items / total }
    };
    (each(row.counts.completed), each(row.counts.failed))
}

/// The lines of a batch's input file; `None`: it has none, or cannot be read.
pub(crate) fn counted(dir: &JobDir, row: &Submission) -> Option<u32> {
    let mut lines: u32 = 0;
    each(dir, row, |_| lines += 1).ok()?;
    (lines > 0).then_some(lines)
}

/// The id under which the item at this place of a batch was sent.
pub(crate) fn wire_id(dir: &JobDir, row: &Submission, seq: u32, bundled: bool) -> WireId {
    let one = WireId::one(row.sub, seq);
    let mut found = None;
    let mark = format!("br1-{}-", row.sub);
    let look = |line: &str| {
        let id = line.find(&mark).and_then(|at| id_at(&line[at..]));
        found = found.or(id.filter(|id| id.places().contains(&(seq as usize))));
    };
    if bundled {
        // Without the file the place among the leases is all that is known.
        drop(each(dir, row, look));
    }
    found.unwrap_or(one)
}

/// How many items each request of a batch holds, by the place of its first one; 0 at the places of the others. `None`: the file is
/// lost.
pub(crate) fn sizes(dir: &JobDir, row: &Submission) -> Option<Vec<u32>> {
    let mut sizes = vec![0; row.items as usize];
    let mark = format!("br1-{}-", row.sub);
    let look = |line: &str| {
        let Some(id) = line.find(&mark).and_then(|at| id_at(&line[at..])) else { return };
        if let Some(size) = sizes.get_mut(id.seq as usize) {
            *size = id.n;
        }
    };
    each(dir, row, look).ok()?;
    Some(sizes)
}

/// The id that a text begins with.
fn id_at(text: &str) -> Option<WireId> {
    let end = text.find(|sign: char| !sign.is_ascii_lowercase() && !sign.is_ascii_digit() && sign != '-');
    WireId::parse(&text[..end.unwrap_or(text.len())])
}

fn each(dir: &JobDir, row: &Submission, mut look: impl FnMut(&str)) -> std::io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(dir.batch(row.sub).input())?);
    let mut line = String::new();
    while file.read_line(&mut line)? > 0 {
        look(&line);
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkrate_core::ids::Sub;
    use bulkrate_core::lane::Lane;
    use bulkrate_core::submission::BatchCounts;
    use bulkrate_store::SubmissionState;

    #[test]
    fn requests_are_shown_as_items() {
        for (items, total, completed, failed, want) in [
            (2_000, 100, 100, 0, (2_000, 0)),
            (2_000, 100, 50, 1, (1_000, 20)),
            (53, 9, 9, 0, (53, 0)),
            (60, 60, 59, 1, (59, 1)),
            (60, 0, 0, 0, (0, 0)), // nothing is counted yet
        ] {
            let mut row = Submission::new(Sub::new(1, 1), 1, Lane::Batch, SubmissionState::Accepted, 0);
            row.items = items;
            row.counts = BatchCounts { total, completed, failed };
            assert_eq!(ended_items(&row), want, "{items} {total}");
        }
    }
}
