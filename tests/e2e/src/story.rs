//! A few changes of each kind, and the comparison after each.

use anyhow::{Result, ensure};

use crate::World;

/// Leaves one order.
pub async fn play(world: &World) -> Result<()> {
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
    Ok(())
}
