//! An item that is about to be leased: its provider body, its price at most, and what its answer must be.
//!
//! Most requests of a job differ only in their texts. The encoder runs once for each such form; after it the texts are copied
//! ([`Stencil`]).

use std::sync::Arc;

use bulkrate_core::collect::Expectation;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::prepare::Stencil;
use bulkrate_core::price::RequestShape;
use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{Kind, Request};
use bulkrate_store::Lease;

use super::job::Job;
use super::requests::{Draft, Sealed};
use super::standing::Instead;
use crate::EngineError;
use crate::deployment::{Deployment, Route};
use crate::prepare::{Shape, Share, request_shape_of};

/// An item that is about to be leased.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub ordinal: Ordinal,
    pub attempt: u8,
    pub bound: UsdNanos,
    /// What the job's first model would cost at most in a call, where an answer's cost is compared with it.
    pub strong: Option<UsdNanos>,
    /// The deployment that the request names, and the one that it goes to.
    pub named: usize,
    pub deployment: usize,
    /// In whose place that one is asked, and why.
    pub instead: Option<Instead>,
    pub kind: Kind,
    pub tags: u32,
    pub max_tokens: u32,
    /// Bytes of the canonical form.
    pub bytes: u64,
    /// Prompt tokens as they were estimated when it was made ready: what is added for it is what is taken away again.
    pub tokens: u64,
    pub expectation: Arc<Expectation>,
    /// The beginning that it shares with others, where its body marks it.
    pub share: Option<u32>,
}

impl Ready {
    pub(crate) fn lease(&self) -> Lease {
        Lease { ordinal: self.ordinal, attempt: self.attempt, bound: self.bound }
    }
}

/// Why an item cannot be sent in a lane.
#[derive(Debug)]
pub(crate) enum NotReady {
    /// The item ends here.
    Unsupported(String),
    /// It is asked in this lane now.
    Lane(Lane),
    Engine(EngineError),
}

impl From<EngineError> for NotReady {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Forms kept at once; jobs have one for each lane and model.
const FORMS_MAX: usize = 8;
/// So many requests that match no form, and no more are looked at: theirs are all different.
const MISSES_MAX: u32 = 64;

/// The forms met in this run.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    known: Vec<Form>,
    misses: u32,
}

/// Requests that differ only in their texts.
#[derive(Debug, Clone)]
struct Form {
    stencil: Arc<Stencil>,
    lane: Lane,
    /// What all of them have in common.
    common: Common,
}

/// What a request is asked with, whatever its texts.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// The deployment that the request names, and the one that stands in for it.
    pub named: usize,
    pub deployment: usize,
    pub kind: Kind,
    pub max_tokens: u32,
    pub messages: u64,
    pub images: u64,
    pub documents: u64,
    /// Bytes of the canonical form that are images and documents themselves: no measure of their tokens.
    pub data: u64,
    /// For how long it is marked for the provider's prompt cache.
    pub mark: Option<Ttl>,
    /// What it shares with some, where that is marked as well. No form has it: it stands within a text.
    pub share: Option<Share>,
    pub expectation: Arc<Expectation>,
}

impl Forms {
    /// Appends the body of a request of a known form. `asked`: who is asked in this lane of what a request names, and under which mark.
    fn fill(
        &self,
        sealed: &Sealed<'_>,
        lane: Lane,
        asked: impl Fn(usize) -> Option<(usize, Option<Ttl>)>,
        body: &mut Vec<u8>,
    ) -> Option<&Common> {
        let fits = |form: &&Form| {
            form.lane == lane
                && asked(form.common.named) == Some((form.common.deployment, form.common.mark))
                && form.stencil.fill(sealed.tail(), body)
        };
        self.known.iter().find(fits).map(|form| &form.common)
    }

    fn learn(&mut self, lane: Lane, common: &Common, cut: impl FnOnce() -> Option<Stencil>) {
        if self.misses >= MISSES_MAX || self.known.len() >= FORMS_MAX {
            return;
        }
        self.misses += 1;
        if let Some(stencil) = cut() {
            self.known.push(Form { stencil: Arc::new(stencil), lane, common: common.clone() });
        }
    }
}

impl Job {
    /// Reads an item, writes its provider body to `body` and prices its bound.
    pub(crate) fn ready(&self, ordinal: Ordinal, lane: Lane, body: &mut Vec<u8>) -> Result<Ready, NotReady> {
        loop {
            match self.ready_now(ordinal, lane, body) {
                Err(NotReady::Unsupported(_)) if self.cascade.is_some() && self.passes_over(ordinal)? => {
                    body.clear();
                }
                other => return other,
            }
        }
    }

