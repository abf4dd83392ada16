//! JSON text, appended to a buffer.

use crate::number;
use crate::row::Value;

/// Appends a value: numbers exactly, text as a string, bytes as base64 in a string, NULL as `null`. Text that is a number or JSON already
/// (the kinds `decimal` and `json`) belongs there as it is.
pub fn value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Absent | Value::Null => out.extend_from_slice(b"null"),
        Value::Signed(value) => number::signed(value, out),
        Value::Unsigned(value) => number::unsigned(value, out),
        Value::Float(value) => number::float(value, out),
        Value::Double(value) => number::double(value, out),
        Value::Text(text) => string(text, out),
        Value::Bytes(bytes) => base64(bytes, out),
    }
}

/// Appends UTF-8 text as a string.
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in text.iter().enumerate() {
        if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[start..at]);
        start = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&text[start..]);
    out.push(b'"');
}

/// Appends bytes as a string of base64 with padding.
pub fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= group.len() { letter } else { b'=' });
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(text(|out| string(b"", out)), r#""""#);
        assert_eq!(text(|out| string("Zoë \"\\\" 🦀".as_bytes(), out)), r#""Zoë \"\\\" 🦀""#);
        assert_eq!(text(|out| string(b"a\nb\tc\rd\x00e\x1f", out)), r#""a\nb\tc\rd\u0000e\u001f""#);
    }

    #[test]
    fn bytes_are_base64() {
        let known =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, expected) in known {
            assert_eq!(text(|out| base64(bytes.as_bytes(), out)), format!("\"{expected}\""));
        }
        assert_eq!(text(|out| base64(&[255, 254, 251], out)), r#""//77""#);
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(text(|out| value(Value::Unsigned(u64::MAX), out)), "18446744073709551615");
        assert_eq!(text(|out| value(Value::Signed(i64::MIN), out)), "-9223372036854775808");
        assert_eq!(text(|out| value(Value::Double(0.1), out)), "0.1");
        assert_eq!(text(|out| value(Value::Null, out)), "null");
    }
}
