//! Who asks at Azure where there is no key: an application of Entra with its secret, a workload with a token of its cluster, or the identity of
//! the machine. Variables and addresses are those of Microsoft's own `azure-identity` (1.27).

use std::path::PathBuf;

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::write_json_text;
use bytes::Bytes;
use http::HeaderMap;
use url::Url;
use url::form_urlencoded::Serializer;

use super::blobs::SAS;
use super::errors;
use crate::api::Reply;
use crate::http::Account;
use crate::http::batches::in_path;
use crate::http::sign::ENDED;
use crate::http::tokens::{Grants, is_beside, is_secret};
use crate::settings::{Secret, Settings};

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const FEDERATED: &str = "AZURE_FEDERATED_TOKEN_FILE";
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";
/// Which of several ways is meant.
const WAY: &str = "AZURE_TOKEN_CREDENTIALS";
/// Each way in the words of Azure's own tools.
const WAYS: [&str; 3] = ["EnvironmentCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"];
const ENDPOINT: &str = "IDENTITY_ENDPOINT";
const HEADER: &str = "IDENTITY_HEADER";
/// Where Azure's own tools look.
pub(crate) const VARIABLES: &[&str] =
    &[TENANT, CLIENT, SECRET, FEDERATED, AUTHORITY, WAY, ENDPOINT, HEADER, SAS];

/// What tokens are for: models, or the blobs that batches come from.
pub(super) const MODELS: &str = "https://cognitiveservices.azure.com";
pub(super) const STORAGE: &str = "https://storage.azure.com";
const MACHINE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The code of a call that was not sent, as no token was given for it.
const REFUSED: &str = "credentials_refused";

/// Who asks.
#[derive(Debug)]
enum Who {
    Application {
        client: String,
        secret: Secret,
    },
    /// What the cluster says of it stands in a file that changes.
    Workload {
        client: String,
        file: PathBuf,
    },
    /// What stands beside the machine answers nobody else, and is told this where it must be told something.
    Machine {
        told: Option<Secret>,
    },
}

/// Who asks for tokens, and where.
#[derive(Debug)]
pub(super) struct Entra {
    who: Who,
    url: String,
    /// What its tokens are for.
    resource: &'static str,
}

impl Entra {
    /// Where the variables name one. `Err` says what is wrong with them.
    pub(super) fn find(settings: &Settings, resource: &'static str) -> Result<Option<Self>, String> {
        let variable =
            |name: &str| settings.variables.get(name).map(Secret::expose).filter(|text| !text.is_empty());
        let way = variable(WAY).unwrap_or("prod");
        let is = |name: &str| way.eq_ignore_ascii_case(name) || way.eq_ignore_ascii_case("prod");
        if !WAYS.iter().any(|known| is(known)) {
            return Err(format!(
                "`{WAY}` is `{way}`: known are `prod`, {}",
                WAYS.map(|known| format!("`{known}`")).join(", ")
            ));
        }
        let secret = variable(SECRET).filter(|_| is(WAYS[0]));
        let file = variable(FEDERATED).filter(|_| is(WAYS[1]));
        let who = variable(CLIENT).map(str::to_owned).and_then(|client| match (secret, file) {
            (Some(secret), _) => Some(Who::Application { client, secret: Secret::new(secret) }),
            (None, Some(file)) => Some(Who::Workload { client, file: PathBuf::from(file) }),
            (None, None) => None,
        });
        if let Some((tenant, who)) = variable(TENANT).zip(who) {
            return Self::of_tenant(tenant, variable(AUTHORITY), who, resource).map(Some);
        }
        let server = variable(ENDPOINT).zip(variable(HEADER));
        // Every machine of Azure has a server, and so have many that are none: it is asked where it is named.
        match server.is_some() && is(WAYS[2]) || way.eq_ignore_ascii_case(WAYS[2]) {
            true => Self::of_machine(variable(CLIENT), server, resource).map(Some),
            false => Ok(None),
        }
    }

    fn of_tenant(
        tenant: &str,
        authority: Option<&str>,
        who: Who,
        resource: &'static str,
    ) -> Result<Self, String> {
        let authority = authority.unwrap_or("https://login.microsoftonline.com");
        let authority =
            if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
        if !Url::parse(&authority).is_ok_and(|url| is_secret(&url)) {
            return Err(format!("`{AUTHORITY}` is no https"));
        }
        let url = format!("{}/{}/oauth2/v2.0/token", authority.trim_end_matches('/'), in_path(tenant));
        Ok(Self { who, url, resource })
    }

