//! What works at one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mysync_change::pattern::Pattern;
use mysync_pipeline::deliver::{Delivery, FENCE_TAKEN};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::Ending;
use mysync_pipeline::status::Board;

use super::broker::DELIVER;
use super::membership::BEAT;
use super::process::Shared;
use super::reader::KafkaReader;
use crate::Mutant;
use crate::faults::{Host, Moment};
use crate::writer::SimPlugin;

pub struct Task {
    pub shared: Shared,
    pub host: Host,
    /// Of the group; 0: of none.
    pub member: Arc<AtomicU64>,
    /// Whether its partition was given away.
    pub revoked: Arc<AtomicBool>,
    pub partition: usize,
}

impl Task {
    /// Delivers until it is told to end or has to stop. Who has written last may have been paused, or this process was: a task whose fence was
    /// taken begins anew if the partition is still its own.
    pub async fn run(&self, mut ending: Ending) -> Result<(), Failure> {
        let Shared { broker, store, tasks, .. } = &self.shared;
        let partition = self.partition;
        loop {
            let log = tokio::select! {
                biased;
                () = ending.begun() => return Ok(()),
                log = KafkaReader::open(broker.clone(), self.host.clone(), self.member.clone(), partition) => log,
            };
            let mut delivery = Delivery {
                writer: "w".into(),
                tables: vec![Pattern::new("sim.*")],
                log,
                plugin: SimPlugin::new(broker.random.clone(), broker.mutant),
                connector: store.connector_of(partition, self.host.clone(), self.revoked.clone()),
                status: Board::default().writer("w", partition as u32),
                owner: format!("{}.{partition}", tasks.fetch_add(1, Ordering::Relaxed)),
                partition: partition as u32,
                first: None,
                beginning: self.shared.beginning.clone(),
            };
            match delivery.run(ending.clone()).await {
                Err(failure) if failure.code == FENCE_TAKEN => {}
                ended => return ended,
            }
            if !self.is_mine(&mut ending).await {
                return Ok(());
            }
            broker.faults.count(Moment::FenceRetaken);
        }
    }

    /// Asks until the group confirms it, or takes the partition away: silence says nothing.
    async fn is_mine(&self, ending: &mut Ending) -> bool {
        let broker = &self.shared.broker;
        while !ending.has_begun() {
            let member = self.member.load(Ordering::Relaxed);
            let confirmed = broker.ask("confirming", move |broker| broker.state().groups[DELIVER].confirms(member));
            match confirmed.await {
                Ok(true) => return true,
                _ if broker.is(Mutant::SilenceTakenForLoss) => ending.begun().await,
                _ => ending.sleep(BEAT).await,
            }
        }
        false
    }
}
