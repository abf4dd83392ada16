//! A table of users, rows of it, and writers that map it.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

use mysync_writer_sdk::row;
use mysync_writer_sdk::testing::{Cell, Change, Table, Trial, table};
use redis_writer::RedisWriter;

pub const USERS: &str = "shop.users";
const COLUMNS: [(&str, &str); 8] = [
    ("id", "int"),
    ("name", "varchar"),
    ("email", "varchar"),
    ("city", "varchar"),
    ("age", "int unsigned"),
    ("balance", "decimal"),
    ("score", "double"),
    ("photo", "blob"),
];

pub fn shape() -> Table {
    COLUMNS.iter().fold(table(USERS), |table, (name, kind)| table.column(name, kind)).key(&["id"])
}

pub type Values = Vec<Cell>;

/// The user with the id 1.
pub fn ann() -> Values {
    row![1, "Ann", "ann@example.com", "Oslo", 36, "12.50", 0.5, &b"jpg"[..]]
}

/// The row with another value.
pub fn with(mut row: Values, column: &str, value: impl Into<Cell>) -> Values {
    row[COLUMNS.iter().position(|(name, _)| *name == column).unwrap()] = value.into();
    row
}

/// The row as a server sends it that leaves out what it need not say: the key, and these columns.
pub fn only(row: Values, kept: &[&str]) -> Values {
    let keep = |(cell, (name, _)): (Cell, &(&str, &str))| if kept.contains(name) { cell } else { Cell::Absent };
    row.into_iter().zip(&COLUMNS).map(keep).collect()
}

/// A writer that knows the table, with a `[[map]]` of it for each text: the keys but `table`.
pub fn users(maps: &[&str]) -> Trial<RedisWriter> {
    let maps: Vec<String> = maps.iter().map(|map| format!("{{ table = \"{USERS}\", {map} }}")).collect();
    let mut trial = Trial::new(&format!("map = [{}]", maps.join(",\n"))).unwrap();
    trial.define(&shape()).unwrap();
    trial
}

/// The commands for a batch in which no row is rejected.
pub fn lines(trial: &mut Trial<RedisWriter>, changes: impl IntoIterator<Item = Change>) -> Vec<String> {
    let written = trial.write(changes);
    assert_eq!(written.rejections, []);
    written.lines()
}
