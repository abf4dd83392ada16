//! A mapping names a column that its table has no more: a stop before the first such row, and on with a mended mapping.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::compare::Entries;
use mysync_e2e_tests::{Options, World, shop, told};
use mysync_test_support::{Mysync, until};

use crate::goods::{hash, wait_entries};

const MAIL: &str = "ALTER TABLE shop.users RENAME COLUMN email TO mail";
const EMAIL: &str = "ALTER TABLE shop.users RENAME COLUMN mail TO email";
const NO_EMAIL: &str = "shop.users has no column `email`: did you mean `mail`?";
const NO_MAIL: &str = "shop.users has no column `mail`: did you mean `email`?";

/// Users and visits: a transaction may change both.
const WRITER: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.users", "shop.visits"]

[[map]]
table = "shop.users"
as = "hash"
key = "user:{id}"
columns = ["id", "name", "email"]

[[map]]
table = "shop.visits"
as = "hash"
key = "visits:{id}"
columns = ["city"]
"#;

fn options() -> Options {
    Options { writers: vec![("users-cache", WRITER), ("orders-cache", shop::ORDERS)], ..Options::default() }
}

/// What it is mended to: the entries stay as they are known.
fn mended() -> String {
    WRITER.replace("\"email\"]", "\"mail\"]\nrename = { mail = \"email\" }")
}

async fn user(world: &World, id: u32) -> Result<()> {
    let (column, text) = (address_column(world).await?, insert(id));
    world.mysql.exec(&text.replace("email", &column)).await
}

fn insert(id: u32) -> String {
    format!("INSERT INTO shop.users (id, name, email, city) VALUES ({id}, 'User {id}', '{id}@example.org', 'Rome')")
}

async fn address_column(world: &World) -> Result<String> {
    let query = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'users' \
                 AND column_name LIKE '%mail'";
    world.mysql.query(query).await?.pop().context("no such column")
}

fn users(ids: &[u32]) -> Entries {
    let entry = |id: &u32| {
        let (name, email) = (format!("User {id}"), format!("{id}@example.org"));
        (format!("user:{id}"), hash(&[("id", &id.to_string()), ("name", &name), ("email", &email)]))
    };
    ids.iter().map(entry).collect()
}

/// Waits until the writer has stopped for a column that its table does not have.
async fn stopped(mysync: &Mysync, problem: &str) -> Result<()> {
    until("the writer has stopped", async || {
        let told = told::writer(mysync, "users-cache")?;
        ensure!(told["state"] == "stopped" && told["code"] == "MAPPING_TABLE_MISMATCH", "{told}");
        let reason = told["message"].as_str().context("no reason")?;
        ensure!(reason.contains("line 11, column ") && reason.contains(problem), "{reason}");
        Ok(())
    })
    .await?;
    let (status, health) = mysync.get("/healthz")?;
    ensure!(status == 503 && health.contains("writer users-cache/0: [MAPPING_TABLE_MISMATCH] "), "{status}: {health}");
    Ok(())
}

