//! What all adapters share: the two clients, limits in headers, the proxy, TLS, and the hiding of keys.

pub mod paid;
pub(crate) mod tiers;
pub mod free;
pub mod limits;
pub mod webhook;
mod lines;
mod connection;
mod flow;
mod origin;
pub(crate) mod sign;
mod redact;
pub(crate) mod split;
pub(crate) mod batches;
pub(crate) mod strange;
pub(crate) mod table;
mod probe;
mod proxy;
pub(crate) mod tokens;
mod tls;
mod unreached;
pub(crate) mod xml;
pub mod egress;

pub use origin::Account;
