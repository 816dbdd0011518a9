//! What is decided as answers come can be told and made again: with one call at a time it is the same in every state folder, and in
//! any order the pure rules, given what is durable in the order in which it became so, decide what is recorded.

mod again;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::settings::Settings;
use bulkrate_engine::spec::{CascadeSpec, JobSpec, SemanticSpec};
use bulkrate_engine::{Engine, Stop};
use bulkrate_sim::SimConfig;
use bulkrate_store::{ItemRec, Outcome, SqliteStore, View};
use serde_json::Value;

use crate::bundles::bundled;
use crate::world::{World, fast};

/// Messages about a few things, each in many wordings that differ in a few letters; the simulator answers by the thing's name.
fn messages(rows: usize) -> String {
    const ASKED: [&str; 4] = [
        "my {} was charged twice, please look into it",
        "please tell me when the {} arrives at my house",
        "the {} is broken and I would like another",
        "somebody else uses my {} without asking me",
    ];
    const WORDS: [&str; 7] = ["", "hello, ", "sorry, ", "again: ", "well, ", "urgent: ", "hi there, "];
    const ENDS: [&str; 11] =
        ["", ".", "!", " thanks", " bye", " ok", " really", " soon", " today", " friends", " folks"];
    let text = |row: usize| {
        let asked = ASKED[row / 3 % 4].replace("{}", ["card", "parcel", "account"][row % 3]);
        format!("m-{row},\"{}{asked}{}\"\n", WORDS[row / 12 % 7], ENDS[row / 84 % 11])
    };
    "id,text\n".to_owned() + &(0..rows).map(text).collect::<String>()
}

/// A job over such messages, so many calls at a time.
fn job(world: &World, rows: usize, lane: Lane, concurrency: u32) -> JobSpec {
    let source = world.path("rows.csv");
    std::fs::write(&source, messages(rows)).unwrap();
    let mut spec = world.spec(&source, lane);
    spec.request.user = Some("{{ text }}".to_owned());
    spec.request.choices = vec!["card".into(), "parcel".into(), "account".into()];
    spec.request.reasoning = Some("none".to_owned());
    spec.run.concurrency_max = concurrency;
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec
}

/// What the semantic cache may answer wrongly.
const ERROR: f64 = 0.1;

fn semantic(spec: &mut JobSpec) {
    spec.request.semantic = Some(SemanticSpec { error_permille: 100, embed: None });
}

fn cascade(spec: &mut JobSpec, models: &[&str], accept: &str) {
    let models = models.iter().map(|model| (*model).to_owned()).collect();
    spec.request.model = Some("openai/gpt-6.1-sol".to_owned());
    spec.request.cascade = Some(CascadeSpec { models, accept: accept.parse().unwrap() });
}

/// A whole run in a state folder of this name.
async fn run_in(world: &World, folder: &str, spec: &JobSpec) -> Report {
    let mut spec = spec.clone();
    spec.sink.path = Some(world.path(&format!("{folder}.jsonl")));
    let engine = Engine::open(Settings { state_dir: world.path(folder), ..world.settings() }).unwrap();
    let report = Box::pin(engine.run(&spec, &|_| true, world.ear.clone(), Stop::new())).await.unwrap();
    assert_eq!((report.ending, report.open), (Ending::Finished, 0), "{folder}: {report:?}");
    report
}

/// What is durable of the only job of a state folder.
struct Durable {
    job: String,
    dir: PathBuf,
    /// Of each leader its line in `requests.jsonl`, in the order of the source.
    requests: BTreeMap<u32, String>,
    /// In the order in which they became durable, with their lines.
    outcomes: Vec<(Outcome, Value)>,
    /// Who went together, in the order in which they went, and in which submission.
    leases: Vec<Vec<u32>>,
    subs: Vec<String>,
}

