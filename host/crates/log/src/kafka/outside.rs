//! The log on Kafka as those see it who take no part in it.
//!
//! **Promise.** Nothing is moved: no topic is made, no group is joined, no offset is committed.

use std::sync::Arc;
use std::time::Duration;

use mysync_change::batch::BlockReader;
use tokio::sync::{Mutex, mpsc};

use super::admin::Admin;
use super::error::KafkaError;
use super::preflight::{Breach, Facts};
use super::reader::KafkaReader;
use super::settings::KafkaSettings;
use super::{KafkaReaders, Survey, survey};
use crate::embedded::Seen;

/// Clocks of a source and of whoever captures it differ by less: a message is sent after its transactions were committed, by the one clock
/// or the other.
const CLOCKS_MICROS: u64 = Duration::from_secs(60).as_micros() as u64;

/// What a start would find.
#[derive(Debug)]
pub struct Outside {
    /// The cluster's own name.
    pub cluster: String,
    /// Topics that are not there: a start makes them.
    pub missing: Vec<String>,
    /// What breaks a promise and was allowed.
    pub allowed: Vec<Breach>,
    /// What breaks a promise, for which a start is refused.
    pub refused: Vec<Breach>,
    /// None: there is no log yet.
    pub log: Option<(Seen, KafkaReaders)>,
    /// There is a log, and the topic with its records is not there any more.
    pub records_gone: bool,
}

/// Looks at a cluster and the log on it.
pub async fn look(settings: KafkaSettings) -> Result<Outside, KafkaError> {
    let admin = Admin::new(&settings)?;
    // Nobody waits for members: there are none.
    let (members, _) = mpsc::channel(1);
    let Survey { facts, cluster, log } = survey(&admin, settings, members).await?;
    let Facts { cluster: name, missing, allowed, refused, .. } = facts;
    let topics = cluster.topics();
    let records_gone = log.is_some() && topics.list().iter().any(|topic| missing.contains(&topic.name));
    let log = match log {
        Some(known) => {
            let checkpoint = known.control.lock().await.state().checkpoint();
            let seen = Seen { id: known.id, partitions: topics.partitions(), checkpoint };
            Some((seen, KafkaReaders { cluster, known: Arc::new(Mutex::new(Some(known))) }))
        }
        None => None,
    };
    Ok(Outside { cluster: name, missing, allowed, refused, log, records_gone })
}

impl KafkaReader {
    /// The number behind which the partition goes on with the message at an offset, or the next one behind that; none: nothing is there.
    pub async fn before_offset(&mut self, offset: i64) -> Result<Option<u64>, KafkaError> {
        self.lose_place();
        let mut search = self.search()?;
        let (first, end) = search.bounds().await?;
        if !(first..end).contains(&offset) {
            return Ok(None);
        }
        Ok(search.look(offset).await?.map(|seen| seen.prev))
    }

    /// A number, not far before it, behind which everything lies that the source committed at this time or later, in microseconds since 1970;
    /// none: nothing does.
    pub async fn before_time(&mut self, micros: u64) -> Result<Option<u64>, KafkaError> {
        self.lose_place();
        let sent_millis = micros.saturating_sub(CLOCKS_MICROS) / 1000;
        let mut search = self.search()?;
        let Some(offset) = search.sent_since(i64::try_from(sent_millis).unwrap_or(i64::MAX)).await? else {
            return Ok(None);
        };
        Ok(search.look(offset).await?.map(|seen| seen.prev))
    }

    /// Fills `block` with the last message that has records behind `after`; false: there is none.
    pub async fn read_last(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, KafkaError> {
        self.lose_place();
        let Some(last) = self.search()?.last().await?.filter(|last| last.last > after) else { return Ok(false) };
        self.read_next(last.prev.max(after), block).await
    }
}
