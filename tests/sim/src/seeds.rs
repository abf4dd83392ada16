//! Which seeds are played: `MYSYNC_SEED=N` plays one, `MYSYNC_SEEDS=N` so many.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Few enough for every build; a hundred thousand are for a quiet hour.
const SEEDS: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// One in so many of all seeds.
pub fn share(one_in: u64) -> u64 {
    number("MYSYNC_SEEDS").unwrap_or(SEEDS).div_ceil(one_in)
}

/// Plays so many seeds, or the one that is asked for, and names the one that fails. Answers how many there were.
pub fn each(count: u64, scenario: &str, mut play: impl FnMut(u64)) -> u64 {
    if let Some(seed) = number("MYSYNC_SEED") {
        play(seed);
        return 1;
    }
    for seed in 0..count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed))) {
            eprintln!("seed {seed} of {scenario}; play it again with MYSYNC_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    count
}
