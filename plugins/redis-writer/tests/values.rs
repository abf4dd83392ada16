//! NULL, values that the binlog does not hold, and values of each kind.

mod shop;

use mysync_writer_sdk::row;
use mysync_writer_sdk::testing::{Cell, Trial, change_key, delete, event, insert, table, update};
use redis_writer::RedisWriter;
use shop::{USERS, ann, lines, only, users, with};

#[test]
fn null_leaves_a_field_out_of_a_hash_and_takes_it_out() {
    let mut trial = users(&[r#"as = "hash", key = "user:{id}", columns = ["name", "city", "age"]"#]);
    let nowhere = with(ann(), "city", Cell::Null);
    let expected = ["HSET user:1 name Ann age 36", "HDEL user:1 city"];
    assert_eq!(lines(&mut trial, [insert(USERS, nowhere.clone())]), expected);
    assert_eq!(lines(&mut trial, [update(USERS, ann(), nowhere)]), expected);
}

#[test]
fn a_hash_of_nothing_but_nulls_is_gone_and_gets_no_time_to_live() {
    let mut trial = users(&[r#"as = "hash", key = "user:{id}", columns = ["city"], ttl = "1h""#]);
    let nowhere = with(ann(), "city", Cell::Null);
    assert_eq!(lines(&mut trial, [update(USERS, ann(), nowhere)]), ["HDEL user:1 city"]);
}

#[test]
fn null_becomes_what_the_mapping_says() {
    let nowhere = || [insert(USERS, with(ann(), "city", Cell::Null))];
    let cases = [
        (r#"as = "hash", key = "{id}", columns = ["city"], null = "empty""#, "HSET 1 city "),
        (r#"as = "hash", key = "{id}", columns = ["city"], null = "-""#, "HSET 1 city -"),
        (r#"as = "string", key = "{id}", value = "json", columns = ["id", "city"]"#, r#"SET 1 {"id":1,"city":null}"#),
        (
            r#"as = "string", key = "{id}", value = "json", columns = ["city", "id"], null = "omit""#,
            r#"SET 1 {"id":1}"#,
        ),
        (r#"as = "string", key = "{id}", value = "json", columns = ["city"], null = "empty""#, r#"SET 1 {"city":""}"#),
        (
            r#"as = "string", key = "{id}", value = "json", columns = ["city"], null = "a \"b\"""#,
            r#"SET 1 {"city":"a \"b\""}"#,
        ),
        (r#"as = "string", key = "{id}", value = "in {city}""#, "DEL 1"),
        (r#"as = "string", key = "{id}", value = "in {city}", null = "empty""#, "SET 1 "),
    ];
    for (map, expected) in cases {
        assert_eq!(lines(&mut users(&[map]), nowhere()), [expected], "{map}");
    }
}

#[test]
fn null_in_a_name_means_no_entry() {
    let nowhere = with(ann(), "city", Cell::Null);
    let maps = [
        (r#"as = "set", key = "city:{city}", member = "{id}""#, "SREM city:Oslo 1", "SADD city:Oslo 1"),
        (r#"as = "hash", key = "{id}:{city}", columns = ["id"]"#, "DEL 1:Oslo", "HSET 1:Oslo id 1"),
        (r#"as = "sorted-set", key = "c", member = "{city}", score = "age""#, "ZREM c Oslo", "ZADD c 36 Oslo"),
    ];
    for (map, removed, written) in maps {
        let mut trial = users(&[map]);
        assert!(lines(&mut trial, [insert(USERS, nowhere.clone()), delete(USERS, nowhere.clone())]).is_empty());
        assert_eq!(lines(&mut trial, [update(USERS, ann(), nowhere.clone())]), [removed]);
        assert_eq!(lines(&mut trial, [update(USERS, nowhere.clone(), ann())]), [written]);
    }
}

#[test]
fn a_null_score_takes_the_member_out() {
    let mut trial = users(&[r#"as = "sorted-set", key = "ages", member = "{id}", score = "age""#]);
    assert_eq!(lines(&mut trial, [update(USERS, ann(), with(ann(), "age", Cell::Null))]), ["ZREM ages 1"]);
}

#[test]
fn an_update_that_holds_only_changed_columns_changes_only_those() {
    let mut trial = users(&[r#"as = "hash", key = "user:{id}", columns = ["name", "city", "age"]"#]);
    let minimal = update(USERS, only(ann(), &["id"]), only(with(ann(), "age", 37), &["id", "age"]));
    assert_eq!(lines(&mut trial, [minimal]), ["HSET user:1 age 37"]);
    let nothing_of_ours = update(USERS, only(ann(), &["id"]), only(ann(), &["id", "email"]));
    assert!(lines(&mut trial, [nothing_of_ours]).is_empty());
    assert_eq!(lines(&mut trial, [delete(USERS, only(ann(), &["id"]))]), ["DEL user:1"]);
}

#[test]
fn what_the_after_image_lacks_is_as_it_was_before() {
    let mut trial = users(&[r#"as = "set", key = "city:{city}", member = "{id}""#]);
    let named = update(USERS, only(ann(), &["id", "city"]), only(with(ann(), "name", "Anna"), &["id", "name"]));
    assert_eq!(lines(&mut trial, [named]), ["SADD city:Oslo 1"]);
}

/// Nobody guesses: a row that cannot be mapped exactly is rejected, and names what is missing.
#[test]
fn a_row_without_a_value_that_is_needed_is_rejected_alone() {
    let cases = [
        r#"as = "string", key = "{id}", value = "json", columns = ["city"]"#,
        r#"as = "string", key = "{id}", value = "{city}""#,
        r#"as = "set", key = "city:{city}", member = "{id}""#,
        r#"as = "list", key = "all", member = "{city}""#,
        r#"as = "hash", key = "{id}", columns = ["name", "city"]"#,
    ];
    for map in cases {
        let mut trial = users(&[map]);
        let lacking = only(ann(), &["id", "name"]);
        let written = trial.write([insert(USERS, with(ann(), "id", 2)), insert(USERS, lacking), insert(USERS, ann())]);
        assert_eq!(written.rejections.len(), 1, "{map}");
        assert!(written.rejections[0].0 == 1 && written.rejections[0].1.contains("`city`"), "{map}: {written:?}");
        assert!(written.commands.iter().all(|(row, _)| *row != 1), "{map}: its commands went on");
        assert!(written.commands.iter().any(|(row, _)| *row == 0) && written.commands.iter().any(|(row, _)| *row == 2));
    }
    let mut moved = users(&[r#"as = "hash", key = "user:{id}", columns = ["city"]"#]);
    let [out, into] = change_key(USERS, only(ann(), &["id"]), only(with(ann(), "id", 9), &["id"]));
    assert_eq!(moved.write([out]).lines(), ["DEL user:1"], "the key is all that it needs");
    assert_eq!(moved.write([into]).rejections.len(), 1, "the entry is new, and its fields are not known");
}

#[test]
fn a_row_rejected_by_one_map_has_no_entry_by_another() {
    let mut trial = users(&[
        r#"as = "hash", key = "user:{id}", columns = ["name"]"#,
        r#"as = "set", key = "city:{city}", member = "{id}""#,
    ]);
    let written = trial.write([insert(USERS, only(ann(), &["id", "name"]))]);
    assert_eq!((written.commands.len(), written.rejections.len()), (0, 1));
}

#[test]
fn values_of_every_kind_keep_every_digit() {
    let shape = table("t.t")
        .column("i", "bigint")
        .column("u", "bigint unsigned")
        .column("d", "decimal")
        .column("f", "float")
        .column("g", "double")
        .column("day", "date")
        .column("at", "timestamp")
        .column("took", "time")
        .column("bits", "bit")
        .column("y", "year")
        .column("j", "json")
        .key(&["i"]);
    let long = "12345678901234567890123456789012345.123456789012345678901234567890";
    let row = || {
        row![
            i64::MIN,
            u64::MAX,
            long,
            0.1,
            1e-7,
            "0000-00-00",
            "2026-11-24T08:00:00.5Z",
            "-838:59:59",
            5u64,
            2026,
            "{\"a\": [1.0]}"
        ]
    };
    let written = |map: &str| {
        let mut trial = Trial::<RedisWriter>::new(&format!("map = [{{ table = \"t.*\", {map} }}]")).unwrap();
        trial.define(&shape).unwrap();
        trial.write([insert("t.t", row())]).lines()
    };
    assert_eq!(
        written(r#"as = "hash", key = "h""#.replace("\"h\"", "\"h:{i}\"").as_str()),
        [format!(
            "HSET h:-9223372036854775808 i -9223372036854775808 u 18446744073709551615 d {long} f 0.1 g 1e-7 day 0000-00-00 \
             at 2026-11-24T08:00:00.5Z took -838:59:59 bits 5 y 2026 j {{\"a\": [1.0]}}"
        )]
    );
    assert_eq!(
        written(r#"as = "string", key = "{y}", value = "json""#),
        [format!(
            "SET 2026 {{\"i\":-9223372036854775808,\"u\":18446744073709551615,\"d\":{long},\"f\":0.1,\"g\":1e-7,\"day\":\"0000-00-00\",\
             \"at\":\"2026-11-24T08:00:00.5Z\",\"took\":\"-838:59:59\",\"bits\":5,\"y\":2026,\"j\":{{\"a\": [1.0]}}}}"
        )]
    );
}

#[test]
fn a_truncated_or_dropped_table_stops_unless_the_mapping_says_otherwise() {
    let map = r#"as = "hash", key = "user:{id}", columns = ["name"]"#;
    for kind in ["truncate", "drop"] {
        let written = users(&[map]).write([insert(USERS, ann()), event(USERS, kind), insert(USERS, ann())]);
        assert_eq!(written.rejections.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1], "{kind}");
        assert!(written.rejections[0].1.contains("on_truncate"), "{written:?}");
        assert_eq!(written.commands.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 2], "the others stand");
        let keeps = format!("{map}, on_truncate = \"keep\"");
        assert_eq!(lines(&mut users(&[&keeps]), [event(USERS, kind)]), [""; 0], "{kind}");
        assert_eq!(users(&[&keeps, map]).write([event(USERS, kind)]).rejections.len(), 1, "one map is enough to stop");
    }
    assert_eq!(lines(&mut users(&[map]), [event(USERS, "rename")]), [""; 0]);
}
