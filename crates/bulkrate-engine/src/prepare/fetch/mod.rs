//! What lies at the addresses of images and documents, for models that take bytes alone: fetched while the source is read, and sealed
//! into the requests.
//!
//! Records go on being read while others wait, and leave in the order in which they came. An address that several of those that wait
//! have is fetched once. In memory are what waits (64 records, and no further one beyond 64 MB) and what is under way (16 answers).

mod line;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::prepare::ItemError;
use bulkrate_core::request::{AddressError, Blob, Request, SourceType, Text, write_canonical};
use bulkrate_provider::http::egress::{Egress, Fetched, Hosts};

use self::line::{Answer, Line};
use super::shape::{Drawn, ShapeError};
use crate::EngineError;
use crate::spec::FetchSpec;

/// Records that wait, and their bytes.
const WAITING_MAX: usize = 64;
const HELD_MAX: usize = 64 << 20;
/// So many addresses in a row from which nobody answers, and it is the network that is away: nothing is said of their records.
const AWAY_MAX: u32 = 48;

/// A record that was read and may wait for what is fetched for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub ordinal: Ordinal,
    /// In the source.
    pub line: u64,
    pub drawn: Result<Drawn, ShapeError>,
    pub canonical: Vec<u8>,
}

impl Waiting {
    /// What is to be fetched for it.
    fn addresses(&self) -> &[Arc<str>] {
        self.drawn.as_ref().map_or(&[], |drawn| &drawn.addresses)
    }
}

/// One address that records wait for.
#[derive(Debug, Default)]
struct Known {
    users: usize,
    found: Option<Result<Fetched, AddressError>>,
}

/// What was found for one record, by address.
pub(super) type Found = HashMap<Arc<str>, Result<Fetched, AddressError>>;

#[derive(Debug)]
pub(super) struct Ahead {
    hosts: Hosts,
    ca_file: Option<PathBuf>,
    /// Opened when there is something to fetch.
    line: Option<Line>,
    waiting: VecDeque<Waiting>,
    known: HashMap<Arc<str>, Known>,
    held: usize,
    /// Addresses in a row from which nobody answered.
    away: u32,
    /// Addresses that were asked, those of them that gave nothing, and the bytes that came, as base64.
    pub count: u64,
    failed: u64,
    pub bytes: u64,
}

impl Ahead {
    pub(super) fn new(spec: &FetchSpec, ca_file: Option<PathBuf>) -> Result<Self, EngineError> {
        let hosts = Hosts::parse(&spec.hosts).map_err(|why| EngineError::BadSpec {
            code: "option-invalid",
            what: "`--fetch-from`".to_owned(),
            why,
        })?;
        Ok(Self {
            hosts,
            ca_file,
            line: None,
            waiting: VecDeque::new(),
            known: HashMap::new(),
            held: 0,
            away: 0,
            count: 0,
            failed: 0,
            bytes: 0,
        })
    }

    /// What is told at the end.
    pub(super) fn note(&self) -> Option<String> {
        #[allow(clippy::cast_precision_loss, reason = "told to one place")]
        let megabytes = self.bytes as f64 * 0.75 / 1e6;
        let addresses = if self.count == 1 { "address" } else { "addresses" };
        let came = match self.failed {
            0 => String::new(),
            failed => format!("{} of ", self.count - failed),
        };
        (self.count > 0).then(|| format!("fetched {came}{} {addresses}, {megabytes:.1} MB", self.count))
    }

