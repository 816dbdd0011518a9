//! Items as they are written once, in ordinal order.

use bulkrate_core::ids::{Ordinal, RequestKey};

/// What is known of an item when it is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemRec {
    /// Runs. Its bytes are one line of the job's `requests.jsonl`: `header_len` bytes of header, `len` bytes in all with
    /// the line end.
    Leader { key: RequestKey, header_len: u32, len: u32, tags: u32 },
    /// Copies the outcome of an earlier item with the same key; has no bytes of its own.
    Follower { leader: Ordinal },
    /// Could not be turned into a request; an outcome says why. Has no bytes.
    Invalid,
}

impl ItemRec {
    #[must_use]
    pub fn kind(&self) -> ItemKind {
        match self {
            Self::Leader { .. } => ItemKind::Leader,
            Self::Follower { .. } => ItemKind::Follower,
            Self::Invalid => ItemKind::Invalid,
        }
    }

    /// Bytes of the item's line in `requests.jsonl`.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            Self::Leader { len, .. } => *len,
            Self::Follower { .. } | Self::Invalid => 0,
        }
    }

    /// Whether the item has no line of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An [`ItemRec`] without what it carries; all that a fold needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ItemKind {
    Leader = 0,
    Follower = 1,
    Invalid = 2,
}

/// Consecutive items: `items[i]` has ordinal `first + i`. At most [`ItemChunk::ITEMS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemChunk {
    pub first: Ordinal,
    /// Where the line of the first leader begins in `requests.jsonl`.
    pub offset: u64,
    pub items: Vec<ItemRec>,
}

impl ItemChunk {
    pub const ITEMS_MAX: usize = 4_096;

    /// The items with their ordinals and the offsets of their lines.
    pub fn iter(&self) -> impl Iterator<Item = (Ordinal, u64, &ItemRec)> {
        let mut offset = self.offset;
        (self.first..).zip(&self.items).map(move |(ordinal, item)| {
            let at = offset;
            offset = offset.saturating_add(u64::from(item.len()));
            (ordinal, at, item)
        })
    }

    /// The item with this ordinal and the offset of its line.
    #[must_use]
    pub fn get(&self, ordinal: Ordinal) -> Option<(u64, ItemRec)> {
        self.iter().find(|(at, ..)| *at == ordinal).map(|(_, offset, item)| (offset, *item))
    }

    /// The first ordinal after the chunk.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.first) + self.items.len() as u64
    }

    /// Where the line after the chunk's last begins in `requests.jsonl`.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.items.iter().fold(self.offset, |offset, item| offset.saturating_add(u64::from(item.len())))
    }
}
