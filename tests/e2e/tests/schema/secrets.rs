//! What is excluded appears nowhere: not in the log, not in the store, not in what the program says.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::compare::actual;
use mysync_e2e_tests::{Options, World, told};
use mysync_test_support::{Mysync, until};

/// Takes whatever it can get.
const CURIOUS: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
tables = ["shop.*"]

[[map]]
table = "shop.*"
as = "hash"
key = "all:{id}"
on_truncate = "keep"

[[map]]
table = "shop.*"
as = "string"
key = "all:json:{id}"
value = "json"
on_truncate = "keep"
"#;

const EXCLUDED: &str = "exclude = [\"shop.secret_*\", \"*.vault\"]\nexclude_columns = [\"*.password\", \"shop.accounts.pin\", \"*.hash*\"]";

/// In every secret value.
const SECRET: &str = "hush-hush";
/// A secret number: in the binlog, and wherever numbers are kept as they are, it is these bytes.
const PIN: i64 = 0x6875_7368_2168_7573;
/// In a value that is none: what is looked for is found where it is.
const OPEN: &str = "open-open";

fn options() -> Options {
    Options {
        // Texts of statements stand in the binlog, too.
        mysql: vec!["--binlog-rows-query-log-events=ON"],
        writers: vec![("curious", CURIOUS)],
        keys: vec!["all:*"],
        source: EXCLUDED,
        // Whoever looks for a fault sees them no more than others.
        more: "[telemetry]\nlevel = \"info,mysync=trace,mysync_binlog=trace,mysync_connectors=trace,mysync_log=trace,\
               mysync_pipeline=trace,mysync_wasm=trace\"",
        ..Options::default()
    }
}

fn statements() -> Vec<String> {
    let long = format!("CONCAT('{SECRET}', REPEAT('{SECRET}', 2000))");
    [
        "CREATE TABLE shop.accounts (password VARCHAR(200), id INT PRIMARY KEY, pin BIGINT, name VARCHAR(200), hash_of_it TEXT)",
        "CREATE TABLE shop.secret_notes (id INT PRIMARY KEY, note TEXT)",
        "CREATE TABLE shop.vault (id INT PRIMARY KEY, note TEXT)",
        "INSERT INTO shop.accounts VALUES ('HUSH', 1, PIN, 'OPEN', LONG), ('HUSH', 2, NULL, NULL, NULL), (NULL, 3, PIN, '', LONG)",
        "INSERT INTO shop.secret_notes VALUES (11, 'HUSH'), (12, LONG)",
        "UPDATE shop.accounts SET password = 'HUSH again' WHERE id = 1",
        "UPDATE shop.accounts SET id = id + 100, hash_of_it = LONG, pin = PIN",
        "BEGIN; UPDATE shop.secret_notes SET note = 'HUSH 2'; INSERT INTO shop.vault VALUES (21, LONG); DELETE FROM shop.accounts WHERE id = 103; \
         COMMIT",
        // What an altered table brings with it.
        "ALTER TABLE shop.accounts ADD COLUMN hashes JSON FIRST, ADD COLUMN password2 VARCHAR(90) DEFAULT 'plain', MODIFY COLUMN pin BIGINT AFTER name",
        "UPDATE shop.accounts SET hashes = JSON_OBJECT('HUSH', 'HUSH'), password = 'HUSH' WHERE id = 101",
        // Statements about whole tables, as they stand in the log.
        "ALTER TABLE shop.accounts ADD COLUMN hash2 VARCHAR(90) DEFAULT 'HUSH' COMMENT \"HUSH\" /* HUSH */, RENAME TO shop.customers -- HUSH",
        "ALTER TABLE shop.customers ALTER COLUMN hash2 SET DEFAULT 'HUSH', RENAME shop.accounts",
        "ALTER TABLE shop.accounts PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (50) COMMENT 'HUSH', PARTITION p1 VALUES LESS THAN (500))",
        "ALTER TABLE shop.accounts TRUNCATE PARTITION p0 /* HUSH */",
        "TRUNCATE shop.secret_notes",
        "DROP TABLE shop.vault, shop.secret_notes",
        "INSERT INTO shop.accounts (id, name, password, hash2) VALUES (9, 'OPEN', 'HUSH', 'HUSH')",
    ]
    .map(|text| text.replace("HUSH", SECRET).replace("LONG", &long).replace("PIN", &PIN.to_string()).replace("OPEN", OPEN))
    .to_vec()
}

/// Every byte of every file below a folder.
fn files(dir: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        bytes.extend(if path.is_dir() { files(&path)? } else { std::fs::read(&path)? });
    }
    Ok(bytes)
}

