//! Pretends to be `vllm run-batch` 0.33: a command that reads a file and writes a file, without a server.
//!
//! The whole input is looked at before anything runs, and one bad line ends the run. Answers are written in input order, each line flushed as
//! it comes, so that whoever ends the command in the middle finds the lines before.

use crate::api::{Endpoint, Twist, prepare};
use crate::config::{SimConfig, SimError};
use crate::like::Like;
use crate::rng::{hash, mix, push_hex};
use crate::server::State;
use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "vllm";

/// A stand-in for the program `vllm`, for jobs without an accelerator.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Milliseconds that the model takes to load
    #[arg(long, default_value_t = 0)]
    pub load_ms: u64,
    /// Milliseconds between two lines
    #[arg(long, default_value_t = 0)]
    pub line_ms: u64,
    /// Die without a word after so many lines
    #[arg(long, value_name = "N")]
    pub die_after: Option<u64>,
    /// End with exit code 1 after so many lines, as when the engine is dead
    #[arg(long, value_name = "N")]
    pub fail_after: Option<u64>,
    /// End well after so many lines, with lines missing
    #[arg(long, value_name = "N")]
    pub stop_after: Option<u64>,
    /// Write half of the next line before the end that `--die-after` or `--fail-after` brings
    #[arg(long)]
    pub cut: bool,
    /// Refuse every so many lines
    #[arg(long, value_name = "N")]
    pub refuse_every: Option<u64>,
    /// Play the faults above only if this file is not there, and make it
    #[arg(long, value_name = "FILE")]
    pub once: Option<PathBuf>,
    /// Append the id of each line that ran to this file
    #[arg(long, value_name = "FILE")]
    pub tally: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Answer a file of requests
    RunBatch(RunBatch),
}

#[derive(Debug, Clone, ClapArgs)]
pub struct RunBatch {
    #[arg(short = 'i', long, value_name = "FILE")]
    pub input_file: PathBuf,
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output_file: PathBuf,
    #[arg(long)]
    pub model: String,
    /// Names under which the model is served, instead of its own
    #[arg(long, value_name = "NAME")]
    pub served_model_name: Vec<String>,
    /// Flags of the engine, which are passed over
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    pub engine: Vec<String>,
}

/// How a run goes wrong, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Die,
    Fail,
    Stop,
}

struct Sim {
    args: Args,
    state: State,
    like: &'static Like,
    served: Vec<String>,
    faulty: bool,
}

/// What became of one line.
enum Outcome {
    Answered(Value),
    /// Status and what stands in `error`.
    Refused(u16, Value),
}

/// Runs the command; answers its exit code.
pub fn run(args: Args) -> Result<u8, SimError> {
    let Verb::RunBatch(batch) = args.verb.clone();
    match read(&batch.input_file).and_then(|lines| check(lines, &batch)) {
        Ok(()) => {}
        Err(why) => {
            eprintln!("{why}");
            return Ok(1);
        }
    }
    std::thread::sleep(Duration::from_millis(args.load_ms));
    let config = SimConfig { any_model: true, like: Some(NAME.to_owned()), ..SimConfig::default() };
    let state = State::new(config)?;
    let Some(like) = state.like else { return Ok(1) };
    let faulty = args.once.as_deref().is_none_or(|file| File::create_new(file).is_ok());
    let served = match batch.served_model_name.as_slice() {
        [] => vec![batch.model.clone()],
        names => names.to_vec(),
    };
    let sim = Sim { args, state, like, served, faulty };
    sim.answer_all(&batch).or_else(|why| {
        eprintln!("{why}");
        Ok(1)
    })
}

type Lines = std::io::Split<BufReader<File>>;

fn read(path: &Path) -> Result<Lines, String> {
    let file =
        File::open(path).map_err(|error| format!("FileNotFoundError: `{}`: {error}", path.display()))?;
    Ok(BufReader::new(file).split(b'\n'))
}

/// The first bad line ends the run, before the model is loaded.
fn check(lines: Lines, batch: &RunBatch) -> Result<(), String> {
    if batch.input_file == batch.output_file {
        return Err("ValueError: the input and the output are the same file".to_owned());
    }
    for (at, line) in lines.enumerate() {
        let line = line.map_err(|error| error.to_string())?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let bad = |why: &str| format!("ValueError: Invalid request on line {}: {why}", at + 1);
        let line: Value = serde_json::from_slice(&line).map_err(|error| bad(&error.to_string()))?;
        let (url, body) = (line["url"].as_str(), line["body"].as_object());
        let (Some(url), Some(body), Some(_)) = (url, body, line["custom_id"].as_str()) else {
            return Err(bad("`custom_id`, `url` and `body` are needed"));
        };
        // What has an input passes for an embedding until it is asked for.
        let needed = if url == Endpoint::Chat.path() { "messages" } else { "input" };
        if !body.contains_key(needed) {
            return Err(bad(&format!("`body.{needed}` is needed for {url}")));
        }
    }
    Ok(())
}

