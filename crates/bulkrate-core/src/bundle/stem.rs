//! What messages have in common before and after what differs, so that it is said once.

/// How a message begins and ends in all of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stem<'t> {
    pub before: &'t str,
    pub after: &'t str,
}

impl<'t> Stem<'t> {
    /// The longest common beginning and end of the texts that do not overlap in any of them. Cut at white space, so that no
    /// word is torn.
    pub(super) fn of(texts: &[&'t str]) -> Self {
        let Some((first, others)) = texts.split_first().filter(|(_, others)| !others.is_empty()) else {
            return Self { before: "", after: "" };
        };
        let alike = others.iter().map(|other| alike(first.bytes(), other.bytes())).min().unwrap_or(0);
        let before = &first[..last_cut(first, alike)];
        let rest = |text: &'t str| &text[before.len()..];
        let rests = others.iter().map(|other| alike_ends(rest(first), rest(other)));
        let alike = rests.min().unwrap_or(0);
        let first = rest(first);
        Self { before, after: &first[first_cut(first, first.len() - alike)..] }
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

fn alike_ends(left: &str, right: &str) -> usize {
    alike(left.bytes().rev(), right.bytes().rev())
}

/// The last place at or before `most` that stands behind white space.
fn last_cut(text: &str, most: usize) -> usize {
    let ends = text.char_indices().filter(|(_, sign)| sign.is_whitespace());
    ends.map(|(at, sign)| at + sign.len_utf8()).take_while(|end| *end <= most).last().unwrap_or(0)
}

/// The first place at or behind `least` that stands before white space.
fn first_cut(text: &str, least: usize) -> usize {
    let starts = text.char_indices().filter(|(at, sign)| *at >= least && sign.is_whitespace());
    starts.map(|(at, _)| at).next().unwrap_or(text.len())
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
            prop_assert!(stem.before.is_empty() || stem.before.ends_with(char::is_whitespace));
            prop_assert!(stem.after.is_empty() || stem.after.starts_with(char::is_whitespace));
        }
    }
}
