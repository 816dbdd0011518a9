//! Documents for programs. Every amount stands twice: `spent_usd` as a decimal number, `spent_usd_nanos` exactly.

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Report;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Keys of the engine's types that hold nano-dollars, alone or by name.
const MONEY: [&str; 14] = [
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
    "in_flight_bound",
    "price_at_most",
];

/// Any of the engine's types as JSON with its amounts in dollars.
#[must_use]
pub fn document(of: &impl Serialize) -> Value {
    in_dollars(serde_json::to_value(of).unwrap_or(Value::Null))
}

/// The document that `run --json` ends with.
#[must_use]
pub fn report(report: &Report) -> Value {
    let mut value = document(report);
    if let Value::Object(fields) = &mut value {
        fields.insert("exit_code".to_owned(), json!(report.exit_code()));
    }
    value
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

fn in_dollars(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(in_dollars).collect(),
        Value::Object(fields) => {
            let mut out = Map::new();
            for (key, value) in fields {
                if MONEY.contains(&key.as_str()) && is_money(&value) {
                    out.insert(format!("{key}_usd"), dollars(&value));
                    out.insert(format!("{key}_usd_nanos"), value);
                } else {
                    out.insert(key, in_dollars(value));
                }
            }
            Value::Object(out)
        }
        other => other,
    }
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

    #[test]
    fn amounts_stand_twice() {
        let value = json!({ "spent": 75_000, "saved": { "dedup": 2_500_000_000_i64 }, "budget": null, "items": 3, "lanes": [{ "p95": 1 }] });
        assert_eq!(
            in_dollars(value),
            json!({
                "spent_usd": 0.000_075, "spent_usd_nanos": 75_000,
                "saved_usd": { "dedup": 2.5 }, "saved_usd_nanos": { "dedup": 2_500_000_000_i64 },
                "budget_usd": null, "budget_usd_nanos": null,
                "items": 3,
                "lanes": [{ "p95_usd": 1e-9, "p95_usd_nanos": 1 }],
            })
        );
    }
}
