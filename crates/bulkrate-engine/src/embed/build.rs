//! Answers of the job that embeds -> the file of vectors.

use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_core::semantic::{Centre, SAMPLE};
use bulkrate_store::{ItemRec, JobRow, View};

use super::VectorsWriter;
use super::texts::{Texts, items};
use super::vectors::Head;
use crate::EngineError;
use crate::deliver::{Landed, Lines, Places, embedding};
use crate::paths::JobDir;
use bulkrate_core::ids::Ordinal;

/// Writes the vectors of `texts`, beside those that are there. Answers how many there are now.
pub(crate) fn build(
    view: &dyn View,
    state_dir: &Path,
    dir: &JobDir,
    texts: &Texts,
    job: Option<&JobRow>,
) -> Result<u64, EngineError> {
    let mut writer = VectorsWriter::create(dir, || {
        let mut centre = Centre::default();
        if let Some(job) = job {
            each(view, state_dir, texts, job, &mut |_, values| {
                centre.learn(values);
                Ok(if (centre.texts() as usize) < SAMPLE {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            })?;
        }
        Head::new(centre)
    })?;
    if let Some(job) = job {
        each(view, state_dir, texts, job, &mut |ordinal, values| {
            writer.put(ordinal, values).map(|_| ControlFlow::Continue(()))
        })?;
    }
    let count = writer.head.count;
    writer.finish(texts.until)?;
    Ok(u64::from(count))
}

type Each<'e> = dyn FnMut(Ordinal, &[f32]) -> Result<ControlFlow<()>, EngineError> + 'e;

/// Each text's item with the vector that it was answered with. One that has none, or none that can be read, is left out.
fn each(
    view: &dyn View,
    state_dir: &Path,
    texts: &Texts,
    job: &JobRow,
    then: &mut Each<'_>,
) -> Result<(), EngineError> {
    let places = Places::load(view, job)?;
    let mut lines = Lines::new(&JobDir::of(state_dir, &job.id), &view.submissions(job.no)?);
    let mut of_lines = items(&texts.path)?;
    let mut values = Vec::new();
    let mut done = Ok(());
    view.scan_items(job.no, 0, &mut |chunk| {
        for (line, _, item) in chunk.iter() {
            let next =
                of_lines.next().unwrap_or_else(|| Err(EngineError::Internal("a text is gone".to_owned())));
            let leader = if let ItemRec::Follower { leader } = item { *leader } else { line };
            let went = next.and_then(|ordinal| match vector(&mut lines, places.get(leader), &mut values) {
                true => then(ordinal, &values),
                false => Ok(ControlFlow::Continue(())),
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

/// The numbers of one answer; false: it has none. A line that was damaged is one without: its row is asked.
fn vector(lines: &mut Lines, landed: Landed, values: &mut Vec<f32>) -> bool {
    let Landed::Line { place, good: true } = landed else { return false };
    lines.parse(place).is_ok_and(|line| {
        line.response.as_ref().is_some_and(|response| embedding(response, line.item, values).is_ok())
    })
}
