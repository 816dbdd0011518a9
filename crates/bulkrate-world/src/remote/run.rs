//! The end of a batch: what was run is charged, and what is told of it goes into files.

use super::batch::{Batch, End, Over, Stage};
use super::{Of, Remote};
use crate::bundle;
use crate::tongue::LineEnd;

/// The results of a batch, being written.
#[derive(Debug, Default)]
struct Sheet {
    output: Vec<String>,
    errors: Vec<String>,
    completed: u64,
    failed: u64,
    /// Lines that are told to be unpaid.
    unpaid: Vec<String>,
}

impl Remote {
    /// The batch ends at a time.
    pub(super) fn end(&mut self, at: usize, at_ms: u64) {
        let batch = self.batches[at].clone();
        let cut = batch.foreign || batch.cancel_ms.is_some() && at_ms < batch.end_ms;
        let stage = match (cut, batch.end) {
            (true, _) => Stage::Cancelled,
            (_, End::Completed) => Stage::Completed,
            (_, End::Failed) => Stage::Failed,
            (_, End::Expired) => Stage::Expired,
        };
        let run = match stage {
            Stage::Failed | Stage::Completed | Stage::Expired => batch.reach,
            _ if batch.foreign => 0, // it is not ours to pay
            _ => batch.done_at(at_ms),
        };
        let mut sheet = Sheet::default();
        let mut order: Vec<usize> = (0..run).collect();
        self.dice.shuffle(&mut order);
        for line in order {
            self.run_line(&batch, line, &mut sheet);
        }
        let rest = if stage == Stage::Expired { LineEnd::Expired } else { LineEnd::Cancelled };
        if stage.is_cut() {
            for (id, _) in &batch.lines[run..] {
                self.tell(id, rest, &mut sheet);
            }
        }
        let cut_shown = self.inputs.cut_shown > 0 && self.dice.permille(self.inputs.cut_shown);
        let shows = self.manners.shows_cut || cut_shown || !stage.is_cut();
        if shows {
            self.refused.extend(sheet.unpaid.iter().map(|id| format!("{} {id}", batch.id)));
        }
        if self.manners.one_file {
            sheet.output.append(&mut sheet.errors);
        }
        let (output, errors) = (sheet.output, sheet.errors);
        let named = self.tongue.results_of(&batch);
        let output = if shows { self.file(&output, named) } else { None };
        let errors = if shows { self.file(&errors, None) } else { None };
        let (completed, failed) = (sheet.completed, sheet.failed);
        self.batches[at].over = Some(Over { stage, at_ms, output, errors, completed, failed, run });
    }

    /// What becomes of a line that did not bring an answer.
    fn tell(&mut self, id: &str, end: LineEnd<'_>, sheet: &mut Sheet) {
        let Some(line) = self.tongue.result(id, end) else { return };
        sheet.errors.push(line.to_string());
        if self.tongue.says_unpaid(end) {
            sheet.unpaid.push(id.to_owned());
        }
    }

    fn run_line(&mut self, batch: &Batch, line: usize, sheet: &mut Sheet) {
        let (id, prompt) = &batch.lines[line];
        if self.dice.permille(self.faults.line_errors) {
            let status = self.dice.pick(&[400, 500, 429]);
            sheet.failed += 1;
            return self.tell(id, LineEnd::Error(status), sheet);
        }
        sheet.completed += 1;
        let model = (batch.model, self.model(batch.model).batched);
        let said = self.answer(prompt, model, Of::Line(id.clone()), Some(batch.id.clone()));
        if self.dice.permille(self.faults.line_missing) {
            return;
        }
        let tongue = self.tongue;
        let mut write = |id: &str, end: LineEnd<'_>| {
            sheet.output.extend(tongue.result(id, end).map(|line| line.to_string()));
        };
        // The same answer under the id of its first item.
        if let Some(first) = bundle::first(id)
            && self.dice.permille(self.faults.line_strange)
        {
            write(first, LineEnd::Answer(&said));
        }
        write(id, LineEnd::Answer(&said));
        if self.dice.permille(self.faults.line_twice) {
            let other = crate::tongue::Said { text: "another answer".to_owned(), ..said };
            write(id, LineEnd::Answer(&other));
        }
        if self.dice.permille(self.faults.line_strange) {
            match self.dice.below(3) {
                0 => write("nobody", LineEnd::Error(500)),
                1 => sheet.output.push("\u{0}garbage".to_owned()),
                _ => sheet.output.push(String::new()),
            }
        }
    }

    /// A file of these lines. `named`: what it is called.
    fn file(&mut self, lines: &[String], named: Option<String>) -> Option<String> {
        if lines.is_empty() {
            return None;
        }
        let id = named.unwrap_or_else(|| self.id(self.manners.ids[1]));
        let mut body = lines.join("\n").into_bytes();
        body.push(b'\n');
        self.files.insert(id.clone(), body);
        Some(id)
    }
}
