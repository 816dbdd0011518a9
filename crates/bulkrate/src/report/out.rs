//! Standard output and standard error. A reader that has gone away is no error: the pipe is broken, the job is not.
//!
//! Ids, column names and what providers say may hold sequences that move a terminal's cursor, set its title or worse. They are
//! shown, not obeyed.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

/// Data: to standard output.
pub fn data(text: &str) {
    orders(&harmless(text));
}

/// To standard output as it is: for what we ourselves tell a terminal.
pub fn orders(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// One JSON document on standard output.
pub fn json(value: &serde_json::Value) {
    data(&format!("{value:#}\n"));
}

/// Talk: to standard error.
pub fn talk(text: &str) {
    let _ = std::io::stderr().lock().write_all(harmless(text).as_bytes());
}

/// Control characters but line breaks and tabs become `\u001b` and the like, which is what they are in JSON too.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| -> Cow<'static, str> {
        if harms(letter) { format!("\\u{:04x}", u32::from(letter)).into() } else { letter.to_string().into() }
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Whether a person sees standard error.
#[must_use]
pub fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        for (text, want) in [
            ("plain\n\ttext \u{e9}", "plain\n\ttext \u{e9}"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u001b[2J\\u001b]0;title\\u0007"),
            ("over\rwritten\u{9b}31m\u{7f}\0", "over\\u000dwritten\\u009b31m\\u007f\\u0000"),
        ] {
            assert_eq!(harmless(text), want);
        }
    }
}
