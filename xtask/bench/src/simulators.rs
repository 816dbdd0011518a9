//! The row `simulators`: a job through the batch API of each simulator, for what the simulator's own process takes.

use crate::conduct::Setup;
use crate::input;
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

const ALL: [Simulated; 10] = [
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
        env: &[("FIREWORKS_BASE_URL", "{/v1}"), ("FIREWORKS_API_KEY", "sk-bench")],
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
    Ok(lines)
}

impl Simulated {
    fn lines(&self, setup: &Setup, file: &Path, items: u64) -> Result<[Line; 2]> {
        let mut command = Command::new(&setup.bin);
        command.arg("sim").args(self.flags).args(["--port", "0", "--speed", "3600"]);
        let server = Server::start(command)?;
        let output = self.job(setup, file, &server)?.output().context("could not start bulkrate")?;
        if !output.status.success() {
            bail!("the job ended with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        answers(&setup.dir.join("out.csv"), items)?;
        let bill: serde_json::Value = serde_json::from_str(&server.get("/sim/bill")?)?;
        let (spent, billed) = (&report["spent_usd_nanos"], &bill["total_usd_nanos"]);
        if spent != billed || billed.as_i64() <= Some(0) || report["succeeded"] != items {
            bail!("{} rows, ledger {spent} and bill {billed}", report["succeeded"]);
        }
        let (cpu_secs, peak_mb) = server.used()?;
        let note = format!("{items} items; ledger = bill = {billed} nano-dollars");
        let line = |what, value, unit, most| {
            Line::new("simulators", format!("{}: {what}", self.name), value, unit, AtMost(most))
        };
        Ok([
            line("CPU of its process", cpu_secs, "s", 2.0).note(note),
            line("peak memory", peak_mb, "MB", 100.0),
        ])
    }

    /// The job as a file, in a folder with no other settings.
    fn job(&self, setup: &Setup, file: &Path, server: &Server) -> Result<Command> {
        let state = emptied(&setup.dir)?;
        let path = |path: &Path| std::path::absolute(path).map(|path| path.display().to_string());
        let job = format!(
            "name = \"simulators\"\n[source]\npath = {:?}\nid = \"id\"\n[request]\nmodel = {:?}\n\
             system = \"Answer with one of: positive, negative, neutral.\"\nuser = \"Mood of: {{{{ text }}}}\"\n\
             choices = [\"positive\", \"negative\", \"neutral\"]\n[run]\nlane = \"batch\"\nbudget = \"1000\"\n\
             canary = false\npoll_min = \"1s\"\n[sink]\npath = {:?}\n[provider]\n{}\n",
            path(file)?,
            self.model,
            path(&setup.dir.join("out.csv"))?,
            self.own,
        );
        let job_file = setup.dir.join("simulators.toml");
        std::fs::write(&job_file, job)?;
        let mut command = Command::new(&setup.bin);
        command.arg("run").arg(&job_file).args(["--yes", "--quiet", "--json", "--state"]).arg(&state);
        command.env_clear().env("HOME", &setup.dir);
        let with_path = &server.base_url;
        let address = with_path.trim_end_matches("/v1");
        let host = address.trim_start_matches("http://");
        for (name, value) in self.env {
            let value = value.replace("{/v1}", with_path).replace("{host}", host).replace("{}", address);
            command.env(name, value);
        }
        Ok(command)
    }
}
