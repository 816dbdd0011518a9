//! The line between a process and the provider: slow, lossy, and indifferent to whether the process still lives.

use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::ids::{Ordinal, Sub, WireId};
use bulkrate_provider::{CallError, Exchange, Reply};
use bytes::Bytes;
use tokio::time::sleep;

use crate::bundle;
use crate::hub::{Hub, Shared, lock};
use crate::remote::{Answer, Request, error};

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub no: u64,
    pub arrives_ms: u64,
    pub request: Request,
}

/// How the way back goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    Fine,
    Lost,
    Gateway,
    Garbage,
    NoId,
}

/// The end of the line that the adapter holds.
#[derive(Debug, Clone)]
pub(crate) struct Line(pub Shared);

const ORIGIN: &str = "https://world";

fn no_answer(why: &str) -> CallError {
    CallError::NoAnswer { origin: ORIGIN.to_owned(), why: why.to_owned(), timeout: false }
}

fn reply(answer: Answer) -> Reply {
    Reply { status: answer.status, headers: http::HeaderMap::new(), body: Bytes::from(answer.body) }
}

impl Hub {
    /// What is under way arrives in its time.
    pub(crate) fn deliver(&mut self) {
        let now_ms = self.now_ms();
        self.under_way.sort_by_key(|sent| (sent.arrives_ms, sent.no));
        while self.under_way.first().is_some_and(|sent| sent.arrives_ms <= now_ms) {
            let sent = self.under_way.remove(0);
            let answer = self.remote.handle(&sent.request, sent.no, sent.arrives_ms);
            self.note(format_args!(
                "arrives: {} {} -> {}",
                sent.request.method, sent.request.path, answer.status
            ));
            self.answers.insert(sent.no, answer);
        }
        self.remote.advance(now_ms);
    }

    /// The way to the provider delivers a create once more; nobody hears what is answered.
    fn twin(&mut self, request: Request, first_ms: u64) {
        let after_ms = match self.dice.below(3) {
            0 => self.dice.below(1_000),
            1 => self.dice.below(600_000),
            _ => self.dice.below(2_900_000),
        };
        self.calls.push(Vec::new());
        let no = self.calls.len() as u64 - 1;
        self.twins += 1;
        self.note(format_args!("delivers a create again as {no}, {after_ms} ms later"));
        self.under_way.push(Sent { no, arrives_ms: first_ms + after_ms, request });
    }

    fn fault(&mut self, chance: u64) -> bool {
        !self.calm && self.dice.permille(chance)
    }

    /// A paid request leaves: its intent must be durable (I4).
    fn leaves(&mut self, request: &Request) {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if request.path == "/batches" {
            let marker = &body["metadata"];
            let sub = marker["br_sub"].as_str().and_then(Self::sub);
            let digest = marker["br_digest"].as_str().unwrap_or("");
            let input = body["input_file_id"].as_str().unwrap_or("");
            self.books.create_sent(sub, digest, input);
            self.lines_are_leases(sub, input);
            self.calls.push(Vec::new());
            return;
        }
        let prompt = body["messages"].as_array().and_then(|all| all.last()?["content"].as_str());
        let Some(items) = prompt.and_then(|prompt| self.ordinals(prompt)) else {
            self.books.wrong("I7", format!("a call that no item asked for: {prompt:?}"));
            return self.calls.push(Vec::new());
        };
        let leases: Vec<(Ordinal, usize)> =
            items.into_iter().filter_map(|item| Some((item, self.books.call_sent(item)?))).collect();
        self.calls.push(leases);
    }

    /// The items that a prompt asks.
    fn ordinals(&mut self, prompt: &str) -> Option<Vec<Ordinal>> {
        let Some(items) = bundle::items(prompt) else { return Some(vec![*self.prompts.get(prompt)?]) };
        self.bundles += 1;
        items.iter().map(|item| self.prompts.get(item).copied()).collect()
    }

    /// I3, I7, for a batch: each lease is in one line, and each line asks what its id says. Without its file, which the time after a
    /// restored backup has deleted, a create is refused and asks nothing.
    fn lines_are_leases(&mut self, sub: Option<Sub>, input: &str) {
        let Some(row) = sub.and_then(|sub| self.books.rows.get(&sub)) else { return };
        let leased: Vec<Ordinal> = row.leases.iter().map(|(ordinal, _)| *ordinal).collect();
        let Some(lines) = self.remote.lines_of(input) else { return };
        let mut asked = vec![0_u32; leased.len()];
        for (id, prompt) in lines {
            let places = WireId::parse(&id).map(|id| id.places()).unwrap_or_default();
            asked.get_mut(places.clone()).unwrap_or_default().iter_mut().for_each(|times| *times += 1);
            let items = self.ordinals(&prompt);
            if items.as_deref() != leased.get(places) {
                self.books.wrong("I7", format!("line {id} asks {items:?} of the leases {leased:?}"));
            }
        }
        if asked.iter().any(|times| *times != 1) {
            self.books
                .wrong("I3", format!("of the leases {leased:?} the file asks so many times: {asked:?}"));
        }
    }
}

/// How an exchange begins.
enum Begun {
    /// The process died over it.
    Dead,
    Over(Result<Reply, CallError>),
    /// Lost on the way, or so late that nobody waits: heard of after so long.
    Lost {
        no: u64,
        after_ms: u64,
    },
    Sent {
        no: u64,
        there_ms: u64,
        back_ms: u64,
        back: Back,
    },
}

