//! One job over five providers: rules on a column choose the model, each provider has faults of its own, one drops out for good and
//! another in the middle. One result for each item, and the bills of all together are the ledger to the nano-dollar.

use super::bedrock::{ID, SECRET};
use super::jobs::nanos;
use super::support::{ASK, Place, Sim, table};

const ROWS: usize = 10_000;
/// A row in seven says the same as others of its desk.
const SAME_EVERY: usize = 7;

/// The column's value, the simulator and its flags, and the model that a rule gives these rows.
const DESKS: [(&str, &str, &str); 5] = [
    ("web", "openai", "openai/gpt-6-luna"),
    ("shop", "anthropic", "anthropic/claude-haiku-5-5"),
    ("mail", "gemini", "gemini/gemini-3.8-flash"),
    ("phone", "mistral", "mistral/mistral-small-2603"),
    ("post", "bedrock", "bedrock/us.amazon.nova-lite-v1:0"),
];

/// Reviews that came in at five desks by turns.
fn reviews() -> String {
    let said = ["great, I love it", "terrible, I want my money back", "it is a lamp"];
    let mut csv = String::from("id,product,text,desk\n");
    for row in 0..ROWS {
        let (desk, words) = (DESKS[row % DESKS.len()].0, said[row % said.len()]);
        if row % SAME_EVERY == 0 {
            csv.push_str(&format!("r-{row},lamp,\"the same again, word for word\",{desk}\n"));
        } else {
            csv.push_str(&format!("r-{row},lamp {row},\"{words} ({row})\",{desk}\n"));
        }
    }
    csv
}

/// The five, each with these faults.
fn sims(faults: [&[&str]; 5]) -> Vec<Sim> {
    let of = |((_, name, _), faults): (&(&str, &str, &str), &[&str])| {
        let faults = faults.iter().flat_map(|fault| ["--fault", fault]);
        let flags: Vec<&str> = faults.chain(["--slow-ms", "300"]).collect();
        match *name {
            "mistral" => Sim::start(&[&["--like", name], &flags[..]].concat()),
            name => Sim::of(name, &flags),
        }
    };
    DESKS.iter().zip(faults).map(of).collect()
}

/// A machine with a key of each, and the job. `fallback`: in this order.
fn place(sims: &[Sim], lane: &str, fallback: &[&str]) -> Place {
    let mut place = Place::new()
        .set("AWS_ACCESS_KEY_ID", ID)
        .set("AWS_SECRET_ACCESS_KEY", SECRET)
        .set("AWS_REGION", "us-east-1");
    for ((_, name, _), sim) in DESKS.iter().zip(sims) {
        let name = name.to_uppercase();
        place = place.set(&format!("{name}_BASE_URL"), &sim.base_url);
        if name != "BEDROCK" {
            place = place.set(&format!("{name}_API_KEY"), "sk-sim");
        }
    }
    let rules: Vec<String> = DESKS[1..]
        .iter()
        .map(|(desk, _, model)| format!("{{ when = \"desk == '{desk}'\", model = \"{model}\" }}"))
        .collect();
    let system = "Give the sentiment. Answer with one of: positive, negative, neutral.";
    let request = format!(
        "model = \"{}\"\nsystem = \"{system}\"\nuser = \"{}\"\nrules = [{}]\nfallback = {fallback:?}",
        DESKS[0].2,
        ASK[1],
        rules.join(", ")
    );
    let run = format!("lane = \"{lane}\"\nbudget = \"50\"\ncanary = false\nbatch_items_max = 400");
    let tables = "[sink]\npath = \"out.csv\"\n[provider]\nrole_arn = \"arn:aws:iam::123456789012:role/batches\"\nstorage = \"s3://bkt/x\"";
    place.put("reviews.csv", reviews()).put_job("reviews", &request, &run, tables);
    place
}

