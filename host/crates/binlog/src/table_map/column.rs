//! What each column of a TABLE_MAP event is.

use super::column_type as t;
use super::metadata::{Metadata, high_bit};
use crate::event::Bytes;

/// A column as the binlog describes it.
#[derive(Debug, Clone)]
pub struct MappedColumn<'a> {
    pub name: &'a str,
    pub kind: ColumnKind<'a>,
    pub nullable: bool,
    pub visible: bool,
}

/// A column's type, with all that is needed to read its values.
///
/// `prefix` is the number of bytes that hold a value's length; `collation` a collation's number, `BINARY` for binary types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind<'a> {
    Integer {
        bytes: u8,
        unsigned: bool,
    },
    Float {
        unsigned: bool,
    },
    Double {
        unsigned: bool,
    },
    Decimal {
        precision: u8,
        scale: u8,
        unsigned: bool,
    },
    Year,
    Bit {
        bits: u16,
    },
    Date,
    Time {
        decimals: u8,
    },
    Datetime {
        decimals: u8,
    },
    Timestamp {
        decimals: u8,
    },
    /// TIME, DATETIME and TIMESTAMP of tables made before MySQL 5.6.
    OldTime,
    OldDatetime,
    OldTimestamp,
    Char {
        bytes: u16,
        collation: u64,
    },
    Varchar {
        bytes: u16,
        collation: u64,
    },
    /// TEXT and BLOB of four sizes.
    Blob {
        prefix: u8,
        collation: u64,
    },
    Enum {
        bytes: u8,
        labels: Labels<'a>,
        collation: u64,
    },
    Set {
        bytes: u8,
        labels: Labels<'a>,
        collation: u64,
    },
    Json {
        prefix: u8,
    },
    Geometry {
        prefix: u8,
        kind: &'static str,
    },
    Vector {
        prefix: u8,
        dimensions: Option<u64>,
    },
}

/// The binary collation's number.
pub const BINARY: u64 = 63;

/// Labels of an ENUM or SET, each behind its length, in the column's charset or in UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Labels<'a> {
    raw: &'a [u8],
    utf8: bool,
}

impl<'a> Labels<'a> {
    /// Takes one column's labels from the front of `all`.
    fn take(all: &mut Bytes<'a>) -> Option<Self> {
        let count = all.lenenc()?;
        let start = all.0;
        for _ in 0..count {
            let len = usize::try_from(all.lenenc()?).ok()?;
            all.take(len)?;
        }
        let raw = start.get(..start.len() - all.0.len())?;
        Some(Self { raw, utf8: false })
    }

    /// Labels that are UTF-8 whatever the column's charset is, each behind its length as the binlog has it.
    pub(crate) fn in_utf8(raw: &'a [u8]) -> Self {
        Self { raw, utf8: true }
    }

    pub(crate) fn is_utf8(self) -> bool {
        self.utf8
    }

    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Bytes(self.raw);
        std::iter::from_fn(move || {
            let len = usize::try_from(rest.lenenc()?).ok()?;
            rest.take(len)
        })
    }
}

/// Why a column is not described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    Damaged,
    /// Its type's number.
    Unknown(u8),
}

/// Walks a table's columns along all the lists that say something of them.
pub struct Described<'a> {
    type_metadata: Bytes<'a>,
    fields: Metadata<'a>,
    numeric: usize,
    enum_labels: Bytes<'a>,
    set_labels: Bytes<'a>,
    geometry_kinds: Bytes<'a>,
    vector_dimensions: Bytes<'a>,
}

impl<'a> Described<'a> {
    pub fn new(type_metadata: &'a [u8], fields: &Metadata<'a>) -> Self {
        Self {
            type_metadata: Bytes(type_metadata),
            fields: *fields,
            numeric: 0,
            enum_labels: Bytes(fields.enum_labels),
            set_labels: Bytes(fields.set_labels),
            geometry_kinds: Bytes(fields.geometry_kinds),
            vector_dimensions: Bytes(fields.vector_dimensions),
        }
    }

