//! Tables without a key, and columns that are not like others: generated, invisible, made by the server.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use mysync_e2e_tests::compare::{Entries, Entry};
use mysync_e2e_tests::{Options, World, told};

use crate::goods::{hash, select, wait_entries};
use crate::on_each;

const KEYLESS: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.plain"]

[[map]]
table = "shop.plain"
as = "hash"
key = "plain:{code}"

[[map]]
table = "shop.plain"
as = "set"
key = "plain:with:{n}"
member = "{code}"
"#;

const PLAIN: &str = "CREATE TABLE shop.plain (code VARCHAR(20), n INT, UNIQUE KEY (code))";

async fn plain(world: &World) -> Result<Entries> {
    let mut entries = Entries::new();
    for (code, n) in world.mysql.query::<(String, i32)>("SELECT code, n FROM shop.plain").await? {
        entries.insert(format!("plain:{code}"), hash(&[("code", &code), ("n", &n.to_string())]));
        let members = entries.entry(format!("plain:with:{n}")).or_insert_with(|| Entry::Set(BTreeSet::new()));
        if let Entry::Set(members) = members {
            members.insert(code);
        }
    }
    Ok(entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_primary_key_is_known_by_what_names_its_entries() -> Result<()> {
    let options = Options { writers: vec![("plain", KEYLESS)], keys: vec!["plain:*"], ..Options::default() };
    let test = "a_table_without_a_primary_key_is_known_by_what_names_its_entries";
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    world.mysql.exec(PLAIN).await?;
    let mysync = world.mysync().await?;
    for statement in [
        "INSERT INTO shop.plain VALUES ('a', 1), ('b', 1), ('c', 2), ('d', -1)",
        "UPDATE shop.plain SET n = 2 WHERE code = 'a'",
        "UPDATE shop.plain SET code = CONCAT(code, code)",
        "BEGIN; UPDATE shop.plain SET code = 'x' WHERE code = 'aa'; UPDATE shop.plain SET code = 'aa' WHERE code = 'bb'; \
         UPDATE shop.plain SET code = 'bb' WHERE code = 'x'; COMMIT",
        "ALTER TABLE shop.plain MODIFY COLUMN n BIGINT FIRST; UPDATE shop.plain SET n = 3 WHERE n = 2",
        "DELETE FROM shop.plain WHERE code = 'cc'",
    ] {
        world.mysql.exec(statement).await?;
        wait_entries(&world, &plain(&world).await?).await?;
    }
    let said = mysync.log();
    ensure!(said.contains("the table has no primary key") && said.contains("shop.plain"), "nobody was told: {said}");

    // Two rows of one name are one entry: the later one is seen, and either one's end is the entry's.
    world
        .mysql
        .exec("ALTER TABLE shop.plain DROP KEY code; INSERT INTO shop.plain VALUES (9, 'twin'), (8, 'twin')")
        .await?;
    let mut expected = plain(&world).await?;
    expected.insert("plain:twin".to_owned(), hash(&[("code", "twin"), ("n", "8")]));
    wait_entries(&world, &expected).await?;
    world.mysql.exec("DELETE FROM shop.plain WHERE n = 9").await?;
    expected.retain(|key, _| !["plain:twin", "plain:with:9"].contains(&key.as_str()));
    wait_entries(&world, &expected).await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_primary_key_is_refused_in_several_partitions() -> Result<()> {
    let test = "a_table_without_a_primary_key_is_refused_in_several_partitions";
    let writers = vec![("plain", KEYLESS)];
    let options = Options { writers, keys: vec!["plain:*"], log: "partitions = 2", ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    world.mysql.exec(PLAIN).await?;
    let mysync = world.mysync().await?;
    // Some of them in each partition.
    let rows: Vec<String> = (0..50).map(|n| format!("('{n}', {n})")).collect();
    world.mysql.exec(&format!("INSERT INTO shop.plain VALUES {}", rows.join(", "))).await?;
    told::wait_writer(&mysync, "plain", "stopped", "MAPPING_NEEDS_ONE_PARTITION").await?;
    let keys: Vec<String> = world.redis.ask(&["KEYS", "plain:*"])?;
    ensure!(keys.is_empty(), "{keys:?}");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

const CUBES: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.cubes", "shop.hidden"]

[[map]]
table = "shop.cubes"
as = "hash"
key = "cube:{id}"

[[map]]
table = "shop.cubes"
as = "set"
key = "cubes:of:{volume}:{area}"
member = "{id}"

[[map]]
table = "shop.hidden"
as = "hash"
key = "hidden:{my_row_id}"
columns = ["name"]
"#;

/// Both kinds of generated columns, an invisible one, and an index over an expression, for which the server keeps a column of its own.
const CUBE_TABLE: &str = "CREATE TABLE shop.cubes (area INT AS (side * side) VIRTUAL, id INT PRIMARY KEY, \
                          unseen VARCHAR(9) DEFAULT 'yes' INVISIBLE, side INT NOT NULL, volume BIGINT AS (side * side * side) STORED, \
                          label VARCHAR(20), KEY ((UPPER(label))))";
const HIDDEN_TABLE: &str = "SET SESSION sql_generate_invisible_primary_key = ON; CREATE TABLE shop.hidden (name VARCHAR(20)) DEFAULT CHARSET = utf8mb4";

async fn cubes(world: &World, columns: &str) -> Result<Entries> {
    let mut entries = Entries::new();
    for row in select(&world.mysql, &format!("SELECT {columns} FROM shop.cubes")).await? {
        let fields: Vec<(&str, &str)> =
            row.iter().filter_map(|(name, value, _)| Some((name.as_str(), value.as_deref()?))).collect();
        let value = |name: &str| fields.iter().find(|(column, _)| *column == name).map_or("", |(_, value)| *value);
        entries.insert(format!("cube:{}", value("id")), hash(&fields));
        let key = format!("cubes:of:{}:{}", value("volume"), value("area"));
        let members = entries.entry(key).or_insert_with(|| Entry::Set(BTreeSet::new()));
        if let Entry::Set(members) = members {
            members.insert(value("id").to_owned());
        }
    }
    for (id, name) in world.mysql.query::<(u64, String)>("SELECT my_row_id, name FROM shop.hidden").await? {
        entries.insert(format!("hidden:{id}"), hash(&[("name", &name)]));
    }
    Ok(entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_and_invisible_columns_are_columns() -> Result<()> {
    let options =
        Options { writers: vec![("cubes", CUBES)], keys: vec!["cube:*", "cubes:*", "hidden:*"], ..Options::default() };
    on_each("generated_and_invisible_columns_are_columns", options, async |world| {
        world.mysql.exec(CUBE_TABLE).await?;
        world.mysql.exec(HIDDEN_TABLE).await?;
        let mysync = world.mysync().await?;
        let all = "area, id, unseen, side, volume, label";
        for statement in [
            "INSERT INTO shop.cubes (id, side, label) VALUES (1, 2, 'two'), (2, 3, NULL), (3, -2, 'Two')",
            "UPDATE shop.cubes SET side = 4 WHERE id = 1",
            "UPDATE shop.cubes SET label = 'four', unseen = NULL WHERE id = 1",
            "DELETE FROM shop.cubes WHERE id = 3",
            "INSERT INTO shop.hidden VALUES ('one'), ('twins'), ('twins')",
            "UPDATE shop.hidden SET name = 'élan' WHERE name = 'one'",
            "DELETE FROM shop.hidden WHERE name = 'twins' LIMIT 1",
            "UPDATE shop.hidden SET my_row_id = 100 WHERE name = 'twins'",
        ] {
            world.mysql.exec(statement).await?;
            wait_entries(&world, &cubes(&world, all).await?).await?;
        }
        ensure!(mysync.terminate().await?.success());

        // More of them, in a backlog.
        for statement in [
            "UPDATE shop.cubes SET side = 5",
            "ALTER TABLE shop.cubes ADD COLUMN edge INT AS (side * 12) VIRTUAL FIRST, ADD KEY ((LOWER(label)))",
            "INSERT INTO shop.cubes (id, side, label) VALUES (6, 6, 'Six')",
            "ALTER TABLE shop.cubes ALTER COLUMN unseen SET VISIBLE, ALTER COLUMN label SET INVISIBLE",
            "UPDATE shop.cubes SET side = side + 1, label = 'more'",
            "ALTER TABLE shop.hidden ALTER COLUMN my_row_id SET VISIBLE",
            "INSERT INTO shop.hidden (name) VALUES ('seen')",
        ] {
            world.mysql.exec(statement).await?;
        }
        let mysync = world.mysync().await?;
        wait_entries(&world, &cubes(&world, "area, id, unseen, side, volume, label, edge").await?).await?;
        ensure!(mysync.get("/healthz")?.0 == 200);
        ensure!(mysync.terminate().await?.success());
        Ok(())
    })
    .await
}
