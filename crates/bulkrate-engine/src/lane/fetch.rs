//! Brings a result file of a batch to disk, however long that takes: what is in it is paid for.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::request::Kind;
use bulkrate_core::submission::BatchCounts;
use bulkrate_provider::{BatchApi, BatchFacts};

use super::collect::LINE_BYTES_MAX;
use super::outage::{Redirects, halts, local, pause};
use super::reach;
use crate::EngineError;
use crate::event::Event;
use crate::run::job::Job;
use crate::run::ready::Ready;

/// The longest wait between two tries.
const WAIT_MAX_MS: u64 = 60_000;
/// The first wait, unless batches are polled faster.
const WAIT_MIN_MS: u64 = 1_000;

/// What a result line holds besides the answer and the echo of its request.
const FRAME_BYTES: u64 = 64 << 10;
/// One token of an answer as JSON, escaped, with its probability and those of twenty others.
const TOKEN_BYTES: u64 = 4 << 10;
/// A byte of a request that is echoed (instructions, tools, schemas) as JSON: `\u0000`.
const ECHO_FACTOR: u64 = 6;

/// One token of an answer as JSON, as it usually is.
const USUAL_TOKEN_BYTES: u64 = 32;

/// Room for what is no answer: a line that is far too long must not keep the others from landing.
const SPARE_BYTES: u64 = 1 << 30;

/// A batch that says it completed may show its files a little later: it is looked at so often again.
pub(super) const LATE_FILE_TRIES: u32 = 5;

/// What became of a download.
pub(super) enum Fetched {
    /// The file is on disk.
    Whole,
    /// The provider has no such file.
    Missing,
    /// The job stops; the next run asks again.
    Refused,
}

/// A file id that a provider gave, and not left blank.
pub(super) fn named(file: Option<&str>) -> Option<&str> {
    file.filter(|file| !file.is_empty())
}

/// Whether the counts of an ended batch tell of a file that it does not name yet.
pub(super) fn awaits_files(
    facts: BatchFacts,
    counts: BatchCounts,
    output: Option<&str>,
    errors: Option<&str>,
) -> bool {
    let failures = if facts.one_file { output } else { errors };
    // Where nothing is counted, failures alone may only be there first.
    facts.uncounted && named(output).is_none()
        || counts.completed > 0 && named(output).is_none()
        || counts.failed > 0 && named(failures).is_none()
}

/// Why the result of such a request could not be read, however good it is: it would be paid for nothing.
pub(super) fn unreadable(facts: BatchFacts, request_bytes: u64, max_tokens: u64) -> Option<&'static str> {
    let answer = max_tokens.saturating_mul(USUAL_TOKEN_BYTES).saturating_add(FRAME_BYTES);
    let is_long = request_bytes.saturating_add(answer) > LINE_BYTES_MAX as u64;
    (facts.repeats_requests && is_long).then_some(
        "the request is too large for a batch: its result repeats it, and one of more than 32 MiB is not read; use `--lane sync`",
    )
}

/// The longest that a result file of these items can be. What is longer is not their file, and would fill the disk.
pub(super) fn longest(items: &[Ready]) -> u64 {
    let of = |item: &Ready| line_max(item.kind, u64::from(item.max_tokens), item.bytes);
    items.iter().map(of).fold(SPARE_BYTES, u64::saturating_add)
}

fn line_max(kind: Kind, max_tokens: u64, request_bytes: u64) -> u64 {
    let most = LINE_BYTES_MAX as u64; // a longer line is read as no answer
    if kind == Kind::Embedding {
        return most; // thousands of vectors of thousands of numbers
    }
    let answer = max_tokens.saturating_mul(TOKEN_BYTES);
    FRAME_BYTES.saturating_add(answer).saturating_add(request_bytes.saturating_mul(ECHO_FACTOR)).min(most)
}

