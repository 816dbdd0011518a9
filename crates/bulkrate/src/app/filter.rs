//! `filter train`, `filter show`: labelled rows and rules in, a filter out. Nothing is sent and no state is read.

use std::path::Path;

use bulkrate_core::filter::{Filter, Labelled, TrainOptions};
use bulkrate_engine::EngineError;
use bulkrate_io::{Source, SourceOptions};

use super::cells::{cell, place};
use super::{AppError, reads::talk};
use crate::cli::Shared;
use crate::cli::filter_args::{FilterCommand, FilterTrainArgs};
use crate::config::{self, ConfigError};
use crate::report::{filter as text, out, words};

pub(super) fn filter(shared: &Shared, command: FilterCommand) -> Result<u8, AppError> {
    match command {
        FilterCommand::Train(args) => train(shared, &args)?,
        FilterCommand::Show { filter: path } => tell(shared, &path, &config::filter::load(&path)?),
    }
    Ok(0)
}

fn train(shared: &Shared, args: &FilterTrainArgs) -> Result<(), AppError> {
    if args.out.exists() && !args.force {
        return Err(ConfigError::Exists { path: args.out.clone() }.into());
    }
    let rules = args.rules.as_deref().map(config::filter::rules).transpose()?.unwrap_or_default();
    let (rows, unlabelled) = read(args)?;
    let items: Vec<Labelled<'_>> = rows.iter().map(|(text, label)| Labelled { text, label }).collect();
    let options = TrainOptions { error_permille: args.error.permille, seed: args.seed };
    let filter = Filter::train(&items, rules, &args.text, options)
        .map_err(|source| ConfigError::Filter { path: args.file.clone(), source })?;
    std::fs::write(&args.out, filter.to_bytes())
        .map_err(|source| ConfigError::Write { path: args.out.clone(), source })?;
    tell(shared, &args.out, &filter);
    if unlabelled > 0 {
        let rows = words::counted(unlabelled, "row");
        talk(shared, &format!("{rows} without `{}` were left out\n", args.label));
    }
    Ok(())
}

fn tell(shared: &Shared, path: &Path, filter: &Filter) {
    if shared.json {
        out::json(&text::document(filter));
    } else {
        out::data(&text::text(&path.display().to_string(), filter));
    }
}

/// Texts with their labels, and how many rows have none.
fn read(args: &FilterTrainArgs) -> Result<(Vec<(String, String)>, u64), EngineError> {
    let mut source = Source::open(&SourceOptions::new(&args.file))?;
    let (text, label) = (place(&args.text, source.columns())?, place(&args.label, source.columns())?);
    let (mut rows, mut unlabelled) = (Vec::new(), 0);
    while let Some(row) = source.next()? {
        let answer = cell(&row, &args.label, label);
        if answer.trim().is_empty() {
            unlabelled += 1;
            continue;
        }
        rows.push((cell(&row, &args.text, text).into_owned(), answer.trim().to_owned()));
    }
    Ok((rows, unlabelled))
}
