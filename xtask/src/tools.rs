//! Programs that CI needs beside cargo. What is missing is installed below `target/`, so nothing of the user's changes.

use crate::shell::{cargo, on_ci, output, root, run, target};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A `cargo` subcommand: the one on the path, else built once into `target/tools`.
///
/// Built without optimisation: these check a few hundred files and wait for other programs, and cargo-deny is ready in
/// 1.8 CPU minutes that way.
pub(crate) fn cargo_tool(name: &str) -> Result<Command> {
    let tools = target().join("tools");
    let installed = tools.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let found = [PathBuf::from(name), installed.clone()].into_iter().find(|path| answers(path, "--version"));
    let program = match found {
        Some(program) => program,
        None => {
            let mut install = cargo("install --locked --root");
            install.arg(&tools).arg(name);
            let unoptimised = [
                ("OPT_LEVEL", "0"),
                ("LTO", "false"),
                ("DEBUG", "0"),
                ("STRIP", "debuginfo"),
                ("CODEGEN_UNITS", "16"),
            ];
            for (key, value) in unoptimised {
                install.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
            }
            install.env("CARGO_TARGET_DIR", tools.join("build"));
            run(install).with_context(|| format!("`{name}` is missing and could not be installed"))?;
            std::fs::remove_dir_all(tools.join("build")).ok(); // hundreds of megabytes that nothing reads again
            installed
        }
    };
    let mut command = Command::new(program);
    command.current_dir(root());
    if on_ci() {
        command.env("CARGO_INCREMENTAL", "0").env("CARGO_TERM_COLOR", "never");
    }
    Ok(command)
}

/// The Python of a virtual environment with what `tests/python/requirements.txt` lists.
pub(crate) fn python() -> Result<PathBuf> {
    let wanted = root().join("tests/python/requirements.txt");
    let wanted_text =
        std::fs::read_to_string(&wanted).with_context(|| format!("could not read `{}`", wanted.display()))?;
    let venv = target().join("venv");
    let python = if cfg!(windows) { venv.join("Scripts/python.exe") } else { venv.join("bin/python") };
    let stamp = venv.join("requirements.installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted_text) && answers(&python, "--version")
    {
        return Ok(python);
    }
    let system = ["python3", "python"].into_iter().find(|name| answers(Path::new(name), "--version"));
    let system = system.context(
        "Python 3.10 or newer is needed for the tests with OpenAI's SDK; install it and try again",
    )?;
    let mut create = Command::new(system);
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run(create).context("on Debian and Ubuntu `apt install python3-venv` provides what is missing")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&wanted);
    run(install)?;
    std::fs::write(&stamp, wanted_text)?;
    Ok(python)
}

fn answers(program: &Path, flag: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(flag);
    output(command).is_ok()
}
