//! Pages of `docs/reference/`, and the fault table, that are printed from the code, so that they cannot differ from it.

use crate::args::Args;
use crate::faults;
use crate::shell::{built, bulkrate, output, root};
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;

const MARK: &str = "<!-- Written by `cargo xtask docs`; do not edit. -->\n\n";

pub(crate) fn run(mut args: Args) -> Result<()> {
    let check = args.flag("--check");
    args.finish()?;
    let bulkrate = bulkrate()?;
    let whole = |text: String| format!("{MARK}{}\n", text.trim());
    let pages = [
        ("docs/reference/failures.md", whole(printed("failures")?)),
        ("docs/reference/providers.md", whole(printed("providers")?)),
        ("docs/reference/cli.md", whole(cli(&bulkrate)?)),
        (faults::PAGE, faults::page()?),
    ];
    let mut stale = Vec::new();
    for (path, text) in pages {
        let file = root().join(path);
        if std::fs::read_to_string(&file).is_ok_and(|old| old.replace("\r\n", "\n") == text) {
            println!("{path}: up to date");
        } else if check {
            stale.push(path);
        } else {
            std::fs::create_dir_all(file.parent().unwrap_or(root()))?;
            std::fs::write(&file, text).with_context(|| format!("could not write `{path}`"))?;
            println!("{path}: written");
        }
    }
    if !stale.is_empty() {
        bail!(
            "{} no longer say what the code does; run `cargo xtask docs` and commit the change",
            stale.join(" and ")
        );
    }
    Ok(())
}

/// A table, printed by an example of the crate that has it (xtask itself depends on none).
fn printed(example: &str) -> Result<String> {
    output(Command::new(built(&format!("examples/{example}"))?))
}

/// Every command and flag, as the binary itself describes them.
fn cli(bulkrate: &Path) -> Result<String> {
    let mut print = Command::new(bulkrate);
    print.arg("help-markdown").env("NO_COLOR", "1").env("COLUMNS", "100");
    output(print).context("the CLI reference is what the hidden command `bulkrate help-markdown` prints")
}
