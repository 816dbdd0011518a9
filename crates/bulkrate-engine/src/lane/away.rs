//! Whether a deployment is away: nobody is there, or call after call goes out and nothing that can be read comes back.
//!
//! Each call that is lost may have been paid. So while calls are being lost, none goes out before a call that costs nothing
//! (the account's probe) has been answered; then one goes alone. A call that could not be sent at all is free to try, and
//! looks for itself.

use bulkrate_provider::{ApiError, Health};

/// The longest wait between two looks at a provider that is away, and at one that may never have been there. After a call that was lost
/// where others stand in: as for one whose looks are never answered.
const WAIT_MAX_US: u64 = 60_000_000;
const NEVER_THERE_WAIT_MAX_US: u64 = 5_000_000;
const WAIT_MIN_US: u64 = 500_000;
/// So many calls in a row without one good word, and it is away. A single one proves nothing: requests fail by themselves.
const LOST_MAX: u32 = 4;
/// A deployment whose probe is never answered is tried so often all the same: something on the way may refuse probes only.
const PAID_EVERY_US: u64 = 15 * 60_000_000;

/// Free looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Look {
    /// A call may go without one.
    #[default]
    Needless,
    Due,
    Out,
}

/// Whether somebody answered a free look, well or badly: in its own words, and with no page of somebody else's.
pub(super) fn is_there(look: &Result<Health, ApiError>) -> bool {
    match look {
        Ok(_) => true,
        Err(error) => error.status.is_some_and(|status| (400..500).contains(&status)),
    }
}

/// What the calls of one deployment have met with.
#[derive(Debug, Default)]
pub(super) struct Away {
    since_us: Option<u64>,
    /// Until when nobody looks again.
    shut_until_us: u64,
    /// Calls lost in a row.
    lost: u32,
    lost_us: u64,
    look: Look,
    /// Its calls go elsewhere.
    left: bool,
    /// The API has spoken in this run.
    answered: bool,
}

impl Away {
    /// Only one call at a time may be out.
    pub(super) fn is_away(&self) -> bool {
        self.since_us.is_some()
    }

    /// How long it has been away; 0 also while a call tries whether it is back.
    pub(super) fn for_us(&self, now_us: u64) -> u64 {
        if self.left && self.look == Look::Needless {
            return 0;
        }
        self.since_us.map_or(0, |since_us| now_us.saturating_sub(since_us))
    }

    /// Its calls go elsewhere, or would until it has shown that it is back.
    pub(super) fn is_left(&self) -> bool {
        self.left
    }

    /// Calls go elsewhere: only free looks find out when it is back.
    pub(super) fn leave(&mut self, now_us: u64) {
        if !self.left {
            (self.left, self.lost_us) = (true, now_us);
        }
        if self.look == Look::Needless {
            self.look = Look::Due;
        }
    }

    /// Whether a call, alone, has to wait.
    pub(super) fn shuts(&self, now_us: u64) -> bool {
        self.is_away() && (now_us < self.shut_until_us || self.look != Look::Needless)
    }

    /// The API has said something good of a call that left at `sent_us`. Whether it had been away; an answer that was under way
    /// when the last call was lost says nothing about now.
    pub(super) fn back(&mut self, sent_us: u64) -> bool {
        if self.is_away() && self.lost > 0 && sent_us < self.lost_us {
            self.answered = true;
            return false;
        }
        let away = self.since_us.take().is_some();
        (self.lost, self.look, self.left, self.answered) = (0, Look::Needless, false, true);
        away
    }

    /// A call could not be sent. For how long to wait, drawn with `random`, and whether it is the first.
    pub(super) fn not_sent(&mut self, now_us: u64, random: u64) -> (u64, bool) {
        let first = self.since_us.is_none();
        if self.left {
            (self.look, self.lost_us) = (Look::Due, now_us);
        }
        (self.wait(now_us, random, self.longest_us()), first)
    }

