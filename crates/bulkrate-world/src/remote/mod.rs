//! A provider with files, batches and calls, its own arithmetic and its own bill. It knows nothing of bulkrate but what comes over the
//! line, and what it says is put into words by its tongue.

mod batch;
mod bill;
mod create;
mod told;
mod rerun;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use batch::Over;
pub(crate) use batch::{Batch, Stage};
use bill::Model;
pub use bill::{Charge, Of, reply_to};

use crate::dice::Dice;
use crate::plan::{Faults, Inputs, Plan};
use crate::tongue::{Ask, Known, Manners, Order, Start, Tongue, Wrong};
use rerun::Rerun;
use told::Told;

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
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn of(status: u16, body: &Value) -> Self {
        Self::bytes(status, body.to_string().into_bytes())
    }

    pub(crate) fn bytes(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }
    }
}

/// All of the provider's state.
#[derive(Debug)]
pub struct Remote {
    pub(crate) tongue: &'static dyn Tongue,
    pub(crate) manners: Manners,
    files: BTreeMap<String, Vec<u8>>,
    told: Told,
    batches: Vec<Batch>,
    reruns: Vec<Rerun>,
    pub bill: Vec<Charge>,
    dice: Dice,
    faults: Faults,
    inputs: Inputs,
    /// The first one is asked where a request names none.
    models: Vec<Model>,
    next_id: u64,
    page: usize,
    batch_ms: (u64, u64),
    pub creates: u64,
    /// Batches that somebody has made by hand of a file of ours.
    pub rerun_times: u64,
    /// Calls that were answered.
    pub called: u64,
    /// Batch and line of what was answered with a refusal: surely not charged, and told so.
    pub refused: BTreeSet<String>,
}

/// A cancelled batch ends so long after.
pub(crate) const CANCEL_MS: u64 = 60_000;

impl Remote {
    /// One of a plan's providers by its place.
    pub(crate) fn new(plan: &Plan, (place, tongue): (usize, &'static dyn Tongue)) -> Self {
        let manners = tongue.manners();
        let other = plan.stand_ins.as_ref().filter(|_| place == 0).and_then(|others| others.model);
        let models = std::iter::once(manners.model).chain(other);
        let place = u64::try_from(place).unwrap_or(0);
        Self {
            tongue,
            manners,
            files: BTreeMap::new(),
            told: Told::default(),
            batches: Vec::new(),
            reruns: Vec::new(),
            bill: Vec::new(),
            dice: Dice::new(plan.seed, 2 + 100 * place),
            faults: plan.faults.clone(),
            inputs: if manners.known_by == Known::Input { plan.inputs } else { Inputs::default() },
            models: models.map(|model| Model::of(manners.provider, model)).collect(),
            // No two of them give the same ids.
            next_id: place * 50_000,
            page: if manners.lists_all {
                usize::MAX / 2
            } else {
                usize::try_from(plan.page).unwrap_or(1).max(1)
            },
            batch_ms: plan.batch_ms,
            creates: 0,
            rerun_times: 0,
            called: 0,
            refused: BTreeSet::new(),
        }
    }

    /// Nothing goes wrong from now on.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
        self.inputs = Inputs::default();
    }

    /// The file that a create names or carries; `None`: it is there no more.
    pub(crate) fn file_of<'o>(&'o self, order: &'o Order) -> Option<&'o [u8]> {
        let named = || self.files.get(order.input.as_deref()?).map(Vec::as_slice);
        order.carried.as_deref().or_else(named)
    }

