//! L4: an optimised build against the simulator over TCP, killed and stopped at random moments until its job is done; then the
//! bill is compared with the ledger.
//!
//! One round is one job. Its seed decides the lane, the simulator's faults, how often it dies and when.

use crate::args::Args;
use crate::shell::{scratch, trial};
use crate::sim::Sim;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 50;
/// A run that is left alone and not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Numbers from a seed, so that a round can be repeated.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }
}

/// Sums over all rounds.
#[derive(Default)]
struct Sums {
    rounds: u64,
    kills: u64,
    stops: u64,
    items: u64,
    /// Rounds in which a call may have been paid without an answer (W3).
    doubtful: u64,
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let number = |values: Vec<String>, usual: u64| match values.last() {
        Some(text) => text.parse().with_context(|| format!("`{text}` is no number")),
        None => Ok(usual),
    };
    let only = args.values("--seed")?;
    let (first, rounds) = match number(only.clone(), 0)? {
        seed if !only.is_empty() => (seed, 1),
        _ => (number(args.values("--from")?, 0)?, number(args.values("--rounds")?, ROUNDS)?),
    };
    args.finish()?;
    let bulkrate = trial("bulkrate")?;
    let (began, mut sums) = (Instant::now(), Sums::default());
    for seed in first..first + rounds {
        let place = scratch("kill9")?;
        let round = Round::new(&bulkrate, &place, seed)?;
        round.live(&mut sums).with_context(|| {
            format!("round {seed} ({}); again: cargo xtask kill9 --seed {seed}", round.told())
        })?;
    }
    println!(
        "kill9: {} rounds, {} kills, {} stops, {} items, {} rounds with calls in doubt, in {:.0} s: nothing lost, nothing paid twice outside W3, ledger = bill",
        sums.rounds,
        sums.kills,
        sums.stops,
        sums.items,
        sums.doubtful,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// One job in one folder.
struct Round<'a> {
    bulkrate: &'a Path,
    place: &'a Path,
    seed: u64,
    sync: bool,
    rows: u64,
    fault: &'a str,
    sim: Sim,
}

impl<'a> Round<'a> {
    fn new(bulkrate: &'a Path, place: &'a Path, seed: u64) -> Result<Self> {
        let mut random = Seeded(seed);
        let sync = random.below(2) == 1;
        let rows = 100 + random.below(200);
        let fault = if sync {
            random.pick(&["", "", "reset=0.03", "5xx=0.05", "429=0.02", "truncated-body=0.03"])
        } else {
            random.pick(&[
                "",
                "",
                "create-lost=0.4",
                "create-5xx=0.4",
                "upload-lost=0.4",
                "duplicate-lines=0.2",
            ])
        };
        let text = seed.to_string();
        let mut flags = vec!["--seed", &text, "--speed", "1800", "--latency-ms", "15"];
        if !fault.is_empty() {
            flags.extend(["--fault", fault]);
        }
        let sim = Sim::start(bulkrate, &flags)?;
        let mut csv = "id,text\n".to_owned();
        for row in 0..rows {
            let word = ["great", "terrible", "plain"][usize::try_from(row % 3).unwrap_or(0)];
            writeln!(csv, "r-{row},a {word} thing of round {seed} number {row}")?;
        }
        std::fs::write(place.join("items.csv"), csv)?;
        // Doubts about creates settle in a second instead of minutes.
        std::fs::write(place.join("bulkrate.toml"), "[run]\nt_lag = \"400ms\"\nt_q = \"2s\"\n")?;
        Ok(Self { bulkrate, place, seed, sync, rows, fault, sim })
    }

    fn told(&self) -> String {
        let lane = if self.sync { "sync" } else { "batch" };
        format!("{lane} lane, {} items, fault `{}`", self.rows, self.fault)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.bulkrate);
        command
            .current_dir(self.place)
            .env("OPENAI_API_KEY", "sk-kill9")
            .env("OPENAI_BASE_URL", &self.sim.base_url);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&self) -> Result<Child> {
        let mut command = self.command();
        command.args(["run", "items.csv", "--yes", "--force", "--out", "out.jsonl", "--id", "id"]);
        command.args(["--user", "Review: {{ text }}", "--choices", "positive,negative,neutral"]);
        command.args(["--model", "openai/gpt-6-luna", "--budget", "1"]);
        if self.sync {
            command.args(["--lane", "sync", "--concurrency-max", "16"]);
        } else {
            // Without the canary no call is made, so nothing can be in doubt.
            command.args(["--lane", "batch", "--no-canary", "--batch-items-max", "60"]);
            command.args(["--poll-min", "50ms", "--poll-max", "100ms"]);
        }
        command.spawn().context("could not start bulkrate")
    }

