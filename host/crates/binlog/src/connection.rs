//! The connection that the binlog comes over.
//!
//! [`Connection`] logs in and sets up the session; [`Connection::stream`] turns it into an [`EventStream`], which only reads. A stream gives
//! every event that the server sent, checked, in order, each once; it neither skips nor repeats. After an error it is of no more use: connect
//! again and go on from the last position that is known to be safe. [`SourceError::kind`] says whether that can help.

mod error;
mod handshake;
mod packets;
mod password;
mod query;
mod settings;
mod statement;
mod stream;
mod transport;

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use self::handshake::{Greeting, capability, login, server_error, tls_request};
use self::packets::PacketBuffer;
use self::password::Plugin;
use self::transport::Transport;
use crate::event::Bytes;
use crate::tls::{self, TlsMode};

pub use error::{BEGIN_ANEW, SourceError};
pub use query::Rows;
pub use settings::ConnectionSettings;
pub(crate) use statement::{Answer, Came, SentColumn};
pub use stream::{EventStream, StreamFrom};

/// Nothing that a server says before the login is done is longer.
const LOGIN_PACKET_BYTES_MAX: usize = 64 << 10;
/// A row of an answer: GTID sets with many holes are the longest.
const ANSWER_PACKET_BYTES_MAX: usize = 64 << 20;

/// A session that takes commands.
pub struct Connection {
    transport: Transport,
    packets: PacketBuffer,
    settings: ConnectionSettings,
    server_version: String,
    /// A command was sent whose answer is not known to have come whole: nothing that comes can be told apart any more.
    answer_is_open: bool,
}

impl Connection {
    /// Connects, encrypts as set, and logs in.
    pub async fn connect(settings: &ConnectionSettings) -> Result<Self, SourceError> {
        match timeout(settings.connect_timeout, Self::log_in(settings)).await {
            Ok(connected) => connected,
            Err(_) => Err(SourceError::ConnectTimeout { address: settings.address(), limit: settings.connect_timeout }),
        }
    }

    /// What the server calls its version, such as `8.4.3` or `9.1.0-commercial`.
    pub fn server_version(&self) -> &str {
        &self.server_version
    }

    pub fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    async fn log_in(settings: &ConnectionSettings) -> Result<Self, SourceError> {
        let stream =
            reach(settings).await.map_err(|source| SourceError::Unreachable { address: settings.address(), source })?;
        let mut connection = Self {
            transport: Transport::Plain(stream),
            packets: PacketBuffer::new(LOGIN_PACKET_BYTES_MAX),
            settings: settings.clone(),
            server_version: String::new(),
            answer_is_open: false,
        };
        let packet = connection.read().await?;
        if packet.first() == Some(&0xff) {
            return Err(server_error(&packet));
        }
        let greeting = Greeting::parse(&packet)?;
        connection.server_version.clone_from(&greeting.version);
        let mut capabilities = capability::WANTED & greeting.capabilities;
        if settings.tls.mode != TlsMode::Disabled {
            if greeting.capabilities & capability::SSL != 0 {
                capabilities |= capability::SSL;
                connection = connection.encrypt(capabilities).await?;
            } else if settings.tls.mode != TlsMode::Preferred {
                return Err(SourceError::TlsNotOffered { address: settings.address() });
            }
        }
        connection.authenticate(greeting, capabilities).await?;
        Ok(connection)
    }

