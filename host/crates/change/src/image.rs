//! Row images in the log: flat, exact, readable by anybody.
//!
//! ```text
//! image  := flags:u8  nulls:bitmap  [absent:bitmap if flags & 1]  value*
//! bitmap := ceil(columns / 8) bytes; column i is bit i % 8 of byte i / 8
//! value  := for each column that is neither NULL nor absent, in order, by its storage:
//!           signed i64 | unsigned u64 | float f32 | double f64, little-endian; text, bytes: u32 length, then that many bytes
//! ```
//! What text holds for each MySQL type is part of the writer contract (`wit/types.wit`, `values`).

use crate::schema::{Column, Storage};

/// Set in an image's flags when a bitmap of absent columns follows that of NULLs.
pub const HAS_ABSENT: u8 = 1;

/// Bytes of a bitmap over `columns` columns.
pub const fn bitmap_len(columns: usize) -> usize {
    columns.div_ceil(8)
}

/// A value as it stands in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Null,
    /// Not in the binlog (minimal row images).
    Absent,
    Signed(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Bytes that are no image of the given columns.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a row image is damaged at byte {at}: {what}")]
pub struct ImageError {
    pub at: usize,
    pub what: &'static str,
}

/// An image, split from the bytes behind it, its values not looked at yet.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    nulls: &'a [u8],
    /// Empty: no column is absent.
    absent: &'a [u8],
    values: &'a [u8],
}

impl<'a> Image<'a> {
    /// `bytes` hold one image of a table with `columns` columns, and may go on behind it.
    pub fn new(bytes: &'a [u8], columns: usize) -> Result<Self, ImageError> {
        let short = |at| ImageError { at, what: "it ends inside a bitmap" };
        let (&flags, rest) = bytes.split_first().ok_or(short(0))?;
        if flags & !HAS_ABSENT != 0 {
            return Err(ImageError { at: 0, what: "unknown flags" });
        }
        let (nulls, rest) = rest.split_at_checked(bitmap_len(columns)).ok_or(short(1))?;
        let absent_len = if flags & HAS_ABSENT != 0 { bitmap_len(columns) } else { 0 };
        let (absent, values) = rest.split_at_checked(absent_len).ok_or(short(1 + nulls.len()))?;
        Ok(Self { nulls, absent, values })
    }

    /// Walks the values in column order.
    pub fn values<'c>(&self, columns: &'c [Column]) -> Values<'a, 'c> {
        Values { image: *self, columns, at: 0, offset: 0 }
    }

    pub fn is_null(&self, column: usize) -> bool {
        bit(self.nulls, column)
    }

    pub fn is_absent(&self, column: usize) -> bool {
        bit(self.absent, column)
    }

    /// The bytes behind the bitmaps.
    pub fn value_bytes(&self) -> &'a [u8] {
        self.values
    }
}

fn bit(bitmap: &[u8], at: usize) -> bool {
    bitmap.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// See [`Image::values`].
pub struct Values<'a, 'c> {
    image: Image<'a>,
    columns: &'c [Column],
    at: usize,
    offset: usize,
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = Result<Value<'a>, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let storage = self.columns.get(self.at)?.storage;
        let at = self.at;
        self.at += 1;
        if self.image.is_null(at) {
            return Some(Ok(Value::Null));
        }
        if self.image.is_absent(at) {
            return Some(Ok(Value::Absent));
        }
        Some(read(self.image.values, &mut self.offset, storage))
    }
}

/// Reads the value at `offset` and moves behind it.
#[inline]
pub fn read<'a>(bytes: &'a [u8], offset: &mut usize, storage: Storage) -> Result<Value<'a>, ImageError> {
    let error = |what| ImageError { at: *offset, what };
    let rest = bytes.get(*offset..).ok_or(error("it ends before a value"))?;
    let (value, len) = match storage {
        Storage::Float => {
            let raw = rest.first_chunk::<4>().ok_or(error("it ends inside a float"))?;
            (Value::Float(f32::from_le_bytes(*raw)), 4)
        }
        Storage::Signed | Storage::Unsigned | Storage::Double => {
            let raw = *rest.first_chunk::<8>().ok_or(error("it ends inside a number"))?;
            let value = match storage {
                Storage::Signed => Value::Signed(i64::from_le_bytes(raw)),
                Storage::Unsigned => Value::Unsigned(u64::from_le_bytes(raw)),
                _ => Value::Double(f64::from_le_bytes(raw)),
            };
            (value, 8)
        }
        Storage::Text | Storage::Bytes => {
            let (raw, tail) = rest.split_first_chunk::<4>().ok_or(error("it ends inside a length"))?;
            let len = u32::from_le_bytes(*raw) as usize;
            let data = tail.get(..len).ok_or(error("a value is longer than the image"))?;
            let value = if storage == Storage::Bytes {
                Value::Bytes(data)
            } else {
                Value::Text(std::str::from_utf8(data).map_err(|_| error("text is not UTF-8"))?)
            };
            (value, 4 + len)
        }
    };
    *offset += len;
    Ok(value)
}

/// Writes an image value by value: for tests and for writers of records off the hot path.
pub fn write(out: &mut Vec<u8>, values: &[Value<'_>]) {
    let absent = values.contains(&Value::Absent);
    let map = |out: &mut Vec<u8>, wanted: Value<'_>| {
        for chunk in values.chunks(8) {
            out.push(chunk.iter().enumerate().fold(0, |byte, (i, v)| byte | u8::from(*v == wanted) << i));
        }
    };
    out.push(if absent { HAS_ABSENT } else { 0 });
    map(out, Value::Null);
    if absent {
        map(out, Value::Absent);
    }
    for value in values {
        match value {
            Value::Null | Value::Absent => {}
            Value::Signed(v) => out.extend_from_slice(&v.to_le_bytes()),
            Value::Unsigned(v) => out.extend_from_slice(&v.to_le_bytes()),
            Value::Float(v) => out.extend_from_slice(&v.to_le_bytes()),
            Value::Double(v) => out.extend_from_slice(&v.to_le_bytes()),
            Value::Text(v) => put_bytes(out, v.as_bytes()),
            Value::Bytes(v) => put_bytes(out, v),
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}
