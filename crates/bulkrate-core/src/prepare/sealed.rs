//! The line in which a request is kept: a valid unified request whose first fields are not part of the key.
//!
//! `{"custom_id":"t-1","tags":{"team":"a"},` + `"messages":[...],"model":"..."}`: the header holds what does not
//! change the answer, the tail with a `{` before it is the canonical form that the key hashes.

use sha2::{Digest, Sha256};

use crate::ids::RequestKey;
use crate::request::{CacheMode, Priority, RouteBy, write_json_text};
use crate::route::learned::{Few, Score};

/// Where the parts of a sealed line are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Bytes before the canonical tail, the opening brace included.
    pub header_len: u32,
    pub key: RequestKey,
}

/// What a line wishes beside its request; it does not change the answer, so it is no part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    pub priority: Priority,
    pub cache: CacheMode,
}

impl Wishes {
    /// Whether the item goes to the sync lane, whatever the lane of its job.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.priority == Priority::High
    }

    fn write(self, out: &mut Vec<u8>) {
        if self.is_urgent() {
            out.extend_from_slice(b",\"priority\":\"high\"");
        }
        out.extend_from_slice(match self.cache {
            CacheMode::Default => b"",
            CacheMode::Off => b",\"cache\":\"off\"",
            CacheMode::Refresh => b",\"cache\":\"refresh\"",
        });
    }
}

/// What chose the model of an item, where it was not the job's own for want of any choice.
#[derive(Debug, Clone, Copy)]
pub enum Chosen {
    By(RouteBy),
    /// A router, which found these scores.
    Router(Few<Score>),
}

impl Chosen {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Router(scores) => {
                out.extend_from_slice(b",\"route_score\":");
                write_scores(scores, out);
            }
            Self::By(RouteBy::Line) => out.extend_from_slice(b",\"route_by\":\"line\""),
            Self::By(RouteBy::Rule(number)) => {
                out.extend_from_slice(b",\"route_by\":{\"rule\":");
                out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
                out.push(b'}');
            }
        }
    }
}

/// The key of a canonical form.
#[must_use]
pub fn key_of(canonical: &[u8]) -> RequestKey {
    RequestKey(Sha256::digest(canonical).into())
}

/// Appends the sealed line for `canonical` (which starts with `{`), without a newline.
/// `tags` is canonical JSON of an object, or empty.
pub fn seal(
    item_id: &str,
    tags: &[u8],
    wishes: Wishes,
    chosen: Option<&Chosen>,
    canonical: &[u8],
    out: &mut Vec<u8>,
) -> Sealed {
    debug_assert_eq!(canonical.first(), Some(&b'{'), "a canonical form is an object");
    let start = out.len();
    out.extend_from_slice(b"{\"custom_id\":");
    write_json_text(item_id, out);
    if !tags.is_empty() {
        out.extend_from_slice(b",\"tags\":");
        out.extend_from_slice(tags);
    }
    wishes.write(out);
    if let Some(chosen) = chosen {
        chosen.write(out);
    }
    out.push(b',');
    let header_len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out.extend_from_slice(&canonical[1..]);
    Sealed { header_len, key: key_of(canonical) }
}

/// One number for a router between two models, else a list.
fn write_scores(scores: &[Score], out: &mut Vec<u8>) {
    let several = scores.len() > 1;
    out.extend(several.then_some(b'['));
    for (place, Score(millionths)) in scores.iter().enumerate() {
        out.extend((place > 0).then_some(b','));
        out.extend_from_slice(itoa::Buffer::new().format(*millionths).as_bytes());
    }
    out.extend(several.then_some(b']'));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::request::{Request, RouteScore};

    #[test]
    fn a_sealed_line_is_a_unified_request() {
        let canonical = br#"{"messages":[{"content":"x","role":"user"}],"model":"m"}"#;
        for priority in [Priority::Low, Priority::High] {
            let router = |scores: Few<Score>| Some(Chosen::Router(scores));
            for (cache, chosen, scores, by) in [
                (CacheMode::Default, None, None, None),
                (CacheMode::Off, router([Score(-95_853)].into()), Some(RouteScore::One(-95_853)), None),
                (
                    CacheMode::Refresh,
                    router([Score(0), Score(-7)].into()),
                    Some(RouteScore::Several(vec![0, -7])),
                    None,
                ),
                (CacheMode::Default, Some(Chosen::By(RouteBy::Rule(12))), None, Some(RouteBy::Rule(12))),
                (CacheMode::Off, Some(Chosen::By(RouteBy::Line)), None, Some(RouteBy::Line)),
            ] {
                let (mut line, wishes) = (Vec::new(), Wishes { priority, cache });
                let sealed = seal("a\"b", br#"{"team":"t"}"#, wishes, chosen.as_ref(), canonical, &mut line);
                let request: Request<'_> = serde_json::from_slice(&line).unwrap();
                assert_eq!((request.priority, request.cache), (priority, cache));
                assert_eq!((request.route_score, request.route_by), (scores, by));
                assert_eq!(request.custom_id.unwrap().as_ref() as &str, "a\"b");
                let mut again = b"{".to_vec();
                again.extend_from_slice(&line[sealed.header_len as usize..]);
                assert_eq!(again, canonical);
                assert_eq!(sealed.key, key_of(canonical));
            }
        }
    }
}
