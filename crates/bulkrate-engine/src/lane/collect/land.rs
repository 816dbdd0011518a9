//! T6: the lines of result files become outcomes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::ids::WireId;
use bulkrate_core::lane::Lane;
use bulkrate_core::planted::{self, Bug};
use bulkrate_provider::BatchApi;
use bulkrate_store::{Submission, Urgency};

use super::{ResultFile, commit, missing};
use crate::EngineError;
use crate::event::Event;
use crate::lane::fetch::{Fetched, fetch, wait_ms};
use crate::lane::lines;
use crate::lane::outage::{self, pause};
use crate::lane::pack::Planned;
use crate::lane::submission::Step;
use crate::paths::io_error;
use crate::run::job::Job;
use crate::run::land::Landing;
use crate::run::operator::Acts;
use crate::run::results::Results;

/// Items landed in one commit.
const CHUNK: usize = 1_000;
/// A longer line is no answer.
pub(in crate::lane) const LINE_BYTES_MAX: usize = 32 << 20;
/// A file that is missing or damaged is downloaded so often again: that is free, and its items are paid for.
const READ_AGAIN_MAX: u32 = 3;
/// The same where results are seen late, with longer and longer waits: some four minutes.
const LATE_READ_AGAIN_MAX: u32 = 6;
/// While nothing at all is to be seen of answers that are counted: some hour.
const UNSEEN_READ_AGAIN_MAX: u32 = 64;
/// The first wait before that, unless batches are polled faster.
const WAIT_MS: u64 = 10_000;

/// One batch on its way into outcomes.
pub(super) struct Lander<'a> {
    job: &'a Rc<Job>,
    api: &'a dyn BatchApi,
    planned: &'a mut Planned,
    results: &'a mut Results,
    /// Lines that landed, by their place in the batch: a file that is read again changes nothing there.
    landed: Vec<bool>,
    /// Items of each request as it was sent, read when a line wants it.
    sent: Option<Vec<u32>>,
}

/// What a line of a result file was.
enum Line {
    Fine,
    /// None of ours, or it came twice.
    Strange,
    Unreadable,
}

impl<'a> Lander<'a> {
    pub(super) fn new(
        job: &'a Rc<Job>,
        api: &'a dyn BatchApi,
        planned: &'a mut Planned,
        results: &'a mut Results,
    ) -> Self {
        let landed = planned.items.iter().map(|ready| !job.is_open(ready)).collect();
        Self { job, api, planned, results, landed, sent: None }
    }

    /// Lands all files; what is missing or damaged is downloaded again. `Done`: the rest may come with the next run.
    pub(super) async fn land(mut self, files: &[ResultFile]) -> Result<Step, EngineError> {
        let row = &self.planned.submission;
        // What an earlier run found unreadable is not on record.
        let resumed = row.output_cursor > 0 || row.error_cursor > 0;
        for again in 0..=UNSEEN_READ_AGAIN_MAX {
            let Some(damaged) = self.read_all(files, again).await? else { return Ok(Step::Done) };
            let damaged = damaged || resumed && again == 0 || self.is_late();
            if !damaged || again >= self.again_max() || self.is_whole() || self.job.stop.is_detaching() {
                break;
            }
            self.job.tell(&Event::Note {
                message: &format!(
                    "the results of batch {} are missing or damaged in part; downloading them again",
                    self.planned.submission.sub
                ),
            });
            let first_ms = self.job.spec.run.poll_min_ms.min(WAIT_MS);
            let wait_ms = if self.is_late() { wait_ms(first_ms, again) } else { first_ms };
            pause(self.job, Duration::from_millis(wait_ms)).await;
        }
        let later = self.job.stop.is_detaching() && !self.is_whole();
        Ok(if later { Step::Done } else { Step::Go })
    }

    fn landed(&self) -> usize {
        self.landed.iter().filter(|landed| **landed).count()
    }

    /// Whether answers are missing that may be seen yet.
    fn is_late(&self) -> bool {
        self.api.facts().seen_late && missing(self.planned, self.landed()) > 0
    }

    /// How often files are read again.
    fn again_max(&self) -> u32 {
        match (self.is_late(), self.landed()) {
            (false, _) => READ_AGAIN_MAX,
            (true, 0) => UNSEEN_READ_AGAIN_MAX,
            (true, _) => LATE_READ_AGAIN_MAX,
        }
    }

    fn is_whole(&self) -> bool {
        self.landed.iter().all(|landed| *landed)
    }

    /// Reads every file once. Whether one is missing or damaged; `None`: the job stops.
    async fn read_all(&mut self, files: &[ResultFile], again: u32) -> Result<Option<bool>, EngineError> {
        let mut damaged = false;
        for file in files {
            if !file.is_output && planted::has(Bug::ErrorFileIgnored) {
                continue;
            }
            if again > 0 {
                *cursor(&mut self.planned.submission, file) = 0;
            }
            // What was missing a moment ago may be there by now.
            let most = self.planned.result_bytes_max;
            let from = (self.api, self.planned.submission.account.as_str());
            match fetch(self.job, from, &file.id, &file.path, again > 0, most).await? {
                Fetched::Whole => damaged |= self.read(file, again == 0).await?,
                Fetched::Missing => damaged = true,
                Fetched::Refused => return Ok(None),
            }
        }
        Ok(Some(damaged))
    }

