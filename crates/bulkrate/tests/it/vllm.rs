//! vLLM without a server: whole jobs over `vllm run-batch`, for which the simulator stands in, and what happens when one of the two
//! processes dies.

use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::request::Kind;
use bulkrate_provider::conformance::{self, Options};
use bulkrate_provider::{Created, Program, Provider, Settings};
use serde_json::Value;

use super::jobs::nanos;
use super::support::{ASK, BULKRATE, Place, Said, reviews, table, waited};

const ROWS: usize = 40;
/// Of the rows, four are equal: one of them runs.
const REQUESTS: usize = 37;

/// A job whose stand-in for vLLM has these flags.
fn job(place: &Place, flags: &str, run: &str) {
    named(place, "reviews", flags, run);
}

fn named(place: &Place, name: &str, flags: &str, run: &str) {
    let words = ["sim", "vllm", "--tally", "tally"].into_iter().chain(flags.split_whitespace());
    let command: Vec<&str> = std::iter::once(BULKRATE).chain(words).collect();
    with(place, name, &serde_json::to_string(&command).unwrap(), run);
}

fn with(place: &Place, name: &str, command: &str, run: &str) {
    let request = format!("model = \"vllm-offline/org/model\"\nuser = \"{} for {name}\"", ASK[1]);
    let tables = format!(
        "[sink]\npath = \"{name}.out.csv\"\n[provider]\nvllm_command = {command}\nvllm_args = [\"--tensor-parallel-size\", \"2\"]"
    );
    place.put("reviews.csv", reviews(ROWS)).put_job(name, &request, run, &tables);
}

fn run(place: &Place) -> Said {
    place.run("run reviews.toml --yes --json", &[])
}

/// The ids of all lines that ran, in the order in which they did.
fn ran(place: &Place) -> Vec<String> {
    let tally = std::fs::read_to_string(place.path("tally")).unwrap_or_default();
    tally.lines().map(str::to_owned).collect()
}

