//! What a message of the log holds, as far as finding one's way needs it.

use mysync_change::envelope::{self, Envelope, EnvelopeError, Kind, LogId};
use mysync_change::rows;

use super::error::KafkaError;
use super::tail::{Record, Tail};

#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub offset: i64,
    /// The number before its first record's.
    pub prev: u64,
    /// Its last record's number.
    pub last: u64,
}

impl Seen {
    /// A message that was read there. What is no record of log `id` is an error.
    pub fn of(record: &Record<'_>, read_by: &Tail, id: LogId) -> Result<Self, KafkaError> {
        let bytes = record.bytes();
        let foreign = |what: String| KafkaError::Foreign {
            topic: read_by.topic.clone(),
            partition: read_by.partition,
            offset: record.offset,
            what,
        };
        let read = |at| {
            envelope::read(bytes, at).map_err(|error| match error {
                EnvelopeError::Version { .. } => KafkaError::from(error),
                EnvelopeError::Damaged { at, what } => foreign(format!("byte {at}: {what}")),
            })
        };
        let (first, _) = read(0)?.ok_or_else(|| foreign("it is empty".to_owned()))?;
        let (mut at, mut last) = (0, first);
        while let Some((envelope, next)) = read(at)? {
            if envelope.header.log_id != id.0 {
                return Err(foreign(format!("it is of log {}", LogId(envelope.header.log_id))));
            }
            (at, last) = (next, envelope);
        }
        Ok(Self { offset: record.offset, prev: first.header.prev, last: last_seq(&last)? })
    }
}

fn last_seq(envelope: &Envelope<'_>) -> Result<u64, EnvelopeError> {
    let mut last = envelope.header.first_seq;
    if matches!(envelope.header.kind, Kind::Change | Kind::DumpChunk) {
        let mut at = 0;
        while let Some((row, next)) = rows::read(envelope, at)? {
            (last, at) = (row.seq, next);
        }
    }
    Ok(last)
}
