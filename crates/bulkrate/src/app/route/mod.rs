//! `route train`, `route eval`, `route show`: labels in, a router or what it is worth out. Nothing is sent and no state is read.

mod labels;
mod error;

use std::path::Path;

use bulkrate_core::route::learned::{Evaluation, Router, TrainOptions};

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
    if place(&args.out).is_some_and(|out| place(&args.labels.file) == Some(out)) {
        let hint = Some("name another file");
        return Err(ConfigError::option("--out", "these are the labels themselves", hint).into());
    }
    let labels = Labels::read(&args.labels)?;
    let options = TrainOptions {
        seed: args.seed,
        quality_loss_permille: args.quality_loss.permille,
        price_ratio: args.price_ratio,
    };
    let router = Router::train(&labels.items(), &args.labels.text, options)
        .map_err(|source| RouteError::Train { path: name(&args.labels.file), source })?;
    std::fs::write(&args.out, router.to_bytes())
        .map_err(|source| ConfigError::Write { path: args.out.clone(), source })?;
    // The rows that prove are the ones that did not teach: the same measure as that of `eval`.
    let found = measure(&router, &labels, args.labels.category.is_some());
    if shared.json {
        out::json(&text::document(&router, found.as_ref()));
    } else {
        out::data(&text::router(&name(&args.out), &router));
        if let Some(found) = &found {
            out::data(&text::ways(found));
        }
    }
    say_unlabelled(shared, &args.labels, &labels);
    talk(shared, &format!("the router is written to {}\n", args.out.display()));
    Ok(0)
}

fn eval(shared: &Shared, args: &EvalArgs) -> Result<u8, AppError> {
    let router = config::router::load(&args.router)?;
    let labels = Labels::read(&args.labels)?;
    let found = measure(&router, &labels, args.labels.category.is_some())
        .ok_or_else(|| RouteError::NothingLeft { path: name(&args.labels.file), rows: labels.len() })?;
    let ratio = args.price_ratio.or(router.facts.options.price_ratio);
    if shared.json {
        out::json(&text::evaluation_document(&router, &found, ratio));
    } else {
        out::data(&text::evaluation(&name(&args.labels.file), &router, &found, ratio));
    }
    say_unlabelled(shared, &args.labels, &labels);
    Ok(0)
}

fn measure(router: &Router, labels: &Labels, by_category: bool) -> Option<Evaluation> {
    router.evaluate(&labels.items(), by_category.then_some(labels.categories.as_slice()))
}

fn say_unlabelled(shared: &Shared, args: &LabelArgs, labels: &Labels) {
    if labels.unlabelled > 0 {
        talk(
            shared,
            &format!(
                "{} without both `{}` and `{}` were left out\n",
                crate::report::words::counted(labels.unlabelled, "row"),
                args.weak,
                args.strong
            ),
        );
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
