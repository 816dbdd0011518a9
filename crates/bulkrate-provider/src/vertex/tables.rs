//! A dataset of BigQuery: a table for each input, loaded by a job whose id is the table's name, and one beside it for each batch's
//! results, which is read page by page.

mod json;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::failure::FailureClass;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use self::json::{Columns, Load, Rows};
use super::Place;
use super::shelf::{OBJECT, Shelf, TABLE, check};
use crate::api::{ApiError, Reply};
use crate::gemini::errors;
use crate::http::batches::{self, in_path, unused};
use crate::http::free::{FreeClient, Protocol, Sheet};

pub(super) use self::json::classify;

const LOAD: &str = "load a batch table";
const READ: &str = "read the results of a batch";
/// The code of a dataset that jobs at the account's location cannot read.
const ELSEWHERE: &str = "dataset_elsewhere";
/// A load takes seconds to minutes.
const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
const LOAD_MAX: Duration = Duration::from_secs(1_800);
/// So many looks at a job that was just made may find none.
const UNSEEN_MAX: u32 = 8;
/// Rows of a page, at most; the service ends one at some 10 MB anyway.
const PAGE_ROWS: u32 = 2_000;

/// A dataset, as `bq://project.dataset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dataset {
    project: String,
    id: String,
}

/// A table as `bq://project.dataset.table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Table<'n> {
    project: &'n str,
    dataset: &'n str,
    id: &'n str,
}

impl Dataset {
    /// Reads `dataset` or `project.dataset`. Names that need quotes in SQL are refused: a batch of them fails, and late.
    pub(super) fn read(text: &str, own_project: &str) -> Result<Self, String> {
        let (project, id) = text.rsplit_once('.').unwrap_or((own_project, text));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=200).contains(&id.len()) || !id.bytes().all(is_plain) {
            return Err(format!("`{id}` is no dataset of BigQuery: letters, digits and `_`"));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-:._".contains(&byte);
        if !(1..=100).contains(&project.len()) || !project.bytes().all(is_plain) {
            return Err(format!("`{project}` is no name of a project"));
        }
        Ok(Self { project: project.to_owned(), id: id.to_owned() })
    }

    fn path(&self) -> String {
        format!("/bigquery/v2/projects/{}/datasets/{}", in_path(&self.project), in_path(&self.id))
    }

    fn address(&self, table: &str) -> String {
        format!("{TABLE}{}.{}.{table}", self.project, self.id)
    }
}

impl<'n> Table<'n> {
    fn read(name: &'n str) -> Option<Self> {
        let mut parts = name.strip_prefix(TABLE)?.rsplitn(3, '.');
        let (id, dataset, project) = (parts.next()?, parts.next()?, parts.next()?);
        (![id, dataset, project].contains(&"")).then_some(Self { project, dataset, id })
    }

    fn path(self) -> String {
        let Self { project, dataset, id } = self;
        format!(
            "/bigquery/v2/projects/{}/datasets/{}/tables/{}",
            in_path(project),
            in_path(dataset),
            in_path(id)
        )
    }
}

/// Whether jobs at `region` read what lies at `location`: there, or in the continent around it.
fn is_near(location: &str, region: &str) -> bool {
    let (location, region) = (location.to_ascii_lowercase(), region.to_ascii_lowercase());
    let around = match location.as_str() {
        "us" => region.starts_with("us-"),
        "eu" => region.starts_with("europe-"),
        _ => false,
    };
    around || location == region || region == super::GLOBAL
}

/// The tables of one account.
#[derive(Debug)]
pub(super) struct Tables {
    free: FreeClient,
    dataset: Dataset,
    place: Place,
    /// Where the dataset is, once it was asked for.
    location: OnceCell<String>,
}

impl Tables {
    pub(super) fn new(free: FreeClient, dataset: Dataset, place: Place) -> Self {
        Self { free, dataset, place, location: OnceCell::new() }
    }

