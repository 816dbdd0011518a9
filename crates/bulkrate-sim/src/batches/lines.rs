//! The lines of output and error files. They are functions of the input line, so nothing is kept but the input.

use super::validate::parts;
use super::words::Words;
use crate::api::{Endpoint, Twist, prepare};
use crate::bill::{Sums, cost};
use crate::catalogue::Lane;
use crate::clock::VirtualMs;
use crate::errors::ApiError;
use crate::faults::{Fault, Hit};
use crate::like::Splice;
use crate::rng::{below, mix, push_hex};
use crate::server::State;
use crate::tokens::Usage;
use crate::vertex;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

const PIECE_BYTES: usize = 256 * 1_024;

/// Which file a line is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Output,
    Errors,
}

/// Why lines did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Expired,
    Cancelled,
}

impl Rest {
    /// Code and text.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Expired => {
                ("batch_expired", "This request could not be executed before the completion window expired.")
            }
            Self::Cancelled => {
                ("batch_cancelled", "This request was not executed because the batch was cancelled.")
            }
        }
    }
}

/// A batch whose run is over, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) ordinal: u64,
    pub(crate) key: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) words: Words,
    /// The model of all lines, where no line names it.
    pub(crate) named: Option<String>,
    pub(crate) input: Bytes,
    /// What its lines lack.
    pub(crate) splice: Option<Arc<Splice>>,
    pub(crate) spans: Vec<(u32, u32)>,
    /// Order of execution and of writing.
    pub(crate) order: Vec<u32>,
    /// How many of the order ran.
    pub(crate) ran: usize,
    pub(crate) rest: Rest,
    pub(crate) at_ms: VirtualMs,
    /// Lines of its output, once they were counted.
    pub(crate) rows: OnceLock<usize>,
}

/// What became of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    Failed,
    NotRun,
}

/// Sums over a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) usage: Usage,
    pub(crate) sums: Sums,
    pub(crate) output_bytes: u64,
    pub(crate) output_rows: usize,
    pub(crate) error_bytes: u64,
}

enum Outcome {
    Answered(Usage, u64),
    Failed,
    NotRun,
}

/// Lines being written, one buffer per file.
#[derive(Default)]
struct Sheets {
    output: Vec<u8>,
    errors: Vec<u8>,
    /// So many spaces belong into the output after so many of its bytes: a line too long to be held.
    filler: Option<(usize, u64)>,
}

/// Bytes on their way to a reader, no more than a number of them.
struct Outgoing {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    piece: Vec<u8>,
    left: u64,
}

impl Outgoing {
    /// `None`: nobody reads any more.
    fn add(&mut self, bytes: &[u8]) -> Option<()> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() < PIECE_BYTES { Some(()) } else { self.send() }
    }

    fn fill(&mut self, filler: Option<(usize, u64)>) -> Option<()> {
        const SPACES: [u8; 4_096] = [b' '; 4_096];
        let mut left = filler.map_or(0, |(_, bytes)| bytes);
        while left > 0 {
            let now = left.min(SPACES.len() as u64);
            self.add(&SPACES[..usize::try_from(now).unwrap_or(SPACES.len())])?;
            left -= now;
        }
        Some(())
    }

    fn send(&mut self) -> Option<()> {
        self.piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= self.piece.len() as u64;
        let next = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        if next.is_empty() {
            return Some(());
        }
        self.sender.blocking_send(Ok(Bytes::from(next))).ok()
    }
}

/// The order in which the lines of a batch run and are written: a seeded permutation of `0..lines`, unless shuffling is a fault that
/// strikes others.
pub(crate) fn order_of(state: &State, ordinal: u64, lines: usize, key: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(lines).unwrap_or(u32::MAX)).collect();
    if !state.faults.has(Fault::Shuffled) || state.faults.batch(Fault::Shuffled, ordinal).is_some() {
        for at in (1..order.len()).rev() {
            order.swap(at, below(mix(key ^ at as u64), at + 1));
        }
    }
    order
}

impl Run {
    /// Writes every line once and throws the text away.
    pub(crate) fn tally(&self, state: &State) -> Tally {
        let (mut tally, mut sheets) = (Tally::default(), Sheets::default());
        for at in 0..self.order.len() {
            match self.line(state, at, &mut sheets) {
                Outcome::Answered(usage, nanos) => {
                    tally.completed += 1;
                    tally.usage.add(usage);
                    tally.sums.add(usage, nanos);
                }
                Outcome::Failed => tally.failed += 1,
                Outcome::NotRun => {}
            }
            tally.output_bytes +=
                sheets.output.len() as u64 + sheets.filler.take().map_or(0, |(_, bytes)| bytes);
            tally.output_rows += memchr::memchr_iter(b'\n', &sheets.output).count();
            tally.error_bytes += sheets.errors.len() as u64;
            sheets.output.clear();
            sheets.errors.clear();
        }
        tally
    }

