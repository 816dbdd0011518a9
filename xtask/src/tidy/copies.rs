//! No two providers share copied code: what both need stands once, beside them.
//!
//! Lines are compared without their indent. What all providers must write alike, as they keep to one trait and one set of tables, does not
//! count: imports, signatures, fields (`name: value,`), texts of a list, and lines with hardly a word.

use std::collections::HashMap;

use super::{Findings, SourceFile};

const CRATES: &[&str] = &["crates/bulkrate-provider/src/", "crates/bulkrate-sim/src/"];
/// Folders in which each file or folder is a service, or a wire, of its own.
const OF_SEVERAL: &[&str] = &["openai", "like", "api"];
/// So many lines that count, one after the other, are a copy.
const LINES: usize = 6;
/// A line with fewer letters and digits says nothing.
const LETTERS_MIN: usize = 12;
/// Words before the one that says what a line declares.
const MODIFIERS: &[&str] = &["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
const DECLARED: &[&str] = &["fn", "impl", "struct", "enum", "trait", "use", "mod"];

/// A file's lines that count, with their numbers.
struct Code<'a> {
    path: &'a str,
    unit: String,
    lines: Vec<(usize, &'a str)>,
}

/// Where a run of lines begins: a file, and a line of those that count.
type At = (usize, usize);

pub(super) fn check(files: &[SourceFile], found: &mut Findings) {
    for root in CRATES {
        let code: Vec<Code<'_>> = files.iter().filter_map(|file| Code::read(file, root)).collect();
        for ((one, from), (other, at), len) in runs(&code) {
            let place =
                |file: usize, line: usize| format!("{}:{}", code[file].path, code[file].lines[line].0);
            found.errors.push(format!(
                "{}: {len} lines stand again at {}; write what both need once, beside the two",
                place(one, from),
                place(other, at)
            ));
        }
    }
}

impl<'a> Code<'a> {
    fn read(file: &'a SourceFile, root: &str) -> Option<Self> {
        let below = file.path.strip_prefix(root)?.strip_suffix(".rs")?;
        let parts: Vec<&str> = below.split('/').collect();
        let (folder, rest) = parts.split_first().filter(|(_, rest)| !rest.is_empty())?;
        let depth = 1 + usize::from(OF_SEVERAL.contains(folder) && !rest.is_empty());
        Some(Self { path: &file.path, unit: parts[..depth].join("/"), lines: counted(&file.text) })
    }

    fn text(&self, at: usize) -> Option<&'a str> {
        self.lines.get(at).map(|(_, text)| *text)
    }
}

/// The lines that count.
fn counted(text: &str) -> Vec<(usize, &str)> {
    let (mut lines, mut declares) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let begins = line.split_whitespace().find(|word| !MODIFIERS.contains(word)).unwrap_or_default();
        declares |= DECLARED.contains(&begins) || begins.starts_with("impl<");
        if declares {
            // To its end, on however many lines.
            declares = !line.ends_with(['{', ';', '}']);
        } else if counts(line) {
            lines.push((at + 1, line));
        }
    }
    lines
}

fn counts(line: &str) -> bool {
    let is_remark = line.starts_with("//") || line.starts_with("#[");
    let is_text = line.starts_with('"') && line.ends_with("\",");
    let letters = line.chars().filter(char::is_ascii_alphanumeric).count();
    !is_remark && !is_text && !is_field(line) && letters >= LETTERS_MIN
}

/// `name: value,` or `name: Type,`, whatever is said of it behind.
fn is_field(line: &str) -> bool {
    let line = line.split(" // ").next().unwrap_or(line).trim_end();
    let is_name = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || "_# ()\"".contains(one));
    line.ends_with(',') && line.split_once(": ").is_some_and(|(name, _)| is_name(name))
}

