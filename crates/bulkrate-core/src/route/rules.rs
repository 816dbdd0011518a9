//! Rules on columns and prompt size: the first rule whose condition holds names the model.
//!
//! Conditions are Jinja2 expressions over the record's columns and `tokens`, the input tokens of the prompt as the job's own
//! model would count them. Bounds of that number decide most conditions; [`Rules::decides`] says which it must be counted for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::{Environment, UndefinedBehavior};

use super::edges::edges;
use crate::prepare::Cell;
use crate::tokens::Bounds;

/// One rule as users write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For example `tokens < 200` or `language == "de"`.
    pub when: String,
    pub model: String,
}

/// A condition that does not compile or cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the condition `{when}` of rule {number} {why}")]
pub struct RuleError {
    pub number: usize,
    pub when: String,
    pub why: String,
}

/// Compiled rules.
#[derive(Clone)]
pub struct Rules {
    rules: Vec<Rule>,
    environment: Arc<Environment<'static>>,
    columns: Vec<String>,
    reads_tokens: bool,
    /// Where the answer may change as `tokens` grows; `None`: anywhere.
    edges: Option<Vec<u64>>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("rules", &self.rules).finish_non_exhaustive()
    }
}

const TOKENS: &str = "tokens";
const CHAIN: &str = "rules";

impl Rules {
    pub fn compile(rules: &[Rule]) -> Result<Self, RuleError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(100_000));
        let mut columns = Vec::new();
        let mut edges_of_all = Some(Vec::new());
        let mut reads_tokens = false;
        let mut chain = String::new();
        for (place, rule) in rules.iter().enumerate() {
            let bad = |error: minijinja::Error| RuleError {
                number: place + 1,
                when: rule.when.clone(),
                why: format!("is no valid expression: {}", error.detail().unwrap_or("syntax error")),
            };
            let expression = environment.compile_expression(&rule.when).map_err(bad)?;
            let keyword = if place == 0 { "if" } else { "elif" };
            chain.push_str(&format!("{{% {keyword} ({}) %}}{}", rule.when, place + 1));
            let variables = expression.undeclared_variables(false);
            reads_tokens |= variables.contains(TOKENS);
            columns.extend(variables.into_iter().filter(|name| name != TOKENS));
            edges_of_all = edges_of_all.zip(edges(&rule.when)).map(|(all, own)| [all, own].concat());
        }
        if !rules.is_empty() {
            chain.push_str("{% endif %}");
        }
        // Each condition compiled alone above, so the chain compiles too; it is compiled once, not once an item.
        environment.add_template_owned(CHAIN, chain).map_err(|error| RuleError {
            number: 1,
            when: String::new(),
            why: format!("does not compile: {error}"),
        })?;
        columns.sort();
        columns.dedup();
        Ok(Self {
            rules: rules.to_vec(),
            environment: Arc::new(environment),
            columns,
            reads_tokens,
            edges: edges_of_all,
        })
    }

    /// The columns that conditions read; `choose` takes their cells in this order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any condition reads `tokens`.
    #[must_use]
    pub fn reads_tokens(&self) -> bool {
        self.reads_tokens
    }

    /// Whether the answer is the same for every count within the bounds, so that any of them will do.
    #[must_use]
    pub fn decides(&self, bounds: Bounds) -> bool {
        let within = |edge: &u64| bounds.low < *edge && *edge <= bounds.high;
        !self.reads_tokens || self.edges.as_ref().is_some_and(|edges| !edges.iter().any(within))
    }

    /// The number and model of the first rule that holds; `None` if none does.
    pub fn choose(&self, cells: &[Cell<'_>], tokens: u64) -> Result<Option<(usize, &str)>, RuleError> {
        if self.rules.is_empty() {
            return Ok(None);
        }
        let named = self.columns.iter().zip(cells).map(|(name, cell)| (name.as_str(), typed(cell)));
        let context: BTreeMap<&str, minijinja::Value> =
            named.chain([(TOKENS, minijinja::Value::from(tokens))]).collect();
        let failed = |error: minijinja::Error| RuleError {
            number: 1,
            when: self.rules[0].when.clone(),
            why: format!("could not be evaluated: {error}"),
        };
        let number = self
            .environment
            .get_template(CHAIN)
            .and_then(|chain| chain.render(minijinja::Value::from(context)))
            .map_err(failed)?;
        Ok(number
            .parse::<usize>()
            .ok()
            .and_then(|number| Some((number, self.rules.get(number - 1)?.model.as_str()))))
    }
}

/// CSV cells that are numbers compare as numbers.
fn typed(cell: &Cell<'_>) -> minijinja::Value {
    let text = cell.as_text();
    match (cell, text.parse::<i64>(), text.parse::<f64>()) {
        (Cell::Text(_), Ok(integer), _) => minijinja::Value::from(integer),
        (Cell::Text(_), _, Ok(float)) if float.is_finite() => minijinja::Value::from(float),
        _ => cell.to_value(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_rule_that_holds_decides() {
        let rule = |when: &str, model: &str| Rule { when: when.into(), model: model.into() };
        let rules = Rules::compile(&[
            rule("tokens < 200 and tier != \"gold\"", "small"),
            rule("score >= 7", "large"),
        ])
        .unwrap();
        assert_eq!(rules.columns(), ["score", "tier"]);
        for (score, tier, tokens, want) in [
            ("1", "basic", 100, Some((1, "small"))),
            ("1", "gold", 100, None),
            ("7.5", "gold", 100, Some((2, "large"))),
            ("10", "basic", 300, Some((2, "large"))),
        ] {
            assert_eq!(
                rules.choose(&[Cell::text(score), Cell::text(tier)], tokens).unwrap(),
                want,
                "{score} {tier} {tokens}"
            );
        }
        assert!(rules.reads_tokens());
        assert!(Rules::compile(&[rule("tokens <", "x")]).is_err());
        assert!(Rules::compile(&[]).unwrap().choose(&[], 1).unwrap().is_none());
    }
    proptest! {
        /// What bounds decide is the answer at every count within them.
        #[test]
        fn bounds_decide_only_what_a_count_cannot_change(
            which in proptest::collection::vec(0_usize..7, 1..4), low in 0_u64..60, width in 0_u64..30,
        ) {
            let conditions = [
                "tokens < 20", "tokens > 40", "30 <= tokens and tokens <= 33", "not 25 < tokens", "tokens == 50",
                "tokens % 2 == 0", "(tokens >= 10 or false) and tokens != 12",
            ];
            let rules: Vec<Rule> =
                which.iter().map(|at| Rule { when: conditions[*at].into(), model: "m".into() }).collect();
            let rules = Rules::compile(&rules).unwrap();
            let bounds = Bounds { low, high: low + width };
            if rules.decides(bounds) {
                let answer = rules.choose(&[], low).unwrap();
                for tokens in low..=bounds.high {
                    prop_assert_eq!(rules.choose(&[], tokens).unwrap(), answer, "{} {:?}", tokens, &which);
                }
            } else {
                prop_assert!(width > 0 || which.contains(&5), "one count is always decided by edges");
            }
        }
    }
}
