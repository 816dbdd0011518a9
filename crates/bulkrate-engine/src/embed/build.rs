//! Answers of the job that embeds -> the file of vectors.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::semantic::{Centre, SAMPLE};
use bulkrate_store::{ItemRec, JobRow, View};

use super::VectorsWriter;
use super::texts::{Texts, items};
use super::vectors::Head;
use crate::EngineError;
use crate::deliver::{Landed, Lines, Places, embedding};
use crate::paths::JobDir;
use crate::result_line::ResultLine;

/// Where the answers of a job that embeds lie.
struct Answers<'b> {
    view: &'b dyn View,
    state_dir: &'b Path,
    texts: &'b Texts,
    job: &'b JobRow,
}

/// Writes the vectors of `texts`, beside those that are there. Those that another snapshot has answered than these are left out; where
/// there are none yet it is the one that has answered most of them. Answers how many were left out.
pub(crate) fn build(
    view: &dyn View,
    state_dir: &Path,
    dir: &JobDir,
    texts: &Texts,
    job: Option<&JobRow>,
) -> Result<u64, EngineError> {
    let answers = job.map(|job| Answers { view, state_dir, texts, job });
    let mut values = Vec::new();
    let mut writer = VectorsWriter::create(dir, || {
        let Some(answers) = &answers else { return Ok(Head::default()) };
        let (mut centre, own) = (Centre::default(), answers.most()?);
        answers.each(&mut |_, line| {
            if *line.model == *own && numbers(line, &mut values) {
                centre.learn(&values);
            }
            let more = (centre.texts() as usize) < SAMPLE;
            Ok(if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Head::new(centre, own)
    })?;
    let mut of_another = 0;
    if let Some(answers) = &answers {
        answers.each(&mut |ordinal, line| {
            if *line.model != *writer.head.snapshot {
                of_another += 1;
            } else if numbers(line, &mut values) {
                writer.put(ordinal, &values)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    writer.finish(texts.until)?;
    Ok(of_another)
}

type Each<'e> = dyn FnMut(Ordinal, &ResultLine<'_>) -> Result<ControlFlow<()>, EngineError> + 'e;

impl Answers<'_> {
    /// The snapshot that has answered most of them; where there is no answer, one without a name.
    fn most(&self) -> Result<String, EngineError> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        self.each(&mut |_, line| {
            match counts.get_mut(&*line.model) {
                Some(count) => *count += 1,
                None => drop(counts.insert(line.model.to_string(), 1)),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(counts.into_iter().max_by_key(|(_, count)| *count).map(|(model, _)| model).unwrap_or_default())
    }

    /// Each text's item with its good answer. One that has none, or whose line was damaged, is left out: its row is asked.
    fn each(&self, then: &mut Each<'_>) -> Result<(), EngineError> {
        let Self { view, state_dir, texts, job } = self;
        let places = Places::load(*view, job)?;
        let mut lines = Lines::new(&JobDir::of(state_dir, &job.id), &view.submissions(job.no)?);
        let mut of_lines = items(&texts.path)?;
        let mut done = Ok(());
        view.scan_items(job.no, 0, &mut |chunk| {
            for (line, _, item) in chunk.iter() {
                let next = of_lines
                    .next()
                    .unwrap_or_else(|| Err(EngineError::Internal("a text is gone".to_owned())));
                let leader = if let ItemRec::Follower { leader } = item { *leader } else { line };
                let went = next.and_then(|ordinal| match places.get(leader) {
                    Landed::Line { place, good: true } => match lines.parse(place) {
                        Ok(answer) => then(ordinal, &answer),
                        Err(_) => Ok(ControlFlow::Continue(())),
                    },
                    _ => Ok(ControlFlow::Continue(())),
                });
                match went {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return ControlFlow::Break(()),
                    Err(error) => {
                        done = Err(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        done
    }
}

/// The numbers of an answer; false: they cannot be read.
fn numbers(line: &ResultLine<'_>, values: &mut Vec<f32>) -> bool {
    line.response.as_ref().is_some_and(|response| embedding(response, line.item, values).is_ok())
}
