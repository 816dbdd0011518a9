//! Bodies of paid calls: bytes, or a file of lines that is read while it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio_util::io::ReaderStream;

use crate::api::Lines;

/// Bytes read at once.
const PIECE_BYTES: usize = 256 << 10;

/// What a call carries; as a body it can be made again for another connection.
#[derive(Debug, Clone)]
pub(super) enum Payload<'a> {
    Whole(Bytes),
    Lines(Lines<'a>),
}

impl Payload<'_> {
    pub(super) fn body(&self) -> io::Result<PaidBody> {
        Ok(match self {
            Self::Whole(bytes) => PaidBody::Whole(Full::new(bytes.clone())),
            Self::Lines(lines) => PaidBody::Lines(Box::new(LinesBody::open(*lines)?)),
        })
    }
}

/// Hyper keeps room for 64 requests a connection, bodies and all: the rare one is boxed.
pub(super) enum PaidBody {
    Whole(Full<Bytes>),
    Lines(Box<LinesBody>),
}

/// Head, the file's lines with commas for the ends between them, tail. Its length is known from the beginning.
pub(super) struct LinesBody {
    head: Option<Bytes>,
    tail: Option<Bytes>,
    file: ReaderStream<tokio::fs::File>,
    /// Bytes of the file that have not been read.
    unread: u64,
    /// Bytes of the body that have not been given away.
    left: u64,
}

impl LinesBody {
    fn open(lines: Lines<'_>) -> io::Result<Self> {
        let file = std::fs::File::open(lines.file)?;
        let unread = file.metadata()?.len();
        // The end of the last line goes; the others become commas.
        let between =
            unread.checked_sub(1).ok_or_else(|| io::Error::other("there is no line in the file"))?;
        let left = between + (lines.head.len() + lines.tail.len()) as u64;
        let file = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES);
        Ok(Self {
            head: Some(Bytes::copy_from_slice(lines.head.as_bytes())),
            tail: Some(Bytes::from_static(lines.tail.as_bytes())),
            file,
            unread,
            left,
        })
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        if self.unread == 0 {
            return Poll::Ready(self.tail.take().map(Ok));
        }
        let read = match ready!(Pin::new(&mut self.file).poll_next(cx)) {
            Some(read) => read,
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        Poll::Ready(Some(read.and_then(|bytes| self.joined(bytes.into()))))
    }

    fn joined(&mut self, mut piece: BytesMut) -> io::Result<Bytes> {
        let changed = || io::Error::other("the file changed while it was sent");
        self.unread = self.unread.checked_sub(piece.len() as u64).ok_or_else(changed)?;
        if self.unread == 0 {
            if piece.last() != Some(&b'\n') {
                return Err(changed());
            }
            piece.truncate(piece.len() - 1);
        }
        piece.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
        Ok(piece.freeze())
    }
}

impl Body for PaidBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            Self::Lines(body) => {
                let piece = ready!(body.next(cx));
                if let Some(Ok(piece)) = &piece {
                    body.left -= piece.len() as u64;
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Lines(body) => body.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Lines(body) => SizeHint::with_exact(body.left),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use http_body_util::BodyExt;

    async fn sent(text: &str) -> Result<(u64, String), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lines");
        std::fs::write(&file, text).unwrap();
        let payload = Payload::Lines(Lines { file: &file, head: "{\"all\":[", tail: "]}" });
        let body = payload.body().map_err(|error| error.to_string())?;
        let told = body.size_hint().exact().unwrap();
        let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((told, String::from_utf8(bytes.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn lines_become_one_array_whose_length_is_known_before() {
        let long = "7".repeat(PIECE_BYTES);
        for (text, want) in [
            ("1\n".to_owned(), "1".to_owned()),
            ("1\n{\"a\":\"\\n\"}\n3\n".to_owned(), "1,{\"a\":\"\\n\"},3".to_owned()),
            (format!("{long}\n2\n{long}\n"), format!("{long},2,{long}")),
            // The end of the last line is alone in its piece.
            (format!("{}\n", &long[..PIECE_BYTES]), long.clone()),
        ] {
            let (told, body) = sent(&text).await.unwrap();
            assert_eq!(body, format!("{{\"all\":[{want}]}}"));
            assert_eq!(told, body.len() as u64);
        }
        assert!(sent("").await.unwrap_err().contains("no line"));
        assert!(sent("1\n2").await.unwrap_err().contains("changed"));
    }
}
