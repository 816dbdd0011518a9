//! The cache as a job that is prepared sees it: every finished job's file, newest first.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use bulkrate_core::ids::{Ordinal, RequestKey};
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Place, SqliteReader, SqliteStore, View};

use super::file::KeysFile;
use super::snapshot_key;
use crate::EngineError;
use crate::deliver::Lines;
use crate::paths::{JobDir, cache_dir};
use crate::result_line::{ResultLine, seal};

/// Files that are looked at, newest first: bounds open files and the time of a look-up.
const FILES_MAX: usize = 256;
const STATUS: &[u8] = b",\"status\":\"succeeded\"";
const COST: &[u8] = b",\"cost_usd\":\"";
const PROVIDER: &[u8] = b"\",\"provider\":\"";
const LANE: &[u8] = b",\"lane\":\"";

/// Answers of earlier jobs.
#[derive(Debug)]
pub(crate) struct Cache {
    earlier: Vec<Earlier>,
    reader: SqliteReader,
    /// Newest served snapshot, by pinned model.
    newest: HashMap<String, Option<String>>,
    /// What could not be used, and why; once for each file.
    notes: Vec<String>,
}

#[derive(Debug)]
struct Earlier {
    keys: KeysFile,
    no: u32,
    dir: JobDir,
    lines: Option<Lines>,
    /// Told already that it cannot be read.
    broken: bool,
}

/// A leader that may have been answered before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub ordinal: Ordinal,
    pub deployment: usize,
    pub tags: u32,
}

/// An answer that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    pub asked: Asked,
    pub naive: UsdNanos,
    earlier: usize,
    place: Place,
}

