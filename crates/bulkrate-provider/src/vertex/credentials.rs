//! Who asks: a service account's key, a person's sign-in by `gcloud`, or the machine that this runs on.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulkrate_core::request::write_json_text;
use bytes::Bytes;
use http::HeaderMap;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use url::Url;

use crate::api::Reply;
use crate::http::tokens::{Grants, is_secret};
use crate::settings::Secret;

/// Where tokens are to be had, if a file does not say.
pub(super) const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA_HOST: &str = "metadata.google.internal";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// The reason of a call that was not sent, as no token was given for it.
pub(super) const REFUSED: &str = "CREDENTIALS_REFUSED";
/// The longest that an assertion may hold.
const ASSERTION_S: i64 = 3_600;

/// Who asks for tokens.
#[derive(Debug)]
pub(super) enum Credentials {
    Key(Box<ServiceKey>),
    User(UserSignIn),
    /// The service account of the machine, which a server beside it vouches for.
    Machine,
}

/// What a file of credentials says.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) credentials: Credentials,
    /// The project of the service account.
    pub(super) project: Option<String>,
    /// The project that pays for what a person asks.
    pub(super) quota_project: Option<String>,
}

/// The key of a service account, which signs what tokens are given for.
#[derive(Debug)]
pub(super) struct ServiceKey {
    email: String,
    key_id: String,
    pair: RsaKeyPair,
    pub(super) token_url: String,
}

/// A sign-in by `gcloud auth application-default login`.
#[derive(Debug)]
pub(super) struct UserSignIn {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    pub(super) token_url: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    project_id: Option<String>,
    quota_project_id: Option<String>,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

impl Found {
    /// Those of the machine.
    pub(super) fn machine() -> Self {
        Self { credentials: Credentials::Machine, project: None, quota_project: None }
    }

    /// Reads a file of credentials. `Err` says what is wrong with it, and nothing that is secret in it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let of = |why: &str| format!("the credentials in `{}` cannot be used: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| of(&error.to_string()))?;
        // What a parser says may repeat what it read.
        let file: File = serde_json::from_str(&text).map_err(|error| {
            of(&format!("line {} is not what Google writes into such a file", error.line()))
        })?;
        Self::of(file).map_err(|why| of(&why))
    }

    fn of(file: File) -> Result<Self, String> {
        let has = |field: Option<String>, name: &str| {
            field.filter(|text| !text.is_empty()).ok_or_else(|| format!("there is no `{name}` in it"))
        };
        let token_url = file.token_uri.unwrap_or_else(|| TOKEN_URL.to_owned());
        if !Url::parse(&token_url).is_ok_and(|url| is_secret(&url)) {
            return Err("its `token_uri` is no https".to_owned());
        }
        let credentials = match file.kind.as_str() {
            "service_account" => Credentials::Key(Box::new(ServiceKey {
                email: has(file.client_email, "client_email")?,
                key_id: file.private_key_id.unwrap_or_default(),
                pair: pair(&has(file.private_key, "private_key")?)?,
                token_url,
            })),
            "authorized_user" => Credentials::User(UserSignIn {
                client_id: has(file.client_id, "client_id")?,
                client_secret: Secret::new(&has(file.client_secret, "client_secret")?),
                refresh_token: Secret::new(&has(file.refresh_token, "refresh_token")?),
                token_url,
            }),
            other => {
                return Err(format!(
                    "they are of the type `{other}`; `service_account` and `authorized_user` are understood"
                ));
            }
        };
        Ok(Self { credentials, project: file.project_id, quota_project: file.quota_project_id })
    }
}

fn pair(pem: &str) -> Result<RsaKeyPair, String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "`private_key` is no key in PEM".to_owned())?;
    RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
        .map_err(|error| format!("`private_key` is no RSA key that can be used ({error})"))
}

impl ServiceKey {
    /// The form that a token is asked with: a JSON web token, signed for an hour from now.
    pub(super) fn form(&self, now_unix_s: i64) -> Result<String, String> {
        let mut head = b"{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":".to_vec();
        write_json_text(&self.key_id, &mut head);
        head.push(b'}');
        let mut claims = b"{\"iss\":".to_vec();
        write_json_text(&self.email, &mut claims);
        claims.extend_from_slice(format!(",\"scope\":\"{SCOPE}\",\"aud\":").as_bytes());
        write_json_text(&self.token_url, &mut claims);
        let expires = now_unix_s.saturating_add(ASSERTION_S);
        claims.extend_from_slice(format!(",\"iat\":{now_unix_s},\"exp\":{expires}}}").as_bytes());
        let mut signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the service account's key could not sign".to_owned())?;
        signed.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut signed);
        Ok(form(&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &signed)]))
    }
}

impl UserSignIn {
    /// The form that a token is asked with.
    pub(super) fn form(&self) -> String {
        form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose()),
            ("refresh_token", self.refresh_token.expose()),
        ])
    }
}

