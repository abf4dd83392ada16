//! The main job.

use anyhow::{Result, ensure};
use mysync_e2e_tests::{Options, World, story};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_committed_in_mysql_is_in_redis_a_moment_later() -> Result<()> {
    let test = "a_change_committed_in_mysql_is_in_redis_a_moment_later";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    story::play(&world).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
