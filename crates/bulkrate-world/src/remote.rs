//! A provider with OpenAI's Files, Batch and chat APIs, its own arithmetic and its own bill. It knows nothing of bulkrate but
//! what comes over the line.

use std::collections::BTreeMap;

use bulkrate_core::price::Catalogue;
use serde_json::{Value, json};

use crate::batch::{Batch, End, Over};
use crate::bundle;
use crate::dice::Dice;
use crate::plan::{Faults, MODEL};

/// A request as it arrives.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

/// An answer as it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// One charge.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The line's `custom_id`, or the number of the call.
    pub of: Of,
    pub prompt: String,
    pub nanos: i64,
    /// The batch that the line was in.
    pub batch: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Line(String),
    Call(u64),
}

/// All of the provider's state.
#[derive(Debug)]
pub struct Remote {
    files: BTreeMap<String, Vec<u8>>,
    batches: Vec<Batch>,
    pub bill: Vec<Charge>,
    dice: Dice,
    faults: Faults,
    /// Batch prices in pico-dollars per token: input, output.
    batch_price: (u64, u64),
    call_price: (u64, u64),
    next_id: u64,
    page: usize,
    batch_ms: (u64, u64),
    pub creates: u64,
    /// Calls that were answered.
    pub called: u64,
    /// Batch and line of what was answered with a refusal: surely not charged, and told so.
    pub refused: std::collections::BTreeSet<String>,
}

/// A cancelled batch ends so long after.
pub(crate) const CANCEL_MS: u64 = 60_000;

/// What an honest model answers.
#[must_use]
pub fn reply_to(prompt: &str) -> String {
    let sum = prompt.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("answer {:x}", sum % 0xffff)
}

impl Remote {
    #[must_use]
    pub fn new(seed: u64, faults: Faults, page: u64, batch_ms: (u64, u64)) -> Self {
        let day = jiff::civil::date(2026, 11, 20);
        let catalogue = Catalogue::bundled();
        let row = catalogue.find("openai", MODEL, day);
        let rate = |lane| {
            let set = row.and_then(|row| row.rates(lane)).map(|rates| &rates.base);
            set.map_or((0, 0), |set| (set.input.per_token.0, set.output.per_token.0))
        };
        Self {
            files: BTreeMap::new(),
            batches: Vec::new(),
            bill: Vec::new(),
            dice: Dice::new(seed, 2),
            faults,
            batch_price: rate(bulkrate_core::lane::Lane::Batch),
            call_price: rate(bulkrate_core::lane::Lane::Sync),
            next_id: 0,
            page: usize::try_from(page).unwrap_or(1).max(1),
            batch_ms,
            creates: 0,
            called: 0,
            refused: std::collections::BTreeSet::new(),
        }
    }