impl Durable {
    fn of(world: &World, folder: &str) -> Self {
        let store = SqliteStore::open_reader(&world.path(folder)).unwrap();
        let row = store.job(1).unwrap().unwrap();
        let dir = world.path(folder).join("jobs").join(&row.id);
        let text = std::fs::read_to_string(dir.join("requests.jsonl")).unwrap();
        let line_at = |text: &str, at: u64| {
            let rest = &text[usize::try_from(at).unwrap()..];
            rest[..rest.find('\n').unwrap()].to_owned()
        };
        let mut requests = BTreeMap::new();
        let leaders = |ordinal, at, item: &ItemRec| {
            matches!(item, ItemRec::Leader { .. }).then(|| (ordinal, line_at(&text, at)))
        };
        store
            .scan_items(1, 0, &mut |chunk| {
                requests.extend(chunk.iter().filter_map(|(ordinal, at, item)| leaders(ordinal, at, item)));
                ControlFlow::Continue(())
            })
            .unwrap();
        let mut files: HashMap<u32, PathBuf> = store
            .submissions(1)
            .unwrap()
            .into_iter()
            .map(|submission| {
                (
                    submission.segment,
                    dir.join("batches").join(submission.sub.to_string()).join("results.jsonl"),
                )
            })
            .collect();
        files.insert(0, dir.join("results.jsonl"));
        let mut texts: HashMap<u32, String> = HashMap::new();
        let mut outcomes = Vec::new();
        store
            .scan_outcomes(1, &mut |chunk| {
                for outcome in chunk {
                    let segment = outcome.place.segment;
                    let text = texts
                        .entry(segment)
                        .or_insert_with(|| std::fs::read_to_string(&files[&segment]).unwrap());
                    let line = serde_json::from_str(&line_at(text, outcome.place.offset)).unwrap();
                    outcomes.push((*outcome, line));
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        let (mut leases, mut subs) = (Vec::new(), Vec::new());
        store
            .scan_leases(1, &mut |submission, together| {
                subs.push(submission.sub.to_string());
                leases.push(together.iter().map(|lease| lease.ordinal).collect());
                ControlFlow::Continue(())
            })
            .unwrap();
        Self { job: row.id, dir, requests, outcomes, leases, subs }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap()
    }

    /// Who shared a request: a call, or as the input file of a batch names them.
    fn bundles(&self) -> Vec<Vec<u32>> {
        let number = |text: &str| usize::from_str_radix(text, 36).unwrap();
        let mut found = Vec::new();
        for (sub, leases) in self.subs.iter().zip(&self.leases) {
            let input = self.dir.join("batches").join(sub).join("input.jsonl");
            let Ok(input) = std::fs::read_to_string(input) else {
                found.push(leases.clone());
                continue;
            };
            for line in input.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let id: Vec<&str> = line["custom_id"].as_str().unwrap().split('-').collect();
                let (first, n) = (number(id[2]), id.get(3).map_or(1, |n| number(n)));
                found.push(leases[first..first + n].to_vec());
            }
        }
        found.iter_mut().for_each(|items| items.sort_unstable());
        found.sort();
        found
    }

    /// Of each item what it was answered by, in any order of sending.
    fn lines(&self) -> BTreeMap<u64, Vec<&Value>> {
        let mut lines: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        self.outcomes
            .iter()
            .for_each(|(_, line)| lines.entry(line["item"].as_u64().unwrap()).or_default().push(line));
        lines
    }
}

/// The whole job twice, and once with another tag: another job, with other coins.
async fn thrice(world: &World, spec: &JobSpec) -> [Durable; 3] {
    let mut other = spec.clone();
    other.tags.insert("other".to_owned(), "yes".to_owned());
    for (folder, spec) in [("one", spec), ("two", spec), ("other", &other)] {
        run_in(world, folder, spec).await;
    }
    ["one", "two", "other"].map(|folder| Durable::of(world, folder))
}

/// Every line of every item: each answer, who was served and from which, by which `tau`, what was accepted and why not.
#[tokio::test]
async fn one_call_at_a_time_decides_the_same_in_every_state_folder() {
    let weak = SimConfig { weak: vec!["gpt-6-luna=0.4".parse().unwrap()], ..fast() };
    type Change = fn(&mut JobSpec);
    let cases: [(&str, Change); 3] = [
        ("semantic", semantic),
        ("cascade", |spec| cascade(spec, &["openai/gpt-6-luna"], "margin>=0.9")),
        ("cascade by agreement", |spec| {
            cascade(spec, &["openai/gpt-6-luna", "openai/gpt-6.1-terra"], "agree");
        }),
    ];
    for (name, change) in cases {
        let world = World::new(weak.clone()).await;
        let mut spec = job(&world, 200, Lane::Sync, 1);
        change(&mut spec);
        let [one, two, other] = thrice(&world, &spec).await;
        assert_eq!(one.job, two.job);
        assert!(one.file("requests.jsonl") == two.file("requests.jsonl"), "{name}");
        assert_eq!(one.lines(), two.lines(), "{name}");
        // What goes on to another model may be asked before or after the next row: nothing is decided by that.
        if spec.request.cascade.is_none() {
            assert!(one.file("results.jsonl") == two.file("results.jsonl"), "{name}");
            assert_eq!((&one.leases, &one.outcomes), (&two.leases, &two.outcomes), "{name}");
        }
        // The test sees a difference where there is one.
        assert_ne!(one.job, other.job);
        assert_eq!(
            one.lines() != other.lines(),
            spec.request.semantic.is_some(),
            "{name}: coins are the job's"
        );
    }
}

/// With one call at a time, and in the first batches whatever comes back when, requests hold the same items: only which of them is `k1`
/// is drawn anew.
#[tokio::test]
async fn bundles_that_depend_on_no_answer_hold_the_same_items() {
    for (lane, concurrency) in [(Lane::Sync, 1), (Lane::Batch, 8)] {
        let world = World::new(fast()).await;
        let mut spec = job(&world, 240, lane, concurrency);
        bundled(&mut spec, 7);
        spec.run.canary = false;
        spec.run.batch_items_max = 75; // ten bundles, and five items that are put back
        let [one, two, _] = thrice(&world, &spec).await;
        let found = one.bundles();
        assert_eq!(found, two.bundles(), "{lane}");
        let full = found.iter().filter(|items| items.len() == 7).count();
        assert!(
            (32..=34).contains(&full) && found.iter().map(Vec::len).sum::<usize>() == 240,
            "{lane}: {found:?}"
        );
        let answers = |durable: &Durable| -> Vec<Value> {
            durable.lines().into_values().flatten().map(|line| line["response"].clone()).collect()
        };
        assert_eq!(answers(&one), answers(&two), "{lane}");
    }
}