    /// Where the dataset is: where jobs can read it.
    async fn located(&self, what: &str) -> Result<&str, ApiError> {
        let found = self.location.get_or_try_init(|| async {
            let reply = self.free.send(what, Method::GET, &self.dataset.path(), &[]).await?;
            let location = json::location(&reply.body).map_err(|why| self.unreadable(what, &reply, &why))?;
            if is_near(&location, &self.place.location) {
                return Ok(location);
            }
            let why = format!(
                "the dataset `{}` is at `{location}`, and batches run at `{}`: name a dataset there, or another `region`",
                self.dataset.id, self.place.location
            );
            Err(self.own_fault(what, FailureClass::Auth, ELSEWHERE, &why))
        });
        found.await.map(String::as_str)
    }

    fn unreadable(&self, what: &str, reply: &Reply, why: &str) -> ApiError {
        batches::unreadable(&self.free, what, reply, why)
    }

    fn own_fault(&self, what: &str, class: FailureClass, code: &str, why: &str) -> ApiError {
        let mut error = self.free.error(what, None, class, why);
        error.failure.provider_code = Some(code.to_owned());
        error
    }

    /// How many rows a load has brought, once it has ended.
    async fn loaded(&self, id: &str, location: &str) -> Result<u64, ApiError> {
        let project = in_path(&self.place.project);
        let path =
            format!("/bigquery/v2/projects/{project}/jobs/{}?location={}", in_path(id), in_path(location));
        let (begun, mut wait, mut unseen) = (Instant::now(), WAIT_MIN, 0);
        loop {
            let reply = self.free.send(LOAD, Method::GET, &path, &[404]).await?;
            match reply.status {
                404 if unseen == UNSEEN_MAX => {
                    return Err(self.unreadable(LOAD, &reply, "the job that loads the table is not there"));
                }
                404 => unseen += 1,
                _ => match json::load(&reply.body).map_err(|why| self.unreadable(LOAD, &reply, &why))? {
                    Load::Loaded(rows) => return Ok(rows),
                    Load::Failed(failure) => {
                        let failure = self.free.account().redacted_failure(failure);
                        return Err(ApiError { what: LOAD.to_owned(), status: None, failure });
                    }
                    Load::Running => {}
                },
            }
            if begun.elapsed() > LOAD_MAX {
                let why = format!("the table was not loaded within {} minutes", LOAD_MAX.as_secs() / 60);
                return Err(self.free.error(LOAD, None, FailureClass::Timeout, &why));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Which columns a table has; `None`: it is not there.
    async fn columns(&self, table: Table<'_>) -> Result<Option<Columns>, ApiError> {
        let reply = self.free.send(READ, Method::GET, &table.path(), &[404]).await?;
        if self.is_absent(READ, &reply)? {
            return Ok(None);
        }
        Columns::read(&reply.body).map(Some).map_err(|why| self.unreadable(READ, &reply, &why))
    }

    /// Whether a reply says that there is no such table. A gateway's page says nothing of it.
    fn is_absent(&self, what: &str, reply: &Reply) -> Result<bool, ApiError> {
        match (reply.status, errors::read(&reply.body)) {
            (404, None) => Err(self.unreadable(what, reply, "a page that is not the provider's")),
            (status, _) => Ok(status == 404),
        }
    }

    /// Writes all rows of a table as lines; answers how many bytes. `None`: it is gone.
    async fn write_rows(
        &self,
        table: Table<'_>,
        columns: &Columns,
        sheet: &mut Sheet,
        (to, bytes_max): (&Path, u64),
    ) -> Result<Option<u64>, ApiError> {
        let first = format!("{}/data?maxResults={PAGE_ROWS}", table.path());
        let (mut path, mut line, mut read, mut bytes) = (first.clone(), Vec::new(), 0_u64, 0_u64);
        loop {
            let reply = self.free.send(READ, Method::GET, &path, &[404]).await?;
            if self.is_absent(READ, &reply)? {
                return Ok(None);
            }
            let page = Rows::read(&reply.body).map_err(|why| self.unreadable(READ, &reply, &why))?;
            line.clear();
            for row in &page.rows {
                columns.write(row, &mut line).map_err(|why| self.unreadable(READ, &reply, &why))?;
            }
            bytes += line.len() as u64;
            if bytes > bytes_max {
                let why = format!("the table is longer than {bytes_max} bytes, more than it can be");
                return Err(self.free.error(READ, None, FailureClass::Transient, &why));
            }
            sheet.out.write_all(&line).await.map_err(|error| self.free.local_error(READ, to, &error))?;
            read += page.rows.len() as u64;
            match page.next.filter(|_| !page.rows.is_empty()) {
                Some(next) => path = format!("{first}&pageToken={}", in_path(&next)),
                None if read < page.total => {
                    let why = format!("the table has {} rows, and its pages hold {read}", page.total);
                    return Err(self.free.error(READ, None, FailureClass::Transient, &why));
                }
                None => return Ok(Some(bytes)),
            }
        }
    }
}

#[async_trait]
impl Shelf for Tables {
    async fn look(&self) -> Result<(), ApiError> {
        self.located("look into the dataset").await.map(|_| ())
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        let location = self.located(LOAD).await?;
        let table = format!("{}_{}", name.replace('-', "_"), unused());
        let lines = lines_of(file).await.map_err(|error| self.free.local_error(LOAD, file, &error))?;
        let about = json::load_job(&self.place.project, &self.dataset, (&table, location));
        let project = in_path(&self.place.project);
        let path = format!("/upload/bigquery/v2/projects/{project}/jobs?uploadType=resumable");
        let about = (about.as_slice(), "application/octet-stream");
        match self.free.upload_resumable(LOAD, (Protocol::Ranges, &path), about, file).await {
            Ok(_) => {}
            // It was sent twice, as an answer was lost: the job of this id is this one.
            Err(error) if error.status == Some(409) => {}
            Err(error) => return Err(error),
        }
        let rows = self.loaded(&table, location).await?;
        let address = self.dataset.address(&table);
        if rows != lines {
            let why = format!("the table has {rows} rows of {lines}");
            tracing::debug!(%address, "{why}");
            self.delete(&address).await?;
            return Err(self.free.error(LOAD, None, FailureClass::Transient, &why));
        }
        Ok(address)
    }

    async fn download(&self, name: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        check(&self.free, READ, name, OBJECT)?;
        let Some(table) = Table::read(name) else { return Ok(None) };
        let Some(columns) = self.columns(table).await? else { return Ok(None) };
        let local = |error: std::io::Error| self.free.local_error(READ, to, &error);
        let mut sheet = Sheet::begin(to).await.map_err(local)?;
        match self.write_rows(table, &columns, &mut sheet, (to, bytes_max)).await {
            Ok(None | Some(0)) => sheet.discard().await.map(|()| None).map_err(local),
            Ok(Some(bytes)) => sheet.end(to).await.map(|()| Some(bytes)).map_err(local),
            Err(error) => {
                // What matters is the error above.
                let _ = sheet.discard().await;
                Err(error)
            }
        }
    }

    async fn has_results(&self, name: &str) -> Result<bool, ApiError> {
        const WHAT: &str = "look for the results of a batch";
        check(&self.free, WHAT, name, OBJECT)?;
        let Some(table) = Table::read(name) else { return Ok(false) };
        let path = format!("{}/data?maxResults=1", table.path());
        let reply = self.free.send(WHAT, Method::GET, &path, &[404]).await?;
        if self.is_absent(WHAT, &reply)? {
            return Ok(false);
        }
        let page = Rows::read(&reply.body).map_err(|why| self.unreadable(WHAT, &reply, &why))?;
        Ok(!page.rows.is_empty())
    }

    async fn delete(&self, name: &str) -> Result<(), ApiError> {
        const WHAT: &str = "delete a batch table";
        check(&self.free, WHAT, name, OBJECT)?;
        let Some(table) = Table::read(name) else { return Ok(()) };
        let reply = self.free.send(WHAT, Method::DELETE, &table.path(), &[404]).await?;
        // The fence of a create in doubt may stand on this: done is what the provider says of it, and it says nothing of what is done.
        let said = if reply.status == 404 {
            reply
        } else {
            self.free.send(WHAT, Method::GET, &table.path(), &[404]).await?
        };
        match self.is_absent(WHAT, &said)? {
            true => Ok(()),
            false => Err(self.unreadable(WHAT, &said, "the table is still there")),
        }
    }
}

/// How many lines a file has.
async fn lines_of(file: &Path) -> std::io::Result<u64> {
    let mut file = tokio::fs::File::open(file).await?;
    let (mut piece, mut lines) = (vec![0; 1 << 18], 0);
    loop {
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', &piece[..read]).count() as u64;
    }
}

#[cfg(test)]
mod tests;
