//! `[cascade]`: cheap models that are asked before the job's own, and by what their answers are accepted.

use bulkrate_core::cascade::{Accept, Measure};
use bulkrate_core::request::Kind;
use bulkrate_engine::spec::{CascadeSpec, RequestSpec};

use super::ConfigError;
use super::job_file::Cascade;

/// So many models may stand before the job's own.
const MODELS_MAX: usize = 4;

/// The cascade of a request; `None` where no key of it is set.
pub(super) fn cascade(from: Cascade, request: &RequestSpec) -> Result<Option<CascadeSpec>, ConfigError> {
    let refused = |option: &str, why: String, hint: &str| Err(ConfigError::option(option, why, Some(hint)));
    let models = from.models.unwrap_or_default();
    if models.is_empty() {
        return match from.accept {
            None => Ok(None),
            Some(_) => {
                refused("--accept", "says nothing without `--cascade`".to_owned(), "name a cheap model")
            }
        };
    }
    super::router::no_auto("--cascade", &models)?;
    if models.len() > MODELS_MAX {
        let why = format!("names {} models", models.len());
        return refused("--cascade", why, &format!("at most {MODELS_MAX} may stand before `--model`"));
    }
    if request.router.is_some() {
        let hint = "a router decides before the answer, a cascade after it; choose one";
        return refused("--cascade", "cannot go together with `--model auto`".to_owned(), hint);
    }
    if request.kind != Kind::Chat {
        let hint = "leave it out: only what chats answer can be accepted or not";
        return refused("--cascade", "judges answers of chats".to_owned(), hint);
    }
    let accept = from.accept.map_or(Accept::Valid, |accept| accept.0);
    check_accept(&accept, &models, request)?;
    Ok(Some(CascadeSpec { models, accept }))
}

/// Refuses a rule by which nothing could ever be accepted.
fn check_accept(accept: &Accept, models: &[String], request: &RequestSpec) -> Result<(), ConfigError> {
    let refused = |why: String, hint: &str| Err(ConfigError::option("--accept", why, Some(hint)));
    if matches!(accept, Accept::Agreement { .. }) && models.len() < 2 {
        let hint = "name two: `--cascade A,B`, or the same one twice for two samples";
        return refused(format!("`{accept}` needs two cheap models"), hint);
    }
    if let Accept::Judge { model } = accept {
        super::router::no_auto("--accept", [model])?;
        if models.len() > 1 {
            return refused(format!("`{accept}` judges one cheap model"), "name one: `--cascade MODEL`");
        }
    }
    let schema: Option<serde_json::Value> =
        request.schema.as_deref().and_then(|schema| serde_json::from_str(schema).ok());
    let known = |field: &str| {
        schema
            .as_ref()
            .is_some_and(|schema| schema.get("properties").is_some_and(|all| all.get(field).is_some()))
    };
    if let Some(measure) = accept.measure() {
        if known(measure.name()) {
            let hint = "give that property another name";
            return refused(
                format!("`{accept}` could mean log-probabilities or the `{measure}` of your `--schema`"),
                hint,
            );
        }
        if request.bundle.is_some() {
            let hint = "leave `--bundle` out: the tokens of a bundle are those of many answers";
            return refused(format!("`{accept}` cannot go together with `--bundle`"), hint);
        }
        let own = request.provider_kwargs.as_deref().unwrap_or("");
        if let Some(name) = ["logprobs", "include"].into_iter().find(|name| own.contains(name)) {
            let hint = "leave it out of `provider_kwargs`: the cascade asks for what it needs";
            return refused(format!("`{accept}` cannot go together with an own `{name}`"), hint);
        }
        if measure == Measure::Margin && request.choices.is_empty() {
            let hint = "give `--choices`, or take `logprob>=...`, which every answer has";
            return refused(
                format!("`{accept}` compares one choice with the next, and there are none"),
                hint,
            );
        }
    }
    match accept.fields().iter().find(|field| !known(field)) {
        None => Ok(()),
        Some(field) => {
            let hint = "give a `--schema` with that property, and ask for it in the prompt";
            refused(format!("`{accept}` reads `{field}`, which the answers do not have"), hint)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::value::AcceptRule;

    fn made(models: &[&str], accept: &str, request: &RequestSpec) -> Result<Option<CascadeSpec>, String> {
        let models = models.iter().map(|model| (*model).to_owned()).collect::<Vec<_>>();
        let accept = (!accept.is_empty()).then(|| accept.parse::<AcceptRule>().unwrap());
        let from = Cascade { models: (!models.is_empty()).then_some(models), accept };
        cascade(from, request).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_that_can_never_hold_are_refused() {
        let text = RequestSpec::default();
        let schema = RequestSpec {
            schema: Some(r#"{"type":"object","properties":{"label":{},"sure":{}}}"#.to_owned()),
            ..RequestSpec::default()
        };
        let choices = RequestSpec { choices: vec!["a".to_owned(), "b".to_owned()], ..RequestSpec::default() };
        let bundled = RequestSpec { bundle: Some(10), ..choices.clone() };
        let clash = RequestSpec {
            schema: Some(r#"{"type":"object","properties":{"margin":{}}}"#.to_owned()),
            ..choices.clone()
        };
        let own = RequestSpec {
            provider_kwargs: Some(r#"{"top_logprobs":0}"#.to_owned()),
            ..RequestSpec::default()
        };
        let vectors = RequestSpec { kind: Kind::Embedding, ..RequestSpec::default() };
        for (models, accept, request, want) in [
            (&[][..], "", &text, None),
            (&["a"], "", &text, None),
            (&["a"], "valid", &text, None),
            (&["a"], "sure>=0.9", &schema, None),
            (&["a", "a"], "agree", &text, None),
            (&["a", "b"], "agree:label", &schema, None),
            (&[], "valid", &text, Some("without `--cascade`")),
            (&["auto"], "", &text, Some("asks a router")),
            (&["a", "b", "c", "d", "e"], "", &text, Some("5 models")),
            (&["a"], "", &vectors, Some("judges answers of chats")),
            (&["a"], "judge:b", &text, None),
            (&["a", "b"], "judge:c", &text, Some("judges one cheap model")),
            (&["a"], "judge:auto", &text, Some("asks a router")),
            (&["a"], "agree", &text, Some("needs two cheap models")),
            (&["a"], "sure>=0.9", &text, Some("reads `sure`")),
            (&["a"], "logprob>=0.9", &text, None),
            (&["a"], "margin>=0.5", &choices, None),
            (&["a"], "margin>=0.5", &text, Some("there are none")),
            (&["a"], "logprob>=0.9", &bundled, Some("together with `--bundle`")),
            (&["a"], "margin>=0.5", &clash, Some("could mean")),
            (&["a"], "logprob>=0.9", &own, Some("an own `logprobs`")),
            (&["a"], "valid", &own, None),
            (&["a", "b"], "agree:topic", &schema, Some("reads `topic`")),
        ] {
            match (made(models, accept, request), want) {
                (Ok(got), None) => assert_eq!(got.is_some(), !models.is_empty(), "{models:?} {accept}"),
                (Err(got), Some(want)) => assert!(got.contains(want), "{models:?} {accept}: {got}"),
                (got, want) => assert!(got.is_ok() == want.is_none(), "{models:?} {accept}: {got:?}"),
            }
        }
    }
}
