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

impl Search {
    pub fn new(cluster: &Cluster, id: LogId, group: &str, partition: u32) -> Result<Self, KafkaError> {
        Ok(Self { tail: Tail::search(cluster, group, cluster.topic(), partition)?, id })
    }

    /// The first message that holds a record behind `seq`, and whether nothing stands before it any more; none: nothing is behind. A `hint` is
    /// an offset where it may be.
    pub async fn behind(&mut self, seq: u64, hint: Option<i64>) -> Result<Option<(Seen, bool)>, KafkaError> {
        let (first, _) = self.bounds().await?;
        let Some(last) = self.last().await?.filter(|last| last.last > seq) else { return Ok(None) };
        // The first one lies between these, or is the one that was found.
        let (mut from, mut to, mut found) = (first, last.offset, last);
        let mut next = hint.unwrap_or(first);
        while from < to && found.prev > seq {
            let at = next.clamp(from, to - 1);
            match self.look(at).await? {
                Some(seen) if seen.last > seq => (found, to) = (seen, at),
                Some(seen) => from = seen.offset + 1,
                None => to = at,
            }
            next = from + (to - from) / 2;
        }
        let is_first = found.offset == first || self.look(first).await?.is_some_and(|it| it.offset == found.offset);
        Ok(Some((found, is_first)))
    }

    /// The last message; none: there is none.
    pub async fn last(&mut self) -> Result<Option<Seen>, KafkaError> {
        let (first, end) = self.bounds().await?;
        let mut back = LAST_AND_MARKER;
        while first < end {
            let mut last = self.look((end - back).max(first)).await?;
            while let Some(seen) = last.filter(|seen| seen.offset + LAST_AND_MARKER < end) {
                match self.tail.next().await? {
                    Some(record) => last = Some(Seen::of(&record, &self.tail, self.id)?),
                    None => return Ok(Some(seen)),
                }
            }
            if last.is_some() || end - back <= first {
                return Ok(last);
            }
            back *= 2;
        }
        Ok(None)
    }

    /// The first message at an offset or behind it; none: nothing more is committed.
    pub async fn look(&mut self, offset: i64) -> Result<Option<Seen>, KafkaError> {
        self.tail.seek(Offset::Offset(offset))?;
        self.tail.next().await?.map(|record| Seen::of(&record, &self.tail, self.id)).transpose()
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
