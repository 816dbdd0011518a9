//! One job at work: what all lanes share.

pub(crate) mod absent;
pub(crate) mod clock;
pub(crate) mod requests;
pub(crate) mod results;
pub(crate) mod stream;
pub(crate) mod ledger;
pub(crate) mod heaps;
pub(crate) mod followers;
pub(crate) mod fresh;
pub(crate) mod trouble;
pub(crate) mod job;
pub(crate) mod prompt_cache;
pub(crate) mod ready;
pub(crate) mod cascade;
pub(crate) mod judge;
pub(crate) mod bundle;
pub(crate) mod land;
pub(crate) mod recover;
pub(crate) mod doubt;
pub(crate) mod operator;
pub(crate) mod tags;
pub(crate) mod urgent;
pub(crate) mod drive;
pub(crate) mod failures;
pub(crate) mod review;
pub(crate) mod forecast;
