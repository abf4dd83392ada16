//! One partition's way into the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysync_change::fence::Fence;
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Connector;

use super::{Sent, SimStore, rebuilds};
use crate::Mutant;
use crate::faults::{Faults, Host, Moment};

pub struct SimConnector {
    pub(super) store: SimStore,
    pub(super) partition: usize,
    /// The fence as this connection last read or wrote it.
    pub(super) seen: Option<String>,
    /// The store's start that the connection belongs to; none: it is not open.
    pub(super) start: Option<u64>,
    /// None: nothing befalls its process.
    pub(super) host: Option<Host>,
    /// Whether its task's partition was given away.
    pub(super) revoked: Option<Arc<AtomicBool>>,
}

/// A store that is slow now and then: longer than a group waits for who gives up a partition.
const SLOW_MS: u64 = 2000;

impl SimConnector {
    async fn at(&self, moment: Moment) -> Result<(), Failure> {
        match &self.host {
            Some(host) => host.at(moment).await,
            None => Ok(()),
        }
    }

    fn faults(&self) -> Option<&Faults> {
        self.host.as_ref().map(|host| &host.faults)
    }

    /// Whether the mistake is made of not fencing a task whose partition was given away.
    fn is_compared(&self) -> bool {
        let is_revoked = || self.revoked.as_ref().is_some_and(|revoked| revoked.load(Ordering::Relaxed));
        self.store.mutant != Some(Mutant::RevokedNotFenced) || !is_revoked()
    }

    async fn send(&self, start: u64, sent: Sent) -> Result<(), Failure> {
        let Self { store, partition, .. } = self;
        let slow = self.host.is_some() && store.random.one_in_while_failing(30);
        let way_us = store.random.below(if slow { SLOW_MS * 1000 } else { 2000 });
        let (partition, seen, is_compared) = (*partition, self.seen.clone(), self.is_compared());
        let arrival = {
            let store = store.clone();
            async move {
                tokio::time::sleep(Duration::from_micros(way_us)).await;
                store.take(partition, start, seen.as_ref(), is_compared, &sent)
            }
        };
        // What a process has sent arrives, whatever becomes of the process.
        let taken = if self.host.is_some() { tokio::spawn(arrival).await.unwrap() } else { arrival.await };
        if self.host.is_none() {
            store.check();
        }
        taken
    }
}

impl Connector for SimConnector {
    async fn open(&mut self) -> Result<Option<Fence>, Failure> {
        self.store.random.may_fail("connecting to the store")?;
        {
            let state = self.store.state();
            self.seen = state.fences.get(&self.partition).cloned();
            self.start = Some(state.starts);
        }
        self.at(Moment::Claiming).await?;
        Ok(self.seen.as_deref().map(|text| Fence::parse(text).unwrap()))
    }

    async fn apply(&mut self, commands: &RedisCommands, fence: &Fence) -> Result<(), Failure> {
        let start = self.start.take().expect("a connection that failed must be opened again");
        let cut = self.store.random.may_fail("applying, before it took effect");
        match self.store.mutant {
            Some(Mutant::EntriesWithoutFence) if cut.is_err() => {
                self.store.write(&mut self.store.state(), self.partition, commands);
                self.store.check();
                return cut;
            }
            Some(Mutant::AnsweredTooEarly) if cut.is_err() => {
                self.start = Some(start);
                return Ok(());
            }
            _ => cut?,
        }
        let sent = Sent { commands: commands.clone(), fence: fence.to_text() };
        let taken = self.send(start, sent).await;
        if let (Err(Failure { code: "FENCE_TAKEN", .. }), Some(faults)) = (&taken, self.faults()) {
            faults.count(Moment::BatchRefused);
        }
        taken?;
        if let (Some(seen), Some(faults)) = (&self.seen, self.faults())
            && rebuilds(seen)
            && fence.rebuild.is_none()
        {
            faults.count(Moment::Rebuilt);
        }
        self.at(Moment::AppliedNotAnswered).await?;
        self.store.random.may_fail("applying, after it took effect")?;
        self.seen = Some(fence.to_text());
        self.start = Some(start);
        Ok(())
    }
}