    /// Ids and prompts of an input file.
    pub(crate) fn lines(&self, file: &[u8]) -> Vec<(String, String)> {
        let read = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            let (id, body) = self.tongue.line(&line)?;
            Some((id.to_owned(), self.tongue.prompt(body)?.to_owned()))
        };
        String::from_utf8_lossy(file).lines().filter_map(read).collect()
    }

    fn model(&self, name: &str) -> Model {
        self.models.iter().find(|model| model.name == name).copied().unwrap_or(self.models[0])
    }

    /// The model that a body names.
    fn model_of(&self, body: &Value) -> &'static str {
        self.model(self.tongue.model(body).unwrap_or_default()).name
    }

    /// The model of an input file, which is that of its first line.
    pub(crate) fn model_of_file(&self, file: &[u8]) -> &'static str {
        let first = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let first: Value = serde_json::from_slice(first).unwrap_or_default();
        self.tongue.line(&first).map_or(self.models[0].name, |(_, body)| self.model_of(body))
    }

    /// The model that a paid request asks.
    pub(crate) fn asked(&self, ask: &Ask, body: &[u8]) -> &'static str {
        if self.models.len() == 1 || !ask.is_paid() {
            return self.models[0].name;
        }
        if *ask == Ask::Create {
            let order = self.tongue.order(body);
            return self.file_of(&order).map_or(self.models[0].name, |file| self.model_of_file(file));
        }
        self.model_of(&serde_json::from_slice(body).unwrap_or_default())
    }

    /// Whether somebody else has made a batch.
    pub(crate) fn is_foreign(&self, id: &str) -> bool {
        self.batches.iter().any(|batch| batch.foreign && batch.id == id)
    }

    /// Batches of ours that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.batches.iter().filter(|batch| !batch.foreign && batch.over.is_none()).count()
    }

    /// The batch that a submission of ours made, as anybody sees it who looks at the console.
    #[must_use]
    pub fn batch_of(&self, sub: &str) -> Option<String> {
        let found = self.batches.iter().find(|batch| batch.sub().as_deref() == Some(sub));
        found.map(|batch| batch.id.clone())
    }

    /// Prompts that our batches have done by a time, or would have if nobody had cancelled them.
    pub(crate) fn done_by(&self, at_ms: u64) -> usize {
        let done = |batch: &Batch| match &batch.over {
            Some(over) if over.stage != Stage::Cancelled && at_ms >= over.at_ms => over.run,
            _ => batch.done_at(at_ms),
        };
        let ours = self.batches.iter().filter(|batch| !batch.foreign);
        let lines = ours.flat_map(|batch| &batch.lines[..done(batch)]);
        lines.map(|(_, prompt)| prompt.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// Batches whose time has come end.
    pub fn advance(&mut self, now_ms: u64) {
        self.rerun(now_ms);
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
        let wrong = |wrong| Err(wrong);
        let done = match self.tongue.ask(&request.method, &request.path) {
            Ask::Upload => {
                let id = self.id(self.manners.ids[1]);
                self.files.insert(id.clone(), request.body.clone());
                Ok(self.tongue.uploaded(&id))
            }
            Ask::Announce => return self.announce(&request.body),
            Ask::Bring(id) => return self.bring(&id, &request.body),
            Ask::LookInto(id) => self.look_into(&id, now_ms),
            Ask::ShowFile(id) => self.show_file(&id, now_ms),
            Ask::Put(id) => {
                self.files.insert(id, request.body.clone());
                Ok(Value::Null)
            }
            Ask::Look(id) => {
                let status = if self.files.contains_key(&id) { 200 } else { 404 };
                return Answer::bytes(status, Vec::new());
            }
            Ask::Below(prefix) => {
                let names: Vec<&str> =
                    self.files.keys().filter(|id| id.starts_with(&prefix)).map(String::as_str).collect();
                Ok(self.tongue.files(&names))
            }
            Ask::Discard(id) => {
                self.files.remove(&id);
                return Answer::bytes(204, Vec::new());
            }
            Ask::DeleteFile(id) => {
                let kept = self.tongue.keeps_file().filter(|_| self.dice.permille(self.faults.input_kept));
                if let Some(answer) = kept {
                    return answer;
                }
                let (found, told) = (self.files.remove(&id).is_some(), self.told.forget(&id));
                if found || told { Ok(self.tongue.deleted(&id)) } else { Err(Wrong::NoFile) }
            }
            Ask::DeleteBatch(id) => self.forget(&id),
            Ask::Content(_) if self.dice.permille(self.faults.file_missing) => wrong(Wrong::NoFile),
            Ask::Content(id) => match self.files.get(&id) {
                Some(body) => return Answer::bytes(200, body.clone()),
                None => wrong(Wrong::NoFile),
            },
            Ask::Create => self.create(&request.body, now_ms),
            Ask::List(start) => Ok(self.list(&start, now_ms)),
            Ask::Poll(id) => self.poll(&id, now_ms),
            Ask::Cancel(id) => self.cancel(&id, now_ms),
            Ask::Call => self.call(&request.body, call_no),
            Ask::Unknown => return Answer::of(404, &json!({"error": {"message": "Unknown request URL"}})),
        };
        done.map_or_else(|wrong| self.tongue.error(wrong), |body| Answer::of(200, &body))
    }

    /// A batch as it is seen: its results may be named a while after its end.
    fn show(&self, batch: &Batch, now_ms: u64) -> Value {
        match &batch.over {
            Some(over) if now_ms < over.at_ms + batch.late_ms => {
                let over = Over { output: None, errors: None, ..over.clone() };
                self.tongue.batch(&Batch { over: Some(over), ..batch.clone() }, now_ms)
            }
            _ => self.tongue.batch(batch, now_ms),
        }
    }

    /// The same in a list, which may not show for a while what a batch was made of.
    fn list_one(&self, batch: &Batch, now_ms: u64) -> Value {
        if now_ms < batch.bare_until_ms {
            return self.show(&Batch { input: String::new(), ..batch.clone() }, now_ms);
        }
        self.show(batch, now_ms)
    }

    fn call(&mut self, body: &[u8], call_no: u64) -> Result<Value, Wrong> {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let prompt = self.tongue.prompt(&asked).ok_or(Wrong::NoPrompt)?.to_owned();
        let model = self.model(self.model_of(&asked));
        let price = if self.tongue.is_flex(&asked) { model.batched } else { model.called };
        let said = self.answer(&prompt, (model.name, price), Of::Call(call_no), None);
        self.called += 1;
        Ok(self.tongue.answer(&said))
    }

    fn place(&self, id: &str) -> Result<usize, Wrong> {
        self.batches.iter().position(|batch| batch.id == id && !batch.gone).ok_or(Wrong::NoBatch)
    }

    fn poll(&mut self, id: &str, now_ms: u64) -> Result<Value, Wrong> {
        if self.dice.permille(self.faults.denied) {
            return Err(Wrong::NoBatch);
        }
        let batch = &self.batches[self.place(id)?];
        let mut shown = self.show(batch, now_ms);
        if batch.over.is_none() && self.dice.permille(self.faults.odd_status) {
            let unknown = self.dice.permille(500);
            self.tongue.oddly(&mut shown, unknown);
        }
        Ok(shown)
    }

    fn cancel(&mut self, id: &str, now_ms: u64) -> Result<Value, Wrong> {
        let place = self.place(id)?;
        if self.batches[place].over.is_some() {
            return Err(Wrong::Over);
        }
        // F36: it is taken, and the batch runs on.
        if self.inputs.cancel_unheard > 0 && self.dice.permille(self.inputs.cancel_unheard) {
            return Ok(self.tongue.cancelled(&self.batches[place], now_ms));
        }
        self.batches[place].cancel_ms.get_or_insert(now_ms);
        Ok(self.tongue.cancelled(&self.batches[place], now_ms))
    }

    /// A batch goes, and its results with it.
    fn forget(&mut self, id: &str) -> Result<Value, Wrong> {
        let place = self.place(id)?;
        if self.batches[place].over.is_none() {
            return Err(Wrong::Runs);
        }
        self.batches[place].gone = true;
        self.files.remove(id);
        Ok(self.tongue.deleted(id))
    }

    fn list(&mut self, start: &Start, now_ms: u64) -> Value {
        let is_seen = |batch: &&Batch| batch.visible_ms <= now_ms && !batch.gone;
        let mut shown: Vec<&Batch> = self.batches.iter().filter(is_seen).collect();
        if self.manners.newest_first {
            shown.reverse();
        }
        let mut from = match start {
            Start::First => 0,
            Start::After(id) => {
                shown.iter().position(|batch| batch.id == *id).map_or(shown.len(), |at| at + 1)
            }
            Start::Past(before) => (*before).min(shown.len()),
            Start::Page(page) => (page * self.page).min(shown.len()),
        };
        // Something new came in front meanwhile.
        let moves = from > 0 && self.page > 1 && !matches!(start, Start::Page(_));
        if moves && self.dice.permille(self.faults.page_repeats) {
            from -= 1;
        }
        let end = (from + self.page).min(shown.len());
        let next = (end < shown.len()).then_some(end);
        let page = shown[from..end].iter().map(|batch| self.list_one(batch, now_ms)).collect();
        self.tongue.page(page, next)
    }
}