/// Each run that stands in files of two units, once, at its full length.
fn runs(code: &[Code<'_>]) -> Vec<(At, At, usize)> {
    let mut seen: HashMap<Vec<&str>, Vec<At>> = HashMap::new();
    let mut found = Vec::new();
    for (file, one) in code.iter().enumerate() {
        for at in 0..one.lines.len().saturating_sub(LINES - 1) {
            let key: Vec<&str> = one.lines[at..at + LINES].iter().map(|(_, text)| *text).collect();
            let before = seen.entry(key).or_default();
            for &(earlier, from) in before.iter().filter(|(earlier, _)| code[*earlier].unit != one.unit) {
                let other = &code[earlier];
                let goes_on = at > 0 && from > 0 && one.text(at - 1) == other.text(from - 1);
                if !goes_on {
                    let same =
                        |n: &usize| one.text(at + n).is_some_and(|text| other.text(from + n) == Some(text));
                    found.push(((earlier, from), (file, at), (0..).take_while(same).count()));
                }
            }
            before.push((file, at));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(lines: usize) -> String {
        (0..lines).map(|at| format!("    let number_{at} = read_a_number(text, {at})?;\n")).collect()
    }

    fn errors(files: &[(&str, String)]) -> Vec<String> {
        let files: Vec<SourceFile> = files
            .iter()
            .map(|(path, text)| SourceFile { path: (*path).to_owned(), text: text.clone() })
            .collect();
        let mut found = Findings::default();
        check(&files, &mut found);
        found.errors
    }

    #[test]
    fn a_copy_is_found_in_another_providers_folder_and_told_once() {
        let of = |lines: usize| format!("fn a() {{\n{}}}\n", copied(lines));
        let (own, sim) = ("crates/bulkrate-provider/src/", "crates/bulkrate-sim/src/");
        for (one, other, lines, finds) in [
            (format!("{own}gemini/errors.rs"), format!("{own}vertex/wire/read.rs"), LINES, true),
            (format!("{own}gemini/errors.rs"), format!("{own}vertex/wire/read.rs"), LINES + 4, true),
            (format!("{own}gemini/errors.rs"), format!("{own}vertex/wire/read.rs"), LINES - 1, false),
            // Within a provider, and in the middle, other eyes look.
            (format!("{own}gemini/errors.rs"), format!("{own}gemini/wire/read.rs"), LINES, false),
            (format!("{own}gemini/errors.rs"), format!("{own}api.rs"), LINES, false),
            // Services that are files.
            (format!("{sim}like/xai.rs"), format!("{sim}like/together.rs"), LINES, true),
            (format!("{sim}api/messages/read.rs"), format!("{sim}api/generate/read.rs"), LINES, true),
            // The two crates share nothing, and say the same of the same API.
            (format!("{own}gemini/errors.rs"), format!("{sim}vertex/rows.rs"), LINES, false),
        ] {
            let found = errors(&[(&one, of(lines)), (&other, format!("// A remark.\n{}", of(lines)))]);
            assert_eq!(found.len(), usize::from(finds), "{one} {other} {lines}: {found:?}");
            for error in found {
                assert!(
                    error.starts_with(&format!("{one}:2: {lines} lines stand again at {other}:3")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn what_all_must_write_alike_is_no_copy() {
        for line in [
            "use crate::http::free::Client{at};",
            "    fn the_name_of_it_{at}(&self) -> &'static str {",
            "    identifier_{at}: \"some value\",",
            "    \"dependentRequired{at}\",",
            "    // The reason why it is {at} and no other.",
            "    })?; // {at}",
        ] {
            let text: String =
                (0..LINES * 2).map(|at| line.replace("{at}", &at.to_string()) + "\n").collect();
            let both = ["gemini", "vertex"].map(|name| format!("crates/bulkrate-provider/src/{name}/a.rs"));
            let found = errors(&[(&both[0], text.clone()), (&both[1], text)]);
            assert_eq!(found, Vec::<String>::new(), "{line}");
        }
        // A signature over several lines hides itself and not its body.
        let text = format!(
            "pub(crate) async fn read(\n    text_of_a_body: &str,\n) -> Option<u64> {{\n{}",
            copied(LINES)
        );
        let both = ["gemini", "vertex"].map(|name| format!("crates/bulkrate-provider/src/{name}/a.rs"));
        let found = errors(&[(&both[0], text.clone()), (&both[1], text)]);
        assert!(found.len() == 1 && found[0].contains("a.rs:4: 6 lines"), "{found:?}");
    }
}
