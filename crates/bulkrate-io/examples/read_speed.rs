//! Prints how fast rows are read and written: `cargo run --release -p bulkrate-io --example read_speed [FILE...]`.
//! Without a file it makes its own in the temporary folder. Figures are the best of three, for one core, file cached.
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bulkrate_io::{
    Column, ColumnType, RowData, Sink, SinkOptions, Source, SourceOptions, Value, digest_file,
};

const ROWS: u32 = 400_000;
const TEXT: &str = "The parcel came two days late, and when I opened it the box was crushed on one side, but the \
    lamp inside worked, so in the end I kept it; the support line was friendly enough and offered me a part of my \
    money back, which I did not expect at all. Would I order here again? Perhaps, if somebody finally fixes the \
    tracking page, which still says that nothing was ever sent to my address.";

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().skip(1).map(PathBuf::from).collect::<Vec<_>>();
    let folder = std::env::temp_dir().join(format!("bulkrate-read-speed-{}", std::process::id()));
    let files = if given.is_empty() { make(&folder)? } else { given };
    let mut out = std::io::stdout().lock();
    for path in &files {
        let megabytes = fs::metadata(path)?.len() as f64 / 1e6;
        let (rows, took) = best(|| read(path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        report(&mut out, &format!("read {name}"), rows, megabytes, took)?;
    }
    let started = Instant::now();
    digest_file(&files[0])?;
    report(&mut out, "digest_file", 0, fs::metadata(&files[0])?.len() as f64 / 1e6, started.elapsed())?;
    fs::create_dir_all(&folder)?;
    for name in ["out.jsonl", "out.csv", "out.parquet"] {
        let path = folder.join(name);
        let (rows, took) = best(|| write(&path))?;
        report(&mut out, &format!("write {name}"), rows, fs::metadata(&path)?.len() as f64 / 1e6, took)?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn report(
    out: &mut impl Write,
    what: &str,
    rows: u64,
    megabytes: f64,
    took: Duration,
) -> std::io::Result<()> {
    let seconds = took.as_secs_f64();
    let (speed, rate) = (megabytes / seconds, rows as f64 / seconds / 1e6);
    writeln!(out, "{what:<40} {speed:>7.0} MB/s {rate:>7.2} M rows/s {rows:>8} rows {seconds:>6.3} s")
}

fn best(run: impl Fn() -> Result<u64, Box<dyn Error>>) -> Result<(u64, Duration), Box<dyn Error>> {
    let mut fastest = (0, Duration::MAX);
    for _ in 0..3 {
        let started = Instant::now();
        let rows = run()?;
        fastest = (rows, fastest.1.min(started.elapsed()));
    }
    Ok(fastest)
}

/// Reads all rows and touches every cell, as a template would.
fn read(path: &Path) -> Result<u64, Box<dyn Error>> {
    let mut source = Source::open(&SourceOptions::new(path))?;
    let (mut rows, mut bytes) = (0, 0);
    let mut scratch = String::new();
    while let Some(row) = source.next()? {
        rows += 1;
        bytes += match row.data {
            RowData::Cells(cells) => cells.iter().map(str::len).sum::<usize>(),
            RowData::Json(json) => json.iter().map(|(_, value)| value.cell_in(&mut scratch).len()).sum(),
            RowData::Bad(_) => 0,
        };
    }
    std::hint::black_box(bytes);
    Ok(rows)
}

fn write(path: &Path) -> Result<u64, Box<dyn Error>> {
    let kinds = [("id", ColumnType::Int), ("text", ColumnType::Text), ("answer", ColumnType::Text)];
    let mut columns = kinds.map(|(name, kind)| Column::new(name, kind)).to_vec();
    columns.push(Column::new("_cost_usd", ColumnType::Decimal9));
    let options = SinkOptions { overwrite: true, ..SinkOptions::new(path) };
    let mut sink = Sink::open(&options, &columns)?;
    for row in 0..ROWS {
        let (from, number) = (row as usize % 97, i64::from(row));
        let text = Value::Text(&TEXT[from..]);
        sink.write(&[Value::Int(number), text, Value::Text("positive"), Value::Int(number * 1_500)])?;
    }
    Ok(sink.finish()?.rows)
}

/// Text tables as people have them, and one of short cells.
fn make(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let names = ["text.csv", "short.csv", "text.jsonl", "short.jsonl", "escaped.jsonl", "text.parquet"];
    let paths = names.map(|name| folder.join(name));
    let mut files = Vec::new();
    for path in &paths[..5] {
        files.push(std::io::BufWriter::new(fs::File::create(path)?));
    }
    writeln!(files[0], "id,text,label")?;
    writeln!(files[1], "id,a,b,c,d,e,f,g")?;
    let columns = ["id", "text", "label"].map(|name| Column::new(name, ColumnType::Text));
    let mut sink = Sink::open(&SinkOptions::new(&paths[5]), &columns)?;
    for row in 0..ROWS {
        let text = &TEXT[row as usize % 97..];
        writeln!(files[0], "{row},\"{text}\",positive")?;
        writeln!(files[1], "{row},Medical,FL,32219.0,Web,11/13/2014,Yes,{}", row % 7)?;
        writeln!(files[2], "{{\"id\": {row}, \"text\": \"{text}\", \"label\": \"positive\"}}")?;
        writeln!(
            files[3],
            "{{\"id\":{row},\"a\":\"Medical\",\"b\":\"FL\",\"c\":32219.0,\"d\":null,\"e\":true}}"
        )?;
        writeln!(
            files[4],
            "{{\"id\":{row},\"text\":\"{}\"}}",
            text.replace(". ", ".\\n").replace(", ", " \\\"\\u00e9\\\" ")
        )?;
        sink.write(&[Value::Int(row.into()), Value::Text(text), Value::Text("positive")])?;
    }
    for mut file in files {
        file.flush()?;
    }
    sink.finish()?;
    Ok(paths.to_vec())
}
