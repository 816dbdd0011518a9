//! From the name a user writes to a row: aliases, `provider/model`, bare ids, dated snapshots, and near misses.

use jiff::civil::Date;

use super::catalogue::Catalogue;
use super::row::ModelRow;

/// How many near names are offered.
const NEAREST_MAX: usize = 3;

/// A row and the model id to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved<'a> {
    pub row: &'a ModelRow,
    /// The id to send: the snapshot, or the place, where the user named one, else the row's id.
    pub model: &'a str,
    /// The id that goes into the request key: the snapshot where one is named or known, else `model`.
    pub pinned: &'a str,
    /// The catalogue does not list this very snapshot; it is priced as the id before the date.
    pub assumed: bool,
}

/// Why a name stands for no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    #[error("no model `{name}` in the price catalogue{}", did_you_mean(.nearest))]
    Unknown { name: String, nearest: Vec<String> },
    #[error("`{name}` is offered by several providers; write one of {}", listed(.choices))]
    Ambiguous { name: String, choices: Vec<String> },
    #[error("`{name}` retired on {date}{}", successor_note(.successor.as_deref()))]
    Retired { name: String, date: Date, successor: Option<String> },
}

impl ResolveError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown-model",
            Self::Ambiguous { .. } => "ambiguous-model",
            Self::Retired { .. } => "retired-model",
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { .. } => {
                "`bulkrate prices list` shows all models; for a server of your own set `--base-url` and `--price-in`, `--price-out`".to_owned()
            }
            Self::Ambiguous { choices, .. } => format!("set `--model {}`", choices.first().map_or("", String::as_str)),
            Self::Retired { successor, .. } => match successor {
                Some(successor) => format!("set `--model {successor}`"),
                None => "choose a model that `bulkrate prices list` shows without a past retirement date".to_owned(),
            },
        }
    }
}

impl Catalogue {
    /// Finds what a name stands for on a day: an alias of the catalogue or the user, `provider/model`, or a bare model
    /// that only one provider has. A dated snapshot of a known id (`gpt-6-luna-2026-10-01`) has the price of that id.
    pub fn resolve<'a>(&'a self, name: &'a str, day: Date) -> Result<Resolved<'a>, ResolveError> {
        let target = self
            .aliases()
            .iter()
            .find(|(alias, _)| alias == name)
            .map_or(name, |(_, target)| target.as_str());
        if let Some((provider, model)) = target.split_once('/')
            && let Some(row) = self.find(provider, model, day)
        {
            return Ok(resolved(row, model));
        }
        let mut providers: Vec<&str> = self.rows().iter().map(|row| row.provider.as_str()).collect();
        providers.sort_unstable();
        providers.dedup();
        let found: Vec<&ModelRow> =
            providers.iter().filter_map(|provider| self.find(provider, target, day)).collect();
        // A provider that lists the very id wins over one where only the part before a date is known.
        let exact: Vec<&ModelRow> = found.iter().copied().filter(|row| lists(row, target)).collect();
        match if exact.is_empty() { found.as_slice() } else { exact.as_slice() } {
            [] => Err(ResolveError::Unknown {
                name: name.to_owned(),
                nearest: self.nearest(target).into_iter().map(str::to_owned).collect(),
            }),
            [row] => Ok(resolved(row, target)),
            several => Err(ResolveError::Ambiguous {
                name: name.to_owned(),
                choices: several.iter().map(|row| row.qualified.clone()).collect(),
            }),
        }
    }

    /// As [`Self::resolve`], and an error where the listed retirement date has come.
    pub fn resolve_alive<'a>(&'a self, name: &'a str, day: Date) -> Result<Resolved<'a>, ResolveError> {
        let resolved = self.resolve(name, day)?;
        match resolved.row.retirement {
            Some(date) if date <= day => Err(ResolveError::Retired {
                name: resolved.row.qualified.clone(),
                date,
                successor: resolved
                    .row
                    .successor
                    .as_ref()
                    .map(|id| format!("{}/{id}", resolved.row.provider)),
            }),
            _ => Ok(resolved),
        }
    }

