//! The conductor's side of other processes: servers that live for some rows, programs that are measured.

use crate::measure::Used;
use crate::stats::Stats;
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server process with an address; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// As `http://127.0.0.1:PORT/v1`.
    pub(crate) base_url: String,
}

impl Server {
    /// `bulkrate-bench server` with the given flags.
    pub(crate) fn bench(flags: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("server").args(flags);
        Self::start(command)
    }

    /// Starts a server that prints its address on standard output or standard error.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("could not start `{}`", command.get_program().display()))?;
        let (sender, lines) = std::sync::mpsc::channel();
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
        for pipe in [stdout, stderr].into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    sender.send(line).ok();
                }
            });
        }
        drop(sender);
        let mut said = Vec::new();
        while let Ok(line) = lines.recv_timeout(std::time::Duration::from_secs(20)) {
            let address = line.split_once("http://").map(|(_, rest)| rest);
            let authority = address.and_then(|rest| {
                rest.split(|char: char| !(char.is_ascii_alphanumeric() || ".:".contains(char))).next()
            });
            if let Some(authority) = authority.filter(|authority| authority.contains(':')) {
                return Ok(Self { child, base_url: format!("http://{authority}/v1") });
            }
            said.push(line);
        }
        child.kill().ok();
        child.wait().ok();
        bail!("`{}` did not say where it listens\n{}", command.get_program().display(), said.join("\n"))
    }

    /// What it has seen; only `bulkrate-bench server` knows.
    pub(crate) fn stats(&self) -> Result<Stats> {
        Ok(serde_json::from_str(&self.get("/stats")?)?)
    }

    /// Forgets what it has seen and fills its limits up.
    pub(crate) fn reset(&self) -> Result<()> {
        self.get("/reset").map(drop)
    }

    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let authority = self.base_url.trim_start_matches("http://").trim_end_matches("/v1");
        let mut stream = TcpStream::connect(authority)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("the server closed without an answer")?;
        Ok(body.to_owned())
    }
}

impl Server {
    /// CPU seconds and peak memory in MB of its process up to now, as Linux tells.
    pub(crate) fn used(&self) -> Result<(f64, f64)> {
        /// What the kernel counts in, on every architecture.
        const TICKS_A_SECOND: f64 = 100.0;
        let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()));
        let unsaid = "the system does not say what a process has used";
        let stat = file("stat").context(unsaid)?;
        // The program's name stands in brackets and may hold anything; then come a state and numbers.
        let numbers: Vec<&str> = stat.rsplit_once(") ").context(unsaid)?.1.split(' ').collect();
        let ticks = |at: usize| numbers.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).context(unsaid);
        Ok(((ticks(11)? + ticks(12)?) / TICKS_A_SECOND, peak_mb(&file("status")?).context(unsaid)?))
    }
}

/// Of a process's `status`.
pub(crate) fn peak_mb(status: &str) -> Option<f64> {
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1_024.0 / 1e6)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a measured program used and wrote.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) used: Used,
    pub(crate) stderr: String,
}

/// Runs a program to its end through `measure`.
pub(crate) fn measured(dir: &Path, command: &Command) -> Result<Measured> {
    let into: PathBuf = dir.join(format!("used-{}.json", std::process::id()));
    let mut wrapped = Command::new(std::env::current_exe()?);
    wrapped
        .arg("measure")
        .arg("--into")
        .arg(&into)
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    let output = wrapped.stdin(Stdio::null()).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("could not measure `{}`: {}", command.get_program().display(), stderr.trim());
    }
    let used: Used = serde_json::from_slice(&std::fs::read(&into)?)?;
    std::fs::remove_file(&into).ok();
    Ok(Measured { used, stderr })
}

impl Measured {
    /// The same, or what it said when it did not end well.
    pub(crate) fn ok(self, what: &str) -> Result<Self> {
        if self.used.exit == Some(0) {
            return Ok(self);
        }
        let tail: Vec<&str> = self.stderr.lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{what} ended with exit code {:?}\n{}", self.used.exit, tail.join("\n"))
    }
}
