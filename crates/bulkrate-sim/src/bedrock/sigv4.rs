//! Checks signatures as AWS does: from its documentation alone, with hashes of another make than the client's.

use super::{Signed, denied};
use crate::errors::ApiError;
use sha2::{Digest, Sha256};

/// How far a request may be from the clock, in seconds.
const SKEW_S: i64 = 300;
const BLOCK: usize = 64;

/// What the header says.
struct Said<'a> {
    id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
}

fn read(said: &str) -> Option<Said<'_>> {
    let rest = said.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let field = |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name));
    let mut scope = field("Credential=")?.split('/');
    let (id, day, region, service, end) =
        (scope.next()?, scope.next()?, scope.next()?, scope.next()?, scope.next()?);
    let headers = field("SignedHeaders=")?.split(';').collect();
    (end == "aws4_request").then_some(())?;
    Some(Said { id, day, region, service, headers, signature: field("Signature=")? })
}

/// `known`: `ID:SECRET`, whose signature is checked; without it only the form is.
pub(super) fn check(
    said: &str,
    known: Option<&str>,
    region: Option<&str>,
    signed: &Signed<'_>,
) -> Result<(), ApiError> {
    let said = read(said).ok_or_else(|| {
        denied("MissingAuthenticationTokenException", "Authorization header requires 'Credential' parameter.")
    })?;
    if let Some(region) = region.filter(|region| *region != said.region) {
        let message = format!(
            "Credential should be scoped to a valid region. The region '{}' is wrong; expecting '{region}'",
            said.region
        );
        return Err(denied("InvalidSignatureException", &message));
    }
    let Some(known) = known else { return Ok(()) };
    let Some((_, secret)) = known.split_once(':').filter(|(id, _)| *id == said.id) else {
        return Err(denied(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ));
    };
    let at = header(signed, "x-amz-date");
    fresh(&at, said.day)?;
    let canonical = canonical(&said, signed)?;
    let scope = format!("{}/{}/{}/aws4_request", said.day, said.region, said.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [said.day, said.region, said.service, "aws4_request", to_sign.as_str()] {
        key = hmac(&key, part.as_bytes());
    }
    if hex(&key) == said.signature {
        return Ok(());
    }
    let message = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
    Err(denied("InvalidSignatureException", message))
}

fn header(signed: &Signed<'_>, name: &str) -> String {
    let values = signed.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let trimmed =
        values.map(|value| value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    trimmed.collect::<Vec<_>>().join(",")
}

fn fresh(at: &str, day: &str) -> Result<(), ApiError> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", at)
        .ok()
        .and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let apart = time.map(|time| (time.timestamp().as_second() - jiff::Timestamp::now().as_second()).abs());
    if apart.is_some_and(|apart| apart <= SKEW_S) && at.starts_with(day) {
        return Ok(());
    }
    Err(denied(
        "InvalidSignatureException",
        &format!("Signature expired: {at} is now earlier than the allowed time"),
    ))
}

fn canonical(said: &Said<'_>, signed: &Signed<'_>) -> Result<String, ApiError> {
    let (path, query) = signed.target.split_once('?').unwrap_or((signed.target, ""));
    let is_s3 = said.service == "s3";
    let path = if is_s3 { path.to_owned() } else { again(path) };
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    let lines: String =
        said.headers.iter().map(|name| format!("{name}:{}\n", header(signed, name))).collect();
    let hash = hex(&Sha256::digest(signed.body));
    let told = header(signed, "x-amz-content-sha256");
    let payload = match (is_s3, told.as_str()) {
        (true, "") => {
            return Err(denied(
                "InvalidSignatureException",
                "Missing required header for this request: x-amz-content-sha256",
            ));
        }
        (true, "UNSIGNED-PAYLOAD") => told,
        (true, told) if told != hash => {
            return Err(denied(
                "InvalidSignatureException",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        _ => hash,
    };
    let names = said.headers.join(";");
    Ok(format!("{}\n{path}\n{}\n{lines}\n{names}\n{payload}", signed.method, pairs.join("&")))
}

/// A path that is encoded already, encoded once more.
fn again(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; BLOCK];
    let short = if key.len() > BLOCK { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block[..short.len()].copy_from_slice(&short);
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From RFC 4231.
    #[test]
    fn hashes_with_keys() {
        let long = [0xaa_u8; 131];
        for (key, text, want) in [
            (
                &b"Jefe"[..],
                &b"what do ya want for nothing?"[..],
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(key, text)), want);
        }
    }
}
