//! `filter train`, `filter show`: labelled rows and rules in, a filter out. Nothing is sent and no state is read.

use std::collections::BTreeSet;
use std::path::Path;

use bulkrate_core::filter::{ANSWERS_MAX, Filter, FilterError, Labelled, Rule, RuleError, TrainOptions};
use bulkrate_engine::EngineError;
use bulkrate_io::{Source, SourceOptions};

use super::cells::{cell, place};
use super::waiting::Waiting;
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
    if let (Some(path), Some((number, rule))) = (&args.rules, impossible(&rules, &rows)) {
        return Err(ConfigError::Filter {
            path: path.clone(),
            source: FilterError::Rule(RuleError::new(number, no_label(&rule.answer, &args.label))),
        }
        .into());
    }
    let options = TrainOptions { error_permille: args.error.permille, seed: args.seed };
    let waiting = Waiting::new(shared.quiet);
    let mut learning = |done: usize, all: usize| {
        waiting.say(|| {
            format!("learning: {} of {} answers", words::count(done as u64), words::count(all as u64))
        });
    };
    let filter = Filter::train(&items, rules, &args.text, options, &mut learning);
    drop(waiting);
    let filter = filter.map_err(|source| {
        // A rule stands in its own file, and labels in theirs.
        let rules = args.rules.as_ref().filter(|_| matches!(source, FilterError::Rule(_)));
        ConfigError::Filter { path: rules.unwrap_or(&args.file).clone(), source }
    })?;
    std::fs::write(&args.out, filter.to_bytes())
        .map_err(|source| ConfigError::Write { path: args.out.clone(), source })?;
    tell(shared, &args.out, &filter);
    let labels = rows.iter().map(|(_, label)| label.as_str()).collect::<BTreeSet<&str>>().len();
    if labels > ANSWERS_MAX {
        let (most, all) = (words::count(ANSWERS_MAX as u64), words::count(labels as u64));
        talk(
            shared,
            &format!(
                "the {most} most frequent of {all} answers were learnt; the others are answered by rules or by the model\n"
            ),
        );
    }
    if unlabelled > 0 {
        let rows = words::counted(unlabelled, "row");
        talk(shared, &format!("{rows} without `{}` were left out\n", args.label));
    }
    Ok(())
}

/// A rule whose answer no row has as its label, and its number: not one of its hits could be right.
fn impossible<'r>(rules: &'r [Rule], rows: &[(String, String)]) -> Option<(usize, &'r Rule)> {
    (1..).zip(rules).find(|(_, rule)| rows.iter().all(|(_, label)| *label != rule.answer))
}

fn no_label(answer: &str, column: &str) -> String {
    format!(
        "it answers `{answer}`, and no row has that in column `{column}`: the answer must be a label as it is written there"
    )
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
