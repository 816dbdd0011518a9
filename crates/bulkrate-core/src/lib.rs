//! DECIDES. Everything bulkrate knows and concludes, without touching the world.
//!
//! Invariants
//! - Pure: no clock, network, disk, process or randomness; time and ids come in as arguments.
//! - Money is integer: prices in pico-dollars per token, sums in nano-dollars, one rounding, upward.
//!
//! The modules stand in the order in which an item meets them.

// Nouns.
pub mod money;
pub mod usage;
pub mod ids;
pub mod lane;
pub mod failure;
pub mod request;
pub mod tokens;
pub mod answer;
// The way of an item.
pub mod prepare;
pub mod dedup;
pub mod filter;
pub mod route;
pub mod price;
pub mod order;
pub mod prompt_cache;
pub mod budget;
pub mod pack;
pub mod bundle;
pub mod pace;
pub mod failover;
pub mod submission;
pub mod collect;
pub mod retry;
pub mod cascade;
pub mod semantic;
pub mod review;
// Over all of these.
pub mod plan;
// For tests.
pub mod planted;
