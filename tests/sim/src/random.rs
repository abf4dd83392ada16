//! Chance, by a seed.

use std::sync::{Arc, Mutex};

use mysync_pipeline::failure::Failure;

/// A stream of numbers that all parts of a world share.
#[derive(Clone, Debug)]
pub struct Random(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    state: u64,
    /// One call in so many fails; 0: none.
    failing: u64,
}

impl Random {
    pub fn new(seed: u64, failing: u64) -> Self {
        Self(Arc::new(Mutex::new(State { state: seed, failing })))
    }

    pub fn below(&self, bound: u64) -> u64 {
        let mut random = self.0.lock().unwrap();
        random.state = random.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = random.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Now and then the named step fails.
    pub fn may_fail(&self, step: &'static str) -> Result<(), Failure> {
        let failing = self.0.lock().unwrap().failing;
        if failing > 0 && self.one_in(failing) { Err(Failure::transient("SIM_FAULT", step)) } else { Ok(()) }
    }

    /// From here on nothing fails.
    pub fn calm(&self) {
        self.0.lock().unwrap().failing = 0;
    }
}
