//! The fault catalogue: a test for each code, whose name begins with it. `cargo xtask docs` makes the table of them.

mod transport;
mod submit;
mod lifecycle;
mod output;
