//! The reference of the command line as Markdown, printed from the definitions themselves.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;

const INTRO: &str = "# Command line

Standard output is data, standard error is talk. `--json` prints exactly one JSON document on standard output. `NO_COLOR` is
honoured. Values are taken from flags, then from the variables named below, then from the job file, then from `bulkrate.toml`
in the working directory. Durations are written `500ms`, `90s`, `6h`, `1d12h`; money is in US dollars.

Exit codes: 0 all well; 1 failures above the threshold, or an error while running; 2 usage; 3 budget refused; 4 credentials;
5 finished, some items failed; 6 something in doubt waits for you; 7 `verify` found something; 130 interrupted.
";

/// Every command that is not hidden, in the order of `bulkrate --help`.
#[must_use]
pub fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut out = String::from(INTRO);
    section(&mut out, &mut root.clone(), "bulkrate", 2);
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        walk(&mut out, command, "bulkrate", 2);
    }
    out
}

fn walk(out: &mut String, command: &Command, above: &str, level: usize) {
    let path = format!("{above} {}", command.get_name());
    section(out, &mut command.clone(), &path, level);
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        walk(out, inner, &path, level + 1);
    }
}

/// Heading and help text; flags that every command takes are told once, at the top.
fn section(out: &mut String, command: &mut Command, path: &str, level: usize) {
    let is_root = path == "bulkrate";
    let hidden = |mut command: Command| {
        for name in ["state", "prices", "json", "events", "quiet", "help"] {
            if command.get_arguments().any(|arg| arg.get_id() == name) {
                command = command.mut_arg(name, |arg| arg.hide(true));
            }
        }
        command
    };
    let mut command = if is_root { command.clone() } else { hidden(command.clone()) };
    command = command.term_width(100).bin_name(path.to_owned()).color(clap::ColorChoice::Never);
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(out, "\n{} `{path}`\n\n```text\n{}\n```\n", "#".repeat(level), help.join("\n").trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_section_and_no_machine_is_named() {
        let text = reference();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(
                text.contains(&format!("\n## `bulkrate {}`\n", command.get_name())),
                "{}",
                command.get_name()
            );
        }
        assert!(!text.contains("help-markdown"));
        assert!(text.contains("--budget-daily <USD>") && text.contains("[env: BULKRATE_BUDGET"));
    }
}
