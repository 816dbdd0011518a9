//! A TOML error as a person wants it: file, line and column, what is wrong, and the word that was probably meant.

use bulkrate_core::route::nearest;

use super::ConfigError;

/// Turns the parser's error about `text` into ours.
pub(super) fn explain(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let (message, hint) = reworded(error.message());
    let place = place(file, text, error.span().map_or(0, |span| span.start));
    ConfigError::JobFile { place, message, hint }
}

/// `file:line:column` of a byte.
pub(super) fn place(file: &str, text: &str, at: usize) -> String {
    let before = text.get(..at.min(text.len())).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&letter| letter != '\n').count() + 1;
    format!("{file}:{line}:{column}")
}

/// `unknown field` and `unknown variant` name what is expected: the nearest of it is offered, the rest goes to the hint.
fn reworded(message: &str) -> (String, Option<String>) {
    let first_line =
        message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    for (begin, noun, plural) in
        [("unknown field `", "key", "keys"), ("unknown variant `", "value", "values")]
    {
        let Some((word, expected)) = first_line.strip_prefix(begin).and_then(|rest| rest.split_once('`'))
        else {
            continue;
        };
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let meant = nearest(word, known.iter().copied());
        let message = match meant {
            Some(meant) => format!("unknown {noun} `{word}` (did you mean `{meant}`?)"),
            None => format!("unknown {noun} `{word}`"),
        };
        return (
            message,
            (!known.is_empty()).then(|| format!("the {plural} known here are {}", known.join(", "))),
        );
    }
    (first_line, None)
}
