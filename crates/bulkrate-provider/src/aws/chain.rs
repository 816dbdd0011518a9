//! Where credentials come from, in the order of Amazon's own tools: the environment, a web identity, a profile, the container, the
//! machine. What ends is fetched anew before it does.

use std::sync::Arc;

use super::Variables;
use super::fetch::Fetcher;
use super::kept::Kept;
use super::profile::Profile;
use crate::http::xml;
use crate::settings::{Secret, Settings};

const CONTAINER: &str = "http://169.254.170.2";
const MACHINE: &str = "http://169.254.169.254";

/// One set of credentials.
pub(crate) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) token: Option<Arc<str>>,
    /// Seconds since the epoch; `None`: not by themselves.
    pub(super) ends_at: Option<i64>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("ends_at", &self.ends_at).finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.id, &self.token) == (&other.id, &other.token)
    }
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unkeyed {
    /// Who gives them out does not answer.
    Away(String),
    None(String),
}

/// The credentials of one account, whoever gives them out.
#[derive(Debug)]
pub(crate) struct Chain {
    variables: Variables,
    profile: Option<String>,
    region: String,
    fetcher: Fetcher,
    kept: Kept,
    /// One at a time fetches.
    turn: tokio::sync::Mutex<()>,
}

impl Chain {
    pub(crate) fn new(settings: &Settings, region: &str) -> Self {
        Self {
            variables: Variables(settings.variables.clone()),
            profile: settings.profile.clone(),
            region: region.to_owned(),
            fetcher: Fetcher::new(settings),
            kept: Kept::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// What is sent of the credentials that are held.
    pub(super) fn held(&self) -> Option<Arc<str>> {
        self.kept.held().and_then(|keys| keys.token.clone())
    }

    /// Forgets what has ended. Whether others may be had: those of the environment stay as they are.
    pub(super) fn ended(&self) -> bool {
        let others = self.of_environment().is_none();
        if others {
            self.kept.ended();
        }
        others
    }

    /// Credentials that hold for a while.
    pub(super) async fn keys(&self) -> Result<Arc<Keys>, Unkeyed> {
        if let Some(keys) = self.kept.fresh() {
            return Ok(keys);
        }
        let _turn = match (self.turn.try_lock(), self.kept.valid()) {
            (Ok(turn), _) => turn,
            // Somebody else asks, and what is held is good meanwhile.
            (Err(_), Some(keys)) => return Ok(keys),
            (Err(_), None) => self.turn.lock().await,
        };
        if let Some(keys) = self.kept.fresh() {
            return Ok(keys);
        }
        let keys = match self.find().await {
            Ok(keys) => Arc::new(keys),
            Err(why) => return self.kept.asked_in_vain().ok_or(why),
        };
        if self.kept.take_in(&keys) {
            return Ok(keys);
        }
        let why =
            "the AWS credentials have ended, and where they come from gives out the same again: sign in anew";
        Err(Unkeyed::None(why.to_owned()))
    }

    async fn find(&self) -> Result<Keys, Unkeyed> {
        if let Some(keys) = self.of_environment() {
            return Ok(keys);
        }
        let variable = |name: &str| self.variables.get(name);
        if let (Some(file), Some(role), None) =
            (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN"), &self.profile)
        {
            return self.of_identity(file, role).await;
        }
        let profile = Profile::find(&self.variables, self.profile.as_deref());
        if let Some(found) = self.of_profile(&profile).await {
            return found;
        }
        if self.profile.is_some() || variable("AWS_PROFILE").is_some() {
            let name = &profile.name;
            let why = match profile.is_known {
                true => format!(
                    "the profile `{name}` holds no AWS credentials that are understood here: keys, `credential_process` or a web identity"
                ),
                false => format!("there is no profile `{name}` in the AWS files of this machine"),
            };
            return Err(Unkeyed::None(why));
        }
        if let Some(found) = self.of_container().await {
            return found;
        }
        match variable("AWS_EC2_METADATA_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
            true => Err(Unkeyed::None(format!("{NOWHERE}, and the machine's own are switched off"))),
            false => self.of_machine().await,
        }
    }

    /// Not where the user names a profile.
    fn of_environment(&self) -> Option<Keys> {
        let variable = |name: &str| self.variables.get(name);
        let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
        let token = variable("AWS_SESSION_TOKEN").map(Arc::from);
        self.profile.is_none().then(|| Keys {
            id: id.to_owned(),
            secret: secret.into(),
            token,
            ends_at: None,
        })
    }

    async fn of_profile(&self, profile: &Profile) -> Option<Result<Keys, Unkeyed>> {
        if let (Some(id), Some(secret)) =
            (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key"))
        {
            let token = profile.get("aws_session_token").map(Arc::from);
            return Some(Ok(Keys { id: id.to_owned(), secret: secret.into(), token, ends_at: None }));
        }
        if let Some(command) = profile.get("credential_process") {
            let said = self.fetcher.run(command).await.map_err(|why| {
                Unkeyed::None(format!(
                    "the `credential_process` of the profile `{}` failed: {why}",
                    profile.name
                ))
            });
            return Some(said.and_then(|said| read_keys(&said, "the `credential_process`")));
        }
        if let (Some(file), Some(role)) = (profile.get("web_identity_token_file"), profile.get("role_arn")) {
            return Some(self.of_identity(file, role).await);
        }
        let other = ["role_arn", "sso_session", "sso_start_url"]
            .into_iter()
            .find(|field| profile.get(field).is_some())?;
        let name = &profile.name;
        Some(Err(Unkeyed::None(format!(
            "the profile `{name}` has `{other}`, which is not followed here: let a profile have `credential_process = aws configure export-credentials --profile {name}`"
        ))))
    }

    /// A role that a token in a file opens.
    async fn of_identity(&self, file: &str, role: &str) -> Result<Keys, Unkeyed> {
        let token = std::fs::read_to_string(file).map_err(|error| {
            Unkeyed::None(format!("the web identity token in `{file}` cannot be read: {error}"))
        })?;
        let usual = format!("https://sts.{}.amazonaws.com", self.region);
        let host = self.variables.get("AWS_ENDPOINT_URL_STS").unwrap_or(&usual);
        let session = self.variables.get("AWS_ROLE_SESSION_NAME").unwrap_or("bulkrate");
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", session),
            ("WebIdentityToken", token.trim()),
        ];
        let (status, said) = self.fetcher.post_form(host, &form).await.map_err(Unkeyed::Away)?;
        if status != 200 {
            let why = xml::text(&said, "Message").unwrap_or_else(|| format!("status {status}"));
            let why = format!("the role `{role}` was not given to this web identity: {why}");
            return Err(if status >= 500 { Unkeyed::Away(why) } else { Unkeyed::None(why) });
        }
        let part = |tag: &str| xml::text(&said, tag);
        let found = (part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken"));
        let (Some(id), Some(secret), Some(token)) = found else {
            return Err(Unkeyed::Away(format!("`{host}` gave no credentials")));
        };
        let ends_at = part("Expiration").and_then(|at| ends(&at));
        Ok(Keys { id, secret: secret.as_str().into(), token: Some(token.into()), ends_at })
    }

    async fn of_container(&self) -> Option<Result<Keys, Unkeyed>> {
        let variable = |name: &str| self.variables.get(name);
        let url = match variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            Some(path) => format!("{CONTAINER}{path}"),
            None => variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")?.to_owned(),
        };
        if !is_near(&url) {
            let why = "`AWS_CONTAINER_CREDENTIALS_FULL_URI` must be `https://` or an address of this machine";
            return Some(Err(Unkeyed::None(why.to_owned())));
        }
        let from_file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
            .and_then(|file| std::fs::read_to_string(file).ok())
            .map(|token| token.trim().to_owned());
        let token = from_file.or_else(|| variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned));
        let header = token.as_deref().map(|token| ("authorization", token));
        let said = self.fetcher.get(&url, header).await;
        Some(said.map_err(Unkeyed::Away).and_then(|said| read_keys(&said, "the container")))
    }

    /// IMDSv2.
    async fn of_machine(&self) -> Result<Keys, Unkeyed> {
        let base =
            self.variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(MACHINE).trim_end_matches('/');
        let none =
            |why: String| Unkeyed::None(format!("{NOWHERE}, and this machine has none of its own ({why})"));
        let token = self.fetcher.put(&format!("{base}/latest/api/token")).await.map_err(none)?;
        let header = Some(("x-aws-ec2-metadata-token", token.trim()));
        let place = format!("{base}/latest/meta-data/iam/security-credentials/");
        let roles = self.fetcher.get(&place, header).await.map_err(none)?;
        let role = roles.lines().next().unwrap_or_default().trim();
        let said = self.fetcher.get(&format!("{place}{role}"), header).await.map_err(Unkeyed::Away)?;
        read_keys(&said, "the machine")
    }
}

const NOWHERE: &str = "no AWS credentials: none in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, in a web identity, in the AWS files' usual profile, or of a container";

/// Whether a token may go to `url`.
fn is_near(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let known = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "127.0.0.1", "localhost", "[::1]"];
    url.scheme() == "https" || url.host_str().is_some_and(|host| known.contains(&host))
}

fn ends(at: &str) -> Option<i64> {
    at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// Credentials as JSON, which processes, containers and machines write nearly alike.
fn read_keys(said: &str, who: &str) -> Result<Keys, Unkeyed> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Said {
        access_key_id: String,
        secret_access_key: String,
        #[serde(alias = "Token")]
        session_token: Option<String>,
        expiration: Option<String>,
    }
    let said: Said = serde_json::from_str(said)
        .map_err(|_| Unkeyed::None(format!("{who} gave something that holds no AWS credentials")))?;
    Ok(Keys {
        id: said.access_key_id,
        secret: said.secret_access_key.as_str().into(),
        token: said.session_token.map(Arc::from),
        ends_at: said.expiration.as_deref().and_then(ends),
    })
}

#[cfg(test)]
mod tests;
