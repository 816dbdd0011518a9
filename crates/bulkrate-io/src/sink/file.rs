//! The file behind a sink: written under a hidden name beside its place and renamed when complete and synced.
//!
//! Invariants
//! - Until `commit` returns, whatever lay at the path before lies there still (stream mode excepted).
//! - Dropped without `commit`, nothing is left behind. After a kill the hidden file is left; the next writer of the
//!   same output takes it over, since it is locked only while its writer lives.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{SinkError, SinkMode, SinkOptions, SinkTarget};

#[derive(Debug)]
pub(crate) struct OutputFile {
    /// As the user gave it.
    pub path: PathBuf,
    out: Out,
    place: Place,
    /// Bytes in the file so far.
    pub bytes: u64,
}

#[derive(Debug)]
enum Out {
    File(File),
    Stdout(io::Stdout),
}

#[derive(Debug)]
enum Place {
    /// Written where it is: standard output, a stream, a device or a pipe.
    Direct,
    Hidden {
        temp: PathBuf,
        /// The path with symbolic links resolved.
        target: PathBuf,
        overwrite: bool,
    },
}

impl OutputFile {
    pub(crate) fn open(options: &SinkOptions) -> Result<Self, SinkError> {
        let SinkTarget::File(path) = &options.target else {
            return Ok(Self {
                path: "-".into(),
                out: Out::Stdout(io::stdout()),
                place: Place::Direct,
                bytes: 0,
            });
        };
        let there = match fs::metadata(path) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(SinkError::io(path, "open", error)),
        };
        match there {
            Some(meta) if meta.is_dir() => {
                Err(SinkError::BadPath { path: path.clone(), what: "it is a folder" })
            }
            Some(meta) if !meta.is_file() => Self::device(path),
            there => match options.mode {
                SinkMode::Whole => Self::hidden(path, there.is_some(), options.overwrite),
                SinkMode::Stream { resume_at } => {
                    Self::stream(path, there.is_some(), options.overwrite, resume_at)
                }
            },
        }
    }

    /// Whether the output could be written there: tried with a file beside it, of which nothing is left.
    pub(crate) fn probe(options: &SinkOptions) -> Result<(), SinkError> {
        let SinkTarget::File(path) = &options.target else { return Ok(()) };
        let failed = |error| SinkError::io(path, "write", error);
        let target = match fs::metadata(path) {
            Ok(meta) if !meta.is_file() => return Ok(()), // a pipe may wait for its reader
            Ok(_) if matches!(options.mode, SinkMode::Stream { .. }) => {
                return OpenOptions::new().write(true).open(path).map(drop).map_err(failed);
            }
            Ok(_) => fs::canonicalize(path).map_err(failed)?,
            Err(_) => path.clone(),
        };
        let probe = target.with_file_name(format!(".bulkrate-probe-{}", std::process::id()));
        let made = OpenOptions::new().create(true).truncate(false).write(true).open(&probe);
        made.and_then(|_| fs::remove_file(&probe)).map_err(failed)
    }

    /// A device or a named pipe: nothing to replace, nothing to rename.
    fn device(path: &Path) -> Result<Self, SinkError> {
        let file =
            OpenOptions::new().write(true).open(path).map_err(|error| SinkError::io(path, "open", error))?;
        Ok(Self::of(path, file, Place::Direct))
    }

    fn of(path: &Path, file: File, place: Place) -> Self {
        Self { path: path.into(), out: Out::File(file), place, bytes: 0 }
    }

    fn hidden(path: &Path, exists: bool, overwrite: bool) -> Result<Self, SinkError> {
        if exists && !overwrite {
            return Err(SinkError::Exists { path: path.into() });
        }
        let failed = |error| SinkError::io(path, "open", error);
        let target = if exists { fs::canonicalize(path).map_err(failed)? } else { path.to_path_buf() };
        let Some(name) = target.file_name() else {
            return Err(SinkError::BadPath { path: path.into(), what: "it names no file" });
        };
        let temp = target.with_file_name(format!(".{}.bulkrate-part", name.to_string_lossy()));
        let file = lock(path, &temp)?;
        // Only a file that is ours by lock is emptied and, from here on, removed on failure.
        let output = Self::of(path, file, Place::Hidden { temp, target, overwrite });
        if let Out::File(file) = &output.out {
            file.set_len(0).map_err(failed)?;
        }
        Ok(output)
    }

    fn stream(path: &Path, exists: bool, overwrite: bool, resume_at: Option<u64>) -> Result<Self, SinkError> {
        if exists && !overwrite && resume_at.is_none() {
            return Err(SinkError::Exists { path: path.into() });
        }
        let failed = |error| SinkError::io(path, "open", error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        try_lock(path, &file)?;
        let resume_at = resume_at.unwrap_or(0);
        let found = file.metadata().map_err(failed)?.len();
        if found < resume_at {
            return Err(SinkError::BadResume { path: path.into(), found, resume_at });
        }
        file.set_len(resume_at).map_err(failed)?;
        let mut output = Self::of(path, file, Place::Direct);
        if let Out::File(file) = &mut output.out {
            file.seek(SeekFrom::End(0)).map_err(failed)?;
        }
        output.bytes = resume_at;
        Ok(output)
    }

    /// Syncs what was written to the device. Standard output, pipes and devices have nothing to sync.
    pub(crate) fn sync(&self) -> Result<(), SinkError> {
        let Out::File(file) = &self.out else { return Ok(()) };
        match file.sync_all() {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(SinkError::io(&self.path, "sync", error))
            }
            _ => Ok(()),
        }
    }

    /// Puts the complete file in its place. Returns its size in bytes.
    pub(crate) fn commit(&mut self) -> Result<u64, SinkError> {
        self.flush().map_err(|error| SinkError::io(&self.path, "write", error))?;
        self.sync()?;
        if let Place::Hidden { temp, target, overwrite } = &self.place {
            if !overwrite && fs::symlink_metadata(target).is_ok() {
                return Err(SinkError::Exists { path: self.path.clone() });
            }
            let failed = |error| SinkError::io(&self.path, "rename", error);
            fs::rename(temp, target).map_err(failed)?;
            sync_folder(target).map_err(failed)?;
        }
        self.place = Place::Direct;
        Ok(self.bytes)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Place::Hidden { temp, .. } = &self.place {
            // Nobody is left to tell; a file that stays is taken over by the next writer.
            let _ = fs::remove_file(temp);
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.out {
            Out::File(file) => file.write(bytes),
            Out::Stdout(stdout) => stdout.write(bytes),
        }?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::File(file) => file.flush(),
            Out::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// Opens the hidden file and locks it; one left by a killed writer is taken over, but never through a link.
fn lock(path: &Path, temp: &Path) -> Result<File, SinkError> {
    let failed = |error| SinkError::io(path, "open", error);
    let file = match OpenOptions::new().write(true).create_new(true).open(temp) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(temp).map_err(failed)?.is_file() {
                return Err(SinkError::BadPath {
                    path: path.into(),
                    what: "its hidden part file is not a file",
                });
            }
            OpenOptions::new().write(true).open(temp)
        }
        other => other,
    };
    let file = file.map_err(failed)?;
    try_lock(path, &file)?;
    Ok(file)
}

fn try_lock(path: &Path, file: &File) -> Result<(), SinkError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(SinkError::Busy { path: path.into() }),
        // Some network file systems have no locks; two writers are then the user's to avoid.
        Err(TryLockError::Error(_)) | Ok(()) => Ok(()),
    }
}

/// Makes a rename last: the folder's entry is synced too. Folders cannot be opened everywhere.
fn sync_folder(target: &Path) -> io::Result<()> {
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}
