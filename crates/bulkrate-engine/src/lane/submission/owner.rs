//! Whose the batches of a list are, where nothing can be written on them.
//!
//! What is noted here is data for `bulkrate_core::submission::find`, which decides.

use bulkrate_core::ids::WireId;
use bulkrate_core::submission::{Owner, RemoteBatch};
use bulkrate_store::Submission;

use super::{Driving, evidence};
use crate::EngineError;
use crate::deliver::spec_of;
use crate::lane::lines;

impl Driving<'_> {
    /// Notes on each batch whose it is: by the rows of this store, or by an item in its results. And by what this submission is
    /// known while others are undecided.
    ///
    /// The rows are read last, and nothing is waited for after it: what is sent or answered meanwhile is in them.
    pub(super) async fn recognize(
        &mut self,
        row: &Submission,
        listed: &mut [RemoteBatch],
    ) -> Result<(), EngineError> {
        let known_by = self.api.facts().known_by;
        if known_by.is_exact() {
            return Ok(());
        }
        self.name_known(row, listed)?;
        for remote in listed.iter_mut() {
            self.look_into(remote).await;
        }
        let others = self.name_known(row, listed)?;
        // One that is just being sent does not say by what it is known.
        let bears_mark = |other: &Submission| evidence(other).is_some_and(|kept| kept.known_by.is_exact());
        let undecided = others.iter().filter(|other| other.state.is_undecided() && !bears_mark(other));
        let ours = self.machine.ours.items;
        let mut counts = Vec::new();
        for other in undecided {
            // One that cannot be counted may be as large as this.
            counts.push(self.requests_of(other)?.unwrap_or(ours));
        }
        self.machine.ours.known_by = known_by.beside(ours, counts);
        Ok(())
    }

    /// Requests of a batch of any job here, by the file of the job that it is of; `None`: that does not tell.
    fn requests_of(&self, other: &Submission) -> Result<Option<u32>, EngineError> {
        let jobs = self.job.reader.jobs()?;
        let Some(owner) = jobs.iter().find(|job| job.no == other.job) else { return Ok(None) };
        if spec_of(owner)?.request.bundle.is_none() {
            return Ok(Some(other.items));
        }
        Ok(lines::counted(&self.job.dir.beside(&owner.id), other))
    }

    /// Other batches as this store knows them, whichever account sent them: keys and names change, workspaces stay.
    fn name_known(
        &self,
        row: &Submission,
        listed: &mut [RemoteBatch],
    ) -> Result<Vec<Submission>, EngineError> {
        let mut others = self.job.reader.batches()?;
        others.retain(|other| other.sub != row.sub);
        for remote in listed {
            let theirs = |other: &&Submission| other.remote_batch.as_deref() == Some(remote.id.as_str());
            if let Some(other) = others.iter().find(theirs) {
                remote.owner = Owner::Submission(other.sub.to_string());
            }
        }
        Ok(others)
    }

    /// Asks for one line of the results of a batch that may be ours. Free; what was learned once stays.
    async fn look_into(&mut self, remote: &mut RemoteBatch) {
        if !self.machine.ours.asks_after(remote) {
            return;
        }
        if let Some(owner) = self.owners.get(&remote.id) {
            remote.owner = owner.clone();
            return;
        }
        // One that cannot be read now is asked for with the next list.
        let Ok(Some(id)) = self.api.first_item(remote).await else { return };
        remote.owner = WireId::parse(&id).map_or(Owner::Foreign, |id| Owner::Submission(id.sub.to_string()));
        self.owners.insert(remote.id.clone(), remote.owner.clone());
    }
}
