//! Cascades at their edges: what no other model can be asked, no judge can be shown or no number can be believed of.

use std::io::{BufRead, BufReader, Write as _};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::jobs::nanos;
use super::support::{Place, Sim};

const SOL: &str = "openai/gpt-6.1-sol";
const JUDGE: [&str; 6] =
    ["--model", SOL, "--cascade", "openai/gpt-6-luna", "--accept", "judge:openai/gpt-6-luna"];

/// A provider that answers as it is told, and what it was asked.
struct Scripted {
    url: String,
    sent: Arc<Mutex<Vec<Value>>>,
}

impl Scripted {
    /// `answer`: status and body for the nth call, from 1.
    fn answering(answer: impl Fn(usize, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&sent));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || {
                    let Some(asked) = body_of(&mut BufReader::new(&stream)) else { return };
                    let mut log = log.lock().unwrap();
                    log.push(asked);
                    let (status, reply) = answer(log.len(), &log[log.len() - 1]);
                    drop(log);
                    let reply = reply.to_string();
                    let head = format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n");
                    let length = format!("Content-Length: {}\r\nConnection: close\r\n\r\n", reply.len());
                    let _ = stream.write_all((head + &length + &reply).as_bytes());
                });
            }
        });
        Self { url, sent }
    }

    fn place(&self) -> Place {
        Place::new()
            .set("OPENAI_API_KEY", "sk-x")
            .set("OPENAI_BASE_URL", &self.url)
            .set("VLLM_BASE_URL", &self.url)
    }

    /// The models that were asked, in order.
    fn models(&self) -> Vec<String> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|body| body["model"].as_str().unwrap().to_owned()).collect()
    }
}

/// The body of a call; `None` where there is none.
fn body_of(stream: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(said) = line.strip_prefix("content-length:") {
            length = said.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn said(asked: &Value, message: &Value, finish: &str, prompt_tokens: u64) -> (u16, Value) {
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
    let usage = json!({ "prompt_tokens": prompt_tokens, "completion_tokens": 2 });
    (200, json!({ "id": "c", "model": asked["model"], "choices": [choice], "usage": usage }))
}

fn text(asked: &Value, text: &str) -> (u16, Value) {
    said(asked, &json!({ "role": "assistant", "content": text }), "stop", 40)
}

fn expired() -> (u16, Value) {
    let error = json!({ "code": "expired_api_key", "type": "invalid_request_error", "message": "expired" });
    (401, json!({ "error": error }))
}

fn asks_a_judge(asked: &Value) -> bool {
    asked.to_string().contains("You check the work of another model")
}

/// Unified requests that are no table: `more` goes into each.
fn unified(rows: usize, more: &Value) -> String {
    let line = |row| {
        let mut line = json!({ "custom_id": format!("r-{row}"),
            "messages": [{ "role": "user", "content": format!("Is lamp {row} good?") }] });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string() + "\n"
    };
    (0..rows).map(line).collect()
}

/// Requests of which a judge would not see all.
fn pictures(rows: usize) -> String {
    let line = |row| {
        let data = format!("https://example.org/{row}.png");
        let image = json!({ "type": "image", "source_type": "url", "media_type": "image/png", "data": data });
        let ask = json!({ "type": "text", "text": format!("What is on picture {row}?") });
        let message = json!({ "role": "user", "content": [ask, image] });
        json!({ "custom_id": format!("r-{row}"), "messages": [message] }).to_string() + "\n"
    };
    (0..rows).map(line).collect()
}

/// OpenAI batch lines, whose bodies name these models.
fn raw(models: &[&str]) -> String {
    let line = |(row, model): (usize, &&str)| {
        let message = json!({ "role": "user", "content": format!("Is lamp {row} good?") });
        let body = json!({ "model": model, "messages": [message], "max_completion_tokens": 40 });
        let line = json!({ "custom_id": format!("r-{row}"), "method": "POST",
            "url": "/v1/chat/completions", "body": body });
        line.to_string() + "\n"
    };
    models.iter().enumerate().map(line).collect()
}

#[test]
fn a_raw_line_is_asked_of_the_model_in_its_body_and_of_no_other() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("in.jsonl", raw(&["gpt-6.1-sol", "gpt-6-luna", "gpt-6.1-sol"]));
    for line in ["plan in.jsonl", "run in.jsonl --yes --lane sync --out out.jsonl"] {
        let said = place.run(line, &JUDGE[..4]);
        said.error(2, "option-invalid", &["`--cascade`", "openai batch lines", "unified requests"]);
    }
    assert_eq!(sim.bill()["requests"], 0);
    place.run("run in.jsonl --yes --lane sync --out out.jsonl", &JUDGE[..2]).expect(0);
    // Each was reserved and booked at the price of the model that its body names.
    place.proved("in", &sim);
}

#[test]
fn nobody_stands_in_for_the_model_of_a_raw_line() {
    let provider = Scripted::answering(|call, asked| if call == 1 { expired() } else { text(asked, "yes") });
    let place = provider.place();
    place.put("in.jsonl", raw(&["gpt-6.1-sol"]));
    let line = "run in.jsonl --yes --json --lane sync --out out.jsonl --model openai/gpt-6.1-sol";
    let said = place.run(line, &["--fallback", "openai/gpt-6-luna"]).expect(4);
    assert!(said.stderr.contains("OpenAI batch lines go to the model that they name"), "{}", said.stderr);
    let report = place.run(line, &["--fallback", "openai/gpt-6-luna"]).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), provider.models().len()), (Some(1), 2), "{report}");
    let shown = place.run("show in r-0", &[]).expect(0).json();
    assert_eq!(shown["attempts"][1]["result"]["model"], "gpt-6.1-sol", "{shown}");
}

