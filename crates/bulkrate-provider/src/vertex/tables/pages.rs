//! The rows of a table, page by page.

use std::collections::HashSet;
use std::path::Path;

use bulkrate_core::failure::FailureClass;
use tokio::io::AsyncWriteExt as _;

use super::json::{Columns, Rows};
use super::names::Table;
use super::{READ, Tables};
use crate::api::{ApiError, Reply};
use crate::http::batches::in_path;
use crate::http::free::Sheet;

/// Rows of a page, at most; the service ends one at some 10 MB anyway.
const PAGE_ROWS: u32 = 2_000;

/// How far a table was read.
struct Reader<'t> {
    first: String,
    token: Option<String>,
    seen: HashSet<String>,
    read: u64,
    /// As the first page said.
    total: Option<u64>,
    bytes: u64,
    line: Vec<u8>,
    columns: &'t Columns,
}

impl Reader<'_> {
    fn path(&self, rows: u32) -> String {
        let token = self.token.as_deref().map(|token| format!("&pageToken={}", in_path(token)));
        format!("{}&maxResults={rows}{}", self.first, token.unwrap_or_default())
    }

    /// Counts a page; whether it was the last one. `Err` says what does not fit.
    fn take(&mut self, page: &Rows<'_>) -> Result<bool, String> {
        let total = *self.total.get_or_insert(page.total);
        if page.total != total {
            return Err(format!("the table had {total} rows a page before, and now has {}", page.total));
        }
        self.read += page.rows.len() as u64;
        if self.read > total {
            return Err(format!("the table has {total} rows, and its pages hold more"));
        }
        if self.read == total {
            return Ok(true);
        }
        match page.next.as_ref().filter(|_| !page.rows.is_empty()) {
            Some(next) if self.seen.insert(next.clone()) => self.token = Some(next.clone()),
            Some(next) => return Err(format!("the pages turn in a circle at `{next}`")),
            None => return Err(format!("the table has {total} rows, and its pages hold {}", self.read)),
        }
        Ok(false)
    }
}

impl Tables {
    /// Writes all rows of a table as lines; answers how many bytes. `None`: it is gone.
    pub(super) async fn write_rows(
        &self,
        table: Table<'_>,
        columns: &Columns,
        sheet: &mut Sheet,
        to: (&Path, u64),
    ) -> Result<Option<u64>, ApiError> {
        let selected = in_path(columns.selected()).to_string();
        let mut reader = Reader {
            first: format!("{}/data?selectedFields={selected}&prettyPrint=false", table.path()),
            token: None,
            seen: HashSet::new(),
            read: 0,
            total: None,
            bytes: 0,
            line: Vec::new(),
            columns,
        };
        let mut rows = PAGE_ROWS;
        loop {
            let (reply, _turn) = self.free.page(READ, &mut rows, |rows| reader.path(rows), &[404]).await?;
            if self.is_absent(READ, &reply)? {
                return Ok(None);
            }
            if self.write_page(&mut reader, &reply, sheet, to).await? {
                return Ok(Some(reader.bytes));
            }
        }
    }

    /// Writes one page; whether it was the last one.
    async fn write_page(
        &self,
        reader: &mut Reader<'_>,
        reply: &Reply,
        sheet: &mut Sheet,
        (to, bytes_max): (&Path, u64),
    ) -> Result<bool, ApiError> {
        let unreadable = |why: String| self.unreadable(READ, reply, &why);
        let page = Rows::read(&reply.body).map_err(unreadable)?;
        let ends = reader.take(&page).map_err(unreadable)?;
        for row in &page.rows {
            reader.line.clear();
            reader.columns.write(row, &mut reader.line).map_err(unreadable)?;
            reader.bytes += reader.line.len() as u64;
            if reader.bytes > bytes_max {
                let why = format!("the table is longer than {bytes_max} bytes, more than it can be");
                return Err(self.free.error(READ, None, FailureClass::Transient, &why));
            }
            let written = sheet.out.write_all(&reader.line).await;
            written.map_err(|error| self.free.local_error(READ, to, &error))?;
        }
        Ok(ends)
    }
}
