//! MySQL's binary JSON, printed as SELECT prints it, without building a tree.
//!
//! A document is untrusted: offsets may point anywhere, and many may point at one place. So depth is bounded as in MySQL, and the text by a
//! multiple of the document's bytes.

mod scalar;

use super::number::little_endian;
use crate::event::Bytes;

pub use scalar::string;

/// MySQL refuses documents that are deeper.
const MAX_DEPTH: usize = 100;
/// Text per byte of a document: the worst honest value is a control character in a string, which takes six.
const MAX_TEXT_PER_BYTE: usize = 8;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0A;
const DOUBLE: u8 = 0x0B;
const STRING: u8 = 0x0C;
const OPAQUE: u8 = 0x0F;

/// Appends a document's text. An empty one is what a server without strict mode makes of a missing value: `null`.
pub fn print(document: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let Some((kind, value)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let limit = out.len() + 64 + document.len() * MAX_TEXT_PER_BYTE;
    Printer { out, limit }.value(*kind, value, 0)
}

struct Printer<'o> {
    out: &'o mut Vec<u8>,
    /// Length that `out` must not pass.
    limit: usize,
}

impl Printer<'_> {
    fn value(&mut self, kind: u8, raw: &[u8], depth: usize) -> Result<(), &'static str> {
        if self.out.len() > self.limit {
            return Err("the JSON document refers to the same bytes again and again");
        }
        match kind {
            SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY if depth >= MAX_DEPTH => {
                Err("the JSON document is deeper than MySQL allows")
            }
            SMALL_OBJECT => self.container(raw, 2, true, depth),
            LARGE_OBJECT => self.container(raw, 4, true, depth),
            SMALL_ARRAY => self.container(raw, 2, false, depth),
            LARGE_ARRAY => self.container(raw, 4, false, depth),
            _ => self.scalar(kind, raw).ok_or("the JSON document holds no valid value where one should be"),
        }
    }

    fn scalar(&mut self, kind: u8, raw: &[u8]) -> Option<()> {
        match kind {
            LITERAL => self.out.extend_from_slice(match raw.first()? {
                0 => b"null",
                1 => b"true",
                2 => b"false",
                _ => return None,
            }),
            INT16 => scalar::signed(i16::from_le_bytes(*raw.first_chunk()?).into(), self.out),
            UINT16 => scalar::unsigned(u16::from_le_bytes(*raw.first_chunk()?).into(), self.out),
            INT32 => scalar::signed(i32::from_le_bytes(*raw.first_chunk()?).into(), self.out),
            UINT32 => scalar::unsigned(u32::from_le_bytes(*raw.first_chunk()?).into(), self.out),
            INT64 => scalar::signed(i64::from_le_bytes(*raw.first_chunk()?), self.out),
            UINT64 => scalar::unsigned(u64::from_le_bytes(*raw.first_chunk()?), self.out),
            DOUBLE => scalar::double(f64::from_le_bytes(*raw.first_chunk()?), self.out)?,
            STRING => scalar::string(sized(raw)?, self.out)?,
            OPAQUE => {
                let (field_type, rest) = raw.split_first()?;
                scalar::opaque(*field_type, sized(rest)?, self.out)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// An object or array whose offsets and sizes take `wide` bytes each.
    ///
    /// `count size [key-offset key-length:u16]* [type value-or-offset]* keys values`; offsets count from `count`.
    fn container(&mut self, raw: &[u8], wide: usize, object: bool, depth: usize) -> Result<(), &'static str> {
        const SHORT: &str = "a JSON object or array is cut short";
        let mut head = Bytes(raw);
        let number = |head: &mut Bytes<'_>| head.take(wide).map(|raw| little_endian(raw) as usize).ok_or(SHORT);
        let (count, size) = (number(&mut head)?, number(&mut head)?);
        let all = raw.get(..size).ok_or(SHORT)?;
        let key_entries = if object { count.checked_mul(wide + 2) } else { Some(0) };
        let mut keys = Bytes(head.take(key_entries.ok_or(SHORT)?).ok_or(SHORT)?);
        let mut values = Bytes(count.checked_mul(1 + wide).and_then(|len| head.take(len)).ok_or(SHORT)?);
        self.out.push(if object { b'{' } else { b'[' });
        for i in 0..count {
            if i > 0 {
                self.out.extend_from_slice(b", ");
            }
            if object {
                let offset = number(&mut keys)?;
                let len = usize::from(keys.u16().ok_or(SHORT)?);
                let key = all.get(offset..).and_then(|from| from.get(..len)).ok_or(SHORT)?;
                scalar::string(key, self.out).ok_or("a JSON key is not UTF-8")?;
                self.out.extend_from_slice(b": ");
            }
            let kind = values.u8().ok_or(SHORT)?;
            let inlined = values.take(wide).ok_or(SHORT)?;
            let value = if is_inlined(kind, wide) {
                inlined
            } else {
                all.get(little_endian(inlined) as usize..).ok_or(SHORT)?
            };
            self.value(kind, value, depth + 1)?;
        }
        self.out.push(if object { b'}' } else { b']' });
        Ok(())
    }
}

/// Values that stand in their entry instead of at an offset.
fn is_inlined(kind: u8, wide: usize) -> bool {
    matches!(kind, LITERAL | INT16 | UINT16) || wide == 4 && matches!(kind, INT32 | UINT32)
}

/// Bytes behind their length, which comes in groups of seven bits.
fn sized(raw: &[u8]) -> Option<&[u8]> {
    let mut len = 0;
    for (i, byte) in raw.iter().enumerate().take(5) {
        len |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return raw.get(i + 1..)?.get(..len);
        }
    }
    None
}