impl Cache {
    /// The files of every job but `own`; `None` where there are none.
    pub(crate) fn open(state_dir: &Path, own: u32) -> Result<Option<Self>, EngineError> {
        let dir = cache_dir(state_dir);
        let is_keys = |entry: std::fs::DirEntry| {
            Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == "keys")
        };
        if !std::fs::read_dir(&dir).is_ok_and(|entries| entries.flatten().any(is_keys)) {
            return Ok(None);
        }
        let reader = SqliteStore::open_reader(state_dir)?;
        let mut cache = Self { earlier: Vec::new(), newest: HashMap::new(), notes: Vec::new(), reader };
        for job in cache.reader.jobs()?.into_iter().rev().filter(|job| job.no != own) {
            let path = dir.join(format!("{}.keys", job.id));
            match KeysFile::open(&path) {
                Ok(keys) if keys.meta.job == job.id => {
                    cache.earlier.push(Earlier {
                        keys,
                        no: job.no,
                        dir: JobDir::of(state_dir, &job.id),
                        lines: None,
                        broken: false,
                    });
                }
                Ok(_) => cache
                    .notes
                    .push(format!("the cache file `{}` is another job's; it is not used", path.display())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    cache.notes.push(format!("the cache file `{}` cannot be used: {error}", path.display()));
                }
            }
            if cache.earlier.len() >= FILES_MAX {
                break;
            }
        }
        Ok(if cache.earlier.is_empty() && cache.notes.is_empty() { None } else { Some(cache) })
    }

    /// Which of a chunk's leaders are answered, in the order in which the answers lie. `pinned` names a deployment's model.
    pub(crate) fn find(
        &mut self,
        asked: &mut [(RequestKey, Asked)],
        pinned: impl Fn(usize) -> String,
    ) -> Result<Vec<Hit>, EngineError> {
        asked.sort_unstable_by_key(|(key, _)| *key);
        let mut hits: Vec<Hit> = Vec::new();
        let mut open = vec![true; asked.len()];
        for (number, earlier) in self.earlier.iter_mut().enumerate() {
            let mut found = Vec::new();
            if let Err(error) =
                earlier.keys.find(asked, |place| open[place], |place, entry| found.push((place, entry)))
            {
                earlier.note(&mut self.notes, &error.to_string());
            }
            for (place, entry) in found {
                let (_, asked) = asked[place];
                let Some(served) = earlier.keys.meta.models.get(usize::from(entry.model)) else { continue };
                if is_newest(&mut self.newest, &self.reader, &pinned(asked.deployment), served)? {
                    open[place] = false;
                    hits.push(Hit { asked, naive: entry.naive, earlier: number, place: entry.place });
                }
            }
        }
        hits.sort_unstable_by_key(|hit| (hit.earlier, hit.place.segment, hit.place.offset));
        Ok(hits)
    }

    /// Appends the line of a hit, as this job's own; false: it cannot be read, and nothing is appended.
    pub(crate) fn copy(&mut self, hit: &Hit, out: &mut Vec<u8>) -> Result<bool, EngineError> {
        let earlier = &mut self.earlier[hit.earlier];
        if earlier.lines.is_none() {
            earlier.lines = Some(Lines::new(&earlier.dir, &self.reader.submissions(earlier.no)?));
        }
        let Some(lines) = &mut earlier.lines else { return Ok(false) };
        let copied = match lines.line(hit.place) {
            Ok(line) if rewrite(line, hit.asked.ordinal, out) => Ok(()),
            Ok(_) => Err("a stored answer is damaged".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = &copied {
            earlier.note(&mut self.notes, why);
        }
        Ok(copied.is_ok())
    }

    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

impl Earlier {
    fn note(&mut self, notes: &mut Vec<String>, why: &str) {
        if !std::mem::replace(&mut self.broken, true) {
            notes.push(format!("answers of job `{}` cannot be used again: {why}", self.keys.meta.job));
        }
    }
}

/// Whether an answer's snapshot is the newest seen for its model; where none was seen, any is.
fn is_newest(
    newest: &mut HashMap<String, Option<String>>,
    reader: &SqliteReader,
    pinned: &str,
    served: &str,
) -> Result<bool, EngineError> {
    if !newest.contains_key(pinned) {
        newest.insert(pinned.to_owned(), reader.meta(&snapshot_key(pinned))?);
    }
    Ok(newest[pinned].as_deref().is_none_or(|newest| newest == served))
}

/// The line with another item, attempt 0, no cost, lane `cache`, and without what stands behind that; false if it is no good answer.
fn rewrite(line: &[u8], ordinal: Ordinal, out: &mut Vec<u8>) -> bool {
    if ResultLine::parse(line).is_err() {
        return false;
    }
    // The status follows three numbers; cost, provider, model and lane come last but for what is of one job alone. A quote within a text is escaped, so
    // these can be found from either end.
    let parts = memchr::memmem::find(line, STATUS).and_then(|status| {
        let cost = memchr::memmem::rfind(line, COST)?;
        let provider = cost + memchr::memmem::find(&line[cost..], PROVIDER)?;
        let lane = memchr::memmem::rfind(line, LANE)?;
        (status < cost && provider < lane).then_some((status, cost, provider, lane))
    });
    let Some((status, cost, provider, lane)) = parts else { return false };
    // Writing to a Vec cannot fail.
    let start = out.len();
    let _ = write!(out, "{{\"item\":{ordinal},\"attempt\":0,\"attempts\":0");
    out.extend_from_slice(&line[status..cost]);
    let _ = write!(out, ",\"cost_usd\":\"{}", UsdNanos::ZERO);
    out.extend_from_slice(&line[provider..lane]);
    out.extend_from_slice(b",\"lane\":\"cache\"");
    seal(start, out);
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bulkrate_core::answer::Finish;
    use bulkrate_core::collect::Checked;
    use bulkrate_core::failure::FailureClass;
    use bulkrate_core::usage::Usage;

    use super::*;
    use crate::result_line::{Compared, Frame, write_bad, write_good};

    #[test]
    fn a_line_becomes_this_jobs_own() {
        let usage = Usage { input: 3, ..Usage::default() };
        let frame = Frame {
            ordinal: 7,
            attempt: 2,
            attempts: 2,
            provider: "openai",
            model: "m\",\"lane\":\"x",
            via: "batch",
            cost: UsdNanos(75),
            usage: Some(&usage),
            sureness: None,
            chances: &[],
            instead: None,
        };
        let tricky = "a,\"status\":\"succeeded\",\"cost_usd\":\"9\",\"lane\":\"b\"";
        let (mut line, mut out) = (Vec::new(), Vec::new());
        // What it taught the semantic cache of its own job is nothing to this one.
        let compared = Some(Compared { near: None, chance: None, kept: Some(UsdNanos(5)) });
        write_good(frame, &Checked::Text(tricky.into()), Finish::Stop, compared, &mut line);
        assert!(rewrite(line.trim_ascii_end(), 41, &mut out));
        let got = ResultLine::parse(&out).unwrap();
        assert_eq!(
            (got.item, got.attempt, got.attempts, &*got.lane, &*got.model),
            (41, 0, Some(0), "cache", frame.model)
        );
        assert_eq!(UsdNanos::parse(&got.cost_usd).unwrap(), UsdNanos::ZERO);
        let whole: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(serde_json::from_value::<Usage>(whole["usage"].clone()).unwrap(), usage);
        assert_eq!((whole["provider"].as_str(), whole.get("semantic")), (Some("openai"), None));
        assert_eq!(got.response.unwrap().text.as_deref(), Some(tricky));
        assert!(out.ends_with(b"\"}\n"));
    }

    #[test]
    fn what_is_no_good_answer_is_left() {
        let mut bad = Vec::new();
        let frame = Frame {
            ordinal: 7,
            attempt: 2,
            attempts: 2,
            provider: "p",
            model: "m",
            via: "sync",
            cost: UsdNanos(0),
            usage: None,
            sureness: None,
            chances: &[],
            instead: None,
        };
        write_bad(frame, FailureClass::Empty, "nothing", None, None, &mut bad);
        let mut out = Vec::new();
        for line in [bad.as_slice(), b"{\"item\":7", b""] {
            assert!(!rewrite(line, 1, &mut out));
        }
        assert!(out.is_empty());
    }
}
