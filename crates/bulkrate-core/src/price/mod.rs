//! What tokens cost: the price catalogue, the one pricing function, bounds before a request and estimates of a job.
//!
//! Invariants
//! - Integer money: rates in pico-dollars per token, sums in `u128`, one rounding per request, upward.
//! - A rate that no source publishes is derived by a stated rule, never below what a provider could bill by the
//!   published rates, and marked `derived`.
//! - No I/O: tables and foreign price lists come in as text.
//!
//! The files stand in the order of the data: text, table, row, catalogue, cost, bound, lengths, ratios, estimate, forecast, tally, workload; imports
//! make tables.

pub mod rates;
pub mod table;
mod lanes;
pub mod row;
pub mod catalogue;
pub mod resolve;
pub mod cost;
pub mod bound;
mod numbers;
mod line;
mod lengths;
mod ratios;
pub mod estimate;
pub mod forecast;
pub mod tally;
pub mod workload;
pub mod import;

pub use bound::{Effort, RequestShape};
pub use catalogue::{Catalogue, CatalogueError};
pub use cost::{Breakdown, Saving, price};
pub use estimate::{JobShape, Quote, Ratios, Schemas};
pub use forecast::{FORECAST_MIN, Forecast};
pub use import::{ImportError, Imported};
pub use lengths::Lengths;
pub use numbers::part_of;
pub use resolve::{ResolveError, Resolved};
pub use row::{Kind, ModelRow, Rate, RateSet, Rates, Support};
pub use tally::{Asked, Attempt, Looks, Priced, Tally};
pub use workload::{Outlook, Part, Workload, WorkloadError};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
