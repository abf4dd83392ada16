//! Records of the log one by one, for people: slower than batches, and nothing is left out.

use mysync_change::batch::BlockReader;
use mysync_change::envelope::{self, EnvelopeError, Header, Kind, TableEvent};
use mysync_change::fence::Place;
use mysync_change::rows::{self, Operation, Row};

/// One record of a block.
#[derive(Debug)]
pub struct Record<'a> {
    pub header: Header<'a>,
    pub seq: u64,
    pub body: Body<'a>,
}

#[derive(Debug)]
pub enum Body<'a> {
    Row(Row<'a>),
    Event(TableEvent),
    /// A kind of record that has no rows.
    Other(Kind),
}

impl Record<'_> {
    /// Where a fence would say that this record is the last one in effect.
    pub fn place(&self) -> Place {
        let (row, second) = match &self.body {
            Body::Row(row) => (row.number, row.operation == Operation::MoveIn),
            _ => (self.header.first_row, false),
        };
        Place { seq: self.seq, transaction: self.header.transaction.to_id().to_string(), row, second }
    }
}

/// Shows every record of a block, in order.
pub fn each(block: &BlockReader, mut show: impl FnMut(Record<'_>)) -> Result<(), EnvelopeError> {
    let mut at = 0;
    while let Some((envelope, next)) = envelope::read(block.bytes(), at)? {
        at = next;
        let header = envelope.header;
        let mut seq = header.first_seq;
        match header.kind {
            Kind::Change | Kind::DumpChunk => {
                let mut row_at = 0;
                while let Some((row, next)) = rows::read(&envelope, row_at)? {
                    (seq, row_at) = (row.seq, next);
                    show(Record { header, seq, body: Body::Row(row) });
                }
            }
            Kind::TableEvent => {
                let event = serde_json::from_slice(envelope.body)
                    .map_err(|error| EnvelopeError::Damaged { at, what: error.to_string() })?;
                show(Record { header, seq, body: Body::Event(event) });
            }
            kind => show(Record { header, seq, body: Body::Other(kind) }),
        }
    }
    Ok(())
}
