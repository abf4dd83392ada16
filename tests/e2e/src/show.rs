//! Rows of MySQL beside what Redis holds, for people.

use anyhow::Result;
use redis::Connection;

use crate::World;

/// Each answers rows in words, and the key of the entry that a row becomes.
const ROWS: [&str; 3] = [
    "SELECT CONCAT_WS(', ', id, name, IFNULL(email, 'NULL'), city, score), CONCAT('user:', id) FROM shop.users ORDER BY id",
    "SELECT CONCAT('users of ', city, ': ', GROUP_CONCAT(id ORDER BY id)), CONCAT('users:by-city:', city) FROM shop.users GROUP BY city",
    "SELECT CONCAT_WS(', ', id, user_id, total, IFNULL(note, 'NULL')), CONCAT('order:', id) FROM shop.orders ORDER BY id",
];

/// Users and orders, beside their entries, and keys that no row has any more.
pub async fn side_by_side(world: &World, gone: &[&str]) -> Result<String> {
    let mut redis = world.redis.conn()?;
    let mut lines = vec![["MySQL", "key", "Redis"].map(str::to_owned)];
    for query in ROWS {
        for (row, key) in world.mysql.query::<(String, String)>(query).await? {
            let entry = entry(&mut redis, &key)?;
            lines.push([row, key, entry]);
        }
    }
    for key in gone {
        lines.push(["(no row)".to_owned(), (*key).to_owned(), entry(&mut redis, key)?]);
    }
    Ok(aligned(&lines))
}

fn entry(redis: &mut Connection, key: &str) -> Result<String> {
    let kind: String = redis::cmd("TYPE").arg(key).query(redis)?;
    Ok(match kind.as_str() {
        "hash" => {
            let fields: Vec<(String, String)> = redis::cmd("HGETALL").arg(key).query(redis)?;
            fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ")
        }
        "set" => {
            let mut members: Vec<String> = redis::cmd("SMEMBERS").arg(key).query(redis)?;
            members.sort();
            format!("{{{}}}", members.join(", "))
        }
        "none" => "(nothing)".to_owned(),
        _ => redis::cmd("GET").arg(key).query(redis)?,
    })
}

/// Columns below each other, indented, under a line.
fn aligned(lines: &[[String; 3]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let [first, second, third] = [0, 1, 2].map(width);
    let mut text = String::new();
    for (number, [row, key, entry]) in lines.iter().enumerate() {
        text.push_str(&format!("    {row:first$}   {key:second$}   {entry}\n"));
        if number == 0 {
            text.push_str(&format!("    {}   {}   {}\n", "─".repeat(first), "─".repeat(second), "─".repeat(third)));
        }
    }
    text
}
