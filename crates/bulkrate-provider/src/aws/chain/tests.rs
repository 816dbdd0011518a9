//! Each source of credentials, against a server on this machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Chain, Unkeyed};
use crate::aws::kept::{AGAIN, STRAGGLERS};
use crate::settings::{ProxyFrom, Settings};

fn chain(variables: &[(&str, &str)], profile: Option<&str>) -> Chain {
    let variables: BTreeMap<String, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let profile = profile.map(str::to_owned);
    let settings = Settings { variables, profile, proxy: ProxyFrom::None, ..Settings::default() };
    Chain::new(&settings, "eu-west-1")
}

/// Answers each request by the first word that stands in it; what it was asked is kept.
async fn serves(answers: Vec<(&'static str, u16, String)>) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (asked, answers) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::new(answers));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (kept, answers) = (Arc::clone(&kept), Arc::clone(&answers));
            tokio::spawn(async move {
                let mut bytes = vec![0; 65_536];
                while let Ok(read) = stream.read(&mut bytes).await {
                    if read == 0 {
                        return;
                    }
                    let request = String::from_utf8_lossy(&bytes[..read]).into_owned();
                    let found = answers.iter().find(|(word, ..)| request.contains(word));
                    let (_, status, body) = found.unwrap_or_else(|| panic!("{request}"));
                    let answer =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    kept.lock().unwrap().push(request);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (base, asked)
}

fn json(ends: &str) -> String {
    format!(
        r#"{{"Code":"Success","Version":1,"AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t-canary","Expiration":"{ends}"}}"#
    )
}

#[tokio::test]
async fn the_environment_comes_first_unless_a_profile_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(&file, "[default]\naws_access_key_id=F\naws_secret_access_key=f\n[work]\naws_access_key_id=W\naws_secret_access_key=w\naws_session_token=wt\n").unwrap();
    let file = file.display().to_string();
    let keys = [
        ("AWS_ACCESS_KEY_ID", "E"),
        ("AWS_SECRET_ACCESS_KEY", "e"),
        ("AWS_SHARED_CREDENTIALS_FILE", file.as_str()),
    ];
    for (variables, profile, want) in [
        (&keys[..], None, ("E", None)),
        (&keys[..], Some("work"), ("W", Some("wt"))),
        (&keys[2..], None, ("F", None)),
    ] {
        let found = chain(variables, profile).keys().await.unwrap();
        assert_eq!((found.id.as_str(), found.token.as_deref()), want);
    }
    // What the environment holds cannot be had anew; what a file holds may have been written anew.
    assert!(!chain(&keys, None).ended() && chain(&keys[2..], None).ended());
}

#[tokio::test]
async fn a_process_prints_them() {
    let folder = tempfile::tempdir().unwrap();
    let (said, file) = (folder.path().join("said.json"), folder.path().join("config"));
    std::fs::write(&said, json("2999-01-01T00:00:00Z").replace("Token", "SessionToken")).unwrap();
    let config = format!(
        "[profile work]\ncredential_process = cat \"{}\"\n[profile sso]\nsso_session = x\n[profile bad]\ncredential_process = cat /nowhere\n",
        said.display()
    );
    std::fs::write(&file, config).unwrap();
    let file = file.display().to_string();
    let variables = [("AWS_CONFIG_FILE", file.as_str())];
    let found = chain(&variables, Some("work")).keys().await.unwrap();
    assert_eq!((found.id.as_str(), found.token.as_deref()), ("ASIA1", Some("t-canary")));
    for (profile, word) in [
        ("sso", "export-credentials --profile sso"),
        ("bad", "`cat` ended with"),
        ("nobody", "no profile `nobody`"),
    ] {
        let Err(Unkeyed::None(why)) = chain(&variables, Some(profile)).keys().await else {
            panic!("{profile}")
        };
        assert!(why.contains(word), "{why}");
    }
}

#[tokio::test]
async fn a_web_identity_opens_a_role() {
    let said = "<R><Credentials><AccessKeyId>ASIA2</AccessKeyId><SecretAccessKey>a&amp;b</SecretAccessKey><SessionToken>tok</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></R>";
    let (base, asked) = serves(vec![
        ("token%2Fok", 200, said.to_owned()),
        ("token", 403, "<E><Code>AccessDenied</Code><Message>not you</Message></E>".to_owned()),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let path = file.display().to_string();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ENDPOINT_URL_STS", base.as_str()),
    ];
    let Err(Unkeyed::None(why)) = chain(&variables, None).keys().await else { panic!() };
    assert!(why.contains("cannot be read"), "{why}");
    std::fs::write(&file, "token/ok\n").unwrap();
    let found = chain(&variables, None).keys().await.unwrap();
    assert_eq!((found.id.as_str(), found.secret.expose()), ("ASIA2", "a&b"));
    let request = asked.lock().unwrap()[0].clone();
    for part in
        ["Action=AssumeRoleWithWebIdentity&Version=2011-06-15", "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"]
    {
        assert!(request.contains(part), "{part}: {request}");
    }
    std::fs::write(&file, "token/bad").unwrap();
    let Err(Unkeyed::None(why)) = chain(&variables, None).keys().await else { panic!() };
    assert!(why.contains("not you"), "{why}");
}

#[tokio::test]
async fn a_container_and_a_machine_are_asked_again_before_theirs_end() {
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(200)).to_string();
    let late = "2999-01-01T00:00:00Z".to_owned();
    for (ends, times) in [(late, 1), (soon, 2)] {
        let (base, asked) = serves(vec![("GET /creds", 200, json(&ends))]).await;
        let url = format!("{base}/creds");
        let container = chain(
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic x")],
            None,
        );
        container.keys().await.unwrap();
        assert_eq!(container.held().as_deref(), Some("t-canary"));
        container.keys().await.unwrap();
        assert_eq!(asked.lock().unwrap().len(), 1, "not for each request");
        container.kept.ages(AGAIN);
        container.keys().await.unwrap();
        let asked = asked.lock().unwrap();
        assert!(asked.len() == times && asked[0].contains("authorization: Basic x"), "{asked:?}");
    }
    let (base, asked) = serves(vec![
        ("PUT /latest/api/token", 200, "imds".to_owned()),
        ("security-credentials/batch-role ", 200, json("2999-01-01T00:00:00Z")),
        ("security-credentials/ ", 200, "batch-role\n".to_owned()),
    ])
    .await;
    let machine = chain(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &base)], None);
    assert_eq!(machine.keys().await.unwrap().id, "ASIA1");
    assert!(
        asked.lock().unwrap()[1..].iter().all(|request| request.contains("x-aws-ec2-metadata-token: imds"))
    );
    // Others may be had; the same once more are none.
    assert!(machine.ended());
    let Err(Unkeyed::None(why)) = machine.keys().await else { panic!() };
    assert!(why.contains("gives out the same"), "{why}");
    assert_eq!(asked.lock().unwrap().len(), 6);
}

fn said(id: &str, ends: &str) -> String {
    json(ends).replace("Token", "SessionToken").replace("ASIA1", id)
}

/// A chain over a process that prints a file.
fn of_process(folder: &std::path::Path) -> (Chain, std::path::PathBuf) {
    let (said, file) = (folder.join("said.json"), folder.join("config"));
    std::fs::write(&file, format!("[default]\ncredential_process = cat \"{}\"\n", said.display())).unwrap();
    (chain(&[("AWS_CONFIG_FILE", &file.display().to_string())], None), said)
}

#[tokio::test]
async fn a_late_refusal_of_what_has_ended_does_not_condemn_what_came_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, file) = of_process(folder.path());
    for id in ["K1", "K2"] {
        std::fs::write(&file, said(id, "2999-01-01T00:00:00Z")).unwrap();
        assert_eq!(chain.keys().await.unwrap().id, id);
        assert!(chain.ended());
    }
    // The second refusal was of a call that was signed with the first.
    assert_eq!(chain.keys().await.unwrap().id, "K2");
    // One that comes much later is of the second.
    chain.kept.ages(STRAGGLERS);
    assert!(chain.ended() && matches!(chain.keys().await, Err(Unkeyed::None(_))));
    std::fs::write(&file, said("K3", "2999-01-01T00:00:00Z")).unwrap();
    assert_eq!(chain.keys().await.unwrap().id, "K3");
}

