//! A suite that every adapter must pass against a simulator of its provider.
//!
//! It spends money where the provider is real: point it at a simulator.

mod cells;
mod fields;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bulkrate_core::answer::{Body, Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Sub, WireId};
use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Config, Content, Kind, Message, Request, Role};
use bulkrate_core::submission::{KnownBy, Marker, Phase, RemoteBatch};
use bytes::Bytes;

use crate::api::{BatchApi, CallApi, Created, Provider, WireOptions};
pub use cells::{Column, columns, table};
pub use fields::{Field, fields, write};

/// What the suite is run with.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// A chat model that the service has.
    pub model: &'a str,
    /// An empty folder for the files of the batch.
    pub folder: &'a Path,
    /// Time between two looks at a batch.
    pub poll_every: Duration,
    /// Looks at a batch before the suite gives up.
    pub polls_max: u32,
    /// Makes the markers of this run its own, in milliseconds since the epoch.
    pub unix_ms: u64,
}

/// The rules that were checked, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub passed: Vec<&'static str>,
}

/// A rule that the adapter breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("conformance: {rule}: {seen}")]
pub struct Violation {
    pub rule: &'static str,
    pub seen: String,
}

const ITEMS: u32 = 3;
const NO_MODEL: &str = "no-such-model-0";
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs every check that applies to the provider; stops at the first broken rule.
pub async fn run(provider: &dyn Provider, options: &Options<'_>) -> Result<Report, Violation> {
    let mut suite = Suite { provider, options, passed: Vec::new() };
    if let Some(calls) = provider.calls() {
        suite.sync_call(calls).await?;
        suite.refused_call(calls).await?;
    }
    if let Some(batches) = provider.batches() {
        suite.unknown_ids(batches).await?;
        let ended = suite.whole_batch(batches).await?;
        suite.cancel_of_an_ended_batch(batches, &ended).await?;
        suite.fence(batches).await?;
    }
    Ok(Report { passed: suite.passed })
}

struct Suite<'a> {
    provider: &'a dyn Provider,
    options: &'a Options<'a>,
    passed: Vec<&'static str>,
}

fn broken<T>(rule: &'static str, seen: impl std::fmt::Debug) -> Result<T, Violation> {
    Err(Violation { rule, seen: format!("{seen:?}") })
}

