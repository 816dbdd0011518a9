//! The ladder of one item: which attempt comes next, in which lane, after what wait, or that it is dead.

use crate::failure::{FailureClass, Verdict};
use crate::lane::Lane;
use crate::pace::rng::{mix, scaled};

/// The attempts of one item so far, the failed one included, and how many of them failed in a way with its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Attempts {
    /// Attempts in the batch lane.
    pub batch: u8,
    /// Attempts in the sync and flex lanes.
    pub calls: u8,
    /// Attempts whose answer was empty or failed its schema.
    pub unusable: u8,
    pub refusals: u8,
    pub truncations: u8,
    /// Refusals for limits or capacity since the last attempt; they only lengthen the wait.
    pub waits: u8,
    /// Bundles that brought the item no answer; they are no attempts.
    pub bundles: u8,
}

impl Attempts {
    /// Counts a failed attempt; call before `Ladder::next`.
    pub fn record(&mut self, lane: Lane, class: FailureClass) {
        let add = |count: &mut u8| *count = count.saturating_add(1);
        match class {
            FailureClass::SchemaFailed | FailureClass::Empty => add(&mut self.unusable),
            FailureClass::Refusal => add(&mut self.refusals),
            FailureClass::Truncated => add(&mut self.truncations),
            FailureClass::BundleFailed => return add(&mut self.bundles),
            _ => {}
        }
        if !class.counts_as_attempt() {
            add(&mut self.waits);
            return;
        }
        self.waits = 0;
        match lane {
            Lane::Batch => add(&mut self.batch),
            Lane::Flex | Lane::Sync => add(&mut self.calls),
        }
    }

    /// All attempts, whatever the lane.
    #[must_use]
    pub fn total(&self) -> u32 {
        u32::from(self.batch) + u32::from(self.calls)
    }
}

/// A failed attempt and what the next one depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    /// The lane of the failed attempt.
    pub lane: Lane,
    /// What the provider asked to wait.
    pub retry_after_us: Option<u64>,
    /// Refused for lack of capacity, as flex calls are.
    pub no_capacity: bool,
    /// How long the item has been waiting for flex capacity.
    pub waited_us: u64,
    /// Time until the item must be in the sync lane to meet the deadline (`pace::switch_at` - now); `None` = no deadline.
    pub switch_in_us: Option<u64>,
    /// The output maximum of the failed attempt.
    pub max_tokens: u32,
    /// The largest output maximum of the model.
    pub max_tokens_model: u32,
    /// Any number; the same number gives the same wait.
    pub random: u64,
}

/// What happens to the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt in `lane`, not before `wait_us` from now; `max_tokens`: a new output maximum.
    Again { lane: Lane, wait_us: u64, max_tokens: Option<u32> },
    /// The item ends with this class.
    Dead(FailureClass),
    /// The job stops: every item would end like this.
    Halt(FailureClass),
}

/// How often and after what waits an item is tried again; with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// The lane the job runs in: an item of a batch job ends with calls, an item of a sync job never joins a batch.
    pub home: Lane,
    /// Batch attempts of an item whose home is the batch lane; then come `calls_after_batch`.
    pub batch_max: u8,
    pub calls_after_batch: u8,
    /// Calls of an item whose home is the sync or flex lane.
    pub calls_max: u8,
    pub batch_wait_us: u64,
    pub wait_base_us: u64,
    pub wait_max_us: u64,
    /// Retries after empty answers and answers that failed the schema, together.
    pub unusable_retries: u8,
    pub refusal_retries: u8,
    /// How long flex capacity is waited for before the item goes to the sync lane.
    pub flex_patience_us: u64,
}

impl Ladder {
    #[must_use]
    pub fn new(home: Lane) -> Self {
        Self {
            home,
            batch_max: 2,
            calls_after_batch: 1,
            calls_max: 5,
            batch_wait_us: 60_000_000,
            wait_base_us: 500_000,
            wait_max_us: 60_000_000,
            unusable_retries: 2,
            refusal_retries: 1,
            flex_patience_us: 900_000_000,
        }
    }

    /// Where there are no calls, the attempts that would be calls are batches too.
    #[must_use]
    pub fn without_calls(self) -> Self {
        Self {
            batch_max: self.batch_max.saturating_add(self.calls_after_batch),
            calls_after_batch: 0,
            ..self
        }
    }

