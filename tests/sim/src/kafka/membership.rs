//! Capture's membership in its group: says who may try to lead. What decides is the producer's epoch.

use std::time::Duration;

use mysync_pipeline::failure::Failure;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::broker::{Broker, CAPTURE};
use super::group::{MemberId, SESSION};
use crate::faults::Moment;

/// How often members say that they are alive.
pub const BEAT: Duration = Duration::from_millis(300);

/// One process' part in the group.
#[derive(Debug, Clone)]
pub struct Membership {
    broker: Broker,
    /// The member, once the group has given it the partition.
    holds: watch::Sender<Option<MemberId>>,
}

impl Membership {
    pub fn new(broker: Broker) -> Self {
        Self { broker, holds: watch::Sender::new(None) }
    }

    /// Says for ever that this process is alive, in the background of whatever it does.
    pub async fn beat(&self) {
        let (mut member, mut heard) = (None, Instant::now());
        loop {
            let beat = self.broker.ask("a heartbeat", move |broker| broker.state().groups[CAPTURE].beat(member, &[0]));
            match beat.await {
                Ok(Some((mine, held))) => {
                    (member, heard) = (Some(mine), Instant::now());
                    self.hold(member.filter(|_| !held.is_empty()));
                }
                Ok(None) => {
                    self.broker.faults.count(Moment::MemberLost);
                    member = None;
                    self.hold(None);
                    continue;
                }
                Err(_) if heard.elapsed() > SESSION => self.hold(None),
                Err(_) => {}
            }
            sleep(BEAT).await;
        }
    }

    fn hold(&self, member: Option<MemberId>) {
        self.holds.send_if_modified(|held| std::mem::replace(held, member) != member);
    }

    /// Waits until the group gives this process the partition, and has that confirmed: it may have stood still since it was told.
    pub async fn won(&self) -> Result<(), Failure> {
        let mut holds = self.holds.subscribe();
        // The sender is this struct's own.
        let member = holds.wait_for(Option::is_some).await.ok().and_then(|member| *member);
        let Some(member) = member else { return Err(Failure::transient("SIM_STANDBY", "no member")) };
        let proved =
            self.broker.ask("proving the membership", move |broker| broker.state().groups[CAPTURE].confirms(member));
        if proved.await? {
            return Ok(());
        }
        self.broker.faults.count(Moment::FalseHolder);
        self.hold(None);
        Err(Failure::transient("SIM_STANDBY", "another process holds the partition"))
    }

    /// Leaves the group, so that another need not wait.
    pub async fn leave(&self) {
        let held = *self.holds.borrow();
        if let Some(member) = held {
            // If that is lost the others wait a little.
            let _ = self.broker.ask("leaving", move |broker| broker.state().groups[CAPTURE].leave(member)).await;
        }
    }
}
