//! What a filter answers and how sure that is, as text and for programs.

use std::fmt::Write as _;

use bulkrate_core::filter::{Filter, LearnedFacts, Measured, When};
use serde_json::{Value, json};

use super::table::Table;
use super::words::{count, counted, percent};

/// A share of 0 to 1.
fn share(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

#[must_use]
pub fn text(name: &str, filter: &Filter) -> String {
    let facts = &filter.facts;
    let error = percent(u64::from(facts.options.error_permille), 1_000);
    let mut out = format!(
        "{name}: filter {} of {} on column `{}`; of what it answers at most {error} may be wrong\n",
        filter.version(),
        counted(facts.labels, "labelled row"),
        facts.column
    );
    if !facts.rules.is_empty() {
        let mut table = Table::new(2, &["rule", "if", "answer", ">hits", ">wrong", ">at most", ""]);
        for (number, rule) in (1_u64..).zip(&facts.rules) {
            table.row([
                count(number),
                when(rule),
                rule.rule.answer.clone(),
                count(rule.hits),
                count(rule.wrong),
                share(rule.wrong_high),
                if rule.active { "answers" } else { "off: not proved" }.to_owned(),
            ]);
        }
        let _ = write!(out, "\n{}", table.text());
    }
    out.push('\n');
    if let Some(embedded) = &facts.embedded {
        let by = format!("by the embeddings in column `{}`", embedded.column);
        out.push_str(&learned(&by, embedded.learned));
    }
    out.push_str(&learned("learned", facts.learned));
    out
}

/// How far one classifier goes.
fn learned(by: &str, found: Option<LearnedFacts>) -> String {
    match found {
        Some(found) => format!(
            "  {by}: answers {} of the {} that prove ({}), {} of them wrongly, {} at most; {} taught\n",
            count(found.answered),
            counted(found.proved, "row"),
            percent(found.answered, found.proved),
            count(found.wrong),
            share(found.wrong_high),
            counted(found.taught, "row")
        ),
        None => format!(
            "  {by}: nothing is proved, so no row is answered by what was learnt; more labels may prove more\n"
        ),
    }
}

fn when(rule: &Measured) -> String {
    match &rule.rule.when {
        When::Pattern(pattern) => pattern.clone(),
        When::Words(words) => words.join(" | "),
    }
}

/// The same for programs; rates from 0 to 1.
#[must_use]
pub fn document(filter: &Filter) -> Value {
    let facts = &filter.facts;
    let answers: Vec<&str> = filter.answers().into_iter().collect();
    let embedded = facts.embedded.as_ref().map(|of| json!({ "column": of.column, "learned": of.learned }));
    json!({
        "embedded": embedded, "version": filter.version(), "column": facts.column, "labels": facts.labels, "answers": answers,
        "error": f64::from(facts.options.error_permille) / 1_000.0, "seed": facts.options.seed,
        "rules": facts.rules, "learned": facts.learned,
    })
}