impl Line {
    fn begin(&self, request: Request) -> Begun {
        let path = request.path.clone();
        let paid = request.method == "POST" && (path == "/batches" || path == "/chat/completions");
        let create = path == "/batches" && paid;
        let mut hub = lock(&self.0);
        if hub.dies("before a request") {
            return Begun::Dead;
        }
        hub.deliver();
        let faults = hub.plan.faults.clone();
        if hub.fault(faults.no_connection) {
            let why = "connection refused".to_owned();
            return Begun::Over(Err(CallError::NotSent { origin: ORIGIN.to_owned(), why }));
        }
        if paid {
            hub.leaves(&request);
        } else {
            hub.calls.push(Vec::new());
        }
        let no = hub.calls.len() as u64 - 1;
        if hub.fault(faults.limited) {
            hub.note(format_args!("limits {no}: {} {path}", request.method));
            let kind = if create { "slow_down" } else { "requests" };
            return Begun::Over(Ok(reply(error(
                429,
                kind,
                "Rate limit reached. Please try again in 2s.",
                None,
            ))));
        }
        if hub.fault(faults.failing) {
            hub.note(format_args!("fails {no}: {} {path}", request.method));
            return Begun::Over(Ok(reply(failing(&mut hub))));
        }
        let most_ms = hub.plan.latency_ms;
        let (mut there_ms, mut back_ms) = (hub.dice.below(most_ms + 1), hub.dice.below(most_ms + 1));
        if paid && faults.slow > 0 && hub.fault(faults.slow) {
            back_ms = most_ms * 20;
        }
        if hub.fault(faults.lost) {
            hub.note(format_args!("loses {no}: {} {path}", request.method));
            return Begun::Lost { no, after_ms: hub.dice.between(100, 30_000) };
        }
        let mut back = Back::Fine;
        if hub.fault(faults.answer_lost) {
            back = Back::Lost;
        } else if paid && hub.fault(faults.done_but_5xx) {
            back = Back::Gateway;
        } else if paid && hub.fault(faults.garbage) {
            back = if create { Back::NoId } else { Back::Garbage };
        }
        let late = create && hub.fault(faults.late);
        if late {
            there_ms = hub.dice.below(700_000); // within the quarantine, less what a list may lag
        }
        let arrives_ms = hub.now_ms() + there_ms;
        hub.note(format_args!(
            "sends {no}: {} {path}, {back:?}{}",
            request.method,
            if late { ", late" } else { "" }
        ));
        if create && faults.twice > 0 && hub.fault(faults.twice) {
            hub.twin(request.clone(), arrives_ms);
        }
        hub.under_way.push(Sent { no, arrives_ms, request });
        if late {
            Begun::Lost { no, after_ms: hub.dice.between(100, 30_000) }
        } else {
            Begun::Sent { no, there_ms, back_ms, back }
        }
    }

    /// The request has arrived by now. True: the process died meanwhile.
    fn arrived(&self) -> bool {
        let mut hub = lock(&self.0);
        hub.deliver();
        hub.dies("before an answer")
    }

    fn answered(&self, no: u64, back: Back) -> Result<Reply, CallError> {
        let answer = lock(&self.0).answers.remove(&no);
        let whole = |status, body: &'static [u8]| Ok(reply(Answer { status, body: body.to_vec() }));
        match (back, answer) {
            (Back::Lost, _) | (_, None) => Err(no_answer("connection reset")),
            (Back::Gateway, _) => whole(502, b"<html>bad gateway</html>"),
            (Back::NoId, Some(answer)) => whole(answer.status, b"{\"object\":\"batch\"}"),
            (Back::Garbage, Some(answer)) => {
                let half = answer.body.len() / 2;
                Ok(reply(Answer { status: answer.status, body: answer.body[..half].to_vec() }))
            }
            (Back::Fine, Some(answer)) => Ok(reply(answer)),
        }
    }

    /// A dead process hears nothing.
    async fn heard(&self, no: u64, result: Result<Reply, CallError>) -> Result<Reply, CallError> {
        let dead = {
            let mut hub = lock(&self.0);
            if result.is_err() && !hub.dead {
                let items = hub.calls[usize::try_from(no).unwrap_or(0)].clone();
                hub.books.call_lost(&items);
            }
            hub.dead
        };
        if dead { std::future::pending().await } else { result }
    }
}

fn failing(hub: &mut Hub) -> Answer {
    if hub.dice.permille(500) {
        return error(500, "server_error", "The server had an error", None);
    }
    Answer { status: hub.dice.pick(&[500, 502, 503, 504]), body: b"<html>gateway</html>".to_vec() }
}

#[async_trait]
impl Exchange for Line {
    async fn exchange(&self, method: http::Method, path: &str, body: Bytes) -> Result<Reply, CallError> {
        let request = Request { method: method.to_string(), path: path.to_owned(), body: body.to_vec() };
        match self.begin(request) {
            Begun::Dead => std::future::pending().await,
            Begun::Over(result) => result,
            Begun::Lost { no, after_ms } => {
                sleep(Duration::from_millis(after_ms)).await;
                self.heard(no, Err(no_answer("connection reset"))).await
            }
            Begun::Sent { no, there_ms, back_ms, back } => {
                sleep(Duration::from_millis(there_ms)).await;
                if self.arrived() {
                    return std::future::pending().await;
                }
                sleep(Duration::from_millis(back_ms)).await;
                let result = self.answered(no, back);
                self.heard(no, result).await
            }
        }
    }
}

/// The leases that a line's id names.
pub(crate) fn leases_of(hub: &Hub, custom_id: &str) -> Vec<(Ordinal, usize)> {
    let leases =
        || hub.books.rows.get(&WireId::parse(custom_id)?.sub)?.leases.get(WireId::parse(custom_id)?.places());
    leases().map(<[_]>::to_vec).unwrap_or_default()
}
