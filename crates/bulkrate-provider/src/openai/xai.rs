//! xAI's batches: counters instead of states, results on pages below the batch, and a name of no known length. They show their input
//! file.

use bulkrate_core::request::Kind;
use bulkrate_core::submission::{BatchCounts, BatchError, KnownBy, Owner, Phase, RemoteBatch};
use serde::{Deserialize, Serialize};

use super::form::{Form, Results};
use super::pages;
use crate::http::batches::{Page, Shape, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

pub(super) const BATCHES: Form = Form {
    shape: Shape {
        cursor: "pagination_token",
        newest_first: false, // nothing says so
        page: read_page,
        batch: read_batch,
        ..Form::OPENAI.shape
    },
    create: |order| {
        // For whoever looks at the console: nothing is read from it.
        let name = format!("bulkrate-{}", order.marker.sub);
        serde_json::to_vec(&Create { name: &name, input_file_id: order.input_file })
    },
    // `{"code": ..., "error": ...}`.
    is_own: |said| said.is_nested || said.code.is_some(),
    kinds: &[Kind::Chat],
    known_by: KnownBy::Input,
    results: Results::Pages,
    // 400 is also what a bad key and a bad call are answered with.
    cancel: (":cancel", &[409]),
    cancels_late: true,
    cut_shows: false,
    ..Form::OPENAI
};

#[derive(Serialize)]
struct Create<'a> {
    name: &'a str,
    input_file_id: &'a str,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    batches: Vec<Batch<'a>>,
    #[serde(borrow, default)]
    pagination_token: LooseText<'a>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default)]
    batch_id: LooseText<'a>,
    #[serde(borrow, default)]
    input_file_id: LooseText<'a>,
    #[serde(borrow, default)]
    create_time: LooseText<'a>,
    #[serde(borrow, default)]
    expire_time: LooseText<'a>,
    #[serde(borrow, default)]
    cancel_time: LooseText<'a>,
    /// Why xAI itself has ended it: mostly a file that is no batch.
    #[serde(borrow, default)]
    cancel_by_xai_message: LooseText<'a>,
    #[serde(default)]
    state: Option<Counters>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counters {
    num_requests: Count,
    num_pending: Count,
    num_success: Count,
    num_error: Count,
}

fn read_batch(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Batch<'_>>(body, "a batch")?.into_remote()
}

fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: List<'_> = read(body, "a list of batches")?;
    let batches = list.batches.into_iter().map(Batch::into_remote).collect::<Result<Vec<_>, _>>()?;
    // A page may be empty for what it leaves out: the token says whether there is another.
    Ok(Page { batches, next: list.pagination_token.into_owned() })
}

/// A time, of which only the day may be told. It ends when the day does: a batch of today is no old one.
fn moment(text: &str) -> Option<u64> {
    let day_end = || {
        let day = text.parse::<jiff::civil::Date>().ok()?.tomorrow().ok()?;
        let end = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
        u64::try_from(end - 1).ok()
    };
    unix_s(text).or_else(day_end)
}

