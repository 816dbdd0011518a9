//! Images and documents beside the text of a turn: which stand there as bytes, which are addresses on the web, and what bytes are.

use super::blob::web_url;
use super::own::OwnTurns;
use super::{Blob, Content, Part, Request, SourceType};

/// What stands beside the text of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    Image,
    Document,
}

impl Medium {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Document => "document",
        }
    }

    /// Whether it may be of this type.
    #[must_use]
    pub fn takes(self, media_type: &str) -> bool {
        media_type.starts_with("image/") == (self == Self::Image)
    }
}

/// Why what lies at an address was not brought here, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing is asked there, by a rule.
    #[error("is not fetched: {0}")]
    Refused(String),
    #[error("was not fetched: {0}")]
    Failed(String),
    /// It was tried several times, and may come another time: nobody answered, or its server was busy.
    #[error("was not fetched: {0}")]
    Away(String),
}

/// What a file is, by how it begins: an image that models take, or a PDF. `None`: something else.
#[must_use]
pub fn media_type_by_bytes(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 5] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-", "application/pdf"),
    ];
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    STARTS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| *name)
}

impl<'a> Part<'a> {
    /// The image or document that it is.
    #[must_use]
    pub fn blob(&self) -> Option<&Blob<'a>> {
        match self {
            Self::Text { .. } => None,
            Self::Image(blob) | Self::Document(blob) => Some(blob),
        }
    }

    #[must_use]
    pub fn medium(&self) -> Option<Medium> {
        match self {
            Self::Text { .. } => None,
            Self::Image(_) => Some(Medium::Image),
            Self::Document(_) => Some(Medium::Document),
        }
    }
}

impl<'a> Request<'a> {
    /// Images and documents that are addresses on the web.
    pub fn web_parts(&self) -> impl Iterator<Item = (&Part<'a>, &Blob<'a>)> {
        self.blobs().filter(|(_, blob)| blob.is_on_the_web())
    }

    /// The same, to put what lies there in their place.
    pub fn web_blobs_mut(&mut self) -> impl Iterator<Item = (Medium, &mut Blob<'a>)> {
        let parts = self.messages.iter_mut().flat_map(|message| match &mut message.content {
            Content::Text(_) => [].iter_mut(),
            Content::Parts(parts) => parts.iter_mut(),
        });
        let blobs = parts.filter_map(|part| match part {
            Part::Text { .. } => None,
            Part::Image(blob) => Some((Medium::Image, blob)),
            Part::Document(blob) => Some((Medium::Document, blob)),
        });
        blobs.filter(|(_, blob)| blob.is_on_the_web())
    }

    /// Bytes of images and documents that stand in the request itself, as base64: no text of the prompt.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let held = self.blobs().filter(|(_, blob)| blob.source_type == SourceType::Base64);
        let own = self.own_turns().map_or(0, OwnTurns::data_bytes);
        held.map(|(_, blob)| blob.data.len() as u64).sum::<u64>() + own
    }

    fn blobs(&self) -> impl Iterator<Item = (&Part<'a>, &Blob<'a>)> {
        let parts = self.messages.iter().flat_map(|message| match &message.content {
            Content::Text(_) => &[][..],
            Content::Parts(parts) => parts,
        });
        parts.filter_map(|part| Some((part, part.blob()?)))
    }
}

impl Blob<'_> {
    /// Whether `http` or `https` is the way to it. Its scheme is written small.
    fn is_on_the_web(&self) -> bool {
        self.source_type == SourceType::Url && web_url(&self.data).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Message, Role};

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        for (bytes, want) in [
            (&b"\x89PNG\r\n\x1a\n..."[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a", Some("image/gif")),
            (b"GIF87a", Some("image/gif")),
            (b"RIFF\x04\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\x04\0\0\0WAVEfmt ", None),
            (b"RIFF", None),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"<!doctype html>", None),
            (b"\x89PNG", None),
            (b"", None),
        ] {
            assert_eq!(media_type_by_bytes(bytes), want, "{bytes:?}");
        }
    }

    #[test]
    fn addresses_on_the_web_and_bytes_are_told_apart() {
        let blob = |source_type, data: &'static str| Blob {
            source_type,
            media_type: "image/png".into(),
            data: data.into(),
        };
        let parts = vec![
            Part::Text { text: "https://x.org/in-a-text.png".into() },
            Part::Image(blob(SourceType::Url, "https://x.org/a.png")),
            Part::Image(blob(SourceType::Base64, "AAAABBBB")),
            Part::Document(blob(SourceType::Url, "http://x.org/b.pdf")),
            Part::Document(blob(SourceType::Url, "gs://bucket/c.pdf")),
        ];
        let message = Message { role: Role::User, content: Content::Parts(parts), tool_call_id: None };
        let mut request = Request { messages: vec![message], ..Request::default() };
        assert_eq!(request.data_bytes(), 8);
        let found: Vec<String> = request.web_parts().map(|(_, blob)| blob.data.to_string()).collect();
        assert_eq!(found, ["https://x.org/a.png", "http://x.org/b.pdf"]);
        let media: Vec<Medium> = request.web_blobs_mut().map(|(medium, _)| medium).collect();
        assert_eq!(media, [Medium::Image, Medium::Document]);
        assert!(Medium::Image.takes("image/png") && !Medium::Image.takes("application/pdf"));
        assert!(Medium::Document.takes("application/pdf") && !Medium::Document.takes("image/png"));
    }
}
