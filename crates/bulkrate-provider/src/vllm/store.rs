//! The runs of one folder: makes them, finds them again, and takes away what is no longer wanted. Only names of ours are paths.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::submission::RemoteBatch;

use super::output::Output;
use super::process;
use super::run::{Made, Run, Standing};
use crate::api::{ApiError, DISK_FULL, LOCAL};

const INPUTS: &str = "inputs";
const RUNS: &str = "runs";
const INPUT_END: &str = ".jsonl";
const NAME_BYTES_MAX: usize = 80;

/// The runs below one folder, and the children that this process has started.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
    children: Arc<Mutex<Vec<Child>>>,
    /// How far the outputs were read, by run.
    outputs: Arc<Mutex<HashMap<String, Output>>>,
}

pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Something here that is no disk's fault.
pub(super) fn failed(what: &str, class: FailureClass, why: String) -> ApiError {
    let failure = Failure { class, message: why, provider_code: None, wait_ms: None, maybe_paid: false };
    ApiError { what: what.to_owned(), status: None, failure }
}

/// A file of this machine that cannot be read or written.
pub(super) fn local(what: &str, error: &std::io::Error) -> ApiError {
    let mut failed = failed(what, FailureClass::Transient, error.to_string());
    let code = if error.kind() == ErrorKind::StorageFull { DISK_FULL } else { LOCAL };
    failed.failure.provider_code = Some(code.to_owned());
    failed
}

/// Whether a name is one that was made here, and so no path to anywhere else.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// The name under which the engine stages the input of a submission.
fn name_of(sub: &str) -> String {
    format!("bulkrate-{sub}{INPUT_END}")
}

