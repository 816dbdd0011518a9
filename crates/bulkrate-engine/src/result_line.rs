//! One line of a results file: the unified result of one attempt at one item, without the user's id.
//!
//! ```json
//! {"item":7,"attempt":1,"attempts":1,"status":"succeeded","response":{"text":"spam","finish_reason":"stop"},"usage":{...},
//!  "cost_usd":"0.00001","provider":"openai","model":"gpt-6-luna-2026-09-30","lane":"batch","sum":"0a1b2c3d"}
//! ```
//!
//! `sum` is a checksum of all before it: a paid answer that is changed on disk is told, not handed out.

mod read;
#[cfg(test)]
mod tests;

use std::io::Write;

use bulkrate_core::answer::{Chance, Finish};
use bulkrate_core::cascade::{Measure, Opinion, Sureness};
use bulkrate_core::collect::Checked;
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::write_json_text;
use bulkrate_core::semantic::{self, Moment, Similarity};
use bulkrate_core::usage::Usage;
use bulkrate_store::pack::checksum;

pub(crate) use self::read::{ResponseLine, ResultLine, usage_of};

/// What every line starts and ends with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub ordinal: Ordinal,
    /// The lease that it ends.
    pub attempt: u8,
    /// Attempts so far that count: neither waits for limits or capacity nor calls that never left.
    pub attempts: u32,
    pub provider: &'a str,
    pub model: &'a str,
    /// `batch`, `flex`, `sync`, `cache`, `filter`, `semantic` or `prepare`.
    pub via: &'a str,
    pub cost: UsdNanos,
    pub usage: Option<&'a Usage>,
    /// How sure the model was by its tokens, where that was asked.
    pub sureness: Option<Sureness>,
    /// How likely each choice is, where the answer says it.
    pub chances: &'a [Chance<'a>],
    /// Who was asked in whose place.
    pub instead: Option<Instead<'a>>,
}

/// A deployment that stood in: pinned models, and the reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instead<'a> {
    pub of: &'a str,
    pub asked: &'a str,
    pub why: &'a str,
}

/// Evidence of a failure is kept up to this length.
const EVIDENCE_BYTES_MAX: usize = 4_096;

/// What an answer taught the semantic cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    /// The answered item that was nearest, how near, and whether it says the same.
    pub near: Option<(Ordinal, Similarity, bool)>,
    /// It might have been served: how that was decided, and whether that answer would have been right.
    pub chance: Option<(semantic::Chance, bool)>,
    /// It may be served itself: what each item costs by itself that gets it, at the standard price.
    pub kept: Option<UsdNanos>,
}

impl Compared {
    /// Behind all else of a line, so that nothing that copies the line's facts copies it.
    fn write(self, out: &mut Vec<u8>) {
        let Self { near, chance, kept } = self;
        out.extend_from_slice(b",\"semantic\":{");
        if let Some((like, similarity, same)) = near {
            let (like, similarity) = (u64::from(like) + 1, similarity.share());
            let _ = write!(out, "\"like\":{like},\"similarity\":{similarity:.3},\"same\":{same},");
        }
        if let Some((semantic::Chance { tau, at, .. }, right)) = chance {
            let _ = write!(out, "\"tau\":{tau:.3},\"right\":{right},");
            moment(at, out);
            out.push(b',');
        }
        let _ = match kept {
            Some(naive) => write!(out, "\"kept\":true,\"naive_usd\":\"{naive}\"}}"),
            None => write!(out, "\"kept\":false}}"),
        };
    }
}

/// Where the semantic cache has an answer from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub from: Ordinal,
    pub similarity: Similarity,
    /// The probability with which the item would have been asked.
    pub tau: f64,
    pub at: Moment,
}

/// By this the decision can be made again. What is out is written to its last digit.
fn moment(at: Moment, out: &mut Vec<u8>) {
    let _ = write!(out, "\"after\":{},\"out\":{}", at.after, at.out);
}

/// Appends the line of a good answer. `compared`: what it taught the semantic cache.
pub(crate) fn write_good(
    frame: Frame<'_>,
    checked: &Checked<'_>,
    finish: Finish,
    compared: Option<Compared>,
    out: &mut Vec<u8>,
) {
    let start = open(frame, "succeeded", out);
    response(checked, finish, out);
    facts(frame, out);
    if let Some(compared) = compared {
        compared.write(out);
    }
    seal(start, out);
}

