//! A small job made by hand: its rows in a real state directory, its files beside them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bulkrate_core::answer::Finish;
use bulkrate_core::collect::Checked;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::prepare::seal;
use bulkrate_core::usage::Usage;
use bulkrate_io::{OnBadLine, Position, Source, SourceOptions, digest_file};
use bulkrate_store::{
    Fate, ItemChunk, ItemRec, JobRow, JobState, Lease, LedgerEntry, LedgerKind, NewJob, Outcome, Place,
    SqliteStore, Store, Submission, SubmissionState, Tx, Via, View,
};
use tempfile::TempDir;

use crate::lane::brought::Brought;
use crate::paths::JobDir;
use crate::prepare::{Checkpoint, Shape};
use crate::result_line::{Frame, write_bad, write_good};
use crate::spec::{AccountSpec, JobSpec, RequestSpec, RunSpec, SinkSpec, SourceSpec};

pub(crate) const BOUND: UsdNanos = UsdNanos(500);

/// A spec with a path that is filled in later.
pub(crate) fn spec() -> JobSpec {
    JobSpec {
        name: "reviews".to_owned(),
        source: SourceSpec {
            path: None,
            format: None,
            id: None,
            on_bad_line: crate::spec::OnBadLine::Fail,
            limit: None,
        },
        request: RequestSpec { user: Some("{{ text }}".to_owned()), ..RequestSpec::default() },
        tags: BTreeMap::new(),
        run: RunSpec::default(),
        sink: SinkSpec::default(),
        account: AccountSpec::default(),
    }
}

#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) root: TempDir,
    pub(crate) store: SqliteStore,
    pub(crate) no: u32,
    pub(crate) dir: JobDir,
    pub(crate) source: PathBuf,
    items: u32,
    offset: u64,
    requests: Vec<u8>,
    /// Where the sealed line of a leader is in them.
    lines: BTreeMap<u32, std::ops::Range<usize>>,
    /// Result files by segment.
    results: BTreeMap<u32, (PathBuf, Vec<u8>)>,
    at_ms: i64,
    subs: u64,
    /// Items by the leader that they follow.
    followers: BTreeMap<u32, u32>,
}

