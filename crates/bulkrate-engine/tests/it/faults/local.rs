//! F70 to F85, as far as they concern a process and its files.
