//! A strict scanner for one JSON object per line: checks the whole line and notes where its top-level keys and values
//! lie, without allocating, copying or building a tree.
//!
//! Invariants
//! - It accepts what RFC 8259 accepts and nothing else, to a depth of 128; unpaired surrogate escapes are refused, so
//!   unescaping later cannot fail.
//! - Keys and values are slices of the line; `JsonRow` borrows both the line and the scanner.
use std::borrow::Cow;

use memchr::memchr2;

const DEPTH_MAX: u32 = 128;

/// Reusable: keeps its list of spans between lines.
#[derive(Debug, Default)]
pub struct JsonScanner {
    pairs: Vec<Pair>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    /// Without the quotes.
    key: (u32, u32),
    key_escaped: bool,
    /// With the quotes, where the value is a string.
    value: (u32, u32),
    kind: JsonKind,
    value_escaped: bool,
}

/// Why a line is not one JSON object, and at which byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonFault {
    /// Byte offset in the text, from 0.
    pub offset: usize,
    /// What is wrong there, for a message.
    pub what: &'static str,
    /// It is an escape like `\ud83d` without its other half: JSON to some writers, text to nobody.
    pub lone_surrogate: bool,
}

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, of any size: its text is kept.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl JsonScanner {
    /// A scanner with nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks `text` and finds its top-level pairs.
    ///
    /// # Errors
    /// The first fault, when `text` is not exactly one JSON object (surrounding blanks allowed).
    pub fn scan<'a>(&'a mut self, text: &'a str) -> Result<JsonRow<'a>, JsonFault> {
        self.check(text)?;
        Ok(self.row(text))
    }

    /// The row of the text that `check` accepted last.
    pub(crate) fn row<'a>(&'a self, text: &'a str) -> JsonRow<'a> {
        JsonRow { text, pairs: &self.pairs }
    }

    /// As `scan`, leaving the pairs to be taken with `row`.
    pub(crate) fn check(&mut self, text: &str) -> Result<(), JsonFault> {
        self.pairs.clear();
        if u32::try_from(text.len()).is_err() {
            return Err(JsonFault { offset: 0, what: "longer than 4 GiB", lone_surrogate: false });
        }
        let mut cursor = Cursor::new(text.as_bytes());
        cursor.blanks();
        if cursor.peek() != Some(b'{') {
            return Err(cursor.fault("not an object"));
        }
        cursor.at += 1;
        self.pairs(&mut cursor)?;
        cursor.blanks();
        if cursor.at == text.len() { Ok(()) } else { Err(cursor.fault("text after the end of the object")) }
    }

    fn pairs(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonFault> {
        cursor.blanks();
        if cursor.take(b'}') {
            return Ok(());
        }
        loop {
            let key_start = cursor.at + 1;
            let key_escaped = cursor.key()?;
            let key = (short(key_start), short(cursor.at - 1));
            cursor.colon()?;
            let start = cursor.at;
            let (kind, value_escaped) = cursor.value(1)?;
            let value = (short(start), short(cursor.at));
            self.pairs.push(Pair { key, key_escaped, value, kind, value_escaped });
            if cursor.comma_or(b'}', "expected `,` or `}`")? {
                return Ok(());
            }
        }
    }
}

/// Offsets fit: `check` refuses longer text before any is taken.
fn short(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// True when `text` is one valid JSON value of any type.
pub(crate) fn is_json(text: &str) -> bool {
    let mut cursor = Cursor::new(text.as_bytes());
    cursor.blanks();
    let good = cursor.value(0).is_ok();
    cursor.blanks();
    good && cursor.at == text.len()
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No byte below 0x20 anywhere: strings need no check of their own. Nearly every line is like that.
    clean: bool,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        // Without an early exit this loop becomes vector code.
        let low = bytes.iter().fold(0_u8, |low, byte| low | u8::from(*byte < 0x20));
        Self { bytes, at: 0, clean: low == 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, what: &'static str) -> JsonFault {
        let what = if self.at >= self.bytes.len() { "the line ends too early" } else { what };
        JsonFault { offset: self.at, what, lone_surrogate: false }
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn key(&mut self) -> Result<bool, JsonFault> {
        if self.take(b'"') { self.string() } else { Err(self.fault("expected a key in double quotes")) }
    }

    fn colon(&mut self) -> Result<(), JsonFault> {
        self.blanks();
        if !self.take(b':') {
            return Err(self.fault("expected `:` after a key"));
        }
        self.blanks();
        Ok(())
    }

    /// After an element: true at the closing byte, false after a comma, with blanks skipped.
    fn comma_or(&mut self, close: u8, what: &'static str) -> Result<bool, JsonFault> {
        self.blanks();
        if self.take(close) {
            return Ok(true);
        }
        if !self.take(b',') {
            return Err(self.fault(what));
        }
        self.blanks();
        Ok(false)
    }

    /// Skips one value; says what it was and, for a string, whether it holds escapes.
    fn value(&mut self, depth: u32) -> Result<(JsonKind, bool), JsonFault> {
        let kind = match self.peek() {
            Some(b'"') => {
                self.at += 1;
                return Ok((JsonKind::String, self.string()?));
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| JsonKind::Number),
            Some(b't') => self.word(b"true", JsonKind::Bool),
            Some(b'f') => self.word(b"false", JsonKind::Bool),
            Some(b'n') => self.word(b"null", JsonKind::Null),
            Some(b'{') => self.object(depth).map(|()| JsonKind::Object),
            Some(b'[') => self.array(depth).map(|()| JsonKind::Array),
            _ => Err(self.fault("expected a value")),
        };
        Ok((kind?, false))
    }

    fn word(&mut self, word: &'static [u8], kind: JsonKind) -> Result<JsonKind, JsonFault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fault("expected a value"));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<(), JsonFault> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    fn enter(&mut self, depth: u32) -> Result<(), JsonFault> {
        if depth >= DEPTH_MAX {
            return Err(self.fault("nested deeper than 128 levels"));
        }
        self.at += 1;
        self.blanks();
        Ok(())
    }

    fn object(&mut self, depth: u32) -> Result<(), JsonFault> {
        self.enter(depth)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.key()?;
            self.colon()?;
            self.value(depth + 1)?;
            if self.comma_or(b'}', "expected `,` or `}`")? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), JsonFault> {
        self.enter(depth)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.comma_or(b']', "expected `,` or `]`")? {
                return Ok(());
            }
        }
    }

    /// After the opening quote: skips past the closing one. True when there were escapes.
    fn string(&mut self) -> Result<bool, JsonFault> {
        let mut escaped = false;
        loop {
            let rest = &self.bytes[self.at..];
            // Text in escapes only (`\u4e2d\u6587`) comes back here every few bytes.
            let stop = if rest.first() == Some(&b'\\') { Some(0) } else { memchr2(b'"', b'\\', rest) };
            let plain = &rest[..stop.unwrap_or(rest.len())];
            if !self.clean
                && let Some(low) = plain.iter().position(|byte| *byte < 0x20)
            {
                self.at += low;
                return Err(self.fault("a control character in a string; it must be escaped"));
            }
            self.at += plain.len();
            match stop.map(|stop| rest[stop]) {
                None => return Err(self.fault("an open string")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(_) => {
                    escaped = true;
                    self.escape()?;
                }
            }
        }
    }

    /// At a backslash: skips the escape, both halves of a surrogate pair at once.
    fn escape(&mut self) -> Result<(), JsonFault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit =
                    hex4(self.bytes.get(self.at + 2..)).ok_or_else(|| self.fault("bad `\\u` escape"))?;
                let low = self.bytes.get(self.at + 6..).filter(|rest| rest.starts_with(b"\\u"));
                let paired = |low: Option<&[u8]>| {
                    hex4(low.and_then(|rest| rest.get(2..)))
                        .is_some_and(|unit| (0xdc00..0xe000).contains(&unit))
                };
                match unit {
                    0xd800..=0xdbff if paired(low) => self.at += 12,
                    0xd800..=0xdfff => {
                        let fault = self.fault("half of a surrogate pair in a `\\u` escape");
                        return Err(JsonFault { lone_surrogate: true, ..fault });
                    }
                    _ => self.at += 6,
                }
                Ok(())
            }
            _ => Err(self.fault("bad escape")),
        }
    }
}

