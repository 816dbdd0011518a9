//! The leases of one submission; their places are the `seq` of the wire ids.

use bulkrate_core::money::UsdNanos;

use super::bytes::{Damage, Pack, Unpack};
use crate::row::Lease;

#[must_use]
pub fn pack_leases(leases: &[Lease]) -> Vec<u8> {
    let mut pack = Pack::new(leases.len() * 6);
    pack.count(leases.len());
    let mut next = 0_i64;
    for lease in leases {
        pack.int(i64::from(lease.ordinal) - next);
        pack.byte(lease.attempt);
        pack.int(lease.bound.0);
        next = i64::from(lease.ordinal) + 1;
    }
    pack.finish()
}

pub fn unpack_leases(blob: &[u8]) -> Result<Vec<Lease>, Damage> {
    let mut unpack = Unpack::new(blob)?;
    let count = unpack.count(3)?;
    let mut leases = Vec::with_capacity(count);
    let mut next = 0_i64;
    for _ in 0..count {
        let ordinal = next.checked_add(unpack.int()?).ok_or(Damage::Value)?;
        next = ordinal.saturating_add(1);
        let ordinal = u32::try_from(ordinal).map_err(|_| Damage::Value)?;
        leases.push(Lease { ordinal, attempt: unpack.byte()?, bound: UsdNanos(unpack.int()?) });
    }
    unpack.end()?;
    Ok(leases)
}
