//! Where things lie under the state directory. Only generated names become paths.
//!
//! ```text
//! .bulkrate/
//!   state.db  engine.lock          decisions, and the process at work (bulkrate-store)
//!   stdin.spool                    standard input on its way to its job's folder
//!   jobs/<job>/requests.jsonl      one sealed unified request per leader, in item order
//!   jobs/<job>/results.jsonl       segment 0: answers of calls, of the cache, and invalid items
//!   jobs/<job>/source.spool        what was read from standard input
//!   jobs/<job>/vectors             one vector an item, where prompts are compared by embeddings
//!   jobs/<job>/embed.json  embed-*.jsonl   which jobs made them, and the texts that those are asked
//!   jobs/<job>/urgent  uncached    numbers of items that go to the sync lane; that stay out of the cache
//!   jobs/<job>/order               the order of sending, where it is not that of the source
//!   jobs/<job>/beginnings          what of its prompt an item shares with others, where that is marked for a prompt cache
//!   jobs/<job>/batches/<sub>/      unified.jsonl input.jsonl output.jsonl errors.jsonl results.jsonl
//!   cache/<job>.keys               sorted keys of a finished job's good answers
//!   pilots/<job>/                  the sample of a pilot, which jobs of its own answer, and what it was asked for
//!   local/                         batches that run on this machine (bulkrate-provider)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use bulkrate_core::ids::Sub;

use crate::EngineError;

const JOBS: &str = "jobs";
const CACHE: &str = "cache";
const PILOTS: &str = "pilots";
const LOCAL: &str = "local";
const LOCK: &str = "engine.lock";
const SPOOL: &str = "stdin.spool";
/// `state.db-wal` and its kin begin so too.
const STATE: &str = "state.db";

/// The folder of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobDir(pub PathBuf);

impl JobDir {
    #[must_use]
    pub(crate) fn of(state_dir: &Path, job: &str) -> Self {
        Self(state_dir.join(JOBS).join(job))
    }

    /// The folder of another job of the same state.
    #[must_use]
    pub(crate) fn beside(&self, job: &str) -> Self {
        Self(self.0.with_file_name(job))
    }

    #[must_use]
    pub(crate) fn requests(&self) -> PathBuf {
        self.0.join("requests.jsonl")
    }

    #[must_use]
    pub(crate) fn results(&self) -> PathBuf {
        self.0.join("results.jsonl")
    }

    #[must_use]
    pub(crate) fn spool(&self) -> PathBuf {
        self.0.join("source.spool")
    }

    #[must_use]
    pub(crate) fn urgent(&self) -> PathBuf {
        self.0.join("urgent")
    }

    #[must_use]
    pub(crate) fn order(&self) -> PathBuf {
        self.0.join("order")
    }

    #[must_use]
    pub(crate) fn beginnings(&self) -> PathBuf {
        self.0.join("beginnings")
    }

    #[must_use]
    pub(crate) fn forecast(&self) -> PathBuf {
        self.0.join("forecast.json")
    }

    #[must_use]
    pub(crate) fn vectors(&self) -> PathBuf {
        self.0.join("vectors")
    }

    /// What is known of the jobs that embed for this one.
    #[must_use]
    pub(crate) fn embeds(&self) -> PathBuf {
        self.0.join("embed.json")
    }

    /// The texts of these items, which such a job is asked.
    #[must_use]
    pub(crate) fn texts(&self, from: u32, until: u32) -> PathBuf {
        self.0.join(format!("embed-{from}-{until}.jsonl"))
    }

    #[must_use]
    pub(crate) fn uncached(&self) -> PathBuf {
        self.0.join("uncached")
    }

    #[must_use]
    pub(crate) fn batch(&self, sub: Sub) -> BatchDir {
        BatchDir(self.0.join("batches").join(sub.to_string()))
    }
}

/// The folder of one batch: the four files that show all that went over the wire, and the error file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchDir(pub PathBuf);

impl BatchDir {
    #[must_use]
    pub(crate) fn unified(&self) -> PathBuf {
        self.0.join("unified.jsonl")
    }

    #[must_use]
    pub(crate) fn input(&self) -> PathBuf {
        self.0.join("input.jsonl")
    }

    #[must_use]
    pub(crate) fn output(&self) -> PathBuf {
        self.0.join("output.jsonl")
    }

    #[must_use]
    pub(crate) fn errors(&self) -> PathBuf {
        self.0.join("errors.jsonl")
    }

