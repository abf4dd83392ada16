//! Places in a partition, looked for by number: numbers grow with offsets.

use mysync_change::envelope::LogId;
use rdkafka::topic_partition_list::Offset;

use super::Cluster;
use super::error::KafkaError;
use super::seen::Seen;
use super::tail::Tail;

/// Behind the last message of a partition stands the mark that its transaction was committed.
const LAST_AND_MARKER: i64 = 2;

#[derive(Debug)]
pub struct Search {
    tail: Tail,
    id: LogId,
}

/// What stands behind a number.
#[derive(Debug, Clone, Copy)]
pub struct Behind {
    /// The offset to begin to read at.
    pub start: i64,
    /// None: nothing, for now.
    pub next: Option<Following>,
}

/// The next message behind a number.
#[derive(Debug, Clone, Copy)]
pub struct Following {
    /// The number before its first record.
    pub prev: u64,
    /// Whether nothing of the log stands before it any more.
    pub is_first: bool,
}

impl Search {
    pub fn new(cluster: &Cluster, id: LogId, group: &str, topic: &str, partition: u32) -> Result<Self, KafkaError> {
        Ok(Self { tail: Tail::search(cluster, group, topic, partition)?, id })
    }

    /// The first message that holds a record behind `seq`. A `hint` is an offset where it may be.
    pub async fn behind(&mut self, seq: u64, hint: Option<i64>) -> Result<Behind, KafkaError> {
        let (first, _) = self.bounds().await?;
        let last = match self.last().await? {
            Some(last) if last.last > seq => last,
            // Whatever comes is behind that, or is the first.
            last => return Ok(Behind { start: last.map_or(first, |last| last.offset + 1), next: None }),
        };
        // Before `from` nothing is behind the number, from `to` on everything is.
        let (mut from, mut to, mut found) = (first, last.offset, last);
        // Where the hint is right, what stands before it says so.
        let (mut at, mut back) = (hint.unwrap_or(first), hint.map(|_| 1));
        while from < to {
            match self.look(at.clamp(from, to - 1)).await? {
                Some(seen) if seen.last > seq => (found, to) = (seen, at.clamp(from, to - 1)),
                Some(seen) => (from, back) = (seen.offset + 1, None),
                None => to = at.clamp(from, to - 1),
            }
            at = match &mut back {
                Some(back) => {
                    *back *= 2;
                    to - *back
                }
                None => from + (to - from) / 2,
            };
        }
        Ok(Behind { start: from, next: Some(Following { prev: found.prev, is_first: from == first }) })
    }

    /// The last message; none: there is none.
    pub async fn last(&mut self) -> Result<Option<Seen>, KafkaError> {
        let (first, end) = self.bounds().await?;
        if first == end {
            return Ok(None);
        }
        let mut back = LAST_AND_MARKER;
        loop {
            let mut last = self.look((end - back).max(first)).await?;
            while let Some(seen) = last.filter(|seen| seen.offset + LAST_AND_MARKER < end) {
                match self.next().await? {
                    Some(next) => last = Some(next),
                    None => return Ok(Some(seen)),
                }
            }
            if last.is_some() || end - back <= first {
                return Ok(last);
            }
            back *= 2;
        }
    }

    /// The first message at an offset or behind it; none: nothing more is committed.
    pub async fn look(&mut self, offset: i64) -> Result<Option<Seen>, KafkaError> {
        self.tail.seek(Offset::Offset(offset))?;
        self.next().await
    }

    /// The next message of this log. Others are told of by who reads the log, not by who looks for a place in it.
    async fn next(&mut self) -> Result<Option<Seen>, KafkaError> {
        while let Some(record) = self.tail.next().await? {
            match Seen::of(&record, &self.tail, self.id) {
                Err(KafkaError::Foreign { .. }) => {}
                seen => return seen.map(Some),
            }
        }
        Ok(None)
    }

    /// The offsets of the first message there may be, and behind the last one that is committed.
    pub async fn bounds(&self) -> Result<(i64, i64), KafkaError> {
        self.tail.bounds().await
    }

    /// The offset of the first message that was sent at this time or later, in milliseconds since 1970; none: there is none.
    pub async fn sent_since(&self, millis: i64) -> Result<Option<i64>, KafkaError> {
        self.tail.sent_since(millis).await
    }

    /// The offset that the group last committed; none: never, or so long ago that the group was forgotten.
    pub async fn committed(&self) -> Result<Option<i64>, KafkaError> {
        self.tail.committed().await
    }
}
