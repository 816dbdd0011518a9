//! Prints `docs/reference/failures.md`: the closed list of failures with what each means. See `cargo xtask docs`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use bulkrate_core::failure::{FailureClass, Verdict};

fn main() {
    println!("# Failure classes\n");
    println!(
        "Every item that did not get a good answer ends in one of these. The name stands in the `_error` column of"
    );
    println!(
        "results, in dead letters and in reports. Names and their order never change; new ones are added at the end.\n"
    );
    println!("| class | what happens next | counts as an attempt | exit code | meaning |");
    println!("| --- | --- | --- | --- | --- |");
    for class in FailureClass::ALL {
        let next = match class.verdict() {
            Verdict::RetryLater => "tried again",
            Verdict::GiveUp => "the item fails",
            Verdict::HaltJob => "the job stops",
        };
        let counts = if class.counts_as_attempt() { "yes" } else { "no" };
        println!("| `{}` | {next} | {counts} | {} | {} |", class.name(), class.exit_code(), class.meaning());
    }
    println!(
        "\nThe exit code is the one of a job in which the class is the gravest thing that happened and the share of failed"
    );
    println!("items stays within `--fail-above`; above it the exit code is 1.");
}
