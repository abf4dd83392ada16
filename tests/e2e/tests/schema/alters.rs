//! Tables that are altered: while their rows stream, under load, and in a backlog.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::WRITERS;
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, told};
use mysync_test_support::Random;

use crate::goods::{self, Shelf};
use crate::on_each;

/// What is done to the table, what is committed then, and which rows that concerns. Each step leaves a row that no other touches.
type Step = (&'static str, &'static str, &'static [i64]);

const STEPS: [Step; 15] = [
    (
        "COMMENT 'as it was'",
        "INSERT INTO shop.goods VALUES (1, 'chair', 9.90, 3), (2, 'table', NULL, 4), (3, 'lamp', 0.01, 5), (4, 'lamp', 5, 1), \
         (5, 'bed', 100, 0)",
        &[1, 2, 3, 4, 5],
    ),
    (
        "ADD COLUMN color VARCHAR(10) NOT NULL DEFAULT 'white', ALGORITHM = INSTANT",
        "INSERT INTO shop.goods VALUES (10, 'lamp', 7.50, 1, 'red'); UPDATE shop.goods SET stock = 13 WHERE id = 1",
        &[10, 1],
    ),
    (
        "ADD COLUMN shelf INT DEFAULT 7 FIRST, ALGORITHM = INSTANT",
        "INSERT INTO shop.goods VALUES (NULL, 11, 'sofa', 300, 2, 'blue'); UPDATE shop.goods SET name = 'stool' WHERE id = 1",
        &[11, 1],
    ),
    (
        "MODIFY COLUMN stock INT NOT NULL DEFAULT 0 AFTER id, ALGORITHM = COPY",
        "INSERT INTO shop.goods VALUES (1, 12, 8, 'desk', NULL, 'grey'); UPDATE shop.goods SET shelf = stock WHERE id IN (1, 2)",
        &[12, 1, 2],
    ),
    (
        "RENAME COLUMN price TO cost, ALGORITHM = INSTANT",
        "INSERT INTO shop.goods VALUES (2, 13, 9, 'desk', 1.23, 'black'); DELETE FROM shop.goods WHERE id = 4",
        &[13, 4],
    ),
    (
        "MODIFY COLUMN id BIGINT NOT NULL, MODIFY COLUMN stock BIGINT NOT NULL, MODIFY COLUMN name VARCHAR(300) NOT NULL, ALGORITHM = COPY",
        "INSERT INTO shop.goods VALUES (3, 5000000000, 9000000000000000000, REPEAT('long ', 60), 1, 'pink'); \
         UPDATE shop.goods SET name = REPEAT('é', 300) WHERE id = 2",
        &[5_000_000_000, 2],
    ),
    (
        "DROP COLUMN color, ALGORITHM = INSTANT",
        "INSERT INTO shop.goods VALUES (4, 15, 1, 'crate', 2.5); UPDATE shop.goods SET cost = 9.91 WHERE id = 1",
        &[15, 1],
    ),
    (
        "DROP COLUMN shelf, ADD COLUMN size ENUM('s', 'm') AFTER id, ALGORITHM = INPLACE",
        "INSERT INTO shop.goods VALUES (16, 's', 1, 'crate', 2.5), (17, 'm', 1, 'box', NULL); UPDATE shop.goods SET size = 's' WHERE id = 1",
        &[16, 17, 1],
    ),
    // Labels are numbers in the binlog: those that were 1 and 2 are 2 and 3 now.
    (
        "MODIFY COLUMN size ENUM('xs', 's', 'm'), ALGORITHM = COPY",
        "INSERT INTO shop.goods VALUES (18, 's', 1, 'box', 2.5), (19, 'xs', 1, 'box', NULL); UPDATE shop.goods SET stock = 5 WHERE id = 16",
        &[18, 19, 16],
    ),
    (
        "CONVERT TO CHARACTER SET latin1, ALGORITHM = COPY",
        "INSERT INTO shop.goods VALUES (20, 'm', 1, 'Stühlchen', 2.5); UPDATE shop.goods SET name = 'Möbel' WHERE id = 18",
        &[20, 18],
    ),
    (
        "ADD COLUMN maker VARCHAR(300) NOT NULL DEFAULT 'Ikea', ALGORITHM = INSTANT",
        "INSERT INTO shop.goods VALUES (21, 's', 1, 'shelf', 2.5, 'Thonet'); UPDATE shop.goods SET stock = 6 WHERE id = 3",
        &[21, 3],
    ),
    // The same types in the same places under each other's name. Rows from before have other names now, of which no entry knows.
    (
        "RENAME COLUMN name TO maker, RENAME COLUMN maker TO name, ALGORITHM = INPLACE",
        "INSERT INTO shop.goods VALUES (22, 's', 1, 'Vitra', 2.5, 'armchair'); UPDATE shop.goods SET stock = 7, name = 'stool' WHERE id = 22",
        &[22],
    ),
    // And back to a shape that has been there before.
    (
        "RENAME COLUMN name TO maker, RENAME COLUMN maker TO name, ALGORITHM = INPLACE",
        "INSERT INTO shop.goods VALUES (23, 's', 1, 'bench', 2.5, 'Vitra'); UPDATE shop.goods SET stock = 8, name = 'stool' WHERE id = 3",
        &[23, 3],
    ),
    (
        "MODIFY COLUMN stock BIGINT UNSIGNED NOT NULL FIRST, MODIFY COLUMN cost DECIMAL(20,4) UNSIGNED, DROP PRIMARY KEY, \
         ADD PRIMARY KEY (name(10), id), ALGORITHM = COPY",
        "INSERT INTO shop.goods VALUES (18446744073709551615, 24, NULL, 'rug', 1.2345, 'Vitra'); \
         UPDATE shop.goods SET stock = 9, name = 'lampe' WHERE id = 3",
        &[24, 3],
    ),
    (
        "ADD COLUMN id2 INT NOT NULL DEFAULT 0 FIRST, DROP COLUMN maker, DROP COLUMN size, ALGORITHM = INPLACE",
        "BEGIN; DELETE FROM shop.goods WHERE id = 5; INSERT INTO shop.goods VALUES (1, 2, 6, 'cot', 3); UPDATE shop.goods SET id = 25 WHERE id = 24; \
         COMMIT",
        &[5, 6, 24, 25],
    ),
];

fn options() -> Options {
    Options { writers: vec![("goods", goods::WRITER)], keys: vec!["goods:*"], ..Options::default() }
}

async fn take((alter, rows, ids): &Step, shelf: &mut Shelf, world: &World) -> Result<()> {
    world.mysql.exec(&format!("ALTER TABLE shop.goods {alter}")).await?;
    shelf.commit(&world.mysql, rows, ids).await.with_context(|| (*alter).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_altered_while_its_rows_stream() -> Result<()> {
    on_each("a_table_altered_while_its_rows_stream", options(), async |world| {
        world.mysql.exec(goods::TABLE).await?;
        let mysync = world.mysync().await?;
        let mut shelf = Shelf::default();
        for step in &STEPS {
            take(step, &mut shelf, &world).await?;
            shelf.wait(&world).await.with_context(|| step.0)?;
        }
        ensure!(mysync.get("/healthz")?.0 == 200);
        ensure!(mysync.terminate().await?.success());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_alters_is_read_with_the_shapes_of_its_time() -> Result<()> {
    on_each("a_backlog_of_alters_is_read_with_the_shapes_of_its_time", options(), async |world| {
        world.mysql.exec(goods::TABLE).await?;
        let mut shelf = Shelf::default();
        let mysync = world.mysync().await?;
        take(&STEPS[0], &mut shelf, &world).await?;
        shelf.wait(&world).await?;
        ensure!(mysync.terminate().await?.success());
        for step in &STEPS[1..] {
            take(step, &mut shelf, &world).await?;
        }
        // The server has forgotten every shape but the last one, and its binlog goes on in another file.
        world.mysql.exec("FLUSH TABLES; FLUSH BINARY LOGS").await?;
        let mysync = world.mysync().await?;
        shelf.wait(&world).await?;
        ensure!(mysync.terminate().await?.success());

        // The log alone has all the shapes, too.
        let keys: Vec<String> = world.redis.ask(&["KEYS", "goods:*"])?;
        keys.iter().try_for_each(|key| world.redis.ask::<()>(&["DEL", key]))?;
        world.command_well(&["writer", "rewind", "goods"])?;
        let mysync = world.mysync().await?;
        shelf.wait(&world).await?;
        ensure!(mysync.get("/healthz")?.0 == 200);
        ensure!(mysync.terminate().await?.success());
        Ok(())
    })
    .await
}

/// What the load does not name, and what it does not notice.
const UNDER_LOAD: [&str; 8] = [
    "ADD COLUMN age INT NOT NULL DEFAULT 5, ALGORITHM = INSTANT",
    "ADD COLUMN born DATE DEFAULT '1906-12-09' FIRST, ALGORITHM = INSTANT",
    "MODIFY COLUMN city VARCHAR(50) NOT NULL AFTER id, ALGORITHM = COPY",
    "MODIFY COLUMN city VARCHAR(200) NOT NULL, MODIFY COLUMN score BIGINT NOT NULL DEFAULT 0, ALGORITHM = COPY",
    "RENAME COLUMN age TO years, ALGORITHM = INPLACE",
    "MODIFY COLUMN id BIGINT NOT NULL, ALGORITHM = COPY",
    "DROP COLUMN born, ALGORITHM = INSTANT",
    "DROP COLUMN years, ADD COLUMN note TEXT FIRST, ALGORITHM = COPY",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_table_altered_under_load() -> Result<()> {
    let options = Options { writers: WRITERS.to_vec(), ..Options::default() };
    let test = "a_table_altered_under_load";
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut Random::from_env(), &[]);
    let witness = Witness::start(&world.redis, true);
    for alter in UNDER_LOAD {
        told::wait_rows(|| told::writer(&mysync, "users-cache"), 20).await?;
        world.mysql.exec(&format!("ALTER TABLE shop.users {alter}")).await?;
    }
    told::wait_rows(|| told::writer(&mysync, "users-cache"), 20).await?;
    let committed = load.stop().await?;
    let entries = world.wait_equal().await?;
    let steps = witness.stop()?;
    println!("{committed} transactions, {steps} steps seen, {entries} entries");
    ensure!(steps > 0 && mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