impl Batch<'_> {
    fn phase(&self) -> Phase {
        // Without counters nothing is known of it; least of all that it ended.
        let Some(state) = &self.state else { return Phase::Unknown };
        let [all, pending] = [state.num_requests, state.num_pending].map(Count::or_zero);
        match (self.cancel_time.is_some(), self.cancel_by_xai_message.is_some()) {
            (true, _) | (_, true) if pending > 0 => Phase::Cancelling,
            (_, true) => Phase::Failed,
            (true, false) => Phase::Cancelled,
            // The file is not read yet.
            (false, false) if all == 0 => Phase::Validating,
            (false, false) if pending > 0 => Phase::InProgress,
            (false, false) => Phase::Completed,
        }
    }

    fn into_remote(self) -> Result<RemoteBatch, String> {
        let phase = self.phase();
        let id = self.batch_id.into_owned().ok_or("the batch has no id")?;
        let state = self.state.unwrap_or_default();
        // What was cancelled is none of them: it has no line.
        let counts = BatchCounts {
            total: state.num_requests.or_zero(),
            completed: state.num_success.or_zero(),
            failed: state.num_error.or_zero(),
        };
        let told = self.cancel_by_xai_message.into_owned();
        Ok(RemoteBatch {
            phase,
            status: phase.name().to_owned(),
            input_file: self.input_file_id.into_owned(),
            output_file: (phase.is_terminal() && counts.total > 0).then(|| pages::of(&id)),
            id,
            error_file: None,
            counts,
            errors: told.into_iter().map(|message| BatchError { code: None, message, line: None }).collect(),
            created_at: self.create_time.as_deref().and_then(moment),
            // Of others it tells no end.
            ended_at: self.cancel_time.as_deref().filter(|_| phase == Phase::Cancelled).and_then(moment),
            expires_at: self.expire_time.as_deref().and_then(moment),
            marker: None,
            owner: Owner::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const BATCH: &str = include_str!("../../fixtures/xai/batch.json");

    #[test]
    fn a_full_batch() {
        let batch = read_batch(BATCH.as_bytes()).unwrap();
        assert_eq!((batch.id.as_str(), batch.phase), ("batch_0a6c3f0e", Phase::InProgress));
        assert_eq!(batch.counts, BatchCounts { total: 100, completed: 59, failed: 1 });
        assert_eq!(batch.input_file.as_deref(), Some("file_7c2f6a10"));
        assert_eq!((batch.output_file, batch.marker), (None, None));
        // All of a day is as late as its end: what was made in it is not left out of a list.
        assert_eq!((batch.created_at, batch.expires_at), (Some(1_795_132_799), Some(1_797_724_799)));
        assert_eq!(moment("2026-11-19T00:00:00Z"), Some(1_795_046_400));
        let page =
            read_page(format!(r#"{{"batches":[{BATCH}],"pagination_token":"t"}}"#).as_bytes()).unwrap();
        assert_eq!((page.batches.len(), page.next.as_deref()), (1, Some("t")));
        let last = read_page(br#"{"batches":[],"pagination_token":null}"#).unwrap();
        assert_eq!((last.batches.len(), last.next), (0, None));
        for body in ["{}", "[]", "", "null", r#"{"batch_id":""}"#] {
            assert!(read_batch(body.as_bytes()).is_err() && read_page(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn counters_say_where_a_batch_stands() {
        let read = |state: &str, rest: &str| {
            read_batch(format!(r#"{{"batch_id":"b","state":{{{state}}}{rest}}}"#).as_bytes()).unwrap()
        };
        let cancelled = r#","cancel_time":"2026-11-19""#;
        let refused = r#","cancel_time":"2026-11-19","cancel_by_xai_message":"JSONL file validation failed""#;
        let done = r#""num_requests":3,"num_success":2,"num_error":1"#;
        for (state, rest, phase, results) in [
            ("", "", Phase::Validating, false),
            (r#""num_requests":3,"num_pending":3"#, "", Phase::InProgress, false),
            (done, "", Phase::Completed, true),
            (r#""num_requests":3,"num_pending":1"#, cancelled, Phase::Cancelling, false),
            (r#""num_requests":3,"num_cancelled":3"#, cancelled, Phase::Cancelled, true),
            ("", refused, Phase::Failed, false),
            (done, refused, Phase::Failed, true),
            // What still runs is no refusal, and what xAI gives a reason for has ended, with a day or without.
            (r#""num_requests":3,"num_pending":1"#, refused, Phase::Cancelling, false),
            (done, r#","cancel_by_xai_message":"expired""#, Phase::Failed, true),
            (done, r#","cancel_time":null,"cancel_by_xai_message":"""#, Phase::Completed, true),
        ] {
            let batch = read(state, rest);
            assert_eq!((batch.phase, batch.output_file.is_some()), (phase, results), "{state} {rest}");
        }
        assert_eq!(read("", refused).errors[0].message, "JSONL file validation failed");
        for rest in ["", cancelled, refused, r#","state":null"#] {
            let batch = read_batch(format!(r#"{{"batch_id":"b"{rest}}}"#).as_bytes()).unwrap();
            assert_eq!((batch.phase, batch.output_file), (Phase::Unknown, None), "{rest}");
        }
    }
}
