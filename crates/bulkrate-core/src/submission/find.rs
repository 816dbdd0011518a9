//! Which batches of a provider's list are ours.
//!
//! Invariants
//! - Where a mark can be written, a batch without our instance id and submission is never adopted, whatever else fits (I14).
//! - Where none can and a batch shows its input file, it is ours by the id of the file that we uploaded for it, and by nothing else.
//! - Where not even that, a batch is ours by an item in its results, or by its looks in an account that is ours alone: never both by its
//!   looks and beside another that looks the same.
//! - A batch that carries our marker and does not fit is neither ours nor absent: nothing may be concluded from it.

use std::collections::HashMap;

use super::known::KnownBy;
use super::remote::{Owner, RemoteBatch};
use crate::planted::{self, Bug};

/// A create may arrive an hour late (F17), and clocks stand an hour apart (F40): after that it makes no batch.
pub const LATE_MS: u64 = 2 * 3_600_000;

const DAY_S: u64 = 86_400;

/// Whether a create that left at `sent_ms` can have made a batch: none arrives later. What is not known speaks not against it.
#[must_use]
pub fn is_in_time(created_s: Option<u64>, sent_ms: Option<u64>) -> bool {
    if planted::has(Bug::InputAnyTime) {
        return true;
    }
    let (Some(created_s), Some(sent_ms)) = (created_s, sent_ms) else { return true };
    // Of a day all that is told may be its end.
    let created_s = if created_s % DAY_S == DAY_S - 1 { created_s + 1 - DAY_S } else { created_s };
    created_s.saturating_mul(1_000) <= sent_ms.saturating_add(LATE_MS)
}

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
    pub known_by: KnownBy,
}

/// What one complete list shows of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    NotThere,
    /// The batch, and the ids of others made of the same create: a request that was delivered twice.
    Here(&'a RemoteBatch, Vec<&'a str>),
    /// Our marker on something that is not what we sent, or several batches that may each be it.
    Strange(String),
}

