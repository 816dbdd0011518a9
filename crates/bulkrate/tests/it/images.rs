//! Images as people write them: taken or refused before anything is sent, and the same at every provider.

use serde_json::{Value, json};

use super::support::{Place, Sim};

fn line(id: &str, source_type: &str, data: &str) -> String {
    let image =
        json!({ "type": "image", "source_type": source_type, "media_type": "image/png", "data": data });
    let ask = json!({ "type": "text", "text": "What is it?" });
    json!({ "custom_id": id, "messages": [{ "role": "user", "content": [ask, image] }] }).to_string()
}

const PROVIDERS: [(&str, &str, &str); 2] =
    [("openai", "openai/gpt-6-luna", "OPENAI"), ("anthropic", "anthropic/claude-haiku-4-5", "ANTHROPIC")];

fn at(provider: &str, name: &str) -> (Sim, Place) {
    let sim = Sim::of(provider, &[]);
    let (key, url) = (format!("{name}_API_KEY"), format!("{name}_BASE_URL"));
    let place = Place::new().set(&key, "sk-sim").set(&url, &sim.base_url);
    (sim, place)
}

#[test]
fn schemes_in_capitals_and_wrapped_base64_are_taken_at_every_provider() {
    for (provider, model, name) in PROVIDERS {
        let (_sim, place) = at(provider, name);
        let lines = [
            line("url", "url", "HTTPS://example.org/A.png"),
            line("data", "url", "DATA:IMAGE/PNG;BASE64,iVBO\nRw0K"),
            line("wrapped", "base64", "iVBO\r\nRw0K\n"),
        ];
        place.put("in.jsonl", lines.join("\n") + "\n");
        place.run(&format!("run in.jsonl --yes --lane sync --out out.jsonl --model {model}"), &[]).expect(0);
        let sent = |id: &str| -> Value {
            let shown = place.run(&format!("show in {id}"), &[]).expect(0).json();
            let image = &shown["request"]["messages"][0]["content"][1];
            json!([image["source_type"], image["media_type"], image["data"]])
        };
        assert_eq!(sent("url"), json!(["url", "image/png", "https://example.org/A.png"]), "{provider}");
        assert_eq!(sent("data"), json!(["base64", "image/png", "iVBORw0K"]), "{provider}");
        assert_eq!(sent("wrapped"), sent("data"), "{provider}");
    }
}

#[test]
fn what_is_no_image_is_refused_before_anything_is_sent() {
    for (provider, model, name) in PROVIDERS {
        let (sim, place) = at(provider, name);
        for (source_type, data, why) in [
            ("base64", "iVBORw0", "the image in `messages` is said to be base64 and is not"),
            ("url", "data:image/png,AAAA", "is no `data:...;base64,` URL"),
            ("url", "data:text/plain;base64,AAAA", "a `data:` URL of another kind"),
        ] {
            place.put(
                "in.jsonl",
                line("a", "url", "https://example.org/a.png") + "\n" + &line("b", source_type, data),
            );
            let said = place.run(&format!("run in.jsonl --yes --out out.jsonl --model {model}"), &[]);
            said.error(2, "item-bad-image", &["in.jsonl:2", why]);
        }
        assert_eq!(sim.bill()["requests"], 0, "{provider}");
    }
}
