//! The answer to a bundle: whose part is whose, and what each of them cost.

use std::borrow::Cow;

use bulkrate_core::answer::{Answer, Body, Failure, Finish, Reading};
use bulkrate_core::bundle::{answers, text_of, usage_shares};
use bulkrate_core::collect::{Expectation, check};
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::money::UsdNanos;
use bulkrate_core::usage::Usage;
use serde_json::value::RawValue;

use super::cut;
use crate::run::job::Job;
use crate::run::land::{Landing, Receipt};
use crate::run::ready::Ready;
use crate::run::results::Results;

/// An item's own words, and how many of the answer's tokens they are.
type Part<'a> = Option<(Cow<'a, str>, u64)>;

impl Job {
    /// Books the reply to one request: `more` are the items after the first that it holds. Answers its output tokens.
    pub(crate) fn land_parcel(
        &self,
        landing: Landing<'_>,
        more: &[Ready],
        reading: &Reading<'_>,
        results: &mut Results,
    ) -> u64 {
        if more.is_empty() {
            let place = results.place();
            return self.land(landing, reading, place, results.buffer());
        }
        let members: Vec<Landing<'_>> =
            std::iter::once(landing).chain(more.iter().map(|ready| Landing { ready, ..landing })).collect();
        match reading {
            Reading::Failure(failure) => {
                let failure = apart(failure, members.len());
                let jitter = self.random();
                self.state.borrow_mut().jitter = Some(jitter);
                for landing in members {
                    let place = results.place();
                    self.land(landing, &Reading::Failure(failure.clone()), place, results.buffer());
                }
                self.state.borrow_mut().jitter = None;
                0
            }
            Reading::Answer(answer) => self.land_answers(&members, answer, results),
        }
    }

    fn land_answers(&self, members: &[Landing<'_>], answer: &Answer<'_>, results: &mut Results) -> u64 {
        let receipts = self.receipts(members, answer);
        let n = members.len();
        let said = check(&Expectation::Text, answer).map_err(|flaw| flaw.message);
        let text = match (&said, &answer.body) {
            (Ok(_), Body::Text { text, .. }) => Ok(&**text),
            (Ok(_), _) => Err("the answer is no text".to_owned()),
            (Err(why), _) => Err(why.clone()),
        };
        let output: u64 = receipts.iter().map(|(receipt, _)| receipt.usage.output).sum();
        let visible: u64 = output - receipts.iter().map(|(receipt, _)| receipt.usage.reasoning).sum::<u64>();
        let found = text.and_then(|text| answers(text, n).map(|found| (found, text.len())));
        for (at, landing) in members.iter().enumerate() {
            let (receipt, usage) = receipts[at];
            let part = match &found {
                Ok((found, bytes)) => Ok(part(landing.ready, found[at], (visible, *bytes))),
                Err(why) => Err(format!("asked together with {} others: {why}", n - 1)),
            };
            self.land_part(*landing, part, (receipt, usage), answer, results);
        }
        output
    }

    fn land_part(
        &self,
        landing: Landing<'_>,
        part: Result<Part<'_>, String>,
        (receipt, usage): (Receipt, Option<Usage>),
        answer: &Answer<'_>,
        results: &mut Results,
    ) {
        let place = results.place();
        let missing = || "the answer to several items has none that is surely this item's".to_owned();
        match part.and_then(|part| part.ok_or_else(missing)) {
            Ok((text, tokens)) => {
                let receipt = Receipt { alone: Some(self.alone(landing.ready, &receipt, tokens)), ..receipt };
                let own = Answer {
                    body: Body::Text { text, refusal: None, tool_calls: None },
                    finish: Finish::Stop,
                    usage,
                    // They are those of all answers together.
                    tokens: Vec::new(),
                    ..answer.clone()
                };
                self.land_judged(landing, &own, &receipt, place, results.buffer());
            }
            Err(why) => {
                let receipt = Receipt { alone: Some(UsdNanos::ZERO), ..receipt };
                let model = answer.model.as_deref();
                self.land_without_part(
                    landing,
                    &receipt,
                    &why,
                    (model, usage.as_ref()),
                    place,
                    results.buffer(),
                );
            }
        }
    }

    /// The parts of a whole answer's money and tokens, cut by what was reserved for each item.
    fn receipts(&self, members: &[Landing<'_>], answer: &Answer<'_>) -> Vec<(Receipt, Option<Usage>)> {
        let (whole, first) = self.whole_landing(members);
        let landing = Landing { ready: &whole, ..first };
        let receipt = self.receipt(landing, answer);
        if members.iter().any(|landing| self.is_open(landing.ready)) {
            self.watch_cost(landing, &receipt);
        }
        let weights = weights(members);
        let [costs, naive, uncached] =
            [receipt.cost, receipt.naive, receipt.uncached].map(|usd| cut(usd, &weights));
        let usage = usage_shares(&receipt.usage, &weights);
        let told = answer.usage.map(|told| usage_shares(&told, &weights));
        let parts = costs.into_iter().zip(naive).zip(usage).enumerate();
        let of = |(at, ((cost, naive), usage)): (usize, ((UsdNanos, UsdNanos), Usage))| {
            let part = Receipt { cost, naive, uncached: uncached[at], usage, above: None, ..receipt };
            (part, told.as_ref().map(|told| told[at]))
        };
        parts.map(of).collect()
    }

    /// The bundle as one item: what was reserved for all of it.
    fn whole_landing<'l>(&self, members: &[Landing<'l>]) -> (Ready, Landing<'l>) {
        let first = members[0];
        let sum = |of: fn(&Ready) -> UsdNanos| {
            members.iter().fold(UsdNanos::ZERO, |sum, landing| sum.saturating_add(of(landing.ready)))
        };
        let strong = first.ready.strong.map(|_| sum(|ready| ready.strong.unwrap_or(UsdNanos::ZERO)));
        (Ready { bound: sum(|ready| ready.bound), strong, ..first.ready.clone() }, first)
    }

