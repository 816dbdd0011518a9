//! Marks that stand for texts in bytes written once, so that these can be cut where the texts go.

/// Marks that occur in nothing the user wrote.
#[derive(Debug)]
pub(super) struct Marks {
    stem: String,
}

/// Where a mark stands, its quotes included, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) index: usize,
}

impl Marks {
    /// Marks that occur in none of `texts`.
    pub(super) fn avoiding<T: AsRef<[u8]>>(texts: &[T]) -> Self {
        let mut salt = 0_u32;
        loop {
            let stem = format!("\u{E000}mark{salt}-");
            if !texts.iter().any(|text| memchr::memmem::find(text.as_ref(), stem.as_bytes()).is_some()) {
                return Self { stem };
            }
            salt += 1;
        }
    }

    /// The mark of this number, as the text of a JSON string.
    pub(super) fn write(&self, index: usize) -> String {
        format!("{}{index}.", self.stem)
    }

    /// The first mark that is a whole JSON string.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<Found> {
        let stem = format!("\"{}", self.stem);
        let start = memchr::memmem::find(bytes, stem.as_bytes())?;
        let number = &bytes[start + stem.len()..];
        let digits = number.iter().position(|&byte| byte == b'.')?;
        let index = std::str::from_utf8(&number[..digits]).ok()?.parse().ok()?;
        let end = start + stem.len() + digits + 1;
        (bytes.get(end) == Some(&b'"')).then_some(Found { start, end: end + 1, index })
    }

    /// Whether a mark stands anywhere, also inside a longer string.
    pub(super) fn occurs(&self, bytes: &[u8]) -> bool {
        memchr::memmem::find(bytes, self.stem.as_bytes()).is_some()
    }
}
