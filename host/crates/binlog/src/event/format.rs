use super::{Bytes, CHECKSUM_BYTES, Event, EventError, EventKind, HEADER_BYTES};

/// What stands behind each event of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    None,
    Crc32,
}

/// How the events of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FormatDescription {
    pub checksum: Checksum,
}

impl FormatDescription {
    /// Parses an event whose checksum is still behind its body.
    pub(super) fn parse(event: &Event<'_>) -> Result<Self, EventError> {
        let mut body = Bytes(event.body);
        let fixed = (|| Some((body.u16()?, body.take(50)?, body.u32()?, body.u8()?)))();
        let Some((version, _server, _created, header_bytes)) = fixed else {
            return Err(event.malformed("format description"));
        };
        let refuse = |why| EventError::Unsupported { at: event.header.at(), why };
        if version != 4 || header_bytes as usize != HEADER_BYTES {
            return Err(refuse("the file is not of binlog version 4"));
        }
        let Some((lengths, _)) = body.0.split_last_chunk::<{ 1 + CHECKSUM_BYTES }>() else {
            return Err(event.malformed("checksum algorithm"));
        };
        // What readers of rows rely on: table ids of six bytes, and the extra field of version 2. 0: a type that this server never writes.
        for (kind, bytes) in [(19, 8), (23, 8), (24, 8), (25, 8), (30, 10), (31, 10), (32, 10)] {
            if lengths.get(kind - 1).is_some_and(|named| ![0, bytes].contains(named)) {
                return Err(refuse("its row events have other headers than MySQL 5.6 and later write"));
            }
        }
        let checksum = match body.0[lengths.len()] {
            0 => Checksum::None,
            1 => Checksum::Crc32,
            _ => return Err(refuse("its checksum algorithm is not CRC32")),
        };
        Ok(Self { checksum })
    }
}

/// Which file the next events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate<'a> {
    pub file: &'a str,
    pub offset: u64,
}

impl<'a> Rotate<'a> {
    pub fn parse(event: &Event<'a>) -> Result<Self, EventError> {
        let mut body = Bytes(event.body);
        let offset = body.u64();
        let file = str::from_utf8(body.0).ok().filter(|name| !name.is_empty());
        match (offset, file) {
            (Some(offset), Some(file)) => Ok(Self { file, offset }),
            _ => Err(event.malformed("file name and offset")),
        }
    }
}

/// Nothing has been written for a heartbeat period, or transactions that the connection has already were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    pub file: &'a str,
    /// Up to where the server has sent.
    pub offset: u64,
}

impl<'a> Heartbeat<'a> {
    pub fn parse(event: &Event<'a>) -> Result<Self, EventError> {
        let parsed = match event.header.kind {
            EventKind::HeartbeatV2 => Self::fields(event.body),
            _ => str::from_utf8(event.body).ok().map(|file| Self { file, offset: u64::from(event.header.end) }),
        };
        parsed.filter(|beat| !beat.file.is_empty()).ok_or_else(|| event.malformed("file name and offset"))
    }

    fn fields(body: &'a [u8]) -> Option<Self> {
        const END: u64 = 0;
        const FILE: u64 = 1;
        const OFFSET: u64 = 2;
        let mut body = Bytes(body);
        let mut beat = Self { file: "", offset: 0 };
        while !body.is_empty() {
            let field = body.lenenc()?;
            if field == END {
                break;
            }
            let bytes = usize::try_from(body.lenenc()?).ok()?;
            let value = body.take(bytes)?;
            match field {
                FILE => beat.file = str::from_utf8(value).ok()?,
                OFFSET => beat.offset = Bytes(value).lenenc()?,
                _ => {}
            }
        }
        Some(beat)
    }
}
