//! What faults do to the bytes of a line that is right otherwise.

const DEEP: usize = 100_000;

/// Spoils the line (or the two) that begins at `start`.
pub(crate) fn odd_bytes(out: &mut Vec<u8>, start: usize, word: &str) {
    // Within the first text of the answer, else of the line.
    let inside = |out: &[u8]| {
        [&b"\"content\":\""[..], b"\"text\":\"", b"\"id\":\""]
            .iter()
            .find_map(|lead| memchr::memmem::find(&out[start..], lead).map(|at| start + at + lead.len()))
            .unwrap_or(start)
    };
    match word {
        "bom" => insert(out, start, b"\xEF\xBB\xBF"),
        "crlf" if out.ends_with(b"\n") => {
            let end = out.len() - 1;
            insert(out, end, b"\r");
        }
        "crlf" => {}
        "surrogate" => {
            let at = inside(out);
            insert(out, at, b"\\ud800");
        }
        "utf8" => {
            let at = inside(out);
            insert(out, at, b"\xFF\xFE");
        }
        _ => {
            let at = inside(out);
            insert(out, at, b"\0");
        }
    }
}

/// Gives the line's first object a field that is nested very deep.
pub(crate) fn nest(out: &mut Vec<u8>, start: usize) {
    let mut field = b"\"deep\":".to_vec();
    field.resize(field.len() + DEEP, b'[');
    field.resize(field.len() + DEEP, b']');
    field.push(b',');
    let body = b"\"body\":{";
    let at = memchr::memmem::find(&out[start..], body).map_or(1, |at| at + body.len());
    insert(out, start + at, &field);
}

fn insert(out: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    out.splice(at..at, bytes.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_spoils_the_line_in_its_way() {
        const LINE: &str = "{\"id\":\"a\",\"body\":{\"content\":\"hi\"}}\n";
        let cases: [(&str, &[u8]); 5] = [
            ("nul", b"{\"id\":\"a\",\"body\":{\"content\":\"\0hi\"}}\n"),
            ("bom", b"\xEF\xBB\xBF{\"id\":\"a\",\"body\":{\"content\":\"hi\"}}\n"),
            ("crlf", b"{\"id\":\"a\",\"body\":{\"content\":\"hi\"}}\r\n"),
            ("surrogate", b"{\"id\":\"a\",\"body\":{\"content\":\"\\ud800hi\"}}\n"),
            ("utf8", b"{\"id\":\"a\",\"body\":{\"content\":\"\xFF\xFEhi\"}}\n"),
        ];
        for (word, want) in cases {
            let mut out = [b"before\n", LINE.as_bytes()].concat();
            odd_bytes(&mut out, 7, word);
            assert_eq!(out, [b"before\n", want].concat(), "{word}");
        }
        let mut out = LINE.as_bytes().to_vec();
        nest(&mut out, 0);
        assert!(
            out.starts_with(b"{\"id\":\"a\",\"body\":{\"deep\":[[[")
                && out.len() == LINE.len() + 2 * DEEP + 8
        );
    }
}