/// Waits until the log has all that was committed: the other writer's row comes last.
async fn captured(world: &World, order: u32) -> Result<()> {
    world.mysql.exec(&format!("INSERT INTO shop.orders VALUES ({order}, 1, 1, NULL)")).await?;
    let key = format!("order:{order}");
    until("another writer goes on", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", &key])?))).await
}

/// Starts it with this mapping, which may not be the right one yet.
async fn resume(world: &World, mysync: &Mysync, mapping: &str) -> Result<()> {
    world.write_writer("users-cache", mapping)?;
    let (status, told) = mysync.post("/api/writers/users-cache/resume")?;
    ensure!(status == 204 || status == 409 && told.contains("MAPPING_TABLE_MISMATCH"), "{status}: {told}");
    Ok(())
}

async fn wait_healthy(mysync: &Mysync) -> Result<()> {
    until("nothing is wrong", async || {
        let (status, health) = mysync.get("/healthz")?;
        ensure!(status == 200, "{health}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_column_renamed_or_dropped_is_a_stop_before_its_row() -> Result<()> {
    let test = "a_mapped_column_renamed_or_dropped_is_a_stop_before_its_row";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    wait_entries(&world, &users(&[1])).await?;
    world.mysql.exec(MAIL).await?;
    user(&world, 2).await?;
    stopped(&mysync, NO_EMAIL).await?;
    captured(&world, 1).await?;
    wait_entries(&world, &users(&[1])).await?;
    mysync.kill();
    let mysync = world.mysync().await?;
    stopped(&mysync, NO_EMAIL).await?;
    resume(&world, &mysync, &mended()).await?;
    wait_entries(&world, &users(&[1, 2])).await?;
    wait_healthy(&mysync).await?;

    world.mysql.exec("ALTER TABLE shop.users DROP COLUMN mail").await?;
    world.mysql.exec("INSERT INTO shop.users (id, name, city) VALUES (3, 'Cleo', 'Rome')").await?;
    stopped(&mysync, "shop.users has no column `mail`").await?;
    ensure!(mysync.terminate().await?.success());
    world.write_writer("users-cache", &WRITER.replace(", \"email\"", ""))?;
    let mysync = world.mysync().await?;
    let mut expected = users(&[1, 2]);
    expected.insert("user:3".to_owned(), hash(&[("id", "3"), ("name", "Cleo")]));
    wait_entries(&world, &expected).await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_the_rename_are_applied_before_the_stop() -> Result<()> {
    let test = "rows_from_before_the_rename_are_applied_before_the_stop";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    world.mysync().await?.kill();
    user(&world, 1).await?;
    user(&world, 2).await?;
    world.mysql.exec(MAIL).await?;
    let change = insert(3).replace("email", "mail");
    world.mysql.exec(&format!("BEGIN; INSERT INTO shop.visits VALUES (7, 'Rome', 1); {change}; COMMIT")).await?;
    let mysync = world.mysync().await?;
    stopped(&mysync, NO_EMAIL).await?;
    captured(&world, 1).await?;
    // The last transaction as a whole is not there.
    wait_entries(&world, &users(&[1, 2])).await?;
    mysync.kill();
    let mysync = world.mysync().await?;
    stopped(&mysync, NO_EMAIL).await?;
    resume(&world, &mysync, &mended()).await?;
    let mut expected = users(&[1, 2, 3]);
    expected.insert("visits:7".to_owned(), hash(&[("city", "Rome")]));
    wait_entries(&world, &expected).await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_fell_behind_a_rename_goes_on_with_the_mapping_of_each_row_s_time() -> Result<()> {
    let test = "a_writer_that_fell_behind_a_rename_goes_on_with_the_mapping_of_each_row_s_time";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    wait_entries(&world, &users(&[1])).await?;
    world.redis.ask::<()>(&["SET", "user:2", "theirs"])?;
    user(&world, 2).await?;
    told::wait_writer(&mysync, "users-cache", "stopped", "REDIS_COMMAND_REFUSED").await?;
    world.mysql.exec(MAIL).await?;
    user(&world, 3).await?;
    captured(&world, 1).await?;
    world.redis.ask::<()>(&["DEL", "user:2"])?;

    // Mended too early: the row that is next still has the old column.
    resume(&world, &mysync, &mended()).await?;
    stopped(&mysync, NO_MAIL).await?;
    wait_entries(&world, &users(&[1])).await?;
    resume(&world, &mysync, WRITER).await?;
    until("the old row is there", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "user:2"])?))).await?;
    stopped(&mysync, NO_EMAIL).await?;
    wait_entries(&world, &users(&[1, 2])).await?;
    resume(&world, &mysync, &mended()).await?;
    wait_entries(&world, &users(&[1, 2, 3])).await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_renamed_by_mistake_and_back_needs_its_mapping_back() -> Result<()> {
    let test = "a_column_renamed_by_mistake_and_back_needs_its_mapping_back";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    wait_entries(&world, &users(&[1])).await?;
    world.mysql.exec(MAIL).await?;
    user(&world, 2).await?;
    stopped(&mysync, NO_EMAIL).await?;
    world.mysql.exec(EMAIL).await?;
    user(&world, 3).await?;
    captured(&world, 1).await?;
    resume(&world, &mysync, &mended()).await?;
    stopped(&mysync, NO_MAIL).await?;
    wait_entries(&world, &users(&[1, 2])).await?;
    resume(&world, &mysync, WRITER).await?;
    wait_entries(&world, &users(&[1, 2, 3])).await?;
    wait_healthy(&mysync).await?;
    // And at the next start.
    ensure!(mysync.terminate().await?.success());
    let mysync = world.mysync().await?;
    user(&world, 4).await?;
    wait_entries(&world, &users(&[1, 2, 3, 4])).await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