    /// What comes after `failure`, with `attempts` counting it already.
    ///
    /// When attempts run out, the item keeps its last class where that class says something about the item itself
    /// (`schema_failed`, `empty`, `truncated`, `refusal`); what the provider did to it (`transient`, `timeout`,
    /// `expired`) ends as `attempts_exhausted`, with every attempt's own reason in the dead letter.
    #[must_use]
    pub fn next(&self, attempts: &Attempts, failure: &Failure) -> Next {
        match failure.class.verdict() {
            Verdict::HaltJob => return Next::Halt(failure.class),
            Verdict::GiveUp => return Next::Dead(failure.class),
            Verdict::RetryLater => {}
        }
        if failure.class == FailureClass::BundleFailed {
            return self.after_bundle(attempts, failure);
        }
        if !failure.class.counts_as_attempt() {
            return self.after_refusal(attempts, failure);
        }
        let spent = match failure.class {
            FailureClass::SchemaFailed | FailureClass::Empty => attempts.unusable > self.unusable_retries,
            FailureClass::Refusal => attempts.refusals > self.refusal_retries,
            FailureClass::Truncated => attempts.truncations > 1,
            _ => false,
        };
        if spent {
            return Next::Dead(failure.class);
        }
        let max_tokens = match failure.class {
            FailureClass::Truncated => match raised(failure.max_tokens, failure.max_tokens_model) {
                Some(raised) => Some(raised),
                None => return Next::Dead(failure.class),
            },
            _ => None,
        };
        match self.lane_after(attempts, failure) {
            Some(lane) => Next::Again { lane, wait_us: self.wait_us(attempts, failure, lane), max_tokens },
            None => Next::Dead(exhausted(failure.class)),
        }
    }

    /// The lane of the next attempt; `None`: no attempt is left.
    fn lane_after(&self, attempts: &Attempts, failure: &Failure) -> Option<Lane> {
        let late = failure.switch_in_us == Some(0);
        match self.home {
            Lane::Batch if self.batches(attempts) && attempts.batch < self.batch_max && !late => {
                Some(Lane::Batch)
            }
            // Attempts that were to be batches are calls where bundles have used the batches up.
            Lane::Batch if !self.batches(attempts) => {
                let all = self.batch_max.saturating_add(self.calls_after_batch);
                (attempts.total() < u32::from(all)).then_some(Lane::Sync)
            }
            Lane::Batch => (attempts.calls < self.calls_after_batch).then_some(Lane::Sync),
            _ if attempts.calls >= self.calls_max => None,
            // The last try takes the surer lane.
            Lane::Flex if !late && failure.lane == Lane::Flex && attempts.calls + 1 < self.calls_max => {
                Some(Lane::Flex)
            }
            Lane::Flex | Lane::Sync => Some(Lane::Sync),
        }
    }

    /// Refused for limits or capacity: no attempt was made, so the same lane again, unless flex patience is over.
    fn after_refusal(&self, attempts: &Attempts, failure: &Failure) -> Next {
        let wait_us = self.jittered(u32::from(attempts.waits), failure);
        let patience_us =
            failure.switch_in_us.map_or(self.flex_patience_us, |left| left.min(self.flex_patience_us));
        if failure.lane == Lane::Flex
            && failure.no_capacity
            && failure.waited_us.saturating_add(wait_us) > patience_us
        {
            return Next::Again { lane: Lane::Sync, wait_us: 0, max_tokens: None };
        }
        Next::Again { lane: failure.lane, wait_us, max_tokens: None }
    }

    /// Whether bundles have left batches to the item; a batch takes hours.
    fn batches(&self, attempts: &Attempts) -> bool {
        self.calls_after_batch == 0 || attempts.bundles < self.batch_max
    }

    /// Asked again with fewer: the provider is well, so there is nothing to wait for. After as many bundles as there are
    /// attempts in batches the item is called for, where it can be.
    fn after_bundle(&self, attempts: &Attempts, failure: &Failure) -> Next {
        let late = failure.switch_in_us == Some(0);
        let batches = self.calls_after_batch == 0 || self.batches(attempts) && !late;
        let (lane, wait_us) = match failure.lane {
            Lane::Batch if batches => (Lane::Batch, self.batch_wait_us),
            Lane::Flex if !late => (Lane::Flex, 0),
            Lane::Batch | Lane::Flex | Lane::Sync => (Lane::Sync, 0),
        };
        Next::Again { lane, wait_us, max_tokens: None }
    }

    fn wait_us(&self, attempts: &Attempts, failure: &Failure, lane: Lane) -> u64 {
        let asked_us = failure.retry_after_us.unwrap_or(0);
        match (lane, failure.class) {
            (Lane::Batch, _) => asked_us.max(self.batch_wait_us),
            // The provider is well and the answer merely bad: nothing to wait for.
            (
                _,
                FailureClass::Truncated
                | FailureClass::SchemaFailed
                | FailureClass::Empty
                | FailureClass::Refusal,
            ) => asked_us,
            _ => self.jittered(attempts.total(), failure),
        }
    }

    /// Uniform in `0 ..= min(max, base x 2^n)`, never below what the provider asked for.
    fn jittered(&self, n: u32, failure: &Failure) -> u64 {
        let top_us = self.wait_base_us.saturating_mul(1 << n.min(20)).min(self.wait_max_us);
        let asked_us = failure.retry_after_us.unwrap_or(0);
        scaled(mix(failure.random), top_us).max(asked_us)
    }
}

/// Four times the output maximum within the model's; `None` if that is no raise.
fn raised(max_tokens: u32, max_tokens_model: u32) -> Option<u32> {
    Some(max_tokens.saturating_mul(4).min(max_tokens_model)).filter(|raised| *raised > max_tokens)
}

fn exhausted(class: FailureClass) -> FailureClass {
    match class {
        FailureClass::SchemaFailed
        | FailureClass::Empty
        | FailureClass::Truncated
        | FailureClass::Refusal => class,
        _ => FailureClass::AttemptsExhausted,
    }
}
