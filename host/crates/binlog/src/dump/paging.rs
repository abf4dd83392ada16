//! Reading a table chunk by chunk in the order of its key.
//!
//! A chunk begins behind the key of the last row before it. For the server to find that place in the index, and to compare as the index does,
//! each value is a literal of its column's very type: text in its own charset and collation, numbers as numbers, dates as they are written.

use std::fmt::Write as _;

use super::columns::{Described, Key, name, quoted};
use crate::decode::number::{big_endian, little_endian};
use crate::event::Bytes;
use crate::table_map::ColumnKind;

/// A key to read by.
#[derive(Debug)]
pub struct Paging {
    index: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    column: String,
    literal: Literal,
    descends: bool,
}

/// How a value is written in a statement, from the bytes that the binary protocol has of it.
#[derive(Debug)]
enum Literal {
    Signed,
    Unsigned,
    /// Of a FLOAT as the double that is equal to it: it is compared as one.
    Float,
    Double,
    Decimal,
    Bit,
    Date,
    Datetime,
    Time,
    Binary,
    Text {
        charset: String,
        collation: String,
    },
    /// A number that stands for a label, or for several of them; `most` is the largest.
    Labels {
        most: u64,
    },
}

/// An index finds labels one by one, by equality, and not those behind one. More than this many are not listed: each chunk then goes through
/// the index from its beginning.
const LABELS_LISTED_MAX: u64 = 1024;

impl Paging {
    /// `None`: by this key no order can be had. A part of a column says nothing of where the rest of it is.
    pub fn new(key: &Key, columns: &[Described]) -> Option<Self> {
        let part = |part: &super::columns::KeyPart| {
            let column = columns.get(part.column).filter(|_| part.prefix == 0)?;
            Some(Part { column: name(&column.name), literal: Literal::of(column)?, descends: part.descends })
        };
        Some(Self { index: name(&key.index), parts: key.parts.iter().map(part).collect::<Option<_>>()? })
    }

    pub fn columns(&self) -> usize {
        self.parts.len()
    }

    /// What stands behind the table's name in a statement that reads on behind `after`.
    pub fn clauses(&self, after: Option<&[String]>) -> String {
        let mut sql = format!(" FORCE INDEX ({})", self.index);
        if let Some(values) = after {
            let _ = write!(sql, " WHERE {}", self.behind(values));
        }
        let order = |part: &Part| format!("{}{}", part.column, if part.descends { " DESC" } else { "" });
        let order: Vec<String> = self.parts.iter().map(order).collect();
        sql + " ORDER BY " + &order.join(", ")
    }

    /// `a >= 1 AND (a > 1 OR (a = 1 AND (b > 2 OR (b = 2 AND …))))`. The first condition is what every optimizer makes a range of.
    fn behind(&self, values: &[String]) -> String {
        let mut condition = String::new();
        for (part, value) in self.parts.iter().zip(values).rev() {
            let (column, beyond) = (&part.column, part.beyond(value));
            condition = match condition.as_str() {
                "" => beyond,
                rest => format!("{beyond} OR ({column} = {value} AND ({rest}))"),
            };
        }
        match (self.parts.as_slice(), values) {
            ([first, _, ..], [value, ..]) if !matches!(first.literal, Literal::Labels { .. }) => {
                format!("{} {}= {value} AND ({condition})", first.column, first.sign())
            }
            _ => condition,
        }
    }

    /// The literals of a row's key, from the bytes that were sent of it.
    pub fn literals<'r>(&self, raw: impl Iterator<Item = &'r [u8]>) -> Option<Vec<String>> {
        self.parts.iter().zip(raw).map(|(part, raw)| part.literal.write(raw)).collect()
    }
}

impl Part {
    fn sign(&self) -> char {
        if self.descends { '<' } else { '>' }
    }

