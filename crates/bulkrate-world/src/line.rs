//! The line between a process and the provider: slow, lossy, and indifferent to whether the process still lives.

use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::ids::{Ordinal, WireId};
use bulkrate_provider::{CallError, Exchange, Reply};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::time::sleep;

use crate::check::Fate;
use crate::hub::{Hub, Shared, lock};
use crate::plan::Faults;
use crate::remote::{Answer, Request};
use crate::tongue::{Ask, Known, Tongue, Wrong};

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub no: u64,
    /// To which of the providers.
    pub place: usize,
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

/// The end of the line to one of the providers, which its adapter holds.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub hub: Shared,
    pub place: usize,
}

const ORIGIN: &str = "https://world";

fn no_answer(why: &str) -> CallError {
    CallError::NoAnswer { origin: ORIGIN.to_owned(), why: why.to_owned(), timeout: false }
}

fn reply(tongue: &dyn Tongue, answer: Answer) -> Reply {
    let every = tongue.header().map(|(name, value)| (name, value.to_owned()));
    let named = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    };
    let headers = every.into_iter().chain(answer.headers).filter_map(named).collect();
    Reply { status: answer.status, headers, body: Bytes::from(answer.body) }
}

impl Hub {
    /// What is under way arrives in its time.
    pub(crate) fn deliver(&mut self) {
        let now_ms = self.now_ms();
        self.under_way.sort_by_key(|sent| (sent.arrives_ms, sent.no));
        while self.under_way.first().is_some_and(|sent| sent.arrives_ms <= now_ms) {
            let sent = self.under_way.remove(0);
            let remote = &mut self.remotes[sent.place];
            let answer = remote.handle(&sent.request, sent.no, sent.arrives_ms);
            let path = remote.tongue.told(&sent.request.path);
            self.note(format_args!("arrives: {} {path} -> {}", sent.request.method, answer.status));
            self.answers.insert(sent.no, answer);
        }
        self.remotes.iter_mut().for_each(|remote| remote.advance(now_ms));
    }

    /// The way to the provider delivers a create once more; nobody hears what is answered.
    fn twin(&mut self, place: usize, request: Request, first_ms: u64) {
        let after_ms = match self.dice.below(3) {
            0 => self.dice.below(1_000),
            1 => self.dice.below(600_000),
            _ => self.dice.below(2_900_000),
        };
        self.calls.push(Vec::new());
        let no = self.calls.len() as u64 - 1;
        self.twins += 1;
        let remote = &self.remotes[place];
        if remote.manners.known_by == Known::Looks {
            let order = remote.tongue.order(&request.body);
            self.doubled.extend(self.sub_of(place, &order));
        }
        self.note(format_args!("delivers a create again as {no}, {after_ms} ms later"));
        self.under_way.push(Sent { no, place, arrives_ms: first_ms + after_ms, request });
    }

    /// What the process hears of a call, if it lives.
    fn hears(&mut self, no: u64, fate: Fate) {
        if !self.dead {
            self.books.copies.heard(usize::try_from(no).unwrap_or(usize::MAX), fate);
        }
    }

    /// What may go wrong with a request now.
    fn faults_of(&self, place: usize, ask: &Ask, request: &Request) -> Faults {
        let mut faults = self.plan.faults.clone();
        if let Some(others) = &self.plan.stand_ins {
            let model = self.remotes[place].asked(ask, &request.body);
            others.worsen(&mut faults, (place, model), ask, self.age_ms());
        }
        faults
    }

    fn fault(&mut self, chance: u64) -> bool {
        !self.calm && self.dice.permille(chance)
    }
}

