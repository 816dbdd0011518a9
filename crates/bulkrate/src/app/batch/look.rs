//! What providers say of batches, asked for free; nothing here is changed by it.

use std::collections::HashMap;

use bulkrate_core::submission::RemoteBatch;
use bulkrate_engine::Reader;
use bulkrate_engine::settings::Account;
use bulkrate_engine::view::JobBatch;
use serde::Serialize;

use crate::app::AppError;

/// One batch, in the same words for every provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchView {
    /// The provider's id; `None`: it has none yet, or nobody knows.
    pub batch: Option<String>,
    pub provider: String,
    /// `validating in_progress finalizing completed failed expired cancelling cancelled unknown`; where the provider has no
    /// batch of it, the state of the submission.
    pub status: String,
    /// The provider's own word, where it was asked.
    pub said: Option<String>,
    pub total: u64,
    pub succeeded: u64,
    pub errored: u64,
    pub processing: u64,
    /// Milliseconds since the epoch, as are the others.
    pub created_at_ms: Option<i64>,
    pub completed_at_ms: Option<i64>,
    pub expires_at_ms: Option<i64>,
    /// The job that it belongs to; `None`: somebody else's.
    pub job: Option<String>,
    /// Why the provider could not be asked: then this is what was last known.
    pub not_asked: Option<String>,
}

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
                Ok(remote) => view.hear(&remote),
                Err(why) => view.not_asked = Some(why),
            }
        }
        views.push(view);
    }
    Ok(views)
}

/// The batches of a job as rows have them; nobody is asked.
pub(super) fn last_known(reader: &Reader, job: &str) -> Result<Vec<BatchView>, AppError> {
    let name = reader.find(job)?.name;
    Ok(reader.batches(job)?.iter().map(|batch| as_known(batch, &name)).collect())
}

async fn ask(
    batch: &JobBatch,
    accounts: &[Account],
    silent: &mut HashMap<String, String>,
) -> Result<RemoteBatch, String> {
    let id = batch.line.batch.as_deref().ok_or("the provider has given it no id yet")?;
    let account = accounts
        .iter()
        .find(|account| account.id == batch.account)
        .ok_or("no account is set up that is the one that made it (key, base URL)")?;
    let api = account.api.batches().ok_or("the account has no batch API")?;
    let found = api.poll(id).await.map_err(|error| {
        if error.is_unanswered() {
            silent.insert(batch.account.clone(), error.to_string());
        }
        error.to_string()
    })?;
    found.ok_or_else(|| "the provider does not know it any more".to_owned())
}

/// The newest batches of an account, ours and others'.
pub(super) async fn listed(
    reader: Option<&Reader>,
    account: &Account,
    since_s: u64,
    limit: usize,
) -> Result<Vec<BatchView>, AppError> {
    let Some(api) = account.api.batches() else {
        return Err(AppError::NoBatches { provider: account.provider.clone() });
    };
    let mut found = api.list_since(since_s).await.map_err(AppError::Provider)?;
    found.sort_by_key(|remote| std::cmp::Reverse(remote.created_at));
    let mut views = Vec::new();
    for remote in found.into_iter().take(limit) {
        let owner = reader.zip(remote.marker.as_ref()).map(|(reader, marker)| reader.owner(marker));
        let mut view = BatchView::nothing(&account.provider);
        view.job = owner.transpose()?.flatten();
        view.hear(&remote);
        views.push(view);
    }
    Ok(views)
}

fn as_known(batch: &JobBatch, job: &str) -> BatchView {
    let line = &batch.line;
    let done = line.completed + line.failed;
    BatchView {
        batch: line.batch.clone(),
        status: batch.phase.clone().unwrap_or_else(|| line.state.clone()),
        total: line.items,
        succeeded: line.completed,
        errored: line.failed,
        processing: if batch.at_work { line.items.saturating_sub(done) } else { 0 },
        created_at_ms: Some(batch.created_at_ms),
        completed_at_ms: batch.ended_at_ms,
        job: Some(job.to_owned()),
        ..BatchView::nothing(&batch.provider)
    }
}

impl BatchView {
    fn nothing(provider: &str) -> Self {
        Self {
            batch: None,
            provider: provider.to_owned(),
            status: String::new(),
            said: None,
            total: 0,
            succeeded: 0,
            errored: 0,
            processing: 0,
            created_at_ms: None,
            completed_at_ms: None,
            expires_at_ms: None,
            job: None,
            not_asked: None,
        }
    }

    fn hear(&mut self, remote: &RemoteBatch) {
        let ms = |at: Option<u64>| Some(i64::try_from(at?).unwrap_or(i64::MAX).saturating_mul(1_000));
        let counts = remote.counts;
        self.batch = Some(remote.id.clone());
        self.status = remote.phase.name().to_owned();
        self.said = Some(remote.status.clone());
        self.total = self.total.max(counts.total);
        (self.succeeded, self.errored) = (counts.completed, counts.failed);
        let left = self.total.saturating_sub(counts.completed + counts.failed);
        self.processing = if remote.phase.is_terminal() { 0 } else { left };
        self.created_at_ms = ms(remote.created_at).or(self.created_at_ms);
        self.expires_at_ms = ms(remote.expires_at);
    }
}
