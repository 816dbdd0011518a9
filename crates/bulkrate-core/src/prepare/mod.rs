//! Record -> request: renders templates, writes the canonical form, hashes it.
//!
//! Invariants
//! - Data is never compiled as a template; templates are compiled once, before the first record.
//! - The bytes that are hashed are the bytes that are kept: a sealed line is `{` header canonical-tail, see [`Sealed`].

mod blueprint;
mod marks;
mod record;
mod sealed;
mod stencil;
mod filters;
mod template;

pub use blueprint::{Blueprint, ImageError, ItemError, Setup, Turn};
pub use record::Cell;
pub use sealed::{Chosen, Sealed, Wishes, key_of, seal};
pub use stencil::Stencil;
pub use template::{Template, TemplateError, columns_hint};
