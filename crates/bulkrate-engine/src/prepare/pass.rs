//! The one pass over the source.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bulkrate_core::dedup::Index;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Ordinal, RequestKey};
use bulkrate_core::money::{Tokens, UsdNanos};
use bulkrate_core::prepare::{ItemError, key_of, seal};
use bulkrate_core::price::{JobShape, RequestShape};
use bulkrate_core::request::CacheMode;
use bulkrate_core::usage::Usage;
use bulkrate_io::{Position, Row, RowData, Source, Stamp};
use bulkrate_store::{Fate, ItemChunk, ItemRec, Outcome, Place, StoreError, Tx, Urgency, Via, Writer};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::ids::UniqueIds;
use super::keys::KeyFile;
use super::reuse::{Reuse, Reused};
use super::shape::{Draftsman, Drawn, Shape, ShapeError};
use super::tokens::check_window;
use crate::EngineError;
use crate::cache::Asked;
use crate::deployment::Deployment;
use crate::paths::{JobDir, io_error, open_file};
use crate::result_line::{Frame, write_bad};
use crate::settings::Settings;
use crate::spec::{JobSpec, OnBadLine};

/// What a finished pass leaves in the job's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub shape: Shape,
    pub position: Position,
    /// The source was read to its end.
    pub exhausted: bool,
    /// The header, or the keys seen in a table of JSON lines.
    pub columns: Vec<String>,
    pub request_bytes: u64,
    pub results_bytes: u64,
    /// Of the source that was hashed and read: while it bears it, it need not be hashed again.
    #[serde(default)]
    pub stamp: Option<Stamp>,
    pub stats: Stats,
    /// The same of the records before the limit that the pass was made with, where it was less than all.
    #[serde(default)]
    pub limited: Option<Limited>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limited {
    pub limit: u64,
    pub stats: Stats,
}

/// What the pass counted; a plan is made from it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub records: u64,
    pub duplicates: u64,
    pub invalid: u64,
    pub skipped: u64,
    /// Leaders that earlier jobs have answered.
    #[serde(default)]
    pub cached: u64,
    pub models: Vec<ModelStats>,
}

/// Leaders by model, and by whether they go to the sync lane in any case.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ModelStats {
    pub model: String,
    #[serde(default)]
    pub urgent: bool,
    pub items: u64,
    /// Followers of these leaders.
    pub followers: u64,
    pub bytes: u64,
    pub bytes_largest: u64,
    pub input_max: u64,
    pub input_max_largest: u64,
    pub output_max: u32,
    pub choice_bytes: Option<u64>,
}

impl ModelStats {
    #[must_use]
    pub(crate) fn shape(&self, reasoning: bool) -> JobShape {
        JobShape {
            items: self.items,
            bytes: self.bytes,
            bytes_largest: self.bytes_largest,
            input_max: Tokens(self.input_max),
            input_max_largest: Tokens(self.input_max_largest),
            output_max: Tokens(u64::from(self.output_max)),
            choice_bytes: self.choice_bytes,
            reasoning,
            ..JobShape::default()
        }
    }
}

/// Bytes of requests gathered before they are written and their items committed.
const CHUNK_BYTES: usize = 1 << 20;
/// Commits under way at once: bounds the memory when the disk is slower than the source.
const COMMITS_MAX: usize = 4;
/// Outcomes of one commit.
const OUTCOMES_MAX: usize = 8_192;
const COLUMNS_MAX: usize = 1_000;

/// Everything one pass carries along.
#[derive(Debug)]
pub(crate) struct Pass<'e> {
    spec: &'e JobSpec,
    job: u32,
    writer: Writer,
    draftsman: Draftsman,
    shape: Shape,
    columns: Vec<String>,
    collect_columns: bool,
    index: Index,
    keys: KeyFile,
    unique: Option<UniqueIds>,
    requests: Out,
    results: Out,
    chunk: ItemChunk,
    outcomes: Vec<Outcome>,
    canonical: Vec<u8>,
    stats: Stats,
    limited: Option<Limited>,
    /// Leaders that go to the sync lane, and leaders whose answers are not kept for later jobs.
    urgent: Vec<Ordinal>,
    uncached: Vec<Ordinal>,
    dir: JobDir,
    /// Leaders before the limit that earlier jobs have answered.
    cached_before: u64,
    /// The response cache, where there is one to read.
    reuse: Option<Reuse>,
    tag_sets: TagSets,
    done: (Sender<Committed>, Receiver<Committed>),
    pending: usize,
    source_name: String,
}

