//! One connection: sends a flight of commands and reads its replies at the same time.
//!
//! Reading does not wait for the last byte to be sent: a server that cannot get rid of its replies stops reading, and both would stand
//! still. Both buffers are bounded. A connection that failed, or whose exchange was given up, is in an unknown state: drop it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::RedisError;
use super::resp::{Incoming, Outgoing, Reply};
use super::settings::Settings;

/// So much is rendered before it is sent: fits a core's own cache, and makes a system call cheap.
pub const PART: usize = 128 << 10;

/// A conversation: what is sent, and what is made of the replies.
pub trait Flight {
    /// Appends the next part, about [`PART`] bytes; nothing once all has been sent.
    fn send(&mut self, out: &mut Outgoing) -> Result<(), RedisError>;

    /// Takes the next reply. True: it was the last one.
    fn receive(&mut self, reply: Reply<'_>) -> Result<bool, RedisError>;

    /// What the server has already said to be wrong, should the connection end before the last reply.
    fn complaint(&mut self) -> Option<RedisError> {
        None
    }
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection to a Redis server.
pub struct Client {
    transport: Box<dyn Transport>,
    out: Outgoing,
    /// How much of `out` has been sent.
    sent: usize,
    /// Why nothing more can be sent.
    broken: Option<String>,
    incoming: Incoming,
    /// Longest stand-still.
    patience: Duration,
    bytes_sent: u64,
}

impl Client {
    pub async fn connect(settings: &Settings) -> Result<Self, RedisError> {
        let unreachable = |reason: String| RedisError::Unreachable { address: settings.to_string(), reason };
        match timeout(settings.connect_timeout, connect(settings)).await {
            Ok(transport) => Ok(Self {
                transport: transport?,
                out: Outgoing::default(),
                sent: 0,
                broken: None,
                incoming: Incoming::default(),
                patience: settings.answer_timeout,
                bytes_sent: 0,
            }),
            Err(_) => Err(unreachable(format!("no connection within {:?}", settings.connect_timeout))),
        }
    }

    /// Sends the flight and reads its replies.
    pub async fn exchange(&mut self, flight: &mut impl Flight) -> Result<(), RedisError> {
        loop {
            match timeout(self.patience, poll_fn(|cx| self.poll(cx, flight))).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) if self.incoming.is_empty() => return Ok(()),
                Ok(Ok(true)) => return Err(RedisError::Nonsense("more replies than there were commands")),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(RedisError::Silent(self.patience)),
            }
        }
    }

    /// Bytes sent so far.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Ready with true after the last reply, with false after any progress.
    fn poll(&mut self, cx: &mut Context<'_>, flight: &mut impl Flight) -> Poll<Result<bool, RedisError>> {
        let moved = self.poll_send(cx, flight)?;
        let mut room = ReadBuf::new(self.incoming.room());
        let end = match Pin::new(&mut self.transport).poll_read(cx, &mut room) {
            Poll::Pending => return if moved { Poll::Ready(Ok(false)) } else { Poll::Pending },
            Poll::Ready(Ok(())) if room.filled().is_empty() => Some("the server closed it".to_owned()),
            Poll::Ready(Ok(())) => None,
            // What TLS says of an end without a goodbye.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some("the server closed it".to_owned())
            }
            Poll::Ready(Err(error)) => Some(error.to_string()),
        };
        if let Some(reason) = end {
            let reason = self.broken.take().unwrap_or(reason);
            return Poll::Ready(Err(flight.complaint().unwrap_or(RedisError::LostAnswer(reason))));
        }
        let received = room.filled().len();
        self.incoming.received(received);
        while let Some(reply) = self.incoming.take().map_err(|nonsense| RedisError::Nonsense(nonsense.0))? {
            if flight.receive(reply)? {
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Ready(Ok(false))
    }

    /// Sends what the connection takes at the moment; whether that was anything. A failure to send is left to the reading side to report,
    /// which may still find what the server said before it closed the connection.
    fn poll_send(&mut self, cx: &mut Context<'_>, flight: &mut impl Flight) -> Result<bool, RedisError> {
        let mut moved = false;
        while self.broken.is_none() {
            if self.sent == self.out.len() {
                self.out.clear(2 * PART);
                self.sent = 0;
                flight.send(&mut self.out)?;
            }
            let step = if self.out.is_empty() {
                ready_or(Pin::new(&mut self.transport).poll_flush(cx)).map(|step| step.map(|()| 0))
            } else {
                ready_or(Pin::new(&mut self.transport).poll_write(cx, &self.out.bytes()[self.sent..]))
            };
            match step {
                Ok(None) => return Ok(moved),
                // Everything is sent and on its way.
                Ok(Some(0)) if self.out.is_empty() => return Ok(moved),
                Ok(Some(0)) => self.broken = Some("it takes no more bytes".to_owned()),
                Ok(Some(bytes)) => {
                    self.sent += bytes;
                    self.bytes_sent += bytes as u64;
                    moved = true;
                }
                Err(error) => self.broken = Some(error.to_string()),
            }
        }
        Ok(moved)
    }
}

/// None for what is not ready yet.
fn ready_or<T>(poll: Poll<io::Result<T>>) -> io::Result<Option<T>> {
    match poll {
        Poll::Ready(result) => result.map(Some),
        Poll::Pending => Ok(None),
    }
}

async fn connect(settings: &Settings) -> Result<Box<dyn Transport>, RedisError> {
    let address = || settings.to_string();
    let unreachable = |error: io::Error| RedisError::Unreachable { address: address(), reason: error.to_string() };
    let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Some(tls) = &settings.tls else {
        return Ok(Box::new(stream));
    };
    let stream = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), stream).await;
    match stream {
        Ok(stream) => Ok(Box::new(stream)),
        // A certificate stays wrong; a handshake that was cut off does not.
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            Err(RedisError::Tls { address: address(), reason: error.to_string() })
        }
        Err(error) => Err(unreachable(error)),
    }
}
