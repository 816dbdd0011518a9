//! The row `simulators`: a job through the batch API of each simulator, for what the simulator's own process takes.

use crate::conduct::Setup;
use crate::input;
use crate::measure::Used;
use crate::process::Server;
use crate::product::{answers, emptied};
use crate::table::Line;
use crate::table::Target::AtMost;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;

/// One simulator, and how a job reaches it.
struct Simulated {
    name: &'static str,
    /// After `bulkrate sim`.
    flags: &'static [&'static str],
    /// Variables of the job; `{}` is the simulator's address, `{/v1}` that with the path of OpenAI's API.
    env: &'static [(&'static str, &'static str)],
    model: &'static str,
    /// Lines of the job file's `[provider]` or of an account.
    own: &'static str,
}

const ALL: [Simulated; 12] = [
    Simulated {
        name: "openai",
        flags: &["openai"],
        env: &[("OPENAI_BASE_URL", "{/v1}"), ("OPENAI_API_KEY", "sk-bench")],
        model: "openai/gpt-6-luna",
        own: "",
    },
    Simulated {
        name: "azure",
        flags: &["azure"],
        env: &[("AZURE_OPENAI_ENDPOINT", "{}"), ("AZURE_OPENAI_API_KEY", "sk-bench")],
        model: "azure/gpt-4.1-mini",
        own: "deployments = { \"gpt-4.1-mini\" = { model = \"gpt-4.1-mini\", batch = \"gpt-4.1-mini-batch\" } }",
    },
    Simulated {
        name: "azure blobs",
        flags: &["azure", "--bucket", "batches"],
        env: &[
            ("AZURE_OPENAI_ENDPOINT", "{}"),
            ("AZURE_OPENAI_API_KEY", "sk-bench"),
            ("AZURE_STORAGE_SAS_TOKEN", "?sv=2024-11-04&sig=bench"),
        ],
        model: "azure/gpt-4.1-mini",
        own: "storage = \"{}/blobs/batches/bench\"\n\
              deployments = { \"gpt-4.1-mini\" = { model = \"gpt-4.1-mini\", batch = \"gpt-4.1-mini-batch\" } }",
    },
    Simulated {
        name: "anthropic",
        flags: &["anthropic"],
        env: &[("ANTHROPIC_BASE_URL", "{}"), ("ANTHROPIC_API_KEY", "sk-bench")],
        model: "anthropic/claude-haiku-5-5",
        own: "",
    },
    Simulated {
        name: "gemini",
        flags: &["gemini"],
        env: &[("GEMINI_BASE_URL", "{}"), ("GEMINI_API_KEY", "sk-bench")],
        model: "gemini/gemini-3.8-flash",
        own: "",
    },
    Simulated {
        name: "vertex",
        flags: &["vertex"],
        env: &[
            ("VERTEX_BASE_URL", "{}"),
            ("STORAGE_EMULATOR_HOST", "{}"),
            ("GCE_METADATA_HOST", "{host}"),
            ("GOOGLE_CLOUD_PROJECT", "bench"),
            ("GOOGLE_CLOUD_LOCATION", "us-central1"),
        ],
        model: "vertex/gemini-3.8-flash",
        own: "storage = \"gs://bench/batches\"",
    },
    Simulated {
        name: "vertex tables",
        flags: &["vertex", "--dataset", "bench"],
        env: &[
            ("VERTEX_BASE_URL", "{}"),
            ("BIGQUERY_EMULATOR_HOST", "{}"),
            ("GCE_METADATA_HOST", "{host}"),
            ("GOOGLE_CLOUD_PROJECT", "bench"),
            ("GOOGLE_CLOUD_LOCATION", "us-central1"),
        ],
        model: "vertex/gemini-3.8-flash",
        own: "storage = \"bq://bench\"",
    },
    Simulated {
        name: "bedrock",
        flags: &["bedrock"],
        env: &[
            ("BEDROCK_BASE_URL", "{}"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "bench"),
        ],
        model: "bedrock/us.amazon.nova-lite-v1:0",
        own: "role_arn = \"arn:aws:iam::123456789012:role/bench\"\nstorage = \"s3://bench/batches\"",
    },
    Simulated {
        name: "mistral",
        flags: &["openai", "--like", "mistral"],
        env: &[("MISTRAL_BASE_URL", "{/v1}"), ("MISTRAL_API_KEY", "sk-bench")],
        model: "mistral/mistral-small-2603",
        own: "",
    },
    Simulated {
        name: "together",
        flags: &["openai", "--like", "together"],
        env: &[("TOGETHER_BASE_URL", "{/v1}"), ("TOGETHER_API_KEY", "sk-bench")],
        model: "together/openai/gpt-oss-120b",
        own: "",
    },
    Simulated {
        name: "xai",
        flags: &["openai", "--like", "xai"],
        env: &[("XAI_BASE_URL", "{/v1}"), ("XAI_API_KEY", "sk-bench")],
        model: "xai/grok-4.3",
        own: "",
    },
    Simulated {
        name: "fireworks",
        flags: &["openai", "--like", "fireworks"],
        env: &[("FIREWORKS_BASE_URL", "{}/inference/v1"), ("FIREWORKS_API_KEY", "sk-bench")],
        model: "fireworks/accounts/fireworks/models/gpt-oss-20b",
        own: "",
    },
];

