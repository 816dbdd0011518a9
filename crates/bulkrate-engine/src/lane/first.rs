//! The first call of a run goes alone: until a deployment has answered once, nobody knows whether the base URL, the key and
//! the model are right, and each call to a wrong one may be one more in doubt.
//!
//! What is wrong is said at once. A call that is under way for long is at work, and holds nobody up any longer.
//!
//! Where prompts are marked for a prompt cache the first answer also warms it: what is sent before it has begun finds nothing
//! there and pays for writing the same again. So the others wait for an answer, and not only for a sign of the API.

use bulkrate_core::answer::Reading;
use bulkrate_core::failure::Verdict;
use bulkrate_provider::Reply;

/// A call that is out for so long has met with no wrong key and no page: others may go beside it.
const SLOW_US: u64 = 10_000_000;
/// A call that is to warm a prompt cache is waited for longer: each that goes beside it pays for another write.
const WARMS_US: u64 = 60_000_000;
/// So many calls that end without an answer, and the cache stays cold.
const WARM_TRIES: u8 = 3;
/// So many replies in a row that may be a broken API's, and none that is surely the API's, halt the job.
const FOREIGN_MAX: u32 = 4;
/// So many calls that brought nothing, or a gateway's page, halt it: each may have been paid.
const LOST_MAX: u32 = 3;

/// What the replies of a run have shown of one deployment.
#[derive(Debug, Default)]
pub(super) struct First {
    /// The API itself has answered, in words that do not stop the job.
    proven: bool,
    /// Calls that may still be tried alone to warm the prompt cache; none where it is warm, or nothing is marked.
    cold: u8,
    /// Until when the call that is out keeps the others back.
    alone_until_us: Option<u64>,
    /// Replies that were not the API's, as long as there was no other.
    foreign: u32,
    /// Calls that nobody answered, as long as none was answered.
    lost: u32,
}

impl First {
    /// `marked`: the first answer warms a prompt cache.
    pub(super) fn new(marked: bool) -> Self {
        Self { cold: if marked { WARM_TRIES } else { 0 }, ..Self::default() }
    }

    /// Whether one call at most may be out.
    pub(super) fn goes_alone(&self, now_us: u64) -> bool {
        self.is_awaited() && self.alone_until_us.is_none_or(|until| now_us < until)
    }

    /// Whether an answer is still to show something.
    fn is_awaited(&self) -> bool {
        !self.proven || self.cold > 0
    }

    /// A call has ended, perhaps without an answer.
    fn ended(&mut self, answered: bool) {
        if self.cold > 0 {
            self.cold = if answered { 0 } else { self.cold - 1 };
            self.alone_until_us = None;
        }
    }

    /// When others may go beside the call that is out, unless it is answered before.
    pub(super) fn opens_at(&self, now_us: u64) -> Option<u64> {
        self.alone_until_us.filter(|until| self.is_awaited() && now_us < *until)
    }

    pub(super) fn sent(&mut self, now_us: u64) {
        if self.is_awaited() {
            let patience_us = if self.cold > 0 { WARMS_US } else { SLOW_US };
            self.alone_until_us.get_or_insert(now_us + patience_us);
        }
    }

    /// A call was not sent: the next one goes alone again.
    pub(super) fn not_sent(&mut self) {
        self.alone_until_us = None;
    }

    /// A call was sent and not answered, and `why`. `Some`: it is time to stop, and why.
    pub(super) fn lost(&mut self, why: &str) -> Option<String> {
        self.ended(false);
        self.not_the_api(why)
    }

    fn not_the_api(&mut self, why: &str) -> Option<String> {
        if self.proven {
            return None;
        }
        self.alone_until_us = None;
        self.lost += 1;
        (self.lost >= LOST_MAX).then(|| {
            format!(
                "none of the first {} calls was answered: {why}; each may have been paid, so no more are sent; check `--base-url`, the network and the proxy, and what the provider says of its health",
                self.lost
            )
        })
    }

    /// A server that has only ever sent pages of its own is not the API. `Some`: it is time to stop, and why.
    pub(super) fn replied(&mut self, reading: &Reading<'_>, reply: &Reply) -> Option<String> {
        self.ended(matches!(reading, Reading::Answer(_)));
        if self.proven {
            return None;
        }
        self.alone_until_us = None;
        let failure = match reading {
            Reading::Failure(failure) if failure.maybe_paid => failure,
            // In the API's own words, and of this deployment: the run stops, or another one stands in.
            Reading::Failure(failure) if failure.class.verdict() == Verdict::HaltJob => return None,
            _ => {
                self.proven = true;
                return None;
            }
        };
        // A gateway's own page says that the API behind it is down.
        if reply.status >= 500 {
            return self.not_the_api(&failure.message);
        }
        self.foreign += 1;
        let most = if may_be_broken(reply) { FOREIGN_MAX } else { 1 };
        let calls = match self.foreign {
            1 => "the first call".to_owned(),
            all => format!("any of the first {all} calls"),
        };
        (self.foreign >= most).then(|| {
            format!(
                "the base URL does not answer like the API to {calls}: {}; check `--base-url`, its end is mostly a version, as in `/v1`",
                failure.message
            )
        })
    }
}

