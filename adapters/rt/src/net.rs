//! TCP. The only place that touches a socket of the runtime.

use crate::clock;
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Room for one read. Larger than what usually lies there, so that one read empties the socket and
/// the runtime need not ask again.
const READ_BYTES: usize = 32 << 10;

/// The pause after a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Takes connections.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The address is in use, or not one of this machine.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let inner = TcpListener::bind(address).await?;
        Ok(Self { inner })
    }

    /// The next connection, and from where it comes. One that broke before it was taken, or for which
    /// there is no descriptor, is warned of, and another one taken after a while.
    pub async fn accept(&self) -> (Stream, SocketAddr) {
        loop {
            match self.inner.accept().await {
                Ok((inner, from)) => return (Stream::new(inner), from),
                Err(error) => {
                    let at = self.local_addr().ok();
                    tracing::warn!(?at, %error, "a connection can't be taken");
                    clock::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// The address that `name` (`host:port`) stands for; the first one if there are several.
///
/// # Errors
///
/// It has no port, or nobody knows the host.
pub async fn resolve(name: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let mut found = tokio::net::lookup_host(name).await?;
    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// All addresses that `name` stands for.
///
/// # Errors
///
/// It has no port, or nobody knows the host.
pub async fn resolve_all(name: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    Ok(tokio::net::lookup_host(name).await?.collect())
}

/// Whether only this machine reaches `address`.
#[cfg(not(madsim))]
pub const fn is_local(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}

/// The simulated network reaches nobody else, and its machines have no common loopback.
#[cfg(madsim)]
pub const fn is_local(_address: SocketAddr) -> bool {
    true
}

/// What [`Stream::exchange`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exchange {
    /// So many bytes were read.
    Read(usize),
    /// Everything that was to be written was.
    Written,
    /// The other side ended the connection.
    Ended,
}

/// One connection.
pub struct Stream {
    inner: TcpStream,
    /// Bytes were written and not flushed. A flush without any sends an empty packet under the
    /// simulator, and two servers that flush after each read would do so for ever.
    dirty: bool,
}

impl Stream {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or nobody answers.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(TcpStream::connect(address).await?))
    }

    /// Connects to what `name` (`host:port`) stands for: to the first of its addresses at which anybody
    /// answers. Each gets an equal part of `patience`, so one that is silent hides none of the others.
    ///
    /// # Errors
    ///
    /// Nobody knows the host in time, or nobody answers at any of its addresses: why not at the last.
    pub async fn dial(name: &str, patience: Duration) -> io::Result<Self> {
        let found = clock::timeout(patience, resolve_all(name));
        let found = found.await.ok_or(io::ErrorKind::TimedOut)??;
        Self::dial_any(&found, patience).await
    }

    pub(crate) async fn dial_any(addresses: &[SocketAddr], patience: Duration) -> io::Result<Self> {
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let part = patience / count.max(1);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match clock::timeout(part, Self::connect(*address)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    fn new(inner: TcpStream) -> Self {
        // Without it a small frame waits for the acknowledgement of the last one. A socket that
        // refuses the option still works.
        drop(inner.set_nodelay(true));
        Self {
            inner,
            dirty: false,
        }
    }

    /// Where the connection goes.
    ///
    /// # Errors
    ///
    /// It is not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }

    /// Writes all of `output` while it reads whatever comes to the end of `input`; ends as soon as
    /// something was read, or everything written. May be dropped at any moment and called again:
    /// what was done is in the buffers.
    ///
    /// Doing both at once, two sides that each have much to say never wait for each other.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub async fn exchange(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> io::Result<Exchange> {
        poll_fn(|context| self.poll_exchange(context, input, output)).await
    }

    /// [`Stream::exchange`], for those who wait for something else too.
    pub fn poll_exchange(
        &mut self,
        context: &mut Context<'_>,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Poll<io::Result<Exchange>> {
        let had = !output.is_empty();
        let written = self.poll_write_all(context, output)?;
        input.reserve(READ_BYTES);
        if let Poll::Ready(read) = pin!(self.inner.read_buf(input)).poll(context)? {
            let exchange = match read {
                0 => Exchange::Ended,
                _ => Exchange::Read(read),
            };
            return Poll::Ready(Ok(exchange));
        }
        match written {
            Poll::Ready(()) if had => Poll::Ready(Ok(Exchange::Written)),
            Poll::Ready(()) | Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what the kernel takes of `output`, and takes it out; ready when all was.
    pub fn poll_write_all(
        &mut self,
        context: &mut Context<'_>,
        output: &mut BytesMut,
    ) -> Poll<io::Result<()>> {
        while !output.is_empty() {
            match Pin::new(&mut *self).poll_write(context, output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => output.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(self).poll_flush(context)
    }

    /// Writes all of `output`.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub async fn write_all(&mut self, output: &mut BytesMut) -> io::Result<()> {
        poll_fn(|context| self.poll_write_all(context, output)).await
    }

    /// Reads whatever comes to the end of `input`; 0 is the end.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub async fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        input.reserve(READ_BYTES);
        self.inner.read_buf(input).await
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.dirty |= matches!(written, Poll::Ready(Ok(_)));
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.dirty {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.dirty = !matches!(flushed, Poll::Ready(Ok(())));
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.as_mut().poll_flush(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_shutdown(context),
            other => other,
        }
    }
}