fn holds(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

/// Whoever looks at this sees what is open and nothing else.
fn looked_at(what: &str, bytes: &[u8], open: bool) -> Result<()> {
    let secrets =
        [SECRET.as_bytes(), &PIN.to_le_bytes(), &PIN.to_be_bytes(), PIN.to_string().as_bytes()].map(<[u8]>::to_vec);
    for secret in secrets {
        if let Some(at) = bytes.windows(secret.len()).position(|window| window == secret) {
            let near = bytes[at.saturating_sub(200)..(at + 20).min(bytes.len())].escape_ascii();
            anyhow::bail!("{what} holds a secret: {near}");
        }
    }
    ensure!(holds(bytes, OPEN.as_bytes()) == open, "{what}: what is open is looked for in vain, or found");
    Ok(())
}

/// What the program says when it is asked, and has said.
fn said(mysync: &Mysync) -> Result<String> {
    let pages = ["/metrics", "/healthz", "/readyz", "/api/status"].map(|page| mysync.get(page));
    pages.into_iter().try_fold(mysync.log(), |said, page| Ok(said + &page?.1))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excluded_value_appears_nowhere() -> Result<()> {
    let test = "an_excluded_value_appears_nowhere";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    let statements = statements();
    let (running, backlog) = statements.split_at(7);
    for statement in running {
        world.mysql.exec(statement).await?;
    }
    until("they are there", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "all:json:101"])?))).await?;
    mysync.kill();
    for statement in backlog {
        world.mysql.exec(statement).await?;
    }
    let mysync = world.mysync().await?;
    until("they are there", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "all:json:9"])?))).await?;

    let entries = actual(&mut world.redis.conn()?)?;
    let keys: Vec<&str> = entries.keys().map(String::as_str).collect();
    let mut expected = ["all:9", "all:101", "all:102"].to_vec();
    expected.extend(["all:json:9", "all:json:101", "all:json:102"]);
    expected.sort_unstable();
    ensure!(keys == expected, "{keys:?}");
    looked_at("Redis", format!("{entries:?}{:?}", world.fence("curious", 0)?).as_bytes(), true)?;
    looked_at("what the running program says", said(&mysync)?.as_bytes(), false)?;
    // While it runs much of it is in the WAL.
    looked_at("the folder of the log", &files(&world.data())?, true)?;
    let tail = world.command_well(&["log", "tail"])?;
    looked_at("log tail", tail.as_bytes(), true)?;
    for sign in ["id: 101", "name: \"open-open\"", "rename"] {
        ensure!(tail.contains(sign), "{sign}: {tail}");
    }
    looked_at("check", world.command_well(&["check"])?.as_bytes(), false)?;
    ensure!(mysync.terminate().await?.success());
    looked_at("everything that was ever said or kept", &files(world.dir())?, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_for_a_statement_does_not_tell_its_values() -> Result<()> {
    let test = "a_stop_for_a_statement_does_not_tell_its_values";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.mysql.exec("CREATE TABLE shop.secret_notes (id INT PRIMARY KEY, note TEXT)").await?;
    let insert =
        format!("INSERT INTO shop.secret_notes VALUES (1, '{SECRET}'), ({PIN} % 1000, \"{SECRET}\") /* {SECRET} */");
    world.mysql.exec(&format!("SET SESSION binlog_format = 'STATEMENT'; {insert}")).await?;
    let told = told::wait_capture(&mysync, "stopped", "SOURCE_STATEMENT").await?;
    let reason = told["message"].as_str().context("no reason")?;
    ensure!(reason.contains("INSERT INTO shop.secret_notes VALUES"), "{reason}");
    looked_at("what the program says", said(&mysync)?.as_bytes(), false)?;
    ensure!(mysync.terminate().await?.success());
    looked_at("everything that was ever said or kept", &files(world.dir())?, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excluded_column_cannot_be_mapped_and_a_key_cannot_be_excluded() -> Result<()> {
    let test = "an_excluded_column_cannot_be_mapped_and_a_key_cannot_be_excluded";
    let Some(world) =
        World::start(test, Options { source: "exclude_columns = [\"*.email\"]", ..Options::default() }).await?
    else {
        return Ok(());
    };
    let mysync = world.mysync().await?;
    world.mysql.exec("INSERT INTO shop.users VALUES (1, 'Ada', 'hush-hush', 'London', 1)").await?;
    let told = told::wait_writer(&mysync, "users-cache", "stopped", "MAPPING_TABLE_MISMATCH").await?;
    ensure!(told["message"].as_str().is_some_and(|reason| reason.contains("has no column `email`")), "{told}");
    ensure!(mysync.terminate().await?.success());

    world.reconfigure(&Options { source: "exclude_columns = [\"shop.orders.*id\"]", ..Options::default() })?;
    let mysync = world.mysync().await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 1, NULL)").await?;
    let told = told::wait_capture(&mysync, "stopped", "KEY_COLUMN_EXCLUDED").await?;
    ensure!(told["message"].as_str().is_some_and(|reason| reason.contains("shop.orders column id")), "{told}");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
