//! In what the batch API of one service differs from OpenAI's, as data over the same code.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Marker};
use serde::Serialize;
use serde_json::value::RawValue;

use super::dialect::ALL_KINDS;
use super::errors::{self, Said};
use super::remote;
use super::wire::OpenAiWire;
use crate::http::batches::Shape;

/// One batch API: where it is, what it is told, and how it answers.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Where batches are made; one of them is below it, and its cancellation below that.
    pub(super) path: &'static str,
    /// The shortest list of batches, to see whether there is one.
    pub(super) look: &'static str,
    pub(super) shape: Shape,
    pub(super) line: fn(&OpenAiWire, WireId, Kind, &[u8], &mut Vec<u8>),
    pub(super) create: fn(&Order<'_>) -> serde_json::Result<Vec<u8>>,
    /// What is asked for in its batches.
    pub(super) kinds: &'static [Kind],
    /// By what a batch is known again whose create brought no answer.
    pub(super) known_by: KnownBy,
    /// Whether batches tell how many of their requests were answered.
    pub(super) counts: bool,
    pub(super) upload: Upload,
    pub(super) results: Results,
    /// What follows a batch's path to cancel it, and the statuses that say that it has ended already.
    pub(super) cancel: (&'static str, &'static [u16]),
    /// Whether what was cancelled may have run.
    pub(super) cancels_late: bool,
    /// Whether it is documented that what a cancelled batch had answered is handed out.
    pub(super) cut_shows: bool,
    /// Whether an error that answers a create is in the service's own words, and no gateway's.
    pub(super) is_own: fn(&Said) -> bool,
}

/// How an input file goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    /// In a form, in one request.
    Form,
    /// To an address that the service names when it is told of it, for this purpose.
    Named(&'static str),
}

/// Where what was answered is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Results {
    /// In a file of answers, and one of failures.
    Files,
    /// Page by page below the batch, failures among the answers.
    Pages,
}

/// What a batch is made of.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) input_file: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) model: &'a str,
    pub(super) marker: &'a Marker,
    /// Where results go; empty where the service keeps them.
    pub(super) folder: &'a str,
}

/// Our marker: the only thing by which a batch is known again when its create brought no answer.
#[derive(Serialize)]
pub(super) struct Metadata<'a> {
    br_inst: &'a str,
    br_sub: &'a str,
    br_n: String,
    br_digest: &'a str,
}

impl<'a> Metadata<'a> {
    pub(super) fn of(marker: &'a Marker) -> Self {
        Self {
            br_inst: &marker.inst,
            br_sub: &marker.sub,
            br_n: marker.items.to_string(),
            br_digest: &marker.digest,
        }
    }
}

#[derive(Serialize)]
struct Create<'a> {
    input_file_id: &'a str,
    endpoint: &'a str,
    completion_window: &'static str,
    metadata: Metadata<'a>,
}

/// A body without the model, where a batch says it for all.
pub(super) fn without_model(body: &[u8]) -> Cow<'_, [u8]> {
    without(&["model"], body)
}

/// A body without these fields.
pub(super) fn without<'b>(names: &[&str], body: &'b [u8]) -> Cow<'b, [u8]> {
    let shorter = || {
        let mut fields = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(body).ok()?;
        fields.retain(|name, _| !names.contains(name));
        serde_json::to_vec(&fields).ok()
    };
    // One with names that are escaped is taken as it is.
    shorter().map_or(Cow::Borrowed(body), Cow::Owned)
}

/// A line that says neither method nor path: the create says them for all.
pub(super) fn bare_line(id: WireId, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"custom_id\":\"{id}\",\"body\":").as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"}\n");
}

impl Form {
    pub const OPENAI: Self = Self {
        path: "/batches",
        look: "/batches?limit=1",
        shape: Shape {
            first: "/batches?limit=100",
            cursor: "after",
            newest_first: true,
            numbered: false,
            page: remote::read_page,
            batch: remote::read_batch,
            is_error: |body| errors::read(body).is_some(),
            is_deleted: remote::says_deleted,
        },
        line: OpenAiWire::input_line,
        create: |order| {
            serde_json::to_vec(&Create {
                input_file_id: order.input_file,
                endpoint: order.endpoint,
                completion_window: "24h",
                metadata: Metadata::of(order.marker),
            })
        },
        kinds: ALL_KINDS,
        known_by: KnownBy::Mark,
        counts: true,
        upload: Upload::Form,
        results: Results::Files,
        cancel: ("/cancel", &[409]),
        cancels_late: false,
        cut_shows: true,
        is_own: |said| said.is_nested,
    };
}
