//! What befalls processes, at which moments, and how often it did.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mysync_pipeline::failure::Failure;

use crate::random::Random;

/// The longest a process stands still: longer than its groups and the broker wait for it.
const STANDS_MS: u64 = 3000;

/// A moment at which something may go wrong, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Moment {
    // Faults of a process.
    /// A block is decoded, nothing of it sent.
    DecodedNotSent,
    /// All of it is acknowledged, the commit not sent.
    SentNotCommitted,
    /// The commit never leaves.
    CommitNotSent,
    /// The commit arrives when nobody waits for it any more.
    CommitLate,
    /// The commit is taken, its answer lost.
    CommitUnanswered,
    /// A batch is in effect, its answer lost.
    AppliedNotAnswered,
    /// A batch is answered, the group's offset not committed.
    AnsweredNotNoted,
    /// A partition is being given up.
    Revoking,
    /// A leader is about to fence the former one, or has and reads where that one came to.
    TakingOver,
    /// A task has read its store's fence and not yet made it its own.
    Claiming,
    // What becomes of the world.
    StoreEmptied,
    FenceEvicted,
    /// It goes back to what it held some time ago.
    StoreRestored,
    LogReplaced,
    OffsetLost,
    OffsetOld,
    RecordsDeleted,
    /// Compaction left holes.
    RecordsCompacted,
    // What comes of it.
    /// A former leader was refused.
    LeaderFenced,
    /// A former leader's open transaction was ended for it.
    TransactionAborted,
    /// A former leader's transaction went through that had been taken.
    TransactionCompleted,
    /// An open transaction was ended because nobody went on with it.
    TransactionTimedOut,
    /// A request arrived a second time.
    SentTwice,
    /// Who thought that the group gave it the partition was told otherwise.
    FalseHolder,
    /// A task did not end in time, and its partition was given away.
    RevokedUnended,
    /// A member learns that the group has gone on without it.
    MemberLost,
    /// A batch was refused because of its fence.
    BatchRefused,
    /// A task whose fence was taken retook it, because the partition was its own.
    FenceRetaken,
    /// A writer went on behind deleted records.
    ResumedBehindStart,
    /// A store was made anew from what compaction had left.
    Rebuilt,
    /// A writer came back after more was removed than it knew of.
    AwayTooLong,
}

impl Moment {
    pub const COUNT: usize = Self::AwayTooLong as usize + 1;

    pub const FAULTS: [Self; 18] = [
        Self::DecodedNotSent,
        Self::SentNotCommitted,
        Self::CommitNotSent,
        Self::CommitLate,
        Self::CommitUnanswered,
        Self::AppliedNotAnswered,
        Self::AnsweredNotNoted,
        Self::Revoking,
        Self::TakingOver,
        Self::Claiming,
        Self::StoreEmptied,
        Self::FenceEvicted,
        Self::StoreRestored,
        Self::LogReplaced,
        Self::OffsetLost,
        Self::OffsetOld,
        Self::RecordsDeleted,
        Self::RecordsCompacted,
    ];

    pub const OUTCOMES: [Self; 13] = [
        Self::LeaderFenced,
        Self::TransactionAborted,
        Self::TransactionCompleted,
        Self::TransactionTimedOut,
        Self::SentTwice,
        Self::FalseHolder,
        Self::RevokedUnended,
        Self::MemberLost,
        Self::BatchRefused,
        Self::FenceRetaken,
        Self::ResumedBehindStart,
        Self::Rebuilt,
        Self::AwayTooLong,
    ];
}

/// How often each moment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally([u64; Moment::COUNT]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; Moment::COUNT])
    }
}

impl Tally {
    pub fn of(&self, moment: Moment) -> u64 {
        self.0[moment as usize]
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// What befalls a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The step fails.
    Error,
    Kill,
    /// It stands still for so many milliseconds.
    Pause(u64),
}

#[derive(Debug, Default)]
struct State {
    /// At one moment in so many something befalls the process; 0: never.
    one_in: u64,
    /// Whether processes may stand still for a while.
    pauses: bool,
    /// What is to happen when a moment has come so many times more.
    planned: Option<(Moment, u64, Fault)>,
    tally: Tally,
    /// The first broken promise.
    wrong: Option<String>,
}

/// Shared by all of a world.
#[derive(Debug, Clone)]
pub struct Faults {
    random: Random,
    state: Arc<Mutex<State>>,
}

impl Faults {
    pub fn new(random: Random, one_in: u64, pauses: bool) -> Self {
        Self { random, state: Arc::new(Mutex::new(State { one_in, pauses, ..State::default() })) }
    }

    /// From here on nothing befalls anybody.
    pub fn calm(&self) {
        let mut state = self.state.lock().unwrap();
        (state.one_in, state.planned) = (0, None);
    }

