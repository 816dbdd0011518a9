//! By what an answer of a cheap model is accepted. That it is valid (of the choices, of the schema, not empty) is asked of
//! every answer before.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::sureness::{Measure, Sureness};
use crate::collect::Checked;
use crate::request::canonical_value;

/// What a valid answer must show to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// Nothing more.
    Valid,
    /// A field of the answer in which the model says how sure it is, from 0 to 1: at least so many thousandths.
    Confidence { field: String, least_permille: u32 },
    /// The log-probabilities of its tokens: at least so many thousandths by this measure.
    Sureness { measure: Measure, least_permille: u32 },
    /// An answer of an earlier step that says the same, in these fields or, without any, altogether.
    Agreement { fields: Vec<String> },
    /// A model that is shown the request and the answer says yes.
    Judge { model: String },
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no rule; write `valid`, `agree`, `agree:FIELD,FIELD`, `judge:MODEL`, `logprob>=0.9`, `margin>=0.5` or `FIELD>=0.8`"
)]
pub struct BadAccept(pub String);

impl FromStr for Accept {
    type Err = BadAccept;

    fn from_str(text: &str) -> Result<Self, BadAccept> {
        let bad = || BadAccept(text.to_owned());
        let text = text.trim();
        if let Some((field, least)) = text.split_once(">=") {
            let field = field.trim();
            let least_permille = permille(least.trim()).filter(|_| !field.is_empty()).ok_or_else(bad)?;
            if let Some(measure) = Measure::ALL.into_iter().find(|measure| measure.name() == field) {
                return Ok(Self::Sureness { measure, least_permille });
            }
            return Ok(Self::Confidence { field: field.to_owned(), least_permille });
        }
        match text.split_once(':') {
            None if text == "valid" => Ok(Self::Valid),
            None if text == "agree" => Ok(Self::Agreement { fields: Vec::new() }),
            Some(("agree", fields)) => {
                let fields: Vec<String> = fields.split(',').map(|field| field.trim().to_owned()).collect();
                if fields.iter().any(String::is_empty) { Err(bad()) } else { Ok(Self::Agreement { fields }) }
            }
            Some(("judge", model)) if !model.trim().is_empty() => {
                Ok(Self::Judge { model: model.trim().to_owned() })
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid"),
            Self::Confidence { field, least_permille } => write!(f, "{field}>={}", share(*least_permille)),
            Self::Sureness { measure, least_permille } => write!(f, "{measure}>={}", share(*least_permille)),
            Self::Agreement { fields } if fields.is_empty() => f.write_str("agree"),
            Self::Agreement { fields } => write!(f, "agree:{}", fields.join(",")),
            Self::Judge { model } => write!(f, "judge:{model}"),
        }
    }
}

impl Accept {
    /// The fields of an answer that the rule reads.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        match self {
            Self::Valid | Self::Sureness { .. } | Self::Judge { .. } => &[],
            Self::Confidence { field, .. } => std::slice::from_ref(field),
            Self::Agreement { fields } => fields,
        }
    }

    /// What of the tokens' log-probabilities the rule reads.
    #[must_use]
    pub fn measure(&self) -> Option<Measure> {
        if let Self::Sureness { measure, .. } = self { Some(*measure) } else { None }
    }
}

/// `0.8`, at most three decimals, from 0 to 1.
fn permille(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !digits(decimals) {
        return None;
    }
    format!("{whole}{decimals:0<3}").parse().ok().filter(|permille| *permille <= 1_000)
}

fn share(permille: u32) -> String {
    let text = format!("{}.{:03}", permille / 1_000, permille % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What an answer says, short enough to be kept of every open item: equal where the answers agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opinion(pub [u8; 16]);

impl Opinion {
    /// Texts agree whatever their white space; JSON agrees in its fields, whatever their order.
    #[must_use]
    pub fn of(checked: &Checked<'_>, fields: &[String]) -> Self {
        let said = match checked {
            Checked::Choice(text) | Checked::VectorNumbers(text) => (*text).to_owned(),
            Checked::Text(text) | Checked::VectorBase64(text) => folded(text),
            Checked::Json(json) => read(json, fields).unwrap_or_else(|| folded(json)),
        };
        let digest: [u8; 32] = Sha256::digest(said.as_bytes()).into();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Self(short)
    }
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for Opinion {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes()))
    }
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The canonical form of an answer, or of these fields of it.
fn read(json: &str, fields: &[String]) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(json).ok()?;
    let mut out = Vec::new();
    if fields.is_empty() {
        canonical_value(raw, &mut out);
        return String::from_utf8(out).ok();
    }
    let object: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    for field in fields {
        // One that is missing agrees with one that is missing.
        match object.get(field) {
            Some(value) => canonical_value(value, &mut out),
            None => out.extend_from_slice(b"-"),
        }
        out.push(b'\n');
    }
    String::from_utf8(out).ok()
}