fn new_dir(path: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn dir(path: &Path) -> std::io::Result<()> {
    match new_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

fn gone(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Store {
    /// Touches nothing.
    pub(super) fn new(folder: PathBuf) -> Self {
        // The child works in our folder, and a later process may stand elsewhere.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        Self { folder, children: Arc::default(), outputs: Arc::default() }
    }

    /// Takes in a file under a name of its own, at no cost where the disk allows: what a run reads can be taken away from it
    /// without touching what was staged. Answers the file's id.
    pub(super) fn take(&self, file: &Path, name: &str) -> std::io::Result<String> {
        let stem = name.strip_suffix(INPUT_END).unwrap_or(name);
        if !is_plain(stem) {
            return Err(std::io::Error::new(
                ErrorKind::InvalidInput,
                format!("`{name}` is no name for a file"),
            ));
        }
        let folder = self.folder.join(INPUTS);
        self.make_folders(&folder)?;
        let id = format!("{stem}{INPUT_END}");
        let (part, whole) = (folder.join(format!("{stem}.part")), folder.join(&id));
        gone(fs::remove_file(&part))?;
        if fs::hard_link(file, &part).is_err() {
            fs::copy(file, &part)?;
            File::open(&part)?.sync_all()?;
        }
        fs::rename(&part, &whole)?;
        // Two names of one file: a rename leaves the first.
        gone(fs::remove_file(&part))?;
        sync_dir(&folder)?;
        Ok(id)
    }

    fn make_folders(&self, last: &Path) -> std::io::Result<()> {
        dir(&self.folder)?;
        dir(last)
    }

    /// Where an input lies; `None`: the id is none of ours.
    pub(super) fn input(&self, id: &str) -> Option<PathBuf> {
        id.strip_suffix(INPUT_END).filter(|stem| is_plain(stem)).map(|_| self.folder.join(INPUTS).join(id))
    }

    /// Makes a run and its mark, durably, and starts nothing. A second one of the same submission is an error.
    pub(super) fn make(&self, made: Made) -> std::io::Result<Run> {
        let id = made.marker.sub.clone();
        if !is_plain(&id) {
            return Err(std::io::Error::new(ErrorKind::InvalidInput, format!("`{id}` is no name for a run")));
        }
        let runs = self.folder.join(RUNS);
        self.make_folders(&runs)?;
        let run = Run { folder: runs.join(&id), id, made };
        new_dir(&run.folder)?;
        let marked = self.mark(&run, &runs);
        if marked.is_err() {
            self.remove(&run)?;
        }
        marked.map(|()| run)
    }

    fn mark(&self, run: &Run, runs: &Path) -> std::io::Result<()> {
        let part = run.folder.join("run.json.part");
        let mut file = File::create(&part)?;
        file.write_all(&serde_json::to_vec(&run.made)?)?;
        file.sync_all()?;
        fs::rename(&part, run.folder.join("run.json"))?;
        [run.folder.as_path(), runs, &self.folder].into_iter().try_for_each(sync_dir)
    }

    /// Takes a run away in which nothing runs.
    pub(super) fn remove(&self, run: &Run) -> std::io::Result<()> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner).remove(&run.id);
        gone(fs::remove_dir_all(&run.folder))
    }

    pub(super) fn start(&self, run: &Run, words: &[String]) -> std::io::Result<()> {
        let child = process::start(&run.folder, words)?;
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        Ok(())
    }

    /// Takes leave of children that have ended.
    fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    pub(super) fn find(&self, id: &str) -> std::io::Result<Option<Run>> {
        self.reap();
        if is_plain(id) { Run::read(self.folder.join(RUNS).join(id)) } else { Ok(None) }
    }

    /// How a run stands; its output is read on from the last look.
    pub(super) fn look(&self, run: &Run) -> std::io::Result<RemoteBatch> {
        let mut output = self.output(run);
        let seen = run.look(&mut output);
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner).insert(run.id.clone(), output);
        seen
    }

    fn output(&self, run: &Run) -> Output {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.get(&run.id).copied().unwrap_or_default()
    }

    pub(super) fn all(&self) -> std::io::Result<Vec<Run>> {
        self.reap();
        let entries = match fs::read_dir(self.folder.join(RUNS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            // What a file manager leaves is no run.
            if path.is_dir() {
                runs.extend(Run::read(path)?);
            }
        }
        runs.sort_by(|left, right| (right.made.created_s, &right.id).cmp(&(left.made.created_s, &left.id)));
        Ok(runs)
    }

    /// A run that is not over, whichever process started it. What those have read that are is taken away.
    pub(super) fn busy(&self) -> std::io::Result<Option<Run>> {
        let mut busy = None;
        for run in self.all()? {
            match (run.standing()?, self.input(&run.made.input)) {
                (Standing::Ended(_), Some(input)) => gone(fs::remove_file(input))?,
                (Standing::Ended(_), None) => {}
                _ => busy = Some(run),
            }
        }
        Ok(busy)
    }

    /// Copies the whole lines of a run's output, whole or not at all. `Ok(None)`: there is no such run.
    pub(super) fn copy(&self, id: &str, to: &Path, bytes_max: u64) -> std::io::Result<Option<u64>> {
        let Some(run) = self.find(id)? else { return Ok(None) };
        let (path, mut output) = (run.output(), self.output(&run));
        let counted = output.read_on(&path, bytes_max.saturating_add(1))?;
        let bytes = output.whole;
        if !counted || bytes > bytes_max {
            let why = format!("`{}` has more than {bytes_max} bytes, which are the most", path.display());
            return Err(std::io::Error::new(ErrorKind::InvalidData, why));
        }
        let part = to.with_extension("part");
        let mut file = File::create(&part)?;
        if bytes > 0 {
            let copied = std::io::copy(&mut File::open(&path)?.take(bytes), &mut file)?;
            if copied != bytes {
                return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the output became shorter"));
            }
        }
        file.sync_all()?;
        fs::rename(&part, to)?;
        Ok(Some(bytes))
    }

    /// Deletes all that belongs to a submission.
    pub(super) fn forget(&self, sub: &str) -> std::io::Result<()> {
        for id in [name_of(sub), sub.to_owned()] {
            self.delete(&id)?;
        }
        Ok(())
    }

    /// Deletes an input, or a run that is over.
    pub(super) fn delete(&self, id: &str) -> std::io::Result<()> {
        if let Some(input) = self.input(id) {
            return gone(fs::remove_file(input));
        }
        let Some(run) = self.find(id)? else { return Ok(()) };
        if !matches!(run.standing()?, Standing::Ended(_)) {
            return Err(std::io::Error::other(format!("run {id} is not over")));
        }
        self.remove(&run)
    }
}