/// Brings a file of an account to disk. `again`: it is downloaded although it lies here.
pub(super) async fn fetch(
    job: &Rc<Job>,
    (api, account): (&dyn BatchApi, &str),
    file: &str,
    to: &Path,
    again: bool,
    bytes_max: u64,
) -> Result<Fetched, EngineError> {
    if !again && to.exists() {
        return Ok(Fetched::Whole); // downloads appear under their name only when whole
    }
    let mut failures: u32 = 0;
    let redirects = Redirects::default();
    loop {
        let began_us = job.clock.us();
        let error = match api.download(file, to, bytes_max).await {
            Ok(found) => {
                reach::answered(job, account);
                tell_over(job);
                return Ok(if found.is_some() { Fetched::Whole } else { Fetched::Missing });
            }
            Err(error) if halts(job, &error, &redirects) => return Ok(Fetched::Refused),
            Err(error) if reach::heard(job, account, &error, began_us) => return Ok(Fetched::Refused),
            Err(error) => error,
        };
        if let Some(error) = local(&error, "could not write", to) {
            return Err(error);
        }
        if job.stop.is_detaching() {
            return Err(EngineError::Provider(error.to_string()));
        }
        // Told once for an outage, however many files wait for its end.
        if !std::mem::replace(&mut job.state.borrow_mut().downloads_fail, true) {
            job.alert(
                "download-failed",
                &format!(
                    "{error}; the results are paid for and wait at the provider, asking again until they come"
                ),
            );
        }
        let most = wait_ms(job.spec.run.poll_min_ms.min(WAIT_MIN_MS), failures);
        failures = failures.saturating_add(1);
        pause(job, Duration::from_millis(most / 2 + job.random() % (most / 2 + 1))).await;
    }
}

fn tell_over(job: &Job) {
    if std::mem::take(&mut job.state.borrow_mut().downloads_fail) {
        job.tell(&Event::Note { message: "the provider gives out results again" });
    }
}

/// The most to wait after so many failures before this one.
pub(super) fn wait_ms(first_ms: u64, failures: u32) -> u64 {
    first_ms.max(1).saturating_mul(1 << failures.min(20)).min(WAIT_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        for (first, failures, want) in
            [(1_000, 0, 1_000), (1_000, 1, 2_000), (1_000, 5, 32_000), (1_000, 6, 60_000), (20, 3, 160)]
        {
            assert_eq!(wait_ms(first, failures), want);
        }
        assert_eq!(wait_ms(0, u32::MAX), 60_000);
    }

    #[test]
    fn a_file_is_awaited_where_failures_would_stand() {
        let counts = |completed, failed| BatchCounts { total: 2, completed, failed };
        let both = BatchFacts::default();
        let one = BatchFacts { one_file: true, ..both };
        let (uncounted, none) = (BatchFacts { uncounted: true, ..both }, BatchCounts::default());
        for (facts, counts, output, errors, want) in [
            (both, counts(1, 1), Some("o"), None, true),
            (both, counts(1, 1), Some("o"), Some("e"), false),
            (both, counts(0, 2), Some(""), Some("e"), false),
            (one, counts(1, 1), Some("o"), None, false),
            (one, counts(0, 2), None, None, true),
            (one, counts(0, 0), None, None, false),
            (both, none, None, None, false),
            (uncounted, none, None, Some(""), true),
            (uncounted, none, None, Some("e"), true),
            (uncounted, none, Some("o"), None, false),
        ] {
            assert_eq!(awaits_files(facts, counts, output, errors), want, "{facts:?} {counts:?} {output:?}");
        }
    }

    #[test]
    fn what_would_come_back_too_long_to_be_read_is_not_sent() {
        let repeats = BatchFacts { repeats_requests: true, ..BatchFacts::default() };
        let most = LINE_BYTES_MAX as u64;
        for (facts, bytes, tokens, is_sent) in [
            (repeats, 1_000, 1_000, true),
            (repeats, most - (1 << 20), 1_000, true),
            (repeats, most - (1 << 20), 100_000, false),
            (repeats, most, 0, false),
            (repeats, u64::MAX, u64::MAX, false),
            (BatchFacts::default(), u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(unreadable(facts, bytes, tokens).is_none(), is_sent, "{facts:?} {bytes} {tokens}");
        }
    }

    #[test]
    fn a_result_line_is_as_long_as_its_answer_may_be() {
        assert_eq!(line_max(Kind::Chat, 0, 0), FRAME_BYTES);
        assert_eq!(line_max(Kind::Chat, 1_024, 700), FRAME_BYTES + (4 << 20) + 4_200);
        for (kind, tokens, bytes) in
            [(Kind::Chat, 128_000, 0), (Kind::Chat, 1, u64::MAX), (Kind::Embedding, 0, 9)]
        {
            assert_eq!(line_max(kind, tokens, bytes), LINE_BYTES_MAX as u64);
        }
    }
}
