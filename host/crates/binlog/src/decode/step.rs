//! One column of a row: the bytes it takes on the wire, and their way into an image.

use super::charset::{Charset, Undecodable};
use super::decimal::Decimal;
use super::number::{big_endian, little_endian};
use super::{jsonb, temporal};
use crate::event::Bytes;

/// How long a value is on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    /// Bytes of the length in front of the value; 0: the length is `fixed`.
    prefix: u8,
    fixed: u8,
}

impl Width {
    /// Of fixed types the longest is DECIMAL(65,30) with 30 bytes.
    pub fn fixed(bytes: usize) -> Self {
        Self { prefix: 0, fixed: bytes as u8 }
    }

    pub fn prefixed(prefix: u8) -> Self {
        Self { prefix, fixed: 0 }
    }

    /// Takes a value's bytes off the wire. `None`: they are not all there.
    #[inline]
    pub fn take<'a>(self, wire: &mut Bytes<'a>) -> Option<&'a [u8]> {
        let len = match self.prefix {
            0 => usize::from(self.fixed),
            1 => usize::from(wire.u8()?),
            2 => usize::from(wire.u16()?),
            prefix => little_endian(wire.take(usize::from(prefix))?) as usize,
        };
        wire.take(len)
    }
}

/// How a value's bytes become a value of an image.
#[derive(Debug)]
pub enum Convert {
    Signed,
    Unsigned,
    Year,
    Bit,
    /// FLOAT and DOUBLE: little-endian on both sides.
    Copy,
    Decimal(Decimal),
    Date,
    Time(u8),
    Datetime(u8),
    Timestamp(u8),
    OldTime,
    OldDatetime,
    OldTimestamp,
    Text(Charset),
    Bytes,
    /// BINARY(n), whose trailing zero bytes the binlog leaves out.
    Padded(usize),
    Enum(LabelTexts),
    Set(LabelTexts),
    Json,
    /// WKB behind four bytes of SRID.
    Geometry,
}

/// Bytes that are no value of their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadValue {
    What(&'static str),
    Text,
}

impl From<Undecodable> for BadValue {
    fn from(_: Undecodable) -> Self {
        Self::Text
    }
}

impl Convert {
    /// Appends the value with these bytes to `out`. After an error `out` holds part of it.
    #[inline]
    pub fn append(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
        match self {
            Self::Signed => out.extend_from_slice(&signed(raw).to_le_bytes()),
            Self::Unsigned => out.extend_from_slice(&little_endian(raw).to_le_bytes()),
            Self::Text(charset) if charset.is_copied(raw) => put(raw, out),
            Self::Bytes => put(raw, out),
            _ => return self.append_other(raw, out),
        }
        Ok(())
    }

    #[inline(never)]
    fn append_other(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
        match self {
            Self::Year => {
                let year = raw.first().map_or(0, |year| if *year == 0 { 0 } else { 1900 + i64::from(*year) });
                out.extend_from_slice(&year.to_le_bytes());
                Ok(())
            }
            Self::Bit => {
                out.extend_from_slice(&big_endian(raw).to_le_bytes());
                Ok(())
            }
            Self::Copy => {
                out.extend_from_slice(raw);
                Ok(())
            }
            Self::Geometry => {
                // A server without strict mode stores an empty value where it was given none.
                let wkb = if raw.is_empty() { Some(raw) } else { raw.get(4..) };
                put(wkb.ok_or(BadValue::What("a geometry ends inside its SRID"))?, out);
                Ok(())
            }
            Self::Padded(width) => {
                let missing =
                    width.checked_sub(raw.len()).ok_or(BadValue::What("a value is longer than its column"))?;
                out.extend_from_slice(&(*width as u32).to_le_bytes());
                out.extend_from_slice(raw);
                out.resize(out.len() + missing, 0);
                Ok(())
            }
            _ => sized(out, |out| self.append_text(raw, out)),
        }
    }

    fn append_text(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
        let done = match self {
            Self::Text(charset) => return Ok(charset.append(raw, out)?),
            Self::Json => return jsonb::print(raw, out).map_err(BadValue::What),
            Self::Enum(labels) => labels.append_one(raw, out).ok_or("an ENUM value has no label"),
            Self::Set(labels) => labels.append_all(raw, out).ok_or("a SET value has a bit without a label"),
            Self::Decimal(decimal) => decimal.append(raw, out).ok_or("the bytes are no DECIMAL"),
            Self::Date => temporal::date(raw, out).ok_or("the bytes are no DATE"),
            Self::Time(decimals) => temporal::time(raw, *decimals, out).ok_or("the bytes are no TIME"),
            Self::Datetime(decimals) => temporal::datetime(raw, *decimals, out).ok_or("the bytes are no DATETIME"),
            Self::Timestamp(decimals) => temporal::timestamp(raw, *decimals, out).ok_or("the bytes are no TIMESTAMP"),
            Self::OldTime => temporal::old_time(raw, out).ok_or("the bytes are no TIME"),
            Self::OldDatetime => temporal::old_datetime(raw, out).ok_or("the bytes are no DATETIME"),
            Self::OldTimestamp => temporal::old_timestamp(raw, out).ok_or("the bytes are no TIMESTAMP"),
            _ => Ok(()),
        };
        done.map_err(BadValue::What)
    }
}

/// Sign-extends 1 to 8 bytes.
#[inline]
fn signed(raw: &[u8]) -> i64 {
    let unused = 64 - 8 * raw.len().clamp(1, 8) as u32;
    (little_endian(raw) << unused) as i64 >> unused
}

#[inline]
fn put(raw: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    out.extend_from_slice(raw);
}

/// Puts the length of what `write` appends in front of it.
pub fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), BadValue>) -> Result<(), BadValue> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let len = u32::try_from(out.len() - at - 4).map_err(|_| BadValue::What("its text is longer than 4 GiB"))?;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&len.to_le_bytes());
    }
    Ok(())
}

/// Labels of an ENUM or SET in UTF-8, end to end.
#[derive(Debug)]
pub struct LabelTexts {
    ends: Vec<u32>,
    text: Vec<u8>,
}

impl LabelTexts {
    pub fn new<'a>(labels: impl Iterator<Item = &'a [u8]>, charset: Charset) -> Result<Self, Undecodable> {
        let mut texts = Self { ends: Vec::new(), text: Vec::new() };
        for label in labels {
            charset.append(label, &mut texts.text)?;
            texts.ends.push(texts.text.len() as u32);
        }
        Ok(texts)
    }

    fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)? as usize;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |start| *start as usize);
        self.text.get(start..end)
    }

    /// The labels as a JSON array.
    pub fn to_json(&self) -> String {
        let mut json = vec![b'['];
        for (i, label) in (0..).map_while(|i| self.get(i).map(|label| (i, label))) {
            if i > 0 {
                json.push(b',');
            }
            jsonb::string(label, &mut json);
        }
        json.push(b']');
        String::from_utf8(json).unwrap_or_default()
    }

    /// An ENUM's value counts labels from 1; 0 is the empty text that stands for a refused value.
    fn append_one(&self, raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if let Some(at) = (little_endian(raw) as usize).checked_sub(1) {
            out.extend_from_slice(self.get(at)?);
        }
        Some(())
    }

    /// A SET's value has a bit for each label. As in MySQL there is no comma behind nothing: one of the labels may be empty.
    fn append_all(&self, raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut bits = little_endian(raw);
        let start = out.len();
        while bits != 0 {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(self.get(bits.trailing_zeros() as usize)?);
            bits &= bits - 1;
        }
        Some(())
    }
}