impl Sim {
    fn answer_all(&self, batch: &RunBatch) -> Result<u8, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut output = File::create(&batch.output_file).map_err(text)?;
        let mut tally =
            self.args.tally.as_ref().map(|file| OpenOptions::new().append(true).create(true).open(file));
        let mut done = 0;
        for line in read(&batch.input_file)? {
            let line = line.map_err(text)?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let asked: Value = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
            let mut answer = self.line(&asked, done).into_bytes();
            answer.push(b'\n');
            if let Some(end) = self.end(done) {
                return self.end_early(end, &mut output, &answer);
            }
            output.write_all(&answer).and_then(|()| output.flush()).map_err(text)?;
            if let Some(Ok(file)) = &mut tally {
                writeln!(file, "{}", asked["custom_id"].as_str().unwrap_or_default()).map_err(text)?;
            }
            done += 1;
            std::thread::sleep(Duration::from_millis(self.args.line_ms));
        }
        Ok(0)
    }

    fn end(&self, done: u64) -> Option<End> {
        let all = [
            (self.args.die_after, End::Die),
            (self.args.fail_after, End::Fail),
            (self.args.stop_after, End::Stop),
        ];
        all.into_iter().find(|(after, _)| self.faulty && *after == Some(done)).map(|(_, end)| end)
    }

    fn end_early(&self, end: End, output: &mut File, next: &[u8]) -> Result<u8, String> {
        if self.args.cut && end != End::Stop {
            output.write_all(&next[..next.len() / 2]).map_err(|error| error.to_string())?;
        }
        match end {
            End::Die => std::process::abort(),
            End::Fail => {
                Err("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.".to_owned())
            }
            End::Stop => Ok(0),
        }
    }

    fn line(&self, asked: &Value, at: u64) -> String {
        let id = asked["custom_id"].as_str().unwrap_or_default();
        let key = mix(hash(id.as_bytes(), 7));
        let refused =
            self.faulty && self.args.refuse_every.is_some_and(|every| (at + 1).is_multiple_of(every.max(1)));
        let outcome = if refused {
            let message = "This model's maximum context length is 8 tokens.";
            Outcome::Refused(400, said(400, message, None))
        } else {
            self.ask(asked, key)
        };
        let (status, body, error) = match outcome {
            Outcome::Answered(body) => (200, body, Value::Null),
            Outcome::Refused(status, error) => (status, Value::Null, error),
        };
        let request_id = format!("vllm-batch-{}", hex(key ^ 5));
        json!({
            "id": format!("vllm-{}", hex(key)),
            "custom_id": id,
            "response": { "status_code": status, "request_id": request_id, "body": body },
            "error": error,
        })
        .to_string()
    }

    fn ask(&self, asked: &Value, key: u64) -> Outcome {
        let url = asked["url"].as_str().unwrap_or_default();
        let endpoint = match Endpoint::from_path(url) {
            Some(endpoint @ (Endpoint::Chat | Endpoint::Embeddings)) => endpoint,
            _ => {
                let message = format!(
                    "URL {url} is not a supported endpoint. Supported endpoints: /v1/chat/completions, /v1/embeddings, /score, /rerank."
                );
                return Outcome::Refused(400, Value::String(message));
            }
        };
        let mut body: Map<String, Value> = asked["body"].as_object().cloned().unwrap_or_default();
        let model = body.entry("model").or_insert_with(|| self.served[0].as_str().into());
        let model = model.as_str().unwrap_or_default().to_owned();
        if !self.served.contains(&model) {
            return Outcome::Refused(
                404,
                said(404, &format!("The model `{model}` does not exist."), Some("model")),
            );
        }
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let written = match endpoint {
            Endpoint::Chat => self.like.chat(&bytes),
            _ => Ok(bytes),
        };
        let now_ms = self.state.clock.now_ms();
        let context = self.state.context(key, now_ms, Twist::None, Duration::ZERO);
        let answered = written.and_then(|bytes| {
            let mut out = Vec::new();
            prepare(&self.state.models, endpoint, None, &bytes, true)?.answer(&context, &mut out)?;
            Ok(out)
        });
        match answered {
            Ok(out) => {
                let body = serde_json::from_slice(&out).unwrap_or_default();
                Outcome::Answered(dressed(body, &hex(key), now_ms / 1_000))
            }
            Err(error) => {
                Outcome::Refused(error.status, said(error.status, &error.message, error.param.as_deref()))
            }
        }
    }
}

