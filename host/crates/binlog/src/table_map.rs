//! TABLE_MAP events: what the binlog says of a table before it changes rows.
//!
//! Everything is read from the event alone, so it is right for the rows that follow it, whatever happened to the table since.

mod column;
mod metadata;

use crate::decode::DecodeError;
use crate::event::Bytes;

pub use column::{BINARY, ColumnKind, Labels, MappedColumn};
use column::{Described, Unread};
use metadata::{Metadata, high_bit};

/// MySQL's numbers for column types, as the binlog has them.
pub(crate) mod column_type {
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const NEWDATE: u8 = 14;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const VECTOR: u8 = 242;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

/// A TABLE_MAP event, cut into its parts.
#[derive(Debug, Clone)]
pub struct TableMap<'a> {
    pub table_id: u64,
    pub database: &'a str,
    pub table: &'a str,
    /// One byte for each column: its type's number.
    types: &'a [u8],
    /// What each type needs to be read, column after column.
    type_metadata: &'a [u8],
    /// Bit `i % 8` of byte `i / 8`: column `i` may be NULL.
    nullable: &'a [u8],
    metadata: Metadata<'a>,
}

/// The number by which the rows events that follow name the table.
pub fn table_id(body: &[u8]) -> Option<u64> {
    let [a, b, c, d, e, f] = *body.first_chunk()?;
    Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}

/// Names of database and table, without reading the rest.
pub fn names(body: &[u8]) -> Result<(&str, &str), DecodeError> {
    read_names(&mut Bytes(body)).map(|(_, database, table)| (database, table))
}

fn damaged(what: &'static str) -> DecodeError {
    DecodeError::TableMapDamaged { what }
}

fn read_names<'a>(body: &mut Bytes<'a>) -> Result<(u64, &'a str, &'a str), DecodeError> {
    let id = table_id(body.0).ok_or(damaged("it ends inside the table's number"))?;
    body.take(6 + 2);
    let mut name = || {
        let len = usize::try_from(body.lenenc()?).ok()?;
        let name = body.take(len)?;
        (body.u8()? == 0).then_some(std::str::from_utf8(name).ok()?)
    };
    let mut name = || name().ok_or(damaged("it names no table"));
    Ok((id, name()?, name()?))
}

impl<'a> TableMap<'a> {
    /// Reads the body of a TABLE_MAP event (no header, no checksum).
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut rest = Bytes(body);
        let (table_id, database, table) = read_names(&mut rest)?;
        let mut parts = || {
            let columns = usize::try_from(rest.lenenc()?).ok()?;
            let types = rest.take(columns)?;
            let len = usize::try_from(rest.lenenc()?).ok()?;
            Some((types, rest.take(len)?, rest.take(columns.div_ceil(8))?))
        };
        let (types, type_metadata, nullable) = parts().ok_or(damaged("it ends inside the columns' types"))?;
        if types.len() > usize::from(u16::MAX) {
            return Err(damaged("it has more columns than a table can have"));
        }
        let metadata = Metadata::parse(rest).ok_or(damaged("its optional metadata is cut short"))?;
        Ok(Self { table_id, database, table, types, type_metadata, nullable, metadata })
    }

    /// The table's columns, in its order.
    pub fn columns(&self) -> Result<Vec<MappedColumn<'a>>, DecodeError> {
        let names = self.metadata.names.ok_or_else(|| DecodeError::NoColumnNames { table: self.full_name() })?;
        let mut names = Bytes(names);
        let mut described = Described::new(self.type_metadata, &self.metadata);
        let mut columns = Vec::with_capacity(self.types.len());
        for (at, code) in self.types.iter().enumerate() {
            let mut name = || {
                let len = usize::try_from(names.lenenc()?).ok()?;
                std::str::from_utf8(names.take(len)?).ok()
            };
            let name = name().ok_or(damaged("it names fewer columns than it has"))?;
            let kind = described.next(*code).map_err(|unread| match unread {
                Unread::Damaged => damaged("it describes fewer columns than it has"),
                Unread::Unknown(code) => {
                    DecodeError::UnknownType { table: self.full_name(), column: name.to_owned(), code }
                }
            })?;
            let nullable = self.nullable.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
            let visible = self.metadata.visible.is_none_or(|bits| high_bit(bits, at));
            columns.push(MappedColumn { name, kind, nullable, visible });
        }
        described.collations(&mut columns).ok_or(damaged("it has fewer collations than character columns"))?;
        Ok(columns)
    }

    /// The columns' types alone: all there is to know without `binlog_row_metadata=FULL`.
    pub fn kinds(&self) -> Result<Vec<ColumnKind<'a>>, DecodeError> {
        let mut described = Described::new(self.type_metadata, &self.metadata);
        let kinds = self.types.iter().map(|code| described.next(*code));
        kinds.collect::<Result<_, _>>().map_err(|_| damaged("it describes a column that is not known"))
    }

    /// Places of the primary key's columns in the table, in key order, each with its prefix length (0: all of the column).
    pub fn primary_key(&self) -> Result<Vec<(usize, u64)>, DecodeError> {
        let mut key = Vec::new();
        let mut whole = Bytes(self.metadata.primary_key);
        let mut prefixed = Bytes(self.metadata.primary_key_with_prefix);
        let cut_short = || damaged("its primary key is cut short");
        while !whole.is_empty() {
            key.push((whole.lenenc().ok_or_else(cut_short)?, 0));
        }
        while !prefixed.is_empty() {
            key.push((prefixed.lenenc().ok_or_else(cut_short)?, prefixed.lenenc().ok_or_else(cut_short)?));
        }
        let places = key.into_iter().map(|(place, prefix)| {
            usize::try_from(place).ok().filter(|place| *place < self.types.len()).map(|place| (place, prefix))
        });
        places.collect::<Option<_>>().ok_or(damaged("its primary key names a column it does not have"))
    }

    /// `database.table`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }
}
