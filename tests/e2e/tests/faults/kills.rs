//! The program is killed like by a power switch, at moments that nobody chose.

use std::time::Duration;

use anyhow::{Result, ensure};
use mysync_e2e_tests::chance::{kill_again_and_again, kills, moment};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::{BULK, ORDERS, USERS, WRITERS};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World};
use mysync_test_support::{Random, until};

pub const LARGE: u64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_under_load() -> Result<()> {
    let test = "killed_at_random_moments_under_load";
    let options = Options { writers: WRITERS.to_vec(), ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    run(&world, "visits-cache", true, kills(20)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_with_several_partitions() -> Result<()> {
    let test = "killed_at_random_moments_with_several_partitions";
    let writers = vec![("users-cache", USERS), ("orders-cache", ORDERS), ("bulk-cache", BULK)];
    let options = Options { writers, log: "partitions = 3", ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    run(&world, "bulk-cache", false, kills(8)).await
}

async fn run(world: &World, writer: &str, whole: bool, times: u64) -> Result<()> {
    let mut random = Random::from_env();
    // A first start begins with what is committed from then on.
    world.mysync().await?.kill();
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, whole);
    let between = kill_again_and_again(world, &mut random, times, writer).await?;
    let mysync = world.mysync().await?;
    let committed = load.stop().await?;
    if !whole {
        // The order of a list is that of one partition.
        world.mysql.exec("DELETE FROM shop.visits").await?;
    }
    let entries = world.wait_equal().await?;
    let steps = witness.stop()?;
    println!(
        "{times} kills, {between} of them between a batch and its answer; {committed} transactions, {steps} steps seen, {entries} entries"
    );
    ensure!(steps > times, "the witness has seen {steps} steps only");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_inside_a_transaction_of_a_hundred_thousand_rows() -> Result<()> {
    let test = "killed_inside_a_transaction_of_a_hundred_thousand_rows";
    let options = Options { writers: vec![("bulk-cache", BULK)], ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let times = kills(5);
    world.mysync().await?.kill();
    for (statement, kept) in [(insert_large(), LARGE), ("DELETE FROM shop.bulk WHERE id > 10".to_owned(), 10)] {
        let before: u64 = world.redis.ask(&["DBSIZE"])?;
        world.mysql.exec(&statement).await?;
        let mut inside = 0;
        for kill in 0..times {
            let mysync = world.spawn()?;
            // Some kills find it on its way into the log, others on its way into the store.
            let share = kill * LARGE / (times + 2);
            until("some of it is in the store", async || {
                let size: u64 = world.redis.ask(&["DBSIZE"])?;
                ensure!(size.abs_diff(before) >= share, "{size} keys");
                Ok(())
            })
            .await?;
            tokio::time::sleep(moment(&mut random, Duration::from_millis(300))).await;
            mysync.kill();
            let size: u64 = world.redis.ask(&["DBSIZE"])?;
            inside += u64::from(size.abs_diff(before) < before.abs_diff(kept));
        }
        let mysync = world.mysync().await?;
        world.wait_equal().await?;
        println!("{inside} of {times} kills fell inside the transaction");
        ensure!(inside > 0, "no kill fell inside the transaction");
        ensure!(mysync.terminate().await?.success());
    }
    Ok(())
}

/// A statement that fills `shop.bulk`.
pub fn insert_large() -> String {
    format!(
        "SET cte_max_recursion_depth = {LARGE}; INSERT INTO shop.bulk WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < {LARGE}) SELECT i, i % 7, RPAD(i, 110, 'c'), 'pad' FROM n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_many_blocks_becomes_visible_at_once() -> Result<()> {
    let test = "a_transaction_of_many_blocks_becomes_visible_at_once";
    let options = Options { writers: vec![("bulk-cache", BULK)], ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    world.mysync().await?.kill();
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id}, 0, REPEAT('c', 100), '')")).collect();
    world.mysql.exec(&format!("INSERT INTO shop.bulk VALUES {}", rows.join(", "))).await?;
    let mut last = 0;
    for turn in 1..=kills(4) {
        world.mysql.exec(&format!("UPDATE shop.bulk SET k = {turn}")).await?;
        let killed = world.spawn()?;
        let until_kill = moment(&mut random, Duration::from_millis(600));
        last = look_while(&world, last, until_kill).await?;
        killed.kill();
    }
    let mysync = world.mysync().await?;
    while last < kills(4) {
        last = look_while(&world, last, Duration::from_millis(50)).await?;
    }
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Larger than the size at which a batch is cut, and than a block of the log; not larger than what a store takes at once.
const ROWS: u64 = 3000;

/// Looks at the first, the middle and the last row of the transaction for some time: they are always of one turn, which does not go back.
async fn look_while(world: &World, mut last: u64, time: Duration) -> Result<u64> {
    let mut conn = world.redis.conn()?;
    let mut look = redis::pipe();
    look.atomic();
    [1, ROWS / 2, ROWS].iter().for_each(|id| _ = look.cmd("HGET").arg(format!("bulk:{id}")).arg("k"));
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        let seen: Vec<Option<u64>> = look.query(&mut conn)?;
        ensure!(seen.iter().all(|turn| *turn == seen[0]), "half a transaction is visible: {seen:?}");
        let turn = seen[0].unwrap_or(0);
        ensure!(turn >= last, "turn {turn} is visible after turn {last}");
        last = turn;
        tokio::task::yield_now().await;
    }
    Ok(last)
}
