//! Answers of earlier jobs, taken over while a source is prepared. What they save: [`super::saved`].

use bulkrate_core::ids::{Ordinal, RequestKey};
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::CacheMode;
use bulkrate_core::usage::Usage;
use bulkrate_store::{Fate, Outcome, Place, Via};

use super::saved::Saved;
use crate::EngineError;
use crate::cache::{Asked, Cache, Hit};
use crate::engine::start::end_of;
use crate::result_line::usage_of;
use crate::settings::Settings;
use crate::spec::JobSpec;
use crate::strong::Strong;

/// Leaders that are looked up together, 3 MB: the more, the fewer reads of the key files.
const ASKED_MAX: usize = 1 << 16;

/// What one pass takes from the response cache.
#[derive(Debug)]
pub(crate) struct Reuse {
    cache: Cache,
    /// Leaders that were not looked up yet.
    asked: Vec<(RequestKey, Asked)>,
    /// What lies beyond the limit is no saving of this run by its choice of a model.
    end: Ordinal,
}

impl Reuse {
    /// `None` where nothing may or can be read. A job that asks for distinct answers takes none that is there.
    pub(crate) fn open(settings: &Settings, spec: &JobSpec, job: u32) -> Result<Option<Self>, EngineError> {
        if spec.run.cache != CacheMode::Default || spec.run.distinct {
            return Ok(None);
        }
        let cache = Cache::open(&settings.state_dir, job)?;
        Ok(cache.map(|cache| Self { cache, asked: Vec::new(), end: end_of(spec) }))
    }

    pub(crate) fn ask(&mut self, key: RequestKey, asked: Asked) {
        self.asked.push((key, asked));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.asked.len() >= ASKED_MAX
    }

    /// Answers to the leaders gathered since the last call.
    pub(crate) fn find(&mut self, pinned: impl Fn(usize) -> String) -> Result<Vec<Hit>, EngineError> {
        let hits = self.cache.find(&mut self.asked, pinned);
        self.asked.clear();
        hits
    }

    /// Appends the line of a hit to `out`, which starts at `place`; `None` if it cannot be read. `strong`: see [`Strong::of`].
    pub(crate) fn answer(
        &mut self,
        hit: &Hit,
        place: Place,
        out: &mut Vec<u8>,
        strong: Option<&Strong>,
        saved: &mut Saved,
    ) -> Result<Option<Outcome>, EngineError> {
        let start = out.len();
        if !self.cache.copy(hit, out)? {
            return Ok(None);
        }
        let Asked { ordinal, deployment, tags } = hit.asked;
        saved.answered("cache", deployment, tags, hit.naive);
        if let Some(strong) = strong.filter(|strong| ordinal < self.end && strong.is_spared(deployment)) {
            let more = strong.more(deployment, &usage_of(&out[start..]), hit.naive);
            saved.routed(ordinal, deployment, tags, more);
        }
        Ok(Some(Outcome {
            ordinal,
            attempt: 0,
            via: Via::Cache,
            class: None,
            fate: Fate::Final,
            counted: false,
            cost: UsdNanos::ZERO,
            naive: hit.naive,
            prompt_cache: UsdNanos::ZERO,
            usage: Usage::default(),
            estimated: false,
            place,
        }))
    }

    /// What is to be told.
    pub(crate) fn notes(mut self) -> Vec<String> {
        self.cache.take_notes()
    }
}
