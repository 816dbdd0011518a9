//! What is wrong with an account or with an item, the same at every provider: told in its own words, and nothing is lost or paid.

use super::batch_lane::{requests, run};
use super::jobs::nanos;
use super::support::{ASK, Place, Sim, reviews, table};
use super::{azure_blobs, bedrock, gemini, vertex};

/// As many as Bedrock takes in one batch at least, and some.
const ROWS: usize = 120;

/// A provider: its simulator, a place with what it needs, a model, and what `[provider]` says.
pub(super) struct At {
    pub(super) sim: fn(&[&str]) -> Sim,
    pub(super) place: fn(&Sim) -> Place,
    pub(super) model: &'static str,
    own: &'static str,
}

pub(super) const ALL: [At; 11] = [
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
        sim: |flags| like("mistral", flags),
        place: |sim| keyed("MISTRAL", sim),
        model: "mistral/mistral-small-2603",
        own: "",
    },
    At {
        sim: |flags| Sim::of("azure", flags),
        place: azure,
        model: "azure/gpt-4.1-mini",
        own: azure_blobs::DEPLOYMENTS,
    },
    At { sim: azure_blobs::sim, place: azure_blobs::place, model: "azure/gpt-4.1-mini", own: BLOBS },
    At {
        sim: |flags| like("together", flags),
        place: |sim| keyed("TOGETHER", sim),
        model: "together/openai/gpt-oss-120b",
        own: "",
    },
    At { sim: |flags| like("xai", flags), place: |sim| keyed("XAI", sim), model: "xai/grok-4.3", own: "" },
    At {
        sim: |flags| like("fireworks", flags),
        place: |sim| keyed("FIREWORKS", sim),
        model: "fireworks/accounts/fireworks/models/gpt-oss-20b",
        own: "",
    },
];

/// The same story for each of them, at once: most of its time is waited.
pub(super) fn each<T: Sync>(all: &[T], story: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for one in all {
            scope.spawn(|| story(one));
        }
    });
}

/// What a place keeps in `storage.txt` stands for this.
const BLOBS: &str = "storage = CONTAINER";

pub(super) fn like(service: &str, flags: &[&str]) -> Sim {
    Sim::start(&[&["--like", service], flags].concat())
}

pub(super) fn keyed(name: &str, sim: &Sim) -> Place {
    Place::new().set(&format!("{name}_API_KEY"), "sk-x").set(&format!("{name}_BASE_URL"), &sim.base_url)
}

pub(super) fn azure(sim: &Sim) -> Place {
    Place::new().set("AZURE_OPENAI_API_KEY", "sk-x").set("AZURE_OPENAI_ENDPOINT", &sim.base_url)
}

impl At {
    /// Another service that is like OpenAI, of which there is no more to say.
    pub(super) const fn of(sim: fn(&[&str]) -> Sim, place: fn(&Sim) -> Place, model: &'static str) -> Self {
        Self { sim, place, model, own: "" }
    }

    /// A job over `csv`.
    fn job(&self, sim: &Sim, lane: &str, csv: &str) -> Place {
        let place = (self.place)(sim);
        self.put_job(&place, "reviews", lane, csv);
        place
    }

    pub(super) fn put_job(&self, place: &Place, name: &str, lane: &str, csv: &str) {
        let system = "Give the sentiment. Answer with one of: positive, negative, neutral.";
        let request = format!("model = \"{}\"\nsystem = \"{system}\"\nuser = \"{}\"", self.model, ASK[1]);
        let run = format!("lane = \"{lane}\"\nbudget = \"5\"\ncanary = false");
        let own = match self.own {
            BLOBS => format!("storage = \"{}\"\n{}", place.read("storage.txt"), azure_blobs::DEPLOYMENTS),
            own => own.to_owned(),
        };
        let tables = format!("[sink]\npath = \"out.csv\"\n[provider]\n{own}");
        place.put("reviews.csv", csv).put_job(name, &request, &run, &tables);
    }

    /// Where batches go to a deployment of their own, that one is denied as well.
    fn denies(&self, name: &str) -> Sim {
        (self.sim)(&["--denied", name, "--denied", &format!("{name}-batch")])
    }
}

#[test]
fn a_model_that_the_account_may_not_use_stops_the_job_and_nothing_is_lost() {
    // What Mistral says of it is not known.
    let known: Vec<At> = ALL.into_iter().filter(|at| !at.model.starts_with("mistral/")).collect();
    each(&known, |at| {
        let (service, name) = at.model.split_once('/').unwrap();
        for lane in ["sync", "batch"] {
            let sim = at.denies(name);
            let place = at.job(&sim, lane, &reviews(ROWS));
            let said = run(&place);
            let (report, told) = (said.json(), format!("{} {lane}: {said:?}", at.model));
            // Their batches that failed have a text and no code.
            let is_told_apart = lane == "sync" || !["together", "xai", "fireworks"].contains(&service);
            let halted_by = if is_told_apart { "model_unavailable" } else { "refused_by_provider" };
            assert_eq!(report["halted_by"], halted_by, "{told}");
            let reason = report["reason"].as_str().unwrap();
            // Amazon's words and Azure's name none.
            let unnamed = ["access to the model", "API deployment for this resource does not exist"];
            assert!(reason.contains(name) || unnamed.iter().any(|words| reason.contains(words)), "{told}");
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
    });
}

#[test]
fn ids_of_65_characters_come_back_whole_and_go_nowhere() {
    let long = "x".repeat(60);
    each(&ALL, |at| {
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
    });
}

/// In the middle of a poll, and when all of it has been answered and paid: what is at the provider is fetched with the next credentials,
/// or by the next run, and asked for once.
#[test]
fn credentials_that_end_or_lose_a_right_in_the_middle_cost_no_answer() {
    each(&ALL, |at| {
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
                    // Azure says the same of both.
                    "expired-key" => &["expired", "Access denied due to invalid subscription key"],
                    "revoked" => &[
                        "revoked",
                        "not valid",
                        "is invalid",
                        "Access denied due to invalid subscription key",
                    ],
                    _ => &["permission", "does not have storage.objects.get access"],
                };
                let doing: &[&str] = match fault.contains(":poll") {
                    true => &["poll a batch: "],
                    false => &["download ", "read the results of a batch: "],
                };
                assert!(doing.iter().any(|doing| reason.starts_with(doing)), "{told}");
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
    });
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
