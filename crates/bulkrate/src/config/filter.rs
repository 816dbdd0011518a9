//! A filter's file, and rules for one.

use std::io::Read as _;
use std::path::Path;

use bulkrate_core::filter::{Filter, FilterError, Rule, RuleError, When};
use serde::Deserialize;

use super::ConfigError;
use super::toml_error;

/// Reads a filter's file.
pub fn load(path: &Path) -> Result<Filter, ConfigError> {
    // A device never ends, and no filter is larger.
    const BYTES_MAX: u64 = 256 << 20;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| ConfigError::Read { what: "the filter", path: path.to_owned(), source })?;
    Filter::from_bytes(&bytes).map_err(|source| ConfigError::Filter { path: path.to_owned(), source })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    rule: Vec<RuleEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    pattern: Option<String>,
    words: Option<Vec<String>>,
    answer: String,
}

/// Reads rules.
pub fn rules(path: &Path) -> Result<Vec<Rule>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        what: "the rules",
        path: path.to_owned(),
        source,
    })?;
    let name = path.display().to_string();
    let file: RulesFile = toml::from_str(&text).map_err(|error| toml_error::explain(&name, &text, &error))?;
    let rule = |(number, entry): (usize, RuleEntry)| {
        let when = match (entry.pattern, entry.words) {
            (Some(pattern), None) => When::Pattern(pattern),
            (None, Some(words)) => When::Words(words),
            _ => {
                let why = "it has both `pattern` and `words`, or neither".to_owned();
                return Err(ConfigError::Filter {
                    path: path.to_owned(),
                    source: FilterError::Rule(RuleError::new(number, why)),
                });
            }
        };
        Ok(Rule { when, answer: entry.answer })
    };
    (1..).zip(file.rule).map(rule).collect()
}
