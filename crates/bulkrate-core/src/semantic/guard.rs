//! What two prompts must have in common whatever their similarity: a number, a `not` or a name turns an answer round.

use super::words::{DATES, DENIALS, DENYING_LETTERS, NUMBERS, SIDES};
use crate::pace::rng::mix;
use crate::route::learned::fingerprint;

/// The same for texts that may be compared: equal numbers and dates, denials, quotations, symbols and words in capitals, each as
/// often, in whatever order; and the same scripts.
#[must_use]
pub fn guard(text: &str) -> u64 {
    let letters: Vec<char> = text.chars().collect();
    // A sum does not know the order of its terms.
    let sum = |parts: &mut dyn Iterator<Item = u64>| parts.fold(0_u64, u64::wrapping_add);
    let words = sum(&mut words(&letters).iter().map(of_word));
    let quoted =
        sum(&mut quoted(&letters).map(|part| mix(1 ^ fingerprint(&part.iter().collect::<String>()))));
    let single = |letter: &&char| DENYING_LETTERS.contains(*letter) || is_symbol(**letter);
    let singles = sum(&mut letters.iter().filter(single).map(|letter| mix(2 ^ u64::from(*letter))));
    // A smile closes what it has not opened.
    let of = |bracket: char| letters.iter().filter(|letter| **letter == bracket).count() as u64;
    let balance = of('(').wrapping_sub(of(')'));
    let scripts =
        letters.iter().copied().filter_map(script).fold(0_u64, |scripts, script| scripts | 1 << script);
    mix(words ^ mix(quoted ^ mix(singles ^ mix(scripts ^ mix(balance)))))
}

/// A word, and whether a sentence begins with it.
struct Word {
    text: String,
    first: bool,
}

fn is_apostrophe(letter: char) -> bool {
    matches!(letter, '\'' | '’' | '‘' | '´' | '`' | 'ʼ')
}

/// Signs of currencies, comparison and calculation, check marks, arrows, emoji: whatever says something by itself. What merely sets
/// words apart is none.
fn is_symbol(letter: char) -> bool {
    match letter {
        '#' | '$' | '%' | '&' | '*' | '+' | '<' | '=' | '>' | '@' | '\\' | '^' | '|' | '~' | '×' | '÷' => {
            true
        }
        '«' | '»' | '´' | '\u{ad}' => false,
        '\u{a1}'..='\u{bf}' => !letter.is_alphanumeric(),
        // Dashes, quotation marks, invisible letters.
        '\u{2000}'..='\u{203e}' => letter == '‰',
        '\u{203f}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}' => true,
        _ => false,
    }
}

/// Runs of letters and digits, with what belongs to them: the sign of a number, what stands within one or within a date, an
/// apostrophe, the points of `U.S.`
fn words(letters: &[char]) -> Vec<Word> {
    let (mut words, mut word, mut begins) = (Vec::new(), String::new(), true);
    let at = |place: Option<usize>| place.and_then(|place| letters.get(place).copied()).unwrap_or(' ');
    for (place, letter) in letters.iter().copied().enumerate() {
        if belongs(at(place.checked_sub(1)), letter, at(place.checked_add(1))) {
            word.push(letter);
            continue;
        }
        if !word.is_empty() {
            words
                .push(Word { text: std::mem::take(&mut word), first: std::mem::replace(&mut begins, false) });
        }
        begins |= matches!(letter, '.' | '!' | '?' | '\n' | '…' | '。');
    }
    if !word.is_empty() {
        words.push(Word { text: word, first: begins });
    }
    words
}

fn belongs(before: char, letter: char, after: char) -> bool {
    let within = |is: fn(char) -> bool| is(before) && is(after);
    match letter {
        _ if letter.is_alphanumeric() => true,
        _ if is_apostrophe(letter) => within(char::is_alphanumeric),
        '-' | '.' if after.is_numeric() && !before.is_alphanumeric() => true,
        '.' if within(char::is_uppercase) => true,
        '.' | ',' | ':' | '/' | '-' => within(char::is_numeric),
        _ => is_symbol(letter) && (before.is_numeric() || after.is_numeric()),
    }
}

/// Zero: the word is none of those that must be equal.
fn of_word(word: &Word) -> u64 {
    let Word { text, first } = word;
    if text.chars().any(char::is_numeric) {
        return mix(3 ^ fingerprint(&text.to_lowercase()));
    }
    let whole = text.to_lowercase();
    // French: n'arrive.
    if whole.strip_prefix('n').is_some_and(|rest| rest.starts_with(is_apostrophe)) {
        return mix(4 ^ fingerprint("ne"));
    }
    let own = text.strip_suffix(['s', 'S']).and_then(|rest| rest.strip_suffix(is_apostrophe)).unwrap_or(text);
    let plain: String = own.chars().filter(|letter| !is_apostrophe(*letter) && *letter != '.').collect();
    let lower = plain.to_lowercase();
    let is_short =
        whole.strip_suffix('t').is_some_and(|rest| rest.ends_with(is_apostrophe)) && lower.ends_with("nt");
    let is_one_of = |list: &[&str]| list.contains(&lower.as_str());
    let is_capital =
        plain.chars().all(char::is_uppercase) && (plain.chars().count() > 1 || !first && plain != "I");
    match () {
        () if is_short || is_one_of(&DENIALS) => mix(4 ^ fingerprint(&lower)),
        () if is_one_of(&NUMBERS) || is_one_of(&DATES) || is_one_of(&SIDES) => mix(5 ^ fingerprint(&lower)),
        () if is_capital => mix(6 ^ fingerprint(&plain)),
        () => 0,
    }
}

