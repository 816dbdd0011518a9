//! What a pilot knows of which items need the strong model, and which a cheaper one answers as well: labels that a router can learn from.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{Sheet, Way, qualities};
use bulkrate_core::route::learned::MODELS_MAX;
use bulkrate_core::route::learned::metrics::Qualities;
use bulkrate_core::route::nearest;
use bulkrate_io::{RowData, Source, SourceOptions};
use bulkrate_store::{JobRow, View};

use super::kept::Asked;
use super::{Answers, Kept, Reads, cut_short, missing};
use crate::EngineError;
use crate::deliver::spec_of;
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
    /// Models that are left out, as their answers have cost as much as those of the strong one, or more.
    pub dearer: Vec<String>,
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
    let Found { kept, sample, reads, .. } = found(view, state_dir, job)?;
    let Wanted { strong, others: cheap, named } = wanted(&kept.models, job, models)?;
    if reads.free && reads.labels.is_none() {
        return Err(unfit(
            "answers are free text",
            "they cannot be compared: make a pilot with `--labels COL`".to_owned(),
        ));
    }
    let read = |one: &Asked| answers_of(view, state_dir, job, &reads, one);
    let strong_said = read(strong)?;
    let mut others = Vec::new();
    for one in cheap {
        others.push((one.model.clone(), read(one)?));
    }
    let dearer = cheaper(&strong.model, &strong_said, &mut others, named)?;
    let ratios: Option<Vec<f64>> = others.iter().map(|(_, other)| price_ratio(&strong_said, other)).collect();
    let mut lesson = Lesson {
        models: others.iter().map(|(model, _)| model).chain([&strong.model]).cloned().collect(),
        price_ratios: ratios.unwrap_or_default(),
        dearer,
        cost: kept.cost,
        ..Lesson::default()
    };
    let reached = strong_said.reached;
    let said = std::iter::once(strong_said.said).chain(others.into_iter().map(|(_, answers)| answers.said));
    let sheet = Sheet { models: said.collect(), labelled: reads.labels.is_some(), reached };
    let way = Way { router: (1..sheet.models.len()).collect(), ..Way::alone(0) };
    for (item, text) in texts(&sample, column)?.into_iter().enumerate() {
        if !sheet.reaches(item) {
            continue;
        }
        match qualities(&sheet, &way, item) {
            Some(qualities) => {
                lesson.texts.push(text);
                lesson.qualities.push(qualities);
            }
            None => lesson.unlabelled += 1,
        }
    }
    Ok(lesson)
}

