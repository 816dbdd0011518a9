//! The files in the folder that `BULKRATE_TEST_DATA` names, where it is set.
use std::path::Path;

use crate::support::{options, read};

#[test]
fn real_files_read_whole() {
    let Some(root) = std::env::var_os("BULKRATE_TEST_DATA") else {
        eprintln!("SKIPPED: BULKRATE_TEST_DATA is not set; real files were not read");
        return;
    };
    for (name, columns, rows) in [
        ("banking77.jsonl.gz", 4, 13_083),
        ("sms_spam.jsonl.gz", 3, 5_574),
        ("snips_extract.jsonl.gz", 5, 14_484),
        ("cfpb_complaints.jsonl.gz", 3, 3_947),
        ("cfpb_table.csv.gz", 14, 8_340),
        ("clothing_reviews_1000.csv.gz", 10, 1_000),
    ] {
        let got = read(&options(Path::new(&root).join("jobs").join(name))).unwrap();
        assert_eq!((got.columns.len(), got.rows.len()), (columns, rows), "{name}");
    }
}
