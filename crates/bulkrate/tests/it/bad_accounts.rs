//! What is wrong with an account or with an item, the same at every provider: told in its own words, and nothing is lost or paid.

use super::batch_lane::{requests, run};
use super::jobs::nanos;
use super::support::{ASK, Place, Sim, reviews, table};
use super::{bedrock, gemini, vertex};

/// As many as Bedrock takes in one batch at least, and some.
const ROWS: usize = 120;

/// A provider: its simulator, a place with what it needs, a model, and what `[provider]` says.
struct At {
    sim: fn(&[&str]) -> Sim,
    place: fn(&Sim) -> Place,
    model: &'static str,
    own: &'static str,
}

const ALL: [At; 6] = [
    At { sim: Sim::start, place: Place::with, model: "openai/gpt-6-luna", own: "" },
    At {
        sim: |flags| Sim::of("anthropic", flags),
        place: super::anthropic::place,
        model: "anthropic/claude-haiku-5-5",
        own: "",
    },
    At {
        sim: |flags| Sim::of("gemini", flags),
        place: gemini::place,
        model: "gemini/gemini-3.8-flash",
        own: "",
    },
    At { sim: vertex::sim, place: vertex::place, model: vertex::MODEL, own: vertex::BUCKET },
    At {
        sim: |flags| Sim::of("bedrock", flags),
        place: bedrock::place,
        model: "bedrock/us.amazon.nova-lite-v1:0",
        own: "role_arn = \"arn:aws:iam::123456789012:role/batches\"\nstorage = \"s3://bkt/x\"",
    },
    At {
        sim: |flags| Sim::start(&[&["--like", "mistral"], flags].concat()),
        place: |sim| Place::new().set("MISTRAL_API_KEY", "sk-x").set("MISTRAL_BASE_URL", &sim.base_url),
        model: "mistral/mistral-small-2603",
        own: "",
    },
];

impl At {
    /// A job over `csv`.
    fn job(&self, sim: &Sim, lane: &str, csv: &str) -> Place {
        let place = (self.place)(sim);
        let system = "Give the sentiment. Answer with one of: positive, negative, neutral.";
        let request = format!("model = \"{}\"\nsystem = \"{system}\"\nuser = \"{}\"", self.model, ASK[1]);
        let run = format!("lane = \"{lane}\"\nbudget = \"5\"\ncanary = false");
        let tables = format!("[sink]\npath = \"out.csv\"\n[provider]\n{}", self.own);
        place.put("reviews.csv", csv).put_job("reviews", &request, &run, &tables);
        place
    }
}

#[test]
fn a_model_that_the_account_may_not_use_stops_the_job_and_nothing_is_lost() {
    // What Mistral says of it is not known.
    for at in ALL.into_iter().filter(|at| !at.model.starts_with("mistral/")) {
        let (_, name) = at.model.split_once('/').unwrap();
        for lane in ["sync", "batch"] {
            let sim = (at.sim)(&["--denied", name]);
            let place = at.job(&sim, lane, &reviews(ROWS));
            let said = run(&place);
            let (report, told) = (said.json(), format!("{} {lane}: {said:?}", at.model));
            assert_eq!(report["halted_by"], "model_unavailable", "{told}");
            let reason = report["reason"].as_str().unwrap();
            // Amazon's words name no model.
            assert!(reason.contains(name) || reason.contains("access to the model"), "{told}");
            assert_eq!((nanos(&report, "spent"), nanos(&report, "in_doubt")), (0, 0), "{told}");
            assert_eq!((&report["failed"], nanos(&sim.bill(), "total")), (&0.into(), 0), "{told}");
            // One call, or one batch, finds it out.
            let refused: u64 = requests(&sim)
                .as_object()
                .unwrap()
                .values()
                .flat_map(|by_status| ["403", "404"].map(|status| by_status[status].as_u64().unwrap_or(0)))
                .sum();
            assert!(refused <= 2, "{told} {}", requests(&sim));
        }
    }
}

