//! About how many tokens a text has, where no tables are loaded: cut as `o200k_base` cuts it, and each piece guessed by its length.
//!
//! A run counts nothing exactly, and the ratio that it learns is that of prose. What is said in every request, such as a list of choices
//! and a schema around them, is short words between marks: bytes say little of it.

/// Letters of one token: a word of so many is nearly always one, a longer one has a token for each further so many. A word behind a mark,
/// as in `card_arrival`, is rarer than one behind a blank.
const LETTERS: usize = 9;
const MARKED_LETTERS: usize = 6;
/// A letter beyond ASCII is as rare as so many others.
const FOREIGN: usize = 3;
/// Digits, and marks, of one token.
const DIGITS: usize = 3;
const MARKS: usize = 4;

/// What a piece is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Letters,
    Digits,
    Marks,
    Blanks,
}

fn kind(sign: char) -> Of {
    if sign.is_alphabetic() {
        Of::Letters
    } else if sign.is_numeric() {
        Of::Digits
    } else if sign.is_whitespace() {
        Of::Blanks
    } else {
        Of::Marks
    }
}

/// About so many tokens; a guess, and no bound.
#[must_use]
pub fn about(text: &str) -> u64 {
    let mut signs = text.chars().peekable();
    let (mut tokens, mut before, mut marked) = (0, Of::Marks, false);
    while let Some(first) = signs.next() {
        let of = kind(first);
        let weighs = |sign: char| if sign.is_ascii() { 1 } else { FOREIGN };
        let (mut length, mut weight, mut last) = (1_usize, weighs(first), first);
        // A capital behind a small letter begins a word.
        let goes_on =
            |next: char, last: char| kind(next) == of && !(next.is_uppercase() && last.is_lowercase());
        while let Some(next) = signs.next_if(|next| goes_on(*next, last)) {
            (length, weight, last) = (length + 1, weight + weighs(next), next);
        }
        // One mark before a word is the word's, if no blank is before it.
        let is_before_word = signs.peek().is_some_and(|next| kind(*next) == Of::Letters);
        let joins = of == Of::Marks && length == 1 && before != Of::Blanks && is_before_word;
        tokens += match of {
            Of::Letters => weight.div_ceil(if marked { MARKED_LETTERS } else { LETTERS }),
            Of::Digits => length.div_ceil(DIGITS),
            // A blank is the next word's, the end of a line is that of the marks before it.
            Of::Blanks if length == 1 && (first != '\n' || before == Of::Marks) => 0,
            Of::Blanks => 1,
            Of::Marks if joins => 0,
            Of::Marks => length.div_ceil(MARKS),
        };
        (before, marked) = (of, joins);
    }
    tokens as u64
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn words_marks_and_blanks_are_pieces() {
        for (text, want) in [
            ("", 0),
            ("Sort the goods.", 4),
            (r#""card_arrival","card_linking""#, 8),
            (r#""additionalProperties":false"#, 6),
            ("<item id=\"k1\">a</item>\n", 10),
            ("123456789", 3),
            ("a  b\n\nc", 5),
        ] {
            assert_eq!(about(text), want, "{text}");
        }
    }
}
