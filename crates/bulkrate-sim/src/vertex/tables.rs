//! BigQuery, as far as batches need it: a dataset, jobs that load lines into tables, and the rows of tables. A table is a file whose id
//! is its address, and whose purpose are its columns.

use super::objects::{self, Goal, refused, related, text};
use super::rows;
use crate::clock::VirtualMs;
use crate::faults::Place;
use crate::files::File;
use crate::server::{Reply, State, decoded};
use bytes::Bytes;
use http::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How the address of a table begins.
pub(crate) const SCHEME: &str = "bq://";
/// A load takes so long.
const LOAD_MS: VirtualMs = 2_000;

/// A table, or the dataset where its name is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    project: String,
    dataset: String,
    table: String,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Dataset(Named),
    Load(String),
    Job(String, String),
    Cancel(String, String),
    Table(Named),
    Rows(Named),
    Delete(Named),
}

/// Jobs that have loaded tables, by project and id.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    by_id: Mutex<HashMap<(String, String), Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    job: Value,
    done_ms: VirtualMs,
    /// The table, its columns and its lines, until it is done.
    brings: Option<(Named, String, Bytes)>,
}

impl Loads {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Loaded>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Named {
    fn of(project: &str, dataset: &str, table: &str) -> Self {
        Self { project: project.to_owned(), dataset: dataset.to_owned(), table: table.to_owned() }
    }

    /// Reads `bq://project.dataset.table`.
    pub(super) fn read(address: &str) -> Option<Self> {
        let mut parts = address.strip_prefix(SCHEME)?.rsplitn(3, '.');
        let (table, dataset, project) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self::of(project, dataset, table))
    }

    pub(super) fn id(&self) -> String {
        format!("{}.{}", self.dataset_id(), self.table)
    }

    /// The address of the dataset.
    fn dataset_id(&self) -> String {
        format!("{SCHEME}{}.{}", self.project, self.dataset)
    }

    /// In the words of errors.
    pub(super) fn shown(&self) -> String {
        let Self { project, dataset, table } = self;
        if table.is_empty() { format!("{project}:{dataset}") } else { format!("{project}:{dataset}.{table}") }
    }

    pub(super) fn reference(&self) -> Value {
        json!({"projectId": self.project, "datasetId": self.dataset, "tableId": self.table})
    }
}