/// Leaves those that are cheaper than the strong model, the cheapest first where nobody `named` them, and tells which are not.
fn cheaper(
    strong: &str,
    strong_said: &Answers,
    others: &mut Vec<(String, Answers)>,
    named: bool,
) -> Result<Vec<String>, EngineError> {
    if !named {
        by_price(others)?;
    }
    // One to a tenth, or less: nothing is saved by it.
    let saves =
        |(_, answers): &(String, Answers)| price_ratio(strong_said, answers).is_none_or(|ratio| ratio > 1.0);
    let dearer: Vec<String> =
        others.iter().filter(|one| !saves(one)).map(|(model, _)| model.clone()).collect();
    others.retain(saves);
    if others.is_empty() || named && !dearer.is_empty() {
        return Err(unfit(
            &format!("{} costs no less than the strong model, {strong}", dearer.join(", ")),
            "a router saves by models that cost less: name or pilot one".to_owned(),
        ));
    }
    if others.len() >= MODELS_MAX {
        let why =
            format!("name {} or fewer beside {strong} with `--models`, the cheapest first", MODELS_MAX - 1);
        return Err(unfit(&format!("a router chooses among {MODELS_MAX} models at most"), why));
    }
    Ok(dearer)
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
fn price_ratio(strong: &Answers, other: &Answers) -> Option<f64> {
    bulkrate_core::plan::price_ratio(strong.each(), other.each())
}

/// The last pilot of a job.
pub(super) struct Found {
    pub kept: Kept,
    /// What was asked, and where it stands.
    pub spec: JobSpec,
    pub sample: PathBuf,
    pub reads: Reads,
}

pub(super) fn found(view: &dyn View, state_dir: &Path, job: &str) -> Result<Found, EngineError> {
    let (dir, kept) = find(view, state_dir, job)?;
    let (Some(ask), Some(strong)) = (&kept.asked, kept.models.first()) else { return Err(missing(job)) };
    let row = view.job_by_id(&strong.job)?.ok_or_else(|| missing(job))?;
    let spec = spec_of(&row)?;
    let sample = dir.sample(ask.items, ask.limit);
    let reads = match &ask.labels {
        Some(column) => Reads::labelled(&spec.request, &sample, column)?,
        None => Reads::of(&spec.request),
    };
    Ok(Found { kept, spec, sample, reads })
}

/// What one of its models said, if it was asked to the end.
pub(super) fn answers_of(
    view: &dyn View,
    state_dir: &Path,
    job: &str,
    reads: &Reads,
    one: &Asked,
) -> Result<Answers, EngineError> {
    let row = view.job_by_id(&one.job)?.ok_or_else(|| missing(job))?;
    let answers = Answers::read(view, state_dir, &row, reads, &one.model)?;
    if answers.open == 0 { Ok(answers) } else { Err(cut_short(&row.name, &row.id)) }
}

/// The pilots of a job, by whatever it is called: a name that it had in one of them, the name or the id (or how it begins) of a job that
/// was made of them.
fn find(view: &dyn View, state_dir: &Path, job: &str) -> Result<(PilotDir, Kept), EngineError> {
    let is_called = |row: &JobRow| row.name == job || !job.is_empty() && row.id.starts_with(job);
    let called: Vec<String> = view.jobs()?.into_iter().filter(is_called).map(|row| row.id).collect();
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for dir in PilotDir::all(state_dir)? {
        let kept = Kept::load(&dir)?;
        if kept.asked.is_none() {
            continue;
        }
        let own = dir.job();
        let is_user = |user: &str| user == job || called.iter().any(|id| id == user);
        if kept.is_named(job) || kept.users(&own).any(is_user) {
            found.push((dir, kept));
        } else {
            others.extend(kept.names.into_iter().chain([kept.name]));
        }
    }
    match found.len() {
        0 => Err(none_of(job, &others)),
        1 => Ok(found.remove(0)),
        _ => {
            let candidates =
                found.iter().map(|(dir, kept)| format!("{} ({})", dir.job(), kept.name)).collect();
            Err(EngineError::AmbiguousJob { job: job.to_owned(), candidates })
        }
    }
}

/// No pilot of that name, and which there are.
fn none_of(job: &str, others: &[String]) -> EngineError {
    if others.is_empty() {
        return missing(job);
    }
    let near = nearest(job, others.iter().map(String::as_str));
    let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
    EngineError::BadSpec {
        code: "pilot-missing",
        what: format!("no pilot was made of `{job}`{near}"),
        why: format!("there are pilots of `{}`", others.join("`, `")),
    }
}

/// Models of a pilot that teach a router.
struct Wanted<'k> {
    strong: &'k Asked,
    others: Vec<&'k Asked>,
    /// Whether the others were named, in their order.
    named: bool,
}

/// The strong model, and the others that are asked for, in that order, or all of them. The strong one may be named too, as the last.
fn wanted<'k>(models: &'k [Asked], job: &str, names: &[String]) -> Result<Wanted<'k>, EngineError> {
    let Some((strong, others)) = models.split_first() else { return Err(missing(job)) };
    if others.is_empty() {
        return Err(unfit(
            "the pilot asked the strong model alone",
            "name a cheap one: `bulkrate plan ... --pilot N --candidate MODEL`".to_owned(),
        ));
    }
    if names.is_empty() {
        return Ok(Wanted { strong, others: others.iter().collect(), named: false });
    }
    let mut found: Vec<&Asked> = names.iter().map(|name| meant(models, name)).collect::<Result<_, _>>()?;
    if found.last() == Some(&strong) {
        found.pop();
    }
    let asked: Vec<&str> = others.iter().map(|one| one.model.as_str()).collect();
    let why = || format!("beside it the pilot asked {}", asked.join(", "));
    if found.is_empty() || found.contains(&strong) {
        return Err(unfit(
            &format!("`{}` is the strong model, which is named last or not at all", strong.model),
            why(),
        ));
    }
    if let Some((_, twice)) = found.iter().enumerate().find(|(at, one)| found[..*at].contains(one)) {
        return Err(unfit(&format!("`{}` is named twice", twice.model), why()));
    }
    Ok(Wanted { strong, others: found, named: true })
}

