//! Kills at moments that nobody chose.

use std::time::Duration;

use anyhow::{Result, ensure};
use mysync_test_support::Random;

use crate::world::World;

/// From before the program's first step to well into its work.
const LIFE: Duration = Duration::from_millis(700);

/// How often to kill: `MYSYNC_KILLS`, or as often as a test usually does.
pub fn kills(usual: u64) -> u64 {
    std::env::var("MYSYNC_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(usual)
}

/// A moment of a stretch of time.
pub fn moment(random: &mut Random, within: Duration) -> Duration {
    within.mul_f64(random.below(1000) as f64 / 1000.0)
}

/// Starts the program and kills it at a random moment of its life, again and again. Answers how many of the kills fell between a batch and
/// the answer to it, as far as the fence of one of the writers tells.
pub async fn kill_again_and_again(world: &World, random: &mut Random, times: u64, writer: &str) -> Result<u64> {
    let mut between = 0;
    for _ in 0..times {
        let mut mysync = world.spawn()?;
        tokio::time::sleep(moment(random, LIFE)).await;
        let ended = mysync.exited()?;
        ensure!(ended.is_none(), "mysync ended by itself with {ended:?}: {}", mysync.log());
        mysync.kill();
        let fence = world.fence(writer, 0)?;
        between += u64::from(fence.is_some_and(|fence| fence["began"] != fence["applied"]));
    }
    Ok(between)
}
