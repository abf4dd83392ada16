//! The fence: what a store remembers of the writing, beside what was written.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::envelope::DUMP;

/// The version of the text form.
const VERSION: u8 = 1;
/// What every fence's key begins with where keys are text: no writer may touch such a key, whatever it is granted.
pub const KEY_PREFIX: &str = "mysync:fence:";

/// A record's place: its number in the log, and its identity in the source, by which it is known again in a log that was read anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// 0: before the first record.
    pub seq: u64,
    /// GTID or `file:offset` of its transaction; `dump/NUMBER:CHUNK` for a row that a dump has found.
    pub transaction: String,
    /// Place in its transaction.
    pub row: u64,
    /// The second half of a changed key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second: bool,
}

impl Place {
    /// Whether the record is a row that a dump has found.
    pub fn is_of_dump(&self) -> bool {
        self.transaction.starts_with(DUMP)
    }
}

/// One writer's progress in one partition, kept in its store and compared there before every write.
///
/// `applied` names the last batch known to be in effect without an error; `began` the last one written. They differ while a batch's answers
/// have not been read: after a crash that batch, `(applied, began]`, is applied again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    pub version: u8,
    /// Which log the places are in.
    pub log: String,
    /// Who writes: a random token of the partition task.
    pub owner: String,
    /// Digest of the component and its mapping.
    pub digest: String,
    pub applied: Place,
    pub began: Place,
    /// None: the store was written from every record there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Rebuild>,
}

/// A store is made anew from a log that keeps the last record of each key: others may be gone, which is as it should be for as long as that is
/// known of all that are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// Where the log ended when it began: behind that no record may be gone.
    pub until: u64,
    /// When it began: microseconds since 1970.
    pub since_us: u64,
}

impl Rebuild {
    /// Of a partition that ends with the record `until`.
    pub fn begin(until: u64, now_us: u64) -> Self {
        Self { until, since_us: now_us }
    }

    /// Whether it takes longer than the log knows what was removed.
    pub fn is_over(&self, kept: Duration, now_us: u64) -> bool {
        u128::from(now_us.saturating_sub(self.since_us)) > kept.as_micros()
    }
}

/// A text that is no fence of a version this program reads.
#[derive(Debug, thiserror::Error)]
#[error("the fence in the store cannot be read: {0}")]
pub struct FenceError(String);

impl Fence {
    pub fn new(log: String, owner: String, digest: String, at: Place) -> Self {
        Self { version: VERSION, log, owner, digest, applied: at.clone(), began: at, rebuild: None }
    }

    pub fn to_text(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn parse(text: &str) -> Result<Self, FenceError> {
        let fence: Fence = serde_json::from_str(text).map_err(|error| FenceError(error.to_string()))?;
        if fence.version != VERSION {
            return Err(FenceError(format!("it has version {}, this program reads {VERSION}", fence.version)));
        }
        Ok(fence)
    }
}
