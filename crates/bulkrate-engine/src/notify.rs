//! The webhook of a job: told of alerts and of the end. It never holds up the job for long, and never fails it.

use std::cell::RefCell;
use std::time::Duration;

use bulkrate_provider::http::webhook::post_json;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_local};

use crate::event::{Event, Observer};
use crate::report::Report;
use crate::spec::JobSpec;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What was sent and not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    url: Option<String>,
    pending: RefCell<Vec<JoinHandle<Result<(), String>>>>,
}

impl Notify {
    pub(crate) fn new(spec: &JobSpec) -> Self {
        Self { url: spec.run.webhook.clone(), pending: RefCell::default() }
    }

    /// Sends an alert on its way; must be called within the job's `LocalSet`.
    pub(crate) fn alert(&self, job: &str, code: &str, message: &str) {
        if let Some(url) = self.url.clone() {
            let body = json!({"event": "alert", "job": job, "code": code, "message": message});
            self.pending.borrow_mut().push(spawn_local(async move { post(&url, &body).await }));
        }
    }

    /// Waits for what is under way: ten seconds at most.
    pub(crate) async fn settle(&self, observer: &dyn Observer) {
        for sent in self.pending.take() {
            if let Ok(Err(why)) = sent.await {
                untold(observer, &why);
            }
        }
    }

    /// Tells how the run ended.
    pub(crate) async fn end(&self, report: &Report, observer: &dyn Observer) {
        let Some(url) = &self.url else { return };
        let body = json!({"event": "finished", "job": report.job, "name": report.name, "ending": report.ending, "report": crate::dollars::document(report)});
        if let Err(why) = post(url, &body).await {
            untold(observer, &why);
        }
    }
}

fn untold(observer: &dyn Observer, why: &str) {
    observer.event(&Event::Note { message: &format!("the webhook was not told: {why}") });
}

async fn post(url: &str, body: &Value) -> Result<(), String> {
    match post_json(url, body.to_string().into_bytes(), TIMEOUT).await {
        Ok(status) if (200..300).contains(&status) => Ok(()),
        Ok(status) => Err(format!("it answered {status}")),
        Err(why) => Err(why),
    }
}