fn local(place: &Place, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.path(".bulkrate/local").join(name));
    entries.map(|all| all.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

/// The number of the process group in which the only run is.
fn group(place: &Place) -> u32 {
    let started = std::fs::read_to_string(local(place, "runs")[0].join("started")).unwrap();
    started.lines().next().unwrap().parse().unwrap()
}

/// Every row has an answer, it cost nothing, nothing is in doubt and nothing is left behind.
#[track_caller]
fn whole(place: &Place, name: &str, said: Said) -> Value {
    let report = said.expect(0).json();
    let (header, found) = table(&place.path(&format!("{name}.out.csv")));
    let status = header.iter().position(|name| name == "_status").unwrap();
    assert_eq!(found.iter().filter(|row| row[status] == "succeeded").count(), ROWS, "{report}");
    assert_eq!((nanos(&report, "spent"), nanos(&report, "in_doubt")), (0, 0), "{report}");
    place.run(&format!("verify {name}"), &[]).expect(0);
    assert_eq!((local(place, "runs"), local(place, "inputs")), (Vec::new(), Vec::new()));
    report
}

fn accepted(job: &Value) -> bool {
    job["batches"][0]["batch"].is_string()
}

#[test]
fn it_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let words = [BULKRATE, "sim", "vllm", "--line-ms", "20"].map(str::to_owned);
    let program =
        Program { command: words.to_vec(), folder: Some(folder.path().join("local")), ..Program::default() };
    let open = || -> Arc<dyn Provider> {
        let settings = Settings { program: program.clone(), ..Settings::default() };
        bulkrate_provider::open("vllm-offline", &settings).unwrap()
    };
    let options = Options {
        model: "org/model",
        folder: folder.path(),
        poll_every: Duration::from_millis(10),
        polls_max: 2_000,
        unix_ms: 1_795_046_400_000,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(conformance::run(&*open(), &options));
    assert_eq!(report.unwrap_or_else(|violation| panic!("{violation}")).passed.len(), 7);
    // Another process finds the run by its mark.
    let listed = runtime.block_on(open().batches().unwrap().list_since(0)).unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(
        listed[0].marker.as_ref().map(|marker| (marker.inst.as_str(), marker.items)),
        Some(("conformance", 3))
    );
    assert!(runtime.block_on(open().batches().unwrap().list_since(u64::MAX)).unwrap().is_empty());
    // It is made once: whoever tries again is told to look, whatever became of the input.
    let marker = listed[0].marker.clone().unwrap();
    let again = runtime.block_on(open().batches().unwrap().create("none.jsonl", Kind::Chat, "m", &marker));
    assert!(matches!(again, Created::InDoubt(_)), "{again:?}");
}

#[test]
fn a_job_costs_nothing_and_leaves_nothing_behind() {
    let place = Place::new();
    job(&place, "", "");
    let report = whole(&place, "reviews", run(&place));
    assert_eq!((ran(&place).len(), report["batches"].as_u64()), (REQUESTS, Some(1)), "{report}");
    // What was sent stays with the job.
    let batches = place.job_dir().join("batches");
    let kept = super::support::only_in(&batches);
    for name in ["unified.jsonl", "input.jsonl", "output.jsonl", "results.jsonl"] {
        assert!(kept.join(name).exists(), "{name}");
    }
}

#[test]
fn runs_go_one_after_the_other() {
    let place = Place::new();
    job(&place, "--line-ms 5", "batch_items_max = 10");
    let said = run(&place);
    assert!(!said.stderr.contains("has the machine"), "{said:?}");
    whole(&place, "reviews", said);
    let mut subs: Vec<String> =
        ran(&place).iter().map(|id| id.rsplit_once('-').unwrap().0.to_owned()).collect();
    assert_eq!(subs.len(), REQUESTS);
    subs.dedup();
    assert_eq!(subs.len(), 4, "two ran at once: {subs:?}");
}

#[test]
fn a_killed_bulkrate_finds_its_run_at_work_and_nothing_runs_twice() {
    let place = Place::new();
    job(&place, "--line-ms 40", "");
    place.kill_when(["run", "reviews.toml", "--yes"], accepted);
    let before = ran(&place).len();
    assert!(before < REQUESTS, "it was over before it was killed");
    // The child goes on while nobody looks.
    waited("it does not go on", || ran(&place).len() > before);
    let report = whole(&place, "reviews", place.run("resume reviews --json", &[]));
    assert_eq!(
        (ran(&place).len(), report["batches"].as_u64().unwrap_or(0) < 2),
        (REQUESTS, true),
        "{report}"
    );
}

#[test]
fn a_run_that_ends_early_is_salvaged_and_the_rest_runs_again() {
    for flags in [
        "--die-after 10",
        "--die-after 10 --cut",
        "--fail-after 10 --cut",
        "--stop-after 10",
        "--die-after 0",
        "--stop-after 0",
    ] {
        let place = Place::new();
        job(&place, &format!("{flags} --once once"), "");
        let said = run(&place);
        assert!(said.stderr.contains("of 37 items: it "), "{flags}: {said:?}");
        whole(&place, "reviews", said);
        assert_eq!(ran(&place).len(), REQUESTS, "{flags}: no line runs twice");
    }
}

#[test]
fn a_child_that_is_killed_is_salvaged() {
    let place = Place::new();
    job(&place, "--line-ms 40", "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    waited("nothing runs", || ran(&place).len() > 3);
    place.sh(&format!("kill -s KILL -- -{}", group(&place))).expect(0);
    waited("the run does not end", || child.try_wait().unwrap().is_some());
    whole(&place, "reviews", run(&place));
    assert_eq!(ran(&place).len(), REQUESTS, "no line runs twice");
}

#[test]
fn items_that_never_get_an_answer_are_dead_letters() {
    let place = Place::new();
    job(&place, "--die-after 0", "");
    let said = run(&place);
    let report = said.json();
    assert!(said.code == 1 && report["failed"] == 40, "{said:?}");
    let dead = place.run("dead reviews --json", &[]).json();
    assert_eq!(dead[0]["attempts"].as_array().map(Vec::len), Some(3), "{}", dead[0]);
    assert!(
        dead[0]["attempts"].as_array().unwrap().iter().all(|attempt| attempt["lane"] == "batch"),
        "{}",
        dead[0]
    );
}

#[test]
fn a_command_that_gives_up_stops_the_job_and_says_why() {
    let place = Place::new();
    job(&place, "--fail-after 0 --once once", "");
    let said = run(&place);
    assert!(said.code == 1 && said.stderr.contains("EngineDeadError"), "{said:?}");
    // What it said stays beside the run. Mended, the job goes on.
    let log = local(&place, "runs")[0].join("log");
    assert!(std::fs::read_to_string(log).unwrap().contains("EngineDeadError"));
    let report = place.run("resume reviews --json", &[]).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(40), "{report}");
    place.run("rm reviews --yes", &[]).expect(0);
    assert_eq!((local(&place, "runs"), local(&place, "inputs")), (Vec::new(), Vec::new()));
}

#[test]
fn refused_lines_are_refused_items() {
    let place = Place::new();
    job(&place, "--refuse-every 10", "fail_above = \"50%\"");
    let said = run(&place);
    let report = said.json();
    // Three, one of which others share.
    assert_eq!((said.code, report["failures"]["refused_by_provider"].as_u64()), (5, Some(6)), "{said:?}");
    let dead = place.run("dead reviews --json", &[]).json();
    assert!(dead.to_string().contains("maximum context length"), "{dead}");
}

#[test]
fn what_is_no_program_is_told_before_anything_begins() {
    let place = Place::new();
    place.put("plain", "no program");
    for (command, words) in [
        ("[\"no-such-vllm\"]", "`no-such-vllm`"),
        ("[\"./plain\"]", "is not executable"),
        ("[]", "no program"),
    ] {
        with(&place, "reviews", command, "");
        place.run("run reviews.toml --yes", &[]).error(2, "provider-not-ready", &[words, "`vllm_command`"]);
        assert!(local(&place, "runs").is_empty());
    }
    // Without a job file it is `vllm`.
    let place = place.set("PATH", "nowhere");
    let doctor = place.run("doctor --model vllm-offline/org/model", &[]);
    assert!(doctor.code == 1 && doctor.stdout.contains("no program `vllm`"), "{doctor:?}");
    place.put("bulkrate.toml", "[provider]\nvllm_command = [\"true\"]\n");
    let refused = place.run("plan reviews.toml", &[]);
    assert!(
        refused.code == 2 && refused.stderr.contains("`provider`"),
        "a folder may not name programs: {refused:?}"
    );
}

#[test]
fn a_line_that_vllm_will_not_read_is_named() {
    let place = Place::new();
    named(&place, "reviews", "", "");
    let line = |id: &str, body: &str| {
        format!(
            "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{{\"model\":\"vllm-offline/org/model\"{body}}}}}\n"
        )
    };
    let good = line("a", ",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]");
    let file = |source: &str| {
        place
            .read("reviews.toml")
            .replace("reviews.csv", source)
            .lines()
            .filter(|line| !["id = ", "user = ", "choices = "].iter().any(|key| line.starts_with(key)))
            .collect::<Vec<_>>()
            .join("\n")
            .replace("out.csv", "out.jsonl")
    };
    // Whole batch lines name the provider too.
    place.put("good.jsonl", &good).put("good.toml", file("good.jsonl"));
    place.run("run good.toml --yes", &[]).expect(0);
    place
        .put("bad.jsonl", good + &line("b", ""))
        .put("bad.toml", file("bad.jsonl").replace("reviews.out", "bad.out"));
    let said = place.run("run bad.toml --yes", &[]);
    assert!(said.code == 1 && said.stderr.contains("Invalid request on line"), "{said:?}");
}

#[test]
fn what_run_batch_has_not_is_refused_before_anything_begins() {
    let place = Place::new();
    place.put("reviews.csv", reviews(3));
    let said = place.run(
        "run reviews.csv --yes --kind moderation --user",
        &["{{ text }}", "--model", "vllm-offline/m", "--out", "o.csv"],
    );
    said.error(2, "item-unsupported", &["`kind`"]);
    job(&place, "", "lane = \"sync\"");
    place.run("run reviews.toml --yes", &[]).error(2, "lane-unavailable", &["has no calls"]);
}

#[test]
fn what_is_in_a_hurry_goes_with_the_others() {
    let place = Place::new();
    job(&place, "", "");
    let line = |at: usize| {
        format!(
            "{{\"custom_id\":\"u-{at}\",\"priority\":\"high\",\"messages\":[{{\"role\":\"user\",\"content\":\"Say {at}\"}}]}}\n"
        )
    };
    place.put("urgent.jsonl", (0..5).map(line).collect::<String>());
    let file =
        place.read("reviews.toml").replace("reviews.csv", "urgent.jsonl").replace("out.csv", "out.jsonl");
    let file: Vec<&str> = file
        .lines()
        .filter(|line| !["id = ", "user = ", "choices = "].iter().any(|key| line.starts_with(key)))
        .collect();
    place.put("urgent.toml", file.join("\n"));
    let report = place.run("run urgent.toml --yes --json", &[]).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), ran(&place).len()), (Some(5), 5), "{report}");
}