impl Suite<'_> {
    fn pass(&mut self, rule: &'static str) -> Result<(), Violation> {
        self.passed.push(rule);
        Ok(())
    }

    fn body(&self, lane: Lane, model: &str, prompt: &str) -> Result<Vec<u8>, Violation> {
        let message = Message { role: Role::User, content: Content::text(prompt), tool_call_id: None };
        let request = Request {
            model: model.into(),
            messages: vec![message],
            generation_config: Config { max_tokens: Some(32), ..Config::default() },
            ..Request::default()
        };
        let mut body = Vec::new();
        let written = self.provider.wire().encode(&request, WireOptions::new(lane, model), &mut body);
        written.or_else(|error| broken("a plain request can be written", error))?;
        Ok(body)
    }

    async fn sync_call(&mut self, calls: &dyn CallApi) -> Result<(), Violation> {
        const RULE: &str = "a sync call is answered with text and usage";
        let wire = self.provider.wire();
        let body = self.body(Lane::Sync, self.options.model, "Say one word.")?;
        let reply = calls
            .call(&wire.path(Kind::Chat, self.options.model), Bytes::from(body), CALL_TIMEOUT)
            .await
            .or_else(|error| broken(RULE, error))?;
        match wire.read(Kind::Chat, &reply) {
            Reading::Answer(answer)
                if has_text(&answer.body) && answer.usage.is_some_and(|usage| usage.output > 0) =>
            {
                self.pass(RULE)
            }
            other => broken(RULE, other),
        }
    }

    async fn refused_call(&mut self, calls: &dyn CallApi) -> Result<(), Violation> {
        const RULE: &str = "a call to an unknown model is refused unpaid, and halts the job";
        let wire = self.provider.wire();
        const PROMPT: &str = "Say one word.";
        // A wire that knows one maker's words alone writes none for a model that is not his.
        let (any, his) = (NO_MODEL.to_owned(), format!("{}-{NO_MODEL}", self.options.model));
        let unknown = if self.body(Lane::Sync, &any, PROMPT).is_ok() { any } else { his };
        let body = self.body(Lane::Sync, &unknown, PROMPT)?;
        let reply = calls
            .call(&wire.path(Kind::Chat, &unknown), Bytes::from(body), CALL_TIMEOUT)
            .await
            .or_else(|error| broken(RULE, error))?;
        match wire.read(Kind::Chat, &reply) {
            Reading::Failure(Failure {
                class: FailureClass::ModelUnavailable, maybe_paid: false, ..
            }) => self.pass(RULE),
            other => broken(RULE, other),
        }
    }

    async fn unknown_ids(&mut self, batches: &dyn BatchApi) -> Result<(), Violation> {
        const RULE: &str = "what the provider does not know is absent, not an error";
        let polled = batches.poll("batch_00000000000000000000000000000000").await;
        if !matches!(polled, Ok(None)) {
            return broken(RULE, polled);
        }
        let to = self.options.folder.join("absent");
        let downloaded = batches.download("file-0000000000000000000000", &to, 1 << 30).await;
        if !matches!(downloaded, Ok(None)) || to.exists() {
            return broken(RULE, downloaded);
        }
        match batches.delete_file("file-0000000000000000000000").await {
            Ok(()) => self.pass(RULE),
            Err(error) => broken(RULE, error),
        }
    }

    /// Uploads a file of `ITEMS` lines; answers its remote id and the marker of its submission.
    async fn upload(&self, batches: &dyn BatchApi, salt: u64) -> Result<(String, Marker, Sub), Violation> {
        const RULE: &str = "an input file can be uploaded";
        let sub = Sub::new(self.options.unix_ms, u128::from(salt));
        let mut lines = Vec::new();
        for seq in 0..ITEMS {
            let body = self.body(Lane::Batch, self.options.model, &format!("Say the number {seq}."))?;
            batches.input_line(WireId::one(sub, seq), Kind::Chat, &body, &mut lines);
        }
        let path = self.options.folder.join(format!("input-{salt}.jsonl"));
        tokio::fs::write(&path, &lines).await.or_else(|error| broken(RULE, error))?;
        let file = batches.upload(&path, &sub.to_string()).await.or_else(|error| broken(RULE, error))?;
        let marker = Marker {
            inst: "conformance".to_owned(),
            sub: sub.to_string(),
            items: ITEMS,
            digest: format!("{salt:064x}"),
        };
        Ok((file, marker, sub))
    }

    async fn whole_batch(&mut self, batches: &dyn BatchApi) -> Result<RemoteBatch, Violation> {
        let (file, marker, sub) = self.upload(batches, 1).await?;
        let created = match batches.create(&file, Kind::Chat, self.options.model, &marker).await {
            Created::Accepted(batch) => batch,
            other => return broken("a batch can be created", other),
        };
        self.pass("a batch can be created")?;
        self.marker_is_found(batches, (&marker, &file), &created.id).await?;
        let ended = self.wait(batches, &created.id).await?;
        let all = if batches.facts().uncounted { 0 } else { u64::from(ITEMS) };
        let counted = ended.counts.total == all && ended.output_file.is_some();
        if ended.phase != Phase::Completed || !counted {
            return broken("a sound batch completes with all its items", ended);
        }
        self.pass("a sound batch completes with all its items")?;
        self.results(batches, &ended, sub).await?;
        Ok(ended)
    }

    async fn marker_is_found(
        &mut self,
        batches: &dyn BatchApi,
        (marker, file): (&Marker, &str),
        id: &str,
    ) -> Result<(), Violation> {
        const RULE: &str = "the list shows a new batch with all that it is known by";
        let is_known = |batch: &RemoteBatch| match batches.facts().known_by {
            KnownBy::Mark => batch.marker.as_ref() == Some(marker),
            KnownBy::Input => batch.input_file.as_deref() == Some(file),
            KnownBy::Looks | KnownBy::Results => {
                batch.marker.is_none() && batch.counts.total == u64::from(ITEMS) && batch.created_at.is_some()
            }
        };
        for _ in 0..self.options.polls_max {
            let listed = batches.list_since(0).await.or_else(|error| broken(RULE, error))?;
            if let Some(found) = listed.iter().find(|batch| batch.id == id) {
                return if is_known(found) { self.pass(RULE) } else { broken(RULE, found) };
            }
            tokio::time::sleep(self.options.poll_every).await;
        }
        broken(RULE, "it never showed up")
    }

    async fn wait(&self, batches: &dyn BatchApi, id: &str) -> Result<RemoteBatch, Violation> {
        const RULE: &str = "a batch comes to an end";
        for _ in 0..self.options.polls_max {
            match batches.poll(id).await {
                Ok(Some(batch)) if batch.phase.is_terminal() => return Ok(batch),
                Ok(Some(_)) => tokio::time::sleep(self.options.poll_every).await,
                other => return broken(RULE, other),
            }
        }
        broken(RULE, format!("not within {} looks", self.options.polls_max))
    }

    async fn results(
        &mut self,
        batches: &dyn BatchApi,
        ended: &RemoteBatch,
        sub: Sub,
    ) -> Result<(), Violation> {
        const RULE: &str = "every item of a completed batch has one readable result";
        let mut seen = BTreeSet::new();
        for (place, file) in [&ended.output_file, &ended.error_file].into_iter().flatten().enumerate() {
            let to = self.options.folder.join(format!("output-{place}.jsonl"));
            let length = batches.download(file, &to, 1 << 30).await.or_else(|error| broken(RULE, error))?;
            let bytes = tokio::fs::read(&to).await.or_else(|error| broken(RULE, error))?;
            if length != Some(bytes.len() as u64) {
                return broken(RULE, format!("{length:?} reported, {} on disk", bytes.len()));
            }
            for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                let line = batches.read_line(Kind::Chat, line).or_else(|error| broken(RULE, error))?;
                let id = WireId::parse(&line.custom_id).filter(|id| id.sub == sub && id.seq < ITEMS);
                let sound = matches!(&line.reading, Reading::Answer(answer) if has_text(&answer.body) && answer.usage.is_some());
                match id {
                    Some(id) if sound && seen.insert(id.seq) => {}
                    _ => return broken(RULE, line),
                }
            }
        }
        if !batches.facts().known_by.is_exact() {
            let first = batches.first_item(ended).await.or_else(|error| broken(RULE, error))?;
            if first.as_deref().and_then(WireId::parse).is_none_or(|id| id.sub != sub) {
                return broken(RULE, first);
            }
        }
        if seen.len() as u64 == u64::from(ITEMS) { self.pass(RULE) } else { broken(RULE, seen) }
    }

    async fn cancel_of_an_ended_batch(
        &mut self,
        batches: &dyn BatchApi,
        ended: &RemoteBatch,
    ) -> Result<(), Violation> {
        const RULE: &str = "cancelling a batch that has ended changes nothing";
        match batches.cancel(&ended.id).await {
            // Where there is no such call none is sent.
            Err(error) if batches.facts().cannot_cancel && error.status.is_none() => {}
            Ok(()) if !batches.facts().cannot_cancel => {}
            other => return broken(RULE, other),
        }
        match batches.poll(&ended.id).await {
            Ok(Some(batch)) if batch.phase == ended.phase => self.pass(RULE),
            other => broken(RULE, other),
        }
    }

    async fn fence(&mut self, batches: &dyn BatchApi) -> Result<(), Violation> {
        const RULE: &str = "no batch runs on a deleted input file";
        let (file, marker, _) = self.upload(batches, 2).await?;
        batches.delete_file(&file).await.or_else(|error| broken(RULE, error))?;
        if !batches.facts().known_by.has_fence() {
            // It lies only here: the create carries it.
            tokio::fs::remove_file(&file).await.or_else(|error| broken(RULE, error))?;
        }
        match batches.create(&file, Kind::Chat, self.options.model, &marker).await {
            Created::Refused(failure) if !failure.maybe_paid => self.pass(RULE),
            // Some find out only while validating: nothing ran either way.
            Created::Accepted(batch) => match self.wait(batches, &batch.id).await? {
                ended if ended.phase == Phase::Failed => self.pass(RULE),
                ended => broken(RULE, ended),
            },
            other => broken(RULE, other),
        }
    }
}

fn has_text(body: &Body<'_>) -> bool {
    matches!(body, Body::Text { text, .. } if !text.is_empty())
}
