//! What a person with a server of their own needs to hear where it does not know a model, or turns everything away.

use std::time::Duration;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::price::Catalogue;
use bulkrate_core::route::nearest;
use bulkrate_provider::Health;

use crate::deployment::Deployment;
use crate::run::job::Job;
use crate::spec::AccountSpec;

/// A server that has just answered does so again within this, or is left alone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Models that are named where none has a similar name.
const NAMED: usize = 5;

/// Adds to the reason for which a job stopped what its server says for free.
pub(super) async fn advise(job: &Job, catalogue: &Catalogue) {
    let Some((class, place)) = stopped(job) else { return };
    let found = &job.deployments[place];
    if !found.account.custom {
        return;
    }
    let advice = match class {
        FailureClass::Auth if !found.account.has_key => Some(no_key(found)),
        FailureClass::ModelUnavailable => {
            let health = asked(found).await.unwrap_or_default();
            of_address(found, &job.spec.account, &health).or_else(|| of_model(found, &health, catalogue))
        }
        _ => None,
    };
    if let (Some(advice), Some(halt)) = (advice, &mut job.state.borrow_mut().halted) {
        halt.message.push_str(&format!(" ({advice})"));
    }
}

/// Why the job stopped, and at which deployment.
fn stopped(job: &Job) -> Option<(FailureClass, usize)> {
    let state = job.state.borrow();
    let class = state.halted.as_ref()?.class;
    let place = state.standings.gone_by(class);
    Some((class, place.or_else(|| (job.deployments.len() == 1).then_some(0))?))
}

/// Whether it is worth a free question before anything is sent: the catalogue does not know the model, or the address looks cut short.
pub(super) fn is_wanted(found: &Deployment, account: &AccountSpec) -> bool {
    found.row.source == "user" || base_url(found, account).is_some_and(|url| !has_version(url))
}

/// What the server says of itself; else why it was not heard.
pub(super) async fn asked(found: &Deployment) -> Result<Health, String> {
    let account = &found.account;
    match tokio::time::timeout(PATIENCE, account.api.probe()).await {
        Ok(health) => {
            health.map_err(|error| format!("what `{}` has is not known: {error}", account.provider))
        }
        Err(_) => Err(format!("what `{}` has is not known: it did not answer in time", account.provider)),
    }
}

/// What a plan warns of, once a server has said what it has. A model that the catalogue knows may go by a name that no list has.
pub(super) fn warning(found: &Deployment, account: &AccountSpec, health: &Health) -> Option<String> {
    let advice = of_address(found, account, health);
    let unlisted = || {
        if found.row.source != "user" {
            return None;
        }
        let advice = of_list(&found.model, &health.names)?;
        Some(format!("`{}` is not among the models that the server lists ({advice})", found.model))
    };
    advice.or_else(unlisted)
}

fn no_key(found: &Deployment) -> String {
    let account = &found.account;
    match &account.serves {
        Some(_) if !account.key_named => {
            format!("no key was sent: name its variable with `key_env` in `[accounts.{}]`", account.provider)
        }
        _ => format!("no key was sent, as `{}` is not set", account.key_env),
    }
}

/// A base URL without a version, where no models are listed.
fn of_address(found: &Deployment, account: &AccountSpec, health: &Health) -> Option<String> {
    let base_url = base_url(found, account)?;
    (health.models.is_none() && !has_version(base_url)).then(|| {
        format!(
            "the base URL `{base_url}` has no version at its end, and most servers want one: `{}/v1`",
            base_url.trim_end_matches('/')
        )
    })
}

fn base_url<'a>(found: &Deployment, account: &'a AccountSpec) -> Option<&'a str> {
    let own = account.named.get(&found.account.provider);
    own.map_or(&account.base_url, |own| &own.base_url).as_deref()
}

/// Whether some part of the path is `v1`, `v1beta` and the like.
fn has_version(url: &str) -> bool {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').skip(1);
    path.into_iter().any(|part| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })
}

/// The model that may have been meant: one of the server's, or one of the catalogue where the server lists none.
fn of_model(found: &Deployment, health: &Health, catalogue: &Catalogue) -> Option<String> {
    if !health.names.is_empty() {
        return of_list(&found.model, &health.names);
    }
    let near = catalogue.nearest(&found.pinned);
    near.first().map(|near| format!("did you mean `{near}`?"))
}

/// `None`: it is listed, or nothing is.
fn of_list(model: &str, names: &[String]) -> Option<String> {
    // `llama3` is `llama3:latest`.
    let is_listed = |name: &String| name.split_once(':').map_or(name.as_str(), |(name, _)| name) == model;
    if names.is_empty() || names.iter().any(|name| name == model || is_listed(name)) {
        return None;
    }
    if let Some(near) = nearest(model, names.iter().map(String::as_str)) {
        return Some(format!("did you mean `{near}`?"));
    }
    let named: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("it has {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_part_of_the_path() {
        for (url, want) in [
            ("http://127.0.0.1:8000", false),
            ("http://127.0.0.1:8000/", false),
            ("http://v1.example.com/api", false),
            ("http://127.0.0.1:8000/v1", true),
            ("https://example.com/openai/v1/", true),
            ("https://example.com/v1beta/models", true),
            ("https://example.com/vllm", false),
        ] {
            assert_eq!(has_version(url), want, "{url}");
        }
    }

    #[test]
    fn a_model_that_is_not_listed_is_answered_with_one_that_is() {
        let names: Vec<String> = ["org/one", "org/two", "llama3:latest"].map(str::to_owned).to_vec();
        for (model, want) in [
            ("org/one", None),
            ("llama3", None),
            ("org/ome", Some("did you mean `org/one`?")),
            ("gpt", Some("it has `org/one`, `org/two`, `llama3:latest`")),
        ] {
            assert_eq!(of_list(model, &names).as_deref(), want, "{model}");
        }
        assert_eq!(of_list("gpt", &[]), None);
        let many: Vec<String> = (0..7).map(|at| format!("model-number-{at}")).collect();
        assert!(of_list("gpt", &many).is_some_and(|text| text.ends_with("and 2 more")));
    }
}
