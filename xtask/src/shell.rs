//! Running programs in the repository, and saying what was run.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// Where builds and everything that tasks write below the repository go.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Whether this is a build server: lock file as it is, no incremental builds.
pub(crate) fn on_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// `cargo` with arguments separated by spaces, in the repository's root.
pub(crate) fn cargo(args: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Set by `cargo run` for this process only; left in place they would change the fingerprint of some build scripts.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    if on_ci() {
        command.env("CARGO_INCREMENTAL", "0").env("CARGO_TERM_COLOR", "never");
    }
    command.args(args.split_whitespace());
    command
}

/// How the command would be typed.
pub(crate) fn typed(command: &Command) -> String {
    let mut line =
        vec![Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()];
    line.extend(command.get_args().map(|arg| quoted(&arg.to_string_lossy())));
    line.join(" ")
}

/// An argument as a shell reads it back.
pub(crate) fn quoted(arg: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=,@%+".contains(char);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', "'\\''"))
    }
}

/// Runs with this process's output; an error unless it succeeds.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = typed(&command);
    println!("$ {line}");
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("could not start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs and returns standard output; standard error is shown only when it fails.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let line = typed(&command);
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("could not start `{line}`"))?;
    if !done.status.success() {
        bail!("`{line}` failed ({})\n{}", done.status, String::from_utf8_lossy(&done.stderr).trim_end());
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{line}` wrote something that is not UTF-8"))
}

/// Small programs that print pages, and what is sent.
pub(crate) const PRINTERS: &str =
    "--example failures --example faults --example providers --example outgoing";

/// Builds the command line tool (and the printers) in the development profile.
///
/// `--workspace` and an example in the selection give dependencies the same features as a test run has, so that CI compiles
/// them once; `--package bulkrate` alone would compile most of them a second time.
pub(crate) fn bulkrate() -> Result<PathBuf> {
    let mut build = cargo(&format!("build --workspace --bin bulkrate {PRINTERS}"));
    if on_ci() {
        build.arg("--locked");
    }
    run(build)?;
    built("bulkrate")
}

/// What a build of the development profile left, by its path below `target/debug`.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let path = target().join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        bail!("`cargo build` left no `{}`", path.display());
    }
    Ok(path)
}

/// Builds what is lived through by thousands of seeds (`world`) or by hundreds of processes (`kill9`), and returns the path of one of the
/// two.
///
/// Our own crates are optimised, dependencies are those of every other step (`[profile.dev.package."*"]`), as to compile all of them once more
/// takes longer than it saves. Hence the development profile with other settings rather than one of its own, and a selection that asks for
/// the same features (see [`bulkrate`]). The bugs that the world plants are compiled in and asleep, as no flag of the product chooses one.
pub(crate) fn trial(name: &str) -> Result<PathBuf> {
    let mut build = cargo("build --workspace --bin bulkrate-world --bin bulkrate --example failures");
    build.args(["--features", "bulkrate-world/planted-bugs"]);
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2").env("CARGO_PROFILE_DEV_DEBUG", "false");
    build.env("CARGO_INCREMENTAL", "0");
    if on_ci() {
        build.arg("--locked");
    }
    run(build)?;
    // The next step builds the program as it is elsewhere, in the same place.
    let (built, kept) = (built(name)?, target().join("trial"));
    std::fs::create_dir_all(&kept).with_context(|| format!("could not make `{}`", kept.display()))?;
    let path = kept.join(built.file_name().unwrap_or_default());
    std::fs::copy(&built, &path).with_context(|| format!("could not copy `{}`", built.display()))?;
    Ok(path)
}

/// A folder below `target/` that exists and is empty.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let dir = target().join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("could not empty `{}`", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("could not create `{}`", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_they_would_be_typed() {
        let mut command = Command::new("bulkrate");
        command.args(["run", "a.csv", "--user", "Ticket: {{ text }}", "--name", "it's", ""]);
        assert_eq!(typed(&command), "bulkrate run a.csv --user 'Ticket: {{ text }}' --name 'it'\\''s' ''");
    }
}