/// Judges a valid answer of a step that is not the last. `sure`: what its tokens say, where they came with it; `earlier`: what the
/// steps before said. The error says why it is not accepted.
pub fn judge(
    accept: &Accept,
    checked: &Checked<'_>,
    sure: Option<Sureness>,
    earlier: &[Opinion],
) -> Result<(), String> {
    match accept {
        Accept::Valid => Ok(()),
        Accept::Sureness { measure, least_permille } => probable(sure, *measure, *least_permille),
        Accept::Confidence { field, least_permille } => confident(checked, field, *least_permille),
        Accept::Agreement { fields } if earlier.contains(&Opinion::of(checked, fields)) => Ok(()),
        Accept::Agreement { .. } if earlier.is_empty() => {
            Err("no other model has said the same yet".to_owned())
        }
        Accept::Agreement { .. } => Err("the models do not agree".to_owned()),
        Accept::Judge { model } => Err(format!("`{model}` has not judged it yet")),
    }
}

fn confident(checked: &Checked<'_>, field: &str, least_permille: u32) -> Result<(), String> {
    let answer: Option<Value> = match checked {
        Checked::Json(json) => serde_json::from_str(json).ok(),
        _ => None,
    };
    let said = answer.as_ref().and_then(|answer| answer.get(field));
    let Some(said) = said.and_then(Value::as_f64).filter(|sure| (0.0..=1.0).contains(sure)) else {
        let found = said.map_or_else(|| "is missing".to_owned(), |said| format!("is {said}"));
        return Err(format!("its `{field}` {found}, and is no number from 0 to 1"));
    };
    if said * 1_000.0 >= f64::from(least_permille) {
        Ok(())
    } else {
        Err(format!("its `{field}` is {said}, below {}", share(least_permille)))
    }
}