    /// By the server that an app service names, or the one that every machine of Azure has.
    fn of_machine(
        client: Option<&str>,
        server: Option<(&str, &str)>,
        resource: &'static str,
    ) -> Result<Self, String> {
        let (address, version) = match server {
            Some((address, _)) => (address, "2019-08-01"),
            None => (MACHINE, "2018-02-01"),
        };
        let is_near = |url: Url| is_secret(&url) || is_beside(&url);
        if !Url::parse(address).is_ok_and(is_near) {
            return Err(format!("`{ENDPOINT}` is no https, and no address of this machine"));
        }
        let mut query = Serializer::new(String::new());
        query.append_pair("api-version", version).append_pair("resource", resource);
        if let Some(client) = client {
            query.append_pair("client_id", client);
        }
        let told = server.map(|(_, secret)| Secret::new(secret));
        Ok(Self { who: Who::Machine { told }, url: format!("{address}?{}", query.finish()), resource })
    }
}

impl Grants for Entra {
    fn provider(&self) -> &'static str {
        "azure"
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        match &self.who {
            Who::Machine { told: Some(secret) } => vec![("x-identity-header", secret.expose().to_owned())],
            Who::Machine { told: None } => vec![("metadata", "true".to_owned())],
            Who::Application { .. } | Who::Workload { .. } => Vec::new(),
        }
    }

    fn is_local(&self) -> bool {
        matches!(self.who, Who::Machine { .. })
    }

    fn form(&self, _: i64) -> Result<Option<String>, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("scope", &format!("{}/.default", self.resource));
        match &self.who {
            Who::Machine { .. } => return Ok(None),
            Who::Application { client, secret } => {
                form.append_pair("client_id", client).append_pair("client_secret", secret.expose());
            }
            Who::Workload { client, file } => {
                let token = std::fs::read_to_string(file).map_err(|error| {
                    format!("the token of this workload cannot be read from `{}`: {error}", file.display())
                })?;
                form.append_pair("client_id", client).append_pair("client_assertion_type", ASSERTION);
                form.append_pair("client_assertion", token.trim());
            }
        }
        Ok(Some(form.finish()))
    }

    fn secrets(&self) -> Vec<String> {
        match &self.who {
            Who::Application { secret, .. } | Who::Machine { told: Some(secret) } => {
                vec![secret.expose().to_owned()]
            }
            Who::Workload { file, .. } => {
                std::fs::read_to_string(file).map(|token| token.trim().to_owned()).into_iter().collect()
            }
            Who::Machine { told: None } => Vec::new(),
        }
    }

    fn refusal(&self, why: &str) -> Reply {
        let mut body = format!("{{\"error\":{{\"code\":\"{REFUSED}\",\"message\":").into_bytes();
        write_json_text(why, &mut body);
        body.extend_from_slice(b"}}");
        Reply { status: 401, headers: HeaderMap::new(), body: Bytes::from(body) }
    }
}

/// A refusal of a call that had a token: that has ended, or was taken back.
pub(super) fn aged(status: u16, failure: Failure) -> Failure {
    let is_token = status == 401
        && failure.class == FailureClass::Auth
        && failure.provider_code.as_deref() != Some(REFUSED);
    if is_token { Failure { provider_code: Some(ENDED.to_owned()), ..failure } } else { failure }
}

/// What a refusal of a paid call means: the next try may have another token.
pub(super) fn renewing(account: &Account, status: u16, failure: Failure) -> Failure {
    if account.is_signed() { account.renewing(aged(status, failure)) } else { failure }
}

