//! COUNTS. The tables of OpenAI's tokenizers, behind [`CountTokens`].
//!
//! They are apart from everything else because they are heavy: to build, and to load. Nothing is loaded until the first text is
//! counted, then only the tables of that encoding, once in the process. `docs/benchmarks.md` says what that costs.

use bpe_openai::{Tokenizer, cl100k_base, o200k_base};
use bulkrate_core::tokens::{CountTokens, Encoding};

/// The tables that `tiktoken` calls by the same names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tables;

impl CountTokens for Tables {
    /// What `len(encoding.encode_ordinary(text))` is in `tiktoken`: `<|endoftext|>` and the like are text, as they are for the API.
    fn count(&self, encoding: Encoding, text: &str) -> u64 {
        tokenizer(encoding).count(text) as u64
    }
}

fn tokenizer(encoding: Encoding) -> &'static Tokenizer {
    match encoding {
        Encoding::O200kBase => o200k_base(),
        Encoding::Cl100kBase => cl100k_base(),
    }
}
