//! What messages have in common before and after what differs, so that it is said once.

/// How a message begins and ends in all of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stem<'t> {
    pub before: &'t str,
    pub after: &'t str,
}

/// What texts have in common so far, counted while they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    /// Bytes that all begin and end with, which may overlap, and of the shortest.
    before: usize,
    after: usize,
    shortest: usize,
    texts: u64,
    bytes: u64,
}

impl Common {
    /// Of the first text.
    #[must_use]
    pub fn of(first: &str) -> Self {
        let whole = first.len();
        Self { before: whole, after: whole, shortest: whole, texts: 1, bytes: whole as u64 }
    }

    /// With one more; `first` is the one that it was begun with.
    #[must_use]
    pub fn with(self, first: &str, text: &str) -> Self {
        Self {
            before: self.before.min(alike(first.bytes(), text.bytes())),
            after: self.after.min(alike(first.bytes().rev(), text.bytes().rev())),
            shortest: self.shortest.min(text.len()),
            texts: self.texts + 1,
            bytes: self.bytes + text.len() as u64,
        }
    }

    fn stem(self, first: &str) -> Stem<'_> {
        if self.texts < 2 {
            return Stem { before: "", after: "" };
        }
        let before = &first[..last_cut(first, self.before)];
        let after = self.after.min(self.shortest - before.len());
        Stem { before, after: &first[first_cut(first, first.len() - after)..] }
    }

    /// Bytes that are said once.
    #[must_use]
    pub fn once(self, first: &str) -> u64 {
        let stem = self.stem(first);
        (stem.before.len() + stem.after.len()) as u64
    }

    /// Bytes of all texts where what they have in common is said once.
    #[must_use]
    pub fn said(self, first: &str) -> u64 {
        self.bytes - self.once(first) * (self.texts - 1)
    }
}

impl<'t> Stem<'t> {
    /// The longest common beginning and end of the texts that do not overlap in any of them. Cut at white space, so that no
    /// word is torn.
    pub(super) fn of(texts: &[&'t str]) -> Self {
        let Some((first, others)) = texts.split_first() else { return Self { before: "", after: "" } };
        others.iter().fold(Common::of(first), |common, text| common.with(first, text)).stem(first)
    }

    /// What is left of one of the texts.
    pub(super) fn differs(self, text: &'t str) -> &'t str {
        let text = text.strip_prefix(self.before).unwrap_or(text);
        text.strip_suffix(self.after).unwrap_or(text)
    }
}

fn alike(left: impl Iterator<Item = u8>, right: impl Iterator<Item = u8>) -> usize {
    left.zip(right).take_while(|(left, right)| left == right).count()
}

/// The last place at or before `most` that stands behind white space.
fn last_cut(text: &str, most: usize) -> usize {
    let whole = &text[..text.floor_char_boundary(most)];
    let last = whole.char_indices().rev().find(|(_, sign)| sign.is_whitespace());
    last.map_or(0, |(at, sign)| at + sign.len_utf8())
}

/// The first place at or behind `least` that stands before white space.
fn first_cut(text: &str, least: usize) -> usize {
    let from = text.ceil_char_boundary(least);
    text[from..].find(char::is_whitespace).map_or(text.len(), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_once() {
        for (texts, before, after) in [
            (vec!["Sort this: a lamp", "Sort this: a book"], "Sort this: a ", ""),
            (
                vec!["Review:\ngood\nSay yes or no.", "Review:\nbad\nSay yes or no."],
                "Review:\n",
                "\nSay yes or no.",
            ),
            (vec!["one", "two"], "", ""),
            (vec!["alone and only"], "", ""),
            (vec!["the same text", "the same text"], "the same ", ""),
            (vec!["a a", "a a a"], "a ", ""),
            (vec!["é e\u{301} x", "é e\u{300} x"], "é ", " x"),
            (vec![], "", ""),
        ] {
            assert_eq!(Stem::of(&texts), Stem { before, after }, "{texts:?}");
        }
    }

    proptest! {
        #[test]
        fn an_item_in_its_place_is_its_own_message(
            before in "[a-c \n\u{e9}]{0,12}",
            after in "[a-c \n\u{e9}]{0,12}",
            middles in prop::collection::vec("[a-c \n\u{e9}]{0,6}", 1..8),
        ) {
            let owned: Vec<String> = middles.iter().map(|middle| format!("{before}{middle}{after}")).collect();
            let texts: Vec<&str> = owned.iter().map(String::as_str).collect();
            let stem = Stem::of(&texts);
            for text in &texts {
                prop_assert_eq!(&format!("{}{}{}", stem.before, stem.differs(text), stem.after), text);
            }
            let common = texts[1..].iter().fold(Common::of(texts[0]), |common, text| common.with(texts[0], text));
            let differs: usize = texts.iter().map(|text| stem.differs(text).len()).sum();
            prop_assert_eq!(common.said(texts[0]), (stem.before.len() + stem.after.len() + differs) as u64);
            prop_assert!(stem.before.is_empty() || stem.before.ends_with(char::is_whitespace));
            prop_assert!(stem.after.is_empty() || stem.after.starts_with(char::is_whitespace));
        }
    }
}