fn probable(sure: Option<Sureness>, measure: Measure, least_permille: u32) -> Result<(), String> {
    let Some(sure) = sure else {
        return Err(
            "no log-probabilities came with it that could be read, although they were asked for".to_owned()
        );
    };
    let Some(found) = sure.by(measure) else {
        return Err(format!("its log-probabilities do not show its `{measure}`"));
    };
    if i64::from(found) >= i64::from(least_permille) {
        Ok(())
    } else {
        Err(format!("its `{measure}` is {}, below {}", f64::from(found) / 1_000.0, share(least_permille)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        for (text, want) in [
            ("valid", Some(Accept::Valid)),
            ("agree", Some(Accept::Agreement { fields: vec![] })),
            ("agree:label, topic", Some(Accept::Agreement { fields: vec!["label".into(), "topic".into()] })),
            ("sure>=0.8", Some(Accept::Confidence { field: "sure".into(), least_permille: 800 })),
            (" sure >= 1 ", Some(Accept::Confidence { field: "sure".into(), least_permille: 1_000 })),
            ("sure>=0.875", Some(Accept::Confidence { field: "sure".into(), least_permille: 875 })),
            ("judge:openai/gpt-6.1-terra", Some(Accept::Judge { model: "openai/gpt-6.1-terra".into() })),
            ("logprob>=0.9", Some(Accept::Sureness { measure: Measure::Logprob, least_permille: 900 })),
            ("margin >= 0.5", Some(Accept::Sureness { measure: Measure::Margin, least_permille: 500 })),
            ("margin>=-0.5", None),
            ("judge:", None),
            ("judge", None),
            ("sure>=1.2", None),
            ("sure>=0.8765", None),
            ("sure>=-0.5", None),
            (">=0.8", None),
            ("agree:", None),
            ("maybe", None),
            ("", None),
        ] {
            let got = text.parse::<Accept>();
            assert_eq!(got.as_ref().ok(), want.as_ref(), "{text}");
            if let Ok(rule) = got {
                assert_eq!(rule.to_string().parse::<Accept>().unwrap(), rule, "{text}");
            }
        }
    }

    #[test]
    fn confidence_is_a_number_of_the_answer() {
        let rule: Accept = "sure>=0.8".parse().unwrap();
        let json = |text: &'static str| Checked::Json(text.into());
        for (answer, why) in [
            (json(r#"{"label":"a","sure":0.8}"#), None),
            (json(r#"{"sure":1}"#), None),
            (json(r#"{"sure":0.79}"#), Some("is 0.79, below 0.8")),
            (json(r#"{"label":"a"}"#), Some("is missing")),
            (json(r#"{"sure":"0.9"}"#), Some("no number from 0 to 1")),
            (json(r#"{"sure":90}"#), Some("no number from 0 to 1")),
            (json("[0.9]"), Some("is missing")),
            (Checked::Choice("a"), Some("is missing")),
        ] {
            match (judge(&rule, &answer, None, &[]), why) {
                (Ok(()), None) => {}
                (Err(got), Some(want)) => assert!(got.contains(want), "{answer:?}: {got}"),
                (got, _) => assert!(got.is_ok() == why.is_none(), "{answer:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_known_to_be_probable_is_not_accepted() {
        let told = |logprob, margin| Some(Sureness { logprob, margin });
        for (rule, sure, why) in [
            ("logprob>=0.9", told(900, None), None),
            ("logprob>=0.9", told(899, Some(1_000)), Some("its `logprob` is 0.899, below 0.9")),
            ("logprob>=0.9", None, Some("no log-probabilities came")),
            ("margin>=0.5", told(0, Some(500)), None),
            ("margin>=0", told(500, Some(-200)), Some("its `margin` is -0.2, below 0")),
            ("margin>=0.5", told(1_000, None), Some("do not show its `margin`")),
        ] {
            let got = judge(&rule.parse().unwrap(), &Checked::Choice("a"), sure, &[]);
            match why {
                None => assert_eq!(got, Ok(()), "{rule} {sure:?}"),
                Some(why) => {
                    assert!(got.as_ref().is_err_and(|got| got.contains(why)), "{rule} {sure:?}: {got:?}");
                }
            }
        }
    }

    #[test]
    fn answers_agree_in_what_they_say() {
        let whole: Accept = "agree".parse().unwrap();
        let label: Accept = "agree:label".parse().unwrap();
        let json = |text: &'static str| Checked::Json(text.into());
        let agrees = |rule: &Accept, one: &Checked<'_>, other: &Checked<'_>| {
            judge(rule, other, None, &[Opinion::of(one, rule.fields())]).is_ok()
        };
        for (rule, one, other, want) in [
            (&whole, Checked::Choice("a"), Checked::Choice("a"), true),
            (&whole, Checked::Choice("a"), Checked::Choice("b"), false),
            (&whole, Checked::Text("two  words\n".into()), Checked::Text("two words".into()), true),
            (&whole, Checked::Text("two words".into()), Checked::Text("Two words".into()), false),
            (&whole, json(r#"{"a":1,"b":2.0}"#), json(r#"{ "b": 2, "a": 1 }"#), true),
            (&whole, json(r#"{"a":1}"#), json(r#"{"a":2}"#), false),
            (&label, json(r#"{"label":"x","note":"one"}"#), json(r#"{"note":"two","label":"x"}"#), true),
            (&label, json(r#"{"label":"x"}"#), json(r#"{"label":"y"}"#), false),
            (&label, json(r#"{"note":"x"}"#), json(r#"{"label":"x"}"#), false),
        ] {
            assert_eq!(agrees(rule, &one, &other), want, "{rule} {one:?} {other:?}");
        }
        assert!(judge(&whole, &Checked::Choice("a"), None, &[]).unwrap_err().contains("yet"));
        assert!(judge(&Accept::Valid, &Checked::Choice("a"), None, &[]).is_ok());
    }

    #[test]
    fn opinions_are_kept_as_text() {
        let opinion = Opinion::of(&Checked::Choice("a"), &[]);
        assert_eq!(opinion.to_string().len(), 32);
        assert_eq!(opinion.to_string().parse::<Opinion>().unwrap(), opinion);
        assert!("no hex".parse::<Opinion>().is_err());
    }
}
