//! Just enough of multipart/form-data for file uploads. The file part is a slice of the received bytes, never copied.

use bytes::Bytes;
use memchr::memmem;

/// One part of a form.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    pub(crate) data: Bytes,
}

const PARTS_MAX: usize = 16;

/// The boundary named by a content type; `None` when it is not a form or the boundary is longer than the RFC allows.
pub(crate) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = rest.split(';').find_map(|pair| pair.trim().strip_prefix("boundary="))?.trim_matches('"');
    (1..=70).contains(&value.len()).then_some(value)
}

/// Splits a form; `None` when it is broken.
pub(crate) fn parse(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let first = format!("--{boundary}");
    let next = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(next.as_bytes());
    let mut at = memmem::find(body, first.as_bytes())? + first.len();
    let mut parts = Vec::new();
    loop {
        let rest = body.get(at..)?;
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let start = at + memmem::find(rest, b"\r\n")? + 2;
        let head = memmem::find(body.get(start..)?, b"\r\n\r\n")?;
        let data = start + head + 4;
        let end = data.checked_add(finder.find(body.get(data..)?)?)?;
        let head = std::str::from_utf8(body.get(start..start + head)?).ok()?;
        if parts.len() == PARTS_MAX {
            return None;
        }
        parts.push(part(head, body.slice(data..end))?);
        at = end + next.len();
    }
}

fn part(head: &str, data: Bytes) -> Option<Part> {
    let line = head.split("\r\n").find(|line| {
        line.get(..20).is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:"))
    })?;
    let mut part = Part { name: String::new(), filename: None, data };
    for pair in line.split(';').skip(1) {
        if let Some((key, value)) = pair.trim().split_once('=') {
            let value = value.trim_matches('"').to_owned();
            match key {
                "name" => part.name = value,
                "filename" => part.filename = Some(value),
                _ => {}
            }
        }
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn forms_split_into_parts() {
        let body = Bytes::from_static(
            b"--xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xyz\r\nContent-Disposition: form-data; \
              name=\"file\"; filename=\"a.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n{\"a\":1}\r\n\n\r\n--xyz--\r\n",
        );
        let parts = parse(&body, boundary("multipart/form-data; boundary=xyz").unwrap()).unwrap();
        assert_eq!((parts[0].name.as_str(), parts[0].data.as_ref()), ("purpose", &b"batch"[..]));
        assert_eq!(
            (parts[1].filename.as_deref(), parts[1].data.as_ref()),
            (Some("a.jsonl"), &b"{\"a\":1}\r\n\n"[..])
        );
    }

    #[test]
    fn broken_forms_are_refused() {
        for body in [
            "",
            "--xyz",
            "--xyz\r\n\r\n",
            "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nno end",
        ] {
            assert!(parse(&Bytes::copy_from_slice(body.as_bytes()), "xyz").is_none(), "{body:?}");
        }
        assert!(boundary("application/json").is_none());
    }
}
