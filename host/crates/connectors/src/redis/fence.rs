//! The fence in Redis: one key for each source, writer and partition.

use mysync_change::fence::{Fence, KEY_PREFIX};

use super::ask::Ask;
use super::client::Client;
use super::error::RedisError;

/// Where the fence is kept.
///
/// The prefix keeps it apart from rows, and lets one rule of an access list and one SCAN find all of them. The braces make its name alone
/// decide the slot, so that entries which carry the same braces could share a transaction with it in a cluster.
pub fn key(source: &str, writer: &str, partition: u32) -> String {
    format!("{KEY_PREFIX}{{{source}/{writer}/{partition}}}")
}

/// Watches the fence, then reads it: a change after what was read lets the next EXEC fail.
pub async fn arm(client: &mut Client, key: &str) -> Result<Option<Vec<u8>>, RedisError> {
    let mut ask = Ask::default().command(&[b"WATCH", key.as_bytes()]).command(&[b"GET", key.as_bytes()]);
    client.exchange(&mut ask).await?;
    let mut fence = None;
    for answer in ask.answers() {
        match answer {
            Ok(words) => fence = words.into_iter().next().flatten(),
            Err(text) if text.starts_with(b"WRONGTYPE") => {
                return Err(RedisError::FenceUnreadable { key: key.to_owned(), reason: "it is no string".to_owned() });
            }
            Err(text) => return Err(RedisError::of_reply(&text)),
        }
    }
    Ok(fence)
}

pub fn parse(key: &str, text: &[u8]) -> Result<Fence, RedisError> {
    let unreadable = |reason: String| RedisError::FenceUnreadable { key: key.to_owned(), reason };
    let text = std::str::from_utf8(text).map_err(|error| unreadable(error.to_string()))?;
    Fence::parse(text).map_err(|error| unreadable(error.to_string()))
}

/// Why the fence of `writer` is not what it should be: `found` is what the store has, `owner` who we are.
pub fn overtaken(key: &str, writer: &str, found: Option<&[u8]>, owner: &str) -> RedisError {
    let key = key.to_owned();
    match found.map(|text| parse(&key, text)) {
        None => RedisError::StoreEmptied { key, writer: writer.to_owned() },
        Some(Err(unreadable)) => unreadable,
        Some(Ok(fence)) if fence.owner == owner => RedisError::LateWrite { key },
        Some(Ok(fence)) => RedisError::FenceTaken { key, owner: fence.owner },
    }
}
