//! Input files: items with distinct texts of a given size, written once and kept.

use crate::dice::Dice;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

const WORDS: [&str; 48] = [
    "order",
    "the",
    "a",
    "of",
    "kettle",
    "arrived",
    "late",
    "and",
    "with",
    "box",
    "open",
    "please",
    "send",
    "new",
    "one",
    "before",
    "monday",
    "because",
    "we",
    "need",
    "it",
    "for",
    "school",
    "kitchen",
    "price",
    "was",
    "lower",
    "last",
    "week",
    "account",
    "still",
    "shows",
    "old",
    "address",
    "my",
    "colleague",
    "asked",
    "twice",
    "about",
    "invoice",
    "number",
    "which",
    "does",
    "not",
    "match",
    "app",
    "works",
    "again",
];

/// One item's text of about `bytes` bytes. It begins with its number, so no two are equal.
pub(crate) fn text(dice: &mut Dice, at: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    write!(text, "case {at}:").ok();
    while text.len() < bytes {
        let draw = dice.next();
        for shift in [0, 12, 24, 36] {
            text.push(' ');
            text.push_str(WORDS[usize::try_from((draw >> shift) & 0xfff).unwrap_or(0) % WORDS.len()]);
        }
    }
    text
}

/// `id,text` with `items` rows, in `dir`. An existing file of the same name was written by the same code and is reused.
pub(crate) fn csv(dir: &Path, items: u64, bytes: usize) -> Result<PathBuf> {
    let path = dir.join(format!("items-{items}-{bytes}.csv"));
    if path.is_file() {
        return Ok(path);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("could not create `{}`", dir.display()))?;
    let part = path.with_extension("part");
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(&part)?);
    let mut dice = Dice::new(items);
    writeln!(out, "id,text")?;
    for at in 0..items {
        writeln!(out, "{at},{}", text(&mut dice, at, bytes))?;
    }
    out.into_inner()?.sync_all()?;
    std::fs::rename(&part, &path)?;
    Ok(path)
}

/// Size of a file in bytes.
pub(crate) fn size(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| format!("could not read `{}`", path.display()))?.len())
}

/// The body that the bare loop sends for an item: what a client would send for the same text.
pub(crate) fn body(model: &str, text: &str) -> String {
    format!(
        r#"{{"model":"{model}","messages":[{{"role":"system","content":"Answer in one word."}},{{"role":"user","content":"Mood of: {text}"}}],"max_completion_tokens":16}}"#
    )
}