    /// Whether an item that cannot be sent to a cheap model of a cascade may be sent to the next.
    fn passes_over(&self, ordinal: Ordinal) -> Result<bool, EngineError> {
        let named = self.named(&self.requests.borrow_mut().get(&*self.reader, ordinal)?.draft()?)?;
        Ok(self.pass_over(ordinal, named))
    }

    /// As [`Self::ready`], of the model whose turn it is.
    fn ready_now(&self, ordinal: Ordinal, lane: Lane, body: &mut Vec<u8>) -> Result<Ready, NotReady> {
        let mut requests = self.requests.borrow_mut();
        let spot = self.state.borrow().order.as_ref().and_then(|order| order.spot(ordinal));
        let sealed = match spot {
            Some(spot) => requests.at(spot)?,
            None => requests.get(&*self.reader, ordinal)?,
        };
        let (attempt, raise) = self.attempt_of(ordinal);
        if self.cascade.is_some()
            && let Some((common, bytes)) = self.judged_body(ordinal, &sealed, lane, body)?
        {
            return self.bounded((ordinal, attempt, sealed.tags), lane, bytes, &common);
        }
        let share = self.share_of(ordinal, lane)?;
        if raise == Raise::No && share.is_none() {
            let forms = self.forms.borrow();
            let state = self.state.borrow();
            let asked = |named| {
                let route = self.asked(&state, ordinal, named, lane);
                // Where it is another lane the encoder says which.
                (self.lane_at(route, lane) == lane).then(|| (route.place, state.mark(route.place)))
            };
            if let Some(common) = forms.fill(&sealed, lane, asked, body) {
                drop(state);
                return self.priced(ordinal, attempt, lane, &sealed, common);
            }
        }
        let common = self.encoded(ordinal, &sealed, lane, (raise, share), body)?;
        self.priced(ordinal, attempt, lane, &sealed, &common)
    }

    /// A leased item as it lands, with the attempt and the bound of its lease. What is out already is landed also where it
    /// could not be sent today: a price or a wire that no longer takes it concerns its next attempt.
    pub(crate) fn leased(
        &self,
        lease: &Lease,
        lane: Lane,
        sender: Option<usize>,
        body: &mut Vec<u8>,
    ) -> Result<Ready, EngineError> {
        body.clear();
        if let Some(sender) = sender {
            self.recall_asked(lease, sender);
        }
        let mut made = self.ready_now(lease.ordinal, lane, body);
        // What it was asked is what it would be asked in that lane: a judge's word is not an answer to the item.
        if let Err(NotReady::Lane(at)) = made {
            body.clear();
            made = self.ready_now(lease.ordinal, at, body);
        }
        let ready = match made {
            Ok(ready) => ready,
            Err(NotReady::Engine(error)) => return Err(error),
            Err(NotReady::Unsupported(_) | NotReady::Lane(_)) => self.unsendable(lease, lane)?,
        };
        let deployment = sender.unwrap_or(ready.deployment);
        Ok(Ready { attempt: lease.attempt, bound: lease.bound, deployment, ..ready })
    }

    /// A leased item without a body.
    fn unsendable(&self, lease: &Lease, lane: Lane) -> Result<Ready, EngineError> {
        let mut requests = self.requests.borrow_mut();
        let sealed = requests.get(&*self.reader, lease.ordinal)?;
        let draft = sealed.draft()?;
        let named = self.named(&draft)?;
        let deployment = self.asked(&self.state.borrow(), lease.ordinal, named, lane).place;
        Ok(Ready {
            ordinal: lease.ordinal,
            attempt: lease.attempt,
            bound: lease.bound,
            strong: None,
            named,
            deployment,
            instead: None,
            kind: draft.kind(),
            tags: sealed.tags,
            max_tokens: draft.max_tokens(),
            bytes: sealed.canonical_len(),
            tokens: self.estimated_tokens(deployment, sealed.canonical_len()),
            expectation: self.expectation(&draft)?,
            share: None,
        })
    }

    /// The deployment that a request names.
    pub(super) fn named(&self, draft: &Draft<'_>) -> Result<usize, EngineError> {
        let named = self.deployments.iter().position(|known| known.pinned == draft.model());
        named.ok_or_else(|| {
            EngineError::Internal(format!("a request names model `{}`, which is not set up", draft.model()))
        })
    }

