//! One JSON document that holds a list too long to hold in memory: its entries become lines, and what stands around them stays small.

/// The longest name that is compared.
const NAME_MAX: usize = 64;

/// A document on its way. What it is fed comes in pieces of any length; what it is not sure of it never holds.
///
/// It does not check the document: what is no JSON comes out as something that is none.
#[derive(Debug)]
pub(crate) struct Split {
    /// The field of the document that holds the list.
    key: &'static str,
    depth: u32,
    /// Within a text, and after a backslash in it.
    text: bool,
    escaped: bool,
    name: Vec<u8>,
    /// What follows is the value of the field.
    named: bool,
    /// Within the list, and within one of its entries.
    inside: bool,
    begun: bool,
    /// Whether there was a list.
    found: bool,
}

impl Split {
    pub(crate) fn at(key: &'static str) -> Self {
        Self {
            key,
            depth: 0,
            text: false,
            escaped: false,
            name: Vec::new(),
            named: false,
            inside: false,
            begun: false,
            found: false,
        }
    }

    /// Takes the next piece: entries go to `lines`, each on a line of its own, all else to `rest`, where the list is empty.
    pub(crate) fn push(&mut self, piece: &[u8], rest: &mut Vec<u8>, lines: &mut Vec<u8>) {
        for &byte in piece {
            match self.inside {
                true => self.within(byte, rest, lines),
                false => self.around(byte, rest),
            }
        }
    }

    /// Whether the document has begun and not ended.
    pub(crate) fn is_cut(&self) -> bool {
        self.depth > 0
    }

    /// Whether the field holds a list.
    pub(crate) fn has_list(&self) -> bool {
        self.found
    }

    fn around(&mut self, byte: u8, rest: &mut Vec<u8>) {
        rest.push(byte);
        let goes_on = self.text;
        if self.is_text(byte) {
            if !goes_on {
                self.name.clear();
            } else if self.text && self.name.len() <= NAME_MAX {
                self.name.push(byte);
            }
            return;
        }
        match (byte, self.depth) {
            (b':', 1) => self.named = self.name == self.key.as_bytes(),
            (b',', 1) => self.named = false,
            (b'[', 2) if self.named => (self.inside, self.found) = (true, true),
            _ => {}
        }
    }

    fn within(&mut self, byte: u8, rest: &mut Vec<u8>, lines: &mut Vec<u8>) {
        if !self.is_text(byte) {
            let is_end = self.depth < 2;
            if is_end || byte == b',' && self.depth == 2 {
                if std::mem::take(&mut self.begun) {
                    lines.push(b'\n');
                }
                if is_end {
                    (self.inside, self.named) = (false, false);
                    rest.push(byte);
                }
                return;
            }
            if !self.begun && byte.is_ascii_whitespace() {
                return;
            }
        }
        self.begun = true;
        // Line ends stand only between parts of an entry: in a text they are escaped.
        lines.push(if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
    }

    /// Whether a byte belongs to a text, its quotes included; else it may open or close something.
    fn is_text(&mut self, byte: u8) -> bool {
        if self.text {
            self.text = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return true;
        }
        match byte {
            b'"' => self.text = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn split(text: &[u8], piece: usize) -> (String, String, bool) {
        let (mut split, mut rest, mut lines) = (Split::at("results"), Vec::new(), Vec::new());
        text.chunks(piece.max(1)).for_each(|piece| split.push(piece, &mut rest, &mut lines));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(rest), text(lines), split.is_cut())
    }

    #[test]
    fn entries_become_lines_and_the_rest_stays() {
        for (text, rest, lines) in [
            (
                r#"{"a":1,"results":[{"x":[1,2]},{"y":"],["}],"b":2}"#,
                r#"{"a":1,"results":[],"b":2}"#,
                "{\"x\":[1,2]}\n{\"y\":\"],[\"}\n",
            ),
            ("{\"results\" : [\n {\"x\":\r\n 1 } ,\n 2\n] }", "{\"results\" : [] }", "{\"x\":   1 } \n2 \n"),
            (r#"{"results":null,"a":[1]}"#, r#"{"results":null,"a":[1]}"#, ""),
            (r#"{"results":[]}"#, r#"{"results":[]}"#, ""),
            // Another list, the word as a value, and one that is deeper.
            (
                r#"{"a":"results","b":[3],"c":{"results":[4]}}"#,
                r#"{"a":"results","b":[3],"c":{"results":[4]}}"#,
                "",
            ),
            (r#"{"results":{"results":[5]}}"#, r#"{"results":{"results":[5]}}"#, ""),
            (
                r#"{"results":["a\"]","\\"],"error":null}"#,
                r#"{"results":[],"error":null}"#,
                "\"a\\\"]\"\n\"\\\\\"\n",
            ),
            ("<html>\"[", "<html>\"[", ""),
        ] {
            for piece in [1, 2, 7, 1_000] {
                assert_eq!(
                    split(text.as_bytes(), piece),
                    (rest.to_owned(), lines.to_owned(), false),
                    "{text} {piece}"
                );
            }
        }
    }

    #[test]
    fn a_document_that_breaks_off_is_told_apart() {
        let whole = r#"{"results":[{"a":1},{"b":2}],"c":3}"#;
        for end in 1..whole.len() {
            assert!(split(&whole.as_bytes()[..end], 3).2, "{end}");
        }
        assert!(!split(whole.as_bytes(), 3).2 && !split(b"", 1).2);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(|number| json!(number)),
            "[\\x20-\\x7e\n\"\\\\]{0,8}".prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
                proptest::collection::btree_map("[a-z\"]{0,7}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_document_comes_out_as_it_went_in(
            results in proptest::collection::vec(values(), 0..6),
            other in values(),
            piece in 1_usize..40,
            pretty in any::<bool>(),
        ) {
            let document = json!({"before": other, "results": results, "zafter": other});
            let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
            let (rest, lines, cut) = split(text.unwrap().as_bytes(), piece);
            prop_assert!(!cut);
            let rest: Value = serde_json::from_str(&rest).unwrap();
            prop_assert_eq!(rest, json!({"before": other, "results": [], "zafter": other}));
            let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(lines, results);
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            split(&bytes, 7);
        }
    }
}
