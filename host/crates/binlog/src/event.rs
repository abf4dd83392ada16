//! Binlog events: cutting bytes into checked events, without a copy.
//!
//! An event that leaves [`Framing`] has the size its header names, the checksum its file promises, and a type that is known, or one that its
//! server marked as ignorable. Everything else is an error that names type and position; nothing is skipped. Nothing is allocated for an
//! event.

mod cursor;
mod error;
mod format;
mod gtid;
mod kind;
mod query;
mod read;

pub use cursor::Cursor;
pub use error::{At, EventError};
use format::FormatDescription;
pub use format::{Checksum, Heartbeat, Rotate};
pub use gtid::{Gtid, GtidTag, decode_gtid_set, encode_gtid_set};
pub use kind::EventKind;
pub use query::Query;
pub(crate) use read::Bytes;

/// Bytes of the header that every event begins with.
pub const HEADER_BYTES: usize = 19;
/// Bytes of the CRC32 behind an event.
pub const CHECKSUM_BYTES: usize = 4;

/// Where the type is in a header.
const TYPE_AT: usize = 4;

/// The server made this event up for the connection; it is in no file.
const FLAG_ARTIFICIAL: u16 = 0x20;
/// A reader that does not know the type may leave the event out.
const FLAG_IGNORABLE: u16 = 0x80;

/// What every event says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Seconds since 1970 when the statement began on its server.
    pub timestamp: u32,
    pub kind: EventKind,
    pub server_id: u32,
    /// Bytes, with header and checksum.
    pub size: u32,
    /// Where the next event begins in the file, modulo 4 GiB; 0 when the event is in no file.
    pub end: u32,
    pub flags: u16,
}

impl Header {
    #[inline(always)]
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [t0, t1, t2, t3, kind, i0, i1, i2, i3, s0, s1, s2, s3, e0, e1, e2, e3, f0, f1] = *bytes;
        Self {
            timestamp: u32::from_le_bytes([t0, t1, t2, t3]),
            kind: EventKind::from_byte(kind),
            server_id: u32::from_le_bytes([i0, i1, i2, i3]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
            end: u32::from_le_bytes([e0, e1, e2, e3]),
            flags: u16::from_le_bytes([f0, f1]),
        }
    }

    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    pub fn at(&self) -> At {
        At { kind: self.kind, end: self.end }
    }
}

/// One event. The body is what stands between header and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    pub header: Header,
    pub body: &'a [u8],
}

impl<'a> Event<'a> {
    /// Cuts `bytes`, which hold exactly one event, with no checksum behind it.
    #[inline]
    pub(crate) fn cut(bytes: &'a [u8]) -> Result<Self, EventError> {
        let (header, body) = bytes.split_first_chunk().ok_or(EventError::Truncated { bytes: bytes.len() })?;
        let header = Header::parse(header);
        if header.size as usize != bytes.len() {
            return Err(EventError::Size { at: header.at(), named: header.size, bytes: bytes.len() });
        }
        let event = Self { header, body };
        match header.kind {
            EventKind::Unknown if header.flags & FLAG_IGNORABLE == 0 => {
                Err(EventError::Unknown { byte: bytes[TYPE_AT], end: header.end })
            }
            EventKind::Incident => Err(event.incident()),
            kind => match kind.refusal() {
                Some(why) => Err(EventError::Unsupported { at: header.at(), why }),
                None => Ok(event),
            },
        }
    }

    fn incident(&self) -> EventError {
        let mut body = Bytes(self.body);
        let message = (|| {
            let _number = body.u16()?;
            let bytes = body.u8()?;
            body.take(bytes as usize)
        })();
        EventError::Incident { message: String::from_utf8_lossy(message.unwrap_or_default()).into_owned() }
    }

    /// An error about the inside of this event.
    pub(crate) fn malformed(&self, what: &'static str) -> EventError {
        EventError::Malformed { at: self.header.at(), what }
    }

    /// The transaction number of an XID event, which commits.
    pub fn xid(&self) -> Result<u64, EventError> {
        Bytes(self.body).u64().ok_or_else(|| self.malformed("a transaction number"))
    }
}

/// Cuts a server's stream into events, and knows whether the events of the file at hand carry checksums.
#[derive(Debug, Clone)]
pub struct Framing {
    checksum: Checksum,
}

impl Framing {
    /// `checksum`: what stands behind the events that come before the first format description. A server uses what the connection asked for.
    pub fn new(checksum: Checksum) -> Self {
        Self { checksum }
    }

    /// Checks the one event that `bytes` hold.
    #[inline]
    pub fn event<'a>(&mut self, bytes: &'a [u8]) -> Result<Event<'a>, EventError> {
        let mut event = Event::cut(bytes).map_err(|e| semi_sync(bytes).unwrap_or(e))?;
        if event.header.kind == EventKind::FormatDescription {
            self.checksum = FormatDescription::parse(&event)?.checksum;
            // The server rewrites this event for a connection, and its checksum only if the file has checksums; the bytes are always there.
            if self.checksum == Checksum::None {
                event.body = &event.body[..event.body.len() - CHECKSUM_BYTES];
                return Ok(event);
            }
        }
        if self.checksum == Checksum::Crc32 {
            event.body = checked(&event, bytes)?;
        }
        Ok(event)
    }
}

fn checked<'a>(event: &Event<'a>, bytes: &[u8]) -> Result<&'a [u8], EventError> {
    let (Some((body, _)), Some((covered, sum))) =
        (event.body.split_last_chunk::<CHECKSUM_BYTES>(), bytes.split_last_chunk::<CHECKSUM_BYTES>())
    else {
        return Err(event.malformed("a checksum"));
    };
    let (named, computed) = (u32::from_le_bytes(*sum), crc32fast::hash(covered));
    if named != computed {
        return Err(EventError::Checksum { at: event.header.at(), named, computed });
    }
    Ok(body)
}

/// Two bytes before an event mean that the server takes this connection for a semi-synchronous replica. They cannot be told from a
/// timestamp, so they are looked for only where an event does not fit its size.
fn semi_sync(bytes: &[u8]) -> Option<EventError> {
    let rest = bytes.strip_prefix(&[0xef])?.get(1..)?;
    let header = Header::parse(rest.first_chunk()?);
    (header.size as usize == rest.len()).then_some(EventError::SemiSync)
}
