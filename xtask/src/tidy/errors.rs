//! One page per error code, one code per page.
//!
//! The convention: an error type names its codes as string literals in `fn code(&self) -> &'static str` (or a helper
//! `..._code(error)`), or where the error or alert is made (`code: "..."`, `.alert("..."`), and
//! `docs/errors/<code>.md` explains it. The simulator's codes are OpenAI's and have no pages of ours.

use super::{Findings, SourceFile};
use std::collections::BTreeMap;

const PAGES: &str = "docs/errors/";

pub(super) fn check(files: &[SourceFile], found: &mut Findings) {
    let mut codes: BTreeMap<String, String> = BTreeMap::new();
    for file in files.iter().filter(|file| holds_codes(&file.path)) {
        for (line, code) in codes_in(&file.text) {
            codes.entry(code).or_insert_with(|| format!("{}:{line}", file.path));
        }
    }
    let pages: Vec<&SourceFile> = files.iter().filter(|file| page_code(&file.path).is_some()).collect();
    for (code, place) in &codes {
        let page = format!("{PAGES}{code}.md");
        if !pages.iter().any(|file| file.path == page) {
            found.errors.push(format!("{place}: error code `{code}` has no page; write {page}"));
        }
    }
    for page in pages {
        let code = page_code(&page.path).unwrap_or_default();
        if !codes.contains_key(code) {
            found.errors.push(format!(
                "{}: no `fn code(&self)` returns `{code}`; delete the page or mend the code",
                page.path
            ));
        }
        if !page.text.lines().next().is_some_and(|line| line.starts_with("# ") && line.contains(code)) {
            found
                .errors
                .push(format!("{}:1: the first line must be a heading with `{code}` in it", page.path));
        }
    }
}

fn holds_codes(path: &str) -> bool {
    path.starts_with("crates/")
        && path.ends_with(".rs")
        && path.contains("/src/")
        && !path.starts_with("crates/bulkrate-sim/")
}

fn page_code(path: &str) -> Option<&str> {
    let name = path.strip_prefix(PAGES)?.strip_suffix(".md")?;
    (!name.eq_ignore_ascii_case("readme") && !name.contains('/')).then_some(name)
}

/// Line numbers and literals of every `fn code(&self)` that returns a string.
fn codes_in(text: &str) -> Vec<(usize, String)> {
    let mut codes = Vec::new();
    let mut rest_at = 0;
    while let Some(start) = next_function(&text[rest_at..]).map(|at| at + rest_at) {
        let Some(open) = text[start..].find('{').map(|at| at + start) else { break };
        let end = open + block_len(&text[open..]);
        for (at, line) in text[open..end].lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let first_line = text[..open].matches('\n').count() + 1;
            codes.extend(
                code.split('"').skip(1).step_by(2).map(|literal| (first_line + at, literal.to_owned())),
            );
        }
        rest_at = end;
    }
    for lead in INLINE {
        for (at, _) in text.match_indices(lead) {
            let rest = text[at + lead.len()..].trim_start();
            let code = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let kebab =
                code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte.is_ascii_digit());
            if kebab && !code.is_empty() {
                codes.push((text[..at].matches('\n').count() + 1, code.to_owned()));
            }
        }
    }
    codes
}

/// Codes given where an error or an alert is made.
const INLINE: [&str; 2] = ["code: ", ".alert("];

/// The next function whose literals are codes: `code(&self)`, or a helper such as `item_code(error)`.
fn next_function(text: &str) -> Option<usize> {
    let own = text.find("fn code(&self) -> &'static str");
    let helper = text
        .find("_code(error: ")
        .and_then(|at| text[..at].rfind("fn ").filter(|start| !text[*start..at].contains('\n')));
    own.into_iter().chain(helper).min()
}

/// Bytes up to the brace that closes the first one. Codes hold no braces, so strings need no care.
fn block_len(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, char) in text.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "impl E {\n    pub fn code(&self) -> &'static str {\n        match self {\n            Self::A { .. } => \"a-one\",\n            Self::B(inner) => inner.code(), // \"not this\"\n        }\n    }\n    fn other(&self) -> &'static str { \"nor-this\" }\n}\n";

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn codes_are_the_literals_of_code_functions() {
        assert_eq!(codes_in(CODE), [(4, "a-one".to_owned())]);
    }

    #[test]
    fn codes_and_pages_must_match() {
        let code = file("crates/bulkrate-io/src/error.rs", CODE);
        for (path, text, errors) in [
            ("docs/errors/a-one.md", "# `a-one`: it failed\n", 0),
            ("docs/errors/a-one.md", "It failed.\n", 1),
            ("docs/errors/b-two.md", "# `b-two`\n", 2), // no page for one, no code for the other
            ("docs/errors/README.md", "# Errors\n", 1),
        ] {
            let mut found = Findings::default();
            check(&[file(&code.path, &code.text), file(path, text)], &mut found);
            assert_eq!(found.errors.len(), errors, "{path}: {:?}", found.errors);
        }
    }
}
