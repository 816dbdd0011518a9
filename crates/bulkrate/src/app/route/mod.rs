//! `route train`, `route eval`, `route show`: labels in, a router or what it is worth out. Nothing is sent, and no state is read but that of
//! a pilot.

mod labels;
mod error;

use std::path::Path;

use bulkrate_core::route::learned::{Evaluation, Few, MODELS_MAX, Router, TrainOptions};
use bulkrate_engine::pilot::dear_pilot;

use super::{AppError, reads::talk};
use crate::cli::Shared;
use crate::cli::route_args::{EvalArgs, LabelArgs, RouteCommand, TrainArgs};
use crate::config::{self, ConfigError};
use crate::report::{out, router as text};

pub use error::RouteError;
use labels::Labels;

pub(super) fn route(shared: &Shared, command: RouteCommand) -> Result<u8, AppError> {
    match command {
        RouteCommand::Train(args) => train(shared, &args),
        RouteCommand::Eval(args) => eval(shared, &args),
        RouteCommand::Show { router: path } => {
            let router = config::router::load(&path)?;
            if shared.json {
                out::json(&text::document(&router, None));
            } else {
                out::data(&text::router(&name(&path), &router));
            }
            Ok(0)
        }
    }
}

fn train(shared: &Shared, args: &TrainArgs) -> Result<u8, AppError> {
    if args.out.exists() && !args.force {
        return Err(ConfigError::Exists { path: args.out.clone() }.into());
    }
    let place = |path: &Path| path.canonicalize().ok();
    let file = args.labels.file.as_deref().and_then(place);
    if place(&args.out).is_some_and(|out| file == Some(out)) {
        let hint = Some("name another file");
        return Err(ConfigError::option("--out", "these are the labels themselves", hint).into());
    }
    let labels = Labels::read(shared, &args.labels)?;
    let options = TrainOptions {
        seed: args.seed,
        quality_loss_permille: args.quality_loss.permille,
        price_ratios: ratios(&args.price_ratio, &labels.price_ratios)?,
    };
    let mut router = Router::train(&labels.items(), &args.labels.text, options)
        .map_err(|source| RouteError::Train { path: labels.from.clone(), source })?;
    router.call(&labels.models);
    std::fs::write(&args.out, router.to_bytes())
        .map_err(|source| ConfigError::Write { path: args.out.clone(), source })?;
    // The rows that prove are the ones that did not teach: the same measure as that of `eval`.
    let found = measure(&router, &labels, args.labels.category.is_some());
    if shared.json {
        out::json(&text::document(&router, found.as_ref()));
    } else {
        out::data(&text::router(&name(&args.out), &router));
        if let Some(found) = &found {
            out::data(&text::ways(&router, found));
        }
    }
    say_left_out(shared, &args.labels, &labels);
    if let Some(told) = labels.cost.and_then(|(spent, whole)| dear_pilot(spent, whole)) {
        talk(shared, &format!("{told}\n"));
    }
    talk(shared, &format!("the router is written to {}\n", args.out.display()));
    Ok(0)
}

fn eval(shared: &Shared, args: &EvalArgs) -> Result<u8, AppError> {
    let router = config::router::load(&args.router)?;
    let mut labels = Labels::read(shared, &args.labels)?;
    if labels.models.len() != router.models() {
        let (path, labelled) = (labels.from, labels.models);
        return Err(RouteError::Models { path, labelled, router: router.called() }.into());
    }
    labels.order_by(&router.names, !args.labels.models.is_empty())?;
    let found = measure(&router, &labels, args.labels.category.is_some())
        .ok_or_else(|| RouteError::NothingLeft { path: labels.from.clone(), rows: labels.len() })?;
    let ratios = ratios(&args.price_ratio, &router.facts.options.price_ratios)?;
    if ratios.len() + 1 != router.models() {
        let hint = Some("pass one price ratio for each model but the strongest, the cheapest first, or none");
        return Err(ConfigError::option("--price-ratio", "is not what the router has models", hint).into());
    }
    if shared.json {
        out::json(&text::evaluation_document(&router, &found, &ratios));
    } else {
        out::data(&text::evaluation(&labels.from, &router, &found, &ratios));
    }
    say_left_out(shared, &args.labels, &labels);
    Ok(0)
}

/// What was asked for, else what is known.
fn ratios(asked: &[f64], known: &[f64]) -> Result<Few<f64>, ConfigError> {
    if asked.len() >= MODELS_MAX {
        let why = format!("a router chooses among {MODELS_MAX} models at most");
        let hint = "pass one price ratio for each model but the strongest, the cheapest first";
        return Err(ConfigError::option("--price-ratio", why, Some(hint)));
    }
    Ok(if asked.is_empty() { known } else { asked }.iter().copied().collect())
}

fn measure(router: &Router, labels: &Labels, by_category: bool) -> Option<Evaluation> {
    router.evaluate(&labels.items(), by_category.then_some(labels.categories.as_slice()))
}

fn say_left_out(shared: &Shared, args: &LabelArgs, labels: &Labels) {
    if !labels.dearer.is_empty() {
        let (models, strong) = (labels.dearer.join(", "), labels.models.last().map_or("", String::as_str));
        talk(shared, &format!("{models}: left out, as an answer costs no less than one of {strong}\n"));
    }
    if labels.unlabelled > 0 {
        let lacks = match &args.pilot {
            Some(_) => "a label or an answer of the strong model".to_owned(),
            None if args.models.is_empty() => format!("both `{}` and `{}`", args.weak, args.strong),
            None => format!("all of `{}`", args.models.join("`, `")),
        };
        let rows = crate::report::words::counted(labels.unlabelled, "row");
        talk(shared, &format!("{rows} without {lacks} were left out\n"));
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
