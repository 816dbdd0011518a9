//! Raw answer -> verdict per item: is it an answer to what was asked?

mod check;

pub(crate) use check::unfence;
pub use check::{BadSchema, Checked, Expectation, Flaw, check};
