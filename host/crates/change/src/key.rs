//! Keys of records: what decides in which partition a row is kept, and the key of a message of its own (see [`crate::routing`]).
//!
//! ```text
//! key       := part(database) part(table) part(value)*        of a row: the values of its primary key, in key order
//! event_key := part() part(database) part(table) part(seq)    of a table event; seq: u64, little-endian
//! part      := length:u32  bytes                              length counts what follows it, little-endian
//! ```
//! A value stands as in a row image (see [`crate::image`]), a text's own length included. A row of a table without a primary key is its own key:
//! its whole image is the one value. Equal keys have equal bytes and different ones have different bytes, of one table as of two. Part of the
//! log's format: who writes them in another way looks for rows where they are not.
//!
//! No event takes the key of another or of a row, which never begins with an empty part: where the log keeps the last record of each key, every
//! event stays, at its place among the rows. One removed for a later one would leave rows of before it that it had taken.

/// Appends a row's key.
#[inline]
pub fn write<'a>(database: &str, table: &str, values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    write_part(database.as_bytes(), out);
    write_part(table.as_bytes(), out);
    write_parts(values, out);
}

/// Appends a table event's key.
pub fn write_event(database: &str, table: &str, seq: u64, out: &mut Vec<u8>) {
    write_part(b"", out);
    write_part(database.as_bytes(), out);
    write_part(table.as_bytes(), out);
    write_part(&seq.to_le_bytes(), out);
}

/// Appends the part of a key that tells the rows of one table apart.
#[inline]
pub fn write_parts<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    values.for_each(|value| write_part(value, out));
}

#[inline]
fn write_part(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(database: &str, table: &str, values: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::new();
        write(database, table, values.iter().copied(), &mut key);
        key
    }

    #[test]
    fn a_key_is_what_the_format_says() {
        let expected = b"\x04\0\0\0shop\x05\0\0\0users\x08\0\0\0\x07\0\0\0\0\0\0\0";
        assert_eq!(key("shop", "users", &[&7i64.to_le_bytes()]), expected);
        let mut event = Vec::new();
        write_event("shop", "users", 7, &mut event);
        assert_eq!(event, [&b"\0\0\0\0"[..], expected].concat());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let keys = [
            key("a", "bc", &[b"d"]),
            key("ab", "c", &[b"d"]),
            key("a", "b", &[b"cd"]),
            key("a", "b", &[b"c", b"d"]),
            key("a", "b", &[b"", b"cd"]),
            key("a", "b", &[b"cd", b""]),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|other| other != one), "{one:?}");
        }
    }
}