    /// Whether an item that is in a lane is asked in it.
    pub(super) fn in_lane(&self, route: Route, lane: Lane) -> Result<(), NotReady> {
        let at = self.lane_at(route, lane);
        if at == lane { Ok(()) } else { Err(NotReady::Lane(at)) }
    }

    /// The attempt that is next, and whether it may answer at greater length.
    fn attempt_of(&self, ordinal: Ordinal) -> (u8, Raise) {
        let state = self.state.borrow();
        let Some(trouble) = state.trouble.get(&ordinal) else { return (1, Raise::No) };
        // One number per lease: the fold tells leases of one item apart by it, modulo 31.
        let attempt = 1 + trouble.ended % 248;
        let raise = match trouble.max_tokens {
            Some(most) => Raise::To(most),
            None if trouble.cut => Raise::FourFold,
            None => Raise::No,
        };
        (attempt, raise)
    }

    /// Writes a body with the encoder.
    fn encoded(
        &self,
        ordinal: Ordinal,
        sealed: &Sealed<'_>,
        lane: Lane,
        (raise, share): (Raise, Option<Share>),
        body: &mut Vec<u8>,
    ) -> Result<Common, NotReady> {
        let draft = sealed.draft()?;
        let named = self.named(&draft)?;
        let route = self.asked(&self.state.borrow(), ordinal, named, lane);
        self.in_lane(route, lane)?;
        let deployment = route.place;
        let found = &self.deployments[deployment];
        let asked = draft.max_tokens();
        let raised = match raise {
            // The source was checked against the model that it names; one that stands in may answer at less length.
            Raise::No if deployment != named => {
                found.max_output().and_then(|most| u32::try_from(most.0).ok()).filter(|most| *most < asked)
            }
            Raise::No => None,
            Raise::To(most) => Some(most),
            Raise::FourFold => {
                let most =
                    found.max_output().map_or(u32::MAX, |most| u32::try_from(most.0).unwrap_or(u32::MAX));
                Some(asked.saturating_mul(4).min(most))
            }
        };
        // Its body names its model, so that another would be reserved and booked than the one that is asked.
        if matches!(draft, Draft::Raw(_)) && deployment != named {
            let why =
                format!("an OpenAI batch line goes to the model that it names, not to `{}`", found.pinned);
            return Err(NotReady::Unsupported(why));
        }
        let mark = self.state.borrow().mark(deployment);
        let share = share.filter(|_| self.state.borrow().marks_shares(deployment));
        let second = share.map(|share| share.at);
        let alternatives = self.alternatives(named, deployment);
        let asking = Asking { lane, max_tokens: raised, mark, second, alternatives };
        encode(found, &draft, asking, body).map_err(NotReady::Unsupported)?;
        let (images, documents, data, messages) = match &draft {
            Draft::Unified(request) => {
                let turns = request.messages.len() as u64;
                (request.images(), request.documents(), request.data_bytes(), turns + 1)
            }
            Draft::Raw(line) => (line.images(), line.documents(), 0, line.messages()),
        };
        let common = Common {
            named,
            deployment,
            kind: draft.kind(),
            max_tokens: raised.unwrap_or(asked),
            messages,
            images,
            documents,
            data,
            mark,
            share,
            expectation: self.expectation(&draft)?,
        };
        if let (Draft::Unified(request), None, None) = (&draft, raised, share) {
            let encoder = |request: &Request<'_>, out: &mut Vec<u8>| {
                encode_unified(found, request, asking, out).is_ok()
            };
            self.forms.borrow_mut().learn(lane, &common, || Stencil::cut(request, encoder));
        }
        Ok(common)
    }

    fn priced(
        &self,
        ordinal: Ordinal,
        attempt: u8,
        lane: Lane,
        sealed: &Sealed<'_>,
        common: &Common,
    ) -> Result<Ready, NotReady> {
        self.bounded((ordinal, attempt, sealed.tags), lane, sealed.canonical_len(), common)
    }

    pub(crate) fn bounded(
        &self,
        (ordinal, attempt, tags): (Ordinal, u8, u32),
        lane: Lane,
        bytes: u64,
        common: &Common,
    ) -> Result<Ready, NotReady> {
        let Common { named, deployment, kind, max_tokens, messages, images, documents, data, mark, .. } =
            *common;
        let text = bytes.saturating_sub(data);
        let found = &self.deployments[if planted::has(Bug::BoundAsNamed) { named } else { deployment }];
        let writes = mark.map(Ttl::writes).unwrap_or_default();
        let shape =
            RequestShape { documents, writes, ..request_shape_of(text, messages, images, max_tokens) };
        let bound = found.bound(lane, &shape).ok_or_else(|| {
            NotReady::Unsupported(format!(
                "no price bound is known for `{}` in the {lane} lane",
                found.pinned
            ))
        })?;
        let strong = self.strong.as_ref();
        let strong = strong.and_then(|strong| strong.deployment.bound(Lane::Sync, &shape));
        let expectation = Arc::clone(&common.expectation);
        Ok(Ready {
            ordinal,
            attempt,
            bound,
            strong,
            named,
            deployment,
            instead: self.instead(&self.state.borrow(), named, deployment, lane),
            kind,
            tags,
            max_tokens,
            bytes,
            tokens: self.estimated_tokens(deployment, text),
            expectation,
            share: common.share.map(|share| share.id),
        })
    }

    /// What the answer to an item's own request must be.
    pub(super) fn own_expectation(&self, ordinal: Ordinal) -> Result<Arc<Expectation>, EngineError> {
        let mut requests = self.requests.borrow_mut();
        let draft = requests.get(&*self.reader, ordinal)?.draft()?;
        self.expectation(&draft)
    }

    /// What the answer to a request must be; schemas are compiled once.
    fn expectation(&self, draft: &Draft<'_>) -> Result<Arc<Expectation>, EngineError> {
        // Every record of a table is asked the same.
        if self.shape == Shape::Table
            && self.cascade.is_none()
            && let Some(known) = self.expectations.borrow().values().next()
        {
            return Ok(Arc::clone(known));
        }
        let Draft::Unified(request) = draft else { return self.known("", || Ok(Expectation::Text)) };
        let config = &request.generation_config;
        match request.kind {
            Kind::Embedding => self.known(&format!("embedding {:?}", config.dimensions), || {
                Ok(Expectation::Embedding { dimensions: config.dimensions })
            }),
            Kind::Moderation => self.known("moderation", || Ok(Expectation::Moderation)),
            Kind::Image => self.known("image", || Ok(Expectation::Image)),
            Kind::Chat | Kind::Decision => match config.output_schema {
                Some(schema) => self.known(schema.get(), || {
                    Expectation::schema(schema.get()).map_err(|error| EngineError::BadSpec {
                        code: "schema-invalid",
                        what: "the schema".to_owned(),
                        why: error.0,
                    })
                }),
                None if config.choices.is_empty() => self.known("", || Ok(Expectation::Text)),
                None => {
                    let name = config
                        .choices
                        .iter()
                        .fold(String::from("choices"), |name, choice| name + "\u{1f}" + choice);
                    self.known(&name, || {
                        Ok(Expectation::Choices(
                            config.choices.iter().map(|choice| choice.to_string()).collect(),
                        ))
                    })
                }
            },
        }
    }

    pub(super) fn known(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Expectation, EngineError>,
    ) -> Result<Arc<Expectation>, EngineError> {
        if let Some(found) = self.expectations.borrow().get(name) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(make()?);
        self.expectations.borrow_mut().insert(name.to_owned(), Arc::clone(&made));
        Ok(made)
    }
}