fn hex4(bytes: Option<&[u8]>) -> Option<u32> {
    let digits = bytes?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// One JSON object, checked whole: its text and its top-level pairs in the order of the line.
#[derive(Debug, Clone, Copy)]
pub struct JsonRow<'a> {
    text: &'a str,
    pairs: &'a [Pair],
}

impl<'a> JsonRow<'a> {
    /// The line as it stands in the source.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Number of top-level pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True for `{}`.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value under `key`; of equal keys the last wins.
    pub fn get(&self, key: &str) -> Option<JsonValue<'a>> {
        let pair = self.pairs.iter().rfind(|pair| {
            let raw = slice(self.text, pair.key);
            if pair.key_escaped { unescape(raw) == key } else { raw == key }
        })?;
        Some(self.value(pair))
    }

    /// The pair at `index` in the order of the line: cheaper than `get` where lines share their shape.
    pub fn at(&self, index: usize) -> Option<(Cow<'a, str>, JsonValue<'a>)> {
        self.pairs.get(index).map(|pair| (self.key(pair), self.value(pair)))
    }

    /// Pairs in the order of the line.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Cow<'a, str>, JsonValue<'a>)> + use<'a> {
        let row = *self;
        self.pairs.iter().map(move |pair| (row.key(pair), row.value(pair)))
    }

    fn key(&self, pair: &Pair) -> Cow<'a, str> {
        let raw = slice(self.text, pair.key);
        if pair.key_escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
    }

    fn value(&self, pair: &Pair) -> JsonValue<'a> {
        JsonValue { raw: slice(self.text, pair.value), kind: pair.kind, escaped: pair.value_escaped }
    }
}