type Committed = Result<(), Arc<StoreError>>;

/// An append-only file with its buffer.
#[derive(Debug)]
struct Out {
    file: Arc<File>,
    path: std::path::PathBuf,
    buffer: Vec<u8>,
    offset: u64,
}

impl Out {
    fn create(path: &Path) -> Result<Self, EngineError> {
        Ok(Self {
            file: Arc::new(open_file(path, true)?),
            path: path.to_owned(),
            buffer: Vec::with_capacity(CHUNK_BYTES * 2),
            offset: 0,
        })
    }

    fn end(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        (&*self.file).write_all(&self.buffer).map_err(io_error("could not write", &self.path))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Tags of items, by number; 0 is the job's own.
#[derive(Debug, Default)]
struct TagSets {
    known: std::collections::HashMap<Vec<u8>, u32>,
    fresh: Vec<(u32, String)>,
}

impl TagSets {
    fn number(&mut self, tags: &[u8]) -> u32 {
        if let Some(number) = self.known.get(tags) {
            return *number;
        }
        let number = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.insert(tags.to_vec(), number);
        self.fresh.push((number, String::from_utf8_lossy(tags).into_owned()));
        number
    }
}

impl<'e> Pass<'e> {
    #[allow(clippy::too_many_arguments, reason = "made once; each is a different thing")]
    pub(crate) fn new(
        settings: &'e Settings,
        spec: &'e JobSpec,
        job: u32,
        dir: &JobDir,
        writer: Writer,
        source: &Source,
        shape: Shape,
        today: Date,
    ) -> Result<Self, EngineError> {
        let columns = source.columns().to_vec();
        let draftsman = Draftsman::new(settings, spec, shape, &columns, today)?;
        let io = |source| EngineError::Io {
            what: "could not create",
            path: "a temporary file".to_owned(),
            source,
        };
        let with_ids = spec.source.id.is_some() || shape != Shape::Table;
        let mut tag_sets = TagSets::default();
        let own = serde_json::to_vec(&spec.tags).unwrap_or_else(|_| b"{}".to_vec());
        tag_sets.number(&own);
        Ok(Self {
            spec,
            job,
            writer,
            draftsman,
            shape,
            collect_columns: columns.is_empty() && shape == Shape::Table,
            columns,
            index: Index::new(),
            keys: KeyFile::new().map_err(io)?,
            unique: with_ids.then(UniqueIds::default),
            requests: Out::create(&dir.requests())?,
            results: Out::create(&dir.results())?,
            chunk: ItemChunk::default(),
            outcomes: Vec::new(),
            canonical: Vec::with_capacity(4_096),
            stats: Stats::default(),
            limited: None,
            urgent: Vec::new(),
            uncached: Vec::new(),
            dir: dir.clone(),
            cached_before: 0,
            reuse: Reuse::open(settings, spec, job)?,
            tag_sets,
            done: channel(),
            pending: 0,
            source_name: spec
                .source
                .path
                .as_ref()
                .map_or_else(|| "standard input".to_owned(), |path| path.display().to_string()),
        })
    }

    /// Takes one record.
    pub(crate) fn record(&mut self, row: &Row<'_>) -> Result<(), EngineError> {
        let ordinal = Ordinal::try_from(row.record)
            .map_err(|_| EngineError::Internal("more than 4,294,967,295 items".to_owned()))?;
        if self.spec.source.limit == Some(row.record) {
            // What the cache answers before the limit is counted as it is found.
            let stats = Stats { cached: 0, ..self.stats.clone() };
            self.limited = Some(Limited { limit: row.record, stats });
        }
        self.stats.records += 1;
        self.note_columns(&row.data);
        let drawn = match self.draw(row) {
            Ok(drawn) => Ok(drawn),
            Err(ShapeError::Model(error)) => return Err(error),
            Err(ShapeError::Item(source)) if self.spec.source.on_bad_line == OnBadLine::Fail => {
                return Err(EngineError::Item {
                    place: format!("{}:{}", self.source_name, row.line),
                    source,
                });
            }
            Err(ShapeError::Item(error)) => Err(error.to_string()),
        };
        match drawn {
            Ok(drawn) => self.item(ordinal, &drawn)?,
            Err(why) => self.invalid(ordinal, &why)?,
        }
        if self.requests.buffer.len() >= CHUNK_BYTES || self.chunk.items.len() >= ItemChunk::ITEMS_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Leaves the record's canonical form in `self.canonical`.
    fn draw(&mut self, row: &Row<'_>) -> Result<Drawn, ShapeError> {
        self.canonical.clear();
        if let RowData::Bad(bad) = &row.data {
            return Err(ItemError::BadRequest(bad.to_string()).into());
        }
        let drawn = self.draftsman.draw(&row.data, row.record + 1, &mut self.canonical)?;
        let deployment = &self.draftsman.deployments[drawn.deployment];
        check_window(&self.canonical, drawn.messages, deployment, &*self.draftsman.settings.tables)?;
        Ok(drawn)
    }

    fn item(&mut self, ordinal: Ordinal, drawn: &Drawn) -> Result<(), EngineError> {
        let temporary =
            |source| EngineError::Io { what: "could not write", path: "a temporary file".to_owned(), source };
        if let Some(unique) = &mut self.unique {
            unique.add(&drawn.item_id, ordinal).map_err(temporary)?;
        }
        let key = key_of(&self.canonical);
        let leader = if self.spec.run.distinct {
            None
        } else {
            let keys = &self.keys;
            self.index.lead(&key, ordinal, |other| keys.is(other, &key)).map_err(temporary)?
        };
        self.keys.push(&key).map_err(temporary)?;
        let stats = self.stats_of(drawn);
        if let Some(leader) = leader {
            stats.followers += 1;
            self.stats.duplicates += 1;
            if let Some(reuse) = &mut self.reuse {
                reuse.follows(leader, drawn.deployment);
            }
            self.chunk.items.push(ItemRec::Follower { leader });
            // Whoever is in a hurry hurries the one that runs for both.
            self.urgent.extend(drawn.wishes.is_urgent().then_some(leader));
            return Ok(());
        }
        self.count(drawn);
        let tags = if drawn.tags.is_empty() { 0 } else { self.tag_sets.number(&drawn.tags) };
        let start = self.requests.buffer.len();
        let sealed =
            seal(&drawn.item_id, &drawn.tags, drawn.wishes, &self.canonical, &mut self.requests.buffer);
        self.requests.buffer.push(b'\n');
        let len = u32::try_from(self.requests.buffer.len() - start).unwrap_or(u32::MAX);
        self.chunk.items.push(ItemRec::Leader { key, header_len: sealed.header_len, len, tags });
        self.urgent.extend(drawn.wishes.is_urgent().then_some(ordinal));
        self.uncached.extend((drawn.wishes.cache == CacheMode::Off).then_some(ordinal));
        if let Some(reuse) = self.reuse.as_mut().filter(|_| drawn.wishes.cache == CacheMode::Default) {
            reuse.ask(key, Asked { ordinal, deployment: drawn.deployment, tags });
        }
        Ok(())
    }

    fn stats_of(&mut self, drawn: &Drawn) -> &mut ModelStats {
        let pinned = &self.draftsman.deployments[drawn.deployment].pinned;
        let models = &mut self.stats.models;
        let urgent = drawn.wishes.is_urgent();
        // Nearly always the first.
        let known = |stats: &ModelStats| stats.urgent == urgent && stats.model == *pinned;
        let place = models.iter().position(known).unwrap_or_else(|| {
            models.push(ModelStats {
                model: pinned.clone(),
                urgent,
                choice_bytes: drawn.choice_bytes,
                ..ModelStats::default()
            });
            models.len() - 1
        });
        &mut models[place]
    }

    fn count(&mut self, drawn: &Drawn) {
        let bytes = self.canonical.len() as u64;
        let shape = RequestShape {
            documents: drawn.documents,
            ..request_shape_of(bytes, drawn.messages, drawn.images, drawn.max_tokens)
        };
        let deployment = &self.draftsman.deployments[drawn.deployment];
        let input_max =
            bulkrate_core::price::bound::input_max(&deployment.row, &shape).map_or(bytes, |tokens| tokens.0);
        let stats = self.stats_of(drawn);
        stats.items += 1;
        let text = bytes.saturating_sub(drawn.structure);
        stats.bytes += text;
        stats.bytes_largest = stats.bytes_largest.max(text);
        stats.input_max += input_max;
        stats.input_max_largest = stats.input_max_largest.max(input_max);
        stats.output_max = stats.output_max.max(drawn.max_tokens);
    }

    /// An item that will never be a request is a dead letter from the start.
    fn invalid(&mut self, ordinal: Ordinal, why: &str) -> Result<(), EngineError> {
        self.keys.push(&RequestKey([0; 32])).map_err(|source| EngineError::Io {
            what: "could not write",
            path: "a temporary file".to_owned(),
            source,
        })?;
        let place = Place { segment: 0, offset: self.results.end() };
        let frame = Frame {
            ordinal,
            attempt: 0,
            attempts: 0,
            provider: "",
            model: "",
            via: Via::Prepare.name(),
            cost: UsdNanos::ZERO,
            usage: None,
        };
        write_bad(frame, FailureClass::InvalidInput, why, None, None, &mut self.results.buffer);
        self.outcomes.push(Outcome {
            ordinal,
            attempt: 0,
            via: Via::Prepare,
            class: Some(FailureClass::InvalidInput),
            fate: Fate::Final,
            counted: false,
            cost: UsdNanos::ZERO,
            naive: UsdNanos::ZERO,
            usage: Usage::default(),
            estimated: false,
            place,
        });
        self.stats.invalid += 1;
        self.chunk.items.push(ItemRec::Invalid);
        Ok(())
    }

    fn note_columns(&mut self, data: &RowData<'_>) {
        if !self.collect_columns {
            return;
        }
        let RowData::Json(row) = data else { return };
        for (place, (name, _)) in row.iter().enumerate() {
            let known = self.columns.get(place).is_some_and(|column| *column == name)
                || self.columns.iter().any(|column| *column == name);
            if !known && self.columns.len() < COLUMNS_MAX {
                self.columns.push(name.into_owned());
            }
        }
    }

    /// Answers what earlier jobs know of the leaders gathered.
    fn reuse(&mut self) -> Result<(), EngineError> {
        let Self { reuse: Some(reuse), draftsman, results, outcomes, stats, cached_before, .. } = self else {
            return Ok(());
        };
        let limit = self.spec.source.limit.unwrap_or(0);
        for hit in reuse.find(|place| draftsman.deployments[place].pinned.clone())? {
            let place = Place { segment: 0, offset: results.end() };
            if let Some(outcome) = reuse.answer(&hit, place, &mut results.buffer)? {
                outcomes.push(outcome);
                stats.cached += 1;
                *cached_before += u64::from(u64::from(hit.asked.ordinal) < limit);
            }
            if results.buffer.len() >= CHUNK_BYTES {
                results.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        if self.reuse.as_ref().is_some_and(Reuse::is_full) {
            self.reuse()?;
        }
        self.requests.flush()?;
        self.results.flush()?;
        let next = ItemChunk {
            first: self.chunk.first + u32::try_from(self.chunk.items.len()).unwrap_or(u32::MAX),
            offset: self.requests.offset,
            items: Vec::with_capacity(self.chunk.items.len()),
        };
        let chunk = std::mem::replace(&mut self.chunk, next);
        let mut tx = Tx::new(self.job);
        if !chunk.items.is_empty() {
            tx.items.push(chunk);
        }
        tx.tag_sets = std::mem::take(&mut self.tag_sets.fresh);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        while outcomes.len() > OUTCOMES_MAX {
            let rest = outcomes.split_off(OUTCOMES_MAX);
            tx.outcomes = std::mem::replace(&mut outcomes, rest);
            self.send(std::mem::replace(&mut tx, Tx::new(self.job)))?;
        }
        tx.outcomes = outcomes;
        self.send(tx)
    }

    fn send(&mut self, tx: Tx) -> Result<(), EngineError> {
        let done = self.done.0.clone();
        self.writer.send(tx, Urgency::Now, Box::new(move |result| drop(done.send(result))));
        self.pending += 1;
        while self.pending >= COMMITS_MAX {
            self.wait()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), EngineError> {
        self.pending -= 1;
        self.writer.hurry();
        self.done
            .1
            .recv()
            .map_err(|_| EngineError::Internal("the writer has stopped".to_owned()))?
            .map_err(|error| crate::error::stored(&error))
    }

    /// Ends the pass; what it left is durable when this returns. The savings of the response cache are the caller's to
    /// book, with the checkpoint.
    pub(crate) fn finish(
        mut self,
        source: &Source,
        exhausted: bool,
        at_ms: i64,
    ) -> Result<(Checkpoint, Reused), EngineError> {
        self.reuse()?;
        if !self.chunk.items.is_empty() || !self.tag_sets.fresh.is_empty() || !self.outcomes.is_empty() {
            self.flush()?;
        }
        while self.pending > 0 {
            self.wait()?;
        }
        super::lists::write(&self.dir.urgent(), &mut self.urgent)?;
        super::lists::write(&self.dir.uncached(), &mut self.uncached)?;
        for out in [&self.requests, &self.results] {
            out.file.sync_data().map_err(io_error("could not sync", &out.path))?;
        }
        if let Some(unique) = self.unique.take() {
            let temporary = |source| EngineError::Io {
                what: "could not read",
                path: "a temporary file".to_owned(),
                source,
            };
            if let Some((first, second)) = unique.duplicate().map_err(temporary)? {
                return Err(EngineError::DuplicateId {
                    place: format!("{}, records {} and {}", self.source_name, first + 1, second + 1),
                    id: self.id_of(first),
                });
            }
        }
        self.stats.skipped = source.skipped();
        let reused = match self.reuse.take() {
            Some(reuse) => reuse.finish(&self.writer, at_ms, |place| &self.draftsman.deployments[place])?,
            None => Reused::default(),
        };
        let checkpoint = Checkpoint {
            shape: self.shape,
            position: source.position(),
            exhausted,
            columns: self.columns,
            request_bytes: self.requests.offset,
            results_bytes: self.results.offset,
            stamp: None,
            stats: self.stats,
            limited: self.limited.map(|mut limited| {
                limited.stats.cached = self.cached_before;
                limited
            }),
        };
        Ok((checkpoint, reused))
    }

    /// The id of a leader, from its sealed line; followers and others are named by their number.
    fn id_of(&self, ordinal: Ordinal) -> String {
        let job = self.job;
        let found = self.writer.with(move |store| store.item_chunk_of(job, ordinal)).ok().flatten();
        let place = found.and_then(|chunk| chunk.get(ordinal));
        if let Some((offset, ItemRec::Leader { len, .. })) = place {
            let mut line = vec![0; len as usize];
            if std::os::unix::fs::FileExt::read_exact_at(&*self.requests.file, &mut line, offset).is_ok()
                && let Ok(line) = serde_json::from_slice::<SealedId<'_>>(&line)
            {
                return line.custom_id.to_string();
            }
        }
        format!("of record {}", ordinal + 1)
    }

    #[must_use]
    pub(crate) fn records(&self) -> u64 {
        self.stats.records
    }

    #[must_use]
    pub(crate) fn deployments(&self) -> &[Deployment] {
        &self.draftsman.deployments
    }
}

#[derive(Deserialize)]
struct SealedId<'a> {
    #[serde(borrow)]
    custom_id: bulkrate_core::request::Text<'a>,
}

/// The shape that bounds a request's price; `bytes` of the canonical form bound its prompt text.
pub(crate) fn request_shape_of(bytes: u64, messages: u64, images: u64, max_tokens: u32) -> RequestShape {
    RequestShape {
        text_bytes: bytes,
        messages,
        images,
        output_max: Tokens(u64::from(max_tokens)),
        answers: 1,
        ..RequestShape::default()
    }
}
