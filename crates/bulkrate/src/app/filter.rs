//! `filter train`, `filter show`: labelled rows and rules in, a filter out. Nothing is sent, and no state is read but that of a pilot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bulkrate_core::filter::{ANSWERS_MAX, Filter, FilterError, Labelled, Rule, RuleError, TrainOptions};
use bulkrate_engine::EngineError;
use bulkrate_engine::pilot::Examples;
use bulkrate_io::{Source, SourceOptions};

use super::cells::{cell, place};
use super::reads::{state, talk};
use super::waiting::Waiting;
use super::{AppError, engine};
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
    let Labels { rows, from, lacks, unlabelled } = Labels::read(shared, args)?;
    let items: Vec<Labelled<'_>> = rows.iter().map(Row::labelled).collect();
    if let (Some(path), Some((number, rule))) = (&args.rules, impossible(&rules, &rows)) {
        return Err(ConfigError::Filter {
            path: path.clone(),
            source: FilterError::Rule(RuleError::new(number, no_label(&rule.answer, args))),
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
    let filter =
        Filter::train(&items, rules, (&args.text, args.embedding.as_deref()), options, &mut learning);
    drop(waiting);
    let filter = filter.map_err(|source| {
        // A rule stands in its own file, and labels in theirs.
        let rules = args.rules.as_ref().filter(|_| matches!(source, FilterError::Rule(_)));
        ConfigError::Filter { path: rules.unwrap_or(&from).clone(), source }
    })?;
    std::fs::write(&args.out, filter.to_bytes())
        .map_err(|source| ConfigError::Write { path: args.out.clone(), source })?;
    tell(shared, &args.out, &filter);
    let labels = rows.iter().map(|row| row.label.as_str()).collect::<BTreeSet<&str>>().len();
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
        talk(shared, &format!("{rows} without {lacks} were left out\n"));
    }
    Ok(())
}

/// A rule whose answer no row has as its label, and its number: not one of its hits could be right.
fn impossible<'r>(rules: &'r [Rule], rows: &[Row]) -> Option<(usize, &'r Rule)> {
    (1..).zip(rules).find(|(_, rule)| rows.iter().all(|row| row.label != rule.answer))
}

fn no_label(answer: &str, args: &FilterTrainArgs) -> String {
    if args.pilot.is_some() {
        return format!(
            "it answers `{answer}`, and no row of the pilot has that answer: it must be a choice as the job spells it"
        );
    }
    let column = &args.label;
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

/// A labelled row; its embedding is empty where it has none.
struct Row {
    text: String,
    label: String,
    embedding: String,
}

impl Row {
    fn labelled(&self) -> Labelled<'_> {
        Labelled { text: &self.text, label: &self.label, embedding: &self.embedding }
    }
}

/// Texts with their labels.
struct Labels {
    rows: Vec<Row>,
    /// Where they are from: a file, or words that stand for one.
    from: PathBuf,
    /// What rows that were left out have not, and how many they are.
    lacks: String,
    unlabelled: u64,
}

impl Labels {
    fn read(shared: &Shared, args: &FilterTrainArgs) -> Result<Self, AppError> {
        match (&args.pilot, &args.file) {
            (Some(job), _) => {
                let Examples { rows, unlabelled, model } =
                    engine::examples(&state(shared)?, job, &args.text)?;
                let from = format!("the pilot of {job} ({model})").into();
                let rows = rows.into_iter();
                let rows = rows.map(|(text, label)| Row { text, label, embedding: String::new() }).collect();
                let lacks = "a label or an answer of the strong model".to_owned();
                Ok(Self { rows, from, lacks, unlabelled })
            }
            (None, Some(file)) => Ok(Self::of_file(args, file)?),
            // No such command line.
            (None, None) => {
                Ok(Self { rows: Vec::new(), from: PathBuf::new(), lacks: String::new(), unlabelled: 0 })
            }
        }
    }

    fn of_file(args: &FilterTrainArgs, file: &Path) -> Result<Self, EngineError> {
        let mut source = Source::open(&SourceOptions::new(file))?;
        let (text, label) = (place(&args.text, source.columns())?, place(&args.label, source.columns())?);
        let embedding = args
            .embedding
            .as_ref()
            .map(|name| Ok::<_, EngineError>((name, place(name, source.columns())?)))
            .transpose()?;
        let (mut rows, mut unlabelled) = (Vec::new(), 0);
        while let Some(row) = source.next()? {
            let answer = cell(&row, &args.label, label);
            if answer.trim().is_empty() {
                unlabelled += 1;
                continue;
            }
            rows.push(Row {
                text: cell(&row, &args.text, text).into_owned(),
                label: answer.trim().to_owned(),
                embedding: embedding.map_or_else(String::new, |(name, at)| cell(&row, name, at).into_owned()),
            });
        }
        Ok(Self { rows, from: file.to_owned(), lacks: format!("`{}`", args.label), unlabelled })
    }
}
