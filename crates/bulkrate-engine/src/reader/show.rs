//! `bulkrate show`: all that is known of one item.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_io::hex;
use bulkrate_store::fold::ItemStates;
use bulkrate_store::{ItemRec, JobRow, View};
use serde_json::{Value, json};

use super::chosen::chosen;
use super::dead::{evidence, from_one, histories};
use crate::EngineError;
use crate::deliver::{IdColumn, Lines, SealedHead, checkpoint_of, id_of_row, reopen, spec_of};
use crate::lane::lines::wire_id;
use crate::paths::JobDir;
use crate::prepare::Shape;

pub(super) fn show(view: &dyn View, dir: &JobDir, job: &JobRow, item: &str) -> Result<Value, EngineError> {
    let ordinal = ordinal_of(view, dir, job, item)?;
    let unknown = || unknown(job, item);
    let own = rec(view, job, ordinal)?.ok_or_else(unknown)?;
    let leader = if let ItemRec::Follower { leader } = own.1 { leader } else { ordinal };
    let (offset, led) = rec(view, job, leader)?.ok_or_else(unknown)?;
    let mut lines = Lines::new(dir, &view.submissions(job.no)?);
    let mut shown = json!({ "job": job.id, "item": u64::from(ordinal) + 1 });
    if let ItemRec::Leader { key, .. } = led {
        let sealed: Value = parsed(lines.request(offset)?);
        shown["item_id"] = sealed["custom_id"].clone();
        shown["key"] = hex(&key.0).into();
        shown["route"] = chosen(&spec_of(job)?, &checkpoint_of(job)?, &sealed);
        shown["request"] = sealed;
    }
    if leader != ordinal {
        shown["item_id"] = item.into();
        shown["follows"] = (u64::from(leader) + 1).into();
    }
    let states = ItemStates::load(view, job.no)?;
    shown["state"] =
        states.get(leader).map_or(Value::Null, |state| format!("{:?}", state.state).to_lowercase().into());
    drop(states);
    shown["submissions"] = submissions(view, dir, job, leader)?;
    let mut attempts = Vec::new();
    for outcome in histories(view, job, &[leader])?.remove(&leader).unwrap_or_default() {
        attempts.push(json!({
            "attempt": outcome.attempt,
            "lane": outcome.via.name(),
            "class": outcome.class.map(FailureClass::name),
            "fate": outcome.fate.name(),
            "cost_usd": outcome.cost.to_string(),
            "result": parsed(from_one(&evidence(&mut lines, &outcome)?).as_bytes()),
        }));
    }
    shown["attempts"] = attempts.into();
    Ok(shown)
}

/// Stored JSON as JSON, and what is none as text.
fn parsed(line: &[u8]) -> Value {
    match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(_) if line.is_empty() => Value::Null,
        Err(_) => String::from_utf8_lossy(line).into_owned().into(),
    }
}

/// Which paid requests carried the item.
fn submissions(view: &dyn View, dir: &JobDir, job: &JobRow, leader: Ordinal) -> Result<Value, EngineError> {
    let bundled = spec_of(job)?.request.bundle.is_some();
    let mut shown = Vec::new();
    view.scan_leases(job.no, &mut |submission, leases| {
        for (seq, lease) in (0..).zip(leases).filter(|(_, lease)| lease.ordinal == leader) {
            shown.push(json!({
                "sub": submission.sub.to_string(),
                "lane": submission.lane.name(),
                "state": submission.state.name(),
                "attempt": lease.attempt,
                "bound_usd": lease.bound.to_string(),
                "wire_id": wire_id(dir, submission, seq, bundled).to_string(),
                "batch": submission.remote_batch,
            }));
        }
        ControlFlow::Continue(())
    })?;
    Ok(shown.into())
}

/// The item's record and the offset of its sealed line.
fn rec(view: &dyn View, job: &JobRow, ordinal: Ordinal) -> Result<Option<(u64, ItemRec)>, EngineError> {
    Ok(view.item_chunk_of(job.no, ordinal)?.and_then(|chunk| chunk.get(ordinal)))
}

fn unknown(job: &JobRow, item: &str) -> EngineError {
    EngineError::BadSpec {
        code: "item-unknown",
        what: format!("job `{}` has no item `{item}`", job.id),
        why: format!("an item is named by its id, or by its number from 1 to {}", job.items),
    }
}

/// By the user's id where the job has ids, else by number. The ids of leaders are in their sealed lines; those of
/// other items are in the source, if it is still there.
fn ordinal_of(view: &dyn View, dir: &JobDir, job: &JobRow, item: &str) -> Result<Ordinal, EngineError> {
    let spec = spec_of(job)?;
    let checkpoint = checkpoint_of(job)?;
    if spec.source.id.is_some() || checkpoint.shape != Shape::Table {
        if let Some(ordinal) = sealed_id(view, dir, job, item)? {
            return Ok(ordinal);
        }
        let column = IdColumn::of(spec.source.id.as_deref(), &checkpoint.columns);
        if let Ok(mut source) = reopen(&spec, job, dir, job.items) {
            while let Some(row) = source.next()? {
                if id_of_row(&row.data, checkpoint.shape, column.as_ref(), row.record + 1) == item {
                    return Ordinal::try_from(row.record).map_err(|_| unknown(job, item));
                }
            }
        }
    }
    let number = item.parse::<u64>().ok().filter(|number| (1..=job.items).contains(number));
    number.and_then(|number| Ordinal::try_from(number - 1).ok()).ok_or_else(|| unknown(job, item))
}

/// The leader with this id: the line of `requests.jsonl` is looked up by text, then its item by the line's offset.
fn sealed_id(
    view: &dyn View,
    dir: &JobDir,
    job: &JobRow,
    item: &str,
) -> Result<Option<Ordinal>, EngineError> {
    let path = dir.requests();
    let io = |doing| crate::paths::io_error(doing, &path);
    let mut file =
        BufReader::with_capacity(1 << 20, std::fs::File::open(&path).map_err(io("could not open"))?);
    let (mut line, mut offset, mut found) = (Vec::new(), 0, None);
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line).map_err(io("could not read"))?;
        if read == 0 {
            break;
        }
        if SealedHead::read(&line)?.custom_id.as_ref() as &str == item {
            found = Some(offset);
            break;
        }
        offset += read as u64;
    }
    let Some(offset) = found else { return Ok(None) };
    let mut ordinal = None;
    view.scan_items(job.no, 0, &mut |chunk| {
        ordinal =
            chunk.iter().find(|(_, at, item)| *at == offset && !item.is_empty()).map(|(ordinal, ..)| ordinal);
        if ordinal.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(ordinal)
}
