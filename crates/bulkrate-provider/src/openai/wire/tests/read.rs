//! Answers as they come in, of calls and of batches.

use super::*;

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: http::HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn answer(reading: Reading<'_>) -> Answer<'_> {
    match reading {
        Reading::Answer(answer) => *answer,
        Reading::Failure(failure) => panic!("{failure:?}"),
    }
}

fn failure(reading: Reading<'_>) -> Failure {
    match reading {
        Reading::Failure(failure) => failure,
        Reading::Answer(answer) => panic!("{answer:?}"),
    }
}

fn text_of<'a>(answer: &'a Answer<'_>) -> &'a str {
    match &answer.body {
        Body::Text { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_chat_answer_is_borrowed() {
    let reply = reply(200, include_str!("../../../../fixtures/openai/chat_ok.json"));
    let wire = openai();
    let answer = answer(wire.read(Kind::Chat, &reply));
    assert_eq!((text_of(&answer), answer.finish), (r#"{"answer":"delivery"}"#, Finish::Stop));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (256, 1_024, 90, 64));
    assert_eq!(
        (answer.model.as_deref(), answer.tier.as_deref()),
        (Some("gpt-5.6-luna-2026-07-10"), Some("default"))
    );
    assert!(matches!(answer.model, Some(std::borrow::Cow::Borrowed(_))));
}

#[test]
fn odd_chat_answers() {
    let wire = openai();
    for (body, text, refusal, calls, finish, has_usage) in [
        (
            r#"{"choices":[{"message":{"content":null,"refusal":"I cannot"},"finish_reason":"stop"}],"usage":null}"#,
            "",
            Some("I cannot"),
            false,
            Finish::ContentFilter,
            false,
        ),
        (
            r#"{"choices":[{"message":{"content":"","refusal":""},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            "",
            None,
            false,
            Finish::Length,
            true,
        ),
        (
            r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c"}]},"finish_reason":"tool_calls"}]}"#,
            "",
            None,
            true,
            Finish::ToolCalls,
            false,
        ),
        (
            r#"{"choices":[{"message":{"content":"a","tool_calls":[ ]},"finish_reason":null}]}"#,
            "a",
            None,
            false,
            Finish::Other,
            false,
        ),
        (
            r#"{"choices":[{"message":{"content":[{"type":"thinking","text":"no"},{"type":"text","text":"a"},{"type":"text","text":"b"}]},"finish_reason":"stop"}]}"#,
            "ab",
            None,
            false,
            Finish::Stop,
            false,
        ),
        (
            r#"{"model":5,"service_tier":{},"system_fingerprint":[],"choices":[{"message":{"content":"a","reasoning_content":"r"},"finish_reason":"insufficient_system_resource"}],"usage":{"prompt_tokens":"?"}}"#,
            "a",
            None,
            false,
            Finish::Other,
            false,
        ),
        (
            "\n\n  {\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"content_filter\"}],\"error\":null}",
            "a",
            None,
            false,
            Finish::ContentFilter,
            false,
        ),
    ] {
        let reply = reply(200, body);
        let answer = answer(wire.read(Kind::Chat, &reply));
        let Body::Text { refusal: got, tool_calls, .. } = &answer.body else { panic!("{body}") };
        assert_eq!(
            (text_of(&answer), got.as_deref(), tool_calls.is_some(), answer.finish, answer.usage.is_some()),
            (text, refusal, calls, finish, has_usage),
            "{body}"
        );
    }
}

#[test]
fn answers_that_hold_none() {
    let wire = openai();
    for (body, class, maybe_paid) in [
        ("", FailureClass::Transient, true),
        ("{}", FailureClass::Transient, true),
        ("null", FailureClass::Transient, true),
        (r#"{"choices":[]}"#, FailureClass::Transient, true),
        (r#"{"choices":[{"finish_reason":"stop"}]}"#, FailureClass::Transient, true),
        (r#"{"choices":[{"message":{"content":5}}]}"#, FailureClass::Transient, true),
        (r#"{"error":{"code":502,"message":"upstream"}}"#, FailureClass::Transient, true),
        (r#"{"error":{"code":402,"message":"no credit"}}"#, FailureClass::Billing, false),
        (
            r#"{"error":{"code":429,"message":"slow. Please try again in 2s."}}"#,
            FailureClass::RateLimited,
            false,
        ),
        (r#"{"error":{"code":"server_is_overloaded","message":"x"}}"#, FailureClass::Transient, true),
    ] {
        let reply = reply(200, body);
        let failure = failure(wire.read(Kind::Chat, &reply));
        assert_eq!((failure.class, failure.maybe_paid), (class, maybe_paid), "{body}");
    }
}

#[test]
fn responses_answers() {
    let wire = wire_with(Dialect::OPENAI, |settings| settings.chat_endpoint = ChatEndpoint::Responses);
    let ok = reply(200, include_str!("../../../../fixtures/openai/responses_ok.json"));
    let good = answer(wire.read(Kind::Chat, &ok));
    assert_eq!(
        (text_of(&good), good.finish, good.usage.unwrap().input),
        (r#"{"label":"a"}"#, Finish::Stop, 256)
    );
    for (body, finish) in [
        (
            r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}"#,
            Finish::Length,
        ),
        (
            r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}"#,
            Finish::ContentFilter,
        ),
        (
            r#"{"status":"completed","output":[{"type":"function_call","name":"f","arguments":"{}"}]}"#,
            Finish::ToolCalls,
        ),
        (
            r#"{"status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]}"#,
            Finish::ContentFilter,
        ),
        (
            r#"{"status":"failed","error":{"code":"server_error","message":"x"},"output":[],"usage":{"input_tokens":5,"output_tokens":5}}"#,
            Finish::Malformed,
        ),
        (r#"{"status":"cancelled","output":[]}"#, Finish::Other),
    ] {
        let reply = reply(200, body);
        assert_eq!(answer(wire.read(Kind::Chat, &reply)).finish, finish, "{body}");
    }
    let failed = reply(
        200,
        r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"x"},"output":[],"usage":null}"#,
    );
    let failure = failure(wire.read(Kind::Chat, &failed));
    assert_eq!((failure.class, failure.maybe_paid), (FailureClass::RateLimited, false));
}

#[test]
fn vectors_and_verdicts() {
    let wire = openai();
    let base64 = reply(
        200,
        r#"{"object":"list","model":"e","data":[{"index":0,"embedding":"AACAPw=="}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#,
    );
    let vector = answer(wire.read(Kind::Embedding, &base64));
    assert!(matches!(&vector.body, Body::Embedding(Embedding::Base64(text)) if text == "AACAPw=="));
    assert_eq!(vector.usage.unwrap().input, 2);
    let numbers = reply(200, r#"{"data":[{"embedding":[0.5, -1]}]}"#);
    assert!(
        matches!(&answer(wire.read(Kind::Embedding, &numbers)).body, Body::Embedding(Embedding::Numbers(raw)) if raw.get() == "[0.5, -1]")
    );
    for body in [r#"{"data":[]}"#, r#"{"data":[{"embedding":null}]}"#, r#"{"data":null}"#] {
        let reply = reply(200, body);
        assert!(failure(wire.read(Kind::Embedding, &reply)).maybe_paid, "{body}");
    }
    for (body, want) in
        [(r#"{"results":[{"flagged":false}]}"#, r#"{"flagged":false}"#), (r#"{"results":[1,2]}"#, "[1,2]")]
    {
        let reply = reply(200, body);
        let verdict = answer(wire.read(Kind::Moderation, &reply));
        assert!(matches!(verdict.body, Body::Moderation(raw) if raw.get() == want), "{body}");
        assert_eq!(verdict.usage.unwrap(), bulkrate_core::usage::Usage::default());
    }
}

#[test]
fn what_a_call_cost_is_believed_where_it_is_said() {
    let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":1.4e-05}}"#;
    let mut with_header = reply(200, body);
    with_header.headers.insert("x-mdb-charged-usd", http::HeaderValue::from_static("0.0003"));
    let mut with_own = reply(200, body);
    with_own.headers.insert("x-cost", http::HeaderValue::from_static("0.5"));
    let bare = reply(200, body);
    let trusting = wire_with(Dialect::CUSTOM, |settings| settings.trust_body_cost = true);
    let own = wire_with(Dialect::CUSTOM, |settings| settings.cost_header = Some("X-Cost".to_owned()));
    for (wire, reply, want) in [
        (&openai(), &with_header, Some(UsdNanos(300_000))),
        (&openai(), &bare, None),
        (&openai(), &with_own, None),
        (&own, &with_own, Some(UsdNanos(500_000_000))),
        (&trusting, &bare, Some(UsdNanos(14_000))),
        (&trusting, &with_header, Some(UsdNanos(300_000))),
    ] {
        assert_eq!(answer(wire.read(Kind::Chat, reply)).charged, want);
    }
}

#[test]
fn who_answered_is_said_in_a_header_where_a_service_has_one() {
    let body = r#"{"model":"auto","choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let router = crate::openai::tests::wire("fluxrouter");
    for (wire, said, want) in [
        (&router, Some("small-2"), "small-2"),
        (&router, Some(""), "auto"),
        (&router, None, "auto"),
        (&crate::openai::tests::wire("modeldatabase"), Some("small-2"), "auto"),
    ] {
        let mut reply = reply(200, body);
        if let Some(said) = said {
            reply.headers.insert("x-flux-model", http::HeaderValue::from_static(said));
        }
        assert_eq!(answer(wire.read(Kind::Chat, &reply)).model.as_deref(), Some(want), "{said:?}");
    }
}

#[test]
fn f66_a_cost_header_that_is_no_number_says_nothing_and_of_two_the_dearer_counts() {
    let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let own = wire_with(Dialect::CUSTOM, |settings| settings.cost_header = Some("X-Cost".to_owned()));
    for (values, want) in [
        (&["NaN"][..], None),
        (&["inf"], None),
        (&["-0.5"], None),
        (&["a dime"], None),
        (&[""], None),
        (&["0.25", "0.5"], Some(500_000_000)),
        (&["0.5", "0.25"], Some(500_000_000)),
        (&["NaN", "0.25"], Some(250_000_000)),
    ] {
        let mut reply = reply(200, body);
        for value in values {
            reply.headers.append("x-cost", http::HeaderValue::from_static(value));
        }
        assert_eq!(answer(own.read(Kind::Chat, &reply)).charged, want.map(UsdNanos), "{values:?}");
    }
}

#[test]
fn lines_of_vllm_have_errors_in_three_shapes() {
    let wire = openai();
    let want = [
        ("i-1", None),
        ("i-2", Some((FailureClass::RefusedByProvider, "This model's maximum"))),
        ("i-3", Some((FailureClass::RefusedByProvider, "URL /v1/responses is not"))),
        ("i-4", Some((FailureClass::ModelUnavailable, "The model `x` does not"))),
        ("i-5", Some((FailureClass::Transient, "boom"))),
        ("i-6", Some((FailureClass::Transient, "it was not run"))),
        ("i-7", Some((FailureClass::Transient, "the item was not run"))),
    ];
    let lines: Vec<&str> = include_str!("../../../../fixtures/vllm/batch_lines.jsonl").lines().collect();
    assert_eq!(lines.len(), want.len());
    for (line, (id, failed)) in lines.into_iter().zip(want) {
        let read = wire.read_line(Kind::Chat, line.as_bytes()).expect(line);
        assert_eq!(read.custom_id, id);
        match (&read.reading, failed) {
            (Reading::Answer(answer), None) => assert_eq!(text_of(answer), "x"),
            (Reading::Failure(failure), Some((class, message))) => {
                assert!(failure.class == class && failure.message.starts_with(message), "{failure:?}");
                assert!(!failure.maybe_paid, "{failure:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn lines_of_batch_files() {
    let wire = openai();
    let lines: Vec<&str> = include_str!("../../../../fixtures/openai/batch_lines.jsonl").lines().collect();
    let want = [
        ("i-1", None),
        ("i-2", Some((FailureClass::RefusedByProvider, false, Some("context_length_exceeded")))),
        ("i-3", Some((FailureClass::Expired, false, Some("batch_expired")))),
        ("i-4", Some((FailureClass::Expired, false, Some("batch_cancelled")))),
        ("i-5", Some((FailureClass::Transient, false, Some("0")))),
        ("i-6", Some((FailureClass::Transient, true, None))),
        ("i-7", Some((FailureClass::Transient, true, None))),
        ("i-8", Some((FailureClass::RateLimited, false, Some("rate_limit_exceeded")))),
        ("i-9", Some((FailureClass::Timeout, false, Some("request_timeout")))),
        ("i-10", Some((FailureClass::RefusedByProvider, false, Some("400")))),
        ("i-11", Some((FailureClass::RefusedByProvider, false, Some("400")))),
        ("i-12", Some((FailureClass::Transient, false, None))),
    ];
    assert_eq!(lines.len(), want.len());
    for (line, (id, failed)) in lines.into_iter().zip(want) {
        let read = wire.read_line(Kind::Chat, line.as_bytes()).expect(line);
        let got = match &read.reading {
            Reading::Answer(_) => None,
            Reading::Failure(failure) => {
                Some((failure.class, failure.maybe_paid, failure.provider_code.as_deref()))
            }
        };
        assert_eq!((&*read.custom_id, got), (id, failed), "{line}");
    }
    for line in ["", "{}", "{\"custom_id\":5}", "{\"custom_id\":\"\"}", "{\"custom_id\":\"i\"", "\0", "null"]
    {
        assert!(wire.read_line(Kind::Chat, line.as_bytes()).is_err(), "{line}");
    }
    let marked = b"\xef\xbb\xbf{\"custom_id\":\"i\",\"response\":null,\"error\":null}\r";
    assert_eq!(wire.read_line(Kind::Chat, marked).unwrap().custom_id, "i");
}

#[test]
fn log_probabilities_are_read_and_never_cost_an_answer() {
    let list = r#"[{"token":"{\"a","logprob":-0.5,"bytes":[123,34,97],"top_logprobs":[{"token":"{\"a","logprob":-0.5,"bytes":null},{"token":"no","logprob":-1.5}]},{"token":"b","logprob":-9999.0,"top_logprobs":null}]"#;
    let chat = |logprobs: &str| {
        format!(
            r#"{{"model":"m","choices":[{{"message":{{"content":"{{\"ab"}},"logprobs":{logprobs},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}}"#
        )
    };
    let response = format!(
        r#"{{"status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":"{{\"ab","logprobs":{list}}}]}}],"usage":{{"input_tokens":3,"output_tokens":2}}}}"#
    );
    let responses = wire_with(Dialect::OPENAI, |settings| settings.chat_endpoint = ChatEndpoint::Responses);
    let whole = format!(r#"{{"content":{list},"refusal":null}}"#);
    let line = format!(
        r#"{{"custom_id":"i","response":{{"status_code":200,"body":{}}},"error":null}}"#,
        chat(&whole)
    );
    let told = |reading: Reading<'_>| match reading {
        Reading::Answer(answer) => answer
            .tokens
            .iter()
            .map(|token| (token.text.to_string(), token.logprob, token.likely.len()))
            .collect::<Vec<_>>(),
        Reading::Failure(failure) => panic!("{failure:?}"),
    };
    let want = vec![("{\"a".to_owned(), -0.5, 2), ("b".to_owned(), -9_999.0, 0)];
    assert_eq!(told(openai().read(Kind::Chat, &reply(200, &chat(&whole)))), want);
    assert_eq!(told(responses.read(Kind::Chat, &reply(200, &response))), want);
    assert_eq!(told(openai().read_line(Kind::Chat, line.as_bytes()).unwrap().reading), want);
    for odd in ["null", "7", "[]", r#"{"content":null}"#, r#"{"content":[{"token":"a"}]}"#] {
        assert_eq!(told(openai().read(Kind::Chat, &reply(200, &chat(odd)))), vec![], "{odd}");
    }
}