const QUOTES: [(char, char); 12] = [
    ('"', '"'),
    ('“', '”'),
    ('„', '“'),
    ('„', '”'),
    ('«', '»'),
    ('»', '«'),
    ('`', '`'),
    ('\'', '\''),
    ('‘', '’'),
    ('‚', '‘'),
    ('「', '」'),
    ('[', ']'),
];

/// What stands between quotation marks, or in a box that can be ticked. A mark that is an apostrophe as well opens no quotation
/// behind a letter, and closes none before one.
fn quoted(letters: &[char]) -> impl Iterator<Item = &[char]> {
    QUOTES.into_iter().flat_map(move |(open, close)| {
        let mut from = 0;
        let is_letter = move |place: Option<usize>| {
            is_apostrophe(open)
                && place.and_then(|place| letters.get(place)).is_some_and(|l| l.is_alphanumeric())
        };
        std::iter::from_fn(move || {
            let start = (from..letters.len())
                .find(|place| letters[*place] == open && !is_letter(place.checked_sub(1)))?;
            let end = (start + 1..letters.len())
                .find(|place| letters[*place] == close && !is_letter(place.checked_add(1)))?;
            from = end + 1;
            Some(&letters[start + 1..end])
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
            ("I sent it", "a sent it", true),     // a sentence may begin with one letter
            ("model A4", "model A5", false),
            ("two parcels", "three parcels", false),
            ("привет мир", "hello world", false),
            ("你好", "hello", false),
            ("", "  ", true),
        ] {
            assert_eq!(guard(one) == guard(other), want, "{one} | {other}");
        }
    }

    #[test]
    fn everyday_texts_do_not_pass_the_guards() {
        for (one, other) in [
            // Sign and unit.
            ("it is -5 outside", "it is 5 outside"),
            ("up +10% since", "up -10% since"),
            ("paid $5", "paid €5"),
            ("ages >5", "ages <5"),
            ("a rise of 5 %", "a rise of 5"),
            ("costs .5 a piece", "costs 5 a piece"),
            ("-5 and +6", "+5 and -6"),
            // Dates and numbers in words.
            ("on 5 March", "on 5 May"),
            ("come on Monday", "come on Friday"),
            ("twenty-one parcels", "twenty-two parcels"),
            ("the first one", "the second one"),
            ("charged once", "charged twice"),
            ("a dozen", "a billion"),
            ("zero fees", "double fees"),
            // Denials.
            ("il n'arrive plus", "il arrive plus"),
            ("il n’arrive plus", "il arrive plus"),
            ("it isn´t here", "it is here"),
            ("it mightn't come", "it might come"),
            ("it mustnt come", "it must come"),
            ("a non-refundable fare", "a refundable fare"),
            ("it hardly works", "it works"),
            // Names.
            ("choose option A", "choose option B"),
            ("take vitamin C", "take vitamin D"),
            ("changed EUR/USD", "changed EUR/JPY"),
            ("this is IBM's card", "this is SAP's card"),
            ("sent to the U.S. today", "sent to the U.K. today"),
            // Quotations.
            ("it is called 'Alpha'", "it is called 'Beta'"),
            ("it is called ‘Alpha’", "it is called ‘Beta’"),
            ("to jest „Alpha”", "to jest „Beta”"),
            ("das ist »Alpha« hier", "das ist »Beta« hier"),
            // Marks.
            ("thanks 👍", "thanks 👎"),
            ("well :)", "well :("),
            ("[x] paid", "[ ] paid"),
            ("✓ paid", "✗ paid"),
            // Columns of two values.
            ("settled: true", "settled: false"),
            ("account: open", "account: closed"),
        ] {
            assert_ne!(guard(one), guard(other), "{one} | {other}");
        }
    }

    #[test]
    fn what_is_only_written_otherwise_passes_the_guards() {
        for (one, other) in [
            ("my aunt’s card is lost", "my aunt's card was lost"),
            ("IBM's card", "the card of IBM"),
            ("the customers' cards", "the customers cards"),
            ("A parcel came. I took it", "I took a parcel that came"),
            ("a well-known shop", "a well known shop"),
            ("it isn’t here", "it isn't here"),
            ("yes (please) – thanks …", "yes please, thanks!"),
            ("(see above) 1,000.50", "see above: 1,000.50"),
            ("I don't know, it's fine", "it's fine, I don't know"),
        ] {
            assert_eq!(guard(one), guard(other), "{one} | {other}");
        }
    }
}
