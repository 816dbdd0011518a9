//! In what the batch API of one service differs from OpenAI's, as data over the same code.

use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::Marker;
use serde::Serialize;

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
    /// Whether an error that answers a create is in the service's own words, and no gateway's.
    pub(super) is_own: fn(&Said) -> bool,
}

/// What a batch is made of.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) input_file: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) model: &'a str,
    pub(super) marker: &'a Marker,
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
        is_own: |said| said.is_nested,
    };
}