    fn live(&self, sums: &mut Sums) -> Result<()> {
        let mut random = Seeded(self.seed ^ 0x6b69_6c6c);
        for _ in 0..1 + random.below(6) {
            let mut child = self.start()?;
            std::thread::sleep(Duration::from_millis(5 + random.below(450)));
            if random.below(4) == 0 {
                self.stop(&mut child, &mut random)?;
                sums.stops += 1;
            }
            let running = child.try_wait()?.is_none();
            child.kill().ok();
            child.wait()?;
            sums.kills += u64::from(running);
            if !running {
                break;
            }
        }
        self.finish()?;
        self.prove(sums)
    }

    /// A process that stands still keeps its state: a second one is refused, and the first goes on where it stood.
    fn stop(&self, child: &mut Child, random: &mut Seeded) -> Result<()> {
        signal("-STOP", child)?;
        std::thread::sleep(Duration::from_millis(random.below(300)));
        let locked = child.try_wait()?.is_none() && self.place.join(".bulkrate/engine.lock").exists();
        if locked && random.below(2) == 0 {
            let mut second = self.start()?;
            let code = waited(&mut second)?;
            // It may have been stopped before it took the lock, or after it had ended.
            ensure!(
                code == Some(1) || code == Some(0) || code == Some(5),
                "the second process ended with {code:?}"
            );
        }
        signal("-CONT", child)?;
        std::thread::sleep(Duration::from_millis(random.below(200)));
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let mut child = self.start()?;
        let code = waited(&mut child)?;
        ensure!(matches!(code, Some(0 | 1 | 5)), "the last run ended with {code:?}");
        Ok(())
    }

    fn prove(&self, sums: &mut Sums) -> Result<()> {
        let rows = std::fs::read_to_string(self.place.join("out.jsonl")).context("no output")?;
        ensure!(rows.lines().count() as u64 == self.rows, "{} rows of {}", rows.lines().count(), self.rows);
        for (at, line) in rows.lines().enumerate() {
            let row: Value = serde_json::from_str(line)?;
            ensure!(row["id"] == format!("r-{at}"), "row {at} is {}", row["id"]);
            let ended =
                row["_status"] == "succeeded" || row["_error"].as_str().is_some_and(|why| !why.is_empty());
            ensure!(ended, "row {at} has no outcome: {row}");
        }
        let bill = self.bill()?;
        std::fs::write(self.place.join("bill.json"), bill.to_string())?;
        let status = self.status()?;
        let of = |name: &str| {
            status[format!("{name}_usd_nanos")].as_i64().with_context(|| format!("no `{name}` in {status}"))
        };
        let (settled, doubt, reserved) = (of("spent")?, of("in_doubt")?, of("reserved")?);
        let total = bill["total_usd_nanos"].as_i64().context("no total in the bill")?;
        ensure!(reserved == 0, "{reserved} are still reserved");
        ensure!(self.sync || doubt == 0, "{doubt} are in doubt, and no call was made");
        ensure!(
            (settled..=settled + doubt).contains(&total),
            "settled {settled}, in doubt {doubt}; the bill is {total}"
        );
        let verified = self.command().args(["verify", "items", "--bill", "bill.json"]).status()?;
        ensure!(verified.success(), "`verify --bill` failed: {verified}");
        sums.rounds += 1;
        sums.items += self.rows;
        sums.doubtful += u64::from(doubt > 0);
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        let mut command = self.command();
        command.args(["status", "--json"]).stdout(Stdio::piped());
        let said: Value =
            serde_json::from_slice(&command.output()?.stdout).context("`status` wrote no JSON")?;
        Ok(said[0].clone())
    }

    fn bill(&self) -> Result<Value> {
        let host = self.sim.base_url.trim_start_matches("http://").trim_end_matches("/v1");
        let mut stream = std::net::TcpStream::connect(host)?;
        write!(stream, "GET /sim/bill HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let (from, to) = (reply.find('{').context("no bill")?, reply.rfind('}').context("no bill")?);
        Ok(serde_json::from_str(&reply[from..=to])?)
    }
}

fn signal(name: &str, child: &Child) -> Result<()> {
    // One that has ended meanwhile cannot be told anything, which is no fault.
    Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status()?;
    Ok(())
}

fn waited(child: &mut Child) -> Result<Option<i32>> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().ok();
    child.wait()?;
    bail!("a run hangs: not over after {} s", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_round() {
        let numbers = |seed| {
            (0..50).map(|_| seed).scan(Seeded(seed), |random, _| Some(random.below(100))).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!(numbers(7).iter().all(|number| *number < 100));
    }
}
