//! What a pilot knows the right answers to: rows that a filter can learn from.

use std::path::Path;

use bulkrate_core::cascade::Opinion;
use bulkrate_core::collect::Checked;
use bulkrate_store::View;

use super::labels::same;
use super::missing;
use super::teach::{Found, answers_of, found, texts, unfit};
use crate::EngineError;

/// Rows of a pilot with their answers, each of the different prompts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// What a column holds, and the right answer: that of the pilot's `--labels`, else what the strong model said.
    pub rows: Vec<(String, String)>,
    /// Rows that were asked and have no label, or no answer of the strong model that can be used.
    pub unlabelled: u64,
    /// The strong model.
    pub model: String,
}

/// The answers of the last pilot of a job: see [`super::lesson`]. `column`: what the filter reads.
pub(crate) fn examples(
    view: &dyn View,
    state_dir: &Path,
    job: &str,
    column: &str,
) -> Result<Examples, EngineError> {
    let Found { kept, spec, sample, reads } = found(view, state_dir, job)?;
    let strong = kept.models.first().ok_or_else(|| missing(job))?;
    let choices = &spec.request.choices;
    if choices.is_empty() {
        let why = "a filter answers one of the job's `--choices`: make a pilot of a job that has some";
        return Err(unfit("its answers are no choices", why.to_owned()));
    }
    let answers = answers_of(view, state_dir, job, &reads, strong)?;
    let opinions: Vec<Opinion> =
        choices.iter().map(|choice| Opinion::of(&Checked::Choice(choice), &[])).collect();
    let right = |item: usize| match &reads.labels {
        Some(labels) => {
            let label = labels.get(item)?.as_ref()?;
            choices.iter().find(|choice| same(choice, label))
        }
        None => {
            let said = answers.said.get(item)?.opinion?;
            opinions.iter().position(|opinion| *opinion == said).map(|place| &choices[place])
        }
    };
    let mut found = Examples { model: strong.model.clone(), ..Examples::default() };
    for (item, text) in texts(&sample, column)?.into_iter().enumerate() {
        // What a filter or a rule took from it, or an equal row brought, is no answer of this model to this row.
        if !answers.reached.get(item).is_some_and(|reached| *reached) {
            continue;
        }
        match right(item) {
            Some(answer) => found.rows.push((text, answer.clone())),
            None => found.unlabelled += 1,
        }
    }
    Ok(found)
}
