//! Tables of every shape.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::compare::{Entries, Entry, actual, same};
use mysync_e2e_tests::told::count;
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::{Mysql, homes, skip, until};

/// Of each of them more than a first chunk.
const ROWS: u32 = 2_500;
/// What no one may see.
const SECRET: &str = "eyes-only";

/// A table by itself, with what is in it by number, and what a row's entry is.
struct Shape {
    name: &'static str,
    columns: &'static str,
    inserted: &'static str,
    /// Of row `i`.
    rows: &'static str,
    /// With `n`, its number.
    json: &'static str,
    chunked: bool,
}

const SHAPES: [Shape; 9] = [
    Shape {
        name: "composite",
        columns: "a INT, b VARCHAR(10), d DATE, n INT, PRIMARY KEY (b, d DESC, a)",
        inserted: "a, b, d, n",
        rows: "-i, CONCAT('k', i % 3), DATE'2026-01-01' + INTERVAL i % 40 DAY, i",
        json: "'a', a, 'b', b, 'd', CAST(d AS CHAR), 'n', n",
        chunked: true,
    },
    Shape {
        name: "folded",
        columns: "id VARCHAR(40) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, n INT",
        inserted: "id, n",
        rows: "CONCAT(ELT(1 + i % 5, 'ä', 'A', 'Z', 'ß', 'z'), LPAD(i DIV 2, 5, '0'), ELT(1 + i % 2, 'é', '')), i",
        json: "'id', id, 'n', n",
        chunked: true,
    },
    Shape {
        name: "padded",
        columns: "id CHAR(20) CHARACTER SET latin1 COLLATE latin1_german2_ci PRIMARY KEY, n INT",
        inserted: "id, n",
        rows: "CONCAT(ELT(1 + i % 4, 'Ä', 'b', 'B', 'ÿ'), i), i",
        json: "'id', id, 'n', n",
        chunked: true,
    },
    Shape {
        name: "digests",
        columns: "id BINARY(16) PRIMARY KEY, n INT",
        inserted: "id, n",
        rows: "IF(i = 7, X'00', UNHEX(LEFT(SHA2(i, 256), 32))), i",
        json: "'id', TO_BASE64(id), 'n', n",
        chunked: true,
    },
    Shape {
        name: "bytes",
        columns: "id VARBINARY(30), part SMALLINT UNSIGNED, n INT, PRIMARY KEY (id, part)",
        inserted: "id, part, n",
        rows: "UNHEX(CONCAT(SHA2(i % 900, 224), IF(i % 2, '00', ''))), i, i",
        json: "'id', TO_BASE64(id), 'part', part, 'n', n",
        chunked: true,
    },
    Shape {
        name: "keyless",
        columns: "a INT, n INT, UNIQUE KEY (n)",
        inserted: "a, n",
        rows: "NULLIF(i % 4, 0), i",
        json: "'a', a, 'n', n",
        chunked: false,
    },
    Shape {
        name: "prefixed",
        columns: "id VARCHAR(100), n INT, PRIMARY KEY (id(8))",
        inserted: "id, n",
        rows: "CONCAT(LPAD(i, 8, '0'), ' and more'), i",
        json: "'id', id, 'n', n",
        chunked: false,
    },
    Shape {
        name: "generated",
        columns: "id BIGINT UNSIGNED PRIMARY KEY, twice BIGINT AS (id DIV 1000 * 2) STORED, n INT, next INT AS (n + 1) VIRTUAL",
        inserted: "id, n",
        rows: "18446744073709551615 - i * 1000, i",
        json: "'id', id, 'twice', twice, 'n', n, 'next', next",
        chunked: true,
    },
    Shape {
        name: "secret",
        columns: "secret VARCHAR(40), id INT PRIMARY KEY, n INT, token VARCHAR(40) NOT NULL",
        inserted: "secret, id, n, token",
        rows: "CONCAT('eyes-only-', i), -i, i, CONCAT('eyes-only-', i)",
        json: "'id', id, 'n', n",
        chunked: true,
    },
];

impl Shape {
    async fn make(&self, mysql: &Mysql) -> Result<()> {
        let Self { name, columns, inserted, rows, .. } = self;
        mysql
            .exec(&format!(
                "CREATE TABLE shop.{name} ({columns}) DEFAULT CHARSET = utf8mb4; SET cte_max_recursion_depth = {ROWS}; \
                 INSERT INTO shop.{name} ({inserted}) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
                 SELECT {rows} FROM n"
            ))
            .await
    }

    async fn entries(&self, mysql: &Mysql, entries: &mut Entries) -> Result<()> {
        let Self { name, json, .. } = self;
        let query = format!("SELECT CONCAT('{name}:', n), CAST(JSON_OBJECT({json}) AS CHAR) FROM shop.{name}");
        for (key, json) in mysql.query::<(String, String)>(&query).await? {
            entries.insert(key, Entry::Json(serde_json::from_str(&json)?));
        }
        Ok(())
    }

