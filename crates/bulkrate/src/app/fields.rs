//! `fields`: the order of a table's columns in a prompt in which rows share the most. Reads a file, changes nothing.

use bulkrate_core::order::{Factor, FieldTable};
use bulkrate_core::price::bound::Writes;
use bulkrate_engine::EngineError;
use bulkrate_io::{Source, SourceOptions};

use super::cells::{cell, place};
use super::prices::{catalogue, today};
use super::waiting::Waiting;
use super::{AppError, reads::talk};
use crate::cli::{FieldsArgs, Shared};
use crate::report::fields as text;
use crate::report::out;
use crate::report::words::count;

/// Cells that are held at most, four bytes each beside their different texts.
const CELLS_MAX: u64 = 20_000_000;

pub(super) fn fields(shared: &Shared, args: &FieldsArgs) -> Result<u8, AppError> {
    let prices = args.model.as_ref().map(|model| priced(shared, model, args)).transpose()?;
    let mut source = Source::open(&SourceOptions::new(&args.file)).map_err(EngineError::from)?;
    let columns = chosen(&args.columns, source.columns())?;
    let mut table = FieldTable::named(columns.iter().map(|(name, _)| name.as_str()));
    let most = args.rows.0.min(CELLS_MAX / (columns.len() as u64).max(1));
    let waiting = Waiting::new(shared.quiet);
    while let Some(row) = source.next().map_err(EngineError::from)? {
        if table.rows() as u64 >= most {
            let left_out =
                format!("only the first {} rows were read: more cells than that are not held\n", count(most));
            waiting.above(if most < args.rows.0 { &left_out } else { "" });
            break;
        }
        let cells: Vec<_> = columns.iter().map(|(name, place)| cell(&row, name, *place)).collect();
        table.push(cells.iter().map(AsRef::as_ref));
        waiting.say(|| format!("reading: {} rows", count(table.rows() as u64)));
    }
    let all = columns.len() as u64;
    let best = table.greedy(&mut |done| {
        waiting
            .say(|| format!("looking for the best order: {} of {} columns", count(done as u64), count(all)));
    });
    drop(waiting);
    let names: Vec<String> = columns.into_iter().map(|(name, _)| name).collect();
    let found = text::Found { names: &names, table: &table, best, before: args.before.0, prices };
    if shared.json {
        out::json(&found.document());
    } else {
        out::data(&found.text());
        talk(shared, text::NOTE);
    }
    Ok(0)
}

/// The columns that were named, or all of them, each with its place in the source.
fn chosen(named: &[String], known: &[String]) -> Result<Vec<(String, usize)>, EngineError> {
    if named.is_empty() {
        return Ok(known.iter().cloned().zip(0..).collect());
    }
    named.iter().map(|name| Ok((name.clone(), place(name, known)?))).collect()
}

/// What the model's prompt cache costs, if its price list says so.
fn priced(shared: &Shared, model: &str, args: &FieldsArgs) -> Result<(String, Option<Factor>), AppError> {
    let known = catalogue(shared)?;
    let row = known.resolve(model, today())?.row;
    let lane = args.lane.lane().unwrap_or(bulkrate_core::lane::Lane::Sync);
    let factor = row.rates(lane).and_then(|rates| Factor::of(&rates.base, Writes::Short));
    Ok((row.qualified.clone(), factor))
}