/// A reply that is no page: JSON that was cut short, or a refusal that may pass.
fn may_be_broken(reply: &Reply) -> bool {
    let json = (200..300).contains(&reply.status) && reply.body.trim_ascii_start().starts_with(b"{");
    json || matches!(reply.status, 408 | 409 | 425 | 429)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkrate_core::answer::Failure;
    use bulkrate_core::failure::FailureClass;
    use bytes::Bytes;

    fn failed(class: FailureClass, maybe_paid: bool) -> Reading<'static> {
        let message = "no".to_owned();
        Reading::Failure(Failure { class, message, provider_code: None, wait_ms: None, maybe_paid })
    }

    fn reply(status: u16, body: &'static str) -> Reply {
        Reply { status, headers: http::HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn one_call_goes_alone_until_the_api_has_answered_or_is_slow() {
        let mut first = First::default();
        assert!(first.goes_alone(0));
        assert_eq!(first.opens_at(0), None, "nothing is out, and nobody waits for it");
        first.sent(5);
        assert_eq!(first.opens_at(6), Some(SLOW_US + 5));
        assert!(
            first.goes_alone(SLOW_US + 4) && !first.goes_alone(SLOW_US + 5),
            "a slow answer is one at work"
        );
        assert_eq!(first.opens_at(SLOW_US + 5), None, "a time that has passed wakes nobody");
        first.sent(SLOW_US + 6);
        assert_eq!(first.lost("cut"), None);
        assert!(first.goes_alone(SLOW_US + 7), "lost: nothing is known yet");
        first.sent(SLOW_US + 8);
        let busy = failed(FailureClass::RateLimited, false);
        assert_eq!(first.replied(&busy, &reply(429, "{}")), None);
        assert!(!first.goes_alone(SLOW_US + 9), "a refusal in the API's own words shows that it is the API");
        first.not_sent();
        assert!((0..99).all(|_| first.lost("cut").is_none()), "an outage is waited for");
        assert!(!first.goes_alone(u64::MAX), "once is enough for a run");
    }

    #[test]
    fn where_prompts_are_marked_the_others_wait_for_an_answer() {
        let answer = || {
            Reading::Answer(Box::new(bulkrate_core::answer::Answer {
                body: bulkrate_core::answer::Body::Text { text: "a".into(), refusal: None, tool_calls: None },
                finish: bulkrate_core::answer::Finish::Stop,
                usage: None,
                model: None,
                tier: None,
                charged: None,
                tokens: Vec::new(),
            }))
        };
        let busy = failed(FailureClass::RateLimited, false);
        let mut first = First::new(true);
        first.sent(0);
        assert_eq!(first.replied(&busy, &reply(429, "{}")), None);
        assert!(first.goes_alone(1), "it is the API, and its cache is cold");
        first.sent(2);
        assert!(first.goes_alone(SLOW_US * 2) && first.opens_at(3) == Some(WARMS_US + 2));
        assert_eq!(first.replied(&answer(), &reply(200, "{}")), None);
        assert!(!first.goes_alone(4) && first.opens_at(4).is_none(), "warm");
        let mut refused = First::new(true);
        for _ in 0..WARM_TRIES {
            assert!(refused.goes_alone(0));
            refused.sent(0);
            refused.replied(&busy, &reply(429, "{}"));
        }
        assert!(!refused.goes_alone(0), "nobody waits for ever");
        let mut plain = First::new(false);
        plain.sent(0);
        plain.replied(&busy, &reply(429, "{}"));
        assert!(!plain.goes_alone(1));
    }

    #[test]
    fn what_is_not_the_api_stops_the_job() {
        let page = failed(FailureClass::Transient, true);
        for (status, body, stops_at) in [
            (200, "<html>", Some(1)),
            (404, " <!doctype html>", Some(1)),
            (404, "{\"message\":\"no route\"}", Some(1)),
            (307, "", Some(1)),
            (200, "hello", Some(1)),
            (200, "\n {\"id\":\"x", Some(4)),
            (429, "<html>", Some(4)),
            (502, "<html>", Some(3)),
        ] {
            let mut first = First::default();
            let stopped = (1..=9).find(|_| first.replied(&page, &reply(status, body)).is_some());
            assert_eq!(stopped, stops_at, "{status} {body}");
            assert!(first.goes_alone(0), "{status} {body}");
        }
    }

    #[test]
    fn a_wrong_key_proves_nothing_for_the_calls_behind_it() {
        for class in [FailureClass::Auth, FailureClass::ModelUnavailable, FailureClass::Billing] {
            let mut first = First::default();
            first.sent(0);
            assert_eq!(first.replied(&failed(class, false), &reply(401, "{}")), None);
            assert!(first.goes_alone(1), "{class}");
        }
    }
}
