use super::SourceError;
use crate::event::Bytes;

/// What each side can do, as bits of the client protocol.
pub(super) mod capability {
    pub const LONG_PASSWORD: u32 = 1;
    pub const LONG_FLAG: u32 = 1 << 2;
    pub const PROTOCOL_41: u32 = 1 << 9;
    pub const SSL: u32 = 1 << 11;
    pub const TRANSACTIONS: u32 = 1 << 13;
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    pub const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
    pub const WANTED: u32 = NEEDED | LONG_PASSWORD | LONG_FLAG | TRANSACTIONS;
}

/// The longest packet that we say we take: MySQL's own limit. A stream of events goes by the server's own setting.
const PACKET_BYTES: u32 = 1 << 30;
/// utf8mb4_general_ci, which every server since 5.5 knows.
const COLLATION: u8 = 45;

/// The server's first packet.
#[derive(Debug)]
pub(super) struct Greeting {
    pub version: String,
    pub capabilities: u32,
    pub nonce: Vec<u8>,
    pub plugin: String,
}

impl Greeting {
    pub fn parse(packet: &[u8]) -> Result<Self, SourceError> {
        let greeting = Self::fields(Bytes(packet)).ok_or(SourceError::Protocol("its greeting is malformed"))?;
        if greeting.version.contains("MariaDB") {
            return Err(SourceError::MariaDb { version: greeting.version });
        }
        let mut numbers = greeting.version.split('.').map_while(|part| part.parse::<u32>().ok());
        if (numbers.next(), numbers.next()) < (Some(5), Some(7)) {
            return Err(SourceError::TooOld { version: greeting.version });
        }
        if greeting.capabilities & capability::NEEDED != capability::NEEDED {
            return Err(SourceError::Protocol("it lacks the protocol of MySQL 4.1 or pluggable authentication"));
        }
        Ok(greeting)
    }

    fn fields(mut packet: Bytes<'_>) -> Option<Self> {
        const PROTOCOL_VERSION: u8 = 10;
        const NONCE_BYTES: usize = 20;
        if packet.u8()? != PROTOCOL_VERSION {
            return None;
        }
        let version = String::from_utf8_lossy(packet.until_zero()?).into_owned();
        let _thread = packet.u32()?;
        let mut nonce = packet.take(8)?.to_vec();
        packet.u8()?;
        let low = packet.u16()?;
        let (_collation, _status) = (packet.u8()?, packet.u16()?);
        let high = packet.u16()?;
        let nonce_bytes = packet.u8()?;
        packet.take(10)?;
        nonce.extend_from_slice(packet.take(usize::from(nonce_bytes.saturating_sub(8)).max(13))?);
        nonce.truncate(NONCE_BYTES);
        let plugin = packet.until_zero().unwrap_or(packet.0);
        Some(Self {
            version,
            capabilities: u32::from(high) << 16 | u32::from(low),
            nonce,
            plugin: String::from_utf8_lossy(plugin).into_owned(),
        })
    }
}

/// The request to go on in TLS, which is the beginning of the login as well.
pub(super) fn tls_request(capabilities: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend_from_slice(&capabilities.to_le_bytes());
    packet.extend_from_slice(&PACKET_BYTES.to_le_bytes());
    packet.push(COLLATION);
    packet.extend_from_slice(&[0; 23]);
    packet
}

pub(super) fn login(capabilities: u32, user: &str, plugin: &str, answer: &[u8]) -> Vec<u8> {
    let mut packet = tls_request(capabilities);
    packet.extend_from_slice(user.as_bytes());
    packet.push(0);
    // Answers are hashes of 20 or 32 bytes, or nothing.
    packet.push(answer.len() as u8);
    packet.extend_from_slice(answer);
    packet.extend_from_slice(plugin.as_bytes());
    packet.push(0);
    packet
}

/// What a server answers to a command that returns no rows.
pub(super) fn expect_ok(packet: &[u8]) -> Result<(), SourceError> {
    match packet.first() {
        Some(0x00) => Ok(()),
        Some(0xff) => Err(server_error(packet)),
        _ => Err(SourceError::Protocol("its answer is neither OK nor an error")),
    }
}

/// The error in a packet that begins with 0xff. Before the login it has no SQL state.
pub(super) fn server_error(packet: &[u8]) -> SourceError {
    let mut packet = Bytes(packet);
    let code = (|| {
        packet.u8()?;
        packet.u16()
    })();
    let Some(code) = code else { return SourceError::Protocol("its error is malformed") };
    let mut state = "HY000";
    if packet.0.first() == Some(&b'#') {
        state = packet.take(6).and_then(|state| str::from_utf8(&state[1..]).ok()).unwrap_or(state);
    }
    SourceError::from_server(code, state.to_owned(), String::from_utf8_lossy(packet.0).into_owned())
}
