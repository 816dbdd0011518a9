//! What is the same in the batch lane of every provider, each as a story that its own tests tell.

use serde_json::{Value, json};

use super::jobs::nanos;
use super::support::{ASK, Place, Said, Sim, reviews, waited};

/// Rows of a usual job.
pub(super) const ROWS: usize = 40;

/// The batch lane of one provider: its simulator, a place with what it needs, and a job there.
pub(super) struct Lane {
    /// The create, as the simulator counts it.
    pub(super) create: &'static str,
    /// The same of a look at a batch.
    pub(super) poll: &'static str,
    pub(super) rows: usize,
    /// Of which so many differ.
    pub(super) requests: u64,
    pub(super) sim: fn(&[&str]) -> Sim,
    pub(super) place: fn(&Sim) -> Place,
    /// Puts the job into the place, with these lines in its `[run]`.
    pub(super) job: fn(&Place, &str),
}

/// A job of reviews in the batch lane.
pub(super) fn job_of(model: &str, place: &Place, run: &str, provider: &str) {
    let request = format!("model = \"{model}\"\nsystem = \"{}\"\nuser = \"{}\"", ASK[3], ASK[1]);
    let run = format!("lane = \"batch\"\nbudget = \"5\"\ncanary = false\n{run}");
    let tables = format!("[sink]\npath = \"out.csv\"\n[provider]\n{provider}");
    place.put("reviews.csv", reviews(ROWS)).put_job("reviews", &request, &run, &tables);
}

pub(super) fn run(place: &Place) -> Said {
    place.run("run reviews.toml --yes --json", &[])
}

pub(super) fn requests(sim: &Sim) -> Value {
    sim.get("/sim/requests")["by_path"].clone()
}

/// What was settled, what is in doubt, and what was paid.
pub(super) fn sums(report: &Value, sim: &Sim) -> (i64, i64, i64) {
    (nanos(report, "spent"), nanos(report, "in_doubt"), nanos(&sim.bill(), "total"))
}

/// Every row has an answer, nothing is in doubt, and the ledger is the bill.
pub(super) fn whole(place: &Place, sim: &Sim, said: Said, rows: usize) -> (Value, Value) {
    assert!(!format!("{said:?}").contains("canary-"), "{said:?}");
    let (report, bill) = super::jobs::whole(place, sim, said, rows);
    assert_eq!(nanos(&report, "in_doubt"), 0, "{report}");
    assert!(nanos(&bill, "total") > 0, "{bill}");
    place.proved("reviews", sim);
    (report, bill)
}

impl Lane {
    pub(super) fn sim(&self, faults: &[&str], flags: &[&str]) -> Sim {
        let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
        (self.sim)(&[&faults[..], flags].concat())
    }

    /// A place with the job in it.
    pub(super) fn with_job(&self, sim: &Sim, run: &str) -> Place {
        let place = (self.place)(sim);
        (self.job)(&place, run);
        place
    }

    pub(super) fn whole(&self, place: &Place, sim: &Sim, said: Said) -> (Value, Value) {
        whole(place, sim, said, self.rows)
    }

    /// How often a create was answered with each status; 0 is none at all.
    pub(super) fn creates(&self, sim: &Sim) -> Value {
        requests(sim)[self.create].clone()
    }

    /// All of it ran in batches, for half the price.
    pub(super) fn costs_half(&self, (report, bill): &(Value, Value)) {
        let lanes = (bill["requests_batch"].as_u64(), bill["requests_sync"].as_u64());
        assert_eq!(lanes, (Some(self.requests), Some(0)), "{bill}");
        let saved = report["saved_usd_nanos"]["batch"].as_i64();
        assert_eq!(saved, Some(nanos(report, "spent")), "half of the price: {report}");
    }

    /// `found`: how the batch is called that is found.
    pub(super) fn a_lost_create_is_found_by_its_name(&self, found: &str) {
        for fault in ["create-lost@1", "create-5xx@1", "create-no-id@1"] {
            let sim = self.sim(&[fault, "foreign-batches"], &["--speed", "300"]);
            let place = self.with_job(&sim, "");
            let said = run(&place);
            for words in ["may or may not have been created", &format!("was found as {found}")] {
                assert!(said.stderr.contains(words), "{words}: {said:?}");
            }
            self.whole(&place, &sim, said);
            let creates = self.creates(&sim);
            let all: u64 = creates.as_object().unwrap().values().filter_map(Value::as_u64).sum();
            assert_eq!(all, 1, "{creates}");
        }
    }

    /// Whether it is killed when batches are under way or when one was made.
    pub(super) fn pays_once_when_it_is_killed(&self) {
        let batches = |job: &Value| job["batches"].as_array().cloned().unwrap_or_default();
        let reached: [&dyn Fn(&Value) -> bool; 2] = [&|job| !batches(job).is_empty(), &|job| {
            batches(job).iter().any(|batch| batch["batch"].is_string())
        }];
        for reached in reached {
            let sim = self.sim(&[], &["--speed", "200"]);
            let place = self.with_job(&sim, "batch_items_max = 20");
            place.kill_when(["run", "reviews.toml", "--yes"], reached);
            let (_, bill) = self.whole(&place, &sim, run(&place));
            assert_eq!(
                (&self.creates(&sim)["200"], &bill["requests_batch"]),
                (&json!(2), &json!(self.requests))
            );
        }
    }

