//! Pages that must exist, and the commands that README promises.

use super::{Findings, SourceFile};

const NEEDED: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/benchmarks.md",
    ".ci/run",
];
/// The README's two commands; the second is what the build server runs.
const DEMO: &str = "cargo xtask demo";
const TEST: &str = "cargo xtask ci";

pub(super) fn check(files: &[SourceFile], found: &mut Findings) {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    for path in NEEDED.into_iter().filter(|path| text(path).is_none_or(|text| text.trim().is_empty())) {
        found.errors.push(format!("{path}: missing or empty"));
    }
    if let Some(readme) = text("README.md") {
        for command in
            [DEMO, TEST].into_iter().filter(|command| !readme.lines().any(|line| line.trim() == *command))
        {
            found.errors.push(format!(
                "README.md: `{command}` must stand on a line of its own: it is one of the two first commands"
            ));
        }
    }
    if text(".ci/run").and_then(|script| script.lines().last()).is_some_and(|line| line.trim() != TEST) {
        found.errors.push(format!(".ci/run: its last line must be the README's test command, `{TEST}`"));
    }
    if text("CHANGELOG.md").is_some_and(|log| !log.contains("## ")) {
        found.errors.push("CHANGELOG.md: no section; begin with `## Unreleased`".to_owned());
    }
    for (page, link) in files.iter().filter(|file| file.path.ends_with(".md")).flat_map(broken_links) {
        found.errors.push(format!("{page}: link to `{link}` leads nowhere"));
    }
}

/// Relative links of a page to files that do not exist.
fn broken_links(file: &SourceFile) -> Vec<(String, String)> {
    let dir = crate::shell::root().join(&file.path);
    let mut broken = Vec::new();
    let mut fenced = false;
    for (at, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            let local = !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:");
            if local && !dir.parent().is_some_and(|dir| dir.join(path).exists()) {
                broken.push((format!("{}:{}", file.path, at + 1), link.to_owned()));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_from_their_page() {
        let text = "[here](Cargo.toml) [web](https://example.com/x) [top](#a) [gone](no-such-page.md)\n```\n[code](nowhere)\n```\n";
        let file = SourceFile { path: "README.md".to_owned(), text: text.to_owned() };
        assert_eq!(broken_links(&file), [("README.md:1".to_owned(), "no-such-page.md".to_owned())]);
    }
}
