//! A cell of a record, whatever the source is written in.

use std::borrow::Cow;

use bulkrate_engine::EngineError;
use bulkrate_io::{Row, RowData};

/// Where a column stands.
pub(super) fn place(name: &str, columns: &[String]) -> Result<usize, EngineError> {
    let place = columns.iter().position(|column| column == name);
    place.ok_or_else(|| EngineError::no_column(name, columns))
}

/// The text of the column `name`, which stands at `place` where records are cells; empty where there is none.
pub(super) fn cell<'r>(row: &'r Row<'_>, name: &str, place: usize) -> Cow<'r, str> {
    match &row.data {
        RowData::Cells(cells) => Cow::Borrowed(cells.get(place).unwrap_or_default()),
        RowData::Json(object) => object.get(name).map_or(Cow::Borrowed(""), |value| value.cell()),
        RowData::Bad(_) => Cow::Borrowed(""), // not handed out: bad rows end the reading
    }
}
