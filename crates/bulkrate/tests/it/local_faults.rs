//! F71 to F85: what this machine does to a process and its files. Whatever it was, the same command afterwards ends the job,
//! with a row for each item, and the bill is what the ledger says.

use std::process::Child;

use bulkrate_store::{LedgerKind, LedgerQuery, SqliteStore, View as _};

use super::jobs::nanos;
use super::support::{ASK, Place, Said, Sim, only_in, reviews, table};

const ROWS: usize = 60;
const BATCH: &str =
    "run data.csv --yes --lane batch --no-canary --poll-min 50ms --poll-max 100ms --out out.csv";

struct Machine {
    sim: Sim,
    place: Place,
}

impl Machine {
    fn new(flags: &[&str]) -> Self {
        let sim = Sim::start(flags);
        let place = Place::with(&sim);
        place.put("data.csv", reviews(ROWS)).put("bulkrate.toml", "[run]\nt_lag = \"400ms\"\nt_q = \"2s\"\n");
        Self { sim, place }
    }

    fn set(self, name: &str, value: &str) -> Self {
        Self { place: self.place.set(name, value), ..self }
    }

    fn run(&self) -> Said {
        self.place.run(&format!("{BATCH} --json"), &ASK)
    }

    /// Killed once the provider has the batch.
    fn killed(&self) {
        self.place.kill_when(BATCH.split_whitespace().chain(ASK), is_created);
    }

    /// The same command in a shell, after `limits`. The script's own quoting.
    fn limited(&self, limits: &str) -> Said {
        let ask: Vec<String> = ASK.iter().map(|word| format!("'{word}'")).collect();
        self.place.sh(&format!("{limits}; exec \"$BULKRATE\" {BATCH} {}", ask.join(" ")))
    }

    /// Left alone, the job ends and is proved.
    fn proved(&self) {
        let report = self.run().expect(0).json();
        assert_eq!(
            (report["succeeded"].as_u64(), report["open"].as_u64()),
            (Some(ROWS as u64), Some(0)),
            "{report}"
        );
        assert_eq!((nanos(&report, "reserved"), nanos(&report, "in_doubt")), (0, 0), "{report}");
        assert_eq!(self.place.proved("data", &self.sim), nanos(&report, "spent"), "paid once: {report}");
        assert_eq!(table(&self.place.path("out.csv")).1.len(), ROWS);
    }
}

fn is_created(job: &serde_json::Value) -> bool {
    job["batches"][0]["batch"].is_string()
}

fn signal(name: &str, child: &Child) {
    let told = std::process::Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(told.unwrap().success());
}

#[test]
fn f71_a_stopped_process_keeps_its_state_and_goes_on() {
    let machine = Machine::new(&["--speed", "600"]);
    let mut child = machine.place.start(BATCH.split_whitespace().chain(ASK));
    machine.place.wait_for(&mut child, is_created);
    signal("-STOP", &child);
    // The operating system holds the lock for it, however long it stands still.
    machine.place.run(&format!("{BATCH} --force"), &ASK).error(1, "state-locked", &["in use by process"]);
    signal("-CONT", &child);
    assert!(child.wait().unwrap().success());
    machine.proved();
}

/// Runs a script in a mount namespace of its own, where `state` is a small file system. False: not allowed here.
fn in_small_fs(machine: &Machine, script: &str) -> bool {
    let ask: Vec<String> = ASK.iter().map(|word| format!("'\\''{word}'\\''")).collect();
    let run = format!("\"$BULKRATE\" --state state {BATCH} {}", ask.join(" "));
    let inner = script.replace("RUN", &run);
    let said = machine.place.sh(&format!(
        "mkdir state; unshare --user --map-root-user --mount sh -c \
         'mount -t tmpfs -o size=1m,mode=700 small state || exit 77; set -x; {inner}'"
    ));
    if said.code == 77
        || said.stderr.contains("unshare failed")
        || said.stderr.contains("Operation not permitted")
    {
        eprintln!("SKIPPED: no file system can be mounted here: {}", said.stderr.trim());
        return false;
    }
    assert_eq!(said.code, 0, "{}\n{}", said.stdout, said.stderr);
    true
}

