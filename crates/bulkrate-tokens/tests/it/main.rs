//! Counts against published ones, and against the bounds.
#![allow(clippy::unwrap_used, reason = "tests")]

use bulkrate_core::request::Kind;
use bulkrate_core::tokens::{CountTokens as _, Encoding, Prompt};
use bulkrate_tokens::Tables;
use proptest::prelude::*;

const BOTH: [Encoding; 2] = [Encoding::Cl100kBase, Encoding::O200kBase];

/// The examples of OpenAI's cookbook, "How to count tokens with tiktoken".
#[test]
fn counts_are_those_of_tiktoken() {
    for (text, cl100k, o200k) in [
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 9, 8),
        ("hello world", 2, 2),
        ("", 0, 0),
    ] {
        assert_eq!(BOTH.map(|encoding| Tables.count(encoding, text)), [cl100k, o200k], "{text}");
    }
}

/// The cookbook's conversation, which it sends to the API: 129 prompt tokens by `gpt-4`, 124 by `gpt-4o`.
#[test]
fn a_conversation_has_as_many_tokens_as_the_api_bills() {
    let body = r#"{"messages":[
        {"role":"system","content":"You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
        {"role":"system","name":"example_user","content":"New synergies will help drive top-line growth."},
        {"role":"system","name":"example_assistant","content":"Things working well together will increase revenue."},
        {"role":"system","name":"example_user","content":"Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
        {"role":"system","name":"example_assistant","content":"Let's talk later when we're less busy about how to do better."},
        {"role":"user","content":"This late pivot means we don't have time to boil the ocean for the client deliverable."}]}"#;
    let prompt = Prompt::of_body(Kind::Chat, body).unwrap();
    assert!(prompt.is_text());
    assert_eq!(BOTH.map(|encoding| prompt.count(&Tables, encoding)), [129, 124]);
}

#[test]
fn a_role_is_one_token() {
    for encoding in BOTH {
        for role in ["system", "developer", "user", "assistant", "tool", "function"] {
            assert_eq!(Tables.count(encoding, role), 1, "{role} in {encoding}");
        }
    }
}

/// What the lower bound of `bulkrate_core::tokens` rests on: the most bytes a token that a text of some kind reaches.
#[test]
fn texts_stay_within_the_bounds() {
    for text in SAMPLES {
        let body = chat_of(text);
        let prompt = Prompt::of_body(Kind::Chat, &body).unwrap();
        let bounds = prompt.bounds();
        for encoding in BOTH {
            let tokens = prompt.count(&Tables, encoding);
            assert!(bounds.low <= tokens && tokens <= bounds.high, "{tokens} {bounds:?} {encoding}: {text}");
        }
    }
}

/// Article 1 of the Universal Declaration of Human Rights, and a log line.
const SAMPLES: [&str; 12] = [
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით. მათ მინიჭებული აქვთ გონება და სინდისი.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση.",
    "2026-11-12T08:15:30.123Z WARN pool: 503 from 10.0.0.17:8443 after 1532 ms, retry 2/5 {\"id\":\"9f86d081884c7d65\"}",
];

fn chat_of(text: &str) -> String {
    let mut quoted = Vec::new();
    bulkrate_core::request::write_json_text(text, &mut quoted);
    format!(r#"{{"messages":[{{"role":"user","content":{}}}]}}"#, String::from_utf8(quoted).unwrap())
}

proptest! {
    #[test]
    fn a_token_covers_at_least_one_byte(text in "[\\PC\n\t ]{0,60}") {
        for encoding in BOTH {
            prop_assert!(Tables.count(encoding, &text) <= text.len() as u64);
        }
    }

    /// Names and framing included.
    #[test]
    fn any_prompt_is_within_its_upper_bound(text in "\\PC{0,80}", name in "[a-z_]{1,8}") {
        let body = chat_of(&text).replace("\"role\"", &format!("\"name\":\"{name}\",\"role\""));
        let prompt = Prompt::of_body(Kind::Chat, &body).unwrap();
        for encoding in BOTH {
            prop_assert!(prompt.count(&Tables, encoding) <= prompt.bounds().high);
        }
    }
}
