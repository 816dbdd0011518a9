//! The allocator of the program, and how soon it gives memory back.
//!
//! mimalloc keeps pages that have become free for a second before the system has them back, and a job frees whole chunks all the time. Its
//! options are set by environment variables or by a foreign function, which is why this is a crate of its own.

pub use mimalloc::MiMalloc;

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc 3, in milliseconds; the bindings do not name it. A test tells whether it has moved.
const PURGE_DELAY: mi_option_t = 15;

/// How long free pages are kept, in milliseconds: what a call frees, the next takes again within it, which spares two page faults
/// in three of the sync lane, a tenth of its time; chunks go back before there are many of them (`docs/benchmarks.md`).
const KEPT_MS: std::ffi::c_long = 25;

/// Gives free pages back soon; whoever has set `MIMALLOC_PURGE_DELAY` keeps what is set there.
pub fn give_back_soon() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        set_purge_delay(KEPT_MS);
    }
}

#[allow(unsafe_code, reason = "a foreign function")]
fn set_purge_delay(ms: std::ffi::c_long) {
    // SAFETY: the option exists (below the number of options), and any number is a delay; it may be set at any time.
    unsafe { mi_option_set(PURGE_DELAY, ms) }
}

/// The delay in force, in milliseconds.
#[must_use]
#[allow(unsafe_code, reason = "a foreign function")]
pub fn purge_delay_ms() -> std::ffi::c_long {
    // SAFETY: it reads one number of an option that exists.
    unsafe { mi_option_get(PURGE_DELAY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_purge_delay_of_this_version() {
        // Of all options of mimalloc 3 only this one is a thousand unless it is set.
        assert_eq!(purge_delay_ms(), 1_000, "the place of the option has moved");
        give_back_soon();
        assert_eq!(purge_delay_ms(), KEPT_MS);
    }
}