#[test]
fn f72_no_space_left_stops_the_run_and_loses_nothing() {
    let machine = Machine::new(&[]);
    // Almost full: the job begins and cannot go on. With room again it ends.
    in_small_fs(
        &machine,
        "dd if=/dev/zero of=state/ballast bs=1k count=850 || exit 1; RUN && exit 2; rm state/ballast; \
         mount -o remount,size=64m state || exit 3; RUN || exit 4; \"$BULKRATE\" --state state verify data || exit 5",
    );
}

#[test]
fn f78_a_state_that_cannot_be_written_is_named() {
    let machine = Machine::new(&[]);
    in_small_fs(
        &machine,
        "mount -o remount,size=64m state || exit 3; RUN || exit 4; mount -o remount,ro state || exit 3; \
         RUN 2>said && exit 2; grep -q \"error.state-\" said || { cat said; exit 6; }; \
         mount -o remount,rw state || exit 3; RUN || exit 5; \"$BULKRATE\" --state state verify data || exit 5",
    );
}

#[test]
fn f73_an_input_output_error_is_no_answer_and_no_loss() {
    let machine = Machine::new(&["--speed", "600"]);
    machine.killed();
    // Reading or writing the beginning of this file is an EIO on every Linux.
    let job = machine.place.job_dir();
    let (requests, kept) = (job.join("requests.jsonl"), job.join("kept"));
    std::fs::rename(&requests, &kept).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &requests).unwrap();
    let said = machine.run();
    assert!(![0, 5].contains(&said.code) && said.stderr.contains("error["), "{said:?}");
    std::fs::remove_file(&requests).unwrap();
    std::fs::rename(&kept, &requests).unwrap();
    machine.proved();
}

#[test]
fn f74_writes_that_are_cut_short_are_not_believed() {
    let machine = Machine::new(&[]);
    let mut failed = 0;
    // In blocks of 512 bytes; a write over the limit is short, the next one an error.
    for blocks in [1, 20, 60, 100, 160, 300] {
        let said = machine.limited(&format!("trap '' XFSZ; ulimit -f {blocks}"));
        failed += usize::from(said.code != 0);
        assert!(!said.stderr.contains("panicked"), "{blocks}: {said:?}");
    }
    assert!(failed >= 3, "only {failed} runs met the limit");
    machine.proved();
}

#[test]
fn f76_no_file_descriptors_left_is_an_error_and_no_loss() {
    let machine = Machine::new(&[]);
    let mut failed = 0;
    // With few the event loop cannot be made, with more the state or the source not be opened.
    for files in [8, 12, 14, 18, 22, 30] {
        let said = machine.limited(&format!("ulimit -n {files}"));
        failed += usize::from(said.code != 0);
        assert!(!said.stderr.contains("panicked"), "{files}: {said:?}");
        assert!([0, 5].contains(&said.code) || said.stderr.contains("error["), "{files}: {said:?}");
    }
    assert!(failed >= 1, "no run met the limit");
    machine.proved();
}

#[test]
fn f77_a_process_without_memory_dies_as_if_killed() {
    let machine = Machine::new(&[]);
    let mut failed = 0;
    for kib in [40_000, 60_000, 90_000, 130_000] {
        failed += usize::from(machine.limited(&format!("ulimit -c 0; ulimit -v {kib}")).code != 0);
    }
    assert!(failed >= 1, "no run met the limit");
    machine.proved();
}

