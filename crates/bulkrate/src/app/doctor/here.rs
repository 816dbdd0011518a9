//! What is checked on this machine: the state folder, the prices, and what they say of a model.

use std::path::Path;

use bulkrate_core::price::Catalogue;
use bulkrate_engine::settings::Account;
use bulkrate_provider::Unlisted;
use jiff::civil::Date;

use super::Finding;
use crate::app::{AppError, whose};
use crate::report::words;

/// The state in the folder, if there is one, can be read and is not that of a newer version; else the folder can be written.
pub(super) fn state(dir: &Path) -> Finding {
    match bulkrate_engine::Reader::open(dir) {
        Ok(_) => written(dir),
        Err(error) if error.code() == "state-missing" => written(dir),
        Err(error) => {
            let error = AppError::from(error);
            let hint = error.hint().map_or_else(String::new, |hint| format!("; {hint}"));
            Finding::failed("state", error.exit_code(), format!("{error}{hint}"))
        }
    }
}

/// The folder, or the nearest one above it that exists, takes a file.
fn written(dir: &Path) -> Finding {
    let there =
        dir.ancestors().find(|folder| folder.is_dir()).filter(|folder| !folder.as_os_str().is_empty());
    let probe = there.unwrap_or(Path::new(".")).join(format!(".bulkrate-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => Finding::ok("state", format!("`{}` can be written", dir.display())),
        Err(error) => Finding::failed(
            "state",
            1,
            format!("`{}` cannot be written: {error}; choose another folder with `--state`", dir.display()),
        ),
    }
}

pub(super) fn prices(catalogue: &Catalogue, today: Date) -> Finding {
    match catalogue.stale_days(today) {
        Some(days) => {
            let old = words::counted(u64::from(days.unsigned_abs()), "day");
            Finding::warning("prices", format!("{old} old; `bulkrate prices import` reads a newer list"))
        }
        None => {
            Finding::ok("prices", format!("{} known", words::counted(catalogue.rows().len() as u64, "model")))
        }
    }
}

/// Whether a model is known, priced and not retired; `account` is the one that it belongs to.
pub(super) fn model(catalogue: &Catalogue, account: Option<&Account>, model: &str, today: Date) -> Finding {
    let listed = whose::listed_as(account, model);
    let name = |known: &str| match listed == model {
        true => known.to_owned(),
        false => format!("{model} is {known}, which"),
    };
    let finding = match catalogue.resolve_alive(&listed, today) {
        Ok(resolved) => match resolved.row.retirement {
            Some(date) => {
                Finding::warning("model", format!("{} retires on {date}", name(&resolved.row.qualified)))
            }
            None => Finding::ok("model", format!("{} is known and priced", name(&resolved.row.qualified))),
        },
        Err(_)
            if account.is_some_and(|account| {
                !account.custom && account.api.facts().unlisted != Unlisted::Refused
            }) =>
        {
            let by = priced_by(account);
            Finding::warning("model", format!("`{model}` is not in the price catalogue; {by}"))
        }
        Err(error) if account.is_some_and(|account| account.custom) => {
            Finding::warning("model", format!("{error}; with a base URL of your own it is sent as it is"))
        }
        Err(error) => Finding::failed("model", 2, format!("{error}; {}", error.hint())),
    };
    match account {
        Some(account) => finding.of(account),
        None => finding,
    }
}

fn priced_by(account: Option<&Account>) -> &'static str {
    match account.map(|account| account.api.facts().unlisted) {
        Some(Unlisted::Free) => "it costs nothing",
        Some(Unlisted::Reported) => "its answers say what they cost",
        _ => "give its price with `--price-in` and `--price-out`",
    }
}
