//! SIGKILL at every durable step and at seeded random moments, in both lanes. However often a run dies: every item ends
//! once, in order, with an answer or a reason, and the provider's bill is what the ledger says.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::jobs::nanos;
use super::support::{ASK, Place, Sim, reviews, table};

/// A run that is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(45);

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    /// As soon as a line of its events holds this text.
    Event(&'static str),
    /// So long after its start.
    Millis(u64),
}

/// One job, killed and resumed until it is done.
pub(crate) struct Crashed<'a> {
    sim: &'a Sim,
    pub(crate) place: Place,
    args: Vec<&'a str>,
    rows: usize,
    kills: usize,
}

impl<'a> Crashed<'a> {
    fn new(sim: &'a Sim, rows: usize, args: &[&'a str]) -> Self {
        Self::asking(sim, rows, args, &ASK)
    }

    pub(crate) fn asking(sim: &'a Sim, rows: usize, args: &[&'a str], ask: &[&'a str]) -> Self {
        let place = Place::with(sim);
        // Doubts about creates settle in a second instead of minutes.
        place
            .put("reviews.csv", reviews(rows))
            .put("bulkrate.toml", "[run]\nt_lag = \"400ms\"\nt_q = \"2s\"\n");
        let all = [&["run", "reviews.csv", "--yes", "--out", "labels.csv"], args, ask].concat();
        Self { sim, place, args: all, rows, kills: 0 }
    }

    fn start(&self) -> Child {
        let mut command = self.place.command(self.args.iter().chain(&["--events", "json"]));
        command
            .stdout(Stdio::piped())
            .stderr(
                std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(self.place.path("stderr.log"))
                    .unwrap(),
            )
            .spawn()
            .unwrap()
    }

    /// Runs until the moment comes and kills it there. False: the run ended first.
    pub(crate) fn kill(&mut self, at: At) -> bool {
        let mut child = self.start();
        let events = BufReader::new(child.stdout.take().unwrap());
        let began = Instant::now();
        let came = match at {
            At::Event(text) => events.lines().map_while(Result::ok).any(|line| {
                assert!(began.elapsed() < PATIENCE, "no `{text}`");
                line.contains(text)
            }),
            At::Millis(after) => {
                // What it says must be read, or it waits for a reader.
                std::thread::spawn(move || events.lines().map_while(Result::ok).for_each(drop));
                std::thread::sleep(Duration::from_millis(after));
                true
            }
        };
        // A run whose events have ended is over, even where its process is still on its way out.
        let running = came && child.try_wait().unwrap().is_none();
        child.kill().ok();
        child.wait().unwrap();
        self.kills += usize::from(running);
        running
    }

    /// The last run, left alone, and the report of its job.
    fn finish(&self) -> Value {
        let mut child = self.start();
        let events = BufReader::new(child.stdout.take().unwrap());
        let reading = std::thread::spawn(move || events.lines().map_while(Result::ok).last());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                child.kill().ok();
                let last = reading.join().unwrap();
                panic!("it hangs after {} kills; its last words: {last:?}", self.kills);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let last = reading.join().unwrap().unwrap_or_default();
        let errors = self.place.read("stderr.log");
        assert!(matches!(status.code(), Some(0 | 1 | 5)), "{status}: {last}\n{errors}");
        let event: Value = serde_json::from_str(&last).unwrap();
        assert_eq!(event["event"], "finished", "{last}");
        event["report"].clone()
    }

    /// Runs to the end and proves the job. `doubt`: whether a call may have been paid without an answer.
    pub(crate) fn prove(&self, doubt: bool) -> Value {
        let report = self.finish();
        let ended = report["succeeded"].as_u64().unwrap() + report["failed"].as_u64().unwrap();
        assert_eq!((ended, report["open"].as_u64()), (self.rows as u64, Some(0)), "{report}");
        assert_eq!(nanos(&report, "reserved"), 0, "{report}");
        self.check_rows();
        let total = self.place.proved("reviews", self.sim);
        let (settled, in_doubt) = (nanos(&report, "spent"), nanos(&report, "in_doubt"));
        if doubt {
            let allowed = settled..=settled + in_doubt;
            assert!(allowed.contains(&total), "{total} not in {allowed:?} after {} kills", self.kills);
        } else {
            assert_eq!((total, in_doubt), (settled, 0), "after {} kills: {report}", self.kills);
        }
        // Once more: nothing is left to pay.
        self.finish();
        let again = self.sim.bill();
        assert_eq!(again["total_usd_nanos"].as_i64(), Some(total));
        report
    }

    /// A row for each input row, in their order, answered or with its reason.
    fn check_rows(&self) {
        let (header, rows) = table(&self.place.path("labels.csv"));
        let column =
            |name: &str| header.iter().position(|one| one == name).unwrap_or_else(|| panic!("no {name}"));
        let (answer, status, error) = (column("answer"), column("_status"), column("_error"));
        assert_eq!(rows.len(), self.rows);
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(row[0], format!("r-{at}"));
            if row[status] == "succeeded" {
                assert!(["positive", "negative", "neutral"].contains(&row[answer].as_str()), "{row:?}");
            } else {
                assert!(!row[error].is_empty(), "{row:?}");
            }
        }
    }
}

