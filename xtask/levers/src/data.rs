//! The public data sets, as the folder holds them.

use anyhow::{Context as _, Result};
use bulkrate_core::route::learned::Labelled;
use flate2::read::GzDecoder;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// A prompt and how a weak and a strong model answered it: RouteLLM's evaluation data.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Row {
    bench: String,
    pub(crate) group: String,
    pub(crate) prompt: String,
    weak: f64,
    strong: f64,
    contaminated: u8,
}

impl Row {
    pub(crate) fn labelled(&self) -> Labelled<'_> {
        Labelled { text: &self.prompt, qualities: [self.weak, self.strong].into(), against: None }
    }
}

/// Rows that its authors do not exclude, each prompt once.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) mmlu: Vec<Row>,
    pub(crate) gsm8k: Vec<Row>,
}

pub(crate) fn routing(root: &Path) -> Result<Routing> {
    let (mut mmlu, mut gsm8k, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for row in rows::<Row>(&root.join("routing").join("routellm_eval.jsonl.gz"))? {
        if row.contaminated != 0 || !seen.insert(row.prompt.clone()) {
            continue;
        }
        match row.bench.as_str() {
            "mmlu" => mmlu.push(row),
            "gsm8k" => gsm8k.push(row),
            _ => {} // MT-Bench: 72 prompts are too few to measure anything
        }
    }
    Ok(Routing { mmlu, gsm8k })
}

/// A text and what it is.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Text {
    pub(crate) text: String,
    #[serde(alias = "intent")]
    pub(crate) label: String,
}

/// The texts of a data set of jobs, each once.
pub(crate) fn texts(root: &Path, name: &str) -> Result<Vec<Text>> {
    let rows = rows::<Text>(&root.join("jobs").join(format!("{name}.jsonl.gz")))?;
    let mut seen = BTreeSet::new();
    Ok(rows.into_iter().filter(|row| seen.insert(row.text.clone())).collect())
}

/// A row a line.
pub(crate) fn rows<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let what = || format!("could not read `{}`", path.display());
    let lines = BufReader::new(unpacked(path)?).lines();
    lines.map(|line| serde_json::from_str(&line?).with_context(what)).collect()
}

pub(crate) fn unpacked(path: &Path) -> Result<GzDecoder<File>> {
    let file = File::open(path).with_context(|| format!("could not open `{}`", path.display()))?;
    Ok(GzDecoder::new(file))
}

/// A count as a float.
#[allow(clippy::cast_precision_loss, reason = "counts of rows")]
pub(crate) fn real(count: usize) -> f64 {
    count as f64
}