/// The model of that name, or the only one whose name ends so: `gpt-6-luna` of `openai/gpt-6-luna`.
fn meant<'k>(models: &'k [Asked], name: &str) -> Result<&'k Asked, EngineError> {
    let called = |all: &[&Asked]| all.iter().map(|one| one.model.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(one) = models.iter().find(|one| one.model == name) {
        return Ok(one);
    }
    let ends: Vec<&Asked> = models.iter().filter(|one| one.model.rsplit('/').next() == Some(name)).collect();
    match *ends {
        [one] => Ok(one),
        [] => {
            let (strong, others) = (models.first(), models.iter().skip(1).collect::<Vec<_>>());
            let strong = strong.map_or("", |one| one.model.as_str());
            let why = format!("it asked {} and, as the strong one, {strong}", called(&others));
            Err(unfit(&format!("`{name}` is none of the pilot's models"), why))
        }
        _ => Err(unfit(&format!("`{name}` may be {}", called(&ends)), "name one in full".to_owned())),
    }
}

pub(super) fn unfit(what: &str, why: String) -> EngineError {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn asked(names: &[&str]) -> Vec<Asked> {
        names.iter().map(|name| Asked { model: (*name).to_owned(), job: String::new() }).collect()
    }

    #[test]
    fn models_are_meant_by_their_names_or_how_these_end() {
        let models = asked(&["openai/sol", "openai/luna", "work/luna", "openai/terra", "sol/terra2"]);
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            match wanted(&models, "job", &names) {
                Ok(found) => found.others.iter().map(|one| one.model.clone()).collect::<Vec<_>>().join(" "),
                Err(error) => error.to_string(),
            }
        };
        for (names, want) in [
            (&[][..], "openai/luna work/luna openai/terra sol/terra2"),
            (&["terra"], "openai/terra"),
            (&["terra2", "terra", "sol"], "sol/terra2 openai/terra"),
            (&["work/luna", "openai/sol"], "work/luna"),
            (&["luna"], "`luna` may be openai/luna, work/luna"),
            (&["sol"], "`openai/sol` is the strong model"),
            (&["sol", "terra"], "`openai/sol` is the strong model"),
            (&["terra", "openai/terra", "sol"], "`openai/terra` is named twice"),
            (&["mars"], "`mars` is none of the pilot's models"),
        ] {
            assert!(of(names).contains(want), "{names:?}: {}", of(names));
        }
        assert!(wanted(&models, "job", &["terra".to_owned()]).unwrap().named);
        // The strong one may be called as another ends.
        let models = asked(&["a/luna", "b/luna", "b/terra"]);
        assert!(wanted(&models, "job", &["luna".to_owned()]).is_err());
    }

    fn cost(usd_nanos: i64) -> Answers {
        Answers { spent: UsdNanos(usd_nanos), paid: 1, ..Answers::default() }
    }

    #[test]
    fn what_costs_no_less_than_the_strong_model_is_left_out_and_named() {
        let others = |costs: &[i64]| -> Vec<(String, Answers)> {
            costs.iter().map(|each| (format!("m{each}"), cost(*each))).collect()
        };
        let (strong, mut all) = (cost(1_000), others(&[1_000, 250, 3_000, 50, 980]));
        let left = cheaper("sol", &strong, &mut all, false).unwrap();
        assert_eq!(left, ["m980", "m1000", "m3000"]);
        assert_eq!(all.iter().map(|(model, _)| model.as_str()).collect::<Vec<_>>(), ["m50", "m250"]);
        for (costs, named) in [(&[1_000, 2_000][..], false), (&[50, 2_000], true)] {
            let error = cheaper("sol", &strong, &mut others(costs), named).unwrap_err().to_string();
            assert!(error.contains("m2000 costs no less than the strong model, sol"), "{error}");
        }
    }

    #[test]
    fn no_model_falls_out_because_there_are_many() {
        let of = |n: i64, named| {
            let mut all = (1..=n).map(|each| (format!("m{each}"), cost(each))).collect();
            cheaper("sol", &cost(1_000), &mut all, named).map(|_| all.len())
        };
        assert_eq!(of(7, false).unwrap(), 7);
        for named in [false, true] {
            assert!(of(8, named).unwrap_err().to_string().contains("8 models at most"));
        }
    }
}
