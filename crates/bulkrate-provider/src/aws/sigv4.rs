//! Signature Version 4: what is signed, with what, and how it is said. Pure.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::{digest, hmac};

use crate::http::sign::hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a path keeps as it is when it is encoded once more.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Where and when a signature holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// `20150830T123600Z`.
    pub(super) at: &'a str,
}

/// A request as it is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    /// Path and query as in the request line.
    pub(super) target: &'a str,
    /// Whether the path is encoded once more: everywhere but at S3.
    pub(super) encode_path: bool,
    /// Names in lower case, in their order.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body, in hex.
    pub(super) body: &'a str,
}

/// What the header `authorization` says.
pub(super) fn authorization(id: &str, secret: &str, scope: Scope<'_>, request: Canonical<'_>) -> String {
    let day = scope.at.get(..8).unwrap_or(scope.at);
    let named = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("{ALGORITHM}\n{}\n{named}\n{}", scope.at, sha256_hex(request.text().as_bytes()));
    let parts = [day, scope.region, scope.service, "aws4_request"];
    let start = format!("AWS4{secret}").into_bytes();
    let key = parts.iter().fold(start, |key, part| sign(&key, part));
    let signature = hex(&sign(&key, &to_sign));
    format!("{ALGORITHM} Credential={id}/{named}, SignedHeaders={}, Signature={signature}", request.names())
}

impl Canonical<'_> {
    fn names(&self) -> String {
        self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
    }

    fn text(&self) -> String {
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let path = if path.is_empty() { "/" } else { path };
        let mut text = format!("{}\n", self.method);
        // Writing to a String cannot fail.
        let _ = match self.encode_path {
            true => writeln!(text, "{}", utf8_percent_encode(path, PATH)),
            false => writeln!(text, "{path}"),
        };
        let mut pairs: Vec<(&str, &str)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        pairs.sort_unstable();
        let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let _ = writeln!(text, "{}", pairs.join("&"));
        for (name, value) in self.headers {
            let _ = writeln!(text, "{name}:{}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        let _ = write!(text, "\n{}\n{}", self.names(), self.body);
        text
    }
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(said: &str) -> &str {
        said.rsplit_once("Signature=").unwrap().1
    }

    /// Of the suite that AWS publishes for those who write signers.
    #[test]
    fn the_published_suite() {
        let scope = Scope { region: "us-east-1", service: "service", at: "20150830T123600Z" };
        for (name, method, target, more, want) in [
            (
                "get-vanilla",
                "GET",
                "/",
                &[][..],
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "/?Param2=value2&Param1=value1",
                &[],
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-vanilla",
                "POST",
                "/",
                &[],
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-key-sort",
                "POST",
                "/",
                &[("my-header1", "value1")],
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
        ] {
            let mut headers = vec![("host", "example.amazonaws.com")];
            headers.extend(more);
            headers.push(("x-amz-date", scope.at));
            let request = Canonical { method, target, encode_path: true, headers: &headers, body: EMPTY };
            let said =
                authorization("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope, request);
            assert_eq!(signature(&said), want, "{name}: {said}");
        }
    }

    /// Of the documentation of S3, whose paths are encoded once.
    #[test]
    fn the_examples_of_s3() {
        let scope = Scope { region: "us-east-1", service: "s3", at: "20130524T000000Z" };
        for (method, target, first, body, want) in [
            (
                "GET",
                "/test.txt",
                ("range", "bytes=0-9"),
                EMPTY,
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "GET",
                "/?lifecycle",
                ("", ""),
                EMPTY,
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "/?max-keys=2&prefix=J",
                ("", ""),
                EMPTY,
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let mut headers = vec![
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", body),
                ("x-amz-date", scope.at),
            ];
            if !first.0.is_empty() {
                headers.insert(1, first);
            }
            let request = Canonical { method, target, encode_path: false, headers: &headers, body };
            let said = authorization(
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                scope,
                request,
            );
            assert_eq!(signature(&said), want, "{method} {target}: {said}");
        }
    }
}