#[test]
fn a_strong_answer_is_no_verdict_after_a_restart() {
    // The second batch is the strong model's, and is out for six seconds; what came a moment later may have gone in a third.
    let sim = Sim::start(&["--fault", "slow-batch=6@2"]);
    let place = Place::with(&sim);
    place.put("in.jsonl", pictures(30));
    let run =
        "run in.jsonl --yes --json --lane batch --no-canary --poll-min 50ms --poll-max 100ms --out o.jsonl";
    let args: Vec<&str> = run.split_whitespace().chain(JUDGE).collect();
    let strong_is_out = |status: &Value| {
        let batches = status["batches"].as_array().map_or(&[][..], Vec::as_slice);
        batches.get(1).is_some_and(|second| second["state"] == "accepted")
            && batches.iter().all(|batch| ["settled", "accepted"].contains(&batch["state"].as_str().unwrap()))
    };
    place.kill_when(&args, strong_is_out);
    let report = place.run(run, &JUDGE).expect(0).json();
    assert_eq!(report["succeeded"], 30, "{report}");
    let requests = sim.bill()["requests"].as_u64();
    assert_eq!(requests, Some(60), "each model answered each item once");
    assert_eq!(report["cascade"]["accepted"], 0, "nobody judged: {report}");
    let shown = place.run("show in r-0", &[]).expect(0).json();
    let why = &shown["attempts"][0]["result"]["error"]["message"];
    assert!(why.as_str().unwrap().contains("no judge can be asked of it"), "{shown}");
    place.proved("in", &sim);
}