/// One result for each row, in order; nothing in doubt; the ledger is the sum of the bills, to the nano-dollar. Answers how many
/// requests each of the five was paid for.
#[track_caller]
fn whole(place: &Place, sims: &[Sim]) -> Vec<u64> {
    let said = place.run("run reviews.toml --yes --json", &[]).expect(0);
    let report = said.json();
    let (header, rows) = table(&place.path("out.csv"));
    let column = |name: &str| header.iter().position(|one| one == name).unwrap();
    let (status, answer) = (column("_status"), column("answer"));
    assert_eq!(rows.len(), ROWS);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!((row[0].as_str(), row[status].as_str()), (&*format!("r-{at}"), "succeeded"), "{row:?}");
        assert!(["positive", "negative", "neutral"].contains(&row[answer].as_str()), "{row:?}");
    }
    let mut verify = vec!["verify".to_owned(), "reviews".to_owned()];
    let (mut paid, mut requests) = (0, Vec::new());
    for (at, sim) in sims.iter().enumerate() {
        let bill = sim.bill();
        let file = format!("bill-{at}.json");
        place.put(&file, bill.to_string());
        verify.extend(["--bill".to_owned(), file]);
        paid += nanos(&bill, "total");
        requests.push(bill["requests"].as_u64().unwrap());
    }
    assert_eq!((nanos(&report, "spent"), nanos(&report, "in_doubt")), (paid, 0), "{report}\n{}", said.stderr);
    let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
    let proof = super::support::Said::from(place.command(verify).output().unwrap()).expect(0);
    assert!(proof.stdout.contains("it fits exactly"), "{proof:?}");
    requests
}

/// How often it answered so, whatever it was asked.
fn answered(sim: &Sim, status: &str) -> u64 {
    let by_path = sim.get("/sim/requests")["by_path"].clone();
    by_path.as_object().unwrap().values().filter_map(|counts| counts[status].as_u64()).sum()
}

#[test]
fn ten_thousand_items_over_five_providers_in_batches_with_faults_in_each() {
    let sims = sims([
        // Refused for now, and a batch whose time is over when half of it has run.
        &["429:create@1", "5xx:poll:0.2=503", "expire@2", "duplicate-lines=0.05"],
        // Slow, and out of credit from its fourth batch on, while it stands in for another.
        &["slow:poll:0.2", "insufficient-quota:create@4-9999"],
        &["line-errors:0.05=500", "truncated-body:content@1", "output-late"],
        // Out of credit after its first batch.
        &["insufficient-quota:create@2-9999"],
        &["429:create@1", "line-errors:0.02=500", "status-regression", "unknown-lines=0.02"],
    ]);
    let place = place(&sims, "batch", &[DESKS[1].2, DESKS[2].2]);
    let requests = whole(&place, &sims);
    assert_eq!(requests[3], 400, "the first batch of the one that drops out: {requests:?}");
    assert_eq!(requests[1], 1_200, "three batches of the first that stands in: {requests:?}");
    assert!(requests[2] > 2_000, "the second one has the rest: {requests:?}");
    for (sim, statuses) in [(0, &["429", "503"][..]), (1, &["429"]), (3, &["429"]), (4, &["429"])] {
        for status in statuses {
            assert!(answered(&sims[sim], status) > 0, "{} never said {status}", DESKS[sim].1);
        }
    }
    let batches = sims[0].get("/v1/batches?limit=100")["data"].clone();
    let expired = batches.as_array().unwrap().iter().filter(|batch| batch["status"] == "expired").count();
    assert_eq!(expired, 1, "{batches}");
}

#[test]
fn ten_thousand_items_over_five_providers_in_calls_with_faults_in_each() {
    let sims = sims([
        &["429=0.05", "5xx:0.03=503"],
        // Slow, and out of credit in the middle, while it stands in for another.
        &["slow:sync:0.002", "insufficient-quota:sync@2501-99999"],
        &["5xx:0.05=500", "429=0.05"],
        &["429=0.02", "insufficient-quota:sync@301-99999"],
        &["5xx:0.05=503", "429=0.02"],
    ]);
    let place = place(&sims, "sync", &[DESKS[1].2, DESKS[2].2]);
    let requests = whole(&place, &sims);
    assert!((250..=300).contains(&requests[3]), "until it drops out: {requests:?}");
    assert!((2_400..=2_500).contains(&requests[1]), "its own, and some of the other's: {requests:?}");
    assert!(requests[2] > 2_000, "the second one has the rest: {requests:?}");
    for (sim, statuses) in
        [(0, &["429", "503"][..]), (1, &["429"]), (2, &["429", "500"]), (3, &["429"]), (4, &["503"])]
    {
        for status in statuses {
            assert!(answered(&sims[sim], status) > 0, "{} never said {status}", DESKS[sim].1);
        }
    }
}
