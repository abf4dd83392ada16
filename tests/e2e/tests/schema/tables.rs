//! Tables that come, get other names, are exchanged for others, and go.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::compare::Entries;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::WRITERS;
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, told};
use mysync_test_support::{Random, until};

use crate::goods::{hash, wait_entries};

/// Whatever such a table holds.
const KEEPING: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.log_*"]

[[map]]
table = "shop.log_*"
as = "hash"
key = "log:{id}"
on_truncate = "keep"
"#;

const STRICT: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.log_a"]

[[map]]
table = "shop.log_a"
as = "hash"
key = "strict:{id}"
columns = ["id", "text"]
"#;

const TABLE: &str =
    "CREATE TABLE shop.log_a (id INT PRIMARY KEY, text VARCHAR(20)); INSERT INTO shop.log_a VALUES (1, 'one')";

fn entries(entries: &[(&str, &[(&str, &str)])]) -> Entries {
    entries.iter().map(|(key, fields)| ((*key).to_owned(), hash(fields))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_created_later_is_captured_and_mapped_without_a_restart() -> Result<()> {
    let options = Options { writers: vec![("keeping", KEEPING)], keys: vec!["log:*"], ..Options::default() };
    let test = "a_table_created_later_is_captured_and_mapped_without_a_restart";
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    for statements in [
        TABLE,
        "CREATE TABLE shop.log_b LIKE shop.log_a; INSERT INTO shop.log_b VALUES (2, 'two')",
        "CREATE TABLE shop.log_c (PRIMARY KEY (id)) AS SELECT 'three' AS text, 3 AS id",
        "USE shop; CREATE TEMPORARY TABLE log_d SELECT 4 AS id; DROP TABLE log_d; CREATE TABLE logs SELECT 5 AS id",
        "CREATE DATABASE shop2; CREATE TABLE shop2.log_a AS SELECT 6 AS id",
        "INSERT INTO shop.log_a VALUES (9, 'last')",
    ] {
        world.mysql.exec(statements).await?;
    }
    let mut expected = entries(&[
        ("log:1", &[("id", "1"), ("text", "one")]),
        ("log:2", &[("id", "2"), ("text", "two")]),
        ("log:3", &[("id", "3"), ("text", "three")]),
        ("log:9", &[("id", "9"), ("text", "last")]),
    ]);
    wait_entries(&world, &expected).await?;

    // Another name that is matched, one that is not, and one that is from now on.
    world
        .mysql
        .exec("RENAME TABLE shop.log_a TO shop.log_z; UPDATE shop.log_z SET text = 'moved' WHERE id = 1")
        .await?;
    world.mysql.exec("ALTER TABLE shop.log_b RENAME TO shop.archive; UPDATE shop.archive SET text = 'unseen'").await?;
    world
        .mysql
        .exec(
            "CREATE TABLE shop.staged (note TEXT, id BIGINT PRIMARY KEY); INSERT INTO shop.staged VALUES ('before', 11), ('before', 12); \
             RENAME TABLE shop.staged TO shop.log_b; UPDATE shop.log_b SET note = 'after' WHERE id = 12",
        )
        .await?;
    expected.insert("log:1".to_owned(), hash(&[("id", "1"), ("text", "moved")]));
    expected.insert("log:12".to_owned(), hash(&[("id", "12"), ("note", "after")]));
    wait_entries(&world, &expected).await?;
    let said = mysync.log();
    ensure!(["rename of shop.log_a", "rename of shop.log_b"].iter().all(|told| said.contains(told)), "{said}");
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// What tools for online changes of large tables do: a copy with the new shape is kept equal by triggers, and takes the table's place.
const EXCHANGE: [&str; 8] = [
    "CREATE TABLE shop._users_new LIKE shop.users",
    "ALTER TABLE shop._users_new ADD COLUMN note TEXT FIRST, MODIFY COLUMN score BIGINT NOT NULL DEFAULT 0 AFTER id",
    "CREATE TRIGGER shop.users_del AFTER DELETE ON shop.users FOR EACH ROW DELETE FROM shop._users_new WHERE id = OLD.id",
    "CREATE TRIGGER shop.users_upd AFTER UPDATE ON shop.users FOR EACH ROW BEGIN \
     DELETE FROM shop._users_new WHERE OLD.id <> NEW.id AND id = OLD.id; \
     REPLACE INTO shop._users_new (id, name, email, city, score) VALUES (NEW.id, NEW.name, NEW.email, NEW.city, NEW.score); END",
    "CREATE TRIGGER shop.users_ins AFTER INSERT ON shop.users FOR EACH ROW \
     REPLACE INTO shop._users_new (id, name, email, city, score) VALUES (NEW.id, NEW.name, NEW.email, NEW.city, NEW.score)",
    "INSERT IGNORE INTO shop._users_new (id, name, email, city, score) SELECT id, name, email, city, score FROM shop.users FOR SHARE",
    "RENAME TABLE shop.users TO shop._users_old, shop._users_new TO shop.users",
    "DROP TABLE shop._users_old",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_table_exchanged_under_load_for_its_copy_with_another_shape() -> Result<()> {
    let test = "a_table_exchanged_under_load_for_its_copy_with_another_shape";
    let options = Options { writers: WRITERS.to_vec(), ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut Random::from_env(), &[]);
    let witness = Witness::start(&world.redis, true);
    for statement in EXCHANGE {
        told::wait_rows(|| told::writer(&mysync, "users-cache"), 20).await?;
        // Such tools try again where they are in the load's way.
        until("it is done", async || world.mysql.exec(statement).await).await?;
    }
    told::wait_rows(|| told::writer(&mysync, "users-cache"), 20).await?;
    let committed = load.stop().await?;
    let entries = world.wait_equal().await?;
    println!("{committed} transactions, {} steps seen, {entries} entries", witness.stop()?);
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'users' AND \
                   ordinal_position = 1";
    ensure!(world.mysql.query::<String>(columns).await? == ["note"], "the table is the old one");
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_and_created_again_with_another_shape() -> Result<()> {
    let test = "a_table_dropped_and_created_again_with_another_shape";
    let writers = vec![("keeping", KEEPING), ("strict", STRICT)];
    let options = Options { writers, keys: vec!["log:*", "strict:*"], ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.mysql.exec(TABLE).await?;
    let row: &[_] = &[("id", "1"), ("text", "one")];
    wait_entries(&world, &entries(&[("log:1", row), ("strict:1", row)])).await?;

    world
        .mysql
        .exec(
            "DROP TABLE shop.log_a; CREATE TABLE shop.log_a (body TEXT, id BIGINT UNSIGNED PRIMARY KEY, n INT); \
             INSERT INTO shop.log_a VALUES ('new', 1, 7), ('big', 18446744073709551615, NULL)",
        )
        .await?;
    // What is kept is kept: the mapping says so.
    let kept: &[_] = &[("id", "1"), ("text", "one"), ("body", "new"), ("n", "7")];
    let big: &[_] = &[("id", "18446744073709551615"), ("body", "big")];
    let mut expected = entries(&[("log:1", kept), ("log:18446744073709551615", big), ("strict:1", row)]);
    wait_entries(&world, &expected).await?;
    told::wait_writer(&mysync, "strict", "stopped", "TABLE_DROPPED").await?;
    mysync.kill();
    let mysync = world.mysync().await?;
    let told = told::wait_writer(&mysync, "strict", "stopped", "TABLE_DROPPED").await?;
    let reason = told["message"].as_str().context("no reason")?;
    let cure = reason.split("'mysync ").nth(1).and_then(|rest| rest.split('\'').next()).context("no cure")?;
    world.redis.ask::<()>(&["DEL", "strict:1"])?;
    // The new table is not what the mapping was written for, which may be said at once.
    let cured = world.command(&cure.split(' ').collect::<Vec<_>>())?;
    let told = String::from_utf8_lossy(&cured.stderr);
    ensure!(cured.status.success() || told.contains("[MAPPING_TABLE_MISMATCH]"), "{told}");
    told::wait_writer(&mysync, "strict", "stopped", "MAPPING_TABLE_MISMATCH").await?;
    world.write_writer("strict", &STRICT.replace("\"text\"", "\"body\""))?;
    ensure!(mysync.post("/api/writers/strict/resume")?.0 == 204);
    expected.insert("strict:1".to_owned(), hash(&[("id", "1"), ("body", "new")]));
    expected.insert("strict:18446744073709551615".to_owned(), hash(big));
    wait_entries(&world, &expected).await?;
    until("nothing is wrong", async || Ok(ensure!(mysync.get("/healthz")?.0 == 200))).await?;
    ensure!(mysync.terminate().await?.success());

    // In a backlog, and more than once.
    std::fs::remove_file(world.team().join("strict.toml"))?;
    for statements in [
        "INSERT INTO shop.log_a VALUES ('last', 20, 1); DROP TABLE shop.log_a",
        "CREATE TABLE shop.log_a (n VARCHAR(9), id TINYINT PRIMARY KEY); INSERT INTO shop.log_a VALUES ('word', 21); DROP TABLE shop.log_a",
        "CREATE TABLE shop.log_a (id VARCHAR(9) PRIMARY KEY, n FLOAT); INSERT INTO shop.log_a VALUES ('x', 0.5)",
    ] {
        world.mysql.exec(statements).await?;
    }
    expected.extend(entries(&[
        ("log:20", &[("body", "last"), ("id", "20"), ("n", "1")]),
        ("log:21", &[("id", "21"), ("n", "word")]),
        ("log:x", &[("id", "x"), ("n", "0.5")]),
    ]));
    let mysync = world.mysync().await?;
    wait_entries(&world, &expected).await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