    /// A call was sent and brought nothing good: no answer, a page of somebody else's, or the API's word that it is down.
    /// True: it is away from now on.
    pub(super) fn lost(&mut self, now_us: u64, random: u64) -> bool {
        self.lost = self.lost.saturating_add(1);
        self.lost_us = now_us;
        let away = self.is_away();
        // Of a place that has never answered one lost call is enough: it may be the wrong one.
        if !away && self.answered && self.lost < LOST_MAX {
            return false;
        }
        if self.look == Look::Needless {
            self.look = Look::Due;
        }
        // What tried whether it is back is in doubt now, which leaves less room for those that stand in.
        let longest_us = if self.left { PAID_EVERY_US } else { self.longest_us() };
        self.wait(now_us, random, longest_us);
        !away
    }

    /// Whether it is time for a free look; the caller then takes it.
    pub(super) fn takes_look(&mut self, now_us: u64) -> bool {
        let due = self.look == Look::Due && now_us >= self.shut_until_us;
        if due {
            self.look = Look::Out;
        }
        due
    }

    /// A free look ended. `there`: somebody answered, well or badly. True: a paid call may go, alone.
    pub(super) fn looked(&mut self, now_us: u64, there: bool, random: u64) -> bool {
        if self.look != Look::Out {
            return false; // a call was answered meanwhile
        }
        if there || now_us.saturating_sub(self.lost_us) >= PAID_EVERY_US {
            self.look = Look::Needless;
        } else {
            self.look = Look::Due;
            self.wait(now_us, random, self.longest_us());
        }
        self.look == Look::Needless
    }

    /// When to look again, or to let the next call go.
    pub(super) fn opens_at(&self, now_us: u64) -> Option<u64> {
        let waits = self.is_away() && self.look != Look::Out;
        Some(self.shut_until_us).filter(|until| waits && now_us < *until)
    }

    fn longest_us(&self) -> u64 {
        if self.answered { WAIT_MAX_US } else { NEVER_THERE_WAIT_MAX_US }
    }

