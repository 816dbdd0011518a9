//! Bytes that arrive in one piece or in several. One piece is kept as it came, and nothing of it is copied.

use bytes::{Bytes, BytesMut};

#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// While there is only one.
    first: Bytes,
    joined: BytesMut,
}

impl Pieces {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    /// `whole`: how much there will be in the end, as far as it is known.
    pub(crate) fn add(&mut self, piece: Bytes, whole: usize) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve(whole.max(self.first.len() + piece.len()));
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&piece);
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.first.truncate(len);
        self.joined.truncate(len);
    }

    /// All of it; nothing is left.
    pub(crate) fn take(&mut self) -> Bytes {
        if self.joined.is_empty() {
            return std::mem::take(&mut self.first);
        }
        std::mem::take(&mut self.joined).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_stays_where_it_is_and_several_follow_each_other() {
        let mut pieces = Pieces::default();
        assert_eq!((pieces.len(), pieces.take()), (0, Bytes::new()));
        let one = Bytes::from_static(b"one");
        pieces.add(one.clone(), 0);
        assert_eq!(pieces.take().as_ptr(), one.as_ptr());
        for piece in [&b"ab"[..], b"", b"cde", b"f"] {
            pieces.add(Bytes::from_static(piece), 6);
        }
        pieces.truncate(5);
        assert_eq!((pieces.len(), &pieces.take()[..], pieces.len()), (5, &b"abcde"[..], 0));
    }
}