impl Ours {
    /// Looks through a complete list. `sent_ms`: when the create left.
    #[must_use]
    pub fn find<'a>(&self, listed: &'a [RemoteBatch], sent_ms: Option<u64>) -> Found<'a> {
        let mut mine: Vec<&RemoteBatch> = Vec::new();
        let mut alike: Vec<&RemoteBatch> = Vec::new();
        let mut odd: Option<String> = None;
        for remote in listed.iter().filter(|remote| !self.is_too_late(remote, sent_ms)) {
            match self.fits(remote) {
                Fit::No => {}
                // A list that lags shows a batch on two of its pages.
                Fit::Yes if mine.iter().any(|known| known.id == remote.id) => {}
                Fit::Yes => mine.push(remote),
                Fit::Alike if alike.iter().any(|known| known.id == remote.id) => {}
                Fit::Alike => alike.push(remote),
                Fit::Odd(why) => odd = Some(why),
                Fit::Strange(why) => return Found::Strange(why),
            }
        }
        match alike.as_slice() {
            [one] if mine.is_empty() => return Found::Here(one, Vec::new()),
            [_, _, ..] if mine.is_empty() => {
                let ids: Vec<&str> = alike.iter().map(|remote| remote.id.as_str()).collect();
                let (items, ids) = (self.items, ids.join(", "));
                return Found::Strange(format!("several batches of {items} items may be it: {ids}"));
            }
            _ => {} // what is proved ours wins over what looks like it
        }
        // The oldest is the one that a person would expect; ids break ties, so that every listing decides alike.
        mine.sort_by(|left, right| (left.created_at, &left.id).cmp(&(right.created_at, &right.id)));
        match mine.split_first() {
            None => odd.map_or(Found::NotThere, Found::Strange),
            Some((first, rest)) => Found::Here(first, rest.iter().map(|twin| twin.id.as_str()).collect()),
        }
    }

    /// Whether a batch was made so long after the create that it cannot be its own. An input file lies in the account for all to see: what
    /// is made of it then is somebody else's.
    #[must_use]
    pub fn is_too_late(&self, remote: &RemoteBatch, sent_ms: Option<u64>) -> bool {
        self.known_by == KnownBy::Input && !is_in_time(remote.created_at, sent_ms)
    }

    /// Whether a batch that somebody names is this submission's; `Err` says why not. `since_s`: before, it cannot have been made.
    pub fn judge(&self, remote: &RemoteBatch, since_s: u64) -> Result<(), String> {
        let id = &remote.id;
        match self.fits(remote) {
            Fit::Yes => Ok(()),
            Fit::Strange(why) => Err(why),
            Fit::Odd(why) if self.known_by == KnownBy::Input => Err(why),
            _ if remote.marker.is_none() && !self.known_by.is_exact() => self.believe(remote, since_s),
            Fit::No | Fit::Alike | Fit::Odd(_) => Err(match &remote.marker {
                None if self.known_by == KnownBy::Input => {
                    format!("batch {id} was made of another input file")
                }
                None => format!("batch {id} has no mark of ours"),
                Some(marker) if marker.inst != self.inst => {
                    format!("batch {id} was made by another state folder")
                }
                Some(marker) => format!("batch {id} belongs to submission {}", marker.sub),
            }),
        }
    }

    /// Where nothing is written on a batch, the operator's word is believed unless something speaks against it.
    fn believe(&self, remote: &RemoteBatch, since_s: u64) -> Result<(), String> {
        let id = &remote.id;
        match &remote.owner {
            Owner::Submission(sub) => return Err(format!("batch {id} belongs to submission {sub}")),
            Owner::Foreign => return Err(format!("the results of batch {id} are not of items of ours")),
            Owner::Unknown => {}
        }
        if remote.counts.total != u64::from(self.items) {
            return Err(format!("batch {id} has {} items, {} were sent", remote.counts.total, self.items));
        }
        if remote.created_at.is_some_and(|created_s| created_s < since_s) {
            return Err(format!("batch {id} was made long before this one was sent"));
        }
        Ok(())
    }

    /// Whether the results of a listed batch would tell more of whose it is.
    #[must_use]
    pub fn asks_after(&self, remote: &RemoteBatch) -> bool {
        !self.known_by.is_exact()
            && remote.marker.is_none()
            && remote.owner == Owner::Unknown
            && remote.phase.is_terminal()
            && remote.counts.total == u64::from(self.items)
    }

    /// A batch on which nothing is written.
    fn resembles(&self, remote: &RemoteBatch) -> Fit {
        let id = &remote.id;
        let alone = planted::has(Bug::LooksAnywhere) && self.known_by == KnownBy::Results;
        match (&remote.owner, if alone { KnownBy::Looks } else { self.known_by }) {
            (_, KnownBy::Mark) => Fit::No,
            (_, KnownBy::Input) => self.of_input(remote),
            (Owner::Submission(sub), _) if *sub == self.sub => Fit::Yes,
            (Owner::Submission(_), _) | (_, KnownBy::Results) => Fit::No,
            // In an account of our own neither can be.
            (Owner::Foreign, KnownBy::Looks) => {
                Fit::Odd(format!("batch {id} is as large, and the first line of its results is not ours"))
            }
            (Owner::Unknown, KnownBy::Looks) if remote.counts.total == 0 => {
                Fit::Odd(format!("batch {id} does not say how large it is"))
            }
            (Owner::Unknown, KnownBy::Looks) if remote.counts.total == u64::from(self.items) => Fit::Alike,
            (Owner::Unknown, KnownBy::Looks) => Fit::No,
        }
    }

    /// Where the input file is the mark. A batch that shows none may be ours as long as its size does not speak against it.
    fn of_input(&self, remote: &RemoteBatch) -> Fit {
        let all = remote.counts.total;
        match (&self.input, &remote.input_file) {
            _ if planted::has(Bug::InputUnknown) => Fit::No,
            (Some(ours), Some(theirs)) if ours == theirs || planted::has(Bug::AnyInput) => {
                self.counted(remote)
            }
            (Some(_), None) if all == 0 || all == u64::from(self.items) => {
                Fit::Odd(format!("batch {} does not say which input file it was made of", remote.id))
            }
            _ => Fit::No,
        }
    }

    fn fits(&self, remote: &RemoteBatch) -> Fit {
        let Some(marker) = &remote.marker else { return self.resembles(remote) };
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
        self.counted(remote)
    }

    /// What is ours in all else. The count is 0 while the provider validates, and where it tells none; it grows while a file is read
    /// that is the mark itself.
    fn counted(&self, remote: &RemoteBatch) -> Fit {
        let (all, items) = (remote.counts.total, u64::from(self.items));
        let is_loading = self.known_by == KnownBy::Input && all < items;
        if all > 0 && all != items && !is_loading {
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
    /// It may be: nothing speaks against it.
    Alike,
    /// It is not taken, and its absence is not proved while it is there.
    Odd(String),
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
/// for by its own probe is left to it (`None`). A batch that bears no mark is of the submission that its `owner` names.
#[must_use]
pub fn sweep<'a>(
    inst: &str,
    listed: &'a [RemoteBatch],
    known: &'a HashMap<String, Option<String>>,
) -> Vec<Stray<'a>> {
    let mut strays = Vec::new();
    for remote in listed {
        let sub = match (&remote.marker, &remote.owner) {
            (Some(marker), _) if marker.inst == inst => &marker.sub,
            (None, Owner::Submission(sub)) if known.contains_key(sub) => sub,
            _ => continue,
        };
        match known.get_key_value(sub) {
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
        Ours {
            inst: "i".into(),
            sub: "s".into(),
            items: 2,
            digest: "d".into(),
            input: Some("file-1".into()),
            known_by: KnownBy::Mark,
        }
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
            ended_at: None,
            expires_at: None,
            marker: Some(Marker { inst: inst.into(), sub: sub.into(), items: 2, digest: "d".into() }),
            owner: Owner::Unknown,
        }
    }

    /// A batch on which nothing is written.
    fn bare(id: &str, total: u64, owner: Owner) -> RemoteBatch {
        let counts = BatchCounts { total, completed: 0, failed: 0 };
        RemoteBatch { input_file: None, marker: None, counts, owner, ..remote(id, "", "") }
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
            assert_eq!(matches!(ours().find(&listed, None), Found::Here(..)), want, "{listed:?}");
        }
    }

    #[test]
    fn a_mark_on_something_else_proves_nothing() {
        let counts = BatchCounts { total: 3, completed: 0, failed: 0 };
        for batch in [
            RemoteBatch { input_file: Some("file-2".into()), ..remote("b", "i", "s") },
            RemoteBatch { counts, ..remote("b", "i", "s") },
        ] {
            assert!(matches!(ours().find(&[batch], None), Found::Strange(_)));
        }
    }

    #[test]
    fn the_oldest_of_twins_is_adopted_and_the_others_are_named() {
        let listed = [
            RemoteBatch { created_at: Some(9), ..remote("b", "i", "s") },
            remote("a", "i", "s"),
            remote("a", "i", "s"),
        ];
        assert_eq!(ours().find(&listed, None), Found::Here(&listed[1], vec!["b"]));
    }

    fn of(sub: &str) -> Owner {
        Owner::Submission(sub.to_owned())
    }

    #[test]
    fn without_marks_results_prove_and_looks_do_only_in_an_account_of_ones_own() {
        use KnownBy::{Looks, Mark, Results};
        let here = |id: &str| Some(id.to_owned());
        let likely = || bare("b", 2, Owner::Unknown);
        for (listed, by, want) in [
            (vec![likely()], Mark, Ok(None)),
            (vec![likely()], Results, Ok(None)),
            (vec![likely()], Looks, Ok(here("b"))),
            (vec![likely(), likely()], Looks, Ok(here("b"))),
            (vec![bare("b", 3, Owner::Unknown)], Looks, Ok(None)),
            (vec![bare("b", 2, Owner::Foreign)], Results, Ok(None)),
            (vec![bare("b", 2, Owner::Foreign)], Looks, Err(())),
            (vec![bare("b", 0, Owner::Unknown)], Looks, Err(())),
            (vec![bare("c", 2, Owner::Foreign), likely()], Looks, Ok(here("b"))),
            (vec![bare("b", 2, of("other"))], Looks, Ok(None)),
            (vec![likely(), bare("c", 2, Owner::Unknown)], Looks, Err(())),
            (vec![likely(), bare("c", 2, of("other"))], Looks, Ok(here("b"))),
            (vec![likely(), bare("c", 2, of("s"))], Looks, Ok(here("c"))),
            (vec![likely(), bare("c", 2, of("s"))], Results, Ok(here("c"))),
            (vec![bare("c", 2, of("s"))], Mark, Ok(None)),
        ] {
            let ours = Ours { known_by: by, ..ours() };
            let found = match ours.find(&listed, None) {
                Found::Here(remote, _) => Ok(Some(remote.id.clone())),
                Found::NotThere => Ok(None),
                Found::Strange(_) => Err(()),
            };
            assert_eq!(found, want, "{by:?} {listed:?}");
        }
    }

    #[test]
    fn where_a_batch_shows_its_input_file_that_is_the_mark() {
        let ours = Ours { known_by: KnownBy::Input, ..ours() };
        let made_of = |id: &str, file: &str| RemoteBatch {
            input_file: Some(file.into()),
            ..bare(id, 0, Owner::Unknown)
        };
        let [counts, loading] = [3, 1].map(|total| BatchCounts { total, completed: 0, failed: 0 });
        for (listed, want) in [
            (vec![made_of("b", "file-1")], Ok(Some("b"))),
            (vec![made_of("b", "file-2")], Ok(None)),
            // One that shows no input file is not taken, and no proof that there is none.
            (vec![bare("b", 2, Owner::Unknown)], Err(())),
            (vec![bare("b", 0, Owner::Unknown)], Err(())),
            (vec![bare("b", 3, Owner::Unknown)], Ok(None)),
            (vec![bare("c", 2, Owner::Unknown), made_of("b", "file-1")], Ok(Some("b"))),
            (vec![RemoteBatch { counts, ..made_of("b", "file-1") }], Err(())),
            // Its file is still read: it is ours, and its input is not deleted.
            (vec![RemoteBatch { counts: loading, ..made_of("b", "file-1") }], Ok(Some("b"))),
        ] {
            let found = match ours.find(&listed, None) {
                Found::Here(remote, _) => Ok(Some(remote.id.as_str())),
                Found::NotThere => Ok(None),
                Found::Strange(_) => Err(()),
            };
            assert_eq!(found, want, "{listed:?}");
        }
        let twins = [made_of("b", "file-1"), made_of("a", "file-1")];
        assert_eq!(ours.find(&twins, None), Found::Here(&twins[1], vec!["b"]));
        // A file that was never uploaded is that of no batch.
        let unsent = Ours { input: None, ..ours.clone() };
        assert_eq!(unsent.find(&[bare("b", 2, Owner::Unknown)], None), Found::NotThere);
        assert!(ours.judge(&made_of("b", "file-1"), 5).is_ok());
        let judged = ours.judge(&made_of("b", "file-2"), 5);
        assert!(judged.is_err_and(|why| why.contains("another input file")));
        let judged = ours.judge(&bare("b", 2, Owner::Unknown), 5);
        assert!(judged.is_err_and(|why| why.contains("does not say which")));
        assert!(!ours.asks_after(&RemoteBatch { phase: Phase::Completed, ..bare("b", 2, Owner::Unknown) }));
    }

    /// While a create is in doubt whose file cannot be deleted, what somebody makes of the file hours later is not adopted.
    #[test]
    fn what_was_made_of_our_file_hours_later_is_not_ours() {
        let sent_ms = Some(5_000);
        let ours = Ours { known_by: KnownBy::Input, ..ours() };
        let made = |id: &str, created_s: u64, file: Option<&str>| RemoteBatch {
            created_at: Some(created_s),
            input_file: file.map(str::to_owned),
            ..bare(id, 0, Owner::Unknown)
        };
        let (first, last) = (made("b", 5, Some("file-1")), 5 + LATE_MS / 1_000);
        for (listed, want) in [
            (vec![made("c", last, Some("file-1"))], Ok(Some("c"))),
            (vec![made("c", last + 1, Some("file-1"))], Ok(None)),
            (vec![made("c", last + 1, Some("file-1")), first], Ok(Some("b"))),
            // Nor does it speak against the absence of ours where its file is not shown.
            (vec![made("c", last + 1, None)], Ok(None)),
            (vec![made("c", last, None)], Err(())),
        ] {
            let found = match ours.find(&listed, sent_ms) {
                Found::Here(remote, twins) => Ok(Some(remote.id.as_str()).filter(|_| twins.is_empty())),
                Found::NotThere => Ok(None),
                Found::Strange(_) => Err(()),
            };
            assert_eq!(found, want, "{listed:?}");
        }
        let marked = RemoteBatch { created_at: Some(last + 1), ..remote("b", "i", "s") };
        assert!(matches!(self::ours().find(&[marked], sent_ms), Found::Here(..)), "a mark is a mark");
    }

    #[test]
    fn a_create_makes_no_batch_after_two_hours() {
        let sent_ms = 1_795_096_800_000; // two in the afternoon
        for (created_s, want) in [
            (None, true),
            (Some(1_795_096_801), true),
            (Some(1_795_096_800 + 7_200), true),
            (Some(1_795_096_800 + 7_201), false),
            (Some(1_795_132_799), true), // some time of that day
            (Some(1_795_132_799 + 86_400), false),
        ] {
            assert_eq!(is_in_time(created_s, Some(sent_ms)), want, "{created_s:?}");
        }
    }

    #[test]
    fn two_batches_that_results_prove_are_twins() {
        let ours = Ours { known_by: KnownBy::Looks, ..ours() };
        let listed = [bare("c", 2, of("s")), bare("b", 2, of("s"))];
        assert_eq!(ours.find(&listed, None), Found::Here(&listed[1], vec!["c"]));
    }

    #[test]
    fn the_operator_is_believed_unless_something_speaks_against_it() {
        let early = RemoteBatch { created_at: Some(4), ..bare("b", 2, Owner::Unknown) };
        for (batch, by, why) in [
            (bare("b", 2, Owner::Unknown), KnownBy::Results, None),
            (bare("b", 2, Owner::Unknown), KnownBy::Looks, None),
            (bare("b", 2, of("s")), KnownBy::Results, None),
            (bare("b", 2, Owner::Unknown), KnownBy::Mark, Some("no mark of ours")),
            (bare("b", 2, of("other")), KnownBy::Looks, Some("belongs to submission other")),
            (bare("b", 2, Owner::Foreign), KnownBy::Results, Some("not of items of ours")),
            (bare("b", 3, Owner::Unknown), KnownBy::Results, Some("has 3 items, 2 were sent")),
            (early, KnownBy::Looks, Some("long before")),
        ] {
            let judged = Ours { known_by: by, ..ours() }.judge(&batch, 5);
            let fits = match (&judged, why) {
                (Ok(()), None) => true,
                (Err(said), Some(why)) => said.contains(why),
                _ => false,
            };
            assert!(fits, "{by:?} {batch:?}: {judged:?}");
        }
    }

    #[test]
    fn only_results_that_can_tell_are_asked_for() {
        let ended = |owner| RemoteBatch { phase: Phase::Completed, ..bare("b", 2, owner) };
        let looks = Ours { known_by: KnownBy::Looks, ..ours() };
        assert!(looks.asks_after(&ended(Owner::Unknown)));
        assert!(!looks.asks_after(&ended(of("s"))) && !looks.asks_after(&ended(Owner::Foreign)));
        assert!(!looks.asks_after(&bare("b", 2, Owner::Unknown)), "it runs");
        assert!(!ours().asks_after(&ended(Owner::Unknown)));
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
        // Without marks nobody's are ghosts.
        let bare = [bare("b1", 2, of("s1")), bare("b2", 2, of("s1")), bare("b3", 2, of("lost"))];
        assert_eq!(sweep("i", &bare, &known), [Stray::Twin(&bare[1], "s1")]);
    }
}
