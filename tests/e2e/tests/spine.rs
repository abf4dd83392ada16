//! The main job.

use anyhow::{Result, ensure};
use mysync_e2e_tests::{Options, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_committed_in_mysql_is_in_redis_a_moment_later() -> Result<()> {
    let test = "a_change_committed_in_mysql_is_in_redis_a_moment_later";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    let mysql = &world.mysql;
    mysql
        .exec(
            "INSERT INTO shop.users VALUES (1, 'Ada', 'ada@example.org', 'London', 7), (2, 'Émile', NULL, 'Paris', -3), \
             (3, 'Grace', '', 'New York', 0)",
        )
        .await?;
    mysql.exec("INSERT INTO shop.orders VALUES (10, 1, 19.90, 'gift \"wrapped\"'), (11, 2, 0.01, NULL)").await?;
    ensure!(world.wait_equal().await? == 8);
    mysql.exec("UPDATE shop.users SET city = 'Paris', email = NULL WHERE id = 1").await?;
    mysql.exec("UPDATE shop.users SET id = 30, name = 'Grace Hopper' WHERE id = 3").await?;
    mysql.exec("DELETE FROM shop.orders WHERE id = 10").await?;
    world.wait_equal().await?;
    mysql.exec("DELETE FROM shop.users").await?;
    ensure!(world.wait_equal().await? == 1, "one order is left");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
