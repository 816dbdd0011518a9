//! The lanes: how leased items reach a provider and come back.

mod away;
pub(crate) mod breaker;
mod crowd;
mod first;
mod gate;
pub(crate) mod calls;
pub(crate) mod batch;
pub(crate) mod pack;
pub(crate) mod queue;
pub(crate) mod lines;
pub(crate) mod submission;
pub(crate) mod fetch;
pub(crate) mod outage;
pub(crate) mod reach;
mod collect;
mod evidence;
pub(crate) mod brought;
pub(crate) mod stood_in;
pub(crate) mod twin;
pub(crate) mod ghost;
pub(crate) mod sweep;
#[cfg(test)]
mod fixture;
