//! The one pass over the source.

mod waiting;
mod finish;
mod out;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};

use bulkrate_core::dedup::Index;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::filter::How;
use bulkrate_core::ids::{Ordinal, RequestKey};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::prepare::{ItemError, key_of, seal};
use bulkrate_core::price::estimate::quote;
use bulkrate_core::request::CacheMode;
use bulkrate_io::{Format, Row, RowData, Source};
use bulkrate_store::{Fate, ItemChunk, ItemRec, Outcome, Place, Via, Writer};
use jiff::civil::Date;

use self::out::{CHUNK_BYTES, Committed, Out, TagSets};
use super::fetch::{Ahead, Waiting};
use super::ids::UniqueIds;
use super::keys::KeyFile;
use super::order::{Orderer, Spot};
use super::reuse::Reuse;
use super::saved::Saved;
use super::shape::{Draftsman, Drawn, Shape, ShapeError};
use super::stats::{Limited, ModelStats, Stats};
use super::tokens::check_window;
use crate::EngineError;
use crate::cache::Asked;
use crate::deployment::Deployment;
use crate::paths::JobDir;
use crate::result_line::{Frame, write_bad, write_filtered};
use crate::run::job::FILTER;
use crate::settings::Settings;
use crate::spec::{JobSpec, OnBadLine, SendBy};
use crate::strong::{Strong, naive_at};

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
    /// Leaders that earlier jobs have answered, by deployment: all, and those before the limit.
    cached: BTreeMap<usize, (u64, u64)>,
    /// The response cache, where there is one to read.
    reuse: Option<Reuse>,
    /// Records that wait for what is fetched, where that is switched on.
    ahead: Option<Ahead>,
    /// What items save that are answered here, where any may be.
    saved: Option<Saved>,
    /// Whom the naive plan asks, where something chooses another.
    strong: Option<Strong>,
    /// Gathers an order of sending, where one is asked for.
    orderer: Option<Orderer>,
    tag_sets: TagSets,
    done: (Sender<Committed>, Receiver<Committed>),
    pending: usize,
    source_name: String,
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
        let strong = Strong::of(settings, spec, today, &draftsman.deployments)?;
        let reuse = Reuse::open(settings, spec, job)?;
        let io = |source| EngineError::Io {
            what: "could not create",
            path: "a temporary file".to_owned(),
            source,
        };
        let orderer = (spec.run.order == SendBy::Prefix).then(|| Orderer::new(spec, &draftsman.deployments));
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
            // A later object may have keys that the first one has not.
            collect_columns: shape == Shape::Table
                && (columns.is_empty() || source.format() == Format::Jsonl),
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
            cached: BTreeMap::new(),
            saved: (reuse.is_some() || spec.request.filter.is_some()).then(Saved::default),
            reuse,
            ahead: spec
                .request
                .fetch
                .as_ref()
                .map(|fetch| Ahead::new(fetch, spec.account.ca_file.clone()))
                .transpose()?,
            strong,
            orderer,
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

    /// Reads one record. It may have to wait for what is fetched for it.
    pub(crate) fn record(&mut self, row: &Row<'_>) -> Result<(), EngineError> {
        let ordinal = Ordinal::try_from(row.record)
            .map_err(|_| EngineError::Internal("more than 4,294,967,295 items".to_owned()))?;
        self.note_columns(&row.data);
        let drawn = self.draw(row);
        let waits = drawn.as_ref().is_ok_and(|drawn| !drawn.addresses.is_empty());
        match &mut self.ahead {
            Some(ahead) if waits || !ahead.is_empty() => {
                let canonical = std::mem::take(&mut self.canonical);
                ahead.add(Waiting { ordinal, line: row.line, drawn, canonical })?;
                self.go_on(false)
            }
            _ => self.take(ordinal, row.line, drawn),
        }
    }

    /// Takes one record, whose canonical form is in `self.canonical`.
    fn take(
        &mut self,
        ordinal: Ordinal,
        line: u64,
        drawn: Result<Drawn, ShapeError>,
    ) -> Result<(), EngineError> {
        if self.spec.source.limit == Some(u64::from(ordinal)) {
            // What the cache answers before the limit is counted as it is found.
            let stats = Stats { cached: 0, ..self.stats.clone() };
            self.limited = Some(Limited { limit: u64::from(ordinal), stats });
        }
        self.stats.records += 1;
        let drawn = match drawn {
            Ok(drawn) => Ok(drawn),
            Err(ShapeError::Model(error)) => return Err(error),
            Err(ShapeError::Item(source)) if self.spec.source.on_bad_line == OnBadLine::Fail => {
                return Err(EngineError::Item { place: format!("{}:{line}", self.source_name), source });
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
        if drawn.addresses.is_empty() {
            self.check_window(&drawn)?;
        }
        Ok(drawn)
    }

    fn check_window(&self, drawn: &Drawn) -> Result<(), ItemError> {
        let deployment = &self.draftsman.deployments[drawn.deployment];
        check_window(&self.canonical, drawn.messages, deployment, &*self.draftsman.settings.tables)
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
            stats.followers += u64::from(drawn.answer.is_none());
            self.stats.duplicates += 1;
            if let Some(saved) = &mut self.saved {
                saved.follows(leader, drawn.deployment);
            }
            if drawn.answer.is_some() {
                self.stats.filter_saves += self.naive_of(drawn)?;
            }
            self.chunk.items.push(ItemRec::Follower { leader });
            // Whoever is in a hurry hurries the one that runs for both.
            self.urgent.extend(drawn.wishes.is_urgent().then_some(leader));
            return Ok(());
        }
        match drawn.answer {
            None => self.count(drawn),
            Some(_) => stats.filtered += 1,
        }
        let tags = if drawn.tags.is_empty() { 0 } else { self.tag_sets.number(&drawn.tags) };
        let start = self.requests.buffer.len();
        let sealed = seal(
            &drawn.item_id,
            &drawn.tags,
            drawn.wishes,
            drawn.chosen.as_ref(),
            &self.canonical,
            &mut self.requests.buffer,
        );
        self.requests.buffer.push(b'\n');
        let len = u32::try_from(self.requests.buffer.len() - start).unwrap_or(u32::MAX);
        self.chunk.items.push(ItemRec::Leader { key, header_len: sealed.header_len, len, tags });
        self.urgent.extend(drawn.wishes.is_urgent().then_some(ordinal));
        self.uncached.extend((drawn.wishes.cache == CacheMode::Off).then_some(ordinal));
        if let Some((answer, how)) = &drawn.answer {
            let naive = self.naive_of(drawn)?;
            if let Some(saved) = &mut self.saved {
                saved.answered(FILTER, drawn.deployment, tags, naive);
            }
            self.answered(ordinal, answer, *how, naive);
            return Ok(());
        }
        if let Some(orderer) = &mut self.orderer {
            let offset = self.requests.end() - u64::from(len);
            let spot = Spot { ordinal, header_len: sealed.header_len, len, tags, offset };
            orderer.add(drawn.deployment, &self.canonical, &drawn.ends, spot).map_err(temporary)?;
        }
        if let Some(reuse) = self.reuse.as_mut().filter(|_| drawn.wishes.cache == CacheMode::Default) {
            reuse.ask(key, Asked { ordinal, deployment: drawn.deployment, tags });
        }
        Ok(())
    }

    /// An item that a filter answers is done from the start, for nothing.
    fn answered(&mut self, ordinal: Ordinal, answer: &str, how: How, naive: UsdNanos) {
        let place = Place { segment: 0, offset: self.results.end() };
        let version = self.spec.request.filter.as_ref().map_or("", |filter| filter.version.as_str());
        let frame = Frame {
            ordinal,
            attempt: 0,
            attempts: 0,
            provider: "filter",
            model: version,
            via: Via::Filter.name(),
            cost: UsdNanos::ZERO,
            usage: None,
            sureness: None,
            chances: &[],
            instead: None,
        };
        write_filtered(frame, answer, &how.to_string(), &mut self.results.buffer);
        let done = Outcome::without_call(ordinal, None, Fate::Final, place);
        self.outcomes.push(Outcome { via: Via::Filter, naive, ..done });
        self.stats.filtered += 1;
        self.stats.filter_saves += naive;
    }

    /// What the naive plan expects of an item that a filter answers: an estimate, as no answer tells its tokens.
    fn naive_of(&self, drawn: &Drawn) -> Result<UsdNanos, EngineError> {
        let found = naive_at(self.strong.as_ref(), &self.draftsman.deployments, drawn.deployment);
        let Some(rates) = found.row.rates(Lane::Sync) else { return Ok(UsdNanos::ZERO) };
        let (run, request) = (&self.spec.run, &self.spec.request);
        let learned = run.learned.as_deref().map(|learned| learned.of(&found.pinned, Lane::Sync));
        let one = ModelStats::of(drawn, self.canonical.len() as u64, found);
        let ratios = learned.unwrap_or_default().uncached();
        let quote = quote(rates, &ratios, &one.shape(request.reasons()));
        quote.map(|quote| quote.expected).ok_or_else(crate::planning::too_dear)
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
        let deployment = &self.draftsman.deployments[drawn.deployment];
        let one = ModelStats::of(drawn, self.canonical.len() as u64, deployment);
        self.stats_of(drawn).add(&one);
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
            sureness: None,
            chances: &[],
            instead: None,
        };
        let class = FailureClass::InvalidInput;
        write_bad(frame, class, why, None, None, &mut self.results.buffer);
        self.outcomes.push(Outcome::without_call(ordinal, Some(class), Fate::Final, place));
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
        let Self {
            reuse: Some(reuse), saved: Some(saved), strong, draftsman, results, outcomes, cached, ..
        } = self
        else {
            return Ok(());
        };
        let limit = self.spec.source.limit.unwrap_or(0);
        for hit in reuse.find(|place| draftsman.deployments[place].pinned.clone())? {
            let place = Place { segment: 0, offset: results.end() };
            if let Some(outcome) = reuse.answer(&hit, place, &mut results.buffer, strong.as_ref(), saved)? {
                outcomes.push(outcome);
                let (all, before) = cached.entry(hit.asked.deployment).or_default();
                *all += 1;
                *before += u64::from(u64::from(hit.asked.ordinal) < limit);
            }
            if results.buffer.len() >= CHUNK_BYTES {
                results.flush()?;
            }
        }
        Ok(())
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
