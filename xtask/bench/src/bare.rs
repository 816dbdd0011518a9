//! The floor: low-level hyper, one connection per call in flight, bodies built beforehand, answers read and dropped.

use crate::dice::Dice;
use crate::input;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;
use tokio::net::TcpStream;

/// Distinct bodies; more would measure the memory they lie in.
const BODIES: u64 = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct BareArgs {
    /// As `http://127.0.0.1:PORT/v1`.
    #[arg(long)]
    pub(crate) base_url: String,
    /// Calls to make.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) items: u64,
    /// Calls in flight, each on a connection of its own.
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: u64,
    /// Bytes of each item's text.
    #[arg(long, default_value_t = 500)]
    pub(crate) bytes: usize,
}

pub(crate) fn run(args: &BareArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = Instant::now();
    tokio::task::LocalSet::new().block_on(&runtime, all(args))?;
    let wall = started.elapsed().as_secs_f64();
    println!("bare loop: {} calls, {} in flight, {wall:.2} s", args.items, args.in_flight);
    Ok(())
}

async fn all(args: &BareArgs) -> Result<()> {
    let authority = args.base_url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/v1"));
    let authority: Rc<str> = authority.context("--base-url must look like http://127.0.0.1:PORT/v1")?.into();
    let mut dice = Dice::new(args.items);
    let bodies: Rc<[Bytes]> = (0..BODIES)
        .map(|at| input::body("gpt-6-luna", &input::text(&mut dice, at, args.bytes)).into())
        .collect();
    let left = Rc::new(Cell::new(args.items));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..args.in_flight.min(args.items) {
        workers.spawn_local(worker(Rc::clone(&authority), Rc::clone(&bodies), Rc::clone(&left)));
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

async fn worker(authority: Rc<str>, bodies: Rc<[Bytes]>, left: Rc<Cell<u64>>) -> Result<()> {
    let stream = TcpStream::connect(&*authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    while let Some(at) = left.get().checked_sub(1) {
        left.set(at);
        let body = bodies[usize::try_from(at % BODIES)?].clone();
        call(&mut sender, &authority, body).await?;
    }
    Ok(())
}

async fn call(sender: &mut SendRequest<Full<Bytes>>, authority: &str, body: Bytes) -> Result<()> {
    let request = Request::post("/v1/chat/completions")
        .header(http::header::HOST, authority)
        .header(http::header::AUTHORIZATION, "Bearer sk-bench")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    if status != StatusCode::OK {
        bail!("the server answered {status}");
    }
    Ok(())
}