pub(crate) fn simulators(setup: &Setup) -> Result<Vec<Line>> {
    let items = setup.items.unwrap_or(50_000);
    let file = input::csv(&setup.dir, items, setup.bytes)?;
    let mut lines = Vec::new();
    for simulated in ALL {
        let one = simulated.lines(setup, &file, items);
        lines.extend(one.with_context(|| format!("the simulator of {}", simulated.name))?);
    }
    lines.extend(program(setup, &file, items).context("the simulator of vLLM")?);
    Ok(lines)
}

impl Simulated {
    fn lines(&self, setup: &Setup, file: &Path, items: u64) -> Result<[Line; 2]> {
        let mut command = Command::new(&setup.bin);
        command.arg("sim").args(self.flags).args(["--port", "0", "--speed", "3600"]);
        let server = Server::start(command)?;
        let with_path = &server.base_url;
        let address = with_path.trim_end_matches("/v1");
        let host = address.trim_start_matches("http://");
        let filled =
            |text: &str| text.replace("{/v1}", with_path).replace("{host}", host).replace("{}", address);
        let mut job = job(setup, file, self.model, &filled(self.own))?;
        for (name, value) in self.env {
            job.env(name, filled(value));
        }
        let spent = done(setup, job, items)?;
        let bill: serde_json::Value = serde_json::from_str(&server.get("/sim/bill")?)?;
        let billed = bill["total_usd_nanos"].as_i64();
        if Some(spent) != billed || spent <= 0 {
            bail!("ledger {spent} and bill {billed:?}");
        }
        Ok(used(self.name, server.used()?, format!("{items} items; ledger = bill = {spent} nano-dollars")))
    }
}

/// A command instead of a server: one run answers all lines, and nobody is paid.
fn program(setup: &Setup, file: &Path, items: u64) -> Result<[Line; 2]> {
    let into = std::path::absolute(setup.dir.join("used-vllm.json"))?;
    let measure = std::env::current_exe()?;
    let [measure, to, bin] = [&measure, &into, &setup.bin].map(|path| path.display().to_string());
    let words = [&*measure, "measure", "--into", &*to, "--", &*bin, "sim", "vllm"];
    let own = format!("vllm_command = {}", serde_json::to_string(&words)?);
    let spent = done(setup, job(setup, file, "vllm-offline/org/model", &own)?, items)?;
    if spent != 0 {
        bail!("ledger {spent}, where nobody is paid");
    }
    let ran: Used = serde_json::from_slice(&std::fs::read(&into)?)?;
    std::fs::remove_file(&into)?;
    #[allow(clippy::cast_precision_loss, reason = "a process's memory is far below 2^53")]
    let peak_mb = ran.peak_bytes as f64 / 1e6;
    Ok(used("vllm", (ran.cpu_secs(), peak_mb), format!("{items} items; ledger = 0")))
}

fn used(name: &str, (cpu_secs, peak_mb): (f64, f64), note: String) -> [Line; 2] {
    let line = |what, value, unit, most| {
        Line::new("simulators", format!("{name}: {what}"), value, unit, AtMost(most))
    };
    [line("CPU of its process", cpu_secs, "s", 2.0).note(note), line("peak memory", peak_mb, "MB", 100.0)]
}

/// Runs the job to its end; all rows must have come. Answers what the ledger says, in nano-dollars.
fn done(setup: &Setup, mut job: Command, items: u64) -> Result<i64> {
    let output = job.output().context("could not start bulkrate")?;
    if !output.status.success() {
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        bail!("the job ended with {}\n{}", output.status, said.concat());
    }
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    answers(&setup.dir.join("out.csv"), items)?;
    if report["succeeded"] != items {
        bail!("{} rows of {items}", report["succeeded"]);
    }
    report["spent_usd_nanos"].as_i64().context("the report has no sum")
}

/// The job as a file, in a folder with no other settings.
fn job(setup: &Setup, file: &Path, model: &str, own: &str) -> Result<Command> {
    let state = emptied(&setup.dir)?;
    let path = |path: &Path| std::path::absolute(path).map(|path| path.display().to_string());
    let job = format!(
        "name = \"simulators\"\n[source]\npath = {:?}\nid = \"id\"\n[request]\nmodel = {model:?}\n\
         system = \"Answer with one of: positive, negative, neutral.\"\nuser = \"Mood of: {{{{ text }}}}\"\n\
         choices = [\"positive\", \"negative\", \"neutral\"]\n[run]\nlane = \"batch\"\nbudget = \"1000\"\n\
         canary = false\npoll_min = \"1s\"\n[sink]\npath = {:?}\n[provider]\n{own}\n",
        path(file)?,
        path(&setup.dir.join("out.csv"))?,
    );
    let job_file = setup.dir.join("simulators.toml");
    std::fs::write(&job_file, job)?;
    let mut command = Command::new(&setup.bin);
    command.arg("run").arg(&job_file).args(["--yes", "--quiet", "--json", "--state"]).arg(&state);
    command.env_clear().env("HOME", &setup.dir);
    Ok(command)
}
