//! Sealed requests -> exact input tokens by model, for a plan that asks for them. A run never does this.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use bulkrate_core::money::Tokens;
use bulkrate_core::request::Priority;
use bulkrate_core::tokens::{CountTokens, Vocabulary};
use serde::Deserialize;

use crate::EngineError;
use crate::deployment::Deployment;
use crate::paths::io_error;
use crate::plan::InputCount;
use crate::prepare::{ModelStats, Shape, Stats, vocabulary, with_prompt};

/// The input tokens of one model's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelCount {
    /// The pinned model.
    pub model: String,
    /// Of its requests those that go to the sync lane in any case.
    urgent: bool,
    vocabulary: Option<Vocabulary>,
    /// Whether another base URL than the provider's own is what hides the tables.
    custom: bool,
    sum: u64,
    largest: u64,
    /// Requests with something that is not counted by its text, and those that could not be read at all.
    opaque: u64,
    unread: u64,
    /// The sum is a share of what was counted.
    scaled: bool,
}

impl ModelCount {
    fn new(deployment: &Deployment, urgent: bool) -> Self {
        Self {
            model: deployment.pinned.clone(),
            urgent,
            vocabulary: vocabulary(deployment),
            custom: deployment.account.custom,
            sum: 0,
            largest: 0,
            opaque: 0,
            unread: 0,
            scaled: false,
        }
    }

    /// Whether it counts the same requests.
    pub(crate) fn is_of(&self, stats: &ModelStats) -> bool {
        self.model == stats.model && self.urgent == stats.urgent
    }

    fn add(&mut self, line: &[u8], raw: bool, tables: &dyn CountTokens) {
        let Some(vocabulary) = self.vocabulary else { return };
        let counted = with_prompt(line, raw, |prompt| {
            self.opaque += u64::from(!prompt.is_text());
            prompt.count(tables, vocabulary.encoding)
        });
        match counted {
            Some(tokens) => {
                self.sum += tokens;
                self.largest = self.largest.max(tokens);
            }
            None => self.unread += 1,
        }
    }

    /// What a filter answers is sealed as well and was counted: its share of the sum is taken away again.
    fn leave_out(&mut self, stats: &ModelStats) {
        let all = stats.items + stats.filtered;
        if stats.filtered > 0 {
            let sum = (u128::from(self.sum) * u128::from(stats.items)).div_ceil(u128::from(all));
            (self.sum, self.scaled) = (u64::try_from(sum).unwrap_or(u64::MAX), true);
        }
    }

    /// The sum and the largest; `None` where an estimate must do.
    pub(crate) fn counted(&self) -> Option<(Tokens, Tokens)> {
        (self.vocabulary.is_some() && self.unread == 0).then_some((Tokens(self.sum), Tokens(self.largest)))
    }

    pub(crate) fn tokens(&self) -> Option<u64> {
        self.counted().map(|(sum, _)| sum.0)
    }

    /// What the plan says of the number.
    pub(crate) fn told(&self) -> InputCount {
        let why = match self.vocabulary {
            None if self.custom => {
                Some("estimated: what tokenizer is behind a custom base URL is not known".to_owned())
            }
            None => Some("estimated: the tokenizer of this model is not published".to_owned()),
            Some(_) if self.unread > 0 => {
                Some(format!("estimated: {} requests have messages that cannot be counted", self.unread))
            }
            Some(_) if self.opaque > 0 => Some(format!(
                "text counted; in {} requests images and documents come on top, and schemas, choices and tools are counted as their text, as how they enter the prompt is not published",
                self.opaque
            )),
            Some(_) if self.scaled => Some(
                "counted, with the rows that the filter answers, whose share by number is taken away"
                    .to_owned(),
            ),
            Some(known) if !known.published => Some(format!(
                "counted with {}, the encoding of the models before it; its own is not published",
                known.encoding
            )),
            Some(_) => None,
        };
        InputCount {
            exact: why.is_none(),
            encoding: self.vocabulary.filter(|_| self.unread == 0).map(|known| known.encoding.name()),
            why,
        }
    }
}

#[derive(Deserialize)]
struct ModelOf<'a> {
    #[serde(borrow)]
    model: bulkrate_core::request::Text<'a>,
    #[serde(default)]
    priority: Priority,
}

/// Counts the sealed requests in `path` that `stats` is of: they come first.
pub(crate) fn count(
    path: &Path,
    shape: Shape,
    deployments: &[Deployment],
    stats: &Stats,
    tables: &dyn CountTokens,
) -> Result<Vec<ModelCount>, EngineError> {
    let failed = |source| io_error("could not read", path)(source);
    let mut source = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let mut counts: Vec<ModelCount> =
        deployments.iter().map(|deployment| ModelCount::new(deployment, false)).collect();
    if stats.models.iter().any(|model| model.urgent) {
        counts.extend(deployments.iter().map(|deployment| ModelCount::new(deployment, true)));
    }
    let leaders: u64 = stats.models.iter().map(|model| model.items).sum();
    let mut line = Vec::new();
    for _ in 0..leaders + stats.filtered {
        line.clear();
        if source.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        let place = match counts.as_slice() {
            [_] => Some(0),
            many => serde_json::from_slice::<ModelOf<'_>>(&line).ok().and_then(|line| {
                let urgent = line.priority == Priority::High;
                many.iter().position(|count| count.urgent == urgent && *count.model == *line.model)
            }),
        };
        let count = place.and_then(|place| counts.get_mut(place));
        let count =
            count.ok_or_else(|| EngineError::Internal("a sealed request names no model".to_owned()))?;
        count.add(&line, shape == Shape::OpenAi, tables);
    }
    for count in &mut counts {
        if let Some(stats) = stats.models.iter().find(|stats| count.is_of(stats)) {
            count.leave_out(stats);
        }
    }
    Ok(counts)
}
