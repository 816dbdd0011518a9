//! Whether the provider of a model has requests of a kind at all: told while the source is read, before anything is sent.

use bulkrate_core::lane::Lane;
use bulkrate_core::prepare::ItemError;
use bulkrate_core::request::{Config, Content, Kind, Message, Request, Role};
use bulkrate_provider::WireOptions;

use crate::deployment::Deployment;

/// The field that a refusal of the kind itself names.
const FIELD: &str = "kind";

/// What was asked of each deployment: once for a source, not once for a record.
#[derive(Debug, Default)]
pub(super) struct Kinds(Vec<(usize, Kind, Option<ItemError>)>);

impl Kinds {
    pub(super) fn check(
        &mut self,
        place: usize,
        kind: Kind,
        deployments: &[Deployment],
    ) -> Result<(), ItemError> {
        let known = self.0.iter().find(|(known, of, _)| (*known, *of) == (place, kind));
        let refused = match known {
            Some((.., refused)) => refused.clone(),
            None => {
                let refused = deployments.get(place).and_then(|found| refusal(found, kind));
                self.0.push((place, kind, refused.clone()));
                refused
            }
        };
        refused.map_or(Ok(()), Err)
    }
}

fn refusal(found: &Deployment, kind: Kind) -> Option<ItemError> {
    let options = WireOptions {
        lane: Lane::Sync,
        model: &found.model,
        max_tokens: None,
        mark: None,
        alternatives: None,
    };
    let refused = found.account.api.wire().encode(&smallest(kind), options, &mut Vec::new()).err()?;
    (refused.field == FIELD).then(|| ItemError::Unsupported {
        field: refused.field.to_owned(),
        model: found.pinned.clone(),
        why: refused.why,
    })
}

fn smallest(kind: Kind) -> Request<'static> {
    if !kind.has_turns() {
        return Request { kind, input: vec!["a".into()], ..Request::default() };
    }
    let message = Message { role: Role::User, content: Content::text("a"), tool_call_id: None };
    let generation_config = Config { max_tokens: Some(64), ..Config::default() };
    Request { kind, messages: vec![message], generation_config, ..Request::default() }
}
