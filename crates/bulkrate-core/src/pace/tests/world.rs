//! A client and a provider as events on one clock: log-normal tokens and latencies, buckets of limits that fill
//! continuously, a network that delays by a few milliseconds, capacity that falls for a while.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::pace::rng::SplitMix64;
use crate::pace::{
    Admit, Concurrency, Hints, Limits, Pacer, RefusalKind, SECOND_US, Signal, float, whole_up,
};

/// What the provider books for a call when it is admitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Charged {
    /// The estimate as the client makes it: prompt and output maximum.
    Estimate,
    /// What the call uses in the end.
    Used,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) items: usize,
    pub(super) rpm: f64,
    pub(super) tpm: f64,
    /// Seconds of the limit that the provider lets pass at once.
    pub(super) burst_s: f64,
    pub(super) charged: Charged,
    pub(super) headers: bool,
    pub(super) configured: bool,
    /// Median of prompt tokens and of output tokens, and the output maximum.
    pub(super) prompt: f64,
    pub(super) output: f64,
    pub(super) output_max: u64,
    pub(super) latency_s: f64,
    pub(super) latency_sigma: f64,
    /// Calls that the provider runs at once; more wait in a queue there.
    pub(super) servers: usize,
    pub(super) in_flight_max: u32,
    pub(super) jitter_us: u64,
    /// From, to (seconds), share of the limits that is left.
    pub(super) cut: Option<(f64, f64, f64)>,
    /// Seconds that a refusal asks to wait at least.
    pub(super) retry_after_min_s: f64,
    /// The share of calls that a gateway refuses for no reason of ours, each with `retry-after: 1`.
    pub(super) random: f64,
}

