//! What a pilot knows of which items need the strong model: labels that a router can learn from.

use std::path::Path;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::Sheet;
use bulkrate_io::{RowData, Source, SourceOptions};
use bulkrate_store::View;

use super::kept::Asked;
use super::{Answers, Kept, Reads, cut_short, missing};
use crate::EngineError;
use crate::paths::PilotDir;
use crate::spec::JobSpec;

/// Labels made of a pilot's answers, one an item of the sample that both models were asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lesson {
    pub weak: String,
    pub strong: String,
    pub texts: Vec<String>,
    /// How well the weak and the strong model answered, 0 or 1: by the pilot's labels, or whether the weak one says what the strong one says.
    pub qualities: Vec<(f64, f64)>,
    /// Items that were asked and have no label, or no answer of the strong model.
    pub unlabelled: u64,
    /// What an answer of the strong model has cost over what one of the weak has, to a tenth; unknown where one was paid elsewhere or has no price.
    pub price_ratio: Option<f64>,
    /// What the pilots have cost, and what the strong model alone would cost for the whole job; unknown without prices.
    pub cost: Option<(UsdNanos, UsdNanos)>,
}

/// The labels of the last pilot of a job. `job`: its name or id, or one of the jobs that its pilots and plans made; `weak`: the model that is
/// compared with the strong one, where there are several; `column`: what the router reads.
pub(crate) fn lesson(
    view: &dyn View,
    state_dir: &Path,
    job: &str,
    weak: Option<&str>,
    column: &str,
) -> Result<Lesson, EngineError> {
    let (dir, kept) = find(state_dir, job)?;
    let Some(ask) = &kept.asked else { return Err(missing(job)) };
    let (strong, weak) = two(&kept.models, job, weak)?;
    let row = view.job_by_id(&strong.job)?.ok_or_else(|| missing(job))?;
    let spec: JobSpec = serde_json::from_str(&row.spec)
        .map_err(|error| EngineError::Internal(format!("the stored job cannot be read: {error}")))?;
    let sample = dir.sample(ask.items, ask.limit);
    let reads = match &ask.labels {
        Some(column) => Reads::labelled(&spec.request, &sample, column)?,
        None => Reads::of(&spec.request),
    };
    if reads.free && reads.labels.is_none() {
        return Err(unfit(
            "answers are free text",
            "they cannot be compared: make a pilot with `--labels COL`".to_owned(),
        ));
    }
    let read = |one: &Asked| {
        let row = view.job_by_id(&one.job)?.ok_or_else(|| missing(job))?;
        let answers = Answers::read(view, state_dir, &row, &reads, &one.model)?;
        if answers.open == 0 { Ok(answers) } else { Err(cut_short(&row.name, &row.id)) }
    };
    let (strong_said, weak_said) = (read(strong)?, read(weak)?);
    let price_ratio = match (strong_said.each(), weak_said.each()) {
        (Some(strong), Some(weak)) => Some(((strong / weak).max(1.0) * 10.0).round() / 10.0),
        _ => None,
    };
    let reached = strong_said.reached;
    let sheet =
        Sheet { models: vec![strong_said.said, weak_said.said], labelled: reads.labels.is_some(), reached };
    let mut lesson = Lesson {
        weak: weak.model.clone(),
        strong: strong.model.clone(),
        price_ratio,
        cost: kept.cost,
        ..Lesson::default()
    };
    for (item, text) in
        texts(&sample, column)?.into_iter().enumerate().filter(|(item, _)| sheet.reaches(*item))
    {
        match sheet.right_of(1, item) {
            Some((strong, weak)) => {
                lesson.texts.push(text);
                lesson.qualities.push((f64::from(u8::from(weak)), f64::from(u8::from(strong))));
            }
            None => lesson.unlabelled += 1,
        }
    }
    Ok(lesson)
}

/// The pilots of a job, by whatever it is called.
fn find(state_dir: &Path, job: &str) -> Result<(PilotDir, Kept), EngineError> {
    let mut found = Vec::new();
    for dir in PilotDir::all(state_dir)? {
        let kept = Kept::load(&dir)?;
        let own = dir.job();
        if kept.asked.is_some() && (kept.name == job || kept.users(&own).any(|user| user == job)) {
            found.push((dir, kept));
        }
    }
    match found.len() {
        0 => Err(missing(job)),
        1 => Ok(found.remove(0)),
        _ => {
            let candidates =
                found.iter().map(|(dir, kept)| format!("{} ({})", dir.job(), kept.name)).collect();
            Err(EngineError::AmbiguousJob { job: job.to_owned(), candidates })
        }
    }
}

/// The strong model, and the weak one that is asked for or the only one.
fn two<'k>(
    models: &'k [Asked],
    job: &str,
    weak: Option<&str>,
) -> Result<(&'k Asked, &'k Asked), EngineError> {
    let Some((strong, others)) = models.split_first() else { return Err(missing(job)) };
    let is = |one: &&Asked, name: &str| one.model == name || one.model.rsplit('/').next() == Some(name);
    let found: Vec<&Asked> = others.iter().filter(|one| weak.is_none_or(|name| is(one, name))).collect();
    match found.as_slice() {
        [one] => Ok((strong, one)),
        _ if others.is_empty() => Err(unfit(
            "the pilot asked the strong model alone",
            "name a cheap one: `bulkrate plan ... --pilot N --candidate MODEL`".to_owned(),
        )),
        _ => {
            let names: Vec<&str> = others.iter().map(|one| one.model.as_str()).collect();
            Err(unfit(
                "which model is the weak one?",
                format!("name one of {} with `--model-weak`", names.join(", ")),
            ))
        }
    }
}

fn unfit(what: &str, why: String) -> EngineError {
    EngineError::BadSpec { code: "pilot-unfit", what: what.to_owned(), why }
}

/// What a column of the sample holds, item by item.
fn texts(sample: &Path, column: &str) -> Result<Vec<String>, EngineError> {
    let mut source = Source::open(&SourceOptions::new(sample))?;
    let (mut texts, mut columns, mut found) = (Vec::new(), Vec::new(), false);
    while let Some(row) = source.next()? {
        let RowData::Json(row) = &row.data else { continue };
        if columns.is_empty() {
            columns = row.iter().map(|(name, _)| name.into_owned()).collect();
        }
        let cell = row.get(column).map(|cell| cell.cell().into_owned());
        found |= cell.is_some();
        texts.push(cell.unwrap_or_default());
    }
    if found { Ok(texts) } else { Err(EngineError::no_column(column, &columns)) }
}