/// Appends the line of an answer that a similar item got.
pub(crate) fn write_served(frame: Frame<'_>, checked: &Checked<'_>, origin: Origin, out: &mut Vec<u8>) {
    let start = open(frame, "succeeded", out);
    response(checked, Finish::Stop, out);
    facts(frame, out);
    let (from, similarity, tau) = (u64::from(origin.from) + 1, origin.similarity.share(), origin.tau);
    let _ = write!(out, ",\"semantic\":{{\"from\":{from},\"similarity\":{similarity:.3},\"tau\":{tau:.3},");
    moment(origin.at, out);
    out.push(b'}');
    seal(start, out);
}

fn response(checked: &Checked<'_>, finish: Finish, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"response\":{");
    match checked {
        Checked::Text(text) => field("text", text, out),
        Checked::Choice(choice) => field("text", choice, out),
        Checked::Json(json) => raw("parsed", json, out),
        Checked::VectorBase64(text) => field("embedding", text, out),
        Checked::VectorNumbers(json) => raw("embedding", json, out),
    }
    out.extend_from_slice(b",\"finish_reason\":\"");
    out.extend_from_slice(finish.name().as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Appends the line of an answer that a filter gave. `how`: what it was found by.
pub(crate) fn write_filtered(frame: Frame<'_>, answer: &str, how: &str, out: &mut Vec<u8>) {
    let start = open(frame, "succeeded", out);
    out.extend_from_slice(b",\"response\":{");
    field("text", answer, out);
    out.extend_from_slice(b",\"finish_reason\":\"");
    out.extend_from_slice(Finish::Stop.name().as_bytes());
    out.extend_from_slice(b"\"},");
    field("filter", how, out);
    close(frame, start, out);
}

/// What is kept of an attempt that failed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Evidence<'a> {
    pub provider_code: Option<&'a str>,
    /// The text that was no good.
    pub answer: Option<&'a str>,
    /// What it said, where a later answer may agree with it.
    pub opinion: Option<Opinion>,
    /// The answer waits for a verdict: all of it is kept.
    pub whole: bool,
    /// Models of a cascade that the item has behind itself now, those that it was not asked of included.
    pub step: Option<u8>,
    /// What the semantic cache makes of it.
    pub compared: Option<Compared>,
}

/// Appends the line of an attempt that failed. `answer`: the text that was no good, as evidence.
pub(crate) fn write_bad(
    frame: Frame<'_>,
    class: FailureClass,
    message: &str,
    provider_code: Option<&str>,
    answer: Option<&str>,
    out: &mut Vec<u8>,
) {
    write_failed(frame, class, message, Evidence { provider_code, answer, ..Evidence::default() }, out);
}

/// As [`write_bad`], with all that may be kept.
pub(crate) fn write_failed(
    frame: Frame<'_>,
    class: FailureClass,
    message: &str,
    evidence: Evidence<'_>,
    out: &mut Vec<u8>,
) {
    let Evidence { provider_code, answer, opinion, whole, step, compared } = evidence;
    let status = match class {
        FailureClass::Expired => "expired",
        FailureClass::CancelledByUser => "cancelled",
        _ => "errored",
    };
    let start = open(frame, status, out);
    out.extend_from_slice(b",\"error\":{");
    field("class", class.name(), out);
    out.push(b',');
    field("message", cut(message), out);
    if let Some(code) = provider_code {
        out.push(b',');
        field("provider_code", cut(code), out);
    }
    raw(",retryable", if class.verdict() == Verdict::RetryLater { "true" } else { "false" }, out);
    if let Some(answer) = answer {
        out.push(b',');
        field("answer", if whole { answer } else { cut(answer) }, out);
    }
    if let Some(opinion) = opinion {
        out.push(b',');
        field("opinion", &opinion.to_string(), out);
    }
    if let Some(step) = step {
        raw(",step", itoa::Buffer::new().format(step), out);
    }
    out.push(b'}');
    facts(frame, out);
    if let Some(compared) = compared {
        compared.write(out);
    }
    seal(start, out);
}

fn cut(text: &str) -> &str {
    if text.len() <= EVIDENCE_BYTES_MAX {
        return text;
    }
    let mut end = EVIDENCE_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Answers where the line begins.
fn open(frame: Frame<'_>, status: &str, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(b"{\"item\":");
    number(u64::from(frame.ordinal), out);
    out.extend_from_slice(b",\"attempt\":");
    number(u64::from(frame.attempt), out);
    out.extend_from_slice(b",\"attempts\":");
    number(u64::from(frame.attempts), out);
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(status.as_bytes());
    out.push(b'"');
    start
}

fn close(frame: Frame<'_>, start: usize, out: &mut Vec<u8>) {
    facts(frame, out);
    seal(start, out);
}

/// Usage, cost and who answered.
fn facts(frame: Frame<'_>, out: &mut Vec<u8>) {
    if let Some(usage) = frame.usage {
        let counts: [(&[u8], u64); 6] = [
            (b",\"usage\":{\"input_tokens\":", usage.input),
            (b",\"cache_read_tokens\":", usage.cache_read),
            (b",\"cache_write_5m_tokens\":", usage.cache_write_5m),
            (b",\"cache_write_1h_tokens\":", usage.cache_write_1h),
            (b",\"output_tokens\":", usage.output),
            (b",\"reasoning_tokens\":", usage.reasoning),
        ];
        for (name, count) in counts {
            out.extend_from_slice(name);
            number(count, out);
        }
        out.push(b'}');
    }
    if let Some(sure) = frame.sureness {
        sureness(sure, out);
    }
    if !frame.chances.is_empty() {
        chances(frame.chances, out);
    }
    // Writing to a Vec cannot fail.
    let _ = write!(out, ",\"cost_usd\":\"{}\",", frame.cost);
    field("provider", frame.provider, out);
    out.push(b',');
    field("model", frame.model, out);
    out.push(b',');
    field("lane", frame.via, out);
    if let Some(Instead { of, asked, why }) = frame.instead {
        out.extend_from_slice(b",\"instead\":{");
        for (comma, name, text) in [("", "of", of), (",", "asked", asked), (",", "why", why)] {
            out.extend_from_slice(comma.as_bytes());
            field(name, text, out);
        }
        out.push(b'}');
    }
}

/// `,"sureness":{"logprob":0.981,"margin":0.9}`
fn sureness(sure: Sureness, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"sureness\":{");
    let told = Measure::ALL.into_iter().filter_map(|measure| Some((measure.name(), sure.by(measure)?)));
    for (at, (name, permille)) in told.enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\"{name}\":{}", f64::from(permille) / 1_000.0);
    }
    out.push(b'}');
}

