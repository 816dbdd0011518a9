//! The thread that fetches, so that a pass that reads and one that waits are the same.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use bulkrate_core::request::AddressError;
use bulkrate_provider::http::egress::{Egress, Fetched};
use futures_util::StreamExt as _;
use futures_util::future::select;
use futures_util::stream::poll_fn;
use tokio::sync::{mpsc, oneshot};

use crate::EngineError;

/// Fetches under way at once.
const AT_ONCE: usize = 16;

pub(super) type Answer = (Arc<str>, Result<Fetched, AddressError>);

/// Takes addresses and gives what lies there, in any order. What is under way when it is dropped is left.
#[derive(Debug)]
pub(super) struct Line {
    asks: mpsc::UnboundedSender<Arc<str>>,
    answers: Receiver<Answer>,
    /// Dropped with the rest: then the thread ends.
    _here: oneshot::Sender<()>,
}

impl Line {
    pub(super) fn open(egress: Egress) -> Result<Self, EngineError> {
        let (asks, asked) = mpsc::unbounded_channel();
        let (answer, answers) = channel();
        let (here, gone) = oneshot::channel();
        let failed = |source| EngineError::Io {
            what: "could not start",
            path: "the thread that fetches".to_owned(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new()
            .name("fetch".to_owned())
            .spawn(move || runtime.block_on(serve(&egress, asked, &answer, gone)))
            .map_err(failed)?;
        Ok(Self { asks, answers, _here: here })
    }

    pub(super) fn ask(&self, address: Arc<str>) -> Result<(), EngineError> {
        self.asks.send(address).map_err(|_| stopped())
    }

    /// What came since; `None`: nothing yet.
    pub(super) fn came(&self) -> Result<Option<Answer>, EngineError> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(stopped()),
        }
    }

    pub(super) fn wait(&self) -> Result<Answer, EngineError> {
        self.answers.recv().map_err(|_| stopped())
    }
}

async fn serve(
    egress: &Egress,
    mut asked: mpsc::UnboundedReceiver<Arc<str>>,
    answer: &Sender<Answer>,
    gone: oneshot::Receiver<()>,
) {
    let work =
        poll_fn(|context| asked.poll_recv(context)).for_each_concurrent(AT_ONCE, |address| async move {
            let found = egress.fetch(&address).await;
            drop(answer.send((address, found))); // nobody waits any more
        });
    select(Box::pin(work), gone).await;
}

fn stopped() -> EngineError {
    EngineError::Internal("the thread that fetches has stopped".to_owned())
}
