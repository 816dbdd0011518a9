//! Bodies as they go out, refusals by name, and answers as they are read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bulkrate_core::answer::{Body, Finish, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{Kind, Request};
use serde_json::Value;

use super::AnthropicWire;
use crate::api::{Reply, Wire, WireOptions};
use crate::http::Account;
use crate::settings::{ProxyFrom, Settings};
use crate::testing;

const NEW: &str = "claude-sonnet-5-5";
const OLD: &str = "claude-haiku-4-5-20251001";

fn wire() -> AnthropicWire {
    wire_of(true)
}

fn wire_of(samples: bool) -> AnthropicWire {
    let settings =
        Settings { proxy: ProxyFrom::None, api_key: "sk-canary-0123456".into(), ..Settings::default() };
    AnthropicWire::new(
        Account::new(Some("http://127.0.0.1:1"), "anthropic", &settings).unwrap(),
        &settings,
        samples,
    )
}

fn encoded(model: &str, line: &str, max_tokens: Option<u32>) -> Result<Value, String> {
    marked(model, line, max_tokens, None)
}

fn marked(model: &str, line: &str, max_tokens: Option<u32>, mark: Option<Ttl>) -> Result<Value, String> {
    let options = WireOptions { max_tokens, mark, ..WireOptions::new(Lane::Sync, model) };
    testing::encoded(&wire(), options, line)
}

/// A request with these fields besides a prompt.
fn asking(config: &str, more: &str) -> String {
    let comma = |text: &str| if text.is_empty() { String::new() } else { format!(",{text}") };
    format!(
        r#"{{"messages":[{{"role":"user","content":"Hi"}}],"generation_config":{{"max_tokens":4000{}}}{}}}"#,
        comma(config),
        comma(more)
    )
}

