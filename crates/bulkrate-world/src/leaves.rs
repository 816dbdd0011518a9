//! What leaves a process and may cost something: its intent is durable, and says to the byte what is sent (I3, I4, I7).

use std::io::Write as _;

use bulkrate_core::ids::{Ordinal, Sub, WireId};
use bulkrate_io::Digest;

use crate::bundle;
use crate::check::Whom;
use crate::hub::Hub;
use crate::remote::Request;
use crate::tongue::{Ask, Order};

impl Hub {
    /// A paid request leaves: its intent must be durable (I4).
    pub(crate) fn leaves(&mut self, place: usize, ask: &Ask, request: &Request) {
        let to = self.whom(place, ask, request);
        let remote = &self.remotes[place];
        if *ask == Ask::Create {
            let order = remote.tongue.order(&request.body);
            if !self.is_resent(place, &order, &request.body) {
                self.create_leaves(place, to, &order);
            }
            return self.calls.push(Vec::new());
        }
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let prompt = remote.tongue.prompt(&body);
        let Some(items) = prompt.and_then(|prompt| self.ordinals(prompt)) else {
            self.books.wrong("I7", format!("a call that no item asked for: {prompt:?}"));
            return self.calls.push(Vec::new());
        };
        let no = self.calls.len();
        let leases: Vec<(Ordinal, usize)> =
            items.into_iter().filter_map(|item| Some((item, self.books.call_sent(item, no, to)?))).collect();
        self.calls.push(leases);
    }

    /// The provider and the model that a request goes to.
    fn whom(&self, place: usize, ask: &Ask, request: &Request) -> Whom {
        let remote = &self.remotes[place];
        (remote.manners.provider, remote.asked(ask, &request.body))
    }

    /// Whether the process has sent this create before, to the byte and with its token: then no second batch comes of it.
    fn is_resent(&mut self, place: usize, order: &Order, body: &[u8]) -> bool {
        let token = order.mark.as_str().filter(|_| self.remotes[place].manners.tokens);
        let Some(token) = token.map(str::to_owned) else { return false };
        match self.tokens.insert(token, body.to_vec()) {
            Some(before) if before == body => true,
            Some(_) => {
                self.books.wrong("I4", format!("a create is sent again and says something else: {order:?}"));
                true
            }
            None => false,
        }
    }

    /// The submission that a create's mark names, or else the first line of its file; where that is gone, the one whose row names the file.
    pub(crate) fn sub_of(&self, place: usize, order: &Order) -> Option<Sub> {
        let remote = &self.remotes[place];
        let first = || {
            let lines = remote.lines(remote.file_of(order)?);
            lines.first().and_then(|(id, _)| WireId::parse(id)).map(|id| id.sub)
        };
        let of_row = || {
            let input = order.input.as_ref()?;
            self.books.rows.iter().find(|(_, row)| row.input.as_ref() == Some(input)).map(|(sub, _)| *sub)
        };
        order.says.as_ref().map_or_else(|| first().or_else(of_row), |(sub, _)| Self::sub(sub))
    }

    /// The row of a create says what is sent, to the byte, and each lease is in one line of it. Without its file, which the time after a
    /// restored backup has deleted, it is refused and asks nothing.
    fn create_leaves(&mut self, place: usize, to: Whom, order: &Order) {
        let remote = &self.remotes[place];
        let file = remote.file_of(order).map(<[u8]>::to_vec);
        let lines = file.as_deref().map(|file| remote.lines(file));
        let (sub, digest) = (self.sub_of(place, order), order.says.clone().map(|(_, digest)| digest));
        let read = file.map(|file| digest_of(&file));
        if digest.is_some() && read.is_some() && digest != read {
            self.books.wrong("I4", format!("the mark says {digest:?}, and the file of {sub:?} is {read:?}"));
        }
        self.books.create_sent(sub, to, (digest.or(read).as_deref(), order.input.as_deref()));
        if let Some(lines) = lines {
            self.lines_are_leases(sub, lines);
        }
    }

    /// The items that a prompt asks.
    fn ordinals(&mut self, prompt: &str) -> Option<Vec<Ordinal>> {
        let Some(items) = bundle::items(prompt) else { return Some(vec![*self.prompts.get(prompt)?]) };
        self.bundles += 1;
        items.iter().map(|item| self.prompts.get(item).copied()).collect()
    }

    /// I3, I7, for a batch: each lease is in one line, and each line asks what its id says.
    fn lines_are_leases(&mut self, sub: Option<Sub>, lines: Vec<(String, String)>) {
        let Some(row) = sub.and_then(|sub| self.books.rows.get(&sub)) else { return };
        let leased: Vec<Ordinal> = row.leases.iter().map(|(ordinal, _)| *ordinal).collect();
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

/// As rows and marks have it.
fn digest_of(file: &[u8]) -> String {
    let mut digest = Digest::default();
    drop(digest.write_all(file)); // it takes everything
    digest.finish()
}