#[test]
fn no_deadline_and_no_hurry_makes_calls_where_there_are_none() {
    let place = Place::new();
    job(&place, "--line-ms 30", "deadline = \"300ms\"\npriority = \"high\"");
    let said = run(&place);
    assert!(said.stderr.contains("lane: batch, the only lane available here"), "{said:?}");
    assert!(said.stderr.contains("the deadline has passed"), "{said:?}");
    whole(&place, "reviews", said);
}

#[test]
fn a_cancelled_job_ends_its_child_and_keeps_what_it_finished() {
    let place = Place::new();
    job(&place, "--line-ms 50", "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    waited("nothing runs", || ran(&place).len() > 3);
    let lives = format!("ps -axo pgid=,state= | grep -q '^ *{} *[^ZX]'", group(&place));
    place.sh(&lives).expect(0);
    place.run("cancel reviews", &[]).expect(0);
    waited("the run does not end", || child.try_wait().unwrap().is_some());
    let done = ran(&place).len();
    assert!(done < REQUESTS, "{done}");
    waited("the child does not end", || place.sh(&lives).code == 1);
    assert_eq!(ran(&place).len(), done, "the child outlived the run");
    let status = place.run("status reviews --json", &[]).json();
    assert!(status[0]["succeeded"].as_u64() >= Some(done as u64), "{status}");
    place.run("verify reviews", &[]).expect(0);
}

#[test]
fn another_job_waits_for_the_machine() {
    let place = Place::new();
    job(&place, "--line-ms 60", "");
    place.kill_when(["run", "reviews.toml", "--yes"], accepted);
    named(&place, "others", "", "");
    let mut child: Child = place.start(["run", "others.toml", "--yes"]);
    waited("the other job does not end", || child.try_wait().unwrap().is_some());
    let ids = ran(&place);
    let mut subs: Vec<&str> = ids.iter().map(|id| id.rsplit_once('-').unwrap().0).collect();
    subs.dedup();
    assert_eq!((ids.len(), subs.len()), (2 * REQUESTS, 2), "one ran after the other");
    whole(&place, "reviews", place.run("resume reviews --json", &[]));
    assert_eq!(ran(&place).len(), 2 * REQUESTS);
}

/// A pipe waits for a writer, and a device has no end: neither is read, and an interrupt is heard.
#[test]
fn an_output_that_is_no_file_keeps_nobody_from_leaving() {
    for made in ["mkfifo", "ln -s /dev/zero"] {
        let place = Place::new();
        let script = format!("rm -f \"$5\"; {made} \"$5\"; exec sleep 30");
        with(&place, "reviews", &serde_json::to_string(&["sh", "-c", &script, "vllm"]).unwrap(), "");
        let mut child = place.start(["run", "reviews.toml", "--yes"]);
        place.wait_for(&mut child, accepted);
        waited("the output is not made", || {
            local(&place, "runs").iter().any(|run| run.join("output.jsonl").symlink_metadata().is_ok())
        });
        // So that it has been looked at.
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..2 {
            std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        waited("it does not leave", || child.try_wait().unwrap().is_some());
        place.sh(&format!("kill -9 -{}", group(&place))).expect(0);
    }
}

/// A machine that is paid for has a price, and the ledger has what its tokens cost.
#[test]
fn a_priced_machine_costs_what_its_tokens_do() {
    let place = Place::new();
    job(&place, "", "price_in = 0.5\nprice_out = 1.5\nbudget = 1");
    let report = run(&place).expect(0).json();
    let tokens = |key: &str| report[key].as_i64().unwrap();
    // 500 and 1,500 nano-dollars a token: nothing is rounded.
    let want = tokens("input_tokens") * 500 + tokens("output_tokens") * 1_500;
    assert!(want > 0 && nanos(&report, "spent") == want, "{report}");
    let settled = place.run("cost --json", &[]).expect(0).json();
    assert_eq!(nanos(&settled[0], "spent"), want, "{settled}");
    place.run("verify reviews", &[]).expect(0);
    // A plan knows it before.
    let plan = place.run("plan reviews.toml --json", &[]).expect(0).json();
    assert_eq!(plan["priced"], true, "{plan}");
}
