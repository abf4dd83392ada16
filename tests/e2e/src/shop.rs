//! The shop: its tables, and the mappings that its team has written for them.

use anyhow::{Result, bail};
use mysync_test_support::Mysql;

/// Statements that make it.
pub const SCHEMA: [&str; 5] = [
    "CREATE DATABASE shop",
    "CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(200), city VARCHAR(50) NOT NULL, \
     score INT NOT NULL DEFAULT 0) DEFAULT CHARSET = utf8mb4",
    "CREATE TABLE shop.orders (id BIGINT PRIMARY KEY, user_id INT NOT NULL, total DECIMAL(12,2) NOT NULL, note TEXT)",
    "CREATE TABLE shop.bulk (id INT PRIMARY KEY, k INT, c CHAR(120), pad CHAR(60))",
    // `turn` grows with every write of a row of the city.
    "CREATE TABLE shop.visits (id INT PRIMARY KEY, city VARCHAR(50) NOT NULL, turn BIGINT NOT NULL)",
];

/// A hash and a set of members by city from one table.
pub const USERS: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
tables = ["shop.users"]

[[map]]
table = "shop.users"
as = "hash"
key = "user:{id}"
columns = ["id", "name", "email", "city", "score"]

[[map]]
table = "shop.users"
as = "set"
key = "users:by-city:{city}"
member = "{id}"
"#;

/// A JSON document for each order.
pub const ORDERS: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
tables = ["shop.orders"]

[[map]]
table = "shop.orders"
as = "string"
key = "order:{id}"
value = "json"
"#;

/// A hash for each row of a table for loads.
pub const BULK: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
tables = ["shop.bulk"]

[[map]]
table = "shop.bulk"
as = "hash"
key = "bulk:{id}"
columns = ["k", "c"]
"#;

/// A list for each city of its visits, the one that was written last at the end: it shows whatever is applied twice or out of order. Without a
/// dump, whose rows come in the order of their key.
pub const VISITS: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.visits"]

[[map]]
table = "shop.visits"
as = "list"
key = "visits:{city}"
member = "{id}"
"#;

/// All of them, by name.
pub const WRITERS: [(&str, &str); 4] =
    [("users-cache", USERS), ("orders-cache", ORDERS), ("bulk-cache", BULK), ("visits-cache", VISITS)];

/// All of them, and each begins with a dump.
pub fn with_dumps() -> Vec<(&'static str, &'static str)> {
    WRITERS.map(|(name, writer)| (name, &*writer.replace("dump = \"never\"\n", "").leak())).to_vec()
}

/// A writer that begins with what the log holds.
pub fn without_dump(writer: &str) -> &'static str {
    writer.replacen("\nconnector = ", "\ndump = \"never\"\nconnector = ", 1).leak()
}

/// The usual writers, and each begins with what the log holds.
pub fn without_dumps() -> Vec<(&'static str, &'static str)> {
    [("users-cache", USERS), ("orders-cache", ORDERS), ("bulk-cache", BULK)]
        .map(|(name, writer)| (name, without_dump(writer)))
        .to_vec()
}

/// Gives these tables rows, numbered from 1 on.
pub async fn fill(mysql: &Mysql, tables: &[(&str, u32)]) -> Result<()> {
    for (table, rows) in tables {
        let columns = match *table {
            "users" => {
                "i, CONCAT('Zoë ', i), IF(i % 5 = 0, NULL, CONCAT(i, '@example.org')), CONCAT('city ', i % 7), i % 1000"
            }
            "orders" => "i, i % 100, i / 100, IF(i % 3 = 0, NULL, CONCAT('note \"', i, '\"'))",
            "bulk" => "i, i % 7, RPAD(i, 110, 'c'), 'pad'",
            "visits" => "i, CONCAT('city ', i % 7), i",
            table => bail!("the shop has no table {table}"),
        };
        mysql
            .exec(&format!(
                "SET cte_max_recursion_depth = {rows}; INSERT INTO shop.{table} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
                 SELECT i + 1 FROM n WHERE i < {rows}) SELECT {columns} FROM n"
            ))
            .await?;
    }
    Ok(())
}
