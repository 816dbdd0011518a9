//! Who may call: access tokens, for signed assertions, for a person's sign-in, and for the machine that this runs on.

use crate::errors::ApiError;
use crate::like::bearer;
use crate::server::{Reply, State, query};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const JWT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest that an assertion may hold.
const ASSERTION_SECS: i64 = 3_600;
/// Clocks may differ so much.
const SKEW_SECS: i64 = 300;
const ACCOUNT: &str = "instance/service-accounts/default/";

/// The tokens that were given, and when each ends.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    ends: Mutex<HashMap<String, Instant>>,
}

impl Tokens {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn holds(&self, token: &str) -> bool {
        self.lock().get(token).is_some_and(|ends| Instant::now() < *ends)
    }

    /// None holds any more.
    pub(crate) fn revoke(&self) {
        self.lock().clear();
    }
}

/// A call's token is one of ours, and holds.
pub(super) fn check(state: &State, headers: &HeaderMap) -> Result<(), Reply> {
    let token = bearer(headers);
    let known = state.config.api_key.as_deref() == Some(token);
    if known || state.access.holds(token) {
        return Ok(());
    }
    Err(Reply::error(&ApiError::new(401, "UNAUTHENTICATED", None, "")))
}

/// A new token that begins so, and the seconds that it holds.
pub(crate) fn granted(state: &State, begins: &str) -> (String, u64) {
    let token = format!("{begins}{}", state.keys.id("c.", 40, false));
    let life = state.config.token_secs;
    state.access.lock().insert(token.clone(), Instant::now() + Duration::from_secs(life));
    (token, life)
}

fn given(state: &State) -> Value {
    let (token, life) = granted(state, "ya29.");
    json!({"access_token": token, "expires_in": life, "token_type": "Bearer"})
}

/// As a server of tokens refuses.
pub(crate) fn refused(error: &str, why: &str) -> Reply {
    let body = json!({"error": error, "error_description": why}).to_string();
    Reply::bytes(if error == "invalid_client" { 401 } else { 400 }, body)
}

/// POST /token
pub(super) fn grant(state: &State, body: &Bytes) -> Reply {
    let form = query(std::str::from_utf8(body).ok());
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    match field("grant_type") {
        JWT => match assertion(field("assertion")) {
            Ok(()) => Reply::of(&given(state)),
            Err(why) => refused("invalid_grant", why),
        },
        "refresh_token" if field("client_id").is_empty() || field("client_secret").is_empty() => {
            refused("invalid_client", "The OAuth client was not found.")
        }
        "refresh_token" if field("refresh_token").is_empty() => {
            refused("invalid_request", "Missing required parameter: refresh_token")
        }
        "refresh_token" if field("refresh_token").contains("revoked") => {
            refused("invalid_grant", "Token has been expired or revoked.")
        }
        "refresh_token" => Reply::of(&given(state)),
        _ => refused("unsupported_grant_type", "Invalid grant_type"),
    }
}

/// Whether an assertion says all that it must. Whose signature it bears is not known here.
fn assertion(text: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = text.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else { return Err("Bad Request") };
    let read = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?).ok()
    };
    let (head, claims) = read(head).zip(read(claims)).ok_or("Bad Request")?;
    let signature = URL_SAFE_NO_PAD.decode(signature.trim_end_matches('=')).unwrap_or_default();
    if head["alg"] != "RS256" || !matches!(signature.len(), 256 | 384 | 512) {
        return Err("Invalid JWT Signature.");
    }
    if !claims["iss"].as_str().is_some_and(|iss| iss.contains('@')) {
        return Err("Invalid grant: account not found");
    }
    if !claims["aud"].as_str().is_some_and(|aud| aud.ends_with("/token")) {
        return Err("Invalid JWT: Failed audience check.");
    }
    let scopes = claims["scope"].as_str().unwrap_or_default();
    if scopes.is_empty()
        || !scopes.split(' ').all(|scope| scope.starts_with("https://www.googleapis.com/auth/"))
    {
        return Err("Invalid OAuth scope or ID token audience provided.");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (from, until) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
    if until - from > ASSERTION_SECS || until < now - SKEW_SECS || from > now + SKEW_SECS {
        return Err(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
        );
    }
    Ok(())
}

/// GET /computeMetadata/v1/...: what the server beside a machine knows.
pub(super) fn machine(state: &State, what: &str, headers: &HeaderMap) -> Reply {
    if headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return Reply::html(403, "Forbidden");
    }
    let mut reply = match what.strip_prefix(ACCOUNT) {
        Some("token") => Reply::of(&given(state)),
        Some("") => Reply::of(
            &json!({"email": "default@sim.iam.gserviceaccount.com", "aliases": ["default"], "scopes": []}),
        ),
        _ if what == "project/project-id" => {
            Reply::bytes(200, state.config.project.clone().unwrap_or_else(|| "sim".to_owned()))
        }
        _ => Reply::html(404, "Not Found"),
    };
    reply.header("metadata-flavor", "Google");
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_must_say_who_for_what_and_for_how_long() {
        let now =
            i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
                .unwrap_or(0);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let good = json!({"iss": "a@b", "scope": "https://www.googleapis.com/auth/cloud-platform", "aud": "http://127.0.0.1/token", "iat": now, "exp": now + 3_600});
        let made = |alg: &str, claims: &Value| {
            let signature = URL_SAFE_NO_PAD.encode([7; 256]);
            format!("{}.{}.{signature}", encode(&json!({"alg": alg})), encode(claims))
        };
        assert_eq!(assertion(&made("RS256", &good)), Ok(()));
        assert!(assertion(&made("none", &good)).is_err() && assertion("a.b").is_err());
        for (name, value) in [
            ("iss", json!("nobody")),
            ("scope", json!("")),
            ("aud", json!("https://elsewhere.invalid/")),
            ("exp", json!(now + 7_200)),
            ("iat", json!(now - 90_000)),
        ] {
            let mut claims = good.clone();
            claims[name] = value;
            assert!(assertion(&made("RS256", &claims)).is_err(), "{claims}");
        }
    }
}