#[test]
fn f79_a_spool_file_that_is_deleted_or_edited_is_noticed() {
    let machine = Machine::new(&["--speed", "600"]);
    machine.killed();
    let job = machine.place.job_dir();
    let batch = only_in(&job.join("batches"));
    // The provider has it already: the answers come all the same, nothing is sent again, and `verify` names the file.
    let input = batch.join("input.jsonl");
    let kept = std::fs::read(&input).unwrap();
    std::fs::remove_file(&input).unwrap();
    machine.run().expect(0);
    let proof = machine.place.run("verify data", &[]).expect(7);
    assert!(proof.stdout.contains("FAILED files match digests: input.jsonl"), "{}", proof.stdout);
    std::fs::write(&input, kept).unwrap();
    machine.proved();
    // A request that was edited is no longer what was paid for.
    let requests = job.join("requests.jsonl");
    let text = std::fs::read_to_string(&requests).unwrap().replacen("lamp 1", "lump 1", 1);
    std::fs::write(&requests, text).unwrap();
    let proof = machine.place.run("verify data", &[]);
    assert_eq!(proof.code, 7, "{}{}", proof.stdout, proof.stderr);
}

#[test]
fn f83_a_time_zone_that_changes_changes_nothing() {
    let mut outputs = Vec::new();
    for zones in [["UTC", "UTC"], ["Pacific/Auckland", "America/St_Johns"]] {
        let machine = Machine::new(&["--speed", "600"]).set("TZ", zones[0]);
        machine.killed();
        let machine = machine.set("TZ", zones[1]);
        machine.proved();
        outputs.push(machine.place.read("out.csv"));
    }
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn f85_after_an_old_backup_every_item_ends_and_the_ledger_is_the_bill() {
    let machine = Machine::new(&["--speed", "600"]);
    machine.place.run(&format!("{BATCH} --limit 20"), &ASK).expect(0);
    assert_eq!(machine.place.sh("cp -r .bulkrate backup").code, 0);
    machine.run().expect(0);
    assert_eq!(machine.place.sh("rm -r .bulkrate; mv backup .bulkrate").code, 0);
    let billed = || machine.sim.bill();
    let before = nanos(&billed(), "total");
    // W5: a batch has our mark and no row knows it. It is booked at most, and nothing is sent until somebody has spoken.
    let again = format!("{BATCH} --force --json");
    let held = machine.place.run(&again, &ASK).expect(6).json();
    let paid = before - nanos(&held, "spent");
    assert!((1..=nanos(&held, "in_doubt")).contains(&paid), "{paid} {held}");
    assert_eq!(
        nanos(&machine.place.run(&again, &ASK).expect(6).json(), "in_doubt"),
        nanos(&held, "in_doubt")
    );
    assert_eq!(nanos(&billed(), "total"), before);
    let line = &machine.place.run("doubt list --json", &[]).expect(0).json()[0];
    let sub = line["sub"].as_str().unwrap();
    assert_eq!((line["state"].as_str(), line["waits"].as_bool()), (Some("ghost"), Some(true)), "{line}");
    let adopt = machine.place.run(&format!("doubt adopt {sub} batch_1"), &[]);
    adopt.error(2, "option-invalid", &["no row of this state folder", "doubt release"]);
    let dear = format!("doubt release {sub} --paid --cost 0.{paid:09} --yes");
    machine.place.run(&dear, &[]).expect(0);
    // To the old state the output is a file that somebody has changed since.
    machine.place.run(BATCH, &ASK).error(2, "sink-exists", &["was edited since it was written, or replaced"]);
    machine.place.run(&again, &ASK).expect(0);
    machine.proved();
    // What was paid twice stands apart, with its window.
    let store = SqliteStore::open_reader(&machine.place.path(".bulkrate")).unwrap();
    let total = store.ledger_totals(&LedgerQuery::default()).unwrap().remove(0);
    let (settled, twice) = (total.sums.usd(LedgerKind::Settle).0, total.sums.usd(LedgerKind::Duplicate).0);
    assert_eq!((settled + twice, twice), (nanos(&billed(), "total"), paid), "{settled} {twice}");
    let proof = machine.place.run("verify data", &[]).expect(0).stdout;
    assert!(proof.contains("were paid twice, booked as duplicates with their windows"), "{proof}");
}