fn slice(text: &str, (start, end): (u32, u32)) -> &str {
    &text[start as usize..end as usize]
}

/// One value as it stands in the line.
#[derive(Debug, Clone, Copy)]
pub struct JsonValue<'a> {
    raw: &'a str,
    kind: JsonKind,
    escaped: bool,
}

impl<'a> JsonValue<'a> {
    /// Its JSON text: strings in quotes, escapes kept.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Its type.
    pub fn kind(&self) -> JsonKind {
        self.kind
    }

    /// The text of a string with escapes resolved; borrowed when it had none. `None` for other types.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        let inner = self.inner()?;
        Some(if self.escaped { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) })
    }

    /// What a table cell would show: a string's text, nothing for null, JSON text for the rest.
    pub fn cell(&self) -> Cow<'a, str> {
        match self.kind {
            JsonKind::Null => Cow::Borrowed(""),
            _ => self.as_str().unwrap_or(Cow::Borrowed(self.raw)),
        }
    }

    /// As `cell`, with escapes resolved into `scratch` (cleared first) so that nothing is allocated per row.
    pub fn cell_in<'b>(&self, scratch: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        match self.inner() {
            Some(inner) if self.escaped => {
                scratch.clear();
                unescape_into(inner, scratch);
                scratch
            }
            Some(inner) => inner,
            None if self.kind == JsonKind::Null => "",
            None => self.raw,
        }
    }

    fn inner(&self) -> Option<&'a str> {
        (self.kind == JsonKind::String).then(|| &self.raw[1..self.raw.len() - 1])
    }
}

fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    unescape_into(raw, &mut text);
    text
}

/// `raw` is the inside of a string that the scanner accepted.
fn unescape_into(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(stop) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..stop]);
        let bytes = &rest.as_bytes()[stop + 1..];
        let (char, length) = match bytes.first() {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => unicode(bytes),
            other => (char::from(other.copied().unwrap_or(b'\\')), 2),
        };
        out.push(char);
        rest = rest.get(stop + length..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The character of `u4e2d...` or `ud83d\ude00...`, and the bytes it takes with its backslash.
fn unicode(bytes: &[u8]) -> (char, usize) {
    let unit = hex4(bytes.get(1..)).unwrap_or(0xfffd);
    if !(0xd800..0xdc00).contains(&unit) {
        return (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
    }
    let low = hex4(bytes.get(7..)).unwrap_or(0xdc00);
    let code = 0x1_0000 + ((unit - 0xd800) << 10) + low.saturating_sub(0xdc00);
    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
}

#[cfg(test)]
mod tests;
