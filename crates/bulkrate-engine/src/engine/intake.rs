//! Source -> prepared job: finds the job in the state directory, or reads its source and makes it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bulkrate_core::ids::short_id;
use bulkrate_io::{Source, Stamp};
use bulkrate_store::{JobRow, JobState, LedgerEntry, NewJob, Tx};
use sha2::{Digest, Sha256};

use super::Engine;
use super::Prepared;
use super::delivered::check_unedited;
use super::patient::Patient;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::event::{Event, Observer};
use crate::paths::{JobDir, create_dir, io_error, open_file, stdin_spool};
use crate::prepare::{Checkpoint, Pass, Shape};
use crate::spec::JobSpec;
use crate::stop::Stop;

impl Engine {
    /// Finds the job in the state directory, or reads its source and makes it.
    ///
    /// Until it begins a new job stays in preparation, and one that is there as it is.
    pub(super) fn prepare(
        &self,
        spec: &JobSpec,
        observer: &dyn Observer,
        stop: &Stop,
    ) -> Result<Prepared, EngineError> {
        let mut spec = spec.clone();
        Deployment::of_job(&self.settings, &spec, self.today())?;
        check_sink(&spec, &self.settings.state_dir)?;
        let spool = self.spool(&mut spec, stop)?;
        let path = spec.source.path.clone().unwrap_or_else(|| spool.clone().unwrap_or_default());
        let stamp = self.stamp(&path);
        let digest = bulkrate_io::digest_file_while(&path, || stop.heed())?;
        let id = identity(&spec, if spool.is_some() { STDIN } else { &digest })?;
        if let Some(row) = self.reader()?.job_by_id(&id)? {
            if row.state != JobState::Preparing {
                keep_name(&row, &mut spec, observer);
                // Standard input is known by its name alone: other data under it would get the answers of the first.
                return if row.source_digest == digest {
                    self.reopen(row, spec)
                } else {
                    Err(EngineError::SourceChanged { path: "standard input".to_owned() })
                };
            }
            // A pass that was cut short is made again: nothing was sent.
            let no = row.no;
            self.with(move |store| store.delete_job(no))?;
        }
        let new = NewJob {
            id: id.clone(),
            name: spec.name.clone(),
            spec: to_json(&spec)?,
            source: path.display().to_string(),
            source_digest: digest,
            catalogue_digest: self.settings.catalogue.digest().to_owned(),
            created_at_ms: self.clock.row_ms(),
        };
        let no = self.with(move |store| store.create_job(&new))?;
        let dir = JobDir::of(&self.settings.state_dir, &id);
        create_dir(&dir.0)?;
        if let Some(spool) = &spool {
            std::fs::rename(spool, dir.spool()).map_err(io_error("could not move", spool))?;
        }
        let source_path = spec.source.path.clone().unwrap_or_else(|| dir.spool());
        match self.pass(&spec, no, &dir, &source_path, stamp, observer, stop) {
            Ok((checkpoint, deployments, unbooked)) => {
                let row = self
                    .reader()?
                    .job(no)?
                    .ok_or_else(|| EngineError::Internal("the job is gone".to_owned()))?;
                let part_of = None;
                Ok(Prepared { row, spec, checkpoint, deployments, resumed: false, unbooked, part_of })
            }
            Err(error) => {
                // A source that cannot be used leaves nothing behind.
                self.with(move |store| store.delete_job(no))?;
                drop(std::fs::remove_dir_all(&dir.0));
                Err(error)
            }
        }
    }

    /// Standard input is kept, as delivery reads the columns again.
    pub(super) fn spool(&self, spec: &mut JobSpec, stop: &Stop) -> Result<Option<PathBuf>, EngineError> {
        if spec.source.path.is_some() {
            return Ok(None);
        }
        let path = stdin_spool(&self.settings.state_dir);
        let mut file = open_file(&path, true)?;
        let mut input = Patient::read(std::io::stdin())?;
        let mut first = None;
        while let Some(block) = input.next(stop)? {
            first = first.or_else(|| block.iter().copied().find(|byte| !byte.is_ascii_whitespace()));
            file.write_all(&block).map_err(io_error("could not write", &path))?;
        }
        spec.source
            .format
            .get_or_insert_with(|| if first == Some(b'{') { "jsonl" } else { "csv" }.to_owned());
        Ok(Some(path))
    }