#[test]
fn a_tool_call_is_not_judged_and_goes_up() {
    let provider = Scripted::answering(|_, asked| {
        if asks_a_judge(asked) {
            return text(asked, "yes");
        }
        if asked["model"] == "gpt-6.1-sol" {
            return text(asked, "a good lamp");
        }
        let function = json!({ "name": "look", "arguments": "{}" });
        let call = json!({ "id": "1", "type": "function", "function": function });
        said(asked, &json!({ "role": "assistant", "content": null, "tool_calls": [call] }), "tool_calls", 40)
    });
    let place = provider.place();
    place.put("in.jsonl", unified(1, &json!({})));
    let line = "run in.jsonl --yes --json --lane sync --out out.jsonl";
    let report = place.run(line, &JUDGE).expect(0).json();
    assert_eq!(report["succeeded"], 1, "{report}");
    assert_eq!(provider.models(), ["gpt-6-luna", "gpt-6.1-sol"]);
}

#[test]
fn odd_numbers_of_a_cheap_model_price_nothing_at_the_strong_one() {
    // Both a model with a price, by which the numbers are nonsense, and one that is free, which does not show it.
    for cheap in ["openai/gpt-6-luna", "vllm/small"] {
        let provider = Scripted::answering(|_, asked| {
            said(asked, &json!({ "role": "assistant", "content": "good" }), "stop", 1 << 49)
        });
        let place = provider.place();
        place.put("in.jsonl", unified(12, &json!({})));
        let line = "run in.jsonl --yes --json --lane sync --out out.jsonl --budget 5";
        let report = place.run(line, &["--model", SOL, "--cascade", cheap]).expect(0).json();
        assert_eq!(
            (report["succeeded"].as_u64(), report["cascade"]["accepted"].as_u64()),
            (Some(12), Some(12))
        );
        assert!(nanos(&report, "naive") < 1_000_000_000, "{cheap}: {report}");
        let saved = report["saved_usd_nanos"].as_object().unwrap();
        let levers: i64 = saved.values().map(|usd| usd.as_i64().unwrap()).sum();
        assert_eq!(nanos(&report, "naive") - levers, nanos(&report, "spent"), "{cheap}: {report}");
        place.run("verify in", &[]).expect(0);
    }
}

#[test]
fn a_step_that_was_passed_over_is_not_asked_for_after_a_restart() {
    // OpenAI takes no `top_k`, so the first step is passed over; the key runs out when the strong model is asked.
    let provider = Scripted::answering(|call, asked| if call == 2 { expired() } else { text(asked, "good") });
    let place = provider.place();
    place.put("in.jsonl", unified(1, &json!({ "generation_config": { "top_k": 4, "max_tokens": 40 } })));
    let line = "run in.jsonl --yes --json --lane sync --out out.jsonl";
    let args = ["--model", "vllm/large", "--cascade", "openai/gpt-6-luna,vllm/small", "--accept", "agree"];
    place.run(line, &args).expect(4);
    let report = place.run(line, &args).expect(0).json();
    assert_eq!(provider.models(), ["small", "large", "large"], "no model agrees with itself: {report}");
    assert_eq!(report["cascade"]["accepted"], 0, "{report}");
}

#[test]
fn a_cascade_whose_answers_no_judge_sees_is_off_when_it_loses() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("in.jsonl", pictures(300));
    let line = "run in.jsonl --yes --json --lane sync --concurrency-max 8 --out out.jsonl";
    let report = place.run(line, &JUDGE).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), report["cascade"]["off"].as_bool()), (Some(300), Some(true)));
    place.proved("in", &sim);
}

#[test]
fn a_verdict_that_was_cut_is_not_asked_for_again() {
    let provider = Scripted::answering(|_, asked| match asks_a_judge(asked) {
        true => said(asked, &json!({ "role": "assistant", "content": "y" }), "length", 40),
        false => text(asked, "good"),
    });
    let place = provider.place();
    place.put("in.jsonl", unified(1, &json!({})));
    let line = "run in.jsonl --yes --json --lane sync --out out.jsonl";
    let report = place.run(line, &JUDGE).expect(0).json();
    assert_eq!(provider.models(), ["gpt-6-luna", "gpt-6-luna", "gpt-6.1-sol"], "{report}");
    assert_eq!(report["cascade"]["rejected"]["truncated"], 1, "{report}");
}
