//! Given what is durable, in the order in which it became so, the pure rules decide what is recorded.

use std::collections::HashMap;

use bulkrate_core::bundle::Kin;
use bulkrate_core::cascade::{Accept, Opinion, Sureness, judge};
use bulkrate_core::collect::Checked;
use bulkrate_core::lane::Lane;
use bulkrate_core::request::Request;
use bulkrate_core::semantic::{Answers, Chance, Near, Prompt, Rarity, SAMPLE, Similarity, coin};
use bulkrate_sim::SimConfig;
use bulkrate_store::{Fate, Outcome, Via};
use serde_json::Value;

use super::{Durable, ERROR, cascade, job, run_in, semantic};
use crate::world::{World, fast};

/// The semantic cache as the durable lines make it.
struct Replay<'d> {
    durable: &'d Durable,
    answers: Answers,
    /// Which item a kept answer is of, from 1.
    kept: Vec<u64>,
    /// Those that are asked although they might have been served, and have not landed yet.
    chances: HashMap<u32, Chance>,
    /// Decisions that were made again.
    served: usize,
    asked: usize,
}

impl<'d> Replay<'d> {
    fn of(durable: &'d Durable) -> Self {
        let mut rarity = Rarity::default();
        for line in durable.requests.values().take(SAMPLE) {
            let request: Request<'_> = serde_json::from_str(line).unwrap();
            rarity.learn(Kin::in_all_but_text(&request).unwrap().1);
        }
        let answers = Answers::new(ERROR, rarity);
        Self { durable, answers, kept: Vec::new(), chances: HashMap::new(), served: 0, asked: 0 }
    }

    fn prompt(&self, ordinal: u32) -> Prompt {
        let request: Request<'_> = serde_json::from_str(&self.durable.requests[&ordinal]).unwrap();
        let (kin, text) = Kin::in_all_but_text(&request).unwrap();
        self.answers.prompt(kin.mark(), text).unwrap()
    }

    /// What would be decided of an item now, beside what is out.
    fn decide(&mut self, ordinal: u32, out: f64) -> (Option<Near>, f64, bool) {
        let prompt = self.prompt(ordinal);
        let near = self.answers.near(&prompt);
        let tau = near.map_or(1.0, |near| self.answers.tau_beside(near, out));
        (near, tau, coin(&self.durable.job, u64::from(ordinal)) >= tau)
    }

    /// Every decision that was made after so many ends, again. Of several the one beside which less was out came first.
    fn check(&mut self, after: u64) {
        let out = |line: &Value| line["semantic"]["out"].as_f64().unwrap();
        let now = |line: &Value| line["semantic"]["after"].as_u64() == Some(after);
        let mut made: Vec<&(Outcome, Value)> =
            self.durable.outcomes.iter().filter(|(_, line)| now(line)).collect();
        made.sort_by(|(_, one), (_, two)| out(one).total_cmp(&out(two)));
        for (outcome, line) in made {
            let told = &line["semantic"];
            assert!((self.answers.now().out - out(line)).abs() < 1e-9, "{:?} {line}", self.answers.now());
            let (near, tau, serves) = self.decide(outcome.ordinal, out(line));
            assert_eq!(format!("{tau:.3}"), format!("{:.3}", told["tau"].as_f64().unwrap()), "{line}");
            assert_eq!(serves, outcome.via == Via::Semantic, "{line}");
            let near = near.unwrap();
            if serves {
                assert_eq!(told["from"].as_u64(), Some(self.kept[near.entry as usize]), "{line}");
                assert_eq!(told["similarity"].as_f64(), Some(near.similarity.share()), "{line}");
                self.served += 1;
            } else {
                self.chances.insert(outcome.ordinal, self.answers.ask(near, tau));
                self.asked += 1;
            }
        }
    }

    /// What an end that is durable taught, which must be what its line says.
    fn learn(&mut self, outcome: &Outcome, line: &Value) {
        let told = &line["semantic"];
        if outcome.via == Via::Semantic {
            self.answers.ended();
            return;
        }
        assert!(outcome.class.is_none() && outcome.fate == Fate::Final, "all are answered: {line}");
        self.answers.ended();
        let answer = line["response"]["text"].as_str().unwrap();
        let said = Opinion::of(&Checked::Choice(answer), &[]);
        let right =
            self.chances.remove(&outcome.ordinal).map(|chance| self.answers.judge(chance, Some(said)));
        assert_eq!(right, told["right"].as_bool(), "{line}");
        let prompt = self.prompt(outcome.ordinal);
        let lesson = self.answers.learn(&prompt, said, 100);
        let near = lesson.near.map(|(near, same)| (self.kept[near.entry as usize], near.similarity, same));
        let like = told["like"].as_u64().map(|item| {
            let similarity = told["similarity"].as_f64().unwrap() * 1_000.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
            (item, Similarity(similarity.round() as u16), told["same"] == true)
        });
        assert_eq!((near, lesson.kept.is_some()), (like, told["kept"] == true), "{line}");
        if let Some(number) = lesson.kept {
            assert_eq!(number as usize, self.kept.len());
            self.kept.push(u64::from(outcome.ordinal) + 1);
        }
    }

