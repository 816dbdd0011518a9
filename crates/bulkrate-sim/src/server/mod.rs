//! The HTTP server: listens, keeps connections alive, and can vanish for a while.

mod body;
mod bomb;
mod call;
pub(crate) mod paid;
mod reply;
mod route;
mod state;
mod strikes;

use crate::config::{SimConfig, SimError};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
pub(crate) use reply::Reply;
pub(crate) use route::{decoded, query};
pub(crate) use state::State;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A running simulator. Dropping it closes the listener, every connection and every batch.
#[derive(Debug)]
pub struct Sim {
    addr: SocketAddr,
    state: Arc<State>,
}

impl Sim {
    /// Starts on a free port of 127.0.0.1, in the current tokio runtime.
    pub async fn start(config: SimConfig) -> Result<Self, SimError> {
        let listen = |source| SimError::Listen { addr: "127.0.0.1:0".to_owned(), source };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(listen)?;
        Self::on(config, listener)
    }

    /// Starts on a listener that is bound already.
    pub fn on(config: SimConfig, listener: TcpListener) -> Result<Self, SimError> {
        let addr = listener
            .local_addr()
            .map_err(|source| SimError::Listen { addr: "the given socket".to_owned(), source })?;
        let state = Arc::new(State::new(config)?);
        tokio::spawn(listen(state.clone(), listener, addr));
        Ok(Self { addr, state })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What an SDK wants: `http://127.0.0.1:PORT/v1`, or without the version for Anthropic's.
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.addr, self.state.config.base())
    }

    /// The bill's total so far, in nano-dollars.
    pub fn bill_usd_nanos(&self) -> u64 {
        self.state.bill.total_usd_nanos()
    }

    /// The whole bill, as `GET /sim/bill` answers it.
    pub fn bill_json(&self) -> String {
        String::from_utf8(self.state.bill.json(&self.state.models.models)).unwrap_or_default()
    }

    /// Calls so far that ended with `status` (0 = closed without an answer), over all paths.
    pub fn calls_with_status(&self, status: u16) -> u64 {
        self.state.counts.with_status(status)
    }

    /// Calls so far to a path of the API, as `GET /sim/requests` names it.
    pub fn calls_to(&self, path: &str) -> u64 {
        self.state.counts.of(path)
    }

    /// Closes everything.
    pub fn stop(&self) {
        self.state.stop.cancel();
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.state.stop.cancel();
    }
}

/// Serves until the listener fails for good or the task is dropped.
pub async fn serve(config: SimConfig, listener: TcpListener) -> Result<(), SimError> {
    let sim = Sim::on(config, listener)?;
    sim.state.stop.cancelled().await;
    Ok(())
}

/// Accepts until stopped. When the account vanishes, listener and connections close, and the same port opens again later.
async fn listen(state: Arc<State>, mut listener: TcpListener, addr: SocketAddr) {
    loop {
        let generation = state.stop.child_token();
        state.set_generation(generation.clone());
        accept(&state, &listener, &generation).await;
        drop(listener);
        if state.stop.is_cancelled() {
            return;
        }
        tokio::time::sleep(state.vanish_for()).await;
        listener = loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => break listener,
                Err(_) if state.stop.is_cancelled() => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
    }
}

async fn accept(state: &Arc<State>, listener: &TcpListener, generation: &CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = generation.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { tokio::spawn(connection(state.clone(), stream, generation.clone())); }
                // Out of file descriptors: wait for some to close.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

async fn connection(state: Arc<State>, stream: TcpStream, generation: CancellationToken) {
    let _ = stream.set_nodelay(true);
    // A second handle, so that the connection can be reset after hyper is done with it.
    let (stream, second) = match doubled(stream, !state.faults.none()) {
        Ok(pair) => pair,
        Err(_) => return,
    };
    let service = service_fn(move |request| call::handle(state.clone(), request));
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let served = tokio::select! {
        () = generation.cancelled() => Ok(()),
        served = serving => served,
    };
    // Any other closed or broken connection is the client's business.
    if let (Err(error), Some(second)) = (served, second)
        && is_reset(&error)
        && let Ok(second) = TcpStream::from_std(second)
    {
        let _ = second.set_zero_linger();
    }
}

fn doubled(stream: TcpStream, wanted: bool) -> std::io::Result<(TcpStream, Option<std::net::TcpStream>)> {
    if !wanted {
        return Ok((stream, None));
    }
    let stream = stream.into_std()?;
    let second = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, Some(second)))
}

fn is_reset(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.downcast_ref::<call::Closed>().is_some_and(|closed| closed.reset) {
            return true;
        }
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionReset)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
