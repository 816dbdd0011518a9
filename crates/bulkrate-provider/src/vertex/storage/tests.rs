#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

#[test]
fn a_bucket_may_come_with_a_folder() {
    for (text, bucket, object) in [
        ("acme-batches", "acme-batches", "a/input.jsonl"),
        ("gs://acme-batches/", "acme-batches", "a/input.jsonl"),
        ("gs://acme-batches/team/labels/", "acme-batches", "team/labels/a/input.jsonl"),
    ] {
        let folder = Folder::read(text).unwrap();
        assert_eq!((folder.bucket.as_str(), folder.object("a/input.jsonl").as_str()), (bucket, object));
    }
    for text in
        ["", "gs://", "Acme", "a/b", "acme-batches/what?", &format!("acme-batches/{}", "x".repeat(90))]
    {
        assert!(Folder::read(text).is_err(), "{text}");
    }
}

#[test]
fn an_object_of_somebody_else_is_no_empty_list() {
    for body in [r#"{"status":"ok"}"#, "{}", "[]", r#"{"kind":"storage#bucket"}"#, r#"{"items":[]}"#] {
        assert!(Page::read(body.as_bytes()).is_err(), "{body}");
    }
    for (body, items) in
        [(r#"{"kind":"storage#objects"}"#, 0), (r#"{"items":[{"name":"out/predictions"}]}"#, 1)]
    {
        assert_eq!(Page::read(body.as_bytes()).unwrap().items.len(), items, "{body}");
    }
}

#[test]
fn names_of_objects_are_one_part_of_a_path() {
    let named = Named::read("gs://b/o/p q/input.jsonl").unwrap();
    assert_eq!(
        (named.path().as_str(), named.is_folder()),
        ("/storage/v1/b/b/o/o%2Fp%20q%2Finput.jsonl", false)
    );
    assert!(Named::read("gs://b/out/prediction-model-2026-11-20T10:00:00.000001Z").unwrap().is_folder());
    for name in ["file-000", "gs://b", "gs://b/", "gs:///o"] {
        assert_eq!(Named::read(name), None, "{name}");
    }
}
