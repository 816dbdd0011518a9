//! One connection for paid calls: TCP, through a proxy where there is one, TLS where the origin wants it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::lines::PaidBody;
use super::origin::Account;
use super::proxy::Proxy;
use super::unreached;

/// Bytes that a connection reads at once: most answers, and a thousand connections hold as many buffers.
const READ_BYTES: usize = 4 << 10;

/// A connection that carries one call at a time.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<PaidBody>,
    /// Drives the connection; ends soon after the sender is gone.
    driver: JoinHandle<()>,
    written: Arc<AtomicU64>,
}

impl Connection {
    /// Opens a connection; the task that drives it ends with it.
    pub(super) async fn open(account: &Account) -> io::Result<Self> {
        let stream = connect(account).await?;
        let written = Arc::new(AtomicU64::new(0));
        let io = TokioIo::new(Counted { stream, written: Arc::clone(&written) });
        let (sender, connection) = http1::Builder::new()
            .ignore_invalid_headers_in_responses(true)
            .read_buf_exact_size(Some(READ_BYTES))
            .handshake(io)
            .await
            .map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "connection ended");
            }
        });
        Ok(Self { sender, driver, written })
    }

    /// Closes it; answers what to wait for.
    pub(super) fn close(self) -> JoinHandle<()> {
        self.driver
    }

    /// Bytes given to the system so far; a call during which this does not change was surely not sent.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

async fn connect(account: &Account) -> io::Result<Stream> {
    let (host, port) = account
        .proxy
        .as_ref()
        .map_or((account.host.as_str(), account.port), |proxy| (proxy.host.as_str(), proxy.port));
    let other = |why: String| io::Error::other(why);
    let found = lookup_host((host, port)).await.map_err(|error| other(unreached::name(host, &error)))?;
    let addresses: Vec<_> = found.collect();
    let connecting = TcpStream::connect(&*addresses).await;
    let mut tcp = connecting.map_err(|error| other(unreached::connection(host, port, &error)))?;
    tcp.set_nodelay(true)?;
    let Some(config) = &account.tls else { return Ok(Stream::Plain(tcp)) };
    if let Some(proxy) = &account.proxy {
        open_tunnel(&mut tcp, proxy, &account.host, account.port).await?;
    }
    let name = ServerName::try_from(account.host.clone()).map_err(io::Error::other)?;
    let tls = TlsConnector::from(Arc::clone(config))
        .connect(name, tcp)
        .await
        .map_err(|error| other(unreached::tls(&error)))?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// Asks the proxy for a tunnel. Nothing of the call itself is sent.
async fn open_tunnel(tcp: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> io::Result<()> {
    const ANSWER_MAX: usize = 8_192;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let authorization = proxy
        .authorization
        .as_ref()
        .map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"));
    let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n");
    tcp.write_all(ask.as_bytes()).await?;
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"\r\n\r\n") {
        // One byte at a time, as what follows the empty line belongs to the tunnel.
        let byte = tcp.read_u8().await?;
        answer.push(byte);
        if answer.len() > ANSWER_MAX {
            return Err(io::Error::other("the proxy's answer to `CONNECT` is too long"));
        }
    }
    let line =
        String::from_utf8_lossy(answer.split(|&byte| byte == b'\r').next().unwrap_or_default()).into_owned();
    let status = line.split(' ').nth(1).unwrap_or_default();
    if status.len() == 3 && status.starts_with('2') {
        return Ok(());
    }
    Err(io::Error::other(format!("the proxy answered `{line}` to `CONNECT`")))
}

/// A stream that counts what it wrote.
struct Counted {
    stream: Stream,
    written: Arc<AtomicU64>,
}

impl Counted {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.written.fetch_add(*bytes as u64, Ordering::Release);
        }
        result
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        };
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        };
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
