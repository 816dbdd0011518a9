//! Packed records: what a BLOB of many items, leases or outcomes holds.
//!
//! A BLOB is a version byte, four bytes of checksum over the rest, and the rest: a count and the records as varints.
//! Reading anything else is an error, never a panic and never a large allocation.

mod bytes;
mod items;
mod leases;
mod outcomes;

pub use bytes::{Damage, checksum};
pub use items::{pack_items, pack_keys, unpack_items, unpack_kinds};
pub use leases::{pack_leases, unpack_leases};
pub use outcomes::{pack_outcomes, unpack_outcomes, unpack_outcomes_into};

#[cfg(test)]
mod tests;