impl World {
    pub(super) fn limited(seed: u64) -> Self {
        Self {
            seed,
            items: 3_000,
            rpm: 6_000.0,
            tpm: 600_000.0,
            burst_s: 1.0,
            charged: Charged::Estimate,
            headers: true,
            configured: true,
            prompt: 60.0,
            output: 3.0,
            output_max: 16,
            latency_s: 0.3,
            latency_sigma: 0.3,
            servers: usize::MAX,
            in_flight_max: 2_000,
            jitter_us: 5_000,
            cut: None,
            retry_after_min_s: 0.001,
            random: 0.0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Item {
    prompt: u64,
    output: u64,
    latency_us: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) span_s: f64,
    /// Shortest span that any client could reach.
    pub(super) ideal_s: f64,
    pub(super) refused: usize,
    pub(super) answered: usize,
    pub(super) in_flight_top: u32,
}

impl Outcome {
    pub(super) fn reached(&self) -> f64 {
        self.ideal_s / self.span_s
    }
}

struct Bucket {
    per_s: f64,
    level: f64,
    burst: f64,
    at_us: u64,
}

impl Bucket {
    fn new(per_minute: f64, burst_s: f64) -> Self {
        let burst = (per_minute / 60.0 * burst_s).max(1.0);
        Self { per_s: per_minute / 60.0, level: burst, burst, at_us: 0 }
    }

    fn fill(&mut self, now_us: u64, share: f64) {
        let gained = float(now_us - self.at_us) / SECOND_US * self.per_s * share;
        self.level = (self.level + gained).min(self.burst);
        self.at_us = now_us;
    }

    /// Seconds until `amount` fits; more than a full bucket overdraws it.
    fn wait_s(&self, amount: f64, share: f64) -> f64 {
        ((amount.min(self.burst) - self.level) / (self.per_s * share)).max(0.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { item: usize, sent_us: u64 },
    Answer { item: usize, sent_us: u64, left: (u64, u64) },
    Refused { item: usize, sent_us: u64, by_tokens: Option<bool>, retry_after_us: u64, left: (u64, u64) },
    Ready { item: usize },
    Wake,
}

struct Run<'a> {
    world: &'a World,
    items: Vec<Item>,
    rng: SplitMix64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    pacer: Pacer,
    flight: Concurrency,
    queue: VecDeque<usize>,
    woken_us: u64,
    buckets: (Bucket, Bucket),
    /// When each of the provider's places becomes free.
    places: BinaryHeap<Reverse<u64>>,
    outcome: Outcome,
}

pub(super) fn run(world: &World) -> Outcome {
    let items = items(world);
    let ideal_s = ideal_s(world, &items);
    let limits = if world.configured {
        Limits { rpm: Some(world.rpm as u64), tpm: Some(world.tpm as u64) }
    } else {
        Limits::default()
    };
    let mut run = Run {
        world,
        rng: SplitMix64::new(world.seed ^ 0xABCD),
        events: BinaryHeap::new(),
        order: 0,
        pacer: Pacer::new(limits),
        flight: Concurrency::new(world.in_flight_max),
        queue: (0..items.len()).collect(),
        items,
        woken_us: u64::MAX,
        buckets: buckets(world),
        places: BinaryHeap::new(),
        outcome: Outcome { span_s: 0.0, ideal_s, refused: 0, answered: 0, in_flight_top: 0 },
    };
    run.pump(0);
    while let Some(Reverse((now_us, _, event))) = run.events.pop() {
        run.handle(now_us, event);
        run.pump(now_us);
    }
    run.outcome
}

impl Run<'_> {
    fn at(&mut self, at_us: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at_us, self.order, event)));
    }

    /// Sends what may go.
    fn pump(&mut self, now_us: u64) {
        let tokens = self.queue.front().map_or(1, |item| self.estimate(*item));
        if let Some(calls_per_s) = self.pacer.calls_per_s(tokens) {
            self.flight.raise_for_rate(calls_per_s);
        }
        while self.flight.has_room() {
            let Some(item) = self.queue.front().copied() else { return };
            match self.pacer.admit(now_us, self.estimate(item)) {
                Admit::Go => {
                    self.queue.pop_front();
                    self.flight.on_sent(now_us);
                    self.outcome.in_flight_top = self.outcome.in_flight_top.max(self.flight.in_flight());
                    let delay_us = self.delay_us();
                    self.at(now_us + delay_us, Event::Arrive { item, sent_us: now_us });
                }
                Admit::At(at_us) => {
                    assert!(at_us > now_us, "a time to wait for lies ahead");
                    if self.woken_us > at_us || self.woken_us <= now_us {
                        self.woken_us = at_us;
                        self.at(at_us, Event::Wake);
                    }
                    return;
                }
            }
        }
    }

    fn handle(&mut self, now_us: u64, event: Event) {
        match event {
            Event::Wake => {}
            Event::Ready { item } => self.queue.push_front(item),
            Event::Arrive { item, sent_us } => self.arrive(now_us, item, sent_us),
            Event::Answer { item, sent_us, left } => {
                let Item { prompt, output, .. } = self.items[item];
                self.observe(now_us, sent_us, left);
                self.pacer.answered(now_us);
                self.pacer.correct(self.estimate(item), prompt + output);
                self.flight.on_done(now_us, now_us - sent_us, output, Signal::Ok);
                self.outcome.answered += 1;
                self.outcome.span_s = float(now_us) / SECOND_US;
            }
            Event::Refused { item, sent_us, by_tokens, retry_after_us, left } => {
                self.observe(now_us, sent_us, left);
                let kind = match by_tokens {
                    Some(true) => RefusalKind::Tokens,
                    Some(false) => RefusalKind::Requests,
                    None => RefusalKind::Unspecified,
                };
                self.pacer.on_refused(now_us, kind, Some(retry_after_us));
                self.flight.on_dropped();
                self.outcome.refused += 1;
                let wait_us = retry_after_us + self.rng.up_to(500_000);
                self.at(now_us + wait_us, Event::Ready { item });
            }
        }
    }

    /// The provider decides.
    fn arrive(&mut self, now_us: u64, item: usize, sent_us: u64) {
        let share = share(self.world, now_us);
        let tokens = charge(self.world, &self.items[item]);
        self.buckets.0.fill(now_us, share);
        self.buckets.1.fill(now_us, share);
        let waits = (self.buckets.0.wait_s(1.0, share), self.buckets.1.wait_s(tokens, share));
        let wait_s = waits.0.max(waits.1);
        let delay_us = self.delay_us();
        if self.world.random > 0.0 && self.rng.unit() < self.world.random {
            let left = self.left();
            let refused = Event::Refused { item, sent_us, by_tokens: None, retry_after_us: 1_000_000, left };
            self.at(now_us + delay_us, refused);
            return;
        }
        if wait_s > 1e-9 {
            let left = self.left();
            let retry_after_us = whole_up(wait_s.max(self.world.retry_after_min_s) * SECOND_US);
            let refused =
                Event::Refused { item, sent_us, by_tokens: Some(waits.1 > waits.0), retry_after_us, left };
            self.at(now_us + delay_us, refused);
            return;
        }
        self.buckets.0.level -= 1.0;
        self.buckets.1.level -= tokens;
        let free_us = if self.places.len() < self.world.servers {
            now_us
        } else {
            self.places.pop().map_or(0, |at| at.0)
        };
        let done_us = free_us.max(now_us) + self.items[item].latency_us;
        if self.world.servers < usize::MAX {
            self.places.push(Reverse(done_us));
        }
        let left = self.left();
        self.at(done_us + delay_us, Event::Answer { item, sent_us, left });
    }

    fn observe(&mut self, now_us: u64, sent_us: u64, left: (u64, u64)) {
        if !self.world.headers {
            return;
        }
        let reset = |bucket: &Bucket| Some(((bucket.burst - bucket.level) / bucket.per_s * 1e3) as u64);
        let hints = Hints {
            requests_limit: Some(self.world.rpm as u64),
            requests_left: Some(left.0),
            requests_reset_ms: reset(&self.buckets.0),
            tokens_limit: Some(self.world.tpm as u64),
            tokens_left: Some(left.1),
            tokens_reset_ms: reset(&self.buckets.1),
        };
        self.pacer.observe(now_us, sent_us, &hints);
    }

    fn left(&self) -> (u64, u64) {
        (self.buckets.0.level.max(0.0) as u64, self.buckets.1.level.max(0.0) as u64)
    }

    fn estimate(&self, item: usize) -> u64 {
        self.items[item].prompt + self.world.output_max
    }

    fn delay_us(&mut self) -> u64 {
        500 + self.rng.up_to(self.world.jitter_us)
    }
}

