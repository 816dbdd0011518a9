//! Counts prompts where bytes cannot decide: at the edge of a context window, and for a plan that asks for exact numbers.

use bulkrate_core::prepare::ItemError;
use bulkrate_core::price::ModelRow;
use bulkrate_core::request::Request;
use bulkrate_core::tokens::{CountTokens, Prompt, Vocabulary};

use super::raw::{RAW_TAIL, RawLine};
use crate::deployment::Deployment;

/// A model without known tables refuses a prompt that would be too long at this many bytes a token.
const BYTES_PER_TOKEN_ASSUMED: u64 = 6;
/// More than chat formats add around a message, and around all of them.
const PER_MESSAGE_TOKENS: u64 = 8;
const PER_REQUEST_TOKENS: u64 = 64;

/// The tables of a deployment's model. At a custom base URL a name says little of what is behind it.
#[must_use]
pub(crate) fn vocabulary(deployment: &Deployment) -> Option<Vocabulary> {
    if deployment.account.custom {
        return None;
    }
    let ModelRow { provider, id, .. } = &*deployment.row;
    Vocabulary::of(provider, id)
}

/// Runs `with` on the prompt of a canonical form or a sealed line; `None` if it has none that can be read. `raw`: it may be an
/// OpenAI batch line.
pub(crate) fn with_prompt<R>(line: &[u8], raw: bool, with: impl FnOnce(&Prompt<'_>) -> R) -> Option<R> {
    if raw && let Some(line) = RawLine::unseal(line) {
        return Prompt::of_body(line.kind, line.body).as_ref().map(with);
    }
    let request: Request<'_> = serde_json::from_slice(line).ok()?;
    Some(with(&Prompt::of(&request)))
}

/// Refuses a prompt that its model cannot read. Bytes decide nearly always; what they leave open is counted.
pub(crate) fn check_window(
    canonical: &[u8],
    messages: u64,
    deployment: &Deployment,
    tables: &dyn CountTokens,
) -> Result<(), ItemError> {
    let limits = &deployment.row.limits;
    let Some(most) = limits.max_input.or(limits.context_window).map(|most| most.0).filter(|most| *most > 0)
    else {
        return Ok(());
    };
    let bytes = canonical.len() as u64;
    if bytes + messages * PER_MESSAGE_TOKENS + PER_REQUEST_TOKENS <= most {
        return Ok(());
    }
    let refused = |tokens, exact| {
        Err(ItemError::OverContextWindow {
            model: deployment.pinned.clone(),
            tokens,
            tokens_max: most,
            exact,
        })
    };
    let raw = canonical.get(1..).is_some_and(|tail| tail.starts_with(RAW_TAIL));
    let known = vocabulary(deployment);
    // (tokens, whether they were counted) of a prompt that is too long.
    let too_long = with_prompt(canonical, raw, |prompt| {
        let Some(vocabulary) = known else {
            let tokens = prompt.bytes() / BYTES_PER_TOKEN_ASSUMED;
            return (tokens > most).then_some((tokens, false));
        };
        let bounds = prompt.bounds();
        match bounds.at_most(most) {
            Some(true) => None,
            Some(false) => Some((bounds.low, false)),
            None => {
                let tokens = prompt.count(tables, vocabulary.encoding);
                (tokens > most).then_some((tokens, vocabulary.published))
            }
        }
    });
    match too_long.unwrap_or_else(|| {
        let tokens = bytes / BYTES_PER_TOKEN_ASSUMED;
        (tokens > most).then_some((tokens, false))
    }) {
        Some((tokens, exact)) => refused(tokens, exact),
        None => Ok(()),
    }
}
