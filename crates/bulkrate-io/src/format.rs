//! What a file holds and how it is compressed, guessed from its name or from its first bytes.
use std::path::Path;

/// The shape of the rows in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated, a header row first.
    Csv,
    /// Tab-separated, a header row first; quotes mean what they mean in CSV.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// How the bytes of a text file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Bytes as they are.
    None,
    /// gzip, one member or many.
    Gzip,
    /// Zstandard, one frame or many.
    Zstd,
}

impl Format {
    /// Every name a user may write, for messages.
    pub const NAMES: &'static str = "csv, tsv, jsonl, parquet";

    /// Reads a name as users write it (`csv`, `tsv`, `jsonl`, `ndjson`, `parquet`), in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// The name of this format as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

impl Compression {
    /// The name of this compression for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Recognises compressed bytes by the magic they start with; neither magic is valid UTF-8 text.
    pub(crate) fn from_magic(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Guesses from a file name: `reviews.csv.gz` is CSV in gzip. The format is `None` when the ending says nothing.
pub(crate) fn guess(path: &Path) -> (Option<Format>, Compression) {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let (stem, compression) = match name.rsplit_once('.') {
        Some((stem, "gz" | "gzip")) => (stem, Compression::Gzip),
        Some((stem, "zst" | "zstd")) => (stem, Compression::Zstd),
        _ => (name.as_str(), Compression::None),
    };
    let format = stem.rsplit_once('.').and_then(|(_, ending)| Format::from_name(ending));
    (format, compression)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        for (name, format, compression) in [
            ("a.csv", Some(Format::Csv), Compression::None),
            ("dir.parquet/A.TSV.GZ", Some(Format::Tsv), Compression::Gzip),
            ("x.ndjson.zst", Some(Format::Jsonl), Compression::Zstd),
            ("x.jsonl", Some(Format::Jsonl), Compression::None),
            ("labels.parquet", Some(Format::Parquet), Compression::None),
            ("notes.txt", None, Compression::None),
            ("csv", None, Compression::None),
            ("data.gz", None, Compression::Gzip),
        ] {
            assert_eq!(guess(Path::new(name)), (format, compression), "{name}");
        }
    }
}
