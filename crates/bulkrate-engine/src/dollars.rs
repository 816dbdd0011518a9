//! Reports, plans and rows as JSON for programs and webhooks. Every amount stands twice: `spent_usd` as a decimal number,
//! `spent_usd_nanos` exactly. What nobody knows is null, not zero.

use bulkrate_core::money::UsdNanos;
use serde::Serialize;
use serde_json::{Map, Value};

/// Keys of the engine's types that hold nano-dollars, alone or by name.
const MONEY: [&str; 16] = [
    "spent",
    "excess",
    "reserved",
    "in_doubt",
    "naive",
    "budget",
    "cap",
    "expected",
    "p95",
    "worst",
    "cost",
    "saved",
    "saved_by",
    "beside",
    "in_flight_bound",
    "price_at_most",
];

/// Those of them that say nothing in a plan whose models have no known price.
const PLANNED: [&str; 4] = ["naive", "expected", "p95", "worst"];
/// Those of them that are not zero, but unknown, where the models that answered have no known price.
const PAID: [&str; 3] = ["spent", "cost", "naive"];

/// Any of the engine's types as JSON with its amounts in dollars.
#[must_use]
pub fn document(of: &impl Serialize) -> Value {
    in_dollars(serde_json::to_value(of).unwrap_or(Value::Null), false)
}

/// An amount as a decimal number.
#[must_use]
pub fn usd(amount: UsdNanos) -> Value {
    amount
        .to_string()
        .parse::<f64>()
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map_or(Value::Null, Value::Number)
}

/// `unpriced`: the document around `value` says that no price is known.
fn in_dollars(value: Value, unpriced: bool) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(|value| in_dollars(value, unpriced)).collect(),
        Value::Object(fields) => {
            let planned = unpriced || fields.get("priced") == Some(&Value::Bool(false));
            let paid = fields.get("unpriced").is_some_and(is_some_unpriced);
            let mut out = Map::new();
            for (key, value) in fields {
                if MONEY.contains(&key.as_str()) && is_money(&value) {
                    let unknown = planned && PLANNED.contains(&key.as_str())
                        || paid && PAID.contains(&key.as_str()) && value == 0;
                    let value = if unknown { Value::Null } else { value };
                    out.insert(format!("{key}_usd"), dollars(&value));
                    out.insert(format!("{key}_usd_nanos"), value);
                } else {
                    out.insert(key, in_dollars(value, planned));
                }
            }
            Value::Object(out)
        }
        other => other,
    }
}

/// A count of answers, or whether there are any.
fn is_some_unpriced(value: &Value) -> bool {
    *value == Value::Bool(true) || value.as_u64().is_some_and(|answers| answers > 0)
}

fn is_money(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.is_i64(),
        Value::Object(by_name) => by_name.values().all(Value::is_i64),
        _ => false,
    }
}

fn dollars(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_i64().map_or(Value::Null, |nanos| usd(UsdNanos(nanos))),
        Value::Object(by_name) => {
            by_name.iter().map(|(name, amount)| (name.clone(), dollars(amount))).collect()
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_stand_twice() {
        let value = json!({ "spent": 75_000, "saved": { "dedup": 2_500_000_000_i64 }, "budget": null, "items": 3, "lanes": [{ "p95": 1 }] });
        assert_eq!(
            in_dollars(value, false),
            json!({
                "spent_usd": 0.000_075, "spent_usd_nanos": 75_000,
                "saved_usd": { "dedup": 2.5 }, "saved_usd_nanos": { "dedup": 2_500_000_000_i64 },
                "budget_usd": null, "budget_usd_nanos": null,
                "items": 3,
                "lanes": [{ "p95_usd": 1e-9, "p95_usd_nanos": 1 }],
            })
        );
    }

    #[test]
    fn what_nobody_knows_is_null() {
        let plan =
            json!({ "priced": false, "naive": 0, "spent": 0, "lanes": [{ "expected": 0, "worst": 0 }] });
        let told = in_dollars(plan, false);
        assert_eq!((&told["naive_usd"], &told["lanes"][0]["worst_usd_nanos"]), (&Value::Null, &Value::Null));
        assert_eq!(told["spent_usd_nanos"], 0, "nothing was spent yet, and that is known: {told}");
        for (unpriced, spent, want) in [
            (json!(3), 0, Value::Null),
            (json!(true), 0, Value::Null),
            (json!(3), 7, json!(7)), // what is known of it
            (json!(0), 0, json!(0)),
            (json!(false), 0, json!(0)),
        ] {
            let told = in_dollars(json!({ "unpriced": unpriced, "spent": spent }), false);
            assert_eq!(told["spent_usd_nanos"], want, "{told}");
        }
    }
}
