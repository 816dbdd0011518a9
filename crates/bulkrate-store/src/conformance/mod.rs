//! What every store must do; a store's tests call [`run`] with a way to make an empty one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test suite: a store that fails it must stop the test"
)]

mod history;
mod money;
mod sample;
mod whole;

pub use sample::{chunk, job, lease, ledger, outcome, sub, submission};

use crate::store::Store;

/// Runs the whole suite; panics at the first thing that does not hold.
pub fn run(make: impl Fn() -> Box<dyn Store>) {
    let suite: [fn(Box<dyn Store>); 14] = [
        whole::jobs_are_numbered_and_found,
        whole::items_come_back_in_order,
        whole::items_follow_on_the_last_chunk,
        whole::a_failing_tx_leaves_nothing,
        whole::job_fields_change_only_when_given,
        whole::orders_wait_until_done,
        whole::a_removed_job_leaves_only_its_ledger,
        whole::a_file_that_cannot_be_synced_stops_the_commit,
        history::the_log_keeps_the_order_of_commits,
        history::a_submission_is_replaced_not_doubled,
        history::void_leases_are_queued_again,
        history::the_fold_is_the_same_live_and_loaded,
        money::totals_are_the_sums_of_rows,
        money::caps_count_what_is_open,
    ];
    for test in suite {
        test(make());
    }
}
