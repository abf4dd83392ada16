//! What is done to tables while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::compare::{Entries, Entry, actual, same};
use mysync_e2e_tests::shop::{BULK, fill};
use mysync_e2e_tests::told::count;
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::{Random, until};

/// Rows of a table that is kept whatever becomes of it.
const KEEPING: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
tables = ["shop.goods_*"]

[[map]]
table = "shop.goods_*"
as = "hash"
key = "goods:{id}"
columns = ["id", "name"]
on_truncate = "keep"
"#;

const ROWS: u32 = 8_000;

fn options() -> Options {
    Options {
        writers: vec![("bulk-cache", BULK), ("goods", KEEPING)],
        keys: vec!["goods:*"],
        more: "[dump]\nrows_per_second = 5000",
        ..Options::default()
    }
}

/// A table of goods, whose ids begin behind `first`.
fn goods(table: &str, first: u32, rows: u32) -> String {
    format!(
        "CREATE TABLE shop.goods_{table} (id INT PRIMARY KEY, name VARCHAR(40)); SET cte_max_recursion_depth = {rows}; \
         INSERT INTO shop.goods_{table} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT {first} + i, CONCAT('{table} ', i) FROM n"
    )
}

/// The entries of goods in these tables.
async fn entries(world: &World, tables: &[&str]) -> Result<Entries> {
    let mut entries = Entries::new();
    for table in tables {
        let query = format!("SELECT CAST(id AS CHAR), name FROM shop.goods_{table}");
        for (id, name) in world.mysql.query::<(String, String)>(&query).await? {
            let hash = [("id".to_owned(), id.clone()), ("name".to_owned(), name)];
            entries.insert(format!("goods:{id}"), Entry::Hash(hash.into()));
        }
    }
    Ok(entries)
}

