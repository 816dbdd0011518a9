//! What happened, in order: a running hash of every line, and the lines themselves where a seed is replayed.

/// The history of one seed.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    lines: u64,
    kept: Option<Vec<String>>,
}

impl Trace {
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, kept: keep.then(Vec::new) }
    }

    pub fn note(&mut self, at_ms: u64, line: std::fmt::Arguments<'_>) {
        let line = format!("{at_ms:>12} {line}");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if let Some(kept) = &mut self.kept {
            kept.push(line);
        }
    }

    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    #[must_use]
    pub fn take(&mut self) -> Vec<String> {
        self.kept.take().unwrap_or_default()
    }
}
