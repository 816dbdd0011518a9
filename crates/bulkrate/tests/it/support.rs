//! A scratch folder, the simulator, and the binary run in it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const BULKRATE: &str = env!("CARGO_BIN_EXE_bulkrate");

/// The bundled simulator on a free port, gone when dropped.
pub(crate) struct Sim {
    child: Child,
    pub(crate) base_url: String,
}

impl Sim {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::of("openai", flags)
    }

    pub(crate) fn of(provider: &str, flags: &[&str]) -> Self {
        let mut child = Command::new(BULKRATE)
            .args(["sim", provider, "--port", "0"])
            .args(if flags.contains(&"--speed") { &[][..] } else { &["--speed", "3600"] })
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let base_url = line
            .split_whitespace()
            .find(|word| word.starts_with("http"))
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned();
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { child, base_url }
    }
}

impl Sim {
    /// What the simulator would charge.
    pub(crate) fn bill(&self) -> Value {
        self.get("/sim/bill")
    }

    /// A JSON document of the simulator.
    pub(crate) fn get(&self, path: &str) -> Value {
        let host = self.base_url.trim_start_matches("http://").split('/').next().unwrap();
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer sk-sim\r\nanthropic-version: 2023-06-01\r\n"
        );
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let body = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{reply}")).1;
        serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a run of the binary said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Said {
    /// Standard output as the one JSON document it must be.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// An error page: this code, each of these words, and where to read more. Nothing on standard output.
    #[track_caller]
    pub(crate) fn error(&self, exit: i32, code: &str, words: &[&str]) {
        assert_eq!(self.code, exit, "{}\n{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(&format!("error[{code}]: ")), "{}", self.stderr);
        assert!(self.stderr.ends_with(&format!("docs: bulkrate explain {code}\n")), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in: {}", self.stderr);
        }
        assert_eq!(self.stdout, "");
    }
}

/// A folder of its own for one test; commands run in it, without any of the machine's settings.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), env: Vec::new() }
    }

    /// With the simulator as the provider.
    pub(crate) fn with(sim: &Sim) -> Self {
        Self::new().set("OPENAI_API_KEY", "sk-sim").set("OPENAI_BASE_URL", &sim.base_url)
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// A job file over `reviews.csv`, which looks often and decides its doubts within a second. The rest is the caller's: lines of
    /// `[request]` and of `[run]`, and the tables from `[sink]` on.
    pub(crate) fn put_job(&self, name: &str, request: &str, run: &str, tables: &str) -> &Self {
        let file = format!(
            r#"
[source]
path = "reviews.csv"
id = "id"
[request]
choices = ["positive", "negative", "neutral"]
{request}
[run]
poll_min = "30ms"
poll_max = "100ms"
t_lag = "100ms"
t_q = "1s"
{run}
{tables}
"#
        );
        self.put(&format!("{name}.toml"), file)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.program(BULKRATE);
        command.args(args);
        command
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A shell script in this folder, with the binary as `$BULKRATE`: for limits and mounts that only a parent can set.
    #[cfg(unix)]
    pub(crate) fn sh(&self, script: &str) -> Said {
        self.program("sh").args(["-c", script]).env("BULKRATE", BULKRATE).output().unwrap().into()
    }

    /// Runs to the end. `line` is split at spaces; `more` are taken as they are.
    pub(crate) fn run(&self, line: &str, more: &[&str]) -> Said {
        self.command(line.split_whitespace().chain(more.iter().copied())).output().unwrap().into()
    }

    /// Starts it and lets nobody hear what it says.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Until this holds of the first job's status.
    pub(crate) fn wait_for(&self, child: &mut Child, reached: impl Fn(&Value) -> bool) {
        self.wait_for_all(child, |jobs| reached(&jobs[0]));
    }

    /// Until this holds of all jobs' status.
    fn wait_for_all(&self, child: &mut Child, reached: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        loop {
            let said = self.run("status --json", &[]);
            if said.code == 0 && reached(&said.json()) {
                return;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before");
            assert!(began.elapsed() < Duration::from_secs(60), "{said:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a run and kills it (SIGKILL) as soon as `reached` holds of the job's status.
    pub(crate) fn kill_when<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        reached: impl Fn(&Value) -> bool,
    ) {
        let mut child = Killed(self.start(args));
        self.wait_for(&mut child.0, reached);
    }

    /// The same as soon as it holds of any job's.
    pub(crate) fn kill_when_any<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        reached: impl Fn(&Value) -> bool,
    ) {
        let mut child = Killed(self.start(args));
        self.wait_for_all(&mut child.0, |jobs| jobs.as_array().is_some_and(|jobs| jobs.iter().any(&reached)));
    }

    /// `verify` agrees with the simulator's bill; answers the bill's total in nano-dollars.
    #[track_caller]
    pub(crate) fn proved(&self, job: &str, sim: &Sim) -> i64 {
        let bill = sim.bill();
        self.put("bill.json", bill.to_string());
        self.run(&format!("verify {job} --bill bill.json"), &[]).expect(0);
        bill["total_usd_nanos"].as_i64().unwrap()
    }

    /// The folder of the only job.
    pub(crate) fn job_dir(&self) -> PathBuf {
        only_in(&self.path(".bulkrate/jobs"))
    }
}

/// A process that ends with the test's hold of it, a failed test's too.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Until it is done.
#[track_caller]
pub(crate) fn waited(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(40), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a folder holds, if it is one thing.
pub(crate) fn only_in(folder: &Path) -> PathBuf {
    let found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// `rows` reviews; every tenth says the same as the first, so that dedup has something to do.
pub(crate) fn reviews(rows: usize) -> String {
    let said = [
        "great, I love it",
        "terrible, I want my money back",
        "it is a lamp",
        "works well and looks nice",
        "broken on arrival",
    ];
    let mut csv = String::from("id,product,text\n");
    for row in 0..rows {
        if row % 10 == 9 {
            csv.push_str(&format!("r-{row},lamp,\"the same again, word for word\"\n"));
        } else {
            csv.push_str(&format!("r-{row},lamp {row},\"{} ({row})\"\n", said[row % said.len()]));
        }
    }
    csv
}

/// Everything but the input, the lane and the output.
pub(crate) const ASK: [&str; 10] = [
    "--user",
    "Review of a {{ product }}: {{ text }}",
    "--system",
    "Say whether a review is positive, negative or neutral.",
    "--choices",
    "positive,negative,neutral",
    "--model",
    "openai/gpt-6-luna",
    "--id",
    "id",
];

/// The rows of a CSV file as header and records.
pub(crate) fn table(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    (header, rows)
}
