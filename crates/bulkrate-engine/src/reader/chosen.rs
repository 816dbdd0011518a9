//! Who chose the model of an item, and by what.

use bulkrate_core::request::RouteBy;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::prepare::{Checkpoint, Shape};
use crate::spec::{JobSpec, RouterSpec};

/// `by` is `rule`, `router`, `plan` (of a pilot), `line` or `model` (the job's own), and null where a job of an older version does not
/// say it; `to` is the model as it was named there.
pub(super) fn chosen(spec: &JobSpec, checkpoint: &Checkpoint, sealed: &Value) -> Value {
    let request = &spec.request;
    let own = request.model.as_deref();
    let score = &sealed["route_score"];
    if let (Some(router), false) = (&request.router, score.is_null()) {
        return routed(router, score, own.unwrap_or_default());
    }
    match Option::deserialize(&sealed["route_by"]).ok().flatten() {
        Some(RouteBy::Rule(number)) => {
            let rule = number.checked_sub(1).and_then(|place| request.rules.get(place));
            return json!({
                "by": "rule", "rule": number, "when": rule.map(|rule| &rule.when), "to": rule.map(|rule| &rule.model),
            });
        }
        Some(RouteBy::Line) => return line(sealed),
        None => {}
    }
    let (Some(own), false) = (own, checkpoint.shape == Shape::OpenAi) else { return line(sealed) };
    let had_choice = checkpoint.shape != Shape::Table || !request.rules.is_empty();
    if had_choice && !checkpoint.chosen_told {
        return json!({ "by": null, "to": sealed["model"] });
    }
    let by = if spec.run.instead_of.is_some() { "plan" } else { "model" };
    json!({ "by": by, "to": own })
}

fn line(sealed: &Value) -> Value {
    json!({ "by": "line", "to": sealed["model"] })
}

fn routed(router: &RouterSpec, score: &Value, own: &str) -> Value {
    let several = score.as_array().map_or(std::slice::from_ref(score), Vec::as_slice);
    let scores: Vec<i64> = several.iter().filter_map(Value::as_i64).collect();
    json!({
        "by": "router", "to": router.goes_to(&scores, own), "score_millionths": score,
        "threshold_millionths": router.threshold, "router": router.version,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::deliver::fixture::{Fixture, spec};
    use crate::deliver::{checkpoint_of, spec_of};
    use crate::spec::RuleSpec;

    /// What is not in the line is told only where it follows from the job; older versions wrote neither rules nor lines down.
    #[test]
    fn what_is_not_written_is_not_guessed() {
        let rule = |when: &str, model: &str| RuleSpec { when: when.to_owned(), model: model.to_owned() };
        let rules = [rule("a", "luna"), rule("b", "terra")];
        let (by_rule, by_line, bare) = (
            json!({"model": "p/m", "route_by": {"rule": 2}}),
            json!({"model": "p/m", "route_by": "line"}),
            json!({"model": "p/m"}),
        );
        let ruled = json!({"by": "rule", "rule": 2, "when": "b", "to": "terra"});
        let named = json!({"by": "line", "to": "p/m"});
        let own = json!({"by": "model", "to": "sol"});
        let untold = json!({"by": null, "to": "p/m"});
        for (shape, model, rules, told, sealed, want) in [
            (Shape::Table, Some("sol"), &rules[..], true, &by_rule, &ruled),
            (Shape::Table, Some("sol"), &rules[..], true, &bare, &own),
            (Shape::Table, Some("sol"), &rules[..], false, &bare, &untold),
            (Shape::Table, Some("sol"), &[], false, &bare, &own),
            (Shape::Unified, Some("sol"), &[], true, &by_line, &named),
            (Shape::Unified, Some("sol"), &[], true, &bare, &own),
            (Shape::Unified, Some("sol"), &[], false, &bare, &untold),
            (Shape::Unified, None, &[], false, &bare, &named),
            (Shape::OpenAi, Some("sol"), &[], false, &bare, &named),
        ] {
            let mut spec = spec();
            spec.request.model = model.map(str::to_owned);
            spec.request.rules = rules.to_vec();
            let job = Fixture::new("", spec, "in.csv", "id\na\n", shape).job();
            let mut checkpoint = checkpoint_of(&job).unwrap();
            checkpoint.chosen_told = told;
            let found = chosen(&spec_of(&job).unwrap(), &checkpoint, sealed);
            assert_eq!(&found, want, "{shape:?} {model:?} {told} {sealed}");
        }
    }

    /// A checkpoint of an older version says that what chose is not told.
    #[test]
    fn an_older_checkpoint_can_be_read() {
        let job = Fixture::new("", spec(), "in.csv", "id\na\n", Shape::Table).job();
        let mut written: Value = serde_json::from_str(job.checkpoint.as_deref().unwrap()).unwrap();
        written.as_object_mut().unwrap().remove("chosen_told");
        assert!(!serde_json::from_value::<Checkpoint>(written).unwrap().chosen_told);
        assert!(checkpoint_of(&job).unwrap().chosen_told);
    }
}
