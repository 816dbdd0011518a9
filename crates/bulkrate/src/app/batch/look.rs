//! What providers say of batches, asked for free; nothing here is changed by it.

use std::collections::HashMap;

use bulkrate_core::submission::RemoteBatch;
use bulkrate_engine::Reader;
use bulkrate_engine::settings::Account;
use bulkrate_engine::view::JobBatch;

use super::view::{BatchView, LOST, UNKNOWN, as_known};
use crate::app::{AppError, whose};

/// Asks after every batch of a job that is still at work.
pub(super) async fn of_job(
    reader: &Reader,
    job: &str,
    accounts: &[Account],
) -> Result<Vec<BatchView>, AppError> {
    let name = reader.find(job)?.name;
    let mut views = Vec::new();
    // An account that did not answer once is not asked for each of its batches.
    let mut silent: HashMap<String, String> = HashMap::new();
    for batch in reader.batches(job)? {
        let mut view = as_known(&batch, &name);
        if let Some(why) = silent.get(&batch.account).filter(|_| batch.at_work) {
            view.not_asked = Some(why.clone());
        } else if batch.at_work {
            match ask(&batch, accounts, &mut silent).await {
                Ok(Some(remote)) => view.hear(&remote),
                Ok(None) => view.status = LOST.to_owned(),
                Err(why) => view.not_asked = Some(why),
            }
        }
        views.push(view);
    }
    Ok(views)
}

/// The service whose batches cannot be cancelled, where all that a job has at work are such.
pub(super) fn held(reader: &Reader, job: &str, accounts: &[Account]) -> Result<Option<String>, AppError> {
    let mut held = None;
    for batch in reader.batches(job)?.iter().filter(|batch| batch.at_work) {
        let account = accounts.iter().find(|account| account.id == batch.account);
        let stays = |api: &dyn bulkrate_provider::BatchApi| api.facts().cannot_cancel;
        match account.filter(|account| account.api.batches().is_some_and(stays)) {
            Some(account) => held = Some(account.provider.clone()),
            None => return Ok(None),
        }
    }
    Ok(held)
}

/// The batches of a job as rows have them; nobody is asked.
pub(super) fn last_known(reader: &Reader, job: &str) -> Result<Vec<BatchView>, AppError> {
    let name = reader.find(job)?.name;
    Ok(reader.batches(job)?.iter().map(|batch| as_known(batch, &name)).collect())
}

/// `None`: the provider does not know it.
async fn ask(
    batch: &JobBatch,
    accounts: &[Account],
    silent: &mut HashMap<String, String>,
) -> Result<Option<RemoteBatch>, String> {
    let id = batch.line.batch.as_deref().ok_or("the provider has given it no id yet")?;
    let account = accounts
        .iter()
        .find(|account| account.id == batch.account)
        .ok_or("no account is set up that is the one that made it (key, base URL)")?;
    let api = account.api.batches().ok_or("the account has no batch API")?;
    api.poll(id).await.map_err(|error| {
        if error.is_unanswered() {
            silent.insert(batch.account.clone(), error.to_string());
        }
        error.to_string()
    })
}

/// The newest batches of all these accounts, and the exit code. An account that cannot be asked is a line of its own, unless no
/// other could be either.
pub(super) async fn listed(
    reader: Option<&Reader>,
    accounts: &[Account],
    since_s: u64,
    limit: usize,
) -> Result<(Vec<BatchView>, u8), AppError> {
    let (mut views, mut silent, mut code) = (Vec::new(), Vec::new(), 0);
    for account in accounts {
        match of_account(reader, account, since_s, limit).await {
            Ok(found) => views.extend(found),
            Err(error) => silent.push((account, error)),
        }
    }
    if silent.len() == accounts.len()
        && let Some((_, error)) = silent.pop()
    {
        return Err(error);
    }
    views.sort_by_key(|view: &BatchView| std::cmp::Reverse(view.times.created));
    views.truncate(limit);
    for (account, error) in silent {
        code = code.max(error.exit_code());
        let (status, not_asked) = (UNKNOWN.to_owned(), Some(error.to_string()));
        views.push(BatchView { status, not_asked, ..BatchView::nothing(&account.provider) });
    }
    Ok((views, code))
}

/// The job of a batch: by the mark on it, or by its id where nothing can be written on one.
fn owner(reader: &Reader, account: &Account, remote: &RemoteBatch) -> Result<Option<String>, AppError> {
    Ok(match &remote.marker {
        Some(marker) => reader.owner(marker)?,
        None => reader.maker(&account.id, &remote.id)?,
    })
}

/// The newest batches of an account, ours and others'.
async fn of_account(
    reader: Option<&Reader>,
    account: &Account,
    since_s: u64,
    limit: usize,
) -> Result<Vec<BatchView>, AppError> {
    whose::check(account)?;
    let Some(api) = account.api.batches() else {
        return Err(AppError::NoBatches { provider: account.provider.clone() });
    };
    let mut found = api.list_since(since_s).await.map_err(AppError::Provider)?;
    found.sort_by_key(|remote| std::cmp::Reverse(remote.created_at));
    let mut views = Vec::new();
    for remote in found.into_iter().take(limit) {
        let mut view = BatchView::nothing(&account.provider);
        view.job = reader.map(|reader| owner(reader, account, &remote)).transpose()?.flatten();
        view.hear(&remote);
        views.push(view);
    }
    Ok(views)
}