    /// Results may not be read at first, in these words.
    pub(super) fn waits_for_the_right_to_read_and_pays_nothing_twice(&self, words: &str) {
        let sim = self.sim(&["forbidden:content@1"], &[]);
        let place = self.with_job(&sim, "");
        let said = run(&place);
        assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
        // The right was given back: the same results are read.
        let (_, bill) = self.whole(&place, &sim, run(&place));
        assert_eq!((&self.creates(&sim)["200"], &bill["requests_batch"]), (&json!(1), &json!(self.requests)));
    }

    pub(super) fn what_never_arrived_is_sent_again_once_its_input_is_gone(&self) {
        // The second one is carried out so late that it finds no input.
        for (fault, first) in [("reset-early:create=1@1", "0"), ("create-late@1", "0")] {
            let sim = self.sim(&[fault], &["--late-secs", "1200"]);
            let place = self.with_job(&sim, "");
            let said = run(&place);
            assert!(said.stderr.contains("proved not to exist"), "{said:?}");
            let (_, bill) = self.whole(&place, &sim, said);
            assert_eq!(self.creates(&sim), json!({first: 1, "200": 1}));
            assert_eq!(bill["requests_batch"], self.requests, "{bill}");
        }
    }

    /// What goes wrong so costs time and no rows.
    pub(super) fn loses_no_row_by(&self, faults: &[&str]) {
        let sim = self.sim(faults, &[]);
        let place = self.with_job(&sim, "");
        let said = run(&place);
        let shown = format!("{faults:?} {said:?}");
        let (report, _) = super::jobs::whole(&place, &sim, said, self.rows);
        assert_eq!(nanos(&report, "in_doubt"), 0, "{shown}");
    }

    /// A batch that is refused as a whole: nothing ran and nothing was paid. Answers what was said.
    pub(super) fn a_refusal_is_not_paid(&self) -> Said {
        let sim = self.sim(&["validation-fails@1"], &[]);
        let place = self.with_job(&sim, "");
        let said = run(&place);
        assert_eq!(said.json()["succeeded"], 0, "{said:?}");
        assert_eq!(nanos(&sim.bill(), "total"), 0, "{said:?}");
        said
    }

    /// The first batch expires when half of it has run. Answers the bill.
    pub(super) fn what_expires_is_asked_again(&self) -> (i64, i64, Value) {
        let sim = self.sim(&["expire@1"], &[]);
        let place = self.with_job(&sim, "");
        let report = run(&place).expect(0).json();
        let (spent, doubt, paid) = sums(&report, &sim);
        let all = report["succeeded"] == self.rows as u64;
        assert!(all && spent <= paid && paid <= spent + doubt, "{report}");
        place.proved("reviews", &sim);
        (spent, doubt, sim.bill())
    }

    /// `upload`: as the simulator counts uploads.
    pub(super) fn an_upload_whose_answer_was_lost_is_not_sent_twice(&self, upload: &str) {
        let sim = self.sim(&["upload-lost@2"], &[]);
        let place = self.with_job(&sim, "");
        self.whole(&place, &sim, run(&place));
        // The beginning, the file, and the question what became of it.
        assert_eq!(requests(&sim)[upload], json!({"0": 1, "200": 2}));
    }

    /// The job stops with these words before a batch is created.
    pub(super) fn stops_unpaid(&self, sim: &Sim, place: &Place, words: &str) {
        let said = run(place);
        assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
        assert_eq!((self.creates(sim), &sim.bill()["requests"]), (Value::Null, &json!(0)));
    }

    pub(super) fn a_line_that_is_missing_stays_in_doubt_beside_the_bill(&self) {
        let sim = self.sim(&["missing-lines=0.2"], &[]);
        let place = self.with_job(&sim, "");
        let report = run(&place).expect(0).json();
        let (spent, doubt, paid) = sums(&report, &sim);
        assert!(spent < paid && paid <= spent + doubt, "{spent} {paid} {doubt}");
        place.proved("reviews", &sim);
    }

    /// A job is cancelled when a few of its requests have run. Answers what was settled, in doubt and paid, and the requests.
    pub(super) fn cancelled_in_the_middle(&self) -> ((i64, i64, i64), Value) {
        let sim = self.sim(&[], &["--speed", "60"]);
        let place = self.with_job(&sim, "");
        let mut child = place.start(["run", "reviews.toml", "--yes"]);
        place.wait_for(&mut child, |job| job["batches"][0]["batch"].is_string());
        let polls = || requests(&sim)[self.poll]["200"].as_u64();
        waited("it is not looked at", || polls() >= Some(10));
        place.run("cancel reviews", &[]).expect(0);
        waited("the run does not end", || child.try_wait().unwrap().is_some());
        let ran = sim.bill()["requests"].as_u64().unwrap();
        assert!((1..self.requests).contains(&ran), "{ran}");
        let status = place.run("status reviews --json", &[]).json()[0].clone();
        place.proved("reviews", &sim);
        (sums(&status, &sim), requests(&sim))
    }
}