/// What a reply that is no success means, where calls have tokens.
pub(super) fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    aged(reply.status, errors::classify(reply, now_unix_s))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const APP: [(&str, &str); 3] = [(TENANT, "contoso"), (CLIENT, "app-1"), (SECRET, "secret-canary")];

    fn found(variables: &[(&str, &str)]) -> Result<Option<Entra>, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value)));
        Entra::find(&Settings { variables: variables.collect(), ..Settings::default() }, MODELS)
    }

    #[test]
    fn the_variables_say_who_asks_and_where() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "cluster-token\n").unwrap();
        let file = file.to_str().unwrap();
        let of_machine = "api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com";
        let scope = "grant_type=client_credentials&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default&client_id=app-1";
        let server = [(ENDPOINT, "http://127.0.0.1:7/msi"), (HEADER, "header-canary")];
        for (variables, url, form) in [
            (APP.to_vec(), "https://login.microsoftonline.com/contoso/oauth2/v2.0/token".to_owned(), Some(format!("{scope}&client_secret=secret-canary"))),
            (
                vec![(TENANT, "contoso"), (CLIENT, "app-1"), (FEDERATED, file), (AUTHORITY, "login.microsoftonline.us/")],
                "https://login.microsoftonline.us/contoso/oauth2/v2.0/token".to_owned(),
                Some(format!("{scope}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=cluster-token")),
            ),
            (vec![(WAY, "managedidentitycredential")], format!("{MACHINE}?{of_machine}"), None),
            (vec![(WAY, "ManagedIdentityCredential"), (CLIENT, "app-1")], format!("{MACHINE}?{of_machine}&client_id=app-1"), None),
            (server.to_vec(), "http://127.0.0.1:7/msi?api-version=2019-08-01&resource=https%3A%2F%2Fcognitiveservices.azure.com".to_owned(), None),
        ] {
            let entra = found(&variables).unwrap().unwrap();
            assert_eq!((entra.url(), entra.form(0).unwrap()), (url.as_str(), form), "{variables:?}");
            assert_eq!(entra.is_local(), entra.form(0).unwrap().is_none());
            assert!(!format!("{entra:?}").contains("canary"), "{entra:?}");
        }
        assert_eq!(
            found(&server).unwrap().unwrap().headers(),
            [("x-identity-header", "header-canary".to_owned())]
        );
        // One that is named is taken, whatever else is there.
        let both = [&APP[..], &[(FEDERATED, file), (WAY, "workloadidentitycredential")]].concat();
        let workload = found(&both).unwrap().unwrap();
        assert!(workload.form(0).unwrap().unwrap().contains("cluster-token"));
        assert_eq!(workload.secrets(), ["cluster-token"]);
        let machine = [&APP[..], &[(WAY, "ManagedIdentityCredential")]].concat();
        assert!(found(&machine).unwrap().unwrap().is_local());
        let dev = [&APP[..], &[(WAY, "AzureCliCredential")]].concat();
        assert!(found(&dev).unwrap_err().contains("`prod`, `EnvironmentCredential`"));
        for nobody in [&[][..], &APP[..2], &[(CLIENT, "app-1")], &server[..1]] {
            assert!(found(nobody).unwrap().is_none(), "{nobody:?}");
        }
        for (address, may) in [
            ("http://localhost:42356/msi/token", true),
            ("http://169.254.129.3:8081/msi/token", true),
            ("http://[fe80::1]/msi/token", true),
            ("https://identity.example/token", true),
            ("http://identity.example/token", false),
            ("http://10.0.0.7/token", false),
            ("token", false),
        ] {
            let server = [(ENDPOINT, address), (HEADER, "header-canary")];
            assert_eq!(found(&server).is_ok(), may, "{address}");
            let unmeant = [&server[..], &[(WAY, "EnvironmentCredential")]].concat();
            assert!(found(&unmeant).unwrap().is_none(), "{address}");
        }
        let plain = [&APP[..], &[(AUTHORITY, "http://login.example")]].concat();
        assert!(found(&plain).unwrap_err().contains("no https"));
        let lost = [(TENANT, "t"), (CLIENT, "c"), (FEDERATED, "/nowhere/token")];
        assert!(found(&lost).unwrap().unwrap().form(0).unwrap_err().contains("/nowhere/token"));
    }

    #[test]
    fn a_refusal_of_a_token_is_told_from_one_that_was_never_given() {
        let said = |code: &str| Reply {
            status: 401,
            headers: HeaderMap::new(),
            body: format!(r#"{{"error":{{"code":"{code}","message":"x"}}}}"#).into(),
        };
        let code = |reply: &Reply| classify(reply, 0).provider_code;
        assert_eq!(code(&said("401")).as_deref(), Some(ENDED));
        let entra = found(&APP).unwrap().unwrap();
        let never = classify(&entra.refusal("the secret is \"old\""), 0);
        assert_eq!((never.class, never.provider_code.as_deref()), (FailureClass::Auth, Some(REFUSED)));
        assert!(never.message.contains("the secret is \"old\"") && !never.maybe_paid, "{never:?}");
    }
}