/// How an exchange begins.
enum Begun {
    /// The process died over it.
    Dead,
    Unsent,
    /// Answered on the way, and what that says of a call's cost.
    Over {
        no: u64,
        answer: Answer,
        fate: Fate,
    },
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
        let (mut hub, place) = (lock(&self.hub), self.place);
        let tongue = hub.remotes[place].tongue;
        let (ask, path) = (tongue.ask(&request.method, &request.path), tongue.told(&request.path));
        let (paid, create) = (ask.is_paid(), ask == Ask::Create);
        if hub.dies("before a request") {
            return Begun::Dead;
        }
        hub.deliver();
        let faults = hub.faults_of(place, &ask, &request);
        if hub.fault(faults.no_connection) {
            return Begun::Unsent;
        }
        if let Ask::Cancel(id) | Ask::DeleteBatch(id) = &ask
            && hub.is_foreign(id)
        {
            hub.books.wrong("I14", format!("{} {path}: somebody else has made it", request.method));
        }
        if paid {
            hub.leaves(place, &ask, &request);
        } else {
            hub.calls.push(Vec::new());
        }
        let no = hub.calls.len() as u64 - 1;
        if hub.fault(faults.limited) {
            hub.note(format_args!("limits {no}: {} {path}", request.method));
            let wrong = if create { Wrong::LimitedCreate } else { Wrong::Limited };
            return Begun::Over { no, answer: tongue.error(wrong), fate: Fate::Refused };
        }
        if faults.refused > 0 && hub.fault(faults.refused) {
            hub.note(format_args!("refuses {no}: {} {path}", request.method));
            return Begun::Over { no, answer: tongue.error(Wrong::NotYours), fate: Fate::Refused };
        }
        if hub.fault(faults.failing) {
            hub.note(format_args!("fails {no}: {} {path}", request.method));
            let (answer, fate) = failing(&mut hub, tongue);
            return Begun::Over { no, answer, fate };
        }
        let most_ms = hub.plan.latency_ms;
        let (mut there_ms, mut back_ms) = (hub.dice.below(most_ms + 1), hub.dice.below(most_ms + 1));
        if paid && faults.slow > 0 && hub.fault(faults.slow) {
            back_ms = most_ms * 20;
        }
        if hub.fault(faults.lost) {
            hub.note(format_args!("loses {no}: {} {path}", request.method));
            if create {
                let now_ms = hub.now_ms();
                hub.remotes[place].instead(&request.body, now_ms);
            }
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
            hub.twin(place, request.clone(), arrives_ms);
        }
        hub.under_way.push(Sent { no, place, arrives_ms, request });
        if late {
            Begun::Lost { no, after_ms: hub.dice.between(100, 30_000) }
        } else {
            Begun::Sent { no, there_ms, back_ms, back }
        }
    }

    /// The request has arrived by now. True: the process died meanwhile.
    fn arrived(&self) -> bool {
        let mut hub = lock(&self.hub);
        hub.deliver();
        hub.dies("before an answer")
    }

    fn answered(&self, no: u64, back: Back) -> Result<Reply, CallError> {
        let mut hub = lock(&self.hub);
        let answer = hub.answers.remove(&no);
        let tongue = hub.remotes[self.place].tongue;
        let whole = |status, body: &'static [u8]| Ok(reply(tongue, Answer::bytes(status, body.to_vec())));
        match (back, answer) {
            (Back::Lost, _) | (_, None) => Err(no_answer("connection reset")),
            (Back::Gateway, _) => whole(502, b"<html>bad gateway</html>"),
            (Back::NoId, Some(answer)) => whole(answer.status, b"{\"object\":\"batch\"}"),
            (Back::Garbage, Some(answer)) => {
                let half = answer.body.len() / 2;
                Ok(reply(tongue, Answer::bytes(answer.status, answer.body[..half].to_vec())))
            }
            (Back::Fine, Some(answer)) => {
                let fate = hub.remotes[self.place].says(no, &answer);
                hub.hears(no, fate);
                Ok(reply(tongue, answer))
            }
        }
    }

    /// A dead process hears nothing.
    async fn heard(&self, no: u64, result: Result<Reply, CallError>) -> Result<Reply, CallError> {
        let dead = {
            let mut hub = lock(&self.hub);
            if result.is_err() && !hub.dead {
                let items = hub.calls[usize::try_from(no).unwrap_or(0)].clone();
                hub.books.call_lost(&items);
                hub.hears(no, Fate::Lost);
            }
            hub.dead
        };
        if dead { std::future::pending().await } else { result }
    }
}

/// An answer of somebody who has not even looked, and whether it is the provider.
fn failing(hub: &mut Hub, tongue: &dyn Tongue) -> (Answer, Fate) {
    if hub.dice.permille(500) {
        return (tongue.error(Wrong::Server), Fate::Refused);
    }
    let status = hub.dice.pick(&[500, 502, 503, 504]);
    (Answer::bytes(status, b"<html>gateway</html>".to_vec()), Fate::Lost)
}

#[async_trait]
impl Exchange for Line {
    async fn exchange(&self, method: http::Method, path: &str, body: Bytes) -> Result<Reply, CallError> {
        let request = Request { method: method.to_string(), path: path.to_owned(), body: body.to_vec() };
        match self.begin(request) {
            Begun::Dead => std::future::pending().await,
            Begun::Unsent => {
                Err(CallError::NotSent { origin: ORIGIN.to_owned(), why: "connection refused".to_owned() })
            }
            Begun::Over { no, answer, fate } => {
                let mut hub = lock(&self.hub);
                hub.hears(no, fate);
                Ok(reply(hub.remotes[self.place].tongue, answer))
            }
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

    async fn connect(&self, _: &str, _: &Bytes) {
        let wait_ms = {
            let mut hub = lock(&self.hub);
            let (chance, most_ms) = (hub.plan.faults.unconnected, hub.plan.latency_ms);
            if chance > 0 && hub.fault(chance) { most_ms * 20 } else { 0 }
        };
        if wait_ms > 0 {
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

/// The leases that a line's id names.
pub(crate) fn leases_of(hub: &Hub, custom_id: &str) -> Vec<(Ordinal, usize)> {
    let leases =
        || hub.books.rows.get(&WireId::parse(custom_id)?.sub)?.leases.get(WireId::parse(custom_id)?.places());
    leases().map(<[_]>::to_vec).unwrap_or_default()
}
