//! Rules that neither the compiler nor clippy knows. All findings are printed, each with its place and what to do.

mod arrows;
mod copies;
mod doctests;
mod sources;
mod errors;
mod pages;

use crate::shell::root;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// One text file that git tracks or would track.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// With `/`, relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// What was found. Errors fail the task, warnings do not.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn run() -> Result<()> {
    let files = read_files()?;
    let mut found = Findings::default();
    arrows::check(&mut found)?;
    sources::check(&files, &mut found);
    doctests::check(&files, &mut found);
    copies::check(&files, &mut found);
    errors::check(&files, &mut found);
    pages::check(&files, &mut found);
    for warning in &found.warnings {
        println!("warning: {warning}");
    }
    for error in &found.errors {
        println!("error: {error}");
    }
    if !found.errors.is_empty() {
        bail!("tidy found {} things to mend", found.errors.len());
    }
    println!("tidy: {} files, {} warnings", files.len(), found.warnings.len());
    Ok(())
}

/// Tracked files and those that are new and not ignored, as far as they are UTF-8 text.
fn read_files() -> Result<Vec<SourceFile>> {
    let mut git = std::process::Command::new("git");
    git.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = crate::shell::output(git).context("tidy reads the list of files from git")?;
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &str| {
        let text = std::fs::read_to_string(root().join(PathBuf::from(path))).ok()?;
        Some(SourceFile { path: path.to_owned(), text })
    };
    Ok(paths.into_iter().filter_map(read).collect())
}
