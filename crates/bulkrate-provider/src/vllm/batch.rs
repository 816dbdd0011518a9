//! The verbs of a batch API, carried out by files and processes of this machine.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{Marker, RemoteBatch};
use serde::Deserialize;

use super::VllmOffline;
use super::run::{Made, Run};
use super::store::{Store, failed, local, now_s};
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, Created};
use crate::http::batches::not_sent;
use crate::openai::wire::OpenAiWire;
use crate::settings::Program;

/// A run takes as many lines as there are; these keep the files of one handy.
const ITEMS_MAX: u32 = 1_000_000;
const BYTES_MAX: u64 = 4 << 30;
/// The longest first line that is looked at for its model.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// How soon a run is begun again that another one keeps waiting.
const BUSY_MS: u64 = 5_000;

/// The runs of one account.
#[derive(Debug)]
pub(super) struct VllmBatches {
    wire: Arc<OpenAiWire>,
    program: Program,
    store: Option<Store>,
}

impl VllmBatches {
    pub(super) fn new(wire: Arc<OpenAiWire>, program: Program) -> Self {
        let store = program.folder.clone().map(Store::new);
        Self { wire, program, store }
    }

    /// Does something with the runs on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Store) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Some(store) = self.store.clone() else {
            return Err(failed(
                what,
                FailureClass::RefusedByProvider,
                "no folder for its runs is set".to_owned(),
            ));
        };
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => done.map_err(|error| local(what, &error)),
            Err(error) => Err(failed(what, FailureClass::Transient, error.to_string())),
        }
    }
}

/// Why a run was not begun. None of it costs anything.
enum NotBegun {
    Refused(Failure),
    /// It may have been: the folder tells.
    InDoubt(String),
}

impl From<std::io::Error> for NotBegun {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(not_sent(error.to_string()))
    }
}

fn refused(class: FailureClass, why: String) -> NotBegun {
    NotBegun::Refused(Failure { class, ..not_sent(why) })
}

#[derive(Deserialize)]
struct FirstLine {
    body: FirstBody,
}

#[derive(Deserialize)]
struct FirstBody {
    model: String,
}

/// The one model that the lines of a file name.
fn model_of(input: &Path) -> std::io::Result<String> {
    let mut line = Vec::new();
    BufReader::new(File::open(input)?.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line)?;
    let first: FirstLine = serde_json::from_slice(&line)?;
    Ok(first.body.model)
}

/// The whole command line of a run.
fn words(program: &Program, input: &Path, output: &Path, model: &str) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    // A whole batch line as a user wrote it names the provider too, and is answered under the name that it uses.
    let bare = model.strip_prefix(VllmOffline::NAME).and_then(|rest| rest.strip_prefix('/'));
    let mut words = program.command.clone();
    words.extend(["run-batch".to_owned(), "-i".to_owned(), text(input), "-o".to_owned(), text(output)]);
    words.extend(["--model".to_owned(), bare.unwrap_or(model).to_owned()]);
    if bare.is_some() {
        words.extend(["--served-model-name".to_owned(), model.to_owned()]);
    }
    words.extend(program.args.iter().cloned());
    words
}

fn begin(store: &Store, program: &Program, input_id: &str, marker: Marker) -> Result<RemoteBatch, NotBegun> {
    if store.find(&marker.sub)?.is_some() {
        return Err(NotBegun::InDoubt(format!("there is a run {} already", marker.sub)));
    }
    let missing = || not_sent(format!("there is no input file `{input_id}`"));
    let input = store.input(input_id).filter(|input| input.is_file());
    let input: PathBuf = input.ok_or_else(|| NotBegun::Refused(missing()))?;
    super::program::find(&program.command).map_err(|why| refused(FailureClass::RefusedByProvider, why))?;
    let model = model_of(&input)?;
    if model.is_empty() || model.starts_with('-') {
        return Err(refused(FailureClass::RefusedByProvider, format!("`{model}` is no name of a model")));
    }
    if let Some(other) = store.busy()? {
        let why = format!("run {} has the machine; one runs at a time", other.id);
        // It is staged anew when its turn comes.
        store.delete(input_id)?;
        let busy = Failure { class: FailureClass::RateLimited, wait_ms: Some(BUSY_MS), ..not_sent(why) };
        return Err(NotBegun::Refused(busy));
    }
    let made = Made { marker, input: input_id.to_owned(), model: model.clone(), created_s: now_s() };
    let run = store.make(made)?;
    if let Err(error) = store.start(&run, &words(program, &input, &run.output(), &model)) {
        store.remove(&run)?;
        return Err(error.into());
    }
    // From here on there is something that runs.
    store.look(&run).map_err(|error| NotBegun::InDoubt(error.to_string()))
}

#[async_trait]
impl BatchApi for VllmBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        BatchLimits { items_max: ITEMS_MAX, bytes_max: BYTES_MAX, embedding_inputs_max: u64::MAX }
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts { one_file: true, at_once: Some(1), ..BatchFacts::default() }
    }

    fn input_line(&self, id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        self.wire.input_line(id, kind, body, out);
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_line(kind, line)
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        let (file, name) = (file.to_owned(), name.to_owned());
        self.on_disk("stage a batch file", move |store| store.take(&file, &name)).await
    }

    // The lines say under which name they ask for the model.
    async fn create(&self, input_file: &str, _: Kind, _: &str, marker: &Marker) -> Created {
        let (program, input, marker) = (self.program.clone(), input_file.to_owned(), marker.clone());
        let begun = self.on_disk("start vLLM", move |store| Ok(begin(store, &program, &input, marker))).await;
        match begun {
            Ok(Ok(run)) => Created::Accepted(run),
            Ok(Err(NotBegun::Refused(failure))) => Created::Refused(failure),
            Ok(Err(NotBegun::InDoubt(why))) => Created::InDoubt(why),
            Err(error) => Created::InDoubt(error.to_string()),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        let id = id.to_owned();
        self.on_disk("look at a run", move |store| store.find(&id)?.map(|run| store.look(&run)).transpose())
            .await
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        let recent = move |run: &Run| run.made.created_s >= created_at_min;
        let list = move |store: &Store| {
            store.all()?.iter().filter(|run| recent(run)).map(|run| store.look(run)).collect()
        };
        self.on_disk("list runs", list).await
    }

    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        let id = id.to_owned();
        self.on_disk("end a run", move |store| store.find(&id)?.map_or(Ok(()), |run| run.cancel())).await
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let (file, to) = (file.to_owned(), to.to_owned());
        self.on_disk("take the results of a run", move |store| store.copy(&file, &to, bytes_max)).await
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        let file = file.to_owned();
        self.on_disk("delete what a run left", move |store| store.delete(&file)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_vllms() {
        let program = Program {
            command: vec!["uv".to_owned(), "run".to_owned(), "vllm".to_owned()],
            args: vec!["--tensor-parallel-size".to_owned(), "2".to_owned()],
            folder: None,
        };
        for (model, want) in [
            ("org/m", "uv run vllm run-batch -i /i -o /o --model org/m --tensor-parallel-size 2"),
            (
                "vllm-offline/m",
                "uv run vllm run-batch -i /i -o /o --model m --served-model-name vllm-offline/m --tensor-parallel-size 2",
            ),
        ] {
            assert_eq!(words(&program, Path::new("/i"), Path::new("/o"), model).join(" "), want);
        }
    }
}
