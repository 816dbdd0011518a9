//! The command line. All of it is in the library, so that tests can call it.

use std::process::ExitCode;

/// A job is made of many small strings; several threads allocate and free them.
#[global_allocator]
static ALLOCATOR: bulkrate_alloc::MiMalloc = bulkrate_alloc::MiMalloc;

fn main() -> ExitCode {
    bulkrate_alloc::give_back_soon();
    ExitCode::from(bulkrate::app::main())
}
