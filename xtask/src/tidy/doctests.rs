//! No example of a docstring goes unrun: crates that keep none have doctests off in `Cargo.toml`, as looking for them takes rustdoc
//! as long as checking the crate.

use super::{Findings, SourceFile};

const OFF: &str = "doctest = false";

pub(super) fn check(files: &[SourceFile], found: &mut Findings) {
    let off = files.iter().filter_map(|file| Some((file.path.strip_suffix("Cargo.toml")?, &file.text)));
    for (folder, _) in off.filter(|(_, text)| text.lines().any(|line| line.trim() == OFF)) {
        for file in files.iter().filter(|file| file.path.starts_with(&format!("{folder}src/"))) {
            for line in examples(&file.text) {
                found.errors.push(format!(
                    "{}:{line}: an example that is not run; take `{OFF}` out of {folder}Cargo.toml, or name the block's language",
                    file.path
                ));
            }
        }
    }
}

/// Lines at which a block begins that rustdoc would compile.
fn examples(text: &str) -> Vec<usize> {
    let (mut open, mut found) = (false, Vec::new());
    for (at, line) in text.lines().enumerate() {
        let doc = line.trim_start().strip_prefix("///").or_else(|| line.trim_start().strip_prefix("//!"));
        let Some(language) = doc.and_then(|doc| doc.trim_start().strip_prefix("```")) else {
            open &= doc.is_some();
            continue;
        };
        if !open && runs(language) {
            found.push(at + 1);
        }
        open = !open;
    }
    found
}

/// As rustdoc reads it: no word, or only words that it knows of Rust.
fn runs(language: &str) -> bool {
    let rust = ["rust", "no_run", "should_panic", "compile_fail"];
    language
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .all(|word| rust.contains(&word) || word.starts_with("edition"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_found_where_doctests_are_off_and_only_there() {
        let fenced =
            |language: &str| format!("//! A.\n\n/// ```{language}\n/// a();\n/// ```\nfn a() {{}}\n");
        for (manifest, language, errors) in [
            ("[lib]\ndoctest = false\n", "", 1),
            ("[lib]\ndoctest = false\n", "no_run", 1),
            ("[lib]\ndoctest = false\n", "rust,edition2024", 1),
            ("[lib]\ndoctest = false\n", "text", 0),
            ("[lib]\ndoctest = false\n", "json", 0),
            ("[lib]\n", "", 0),
        ] {
            let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
            let files = [
                file("crates/a/Cargo.toml", manifest),
                file("crates/a/src/lib.rs", &fenced(language)),
                file("crates/b/src/lib.rs", &fenced(language)),
            ];
            let mut found = Findings::default();
            check(&files, &mut found);
            assert_eq!(found.errors.len(), errors, "{manifest} {language}: {:?}", found.errors);
        }
    }
}
