//! How the lines of result files are written: OpenAI's, or Gemini's and Bedrock's, which know one file and no line for what did not
//! run. Bedrock repeats what was asked.

use crate::api::Endpoint;
use crate::bedrock;
use crate::errors::ApiError;
use crate::gemini;
use crate::json::{push_str, push_u64};
use crate::like::Manners;
use crate::rng::push_hex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    OpenAi,
    Gemini,
    Bedrock,
}

impl Words {
    pub(super) fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Generate => Self::Gemini,
            Endpoint::Converse => Self::Bedrock,
            _ => Self::OpenAi,
        }
    }

    /// Whether failures stand among the answers.
    pub(super) fn has_one_file(self) -> bool {
        self != Self::OpenAi
    }

    /// Everything up to an answer's body. The id and what was asked are JSON.
    pub(super) fn head(self, out: &mut Vec<u8>, key: u64, (id, asked): (&str, &str), status: u16) {
        match self {
            Self::Gemini => return keyed(out, id, "response"),
            Self::Bedrock => return recorded(out, id, asked, "modelOutput"),
            Self::OpenAi => {}
        }
        numbered(out, key, id);
        out.extend_from_slice(b",\"response\":{\"status_code\":");
        push_u64(out, u64::from(status));
        out.extend_from_slice(b",\"request_id\":\"");
        push_hex(out, key ^ 5, 32);
        out.extend_from_slice(b"\",\"body\":");
    }

    /// Everything after it.
    pub(super) fn tail(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::OpenAi => b"},\"error\":null}\n",
            Self::Gemini | Self::Bedrock => b"}\n",
        });
    }

    pub(super) fn failure(
        self,
        out: &mut Vec<u8>,
        key: u64,
        (id, asked): (&str, &str),
        error: &ApiError,
        manners: Option<&dyn Manners>,
    ) {
        if self == Self::OpenAi {
            self.head(out, key, (id, asked), error.status);
            let start = out.len();
            error.write(out);
            let said = manners.and_then(|manners| {
                let said: serde_json::Value = serde_json::from_slice(&out[start..]).ok()?;
                manners.error(error.status, &said["error"])
            });
            if let Some(said) = said {
                out.truncate(start);
                out.extend_from_slice(said.to_string().as_bytes());
            }
            return self.tail(out);
        }
        if self == Self::Bedrock {
            recorded(out, id, asked, "error");
            let (status, _, message) =
                bedrock::named(error.status, error.kind, error.code.unwrap_or_default(), &error.message);
            out.extend_from_slice(format!("{{\"errorCode\":{status},\"errorMessage\":").as_bytes());
            push_str(out, &message);
            out.push(b'}');
            return self.tail(out);
        }
        keyed(out, id, "error");
        let (_, mut body) = gemini::error_body(error.status, error.code, &error.message, None);
        // Writing a value into a Vec cannot fail.
        let _ = serde_json::to_writer(&mut *out, &body["error"].take());
        self.tail(out);
    }

    /// What did not run, and why.
    pub(super) fn not_run(self, out: &mut Vec<u8>, key: u64, id: &str, (code, message): (&str, &str)) {
        if self.has_one_file() {
            return;
        }
        numbered(out, key, id);
        out.extend_from_slice(b",\"response\":null,\"error\":{\"code\":");
        push_str(out, code);
        out.extend_from_slice(b",\"message\":");
        push_str(out, message);
        out.extend_from_slice(b"}}\n");
    }
}

/// Which line it is, in OpenAI's words.
fn numbered(out: &mut Vec<u8>, key: u64, id: &str) {
    out.extend_from_slice(b"{\"id\":\"batch_req_");
    push_hex(out, key, 32);
    out.extend_from_slice(b"\",\"custom_id\":");
    out.extend_from_slice(id.as_bytes());
}

/// The same in Gemini's, and what its answer is called.
fn keyed(out: &mut Vec<u8>, id: &str, field: &str) {
    out.extend_from_slice(b"{\"key\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(format!(",\"{field}\":").as_bytes());
}

/// The same in Bedrock's, with what was asked.
fn recorded(out: &mut Vec<u8>, id: &str, asked: &str, field: &str) {
    out.extend_from_slice(b"{\"recordId\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"modelInput\":");
    out.extend_from_slice(asked.as_bytes());
    out.extend_from_slice(format!(",\"{field}\":").as_bytes());
}
