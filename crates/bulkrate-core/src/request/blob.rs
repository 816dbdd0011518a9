//! Images and documents as users write them, brought into one form before the request has a key: what one provider would take
//! and another refuse is the same for both, or an error before anything is spent.
//!
//! Schemes and media types in capitals are written small, base64 loses its line breaks, a `data:` URL becomes its base64.

use std::borrow::Cow;

use super::{Blob, Content, Part, Request, SourceType, Text};

/// Why an image or a document cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    #[error(
        "is said to be base64 and is not: letters, digits, `+` and `/`, padded with `=` to a multiple of four"
    )]
    NotBase64,
    #[error("is no `data:...;base64,` URL")]
    BadDataUrl,
    #[error("is a `data:` URL of another kind: `data:image/...;base64,` is what an image has")]
    NotAnImage,
}

/// What a `data:` URL holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DataUrl<'t> {
    pub media_type: Cow<'t, str>,
    pub data: Cow<'t, str>,
}

/// Reads `data:image/png;base64,...`; `None`: another scheme.
pub(crate) fn data_url(text: &str) -> Option<Result<DataUrl<'_>, BlobError>> {
    let rest = after_scheme(text, "data:")?;
    let read = || {
        let (head, data) = rest.split_once(',')?;
        let (head, encoding) = head.rsplit_once(';')?;
        let media_type = head.split(';').next().filter(|name| name.contains('/'))?;
        let data = encoding.eq_ignore_ascii_case("base64").then(|| base64(data))??;
        Some(DataUrl { media_type: lower(media_type.trim()), data })
    };
    Some(read().ok_or(BlobError::BadDataUrl))
}

/// An `http(s)` URL with its scheme in small letters; `None`: another scheme.
pub(crate) fn web_url(text: &str) -> Option<Cow<'_, str>> {
    ["https://", "http://"].into_iter().find_map(|scheme| {
        let rest = after_scheme(text, scheme)?;
        let is_lower = text.starts_with(scheme);
        Some(if is_lower { Cow::Borrowed(text) } else { Cow::Owned(format!("{scheme}{rest}")) })
    })
}

/// What an image at an address is, by its name: a JPEG, where that says nothing.
pub(crate) fn media_type_of(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or(url).to_ascii_lowercase();
    match path.rsplit('.').next() {
        Some("png") => "image/png",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        _ => "image/jpeg",
    }
}

/// Base64 on one line: the standard alphabet, padded (RFC 4648, section 4), whatever width it was wrapped to. `None`: it is
/// something else.
pub(crate) fn base64(text: &str) -> Option<Cow<'_, str>> {
    let wrapped = text.bytes().any(|byte| byte.is_ascii_whitespace());
    let line = if wrapped {
        Cow::Owned(text.split_ascii_whitespace().collect::<String>())
    } else {
        Cow::Borrowed(text)
    };
    let data = line.trim_end_matches('=');
    let whole = !data.is_empty()
        && line.len().is_multiple_of(4)
        && line.len() - data.len() <= 2
        && data.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    whole.then_some(line)
}

fn after_scheme<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    let start = text.get(..scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

impl Request<'_> {
    /// Brings every image and document into the form that all providers are given.
    ///
    /// # Errors
    /// Which kind of part it is, and what is wrong with it.
    pub fn settle_blobs(&mut self) -> Result<(), (&'static str, BlobError)> {
        for message in &mut self.messages {
            let Content::Parts(parts) = &mut message.content else { continue };
            for part in parts {
                match part {
                    Part::Text { .. } => {}
                    Part::Image(blob) => blob.settle(true).map_err(|why| ("image", why))?,
                    Part::Document(blob) => blob.settle(false).map_err(|why| ("document", why))?,
                }
            }
        }
        Ok(())
    }
}

impl Blob<'_> {
    fn settle(&mut self, image: bool) -> Result<(), BlobError> {
        let text = self.data.trim();
        if let Some(read) = data_url(text) {
            let DataUrl { media_type, data } = read?;
            if image && !media_type.starts_with("image/") {
                return Err(BlobError::NotAnImage);
            }
            let (media_type, data) = (media_type.into_owned(), data.into_owned());
            *self =
                Self { source_type: SourceType::Base64, media_type: media_type.into(), data: data.into() };
            return Ok(());
        }
        let settled = match self.source_type {
            SourceType::Base64 => Some(base64(text).ok_or(BlobError::NotBase64)?),
            // What is behind other schemes is between the user and the provider.
            SourceType::Url => web_url(text),
        };
        if let Some(settled) = settled.filter(|settled| **settled != *self.data) {
            self.data = Text(Cow::Owned(settled.into_owned()));
        }
        let media_type = lower(&self.media_type);
        if media_type != *self.media_type {
            self.media_type = Text(Cow::Owned(media_type.into_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn settled(
        source_type: SourceType,
        media_type: &str,
        data: &str,
        image: bool,
    ) -> Result<String, BlobError> {
        let mut blob = Blob { source_type, media_type: media_type.into(), data: data.into() };
        blob.settle(image)?;
        Ok(format!("{:?} {} {}", blob.source_type, &*blob.media_type, &*blob.data))
    }

    #[test]
    fn capitals_and_line_breaks_are_no_difference() {
        use SourceType::{Base64, Url};
        for (source_type, media_type, data, want) in [
            (Url, "image/png", "https://x.org/A.PNG", "Url image/png https://x.org/A.PNG"),
            (Url, "image/png", "HTTPS://x.org/A.PNG", "Url image/png https://x.org/A.PNG"),
            (Url, "IMAGE/PNG", " Http://x.org/a ", "Url image/png http://x.org/a"),
            (Url, "image/png", "gs://bucket/a", "Url image/png gs://bucket/a"),
            (Url, "", "DATA:Image/GIF;Base64,AAAA", "Base64 image/gif AAAA"),
            (Url, "", "data:image/png;charset=utf-8;base64,AAAA", "Base64 image/png AAAA"),
            (Base64, "image/png", "AAAA", "Base64 image/png AAAA"),
            (Base64, "image/png", "AAAA\nBBBB\r\nCC==\n", "Base64 image/png AAAABBBBCC=="),
            (Base64, "image/jpeg", "data:image/png;base64,AAAA", "Base64 image/png AAAA"),
        ] {
            assert_eq!(settled(source_type, media_type, data, true).unwrap(), want, "{data:?}");
        }
        let document = settled(Base64, "application/PDF", "JVBE\nRi0=", false).unwrap();
        assert_eq!(document, "Base64 application/pdf JVBERi0=");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        use SourceType::{Base64, Url};
        for (source_type, data, want) in [
            (Base64, "", BlobError::NotBase64),
            (Base64, "A-_A", BlobError::NotBase64),
            (Base64, "AAA", BlobError::NotBase64),
            (Base64, "https://x.org/a.png", BlobError::NotBase64),
            (Url, "data:image/png,AAAA", BlobError::BadDataUrl),
            (Url, "data:image/png;base64,???", BlobError::BadDataUrl),
            (Url, "data:text/html;base64,AAAA", BlobError::NotAnImage),
        ] {
            assert_eq!(settled(source_type, "image/png", data, true), Err(want), "{data:?}");
        }
    }
}