    fn whole(mut self) -> (usize, usize) {
        for (after, (outcome, line)) in (0..).zip(&self.durable.outcomes) {
            self.check(after);
            self.learn(outcome, line);
        }
        (self.served, self.asked)
    }
}

/// In whatever order answers came: each `tau`, who was served and from which, who was asked all the same, and what each answer taught.
#[tokio::test]
async fn each_decision_of_the_semantic_cache_is_made_again_from_its_lines() {
    let slow = SimConfig { latency_ms: 6.0, latency_sigma: 1.0, ..fast() };
    for (lane, concurrency) in [(Lane::Sync, 1), (Lane::Sync, 12), (Lane::Batch, 12)] {
        let world = World::new(slow.clone()).await;
        let mut spec = job(&world, 420, lane, concurrency);
        semantic(&mut spec);
        spec.run.batches_max = 2;
        spec.run.batch_items_max = 90;
        let report = run_in(&world, "state", &spec).await;
        let durable = Durable::of(&world, "state");
        let (served, asked) = Replay::of(&durable).whole();
        let told = durable.outcomes.iter().filter(|(_, line)| line["semantic"]["tau"].is_f64()).count();
        assert_eq!((served as u64, served + asked), (report.similar, told), "{lane} {concurrency}");
        assert!(served > 2 && asked > 2, "{lane} {concurrency}: {served} served, {asked} asked");
    }
}

/// An answer that its line holds, as it was judged.
fn checked<'l>(line: &'l Value, is_json: bool) -> Checked<'l> {
    let response = &line["response"];
    let kept = line["error"]["answer"].as_str().or_else(|| response["text"].as_str());
    match kept {
        // Choices are asked for as JSON, and what was rejected stands there as it came.
        Some(text) if !is_json => {
            let wrapped = text.strip_prefix("{\"answer\":\"").and_then(|rest| rest.strip_suffix("\"}"));
            Checked::Choice(wrapped.unwrap_or(text))
        }
        Some(text) => Checked::Json(text.into()),
        None => Checked::Json(response["parsed"].to_string().into()),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "thousandths")]
fn sureness(line: &Value) -> Option<Sureness> {
    let permille = |name: &str| line["sureness"][name].as_f64().map(|share| (share * 1_000.0).round() as i32);
    Some(Sureness { logprob: permille("logprob")?, margin: permille("margin") })
}

/// What was accepted and what went on, and why, is what the rule says of the lines.
#[tokio::test]
async fn each_answer_of_a_cascade_is_judged_again_from_its_line() {
    let weak = ["gpt-6-luna=0.4", "gpt-6.1-terra=0.4"].map(|rule| rule.parse().unwrap());
    let config = SimConfig { weak: weak.into(), latency_ms: 3.0, latency_sigma: 1.0, ..fast() };
    let cheap = ["openai/gpt-6-luna", "openai/gpt-6.1-terra"];
    for (accept, models, lane) in [
        ("margin>=0.9", &cheap[..1], Lane::Sync),
        ("logprob>=0.8", &cheap[..1], Lane::Batch),
        ("agree", &cheap[..], Lane::Sync),
        ("sure>=0.6", &cheap[..1], Lane::Sync),
    ] {
        let world = World::new(config.clone()).await;
        let mut spec = job(&world, 120, lane, 8);
        cascade(&mut spec, models, accept);
        let is_json = accept.starts_with("sure");
        if is_json {
            spec.request.choices.clear();
            let schema = r#"{"type":"object","properties":{"label":{"type":"string","enum":["card","parcel","account"]},"sure":{"type":"number","minimum":0,"maximum":1}},"required":["label","sure"],"additionalProperties":false}"#;
            spec.request.schema = Some(schema.to_owned());
        }
        run_in(&world, "state", &spec).await;
        let durable = Durable::of(&world, "state");
        let accept: Accept = accept.parse().unwrap();
        let mut earlier: HashMap<u32, Vec<Opinion>> = HashMap::new();
        let (mut accepted, mut gone_on) = (0, 0);
        for (outcome, line) in &durable.outcomes {
            let by = line["model"].as_str().unwrap();
            let of_cheap = models
                .iter()
                .any(|model| model.split_once('/').is_some_and(|(_, name)| by.starts_with(name)));
            if !of_cheap {
                assert_eq!(outcome.fate, Fate::Final, "the strong model has the last word: {line}");
                continue;
            }
            let checked = checked(line, is_json);
            let said = earlier.entry(outcome.ordinal).or_default();
            let verdict = judge(&accept, &checked, sureness(line), said);
            match &verdict {
                Ok(()) => assert_eq!(outcome.fate, Fate::Final, "{line}"),
                Err(why) => {
                    assert_eq!(
                        (outcome.fate, line["error"]["class"].as_str()),
                        (Fate::Escalate, Some("not_accepted")),
                        "{line}"
                    );
                    assert!(
                        line["error"]["message"].as_str().unwrap().contains(why.as_str()),
                        "{why}: {line}"
                    );
                }
            }
            said.push(Opinion::of(&checked, accept.fields()));
            accepted += usize::from(verdict.is_ok());
            gone_on += usize::from(verdict.is_err());
        }
        assert!(accepted > 10 && gone_on > 10, "{accept}: {accepted} accepted, {gone_on} went on");
    }
}
