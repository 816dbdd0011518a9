//! Gate C1: equal requests are found, and nothing else is taken for one.

use crate::data;
use crate::gates::{Bar, Gates};
use anyhow::Result;
use bulkrate_core::dedup::Index;
use bulkrate_core::ids::{Ordinal, RequestKey};
use bulkrate_core::prepare::key_of;
use bulkrate_core::request::{Content, Message, Request, Role, write_canonical};
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;

/// A data set, and how many of its texts another one has been before.
const SETS: [(&str, &str, f64); 2] =
    [("sms_spam", "SMS spam", 403.0), ("snips_extract", "SNIPS intents", 174.0)];

#[derive(Debug, serde::Deserialize)]
struct Row {
    text: String,
}

pub(crate) fn measure(root: &Path, gates: &mut Gates) -> Result<()> {
    for (name, what, duplicates) in SETS {
        let rows: Vec<Row> = data::rows(&root.join("jobs").join(format!("{name}.jsonl.gz")))?;
        let (found, wrong) = followers(&rows)?;
        let found = data::real(found);
        gates.add("C1", format!("{what}: duplicates found"), found, Bar::AtLeast(duplicates));
        gates.add(
            "C1",
            format!("{what}: false, or more than there are"),
            data::real(wrong) + (found - duplicates).max(0.0),
            Bar::AtMost(0.0),
        );
    }
    Ok(())
}

/// Rows that follow another, and how many of those do not have its text, or are not told what they are.
fn followers(rows: &[Row]) -> Result<(usize, usize)> {
    let keys: Vec<RequestKey> = rows.iter().map(|row| key(&row.text)).collect();
    let (mut index, mut first) = (Index::new(), HashMap::new());
    let (mut found, mut wrong) = (0, 0);
    for (at, row) in rows.iter().enumerate() {
        let same = |leader: Ordinal| Ok::<_, Infallible>(keys[leader as usize] == keys[at]);
        let leader = index.lead(&keys[at], Ordinal::try_from(at)?, same)?;
        let expected = *first.entry(row.text.as_str()).or_insert(at);
        found += usize::from(leader.is_some());
        wrong += usize::from(leader.map_or(at, |leader| leader as usize) != expected);
    }
    Ok((found, wrong))
}

fn key(text: &str) -> RequestKey {
    let message = Message { role: Role::User, content: Content::Text(text.into()), tool_call_id: None };
    let request = Request {
        model: "gpt-6-luna-2026-09-22".into(),
        system_prompt: vec!["Say what it is.".into()],
        messages: vec![message],
        ..Request::default()
    };
    let mut canonical = Vec::new();
    write_canonical(&request, &mut canonical);
    key_of(&canonical)
}
