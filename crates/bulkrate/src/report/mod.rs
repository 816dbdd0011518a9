//! What people and programs are told: tables, lines, a live display, JSON.
//!
//! Everything that makes text is a function of its arguments; only `out`, `live` and `teller` touch the terminal.

pub mod out;
pub mod words;
pub mod table;
pub mod json;
pub mod plan;
pub mod pilot;
pub mod progress;
pub mod live;
pub mod teller;
pub mod batches;
pub mod end;
pub mod views;
pub mod prices;
pub mod outlook;
pub mod savings;
pub mod cost;
pub mod fields;
pub mod filter;
pub mod router;

#[cfg(test)]
pub(crate) mod tests;
