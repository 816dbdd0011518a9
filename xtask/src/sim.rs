//! The bundled simulator as a process of its own, on a free port, gone when dropped.

use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running `bulkrate sim openai`.
#[derive(Debug)]
pub(crate) struct Sim {
    child: Child,
    /// As `http://127.0.0.1:PORT/v1`.
    pub(crate) base_url: String,
}

impl Sim {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(bulkrate: &Path, flags: &[&str]) -> Result<Self> {
        let mut child = Command::new(bulkrate)
            .args(["sim", "openai", "--port", "0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start `{} sim openai`", bulkrate.display()))?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender);
        }
        let mut said = String::new();
        loop {
            match lines.recv_timeout(START_TIMEOUT) {
                Ok(line) => {
                    if let Some(base_url) = base_url(&line) {
                        return Ok(Self { child, base_url });
                    }
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(_) => {
                    child.kill().ok();
                    child.wait().ok();
                    bail!("the simulator did not say where it listens\n{}", said.trim_end());
                }
            }
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads on after the first lines too: a full pipe would stop the simulator.
fn forward(pipe: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.send(line).ok(); // nobody listens once the address is known
        }
    });
}

/// The address in `listening on http://127.0.0.1:8000/v1` and the like, with `/v1` at its end.
fn base_url(line: &str) -> Option<String> {
    let start = line.find("http://")?;
    let authority = &line[start + "http://".len()..];
    let end = authority
        .find(|char: char| !(char.is_ascii_alphanumeric() || ".:-[]".contains(char)))
        .unwrap_or(authority.len());
    let (_, port) = authority[..end].rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port > 0)?;
    Some(format!("http://{}/v1", &authority[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_any_wording() {
        for (line, want) in [
            ("listening on http://127.0.0.1:8123/v1", Some("http://127.0.0.1:8123/v1")),
            ("sim: http://[::1]:80", Some("http://[::1]:80/v1")),
            (r#"{"base_url":"http://localhost:9/v1"}"#, Some("http://localhost:9/v1")),
            ("see http://example.com/docs", None),
            ("http://127.0.0.1:0/v1", None),
        ] {
            assert_eq!(base_url(line).as_deref(), want, "{line}");
        }
    }
}
