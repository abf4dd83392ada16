//! One row at a time, over lists that hold one column at a time. A row is a view: nothing is copied.

use std::borrow::Cow;

use crate::bindings::mysync::writer::types::{Column, TableRows, Values};
pub use crate::bindings::mysync::writer::types::{Operation, TableSchema};

/// Where a column stands in the images of a table: an answer of [`Plan`](crate::Plan), good for the rows of that table's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub(crate) u16);

/// A value of a row. What travels in which case is said in `wit/types.wit`. Values are equal if nothing tells them apart: 0 and -0, which are
/// written as different names, are not.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// The binlog did not hold it: a server that writes partial row images.
    Absent,
    Null,
    Signed(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    /// UTF-8.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
}

impl PartialEq for Value<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Absent, Value::Absent) | (Value::Null, Value::Null) => true,
            (Value::Signed(one), Value::Signed(other)) => one == other,
            (Value::Unsigned(one), Value::Unsigned(other)) => one == other,
            (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
            (Value::Double(one), Value::Double(other)) => one.to_bits() == other.to_bits(),
            (Value::Text(one), Value::Text(other)) | (Value::Bytes(one), Value::Bytes(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Value<'_> {}

impl<'a> Value<'a> {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Value::Absent)
    }

    /// The value if it is an integer that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::Signed(value) => Some(value),
            Value::Unsigned(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// The value if it is an integer that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Signed(value) => value.try_into().ok(),
            Value::Unsigned(value) => Some(value),
            _ => None,
        }
    }

    /// The value as a number, if it is of a type with numbers and not DECIMAL, which travels as text.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Signed(value) => Some(value as f64),
            Value::Unsigned(value) => Some(value as f64),
            Value::Float(value) => Some(value.into()),
            Value::Double(value) => Some(value),
            _ => None,
        }
    }

    /// The value if it is text.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        match *self {
            Value::Text(text) => Some(String::from_utf8_lossy(text)),
            _ => None,
        }
    }

    /// The value's bytes if it is text or binary.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Value::Text(bytes) | Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The values of a row at one time: those that the table's plan asked for.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    columns: &'a [Column],
    index: usize,
    /// What the row held before: a column that an after image lacks has not changed.
    former: Option<(&'a [Column], usize)>,
    known: &'a Known,
}

impl<'a> Image<'a> {
    /// The value of a column.
    #[inline]
    pub fn get(&self, place: Place) -> Value<'a> {
        let at = usize::from(place.0);
        match value(&self.columns[at], self.index) {
            Value::Absent => match self.former {
                Some((columns, index)) => value(&columns[at], index),
                None => Value::Absent,
            },
            value => value,
        }
    }

    /// The value of the column of that name, or `None` if the plan does not hold it. [`Image::get`] is faster.
    pub fn named(&self, name: &str) -> Option<Value<'a>> {
        let columns = &self.known.schema.columns;
        let at = self.known.columns.iter().position(|column| columns[usize::from(*column)].name == name)?;
        Some(self.get(Place(at as u16)))
    }

    /// The name of a column.
    pub fn name_of(&self, place: Place) -> &'a str {
        &self.known.schema.columns[usize::from(self.known.columns[usize::from(place.0)])].name
    }
}

#[inline]
fn value(column: &Column, index: usize) -> Value<'_> {
    if has(&column.nulls, index) {
        return Value::Null;
    }
    if has(&column.absent, index) {
        return Value::Absent;
    }
    match &column.values {
        Values::Signed(list) => Value::Signed(list[index]),
        Values::Unsigned(list) => Value::Unsigned(list[index]),
        Values::Float(list) => Value::Float(list[index]),
        Values::Double(list) => Value::Double(list[index]),
        Values::Text(packed) => Value::Text(item(&packed.ends, &packed.data, index)),
        Values::Bytes(packed) => Value::Bytes(item(&packed.ends, &packed.data, index)),
    }
}

#[inline]
fn has(bitmap: &[u8], index: usize) -> bool {
    !bitmap.is_empty() && bitmap[index / 8] >> (index % 8) & 1 == 1
}

#[inline]
fn item<'a>(ends: &[u32], data: &'a [u8], index: usize) -> &'a [u8] {
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    &data[start..ends[index] as usize]
}

/// A table's shape and the columns that its rows come with.
#[derive(Debug)]
pub(crate) struct Known {
    pub schema: TableSchema,
    pub columns: Vec<u16>,
}

/// A change of a row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    known: &'a Known,
    rows: &'a TableRows,
    index: usize,
    before: Option<usize>,
    after: Option<usize>,
    committed_us: u64,
}

impl<'a> Row<'a> {
    /// What happened to the row.
    #[inline]
    pub fn operation(&self) -> Operation {
        self.rows.operations[self.index]
    }

    pub fn table(&self) -> &'a TableSchema {
        &self.known.schema
    }

    /// The row's place in the batch, in binlog order.
    #[inline]
    pub fn number(&self) -> u32 {
        self.rows.numbers[self.index]
    }

    /// Rises with every change: usable as a version.
    pub fn sequence(&self) -> u64 {
        self.rows.sequences[self.index]
    }

    /// When its transaction was committed: microseconds since 1970 in UTC.
    #[inline]
    pub fn committed_us(&self) -> u64 {
        self.committed_us
    }

    /// What is gone with this change: the row of a delete, or the old one of a changed key. What stands for it in the store has to go.
    pub fn removed(&self) -> Option<Image<'a>> {
        match self.operation() {
            Operation::Delete | Operation::MoveOut => self.before(),
            _ => None,
        }
    }

    /// What is there after this change: every row but those of [`Row::removed`].
    pub fn written(&self) -> Option<Image<'a>> {
        match self.operation() {
            Operation::Delete | Operation::MoveOut => None,
            _ => self.after(),
        }
    }

    /// The row as it was: always for deletes and the halves of a changed key, for updates if the plan asked for it.
    #[inline]
    pub fn before(&self) -> Option<Image<'a>> {
        let index = self.before?;
        Some(Image { columns: &self.rows.before.columns, index, former: None, known: self.known })
    }

    /// The row as it is now: always but for deletes. A value that is absent here is that of the before image, if the row has one.
    #[inline]
    pub fn after(&self) -> Option<Image<'a>> {
        let former = self.before.map(|index| (self.rows.before.columns.as_slice(), index));
        Some(Image { columns: &self.rows.after.columns, index: self.after?, former, known: self.known })
    }
}

/// The rows of one shape in order, with their images.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub known: &'a Known,
    rows: &'a TableRows,
    index: usize,
    before: usize,
    after: usize,
}

impl<'a> Rows<'a> {
    pub fn new(known: &'a Known, rows: &'a TableRows) -> Self {
        Self { known, rows, index: 0, before: 0, after: 0 }
    }

    /// The number of the row that is next.
    #[inline]
    pub fn number(&self) -> Option<u32> {
        self.rows.numbers.get(self.index).copied()
    }

    /// The next row, of which the caller knows that it is there.
    #[inline]
    pub fn take(&mut self, committed_us: u64) -> Row<'a> {
        let before = Self::image(&self.rows.before.rows, &mut self.before, self.index);
        let after = Self::image(&self.rows.after.rows, &mut self.after, self.index);
        let row = Row { known: self.known, rows: self.rows, index: self.index, before, after, committed_us };
        self.index += 1;
        row
    }

    #[inline]
    fn image(rows: &[u32], next: &mut usize, index: usize) -> Option<usize> {
        let at = *next;
        (rows.get(at).copied() == Some(index as u32)).then(|| {
            *next += 1;
            at
        })
    }
}