    /// Nothing goes wrong from now on.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
    }

    /// The requests of an uploaded file; `None`: it is there no more.
    #[must_use]
    pub fn lines_of(&self, input: &str) -> Option<Vec<(String, String)>> {
        self.files.get(input).map(|file| lines(file))
    }

    /// Batches of ours that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.batches.iter().filter(|batch| !batch.foreign && batch.over.is_none()).count()
    }

    /// The batch that a submission of ours made, as anybody sees it who looks at the console.
    #[must_use]
    pub fn batch_of(&self, sub: &str) -> Option<String> {
        let ours = |batch: &&Batch| !batch.foreign && batch.metadata["br_sub"] == sub;
        self.batches.iter().find(ours).map(|batch| batch.id.clone())
    }

    /// What the batches of a submission have cost, once all of them have ended.
    #[must_use]
    pub fn cost_of(&self, sub: &str) -> Option<i64> {
        let ours = |batch: &&Batch| !batch.foreign && batch.metadata["br_sub"] == sub;
        let mut sum = 0;
        for batch in self.batches.iter().filter(ours) {
            batch.over.as_ref()?;
            let charges = self.bill.iter().filter(|charge| charge.batch.as_ref() == Some(&batch.id));
            sum += charges.map(|charge| charge.nanos).sum::<i64>();
        }
        Some(sum)
    }

    /// Prompts that our batches have done by a time, or would have if nobody had cancelled them.
    pub(crate) fn done_by(&self, at_ms: u64) -> usize {
        let done = |batch: &Batch| match &batch.over {
            Some(over) if over.status != "cancelled" && at_ms >= over.at_ms => over.run,
            _ => batch.done_at(at_ms),
        };
        let ours = self.batches.iter().filter(|batch| !batch.foreign);
        let lines = ours.flat_map(|batch| &batch.lines[..done(batch)]);
        lines.map(|(_, prompt)| prompt.as_str()).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Everything that happens by itself until now.
    pub fn advance(&mut self, now_ms: u64) {
        for at in 0..self.batches.len() {
            let batch = &self.batches[at];
            let cancelled_ms = batch.cancel_ms.map(|at_ms| (at_ms + CANCEL_MS).min(batch.end_ms));
            let due_ms = cancelled_ms.unwrap_or(batch.end_ms);
            if batch.over.is_none() && now_ms >= due_ms {
                self.end(at, due_ms);
            }
        }
    }

    fn id(&mut self, kind: &str) -> String {
        self.next_id += 1;
        format!("{kind}-{:05}", self.next_id)
    }

    /// What the provider does and answers; a request that arrives twice is done twice.
    pub fn handle(&mut self, request: &Request, call_no: u64, now_ms: u64) -> Answer {
        self.advance(now_ms);
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["files"]) => {
                let id = self.id("file");
                self.files.insert(id.clone(), request.body.clone());
                ok(&json!({"id": id, "object": "file"}))
            }
            ("DELETE", ["files", id]) => {
                if self.files.remove(*id).is_some() {
                    ok(&json!({"id": id, "object": "file", "deleted": true}))
                } else {
                    error(404, "invalid_request_error", "No such File object", None)
                }
            }
            ("GET", ["files", _, "content"]) if self.dice.permille(self.faults.file_missing) => {
                error(404, "invalid_request_error", "No such File object", None)
            }
            ("GET", ["files", id, "content"]) => match self.files.get(*id) {
                Some(body) => Answer { status: 200, body: body.clone() },
                None => error(404, "invalid_request_error", "No such File object", None),
            },
            ("POST", ["batches"]) => self.create(&request.body, now_ms),
            ("GET", ["batches"]) => self.list(query, now_ms),
            ("GET", ["batches", id]) => self.poll(id, now_ms),
            ("POST", ["batches", id, "cancel"]) => self.cancel(id, now_ms),
            ("POST", ["chat", "completions"]) => self.call(&request.body, call_no),
            _ => error(404, "invalid_request_error", "Unknown request URL", None),
        }
    }

    fn create(&mut self, body: &[u8], now_ms: u64) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let input = asked["input_file_id"].as_str().unwrap_or("").to_owned();
        let Some(file) = self.files.get(&input) else {
            return error(400, "invalid_request_error", "No such File object", Some("input_file_id"));
        };
        let lines = lines(file);
        self.creates += 1;
        if self.dice.permille(self.faults.foreign) {
            self.foreign(&asked, now_ms);
        }
        let batch = self.batch(asked["metadata"].clone(), input, lines, now_ms, false);
        let shown = self.show(&batch, now_ms);
        self.batches.push(batch);
        if self.dice.permille(self.faults.foreign / 2) {
            self.foreign(&asked, now_ms);
        }
        ok(&shown)
    }

    /// A batch of somebody else in the same project: perhaps another copy of bulkrate that sent the very same lines.
    fn foreign(&mut self, ours: &Value, now_ms: u64) {
        let mut metadata = ours["metadata"].clone();
        metadata["br_inst"] = "somebody-else".into();
        if self.dice.permille(300) {
            metadata = json!({"team": "search"});
        }
        let input = self.id("file");
        let batch = self.batch(metadata, input, Vec::new(), now_ms, true);
        self.batches.push(batch);
    }

    fn batch(
        &mut self,
        metadata: Value,
        input: String,
        lines: Vec<(String, String)>,
        now_ms: u64,
        foreign: bool,
    ) -> Batch {
        let (least, most) = self.batch_ms;
        let mut takes_ms = self.dice.between(least, most);
        let mut end = End::Completed;
        if self.dice.permille(self.faults.batch_fails) {
            (end, takes_ms) = (End::Failed, 5_000);
        } else if self.faults.stuck > 0 && self.dice.permille(self.faults.stuck) {
            (end, takes_ms) = (End::Expired, 240 * 3_600_000);
        } else if takes_ms > 24 * 3_600_000 || self.dice.permille(self.faults.expires) {
            (end, takes_ms) = (End::Expired, 24 * 3_600_000);
        }
        let lag_ms = self.dice.below(self.faults.list_lag_ms + 1);
        Batch {
            id: self.id("batch"),
            metadata,
            input,
            created_ms: now_ms,
            end_ms: now_ms + takes_ms,
            end,
            cancel_ms: None,
            lines,
            over: None,
            foreign,
            visible_ms: now_ms + lag_ms,
        }
    }

    /// The batch ends: what finished is charged, and its lines go into two files.
    fn end(&mut self, at: usize, at_ms: u64) {
        let batch = self.batches[at].clone();
        let cut = batch.cancel_ms.is_some() && at_ms < batch.end_ms;
        let status = match (cut, batch.end) {
            (true, _) => "cancelled",
            (_, End::Completed) => "completed",
            (_, End::Failed) => "failed",
            (_, End::Expired) => "expired",
        };
        let run = match status {
            "failed" => 0,
            "completed" => batch.lines.len(),
            "expired" => usize::try_from(self.dice.below(batch.lines.len() as u64 + 1)).unwrap_or(0),
            _ => batch.done_at(at_ms),
        };
        let mut over = Over { status, at_ms, output: None, errors: None, completed: 0, failed: 0, run };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let mut order: Vec<usize> = (0..run).collect();
        self.dice.shuffle(&mut order);
        for line in order {
            let (id, prompt) = &batch.lines[line];
            if self.dice.permille(self.faults.line_errors) {
                let (status, code) = self.dice.pick(&[
                    (400, "invalid_value"),
                    (500, "server_error"),
                    (429, "rate_limit_exceeded"),
                ]);
                let body = json!({"error": {"message": "no", "type": "error", "code": code}});
                errors.push(result(id, status, &body));
                if status != 500 {
                    self.refused.insert(format!("{} {id}", batch.id));
                }
                over.failed += 1;
                continue;
            }
            over.completed += 1;
            let body = self.answer(prompt, self.batch_price, Of::Line(id.clone()), Some(batch.id.clone()));
            if self.dice.permille(self.faults.line_missing) {
                continue;
            }
            // The same answer under the id of its first item.
            if let Some(first) = bundle::first(id)
                && self.dice.permille(self.faults.line_strange)
            {
                output.push(result(first, 200, &body));
            }
            output.push(result(id, 200, &body));
            if self.dice.permille(self.faults.line_twice) {
                let mut other = body.clone();
                other["choices"][0]["message"]["content"] = "another answer".into();
                output.push(result(id, 200, &other));
            }
            if self.dice.permille(self.faults.line_strange) {
                output.push(
                    self.dice
                        .pick(&["{\"custom_id\":\"nobody\",\"response\":null}", "\u{0}garbage", ""])
                        .to_owned(),
                );
            }
        }
        if status == "expired" {
            for (id, _) in &batch.lines[run..] {
                let error = json!({"code": "batch_expired", "message": "This request could not be executed"});
                errors.push(json!({"custom_id": id, "response": null, "error": error}).to_string());
                self.refused.insert(format!("{} {id}", batch.id));
            }
        }
        over.output = self.file(&output);
        over.errors = self.file(&errors);
        self.batches[at].over = Some(over);
    }

    fn file(&mut self, lines: &[String]) -> Option<String> {
        if lines.is_empty() {
            return None;
        }
        let id = self.id("file");
        let mut body = lines.join("\n").into_bytes();
        body.push(b'\n');
        self.files.insert(id.clone(), body);
        Some(id)
    }

    /// Runs the model and charges for it.
    fn answer(&mut self, prompt: &str, price: (u64, u64), of: Of, batch: Option<String>) -> Value {
        let (input, mut output) = (prompt.len() as u64 / 4 + 9, 4 + prompt.len() as u64 % 9);
        let mut text = match bundle::items(prompt) {
            Some(items) => {
                output *= items.len() as u64;
                bundle::reply(&items, self.faults.bundle_wrong, &mut self.dice)
            }
            None => reply_to(prompt),
        };
        if self.dice.permille(self.faults.empty) {
            (text, output) = (String::new(), 1);
        }
        let picos = u128::from(input) * u128::from(price.0) + u128::from(output) * u128::from(price.1);
        let nanos = i64::try_from(picos / 1_000 + u128::from(picos % 1_000 != 0)).unwrap_or(i64::MAX);
        self.bill.push(Charge { of, prompt: prompt.to_owned(), nanos, batch });
        let mut body = json!({
            "id": "c", "object": "chat.completion", "model": format!("{MODEL}-2026-09-22"),
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
        });
        if self.dice.permille(self.faults.no_usage) {
            body["usage"] = Value::Null;
        }
        body
    }

    fn call(&mut self, body: &[u8], call_no: u64) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let prompt = asked["messages"].as_array().and_then(|all| all.last()?["content"].as_str());
        let Some(prompt) = prompt.map(str::to_owned) else {
            return error(400, "invalid_request_error", "no prompt", None);
        };
        let flex = asked["service_tier"] == "flex";
        let price = if flex { self.batch_price } else { self.call_price };
        let body = self.answer(&prompt, price, Of::Call(call_no), None);
        self.called += 1;
        ok(&body)
    }

    fn poll(&mut self, id: &str, now_ms: u64) -> Answer {
        if self.dice.permille(self.faults.denied) {
            return error(404, "invalid_request_error", "No batch found", None);
        }
        let Some(batch) = self.batches.iter().find(|batch| batch.id == id).cloned() else {
            return error(404, "invalid_request_error", "No batch found", None);
        };
        let mut shown = self.show(&batch, now_ms);
        if batch.over.is_none() && self.dice.permille(self.faults.odd_status) {
            shown["status"] = self.dice.pick(&["validating", "thinking"]).into();
        }
        ok(&shown)
    }

    fn cancel(&mut self, id: &str, now_ms: u64) -> Answer {
        let Some(at) = self.batches.iter().position(|batch| batch.id == id) else {
            return error(404, "invalid_request_error", "No batch found", None);
        };
        if self.batches[at].over.is_some() {
            return error(409, "invalid_request_error", "Cannot cancel a batch that has ended", None);
        }
        self.batches[at].cancel_ms.get_or_insert(now_ms);
        let batch = self.batches[at].clone();
        ok(&self.show(&batch, now_ms))
    }

    fn list(&mut self, query: &str, now_ms: u64) -> Answer {
        let after = query.split('&').find_map(|pair| pair.strip_prefix("after="));
        let shown: Vec<Batch> =
            self.batches.iter().rev().filter(|batch| batch.visible_ms <= now_ms).cloned().collect();
        let mut from = after.map_or(0, |after| {
            shown.iter().position(|batch| batch.id == after).map_or(shown.len(), |at| at + 1)
        });
        if from > 0 && self.dice.permille(self.faults.page_repeats) && self.page > 1 {
            from -= 1; // something new came in front meanwhile
        }
        let page: Vec<Value> =
            shown.iter().skip(from).take(self.page).map(|batch| self.show(batch, now_ms)).collect();
        let has_more = from + page.len() < shown.len();
        ok(&json!({"object": "list", "data": page, "has_more": has_more}))
    }

    fn show(&self, batch: &Batch, now_ms: u64) -> Value {
        let status = match (&batch.over, batch.cancel_ms) {
            (Some(over), _) => over.status,
            (None, Some(_)) => "cancelling",
            (None, None) if now_ms < batch.created_ms + 3_000 => "validating",
            (None, None) if now_ms + 2_000 > batch.end_ms => "finalizing",
            (None, None) => "in_progress",
        };
        let validating = status == "validating";
        let over = batch.over.as_ref();
        let errors = (status == "failed")
            .then(|| json!({"data": [{"code": "too_many_requests", "message": "try later"}]}));
        json!({
            "id": batch.id, "object": "batch", "endpoint": "/v1/chat/completions", "errors": errors,
            "input_file_id": batch.input, "completion_window": "24h", "status": status,
            "output_file_id": over.and_then(|over| over.output.clone()),
            "error_file_id": over.and_then(|over| over.errors.clone()),
            "created_at": batch.created_ms / 1_000, "expires_at": batch.created_ms / 1_000 + 86_400,
            "ended_at": over.map(|over| over.at_ms / 1_000),
            "request_counts": {
                "total": if validating { 0 } else { batch.lines.len() },
                "completed": over.map_or(0, |over| over.completed), "failed": over.map_or(0, |over| over.failed),
            },
            "metadata": batch.metadata,
        })
    }
}

/// The requests of a batch's input file: id and prompt.
fn lines(file: &[u8]) -> Vec<(String, String)> {
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let id = line["custom_id"].as_str()?.to_owned();
        let prompt = line["body"]["messages"].as_array()?.last()?["content"].as_str()?.to_owned();
        Some((id, prompt))
    };
    String::from_utf8_lossy(file).lines().filter_map(read).collect()
}

fn ok(body: &Value) -> Answer {
    Answer { status: 200, body: body.to_string().into_bytes() }
}

pub(crate) fn error(status: u16, kind: &str, message: &str, param: Option<&str>) -> Answer {
    let body = json!({"error": {"message": message, "type": kind, "param": param, "code": null}});
    Answer { status, body: body.to_string().into_bytes() }
}

fn result(id: &str, status: u16, body: &Value) -> String {
    json!({"id": "r", "custom_id": id, "response": {"status_code": status, "request_id": "q", "body": body}, "error": null}).to_string()
}
