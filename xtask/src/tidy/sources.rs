//! Rules on single files: size, header, leftovers, paths of one machine, licence words.

use super::{Findings, SourceFile};

const LINES_WARN: usize = 500;
const LINES_MAX: usize = 800;

/// Macros that promise work instead of doing it. Written in two halves so that this file does not find itself.
const LEFTOVERS: [&str; 3] = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!(")];
/// Beginnings of absolute paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
const TEMP_PATH: &str = concat!("/t", "mp/");
const FOREIGN_LICENCES: [&str; 4] = [
    concat!("GNU ", "General Public"),
    concat!("GNU ", "Affero"),
    concat!("All rights ", "reserved"),
    concat!("Mozilla ", "Public License"),
];
const SPDX: &str = concat!("SPDX-License-", "Identifier:");

pub(super) fn check(files: &[SourceFile], found: &mut Findings) {
    for file in files {
        if file.path.ends_with(".rs") {
            rust(file, found);
        }
        if is_ours(&file.path) {
            places(file, found);
        }
    }
}

/// Text that people write here; data and lock files are not.
fn is_ours(path: &str) -> bool {
    let endings = [".rs", ".toml", ".md", ".py", ".sh", ".yml", ".yaml", ".json", ".ci/run"];
    endings.iter().any(|ending| path.ends_with(ending)) && !path.contains("/fixtures/")
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "benches" || part == "tests.rs")
}

/// Lines before the test module; zero for files that hold tests only.
fn production_lines(file: &SourceFile) -> usize {
    if is_test(&file.path) {
        return 0;
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|two| two[0].trim() == "#[cfg(test)]" && two[1].trim_start().starts_with("mod "));
    tests.unwrap_or(lines.len())
}

fn rust(file: &SourceFile, found: &mut Findings) {
    let path = &file.path;
    match production_lines(file) {
        lines if lines > LINES_MAX => {
            found.errors.push(format!(
                "{path}: {lines} lines of production code, at most {LINES_MAX}: split it at its second idea"
            ));
        }
        lines if lines > LINES_WARN => {
            found.warnings.push(format!(
                "{path}: {lines} lines of production code; above {LINES_WARN} look for the second idea"
            ));
        }
        _ => {}
    }
    let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    let unit_tests = path.ends_with("/tests.rs"); // the module above them says what they are for
    if !unit_tests && !first.is_some_and(|line| line.starts_with("//!")) {
        found.errors.push(format!("{path}:1: no `//!` header; say in one line what the file is for"));
    }
    for (at, line) in file.text.lines().enumerate() {
        let code = line.trim_start();
        if let Some(leftover) =
            LEFTOVERS.iter().find(|word| !code.starts_with("//") && contains_word(code, word))
        {
            found.errors.push(format!("{path}:{}: `{leftover}...)` is unfinished work", at + 1));
        }
    }
}

fn places(file: &SourceFile, found: &mut Findings) {
    let (path, prose) = (&file.path, file.path.ends_with(".md"));
    for (at, line) in file.text.lines().enumerate() {
        let place = format!("{path}:{}", at + 1);
        let machine = MACHINE_PATHS.iter().find(|start| absolute(line, start));
        let temp = Some(&TEMP_PATH).filter(|start| !prose && !is_test(path) && absolute(line, start));
        if let Some(start) = machine.or(temp) {
            found.errors.push(format!("{place}: `{start}` is a path of one machine; take it from the environment or make it relative"));
        }
        if let Some(words) = FOREIGN_LICENCES.iter().find(|words| line.contains(*words)) {
            found.errors.push(format!("{place}: `{words}`: everything here is MIT OR Apache-2.0"));
        }
        if line.split_once(SPDX).is_some_and(|(_, rest)| !rest.trim().starts_with("MIT OR Apache-2.0")) {
            found.errors.push(format!("{place}: a licence header other than MIT OR Apache-2.0"));
        }
    }
}

/// `start` begins a path here: what stands before it is no part of a longer path or an address.
fn absolute(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|char| !(char.is_alphanumeric() || "._-~/}$".contains(char)))
    })
}

fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|char| !(char.is_alphanumeric() || char == '_' || char == '"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Findings {
        let mut found = Findings::default();
        check(&[SourceFile { path: path.to_owned(), text: text.to_owned() }], &mut found);
        found
    }

    #[test]
    fn each_rule_finds_its_fault_and_nothing_else() {
        let header = "//! Does a thing.\n";
        let long = format!("{header}{}", "fn a() {}\n".repeat(LINES_MAX));
        let tested = format!("{header}#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(LINES_MAX));
        let unfinished = format!("{header}fn a() {{ {}) }}\n", LEFTOVERS[0]);
        let spoken = format!("{header}// never {})\n", LEFTOVERS[0]);
        let machine = format!("{header}const A: &str = \"{}x\";\n", MACHINE_PATHS[1]);
        let below = format!("{header}const A: &str = \"target{}x\";\n", MACHINE_PATHS[1]);
        let temp = format!("{header}const A: &str = \"{TEMP_PATH}x\";\n");
        for (path, text, errors) in [
            ("a.rs", header, 0),
            ("a.rs", "fn a() {}\n", 1),
            ("a.rs", "#![cfg(unix)]\n//! Does a thing.\n", 0),
            ("a.rs", &long, 1),
            ("tests/a.rs", &long, 0),
            ("a.rs", &tested, 0),
            ("a.rs", &unfinished, 1),
            ("a.rs", &spoken, 0),
            ("a.rs", &machine, 1),
            ("a.rs", &below, 0),
            ("a.rs", &temp, 1),
            ("tests/a.rs", &temp, 0),
            ("a.md", &temp, 0),
            ("a.rs", "//! x\n// SPDX-License-\u{49}dentifier: MPL-2.0\n", 1),
        ] {
            assert_eq!(findings(path, text).errors.len(), errors, "{path}: {}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn long_files_warn_before_they_fail() {
        let text = format!("//! Does a thing.\n{}", "fn a() {}\n".repeat(LINES_WARN));
        let found = findings("a.rs", &text);
        assert_eq!((found.warnings.len(), found.errors.len()), (1, 0));
    }
}
