use std::sync::Arc;

use mysync_change::position::{GtidSet, GtidSource};

use super::{Bytes, Event, EventError, EventKind};

/// Longest tag of a GTID, in bytes.
const TAG_BYTES_MAX: usize = 32;
/// Marks the format with tags in the first field of an encoded set.
const FORMAT_TAGGED: u64 = 1 << 56;
/// Numbers of GTIDs end before this.
const NUMBER_END: u64 = i64::MAX as u64;

/// The tag of a GTID; empty: none.
pub type GtidTag<'a> = &'a str;

/// Head of a transaction. An anonymous one has number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gtid<'a> {
    pub uuid: [u8; 16],
    pub tag: GtidTag<'a>,
    pub number: u64,
    /// Microseconds since 1970 when this server committed; 0: not known (before 8.0).
    pub committed_us: u64,
    /// The same of the server where the transaction came into being.
    pub originally_committed_us: u64,
    /// Bytes of the whole transaction with this event; 0: not known.
    pub transaction_bytes: u64,
}

impl<'a> Gtid<'a> {
    /// Parses a GTID, a tagged or an anonymous one.
    #[inline]
    pub fn parse(event: &Event<'a>) -> Result<Self, EventError> {
        let anonymous = event.header.kind == EventKind::AnonymousGtid;
        let parsed = match event.header.kind {
            EventKind::GtidTagged => Self::serialized(event.body),
            _ => Self::fixed(event.body),
        };
        match parsed {
            Some(gtid) if anonymous => Ok(Self { number: 0, ..gtid }),
            Some(gtid) if (1..NUMBER_END).contains(&gtid.number) => Ok(gtid),
            _ => Err(event.malformed("transaction id")),
        }
    }

    #[inline]
    fn fixed(body: &'a [u8]) -> Option<Self> {
        const LOGICAL_CLOCK: u8 = 2;
        const ORIGINAL_FOLLOWS: u64 = 1 << 55;
        let mut body = Bytes(body);
        let _flags = body.u8()?;
        let mut gtid = Self { uuid: body.array()?, number: body.u64()?, ..Self::default() };
        // Each later version of the server added fields behind these.
        if body.u8() != Some(LOGICAL_CLOCK) {
            return Some(gtid);
        }
        body.take(16)?;
        let Some(committed) = body.u56() else { return Some(gtid) };
        gtid.committed_us = committed & !ORIGINAL_FOLLOWS;
        gtid.originally_committed_us = if committed & ORIGINAL_FOLLOWS == 0 { gtid.committed_us } else { body.u56()? };
        gtid.transaction_bytes = if body.is_empty() { 0 } else { body.lenenc()? };
        Some(gtid)
    }

    /// The format of MySQL's serialization library: fields by number, each with a type that its number implies.
    fn serialized(body: &'a [u8]) -> Option<Self> {
        const VERSION: u8 = 2;
        let bytes = body.len();
        let mut body = Bytes(body);
        if body.u8()? != VERSION {
            return None;
        }
        let size = usize::try_from(body.varlen()?).ok()?;
        let last_needed = body.varlen()?;
        let consumed = bytes - body.0.len();
        let mut fields = Bytes(body.take(size.checked_sub(consumed)?)?);
        let mut gtid = Self::default();
        let mut original = None;
        while !fields.is_empty() {
            match fields.varlen()? {
                1 => {
                    for byte in &mut gtid.uuid {
                        *byte = u8::try_from(fields.varlen()?).ok()?;
                    }
                }
                2 => gtid.number = u64::try_from(fields.varlen_signed()?).ok()?,
                3 => gtid.tag = tag(&mut fields)?,
                4 | 5 => {
                    fields.varlen_signed()?;
                }
                6 => gtid.committed_us = fields.varlen()?,
                7 => original = Some(fields.varlen()?),
                8 => gtid.transaction_bytes = fields.varlen()?,
                // Flags, server versions, the ticket of the group.
                0 | 9..=11 => {
                    fields.varlen()?;
                }
                // A field of a later version: nobody can tell its length.
                later if later > last_needed => break,
                _ => return None,
            }
        }
        gtid.originally_committed_us = original.unwrap_or(gtid.committed_us);
        Some(gtid)
    }
}

fn tag<'a>(bytes: &mut Bytes<'a>) -> Option<GtidTag<'a>> {
    let length = usize::try_from(bytes.varlen()?).ok().filter(|length| *length <= TAG_BYTES_MAX)?;
    str::from_utf8(bytes.take(length)?).ok()
}

/// The set as COM_BINLOG_DUMP_GTID wants it. A set without tags is written so that servers before 8.3 can read it.
pub fn encode_gtid_set(set: &GtidSet) -> Vec<u8> {
    let tagged = set.iter().any(|(source, _)| !source.tag.is_empty());
    let sources = set.iter().count() as u64;
    let head = if tagged { sources << 8 | FORMAT_TAGGED } else { sources };
    let mut out = head.to_le_bytes().to_vec();
    for (source, intervals) in set.iter() {
        out.extend_from_slice(&source.uuid);
        if tagged {
            // At most 32 bytes long, so its length takes one byte: shifted, with no trailing ones.
            out.push((source.tag.len() as u8) << 1);
            out.extend_from_slice(source.tag.as_bytes());
        }
        out.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
        for (start, end) in intervals {
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
        }
    }
    out
}

/// Reads the set of a PREVIOUS_GTIDS event.
pub fn decode_gtid_set(event: &Event<'_>) -> Result<GtidSet, EventError> {
    decode(event.body).ok_or_else(|| event.malformed("GTID set"))
}

fn decode(bytes: &[u8]) -> Option<GtidSet> {
    let mut bytes = Bytes(bytes);
    let head = bytes.u64()?;
    let tagged = head >> 56 != 0;
    let sources = if tagged { head << 8 >> 16 } else { head };
    let mut set = GtidSet::default();
    for _ in 0..sources {
        let uuid = bytes.array()?;
        let tag = if tagged { tag(&mut bytes)? } else { "" };
        let source = GtidSource { uuid, tag: Arc::from(tag) };
        for _ in 0..bytes.u64()? {
            let (start, end) = (bytes.u64()?, bytes.u64()?);
            if start == 0 || start >= end || end > NUMBER_END {
                return None;
            }
            set.add_interval(source.clone(), start, end);
        }
    }
    Some(set)
}