    /// Whether a record that needs nothing may pass.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn add(&mut self, record: Waiting) -> Result<(), EngineError> {
        for address in record.addresses() {
            let known = self.known.entry(Arc::clone(address)).or_default();
            known.users += 1;
            if known.users > 1 {
                continue;
            }
            if self.line.is_none() {
                let failed = |error: bulkrate_provider::OpenError| EngineError::Provider(error.to_string());
                let egress = Egress::new(self.hosts.clone(), self.ca_file.as_deref()).map_err(failed)?;
                self.line = Some(Line::open(egress)?);
            }
            if let Some(line) = &self.line {
                line.ask(Arc::clone(address))?;
            }
        }
        self.held += record.canonical.len();
        self.waiting.push_back(record);
        Ok(())
    }

    /// The next record in order, with what it waited for. `None`: it waits still, and there is room for more; where there is none, or
    /// `all` were added, it is waited for.
    pub(super) fn next(&mut self, all: bool) -> Result<Option<(Waiting, Found)>, EngineError> {
        while let Some(answer) = self.line.as_ref().map_or(Ok(None), Line::came)? {
            self.take(answer)?;
        }
        while !self.is_ready() {
            let room = self.waiting.len() < WAITING_MAX && self.held < HELD_MAX;
            let Some(line) = self.line.as_ref().filter(|_| all || !room) else { return Ok(None) };
            let answer = line.wait()?;
            self.take(answer)?;
        }
        let Some(record) = self.waiting.pop_front() else { return Ok(None) };
        self.held -= record.canonical.len();
        let found = record.addresses().iter().filter_map(|address| self.give(address)).collect();
        Ok(Some((record, found)))
    }

    /// Whether the first record waits for nothing. None is one that does not either.
    fn is_ready(&self) -> bool {
        let is_here = |address: &Arc<str>| self.known.get(address).is_some_and(|known| known.found.is_some());
        self.waiting.front().is_none_or(|record| record.addresses().iter().all(is_here))
    }

    fn take(&mut self, (address, found): Answer) -> Result<(), EngineError> {
        self.count += 1;
        self.failed += u64::from(found.is_err());
        self.away = if matches!(found, Err(AddressError::Away(_))) { self.away + 1 } else { 0 };
        if let Err(AddressError::Away(why)) = &found
            && self.away >= AWAY_MAX
        {
            return Err(EngineError::UrlsAway { urls: self.away, why: why.clone() });
        }
        let length = length(&found);
        self.bytes += length as u64;
        if let Some(known) = self.known.get_mut(&address) {
            known.found = Some(found);
            self.held += length;
        }
        Ok(())
    }

    /// What was found, which goes when its last user has it.
    fn give(&mut self, address: &Arc<str>) -> Option<(Arc<str>, Result<Fetched, AddressError>)> {
        let known = self.known.get_mut(address)?;
        known.users -= 1;
        let found = known.found.clone()?;
        if known.users == 0 {
            self.known.remove(address);
            self.held -= length(&found);
        }
        Some((Arc::clone(address), found))
    }
}

fn length(found: &Result<Fetched, AddressError>) -> usize {
    found.as_ref().map_or(0, |found| found.data.len())
}

/// Bytes of a request that was filled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filled {
    /// Of images and documents.
    pub data: u64,
    /// Of the prompt.
    pub text: u64,
}

