//! The source is not what it was when capture was last there: another server has taken its place, or other tables are wanted.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::chance::kills;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{capture, count};
use mysync_e2e_tests::{Options, World, clusters, oracle, shop};
use mysync_test_support::{Mysql, Proxy, Random, homes, until};

use crate::crew::{Worker, leader, options, wait_through, well};

/// Rows of one transaction: it goes into the log in several parts.
const LARGE: u32 = 100_000;
/// What a replica follows the source with.
const FOLLOWER: &str = "CREATE USER follower@'127.0.0.1' IDENTIFIED BY 'follower'";
const MAY_FOLLOW: &str = "GRANT REPLICATION SLAVE ON *.* TO follower@'127.0.0.1'";

#[tokio::test(flavor = "multi_thread")]
async fn mysql_fails_over_while_a_leader_is_killed() -> Result<()> {
    let test = "mysql_fails_over_while_a_leader_is_killed";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = options(&kafka, test);
    let Some(mut world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    for statement in [FOLLOWER, MAY_FOLLOW] {
        world.mysql.exec(statement).await?;
    }
    let home = homes()?.into_iter().next().context("there is no MySQL")?;
    let mut replica = follow(Mysql::start(&home, &[])?, &world.mysql).await?;
    let proxy = Proxy::start(world.mysql.port)?;
    world.reconfigure(&Options { mysql_port: Some(proxy.port), ..options })?;
    let mut captures = vec![Worker::start(&world, "capture").await?, Worker::new(&world, "capture")?];
    captures[1].restart(&world)?;
    let mut deliver = Worker::start(&world, "deliver").await?;
    for turn in 0..kills(2) {
        let load = Load::start(&world.mysql, &mut random, &[]);
        wait_through(&world).await?;
        let committed = load.stop().await?;
        // Nobody writes, and the replica has everything: it takes over.
        let gtids: Vec<String> = world.mysql.query("SELECT @@gtid_executed").await?;
        let waited = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', 60)", gtids.concat().replace('\n', ""));
        ensure!(replica.query::<i32>(&waited).await? == [0], "the replica does not come after");
        replica.exec("STOP REPLICA; RESET REPLICA ALL").await?;
        let leads = leader(&captures).await?;
        captures[leads].restart(&world)?;
        let former = std::mem::replace(&mut world.mysql, replica);
        proxy.lead_to(world.mysql.port);
        let load = Load::start(&world.mysql, &mut random, &[]);
        wait_through(&world).await?;
        let more = load.stop().await?;
        println!("turn {turn}: {committed} transactions on one server, {more} on the other");
        // The former one, without anything that the new one has not, follows it.
        replica = follow(former, &world.mysql).await?;
    }
    println!("{}", well(&world, &kafka).await?);
    for worker in captures.iter_mut().chain([&mut deliver]) {
        worker.end().await?;
    }
    Ok(())
}

async fn follow(replica: Mysql, source: &Mysql) -> Result<Mysql> {
    let port = source.port;
    replica
        .exec(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'follower', SOURCE_PASSWORD = \
             'follower', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
        ))
        .await?;
    replica.exec("START REPLICA").await?;
    Ok(replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tables_are_wanted_after_a_kill_inside_a_large_transaction() -> Result<()> {
    let test = "other_tables_are_wanted_after_a_kill_inside_a_large_transaction";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = options(&kafka, test);
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    Worker::start(&world, "capture").await?.kill();
    shop::fill(&world.mysql, &[("bulk", LARGE), ("users", 1000)]).await?;
    // Rows of both tables in turn, in one transaction.
    let both = (0..10).map(|part| {
        format!("UPDATE shop.bulk SET k = k + 1 WHERE id % 10 = {part}; UPDATE shop.users SET score = score + 1 WHERE id % 10 = {part}; ")
    });
    world.mysql.exec(&format!("BEGIN; {}COMMIT", both.collect::<String>())).await?;
    let mut deliver = Worker::start(&world, "deliver").await?;
    let times = kills(4);
    for turn in 0..times {
        let source = if turn % 2 == 0 { "" } else { "exclude = [\"shop.users\"]" };
        world.reconfigure(&Options { source, ..options.clone() })?;
        let mut worker = Worker::new(&world, "capture")?;
        worker.restart(&world)?;
        let share = random.below(u64::from(LARGE) / times);
        until("some of it is in the log", async || {
            let told = capture(worker.process()?)?;
            Ok(ensure!(count(&told, "rows") > share, "{told}, and not {share} rows"))
        })
        .await?;
        worker.kill();
    }
    let mut worker = Worker::start(&world, "capture").await?;
    wait_through(&world).await?;
    // Of the table that was left out at times nobody knows what is there.
    let log = world.log_on_kafka()?;
    let tables = ["shop.bulk", "shop.visits"];
    println!("{}", oracle::compare_tables(&world.mysql, &kafka, log, &tables).await?);
    worker.end().await?;
    deliver.end().await?;
    Ok(())
}
