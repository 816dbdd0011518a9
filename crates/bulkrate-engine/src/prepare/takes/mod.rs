//! What the models of a job take, asked of their wires while the source is read: a request that nobody could send is bad
//! input, told before anything is sent.
//!
//! A wire looks at the form of a request and not at its words, so that it is asked once for each form. A table has one.

mod form;

use std::fmt;
use std::sync::Arc;

use bulkrate_core::lane::Lane;
use bulkrate_core::prepare::ItemError;
use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{Bound, Config, Content, Kind, Message, Part, Request, Role};
use bulkrate_provider::WireOptions;
use serde::{Deserialize, Serialize};

use self::form::write_form;
use super::shape::Drawn;
use crate::deployment::Deployment;
use crate::spec::{JobSpec, OnBadLine};

/// Forms that are remembered, and their bytes: a source whose lines are all different has each of them asked about.
const FORMS_MAX: usize = 32;
const FORMS_BYTES_MAX: usize = 1 << 20;

/// What a model cannot be sent in a lane of all that the job asks: plans and runs go around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// The pinned model.
    pub model: String,
    pub lane: Lane,
    /// It is asked only in the place of another: as a fallback, or as a cheap model of a cascade.
    pub instead: bool,
    /// The first record that it concerns, from 0; `None`: every one.
    pub record: Option<u64>,
    pub why: String,
}

impl Refusal {
    /// Whether it concerns a record before this limit.
    #[must_use]
    pub(crate) fn is_before(&self, limit: Option<u64>) -> bool {
        self.record.is_none_or(|record| limit.is_none_or(|limit| record < limit))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            None => f.write_str(&self.why),
            Some(record) => write!(f, "record {}: {}", record + 1, self.why),
        }
    }
}

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'d> {
    /// The deployment that it names.
    pub place: usize,
    pub urgent: bool,
    /// As in [`Refusal`].
    pub record: Option<u64>,
    /// It goes only to who speaks its language.
    pub bound: Option<&'d Bound>,
}

#[derive(Debug, Default)]
pub(super) struct Takes {
    /// For how long prompts are marked for the provider's cache, where the user says so.
    mark: Option<Ttl>,
    /// The lane that the user names where a bad record is to die by itself: one that this lane cannot take does, and takes the lane from
    /// no other.
    only: Option<Lane>,
    /// What lies at addresses is fetched for models that do not read them.
    fetches: bool,
    /// The deployments that may be asked instead of any that is named, and instead of the first.
    pub fallbacks: Vec<usize>,
    pub cheap: Vec<usize>,
    /// What has been found of lanes.
    pub refusals: Vec<Refusal>,
    /// Forms that were asked about, and why nobody takes them.
    forms: Vec<(Box<[u8]>, Option<ItemError>)>,
    bytes: usize,
    form: Vec<u8>,
    body: Vec<u8>,
}

impl Takes {
    pub(super) fn new(spec: &JobSpec) -> Self {
        let only = spec.run.lane.filter(|_| spec.source.on_bad_line != OnBadLine::Fail);
        let (mark, fetches) = (spec.run.prompt_cache.fixed(), spec.request.fetch.is_some());
        Self { mark, only, fetches, ..Self::default() }
    }

    /// Looks at the request of this record, from 1: its addresses are left in `drawn` where what lies there is to be fetched, and
    /// otherwise it must be one that can be sent.
    pub(super) fn prove(
        &mut self,
        drawn: &mut Drawn,
        number: u64,
        request: &Request<'_>,
        deployments: &[Deployment],
    ) -> Result<(), ItemError> {
        if self.fetches {
            drawn.addresses = self.unread(drawn.deployment, request, deployments);
        }
        if !drawn.addresses.is_empty() {
            return Ok(());
        }
        self.prove_whole(drawn, number, request, deployments)
    }

    /// The same of a request for which nothing is to be fetched, or was.
    pub(super) fn prove_whole(
        &mut self,
        drawn: &Drawn,
        number: u64,
        request: &Request<'_>,
        deployments: &[Deployment],
    ) -> Result<(), ItemError> {
        let asker = Asker {
            place: drawn.deployment,
            urgent: drawn.wishes.is_urgent(),
            record: Some(number - 1),
            bound: drawn.bound.as_ref(),
        };
        self.check(asker, request, deployments)
    }

    /// `Err`: the request can be sent to its model in no lane. What only a lane or a stand-in cannot take is kept in `refusals`.
    pub(super) fn check(
        &mut self,
        asker: Asker<'_>,
        request: &Request<'_>,
        deployments: &[Deployment],
    ) -> Result<(), ItemError> {
        self.form.clear();
        self.form.extend_from_slice(&asker.place.to_le_bytes());
        self.form.push(u8::from(asker.urgent));
        write_form(request, &mut self.form);
        let known = self.forms.iter().find(|(form, _)| **form == *self.form);
        let refused = match known {
            Some((_, refused)) => refused.clone(),
            None => {
                let refused = self.ask(asker, request, deployments);
                self.remember(refused.clone());
                refused
            }
        };
        refused.map_or(Ok(()), Err)
    }

