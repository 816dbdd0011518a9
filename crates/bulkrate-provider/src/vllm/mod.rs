//! vLLM without a server: `vllm run-batch` as a batch API of this machine. No money and no network; a run takes the accelerator.
//!
//! A batch is a run: a folder with its mark, its log and its output, and a child in a process group of its own that goes on
//! when this process ends. What the next process must know of it stands in the folder.

mod batch;
mod output;
mod process;
mod program;
mod run;
mod store;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::Kind;

use crate::api::{ApiError, BatchApi, CallApi, Facts, Health, Provider, Wire};
use crate::http::Account;
use crate::openai::presets::VLLM;
use crate::openai::wire::OpenAiWire;
use crate::openai::{Dialect, Takes};
use crate::registry::OpenError;
use crate::settings::{ChatEndpoint, Program, Settings};

use batch::VllmBatches;

/// Takes away what is left in `folder` of a submission that is over: its input, and its run if it has ended.
pub fn forget(folder: &Path, sub: &str) -> std::io::Result<()> {
    store::Store::new(folder.to_owned()).forget(sub)
}

/// What `run-batch` takes: the server's fields, and no other endpoints than these two.
const DIALECT: Dialect = Dialect {
    name: VllmOffline::NAME,
    takes: Takes { kinds: &[Kind::Chat, Kind::Embedding], ..VLLM.takes },
    ..VLLM
};

/// vLLM on this machine, started for each batch.
#[derive(Debug)]
pub struct VllmOffline {
    wire: Arc<OpenAiWire>,
    batches: VllmBatches,
    program: Program,
}

impl VllmOffline {
    pub const NAME: &'static str = "vllm-offline";

    /// Starts nothing.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        // Nothing is sent to any address: what belongs to one is left out.
        let own = Settings {
            chat_endpoint: ChatEndpoint::ChatCompletions,
            structured_outputs: settings.structured_outputs,
            ..Settings::default()
        };
        let account = Account::new(DIALECT.base_url, DIALECT.name, &own)?;
        let wire = Arc::new(OpenAiWire::new(DIALECT, account, &own));
        let batches = VllmBatches::new(Arc::clone(&wire), settings.program.clone());
        Ok(Self { wire, batches, program: settings.program.clone() })
    }
}

#[async_trait]
impl Provider for VllmOffline {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    fn calls(&self) -> Option<&dyn CallApi> {
        None
    }

    fn batches(&self) -> Option<&dyn BatchApi> {
        Some(&self.batches)
    }

    fn facts(&self) -> Facts {
        DIALECT.facts()
    }

    fn ready(&self) -> Result<(), String> {
        program::find(&self.program.command).map(drop)
    }

    async fn probe(&self) -> Result<Health, ApiError> {
        self.ready().map_err(|why| store::failed("look for vLLM", FailureClass::RefusedByProvider, why))?;
        Ok(Health { batches: true, ..Health::default() })
    }
}
