//! What a row becomes, structure by structure.

mod shop;

use mysync_writer_sdk::testing::{Cell, delete, insert, read, update};
use shop::{USERS, ann, lines, users, with};

#[test]
fn a_hash_of_chosen_columns() {
    let mut trial = users(&[r#"as = "hash", key = "user:{id}", columns = ["id", "name", "age"]"#]);
    assert_eq!(lines(&mut trial, [insert(USERS, ann())]), ["HSET user:1 id 1 name Ann age 36"]);
    assert_eq!(lines(&mut trial, [read(USERS, ann())]), ["HSET user:1 id 1 name Ann age 36"]);
    let older = with(ann(), "age", 37);
    assert_eq!(lines(&mut trial, [update(USERS, ann(), older)]), ["HSET user:1 id 1 name Ann age 37"]);
    assert_eq!(lines(&mut trial, [delete(USERS, ann())]), ["DEL user:1"]);
}

#[test]
fn a_hash_of_all_columns_but_some_under_other_names() {
    let mut trial = users(&[
        r#"as = "hash", key = "user:{id}", exclude = ["age", "score", "photo", "balance"], rename = { email = "mail" }"#,
    ]);
    assert_eq!(lines(&mut trial, [insert(USERS, ann())]), ["HSET user:1 id 1 name Ann mail ann@example.com city Oslo"]);
}

#[test]
fn a_string_of_json() {
    let map = r#"as = "string", key = "user:{id}", value = "json", rename = { name = "a \"name\"" },
                 columns = ["id", "name", "balance", "score", "photo"]"#;
    let mut trial = users(&[&map.replace('\n', " ")]);
    let row = with(with(ann(), "name", "An\"n\"\n"), "photo", &[255u8, 254][..]);
    assert_eq!(
        lines(&mut trial, [insert(USERS, row)]),
        [r#"SET user:1 {"id":1,"a \"name\"":"An\"n\"\n","balance":12.50,"score":0.5,"photo":"//4="}"#]
    );
    assert_eq!(lines(&mut trial, [delete(USERS, ann())]), ["DEL user:1"]);
}

#[test]
fn a_string_of_one_column_or_several() {
    let mut trial = users(&[r#"as = "string", key = "mail:{id}", value = "{email}""#]);
    assert_eq!(lines(&mut trial, [insert(USERS, ann())]), ["SET mail:1 ann@example.com"]);
    let mut trial = users(&[r#"as = "string", key = "mail:{id}", value = "{name} <{email}>""#]);
    assert_eq!(lines(&mut trial, [insert(USERS, ann())]), ["SET mail:1 Ann <ann@example.com>"]);
}

#[test]
fn a_set_for_each_city() {
    let mut trial = users(&[r#"as = "set", key = "users:by-city:{city}", member = "{id}""#]);
    assert_eq!(lines(&mut trial, [insert(USERS, ann())]), ["SADD users:by-city:Oslo 1"]);
    assert_eq!(lines(&mut trial, [delete(USERS, ann())]), ["SREM users:by-city:Oslo 1"]);
}

#[test]
fn a_sorted_set_by_any_kind_of_number() {
    for (score, shown) in [("age", "36"), ("balance", "12.50"), ("score", "0.5"), ("id", "1")] {
        let map = format!(r#"as = "sorted-set", key = "ranking", member = "{{id}}", score = "{score}""#);
        let mut trial = users(&[&map]);
        assert_eq!(lines(&mut trial, [insert(USERS, ann())]), [format!("ZADD ranking {shown} 1")]);
        assert_eq!(lines(&mut trial, [delete(USERS, ann())]), ["ZREM ranking 1"]);
    }
}

#[test]
fn a_list_holds_each_member_once_the_latest_last() {
    let mut trial = users(&[r#"as = "list", key = "recent:{city}", member = "{id}""#]);
    let expected = ["LREM recent:Oslo 0 1", "RPUSH recent:Oslo 1"];
    assert_eq!(lines(&mut trial, [insert(USERS, ann())]), expected);
    assert_eq!(lines(&mut trial, [update(USERS, ann(), ann())]), expected);
    assert_eq!(lines(&mut trial, [delete(USERS, ann())]), ["LREM recent:Oslo 0 1"]);
}

#[test]
fn several_structures_of_one_table_in_the_order_of_the_mapping() {
    let mut trial = users(&[
        r#"as = "hash", key = "user:{id}", columns = ["name"]"#,
        r#"as = "set", key = "users:by-city:{city}", member = "{id}""#,
        r#"as = "sorted-set", key = "users:by-age", member = "{id}", score = "age""#,
    ]);
    assert_eq!(
        lines(&mut trial, [insert(USERS, ann()), delete(USERS, ann())]),
        [
            "HSET user:1 name Ann",
            "SADD users:by-city:Oslo 1",
            "ZADD users:by-age 36 1",
            "DEL user:1",
            "SREM users:by-city:Oslo 1",
            "ZREM users:by-age 1"
        ]
    );
}

#[test]
fn the_time_to_live_counts_from_the_commit() {
    const COMMITTED_US: u64 = 1_790_000_000_123_456;
    let mut trial = users(&[r#"as = "hash", key = "user:{id}", columns = ["name"], ttl = "90s""#]);
    let expected = ["HSET user:1 name Ann", "PEXPIREAT user:1 1790000090123"];
    assert_eq!(lines(&mut trial, [insert(USERS, ann()).at(COMMITTED_US)]), expected);
    assert_eq!(lines(&mut trial, [update(USERS, ann(), ann()).at(COMMITTED_US)]), expected, "whenever it is applied");
    assert_eq!(lines(&mut trial, [delete(USERS, ann()).at(COMMITTED_US)]), ["DEL user:1"]);

    let mut trial = users(&[r#"as = "set", key = "city:{city}", member = "{id}", ttl = "1d""#]);
    let nowhere = with(ann(), "city", Cell::Null);
    assert_eq!(
        lines(&mut trial, [insert(USERS, ann()).at(COMMITTED_US), insert(USERS, nowhere).at(COMMITTED_US)]),
        ["SADD city:Oslo 1", "PEXPIREAT city:Oslo 1790086400123"]
    );
}

#[test]
fn entries_of_deleted_rows_may_stay() {
    let mut trial = users(&[r#"as = "hash", key = "user:{id}", columns = ["name"], on_delete = "keep""#]);
    assert!(lines(&mut trial, [delete(USERS, ann())]).is_empty());
}

#[test]
fn bytes_go_through_as_they_are() {
    let mut trial = users(&[r#"as = "string", key = "photo:{id}", value = "{photo}""#]);
    let raw: &[u8] = b"\0\r\n$9\r\n\xff";
    let written = trial.write([insert(USERS, with(ann(), "photo", raw))]);
    assert_eq!(written.commands[0].1, [&b"SET"[..], b"photo:1", raw]);
}
