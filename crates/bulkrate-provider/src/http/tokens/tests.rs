#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

#[test]
fn an_address_is_an_origin_and_a_path() {
    for (url, want) in [
        ("https://oauth2.googleapis.com/token", ("https://oauth2.googleapis.com", "/token")),
        ("http://127.0.0.1:1", ("http://127.0.0.1:1", "")),
    ] {
        assert_eq!(split(url), want);
    }
}

#[test]
fn a_late_refusal_of_the_token_before_does_not_condemn_the_new_one() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let token = || {
        let (header, far) = (HeaderValue::from_static("Bearer x"), at(3_600));
        Token { header, renewed_at: far, ends_at: far }
    };
    let mut held = Held::default();
    held.take_in(token(), "one".into(), at(0));
    // The first one is refused, and whoever gives out tokens takes a while for the second.
    assert!(held.refused(at(100)) && held.token.is_none());
    assert!(held.refused(at(110)), "another one is on its way");
    held.take_in(token(), "two".into(), at(150));
    assert!(held.refused(at(179)) && held.token.is_some(), "the first one's last call is late");
    // Nothing is on its way any more that has the first.
    assert!(!held.refused(at(181)));
    // Much later it is old, too.
    assert!(held.refused(at(2_000)) && held.token.is_none());
    held.take_in(token(), "three".into(), at(2_001));

    // One that took the place of an old one is refused for the first time.
    held.take_in(token(), "four".into(), at(5_000));
    assert!(held.refused(at(5_040)) && held.token.is_none());
}

#[test]
fn a_life_that_cannot_be_is_another() {
    for (said, want) in [(0, 60), (1, 1), (3_599, 3_599), (90_000, 86_400), (u64::MAX, 86_400)] {
        assert_eq!(life(said), Duration::from_secs(want));
        assert!(Instant::now().checked_add(life(said)).is_some());
    }
}

#[test]
fn a_life_is_told_in_seconds_or_by_its_end() {
    for (said, want) in [
        (r#""expires_in":3599"#, 3_599),
        (r#""expires_in":"3599","expires_on":"1""#, 3_599),
        (r#""expires_on":"1795046500""#, 100),
        (r#""expires_on":"1795046000""#, 60),
        (r#""token_type":"Bearer""#, 60),
    ] {
        let granted: Granted = serde_json::from_str(&format!(r#"{{"access_token":"t",{said}}}"#)).unwrap();
        assert_eq!(granted.life(1_795_046_400), Duration::from_secs(want), "{said}");
    }
}

#[test]
fn what_a_server_of_tokens_says() {
    let of = |status, body: &'static str| {
        let reply = Reply { status, headers: HeaderMap::new(), body: Bytes::from(body) };
        let failure = classify(&reply, 0);
        (failure.class, failure.message)
    };
    let grant = r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#;
    assert_eq!(of(400, grant), (FailureClass::Auth, "invalid_grant: Invalid JWT Signature.".to_owned()));
    assert_eq!(of(500, r#"{"error":"internal_failure"}"#).0, FailureClass::Transient);
    assert_eq!(of(404, "<html>").0, FailureClass::Auth);
    assert_eq!(of(502, "<html>").0, FailureClass::Transient);
    // Beside the machine it may be there in a moment.
    for (status, body, class) in [
        (404, "<html>", FailureClass::Transient),
        (410, r#"{"error":"gone"}"#, FailureClass::Transient),
        (404, r#"{"error":"not_found"}"#, FailureClass::Transient),
        (403, "<html>", FailureClass::Auth),
        (400, r#"{"error":"invalid_request"}"#, FailureClass::Auth),
    ] {
        let reply = Reply { status, headers: HeaderMap::new(), body: Bytes::from(body) };
        assert_eq!(classify_beside(&reply, 0).class, class, "{status} {body}");
    }
}
