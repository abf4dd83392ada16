//! The log as any reader of committed messages sees it: numbers chained without a hole, each row once.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};
use mysync_change::envelope::{self, Envelope, Kind};
use mysync_change::image::{Image, Value};
use mysync_change::rows::{self, Operation};
use mysync_change::schema::{Column, TableShape};
use mysync_test_support::{Kafka, Message};

use super::Change;
use crate::OnKafka;

/// What the record of a deleted key stands in.
const RECORD_HEADER: &str = "mysync";
const SHAPE: &str = "shape/";

/// What every partition holds of streamed changes, in its order.
#[derive(Debug, Default)]
pub struct Log {
    pub partitions: Vec<Vec<Change>>,
}

type Shapes = HashMap<[u8; 16], TableShape>;

/// Reads all of a log from which nothing has been deleted.
pub async fn read(kafka: &Kafka, on: &OnKafka) -> Result<Log> {
    let mut shapes = Shapes::new();
    for record in kafka.read(&on.control()).await? {
        if record.message.key.as_deref().unwrap_or_default().starts_with(SHAPE.as_bytes()) {
            let (fingerprint, shape) = envelope::read_schema(bytes(&record.message))?;
            shapes.insert(fingerprint.0, shape);
        }
    }
    let mut partitions: BTreeMap<(&str, i32), Partition> = BTreeMap::new();
    for topic in &on.topics {
        for record in kafka.read(topic).await? {
            let partition = partitions.entry((topic, record.partition)).or_default();
            let taken = partition.take(bytes(&record.message), &shapes);
            taken.with_context(|| format!("{topic}, partition {}, offset {}", record.partition, record.offset))?;
        }
    }
    let mut ids = partitions.values().filter_map(|partition| partition.log_id);
    let first = ids.next();
    ensure!(ids.all(|id| Some(id) == first), "records of two logs are in the topics");
    for ((topic, _), partition) in &partitions {
        let mut tables = partition.changes.iter().map(|change| change.row.split('/').next());
        let first = tables.next();
        let is_one_table = tables.all(|table| Some(table) == first);
        ensure!(is_one_table || on.topics.len() == 1, "topic {topic} holds rows of two tables");
    }
    Ok(Log { partitions: partitions.into_values().map(|partition| partition.changes).collect() })
}

fn bytes(message: &Message) -> &[u8] {
    let beside = || message.headers.iter().find(|(name, _)| name == RECORD_HEADER).map(|(_, record)| &**record);
    message.value.as_deref().or_else(beside).unwrap_or_default()
}

#[derive(Default)]
struct Partition {
    log_id: Option<[u8; 16]>,
    last: u64,
    changes: Vec<Change>,
}

impl Partition {
    fn take(&mut self, bytes: &[u8], shapes: &Shapes) -> Result<()> {
        ensure!(!bytes.is_empty(), "a message is empty");
        let mut at = 0;
        while let Some((envelope, next)) = envelope::read(bytes, at)? {
            at = next;
            let header = &envelope.header;
            ensure!(
                header.prev == self.last,
                "behind {} comes {}, whose prev is {}",
                self.last,
                header.first_seq,
                header.prev
            );
            ensure!(header.first_seq > self.last, "number {} comes behind {}", header.first_seq, self.last);
            ensure!(*self.log_id.get_or_insert(header.log_id) == header.log_id, "a record of another log");
            self.last = header.first_seq;
            match header.kind {
                Kind::Change => self.rows(&envelope, shapes.get(&header.shape).context("rows of an unknown shape")?)?,
                Kind::DumpChunk => self.skip(&envelope)?,
                Kind::TableEvent => {}
                other => bail!("a record of kind {other:?}"),
            }
        }
        Ok(())
    }

    fn rows(&mut self, envelope: &Envelope<'_>, shape: &TableShape) -> Result<()> {
        let transaction = envelope.header.transaction.to_string();
        let mut at = 0;
        while let Some((row, next)) = rows::read(envelope, at)? {
            ensure!(at == 0 || row.seq > self.last, "number {} comes behind {}", row.seq, self.last);
            (self.last, at) = (row.seq, next);
            let texts = |image: Option<&[u8]>| image.map(|image| texts(image, &shape.columns)).transpose();
            let (before, after) = (texts(row.before)?, texts(row.after)?);
            let keyed = match row.operation {
                Operation::Delete | Operation::MoveOut => &before,
                _ => &after,
            };
            let key = keyed.as_ref().and_then(|texts| texts.first()).context("a row without its image")?;
            self.changes.push(Change {
                row: format!("{}/{key}", shape.full_name()),
                operation: row.operation,
                transaction: transaction.clone(),
                number: row.number,
                before: before.map(|texts| texts.join(", ")),
                after: after.map(|texts| texts.join(", ")),
            });
        }
        Ok(())
    }

    fn skip(&mut self, envelope: &Envelope<'_>) -> Result<()> {
        let mut at = 0;
        while let Some((row, next)) = rows::read(envelope, at)? {
            (self.last, at) = (row.seq, next);
        }
        Ok(())
    }
}

fn texts(image: &[u8], columns: &[Column]) -> Result<Vec<String>> {
    let text = |value: Result<Value<'_>, _>| {
        Ok(match value? {
            Value::Null => "NULL".to_owned(),
            Value::Signed(number) => number.to_string(),
            Value::Unsigned(number) => number.to_string(),
            Value::Text(text) => format!("'{text}'"),
            Value::Bytes(bytes) => format!("'{}'", String::from_utf8_lossy(bytes)),
            other => bail!("the shop has no column for {other:?}"),
        })
    };
    Image::new(image, columns.len())?.values(columns).map(text).collect()
}