    /// Known names closest to a mistyped one, nearest first: `provider/model` and aliases, at most three.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Vec<&str> {
        let wanted = name.to_ascii_lowercase();
        let reach = (wanted.len() / 3).max(2);
        let rows = self.rows().iter().filter(|row| row.endpoint.is_none()).map(|row| {
            let shown = row.qualified.as_str();
            (shown, if wanted.contains('/') { shown } else { row.id.as_str() })
        });
        let aliases = self.aliases().iter().map(|(alias, _)| (alias.as_str(), alias.as_str()));
        let mut near: Vec<(usize, &str)> = rows
            .chain(aliases)
            .filter_map(|(shown, compared)| {
                Some((distance(&wanted, &compared.to_ascii_lowercase(), reach)?, shown))
            })
            .collect();
        // The table lists providers and models by weight: equal distances keep that order.
        near.sort_by_key(|(distance, _)| *distance);
        let mut names: Vec<&str> = Vec::with_capacity(NEAREST_MAX);
        for (_, shown) in near {
            if names.len() < NEAREST_MAX && !names.contains(&shown) {
                names.push(shown);
            }
        }
        names
    }
}

/// The name before a date suffix: `-YYYY-MM-DD`, `-YYYYMMDD` or `@YYYYMMDD`.
#[must_use]
pub fn without_date(name: &str) -> Option<&str> {
    let cut = |length: usize, marks: &[char]| {
        let at = name.len().checked_sub(length).filter(|&at| at > 1 && name.is_char_boundary(at - 1))?;
        let digits = name.get(at..)?;
        let is_date = digits.parse::<Date>().is_ok() && digits.starts_with("20");
        (is_date && name[..at].ends_with(marks)).then(|| &name[..at - 1])
    };
    cut(10, &['-']).or_else(|| cut(8, &['-', '@']))
}

fn lists(row: &ModelRow, name: &str) -> bool {
    row.id == name || row.aliases.iter().any(|alias| alias == name)
}

fn resolved<'a>(row: &'a ModelRow, asked: &'a str) -> Resolved<'a> {
    let dated = asked != row.id && without_date(asked).is_some();
    let model = if dated || is_placed(asked, &row.id) { asked } else { row.id.as_str() };
    let pinned = if dated { asked } else { row.snapshot().unwrap_or(&row.id) };
    Resolved { row, model, pinned, assumed: !lists(row, asked) }
}

/// Whether two names differ by what stands before a dot: a model, and where it runs (`us.amazon.nova-lite-v1:0`). One is no other's
/// alias there: not each can be called from everywhere.
fn is_placed(asked: &str, id: &str) -> bool {
    let within = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|place| place.ends_with('.'));
    within(asked, id) || within(id, asked)
}