    /// As long again as it has been away, however many calls have found that out: a short outage costs little.
    fn wait(&mut self, now_us: u64, random: u64, longest_us: u64) -> u64 {
        let away_us = now_us - *self.since_us.get_or_insert(now_us);
        let most_us = away_us.clamp(WAIT_MIN_US, longest_us);
        let wait_us = most_us / 2 + random % (most_us / 2);
        self.shut_until_us = self.shut_until_us.max(now_us + wait_us);
        wait_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    /// Calls lost within an hour in which every call is lost and free looks are answered or not.
    fn lost_in_an_hour(answered: bool, there: bool) -> u32 {
        let mut away = Away { answered, ..Away::default() };
        let mut lost = 0;
        for tick in 0..3_600 * 10 {
            let (now_us, random) = (tick * S / 10, tick.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            if away.takes_look(now_us) {
                away.looked(now_us, there, random);
            }
            if !away.shuts(now_us) {
                away.lost(now_us, random);
                lost += 1;
            }
        }
        lost
    }

    #[test]
    fn an_hour_without_answers_costs_a_few_calls() {
        // One each quarter of an hour.
        assert!((4 + 3..=4 + 4).contains(&lost_in_an_hour(true, false)));
        assert!((1 + 3..=1 + 4).contains(&lost_in_an_hour(false, false)));
        let there = lost_in_an_hour(true, true);
        assert!((60..150).contains(&there), "who answers for free is tried each minute: {there}");
    }

    #[test]
    fn trials_that_are_lost_leave_the_stand_in_its_room_for_doubt() {
        let mut away = Away { answered: true, ..Away::default() };
        for _ in 0..LOST_MAX {
            away.lost(0, 0);
        }
        let (mut trials, mut last_us) = (Vec::new(), 0);
        for second in 60..3 * 3_600 {
            let (now_us, random) = (second * S, second.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            away.leave(now_us);
            if away.takes_look(now_us) {
                away.looked(now_us, true, random);
            }
            if !away.shuts(now_us) {
                away.lost(now_us, random);
                trials.push((now_us - last_us) / S);
                last_us = now_us;
            }
        }
        assert!(
            (12..=30).contains(&trials.len()),
            "in three hours, though each free look is answered: {trials:?}"
        );
        assert!(trials.iter().skip(8).all(|pause_s| (450..=900).contains(pause_s)), "{trials:?}");
        assert!(away.back(last_us + S), "and the first good word counts");
    }

    #[test]
    fn single_calls_are_lost_without_consequence_where_others_are_answered() {
        let mut away = Away::default();
        away.back(0);
        for at in 0..999 {
            assert!(!away.lost(at, 0) && !away.shuts(at), "{at}");
            if at % 3 == 2 {
                assert!(!away.back(at));
            }
        }
        for at in 0..3 {
            assert!(!away.lost(at, 0));
        }
        assert!(away.lost(4, 0) && away.shuts(5), "the fourth in a row");
        assert!(!away.lost(5, 0), "told once");
        assert!(!away.back(3) && away.shuts(6), "it was under way before");
        assert!(away.back(6) && !away.shuts(6));
    }

    #[test]
    fn a_call_goes_once_a_free_look_was_answered() {
        let mut away = Away::default();
        assert!(away.lost(0, 0), "a place that never answered is doubted at once");
        assert!(!away.takes_look(1) && away.shuts(1), "not at once");
        let at = away.opens_at(1).unwrap_or(0);
        assert!(away.shuts(at) && away.takes_look(at) && !away.takes_look(at), "one look at a time");
        assert_eq!(away.opens_at(at), None, "while it is out nobody waits for a time");
        away.looked(at, false, 0);
        assert!(away.shuts(at) && away.opens_at(at).is_some());
        let at = away.opens_at(at).unwrap_or(0);
        assert!(away.takes_look(at));
        away.looked(at, true, 0);
        assert!(!away.shuts(at) && away.is_away(), "one call, alone");
        away.lost(at, 0);
        assert!(away.shuts(at));
        away.back(at);
        away.looked(at, false, 0);
        assert!(!away.shuts(at), "a late look says nothing about who has answered since");
    }

    #[test]
    fn whose_calls_go_elsewhere_is_looked_for_until_somebody_answers() {
        let mut away = Away::default();
        away.not_sent(0, 0);
        assert_eq!(away.for_us(7), 7);
        away.leave(0);
        let at = away.opens_at(0).unwrap_or(0);
        assert!(away.shuts(at) && away.takes_look(at));
        away.leave(at);
        assert!(!away.takes_look(at), "one is out");
        away.looked(at, true, 0);
        assert!(!away.shuts(at) && away.is_away(), "it is given one call");
        assert_eq!(away.for_us(at), 0, "which nothing takes from it");
        away.lost(at + 1, 0);
        assert_eq!(away.for_us(at + 1), at + 1, "and was in vain");
        let later = away.opens_at(at + 1).unwrap_or(0);
        assert!(away.takes_look(later));
        away.looked(later, true, 0);
        assert!(away.back(later) && away.for_us(later) == 0);
        // Something on the way may refuse free calls only: a paid one goes all the same, in time.
        away.not_sent(later, 0);
        away.leave(later);
        let mut tries = 0;
        for second in 1..3_600 {
            let now_us = later + second * S;
            if away.takes_look(now_us) && away.looked(now_us, false, 0) {
                tries += 1;
                away.not_sent(now_us, 0);
            }
        }
        assert!((1..=4).contains(&tries), "{tries}");
    }

    #[test]
    fn who_cannot_be_reached_is_tried_without_a_look() {
        for (answered, longest_s) in [(true, 30..=60), (false, 2..=5)] {
            let mut away = Away { answered, ..Away::default() };
            let (mut now_us, mut longest_us) = (S, 0);
            for look in 0..200_u64 {
                assert!(!away.shuts(now_us) && away.opens_at(now_us).is_none());
                let (wait_us, first) = away.not_sent(now_us, look.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                assert_eq!(first, look == 0);
                assert!(away.shuts(now_us + wait_us - 1));
                assert_eq!(away.opens_at(now_us), Some(now_us + wait_us));
                longest_us = longest_us.max(wait_us);
                now_us += wait_us;
            }
            assert!(longest_s.contains(&(longest_us / S)), "{longest_us}");
        }
    }
}
