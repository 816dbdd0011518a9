//! One load job fills the table of one input.

use std::path::Path;
use std::time::Duration;

use bulkrate_core::failure::FailureClass;
use http::Method;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::Tables;
use super::json::{self, Form, Load};
use super::names::OURS;
use crate::api::ApiError;
use crate::http::batches::{in_path, unused};
use crate::http::free::Protocol;
use crate::vertex::shelf::Shelf as _;

const LOAD: &str = "load a batch table";
/// A load takes seconds to minutes.
const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
const LOAD_MAX: Duration = Duration::from_secs(1_800);
/// So many looks at a job that was just made may find none.
const UNSEEN_MAX: u32 = 8;

/// What is to be loaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) lines: u64,
    pub(super) form: Form,
}

impl Tables {
    /// Fills a table of its own with the lines of a file; answers its address.
    pub(super) async fn load(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        let location = self.located(LOAD).await?;
        let name = name.replace('-', "_");
        let table = format!("{OURS}{}_{}", name.strip_prefix(OURS).unwrap_or(&name), unused());
        let input = Input::of(file).await.map_err(|error| self.free.local_error(LOAD, file, &error))?;
        let about = json::load_job(&self.place.project, &self.dataset, (&table, location), input.form);
        let project = in_path(&self.place.project);
        let path = format!("/upload/bigquery/v2/projects/{project}/jobs?uploadType=resumable");
        let about = (about.as_slice(), "application/octet-stream");
        match self.free.upload_resumable(LOAD, (Protocol::Ranges, &path), about, file).await {
            Ok(_) => {}
            // It was sent twice, as an answer was lost: the job of this id is this one.
            Err(error) if error.status == Some(409) => {}
            Err(error) => return Err(error),
        }
        let address = self.dataset.address(&table);
        let Some(rows) = self.loaded(&table, location).await? else {
            self.give_up(&table, location, &address).await;
            let why = format!("the table was not loaded within {} minutes", LOAD_MAX.as_secs() / 60);
            return Err(self.free.error(LOAD, None, FailureClass::Timeout, &why));
        };
        if rows != input.lines {
            let why = format!("the table has {rows} rows of {}", input.lines);
            tracing::debug!(%address, "{why}");
            self.delete(&address).await?;
            return Err(self.free.error(LOAD, None, FailureClass::Transient, &why));
        }
        Ok(address)
    }

    fn job_path(&self, id: &str, verb: &str, location: &str) -> String {
        let project = in_path(&self.place.project);
        let (id, location) = (in_path(id), in_path(location));
        format!("/bigquery/v2/projects/{project}/jobs/{id}{verb}?location={location}")
    }

    /// How many rows a load has brought, once it has ended. `None`: it takes too long.
    async fn loaded(&self, id: &str, location: &str) -> Result<Option<u64>, ApiError> {
        let path = self.job_path(id, "", location);
        let (begun, mut wait, mut unseen) = (Instant::now(), WAIT_MIN, 0);
        loop {
            let reply = self.free.send(LOAD, Method::GET, &path, &[404]).await?;
            let unreadable = |why: &str| self.unreadable(LOAD, &reply, why);
            match reply.status {
                404 if unseen == UNSEEN_MAX => {
                    return Err(unreadable("the job that loads the table is not there"));
                }
                404 => unseen += 1,
                _ => match json::load(&reply.body).map_err(|why| unreadable(&why))? {
                    Load::Loaded(rows) => return Ok(Some(rows)),
                    Load::Failed(failure) => {
                        let failure = self.free.account().redacted_failure(failure);
                        return Err(ApiError { what: LOAD.to_owned(), status: None, failure });
                    }
                    Load::Running => {}
                },
            }
            if begun.elapsed() > LOAD_MAX {
                return Ok(None);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Another table is loaded in place of this one: as far as it can be helped, nothing of it is left.
    async fn give_up(&self, id: &str, location: &str, address: &str) {
        let cancelled =
            self.free.send(LOAD, Method::POST, &self.job_path(id, "/cancel", location), &[]).await;
        let deleted = self.delete(address).await;
        if let Err(error) = cancelled.map(|_| ()).and(deleted) {
            tracing::debug!(%address, %error, "a table may be left");
        }
    }
}

impl Input {
    pub(super) async fn of(file: &Path) -> std::io::Result<Self> {
        let mut file = tokio::fs::File::open(file).await?;
        let (mut piece, mut input) = (vec![0; 1 << 18], Self { lines: 0, form: Form::Requests });
        let mut first = true;
        loop {
            let read = file.read(&mut piece).await?;
            if read == 0 {
                return Ok(input);
            }
            if std::mem::take(&mut first) {
                input.form = form(&piece[..read]);
            }
            input.lines += memchr::memchr_iter(b'\n', &piece[..read]).count() as u64;
        }
    }
}

/// How the first line goes on. What stands before it is an id of ours.
fn form(lines: &[u8]) -> Form {
    let id = lines.strip_prefix(b"{\"custom_id\":\"").unwrap_or_default();
    let rest = memchr::memchr(b'"', id).map_or(&[][..], |end| &id[end..]);
    match rest {
        rest if rest.starts_with(b"\",\"request\":\"") => Form::Texts,
        rest if rest.starts_with(b"\",\"method\":") => Form::Lines,
        _ => Form::Requests,
    }
}
