//! The program is killed like by a power switch in the middle of dumps, at moments that nobody chose.

use std::time::Duration;

use anyhow::{Result, ensure};
use mysync_e2e_tests::chance::{kills, moment};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::{fill, with_dumps};
use mysync_e2e_tests::told::count;
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::{Random, until};

/// From a start's first step on.
const LIFE: Duration = Duration::from_millis(1200);
/// From the beginning of the work at a dump on.
const INSIDE: Duration = Duration::from_millis(500);
/// More than all the lives can load.
const ROWS: u32 = 12_000;
/// Rows of the whole table change, some of them over the borders of chunks.
const CHANGES: [&str; 4] = [
    "SET @id = FLOOR(RAND() * 12000); UPDATE shop.bulk SET k = k + 1 WHERE id BETWEEN @id AND @id + 20",
    "SET @id = FLOOR(RAND() * 12000); UPDATE IGNORE shop.bulk SET id = FLOOR(RAND() * 12000) WHERE id = @id",
    "SET @id = FLOOR(RAND() * 12000); DELETE FROM shop.bulk WHERE id BETWEEN @id AND @id + 1",
    "SET @id = FLOOR(RAND() * 12000); REPLACE INTO shop.bulk VALUES (@id, @id, @id, 'new')",
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_of_a_dump_under_load() -> Result<()> {
    run("killed_at_random_moments_of_a_dump_under_load", "", true, kills(10)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_of_a_dump_with_several_partitions() -> Result<()> {
    run("killed_at_random_moments_of_a_dump_with_several_partitions", "partitions = 3", false, kills(6)).await
}

async fn run(test: &str, log: &'static str, whole: bool, times: u64) -> Result<()> {
    // The dumps are over some seconds after the last kill: a life loads about half of this.
    let rate = u64::from(ROWS) * 2 / times.max(4);
    let more: &str = format!("[dump]\nrows_per_second = {rate}").leak();
    let options = Options { writers: with_dumps(), log, more, ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    fill(&world.mysql, &[("users", 60), ("orders", 100), ("bulk", ROWS), ("visits", 75)]).await?;
    let load = Load::start(&world.mysql, &mut random, &CHANGES);
    let witness = Witness::start(&world.redis, whole);
    let mut inside = 0;
    for _ in 0..times {
        let mut mysync = world.spawn()?;
        if random.chance(80) {
            until("a dump goes on", async || Ok(ensure!(loads(&mysync.log()), "{}", mysync.log()))).await?;
            tokio::time::sleep(moment(&mut random, INSIDE)).await;
        } else {
            tokio::time::sleep(moment(&mut random, LIFE)).await;
        }
        let ended = mysync.exited()?;
        ensure!(ended.is_none(), "mysync ended by itself with {ended:?}: {}", mysync.log());
        inside += u64::from(loads(&mysync.log()));
        mysync.kill();
    }
    let mysync = world.mysync().await?;
    let left = dumps::all(&mysync)?.len();
    dumps::wait_over(&mysync).await?;
    let committed = load.stop().await?;
    let entries = world.wait_loaded().await?;
    let told = dumps::of(&mysync, "bulk-cache")?;
    let steps = witness.stop()?;
    println!(
        "{times} kills, {inside} of them inside a dump; {left} dumps were left; {committed} transactions, {} rows in {} chunks, {} left out \
         since the last kill, {steps} steps seen, {entries} entries",
        count(&told, "rows"),
        count(&told, "chunks"),
        count(&told, "rows_left_out"),
    );
    ensure!(left > 0 && inside * 2 > times, "most kills fell outside of the dumps");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Whether a dump was at work at the end of what was said.
fn loads(said: &str) -> bool {
    let goes_on = |line: &&str| line.contains(" for writer ") && line.contains(" goes on");
    let is_done = |line: &&str| line.contains(" for writer ") && line.contains(" is done");
    said.lines().filter(goes_on).count() > said.lines().filter(is_done).count()
}
