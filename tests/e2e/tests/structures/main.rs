//! The redis-writer's structures, end to end: what rows become, how they move and expire, and what is refused, as its page says.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

mod each;
mod entries;
mod expiry;
mod mistakes;
mod moves;
mod random;
mod types;

use anyhow::{Result, ensure};
use mysync_e2e_tests::{Options, World, shop, told};
use mysync_test_support::{Mysync, until};

/// Every column but the key may be NULL.
const PEOPLE: &str = "CREATE TABLE shop.people (id INT PRIMARY KEY, name VARCHAR(50), city VARCHAR(50), email VARCHAR(100), \
                      score DECIMAL(10,2)) DEFAULT CHARSET = utf8mb4";

/// A writer's file with a `[[map]]` of one table for each text: the keys but `table`. What it is tested for is what changes become.
fn writer(table: &str, maps: &[&str]) -> String {
    let head =
        format!("component = \"redis-writer.wasm\"\nconnector = \"cache\"\ndump = \"never\"\ntables = [\"{table}\"]\n");
    let maps = maps.iter().map(|map| format!("\n[[map]]\ntable = \"{table}\"\n{map}\n"));
    head + &maps.collect::<String>()
}

/// The program with a writer that maps `shop.people`.
async fn people(test: &str, maps: &[&str]) -> Result<Option<(World, Mysync)>> {
    started(test, PEOPLE, &writer("shop.people", maps), "").await
}

/// The program with one more table in the shop, and one writer beside that of the orders.
async fn started(test: &str, schema: &str, writer: &str, log: &'static str) -> Result<Option<(World, Mysync)>> {
    let writers = vec![("orders-cache", shop::ORDERS)];
    let Some(world) = World::start(test, Options { writers, log, ..Options::default() }).await? else {
        return Ok(None);
    };
    world.mysql.exec(schema).await?;
    world.write_writer("people-cache", writer)?;
    let mysync = world.mysync().await?;
    Ok(Some((world, mysync)))
}

/// The writer stops for this reason before what it cannot do, and the other one goes on. Answers the reason in words.
async fn stopped(world: &World, mysync: &Mysync, code: &str) -> Result<String> {
    let told = told::wait_writer(mysync, "people-cache", "stopped", code).await?;
    let (status, health) = mysync.get("/healthz")?;
    ensure!(status == 503 && health.contains(code), "{status}: {health}");
    for (statement, there) in
        [("INSERT INTO shop.orders VALUES (1, 1, 1, NULL)", true), ("DELETE FROM shop.orders", false)]
    {
        world.mysql.exec(statement).await?;
        until("the other writer goes on", async || {
            Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "order:1"])? == there, "{statement}"))
        })
        .await?;
    }
    Ok(told["message"].as_str().unwrap_or_default().to_owned())
}
