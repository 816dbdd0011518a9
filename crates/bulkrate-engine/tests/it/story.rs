//! The story that every fault of the catalogue is told with: one job over sixty rows, one fault, and what must hold whatever
//! happens: every item ends in one outcome and one row, nothing stays reserved, and the ledger is the bill, to the
//! nano-dollar where nothing is in doubt and within the doubt otherwise.

use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::Reader;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_sim::SimConfig;
use serde_json::Value;

use crate::world::{World, fast};

/// A run that is not over by then hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const ROWS: usize = 60;
/// Of sixty rows, so many are asked; the rest share their answers.
pub(crate) const ASKED: u64 = 54;

/// How the books end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Books {
    /// Ledger and bill are equal, nothing is in doubt.
    Exact,
    /// A window was open: settled <= bill <= settled + doubt.
    Doubt,
}

pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) spec: JobSpec,
    told: String,
}

/// What came of it.
pub(crate) struct Told {
    pub(crate) world: World,
    pub(crate) report: Report,
    pub(crate) rows: Vec<Value>,
    pub(crate) bill: Value,
    told: String,
}

impl Story {
    pub(crate) async fn of(lane: Lane, faults: &[&str]) -> Self {
        Self::with(fast(), lane, faults).await
    }

    pub(crate) async fn with(config: SimConfig, lane: Lane, faults: &[&str]) -> Self {
        let config = faults.iter().fold(config, |config, rule| config.with_fault(rule).unwrap());
        let world = World::new(config).await;
        let mut spec = world.spec(&world.reviews(ROWS), lane);
        spec.run.budget = Some(UsdNanos::dollars(5));
        spec.run.max_in_doubt = Some(UsdNanos::dollars(5));
        spec.run.canary = false; // it is a call, and calls have faults of their own
        Self { world, spec, told: format!("{lane} {faults:?}") }
    }

    /// One run, which ends as it ends.
    pub(crate) async fn run(&self) -> Report {
        let run = tokio::time::timeout(PATIENCE, Box::pin(self.world.run(&self.spec))).await;
        let heard = || self.world.ear.heard.lock().unwrap().clone();
        run.unwrap_or_else(|_| panic!("{}: it hangs: {:?}", self.told, heard())).unwrap()
    }

    /// One run to the end of the job, and the proof of it.
    pub(crate) async fn ends(self, books: Books) -> Told {
        let report = Box::pin(self.run()).await;
        self.proved(report, books)
    }

    pub(crate) fn proved(self, report: Report, books: Books) -> Told {
        let Self { world, told, .. } = self;
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!(report.ending, Ending::Finished, "{told}: {report:?} {heard:?}");
        let rows = world.rows();
        assert_eq!((report.ending, report.open), (Ending::Finished, 0), "{told}: {report:?} {heard:?}");
        assert_eq!((report.succeeded + report.failed, rows.len()), (ROWS as u64, ROWS), "{told}: {report:?}");
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(row["id"], format!("r{at}"), "{told}");
            let reason = row["_error"].as_str().is_some_and(|error| !error.is_empty());
            assert!((row["_status"] == "succeeded") != reason, "{told}: one outcome: {row}");
        }
        assert_eq!(report.reserved, UsdNanos::ZERO, "{told}: {report:?} {heard:?}");
        let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
        let total = bill["total_usd_nanos"].as_i64().unwrap();
        let (spent, doubt) = (report.spent.0, report.in_doubt.0);
        match books {
            Books::Exact => assert_eq!((spent, doubt), (total, 0), "{told}: {report:?} {heard:?}"),
            Books::Doubt => {
                assert!(
                    doubt > 0 && (spent..=spent + doubt).contains(&total),
                    "{told}: {spent} <= {total} <= + {doubt}: {report:?} {heard:?}"
                );
            }
        }
        verified(&world, &report, &told);
        Told { world, report, rows, bill, told }
    }
}

/// `bulkrate verify --bill`, as an operator would run it.
fn verified(world: &World, report: &Report, told: &str) {
    let path = world.path("bill.json");
    std::fs::write(&path, world.sim.bill_json()).unwrap();
    let proof =
        Reader::open(&world.path("state")).unwrap().verify(&report.job, std::slice::from_ref(&path)).unwrap();
    assert!(proof.passed(), "{told}: {proof:?}");
}

impl Told {
    pub(crate) fn all_succeeded(self) -> Self {
        assert_eq!(self.report.failed, 0, "{}: {:?} {:?}", self.told, self.report, self.heard_all());
        self
    }

    /// Something that a user was told.
    pub(crate) fn heard(self, part: &str) -> Self {
        assert!(self.world.ear.heard(part), "{}: no `{part}` in {:?}", self.told, self.heard_all());
        self
    }

    /// Nothing was paid a second time: so many requests were carried out.
    pub(crate) fn paid(self, requests: u64) -> Self {
        assert_eq!(self.bill["requests"], requests, "{}: {}", self.told, self.bill);
        self
    }

    /// Items that ended with this class.
    pub(crate) fn died(self, class: &str, items: u64) -> Self {
        let got = self.report.failures.get(class).copied().unwrap_or(0);
        assert_eq!(got, items, "{}: {:?}", self.told, self.report);
        self
    }

    pub(crate) fn heard_all(&self) -> Vec<String> {
        self.world.ear.heard.lock().unwrap().clone()
    }
}
