//! Listens to the engine and tells: a live display, plain lines, or nothing; and events as JSON where they are wanted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_engine::event::{BatchLine, Event, Observer, Progress};

use super::live::Live;
use super::words::{bytes, count, counted, usd};
use super::{json, out, plan, progress};

/// Plain lines come at most this often, but at once when something changes its state.
const LINE_EVERY_MS: u64 = 5_000;
/// Records read between two lines while preparing.
const PREPARE_EVERY: u64 = 250_000;
/// The same, where what lies at addresses is fetched, which takes longer.
const FETCH_EVERY: u64 = 1_000;

/// Where JSON events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsTo {
    Stdout,
    Stderr,
}

/// How a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    Quiet,
    Lines,
    Live,
}

/// The observer of all commands that run a job.
#[derive(Debug)]
pub struct Teller {
    live: Option<Live>,
    talks: bool,
    events: Option<EventsTo>,
    plan_shown: AtomicBool,
    /// Batches are open at the provider.
    batches: AtomicBool,
    lines: Mutex<Lines>,
}

/// What the plain lines have said.
#[derive(Debug, Default)]
struct Lines {
    said_at_ms: Option<u64>,
    records: u64,
    fetched: u64,
    text: String,
    batch: String,
}

impl Teller {
    #[must_use]
    pub fn new(talk: Talk, events: Option<EventsTo>) -> Self {
        Self {
            live: (talk == Talk::Live).then(Live::new),
            talks: talk != Talk::Quiet,
            events,
            plan_shown: AtomicBool::new(false),
            batches: AtomicBool::new(false),
            lines: Mutex::default(),
        }
    }

    /// For `plan`, which prints the plan as its data.
    #[must_use]
    pub fn without_plan(self) -> Self {
        self.plan_shown.store(true, Ordering::Relaxed);
        self
    }

    /// Tells a person something, above the live display.
    pub fn say(&self, text: &str) {
        match &self.live {
            Some(live) => live.above(text),
            None if self.talks => out::talk(text),
            None => {}
        }
    }

    /// Shows the plan, once.
    pub fn plan(&self, of: &bulkrate_engine::plan::Plan) {
        if !self.plan_shown.swap(true, Ordering::Relaxed) {
            self.say(&format!("{}\n", plan::text(of)));
        }
    }

    /// Whether batches were open at the provider when it was last heard of them.
    #[must_use]
    pub fn has_batches(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
    }

    /// Asks without the display in the way.
    pub fn aside<T>(&self, ask: impl FnOnce() -> T) -> T {
        match &self.live {
            Some(live) => live.aside(ask),
            None => ask(),
        }
    }

    /// The display goes away; what was said stays.
    pub fn end(&self) {
        if let Some(live) = &self.live {
            live.clear();
        }
    }

    fn preparing(&self, records: u64, read: u64, total: Option<u64>, fetched: u64) {
        let of = total.map_or(String::new(), |total| format!(" of {}", bytes(total)));
        let brought =
            if fetched > 0 { format!(", {} fetched", counted(fetched, "URL")) } else { String::new() };
        let read = bytes(read);
        let text = format!("reading and checking: {}, {read}{of}{brought}", counted(records, "item"));
        if let Some(live) = &self.live {
            live.say(&text);
        } else if self.talks
            && let Ok(mut lines) = self.lines.lock()
            && (records >= lines.records + PREPARE_EVERY || fetched >= lines.fetched + FETCH_EVERY)
        {
            (lines.records, lines.fetched) = (records, fetched);
            out::talk(&format!("{text}\n"));
        }
    }

    fn progress(&self, now: &Progress) {
        if let Some(live) = &self.live {
            live.show(now, now_ms());
        } else if self.talks
            && let Ok(mut lines) = self.lines.lock()
            && lines.said_at_ms.is_none_or(|said| now.elapsed_ms >= said + LINE_EVERY_MS)
        {
            lines.said_at_ms = Some(now.elapsed_ms);
            let text = progress::line(now);
            if text != lines.text {
                out::talk(&format!("{text}\n"));
                lines.text = text;
            }
        }
    }

    /// A batch in a new phase; the same line is not said twice in a row.
    fn batch(&self, batch: &BatchLine) {
        let text = progress::batch(batch, now_ms());
        let is_news = self
            .lines
            .lock()
            .is_ok_and(|mut lines| std::mem::replace(&mut lines.batch, text.clone()) != text);
        if is_news {
            self.say(&format!("{text}\n"));
        }
    }

    fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Preparing { records, bytes, bytes_total, fetched } => {
                self.preparing(*records, *bytes, *bytes_total, *fetched);
            }
            Event::Planned { plan } => self.plan(plan),
            Event::Resumed { job, left: 0, .. } => {
                self.say(&format!("job {job} is there already, and every item has its outcome\n"));
            }
            Event::Resumed { job, done, left, spent } => self.say(&format!(
                "resuming job {job}: {} done, {} to go, USD {} spent so far; nothing is paid for twice\n",
                count(*done),
                count(*left),
                usd(*spent)
            )),
            Event::Progress { progress } => {
                let open = progress.batches.iter().any(BatchLine::goes_on);
                self.batches.store(open, Ordering::Relaxed);
                self.progress(progress);
            }
            // The live display shows batches all the time.
            Event::Batch { batch } if self.live.is_none() => self.batch(batch),
            Event::Batch { .. } | Event::Forecast { .. } | Event::Finished { .. } => {}
            Event::Alert { code, message } => self.say(&format!("alert[{code}]: {message}\n")),
            Event::Note { message } => self.say(&format!("{message}\n")),
            Event::Delivering { rows, rows_total } => {
                if let Some(live) = &self.live {
                    live.say(&format!(
                        "writing results: {} of {}",
                        count(*rows),
                        counted(*rows_total, "row")
                    ));
                }
            }
        }
    }
}

impl Observer for Teller {
    fn event(&self, event: &Event<'_>) {
        if let Some(to) = self.events {
            let line = format!("{}\n", json::document(event));
            match to {
                EventsTo::Stdout => out::data(&line),
                EventsTo::Stderr => out::talk(&line),
            }
        }
        self.tell(event);
    }
}

/// Milliseconds since the epoch, for times in a phase.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