    /// `None` for what may change unseen: it is hashed again.
    fn stamp(&self, path: &Path) -> Option<Stamp> {
        Stamp::of(path).ok().filter(|stamp| stamp.is_settled(self.clock.unix_ms()))
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; each is a different thing")]
    pub(super) fn pass(
        &self,
        spec: &JobSpec,
        no: u32,
        dir: &JobDir,
        path: &Path,
        stamp: Option<Stamp>,
        observer: &dyn Observer,
        stop: &Stop,
    ) -> Result<(Checkpoint, Vec<Deployment>, Vec<LedgerEntry>), EngineError> {
        let mut options = crate::deliver::source_options(&spec.source, None)?;
        options.input = bulkrate_io::Input::File(path.to_owned());
        let shape = {
            let mut peek = Source::open(&options)?;
            let first = peek.next()?;
            Shape::of(&spec.request, first.as_ref().map(|row| &row.data))?
        };
        let mut source = Source::open(&options)?;
        crate::deliver::columns(spec, source.format(), source.columns(), shape)?;
        let mut pass =
            Pass::new(&self.settings, spec, no, dir, self.writer.clone(), &source, shape, self.today())?;
        let mut told_us = self.clock.us();
        while let Some(row) = source.next()? {
            stop.heed()?;
            pass.record(&row)?;
            if row.record == 0 {
                // What is wrong with the job itself is told before what is wrong with its output.
                check_target(spec)?;
            }
            let looks = pass.fetched().is_some() || pass.records() % 4_096 == 0;
            if looks && self.clock.us() > told_us + 250_000 {
                told_us = self.clock.us();
                observer.event(&preparing(&pass, &source));
            }
        }
        pass.go_on(true)?;
        check_target(spec)?;
        observer.event(&preparing(&pass, &source));
        let deployments = pass.deployments().to_vec();
        let (mut checkpoint, left) = pass.finish(&source, true, self.clock.row_ms())?;
        // Only what was the same before it was hashed and after it was read.
        checkpoint.stamp = stamp.filter(|stamp| self.stamp(path) == Some(*stamp));
        for note in &left.notes {
            observer.event(&Event::Note { message: note });
        }
        let mut tx = Tx::new(no);
        tx.checkpoint = Some(to_json(&checkpoint)?);
        tx.at_ms = Some(self.clock.row_ms());
        self.writer.commit(tx).map_err(|error| crate::error::stored(&error))?;
        Ok((checkpoint, deployments, left.ledger))
    }

    /// From here on a job is one that runs, with the settings that it was asked with now.
    pub(super) fn begin(&self, prepared: &mut Prepared) -> Result<(), EngineError> {
        let mut tx = Tx::new(prepared.row.no);
        tx.spec = Some(to_json(&prepared.spec)?);
        if !prepared.resumed {
            tx.ledger = std::mem::take(&mut prepared.unbooked);
            tx.job_state = Some(JobState::Running);
            tx.at_ms = Some(self.clock.row_ms());
        }
        self.writer.commit(tx).map(drop).map_err(|error| crate::error::stored(&error))
    }

    /// A job that is there already, with the new run settings.
    pub(super) fn reopen(&self, row: JobRow, spec: JobSpec) -> Result<Prepared, EngineError> {
        self.check_output(&row, &spec)?;
        self.known(row, spec)
    }

    /// The output of a job that is there: it can be written, and nothing of the user's is replaced by it.
    pub(super) fn check_output(&self, row: &JobRow, spec: &JobSpec) -> Result<(), EngineError> {
        check_sink(spec, &self.settings.state_dir)?;
        if crate::run::stream::owns(spec, &JobDir::of(&self.settings.state_dir, &row.id)) {
            check_unedited(row, spec)
        } else {
            check_target(spec)
        }
    }

    /// A job that is there, as it is.
    pub(super) fn known(&self, row: JobRow, mut spec: JobSpec) -> Result<Prepared, EngineError> {
        // Books that were begun with one model of the naive plan are not gone on with by another.
        spec.run.instead_of = crate::deliver::spec_of(&row)?.run.instead_of;
        let checkpoint = crate::deliver::checkpoint_of(&row)?;
        let deployments = self.deployments_of(&spec, &checkpoint)?;
        let (unbooked, part_of) = (Vec::new(), None);
        Ok(Prepared { row, spec, checkpoint, deployments, resumed: true, unbooked, part_of })
    }

    /// The models that the job names, and those that its lines were found to name.
    pub(super) fn deployments_of(
        &self,
        spec: &JobSpec,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<Deployment>, EngineError> {
        let mut deployments = Deployment::of_job(&self.settings, spec, self.today())?;
        for stats in &checkpoint.stats.models {
            if !deployments.iter().any(|found| found.pinned == stats.model) {
                deployments.push(Deployment::resolve(
                    &self.settings,
                    spec.asks(),
                    &stats.model,
                    self.today(),
                )?);
            }
        }
        Ok(deployments)
    }
}

/// How far a pass has come.
fn preparing(pass: &Pass<'_>, source: &Source) -> Event<'static> {
    Event::Preparing {
        records: pass.records(),
        bytes: source.bytes_read(),
        bytes_total: source.bytes_total(),
        fetched: pass.fetched().unwrap_or(0),
    }
}

/// The format of the output is known and can be written as asked, and there is a folder that takes it; told before anything is spent.
pub(super) fn check_sink(spec: &JobSpec, state_dir: &Path) -> Result<(), EngineError> {
    let Some(path) = &spec.sink.path else { return Ok(()) };
    let mode = if spec.sink.stream {
        bulkrate_io::SinkMode::Stream { resume_at: None }
    } else {
        bulkrate_io::SinkMode::Whole
    };
    let options = crate::deliver::sink_options(&spec.sink, true, mode)?;
    options.shape()?;
    if path.as_os_str() == "-" {
        return Ok(());
    }
    crate::deliver::keep_apart(spec, state_dir, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let what = match folder {
        _ if path.is_dir() => "it is a folder",
        Some(folder) if !folder.is_dir() => "its folder does not exist",
        _ => return Ok(options.probe()?),
    };
    Err(bulkrate_io::SinkError::BadPath { path: path.clone(), what }.into())
}

/// A name is no part of what a job is: by another one it would be looked for in vain.
fn keep_name(row: &JobRow, spec: &mut JobSpec, observer: &dyn Observer) {
    if row.name == spec.name {
        return;
    }
    let message = format!(
        "job {} of `{}` asks the same of the same rows: it goes on under that name, not as `{}`; `--distinct` or another `sample` makes another job",
        row.id, row.name, spec.name
    );
    observer.event(&Event::Note { message: &message });
    spec.name.clone_from(&row.name);
}

/// A file that this job did not write is not replaced unasked; told before anything is spent.
pub(super) fn check_target(spec: &JobSpec) -> Result<(), EngineError> {
    match &spec.sink.path {
        Some(path) if path.as_os_str() != "-" && !spec.sink.force && path.is_file() => {
            Err(bulkrate_io::SinkError::Exists { path: path.clone() }.into())
        }
        _ => Ok(()),
    }
}

/// What stands for the digest of standard input, which is known by the job's name alone.
pub(crate) const STDIN: &str = "standard input";

/// Same job spec and same input: same job. Budget, deadline, lane, limits, `--limit` and output do not count.
pub(crate) fn identity(spec: &JobSpec, digest: &str) -> Result<String, EngineError> {
    let named = if spec.source.path.is_none() { spec.name.as_str() } else { "" };
    let source = (&spec.source.format, &spec.source.id, spec.source.on_bad_line);
    let parts = (&spec.request, &spec.tags, source, named, spec.run.distinct, digest);
    let text = to_json(&parts)?;
    Ok(short_id(&Sha256::digest(text).into(), 10))
}

pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, EngineError> {
    serde_json::to_string(value).map_err(|error| EngineError::Internal(error.to_string()))
}
