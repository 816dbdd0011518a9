//! Which models, in which lane, answer a job for the least money, or the soonest, without losing more quality than was allowed.
//!
//! A pilot has asked some of the job's items of each model. [`Sheet`] holds what they said, [`families`] which ways of answering there are,
//! [`loss`] what the answers prove of one, [`prove`] of all of them, [`best_accept`] by what a cascade should accept, [`routed`] what a router learns of it, [`cascaded`] and [`asked_again`] what it costs, and [`search`] which plan wins and why each other one
//! lost, [`too_dear`] and [`unearned`] whether the pilot was worth its money.
//!
//! Invariants
//! - Pure, and no matter in which order the candidates come.
//! - A plan is good enough by the bound of its loss, not by the estimate, and the bound pays for all that were looked at, and for each look.
//! - Money is integer and rounded up; floats are for shares alone.
//!
//! Acted on by `bulkrate_engine::pilot`.

mod sheet;
mod proof;
mod manner;
mod mix;
mod accept;
mod families;
mod routed;
mod candidate;
mod tested;
mod search;
mod worth;
#[cfg(test)]
mod tests;

pub use accept::{Step, THRESHOLDS, Tried, best_accept, cascades};
pub use candidate::{Candidate, Quality, Way, asked_again, cascaded, gone_on, times};
pub use families::{Family, Signs, families, measured_plans, sequence};
pub use manner::{Manner, asked_next, bundles_of};
pub use mix::{Mix, NoRivals, Rivals, mix, rivals};
pub use proof::{Loss, doubt_at, in_sequence, loss, needed};
pub use routed::{AskedSo, Broken, Routed, asked_by_router, qualities, routed};
pub use search::{Aim, Ask, Lost, Search, search};
pub use sheet::{Said, Sheet};
pub use tested::{Tested, prove};
pub use worth::{too_dear, unearned};