fn hex(key: u64) -> String {
    let mut out = Vec::new();
    push_hex(&mut out, key, 16);
    String::from_utf8(out).unwrap_or_default()
}

/// An error as a line has it: one object inside another.
fn said(status: u16, message: &str, param: Option<&str>) -> Value {
    let kind = if status == 404 { "NotFoundError" } else { "BadRequestError" };
    json!({ "error": { "message": message, "type": kind, "param": param, "code": status } })
}

/// An answer in vLLM's shape: every field it has, most of them null.
fn dressed(mut body: Value, id: &str, now_s: u64) -> Value {
    if let Some(choices) = body.get_mut("choices").and_then(Value::as_array_mut) {
        for choice in choices {
            for field in ["stop_reason", "token_ids"] {
                choice[field] = Value::Null;
            }
            for field in ["annotations", "audio", "function_call", "reasoning"] {
                choice["message"][field] = Value::Null;
            }
        }
        for field in ["service_tier", "prompt_logprobs", "kv_transfer_params"] {
            body[field] = Value::Null;
        }
        body.as_object_mut().map(|fields| fields.remove("metadata"));
    } else {
        body["id"] = format!("embd-{id}").into();
        body["created"] = now_s.into();
        body["usage"]["completion_tokens"] = 0.into();
    }
    if let Some(usage) = body.get_mut("usage").and_then(Value::as_object_mut) {
        usage.insert("prompt_tokens_details".to_owned(), Value::Null);
        usage.remove("completion_tokens_details");
    }
    body
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    const CHAT: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"Hi"}],"top_k":3}}"#;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("bulkrate-sim-vllm-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn run(&self, flags: &str, input: &str, more: &str) -> (u8, String) {
            let (i, o) = (self.0.join("in"), self.0.join("out"));
            std::fs::write(&i, input).unwrap();
            std::fs::remove_file(&o).ok();
            let line =
                format!("sim {flags} run-batch -i {} -o {} --model m {more}", i.display(), o.display());
            let args = Cli::try_parse_from(line.split_whitespace()).unwrap().args;
            (run(args).unwrap(), std::fs::read_to_string(o).unwrap_or_default())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn values(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_answered_in_order_in_vllms_shapes() {
        let other = CHAT.replace("\"m\"", "\"other\"");
        let response =
            r#"{"custom_id":"r","method":"POST","url":"/v1/responses","body":{"model":"m","input":"x"}}"#;
        let vector = r#"{"custom_id":"e","method":"POST","url":"/v1/embeddings","body":{"input":"x"}}"#;
        let place = Place::new("order");
        let (code, out) =
            place.run("", &format!("{CHAT}\n\n{other}\n{response}\n{vector}\n"), "--tensor-parallel-size 2");
        let lines = values(&out);
        assert_eq!((code, lines.len()), (0, 4), "{out}");
        assert_eq!(lines[0]["response"]["body"]["choices"][0]["message"]["reasoning"], Value::Null);
        assert!(lines[0]["response"]["body"]["usage"]["prompt_tokens"].as_u64() > Some(0), "{out}");
        assert_eq!(
            (lines[1]["response"]["status_code"].as_u64(), lines[1]["error"]["error"]["code"].as_u64()),
            (Some(404), Some(404))
        );
        assert!(lines[2]["error"].as_str().unwrap().contains("not a supported endpoint"), "{out}");
        let vectors = &lines[3]["response"]["body"];
        assert!(vectors["data"][0]["embedding"].is_array() && vectors["id"].is_string(), "{out}");
        assert_eq!(vectors.get("choices"), None, "{out}");
    }

    #[test]
    fn one_bad_line_ends_the_run_before_any_answer() {
        let place = Place::new("bad");
        for bad in ["{", r#"{"custom_id":"x","url":"/v1/completions","body":{"prompt":"x"}}"#] {
            assert_eq!(place.run("", &format!("{CHAT}\n{bad}\n"), ""), (1, String::new()));
        }
    }

    #[test]
    fn faults_leave_the_lines_before_and_may_strike_once() {
        let place = Place::new("faults");
        let input = format!("{CHAT}\n{CHAT}\n{CHAT}\n");
        let once = place.0.join("once");
        let flags = format!("--fail-after 2 --cut --once {}", once.display());
        let (code, out) = place.run(&flags, &input, "");
        assert_eq!((code, out.matches('\n').count(), out.lines().count()), (1, 2, 3));
        assert_eq!(place.run(&flags, &input, "").1.lines().count(), 3);
        let (code, out) = place.run("--stop-after 1 --refuse-every 1", &input, "");
        assert_eq!((code, values(&out)[0]["error"]["error"]["code"].as_u64()), (0, Some(400)));
    }
}
