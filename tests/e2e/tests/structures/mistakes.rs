//! Mistakes in a mapping: found when it is loaded, with line and reason, before any row.

use anyhow::{Result, ensure};
use mysync_e2e_tests::World;
use mysync_test_support::Mysync;

use crate::entries::{hash, wait_for};
use crate::{people, started, stopped, writer};

const GOOD: &str = "as = \"hash\"\nkey = \"user:{id}\"\ncolumns = [\"name\"]";

/// With what each of its lines is told for.
const WRONG: &str = r#"component = "redis-writer.wasm"
connector = "cache"
tables = ["shop.people"]

[[map]]
table = "shop.persons"
as = "hash"
key = "user"
colums = ["id"]
ttl = "7 days"

[[map]]
table = "people"
as = "zset"
key = "user:{id"

[[map]]
table = "shop.people"
as = "sorted-set"
key = "users"
member = "all"
value = "json"
on_delete = "drop"
"#;

const TOLD: [&str; 12] = [
    "line 6, column 9: \"shop.persons\" is not among the writer's `tables`: no row would come",
    "line 8, column 7: `key` is the same for every row: put a column in it, as in \"user:{id}\"",
    "line 9, column 1: unknown key `colums`: did you mean `columns`?",
    "line 10, column 7: `ttl = \"7 days\"` is no duration: write \"90s\", \"15m\", \"1h\", \"7d\"",
    "line 13, column 9: `table` names the database too: write \"database.people\"",
    "line 14, column 6: unknown structure \"zset\": did you mean \"set\"?",
    "line 15, column 7: `key = \"user:{id\"`: a `{` without a `}` behind it",
    "line 17, column 1: `score` is missing",
    "line 21, column 10: `member` is the same for every row",
    "line 22, column 1: `value` does not go with `as = \"sorted-set\"`",
    "line 23, column 13: `on_delete` is \"remove\" or \"keep\"",
    "correct it and save the file",
];

/// What the table shows to be wrong.
const MISFIT: [&str; 5] = [
    "as = \"hash\"\nkey = \"user:{id}\"\ncolumns = [\"nmae\"]",
    "as = \"set\"\nkey = \"user:{id}\"\nmember = \"{town}\"",
    "as = \"sorted-set\"\nkey = \"users\"\nmember = \"{ID}\"\nscore = \"city\"",
    "as = \"string\"\nkey = \"user:document:{id}\"\nvalue = \"json\"\nrename = { name = \"email\" }",
    "as = \"list\"\nkey = \"users:recent\"\nmember = \"{id}\"",
];

const MISFIT_TOLD: [&str; 6] = [
    "line 10, column 12: shop.people has no column `nmae`: did you mean `name`?",
    "line 15, column 7: this is also the key of a hash (line 9): one key of Redis holds one structure",
    "line 16, column 10: shop.people has no column `town`",
    "line 22, column 10: shop.people has no column `ID`",
    "line 23, column 9: `score` is a number, and `city` is varchar",
    "line 30, column 19: the entry has a field `email` already",
];

fn tells(said: &str, reasons: &[&str]) -> Result<()> {
    for reason in reasons {
        ensure!(said.contains(reason), "{reason:?} is not told: {said}");
    }
    Ok(())
}

/// The writer stops for this reason, and no row of the table has come.
async fn stopped_before_any_row(world: &World, mysync: &Mysync, code: &str) -> Result<String> {
    let reason = stopped(world, mysync, code).await?;
    ensure!(world.redis.ask::<Vec<String>>(&["KEYS", "user*"])?.is_empty(), "rows were mapped");
    Ok(reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_a_mapping_are_told_with_line_and_reason_before_any_row() -> Result<()> {
    let test = "mistakes_in_a_mapping_are_told_with_line_and_reason_before_any_row";
    let Some((world, mysync)) = people(test, &[GOOD]).await? else { return Ok(()) };
    ensure!(mysync.terminate().await?.success());
    world.mysql.exec("INSERT INTO shop.people VALUES (1, 'Ann', 'Oslo', NULL, 1)").await?;

    world.write_writer("people-cache", WRONG)?;
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stdout);
    ensure!(check.status.code() == Some(1) && said.contains("FAIL MAPPING_INVALID: "), "{check:?}");
    tells(&said, &TOLD)?;
    let mysync = world.mysync().await?;
    tells(&stopped_before_any_row(&world, &mysync, "MAPPING_INVALID").await?, &TOLD)?;
    ensure!(mysync.terminate().await?.success());

    // What only the table shows is found by its shape, which comes before its first row.
    world.write_writer("people-cache", &writer("shop.people", &MISFIT))?;
    let mysync = world.mysync().await?;
    let reason = stopped_before_any_row(&world, &mysync, "MAPPING_TABLE_MISMATCH").await?;
    tells(&reason, &MISFIT_TOLD)?;
    let (status, told) = mysync.post("/api/writers/people-cache/resume")?;
    ensure!(status == 409 && told.contains("MAPPING_TABLE_MISMATCH"), "{status}: {told}");
    let resume = world.command(&["writer", "resume", "people-cache"])?;
    let told = String::from_utf8_lossy(&resume.stderr);
    ensure!(resume.status.code() == Some(1) && told.contains("[WRITER_NOT_RESUMED] "), "{resume:?}");
    ensure!(told.contains("[MAPPING_TABLE_MISMATCH] "), "{told}");
    tells(&stopped_before_any_row(&world, &mysync, "MAPPING_TABLE_MISMATCH").await?, &MISFIT_TOLD)?;

    // A mended mapping is taken at the next start, and nothing was lost.
    ensure!(mysync.terminate().await?.success());
    world.write_writer("people-cache", &writer("shop.people", &[GOOD]))?;
    let mysync = world.mysync().await?;
    wait_for(&world, [("user:1", hash([("name", "Ann")]))]).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_which_rows_meet_are_refused_with_several_partitions() -> Result<()> {
    let test = "names_in_which_rows_meet_are_refused_with_several_partitions";
    let good = writer("shop.people", &[GOOD]);
    let Some((world, mysync)) = started(test, crate::PEOPLE, &good, "partitions = 3").await? else { return Ok(()) };
    world.mysql.exec("INSERT INTO shop.people VALUES (1, 'Ann', 'Oslo', NULL, 1)").await?;
    wait_for(&world, [("user:1", hash([("name", "Ann")]))]).await?;
    ensure!(mysync.terminate().await?.success());
    world.redis.ask::<()>(&["DEL", "user:1"])?;

    // The shape is known by now, and every partition finds out without a row.
    let meeting = ["as = \"set\"\nkey = \"users:in:{city}\"\nmember = \"{name}\""];
    world.write_writer("people-cache", &writer("shop.people", &meeting))?;
    let mysync = world.mysync().await?;
    let reason = stopped_before_any_row(&world, &mysync, "MAPPING_NEEDS_ONE_PARTITION").await?;
    tells(&reason, &["shop.people by city, name", "3 partitions", "put the whole primary key into the names"])?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
