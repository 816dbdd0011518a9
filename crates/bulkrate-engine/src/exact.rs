//! Sealed requests -> exact input tokens by model, for a plan that asks for them. A run never does this.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use bulkrate_core::money::Tokens;
use bulkrate_core::tokens::{CountTokens, Vocabulary};
use serde::Deserialize;

use crate::EngineError;
use crate::deployment::Deployment;
use crate::paths::io_error;
use crate::plan::InputCount;
use crate::prepare::{Shape, vocabulary, with_prompt};

/// The input tokens of one model's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelCount {
    /// The pinned model.
    pub model: String,
    vocabulary: Option<Vocabulary>,
    /// Whether another base URL than the provider's own is what hides the tables.
    custom: bool,
    sum: u64,
    largest: u64,
    /// Requests with something that is not counted by its text, and those that could not be read at all.
    opaque: u64,
    unread: u64,
}

impl ModelCount {
    fn new(deployment: &Deployment) -> Self {
        Self {
            model: deployment.pinned.clone(),
            vocabulary: vocabulary(deployment),
            custom: deployment.account.custom,
            sum: 0,
            largest: 0,
            opaque: 0,
            unread: 0,
        }
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
}

/// Counts every sealed request in `path`.
pub(crate) fn count(
    path: &Path,
    shape: Shape,
    deployments: &[Deployment],
    tables: &dyn CountTokens,
) -> Result<Vec<ModelCount>, EngineError> {
    let failed = |source| io_error("could not read", path)(source);
    let mut source = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let mut counts: Vec<ModelCount> = deployments.iter().map(ModelCount::new).collect();
    let mut line = Vec::new();
    loop {
        line.clear();
        if source.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(counts);
        }
        let place = match counts.as_slice() {
            [_] => Some(0),
            many => serde_json::from_slice::<ModelOf<'_>>(&line)
                .ok()
                .and_then(|line| many.iter().position(|count| *count.model == *line.model)),
        };
        let count = place.and_then(|place| counts.get_mut(place));
        let count =
            count.ok_or_else(|| EngineError::Internal("a sealed request names no model".to_owned()))?;
        count.add(&line, shape == Shape::OpenAi, tables);
    }
}
