//! One fault as written on a command line: `NAME[:PLACE][:SHARE][=VALUE][@N[-M]]`.

use super::table::Row;
use super::{Hit, PLACES, Place, TABLE};
use crate::config::SimError;
use std::str::FromStr;

/// One fault as given on the command line.
#[derive(Debug, Clone)]
pub struct FaultRule {
    pub(super) row: &'static Row,
    pub(super) place: Option<Place>,
    /// The share of matching calls, lines or batches that is hit.
    pub(super) share: Option<f64>,
    /// A number in the fault's unit.
    pub(super) amount: Option<f64>,
    pub(super) word: Option<&'static str>,
    /// First and last of those that are hit, from 1.
    pub(super) nth: Option<(u64, u64)>,
}

impl FromStr for FaultRule {
    type Err = SimError;

    fn from_str(rule: &str) -> Result<Self, SimError> {
        read(rule).map_err(|why| SimError::Fault { rule: rule.to_owned(), why })
    }
}

fn read(rule: &str) -> Result<FaultRule, String> {
    let (rest, nth) = match rule.split_once('@') {
        Some((rest, nth)) => {
            (rest, Some(span(nth).ok_or("needs a whole number from 1, or two as `3-5`, after `@`")?))
        }
        None => (rule, None),
    };
    let (rest, value) = match rest.split_once('=') {
        Some((rest, value)) => (rest, Some(value)),
        None => (rest, None),
    };
    let mut parts = rest.split(':');
    let row = named(parts.next().unwrap_or_default(), value)?;
    let mut made = FaultRule { row, place: None, share: None, amount: None, word: None, nth };
    for part in parts {
        match (PLACES.iter().find(|(known, _)| *known == part), share(part)) {
            (Some((_, place)), _) => made.place = Some(*place),
            (None, Some(share)) => made.share = Some(share),
            (None, None) => {
                return Err(format!(
                    "needs a share from 0 to 1 or a place after `:`, of {}",
                    PLACES.map(|(name, _)| name).join(", ")
                ));
            }
        }
    }
    match value {
        Some(value) if value.eq_ignore_ascii_case(row.name) => {}
        Some(value) => made.set(value)?,
        None => {}
    }
    Ok(made)
}

impl FaultRule {
    pub(super) fn hit(&self) -> Hit {
        Hit { amount: self.amount, word: self.word, words: self.row.words }
    }

    fn set(&mut self, value: &str) -> Result<(), String> {
        let row = self.row;
        if let Some(word) = row.words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
            self.word = Some(word);
            return Ok(());
        }
        if !row.unit.is_empty() {
            let amount = value.parse::<f64>().ok().filter(|amount| (0.0..=1e9).contains(amount));
            self.amount = Some(amount.ok_or_else(|| format!("needs {} after `=`", row.unit))?);
            return Ok(());
        }
        let words =
            if row.words.is_empty() { String::new() } else { format!(" or one of {}", row.words.join(", ")) };
        self.share = Some(share(value).ok_or_else(|| format!("needs a share from 0 to 1{words} after `=`"))?);
        Ok(())
    }
}

fn share(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share))
}

fn span(text: &str) -> Option<(u64, u64)> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => (text.parse().ok()?, text.parse().ok()?),
    };
    (first > 0 && first <= last).then_some((first, last))
}

/// The fault of a name, or of a code: its first form, or the one that `value` names (`F59=length`).
fn named(name: &str, value: Option<&str>) -> Result<&'static Row, String> {
    if let Some(row) = TABLE.iter().find(|row| row.name == name) {
        return Ok(row);
    }
    let forms = || TABLE.iter().filter(|row| !row.code.is_empty() && row.code.eq_ignore_ascii_case(name));
    let form = forms().find(|row| value.is_some_and(|value| value.eq_ignore_ascii_case(row.name)));
    form.or_else(|| forms().next()).ok_or_else(|| {
        let known: Vec<String> =
            TABLE
                .iter()
                .map(|row| {
                    if row.code.is_empty() {
                        row.name.to_owned()
                    } else {
                        format!("{} {}", row.code, row.name)
                    }
                })
                .collect();
        format!("is none of {}", known.join(", "))
    })
}