#[test]
fn ids_of_65_characters_come_back_whole_and_go_nowhere() {
    let long = "x".repeat(60);
    for at in ALL {
        let sim = (at.sim)(&[]);
        // `r-100` and 60 more: one more than a provider takes.
        let place = at.job(&sim, "batch", &reviews(ROWS).replace("\nr-", &format!("\n{long}r-")));
        let report = run(&place).expect(0).json();
        assert_eq!(nanos(&report, "spent"), nanos(&sim.bill(), "total"), "{}: {report}", at.model);
        let (header, rows) = table(&place.path("out.csv"));
        let status = header.iter().position(|name| name == "_status").unwrap();
        for (row, cells) in rows.iter().enumerate() {
            assert_eq!((&*cells[0], &*cells[status]), (&*format!("{long}r-{row}"), "succeeded"));
        }
        assert_eq!((rows.len(), rows[100][0].len()), (ROWS, 65));
    }
}

/// In the middle of a poll, and when all of it has been answered and paid: what is at the provider is fetched with the next credentials,
/// or by the next run, and asked for once.
#[test]
fn credentials_that_end_or_lose_a_right_in_the_middle_cost_no_answer() {
    for at in ALL {
        for fault in ["expired-key:poll@2", "revoked:poll@2", "forbidden:content@1", "expired-key:content@1"]
        {
            let sim = (at.sim)(&["--fault", fault, "--speed", "1200"]);
            let place = at.job(&sim, "batch", &reviews(ROWS));
            let mut said = run(&place);
            let told = format!("{} {fault}: {said:?}", at.model);
            // Tokens that are given out are given out anew; keys are the user's.
            if said.code != 0 {
                let report = said.json();
                assert_eq!((&report["halted_by"], &report["failed"]), (&"auth".into(), &0.into()), "{told}");
                let reason = report["reason"].as_str().unwrap();
                let words: &[&str] = match fault.split_once(':').unwrap().0 {
                    "expired-key" => &["expired"],
                    "revoked" => &["revoked", "not valid", "is invalid"],
                    _ => &["permission", "does not have storage.objects.get access"],
                };
                let doing = if fault.contains(":poll") { "poll a batch: " } else { "download " };
                assert!(reason.starts_with(doing), "{told}");
                assert!(words.iter().any(|word| reason.contains(word)), "{words:?} {told}");
                said = run(&place);
            } else {
                assert!(at.model.starts_with("vertex/") && fault != "forbidden:content@1", "{told}");
            }
            let (report, bill) = super::batch_lane::whole(&place, &sim, said, ROWS);
            assert_eq!(
                (nanos(&report, "spent"), &bill["requests"]),
                (nanos(&bill, "total"), &109.into()),
                "{told}"
            );
        }
    }
}

/// Nothing of it is read beyond what a row may have.
#[test]
fn an_item_of_300_megabytes_is_told_by_its_place_and_the_others_are_answered() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    let line = |row: usize, text: &str| {
        format!("{{\"id\": \"r-{row}\", \"product\": \"lamp\", \"text\": \"{text}\"}}\n")
    };
    let mut data = line(0, "good").into_bytes();
    data.extend_from_slice(line(1, &"a".repeat(300_000_000)).as_bytes());
    data.extend_from_slice(line(2, "bad").as_bytes());
    place.put("data.jsonl", data);
    let job = "run data.jsonl --yes --lane sync --out out.csv";
    let said = place.run(job, &ASK);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
    for words in ["data.jsonl", "2", "the row is longer than 33554432 bytes", "--on-bad-line"] {
        assert!(said.stderr.contains(words), "{words}: {said:?}");
    }
    assert_eq!(nanos(&sim.bill(), "total"), 0);
    let report = place.run(&format!("{job} --on-bad-line dead --json"), &ASK).json();
    assert_eq!((&report["succeeded"], &report["failed"]), (&2.into(), &1.into()), "{report}");
    let (header, rows) = table(&place.path("out.csv"));
    let status = header.iter().position(|name| name == "_status").unwrap();
    let found: Vec<&str> = rows.iter().map(|row| row[status].as_str()).collect();
    assert_eq!(found, ["succeeded", "errored", "succeeded"]);
    assert_eq!(nanos(&report, "spent"), nanos(&sim.bill(), "total"));
}
