//! Error bodies as the API writes them.

use crate::json;
use std::time::Duration;

/// One refusal: status, the four keys of the body, and how long to wait.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// Upload refusals repeat the message under a second key.
    pub(crate) detail: bool,
}

impl ApiError {
    pub(crate) fn new(
        status: u16,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, kind, code, param: None, message: message.into(), retry_after: None, detail: false }
    }

    pub(crate) fn invalid(code: Option<&'static str>, param: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(400, "invalid_request_error", code, message);
        if !param.is_empty() {
            error.param = Some(param.to_owned());
        }
        error
    }

    pub(crate) fn missing(param: &str) -> Self {
        Self::invalid(
            Some("missing_required_parameter"),
            param,
            format!("Missing required parameter: '{param}'."),
        )
    }

    pub(crate) fn bad_type(param: &str, wanted: &str, raw: &str) -> Self {
        let got = match raw.bytes().next() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        };
        let message = format!("Invalid type for '{param}': expected {wanted}, but got {got} instead.");
        Self::invalid(Some("invalid_type"), param, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "invalid_request_error", None, message)
    }

    pub(crate) fn taken(what: &str) -> Self {
        let message = format!("{what} already exists");
        Self::new(409, "invalid_request_error", Some("ALREADY_EXISTS"), message)
    }

    pub(crate) fn no_model(name: &str) -> Self {
        let message = format!("The model `{name}` does not exist or you do not have access to it.");
        Self::new(404, "invalid_request_error", Some("model_not_found"), message)
    }

    /// The model is there, for others.
    pub(crate) fn no_access(name: &str) -> Self {
        let message = format!("Project `proj_sim` does not have access to model `{name}`");
        Self::new(403, "invalid_request_error", Some("model_not_found"), message)
    }

    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        Self::not_found(format!("Invalid URL ({method} {path})"))
    }

    pub(crate) fn server() -> Self {
        Self::new(
            500,
            "server_error",
            Some("server_error"),
            "The server had an error while processing your request. Sorry about that!",
        )
    }

    /// Appends `{"error":{...}}`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":{\"message\":");
        json::push_str(out, &self.message);
        out.extend_from_slice(b",\"type\":");
        json::push_str(out, self.kind);
        out.extend_from_slice(b",\"param\":");
        json::push_opt_str(out, self.param.as_deref());
        out.extend_from_slice(b",\"code\":");
        json::push_opt_str(out, self.code);
        out.push(b'}');
        if self.detail {
            out.extend_from_slice(b",\"detail\":{\"message\":");
            json::push_str(out, &self.message);
            out.extend_from_slice(b",\"code\":null}");
        }
        out.push(b'}');
    }
}

/// A request that is wrong, of which only the message says how.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::invalid(None, "", message)
}

/// Turns a parser's refusal of a request body into the API's words.
pub(crate) fn from_parse(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if error.is_data() {
        if let Some(name) = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            return ApiError::invalid(
                Some("unknown_parameter"),
                name,
                format!("Unknown parameter: '{name}'."),
            );
        }
        return ApiError::invalid(Some("invalid_type"), "", format!("Invalid request body: {text}."));
    }
    ApiError::invalid(
        None,
        "",
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library \
         correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bodies_carry_all_four_keys() {
        let mut out = Vec::new();
        let mut error = ApiError::missing("input_file_id");
        error.detail = true;
        error.write(&mut out);
        let body: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(body["error"]["message"], "Missing required parameter: 'input_file_id'.");
        assert_eq!(body["error"]["code"], "missing_required_parameter");
        assert_eq!(body["error"]["param"], "input_file_id");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert!(body["detail"]["code"].is_null());
    }
}
