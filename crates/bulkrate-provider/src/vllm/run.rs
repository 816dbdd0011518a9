//! One run: its folder, and what the files in it say of how it stands.
//!
//! ```text
//! run.json       the mark, as it was when the run was made
//! started        who runs it: number, moment of start, boot
//! claim/         made by whoever decided first whether it begins
//! log            what the command said
//! output.jsonl   its results, in input order, written as they come
//! exit           how it ended
//! cancelled      that it was told to end
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bulkrate_core::submission::{BatchCounts, BatchError, Marker, Owner, Phase, RemoteBatch};
use serde::{Deserialize, Serialize};

use super::output::{Output, only_a_file};
use super::process::Leader;
use super::store::now_s;

/// A wrapper that has not said a word for so long is not waited for.
const START_MAX_S: u64 = 10;
/// One that was told to end and has not is killed after so long.
const GRACE: Duration = Duration::from_secs(10);
/// So much of the end of a log is shown.
const TAIL_BYTES: u64 = 1_500;
/// So much of an output is read in one look: a second's work.
const LOOK_BYTES_MAX: u64 = 1 << 30;
/// A shell's code for a command that was ended by a signal is this and the signal's number.
const BY_SIGNAL: i32 = 128;

/// What is written down before anything begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) marker: Marker,
    /// The input file's id.
    pub(super) input: String,
    pub(super) model: String,
    pub(super) created_s: u64,
}

/// One run of this machine.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) folder: PathBuf,
    pub(super) made: Made,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its wrapper has not spoken yet.
    Starting,
    Running,
    /// With its exit code, unless it went without a word.
    Ended(Option<i32>),
}

impl Run {
    /// The run in a folder; `None`: there is none, or it was never made to its end.
    pub(super) fn read(folder: PathBuf) -> std::io::Result<Option<Self>> {
        let Some(text) = text_of(&folder.join("run.json"))? else { return Ok(None) };
        let id = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        Ok(serde_json::from_str(&text).ok().zip(id).map(|(made, id)| Self { id, folder, made }))
    }

    pub(super) fn output(&self) -> PathBuf {
        self.folder.join("output.jsonl")
    }

    fn leader(&self) -> std::io::Result<Option<Leader>> {
        Ok(text_of(&self.folder.join("started"))?.as_deref().and_then(Leader::read))
    }

    fn exit(&self) -> std::io::Result<Option<i32>> {
        Ok(text_of(&self.folder.join("exit"))?.and_then(|text| text.trim().parse().ok()))
    }

    pub(super) fn standing(&self) -> std::io::Result<Standing> {
        if let Some(code) = self.exit()? {
            return Ok(Standing::Ended(Some(code)));
        }
        match self.leader()? {
            Some(leader) if leader.lives() => Ok(Standing::Running),
            // It may have ended between the two looks.
            Some(_) => Ok(Standing::Ended(self.exit()?)),
            None if now_s().saturating_sub(self.made.created_s) < START_MAX_S => Ok(Standing::Starting),
            None => self.give_up(),
        }
    }

    /// Sees to it that a run that has not begun never will. One that has is running.
    fn give_up(&self) -> std::io::Result<Standing> {
        match std::fs::create_dir(self.folder.join("claim")) {
            Ok(()) => Ok(Standing::Ended(None)),
            // The wrapper says who it is before it claims its run.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.leader()?.is_some() => {
                Ok(Standing::Running)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Standing::Ended(None)),
            Err(error) => Err(error),
        }
    }

    /// Tells it to end. One that has ended stays as it is.
    pub(super) fn cancel(&self) -> std::io::Result<()> {
        if matches!(self.standing()?, Standing::Ended(_)) {
            return Ok(());
        }
        File::create(self.folder.join("cancelled"))?.sync_all()?;
        if self.leader()?.is_none() {
            self.give_up()?;
        }
        if let Some(leader) = self.leader()? {
            leader.signal("TERM");
        }
        Ok(())
    }

    /// When it was told to end.
    fn cancelled(&self) -> std::io::Result<Option<SystemTime>> {
        match std::fs::metadata(self.folder.join("cancelled")) {
            Ok(meta) => meta.modified().map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The run as a batch; `output` is what was read of its results so far. What is over is counted to its last whole line.
    pub(super) fn look(&self, output: &mut Output) -> std::io::Result<RemoteBatch> {
        let (standing, cancelled) = (self.standing()?, self.cancelled()?);
        let counted = output.read_on(&self.output(), LOOK_BYTES_MAX)?;
        let lines = output.lines;
        let all = lines >= u64::from(self.made.marker.items);
        let phase = match (standing, cancelled) {
            // The next look goes on from here.
            (Standing::Ended(_), _) if !counted => Phase::Finalizing,
            (Standing::Ended(Some(0)), _) if all => Phase::Completed,
            (Standing::Ended(_), Some(_)) => Phase::Cancelled,
            // Nothing was done, and the command itself says that it cannot be: it would say so again.
            (Standing::Ended(Some(1..BY_SIGNAL)), None) if lines == 0 => Phase::Failed,
            (Standing::Ended(_), None) => Phase::Expired,
            (_, Some(since)) => {
                self.hasten(since)?;
                Phase::Cancelling
            }
            (Standing::Starting, None) => Phase::Validating,
            (Standing::Running, None) => Phase::InProgress,
        };
        let results = phase.is_terminal() && phase != Phase::Failed;
        Ok(RemoteBatch {
            id: self.id.clone(),
            phase,
            status: phase.name().to_owned(),
            input_file: Some(self.made.input.clone()),
            output_file: results.then(|| self.id.clone()),
            error_file: None,
            counts: BatchCounts { total: self.made.marker.items.into(), completed: lines, failed: 0 },
            errors: self.errors(phase, standing),
            created_at: Some(self.made.created_s),
            ended_at: self.ended_s().filter(|_| phase.is_terminal()),
            expires_at: None,
            marker: Some(self.made.marker.clone()),
            owner: Owner::Unknown,
        })
    }

    /// When its exit code was written; one that is gone without a word left no time either.
    fn ended_s(&self) -> Option<u64> {
        let at = std::fs::metadata(self.folder.join("exit")).and_then(|meta| meta.modified()).ok()?;
        at.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    fn hasten(&self, since: SystemTime) -> std::io::Result<()> {
        if since.elapsed().is_ok_and(|waited| waited > GRACE)
            && let Some(leader) = self.leader()?
        {
            leader.signal("KILL");
        }
        Ok(())
    }

    /// Why a run ended before its time, in the command's own last words.
    fn errors(&self, phase: Phase, standing: Standing) -> Vec<BatchError> {
        let Standing::Ended(code) = standing else { return Vec::new() };
        if matches!(phase, Phase::Completed | Phase::Cancelled) {
            return Vec::new();
        }
        let how = match code {
            Some(code) if code > BY_SIGNAL => format!("it was ended by signal {}", code - BY_SIGNAL),
            Some(code) => format!("it ended with exit code {code}"),
            None => "it is gone and left no exit code".to_owned(),
        };
        let log = self.folder.join("log");
        let said = tail(&log).unwrap_or_default();
        let message = match said.trim() {
            "" => how,
            said => format!("{how}; the end of `{}`: {said}", log.display()),
        };
        vec![BatchError { code: None, message, line: bad_line(&said) }]
    }
}

/// `Invalid request on line 7`: a line that vLLM will not read.
fn bad_line(said: &str) -> Option<u64> {
    let (_, rest) = said.rsplit_once("Invalid request on line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The end of a log, from the beginning of a line.
fn tail(log: &Path) -> std::io::Result<String> {
    only_a_file(log)?;
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, whole)) if length > TAIL_BYTES => whole.to_owned(),
        _ => text,
    })
}

