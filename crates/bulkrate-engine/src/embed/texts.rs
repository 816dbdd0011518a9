//! Sealed requests -> the texts that are embedded: one JSON line for each item that may be compared.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use bulkrate_core::bundle::Kin;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::request::write_json_text;
use bulkrate_core::semantic::is_compared;
use bulkrate_store::View;
use bulkrate_store::fold::ItemStates;

use crate::EngineError;
use crate::paths::{JobDir, io_error, open_file, take_place};
use crate::run::requests::{Draft, Requests};

/// What a line begins with; its item, counted from 1, comes next.
const ITEM: &str = "{\"item\":";
/// The column of it, and that of the text.
pub(super) const ITEM_COLUMN: &str = "item";

/// The texts of the items from `from` until before `until`.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    pub path: PathBuf,
    pub from: Ordinal,
    pub until: Ordinal,
    pub count: u64,
}

/// Writes what is compared of each item that waits to be asked, in item order: the last message of its prompt. The same job has the same
/// file, until one of these items is asked.
pub(crate) fn write_texts(
    view: &dyn View,
    job: u32,
    dir: &JobDir,
    (from, until): (Ordinal, Ordinal),
) -> Result<Texts, EngineError> {
    let path = dir.texts(from, until);
    let states = ItemStates::load(view, job)?;
    let uncached = crate::prepare::lists::read(&dir.uncached())?;
    let mut requests = Requests::open(dir, job)?;
    // What is there is the source of a job: a kill leaves it whole.
    let draft = path.with_extension("part");
    let mut out = BufWriter::new(open_file(&draft, true)?);
    let (mut line, mut count) = (Vec::new(), 0);
    for ordinal in (from..until).filter(|ordinal| states.is_waiting(*ordinal)) {
        if uncached.binary_search(&ordinal).is_ok() {
            continue;
        }
        let Draft::Unified(request) = requests.get(view, ordinal)?.draft()? else { continue };
        let Some((_, text)) = Kin::in_all_but_text(&request).filter(|(_, text)| is_compared(text)) else {
            continue;
        };
        line.clear();
        line.extend_from_slice(format!("{ITEM}{},\"text\":", u64::from(ordinal) + 1).as_bytes());
        write_json_text(text, &mut line);
        line.extend_from_slice(b"}\n");
        out.write_all(&line).map_err(io_error("could not write", &draft))?;
        count += 1;
    }
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(io_error("could not write", &draft))?;
    take_place(&draft, &path)?;
    Ok(Texts { path, from, until, count })
}

/// The items of a file of texts, line by line.
pub(super) fn items(path: &Path) -> Result<impl Iterator<Item = Result<Ordinal, EngineError>>, EngineError> {
    let file = std::fs::File::open(path).map_err(io_error("could not open", path))?;
    let path = path.to_owned();
    Ok(BufReader::new(file).lines().map(move |line| {
        let line = line.map_err(io_error("could not read", &path))?;
        let item = line.strip_prefix(ITEM).and_then(|rest| rest.split_once(',')?.0.parse::<Ordinal>().ok());
        item.and_then(|item| item.checked_sub(1))
            .ok_or_else(|| EngineError::Internal(format!("`{}` has a line without an item", path.display())))
    }))
}
