//! Records as JSON, for scripts: every value is whole, and numbers are texts, so that nobody's arithmetic loses a digit.

use mysync_change::image::{Image, ImageError, Value};
use mysync_change::schema::{Column, TableShape};
use mysync_pipeline::failure::Failure;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

use super::{time, word};
use crate::records::{Body, Record};

/// What `--help` of the command says of it.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    partition: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    committed: String,
    transaction: String,
    file: &'a str,
    file_offset: u64,
    row: u64,
    ends_transaction: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    operation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Columns<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Columns<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writer: Option<&'a str>,
}

/// A row by column.
struct Columns<'a> {
    image: Image<'a>,
    columns: &'a [Column],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Text(&'a str),
    Number(String),
    Bytes { hex: String },
    Null,
}

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (column, value) in self.columns.iter().zip(self.image.values(self.columns)) {
            let shown = match value.map_err(S::Error::custom)? {
                Value::Absent => continue,
                Value::Null => Shown::Null,
                Value::Signed(number) => Shown::Number(number.to_string()),
                Value::Unsigned(number) => Shown::Number(number.to_string()),
                Value::Float(number) => Shown::Number(number.to_string()),
                Value::Double(number) => Shown::Number(number.to_string()),
                Value::Text(text) => Shown::Text(text),
                Value::Bytes(bytes) => Shown::Bytes { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
            };
            map.serialize_entry(&column.name, &shown)?;
        }
        map.end()
    }
}

/// A record's line.
pub fn line(
    partition: u32,
    offset: Option<i64>,
    record: &Record<'_>,
    shape: Option<&TableShape>,
) -> Result<String, Failure> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        let message = format!("the record with seq {} in partition {partition} cannot be read: {reason}", record.seq);
        Failure::definite("RECORD_UNREADABLE", message)
    };
    let header = &record.header;
    let mut line = Line {
        seq: record.seq,
        partition,
        offset,
        committed: time(header.committed_us),
        transaction: header.transaction.to_string(),
        file: header.transaction.file,
        file_offset: header.transaction.offset,
        row: record.place().row,
        ends_transaction: false,
        database: None,
        table: None,
        operation: String::new(),
        statement: None,
        before: None,
        after: None,
        writer: header.target,
    };
    match &record.body {
        Body::Row(row) => {
            let shape = shape.ok_or_else(|| unreadable(&"its shape is not known"))?;
            line.operation = word(row.operation).to_owned();
            line.ends_transaction = row.ends_transaction;
            (line.database, line.table) = (Some(shape.database.as_str()), Some(shape.name.as_str()));
            line.before = image(row.before, shape).map_err(|error| unreadable(&error))?;
            line.after = image(row.after, shape).map_err(|error| unreadable(&error))?;
        }
        Body::Event(event) => {
            line.operation.clone_from(&event.what);
            if !event.table.is_empty() {
                (line.database, line.table) = (Some(event.database.as_str()), Some(event.table.as_str()));
                line.statement = Some(&event.statement);
            }
        }
        Body::Other(kind) => line.operation = format!("{kind:?}").to_lowercase(),
    }
    serde_json::to_string(&line).map(|text| text + "\n").map_err(|error| unreadable(&error))
}

fn image<'a>(bytes: Option<&'a [u8]>, shape: &'a TableShape) -> Result<Option<Columns<'a>>, ImageError> {
    let Some(bytes) = bytes else { return Ok(None) };
    Ok(Some(Columns { image: Image::new(bytes, shape.columns.len())?, columns: &shape.columns }))
}
