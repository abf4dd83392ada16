//! Tells those who wait that something may be new, in the order in which they came: a channel of the runtime's wakes them by chance, and a
//! seed would not be one history.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
struct State {
    rung: u64,
    waiting: Vec<Waker>,
}

/// Clones are one bell.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Mutex<State>>);

/// Somebody who listens.
#[derive(Debug)]
pub struct Ear {
    bell: Bell,
    heard: u64,
}

impl Bell {
    pub fn ring(&self) {
        let mut state = self.0.lock().unwrap();
        state.rung += 1;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    pub fn listen(&self) -> Ear {
        Ear { bell: self.clone(), heard: self.0.lock().unwrap().rung }
    }
}

impl Ear {
    /// What was rung until now is of no interest.
    pub fn hush(&mut self) {
        self.heard = self.bell.0.lock().unwrap().rung;
    }

    /// Returns once it has rung since it was last heard.
    pub async fn rung(&mut self) {
        self.heard = poll_fn(|context| {
            let mut state = self.bell.0.lock().unwrap();
            if state.rung > self.heard {
                return Poll::Ready(state.rung);
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