fn text_of(file: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A run of three items, made long ago.
    fn run(files: &[(&str, &str)]) -> (tempfile::TempDir, Run) {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker { inst: "i".to_owned(), sub: "s".to_owned(), items: 3, digest: "d".to_owned() };
        let made = Made { marker, input: "in.jsonl".to_owned(), model: "m".to_owned(), created_s: 1 };
        std::fs::write(folder.path().join("run.json"), serde_json::to_string(&made).unwrap()).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let run = Run::read(folder.path().to_owned()).unwrap().unwrap();
        (folder, run)
    }

    #[test]
    fn how_it_ended_says_what_it_is() {
        // Somebody who is gone.
        let gone = ("started", "999999999\n9 (sh) S 1 9 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0\nanother boot\n");
        for (files, phase, lines) in [
            (&[("exit", "0\n"), ("output.jsonl", "1\n2\n3\n")][..], Phase::Completed, 3),
            (&[("exit", "0\n"), ("output.jsonl", "1\n2\n3")], Phase::Expired, 2),
            (&[("exit", "0\n")], Phase::Expired, 0),
            (&[("exit", "1\n"), ("output.jsonl", "1\n")], Phase::Expired, 1),
            (&[("exit", "1\n"), ("output.jsonl", "1")], Phase::Failed, 0),
            (&[("exit", "127\n")], Phase::Failed, 0),
            (&[("exit", "137\n")], Phase::Expired, 0),
            (&[gone, ("output.jsonl", "1\n")], Phase::Expired, 1),
            (&[gone], Phase::Expired, 0),
            (&[], Phase::Expired, 0),
            (&[("exit", "143\n"), ("cancelled", ""), ("output.jsonl", "1\n")], Phase::Cancelled, 1),
            (&[gone, ("cancelled", "")], Phase::Cancelled, 0),
            (&[("exit", "0\n"), ("cancelled", ""), ("output.jsonl", "1\n2\n3\n")], Phase::Completed, 3),
        ] {
            let (_folder, run) = run(files);
            let seen = run.look(&mut Output::default()).unwrap();
            assert_eq!((seen.phase, seen.counts.completed), (phase, lines), "{files:?}");
            assert_eq!(seen.output_file.is_some(), phase != Phase::Failed, "{files:?}");
            assert_eq!(
                seen.errors.is_empty(),
                matches!(phase, Phase::Completed | Phase::Cancelled),
                "{files:?}"
            );
        }
    }

    #[test]
    fn one_that_has_not_begun_after_long_never_will() {
        let (folder, run) = run(&[]);
        assert_eq!(run.standing().unwrap(), Standing::Ended(None));
        assert!(folder.path().join("claim").exists());
        let young = Run { made: Made { created_s: now_s(), ..run.made.clone() }, ..run };
        assert_eq!(young.standing().unwrap(), Standing::Starting);
        young.cancel().unwrap();
        assert_eq!(young.look(&mut Output::default()).unwrap().phase, Phase::Cancelling);
    }

    #[test]
    fn the_last_words_are_kept_and_a_bad_line_is_named() {
        let log = format!("{}\nRuntimeError: Invalid request on line 17: nope\n", "x".repeat(5_000));
        let (_folder, run) = run(&[("exit", "1\n"), ("log", &log)]);
        let errors = run.look(&mut Output::default()).unwrap().errors;
        assert_eq!(errors[0].line, Some(17));
        let message = &errors[0].message;
        assert!(
            message.contains("exit code 1") && message.contains("on line 17") && !message.contains("xxx"),
            "{message}"
        );
    }
}