/// Puts what was found in the place of its addresses. `check` looks at the whole, which is written to `out` then.
pub(super) fn fill(
    canonical: &[u8],
    found: &Found,
    check: impl FnOnce(&Request<'_>) -> Result<(), ItemError>,
    out: &mut Vec<u8>,
) -> Result<Filled, ItemError> {
    let mut request: Request<'_> =
        serde_json::from_slice(canonical).map_err(|error| ItemError::BadRequest(error.to_string()))?;
    for (medium, blob) in request.web_blobs_mut() {
        let Some(found) = found.get(&*blob.data) else { continue };
        let failed = |source| ItemError::Address { part: medium.name(), url: shown(&blob.data), source };
        let Fetched { media_type, data } = found.as_ref().map_err(|error| failed(error.clone()))?;
        if !medium.takes(media_type) {
            let why = format!("what lies there is `{media_type}`, no {}", medium.name());
            return Err(failed(AddressError::Failed(why)));
        }
        *blob = Blob {
            source_type: SourceType::Base64,
            media_type: Text::from(*media_type),
            data: Text::from(&**data),
        };
    }
    check(&request)?;
    out.clear();
    write_canonical(&request, out);
    Ok(Filled { data: request.data_bytes(), text: request.prompt_bytes() })
}

/// An address as it may be printed: whoever knows a signed one may read what lies there.
fn shown(url: &str) -> String {
    let (place, more) = url.split_once(['?', '#']).map_or((url, ""), |(place, _)| (place, "?..."));
    let start = place.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = place.split_at(start);
    let host_end = rest.find('/').unwrap_or(rest.len());
    let bare = rest[..host_end].rfind('@').map_or(rest, |at| &rest[at + 1..]);
    format!("{scheme}{bare}{more}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_may_be_secret_of_an_address_is_not_shown() {
        for (url, want) in [
            ("https://x.org/a.png", "https://x.org/a.png"),
            ("https://x.org/a@b.png", "https://x.org/a@b.png"),
            ("https://bkt.x.org/a.png?X-Amz-Signature=abc", "https://bkt.x.org/a.png?..."),
            ("https://user:pw@x.org/a.png#x", "https://x.org/a.png?..."),
            ("https://user:p@w@x.org", "https://x.org"),
        ] {
            assert_eq!(shown(url), want);
        }
    }

    #[test]
    fn a_network_that_is_away_makes_no_dead_letters() {
        let mut ahead = Ahead::new(&FetchSpec::default(), None).unwrap();
        let away = || Err(AddressError::Away("nobody".to_owned()));
        let gone = || Err(AddressError::Failed("404".to_owned()));
        for round in 0..3 {
            for _ in 1..AWAY_MAX {
                ahead.take(("https://x.org/a".into(), away())).unwrap();
            }
            // Whoever says no is there.
            ahead.take(("https://x.org/b".into(), gone())).unwrap();
            assert_eq!(ahead.count, u64::from(AWAY_MAX) * (round + 1));
        }
        let said = (0..AWAY_MAX).find_map(|_| ahead.take(("https://x.org/a".into(), away())).err()).unwrap();
        assert_eq!((said.code(), said.exit_code()), ("urls-away", 1));
        assert_eq!(said.to_string(), "nothing came from the last 48 URLs that were tried; at last: nobody");
    }

    #[test]
    fn what_was_found_takes_the_place_of_its_address() {
        let line = r#"{"messages":[{"content":[{"text":"What?","type":"text"},{"data":"https://x.org/a","media_type":"image/jpeg","source_type":"url","type":"image"},{"data":"https://x.org/b","media_type":"application/pdf","source_type":"url","type":"document"}],"role":"user"}],"model":"m"}"#;
        let fetched = |media_type, data: &str| Ok(Fetched { media_type, data: data.into() });
        let found = |a, b| Found::from([("https://x.org/a".into(), a), ("https://x.org/b".into(), b)]);
        let pdf = || fetched("application/pdf", "BBBB");
        let mut out = b"earlier".to_vec();
        let held = fill(line.as_bytes(), &found(fetched("image/png", "AAAA"), pdf()), |_| Ok(()), &mut out);
        assert_eq!(held, Ok(Filled { data: 8, text: 5 }));
        let want = line
            .replace(
                r#""https://x.org/a","media_type":"image/jpeg","source_type":"url""#,
                r#""AAAA","media_type":"image/png","source_type":"base64""#,
            )
            .replace(
                r#""https://x.org/b","media_type":"application/pdf","source_type":"url""#,
                r#""BBBB","media_type":"application/pdf","source_type":"base64""#,
            );
        assert_eq!(String::from_utf8(out).unwrap(), want);
        for (image, want) in [
            (
                pdf(),
                "the image at `https://x.org/a` was not fetched: what lies there is `application/pdf`, no image",
            ),
            (
                Err(AddressError::Refused("no".to_owned())),
                "the image at `https://x.org/a` is not fetched: no",
            ),
        ] {
            let said = fill(line.as_bytes(), &found(image, pdf()), |_| Ok(()), &mut Vec::new()).unwrap_err();
            assert_eq!(said.to_string(), want);
        }
    }
}
