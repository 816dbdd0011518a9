//! One message batch's way to its end, and the lines of its results. They are written once: what the prompt cache holds differs from one
//! moment to the next.

use super::read::Order;
use super::store::{Batch, Counts, Status};
use crate::anthropic;
use crate::api::{Endpoint, Twist, prepare};
use crate::batches::lines::order_of;
use crate::batches::{pace, scaled, spoil};
use crate::bill::{Sums, cost};
use crate::catalogue::Lane;
use crate::clock::{VirtualMs, ms};
use crate::errors::ApiError;
use crate::faults::Fault;
use crate::json::push_str;
use crate::rng::{hash, mix, push_hex};
use crate::server::State;
use crate::tokens::Usage;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A usual line of the results, and some.
const LINE_BYTES: usize = 512;

/// What a create asked for.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) body: Bytes,
    pub(super) orders: Arc<[Order]>,
    /// The version of the API knows sampling parameters.
    pub(super) samples: bool,
}

/// What becomes of the requests that do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Expired,
    Canceled,
}

/// A batch whose run is over.
struct Run {
    ordinal: u64,
    key: u64,
    work: Work,
    order: Vec<u32>,
    /// How many of the order ran.
    ran: usize,
    rest: Rest,
    at_ms: VirtualMs,
}

/// The results being written, and what they cost by model.
#[derive(Default)]
struct Sheet {
    out: Vec<u8>,
    counts: Counts,
    sums: BTreeMap<usize, Sums>,
}

/// Runs a batch to its end.
pub(super) async fn drive(state: &Arc<State>, batch: &Arc<Batch>, work: Work) {
    let lines = work.orders.len();
    let hit = |fault| state.faults.batch(fault, batch.ordinal);
    let share = hit(Fault::Expire).map(|hit| hit.amount_or(0.5));
    let (secs, window_holds) = pace(state, batch.ordinal);
    let start = batch.created_ms;
    let full = start + ms(secs).max(1);
    let last = if window_holds { batch.expires_ms() } else { u64::MAX };
    let stop = share.map_or(full.min(last), |share| start + scaled(full - start, share));
    let part = |at: u64| scaled(lines as u64, (at.min(full) - start) as f64 / (full - start) as f64);
    let mut rest = Rest::Expired;
    let mut ran = share.map_or_else(|| part(stop), |share| scaled(lines as u64, share));
    tokio::select! {
        biased;
        () = batch.cancel.cancelled() => {
            rest = Rest::Canceled;
            let all = hit(Fault::CancelDone).is_some();
            ran = if all { lines as u64 } else { part(state.clock.now_ms()) };
            state.clock.sleep_until(state.clock.now_ms() + ms(state.config.cancel_secs)).await;
        }
        () = state.clock.sleep_until(stop) => {}
    }
    let key = hash(batch.id.as_bytes(), state.config.seed);
    let run = Run {
        ordinal: batch.ordinal,
        key,
        order: order_of(state, batch.ordinal, lines, mix(key ^ 1)),
        work,
        ran: usize::try_from(ran).unwrap_or(lines).min(lines),
        rest,
        at_ms: state.clock.now_ms(),
    };
    let owner = state.clone();
    let written = tokio::task::spawn_blocking(move || run.write(&owner)).await.unwrap_or_default();
    finish(state, batch, written);
}

fn finish(state: &State, batch: &Batch, sheet: Sheet) {
    for (model, sums) in sheet.sums {
        state.bill.charge(&state.models.models[model], Lane::Batch, sums, Some(&batch.id), None);
    }
    let mut life = batch.life();
    life.counts = sheet.counts;
    life.results = Some(Bytes::from(sheet.out));
    life.ended_ms = Some(state.clock.now_ms());
    life.status = Status::Ended;
}

impl Run {
    fn write(&self, state: &State) -> Sheet {
        // Grown on the way, it would be copied, and what it leaves stays with the allocator.
        let mut sheet = Sheet { out: Vec::with_capacity(self.order.len() * LINE_BYTES), ..Sheet::default() };
        for at in 0..self.order.len() {
            self.line(state, at, &mut sheet);
        }
        sheet
    }

    /// Writes line number `at` of the order, with whatever faults do to it.
    fn line(&self, state: &State, at: usize, sheet: &mut Sheet) {
        let index = u64::from(self.order[at]);
        let order = &self.work.orders[self.order[at] as usize];
        if at >= self.ran {
            return self.not_run(order, sheet);
        }
        let key = mix(self.key ^ mix(index));
        let start = sheet.out.len();
        match self.execute(state, key, index, order, &mut sheet.out) {
            Ok((model, usage, nanos)) => {
                sheet.counts.succeeded += 1;
                sheet.sums.entry(model).or_default().add(usage, nanos);
            }
            Err(error) => {
                sheet.counts.errored += 1;
                write_error(&mut sheet.out, key, &order.id, &error);
            }
        }
        self.strike(state, key, index, order, start, &mut sheet.out);
    }

