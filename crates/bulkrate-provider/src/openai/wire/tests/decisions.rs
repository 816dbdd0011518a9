//! Decisions: what goes out, what is refused, what comes back.

use super::*;

fn asking(config: Value, more: Value) -> String {
    let line = json!({
        "kind": "decision", "model": "gpt-6-luna", "system_prompt": ["Sort the ticket.", "By its subject."],
        "messages": [{"role": "user", "content": "My parcel is late"}],
        "generation_config": {"choices": ["billing", "delivery"]},
    });
    crate::testing::with(line, config, more)
}

fn sent(wire: &OpenAiWire, config: Value, more: Value) -> Result<Value, Unsupported> {
    encode_on(wire, Lane::Sync, None, &asking(config, more)).map(|body| serde_json::from_str(&body).unwrap())
}

#[test]
fn the_system_prompt_is_the_question_and_the_turns_are_what_it_is_about() {
    let questions = json!([{
        "type": "choice", "name": "answer", "instructions": "Sort the ticket.\n\nBy its subject.",
        "choices": [{"value": "billing"}, {"value": "delivery"}],
    }]);
    let no_cache = json!({"mode": "explicit"});
    let plain = sent(&openai(), json!({}), json!({})).unwrap();
    assert_eq!(
        plain,
        json!({"model": "gpt-6-luna", "input": "My parcel is late", "questions": questions, "prompt_cache_options": no_cache})
    );
    let blob = json!({"type": "image", "source_type": "base64", "media_type": "image/png", "data": "AAAA"});
    let turns = json!({"messages": [
        {"role": "user", "content": "Where is my bill?"},
        {"role": "assistant", "content": "billing"},
        {"role": "user", "content": [{"type": "text", "text": "See"}, blob]},
    ], "provider_kwargs": {"safety_identifier": "u1"}});
    let body = sent(&openai(), json!({"reasoning": "none"}), turns).unwrap();
    assert_eq!(
        body["input"],
        json!([
            {"role": "user", "content": "Where is my bill?"},
            {"role": "assistant", "content": "billing"},
            {"role": "user", "content": [{"type": "input_text", "text": "See"}, {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"}]},
        ])
    );
    assert_eq!(body["safety_identifier"], "u1");
    // What another server would make of the word is not known.
    let own = sent(&wire_with(Dialect::CUSTOM, |_| {}), json!({}), json!({})).unwrap();
    assert!(own.get("prompt_cache_options").is_none() && own["questions"] == questions, "{own}");
    assert_eq!(openai().path(Kind::Decision, "gpt-6-luna"), "/decisions");
}

#[test]
fn what_a_decision_does_not_take_is_named() {
    let many: Vec<String> = (0..256).map(|at| format!("c{at}")).collect();
    let document =
        json!({"type": "document", "source_type": "base64", "media_type": "application/pdf", "data": "AAAA"});
    let none = || json!({});
    for (config, more, field) in [
        (json!({"choices": []}), none(), "choices"),
        (json!({"choices": ["a"]}), none(), "choices"),
        (json!({"choices": many}), none(), "choices"),
        (json!({"output_schema": {"type": "object"}}), none(), "output_schema"),
        (json!({"temperature": 0}), none(), "temperature"),
        (json!({"seed": 1}), none(), "seed"),
        (json!({"reasoning": "low"}), none(), "reasoning"),
        (json!({"stop_sequences": ["x"]}), none(), "stop_sequences"),
        (none(), json!({"system_prompt": []}), "system_prompt"),
        (none(), json!({"system_prompt": [" "]}), "system_prompt"),
        (none(), json!({"messages": [{"role": "user", "content": [document]}]}), "messages.document"),
        (none(), json!({"messages": [{"role": "tool", "tool_call_id": "t", "content": "x"}]}), "messages"),
        (none(), json!({"provider_kwargs": {"questions": []}}), "provider_kwargs.questions"),
        (
            none(),
            json!({"provider_kwargs": {"prompt_cache_options": {}}}),
            "provider_kwargs.prompt_cache_options",
        ),
    ] {
        let line = asking(config, more);
        assert_eq!(encode_on(&openai(), Lane::Sync, None, &line).unwrap_err().field, field, "{line}");
    }
    for lane in [Lane::Batch, Lane::Flex] {
        assert_eq!(encode_on(&openai(), lane, None, &asking(none(), none())).unwrap_err().field, "kind");
    }
    let groq = crate::openai::tests::wire("groq");
    assert_eq!(encode_on(&groq, Lane::Sync, None, &asking(none(), none())).unwrap_err().field, "kind");
}

#[test]
fn a_choice_comes_with_its_chances_and_what_it_read() {
    let usage = r#""usage":{"input_tokens":40,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":1,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":41}"#;
    let said = |answers: &str| {
        let body = format!(r#"{{"answers":[{answers}],"model":"gpt-6-luna-2026-09-30",{usage}}}"#);
        Reply { status: 200, headers: http::HeaderMap::new(), body: Bytes::from(body) }
    };
    let wire = openai();
    let chances =
        r#""probabilities":[{"value":"delivery","probability":0.9},{"value":"billing","probability":0.1}]"#;
    for (answer, want) in [
        (
            format!(r#"{{"type":"choice","name":"answer","choice":"delivery","confidence":0.9,{chances}}}"#),
            ("delivery", 2),
        ),
        (
            r#"{"type":"choice","choice":"deliv\u0065ry","confidence":0.9,"probabilities":[{"value":7}]}"#
                .to_owned(),
            ("delivery", 0),
        ),
        (r#"{"type":"choice","choice":true}"#.to_owned(), ("true", 0)),
    ] {
        let reply = said(&answer);
        let Reading::Answer(read) = wire.read(Kind::Decision, &reply) else { panic!("{answer}") };
        let Body::Choice { choice, chances } = &read.body else { panic!("{answer}") };
        assert_eq!((&**choice, chances.len()), want, "{answer}");
        assert!(chances.first().is_none_or(|first| first.choice == "delivery" && first.probability > 0.8));
        let usage = read.usage.unwrap();
        assert_eq!(
            (usage.input, usage.output, read.model.as_deref()),
            (40, 1, Some("gpt-6-luna-2026-09-30"))
        );
    }
    let refused = said(r#"{"type":"refusal","name":"answer"}"#);
    let Reading::Answer(read) = wire.read(Kind::Decision, &refused) else { panic!() };
    assert!(matches!(&read.body, Body::Text { refusal: Some(_), .. }), "{read:?}");
    for answers in ["", r#"{"type":"score","score":1}"#, r#"{"type":"choice"}"#, "{},{}", "7"] {
        let reply = said(answers);
        let Reading::Failure(failure) = wire.read(Kind::Decision, &reply) else { panic!("{answers}") };
        assert!(failure.maybe_paid, "{answers}");
    }
}
