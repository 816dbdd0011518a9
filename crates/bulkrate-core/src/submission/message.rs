//! What a step of a submission is told, and what it answers.

use super::doubt::DoubtTimes;
use super::poll::PollPace;
use super::remote::{Phase, RemoteBatch};
use super::state::Unresolved;
use crate::answer::Failure;
use crate::failure::FailureClass;

/// What a step may take into account besides the submission.
#[derive(Debug, Clone, Copy)]
pub struct Env {
    pub now_ms: u64,
    pub epoch: u64,
    pub times: DoubtTimes,
    pub pace: PollPace,
    pub unresolved: Unresolved,
    pub random: u64,
    /// Nothing new may be sent.
    pub closing: bool,
    /// Too much is in doubt: what was not sent waits, and looks again after `look_ms`.
    pub held: bool,
    pub look_ms: u64,
    /// This run ends: what is at the provider goes on there.
    pub detaching: bool,
    /// The batch is not wanted any longer: the job was cancelled, or its deadline is near.
    pub cancel: bool,
    /// Items for its deployment go to another one: what was not sent is not sent there.
    pub elsewhere: bool,
}

/// What was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A process takes the submission up.
    Begin,
    /// A wait is over, or was cut short by a wish.
    Woke,
    Uploaded(Result<String, Failure>),
    Created(Creation),
    /// A list of batches that was begun at `started_ms`; `None`: a page of it failed.
    Listed {
        started_ms: u64,
        batches: Option<Vec<RemoteBatch>>,
    },
    /// The fence; `confirmed`: the provider says that the input is gone.
    Fenced {
        confirmed: bool,
    },
    Polled(Poll),
    /// The provider took the cancel, or not.
    CancelSent(bool),
    /// Items of the batch that are accounted for.
    Collected {
        accounted: u32,
    },
    /// The operator says that it is this batch, as the provider shows it.
    Adopt(Box<RemoteBatch>),
    /// The batch that the operator named cannot be looked at.
    NotAdopted(String),
    /// The operator says that there is none.
    Release,
    /// The operator says that it was paid, and what becomes of its items: asked again, or dead letters.
    Paid {
        again: bool,
    },
}

/// The answer to the one create, judged by [`super::classify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    Accepted(Box<RemoteBatch>),
    Refused(Failure),
    InDoubt(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    Seen(Box<RemoteBatch>),
    /// The provider does not know the id.
    Denied,
    Failed(Failure),
}

/// What to do, in order. The last one of a list is the one whose end is the next event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Makes the submission's row durable; nothing after it begins before.
    Save,
    Tell(Notice),
    /// What a refusal means for the whole job.
    Judge(Failure),
    /// Leases are void, the reservation is released, and the row says so, in one commit.
    Void,
    /// Every item of the batch ends this attempt with the class, its bound booked as doubt; then the batch is settled.
    WriteOff(FailureClass),
    Upload,
    /// The one paid request.
    Create,
    /// All batches created since, all pages.
    List {
        since_s: u64,
    },
    /// Deletes the input file, so that a create that is still under way must fail.
    Fence,
    Poll,
    Cancel,
    WaitUntil(u64),
    /// Downloads, lands and settles.
    Collect,
    /// Nothing more in this run.
    Stop,
}

impl Effect {
    /// Whether it ends a list: what comes next depends on how it ends.
    #[must_use]
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Save | Self::Tell(_) | Self::Judge(_) | Self::Void | Self::WriteOff(_))
    }
}

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    UploadFailed(String),
    InDoubt(String),
    Adopted(String),
    /// The batch that the operator named is not ours, or not this one.
    NotAdopted(String),
    /// The same create made another batch, which runs as well.
    Twin(String),
    /// A batch with our mark that does not fit.
    Strange(String),
    Absent,
    Unresolved,
    PollFailed(String),
    Denied,
    Vanished,
    /// A batch that is cancelled is gone: ended by that.
    Deleted,
    Overdue,
    Regressed {
        from: Phase,
        to: Phase,
    },
    CancelFailed,
}
