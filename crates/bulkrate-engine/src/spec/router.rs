//! A learned router as a job knows it.

use std::sync::Arc;

use bulkrate_core::route::learned::{Router, Verdict};
use serde::{Deserialize, Serialize};

use super::Loaded;
use crate::EngineError;

/// The router itself is needed while the source is read and not kept: its version, and the scores of each item, tell what it decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterSpec {
    pub version: String,
    /// All models but the strongest, which is the job's own; the cheapest first. Of two it is the weak one.
    pub weak: OneOrMore<String>,
    /// In millionths: an item goes to the first of `weak` for which it scores below. Absent where every item goes to one model.
    pub threshold: Option<OneOrMore<i32>>,
    /// The model that every item goes to, and why. Of two it is `weak` or `strong`.
    pub pinned: Option<(String, String)>,
    /// Thousandths of the labelled rows that went to the strongest model.
    pub strong_permille: u32,
    /// The same of each of `weak`, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weak_permille: Vec<u32>,
    #[serde(skip)]
    pub router: Loaded<Router>,
}

/// One thing, or a list of several. One is written as it was before there could be several, so that a job is the same job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<Vec<T>> for OneOrMore<T> {
    fn from(mut list: Vec<T>) -> Self {
        if list.len() == 1 { Self::One(list.remove(0)) } else { Self::More(list) }
    }
}

impl<T> std::ops::Deref for OneOrMore<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(list) => list,
        }
    }
}

impl RouterSpec {
    /// A router that sends what it does not send to the job's own model to one of `weak`. `own`: the name of that model.
    #[must_use]
    pub fn new(router: Router, weak: Vec<String>, own: &str) -> Self {
        let (threshold, pinned) = match &router.verdict {
            Verdict::Route { thresholds } => {
                (Some(thresholds.iter().map(|score| score.0).collect::<Vec<_>>().into()), None)
            }
            Verdict::Pin { place, .. } => {
                let name = match weak.len() {
                    1 => router.name(*place),
                    _ => weak.get(*place).map_or(own, String::as_str).to_owned(),
                };
                (None, Some((name, router.why().unwrap_or_default())))
            }
        };
        let mut shares: Vec<u32> = router.shares().iter().map(|share| permille(*share)).collect();
        let strong_permille = shares.pop().unwrap_or_default();
        Self {
            version: router.version(),
            threshold,
            pinned,
            strong_permille,
            weak_permille: if weak.len() > 1 { shares } else { Vec::new() },
            weak: weak.into(),
            router: Loaded(Some(Arc::new(router))),
        }
    }

    /// Whether it chooses between two models, which are then called weak and strong.
    #[must_use]
    pub fn is_of_two(&self) -> bool {
        self.weak.len() == 1
    }

    /// The model that an item of these scores goes to: `weak` or `strong`, or by name. `own`: the job's own model.
    #[must_use]
    pub fn goes_to<'s>(&'s self, scores: &[i64], own: &'s str) -> &'s str {
        if let Some((name, _)) = &self.pinned {
            return name;
        }
        let thresholds = self.threshold.as_deref().unwrap_or_default();
        let below = |(score, threshold): (&i64, &i32)| *score < i64::from(*threshold);
        let place = scores.iter().zip(thresholds).position(below);
        match place {
            Some(_) if self.is_of_two() => "weak",
            None if self.is_of_two() => "strong",
            place => place.and_then(|place| self.weak.get(place)).map_or(own, String::as_str),
        }
    }

    /// Thousandths of the labelled rows that went to a model: one of `weak`, by its place, or the job's own.
    pub(crate) fn permille_at(&self, weak: Option<usize>) -> u32 {
        match weak {
            None => self.strong_permille,
            Some(_) if self.is_of_two() => 1_000_u32.saturating_sub(self.strong_permille),
            Some(place) => self.weak_permille.get(place).copied().unwrap_or_default(),
        }
    }