    /// What is true of all values behind this one.
    fn beyond(&self, value: &str) -> String {
        let (column, sign) = (&self.column, self.sign());
        let (Literal::Labels { most }, Ok(number)) = (&self.literal, value.parse::<u64>()) else {
            return format!("{column} {sign} {value}");
        };
        if *most > LABELS_LISTED_MAX {
            return format!("{column} {sign} {value}");
        }
        let mut behind: Vec<u64> =
            if self.descends { (0..number).collect() } else { (number.saturating_add(1)..=*most).collect() };
        if behind.is_empty() {
            // No row has this one. Without another label than the last row's the optimizer would sort all rows that have that.
            behind.push(most + 1);
        }
        let behind: Vec<String> = behind.iter().map(u64::to_string).collect();
        format!("{column} IN ({})", behind.join(", "))
    }
}

impl Literal {
    fn of(column: &Described) -> Option<Self> {
        use ColumnKind as K;
        let text = || match (&column.charset, &column.collation) {
            (Some(charset), Some(collation)) => Self::Text { charset: charset.clone(), collation: collation.clone() },
            _ => Self::Binary,
        };
        Some(match column.mapped()?.kind {
            K::Integer { unsigned: false, .. } => Self::Signed,
            K::Integer { .. } | K::Year => Self::Unsigned,
            K::Enum { labels, .. } => Self::Labels { most: labels.iter().count() as u64 },
            K::Set { labels, .. } => {
                let most = 1_u64.checked_shl(labels.iter().count() as u32).map_or(u64::MAX, |numbers| numbers - 1);
                Self::Labels { most }
            }
            K::Float { .. } => Self::Float,
            K::Double { .. } => Self::Double,
            K::Decimal { .. } => Self::Decimal,
            K::Bit { .. } => Self::Bit,
            K::Date => Self::Date,
            K::Time { .. } => Self::Time,
            K::Datetime { .. } | K::Timestamp { .. } => Self::Datetime,
            K::Char { .. } | K::Varchar { .. } | K::Blob { .. } => text(),
            _ => return None,
        })
    }

    fn write(&self, raw: &[u8]) -> Option<String> {
        Some(match self {
            Self::Signed => {
                let unused = 64 - 8 * raw.len().clamp(1, 8) as u32;
                ((little_endian(raw) << unused) as i64 >> unused).to_string()
            }
            Self::Unsigned | Self::Labels { .. } => little_endian(raw).to_string(),
            Self::Float => format!("{:e}", f64::from(f32::from_le_bytes(*raw.first_chunk()?))),
            Self::Double => format!("{:e}", f64::from_le_bytes(*raw.first_chunk()?)),
            Self::Decimal => std::str::from_utf8(raw).ok()?.to_owned(),
            Self::Bit => big_endian(raw).to_string(),
            Self::Date => quoted(&date(&mut Bytes(raw))?),
            Self::Datetime => {
                let mut raw = Bytes(raw);
                let date = date(&mut raw)?;
                quoted(&format!("{date} {}", clock(0, &mut raw)?))
            }
            Self::Time => {
                let mut raw = Bytes(raw);
                let (negative, days) = if raw.is_empty() { (0, 0) } else { (raw.u8()?, raw.u32()?) };
                quoted(&format!("{}{}", if negative == 0 { "" } else { "-" }, clock(days, &mut raw)?))
            }
            Self::Binary => hex(raw),
            Self::Text { charset, collation } => format!("_{charset} {} COLLATE {collation}", hex(raw)),
        })
    }
}

fn date(raw: &mut Bytes<'_>) -> Option<String> {
    let (year, month, day) = if raw.is_empty() { (0, 0, 0) } else { (raw.u16()?, raw.u8()?, raw.u8()?) };
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

fn clock(days: u32, raw: &mut Bytes<'_>) -> Option<String> {
    let [hour, minute, second] = if raw.is_empty() { [0; 3] } else { raw.array()? };
    let micros = if raw.is_empty() { 0 } else { raw.u32()? };
    Some(format!("{:02}:{minute:02}:{second:02}.{micros:06}", u64::from(days) * 24 + u64::from(hour)))
}

fn hex(raw: &[u8]) -> String {
    let mut text = String::with_capacity(2 * raw.len() + 3);
    text.push_str("X'");
    for byte in raw {
        let _ = write!(text, "{byte:02x}");
    }
    text + "'"
}