/// `,"probabilities":{"spam":0.981,"ham":0.019}`
fn chances(chances: &[Chance<'_>], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"probabilities\":{");
    for (at, chance) in chances.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_json_text(&chance.choice, out);
        let _ = write!(out, ":{}", chance.probability);
    }
    out.push(b'}');
}

const SUM: &[u8] = b",\"sum\":\"";
/// `0a1b2c3d"}` follows.
const SUM_BYTES: usize = SUM.len() + 10;

/// Ends the line that begins at `start` and has all of its fields.
pub(crate) fn seal(start: usize, out: &mut Vec<u8>) {
    let sum = checksum(&out[start..]);
    out.extend_from_slice(SUM);
    for place in (0..8).rev() {
        out.push(b"0123456789abcdef"[(sum >> (4 * place)) as usize & 15]);
    }
    out.extend_from_slice(b"\"}\n");
}

/// Whether the line is as it was written. Lines of older versions have no sum.
fn is_intact(line: &[u8]) -> bool {
    let Some((fields, end)) = line.len().checked_sub(SUM_BYTES).map(|at| line.split_at(at)) else {
        return true;
    };
    let Some(written) = end.strip_prefix(SUM) else { return true };
    std::str::from_utf8(&written[..8])
        .is_ok_and(|written| u32::from_str_radix(written, 16) == Ok(checksum(fields)))
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn field(name: &str, text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_json_text(text, out);
}

/// `name` may begin with a comma.
fn raw(name: &str, json: &str, out: &mut Vec<u8>) {
    let name = match name.strip_prefix(',') {
        None => name,
        Some(rest) => {
            out.push(b',');
            rest
        }
    };
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json.as_bytes());
}
