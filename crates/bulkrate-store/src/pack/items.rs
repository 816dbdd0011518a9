//! Chunks of items: the kinds, then the sizes. The keys are a BLOB of their own, so that a scan need not read them.

use bulkrate_core::ids::{Ordinal, RequestKey};

use super::bytes::{Damage, Pack, Unpack};
use crate::row::{ItemChunk, ItemKind, ItemRec};

/// Everything of a chunk's items but the keys.
#[must_use]
pub fn pack_items(chunk: &ItemChunk) -> Vec<u8> {
    let mut pack = Pack::new(chunk.items.len() * 6);
    pack.count(chunk.items.len());
    for item in &chunk.items {
        pack.byte(item.kind() as u8);
    }
    for (ordinal, item) in (chunk.first..).zip(&chunk.items) {
        match *item {
            ItemRec::Leader { header_len, len, tags, .. } => {
                pack.uint(u64::from(header_len));
                pack.uint(u64::from(len));
                pack.uint(u64::from(tags));
            }
            ItemRec::Follower { leader } => pack.int(i64::from(ordinal) - i64::from(leader)),
            ItemRec::Invalid => {}
        }
    }
    pack.finish()
}

/// The keys of a chunk's leaders.
#[must_use]
pub fn pack_keys(chunk: &ItemChunk) -> Vec<u8> {
    let mut pack = Pack::new(chunk.items.len() * 32);
    for item in &chunk.items {
        if let ItemRec::Leader { key, .. } = item {
            pack.bytes(&key.0);
        }
    }
    pack.finish()
}

/// The chunk that was packed; `first` and `offset` are columns beside it.
pub fn unpack_items(first: Ordinal, offset: u64, items: &[u8], keys: &[u8]) -> Result<ItemChunk, Damage> {
    let mut unpack = Unpack::new(items)?;
    let mut keys = Unpack::new(keys)?;
    let kinds = read_kinds(&mut unpack)?;
    let mut chunk = ItemChunk { first, offset, items: Vec::with_capacity(kinds.len()) };
    for (place, kind) in (0_u32..).zip(kinds) {
        chunk.items.push(match kind {
            0 => {
                let key = keys.bytes(32)?.try_into().map_err(|_| Damage::Short)?;
                let (header_len, len, tags) = (unpack.u32()?, unpack.u32()?, unpack.u32()?);
                ItemRec::Leader { key: RequestKey(key), header_len, len, tags }
            }
            1 => {
                let ordinal = i64::from(first) + i64::from(place);
                let leader = ordinal.checked_sub(unpack.int()?).and_then(|leader| u32::try_from(leader).ok());
                ItemRec::Follower { leader: leader.ok_or(Damage::Value)? }
            }
            _ => ItemRec::Invalid,
        });
    }
    unpack.end()?;
    keys.end()?;
    Ok(chunk)
}

/// Only the kinds, appended to `kinds`.
pub fn unpack_kinds(items: &[u8], kinds: &mut Vec<ItemKind>) -> Result<(), Damage> {
    let read = read_kinds(&mut Unpack::new(items)?)?;
    kinds.extend(read.iter().map(|kind| match kind {
        0 => ItemKind::Leader,
        1 => ItemKind::Follower,
        _ => ItemKind::Invalid,
    }));
    Ok(())
}

fn read_kinds<'a>(unpack: &mut Unpack<'a>) -> Result<&'a [u8], Damage> {
    let count = unpack.count(1)?;
    let kinds = unpack.bytes(count)?;
    if kinds.iter().any(|kind| *kind > ItemKind::Invalid as u8) { Err(Damage::Value) } else { Ok(kinds) }
}