    fn map(&self) -> String {
        let name = self.name;
        format!("\n[[map]]\ntable = \"shop.{name}\"\nas = \"string\"\nkey = \"{name}:{{n}}\"\nvalue = \"json\"\n")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_every_shape_are_loaded_row_by_row() -> Result<()> {
    let test = "tables_of_every_shape_are_loaded_row_by_row";
    let mut tables: Vec<String> = SHAPES.iter().map(|shape| format!("shop.{}", shape.name)).collect();
    tables.push("shop.visits".to_owned());
    let mut writer = format!("component = \"redis-writer.wasm\"\nconnector = \"cache\"\ntables = {tables:?}\n");
    SHAPES.iter().for_each(|shape| writer += &shape.map());
    // An empty table.
    writer += "\n[[map]]\ntable = \"shop.visits\"\nas = \"hash\"\nkey = \"visits:{id}\"\n";
    let options = Options {
        writers: vec![("shapes", writer.leak())],
        source: "exclude_columns = [\"*.secret\", \"shop.secret.token\"]",
        keys: vec!["*"],
        ..Options::default()
    };
    if homes()?.is_empty() {
        skip(test, "there is no MySQL");
    }
    for home in homes()? {
        let Some(world) = World::on(test, &home, options.clone()).await? else { return Ok(()) };
        every_shape(&world).await.with_context(|| home.name())?;
    }
    Ok(())
}

async fn every_shape(world: &World) -> Result<()> {
    for shape in &SHAPES {
        shape.make(&world.mysql).await.with_context(|| shape.name)?;
    }
    let mysync = world.mysync().await?;
    let done = dumps::wait_of(&mysync, "shapes", "done").await?;
    ensure!(done["tables_done"] == 10 && count(&done, "rows") == u64::from(ROWS) * 9, "{done}");
    // Two in one chunk, the empty one in one as well, and two and more chunks of each other.
    let chunked = SHAPES.iter().filter(|shape| shape.chunked).count() as u64;
    ensure!(count(&done, "chunks") >= 3 + 2 * chunked, "{done}");
    for shape in &SHAPES {
        let said = mysync.log().lines().any(|line| line.contains("DUMP_ONE_CHUNK") && line.contains(shape.name));
        ensure!(said != shape.chunked, "{}: what is read at once is said, and nothing else", shape.name);
    }
    let mut expected = Entries::new();
    for shape in &SHAPES {
        shape.entries(&world.mysql, &mut expected).await?;
    }
    until("Redis holds every row", async || same(&expected, &actual(&mut world.redis.conn()?)?)).await?;

    // What is excluded was never there.
    let mut seen = mysync.log() + &mysync.metrics()? + &mysync.status()?.to_string();
    seen += &world.command_well(&["log", "tail"])?;
    write!(seen, "{:?}", actual(&mut world.redis.conn()?)?)?;
    ensure!(mysync.terminate().await?.success());
    for file in std::fs::read_dir(world.data())? {
        let path = file?.path();
        let bytes = if path.is_file() { std::fs::read(path)? } else { Vec::new() };
        seen += &String::from_utf8_lossy(&bytes);
    }
    ensure!(seen.contains("prefixed") && seen.contains(" and more"), "it does not look where rows are");
    ensure!(!seen.contains(SECRET), "an excluded value was seen");
    Ok(())
}

/// Small tables of one writer.
const MANY: u32 = 300;
const EACH: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_small_tables_are_loaded_one_after_the_other() -> Result<()> {
    let test = "hundreds_of_small_tables_are_loaded_one_after_the_other";
    let writer = "component = \"redis-writer.wasm\"\nconnector = \"cache\"\ntables = [\"shop.many_*\"]\n\n\
                  [[map]]\ntable = \"shop.many_*\"\nas = \"hash\"\nkey = \"many:{id}\"\n";
    let options = Options { writers: vec![("many", writer)], keys: vec!["many:*"], ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut statements = String::new();
    for table in 0..MANY {
        write!(statements, "CREATE TABLE shop.many_{table} (id INT PRIMARY KEY, text VARCHAR(10)); ")?;
        let rows: Vec<String> = (0..EACH).map(|row| format!("({}, 'row {row}')", table * EACH + row)).collect();
        write!(statements, "INSERT INTO shop.many_{table} VALUES {}; ", rows.join(", "))?;
    }
    world.mysql.exec(&statements).await?;
    let mysync = world.mysync().await?;
    let done = dumps::wait_of(&mysync, "many", "done").await?;
    ensure!(done["tables_done"] == MANY && done["tables"] == MANY && count(&done, "rows") == u64::from(MANY * EACH));
    let mut expected = Entries::new();
    for id in 0..MANY * EACH {
        let hash = [("id", id.to_string()), ("text", format!("row {}", id % EACH))];
        expected.insert(format!("many:{id}"), Entry::Hash(hash.map(|(name, value)| (name.to_owned(), value)).into()));
    }
    until("Redis holds every row", async || same(&expected, &actual(&mut world.redis.conn()?)?)).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
