//! The fault table of `docs/reliability.md`: the simulator's catalogue joined with the tests that are named after its codes.

use crate::shell::{built, output, root};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

pub(crate) const PAGE: &str = "docs/reliability.md";
const START: &str = "<!-- faults: written by `cargo xtask docs`; do not edit -->\n";
const END: &str = "<!-- end of faults -->";

/// The page with its table as it must be; an error if a fault has no test, or a test a code that is none.
pub(crate) fn page() -> Result<String> {
    let catalogue = output(Command::new(built("examples/faults")?))?;
    let mut tests = BTreeMap::new();
    scan(&root().join("crates"), &mut tests)?;
    let table = table(&catalogue, &tests)?;
    let text = std::fs::read_to_string(root().join(PAGE))?.replace("\r\n", "\n");
    let (head, rest) =
        text.split_once(START).with_context(|| format!("`{PAGE}` has no line `{}`", START.trim()))?;
    let (_, tail) = rest.split_once(END).with_context(|| format!("`{PAGE}` has no line `{END}`"))?;
    Ok(format!("{head}{START}{table}{END}{tail}"))
}

/// Tests by code, each as `crate: name`; whether it is ignored.
type Tests = BTreeMap<String, Vec<(String, bool)>>;

fn scan(dir: &Path, tests: &mut Tests) -> Result<()> {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            scan(&path, tests)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("could not read `{}`", path.display()))?;
            find(&text, tests);
        }
    }
    Ok(())
}

/// Functions named `f21_...` below a test attribute.
fn find(text: &str, tests: &mut Tests) {
    let (mut test, mut ignored) = (false, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            test = true;
        } else if line.starts_with("#[ignore") {
            ignored = true;
        } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
            let name = rest.split('(').next().unwrap_or_default();
            if let (true, Some(code)) = (test, code(name)) {
                tests.entry(code).or_default().push((name.to_owned(), ignored));
            }
            (test, ignored) = (false, false);
        }
    }
}

/// `F21` of `f21_create_answer_lost`.
fn code(name: &str) -> Option<String> {
    let (digits, _) = name.strip_prefix('f')?.split_once('_')?;
    (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| format!("F{digits}"))
}

fn table(catalogue: &str, tests: &Tests) -> Result<String> {
    let mut text = "| code | fault | played by | tests |\n| --- | --- | --- | --- |\n".to_owned();
    let (mut wrong, mut known) = (Vec::new(), Vec::new());
    for line in catalogue.lines() {
        let mut parts = line.split('\t');
        let (Some(code), Some(what), Some(played)) = (parts.next(), parts.next(), parts.next()) else {
            bail!("a line of the catalogue has no three parts: {line}");
        };
        known.push(code);
        let named = tests.get(code).map_or(&[][..], Vec::as_slice);
        let applies = !played.starts_with("does not apply");
        if applies && !named.iter().any(|(_, ignored)| !ignored) {
            wrong.push(format!("{code} ({what}) has no test named after it"));
        }
        let named: Vec<String> = named
            .iter()
            .map(|(name, ignored)| format!("`{name}`{}", if *ignored { " (not yet)" } else { "" }))
            .collect();
        writeln!(
            text,
            "| {code} | {what} | {played} | {} |",
            if applies { named.join(", ") } else { "-".to_owned() }
        )?;
    }
    for (code, named) in tests.iter().filter(|(code, _)| !known.contains(&code.as_str())) {
        wrong.push(format!("`{}` is named after {code}, which is no fault of the catalogue", named[0].0));
    }
    if !wrong.is_empty() {
        bail!("the fault table: {}", wrong.join("; "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOGUE: &str = "F01\tone\tsimulator: `a`\nF16\ttwo\tdoes not apply yet: needs x\n";

    fn told(source: &str) -> Result<String> {
        let mut tests = BTreeMap::new();
        find(source, &mut tests);
        table(CATALOGUE, &tests)
    }

    #[test]
    fn every_fault_needs_a_test_and_every_code_a_fault() {
        let good = "#[tokio::test]\nasync fn f01_waits() {}\n#[test]\n#[ignore = \"x\"]\nfn f01_later() {}\nfn f99_helper() {}\n";
        let table = told(good).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            table.contains("| F01 | one | simulator: `a` | `f01_waits`, `f01_later` (not yet) |"),
            "{table}"
        );
        assert!(table.contains("| F16 | two | does not apply yet: needs x | - |"), "{table}");
        for (bad, why) in [
            ("#[test]\nfn other() {}\n", "F01 (one) has no test"),
            ("#[test]\n#[ignore]\nfn f01_later() {}\n", "F01 (one) has no test"),
            ("#[test]\nfn f01_a() {}\n#[test]\nfn f77_b() {}\n", "`f77_b` is named after F77"),
        ] {
            let error = told(bad).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