    /// What is to befall whoever comes to the moment so many times from now.
    pub fn plan(&self, moment: Moment, times: u64, fault: Fault) {
        self.state.lock().unwrap().planned = Some((moment, times, fault));
    }

    fn draw(&self, moment: Moment) -> Option<Fault> {
        let (one_in, pauses) = {
            let mut state = self.state.lock().unwrap();
            if let Some((planned, times, fault)) = &mut state.planned
                && *planned == moment
            {
                let fault = *fault;
                *times -= 1;
                if *times == 0 {
                    state.planned = None;
                    return Some(fault);
                }
            }
            (state.one_in, state.pauses)
        };
        // These come too seldom to be as seldom the worst of moments.
        let is_rare = matches!(moment, Moment::Revoking | Moment::TakingOver | Moment::Claiming);
        let one_in = if is_rare { one_in.div_ceil(4) } else { one_in };
        if one_in == 0 || !self.random.one_in(one_in) {
            return None;
        }
        Some(match self.random.below(if pauses { 4 } else { 2 }) {
            0 => Fault::Error,
            1 => Fault::Kill,
            _ => Fault::Pause(1 + self.random.below(STANDS_MS)),
        })
    }

    pub fn count(&self, moment: Moment) {
        self.state.lock().unwrap().tally.0[moment as usize] += 1;
    }

    pub fn tally(&self) -> Tally {
        self.state.lock().unwrap().tally
    }

    /// A promise is broken. Where it was is seldom where anybody waits for an answer.
    pub fn wrong(&self, what: impl Into<String>) {
        self.state.lock().unwrap().wrong.get_or_insert(what.into());
    }

    pub fn check(&self) {
        let wrong = self.state.lock().unwrap().wrong.clone();
        if let Some(wrong) = wrong {
            panic!("{wrong}");
        }
    }

    pub fn host(&self) -> Host {
        Host { gate: Gate::default(), faults: self.clone() }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Pace {
    #[default]
    Running,
    Standing,
    Dead,
}

/// Whether something runs: what SIGSTOP, SIGCONT and SIGKILL change.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Mutex<(Pace, Vec<Waker>)>>);

impl Gate {
    fn set(&self, pace: Pace) {
        let mut state = self.0.lock().unwrap();
        if state.0 != Pace::Dead {
            state.0 = pace;
            state.1.drain(..).for_each(Waker::wake);
        }
    }

    pub fn stand(&self) {
        self.set(Pace::Standing);
    }

    pub fn resume(&self) {
        self.set(Pace::Running);
    }

    pub fn kill(&self) {
        self.set(Pace::Dead);
    }

    pub fn is_dead(&self) -> bool {
        self.0.lock().unwrap().0 == Pace::Dead
    }

    pub fn is_standing(&self) -> bool {
        self.0.lock().unwrap().0 == Pace::Standing
    }

    /// Ready with whether it runs, once that is known.
    fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.0.lock().unwrap();
        match state.0 {
            Pace::Running => Poll::Ready(true),
            Pace::Dead => Poll::Ready(false),
            Pace::Standing => {
                state.1.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The machine that a process runs on.
#[derive(Debug, Clone)]
pub struct Host {
    pub gate: Gate,
    pub faults: Faults,
}

impl Host {
    /// Now and then the step fails, or the process dies here, or it stands still and goes on later.
    pub async fn at(&self, moment: Moment) -> Result<(), Failure> {
        let Some(fault) = self.faults.draw(moment) else { return Ok(()) };
        self.faults.count(moment);
        match fault {
            Fault::Error => return Err(Failure::transient("SIM_FAULT", format!("{moment:?}"))),
            Fault::Kill => self.gate.kill(),
            Fault::Pause(milliseconds) => self.stand_for(milliseconds),
        }
        // The dead never go on.
        while !poll_fn(|context| self.gate.poll(context)).await {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    pub fn stand_for(&self, milliseconds: u64) {
        self.gate.stand();
        let gate = self.gate.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            gate.resume();
        });
    }

    /// Runs a part of the process, which may have an end of its own.
    pub fn spawn(&self, own: Gate, part: impl Future<Output = ()> + Send + 'static) {
        let gates = [self.gate.clone(), own];
        tokio::spawn(Gated { gates, inner: Some(Box::pin(part)), faults: self.faults.clone() });
    }
}

struct Gated {
    gates: [Gate; 2],
    inner: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    faults: Faults,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        for gate in &this.gates {
            match gate.poll(context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    this.inner = None;
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        let Some(inner) = &mut this.inner else { return Poll::Ready(()) };
        let polled = catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            this.faults.wrong("a part of a process panicked");
            Poll::Ready(())
        })
    }
}
