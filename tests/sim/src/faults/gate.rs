//! Whether something runs.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

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
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
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
