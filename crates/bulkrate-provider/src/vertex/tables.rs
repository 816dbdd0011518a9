//! A dataset of BigQuery: a table for each input, loaded by a job whose id is the table's name, and one beside it for each batch's
//! results, which is read page by page.

mod json;
mod load;
mod names;
mod pages;

use std::path::Path;

use async_trait::async_trait;
use http::Method;
use tokio::sync::OnceCell;

use self::json::{Columns, Rows};
use self::names::{Table, is_near};
use super::Place;
use super::batch::SHAPE;
use super::shelf::{OBJECT, Shelf, TABLE, check, own_fault};
use crate::api::{ApiError, Reply};
use crate::gemini::errors;
use crate::http::batches::{self, Shape};
use crate::http::free::{FreeClient, Sheet};

pub(super) use self::json::classify;
pub(super) use self::names::{Dataset, is_ours};

const READ: &str = "read the results of a batch";
/// The code of a dataset that jobs at the account's location cannot read.
const ELSEWHERE: &str = "dataset_elsewhere";
/// The code of a dataset whose tables go before a batch need have ended.
const EXPIRES: &str = "dataset_expires";
/// The code of a table that was not made here.
const NOT_OURS: &str = "not_our_table";
/// A job waits for up to three days and runs for one, and its results are to be read.
const EXPIRATION_DAYS_MIN: u64 = 7;
const DAY_MS: u64 = 86_400_000;

/// What is deleted is a table: another thing that is not there says nothing of it.
const DELETED: Shape = Shape { is_error: json::says_no_table, ..SHAPE };

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

    /// Where the dataset is: where jobs can read it, and long enough.
    async fn located(&self, what: &str) -> Result<&str, ApiError> {
        let found = self.location.get_or_try_init(|| async {
            let reply = self.free.send(what, Method::GET, &self.dataset.path(), &[]).await?;
            let found = json::described(&reply.body).map_err(|why| self.unreadable(what, &reply, &why))?;
            let (id, location) = (&self.dataset.id, found.location);
            if !is_near(&location, &self.place.location) {
                let why = format!(
                    "the dataset `{id}` is at `{location}`, and batches run at `{}`: name a dataset there, or another `region`",
                    self.place.location
                );
                return Err(own_fault(&self.free, what, ELSEWHERE, &why));
            }
            match found.expiration_ms.filter(|ms| *ms < EXPIRATION_DAYS_MIN * DAY_MS) {
                Some(ms) => {
                    let why = format!(
                        "tables of the dataset `{id}` are deleted after {:.1} days, and a batch may take four: set its default table \
                         expiration to {EXPIRATION_DAYS_MIN} days or more, or to none",
                        ms as f64 / DAY_MS as f64
                    );
                    Err(own_fault(&self.free, what, EXPIRES, &why))
                }
                None => Ok(location),
            }
        });
        found.await.map(String::as_str)
    }

    fn unreadable(&self, what: &str, reply: &Reply, why: &str) -> ApiError {
        batches::unreadable(&self.free, what, reply, why)
    }

    /// What a name names; `None`: nothing of this provider's. An address of a table that cannot be read is no table that is gone.
    fn table<'n>(&self, what: &str, name: &'n str) -> Result<Option<Table<'n>>, ApiError> {
        check(&self.free, what, name, OBJECT)?;
        match Table::read(name) {
            None if name.starts_with(TABLE) => {
                Err(own_fault(&self.free, what, NOT_OURS, &format!("`{name}` is no address of a table")))
            }
            table => Ok(table),
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

    /// Whether a reply says that there is no such table. A gateway's page says nothing of it, and neither does a dataset or a project
    /// that is not there.
    fn is_absent(&self, what: &str, reply: &Reply) -> Result<bool, ApiError> {
        if reply.status != 404 || json::says_no_table(&reply.body) {
            return Ok(reply.status == 404);
        }
        if errors::read(&reply.body).is_none() {
            return Err(self.unreadable(what, reply, "a page that is not the provider's"));
        }
        self.free.accept(what, reply.clone(), &[]).map(|_| false)
    }
}

#[async_trait]
impl Shelf for Tables {
    async fn look(&self) -> Result<(), ApiError> {
        self.located("look into the dataset").await.map(|_| ())
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        self.load(file, name).await
    }

    async fn download(&self, name: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let Some(table) = self.table(READ, name)? else { return Ok(None) };
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
        let Some(table) = self.table(WHAT, name)? else { return Ok(false) };
        let path = format!("{}/data?maxResults=1", table.path());
        let reply = self.free.send(WHAT, Method::GET, &path, &[404]).await?;
        if self.is_absent(WHAT, &reply)? {
            return Ok(false);
        }
        let page = Rows::read(&reply.body).map_err(|why| self.unreadable(WHAT, &reply, &why))?;
        Ok(page.total > 0)
    }

    fn is_seen_late(&self) -> bool {
        true
    }

    async fn delete(&self, name: &str) -> Result<(), ApiError> {
        const WHAT: &str = "delete a batch table";
        let Some(table) = self.table(WHAT, name)? else { return Ok(()) };
        if !is_ours(name) {
            let why = format!("`{name}` is no table that was made here, and is left alone");
            return Err(own_fault(&self.free, WHAT, NOT_OURS, &why));
        }
        batches::delete(&self.free, DELETED, WHAT, &table.path()).await
    }
}

#[cfg(test)]
mod tests;
