//! The rows of a block, in the order of the log.

use std::collections::HashMap;
use std::sync::Arc;

use mysync_change::block::BlockBuilder;
use mysync_change::envelope::{self, Envelope, Kind, TableEvent};
use mysync_change::image::{Image, Value};
use mysync_change::position::TransactionId;
use mysync_change::rows::{self, Operation};
use mysync_change::schema::{Fingerprint, TableShape};

/// A row, each value as text; NULL and what is not there are `NULL`.
#[derive(Debug, Clone)]
pub struct Record {
    pub kind: Kind,
    pub partition: usize,
    /// What it stands under in a log of keys.
    pub key: Option<Vec<u8>>,
    pub transaction: TransactionId,
    pub operation: Operation,
    pub shape: Arc<TableShape>,
    pub before: Option<Vec<String>>,
    pub after: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
pub enum Entry {
    Row(Record),
    Table(TableEvent),
}

impl Record {
    /// The row as it was when it is gone, as it is when it is there; and whether it is gone.
    pub fn row(&self) -> (&[String], bool) {
        let gone = matches!(self.operation, Operation::Delete | Operation::MoveOut);
        (if gone { &self.before } else { &self.after }.as_deref().unwrap_or_default(), gone)
    }

    /// The row's value in a column.
    pub fn value(&self, column: &str) -> &str {
        let at = self.shape.columns.iter().position(|other| other.name == column).unwrap();
        &self.row().0[at]
    }
}

impl Entry {
    pub fn row(self) -> Option<Record> {
        match self {
            Self::Row(record) => Some(record),
            Self::Table(_) => None,
        }
    }
}

/// Reads blocks, and knows their shapes.
#[derive(Default)]
pub struct Blocks {
    shapes: HashMap<[u8; 16], Arc<TableShape>>,
}

impl Blocks {
    /// Seals a block, takes its rows out of all partitions, and empties it.
    pub fn take(&mut self, block: &mut BlockBuilder) -> Vec<Entry> {
        block.seal();
        for (Fingerprint(fingerprint), shape) in block.shapes() {
            self.shapes.insert(*fingerprint, shape.clone());
        }
        let mut entries: Vec<(u64, Entry)> = Vec::new();
        for (partition, part) in block.partitions().iter().enumerate() {
            for message in part.messages() {
                let mut at = 0;
                while let Some((envelope, next)) = envelope::read(message.bytes, at).unwrap() {
                    at = next;
                    // Every partition has it.
                    if envelope.header.kind == Kind::TableEvent && partition > 0 {
                        continue;
                    }
                    if envelope.header.kind == Kind::TableEvent {
                        let event = serde_json::from_slice(envelope.body).unwrap();
                        entries.push((envelope.header.first_seq, Entry::Table(event)));
                        continue;
                    }
                    self.read_rows(&envelope, partition, message.key, &mut entries);
                }
            }
        }
        block.stored();
        entries.sort_by_key(|(seq, _)| *seq);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    fn read_rows(
        &self,
        envelope: &Envelope<'_>,
        partition: usize,
        key: Option<&[u8]>,
        entries: &mut Vec<(u64, Entry)>,
    ) {
        let shape = &self.shapes[&envelope.header.shape];
        let mut at = 0;
        while let Some((row, next)) = rows::read(envelope, at).unwrap() {
            at = next;
            let record = Record {
                kind: envelope.header.kind,
                partition,
                key: key.map(<[u8]>::to_vec),
                transaction: envelope.header.transaction.to_id(),
                operation: row.operation,
                shape: shape.clone(),
                before: row.before.map(|image| values(image, shape)),
                after: row.after.map(|image| values(image, shape)),
            };
            entries.push((row.seq, Entry::Row(record)));
        }
    }
}

fn values(image: &[u8], shape: &TableShape) -> Vec<String> {
    let image = Image::new(image, shape.columns.len()).unwrap();
    let text = |value| match value {
        Value::Null | Value::Absent => "NULL".to_owned(),
        Value::Signed(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Text(text) => text.to_owned(),
        Value::Bytes(bytes) => format!("{bytes:02x?}"),
    };
    image.values(&shape.columns).map(|value| text(value.unwrap())).collect()
}
