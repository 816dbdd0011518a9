//! What a commit must satisfy before anything is written; both stores ask here, so both refuse the same.

use std::collections::HashMap;

use bulkrate_core::ids::Sub;

use crate::error::StoreError;
use crate::row::{ItemChunk, ItemRec, Lease, Tx};

/// What the check needs to know of what is stored.
pub(crate) trait Facts {
    /// Items of a job; `None` = no such job.
    fn items_of(&self, job: u32) -> Option<u64>;
    /// The job of a known submission.
    fn job_of(&self, sub: Sub) -> Result<Option<u32>, StoreError>;
    /// The leases of a known submission.
    fn leases_of(&self, sub: Sub) -> Result<Vec<Lease>, StoreError>;
}

/// Follows the transactions in order, without writing. The items that each job will have are the answer.
pub(crate) fn check<'a>(facts: &impl Facts, txs: &'a [Tx]) -> Result<HashMap<u32, u64>, StoreError> {
    let mut items: HashMap<u32, u64> = HashMap::new();
    let mut created: HashMap<Sub, (u32, &'a [Lease])> = HashMap::new();
    for tx in txs {
        let job = tx.job;
        let refused = |why: String| StoreError::Rejected { job, why };
        let mut known = match items.get(&job) {
            Some(&known) => known,
            None => facts.items_of(job).ok_or(StoreError::NoSuchJob { job })?,
        };
        for chunk in &tx.items {
            check_chunk(chunk, known).map_err(refused)?;
            known = chunk.end();
        }
        if let Some(outcome) = tx.outcomes.iter().find(|outcome| u64::from(outcome.ordinal) >= known) {
            return Err(refused(format!("an outcome names item {} of {known}", outcome.ordinal)));
        }
        if let Some(entry) = tx.ledger.iter().find(|entry| entry.job != job) {
            return Err(refused(format!("a ledger entry belongs to job {}", entry.job)));
        }
        for (submission, leases) in &tx.submissions {
            let sub = submission.sub;
            let leases = leases.as_deref();
            if let Some(lease) =
                leases.unwrap_or_default().iter().find(|lease| u64::from(lease.ordinal) >= known)
            {
                return Err(refused(format!("submission {sub} leases item {} of {known}", lease.ordinal)));
            }
            let before = match (created.get(&sub), leases) {
                (Some(&(owner, stored)), _) => Some((owner, leases.is_none_or(|given| given == stored))),
                (None, None) => facts.job_of(sub)?.map(|owner| (owner, true)),
                (None, Some(given)) => match facts.job_of(sub)? {
                    None => None,
                    Some(owner) => Some((owner, given == facts.leases_of(sub)?)),
                },
            };
            match before {
                _ if submission.job != job => {
                    return Err(refused(format!("submission {sub} belongs to job {}", submission.job)));
                }
                Some((owner, _)) if owner != job => {
                    return Err(refused(format!("submission {sub} belongs to job {owner}")));
                }
                Some((_, false)) => {
                    return Err(refused(format!("submission {sub} has other leases already")));
                }
                Some((_, true)) => {}
                None => {
                    created.insert(sub, (job, leases.unwrap_or_default()));
                }
            }
        }
        items.insert(job, known);
    }
    Ok(items)
}

fn check_chunk(chunk: &ItemChunk, known: u64) -> Result<(), String> {
    if u64::from(chunk.first) != known {
        return Err(format!("a chunk of items begins at {}, the job has {known}", chunk.first));
    }
    if chunk.items.is_empty() || chunk.items.len() > ItemChunk::ITEMS_MAX {
        return Err(format!(
            "a chunk holds {} items; 1 to {} are allowed",
            chunk.items.len(),
            ItemChunk::ITEMS_MAX
        ));
    }
    if chunk.end() > u64::from(u32::MAX) {
        return Err(format!("a job holds at most {} items", u32::MAX));
    }
    for (ordinal, item) in (chunk.first..).zip(&chunk.items) {
        if matches!(item, ItemRec::Follower { leader } if *leader >= ordinal) {
            return Err(format!("item {ordinal} follows a later item"));
        }
    }
    Ok(())
}
