//! The coordinator of the one transactional producer.

use std::time::Duration;

use mysync_pipeline::failure::Failure;
use tokio::time::sleep;

use super::{Broker, Epoch, Refusal, State, Transaction};
use crate::Mutant;
use crate::faults::{Host, Moment};
use crate::kafka::topic::{Content, Standing};

/// A transaction that is not ended by then is aborted.
const TRANSACTION: Duration = Duration::from_millis(1500);

impl Broker {
    /// The next producer of the name: ends what its predecessor left open, by an abort unless its commit was taken.
    pub async fn begin_producer(&self, host: &Host) -> Result<Epoch, Failure> {
        loop {
            host.at(Moment::TakingOver).await?;
            match self.ask("beginning a producer", Self::init).await? {
                Ok(epoch) => return Ok(epoch),
                Err(_) => sleep(Duration::from_millis(1 + self.random.below(20))).await,
            }
        }
    }

    fn init(&self) -> Result<Epoch, Refusal> {
        let mut state = self.state();
        match state.transaction.as_ref().map(|transaction| transaction.ending) {
            Some(None) => {
                state.epoch += 1;
                self.faults.count(Moment::TransactionAborted);
                self.end(&mut state, false);
                Err(Refusal::Concurrent)
            }
            Some(Some(commit)) => {
                if commit {
                    self.faults.count(Moment::TransactionCompleted);
                }
                Err(Refusal::Concurrent)
            }
            None => {
                state.epoch += 1;
                state.sequences.clear();
                Ok(state.epoch)
            }
        }
    }

    fn check(&self, state: &State, epoch: Epoch) -> Result<(), Refusal> {
        if epoch == state.epoch || self.is(Mutant::LeaderNotFenced) {
            return Ok(());
        }
        self.faults.count(Moment::LeaderFenced);
        Err(Refusal::Fenced)
    }

    /// Takes a message into the producer's transaction, and opens that with the first.
    pub fn take(&self, made: usize, epoch: Epoch, at: (usize, u64), content: Content) -> Result<(), Refusal> {
        let (partition, sequence) = at;
        let mut state = self.state();
        if made != state.made {
            return Err(Refusal::Invalid);
        }
        self.check(&state, epoch)?;
        if state.transaction.as_ref().is_some_and(|transaction| transaction.ending.is_some()) {
            return Err(Refusal::Concurrent);
        }
        let last = state.sequences.get(&partition).copied().unwrap_or(0);
        if sequence <= last {
            self.faults.count(Moment::SentTwice);
            if !self.is(Mutant::RetransmittedTwice) && !self.is(Mutant::LeaderNotFenced) {
                return Ok(());
            }
        }
        state.sequences.insert(partition, sequence);
        if state.transaction.is_none() {
            self.open(&mut state);
        }
        if let Some(transaction) = state.transaction.as_mut().filter(|t| !t.touched.contains(&partition)) {
            transaction.touched.push(partition);
        }
        let outside = self.is(Mutant::CheckpointOutsideTransaction) && matches!(content, Content::Control(_));
        let standing = if outside { Standing::Committed } else { Standing::Open };
        state.topics.partitions[partition].push(content, standing);
        drop(state);
        self.grown[partition].ring();
        Ok(())
    }

    fn open(&self, state: &mut State) {
        state.transactions += 1;
        let number = state.transactions;
        state.transaction = Some(Transaction { touched: Vec::new(), ending: None, number });
        let broker = self.clone();
        tokio::spawn(async move {
            sleep(TRANSACTION).await;
            let mut state = broker.state();
            if state.transaction.as_ref().is_some_and(|t| t.number == number && t.ending.is_none()) {
                state.epoch += 1;
                broker.faults.count(Moment::TransactionTimedOut);
                broker.end(&mut state, false);
            }
        });
    }

    /// Takes a commit: from then on it goes through.
    pub fn commit(&self, made: usize, epoch: Epoch) -> Result<(), Refusal> {
        let mut state = self.state();
        if made != state.made {
            return Err(Refusal::Invalid);
        }
        self.check(&state, epoch)?;
        match state.transaction.as_ref().map(|transaction| transaction.ending) {
            Some(None) => {
                self.end(&mut state, true);
                Ok(())
            }
            // As the broker answers who asks again.
            Some(Some(true)) => Ok(()),
            _ => Err(Refusal::Invalid),
        }
    }

    /// Ends the transaction: partition after partition gets its marker, in any order.
    fn end(&self, state: &mut State, commit: bool) {
        let Some(transaction) = &mut state.transaction else { return };
        transaction.ending = Some(commit);
        let (number, mut touched) = (transaction.number, transaction.touched.clone());
        for i in (1..touched.len()).rev() {
            touched.swap(i, self.random.below(i as u64 + 1) as usize);
        }
        let broker = self.clone();
        tokio::spawn(async move {
            for partition in touched {
                let most_us = if broker.random.one_in(15) { 300_000 } else { 1000 };
                sleep(Duration::from_micros(broker.random.below(most_us))).await;
                let mut state = broker.state();
                if state.transaction.as_ref().is_none_or(|t| t.number != number) {
                    return;
                }
                state.topics.partitions[partition].mark(commit);
                drop(state);
                broker.grown[partition].ring();
            }
            let mut state = broker.state();
            state.transaction.take_if(|t| t.number == number);
        });
    }
}