/// Edit distance (insert, delete, replace, swap of neighbours), `None` beyond `reach`.
fn distance(left: &str, right: &str, reach: usize) -> Option<usize> {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len().abs_diff(right.len()) > reach {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut now = Vec::with_capacity(right.len() + 1);
        now.push(row);
        for column in 1..=right.len() {
            let differs = usize::from(left[row - 1] != right[column - 1]);
            let mut best = (last[column - 1] + differs).min(last[column] + 1).min(now[column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                best = best.min(before[column - 2] + 1);
            }
            now.push(best);
        }
        before = std::mem::replace(&mut last, now);
    }
    last.last().copied().filter(|&distance| distance <= reach)
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; did you mean {}?", listed(nearest)) }
}

fn successor_note(successor: Option<&str>) -> String {
    successor.map_or_else(String::new, |successor| format!("; `{successor}` takes its place"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn today() -> Date {
        jiff::civil::date(2026, 11, 20)
    }

    #[test]
    fn names_find_their_model() {
        let catalogue = Catalogue::bundled();
        for (name, row, model, pinned) in [
            ("fast", "openai/gpt-6-luna", "gpt-6-luna", "gpt-6-luna"),
            ("openai/gpt-6-luna", "openai/gpt-6-luna", "gpt-6-luna", "gpt-6-luna"),
            (
                "openai/gpt-6-luna-2026-10-01",
                "openai/gpt-6-luna",
                "gpt-6-luna-2026-10-01",
                "gpt-6-luna-2026-10-01",
            ),
            ("openai/gpt-4.1", "openai/gpt-4.1", "gpt-4.1", "gpt-4.1-2025-04-14"),
            ("openai/gpt-4o", "openai/gpt-4o", "gpt-4o", "gpt-4o"),
            (
                "openai/gpt-4o-2024-05-13",
                "openai/gpt-4o-2024-05-13",
                "gpt-4o-2024-05-13",
                "gpt-4o-2024-05-13",
            ),
            ("gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
            ("claude-sonnet-5-5", "", "", ""),
            ("gpt-5.2-pro", "openai/gpt-5.2-pro", "gpt-5.2-pro", "gpt-5.2-pro-2025-12-11"),
            ("openai/gpt-oss-20b", "groq/openai/gpt-oss-20b", "openai/gpt-oss-20b", "openai/gpt-oss-20b"),
            (
                "anthropic/claude-haiku-5-5-20261001",
                "anthropic/claude-haiku-5-5",
                "claude-haiku-5-5-20261001",
                "claude-haiku-5-5-20261001",
            ),
            ("openai/gpt-5.6", "openai/gpt-5.6-sol", "gpt-5.6-sol", "gpt-5.6-sol"),
            // Where a model runs goes out as it was asked for.
            (
                "bedrock/us.amazon.nova-lite-v1:0",
                "bedrock/amazon.nova-lite-v1:0",
                "us.amazon.nova-lite-v1:0",
                "amazon.nova-lite-v1:0",
            ),
            (
                "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0",
                "bedrock/global.anthropic.claude-haiku-4-5-20251001-v1:0",
                "anthropic.claude-haiku-4-5-20251001-v1:0",
                "global.anthropic.claude-haiku-4-5-20251001-v1:0",
            ),
        ] {
            match catalogue.resolve(name, today()) {
                Ok(found) => assert_eq!(
                    (found.row.qualified.as_str(), found.model, found.pinned),
                    (row, model, pinned),
                    "{name}"
                ),
                Err(error) => assert!(row.is_empty() && error.code() == "ambiguous-model", "{name}: {error}"),
            }
        }
    }

    #[test]
    fn a_price_assumed_for_a_snapshot_is_marked() {
        let catalogue = Catalogue::bundled();
        let assumed = |name| catalogue.resolve(name, today()).unwrap().assumed;
        assert!(assumed("openai/gpt-6-luna-2026-10-01"));
        assert!(!assumed("openai/gpt-4.1-2025-04-14") && !assumed("openai/gpt-4.1") && !assumed("fast"));
    }

    #[test]
    fn a_snapshot_of_an_unknown_id_is_unknown() {
        let catalogue = Catalogue::bundled();
        for name in [
            "openai/gpt-6-luna-mini",
            "openai/gpt-6-luna-2026-13-01",
            "openai/gpt-6-2026-10-01",
            "gpt-6-lun",
            "",
        ] {
            assert_eq!(catalogue.resolve(name, today()).unwrap_err().code(), "unknown-model", "{name}");
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        let catalogue = Catalogue::bundled();
        let text = |name: &str| catalogue.resolve_alive(name, today()).unwrap_err().to_string();
        assert_eq!(
            text("gpt-6-luna"),
            "`gpt-6-luna` is offered by several providers; write one of `azure/gpt-6-luna`, `openai/gpt-6-luna`"
        );
        assert_eq!(
            text("openai/gpt-4.1-nano"),
            "`openai/gpt-4.1-nano` retired on 2026-10-23; `openai/gpt-6-luna` takes its place"
        );
        assert!(text("openai/gpt-6-lnua").starts_with(
            "no model `openai/gpt-6-lnua` in the price catalogue; did you mean `openai/gpt-6-luna`"
        ));
        assert_eq!(
            text("zzzzzzzzzzzzzzzzzzzzzzzzzzzz"),
            "no model `zzzzzzzzzzzzzzzzzzzzzzzzzzzz` in the price catalogue"
        );
    }

    #[test]
    fn near_names_come_nearest_first() {
        let catalogue = Catalogue::bundled();
        assert_eq!(catalogue.nearest("GPT-6-Luna")[0], "openai/gpt-6-luna");
        assert_eq!(catalogue.nearest("fsat"), ["fast"]);
        assert_eq!(catalogue.nearest("anthropic/claude-haiku-55")[0], "anthropic/claude-haiku-5-5");
        for (left, right, reach, want) in [
            ("ab", "ba", 2, Some(1)),
            ("abc", "abc", 0, Some(0)),
            ("abc", "xyz", 2, None),
            ("", "ab", 2, Some(2)),
        ] {
            assert_eq!(distance(left, right, reach), want, "{left} {right}");
        }
    }
}
