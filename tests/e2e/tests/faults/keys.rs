//! Transactions that move keys about, one by one as they come and all of them as a backlog.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::shop::{BULK, ORDERS, USERS, WRITERS};
use mysync_e2e_tests::{Options, World};

const ROWS: &str = "INSERT INTO shop.users VALUES (1, 'Ada', 'ada@example.org', 'London', 1), (2, 'Blaise', NULL, 'Paris', 2), \
                    (3, 'Carl', 'carl@example.org', 'Göttingen', 3)";

/// Each from the rows that the one before it has left; some of them end where they began, and are told apart by what was there meanwhile.
const STEPS: [(&str, &str); 12] = [
    (
        "two keys are swapped",
        "BEGIN; UPDATE shop.users SET id = 0 WHERE id = 1; UPDATE shop.users SET id = 1 WHERE id = 2; \
         UPDATE shop.users SET id = 2 WHERE id = 0; COMMIT",
    ),
    (
        "two keys are swapped, and a column of each",
        "BEGIN; UPDATE shop.users SET id = 0, city = 'Rome' WHERE id = 1; UPDATE shop.users SET id = 1, email = 'b@example.org' WHERE id = 2; \
         UPDATE shop.users SET id = 2, email = NULL WHERE id = 0; COMMIT",
    ),
    (
        "a key is deleted and inserted in one transaction",
        "BEGIN; DELETE FROM shop.users WHERE id = 1; INSERT INTO shop.users VALUES (1, 'Dora', NULL, 'Paris', 4); COMMIT",
    ),
    (
        "a key is inserted and deleted in one transaction",
        "BEGIN; INSERT INTO shop.users VALUES (9, 'Emil', NULL, 'Paris', 4); DELETE FROM shop.users WHERE id = 9; COMMIT",
    ),
    ("a key is deleted", "DELETE FROM shop.users WHERE id = 2"),
    ("it is inserted again", "INSERT INTO shop.users VALUES (2, 'Fritz', 'f@example.org', 'London', 5)"),
    ("a key moves on from row to row", "UPDATE shop.users SET id = id + 1 ORDER BY id DESC"),
    (
        "a chain of keys in one transaction",
        "BEGIN; UPDATE shop.users SET id = 10 WHERE id = 2; UPDATE shop.users SET id = 11 WHERE id = 10; \
         UPDATE shop.users SET id = 12, city = 'Oslo' WHERE id = 11; UPDATE shop.users SET id = 2 WHERE id = 12; COMMIT",
    ),
    ("one step of a chain", "UPDATE shop.users SET id = 20 WHERE id = 3"),
    ("the next one", "UPDATE shop.users SET id = 21 WHERE id = 20"),
    ("another row takes the key that became free", "UPDATE shop.users SET id = 20 WHERE id = 4"),
    (
        "a key is taken over by the row that pushed its owner away",
        "BEGIN; UPDATE shop.users SET id = 30 WHERE id = 20; UPDATE shop.users SET id = 20 WHERE id = 21; \
         DELETE FROM shop.users WHERE id = 30; COMMIT",
    ),
];

/// Moves of members in a list, whose order shows each of them.
const VISITS: [(&str, &str); 4] = [
    ("three visits", "INSERT INTO shop.visits VALUES (1, 'Rome', 1), (2, 'Rome', 2), (3, 'Rome', 3)"),
    ("one is written again", "UPDATE shop.visits SET turn = 4 WHERE id = 1"),
    (
        "two are swapped",
        "BEGIN; UPDATE shop.visits SET id = 0, turn = 5 WHERE id = 2; UPDATE shop.visits SET id = 2, turn = 6 WHERE id = 3; \
         UPDATE shop.visits SET id = 3, turn = 7 WHERE id = 0; COMMIT",
    ),
    (
        "one is deleted and comes back",
        "BEGIN; DELETE FROM shop.visits WHERE id = 3; INSERT INTO shop.visits VALUES (3, 'Rome', 8); COMMIT",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn keys_move_about_in_one_partition() -> Result<()> {
    let options = Options { writers: WRITERS.to_vec(), ..Options::default() };
    let steps = [&STEPS[..], &VISITS].concat();
    run("keys_move_about_in_one_partition", options, &steps).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_move_about_between_partitions() -> Result<()> {
    let writers = vec![("users-cache", USERS), ("orders-cache", ORDERS), ("bulk-cache", BULK)];
    let options = Options { writers, log: "partitions = 3", ..Options::default() };
    run("keys_move_about_between_partitions", options, &STEPS).await
}

async fn run(test: &str, options: Options, steps: &[(&'static str, &str)]) -> Result<()> {
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.mysql.exec(ROWS).await?;
    ensure!(world.wait_equal().await? == 6, "three rows, each in its city");
    for (what, statements) in steps {
        world.mysql.exec(statements).await?;
        world.wait_equal().await.context(*what)?;
    }
    world.mysql.exec("DELETE FROM shop.users; DELETE FROM shop.visits").await?;
    ensure!(world.wait_equal().await? == 0);
    ensure!(mysync.terminate().await?.success());

    world.mysql.exec(ROWS).await?;
    for (_, statements) in steps {
        world.mysql.exec(statements).await?;
    }
    let mysync = world.mysync().await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