    /// The addresses of a request that one of the models which may be asked does not read itself.
    fn unread(&self, place: usize, request: &Request<'_>, deployments: &[Deployment]) -> Vec<Arc<str>> {
        let unread = |part: &Part<'_>| {
            let places = [place].into_iter().chain(self.instead_of(place));
            let mut asked = places.filter_map(|place| deployments.get(place));
            asked.any(|found| !found.account.api.wire().reads(part, &found.model))
        };
        request.web_parts().filter(|(part, _)| unread(part)).map(|(_, blob)| Arc::from(&*blob.data)).collect()
    }

    /// As [`Self::check`], of what has no settings that are read here.
    pub(super) fn check_kind(
        &mut self,
        asker: Asker<'_>,
        kind: Kind,
        deployments: &[Deployment],
    ) -> Result<(), ItemError> {
        self.check(asker, &smallest(kind), deployments)
    }

    fn remember(&mut self, refused: Option<ItemError>) {
        let bytes = self.bytes + self.form.len();
        if self.forms.len() < FORMS_MAX && bytes <= FORMS_BYTES_MAX {
            self.bytes = bytes;
            self.forms.push((self.form.as_slice().into(), refused));
        }
    }

    fn ask(
        &mut self,
        asker: Asker<'_>,
        request: &Request<'_>,
        deployments: &[Deployment],
    ) -> Option<ItemError> {
        let found = deployments.get(asker.place)?;
        let called = asker.urgent && found.account.api.calls().is_some();
        let lanes: &[Lane] = if called { &[Lane::Sync] } else { &Lane::ALL };
        let mut refused: Vec<(Lane, ItemError)> = Vec::new();
        for lane in lanes {
            refused.extend(self.refused(found, (*lane, None), asker.bound, request).map(|why| (*lane, why)));
        }
        if refused.len() == lanes.len() {
            return refused.pop().map(|(_, why)| why);
        }
        let in_its_lane = |(lane, _): &&(Lane, ItemError)| Some(*lane) == self.only && asker.record.is_some();
        if let Some((_, why)) = refused.iter().find(in_its_lane) {
            return Some(why.clone());
        }
        for (lane, why) in &refused {
            self.note(found, *lane, asker.record, false, why);
        }
        let others: Vec<usize> = self.instead_of(asker.place).filter(|place| *place != asker.place).collect();
        for place in others {
            let Some(other) = deployments.get(place) else { continue };
            // One that answers at less length is asked for less.
            let most = other.max_output().and_then(|most| u32::try_from(most.0).ok());
            let most =
                most.filter(|most| request.generation_config.max_tokens.is_some_and(|own| *most < own));
            for lane in lanes {
                if let Some(why) = self.refused(other, (*lane, most), asker.bound, request) {
                    self.note(other, *lane, asker.record, true, &why);
                }
            }
        }
        None
    }

    /// Those that may be asked instead of a deployment.
    fn instead_of(&self, place: usize) -> impl Iterator<Item = usize> {
        let cheap = if place == 0 { &self.cheap[..] } else { &[] };
        self.fallbacks.iter().chain(cheap).copied()
    }

    /// Why the request cannot be sent so.
    fn refused(
        &mut self,
        found: &Deployment,
        (lane, max_tokens): (Lane, Option<u32>),
        bound: Option<&Bound>,
        request: &Request<'_>,
    ) -> Option<ItemError> {
        let wire = found.account.api.wire();
        if let Some(bound) = bound.filter(|bound| !wire.speaks(bound.tongue, request.kind, &found.model)) {
            return Some(ItemError::Unsupported {
                field: bound.field.clone(),
                model: found.pinned.clone(),
                why: format!(
                    "it has a name only in {} words, and this model is asked in others; leave it out, or write a unified request",
                    bound.tongue.name()
                ),
            });
        }
        let options = WireOptions { max_tokens, mark: self.mark, ..WireOptions::new(lane, &found.model) };
        self.body.clear();
        let refused = wire.encode(request, options, &mut self.body).err()?;
        Some(ItemError::Unsupported {
            field: refused.field.to_owned(),
            model: found.pinned.clone(),
            why: refused.why,
        })
    }

    /// The first of each model and lane.
    fn note(&mut self, found: &Deployment, lane: Lane, record: Option<u64>, instead: bool, why: &ItemError) {
        let same =
            |known: &Refusal| (known.lane, known.instead, &*known.model) == (lane, instead, &*found.pinned);
        if !self.refusals.iter().any(same) {
            let (model, why) = (found.pinned.clone(), why.to_string());
            self.refusals.push(Refusal { model, lane, instead, record, why });
        }
    }
}

/// A request that asks for nothing but its kind.
fn smallest(kind: Kind) -> Request<'static> {
    if !kind.has_turns() {
        return Request { kind, input: vec!["a".into()], ..Request::default() };
    }
    let message = Message { role: Role::User, content: Content::text("a"), tool_call_id: None };
    let generation_config = Config { max_tokens: Some(64), ..Config::default() };
    Request { kind, messages: vec![message], generation_config, ..Request::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_concerns_the_records_that_are_asked_for() {
        let of = |record| Refusal {
            model: "m".to_owned(),
            lane: Lane::Batch,
            instead: false,
            record,
            why: "no".to_owned(),
        };
        for (record, limit, concerns, told) in [
            (None, Some(1), true, "no"),
            (Some(3), None, true, "record 4: no"),
            (Some(3), Some(4), true, "record 4: no"),
            (Some(3), Some(3), false, "record 4: no"),
        ] {
            let refusal = of(record);
            assert_eq!((refusal.is_before(limit), &*refusal.to_string()), (concerns, told));
        }
    }
}