/// Waits until the entries of goods are these, and maybe some of rows that went without a word.
async fn wait_goods(world: &World, tables: &[&str], gone: bool) -> Result<()> {
    let expected = entries(world, tables).await?;
    until("Redis holds the goods", async || {
        let mut found = actual(&mut world.redis.conn()?)?;
        found.retain(|key, _| key.starts_with("goods:") && (!gone || expected.contains_key(key)));
        same(&expected, &found)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_altered_and_rebuilt_in_the_middle_of_it() -> Result<()> {
    let test = "a_table_is_altered_and_rebuilt_in_the_middle_of_it";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    fill(&world.mysql, &[("bulk", ROWS)]).await?;
    let mysync = world.mysync().await?;
    let statements = [
        "ALTER TABLE shop.bulk ADD COLUMN first INT NOT NULL DEFAULT 7 FIRST; UPDATE shop.bulk SET k = 70 WHERE id % 100 = 1",
        "OPTIMIZE TABLE shop.bulk",
        "ALTER TABLE shop.bulk DROP COLUMN pad, ALGORITHM = COPY; UPDATE shop.bulk SET k = 71 WHERE id % 100 = 2",
        "ALTER TABLE shop.bulk MODIFY COLUMN c VARCHAR(200), ADD INDEX (k); UPDATE shop.bulk SET c = 'now' WHERE id % 100 = 3",
        "ALTER TABLE shop.bulk MODIFY COLUMN id BIGINT NOT NULL; INSERT INTO shop.bulk (id, k, c) VALUES (9000, 72, 'new')",
        "ALTER TABLE shop.bulk DROP PRIMARY KEY, ADD PRIMARY KEY (id DESC); UPDATE shop.bulk SET k = 73 WHERE id % 100 = 4",
    ];
    for (statement, share) in statements.iter().zip(1..) {
        dumps::wait_rows(&mysync, "bulk-cache", u64::from(ROWS) / 10 * share).await?;
        world.mysql.exec(statement).await?;
    }
    let done = dumps::wait_of(&mysync, "bulk-cache", "done").await?;
    println!("{done}");
    ensure!(count(&done, "rows") + count(&done, "rows_left_out") >= u64::from(ROWS), "{done}");
    ensure!(world.wait_equal().await? == ROWS as usize + 1);

    // Again and again, also while it is being read.
    fill_more(&world).await?;
    let number = dumps::order(&world, &["--writer", "bulk-cache", "--rows-per-second", "1000000"])?;
    let mut conn = world.mysql.conn().await?;
    for turn in 0..40 {
        conn.query_drop(format!("ALTER TABLE shop.bulk ADD COLUMN more INT DEFAULT {turn} FIRST, ALGORITHM = INSTANT"))
            .await?;
        conn.query_drop(format!("UPDATE shop.bulk SET k = {turn} WHERE id = {turn} * 200")).await?;
        conn.query_drop("ALTER TABLE shop.bulk DROP COLUMN more, ALGORITHM = INPLACE").await?;
    }
    println!("{}", dumps::wait(&mysync, number, "done").await?);
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Rows without a meaning of their own.
async fn fill_more(world: &World) -> Result<()> {
    world
        .mysql
        .exec(
            "SET cte_max_recursion_depth = 30000; INSERT INTO shop.bulk (id, k, c) WITH RECURSIVE n (i) AS (SELECT 10001 UNION ALL \
             SELECT i + 1 FROM n WHERE i < 40000) SELECT i, i, REPEAT('more', 25) FROM n",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_emptied_dropped_and_made_again_in_the_middle_of_it() -> Result<()> {
    let test = "a_table_is_emptied_dropped_and_made_again_in_the_middle_of_it";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    world.mysql.exec(&goods("a", 0, 3_000)).await?;
    world.mysql.exec(&goods("b", 10_000, 3_000)).await?;
    world.mysql.exec(&goods("c", 20_000, 3_000)).await?;
    let mysync = world.mysync().await?;
    dumps::wait_rows(&mysync, "goods", 1_000).await?;
    world.mysql.exec("TRUNCATE shop.goods_a; INSERT INTO shop.goods_a VALUES (1, 'again'), (2999, 'again')").await?;
    dumps::wait_rows(&mysync, "goods", 2_500).await?;
    world.mysql.exec("DROP TABLE shop.goods_b").await?;
    world
        .mysql
        .exec(
            "CREATE TABLE shop.goods_b (name VARCHAR(40) COLLATE utf8mb4_bin, number INT NOT NULL, id INT, PRIMARY KEY (number)); \
             INSERT INTO shop.goods_b VALUES ('another', 5, 10005), ('another', 3, 12999)",
        )
        .await?;
    // The last one goes before its turn.
    world.mysql.exec("DROP TABLE shop.goods_c").await?;
    let done = dumps::wait_of(&mysync, "goods", "done").await?;
    println!("{done}");
    wait_goods(&world, &["a", "b"], true).await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    // What is loaded from now on is all that there is.
    world.redis.ask::<()>(&[
        "EVAL",
        "for _, key in ipairs(redis.call('KEYS', 'goods:*')) do redis.call('DEL', key) end",
        "0",
    ])?;
    let number = dumps::order(&world, &["--writer", "goods"])?;
    ensure!(count(&dumps::wait(&mysync, number, "done").await?, "rows") == 4);
    wait_goods(&world, &["a", "b"], false).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Tables that get a name of the writer's.
const STAGED: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_gets_a_name_before_those_that_are_done() -> Result<()> {
    let test = "a_table_gets_a_name_before_those_that_are_done";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    world.mysql.exec(&goods("b", 0, 3_000)).await?;
    world.mysql.exec(&goods("x", 10_000, 2_000)).await?;
    world.mysql.exec(&goods("z", 20_000, 2_000)).await?;
    // Not among the writer's until they have other names.
    for number in 0..STAGED {
        world.mysql.exec(&goods(&format!("y{number}"), 30_000 + number * 100, 100)).await?;
        world.mysql.exec(&format!("RENAME TABLE shop.goods_y{number} TO shop.staged_{number}")).await?;
    }
    let mysync = world.mysync().await?;
    dumps::wait_rows(&mysync, "goods", 4_000).await?;
    world.mysql.exec("RENAME TABLE shop.goods_z TO shop.goods_a").await?;
    world.mysql.exec("UPDATE shop.goods_a SET name = 'renamed' WHERE id % 10 = 1").await?;
    // Each while the dump looks for its tables anew.
    let mut tables = vec!["a".to_owned(), "b".to_owned(), "x".to_owned()];
    for number in 0..STAGED {
        world.mysql.exec(&format!("ALTER TABLE shop.staged_{number} RENAME TO shop.goods_aa{number}")).await?;
        tables.push(format!("aa{number}"));
    }
    let done = dumps::wait_of(&mysync, "goods", "done").await?;
    println!("{done}");
    ensure!(mysync.log().contains(" begins anew: "), "{}", mysync.log());
    wait_goods(&world, &tables.iter().map(String::as_str).collect::<Vec<_>>(), false).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_over_the_borders_of_chunks_in_both_directions() -> Result<()> {
    let test = "rows_move_over_the_borders_of_chunks_in_both_directions";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    fill(&world.mysql, &[("bulk", ROWS)]).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, mut conn) = (stop.clone(), world.mysql.conn().await?);
    let moves = tokio::spawn(async move {
        let (mut moved, rows) = (0, u64::from(ROWS));
        while !stopped.load(Relaxed) {
            let (from, to) = (random.below(rows), random.below(rows));
            let statement = match random.below(3) {
                // Beyond everything, and back.
                0 => format!("UPDATE IGNORE shop.bulk SET id = {} WHERE id = {from}", rows + random.below(rows)),
                1 => format!("UPDATE IGNORE shop.bulk SET id = {to} WHERE id > {rows} ORDER BY id LIMIT 1"),
                _ => format!("UPDATE IGNORE shop.bulk SET id = {to}, k = k + 1 WHERE id = {from}"),
            };
            conn.query_drop(statement).await?;
            moved += conn.affected_rows();
        }
        anyhow::Ok(moved)
    });
    let mysync = world.mysync().await?;
    let done = dumps::wait_of(&mysync, "bulk-cache", "done").await?;
    // And without a rate, so that chunks are large.
    for _ in 0..3 {
        let number = dumps::order(&world, &["--writer", "bulk-cache", "--rows-per-second", "1000000"])?;
        dumps::wait(&mysync, number, "done").await?;
    }
    stop.store(true, Relaxed);
    let moved = moves.await??;
    let entries = world.wait_equal().await?;
    println!("{moved} moves, {entries} entries: {done}");
    ensure!(moved > 100, "{moved} moves");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_hundred_thousand_rows_is_committed_in_the_middle_of_it() -> Result<()> {
    let test = "a_transaction_of_a_hundred_thousand_rows_is_committed_in_the_middle_of_it";
    let options = Options { writers: vec![("bulk-cache", BULK)], ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    fill(&world.mysql, &[("bulk", 100_000)]).await?;
    let mysync = world.mysync().await?;
    dumps::wait_rows(&mysync, "bulk-cache", 10_000).await?;
    // Every row changes, and some move behind all others.
    world
        .mysql
        .exec(
            "BEGIN; UPDATE shop.bulk SET k = k + 100; UPDATE shop.bulk SET id = id + 200000 WHERE id % 20 = 0 ORDER BY id DESC; COMMIT",
        )
        .await?;
    let done = dumps::wait_of(&mysync, "bulk-cache", "done").await?;
    println!("{done}");
    ensure!(world.wait_equal().await? == 100_000);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
