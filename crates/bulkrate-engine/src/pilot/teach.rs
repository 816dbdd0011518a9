//! What a pilot knows of which items need the strong model, and which a cheaper one answers as well: labels that a router can learn from.

use std::path::{Path, PathBuf};

use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{NoRivals, Rivals, Sheet, Way, qualities, rivals};
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
    let strong = (strong.model.clone(), read(strong)?);
    let mut others = Vec::new();
    for one in cheap {
        others.push((one.model.clone(), read(one)?));
    }
    let Rivals { cheap, ratios, dearer } = rivals_of(&strong, &others, named)?;
    let (strong, strong_said) = strong;
    let model = |place: &usize| others[*place].0.clone();
    let mut lesson = Lesson {
        models: cheap.iter().map(model).chain([strong]).collect(),
        price_ratios: ratios.unwrap_or_default(),
        dearer: dearer.iter().map(model).collect(),
        cost: kept.cost,
        ..Lesson::default()
    };
    let reached = strong_said.reached;
    let said = cheap.iter().map(|place| std::mem::take(&mut others[*place].1.said));
    let sheet = Sheet {
        models: std::iter::once(strong_said.said).chain(said).collect(),
        labelled: reads.labels.is_some(),
        reached,
    };
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

/// Who a router learns to choose beside the strong model.
fn rivals_of(
    strong: &(String, Answers),
    others: &[(String, Answers)],
    named: bool,
) -> Result<Rivals, EngineError> {
    let costs: Vec<Option<f64>> = others.iter().map(|(_, answers)| answers.each()).collect();
    let model = |place: &usize| others[*place].0.as_str();
    rivals(strong.1.each(), &costs, named, MODELS_MAX).map_err(|why| match why {
        NoRivals::Unordered(place) => unfit(
            "which model is the cheapest?",
            format!(
                "what `{}` costs is not known here: name all with `--models`, the cheapest first",
                model(&place)
            ),
        ),
        NoRivals::Dearer(places) => {
            let dearer = places.iter().map(model).collect::<Vec<_>>().join(", ");
            unfit(
                &format!("{dearer} costs no less than the strong model, {}", strong.0),
                "a router saves by models that cost less: name or pilot one".to_owned(),
            )
        }
        NoRivals::TooMany => unfit(
            &format!("a router chooses among {MODELS_MAX} models at most"),
            format!(
                "name {} or fewer beside {} with `--models`, the cheapest first",
                MODELS_MAX - 1,
                strong.0
            ),
        ),
    })
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
    fn who_cannot_be_taught_is_named() {
        let of = |costs: &[i64], named| {
            let others: Vec<_> = costs.iter().map(|each| (format!("m{each}"), cost(*each))).collect();
            let strong = ("sol".to_owned(), cost(1_000));
            rivals_of(&strong, &others, named)
                .map_or_else(|error| error.to_string(), |found| format!("{:?}", found.cheap))
        };
        let eight: Vec<i64> = (1..=8).collect();
        for (costs, named, want) in [
            (&[1_000, 250, 3_000, 50, 980][..], false, "[3, 1]"),
            (&[1_000, 2_000], false, "m1000, m2000 costs no less than the strong model, sol"),
            (&[50, 2_000], true, "m2000 costs no less than the strong model, sol"),
            (&[50, 0], false, "which model is the cheapest?"),
            (&eight, false, "8 models at most"),
            (&eight, true, "8 models at most"),
            (&eight[..7], false, "[0, 1, 2, 3, 4, 5, 6]"),
        ] {
            assert!(of(costs, named).contains(want), "{costs:?}: {}", of(costs, named));
        }
    }
}
