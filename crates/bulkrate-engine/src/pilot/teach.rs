//! What a pilot knows of which items need the strong model, and which a cheaper one answers as well: labels that a router can learn from.

use std::cmp::Ordering;
use std::path::Path;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{Sheet, qualities};
use bulkrate_core::route::learned::metrics::Qualities;
use bulkrate_io::{RowData, Source, SourceOptions};
use bulkrate_store::View;

use super::kept::Asked;
use super::{Answers, Kept, Reads, cut_short, missing};
use crate::EngineError;
use crate::paths::PilotDir;
use crate::spec::JobSpec;

/// Labels made of a pilot's answers, one an item of the sample that the models were asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lesson {
    /// The cheapest first; the last is the strong one.
    pub models: Vec<String>,
    pub texts: Vec<String>,
    /// How well each model answered, 0 or 1: by the pilot's labels, or whether it says what the strong one says.
    pub qualities: Vec<Qualities>,
    /// Items that were asked and have no label, or no answer of the strong model.
    pub unlabelled: u64,
    /// What an answer of the strong model has cost over what one of each other has, to a tenth; none where one was paid elsewhere or has no
    /// price.
    pub price_ratios: Vec<f64>,
    /// What the pilots have cost, and what the strong model alone would cost for the whole job; unknown without prices.
    pub cost: Option<(UsdNanos, UsdNanos)>,
}

/// The labels of the last pilot of a job. `job`: its name or id, or one of the jobs that its pilots and plans made; `models`: those that are
/// compared with the strong one, the cheapest first, else all that were asked; `column`: what the router reads.
pub(crate) fn lesson(
    view: &dyn View,
    state_dir: &Path,
    job: &str,
    models: &[String],
    column: &str,
) -> Result<Lesson, EngineError> {
    let (dir, kept) = find(state_dir, job)?;
    let Some(ask) = &kept.asked else { return Err(missing(job)) };
    let (strong, cheap) = wanted(&kept.models, job, models)?;
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
    let strong_said = read(strong)?;
    let mut others = Vec::new();
    for one in cheap {
        others.push((one.model.clone(), read(one)?));
    }
    if models.is_empty() {
        by_price(&mut others)?;
    }
    let ratios: Option<Vec<f64>> = others.iter().map(|(_, other)| price_ratio(&strong_said, other)).collect();
    let mut lesson = Lesson {
        models: others.iter().map(|(model, _)| model).chain([&strong.model]).cloned().collect(),
        price_ratios: ratios.unwrap_or_default(),
        cost: kept.cost,
        ..Lesson::default()
    };
    let reached = strong_said.reached;
    let said = std::iter::once(strong_said.said).chain(others.into_iter().map(|(_, answers)| answers.said));
    let sheet = Sheet { models: said.collect(), labelled: reads.labels.is_some(), reached };
    let cheap: Vec<usize> = (1..sheet.models.len()).collect();
    for (item, text) in texts(&sample, column)?.into_iter().enumerate() {
        if !sheet.reaches(item) {
            continue;
        }
        match qualities(&sheet, &cheap, item) {
            Some(qualities) => {
                lesson.texts.push(text);
                lesson.qualities.push(qualities);
            }
            None => lesson.unlabelled += 1,
        }
    }
    Ok(lesson)
}

/// The cheapest first, by what an answer has cost.
fn by_price(others: &mut [(String, Answers)]) -> Result<(), EngineError> {
    if others.len() > 1
        && let Some((model, _)) = others.iter().find(|(_, answers)| answers.each().is_none())
    {
        return Err(unfit(
            "which model is the cheapest?",
            format!("what `{model}` costs is not known here: name all with `--models`, the cheapest first"),
        ));
    }
    others.sort_by(|(_, left), (_, right)| left.each().partial_cmp(&right.each()).unwrap_or(Ordering::Equal));
    Ok(())
}

/// What an answer of the strong model has cost over one of another, to a tenth, and 1 where it has cost less; `None`: one was paid elsewhere, or
/// has no price.
pub(super) fn price_ratio(strong: &Answers, other: &Answers) -> Option<f64> {
    Some(((strong.each()? / other.each()?).max(1.0) * 10.0).round() / 10.0)
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

/// The strong model, and the others that are asked for, in that order, or all of them. The strong one may be named too, as the last.
fn wanted<'k>(
    models: &'k [Asked],
    job: &str,
    names: &[String],
) -> Result<(&'k Asked, Vec<&'k Asked>), EngineError> {
    let Some((strong, others)) = models.split_first() else { return Err(missing(job)) };
    if others.is_empty() {
        return Err(unfit(
            "the pilot asked the strong model alone",
            "name a cheap one: `bulkrate plan ... --pilot N --candidate MODEL`".to_owned(),
        ));
    }
    let is = |one: &Asked, name: &str| one.model == name || one.model.rsplit('/').next() == Some(name);
    let names = match names.split_last() {
        Some((last, before)) if is(strong, last) => before,
        _ => names,
    };
    if names.is_empty() {
        return Ok((strong, others.iter().collect()));
    }
    let mut found: Vec<&Asked> = Vec::new();
    for name in names {
        let one = others.iter().find(|one| is(one, name));
        let Some(one) = one.filter(|one| !found.contains(one)) else {
            let asked: Vec<&str> = others.iter().map(|one| one.model.as_str()).collect();
            return Err(unfit(
                &format!("`{name}` is none of the pilot's cheaper models, or named twice"),
                format!("it asked {} and, as the strong one, {}", asked.join(", "), strong.model),
            ));
        };
        found.push(one);
    }
    Ok((strong, found))
}

fn unfit(what: &str, why: String) -> EngineError {
    EngineError::BadSpec { code: "pilot-unfit", what: what.to_owned(), why }
}

/// What a column of the sample holds, item by item.
pub(super) fn texts(sample: &Path, column: &str) -> Result<Vec<String>, EngineError> {
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
