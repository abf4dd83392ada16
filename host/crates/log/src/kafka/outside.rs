//! The log on Kafka as those see it who take no part in it.
//!
//! **Promise.** Nothing is moved: no topic is made, no group is joined, no offset is committed.

use std::sync::Arc;
use std::time::Duration;

use mysync_change::batch::BlockReader;
use tokio::sync::{Mutex, mpsc};

use super::admin::Admin;
use super::control::Control;
use super::error::KafkaError;
use super::preflight::{self, Breach, Facts};
use super::reader::KafkaReader;
use super::settings::KafkaSettings;
use super::{Cluster, KafkaReaders, Known};
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
    let mut facts = preflight::look(&admin, &settings, &[]).await?;
    let has_control = !facts.missing.contains(&settings.control_topic());
    // Nobody waits for members: there are none.
    let (members, _) = mpsc::channel(1);
    let cluster = Arc::new(Cluster::new(settings, facts.limits.clone(), facts.cluster.clone(), members));
    let log = if has_control { known(&cluster).await? } else { None };
    let topics = cluster.topics();
    if !topics.added().is_empty() {
        facts = preflight::look(&admin, &cluster.settings, topics.added()).await?;
    }
    let Facts { cluster, missing, allowed, refused, .. } = facts;
    let records_gone = log.is_some() && topics.list().iter().any(|topic| missing.contains(&topic.name));
    Ok(Outside { cluster, missing, allowed, refused, log, records_gone })
}

/// The log that the control topic tells of.
async fn known(cluster: &Arc<Cluster>) -> Result<Option<(Seen, KafkaReaders)>, KafkaError> {
    let mut control = Control::new(cluster, &cluster.settings.capture_name())?;
    let state = control.catch_up().await?;
    let Some((id, identity)) = &state.identity else { return Ok(None) };
    cluster.check_routing(identity)?;
    cluster.know(&state.topics);
    let seen = Seen { id: *id, partitions: cluster.topics().partitions(), checkpoint: state.checkpoint() };
    let known = Known { id: seen.id, control: Arc::new(Mutex::new(control)) };
    Ok(Some((seen, KafkaReaders { cluster: cluster.clone(), known: Arc::new(Mutex::new(Some(known))) })))
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