/// Numbers from a seed, so that a failure can be repeated.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

// Without the canary no call is made, so nothing can be in doubt.
pub(crate) const BATCH: [&str; 9] = [
    "--lane",
    "batch",
    "--no-canary",
    "--poll-min",
    "50ms",
    "--poll-max",
    "100ms",
    "--batch-items-max",
    "120",
];
// Every kill leaves doubt, which counts against the cap: a slow machine must not run out of it.
pub(crate) const SYNC: [&str; 6] = ["--lane", "sync", "--concurrency-max", "16", "--budget", "1"];

#[test]
fn f70_a_batch_job_killed_at_every_step_is_paid_once() {
    let sim = Sim::start(&["--speed", "900"]);
    // Batch after batch, two at a time: where a moment of one is missed on a busy machine, the next one has it too.
    let mut job = Crashed::new(&sim, 1_500, &[&BATCH, &["--batches-max", "2"][..]].concat());
    let steps = [
        "\"event\":\"planned\"",
        "\"state\":\"staging\"",
        "\"state\":\"staged\"",
        "\"state\":\"validating\"",
        "\"state\":\"in_progress\"",
        "\"event\":\"progress\"",
        "\"state\":\"ended\"",
        "\"state\":\"settled\"",
    ];
    for step in steps {
        assert!(job.kill(At::Event(step)), "{step} did not come after {} kills", job.kills);
    }
    assert_eq!(job.prove(false)["succeeded"], 1_500);
}

#[test]
fn f70_a_batch_job_killed_at_random_is_paid_once() {
    let mut random = Seeded(0xb471);
    for round in 0..10 {
        let sim = Sim::start(&["--speed", "1800", "--seed", &round.to_string()]);
        let mut job = Crashed::new(&sim, 300, &BATCH);
        let most = 1 + random.below(5);
        for _ in 0..most {
            if !job.kill(At::Millis(random.below(500))) {
                break;
            }
        }
        job.prove(false);
    }
}

#[test]
fn a_batch_job_whose_creates_lose_their_answers_is_paid_once_all_the_same() {
    let mut random = Seeded(0xd0b7);
    for fault in ["create-lost=0.5", "create-5xx=0.5", "upload-lost=0.5"] {
        let sim = Sim::start(&["--speed", "1800", "--fault", fault]);
        let mut job = Crashed::new(&sim, 300, &BATCH);
        for _ in 0..3 {
            job.kill(At::Millis(100 + random.below(300)));
        }
        assert_eq!(job.prove(false)["succeeded"], 300, "{fault}");
    }
}

#[test]
fn f70_a_sync_job_killed_at_random_stays_within_its_doubt() {
    let mut random = Seeded(0x5c1);
    for round in 0..10 {
        let sim = Sim::start(&["--latency-ms", "20", "--seed", &round.to_string()]);
        let mut job = Crashed::new(&sim, 200, &SYNC);
        let most = 1 + random.below(4);
        for _ in 0..most {
            if !job.kill(At::Millis(60 + random.below(400))) {
                break;
            }
        }
        let report = job.prove(true);
        assert_eq!(report["succeeded"], 200, "round {round}: {report}");
    }
}

#[test]
fn a_sync_job_under_faults_and_kills_ends_every_item() {
    let mut random = Seeded(0xfa57);
    for fault in ["429=0.02", "5xx=0.1", "reset=0.05", "length=0.2", "refusal=0.2"] {
        let sim = Sim::start(&["--latency-ms", "10", "--fault", fault]);
        let mut job = Crashed::new(&sim, 200, &SYNC);
        for _ in 0..2 {
            job.kill(At::Millis(100 + random.below(300)));
        }
        job.prove(true);
    }
}
