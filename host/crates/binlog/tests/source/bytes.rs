//! Bytes to feed the crate with. Seeds are printed when a run fails; `MYSYNC_SEED` repeats one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A generator that gives the same numbers for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Runs `one` with many seeds.
pub fn runs(count: u64, one: impl Fn(&mut Random)) {
    let seeds = match std::env::var("MYSYNC_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| one(&mut Random::new(seed)))) {
            eprintln!("failed with MYSYNC_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// An event without a checksum.
pub fn plain_event(kind: u8, body: &[u8], end: u32) -> Vec<u8> {
    let mut bytes = 1_795_511_945u32.to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&(19 + body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&end.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(body);
    bytes
}

/// An event with its checksum.
pub fn event(kind: u8, body: &[u8], end: u32) -> Vec<u8> {
    let mut bytes = plain_event(kind, &[body, &[0; 4]].concat(), end);
    bytes.truncate(bytes.len() - 4);
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}