    /// What a whole answer cost that does not land: of each item its part.
    pub(crate) fn costs_of(&self, members: &[Landing<'_>], answer: &Answer<'_>) -> Vec<UsdNanos> {
        if let [one] = members {
            return vec![self.cost_of(*one, answer)];
        }
        let (whole, first) = self.whole_landing(members);
        let cost = self.cost_of(Landing { ready: &whole, ..first }, answer);
        cut(cost, &weights(members))
    }

    /// What the item would have cost alone at the standard price, as far as that can be told: its own bytes as tokens, and of the
    /// whole answer the words that are its own.
    fn alone(&self, ready: &Ready, part: &Receipt, own_tokens: u64) -> UsdNanos {
        // Where nothing is known of tokens or prices nothing was saved.
        if part.usage == Usage::default() {
            return part.naive;
        }
        let input = self.estimated_tokens(ready.deployment, ready.bytes);
        let Usage { reasoning, .. } = part.usage;
        let usage = Usage { input, output: own_tokens + reasoning, reasoning, ..Usage::default() };
        self.deployments[ready.deployment].naive(&usage).unwrap_or(part.naive)
    }
}

/// What an answer's money and tokens are cut by: what was reserved for each item.
fn weights(members: &[Landing<'_>]) -> Vec<u64> {
    members.iter().map(|landing| u64::try_from(landing.ready.bound.0).unwrap_or(0)).collect()
}

/// An item's part of an answer of so many visible tokens and bytes.
fn part<'a>(ready: &Ready, found: Option<&'a RawValue>, (tokens, bytes): (u64, usize)) -> Part<'a> {
    let raw = found?;
    let text = text_of(raw, matches!(*ready.expectation, Expectation::Schema(_)))?;
    let own = u128::from(tokens) * raw.get().len() as u128 / (bytes as u128).max(1);
    Some((text, u64::try_from(own).unwrap_or(tokens)))
}

/// A refusal of several items' content or length says nothing of any one of them.
fn apart(failure: &Failure, n: usize) -> Failure {
    if failure.class.verdict() != Verdict::GiveUp || failure.maybe_paid {
        return failure.clone();
    }
    let message = format!("asked together with {} others: {}: {}", n - 1, failure.class, failure.message);
    Failure { class: FailureClass::BundleFailed, message, ..failure.clone() }
}
