//! Changed keys, and changed columns that names of entries are made of: the old entry goes in the same step.
#![allow(clippy::unwrap_used, clippy::panic)]

mod shop;

use mysync_writer_sdk::row;
use mysync_writer_sdk::testing::{Change, Trial, change_key, insert, table, update};
use redis_writer::RedisWriter;
use shop::{USERS, ann, lines, users, with};

/// The commands of each half, as two partitions would get them.
fn halves(map: &str, [out, into]: [Change; 2]) -> (Vec<String>, Vec<String>) {
    (lines(&mut users(&[map]), [out]), lines(&mut users(&[map]), [into]))
}

fn moved() -> [Change; 2] {
    change_key(USERS, ann(), with(ann(), "id", 9))
}

#[test]
fn each_half_of_a_changed_key_touches_only_its_own_entry() {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let cases: [(&str, &[&str], &[&str]); 6] = [
        (r#"as = "hash", key = "user:{id}", columns = ["name"]"#, &["DEL user:1"], &["HSET user:9 name Ann"]),
        (r#"as = "string", key = "user:{id}", value = "{name}""#, &["DEL user:1"], &["SET user:9 Ann"]),
        (r#"as = "set", key = "city:{city}", member = "{id}""#, &["SREM city:Oslo 1"], &["SADD city:Oslo 9"]),
        (r#"as = "sorted-set", key = "ages", member = "{id}", score = "age""#, &["ZREM ages 1"], &["ZADD ages 36 9"]),
        (
            r#"as = "list", key = "recent", member = "{id}""#,
            &["LREM recent 0 1"],
            &["LREM recent 0 9", "RPUSH recent 9"],
        ),
        // Nothing in the name is of the key: the new half writes the same entry anew, whole.
        (r#"as = "hash", key = "mail:{email}", columns = ["id"]"#, &[], &["HSET mail:ann@example.com id 9"]),
    ];
    for (map, out, into) in cases {
        assert_eq!(halves(map, moved()), (lines(out), lines(into)), "{map}");
    }
}

#[test]
fn an_entry_that_outlives_its_rows_still_moves_with_them() {
    let map = r#"as = "hash", key = "user:{id}", columns = ["name"], on_delete = "keep""#;
    assert_eq!(halves(map, moved()).0, ["DEL user:1"]);
}

#[test]
fn two_rows_swap_their_keys_in_one_transaction() {
    let (ann, bob) = (ann(), with(with(ann(), "id", 2), "name", "Bob"));
    let aside = with(ann.clone(), "id", 3);
    let mut trial = users(&[r#"as = "hash", key = "user:{id}", columns = ["name"]"#]);
    let changes = [
        change_key(USERS, ann.clone(), aside.clone()),
        change_key(USERS, bob.clone(), with(bob.clone(), "id", 1)),
        change_key(USERS, aside, with(ann, "id", 2)),
    ];
    assert_eq!(
        lines(&mut trial, changes.into_iter().flatten()),
        [
            "DEL user:1",
            "HSET user:3 name Ann",
            "DEL user:2",
            "HSET user:1 name Bob",
            "DEL user:3",
            "HSET user:2 name Ann"
        ]
    );
}

#[test]
fn a_changed_column_of_the_name_moves_the_entry() {
    let bergen = with(ann(), "city", "Bergen");
    let change = || [update(USERS, ann(), bergen.clone())];
    let mut set = users(&[r#"as = "set", key = "city:{city}", member = "{id}""#]);
    assert_eq!(lines(&mut set, change()), ["SREM city:Oslo 1", "SADD city:Bergen 1"]);
    let mut hash = users(&[r#"as = "hash", key = "user:{city}:{id}", columns = ["name"]"#]);
    assert_eq!(lines(&mut hash, change()), ["DEL user:Oslo:1", "HSET user:Bergen:1 name Ann"]);
    let mut member = users(&[r#"as = "list", key = "cities", member = "{city}""#]);
    assert_eq!(lines(&mut member, change()), ["LREM cities 0 Oslo", "LREM cities 0 Bergen", "RPUSH cities Bergen"]);
    let mut sorted = users(&[r#"as = "sorted-set", key = "city:{city}", member = "{id}", score = "age""#]);
    assert_eq!(lines(&mut sorted, change()), ["ZREM city:Oslo 1", "ZADD city:Bergen 36 1"]);
}

#[test]
fn zeros_of_either_sign_are_different_names() {
    let mut trial = users(&[r#"as = "set", key = "score:{score}", member = "{id}""#]);
    let changed = [update(USERS, with(ann(), "score", 0.0), with(ann(), "score", -0.0))];
    assert_eq!(lines(&mut trial, changed), ["SREM score:0 1", "SADD score:-0 1"]);
}

#[test]
fn a_changed_column_that_names_nothing_removes_nothing() {
    let mut trial = users(&[r#"as = "set", key = "city:{city}", member = "{id}""#]);
    let changed = [update(USERS, ann(), with(ann(), "name", "Anna"))];
    assert_eq!(lines(&mut trial, changed), ["SADD city:Oslo 1"]);
}

#[test]
fn the_halves_and_other_rows_come_in_the_order_of_their_numbers() {
    let mut trial = users(&[r#"as = "string", key = "user:{id}", value = "{name}""#]);
    let [out, into] = moved();
    let written = trial.write([insert(USERS, ann()), out, into, insert(USERS, ann())]);
    assert_eq!(written.lines(), ["SET user:1 Ann", "DEL user:1", "SET user:9 Ann", "SET user:1 Ann"]);
    assert_eq!(written.commands.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// What a mapping tells the host of a table with the key `a, b`.
fn order_by(map: &str) -> (Vec<u16>, bool) {
    let text = format!("map = [{{ table = \"t.t\", {map} }}]");
    let mut trial = Trial::<RedisWriter>::new(&text).unwrap();
    let shape = table("t.t").column("a", "int").column("b", "int").column("c", "int").key(&["a", "b"]);
    let plan = trial.define(&shape).unwrap();
    (plan.order_by, plan.before)
}

#[test]
fn names_in_which_rows_can_meet_are_told_to_the_host() {
    assert_eq!(order_by(r#"as = "hash", key = "{a}:{b}", columns = ["c"]"#), (vec![], false));
    assert_eq!(order_by(r#"as = "hash", key = "{c}:{a}:{b}""#), (vec![], true), "no two rows have the same");
    assert_eq!(order_by(r#"as = "set", key = "{c}", member = "{b}:{a}""#), (vec![], true));
    assert_eq!(order_by(r#"as = "hash", key = "{c}""#), (vec![2], true));
    assert_eq!(order_by(r#"as = "hash", key = "{a}""#), (vec![0], false), "a part of the key is not the key");
    assert_eq!(order_by(r#"as = "set", key = "all", member = "{a}:{c}""#), (vec![0, 2], true));
}

#[test]
fn a_table_without_a_key_has_names_in_which_rows_can_meet() {
    let mut trial = Trial::<RedisWriter>::new("map = [{ table = \"t.t\", as = \"hash\", key = \"{a}\" }]").unwrap();
    assert_eq!(trial.define(&table("t.t").column("a", "int")).unwrap().order_by, [0]);
    let written = trial.write([insert("t.t", row![1])]);
    assert_eq!(written.lines(), ["HSET 1 a 1"]);
}
