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
    steps: u64,
}

/// A history takes some thousand; one with large transactions some hundred thousand. Simulated time ends no loop that turns on the spot.
const STEPS_MAX: u64 = 2_000_000;

impl Random {
    pub fn new(seed: u64, failing: u64) -> Self {
        Self(Arc::new(Mutex::new(State { state: seed, failing, steps: 0 })))
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
        let failing = {
            let mut random = self.0.lock().unwrap();
            random.steps += 1;
            assert!(random.steps < STEPS_MAX, "this history does not end; its last step is {step}");
            random.failing
        };
        if failing > 0 && self.one_in(failing) { Err(Failure::transient("SIM_FAULT", step)) } else { Ok(()) }
    }

    /// Like `one_in`, but never once all is calm.
    pub fn one_in_while_failing(&self, n: u64) -> bool {
        let is_failing = self.0.lock().unwrap().failing > 0;
        is_failing && self.one_in(n)
    }

    /// How many steps were taken so far.
    pub fn steps(&self) -> u64 {
        self.0.lock().unwrap().steps
    }

    /// From here on nothing fails.
    pub fn calm(&self) {
        self.0.lock().unwrap().failing = 0;
    }
}
