//! Capture's membership in its group: says who may try to lead. What decides is the producer's epoch.

use std::sync::Arc;
use std::time::Duration;

use mysync_pipeline::failure::Failure;
use mysync_pipeline::status::{Board, State};
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
    board: Arc<Board>,
    /// The member, once the group has given it the partition.
    holds: watch::Sender<Option<MemberId>>,
    /// Whether it takes part.
    joins: watch::Sender<bool>,
}

impl Membership {
    pub fn new(broker: Broker, board: Arc<Board>) -> Self {
        Self { broker, board, holds: watch::Sender::new(None), joins: watch::Sender::new(true) }
    }

    /// Says for ever that this process is alive, in the background of whatever it does.
    pub async fn beat(&self) {
        let (mut member, mut heard) = (None, Instant::now());
        let mut joins = self.joins.subscribe();
        loop {
            if !*joins.borrow() {
                if let Some(member) = member.take() {
                    // If that is lost the others wait a little.
                    let leave = move |broker: &Broker| broker.state().groups[CAPTURE].leave(member);
                    let _ = self.broker.ask("leaving", leave).await;
                }
                // The sender is this struct's own.
                let _ = joins.wait_for(|joins| *joins).await;
            }
            let beat = self.broker.ask("a heartbeat", move |broker| broker.state().groups[CAPTURE].beat(member, &[0]));
            match beat.await {
                Ok(Some((mine, held))) => {
                    (member, heard) = (Some(mine), Instant::now());
                    self.hold(member.filter(|_| !held.is_empty() && *joins.borrow()));
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
        self.joins.send_replace(true);
        let mut holds = self.holds.subscribe();
        if holds.borrow().is_none() {
            self.board.capture.set_state(State::Standby);
        }
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

    /// Leaves the group until it is to lead again.
    pub fn resign(&self) {
        self.joins.send_replace(false);
        self.hold(None);
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