    async fn encrypt(mut self, capabilities: u32) -> Result<Self, SourceError> {
        let connector = tls::connector(&self.settings.tls).map_err(|e| SourceError::TlsSettings(e.to_string()))?;
        let name = tls::server_name(&self.settings.host).map_err(|e| SourceError::TlsSettings(e.to_string()))?;
        self.write(&tls_request(capabilities)).await?;
        let (Transport::Plain(stream), true) = (self.transport, self.packets.is_empty()) else {
            return Err(SourceError::Protocol("it sent more before TLS began"));
        };
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|source| SourceError::TlsHandshake { address: self.settings.address(), source })?;
        Ok(Self { transport: Transport::Tls(Box::new(stream)), ..self })
    }

    async fn authenticate(&mut self, greeting: Greeting, capabilities: u32) -> Result<(), SourceError> {
        let (user, password) = (self.settings.user.clone(), self.settings.password.clone());
        let mut nonce = greeting.nonce;
        // A server with another default may still have this account under one that we know: it then asks to switch.
        let mut plugin = Plugin::from_name(&greeting.plugin).unwrap_or(Plugin::CachingSha2);
        let mut switched = false;
        self.write(&login(capabilities, &user, plugin.name(), &plugin.answer(&password, &nonce))).await?;
        loop {
            let packet = self.read().await?;
            match packet.split_first() {
                Some((0x00, _)) => return Ok(()),
                Some((0xff, _)) => return Err(server_error(&packet)),
                Some((0xfe, rest)) if !switched => {
                    switched = true;
                    let mut rest = Bytes(rest);
                    let name = rest.until_zero().map_or("mysql_old_password".into(), String::from_utf8_lossy);
                    plugin = Plugin::from_name(&name)
                        .ok_or_else(|| SourceError::Authentication { user: user.clone(), plugin: name.into_owned() })?;
                    nonce = rest.0.strip_suffix(&[0]).unwrap_or(rest.0).to_vec();
                    self.write(&plugin.answer(&password, &nonce)).await?;
                }
                Some((0x01, [3])) if plugin == Plugin::CachingSha2 => {}
                Some((0x01, [4])) if plugin == Plugin::CachingSha2 => self.send_password(&password, &nonce).await?,
                _ => return Err(SourceError::Protocol("its answer to the login is not understood")),
            }
        }
    }

    /// The server has no hash of the password at hand and wants to see it.
    async fn send_password(&mut self, password: &str, nonce: &[u8]) -> Result<(), SourceError> {
        if self.is_encrypted() {
            let mut clear = password.as_bytes().to_vec();
            clear.push(0);
            return self.write(&clear).await;
        }
        const ASK_FOR_KEY: u8 = 2;
        self.write(&[ASK_FOR_KEY]).await?;
        let packet = self.read().await?;
        let key = match packet.split_first() {
            Some((0x01, key)) => key,
            Some((0xff, _)) => return Err(server_error(&packet)),
            _ => return Err(SourceError::ServerKey("the server sent none")),
        };
        self.write(&password::encrypt(password, nonce, key)?).await
    }

    fn begin_answer(&mut self) -> Result<(), SourceError> {
        if std::mem::replace(&mut self.answer_is_open, true) {
            return Err(SourceError::Lost(io::Error::other("an answer was given up before its end")));
        }
        self.packets.set_packet_bytes_max(ANSWER_PACKET_BYTES_MAX);
        Ok(())
    }

    fn end_answer(&mut self) {
        self.answer_is_open = false;
    }

    async fn command(&mut self, command: u8, rest: &[u8]) -> Result<(), SourceError> {
        self.packets.restart_sequence();
        self.write(&[&[command], rest].concat()).await
    }

    async fn write(&mut self, payload: &[u8]) -> Result<(), SourceError> {
        // Nothing that is sent here comes near the length at which packets are split.
        let length = u32::try_from(payload.len()).ok().filter(|length| *length < 0xff_ffff);
        let [a, b, c, _] = length.ok_or(SourceError::Protocol("a command is too long for a packet"))?.to_le_bytes();
        let mut packet = Vec::with_capacity(packets::PACKET_HEADER_BYTES + payload.len());
        packet.extend_from_slice(&[a, b, c, self.packets.next_sequence()]);
        packet.extend_from_slice(payload);
        self.transport.write_all(&packet).await?;
        Ok(self.transport.flush().await?)
    }

    async fn read(&mut self) -> Result<Vec<u8>, SourceError> {
        loop {
            if let Some(packet) = self.packets.next_packet()? {
                return Ok(packet.to_vec());
            }
            let bytes = self.transport.read(self.packets.room()).await?;
            if bytes == 0 {
                return Err(SourceError::Closed);
            }
            self.packets.came(bytes);
        }
    }
}

async fn reach(settings: &ConnectionSettings) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in lookup_host((settings.host.as_str(), settings.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