    fn not_run(&self, order: &Order, sheet: &mut Sheet) {
        let (count, word) = match self.rest {
            Rest::Expired => (&mut sheet.counts.expired, "expired"),
            Rest::Canceled => (&mut sheet.counts.canceled, "canceled"),
        };
        *count += 1;
        begin(&mut sheet.out, &order.id, word);
        sheet.out.extend_from_slice(b"}}\n");
    }

    /// What faults do to a line that was written from `start` on.
    fn strike(&self, state: &State, key: u64, index: u64, order: &Order, start: usize, out: &mut Vec<u8>) {
        let how = |fault| state.faults.line(fault, self.ordinal, index);
        if how(Fault::LineMissing).is_some() {
            out.truncate(start);
        }
        if let Some(hit) = how(Fault::LineTwice) {
            if hit.word_or(state.faults.pick(key)) == "other" {
                let _ = self.answer(state, key ^ 3, order, Twist::Empty, out);
            } else {
                out.extend_from_within(start..);
            }
        }
        if out.len() > start {
            if let Some(hit) = how(Fault::OddBytes) {
                spoil::odd_bytes(out, start, hit.word_or(key));
            }
            if how(Fault::Deep).is_some() {
                spoil::nest(out, start);
            }
        }
        if how(Fault::LineUnknown).is_some() {
            let mut id = b"unknown-".to_vec();
            push_hex(&mut id, key, 12);
            let unknown = Order { id: String::from_utf8(id).unwrap_or_default(), ..order.clone() };
            let _ = self.answer(state, key ^ 7, &unknown, Twist::None, out);
        }
    }

    fn execute(
        &self,
        state: &State,
        key: u64,
        index: u64,
        order: &Order,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Usage, u64), ApiError> {
        let how = |fault| state.faults.line(fault, self.ordinal, index);
        let spoilt = how(Fault::LineError).map(|hit| hit.word_or(state.faults.pick(key)));
        let spoilt = spoilt.or_else(|| how(Fault::ErrorBody).map(|_| "500"));
        if state.faults.batch(Fault::ErrorOnly, self.ordinal).is_some() {
            return Err(ApiError::server());
        }
        match spoilt {
            Some("400") => return Err(super::invalid("Output blocked by content filtering policy")),
            Some("429") => {
                let message = "This request would exceed your account's rate limit.";
                return Err(ApiError::new(429, "rate_limit_error", None, message));
            }
            Some(_) => return Err(ApiError::server()),
            None => {}
        }
        self.answer(state, key, order, Twist::of(how, key), out)
    }

    /// Appends a success line; on an error nothing is appended. Gives the model, usage and cost in nano-dollars.
    fn answer(
        &self,
        state: &State,
        key: u64,
        order: &Order,
        twist: Twist,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Usage, u64), ApiError> {
        let start = out.len();
        let params = &self.work.body[order.start..order.start + order.length];
        let context = state.context(key, self.at_ms, twist, std::time::Duration::ZERO);
        begin(out, &order.id, "succeeded");
        out.extend_from_slice(b",\"message\":");
        let answered = anthropic::check_fields(self.work.samples, params)
            .and_then(|()| prepare(&state.models, Endpoint::Messages, None, params, true))
            .and_then(|prepared| {
                let usage = prepared.answer(&context, out)?;
                Ok((prepared.model.index, usage, cost(prepared.model, Lane::Batch, usage)))
            });
        match answered {
            Ok(_) => out.extend_from_slice(b"}}\n"),
            Err(_) => out.truncate(start),
        }
        answered
    }
}

fn begin(out: &mut Vec<u8>, id: &str, word: &str) {
    out.extend_from_slice(b"{\"custom_id\":");
    push_str(out, id);
    out.extend_from_slice(b",\"result\":{\"type\":\"");
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

/// The error stands in the line as a call would have got it: nested twice.
fn write_error(out: &mut Vec<u8>, key: u64, id: &str, error: &ApiError) {
    begin(out, id, "errored");
    out.extend_from_slice(b",\"error\":");
    let (_, body) = anthropic::error_body(error.status, error.code, &error.message, key);
    // Writing a value into a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *out, &body);
    out.extend_from_slice(b"}}\n");
}
