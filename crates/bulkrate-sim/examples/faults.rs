//! Prints the fault catalogue, tab-separated, for `cargo xtask docs`.

#![allow(clippy::print_stdout, reason = "an example")]

fn main() {
    print!("{}", bulkrate_sim::fault_catalogue());
}
