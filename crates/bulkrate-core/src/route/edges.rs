//! Where a condition's answer may change as `tokens` grows, so that bounds can decide what a count need not.
//!
//! A condition that only compares `tokens` with whole numbers is constant between those numbers. Anything else (arithmetic, a
//! filter, a column on the other side) may change anywhere: it has no edges, and `tokens` must be counted.

/// The counts from which on the answer may be another one than just below; `None` if that may be anywhere.
pub(super) fn edges(when: &str) -> Option<Vec<u64>> {
    let lexemes = lexemes(when);
    let at = |place: Option<usize>| place.and_then(|place| lexemes.get(place)).copied();
    let mut edges = Vec::new();
    for place in (0..lexemes.len()).filter(|place| lexemes[*place] == Lexeme::Word("tokens")) {
        let before = |steps: usize| at(place.checked_sub(steps));
        let after = |steps: usize| at(place.checked_add(steps));
        if before(1) == Some(Lexeme::Sign(".")) {
            continue; // somebody's attribute of that name
        }
        let found = match (before(2), before(1), after(1), after(2)) {
            (_, start, Some(Lexeme::Sign(sign)), Some(Lexeme::Whole(number)))
                if opens(start) && closes(after(3)) =>
            {
                compared(sign, number)
            }
            (Some(Lexeme::Whole(number)), Some(Lexeme::Sign(sign)), end, _)
                if closes(end) && opens(before(3)) =>
            {
                compared(mirrored(sign), number)
            }
            _ => None,
        };
        edges.extend(found?);
    }
    edges.sort_unstable();
    edges.dedup();
    Some(edges)
}

/// The edges of `tokens SIGN number`.
fn compared(sign: &str, number: u64) -> Option<Vec<u64>> {
    let next = number.saturating_add(1);
    match sign {
        "<" | ">=" => Some(vec![number]),
        ">" | "<=" => Some(vec![next]),
        "==" | "!=" => Some(vec![number, next]),
        _ => None,
    }
}

fn mirrored(sign: &str) -> &str {
    match sign {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        other => other,
    }
}

/// Whether a comparison may start after this: nothing there binds tighter than it.
fn opens(before: Option<Lexeme<'_>>) -> bool {
    matches!(before, None | Some(Lexeme::Sign("(") | Lexeme::Word("and" | "or" | "not" | "if" | "else")))
}

fn closes(after: Option<Lexeme<'_>>) -> bool {
    matches!(after, None | Some(Lexeme::Sign(")") | Lexeme::Word("and" | "or" | "if" | "else")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lexeme<'a> {
    Word(&'a str),
    Whole(u64),
    Sign(&'a str),
    /// A string, or a number that is not whole.
    Other,
}

fn lexemes(text: &str) -> Vec<Lexeme<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '"' | '\'' => string_len(rest, first),
            _ if is_word(first) => {
                let number = first.is_ascii_digit();
                rest.find(|next: char| !(is_word(next) || (number && next == '.'))).unwrap_or(rest.len())
            }
            _ if ["<=", ">=", "==", "!=", "//", "**"].iter().any(|sign| rest.starts_with(sign)) => 2,
            _ => first.len_utf8(),
        };
        let (lexeme, left) = rest.split_at(len);
        found.push(match first {
            '"' | '\'' => Lexeme::Other,
            _ if first.is_ascii_digit() => lexeme.parse().map_or(Lexeme::Other, Lexeme::Whole),
            _ if is_word(first) => Lexeme::Word(lexeme),
            _ => Lexeme::Sign(lexeme),
        });
        rest = left.trim_start();
    }
    found
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Up to and with the closing quote; a backslash takes the next letter with it.
fn string_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_with_whole_numbers_have_edges() {
        for (when, want) in [
            ("tokens < 200", Some(vec![200])),
            ("tokens <= 200", Some(vec![201])),
            ("tokens>200", Some(vec![201])),
            ("200 > tokens", Some(vec![200])),
            ("200 <= tokens", Some(vec![200])),
            ("tokens == 7", Some(vec![7, 8])),
            ("not tokens < 5 and (tokens >= 9 or lang == 'tokens < 1')", Some(vec![5, 9])),
            ("1 if tokens < 5 else 0", Some(vec![5])),
            ("lang == \"de\"", Some(vec![])),
            ("row.tokens < 5", Some(vec![])),
            (r#"text == "a\" tokens < 3" and tokens < 4"#, Some(vec![4])),
            ("tokens * 2 < 200", None),
            ("5 + tokens < 200", None),
            ("tokens < 200 + score", None),
            ("tokens < limit", None),
            ("tokens < 200.5", None),
            ("tokens < -5", None),
            ("100 < tokens < 200", None),
            ("tokens|int < 3", None),
            ("tokens", None),
            ("tokens is even", None),
            ("tokens in [1, 2]", None),
            ("(tokens < 5) * tokens > 0", None),
        ] {
            assert_eq!(edges(when), want, "{when}");
        }
    }
}
