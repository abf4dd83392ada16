//! The table of loads, `shop.bulk`: filled, changed, and compared whole, however many rows there are.

use anyhow::{Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::World;

/// Rows a transaction, the workload W1; as many as a recursion of MySQL makes unless it is told otherwise.
pub const TRANSACTION_ROWS: u32 = 1000;
/// Rows that are compared at a time.
const COMPARED_ROWS: usize = 10_000;

/// A hash of all columns for each row. What it begins with is a benchmark's own business.
pub const WRITER: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
tables = ["shop.bulk"]
dump = "never"

[[map]]
table = "shop.bulk"
as = "hash"
key = "bulk:{id}"
columns = ["id", "k", "c", "pad"]
"#;

/// Inserts rows, 1,000 a transaction, made in the server: nothing is faster.
pub async fn insert(conn: &mut Conn, ids: std::ops::RangeInclusive<u32>) -> Result<()> {
    let mut from = *ids.start();
    while from <= *ids.end() {
        let last = (from + TRANSACTION_ROWS - 1).min(*ids.end());
        conn.query_drop(format!(
            "INSERT INTO shop.bulk WITH RECURSIVE n (id) AS (SELECT {from} UNION ALL SELECT id + 1 FROM n WHERE id < {last}) \
             SELECT id, id, LEFT(REPEAT(SHA2(id, 256), 2), 119), LEFT(SHA2(id, 224), 59) FROM n"
        ))
        .await?;
        from = last + 1;
    }
    Ok(())
}

/// Changes single rows, from the first on and around, each in a transaction of its own.
pub async fn update(conn: &mut Conn, transactions: u32, rows: u32) -> Result<()> {
    // A loop in the server: a client would wait for each answer. Its database is one that nobody follows.
    conn.query_drop("CREATE DATABASE IF NOT EXISTS load_shop").await?;
    conn.query_drop("DROP PROCEDURE IF EXISTS load_shop.change_rows").await?;
    conn.query_drop(
        "CREATE PROCEDURE load_shop.change_rows (transactions INT, turn INT) BEGIN DECLARE i INT DEFAULT 0; WHILE i < transactions DO \
         UPDATE shop.bulk SET k = k + 1 WHERE id = 1 + i MOD turn; SET i = i + 1; END WHILE; END",
    )
    .await?;
    Ok(conn.query_drop(format!("CALL load_shop.change_rows({transactions}, {rows})")).await?)
}

/// Compares every row with its entry, all columns, and that there are no other entries; answers how many there are. For [`WRITER`].
pub async fn compare(world: &World) -> Result<u64> {
    type Row = (i32, i32, String, String);
    let (mut mysql, mut redis) = (world.mysql.conn().await?, world.redis.conn()?);
    let (mut compared, mut after) = (0, 0);
    loop {
        let query = "SELECT id, k, c, pad FROM shop.bulk WHERE id > ? ORDER BY id LIMIT ?";
        let rows: Vec<Row> = mysql.exec(query, (after, COMPARED_ROWS)).await?;
        let Some(last) = rows.last() else { break };
        after = last.0;
        let mut reads = redis::pipe();
        for (id, ..) in &rows {
            reads.cmd("HMGET").arg(format!("bulk:{id}")).arg(&["id", "k", "c", "pad"]);
        }
        let entries: Vec<[Option<String>; 4]> = reads.query(&mut redis)?;
        for ((id, k, c, pad), entry) in rows.iter().zip(&entries) {
            let row = [id.to_string(), k.to_string(), c.clone(), pad.clone()].map(Some);
            ensure!(row == *entry, "row {id}: MySQL {row:?}, Redis {entry:?}");
        }
        compared += rows.len() as u64;
    }
    let keys: u64 = redis::cmd("DBSIZE").query(&mut redis)?;
    let fences: Vec<String> = redis::cmd("KEYS").arg("mysync:*").query(&mut redis)?;
    ensure!(keys == compared + fences.len() as u64, "MySQL has {compared} rows, Redis {keys} keys, fences {fences:?}");
    mysql.disconnect().await?;
    Ok(compared)
}
