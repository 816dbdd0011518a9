use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[test]
fn accepts_what_serde_accepts_and_names_the_fault() {
    for (text, want) in [
        (r#"{}"#, None),
        (" { \"a\" :\t1 , \"b\":[ ] }\r", None),
        (r#"{"a":-0.5e+10,"b":1E5,"c":0,"d":123456789012345678901234567890}"#, None),
        (r#"{"a":"\u0041\ud83d\ude00\"\\\/\b\f\n\r\t"}"#, None),
        ("{\"a\":\"\u{2028} \u{7f}\"}", None),
        ("", Some((0, "the line ends too early"))),
        ("  ", Some((2, "the line ends too early"))),
        ("[1]", Some((0, "not an object"))),
        ("1", Some((0, "not an object"))),
        (r#"{"a":1"#, Some((6, "the line ends too early"))),
        (r#"{"a":"x"#, Some((7, "the line ends too early"))),
        (r#"{"a":1}x"#, Some((7, "text after the end of the object"))),
        (r#"{"a":1,}"#, Some((7, "expected a key in double quotes"))),
        (r#"{a:1}"#, Some((1, "expected a key in double quotes"))),
        (r#"{"a" 1}"#, Some((5, "expected `:` after a key"))),
        (r#"{"a":01}"#, Some((6, "expected `,` or `}`"))),
        (r#"{"a":1.}"#, Some((7, "expected a digit"))),
        (r#"{"a":-}"#, Some((6, "expected a digit"))),
        (r#"{"a":NaN}"#, Some((5, "expected a value"))),
        (r#"{"a":[1 2]}"#, Some((8, "expected `,` or `]`"))),
        (r#"{"a":"\x"}"#, Some((6, "bad escape"))),
        (r#"{"a":"\u12g4"}"#, Some((6, "bad `\\u` escape"))),
        (r#"{"a":"\ud800"}"#, Some((6, "half of a surrogate pair in a `\\u` escape"))),
        (r#"{"a":"\udc00"}"#, Some((6, "half of a surrogate pair in a `\\u` escape"))),
        (r#"{"a":"\ud800\u0041"}"#, Some((6, "half of a surrogate pair in a `\\u` escape"))),
        ("{\"a\":\"x\ty\"}", Some((7, "a control character in a string; it must be escaped"))),
    ] {
        let got = JsonScanner::new().scan(text).err().map(|fault| (fault.offset, fault.what));
        assert_eq!(got, want, "{text:?}");
        let serde = serde_json::from_str::<serde_json::Map<String, Value>>(text);
        assert_eq!(got.is_none(), serde.is_ok(), "{text:?} differs from serde_json");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127));
    assert!(JsonScanner::new().scan(&deep).is_ok());
    let deeper = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
    assert_eq!(JsonScanner::new().scan(&deeper).unwrap_err().what, "nested deeper than 128 levels");
}

#[test]
fn pairs_are_found_and_unescaped_on_demand() {
    let text =
        r#"{"a":"x\ny","k\u00e9y":null,"n":1.50,"o":{"z":[1]},"b":true,"a":"last","e":"\ud83d\ude00!"}"#;
    let mut scanner = JsonScanner::new();
    let row = scanner.scan(text).unwrap();
    let mut scratch = String::new();
    assert_eq!(row.len(), 7);
    for (key, kind, cell) in [
        ("a", JsonKind::String, "last"),
        ("kéy", JsonKind::Null, ""),
        ("n", JsonKind::Number, "1.50"),
        ("o", JsonKind::Object, r#"{"z":[1]}"#),
        ("b", JsonKind::Bool, "true"),
        ("e", JsonKind::String, "😀!"),
    ] {
        let value = row.get(key).unwrap();
        assert_eq!(
            (value.kind(), value.cell().as_ref(), value.cell_in(&mut scratch)),
            (kind, cell, cell),
            "{key}"
        );
    }
    assert_eq!(row.at(0).unwrap().1.as_str().unwrap(), "x\ny");
    assert!(row.get("z").is_none());
    assert_eq!(row.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "kéy", "n", "o", "b", "a", "e"]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_object_reads_back(map in prop::collection::btree_map(any::<String>(), any_json(), 0..6), ascii: bool) {
        let mut text = serde_json::to_string(&map).unwrap();
        if ascii {
            text = to_ascii(&text);
        }
        let mut scanner = JsonScanner::new();
        let row = scanner.scan(&text).unwrap();
        prop_assert_eq!(row.len(), map.len());
        for (key, value) in &map {
            let found = row.get(key).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(found.raw()).unwrap(), &serde_json::from_str::<Value>(&value.to_string()).unwrap());
            let text = found.as_str();
            prop_assert_eq!(text.as_deref(), value.as_str());
        }
    }

    #[test]
    fn a_damaged_line_is_judged_as_serde_judges_it(map in prop::collection::btree_map("[a-c\"\\\\\n]{0,3}", any_json(), 0..4), at: prop::sample::Index, with in "[\\x00-\\x7f]{0,2}") {
        let text = serde_json::to_string(&map).unwrap();
        let mut chars = text.chars().collect::<Vec<_>>();
        let at = at.index(chars.len());
        chars.splice(at..=at, with.chars());
        let text = chars.into_iter().collect::<String>();
        let ours = JsonScanner::new().scan(&text).is_ok();
        let theirs = match serde_json::from_str::<serde_json::Map<String, Value>>(&text) {
            Ok(_) => true,
            // A limit of a float's range, not of JSON: what follows the number is judged without reading it.
            Err(error) if error.to_string().contains("number out of range") => {
                serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok()
            }
            Err(_) => false,
        };
        prop_assert_eq!(ours, theirs, "{:?}", text);
    }
}

fn to_ascii(text: &str) -> String {
    let mut units = [0; 2];
    text.chars().fold(String::new(), |mut out, char| {
        if char.is_ascii() {
            out.push(char);
        } else {
            char.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
        out
    })
}