/// Whether an attempt asks for a longer answer than its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raise {
    No,
    To(u32),
    /// An answer was cut in an earlier run, which did not say at what.
    FourFold,
}

/// How a request is asked, beside what it says itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    pub lane: Lane,
    /// Takes the place of its own maximum.
    pub max_tokens: Option<u32>,
    pub mark: Option<Ttl>,
    /// Both as in [`bulkrate_provider::WireOptions`].
    pub second: Option<u32>,
    pub alternatives: Option<u8>,
}

/// Writes the provider's body of a request.
fn encode(found: &Deployment, draft: &Draft<'_>, asking: Asking, body: &mut Vec<u8>) -> Result<(), String> {
    match draft {
        Draft::Raw(line) => {
            line.body(asking.lane, &found.model, asking.max_tokens, body);
            Ok(())
        }
        Draft::Unified(request) => encode_unified(found, request, asking, body),
    }
}

pub(crate) fn encode_unified(
    found: &Deployment,
    request: &Request<'_>,
    asking: Asking,
    body: &mut Vec<u8>,
) -> Result<(), String> {
    let Asking { lane, max_tokens, mark, second, alternatives } = asking;
    let model = &found.model;
    let options = bulkrate_provider::WireOptions { lane, model, max_tokens, mark, second, alternatives };
    found.account.api.wire().encode(request, options, body).map_err(|error| error.to_string())
}
