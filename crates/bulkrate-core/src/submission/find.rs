//! Which batches of a provider's list are ours.
//!
//! Invariants
//! - A batch without our instance id and submission is never adopted, whatever else fits (I14).
//! - A batch that carries our marker and does not fit is neither ours nor absent: nothing may be concluded from it.

use std::collections::HashMap;

use super::remote::RemoteBatch;
use crate::planted::{self, Bug};

/// What a submission is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ours {
    /// The store's random instance id.
    pub inst: String,
    pub sub: String,
    pub items: u32,
    /// SHA-256 of the input file, in hex.
    pub digest: String,
    /// The input file's id at the provider.
    pub input: Option<String>,
}

/// What one complete list shows of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    NotThere,
    /// The batch, and the ids of others made of the same create: a request that was delivered twice.
    Here(&'a RemoteBatch, Vec<&'a str>),
    /// Our marker on something that is not what we sent.
    Strange(String),
}

impl Ours {
    /// Looks through a complete list.
    #[must_use]
    pub fn find<'a>(&self, listed: &'a [RemoteBatch]) -> Found<'a> {
        let mut mine: Vec<&RemoteBatch> = Vec::new();
        for remote in listed {
            match self.fits(remote) {
                Fit::No => {}
                // A list that lags shows a batch on two of its pages.
                Fit::Yes if mine.iter().any(|known| known.id == remote.id) => {}
                Fit::Yes => mine.push(remote),
                Fit::Strange(why) => return Found::Strange(why),
            }
        }
        // The oldest is the one that a person would expect; ids break ties, so that every listing decides alike.
        mine.sort_by(|left, right| (left.created_at, &left.id).cmp(&(right.created_at, &right.id)));
        match mine.split_first() {
            None => Found::NotThere,
            Some((first, rest)) => Found::Here(first, rest.iter().map(|twin| twin.id.as_str()).collect()),
        }
    }

    /// Whether a batch that somebody names is this submission's; `Err` says why not.
    pub fn judge(&self, remote: &RemoteBatch) -> Result<(), String> {
        match self.fits(remote) {
            Fit::Yes => Ok(()),
            Fit::Strange(why) => Err(why),
            Fit::No => Err(match &remote.marker {
                None => format!("batch {} has no mark of ours", remote.id),
                Some(marker) if marker.inst != self.inst => {
                    format!("batch {} was made by another state folder", remote.id)
                }
                Some(marker) => format!("batch {} belongs to submission {}", remote.id, marker.sub),
            }),
        }
    }

    fn fits(&self, remote: &RemoteBatch) -> Fit {
        let Some(marker) = &remote.marker else { return Fit::No };
        if planted::has(Bug::AdoptByDigest) && marker.digest == self.digest {
            return Fit::Yes;
        }
        if marker.inst != self.inst || marker.sub != self.sub {
            return Fit::No;
        }
        if let (Some(theirs), Some(ours)) = (&remote.input_file, &self.input)
            && theirs != ours
        {
            return Fit::Strange(format!("batch {} has our mark and another input file", remote.id));
        }
        if marker.digest != self.digest {
            return Fit::Strange(format!("batch {} has our mark and another digest", remote.id));
        }
        // The count is 0 while the provider validates.
        if remote.counts.total > 0 && remote.counts.total != u64::from(self.items) {
            return Fit::Strange(format!(
                "batch {} has {} items, {} were sent",
                remote.id, remote.counts.total, self.items
            ));
        }
        Fit::Yes
    }
}

enum Fit {
    No,
    Yes,
    Strange(String),
}

/// A batch of our instance that no row accounts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray<'a> {
    /// Of a submission that the store does not know: the store is older than its create (W5).
    Ghost(&'a RemoteBatch),
    /// Of a submission that has another batch, or was proved absent (W1).
    Twin(&'a RemoteBatch, &'a str),
}

/// What a sweep of a list finds. `known`: each submission of this store with its batch; a submission that is being looked
/// for by its own probe is left to it (`None`).
#[must_use]
pub fn sweep<'a>(
    inst: &str,
    listed: &'a [RemoteBatch],
    known: &'a HashMap<String, Option<String>>,
) -> Vec<Stray<'a>> {
    let mut strays = Vec::new();
    for remote in listed {
        let Some(marker) = remote.marker.as_ref().filter(|marker| marker.inst == inst) else { continue };
        match known.get_key_value(&marker.sub) {
            None => strays.push(Stray::Ghost(remote)),
            Some((sub, Some(batch))) if *batch != remote.id => strays.push(Stray::Twin(remote, sub)),
            Some(_) => {}
        }
    }
    strays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::{BatchCounts, Marker, Phase};

    fn ours() -> Ours {
        Ours { inst: "i".into(), sub: "s".into(), items: 2, digest: "d".into(), input: Some("file-1".into()) }
    }

    fn remote(id: &str, inst: &str, sub: &str) -> RemoteBatch {
        RemoteBatch {
            id: id.into(),
            phase: Phase::InProgress,
            status: "in_progress".into(),
            input_file: Some("file-1".into()),
            output_file: None,
            error_file: None,
            counts: BatchCounts::default(),
            errors: Vec::new(),
            created_at: Some(5),
            expires_at: None,
            marker: Some(Marker { inst: inst.into(), sub: sub.into(), items: 2, digest: "d".into() }),
        }
    }

    #[test]
    fn only_our_own_mark_is_ours() {
        for (batch, want) in [
            (remote("b", "i", "s"), true),
            (remote("b", "other", "s"), false),
            (remote("b", "i", "other"), false),
            (RemoteBatch { marker: None, ..remote("b", "i", "s") }, false),
            (RemoteBatch { input_file: None, ..remote("b", "i", "s") }, true),
        ] {
            let listed = [remote("x", "foreign", "s"), batch];
            assert_eq!(matches!(ours().find(&listed), Found::Here(..)), want, "{listed:?}");
        }
    }

    #[test]
    fn a_mark_on_something_else_proves_nothing() {
        let counts = BatchCounts { total: 3, completed: 0, failed: 0 };
        for batch in [
            RemoteBatch { input_file: Some("file-2".into()), ..remote("b", "i", "s") },
            RemoteBatch { counts, ..remote("b", "i", "s") },
        ] {
            assert!(matches!(ours().find(&[batch]), Found::Strange(_)));
        }
    }

    #[test]
    fn the_oldest_of_twins_is_adopted_and_the_others_are_named() {
        let listed = [
            RemoteBatch { created_at: Some(9), ..remote("b", "i", "s") },
            remote("a", "i", "s"),
            remote("a", "i", "s"),
        ];
        assert_eq!(ours().find(&listed), Found::Here(&listed[1], vec!["b"]));
    }

    #[test]
    fn a_sweep_finds_ghosts_and_twins_and_nothing_else() {
        let listed = [
            remote("b1", "i", "s1"),
            remote("b2", "i", "s1"),
            remote("b3", "i", "lost"),
            remote("b4", "other", "s1"),
            remote("b5", "i", "probed"),
        ];
        let known = [("s1".to_owned(), Some("b1".to_owned())), ("probed".to_owned(), None)].into();
        assert_eq!(sweep("i", &listed, &known), [Stray::Twin(&listed[1], "s1"), Stray::Ghost(&listed[2])]);
    }
}