    #[must_use]
    pub(crate) fn results(&self) -> PathBuf {
        self.0.join("results.jsonl")
    }
}

/// What belongs to the pilots of one job, whether it was ever run or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PilotDir(pub PathBuf);

impl PilotDir {
    #[must_use]
    pub(crate) fn of(state_dir: &Path, job: &str) -> Self {
        Self(state_dir.join(PILOTS).join(job))
    }

    #[must_use]
    pub(crate) fn sample(&self, items: u64, limit: Option<u64>) -> PathBuf {
        let of = limit.map(|limit| format!("-of-{limit}")).unwrap_or_default();
        self.0.join(format!("sample-{items}{of}.jsonl"))
    }

    /// What is known of the job's pilots.
    #[must_use]
    pub(crate) fn kept(&self) -> PathBuf {
        self.0.join("pilot.json")
    }

    /// The job whose pilots they are.
    #[must_use]
    pub(crate) fn job(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Those of all jobs, in the order of their names.
    pub(crate) fn all(state_dir: &Path) -> Result<Vec<Self>, EngineError> {
        let folder = state_dir.join(PILOTS);
        let failed = io_error("could not read", &folder);
        let mut all = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.and_then(|entries| {
                entries.map(|entry| Ok(Self(entry?.path()))).collect::<Result<Vec<_>, _>>()
            }),
        }
        .map_err(failed)?;
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    /// Removes all of it, or all but [`Self::kept`].
    pub(crate) fn clear(&self, whole: bool) -> Result<(), EngineError> {
        let removed = if whole {
            fs::remove_dir_all(&self.0)
        } else {
            fs::read_dir(&self.0).and_then(|mut entries| {
                entries.try_for_each(|entry| {
                    let path = entry?.path();
                    if path == self.kept() { Ok(()) } else { fs::remove_file(path) }
                })
            })
        };
        removed.map_err(io_error("could not remove", &self.0))
    }
}

#[must_use]
pub(crate) fn cache_dir(state_dir: &Path) -> PathBuf {
    state_dir.join(CACHE)
}

/// Where a provider keeps what it runs on this machine.
#[must_use]
pub fn local_runs(state_dir: &Path) -> PathBuf {
    state_dir.join(LOCAL)
}

/// The file that the process at work holds locked (bulkrate-store).
#[must_use]
pub(crate) fn lock_file(state_dir: &Path) -> PathBuf {
    state_dir.join(LOCK)
}

/// What is read from standard input before its job has a folder.
#[must_use]
pub(crate) fn stdin_spool(state_dir: &Path) -> PathBuf {
    state_dir.join(SPOOL)
}

/// Whether a path below the state directory is of the state; any other file in it is the user's own.
#[must_use]
pub(crate) fn is_of_state(below: &Path) -> bool {
    below.iter().next().is_some_and(|first| {
        let first = first.to_string_lossy();
        first.starts_with(STATE)
            || [JOBS, CACHE, PILOTS, LOCAL, LOCK, SPOOL].iter().any(|name| first == *name)
    })
}

/// Names what was being done to which path.
pub(crate) fn io_error<'p>(
    what: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> EngineError + use<'p> {
    move |source| EngineError::Io { what, path: path.display().to_string(), source }
}

/// A folder that only its owner can enter.
pub(crate) fn create_dir(path: &Path) -> Result<(), EngineError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(io_error("could not create", path))
}

/// A file that only its owner can read, opened for reading and writing; emptied if `truncate`.
pub(crate) fn open_file(path: &Path, truncate: bool) -> Result<File, EngineError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(truncate);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(io_error("could not open", path))
}

/// What is in a file; `None`: there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, EngineError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("could not read", path)(error)),
    }
}

/// Replaces a file as a whole, durably.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<(), EngineError> {
    let draft = path.with_extension("part");
    let mut out = open_file(&draft, true)?;
    let wrote = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    wrote.map_err(io_error("could not write", &draft))?;
    take_place(&draft, path)
}

/// A file that is written and synced takes the place of another, durably.
pub(crate) fn take_place(draft: &Path, path: &Path) -> Result<(), EngineError> {
    fs::rename(draft, path).map_err(io_error("could not move", draft))?;
    sync_dir(path.parent().unwrap_or(Path::new("")))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), EngineError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io_error("could not sync", path))
}

/// Bytes under a folder.
#[must_use]
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
