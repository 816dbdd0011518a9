//! The simulator over TCP, with a client that knows nothing but HTTP/1.1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod batches;
mod client;
mod faults;
mod message_batches;
mod sync;