    /// The next column, whose type has this number. Collations are filled in later: their list is read as a whole.
    pub fn next(&mut self, code: u8) -> Result<ColumnKind<'a>, Unread> {
        let known = match code {
            t::TINY | t::SHORT | t::INT24 | t::LONG | t::LONGLONG | t::YEAR | t::FLOAT | t::DOUBLE | t::NEWDECIMAL => {
                self.number(code)
            }
            t::STRING | t::ENUM | t::SET => return self.string(),
            _ => self.other(code).ok_or(Unread::Unknown(code))?,
        };
        known.ok_or(Unread::Damaged)
    }

    fn number(&mut self, code: u8) -> Option<ColumnKind<'a>> {
        let unsigned = high_bit(self.fields.signedness, self.numeric);
        self.numeric += 1;
        let integer = |bytes| ColumnKind::Integer { bytes, unsigned };
        Some(match code {
            t::TINY => integer(1),
            t::SHORT => integer(2),
            t::INT24 => integer(3),
            t::LONG => integer(4),
            t::LONGLONG => integer(8),
            t::YEAR => ColumnKind::Year,
            t::FLOAT => (self.type_metadata.u8()? == 4).then_some(ColumnKind::Float { unsigned })?,
            t::DOUBLE => (self.type_metadata.u8()? == 8).then_some(ColumnKind::Double { unsigned })?,
            _ => {
                let [precision, scale] = self.type_metadata.array()?;
                ColumnKind::Decimal { precision, scale, unsigned }
            }
        })
    }

    /// CHAR, BINARY, ENUM and SET share a number. The real one is in the metadata, together with the length's two high bits (inverted).
    fn string(&mut self) -> Result<ColumnKind<'a>, Unread> {
        let [real, low] = self.type_metadata.array().ok_or(Unread::Damaged)?;
        let collation = BINARY;
        match real {
            t::ENUM | t::SET => {
                let list = if real == t::ENUM { &mut self.enum_labels } else { &mut self.set_labels };
                let labels = Labels::take(list).ok_or(Unread::Damaged)?;
                match (real, low) {
                    (t::ENUM, 1 | 2) => Ok(ColumnKind::Enum { bytes: low, labels, collation }),
                    (t::SET, 1..=8) => Ok(ColumnKind::Set { bytes: low, labels, collation }),
                    _ => Err(Unread::Damaged),
                }
            }
            _ if real | 0x30 == t::STRING => {
                Ok(ColumnKind::Char { bytes: u16::from(!real & 0x30) << 4 | u16::from(low), collation })
            }
            _ => Err(Unread::Unknown(real)),
        }
    }

    /// `None`: the type is not known. `Some(None)`: its metadata is cut short.
    fn other(&mut self, code: u8) -> Option<Option<ColumnKind<'a>>> {
        let metadata = &mut self.type_metadata;
        let collation = BINARY;
        let decimals = |metadata: &mut Bytes<'a>| metadata.u8().filter(|decimals| *decimals <= 6);
        let prefix = |metadata: &mut Bytes<'a>| metadata.u8().filter(|prefix| (1..=4).contains(prefix));
        Some(match code {
            t::DATE | t::NEWDATE => Some(ColumnKind::Date),
            t::TIME => Some(ColumnKind::OldTime),
            t::DATETIME => Some(ColumnKind::OldDatetime),
            t::TIMESTAMP => Some(ColumnKind::OldTimestamp),
            t::TIME2 => decimals(metadata).map(|decimals| ColumnKind::Time { decimals }),
            t::DATETIME2 => decimals(metadata).map(|decimals| ColumnKind::Datetime { decimals }),
            t::TIMESTAMP2 => decimals(metadata).map(|decimals| ColumnKind::Timestamp { decimals }),
            t::BIT => {
                let bits = metadata.array().map(|[bits, bytes]| u16::from(bytes) * 8 + u16::from(bits));
                bits.filter(|bits| (1..=64).contains(bits)).map(|bits| ColumnKind::Bit { bits })
            }
            t::VARCHAR | t::VAR_STRING => metadata.u16().map(|bytes| ColumnKind::Varchar { bytes, collation }),
            t::TINY_BLOB | t::MEDIUM_BLOB | t::LONG_BLOB | t::BLOB => {
                prefix(metadata).map(|prefix| ColumnKind::Blob { prefix, collation })
            }
            t::JSON => prefix(metadata).map(|prefix| ColumnKind::Json { prefix }),
            t::GEOMETRY => {
                let kind = geometry_kind(self.geometry_kinds.lenenc());
                prefix(metadata).map(|prefix| ColumnKind::Geometry { prefix, kind })
            }
            t::VECTOR => {
                let dimensions = self.vector_dimensions.lenenc();
                prefix(metadata).map(|prefix| ColumnKind::Vector { prefix, dimensions })
            }
            _ => return None,
        })
    }

    /// Gives each character, ENUM and SET column its collation. `None`: there are too few. To the server a VECTOR is a character column, too.
    pub fn collations(&self, columns: &mut [MappedColumn<'a>]) -> Option<()> {
        use ColumnKind as K;
        let count = |wanted: fn(&ColumnKind<'_>) -> bool| columns.iter().filter(|column| wanted(&column.kind)).count();
        let text = count(|kind| matches!(kind, K::Char { .. } | K::Varchar { .. } | K::Blob { .. } | K::Vector { .. }));
        let labels = count(|kind| matches!(kind, K::Enum { .. } | K::Set { .. }));
        let mut text = self.fields.charsets.expand(text)?.into_iter();
        let mut labels = self.fields.label_charsets.expand(labels)?.into_iter();
        for column in columns {
            match &mut column.kind {
                K::Char { collation, .. } | K::Varchar { collation, .. } | K::Blob { collation, .. } => {
                    *collation = text.next()?;
                }
                K::Enum { collation, .. } | K::Set { collation, .. } => *collation = labels.next()?,
                K::Vector { .. } => {
                    text.next()?;
                }
                _ => {}
            }
        }
        Some(())
    }
}

fn geometry_kind(number: Option<u64>) -> &'static str {
    match number {
        Some(1) => "point",
        Some(2) => "linestring",
        Some(3) => "polygon",
        Some(4) => "multipoint",
        Some(5) => "multilinestring",
        Some(6) => "multipolygon",
        Some(7) => "geomcollection",
        _ => "geometry",
    }
}
