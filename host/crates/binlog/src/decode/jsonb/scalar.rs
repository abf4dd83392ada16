//! Numbers, strings and MySQL's own types inside JSON.

use std::io::Write as _;

use crate::decode::decimal::Decimal;
use crate::decode::temporal;

const TIMESTAMP: u8 = 7;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
const NEWDECIMAL: u8 = 246;

pub fn signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(value.unsigned_abs(), out);
}

pub fn unsigned(mut value: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}

/// The shortest digits that read back as the same number, laid out as MySQL does: plain between 1e-15 and 1e15, otherwise with an exponent;
/// a whole number keeps a `.0`. `None`: JSON has no such number.
pub fn double(value: f64, out: &mut Vec<u8>) -> Option<()> {
    /// The decimal point's places, counted from the first digit, in which MySQL prints no exponent.
    const PLAIN: std::ops::RangeInclusive<i32> = -14..=15;
    if !value.is_finite() {
        return None;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let mut buffer = [0; 32];
    let mut text = shortest(value.abs(), &mut buffer)?;
    let mut even = [0; 32];
    let mut e = text.find('e')?;
    // Where two texts are equally near, MySQL takes the even one. That needs so many digits that neighbours are nearer than doubles are.
    if e > 16
        && let Some(other) = rounded(value.abs(), e - 2, &mut even)
        && other.parse() == Ok(value.abs())
    {
        (text, e) = (other, other.find('e')?);
    }
    let exponent: i32 = text.get(e + 1..)?.parse().ok()?;
    let text = text.as_bytes();
    let first = *text.first()?;
    let more = text.get(2..e).unwrap_or_default();
    let (point, count) = (if first == b'0' { 1 } else { exponent + 1 }, 1 + more.len() as i32);
    let digit = |at: i32| if at == 0 { first } else { more.get(at as usize - 1).copied().unwrap_or(b'0') };
    if !PLAIN.contains(&point) {
        out.push(first);
        if !more.is_empty() {
            out.push(b'.');
            out.extend_from_slice(more);
        }
        out.push(b'e');
        signed(i64::from(exponent), out);
        return Some(());
    }
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend((0..count).map(digit));
        return Some(());
    }
    out.extend((0..point).map(digit));
    out.push(b'.');
    if count > point {
        out.extend((point..count).map(digit))
    } else {
        out.push(b'0')
    }
    Some(())
}

/// `d.ddde-308`: 24 bytes at most.
fn shortest(value: f64, buffer: &mut [u8; 32]) -> Option<&str> {
    written(format_args!("{value:e}"), buffer)
}

/// The same with so many digits behind the point, the last one rounded half to even.
fn rounded(value: f64, digits: usize, buffer: &mut [u8; 32]) -> Option<&str> {
    written(format_args!("{value:.digits$e}"), buffer)
}

fn written<'a>(text: std::fmt::Arguments<'_>, buffer: &'a mut [u8; 32]) -> Option<&'a str> {
    let mut rest = &mut buffer[..];
    rest.write_fmt(text).ok()?;
    let used = 32 - rest.len();
    std::str::from_utf8(buffer.get(..used)?).ok()
}

/// In double quotes. `None`: not UTF-8.
pub fn string(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if !raw.is_ascii() {
        simdutf8::basic::from_utf8(raw).ok()?;
    }
    out.push(b'"');
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        let (plain, special) = rest.split_at_checked(at)?;
        out.extend_from_slice(plain);
        let (byte, tail) = special.split_first()?;
        escape(*byte, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
    Some(())
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0C => b'f',
        b'\r' => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend([byte >> 4, byte & 15].map(|nibble| HEX[usize::from(nibble & 15)]));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// A value of a MySQL type that JSON does not have.
pub fn opaque(field_type: u8, raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let packed = || raw.first_chunk().map(|raw| i64::from_le_bytes(*raw));
    match field_type {
        NEWDECIMAL => {
            let ([precision, scale], digits) = raw.split_first_chunk()?;
            Decimal::computed(*precision, *scale)?.append(digits, out)
        }
        DATE => quoted(out, |out| packed().map(|packed| temporal::json_date(packed, out))),
        DATETIME | TIMESTAMP => quoted(out, |out| packed().map(|packed| temporal::json_datetime(packed, out))),
        TIME => quoted(out, |out| packed().map(|packed| temporal::json_time(packed, out))),
        _ => quoted(out, |out| {
            out.extend_from_slice(b"base64:type");
            unsigned(field_type.into(), out);
            out.push(b':');
            base64(raw, out);
            Some(())
        }),
    }
}

fn quoted(out: &mut Vec<u8>, inside: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    out.push(b'"');
    inside(out)?;
    out.push(b'"');
    Some(())
}

/// Standard alphabet, padded, with MySQL's line break (escaped, as inside a JSON string) after each full line that is not the last.
fn base64(raw: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const LINE: usize = 76 / 4;
    for (i, chunk) in raw.chunks(3).enumerate() {
        if i > 0 && i % LINE == 0 {
            out.extend_from_slice(b"\\n");
        }
        let [a, b, c] = [0, 1, 2].map(|at| chunk.get(at).copied().unwrap_or(0));
        let sextets = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        let mut quad = sextets.map(|sextet| ALPHABET[usize::from(sextet & 63)]);
        for pad in quad.iter_mut().skip(chunk.len() + 1) {
            *pad = b'=';
        }
        out.extend_from_slice(&quad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_mysql_prints_them() {
        let text = |value: f64| {
            let mut out = Vec::new();
            double(value, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        for (value, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e15, "1e15"),
            (123456789012345.0, "123456789012345.0"),
            (1.5e15, "1.5e15"),
            (1.2345678901234568e17, "1.2345678901234568e17"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::MAX, "1.7976931348623157e308"),
            (121_053_162_733.890_63, "121053162733.89062"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(value), expected);
        }
    }
}