impl Fixture {
    /// An empty `id`: the one that the spec and the source give.
    pub(crate) fn new(id: &str, mut spec: JobSpec, file: &str, text: &str, shape: Shape) -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join(file);
        fs::write(&source, text).unwrap();
        spec.source.path = Some(source.clone());
        let state = root.path().join("state");
        let mut store = SqliteStore::open(&state, "inst", 1).unwrap();
        let source_digest = digest_file(&source).unwrap();
        let named = crate::engine::intake::identity(&spec, &source_digest).unwrap();
        let id = if id.is_empty() { named.as_str() } else { id };
        let dir = JobDir::of(&state, id);
        fs::create_dir_all(&dir.0).unwrap();
        let no = store
            .create_job(&NewJob {
                id: id.to_owned(),
                name: spec.name.clone(),
                spec: serde_json::to_string(&spec).unwrap(),
                source: file.to_owned(),
                source_digest,
                catalogue_digest: String::new(),
                created_at_ms: 1,
            })
            .unwrap();
        let results = BTreeMap::from([(0, (dir.results(), Vec::new()))]);
        let mut fixture = Self {
            root,
            store,
            no,
            dir,
            source,
            items: 0,
            offset: 0,
            requests: Vec::new(),
            lines: BTreeMap::new(),
            results,
            at_ms: 1_000,
            subs: 0,
            followers: BTreeMap::new(),
        };
        let columns = if shape == Shape::Table { fixture.columns(text) } else { Vec::new() };
        let checkpoint = Checkpoint {
            shape,
            position: Position::default(),
            exhausted: true,
            columns,
            request_bytes: 0,
            results_bytes: 0,
            stamp: None,
            ordered: None,
            stats: Default::default(),
            limited: None,
            refusals: Vec::new(),
            chosen_told: true,
        };
        fixture.commit(|tx| tx.checkpoint = Some(serde_json::to_string(&checkpoint).unwrap()));
        fixture
    }

    /// The header, or all keys in the order of their appearance.
    fn columns(&self, text: &str) -> Vec<String> {
        let options = SourceOptions { on_bad_line: OnBadLine::Skip, ..SourceOptions::new(&self.source) };
        let mut columns = Source::open(&options).unwrap().columns().to_vec();
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let mut scanner = bulkrate_io::JsonScanner::new();
            let Ok(row) = scanner.scan(line) else { continue };
            for (key, _) in row.iter() {
                if !columns.contains(&key.clone().into_owned()) {
                    columns.push(key.into_owned());
                }
            }
        }
        columns
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub(crate) fn job(&self) -> JobRow {
        self.store.job(self.no).unwrap().unwrap()
    }

    pub(crate) fn commit(&mut self, fill: impl FnOnce(&mut Tx)) {
        let mut tx = Tx::new(self.no);
        fill(&mut tx);
        self.store.commit(&[tx]).unwrap();
    }

    fn append(&mut self, item: ItemRec) -> u32 {
        let (first, offset) = (self.items, self.offset);
        self.commit(|tx| tx.items.push(ItemChunk { first, offset, items: vec![item] }));
        self.offset += u64::from(item.len());
        self.items += 1;
        first
    }

    pub(crate) fn leader(&mut self, id: &str, prompt: &str) -> u32 {
        let canonical = format!(r#"{{"messages":[{{"content":"{prompt}","role":"user"}}],"model":"m"}}"#);
        let start = self.requests.len();
        let sealed = seal(
            id,
            b"",
            bulkrate_core::prepare::Wishes::default(),
            None,
            canonical.as_bytes(),
            &mut self.requests,
        );
        self.requests.push(b'\n');
        let len = u32::try_from(self.requests.len() - start).unwrap();
        self.lines.insert(self.items, start..self.requests.len());
        self.append(ItemRec::Leader { key: sealed.key, header_len: sealed.header_len, len, tags: 0 })
    }

    pub(crate) fn follower(&mut self, leader: u32) -> u32 {
        *self.followers.entry(leader).or_default() += 1;
        self.append(ItemRec::Follower { leader })
    }

    pub(crate) fn invalid(&mut self, why: &str) -> u32 {
        let ordinal = self.append(ItemRec::Invalid);
        self.bad(ordinal, 0, Via::Prepare, 0, (FailureClass::InvalidInput, why), Fate::Final, 0);
        ordinal
    }

    fn sub(&mut self) -> Sub {
        self.subs += 1;
        Sub::new(1_700_000_000_000 + self.subs, u128::from(self.subs))
    }

    pub(crate) fn entry(&mut self, kind: LedgerKind, lane: Lane, usd: UsdNanos) -> LedgerEntry {
        self.at_ms += 1;
        LedgerEntry {
            job: self.no,
            at_ms: self.at_ms,
            kind,
            lane: Some(lane),
            provider: "openai".to_owned(),
            model: "openai/m".to_owned(),
            tags: 0,
            lever: None,
            sub: None,
            items: 1,
            usd,
            note: None,
        }
    }

    /// A sync submission that leases items, with its reservation.
    pub(crate) fn call(&mut self, leases: &[(u32, u8)]) {
        let submission = Submission::new(self.sub(), self.no, Lane::Sync, SubmissionState::Call, self.at_ms);
        self.lease(submission, leases);
    }

    /// A settled batch with its input file; its results lie in `segment`.
    pub(crate) fn batch(&mut self, segment: u32, leases: &[(u32, u8)]) -> Sub {
        let sub = self.sub();
        let dir = self.dir.batch(sub);
        fs::create_dir_all(&dir.0).unwrap();
        let sealed: Vec<&[u8]> =
            leases.iter().map(|(ordinal, _)| &self.requests[self.lines[ordinal].clone()]).collect();
        fs::write(dir.unified(), sealed.concat()).unwrap();
        fs::write(dir.input(), format!("{leases:?}\n")).unwrap();
        fs::write(dir.output(), format!("{{\"answers\":{}}}\n", leases.len())).unwrap();
        fs::write(dir.errors(), "{\"errors\":0}\n").unwrap();
        self.results.insert(segment, (dir.results(), Vec::new()));
        let mut submission = Submission {
            segment,
            items: u32::try_from(leases.len()).unwrap(),
            input_digest: Some(digest_file(dir.input()).unwrap()),
            remote_batch: Some("batch-1".to_owned()),
            settled_at_ms: Some(99),
            ..Submission::new(sub, self.no, Lane::Batch, SubmissionState::Settled, self.at_ms)
        };
        Brought::of(&dir).keep(&mut submission);
        self.lease(submission, leases);
        sub
    }

    pub(crate) fn lease(&mut self, submission: Submission, leases: &[(u32, u8)]) {
        let reserve = LedgerEntry {
            items: u32::try_from(leases.len()).unwrap(),
            ..self.entry(LedgerKind::Reserve, submission.lane, BOUND.times(leases.len() as u64))
        };
        let leases = leases
            .iter()
            .map(|(ordinal, attempt)| Lease { ordinal: *ordinal, attempt: *attempt, bound: BOUND })
            .collect();
        self.commit(|tx| {
            tx.submissions.push((submission, Some(leases)));
            tx.ledger.push(reserve);
        });
    }

    pub(crate) fn good(
        &mut self,
        ordinal: u32,
        attempt: u8,
        via: Via,
        segment: u32,
        checked: &Checked<'_>,
        cost: i64,
    ) {
        let cost = UsdNanos(cost);
        let usage = Usage { input: 3, output: 1, ..Usage::default() };
        let (place, out) = self.place(segment);
        write_good(frame(ordinal, attempt, via, cost, Some(&usage)), checked, Finish::Stop, None, out);
        self.land(Outcome { usage, ..outcome(ordinal, attempt, via, None, Fate::Final, cost, place) });
    }

    pub(crate) fn text(&mut self, ordinal: u32, text: &str) {
        self.call(&[(ordinal, 1)]);
        self.good(ordinal, 1, Via::Sync, 0, &Checked::Text(text.into()), 75);
    }

    #[allow(clippy::too_many_arguments, reason = "what a line of a table says")]
    pub(crate) fn bad(
        &mut self,
        ordinal: u32,
        attempt: u8,
        via: Via,
        segment: u32,
        failure: (FailureClass, &str),
        fate: Fate,
        cost: i64,
    ) {
        let (class, message) = failure;
        let cost = UsdNanos(cost);
        let (place, out) = self.place(segment);
        write_bad(frame(ordinal, attempt, via, cost, None), class, message, None, None, out);
        self.land(outcome(ordinal, attempt, via, Some(class), fate, cost, place));
    }

    fn place(&mut self, segment: u32) -> (Place, &mut Vec<u8>) {
        let out = &mut self.results.get_mut(&segment).unwrap().1;
        (Place { segment, offset: out.len() as u64 }, out)
    }

    /// An outcome with what it moves in the ledger.
    pub(crate) fn land(&mut self, outcome: Outcome) {
        let lane = match outcome.via {
            Via::Batch => Lane::Batch,
            Via::Flex => Lane::Flex,
            _ => Lane::Sync,
        };
        let mut entries = Vec::new();
        if outcome.via.is_attempt() {
            entries.push(self.entry(LedgerKind::Release, lane, BOUND));
            if outcome.cost > UsdNanos::ZERO {
                entries.push(LedgerEntry {
                    at_ms: self.at_ms,
                    ..self.entry(LedgerKind::Settle, lane, outcome.cost)
                });
            }
        }
        let followers = self.followers.get(&outcome.ordinal).copied();
        if let Some(items) = followers.filter(|_| outcome.fate == Fate::Final && outcome.class.is_none()) {
            let usd = outcome.naive.times(u64::from(items));
            let lever = Some("dedup".to_owned());
            entries.push(LedgerEntry { lever, items, ..self.entry(LedgerKind::Saving, lane, usd) });
        }
        self.commit(|tx| {
            tx.outcomes.push(outcome);
            tx.ledger = entries;
        });
    }

    /// Writes the files.
    pub(crate) fn save(&self) {
        fs::write(self.dir.requests(), &self.requests).unwrap();
        for (path, bytes) in self.results.values() {
            fs::write(path, bytes).unwrap();
        }
    }

    pub(crate) fn finish(&mut self) {
        self.save();
        self.commit(|tx| tx.job_state = Some(JobState::Done));
    }
}

fn frame(ordinal: u32, attempt: u8, via: Via, cost: UsdNanos, usage: Option<&Usage>) -> Frame<'_> {
    let named = if via == Via::Prepare { "" } else { "m-1" };
    Frame {
        ordinal,
        attempt,
        attempts: u32::from(attempt),
        provider: "openai",
        model: named,
        via: via.name(),
        cost,
        usage,
        sureness: None,
        chances: &[],
        instead: None,
    }
}

pub(crate) fn outcome(
    ordinal: u32,
    attempt: u8,
    via: Via,
    class: Option<FailureClass>,
    fate: Fate,
    cost: UsdNanos,
    place: Place,
) -> Outcome {
    Outcome {
        ordinal,
        attempt,
        via,
        class,
        fate,
        counted: true,
        cost,
        naive: cost,
        prompt_cache: UsdNanos::ZERO,
        usage: Usage::default(),
        estimated: false,
        place,
    }
}
