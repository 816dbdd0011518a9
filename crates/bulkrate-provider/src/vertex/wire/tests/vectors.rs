//! Vectors of both kinds of models.

use super::*;

const VECTORS: &str = "gemini-embedding-001";

fn vector(lane: Lane, model: &str, line: &Value) -> Result<Value, String> {
    let mut request = json!({"kind": "embedding", "input": "a \"b\""});
    request.as_object_mut().unwrap().extend(line.as_object().unwrap().clone());
    let (text, mut out) = (request.to_string(), Vec::new());
    let options = WireOptions::new(lane, model);
    let request = serde_json::from_str(&text).unwrap();
    wire().encode(&request, options, &mut out).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&out).unwrap())
}

#[test]
fn vectors_are_asked_for_in_the_words_of_their_model_and_lane() {
    let content = json!({"parts": [{"text": "a \"b\""}]});
    let task = json!({"embedContentConfig": {"taskType": "CLUSTERING"}, "model": "x"});
    let own = json!({"parameters": {"autoTruncate": false}, "instances": [{"task_type": "CLUSTERING"}]});
    let sized = |kwargs: &Value| json!({"generation_config": {"dimensions": 768}, "provider_kwargs": kwargs});
    for (lane, model, line, want) in [
        // A text that is too long is refused, and not cut without a word.
        (
            Lane::Sync,
            VECTORS,
            json!({}),
            json!({"content": content, "embedContentConfig": {"autoTruncate": false}}),
        ),
        (Lane::Sync, "gemini-embedding-2", json!({}), json!({"content": content})),
        (
            Lane::Sync,
            VECTORS,
            json!({"provider_kwargs": {"embedContentConfig": {"auto_truncate": true}}}),
            json!({"content": content, "embedContentConfig": {"auto_truncate": true}}),
        ),
        (Lane::Batch, VECTORS, json!({}), json!({"content": content})),
        (
            Lane::Sync,
            VECTORS,
            sized(&task),
            json!({"content": content, "embedContentConfig": {"taskType": "CLUSTERING", "outputDimensionality": 768, "autoTruncate": false}}),
        ),
        (
            Lane::Batch,
            VECTORS,
            sized(&task),
            json!({"content": content, "embed_content_config": {"taskType": "CLUSTERING", "output_dimensionality": 768}}),
        ),
        // His own word for it counts.
        (
            Lane::Sync,
            VECTORS,
            sized(&json!({"outputDimensionality": 4, "content": {"parts": []}})),
            json!({"content": {"parts": []}, "outputDimensionality": 4, "embedContentConfig": {"autoTruncate": false}}),
        ),
        (
            Lane::Sync,
            "text-embedding-005",
            json!({}),
            json!({"instances": [{"content": "a \"b\""}], "parameters": {"autoTruncate": false}}),
        ),
        (
            Lane::Sync,
            "text-embedding-005",
            sized(&own),
            json!({"instances": [{"content": "a \"b\"", "task_type": "CLUSTERING"}], "parameters": {"autoTruncate": false, "outputDimensionality": 768}}),
        ),
    ] {
        assert_eq!(vector(lane, model, &line), Ok(want), "{lane:?} {model} {line}");
    }
    let two = json!({"instances": [{}, {}]});
    for (lane, model, line, words) in [
        (Lane::Sync, VECTORS, json!({"input": ["a", "b"]}), "here are 2 inputs"),
        (Lane::Sync, "text-embedding-005", json!({"input": ["a", "b"]}), "here are 2 inputs"),
        (Lane::Sync, "text-embedding-005", json!({"provider_kwargs": two}), "a list of one object"),
        (Lane::Sync, VECTORS, json!({"provider_kwargs": {"embedContentConfig": 5}}), "embedContentConfig"),
        (Lane::Batch, "text-embedding-005", json!({}), "does not say whose it is"),
    ] {
        let error = vector(lane, model, &line).unwrap_err();
        assert!(error.contains(words), "{line}: {error}");
    }
    let wire = wire();
    for (model, verb) in [(VECTORS, "embedContent"), ("text-embedding-005", "predict")] {
        let path = format!("/publishers/google/models/{model}:{verb}");
        assert_eq!(wire.path(Kind::Embedding, model), path);
    }
    let mut out = Vec::new();
    write_line(id(), Kind::Embedding, br#"{"content":{}}"#, &mut out);
    let line: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line, json!({"key": id().to_string(), "request": {"content": {}}}));
}

