//! Whole jobs against the simulated provider, in process, over TCP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod world;
mod lanes;
mod away;
mod cache;
mod stream;
mod tokens;
mod failover;
mod failover_back;
mod failover_resume;
mod guards;
mod hedge;
mod kinds;
mod embeddings;
mod embeddings_out;
mod embeddings_vectors;
mod real;
mod deadline;
mod decided;
mod forecast;
mod learned;
mod limit;
mod wishes;
mod recover;
mod ghosts;
mod first;
mod outage;
mod packed;
mod packed_gate;
mod story;
mod proof;
mod bundles;
mod bundles_doubt;
mod bundles_crash;
mod faults;