    /// What a plan says of a router that is off.
    pub(crate) fn off(&self) -> Option<String> {
        let (name, why) = self.pinned.as_ref()?;
        let to = if self.is_of_two() { format!("the {name} model") } else { format!("`{name}`") };
        Some(format!("routing is off, every row goes to {to}: {why}"))
    }

    /// Whether a router with models of these `names` knows one of its `deployments` at another place. Names that are none of them, such as those of columns, say nothing.
    pub(crate) fn other_order(names: &[String], deployments: &[&str]) -> bool {
        let is = |pinned: &str, name: &str| {
            pinned == name || pinned.split_once('/').is_some_and(|(_, model)| model == name)
        };
        let meant = |name: &String| {
            let mut places = (0..deployments.len()).filter(|place| is(deployments[*place], name));
            places.next().filter(|_| places.next().is_none())
        };
        names.iter().enumerate().any(|(place, name)| meant(name).is_some_and(|other| other != place))
    }

    /// `name` is one of its models twice.
    pub(crate) fn same_model(&self, name: &str) -> EngineError {
        let (what, why) = if self.is_of_two() {
            (
                "`--model-weak` and `--model-strong` are the same model".to_owned(),
                "a router chooses between two",
            )
        } else {
            (format!("`--models` names `{name}` twice"), "a router chooses among different models")
        };
        EngineError::BadSpec { code: "option-invalid", what, why: why.to_owned() }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1,000")]
fn permille(share: f64) -> u32 {
    (share * 1_000.0).round().clamp(0.0, 1_000.0) as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A job of an earlier version is the same job: its id hashes this.
    #[test]
    fn a_router_between_two_models_is_written_as_before() {
        let written = r#"{"version":"55a0f6c13329","weak":"openai/gpt-6-luna","threshold":95853,"pinned":null,"strong_permille":639}"#;
        let read: RouterSpec = serde_json::from_str(written).unwrap();
        assert_eq!((read.weak.len(), read.threshold.as_deref()), (1, Some(&[95_853][..])));
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
        assert_eq!((read.goes_to(&[95_852], "sol"), read.goes_to(&[95_853], "sol")), ("weak", "strong"));
    }

    #[test]
    fn of_several_models_the_first_that_may_have_it_answers() {
        let written = r#"{"version":"v","weak":["luna","terra"],"threshold":[10,20],"pinned":null,"strong_permille":200,"weak_permille":[500,300]}"#;
        let read: RouterSpec = serde_json::from_str(written).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
        for (scores, to) in [([9, 99], "luna"), ([10, 19], "terra"), ([10, 20], "sol")] {
            assert_eq!(read.goes_to(&scores, "sol"), to);
        }
        let off = RouterSpec { pinned: Some(("terra".to_owned(), "so".to_owned())), ..read };
        assert_eq!(off.goes_to(&[0, 0], "sol"), "terra");
        assert_eq!(off.off().unwrap(), "routing is off, every row goes to `terra`: so");
    }

    #[test]
    fn models_in_another_order_than_the_routers_are_told() {
        let names = |names: [&str; 3]| names.map(str::to_owned);
        let jobs = ["openai/luna", "openai/terra", "work/sol"];
        for (router, other) in [
            (["openai/luna", "openai/terra", "work/sol"], false),
            (["luna", "terra", "sol"], false),
            (["terra", "luna", "sol"], true),
            (["openai/luna", "work/sol", "openai/terra"], true),
            (["openai/terra", "openai/nova", "work/sol"], true),
            (["luna_ok", "terra_ok", "sol_ok"], false),
            (["openai/luna", "terra_ok", "work/nova"], false),
        ] {
            assert_eq!(RouterSpec::other_order(&names(router), &jobs), other, "{router:?}");
        }
        // A name that two of them have says nothing.
        assert!(!RouterSpec::other_order(&names(["x", "luna", "y"]), &["a/luna", "b/luna", "c/sol"]));
    }
}