#[test]
fn vectors_are_read_from_calls_of_both_kinds_and_from_lines() {
    let wire = wire();
    let said = |reading: Reading<'_>| match reading {
        Reading::Answer(answer) => {
            let Body::Embedding(bulkrate_core::answer::Embedding::Numbers(values)) = &answer.body else {
                panic!("{answer:?}")
            };
            assert_eq!(values.get(), "[0.5,-1]");
            assert_eq!(answer.finish, bulkrate_core::answer::Finish::Stop);
            Ok(answer.usage.map(|usage| (usage.input, usage.output)))
        }
        Reading::Failure(failure) => Err((failure.class, failure.maybe_paid)),
    };
    let call = |body: &str| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let reply = Reply { status: 200, headers: HeaderMap::new(), body };
        said(wire.read(Kind::Embedding, &reply))
    };
    let line = |body: &str, status: &str| {
        let line = format!(r#"{{"key":"k","status":"{status}","request":{{}},"response":{body}}}"#);
        let read = wire.read_line(Kind::Embedding, line.as_bytes()).unwrap();
        assert_eq!(read.custom_id, "k");
        said(read.reading)
    };
    let counted = Ok(Some((7, 0)));
    let content =
        r#"{"embedding":{"values":[0.5,-1]},"usageMetadata":{"promptTokenCount":7},"truncated":false}"#;
    let old = |more: &str| {
        let values = format!(r#"{{"embeddings":{{"values":[0.5,-1]{more}}}}}"#);
        format!(r#"{{"predictions":[{values}],"metadata":{{"billableCharacterCount":5}}}}"#)
    };
    assert_eq!(call(content), counted);
    assert_eq!(call(&old(r#","statistics":{"truncated":false,"token_count":7}"#)), counted);
    // Five letters are charged as two tokens, and nobody counted more.
    assert_eq!(call(&old("")), Ok(Some((2, 0))));
    assert_eq!(line(content, ""), counted);
    assert_eq!(line(r#"{"embedding":{"values":[0.5,-1]},"tokenCount":"7"}"#, ""), counted);
    let lost = Err((FailureClass::Transient, true));
    for body in [r#"{"predictions":[]}"#, r#"{"predictions":[{"embeddings":{"values":null}}]}"#, "{}", "["] {
        assert_eq!(call(body), lost, "{body}");
    }
    assert_eq!(line("{}", r#"x {\"code\": 400}"#), Err((FailureClass::RefusedByProvider, false)));
}

#[test]
fn a_vector_of_a_part_of_its_text_is_told() {
    let wire = wire();
    for (body, cut) in [
        (r#"{"embedding":{"values":[1]},"truncated":true}"#, true),
        (r#"{"embedding":{"values":[1]},"truncated":false}"#, false),
        (r#"{"embedding":{"values":[1]},"truncated":{}}"#, false),
        (r#"{"embedding":{"values":[1],"statistics":{"truncated":true}}}"#, true),
        (
            r#"{"predictions":[{"embeddings":{"values":[1],"statistics":{"truncated":true,"token_count":2048}}}]}"#,
            true,
        ),
        (r#"{"predictions":[{"embeddings":{"values":[1],"statistics":{"truncated":false}}}]}"#, false),
    ] {
        let reply =
            Reply { status: 200, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) };
        let Reading::Answer(answer) = wire.read(Kind::Embedding, &reply) else { panic!("{body}") };
        assert_eq!(answer.finish == bulkrate_core::answer::Finish::Length, cut, "{body}");
    }
}