#[tokio::test]
async fn what_is_about_to_end_is_used_while_nobody_gives_better() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, file) = of_process(folder.path());
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(200)).to_string();
    std::fs::write(&file, said("K1", &soon)).unwrap();
    assert_eq!(chain.keys().await.unwrap().id, "K1");
    std::fs::remove_file(&file).unwrap();
    chain.kept.ages(AGAIN);
    assert_eq!(chain.keys().await.unwrap().id, "K1");
    // It is not asked again at once, but soon.
    std::fs::write(&file, said("K2", "2999-01-01T00:00:00Z")).unwrap();
    assert_eq!(chain.keys().await.unwrap().id, "K1");
    chain.kept.ages(AGAIN);
    assert_eq!(chain.keys().await.unwrap().id, "K2");
}

#[tokio::test]
async fn while_one_asks_the_others_go_on_with_what_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, file) = of_process(folder.path());
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(200)).to_string();
    std::fs::write(&file, said("K1", &soon)).unwrap();
    chain.keys().await.unwrap();
    chain.kept.ages(AGAIN);
    let asking = chain.turn.lock().await;
    assert_eq!(chain.keys().await.unwrap().id, "K1");
    drop(asking);
}

#[tokio::test]
async fn what_is_missing_is_named_and_tokens_stay_near() {
    let far = chain(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.org/x")], None);
    let Err(Unkeyed::None(why)) = far.keys().await else { panic!() };
    assert!(why.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "{why}");
    let Err(Unkeyed::None(why)) = chain(&[("AWS_EC2_METADATA_DISABLED", "true")], None).keys().await else {
        panic!()
    };
    for word in ["`AWS_ACCESS_KEY_ID`", "profile", "switched off"] {
        assert!(why.contains(word), "{why}");
    }
    // A chain that is away answers later.
    let (base, _) = serves(vec![("GET", 500, String::new())]).await;
    let url = format!("{base}/creds");
    let away = chain(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)], None);
    assert!(matches!(away.keys().await, Err(Unkeyed::Away(_))));
}
