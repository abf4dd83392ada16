//! What befalls processes, at which moments, and how often it did.

mod gate;
mod moment;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use mysync_pipeline::failure::Failure;

use crate::random::Random;

pub use gate::Gate;
pub use moment::{Moment, Tally};

/// The longest a process stands still: longer than its groups and the broker wait for it.
const STANDS_MS: u64 = 3000;

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
        self.state.lock().unwrap().tally.count(moment);
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
        Host { gate: Gate::default(), faults: self.clone(), lacks: Arc::default() }
    }
}

/// The machine that a process runs on.
#[derive(Debug, Clone)]
pub struct Host {
    pub gate: Gate,
    pub faults: Faults,
    lacks: Arc<Mutex<Lack>>,
}

/// What a machine does not reach, and how often it has tried since.
#[derive(Debug, Default)]
struct Lack {
    moment: Option<Moment>,
    tried: u64,
}

impl Host {
    /// From now on it fails at the moment each time, and only there: what is needed then is out of its reach. None: nothing is any more.
    pub fn lack(&self, moment: Option<Moment>) {
        *self.lacks.lock().unwrap() = Lack { moment, tried: 0 };
    }

    /// How often it has failed for what it lacks.
    pub fn has_lacked(&self) -> u64 {
        self.lacks.lock().unwrap().tried
    }

    /// Now and then the step fails, or the process dies here, or it stands still and goes on later.
    pub async fn at(&self, moment: Moment) -> Result<(), Failure> {
        {
            let mut lack = self.lacks.lock().unwrap();
            if lack.moment == Some(moment) {
                lack.tried += 1;
                return Err(Failure::transient("SIM_LACK", format!("{moment:?}")));
            }
        }
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