/// Credentials, and where tokens are had for them.
#[derive(Debug)]
pub(super) struct Asks {
    credentials: Credentials,
    url: String,
}

impl Asks {
    pub(super) fn new(credentials: Credentials, metadata_host: Option<&str>) -> Self {
        let url = match &credentials {
            Credentials::Key(key) => key.token_url.clone(),
            Credentials::User(user) => user.token_url.clone(),
            Credentials::Machine => {
                format!("http://{}{METADATA_PATH}", metadata_host.unwrap_or(METADATA_HOST))
            }
        };
        Self { credentials, url }
    }
}

impl Grants for Asks {
    fn provider(&self) -> &'static str {
        "vertex"
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let flavor = self.is_local().then(|| ("metadata-flavor", "Google".to_owned()));
        flavor.into_iter().collect()
    }

    fn is_local(&self) -> bool {
        matches!(self.credentials, Credentials::Machine)
    }

    fn form(&self, now_unix_s: i64) -> Result<Option<String>, String> {
        match &self.credentials {
            Credentials::Machine => Ok(None),
            Credentials::User(user) => Ok(Some(user.form())),
            Credentials::Key(key) => key.form(now_unix_s).map(Some),
        }
    }

    fn secrets(&self) -> Vec<String> {
        match &self.credentials {
            Credentials::User(user) => {
                [&user.client_secret, &user.refresh_token].map(|secret| secret.expose().to_owned()).to_vec()
            }
            // The key signs, and is sent nowhere.
            Credentials::Key(_) | Credentials::Machine => Vec::new(),
        }
    }

    fn refusal(&self, why: &str) -> Reply {
        let mut body = b"{\"error\":{\"code\":401,\"status\":\"UNAUTHENTICATED\",\"message\":".to_vec();
        write_json_text(why, &mut body);
        body.extend_from_slice(format!(",\"details\":[{{\"reason\":\"{REFUSED}\"}}]}}}}").as_bytes());
        Reply { status: 401, headers: HeaderMap::new(), body: Bytes::from(body) }
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    const KEY: &str = include_str!("../../fixtures/vertex/service_account.json");
    const USER: &str = include_str!("../../fixtures/vertex/authorized_user.json");

    fn read(text: &str) -> Result<Found, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        std::fs::write(&path, text).unwrap();
        Found::read(&path)
    }

    #[test]
    fn a_key_signs_what_its_public_half_proves() {
        let found = read(KEY).unwrap();
        assert_eq!(found.project.as_deref(), Some("acme-labels"));
        let Credentials::Key(key) = found.credentials else { panic!("no key") };
        let form = key.form(1_795_132_800).unwrap();
        let assertion = form.split_once("&assertion=").unwrap().1;
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.pair.public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let part = |text: &str| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        let (head, claims) = signed.split_once('.').unwrap();
        assert_eq!(
            part(head),
            serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567"})
        );
        assert_eq!(
            part(claims),
            serde_json::json!({"iss": "labels@acme-labels.iam.gserviceaccount.com", "scope": SCOPE, "aud": TOKEN_URL, "iat": 1_795_132_800, "exp": 1_795_136_400})
        );
    }

    #[test]
    fn a_persons_sign_in_asks_with_its_refresh_token_and_prints_none_of_it() {
        let found = read(USER).unwrap();
        assert_eq!(found.quota_project.as_deref(), Some("acme-labels"));
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
        let Credentials::User(user) = &found.credentials else { panic!("no user") };
        assert_eq!(
            user.form(),
            "grant_type=refresh_token&client_id=764086051850-x.apps.googleusercontent.com&client_secret=canary-client-secret-0&refresh_token=1%2F%2Fcanary-refresh-token-0"
        );
        assert_eq!(Asks::new(found.credentials, None).secrets().len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_and_nothing_that_is_in_it() {
        for (text, word) in [
            ("{", "line 1"),
            (r#"{"type":"external_account","client_secret":"canary"}"#, "`external_account`"),
            (r#"{"type":"service_account","client_email":"a@b","private_key":"canary"}"#, "`private_key`"),
            (
                r#"{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n"}"#,
                "`private_key`",
            ),
            (r#"{"type":"authorized_user","client_id":"c","client_secret":"canary"}"#, "`refresh_token`"),
            // What is asked for a token gets what is worth one.
            (
                r#"{"type":"authorized_user","client_id":"c","client_secret":"canary","refresh_token":"canary","token_uri":"http://192.0.2.1/token"}"#,
                "`token_uri`",
            ),
            (r#"{"type":"service_account","token_uri":"http://oauth2.googleapis.com/token"}"#, "`token_uri`"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(word) && !why.contains("canary"), "{why}");
        }
        assert!(
            Found::read(Path::new("/nonexistent/key.json")).unwrap_err().contains("/nonexistent/key.json")
        );
    }
}
