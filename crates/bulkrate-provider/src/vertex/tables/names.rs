//! Names of datasets and tables, and where they are.

use crate::http::batches::in_path;
use crate::vertex::shelf::TABLE;
use crate::vertex::{GLOBAL, is_plain};

/// How a table begins that was loaded here.
pub(super) const OURS: &str = "bulkrate_";
/// What stands behind an input's name in that of its results.
const OUT: &str = "_out";
/// Letters of the part of a name that is used once.
const UNUSED_LEN: usize = 16;

/// A dataset, as `bq://project.dataset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vertex) struct Dataset {
    pub(super) project: String,
    pub(super) id: String,
}

/// A table as `bq://project.dataset.table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table<'n> {
    pub(super) project: &'n str,
    pub(super) dataset: &'n str,
    pub(super) id: &'n str,
}

impl Dataset {
    /// Reads `dataset` or `project.dataset`. Names that need quotes in SQL are refused: a batch of them fails, and late.
    pub(in crate::vertex) fn read(text: &str, own_project: &str) -> Result<Self, String> {
        let (project, id) = text.rsplit_once('.').unwrap_or((own_project, text));
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=200).contains(&id.len()) || !id.bytes().all(is_word) {
            return Err(format!("`{id}` is no dataset of BigQuery: letters, digits and `_`"));
        }
        if project != own_project && !is_plain(project) {
            return Err(format!("`{project}` is no name of a project"));
        }
        Ok(Self { project: project.to_owned(), id: id.to_owned() })
    }

    pub(super) fn path(&self) -> String {
        format!("/bigquery/v2/projects/{}/datasets/{}", in_path(&self.project), in_path(&self.id))
    }

    pub(super) fn address(&self, table: &str) -> String {
        format!("{TABLE}{}.{}.{table}", self.project, self.id)
    }
}

impl<'n> Table<'n> {
    pub(super) fn read(name: &'n str) -> Option<Self> {
        let mut parts = name.strip_prefix(TABLE)?.rsplitn(3, '.');
        let (id, dataset, project) = (parts.next()?, parts.next()?, parts.next()?);
        (![id, dataset].contains(&"") && is_plain(project)).then_some(Self { project, dataset, id })
    }

    pub(super) fn path(self) -> String {
        let Self { project, dataset, id } = self;
        format!(
            "/bigquery/v2/projects/{}/datasets/{}/tables/{}",
            in_path(project),
            in_path(dataset),
            in_path(id)
        )
    }
}

/// Whether an address is that of a table which was loaded here, or of the results beside one: nothing else is deleted.
pub(in crate::vertex) fn is_ours(address: &str) -> bool {
    let Some(Table { id, .. }) = Table::read(address) else { return false };
    let input = id.strip_suffix(OUT).unwrap_or(id);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let last = input.strip_prefix(OURS).and_then(|rest| rest.rsplit('_').next());
    last.is_some_and(|last| last.len() == UNUSED_LEN && last.bytes().all(is_hex))
}

/// Regions of Europe that are no part of the multi-region `EU`: London's and Zurich's.
const NOT_IN_EU: [&str; 2] = ["europe-west2", "europe-west6"];

/// Whether jobs at `region` read what lies at `location`: there, or in the continent around it. Where jobs at `global` run nobody says.
pub(super) fn is_near(location: &str, region: &str) -> bool {
    let (location, region) = (location.to_ascii_lowercase(), region.to_ascii_lowercase());
    let around = match location.as_str() {
        "us" => region.starts_with("us-"),
        "eu" => region.starts_with("europe-") && !NOT_IN_EU.contains(&region.as_str()),
        _ => false,
    };
    around || location == region || region == GLOBAL
}
