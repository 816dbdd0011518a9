//! Values of flags that are more than one word.

use crate::config::job_file::{Example, RuleLine};

/// A JSON object given as text.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonObject(pub serde_json::Map<String, serde_json::Value>);

pub(super) fn object(text: &str) -> Result<JsonObject, String> {
    serde_json::from_str(text).map(JsonObject).map_err(|error| format!("not a JSON object: {error}"))
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write `key=value`")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn example(text: &str) -> Result<Example, String> {
    let (user, assistant) =
        text.split_once("=>").ok_or("write `what the user says=>what the model answers`")?;
    Ok(Example { user: user.trim().to_owned(), assistant: assistant.trim().to_owned() })
}

pub(super) fn rule(text: &str) -> Result<RuleLine, String> {
    let (when, model) =
        text.rsplit_once("=>").ok_or("write `condition=>model`, such as `tokens < 200=>fast`")?;
    Ok(RuleLine { when: when.trim().to_owned(), model: model.trim().to_owned() })
}