#[test]
fn what_some_requests_share_of_the_last_turn_is_marked_within_it() {
    let content = |line: &str, mark: Option<Ttl>, second: Option<u32>| {
        let request: Request<'_> = serde_json::from_str(line).unwrap();
        let options = WireOptions { mark, second, ..WireOptions::new(Lane::Sync, NEW) };
        let mut body = Vec::new();
        wire().encode(&request, options, &mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (body["messages"].as_array().unwrap().last().unwrap()["content"].clone(), body["system"].clone())
    };
    let short = serde_json::json!({"type": "ephemeral"});
    let line = |own: &str| {
        let turn = r#"{"role":"user","content":"Ein \"langer\" Text für alle.\n\nWarum?"}"#;
        format!(
            r#"{{"system_prompt":["S"],"messages":[{turn}],"generation_config":{{"max_tokens":9}}{own}}}"#
        )
    };
    let text = "Ein \"langer\" Text für alle.\n\nWarum?";
    let at = u32::try_from(text.find("\n\n").unwrap()).unwrap();
    let [shared, own] = ["Ein \"langer\" Text für alle.", "\n\nWarum?"];
    let halves = serde_json::json!([{"type": "text", "text": shared, "cache_control": short}, {"type": "text", "text": own}]);
    assert_eq!(
        content(&line(""), None, Some(at)),
        (halves.clone(), "S".into()),
        "whatever the first mark is"
    );
    let hour = serde_json::json!([{"type": "text", "text": "S", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    assert_eq!(content(&line(""), Some(Ttl::Hour), Some(at)), (halves, hour));
    // A block of nothing is refused, and no letter is cut in two.
    let umlaut = u32::try_from(text.find('ü').unwrap() + 1).unwrap();
    for none in [None, Some(0), Some(umlaut), Some(u32::try_from(text.len()).unwrap()), Some(9_999)] {
        assert_eq!(content(&line(""), None, none).0, text, "{none:?}");
    }
    let own = line(r#","provider_kwargs":{"cache_control":{"type":"ephemeral"}}"#);
    assert_eq!(content(&own, None, Some(at)).0, text, "the caller's own marks win");
}

#[test]
fn a_mark_stands_at_the_end_of_what_comes_before_the_last_turn() {
    const SHORT: &str = r#""cache_control":{"type":"ephemeral"}"#;
    const HOUR: &str = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;
    let system = r#""system_prompt":"Be brief.""#;
    let turns = |last: &str| {
        format!(
            r#"{{"role":"user","content":"2+2"}},{{"role":"assistant","content":{last}}},{{"role":"user","content":"Hi"}}"#
        )
    };
    let asked = |more: &str, turns: &str| {
        format!(r#"{{"messages":[{turns}],"generation_config":{{"max_tokens":9}}{more}}}"#)
    };
    let user = r#"{"role":"user","content":"Hi"}"#;
    for (ttl, line, want) in [
        (
            Ttl::FiveMinutes,
            asked(&format!(",{system}"), user),
            format!(r#"{{"system":[{{"type":"text","text":"Be brief.",{SHORT}}}],"messages":[{user}]}}"#),
        ),
        (
            Ttl::Hour,
            asked(r#","system_prompt":["Be brief.","Be kind."]"#, user),
            format!(
                r#"{{"system":[{{"type":"text","text":"Be brief."}},{{"type":"text","text":"Be kind.",{HOUR}}}],"messages":[{user}]}}"#
            ),
        ),
        (
            Ttl::FiveMinutes,
            asked(&format!(",{system}"), &turns(r#""4""#)),
            format!(
                r#"{{"system":"Be brief.","messages":[{}]}}"#,
                turns(&format!(r#"[{{"type":"text","text":"4",{SHORT}}}]"#))
            ),
        ),
        (
            Ttl::Hour,
            asked("", &turns(r#"[{"type":"text","text":"4"},{"type":"text","text":"four"}]"#)),
            format!(
                r#"{{"messages":[{}]}}"#,
                turns(&format!(r#"[{{"type":"text","text":"4"}},{{"type":"text","text":"four",{HOUR}}}]"#))
            ),
        ),
        // Nothing stands before it.
        (Ttl::FiveMinutes, asked("", user), format!(r#"{{"messages":[{user}]}}"#)),
    ] {
        let got = marked(NEW, &line, None, Some(ttl)).unwrap();
        let mut want: Value = serde_json::from_str(&want).unwrap();
        for (name, value) in
            [("model", NEW.into()), ("max_tokens", 9.into()), ("service_tier", "standard_only".into())]
        {
            want[name] = value;
        }
        assert_eq!(got, want, "{line}");
    }
    // What the caller has marked himself is all that is marked; for an hour only if that was said.
    for own in [
        r#"{"cache_control":{"type":"ephemeral"}}"#,
        r#"{"tools":[{"name":"a","input_schema":{},"cache_control":{"type":"ephemeral","ttl":"1h"}}]}"#,
    ] {
        let line = asked(&format!(r#",{system},"provider_kwargs":{own}"#), user);
        let body = marked(NEW, &line, None, Some(Ttl::Hour)).unwrap();
        assert_eq!(
            (body.to_string().matches("ephemeral").count(), &body["system"]),
            (1, &"Be brief.".into())
        );
        assert_eq!(marked(NEW, &line, None, Some(Ttl::FiveMinutes)).is_err(), own.contains("1h"), "{own}");
    }
}

#[test]
fn bodies() {
    let usual = |rest: &str| {
        let comma = if rest.is_empty() { "" } else { "," };
        format!(
            r#"{{"max_tokens":4000,"messages":[{{"role":"user","content":"Hi"}}],"service_tier":"standard_only"{comma}{rest}}}"#
        )
    };
    for (model, line, want) in [
        (NEW, asking("", ""), usual("")),
        (NEW, asking(r#""temperature":1.0,"top_p":1,"presence_penalty":0"#, ""), usual("")),
        (
            OLD,
            asking(r#""temperature":0.5,"top_k":5,"stop_sequences":["END"]"#, ""),
            usual(r#""temperature":0.5,"top_k":5,"stop_sequences":["END"]"#),
        ),
        (NEW, asking("", r#""system_prompt":"Be brief.""#), usual(r#""system":"Be brief.""#)),
        (
            NEW,
            asking("", r#""system_prompt":["Be brief.","","Be kind."]"#),
            usual(r#""system":[{"type":"text","text":"Be brief."},{"type":"text","text":"Be kind."}]"#),
        ),
        (
            NEW,
            asking(r#""reasoning":"low""#, ""),
            usual(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#),
        ),
        (NEW, asking(r#""reasoning":"none""#, ""), usual(r#""thinking":{"type":"disabled"}"#)),
        (
            OLD,
            asking(r#""reasoning":"low""#, ""),
            usual(r#""thinking":{"type":"enabled","budget_tokens":1024}"#),
        ),
        (
            OLD,
            asking(r#""reasoning":2000"#, ""),
            usual(r#""thinking":{"type":"enabled","budget_tokens":2000}"#),
        ),
        (
            "claude-opus-4-6",
            asking(r#""reasoning":"high""#, ""),
            usual(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}"#),
        ),
        (
            "claude-opus-4-6",
            asking(r#""reasoning":3000"#, ""),
            usual(r#""thinking":{"type":"enabled","budget_tokens":3000}"#),
        ),
        (
            NEW,
            asking(r#""choices":["ham","spam"],"reasoning":"medium""#, ""),
            usual(
                r#""thinking":{"type":"adaptive"},"output_config":{"effort":"medium","format":{"type":"json_schema","schema":{"type":"object","properties":{"answer":{"type":"string","enum":["ham","spam"]}},"required":["answer"],"additionalProperties":false}}}"#,
            ),
        ),
        (
            NEW,
            asking(
                r#""output_schema":{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}"#,
                "",
            ),
            usual(
                r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"integer","description":"(minimum: 1)"}},"additionalProperties":false}}}"#,
            ),
        ),
        (
            NEW,
            asking(
                "",
                r#""provider_kwargs":{"service_tier":"auto","tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}"#,
            ),
            usual(r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}"#),
        ),
        (
            NEW,
            asking(
                r#""reasoning":"high""#,
                r#""provider_kwargs":{"thinking":{"type":"between_tools"},"output_config":{}}"#,
            ),
            usual(r#""thinking":{"type":"between_tools"},"output_config":{}"#),
        ),
    ] {
        let mut got = encoded(model, &line, None).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(got["model"].take(), *model, "{line}");
        got.as_object_mut().unwrap().remove("model");
        assert_eq!(got, serde_json::from_str::<Value>(&want).unwrap(), "{line}");
    }
}

#[test]
fn turns_and_parts() {
    let line = r#"{"messages":[
        {"role":"system","content":"First."},
        {"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"Look"},
            {"type":"image","source_type":"base64","media_type":"image/png","data":"AAAA"},
            {"type":"image","source_type":"url","media_type":"image/png","data":"https://example.com/a.png"},
            {"type":"document","source_type":"base64","media_type":"application/pdf","data":"JVBERi0="}]},
        {"role":"assistant","content":"I see"},
        {"role":"user","content":"And?"}],
        "system_prompt":"Zero.","generation_config":{"max_tokens":9}}"#;
    let want = r#"{"model":"claude-sonnet-5-5","max_tokens":50,"system":[{"type":"text","text":"Zero."},{"type":"text","text":"First."}],
        "messages":[{"role":"user","content":[{"type":"text","text":"Look"},
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},
            {"type":"image","source":{"type":"url","url":"https://example.com/a.png"}},
            {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}}]},
        {"role":"assistant","content":"I see"},{"role":"user","content":"And?"}],"service_tier":"standard_only"}"#;
    assert_eq!(encoded(NEW, line, Some(50)).unwrap(), serde_json::from_str::<Value>(want).unwrap());
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let turns = |turns: &str| format!(r#"{{"messages":[{turns}],"generation_config":{{"max_tokens":9}}}}"#);
    let user = r#"{"role":"user","content":"Hi"}"#;
    let part = |role: &str, kind: &str, media: &str| {
        turns(&format!(
            r#"{user},{{"role":"{role}","content":[{{"type":"{kind}","source_type":"base64","media_type":"{media}","data":"AAAA"}}]}}"#
        ))
    };
    for (model, line, field, words) in [
        (NEW, asking(r#""temperature":0.5"#, ""), "temperature", "chooses its own"),
        (NEW, asking(r#""top_p":0.5"#, ""), "top_p", "chooses its own"),
        (NEW, asking(r#""top_k":5"#, ""), "top_k", "chooses its own"),
        (OLD, asking(r#""temperature":1.5"#, ""), "temperature", "0 to 1"),
        (OLD, asking(r#""temperature":0.5,"top_p":0.5"#, ""), "top_p", "either"),
        (OLD, asking(r#""temperature":0.5,"reasoning":"low""#, ""), "temperature", "without reasoning"),
        (NEW, asking(r#""presence_penalty":0.5"#, ""), "presence_penalty", "no such"),
        (NEW, asking(r#""frequency_penalty":0.5"#, ""), "frequency_penalty", "no such"),
        (NEW, asking(r#""seed":1"#, ""), "seed", "no such"),
        (NEW, asking(r#""stop_sequences":[" "]"#, ""), "stop_sequences", "white space"),
        (NEW, asking(r#""reasoning":2000"#, ""), "reasoning", "an effort"),
        (OLD, asking(r#""reasoning":100"#, ""), "reasoning", "1024"),
        (OLD, asking(r#""reasoning":"high""#, ""), "reasoning", "max_tokens"),
        ("claude-fable-5", asking(r#""reasoning":"none""#, ""), "reasoning", "always"),
        (NEW, asking(r#""output_schema":{"oneOf":[]}"#, ""), "output_schema", "`oneOf`"),
        (NEW, asking(r#""output_schema":{},"choices":["a"]"#, ""), "output_schema", "one of the two"),
        (NEW, asking("", r#""provider_kwargs":{"stream":true}"#), "provider_kwargs.stream", "whole"),
        (NEW, asking("", r#""provider_kwargs":{"speed":"fast"}"#), "provider_kwargs.speed", "price"),
        (
            NEW,
            asking("", r#""provider_kwargs":{"inference_geo":"us"}"#),
            "provider_kwargs.inference_geo",
            "price",
        ),
        (
            NEW,
            asking("", r#""provider_kwargs":{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#),
            "provider_kwargs.tools",
            "costs",
        ),
        (
            NEW,
            asking("", r#""provider_kwargs":{"tools":[{"type":"web_fetch_20250910","name":"web_fetch"}]}"#),
            "provider_kwargs.tools",
            "costs",
        ),
        (
            NEW,
            asking(
                "",
                r#""provider_kwargs":{"tools":[{"name":"f","input_schema":{}},{"type":"mcp_toolset","mcp_server_name":"s"}]}"#,
            ),
            "provider_kwargs.tools",
            "costs",
        ),
        (
            NEW,
            asking("", r#""provider_kwargs":{"mcp_servers":[{"type":"url","url":"https://a","name":"s"}]}"#),
            "provider_kwargs.tools",
            "costs",
        ),
        (
            NEW,
            asking("", r#""provider_kwargs":{"cache_control":{"type":"ephemeral","ttl":"1h"}}"#),
            "provider_kwargs.cache_control",
            "one-hour",
        ),
        (NEW, asking("", r#""provider_kwargs":[]"#), "provider_kwargs", "object"),
        (NEW, r#"{"messages":[{"role":"user","content":"Hi"}]}"#.to_owned(), "max_tokens", "needs"),
        (NEW, r#"{"kind":"embedding","input":"a"}"#.to_owned(), "kind", "embedding"),
        (NEW, turns(r#"{"role":"assistant","content":"Hi"}"#), "messages", "first turn"),
        (NEW, turns(r#"{"role":"system","content":"Hi"}"#), "messages", "first turn"),
        (NEW, turns(&format!(r#"{user},{{"role":"assistant","content":"It is"}}"#)), "messages", "continue"),
        (NEW, turns(&format!(r#"{user},{{"role":"system","content":"Stop"}}"#)), "messages", "front"),
        (
            NEW,
            turns(&format!(r#"{user},{{"role":"tool","content":"7","tool_call_id":"c"}}"#)),
            "messages",
            "tool results",
        ),
        (NEW, part("assistant", "image", "image/png"), "messages.image", "role `user`"),
        (NEW, part("user", "image", "image/tiff"), "messages.image", "image/tiff"),
        (NEW, part("user", "document", "text/plain"), "messages.document", "text/plain"),
    ] {
        let error = encoded(model, &line, None).expect_err(&line);
        assert!(
            error.starts_with(&format!("`{field}` cannot be sent to `{model}`")) && error.contains(words),
            "{error}"
        );
    }
    // An older model goes on with a turn of its own.
    let prefill = turns(&format!(r#"{user},{{"role":"assistant","content":"It is"}}"#));
    assert!(encoded(OLD, &prefill, None).is_ok());
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: http::HeaderMap::new(), body: bytes::Bytes::copy_from_slice(body.as_bytes()) }
}

fn message(content: &str, stop: &str, more: &str) -> String {
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":{content},"stop_reason":{stop},"stop_sequence":null{more},"usage":{{"input_tokens":21,"output_tokens":57,"service_tier":"standard"}}}}"#
    )
}

#[test]
fn answers() {
    let text = r#"[{"type":"thinking","thinking":"hm","signature":"E"},{"type":"text","text":"Hel"},{"type":"of_tomorrow"},{"type":"text","text":"lo","citations":null}]"#;
    for (content, stop, more, want, finish, refusal) in [
        (text, "\"end_turn\"", "", "Hello", Finish::Stop, None),
        (text, "\"stop_sequence\"", "", "Hello", Finish::Stop, None),
        (text, "\"max_tokens\"", "", "Hello", Finish::Length, None),
        (text, "\"model_context_window_exceeded\"", "", "Hello", Finish::ContextExceeded, None),
        (text, "\"pause_turn\"", "", "Hello", Finish::Paused, None),
        (text, "\"of_tomorrow\"", "", "Hello", Finish::Other, None),
        (text, "null", "", "Hello", Finish::Other, None),
        ("[]", "\"end_turn\"", "", "", Finish::Stop, None),
        ("[]", "\"refusal\"", "", "", Finish::ContentFilter, Some("refused without a reason")),
        (
            "[]",
            "\"refusal\"",
            r#","stop_details":{"type":"refusal","category":"bio","explanation":null}"#,
            "",
            Finish::ContentFilter,
            Some("refused (bio)"),
        ),
        (
            "[]",
            "\"refusal\"",
            r#","stop_details":{"type":"refusal","category":"bio","explanation":"No."}"#,
            "",
            Finish::ContentFilter,
            Some("No."),
        ),
    ] {
        let body = message(content, stop, more);
        let reply = reply(200, &body);
        let Reading::Answer(answer) = wire().read(Kind::Chat, &reply) else { panic!("{body}") };
        let Body::Text { text, refusal: said, tool_calls: None } = &answer.body else { panic!("{body}") };
        assert_eq!((&**text, answer.finish, said.as_deref()), (want, finish, refusal), "{body}");
        assert_eq!((answer.model.as_deref(), answer.tier.as_deref()), (Some(OLD), Some("standard")));
        assert_eq!(answer.usage.map(|usage| (usage.input, usage.output)), Some((21, 57)));
    }
}

#[test]
fn tool_calls_look_as_everywhere() {
    let content = r#"[{"type":"tool_use","id":"toolu_1","name":"f","input":{"id": 9}},{"type":"tool_use","id":"toolu_2","name":"g"}]"#;
    let reply = reply(200, &message(content, "\"tool_use\"", ""));
    let Reading::Answer(answer) = wire().read(Kind::Chat, &reply) else { panic!() };
    let Body::Text { tool_calls: Some(calls), .. } = &answer.body else { panic!() };
    assert_eq!(answer.finish, Finish::ToolCalls);
    assert_eq!(
        calls.get(),
        r#"[{"id":"toolu_1","type":"function","function":{"name":"f","arguments":"{\"id\": 9}"}},{"id":"toolu_2","type":"function","function":{"name":"g","arguments":"{}"}}]"#
    );
}

#[test]
fn what_is_no_answer() {
    for (status, body, class, maybe_paid) in [
        (200, "{\"id\": \"msg_1\", \"content\": [", FailureClass::Transient, true),
        (200, "{}", FailureClass::Transient, true),
        (200, r#"{"content":"text"}"#, FailureClass::Transient, true),
        (
            200,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            FailureClass::RateLimited,
            false,
        ),
        (
            200,
            r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#,
            FailureClass::Transient,
            true,
        ),
        (
            200,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"x"}}"#,
            FailureClass::RefusedByProvider,
            false,
        ),
        (
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"sk-canary-0123456 is wrong"}}"#,
            FailureClass::Auth,
            false,
        ),
    ] {
        let reply = reply(status, body);
        let Reading::Failure(failure) = wire().read(Kind::Chat, &reply) else { panic!("{body}") };
        assert_eq!((failure.class, failure.maybe_paid), (class, maybe_paid), "{body}");
        assert!(!failure.message.contains("canary"), "{failure:?}");
    }
}

#[test]
fn lines_of_results() {
    use FailureClass::*;
    let lines: Vec<&str> = include_str!("../../../fixtures/anthropic/batch_results.jsonl").lines().collect();
    let first = wire().read_line(lines[0].as_bytes()).unwrap();
    assert_eq!(first.custom_id, "br1-01kaxvhz0000000000000000aa-0");
    let Reading::Answer(answer) = first.reading else { panic!("{:?}", first.reading) };
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.cache_write_5m, usage.output), (11, 7, 5_200, 36));
    assert_eq!((answer.tier.as_deref(), answer.finish), (Some("batch"), Finish::Stop));
    for (line, code, class, maybe_paid) in [
        (1, Some("invalid_request_error"), RefusedByProvider, false),
        (2, Some("overloaded_error"), RateLimited, false),
        (3, Some("api_error"), Transient, false),
        (4, Some("batch_canceled"), Expired, false),
        (5, Some("batch_expired"), Expired, false),
        (6, None, Transient, false),
        (7, None, Transient, true),
        (8, None, Transient, true),
        (9, Some("not_found_error"), ModelUnavailable, false),
    ] {
        let read = wire().read_line(lines[line].as_bytes()).unwrap();
        let Reading::Failure(failure) = read.reading else { panic!("{}", lines[line]) };
        let seen = (failure.class, failure.maybe_paid);
        assert_eq!(seen, (class, maybe_paid), "{}", lines[line]);
        assert!(code.is_none() || failure.provider_code.as_deref() == code, "{failure:?}");
    }
    for line in ["", "{}", "[1]", r#"{"custom_id":"a"}"#, r#"{"custom_id":"","result":{"type":"expired"}}"#] {
        assert!(wire().read_line(line.as_bytes()).is_err(), "{line}");
    }
    let marked = [b"\xef\xbb\xbf".as_slice(), lines[5].as_bytes()].concat();
    assert!(wire().read_line(&marked).is_ok());
}

#[test]
fn the_newer_version_of_the_api_has_no_sampling_parameters() {
    let encode = |samples: bool, more: &str| {
        let line = format!(
            r#"{{"messages":[{{"role":"user","content":"Hi"}}],"generation_config":{{"max_tokens":9{more}}}"#
        );
        let line = if more.contains("provider_kwargs") { line } else { format!("{line}}}") };
        let request: Request<'_> =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let options = WireOptions::new(Lane::Sync, OLD);
        wire_of(samples).encode(&request, options, &mut Vec::new()).map_err(|error| error.field)
    };
    for (more, field) in [
        (r#","temperature":0.2"#, "temperature"),
        (r#","top_p":0.5"#, "top_p"),
        (r#","top_k":5"#, "top_k"),
        (r#"},"provider_kwargs":{"temperature":1}"#, "provider_kwargs.temperature"),
    ] {
        assert_eq!(encode(true, more), Ok(()), "{more}");
        assert_eq!(encode(false, more), Err(field), "{more}");
    }
    assert_eq!(encode(false, r#","temperature":1"#), Ok(()), "the default, which is not sent");
}