/// The span of a client that knows everything: each item goes in the very moment in which the provider takes it.
fn ideal_s(world: &World, items: &[Item]) -> f64 {
    let (mut requests, mut tokens) = buckets(world);
    let (mut now_us, mut end_us) = (0_u64, 0_u64);
    let mut places: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
    for item in items {
        let amount = charge(world, item);
        loop {
            let share = share(world, now_us);
            requests.fill(now_us, share);
            tokens.fill(now_us, share);
            let wait_s = requests.wait_s(1.0, share).max(tokens.wait_s(amount, share));
            if wait_s <= 1e-9 {
                break;
            }
            // In steps, so that a change of capacity on the way is seen.
            now_us += whole_up(wait_s.min(0.1) * SECOND_US);
        }
        requests.level -= 1.0;
        tokens.level -= amount;
        let room = world.servers.min(world.in_flight_max as usize);
        let free_us = if places.len() < room { now_us } else { places.pop().map_or(0, |at| at.0) };
        let done_us = free_us.max(now_us) + item.latency_us;
        places.push(Reverse(done_us));
        end_us = end_us.max(done_us);
    }
    float(end_us) / SECOND_US
}

fn buckets(world: &World) -> (Bucket, Bucket) {
    (Bucket::new(world.rpm, world.burst_s), Bucket::new(world.tpm, world.burst_s))
}

fn share(world: &World, now_us: u64) -> f64 {
    let now_s = float(now_us) / SECOND_US;
    world.cut.filter(|(from, to, _)| (*from..*to).contains(&now_s)).map_or(1.0, |(_, _, share)| share)
}

fn charge(world: &World, item: &Item) -> f64 {
    match world.charged {
        Charged::Estimate => float(item.prompt + world.output_max),
        Charged::Used => float(item.prompt + item.output),
    }
}

fn items(world: &World) -> Vec<Item> {
    let mut rng = SplitMix64::new(world.seed);
    (0..world.items)
        .map(|_| Item {
            prompt: (world.prompt * log_normal(&mut rng, 0.6)) as u64 + 1,
            output: ((world.output * log_normal(&mut rng, 0.6)) as u64 + 1).min(world.output_max),
            latency_us: (world.latency_s * log_normal(&mut rng, world.latency_sigma) * SECOND_US) as u64,
        })
        .collect()
}

/// A factor with median 1.
fn log_normal(rng: &mut SplitMix64, sigma: f64) -> f64 {
    let radius = (-2.0 * rng.unit().max(1e-12).ln()).sqrt();
    (sigma * radius * (std::f64::consts::TAU * rng.unit()).cos()).exp()
}