impl Ask {
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let upload = ["/upload", "/resumable/upload"].into_iter().find_map(|kind| path.strip_prefix(kind));
        let rest = upload.unwrap_or(path).strip_prefix("/bigquery/v2/projects/")?;
        let parts: Vec<String> = rest.split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Some(match (method.as_str(), upload.is_some(), parts.as_slice()) {
            ("POST" | "PUT", true, [project, "jobs"]) => Self::Load((*project).to_owned()),
            ("GET", false, [project, "jobs", id]) => Self::Job((*project).to_owned(), (*id).to_owned()),
            ("POST", false, [project, "jobs", id, "cancel"]) => {
                Self::Cancel((*project).to_owned(), (*id).to_owned())
            }
            ("GET", false, [project, "datasets", dataset]) => Self::Dataset(Named::of(project, dataset, "")),
            ("GET", false, [project, "datasets", dataset, "tables", table]) => {
                Self::Table(Named::of(project, dataset, table))
            }
            ("DELETE", false, [project, "datasets", dataset, "tables", table]) => {
                Self::Delete(Named::of(project, dataset, table))
            }
            ("GET", false, [project, "datasets", dataset, "tables", table, "data"]) => {
                Self::Rows(Named::of(project, dataset, table))
            }
            _ => return None,
        })
    }

    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::Load(_) => Some(Place::Upload),
            Self::Rows(_) => Some(Place::Content),
            Self::Delete(_) => Some(Place::Delete),
            Self::Dataset(_) | Self::Job(..) | Self::Cancel(..) | Self::Table(_) => None,
        }
    }

    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Dataset(_) => "GET /bigquery/v2/datasets/{dataset}",
            Self::Load(_) => "POST /upload/bigquery/v2/jobs",
            Self::Job(..) => "GET /bigquery/v2/jobs/{id}",
            Self::Cancel(..) => "POST /bigquery/v2/jobs/{id}/cancel",
            Self::Table(_) => "GET /bigquery/v2/tables/{table}",
            Self::Rows(_) => "GET /bigquery/v2/tables/{table}/data",
            Self::Delete(_) => "DELETE /bigquery/v2/tables/{table}",
        }
    }

    /// Whether the project and the dataset are there. `Err` is the whole answer.
    pub(super) fn admit(&self, state: &State) -> Result<(), Reply> {
        let (Self::Load(project) | Self::Job(project, _) | Self::Cancel(project, _)) = self else {
            let (Self::Dataset(named) | Self::Table(named) | Self::Rows(named) | Self::Delete(named)) = self
            else {
                return Ok(());
            };
            return exists(state, named);
        };
        match &state.config.project {
            Some(known) if known != project => Err(denied(&format!(
                "Project {project}: User does not have bigquery.jobs.create permission in project {project}."
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn answer(
        &self,
        state: &State,
        head: &http::request::Parts,
        query: &HashMap<String, String>,
        body: &Bytes,
    ) -> Reply {
        show(state);
        match self {
            Self::Dataset(named) => dataset(state, named),
            Self::Load(project) => upload(state, project, head, query, body),
            Self::Job(project, id) => job(state, project, id, query.get("location").map(String::as_str)),
            Self::Cancel(..) => Reply::of(&json!({"kind": "bigquery#jobCancelResponse"})),
            Self::Table(named) => rows::table(state, named),
            Self::Rows(named) => rows::page(state, named, query),
            Self::Delete(named) if state.files.remove(&named.id()) => Reply::empty(204),
            Self::Delete(named) => no_table(named),
        }
    }
}

pub(super) fn denied(what: &str) -> Reply {
    refused(403, "accessDenied", &format!("Access Denied: {what}"))
}

pub(super) fn no_table(named: &Named) -> Reply {
    refused(404, "notFound", &format!("Not found: Table {}", named.shown()))
}

fn exists(state: &State, named: &Named) -> Result<(), Reply> {
    if state.config.project.as_ref().is_some_and(|known| *known != named.project) {
        return Err(denied(&format!(
            "Project {}: User does not have access to it, or it does not exist.",
            named.project
        )));
    }
    match &state.config.dataset {
        Some(known) if *known != named.dataset => {
            let dataset = Named { table: String::new(), ..named.clone() };
            Err(refused(404, "notFound", &format!("Not found: Dataset {}", dataset.shown())))
        }
        _ => Ok(()),
    }
}

fn dataset(state: &State, named: &Named) -> Reply {
    let mut found = json!({
        "kind": "bigquery#dataset", "id": named.shown(), "location": state.config.dataset_location,
        "datasetReference": {"projectId": named.project, "datasetId": named.dataset},
    });
    if let Some(days) = state.config.table_days {
        found["defaultTableExpirationMs"] = (days * 86_400_000).to_string().into();
    }
    Reply::of(&found)
}

/// What loads have brought by now.
fn show(state: &State) {
    let now = state.clock.now_ms();
    let mut loads = state.loads.lock();
    let done = loads.values_mut().filter(|load| load.done_ms <= now);
    for (to, columns, lines) in done.filter_map(|load| load.brings.take()) {
        state.files.put(to.id(), (&to.table, &columns), state.clock.now(), lines);
    }
}

/// POST /upload/bigquery/v2/projects/{project}/jobs, in two parts or in one after another.
fn upload(
    state: &State,
    project: &str,
    head: &http::request::Parts,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Reply {
    let kind = query.get("uploadType").map(String::as_str).unwrap_or_default();
    match (kind, query.get("upload_id")) {
        ("resumable", Some(id)) => objects::go_on(state, id, &head.headers, body),
        ("resumable", None) => {
            let job = serde_json::from_slice(body).unwrap_or_default();
            objects::begin(state, Goal::Load(project.to_owned(), job), head)
        }
        ("multipart", None) => match related(text(&head.headers, "content-type"), body) {
            Some((job, _, media)) => match load(state, project, &job, &media) {
                Ok(job) => Reply::of(&job),
                Err(refused) => refused,
            },
            None => refused(400, "parseError", "Parse Error"),
        },
        _ => refused(400, "invalid", "Invalid value for uploadType"),
    }
}

/// Those of a load's fields that are understood here.
const LOAD_FIELDS: [&str; 5] =
    ["destinationTable", "schema", "sourceFormat", "createDisposition", "writeDisposition"];

fn known(said: &Value, names: &[&str]) -> Result<(), Reply> {
    let fields = said.as_object().into_iter().flat_map(Map::keys);
    match fields.into_iter().find(|name| !names.contains(&name.as_str())) {
        Some(name) => {
            let message =
                format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.");
            Err(refused(400, "invalid", &message))
        }
        None => Ok(()),
    }
}

/// A job that loads lines into a table. Its id makes it one.
pub(super) fn load(state: &State, project: &str, asked: &Value, lines: &Bytes) -> Result<Value, Reply> {
    let wanted = &asked["configuration"]["load"];
    known(asked, &["jobReference", "configuration"])?;
    known(&asked["configuration"], &["load"])?;
    known(wanted, &LOAD_FIELDS)?;
    let to = |name: &str| wanted["destinationTable"][name].as_str().unwrap_or_default();
    let to = Named::of(to("projectId"), to("datasetId"), to("tableId"));
    if to.table.is_empty() || wanted["sourceFormat"] != "NEWLINE_DELIMITED_JSON" {
        return Err(refused(400, "invalid", "Load configuration must specify a table and lines of JSON."));
    }
    exists(state, &to)?;
    let location = asked["jobReference"]["location"].as_str().unwrap_or(&state.config.dataset_location);
    if location != state.config.dataset_location {
        let dataset = Named { table: String::new(), ..to };
        let message = format!("Not found: Dataset {} was not found in location {location}", dataset.shown());
        return Err(refused(404, "notFound", &message));
    }
    let id = asked["jobReference"]["jobId"]
        .as_str()
        .map_or_else(|| state.keys.id("job_", 27, false), str::to_owned);
    let mut loads = state.loads.lock();
    let id_known = (project.to_owned(), id.clone());
    if loads.contains_key(&id_known) {
        return Err(refused(409, "duplicate", &format!("Already Exists: Job {project}:{location}.{id}")));
    }
    let found = checked(state, &to, wanted, lines);
    let now = state.clock.now_ms();
    let mut job = json!({
        "kind": "bigquery#job", "id": format!("{project}:{location}.{id}"),
        "jobReference": {"projectId": project, "jobId": id, "location": location},
        "configuration": {"jobType": "LOAD", "load": wanted},
        "status": {"state": "DONE"},
        "statistics": {"creationTime": now.to_string(), "startTime": now.to_string(), "endTime": (now + LOAD_MS).to_string()},
    });
    let mut brings = None;
    match found {
        Ok((rows, kept)) => {
            job["statistics"]["load"] = json!({
                "inputFiles": "1", "inputFileBytes": lines.len().to_string(), "outputRows": rows.to_string(), "badRecords": "0",
            });
            brings = Some((to, wanted["schema"]["fields"].to_string(), kept));
        }
        Err((reason, message)) => {
            let error = json!({"reason": reason, "message": message});
            job["status"]["errorResult"] = error.clone();
            job["status"]["errors"] = json!([error]);
        }
    }
    let begun = running(&job);
    loads.insert(id_known, Loaded { job, done_ms: now + LOAD_MS, brings });
    Ok(begun)
}

/// How many rows the lines are, and what is kept of them; or why they are none.
fn checked(
    state: &State,
    to: &Named,
    wanted: &Value,
    lines: &Bytes,
) -> Result<(usize, Bytes), (&'static str, String)> {
    let holds = |file: Arc<File>| file.bytes > 0;
    if wanted["writeDisposition"] == "WRITE_EMPTY" && state.files.get(&to.id()).is_some_and(holds) {
        return Err(("duplicate", format!("Already Exists: Table {}", to.shown())));
    }
    let fields = wanted["schema"]["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut kept = Vec::with_capacity(lines.len());
    let mut rows = 0;
    for (number, line) in split(lines).enumerate() {
        match stored(fields, line) {
            Ok(line) => kept.extend_from_slice(&line),
            Err(why) => {
                let message = format!(
                    "Error while reading data, error message: JSON parsing error in row {number}: {why}"
                );
                return Err(("invalid", message));
            }
        }
        kept.push(b'\n');
        rows += 1;
    }
    Ok((rows, kept.into()))
}

/// A line as it is kept: a request that stands there as a text is kept as what it says, byte for byte, as in a bucket.
fn stored<'l>(fields: &[Value], line: &'l [u8]) -> Result<Cow<'l, [u8]>, String> {
    let row: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    for (name, value) in &row {
        let Some(field) = fields.iter().find(|field| field["name"] == **name) else {
            return Err(format!("No such field: {name}."));
        };
        let text = serde_json::from_str::<String>(value.get());
        match (field["type"].as_str(), text) {
            (Some("STRING"), Err(_)) if value.get() != "null" => {
                return Err(format!("JSON object specified for non-record field: {name}"));
            }
            // The type of JSON holds no number that a float does not.
            (Some("JSON"), _) if serde_json::from_str::<Value>(value.get()).is_err() => {
                return Err(format!("Failed to parse JSON: {name}"));
            }
            (Some("STRING"), Ok(text)) if name == "request" => {
                out.push((name, Cow::Owned(text)));
                continue;
            }
            _ => {}
        }
        out.push((name, Cow::Borrowed(value.get())));
    }
    if row.get("request").is_none_or(|request| !request.get().starts_with('"')) {
        return Ok(Cow::Borrowed(line));
    }
    let pairs: Vec<String> = out.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    Ok(Cow::Owned(format!("{{{}}}", pairs.join(",")).into_bytes()))
}

fn running(job: &Value) -> Value {
    let mut job = job.clone();
    job["status"] = json!({"state": "RUNNING"});
    if let Some(statistics) = job["statistics"].as_object_mut() {
        statistics.remove("endTime");
        statistics.remove("load");
    }
    job
}

/// GET .../jobs/{id}. Outside of the two large ones a job is found where it is said to be.
fn job(state: &State, project: &str, id: &str, location: Option<&str>) -> Reply {
    let loads = state.loads.lock();
    let known = loads.get(&(project.to_owned(), id.to_owned()));
    let is_there = |load: &&Loaded| {
        let at = load.job["jobReference"]["location"].as_str().unwrap_or_default();
        location.map_or(["US", "EU"].contains(&at), |location| location.eq_ignore_ascii_case(at))
    };
    match known.filter(is_there) {
        Some(load) if state.clock.now_ms() < load.done_ms => Reply::of(&running(&load.job)),
        Some(load) => Reply::of(&load.job),
        None => refused(404, "notFound", &format!("Not found: Job {project}:{id}")),
    }
}

pub(super) fn split(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// The input of a batch, and where its results go: `Err` says what is wrong with the names.
pub(super) fn ends(state: &State, from: &str, to: &str) -> Result<(Option<Arc<File>>, String), String> {
    show(state);
    let source = Named::read(from).ok_or_else(|| format!("Invalid BigQuery URI: {from}"))?;
    let place = Named::read(to).ok_or_else(|| format!("Invalid BigQuery URI: {to}"))?;
    match state.files.get(&place.id()) {
        Some(_) => Err(format!("BigQuery table {to} already exists.")),
        None => Ok((state.files.get(&source.id()), place.id())),
    }
}

/// What a job says of the table it has made.
pub(super) fn made(address: &str) -> Value {
    let (dataset, table) = address.rsplit_once('.').unwrap_or((address, ""));
    json!({"bigqueryOutputDataset": dataset, "bigqueryOutputTable": table})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere() {
        let table = Named::of("p", "d", "t");
        let base = "/bigquery/v2/projects/p";
        for (method, path, want) in [
            (Method::GET, format!("{base}/datasets/d"), Some(Ask::Dataset(Named::of("p", "d", "")))),
            (Method::POST, format!("/upload{base}/jobs"), Some(Ask::Load("p".to_owned()))),
            (Method::PUT, format!("/resumable/upload{base}/jobs"), Some(Ask::Load("p".to_owned()))),
            (Method::GET, format!("{base}/jobs/j"), Some(Ask::Job("p".to_owned(), "j".to_owned()))),
            (
                Method::POST,
                format!("{base}/jobs/j/cancel"),
                Some(Ask::Cancel("p".to_owned(), "j".to_owned())),
            ),
            (Method::GET, format!("{base}/datasets/d/tables/t"), Some(Ask::Table(table.clone()))),
            (Method::GET, format!("{base}/datasets/d/tables/t/data"), Some(Ask::Rows(table.clone()))),
            (Method::DELETE, format!("{base}/datasets/d/tables/t"), Some(Ask::Delete(table.clone()))),
            (Method::POST, format!("{base}/queries"), None),
        ] {
            assert_eq!(Ask::of(&method, &path), want, "{method} {path}");
        }
        assert_eq!(Named::read("bq://p.d.t"), Some(table));
        assert_eq!(Named::read("bq://example.com:p.d.t"), Some(Named::of("example.com:p", "d", "t")));
        assert_eq!(Named::read("gs://b/o"), None);
    }
}
