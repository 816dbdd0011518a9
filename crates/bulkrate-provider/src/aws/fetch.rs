//! Asks those who give out credentials: services beside this machine, Amazon's token service, a program.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::http::batches::in_path;
use crate::http::free::plain_client;
use crate::settings::{ProxyFrom, Settings};

/// Who is beside this machine answers at once or is not there.
const NEAR: Duration = Duration::from_secs(2);
const FAR: Duration = Duration::from_secs(20);
const PROGRAM: Duration = Duration::from_secs(60);
/// How long a token of the machine's service is to hold, in seconds.
const TOKEN_S: &str = "21600";
/// No credentials are longer.
const SAID_MAX: usize = 64 << 10;
const TOO_LONG: &str = "what it says is longer than 64 KiB";

/// With a client of its own for each question: they come once an hour.
#[derive(Debug)]
pub(super) struct Fetcher {
    settings: Settings,
}

impl Fetcher {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone() }
    }

    /// What a service beside this machine answers.
    pub(super) async fn get(&self, url: &str, header: Option<(&str, &str)>) -> Result<String, String> {
        let mut request = self.near(url)?.get(url);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        ok(send(request, NEAR).await?)
    }

    /// Asks the machine's service for a token.
    pub(super) async fn put(&self, url: &str) -> Result<String, String> {
        let request = self.near(url)?.put(url).header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_S);
        ok(send(request, NEAR).await?)
    }

    /// Status and body of an answer from further away.
    pub(super) async fn post_form(&self, url: &str, form: &[(&str, &str)]) -> Result<(u16, String), String> {
        let encoded = |(name, value): &(&str, &str)| format!("{name}={}", in_path(value));
        let body = form.iter().map(encoded).collect::<Vec<_>>().join("&");
        let client = plain_client(url, &self.settings).map_err(|error| error.to_string())?;
        let kind = "application/x-www-form-urlencoded";
        send(client.post(url).header("content-type", kind).body(body), FAR).await
    }

    /// No proxy stands between: it would answer for another machine.
    fn near(&self, url: &str) -> Result<Client, String> {
        let settings = Settings { proxy: ProxyFrom::None, ..self.settings.clone() };
        plain_client(url, &settings).map_err(|error| error.to_string())
    }

    /// What a program prints. It is started as it is, without a shell.
    pub(super) async fn run(&self, line: &str) -> Result<String, String> {
        let mut words = words(line).into_iter();
        let program = words.next().ok_or("it is empty")?;
        let ended = tokio::time::timeout(PROGRAM, printed(Command::new(&program).args(words))).await;
        let ended = ended.map_err(|_| format!("nothing within {} s", PROGRAM.as_secs()))?;
        let (status, said) = ended.map_err(|error| format!("`{program}`: {error}"))?;
        if said.len() > SAID_MAX {
            return Err(TOO_LONG.to_owned());
        }
        if !status.success() {
            return Err(format!("`{program}` ended with {status}"));
        }
        String::from_utf8(said).map_err(|_| "it printed no text".to_owned())
    }
}

/// How a program ended and what it printed, up to a little more than is taken.
async fn printed(command: &mut Command) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)> {
    use std::process::Stdio;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(SAID_MAX as u64 + 1).read_to_end(&mut said).await?;
    }
    // One that prints on finds nobody who reads, and ends.
    Ok((child.wait().await?, said))
}

async fn send(request: RequestBuilder, timeout: Duration) -> Result<(u16, String), String> {
    // The address stands in no message: it may hold a name of the user's.
    let plain = |error: reqwest::Error| error.without_url().to_string();
    let mut response = request.timeout(timeout).send().await.map_err(plain)?;
    let (status, mut body) = (response.status().as_u16(), Vec::new());
    while let Some(piece) = response.chunk().await.map_err(plain)? {
        if body.len() + piece.len() > SAID_MAX {
            return Err(TOO_LONG.to_owned());
        }
        body.extend_from_slice(&piece);
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn ok((status, body): (u16, String)) -> Result<String, String> {
    if status == 200 { Ok(body) } else { Err(format!("status {status}")) }
}

/// The words of a command line; quotes hold some together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{Fetcher, SAID_MAX, TOO_LONG, words};
    use crate::settings::Settings;

    #[cfg(unix)]
    #[tokio::test]
    async fn what_gives_no_end_is_not_read_to_its_end() {
        let fetcher = Fetcher::new(&Settings::default());
        assert_eq!(fetcher.run("yes").await.unwrap_err(), TOO_LONG);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        let said = "x".repeat(SAID_MAX);
        std::fs::write(&file, &said).unwrap();
        assert_eq!(fetcher.run(&format!("cat '{}'", file.display())).await.unwrap(), said);
    }

    #[test]
    fn quotes_hold_words_together() {
        for (line, want) in [
            ("a  b", &["a", "b"][..]),
            (r#""C:\x y\z.exe" --p 'd e' """#, &[r"C:\x y\z.exe", "--p", "d e", ""]),
            (" ", &[]),
        ] {
            assert_eq!(words(line), want, "{line}");
        }
    }
}