    /// Lands one file in commits of a thousand lines, from where the last commit stopped. True: it is damaged, lines of it
    /// cannot be read or it has none.
    async fn read(&mut self, result: &ResultFile, first: bool) -> Result<bool, EngineError> {
        let path = &result.path;
        let mut at = *cursor(&mut self.planned.submission, result);
        let mut file = File::open(path).map_err(io_error("could not open", path))?;
        file.seek(SeekFrom::Start(at)).map_err(io_error("could not seek in", path))?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let (mut line, mut lines) = (Vec::new(), 0);
        let (mut strange, mut unreadable): (u64, u64) = (0, 0);
        loop {
            line.clear();
            let read = read_line(&mut reader, &mut line).map_err(io_error("could not read", path))?;
            if read == 0 {
                break;
            }
            at += read as u64;
            match self.land_line(&line) {
                Line::Fine => {}
                Line::Strange => strange += 1,
                Line::Unreadable => unreadable += 1,
            }
            lines += 1;
            // A line may hold many items.
            if lines % CHUNK == 0 || self.job.state.borrow().outcomes.len() >= CHUNK {
                self.commit(result, at, Urgency::Landing).await?;
            }
        }
        if first && strange + unreadable > 0 {
            self.job.alert("batch-anomaly", &format!("{strange} lines of {} belong to no item of the batch or came twice, and {unreadable} cannot be read; they are kept in the file", path.display()));
        }
        self.commit(result, at, Urgency::Now).await?;
        Ok(unreadable > 0 || at == 0)
    }

    fn land_line(&mut self, line: &[u8]) -> Line {
        let text = line.trim_ascii();
        if text.is_empty() {
            return Line::Fine;
        }
        if text.len() > LINE_BYTES_MAX {
            return Line::Unreadable;
        }
        let sub = self.planned.submission.sub;
        let Ok(found) = self.api.read_line(self.planned.kind, text) else { return Line::Unreadable };
        let ours = WireId::parse(&found.custom_id).filter(|id| id.sub == sub && self.is_as_sent(*id));
        let Self { job, planned, results, landed, .. } = self;
        let ours = ours.map(|id| id.places());
        let items = ours.and_then(|places| Some((planned.items.get(places.clone())?.split_first()?, places)));
        let Some(((ready, more), places)) = items else { return Line::Strange };
        let before = landed[places.clone()].iter().all(|landed| *landed);
        landed[places].fill(true);
        if before && !planted::has(Bug::DoubleBooking) {
            return Line::Strange;
        }
        let landing = Landing { ready, lane: Lane::Batch, sub: Some(sub), group: None };
        outage::note_line(job, sub, &found.reading);
        job.land_parcel(landing, more, &found.reading, results);
        Line::Fine
    }

    /// Whether a line about one item answers a request of one: where the count of a bundle is lost, its whole answer is not the
    /// first item's.
    fn is_as_sent(&mut self, id: WireId) -> bool {
        if id.n > 1 || self.job.spec.request.bundle.is_none() {
            return true;
        }
        let (dir, row) = (&self.job.dir, &self.planned.submission);
        // Without the input file the id is all that is known.
        let sent = self.sent.get_or_insert_with(|| lines::sizes(dir, row).unwrap_or_default());
        sent.get(id.seq as usize).is_none_or(|n| *n == 1)
    }

    /// What has landed, and that the file was read up to `at`.
    async fn commit(&mut self, file: &ResultFile, at: u64, urgency: Urgency) -> Result<(), EngineError> {
        *cursor(&mut self.planned.submission, file) = at;
        commit(self.job, self.planned, self.results, urgency, Acts::default()).await
    }
}

/// How far a file has landed.
fn cursor<'r>(row: &'r mut Submission, file: &ResultFile) -> &'r mut u64 {
    if file.is_output { &mut row.output_cursor } else { &mut row.error_cursor }
}

/// Reads a line with its end; of one that is too long to be an answer only the beginning is kept. Answers its bytes.
pub(in crate::lane) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    let most = LINE_BYTES_MAX as u64 + 1;
    let mut read = reader.by_ref().take(most).read_until(b'\n', line)?;
    if line.len() as u64 == most && !line.ends_with(b"\n") {
        read += reader.skip_until(b'\n')?;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over_without_being_held() {
        let long = "x".repeat(LINE_BYTES_MAX + 70_000);
        let text = format!("first\n{long}\nlast");
        let mut reader = BufReader::with_capacity(1 << 16, text.as_bytes());
        let mut line = Vec::new();
        let mut lengths = Vec::new();
        loop {
            line.clear();
            let read = read_line(&mut reader, &mut line).unwrap();
            if read == 0 {
                break;
            }
            lengths.push((read, line.len()));
        }
        assert_eq!(lengths, [(6, 6), (long.len() + 1, LINE_BYTES_MAX + 1), (4, 4)]);
    }
}
