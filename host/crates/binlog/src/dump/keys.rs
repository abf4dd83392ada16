//! Keys of rows as bytes that can be compared: equal keys have equal bytes, whether a row comes from the binlog or from a SELECT.

use std::hash::{DefaultHasher, Hasher};

pub use mysync_change::key::write_parts as write;

/// The parts of a key.
pub fn parts(mut key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = key.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        key = rest;
        Some(part)
    })
}

pub fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}
