//! The README's first command: the main job on the example of the repository, against the bundled simulator.

use crate::args::Args;
use crate::shell::{bulkrate, root, scratch, target, typed};
use crate::sim::Sim;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Virtual seconds per second: a batch of the simulator takes ten virtual minutes, so some six seconds here.
const SPEED: &str = "100";
const ROWS_SHOWN: usize = 8;
const TEXT_SHOWN: usize = 64;
/// Everything but the places: what a user would write for a provider too.
const JOB: [&str; 18] = [
    "--id",
    "id",
    "--system",
    "You sort support tickets of a shop. Answer with one label.",
    "--user",
    "Ticket: {{ text }}",
    "--choices",
    "billing,delivery,technical,account,other",
    "--model",
    "openai/gpt-6-luna",
    "--lane",
    "batch",
    "--budget",
    "1",
    "--poll-min",
    "1s",
    "--yes",
    "--force",
];

pub(crate) fn run(args: Args) -> Result<()> {
    args.finish()?;
    let bulkrate = bulkrate()?;
    scratch("demo")?;
    // Paths as a user in the repository would type them.
    let shown = |path: &Path| path.strip_prefix(root()).unwrap_or(path).to_owned();
    let (state, out) = (shown(&target().join("demo/state")), shown(&target().join("demo/labels.csv")));
    let sim = Sim::start(&bulkrate, &["--speed", SPEED])?;
    println!(
        "\nThe simulator pretends to be OpenAI at {} (time runs {SPEED} times as fast; nothing here costs money).\n",
        sim.base_url
    );
    let started = Instant::now();
    let mut job = Command::new(&bulkrate);
    job.args(["run", "examples/tickets/tickets.csv"]).args(JOB);
    job.args(["--base-url", &sim.base_url]).arg("--out").arg(&out).arg("--state").arg(&state);
    job.current_dir(root())
        .env("OPENAI_API_KEY", "sk-sim")
        .env_remove("OPENAI_BASE_URL")
        .stdin(Stdio::null());
    println!("$ {}\n", typed(&job));
    let status = job.status().context("could not start bulkrate")?;
    if !status.success() {
        bail!("the job ended with {status}");
    }
    println!("\nDone in {:.1} s. First rows of {}:\n", started.elapsed().as_secs_f64(), out.display());
    show(&root().join(&out))?;
    println!(
        "\nNext: the same command with your own file, your own `OPENAI_API_KEY` and without `--base-url`."
    );
    println!(
        "`cargo run -p bulkrate -- cost --by lane --state {}` shows where the money would have gone.",
        state.display()
    );
    Ok(())
}

/// Some rows of the output, and how many answers equal the label that people gave.
fn show(path: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
    let mut rows = text.lines().map(fields);
    let header = rows.next().context("the output is empty")?;
    let column = |name: &str| {
        header
            .iter()
            .position(|one| one == name)
            .with_context(|| format!("the output has no column `{name}`"))
    };
    let (id, said, label, answer) = (column("id")?, column("text")?, column("label")?, column("answer")?);
    let (mut total, mut agreed) = (0_u32, 0_u32);
    for (at, row) in rows.enumerate() {
        let cell = |column: usize| row.get(column).map_or("", String::as_str);
        total += 1;
        agreed += u32::from(cell(label) == cell(answer));
        if at < ROWS_SHOWN {
            println!("  {:<6} {:<10} {}", cell(id), cell(answer), shortened(cell(said)));
        }
    }
    let input = std::fs::read_to_string(root().join("examples/tickets/tickets.csv"))?
        .lines()
        .count()
        .saturating_sub(1);
    if usize::try_from(total)? != input {
        bail!("{input} tickets went in and {total} rows came out");
    }
    println!(
        "\n{total} tickets in, {total} rows out. {agreed} answers equal the label given by people (the simulator goes by keywords)."
    );
    Ok(())
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= TEXT_SHOWN {
        text.to_owned()
    } else {
        format!("{}...", text.chars().take(TEXT_SHOWN - 3).collect::<String>())
    }
}

/// The cells of one CSV row without line breaks in it, which the examples do not have.
fn fields(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(char),
        }
    }
    cells.push(cell);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_cells_keep_their_commas() {
        assert_eq!(fields(r#"1,"a, ""b""",,c"#), ["1", "a, \"b\"", "", "c"]);
    }
}
