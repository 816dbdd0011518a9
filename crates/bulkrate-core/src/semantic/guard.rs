//! What two prompts must have in common whatever their similarity: a number, a `not` or a name turns an answer round.

use crate::pace::rng::mix;
use crate::route::learned::fingerprint;

/// Words that deny, in lower case: English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian. Apostrophes are
/// left out, so that `don't` and `dont` are the same.
const DENIALS: [&str; 88] = [
    "no",
    "not",
    "never",
    "none",
    "nobody",
    "nothing",
    "nowhere",
    "neither",
    "nor",
    "without",
    "cannot",
    "cant",
    "dont",
    "doesnt",
    "didnt",
    "wont",
    "wouldnt",
    "couldnt",
    "shouldnt",
    "isnt",
    "arent",
    "wasnt",
    "werent",
    "havent",
    "hasnt",
    "hadnt",
    "aint",
    "unable",
    "except",
    "nicht",
    "kein",
    "keine",
    "keinen",
    "keinem",
    "keiner",
    "keines",
    "nie",
    "niemals",
    "niemand",
    "nichts",
    "ohne",
    "weder",
    "ne",
    "pas",
    "jamais",
    "rien",
    "sans",
    "aucun",
    "aucune",
    "ni",
    "non",
    "nunca",
    "nada",
    "nadie",
    "sin",
    "ningún",
    "ninguno",
    "ninguna",
    "tampoco",
    "jamás",
    "mai",
    "niente",
    "nulla",
    "nessuno",
    "nessuna",
    "senza",
    "né",
    "não",
    "ninguém",
    "sem",
    "nenhum",
    "nenhuma",
    "niet",
    "geen",
    "nooit",
    "niets",
    "niemand",
    "zonder",
    "nigdy",
    "bez",
    "żaden",
    "не",
    "нет",
    "ни",
    "никогда",
    "без",
    "никто",
    "ничего",
];
/// The same where words are not set apart: Chinese.
const DENYING_LETTERS: [char; 9] = ['不', '没', '沒', '無', '无', '未', '非', '別', '别'];
/// Numbers in words, English.
const NUMBERS: [&str; 30] = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "half",
];

/// The same for texts that may be compared: equal numbers and dates, denials, quotations and words in capitals, each as often,
/// in whatever order; and the same scripts.
#[must_use]
pub fn guard(text: &str) -> u64 {
    // A sum does not know the order of its terms.
    let words = words(text).map(|word| of_word(&word)).fold(0_u64, u64::wrapping_add);
    let quoted = quoted(text).map(|part| mix(1 ^ fingerprint(part))).fold(0_u64, u64::wrapping_add);
    let letters = text.chars().filter(|letter| DENYING_LETTERS.contains(letter));
    let letters = letters.map(|letter| mix(2 ^ u64::from(letter))).fold(0_u64, u64::wrapping_add);
    let scripts = text.chars().filter_map(script).fold(0_u64, |scripts, script| scripts | 1 << script);
    mix(words ^ mix(quoted ^ mix(letters ^ mix(scripts))))
}

/// Runs of letters and digits, with what may stand within a number, a date or a short form.
fn words(text: &str) -> impl Iterator<Item = String> {
    let inner = |letter: char| matches!(letter, '.' | ',' | ':' | '/' | '-' | '\'' | '’' | '%');
    text.split(move |letter: char| !letter.is_alphanumeric() && !inner(letter))
        .map(move |word| word.trim_matches(|letter| inner(letter) && letter != '%').to_owned())
        .filter(|word| !word.is_empty())
}

/// Zero: the word is none of those that must be equal.
fn of_word(word: &str) -> u64 {
    if word.chars().any(char::is_numeric) {
        return mix(3 ^ fingerprint(&word.to_lowercase()));
    }
    let plain: String = word.chars().filter(|letter| !matches!(letter, '\'' | '’')).collect();
    let lower = plain.to_lowercase();
    let denies = DENIALS.contains(&lower.as_str()) || lower.starts_with("n'");
    let is_capital =
        plain.chars().count() > 1 && plain.chars().all(|letter| letter.is_uppercase() || letter == '-');
    match () {
        () if denies => mix(4 ^ fingerprint(&lower)),
        () if NUMBERS.contains(&lower.as_str()) => mix(5 ^ fingerprint(&lower)),
        () if is_capital => mix(6 ^ fingerprint(&plain)),
        () => 0,
    }
}

const QUOTES: [(char, char); 6] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('`', '`'), ('「', '」')];

/// What stands between quotation marks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    QUOTES.into_iter().flat_map(move |(open, close)| {
        let mut rest = text;
        std::iter::from_fn(move || {
            let (_, after) = rest.split_once(open)?;
            let (part, after) = after.split_once(close)?;
            rest = after;
            Some(part)
        })
    })
}

/// The scripts that letters come from; what is none of these is one more.
fn script(letter: char) -> Option<u32> {
    if !letter.is_alphabetic() {
        return None;
    }
    Some(match u32::from(letter) {
        0..=0x024F | 0x1E00..=0x1EFF => 0,
        0x0370..=0x03FF | 0x1F00..=0x1FFF => 1,
        0x0400..=0x052F => 2,
        0x0590..=0x05FF => 3,
        0x0600..=0x06FF | 0x0750..=0x077F | 0x08A0..=0x08FF => 4,
        0x0900..=0x0DFF => 5,
        0x0E00..=0x0EFF => 6,
        0x3040..=0x30FF => 7,
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0x20000..=0x3FFFF => 8,
        0x1100..=0x11FF | 0xAC00..=0xD7AF => 9,
        _ => 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_an_answer_round_must_be_equal() {
        for (one, other, want) in [
            ("where is my card", "where was the other card", true),
            ("paid 20 euros", "paid 30 euros", false),
            ("paid 20 then 30", "paid 30 then 20", true),
            ("paid 20", "paid 20 and 20", false),
            ("on 2026-11-30 at 10:15", "at 10:15, on 2026-11-30", true),
            ("on 2026-11-30", "on 2026-11-03", false),
            ("1,000.50 in all", "1,000.05 in all", false),
            ("a rise of 5%", "a rise of 5", false),
            ("the parcel has arrived", "the parcel has not arrived", false),
            ("I don't want it", "I dont want it", true),
            ("I don’t want it", "I don't want it", true),
            ("I do want it", "I don't want it", false),
            ("das ist gut", "das ist nicht gut", false),
            ("c'est bon", "ce n'est pas bon", false),
            ("está bien", "está sin bien", false),
            ("это хорошо", "это не хорошо", false),
            ("这是好的", "这不是好的", false),
            ("it is called \"Alpha\"", "it is called \"Beta\"", false),
            ("it is «this»", "it is «that»", false),
            ("sent in USD", "sent in EUR", false),
            ("sent in usd", "sent in eur", true), // no name in capitals: its similarity must tell
            ("I sent it", "a sent it", true),     // one letter is no name
            ("model A4", "model A5", false),
            ("two parcels", "three parcels", false),
            ("привет мир", "hello world", false),
            ("你好", "hello", false),
            ("", "  ", true),
        ] {
            assert_eq!(guard(one) == guard(other), want, "{one} | {other}");
        }
    }
}