    /// The same lines, those that ran in another order.
    pub(crate) fn reordered(&self) -> Self {
        let mut other = self.clone();
        other.order[..self.ran].rotate_left(usize::from(self.ran > 1));
        other
    }

    /// What one line of the order brings into the output: none, one, or several.
    pub(crate) fn output_of(&self, state: &State, at: usize, text: &mut Vec<u8>) {
        text.clear();
        let mut sheets = Sheets { output: std::mem::take(text), ..Sheets::default() };
        self.line(state, at, &mut sheets);
        *text = sheets.output;
    }

    /// Shows one line of the order: its id as JSON, what became of it, and its text, in whichever file that is.
    pub(crate) fn line_at(&self, state: &State, at: usize, show: impl FnOnce(&str, Fate, &[u8])) {
        let mut sheets = Sheets::default();
        let fate = match self.line(state, at, &mut sheets) {
            Outcome::Answered(..) => Fate::Answered,
            Outcome::Failed => Fate::Failed,
            Outcome::NotRun => Fate::NotRun,
        };
        let whole = self.source(at);
        let id = parts(self.words(), &whole).map_or("null", |(id, _)| id.get());
        sheets.output.append(&mut sheets.errors);
        show(id, fate, &sheets.output);
    }

    /// The input of one line of the order, whole.
    fn source(&self, at: usize) -> Cow<'_, [u8]> {
        let (start, length) = self.spans[self.order[at] as usize];
        let line = &self.input[start as usize..start as usize + length as usize];
        self.splice.as_ref().map_or(Cow::Borrowed(line), |splice| splice.whole(line))
    }

    /// The first `size` bytes of a file, made piece by piece on a blocking thread.
    pub(crate) fn stream(
        self: &Arc<Self>,
        state: &Arc<State>,
        side: Side,
        size: u64,
    ) -> mpsc::Receiver<std::io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(4);
        let (run, state) = (self.clone(), state.clone());
        tokio::task::spawn_blocking(move || {
            let (mut sheets, mut sheet) =
                (Sheets::default(), Outgoing { sender, piece: Vec::new(), left: size });
            for at in 0..run.order.len() {
                run.line(&state, at, &mut sheets);
                let filler = sheets.filler.take().filter(|_| side == Side::Output);
                let text = if side == Side::Output { &sheets.output } else { &sheets.errors };
                let (head, tail) = text.split_at(filler.map_or(text.len(), |(after, _)| after));
                if sheet.add(head).and_then(|()| sheet.fill(filler)).and_then(|()| sheet.add(tail)).is_none()
                {
                    return; // the reader went away
                }
                sheets.output.clear();
                sheets.errors.clear();
            }
            sheet.send();
        });
        receiver
    }

    /// Writes line number `at` of the order, with whatever faults do to it.
    fn line(&self, state: &State, at: usize, sheets: &mut Sheets) -> Outcome {
        let index = self.order[at];
        let whole = self.source(at);
        let Some((id, body)) = parts(self.words(), &whole) else {
            return Outcome::NotRun; // validation has refused such lines
        };
        let key = mix(self.key ^ mix(u64::from(index)));
        if at >= self.ran {
            self.words().not_run(&mut sheets.errors, key, id.get(), self.rest.words());
            return Outcome::NotRun;
        }
        let how = |fault| state.faults.line(fault, self.ordinal, u64::from(index));
        let hit = |fault| how(fault).is_some();
        let start = (sheets.output.len(), sheets.errors.len());
        let outcome = self.execute(state, u64::from(index), key, id.get(), body.get(), sheets);
        if hit(Fault::LineMissing) {
            sheets.output.truncate(start.0);
            sheets.errors.truncate(start.1);
        }
        if let Some(hit) = how(Fault::LineTwice) {
            let other = hit.word_or(state.faults.pick(key)) == "other";
            self.write_twice(state, key, id.get(), body.get(), sheets, start.0, other);
        }
        if sheets.output.len() > start.0 {
            if let Some(hit) = how(Fault::OddBytes) {
                let word = hit.word_or(key);
                super::spoil::odd_bytes(&mut sheets.output, start.0, word);
            }
            if hit(Fault::Deep) {
                super::spoil::nest(&mut sheets.output, start.0);
            }
            if let Some(Hit { amount, .. }) = how(Fault::HugeLine) {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "megabytes, from 0 to 1e9"
                )]
                let bytes = (amount.unwrap_or(200.0) * 1e6) as u64;
                sheets.filler = Some((start.0 + 1, bytes)); // after the brace
            }
        }
        if hit(Fault::LineUnknown) {
            let mut unknown = b"\"unknown-".to_vec();
            push_hex(&mut unknown, key, 12);
            unknown.push(b'"');
            let unknown = String::from_utf8(unknown).unwrap_or_default();
            let _ = self.answer(state, key ^ 7, &unknown, body.get(), Twist::None, &mut sheets.output);
        }
        outcome
    }

    fn execute(
        &self,
        state: &State,
        index: u64,
        key: u64,
        id: &str,
        body: &str,
        sheets: &mut Sheets,
    ) -> Outcome {
        let how = |fault| state.faults.line(fault, self.ordinal, index);
        if state.faults.batch(Fault::ErrorOnly, self.ordinal).is_some() {
            self.fail(state, sheets, key, (id, body), &ApiError::server());
            return Outcome::Failed;
        }
        let error = match (how(Fault::LineError), how(Fault::ErrorBody)) {
            (Some(hit), _) => Some(hit.word_or(state.faults.pick(key))),
            (None, Some(_)) => Some("200"),
            (None, None) => None,
        };
        if let Some(error) = error {
            self.spoil(state, error, key, (id, body), sheets);
            return Outcome::Failed;
        }
        let twist = Twist::of(how, key);
        if let Some(error) = crate::server::paid::filtered(state, twist, key) {
            self.fail(state, sheets, key, (id, body), &error);
            return Outcome::Failed;
        }
        match self.answer(state, key, id, body, twist, &mut sheets.output) {
            Ok((usage, nanos)) => Outcome::Answered(usage, nanos),
            Err(error) => {
                self.fail(state, sheets, key, (id, body), &error);
                Outcome::Failed
            }
        }
    }

    /// Appends a success line; on an error nothing is appended. Gives usage and cost in nano-dollars.
    fn answer(
        &self,
        state: &State,
        key: u64,
        id: &str,
        body: &str,
        twist: Twist,
        out: &mut Vec<u8>,
    ) -> Result<(Usage, u64), ApiError> {
        let start = out.len();
        let context = state.context(key, self.at_ms, twist, std::time::Duration::ZERO);
        self.words().head(out, key, (id, body), 200);
        let translated = match (self.words(), self.named.as_deref()) {
            (Words::Named("custom_id", _), Some(model)) => {
                vertex::claude_body(body.as_bytes(), model).map(Some)
            }
            _ => Ok(None),
        };
        let answered = translated.and_then(|own| {
            let body = own.as_deref().unwrap_or(body.as_bytes());
            let prepared = prepare(&state.models, self.endpoint, self.named.as_deref(), body, true)?;
            let usage = prepared.answer(&context, out)?;
            Ok((usage, cost(prepared.model, Lane::Batch, usage)))
        });
        match answered {
            Ok(_) => self.words().tail(out),
            Err(_) => out.truncate(start),
        }
        answered
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one line")]
    fn write_twice(
        &self,
        state: &State,
        key: u64,
        id: &str,
        body: &str,
        sheets: &mut Sheets,
        start: usize,
        other_body: bool,
    ) {
        if other_body {
            let _ = self.answer(state, key ^ 3, id, body, Twist::Empty, &mut sheets.output);
            return;
        }
        let same = sheets.output[start..].to_vec();
        sheets.output.extend_from_slice(&same);
    }

    fn words(&self) -> Words {
        self.words
    }

    /// `item`: its id and what it asked, as JSON.
    fn fail(&self, state: &State, sheets: &mut Sheets, key: u64, item: (&str, &str), error: &ApiError) {
        let out = if self.words().has_one_file() { &mut sheets.output } else { &mut sheets.errors };
        self.words().failure(out, key, item, error, state.manners());
    }

    /// One failed line, by its status.
    fn spoil(&self, state: &State, status: &str, key: u64, item: (&str, &str), sheets: &mut Sheets) {
        let error = match status {
            "400" => ApiError::invalid(
                Some("content_policy_violation"),
                "",
                "This request was refused by our policy.",
            ),
            "429" => {
                let message = "Rate limit reached. Please try again in 1s.";
                ApiError::new(429, "requests", Some("rate_limit_exceeded"), message)
            }
            "500" => ApiError::server(),
            // An error in disguise.
            _ => {
                self.words().head(&mut sheets.output, key, item, 200);
                ApiError::server().write(&mut sheets.output);
                return self.words().tail(&mut sheets.output);
            }
        };
        self.fail(state, sheets, key, item, &error);
    }
}
