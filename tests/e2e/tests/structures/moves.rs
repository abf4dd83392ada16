//! Rows whose key changes, or a column that a name is made of: the entry moves with the row, and is nowhere twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result, anyhow, ensure};
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::World;
use mysync_test_support::{Random, RedisServer};

use crate::entries::{NONE, at_once, hash, list, set, sorted_set, text, wait_for};
use crate::{people, started, writer};

const PLACES: u64 = 4;
/// Changes that are made at least, and moves that are seen at least: what was not seen then means something.
const CHANGES: u64 = 400;
const SEEN: u64 = 20;

const MAPS: [&str; 5] = [
    "as = \"hash\"\nkey = \"user:{id}\"\ncolumns = [\"name\"]",
    "as = \"string\"\nkey = \"user:{city}:{id}\"\nvalue = \"json\"",
    "as = \"set\"\nkey = \"users:in:{city}\"\nmember = \"{name}\"",
    "as = \"sorted-set\"\nkey = \"users:ranking:{city}\"\nmember = \"{name}\"\nscore = \"score\"",
    "as = \"list\"\nkey = \"users:recent:{city}\"\nmember = \"{name}\"",
];

/// Looks all the time where the one row has its entries, until it is told to stop. Counts the moves that it sees.
fn watch(redis: &RedisServer, stop: &AtomicBool, seen: &AtomicU64) -> Result<()> {
    let mut conn = redis.conn()?;
    let places: Vec<String> = (0..PLACES).map(|place| place.to_string()).collect();
    let pairs: Vec<(&String, &String)> =
        places.iter().flat_map(|one| places.iter().map(move |other| (one, other))).collect();
    let hashes: Vec<String> = places.iter().map(|id| format!("user:{id}")).collect();
    let documents: Vec<String> = pairs.iter().map(|(city, id)| format!("user:{city}:{id}")).collect();
    let shared = |kind: &str| places.iter().map(|city| format!("users:{kind}:{city}")).collect::<Vec<_>>();
    let (sets, rankings, lists) = (shared("in"), shared("ranking"), shared("recent"));
    let mut questions: Vec<Vec<&str>> = Vec::new();
    questions.extend(hashes.iter().chain(&documents).map(|key| vec!["EXISTS", key.as_str()]));
    questions.extend(sets.iter().map(|key| vec!["SCARD", key.as_str()]));
    questions.extend(rankings.iter().map(|key| vec!["ZCARD", key.as_str()]));
    questions.extend(lists.iter().map(|key| vec!["LLEN", key.as_str()]));
    let mut last = Vec::new();
    while !stop.load(Relaxed) {
        let found: Vec<u64> = at_once(&mut conn, &questions)?;
        let mut rest = found.as_slice();
        for (kind, count) in [hashes.len(), documents.len(), sets.len(), rankings.len(), lists.len()].iter().enumerate()
        {
            let (part, others) = rest.split_at_checked(*count).context("answers are missing")?;
            let sum: u64 = part.iter().sum();
            ensure!(sum == 1, "the row has {sum} entries by map {kind}: {found:?}");
            rest = others;
        }
        if found != last {
            seen.fetch_add(1, Relaxed);
            last = found;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_moves_is_at_one_place_at_every_moment() -> Result<()> {
    let Some((world, mysync)) = people("a_row_that_moves_is_at_one_place_at_every_moment", &MAPS).await? else {
        return Ok(());
    };
    let mut random = Random::from_env();
    world.mysql.exec("INSERT INTO shop.people VALUES (0, 'Ann', '0', NULL, 1)").await?;
    wait_for_row(&world, 0, 0, 1).await?;
    let (world, stop, seen) = (Arc::new(world), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watcher = {
        let (world, stop, seen) = (world.clone(), stop.clone(), seen.clone());
        std::thread::spawn(move || watch(&world.redis, &stop, &seen))
    };
    let mut mysql = world.mysql.conn().await?;
    let (mut id, mut city, mut score) = (0, 0, 1);
    while score < CHANGES || seen.load(Relaxed) < SEEN {
        ensure!(score < 100 * CHANGES, "of {score} changes only {seen:?} were seen");
        score += 1;
        // The key, what a name is made of, both, or neither.
        id = if random.chance(50) { random.below(PLACES) } else { id };
        city = if random.chance(50) { random.below(PLACES) } else { city };
        mysql.query_drop(format!("UPDATE shop.people SET id = {id}, city = '{city}', score = {score}")).await?;
        if watcher.is_finished() {
            break;
        }
    }
    mysql.disconnect().await?;
    stop.store(true, Relaxed);
    watcher.join().map_err(|_| anyhow!("the watcher panicked"))??;
    wait_for_row(&world, id, city, score).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

async fn wait_for_row(world: &World, id: u64, city: u64, score: u64) -> Result<()> {
    wait_for(
        world,
        [
            (format!("user:{id}"), hash([("name", "Ann")])),
            (
                format!("user:{city}:{id}"),
                text(&format!(r#"{{"id":{id},"name":"Ann","city":"{city}","email":null,"score":{score}.00}}"#)),
            ),
            (format!("users:in:{city}"), set(["Ann"])),
            (format!("users:ranking:{city}"), sorted_set([("Ann", score as f64)])),
            (format!("users:recent:{city}"), list(["Ann"])),
        ],
    )
    .await
}

/// MySQL holds some values for equal whose texts differ; for Redis they are different names.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_mysql_holds_for_equal_still_move() -> Result<()> {
    let test = "names_that_mysql_holds_for_equal_still_move";
    let schema = "CREATE TABLE shop.people (id VARCHAR(20) PRIMARY KEY, price DOUBLE, weight FLOAT, city VARCHAR(20)) \
                  DEFAULT CHARSET = utf8mb4";
    let maps = [
        "as = \"hash\"\nkey = \"user:{id}\"\ncolumns = [\"id\"]",
        "as = \"set\"\nkey = \"users:in:{city}\"\nmember = \"{id}\"",
        "as = \"set\"\nkey = \"users:for:{price}\"\nmember = \"{id}\"",
        "as = \"set\"\nkey = \"users:weights\"\nmember = \"{weight} of {id}\"",
    ];
    let Some((world, mysync)) = started(test, schema, &writer("shop.people", &maps), "").await? else { return Ok(()) };
    let mysql = &world.mysql;
    mysql.exec("INSERT INTO shop.people VALUES ('ann', 0, 0, 'oslo')").await?;
    let row = |id: &str, city: &str, price: &str, weight: &str| {
        [
            (format!("user:{id}"), hash([("id", id)])),
            (format!("users:in:{city}"), set([id])),
            (format!("users:for:{price}"), set([id])),
            ("users:weights".to_owned(), set([&*format!("{weight} of {id}")])),
        ]
    };
    wait_for(&world, row("ann", "oslo", "0", "0")).await?;
    mysql.exec("UPDATE shop.people SET id = 'Ann'").await?;
    wait_for(&world, row("Ann", "oslo", "0", "0")).await?;
    mysql.exec("UPDATE shop.people SET city = 'Øslo'").await?;
    wait_for(&world, row("Ann", "Øslo", "0", "0")).await?;
    mysql.exec("UPDATE shop.people SET price = -0e0, weight = -0e0").await?;
    wait_for(&world, row("Ann", "Øslo", "-0", "-0")).await?;
    mysql.exec("DELETE FROM shop.people WHERE id = 'ANN'").await?;
    wait_for(&world, NONE).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
