//! Entra's tokens, which take the place of Azure's key: for an application with its secret, for a workload with what its cluster says of it,
//! or for the machine, whose server stands at `/msi/token`.

use super::manners::{Call, Own};
use crate::faults::Place;
use crate::server::{Reply, State, query};
use crate::vertex::{granted, refused};
use http::Method;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Asking for one.
pub(super) const TOKEN: Own = Own { place: Place::Models, label: "token of Entra" };
const BEGINS: &str = "entra.";
const STORAGE_BEGINS: &str = "storage.";
/// What tokens are for, and how they begin: models, or blobs.
const RESOURCES: [(&str, &str); 2] =
    [("https://cognitiveservices.azure.com", BEGINS), ("https://storage.azure.com", STORAGE_BEGINS)];
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const MACHINE: &str = "/msi/token";
const TENANT_ENDS: &str = "/oauth2/v2.0/token";

/// Whether that is the address of a server of tokens.
pub(super) fn is_asked(path: &str) -> bool {
    path.ends_with(TENANT_ENDS) || path == MACHINE
}

/// Whether a key is one of the tokens, and holds; `None`: it is none of them.
pub(super) fn holds(state: &State, key: &str) -> Option<bool> {
    RESOURCES
        .iter()
        .any(|(_, begins)| key.starts_with(begins))
        .then(|| key.starts_with(BEGINS) && state.access.holds(key))
}

/// Whether a token lets into the store of blobs.
pub(super) fn opens_storage(state: &State, token: &str) -> bool {
    token.starts_with(STORAGE_BEGINS) && state.access.holds(token)
}

/// How a token begins for what is asked for so; `None`: for nothing known.
fn begins(named: &str) -> Option<&'static str> {
    let named = named.strip_suffix("/.default").unwrap_or(named).trim_end_matches('/');
    RESOURCES.iter().find(|(resource, _)| *resource == named).map(|(_, begins)| *begins)
}

pub(super) fn grant(state: &State, call: &Call<'_>) -> Reply {
    if call.method == Method::GET { to_machine(state, call) } else { to_client(state, call) }
}

fn to_machine(state: &State, call: &Call<'_>) -> Reply {
    let is_told = ["x-identity-header", "metadata"].iter().any(|name| call.headers.contains_key(*name));
    match call.query.get("resource").and_then(|resource| begins(resource)).filter(|_| is_told) {
        Some(begins) => given(state, begins, !call.headers.contains_key("metadata")),
        None => refused("invalid_request", "Identity not found, or the resource is not known."),
    }
}

/// Tenants whose name has `wrong` in it are not there, and such secrets and tokens of a cluster are not taken.
fn to_client(state: &State, call: &Call<'_>) -> Reply {
    let form = query(std::str::from_utf8(call.body).ok());
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let proof = [field("client_secret"), field("client_assertion")].concat();
    let is_named = field("client_assertion").is_empty() || field("client_assertion_type") == ASSERTION;
    match () {
        () if call.path.strip_suffix(TENANT_ENDS).is_some_and(|tenant| tenant.contains("wrong")) => {
            refused("invalid_request", "AADSTS90002: Tenant not found.")
        }
        () if field("grant_type") != "client_credentials" => refused("unsupported_grant_type", "AADSTS70003"),
        () if !field("scope").ends_with("/.default") || begins(field("scope")).is_none() => {
            refused("invalid_scope", "AADSTS70011")
        }
        () if field("client_id").is_empty() || proof.is_empty() || !is_named => {
            refused("invalid_client", "AADSTS7000216")
        }
        () if proof.contains("wrong") => {
            refused("invalid_client", "AADSTS7000215: Invalid client secret provided.")
        }
        () => given(state, begins(field("scope")).unwrap_or(BEGINS), false),
    }
}

/// `by_end`: an app's server tells when a token ends, and nothing else.
fn given(state: &State, begins: &str, by_end: bool) -> Reply {
    let (token, life) = granted(state, begins);
    let mut given = json!({"access_token": token, "token_type": "Bearer"});
    if by_end {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        given["expires_on"] = (now + life).to_string().into();
    } else {
        given["expires_in"] = life.into();
    }
    Reply::of(&given)
}
