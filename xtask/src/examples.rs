//! Runs every job of `examples/` as it stands, in a copy of its folder, against the simulator, and checks what it writes.

use crate::args::{Args, known};
use crate::shell::{self, bulkrate, root, scratch};
use crate::sim::Sim;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn run(args: Args) -> Result<()> {
    let names = args.rest();
    let folders = folders()?;
    let all: Vec<&str> = folders.iter().map(String::as_str).collect();
    let chosen = if names.is_empty() { all.clone() } else { known(&names, &all, "example")? };
    generated()?;
    let bulkrate = bulkrate()?;
    let work = scratch("examples")?;
    let sim = Sim::start(&bulkrate, &["--speed", "3600"])?;
    for name in chosen {
        let folder = work.join(name);
        copy(&root().join("examples").join(name), &folder)?;
        let job = || -> Result<()> {
            let mut job = Command::new(&bulkrate);
            job.current_dir(&folder).args([
                "run",
                "job.toml",
                "--yes",
                "--poll-min",
                "1s",
                "--state",
                "state",
            ]);
            job.env("OPENAI_API_KEY", "sk-sim").env("OPENAI_BASE_URL", &sim.base_url);
            shell::run(job)
        };
        job().with_context(|| format!("example `{name}`"))?;
        check(&folder).with_context(|| format!("example `{name}`"))?;
        // The same job again must resume, find nothing to do and leave the same file.
        job().with_context(|| format!("example `{name}`, run a second time"))?;
        check(&folder).with_context(|| format!("example `{name}`, run a second time"))?;
    }
    Ok(())
}

fn folders() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(root().join("examples")).context("could not read `examples`")?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("job.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The data must be what the generator writes.
fn generated() -> Result<()> {
    let mut check = Command::new("python3");
    check.current_dir(root()).args(["examples/generate.py", "--check"]);
    shell::run(check)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The sink exists, and where it is a text file has a row for each row of the source.
fn check(folder: &Path) -> Result<()> {
    let job = std::fs::read_to_string(folder.join("job.toml"))?;
    let (source, sink) = (path_in(&job, "[source]", folder)?, path_in(&job, "[sink]", folder)?);
    let size =
        std::fs::metadata(&sink).with_context(|| format!("no `{}` was written", sink.display()))?.len();
    let (rows_in, rows_out) = (rows(&source)?, rows(&sink)?);
    println!(
        "  {}: {size} bytes{}",
        sink.display(),
        rows_out.map_or(String::new(), |rows| format!(", {rows} rows"))
    );
    match (rows_in, rows_out) {
        (Some(rows_in), Some(rows_out)) if rows_in != rows_out => {
            bail!("{rows_in} rows went in and {rows_out} came out")
        }
        _ if size == 0 => bail!("the output is empty"),
        _ => Ok(()),
    }
}

/// The `path` of a section of a job file. The examples write one `path` in each of the two sections.
fn path_in(job: &str, section: &str, folder: &Path) -> Result<PathBuf> {
    let lines = job
        .lines()
        .skip_while(|line| !line.trim().starts_with(section))
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let mut values = lines.filter_map(|line| line.split_once('=').filter(|(key, _)| key.trim() == "path"));
    let (_, value) = values.next().with_context(|| format!("job.toml has no path in {section}"))?;
    Ok(folder.join(value.split('#').next().unwrap_or(value).trim().trim_matches('"')))
}

/// `None` for a file that is not text by line.
fn rows(path: &Path) -> Result<Option<usize>> {
    let header = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => 1,
        Some("jsonl") => 0,
        _ => return Ok(None),
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
    Ok(Some(text.lines().count().saturating_sub(header)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_their_section() {
        let job = "name = \"a\"\n[source] # here\npath = \"in.csv\"\nid = \"id\"\n[sink]\npath = \"out.csv\" # there\n";
        assert_eq!(path_in(job, "[source]", Path::new("x")).unwrap(), Path::new("x/in.csv"));
        assert_eq!(path_in(job, "[sink]", Path::new("x")).unwrap(), Path::new("x/out.csv"));
        assert!(path_in(job, "[tags]", Path::new("x")).is_err());
    }
}
