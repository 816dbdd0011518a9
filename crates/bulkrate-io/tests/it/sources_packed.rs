//! gzip and zstd: members, damage, bombs, counts.
use bulkrate_io::{Source, SourceOptions};

use crate::support::{Folder, assert_resumable, cells, drain, gzip, options, read, zstd};

fn table(rows: u32) -> String {
    (0..rows).fold("id,text\n".to_owned(), |table, row| format!("{table}{row},\"text of\nrow {row}\"\n"))
}

#[test]
fn packed_files_read_and_resume_as_plain_ones() {
    let folder = Folder::new();
    let table = table(50);
    let (front, back) = table.as_bytes().split_at(table.len() / 2);
    let plain = read(&options(folder.file("t.csv", &table))).unwrap();
    for (name, bytes) in [
        ("t.csv.gz", gzip(table.as_bytes())),
        ("members.csv.gz", [gzip(front), gzip(b""), gzip(back)].concat()),
        ("t.csv.zst", zstd(table.as_bytes())),
        ("frames.csv.zst", [zstd(front), zstd(back)].concat()),
        ("not_named.csv", gzip(table.as_bytes())),
        ("not_packed.csv.gz", table.clone().into_bytes()),
    ] {
        let path = folder.file(name, bytes);
        let got = read(&options(&path)).unwrap();
        assert_eq!(got, plain, "{name}");
        assert_resumable(&options(&path), &got);
    }
    let piped =
        Source::from_reader(Box::new(std::io::Cursor::new(gzip(table.as_bytes()))), &options("-")).unwrap();
    assert_eq!(drain(piped).unwrap(), plain);
}

#[test]
fn a_cut_archive_is_reported_after_its_good_rows() {
    let folder = Folder::new();
    let table = table(20_000);
    for (name, packed) in [("t.csv.gz", gzip(table.as_bytes())), ("t.csv.zst", zstd(table.as_bytes()))] {
        let path = folder.file(name, &packed[..packed.len() - 20]);
        let mut source = Source::open(&options(&path)).unwrap();
        let error = loop {
            match source.next() {
                Ok(row) => assert!(row.is_some(), "{name}: a cut archive has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "source-corrupt", "{error}");
        assert!(source.position().record > 0, "{name}: the rows before the cut are good");
        assert!(error.to_string().contains("unpacked bytes"), "{error}");
    }
    let mut bytes = gzip(table.as_bytes());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    bytes[middle + 1] ^= 0xff;
    assert!(read(&options(folder.file("flipped.csv.gz", bytes))).is_err());
}

#[test]
fn a_bomb_is_stopped() {
    let folder = Folder::new();
    let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 20));
    let packed = gzip(line.repeat(80).as_bytes());
    let path = folder.file("bomb.jsonl.gz", packed);
    let error = read(&options(&path)).unwrap_err();
    assert_eq!(error.code(), "source-decompression-limit");
    assert!(error.to_string().contains("100 times its size"), "{error}");
    let trusted = SourceOptions { ratio_max: None, ..options(&path) };
    assert_eq!(read(&trusted).unwrap().rows.len(), 80);
    let capped = SourceOptions { unpacked_bytes_max: Some(10 << 20), ..trusted };
    assert!(read(&capped).unwrap_err().to_string().contains("10485760 bytes"));
}

#[test]
fn the_raw_bytes_are_counted_on_the_way() {
    let folder = Folder::new();
    let table = table(30_000);
    for (name, bytes) in [
        ("t.csv", table.clone().into_bytes()),
        ("t.csv.gz", gzip(table.as_bytes())),
        ("t.csv.zst", zstd(table.as_bytes())),
    ] {
        let path = folder.file(name, bytes);
        let mut source = Source::open(&options(&path)).unwrap();
        while source.next().unwrap().is_some() {}
        assert_eq!(source.bytes_read(), source.bytes_total().unwrap(), "{name}");
    }
    assert_eq!(cells(&read(&options(folder.path("t.csv"))).unwrap()).len(), 30_000);
}
