//! How the lines of result files are written: OpenAI's, or Google's and Bedrock's, who know one file and no line for what did not
//! run. Bedrock and Vertex repeat what was asked.

use crate::api::Endpoint;
use crate::bedrock;
use crate::clock::{VirtualMs, instant};
use crate::errors::ApiError;
use crate::gemini;
use crate::json::{push_str, push_u64};
use crate::like::Manners;
use crate::rng::push_hex;
use crate::vertex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    OpenAi,
    /// OpenAI's without anything around the answer, and no line for what did not run.
    Flat,
    Gemini,
    Bedrock,
    /// Requests without an id, which are repeated; and when they ran.
    Echoed(VirtualMs),
    /// Those with one, in the field of this name: Claude's at Google, and vectors.
    Named(&'static str, VirtualMs),
    /// Open models' at Google: asked in OpenAI's lines, answered by an answer and a text for what is wrong.
    Open,
}

impl Words {
    /// `in_bucket`: whether the lines are objects of a bucket, as Vertex has it.
    pub(super) fn of(endpoint: Endpoint, in_bucket: bool, at_ms: VirtualMs) -> Self {
        match (endpoint, in_bucket) {
            (Endpoint::Messages, true) => Self::Named("custom_id", at_ms),
            (Endpoint::Embed, true) => Self::Named("key", at_ms),
            (Endpoint::Chat, true) => Self::Open,
            (_, true) => Self::Echoed(at_ms),
            (Endpoint::Generate | Endpoint::Embed, false) => Self::Gemini,
            (endpoint, false) if endpoint.is_amazons() => Self::Bedrock,
            (_, false) => Self::OpenAi,
        }
    }

    /// Whether failures stand among the answers.
    pub(super) fn has_one_file(self) -> bool {
        !matches!(self, Self::OpenAi | Self::Flat)
    }

    /// Everything up to an answer's body. The id and what was asked are JSON.
    pub(super) fn head(self, out: &mut Vec<u8>, key: u64, (id, asked): (&str, &str), status: u16) {
        match self {
            Self::Gemini => return keyed(out, id, "response"),
            Self::Flat => return flat(out, id, "response"),
            Self::Bedrock => return recorded(out, id, asked, "modelOutput"),
            Self::Open => return open(out, key, id, ""),
            Self::Echoed(at_ms) | Self::Named(_, at_ms) => {
                self.opened(out, id, "", at_ms);
                return out.extend_from_slice(b",\"response\":");
            }
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
            Self::Flat | Self::Gemini | Self::Bedrock | Self::Open | Self::Echoed(_) | Self::Named(..) => {
                b"}\n"
            }
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
        if self == Self::Flat {
            flat(out, id, "error");
            out.extend_from_slice(format!("{{\"code\":{},\"message\":", error.status).as_bytes());
            push_str(out, &error.message);
            out.push(b'}');
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
        if let Self::Echoed(at_ms) | Self::Named(_, at_ms) = self {
            self.opened(out, id, &said_at_google(error), at_ms);
            out.extend_from_slice(b",\"response\":{}");
            return self.tail(out);
        }
        if self == Self::Open {
            open(out, key, id, &said_at_google(error));
            out.extend_from_slice(b"{}");
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
        if self.has_one_file() || self == Self::Flat {
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

impl Words {
    /// A line of a bucket up to its answer: whose it is, and what became of it.
    fn opened(self, out: &mut Vec<u8>, id: &str, status: &str, at_ms: VirtualMs) {
        out.push(b'{');
        if let Self::Named(name, _) = self {
            out.extend_from_slice(format!("\"{name}\":").as_bytes());
            out.extend_from_slice(id.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(b"\"status\":");
        push_str(out, status);
        out.extend_from_slice(b",\"processed_time\":");
        push_str(out, &instant(at_ms).replace('Z', "+00:00"));
        if let Self::Echoed(_) = self {
            out.extend_from_slice(b",\"request\":");
            match id.starts_with('{') {
                true => out.extend_from_slice(id.as_bytes()),
                // Somebody else's.
                false => out.extend_from_slice(
                    format!("{{\"contents\":[],\"labels\":{{\"item\":{id}}}}}").as_bytes(),
                ),
            }
        }
    }
}

/// What a row says of an error: a text, with the error of a call in it.
fn said_at_google(error: &ApiError) -> String {
    let (status, body) = vertex::error_body(error.status, error.code, &error.message);
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("{}: {body}", reason.unwrap_or("Error"))
}

/// Which line of an open model it is and what is wrong with it, up to its answer.
fn open(out: &mut Vec<u8>, key: u64, id: &str, error: &str) {
    out.extend_from_slice(b"{\"id\":\"");
    push_hex(out, key, 32);
    out.extend_from_slice(b"\",\"custom_id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"error\":");
    push_str(out, error);
    out.extend_from_slice(b",\"response\":");
}

/// Which line it is, in OpenAI's words.
fn numbered(out: &mut Vec<u8>, key: u64, id: &str) {
    out.extend_from_slice(b"{\"id\":\"batch_req_");
    push_hex(out, key, 32);
    out.extend_from_slice(b"\",\"custom_id\":");
    out.extend_from_slice(id.as_bytes());
}

/// The same, and what stands there.
fn flat(out: &mut Vec<u8>, id: &str, field: &str) {
    out.extend_from_slice(b"{\"custom_id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(format!(",\"{field}\":").as_bytes());
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
