//! The real redis-writer in the sandbox: rows in, commands out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mysync_change::batch::{Batch, Plan};
use mysync_change::image::Value;
use mysync_change::operations::RedisCommands;
use mysync_change::pattern::Pattern;
use mysync_change::schema::TableShape;
use mysync_connectors::redis::resp::{Outgoing, Rendered};
use mysync_contract_tests::changes::{Change, Values, batch};
use mysync_contract_tests::writers::{load, redis_writer, shown};
use mysync_contract_tests::{batches, changes};
use mysync_pipeline::ports::{Mapped, Writer};
use mysync_wasm::{Grant, Instance, PluginSettings};

/// A hash, and a set for each city.
const MAPPING: &str = r#"
[[map]]
table = "shop.users"
as = "hash"
key = "user:{id}"
columns = ["id", "name", "city"]
ttl = "1d"

[[map]]
table = "shop.users"
as = "set"
key = "users:by-city:{city}"
member = "{id}"
"#;

fn user<'a>(id: i64, name: &'a str, city: Value<'a>) -> Values<'a> {
    let text = Value::Text;
    vec![
        Value::Signed(id),
        text(name),
        text("a@example.com"),
        Value::Signed(36),
        text("1.00"),
        city,
        text("2026-11-24T08:00:00Z"),
        Value::Double(0.5),
        Value::Unsigned(7),
        Value::Null,
    ]
}

fn ann<'a>(id: i64, city: &'a str) -> Values<'a> {
    user(id, "Ann", Value::Text(city))
}

async fn started(settings: PluginSettings) -> (Instance, Plan) {
    let mut instance = load(settings).await.start().await.unwrap();
    let plan = instance.define(0, &batches::users()).await.unwrap();
    (instance, plan)
}

async fn mapped(settings: PluginSettings, changes: &[Change<'_>]) -> Mapped {
    let (mut instance, plan) = started(settings).await;
    instance.write(batch(&batches::users(), &plan, changes)).await.unwrap()
}

fn bytes(commands: &RedisCommands) -> String {
    let (mut rendered, mut out) = (Rendered::default(), Outgoing::default());
    rendered.more(commands, &mut out, usize::MAX).unwrap();
    String::from_utf8(out.bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn every_change_of_a_row_becomes_its_commands_in_order() {
    let changes = [
        Change::Insert(ann(1, "Oslo")),
        Change::Update(ann(1, "Oslo"), user(1, "Ann", Value::Null)),
        Change::Move(ann(2, "Lima"), ann(3, "Lima")),
        Change::Delete(ann(3, "Lima")),
    ];
    let mapped = mapped(redis_writer(MAPPING), &changes).await;
    assert_eq!(
        shown(&mapped.commands),
        [
            "0 HSET user:1 id 1 name Ann city Oslo",
            "0 PEXPIREAT user:1 1790086400000",
            "0 SADD users:by-city:Oslo 1",
            "1 HSET user:1 id 1 name Ann",
            "1 HDEL user:1 city",
            "1 PEXPIREAT user:1 1790086400000",
            "1 SREM users:by-city:Oslo 1",
            "2 DEL user:2",
            "2 SREM users:by-city:Lima 2",
            "3 HSET user:3 id 3 name Ann city Lima",
            "3 PEXPIREAT user:3 1790086400000",
            "3 SADD users:by-city:Lima 3",
            "4 DEL user:3",
            "4 SREM users:by-city:Lima 3",
        ]
    );
    assert!(mapped.rejections.is_empty(), "{:?}", mapped.rejections);
}

#[tokio::test]
async fn what_is_sent_to_redis() {
    let mapping = "[[map]]\ntable = \"shop.users\"\nas = \"string\"\nkey = \"user:{id}\"\nvalue = \"{name}\"";
    let lines = "a\r\nFLUSHALL\r\n";
    let mapped = mapped(redis_writer(mapping), &[Change::Insert(user(1, lines, Value::Null))]).await;
    assert_eq!(bytes(&mapped.commands), "*3\r\n$3\r\nSET\r\n$6\r\nuser:1\r\n$13\r\na\r\nFLUSHALL\r\n\r\n");
}

#[tokio::test]
async fn a_key_outside_the_grant_rejects_its_row_and_no_other() {
    let grant = Grant::new(vec![Pattern::new("user:*"), Pattern::new("users:by-city:Oslo")], None);
    let settings = PluginSettings { grant, ..redis_writer(MAPPING) };
    let changes = [Change::Insert(ann(1, "Oslo")), Change::Insert(ann(2, "Lima")), Change::Insert(ann(3, "Oslo"))];
    let mapped = mapped(settings, &changes).await;
    assert!(shown(&mapped.commands).iter().all(|line| !line.starts_with("1 ")), "{:?}", shown(&mapped.commands));
    assert_eq!(shown(&mapped.commands).len(), 6);
    let [rejection] = &mapped.rejections[..] else { panic!("{:?}", mapped.rejections) };
    assert!(rejection.row == 1 && rejection.reason.contains("`users:by-city:Lima`"), "{rejection:?}");
}

#[tokio::test]
async fn a_row_that_cannot_be_mapped_is_dropped_and_the_others_stand() {
    let mut lacking = ann(2, "Oslo");
    lacking[5] = Value::Absent;
    let changes = [Change::Insert(ann(1, "Oslo")), Change::Insert(lacking), Change::Insert(ann(3, "Oslo"))];
    let mapped = mapped(redis_writer(MAPPING), &changes).await;
    let rows: Vec<u32> = mapped.commands.rows.clone();
    assert_eq!(rows, [0, 0, 0, 2, 2, 2]);
    assert!(mapped.rejections.len() == 1 && mapped.rejections[0].row == 1, "{:?}", mapped.rejections);
}

#[tokio::test]
async fn a_mistake_in_the_mapping_keeps_it_from_starting() {
    let error =
        load(redis_writer(&MAPPING.replace("as = \"hash\"", "as = \"hsah\""))).await.start().await.err().unwrap();
    assert_eq!(error.code(), "MAPPING_INVALID");
    assert!(error.to_string().contains("unknown structure \"hsah\": did you mean \"hash\"?"), "{error}");
    assert!(error.to_string().contains("line 4"), "{error}");
}

#[tokio::test]
async fn a_column_that_the_table_lacks_is_found_when_its_shape_is_shown() {
    let mut instance = load(redis_writer(&MAPPING.replace("\"city\"", "\"town\""))).await.start().await.unwrap();
    let failure = instance.define(0, &batches::users()).await.unwrap_err();
    assert_eq!(failure.code, "MAPPING_TABLE_MISMATCH");
    assert!(failure.message.contains("line 6") && failure.message.contains("no column `town`"), "{failure}");
}

#[tokio::test]
async fn names_in_which_rows_can_meet_need_one_partition() {
    let define = async |mapping: &str, partitions| {
        let settings = PluginSettings { partitions, ..redis_writer(mapping) };
        let mut instance = load(settings).await.start().await.unwrap();
        instance.define(0, &batches::users()).await.map(|_| ()).map_err(|failure| failure.code)
    };
    let by_city = "[[map]]\ntable = \"shop.users\"\nas = \"hash\"\nkey = \"city:{city}\"";
    assert_eq!(define(by_city, 2).await, Err("MAPPING_NEEDS_ONE_PARTITION"));
    assert_eq!(define(by_city, 1).await, Ok(()));
    assert_eq!(define(MAPPING, 2).await, Ok(()), "each member of a set names its row's key");
}

#[tokio::test]
async fn tables_that_the_mapping_does_not_name_are_not_sent() {
    let (mut instance, _) = started(redis_writer(MAPPING)).await;
    let orders = TableShape { name: "orders".to_owned(), ..batches::users() };
    assert!(instance.define(1, &orders).await.unwrap().ignore);
}

#[tokio::test]
async fn a_truncated_table_or_dropped_database_is_told_to_those_it_concerns() {
    let rejected = async |table: &'static str, what: &'static str| {
        let mapped = mapped(redis_writer(MAPPING), &[Change::Event(table, what)]).await;
        assert!(mapped.commands.rows.is_empty());
        mapped.rejections.iter().map(|rejection| rejection.row).collect::<Vec<_>>()
    };
    assert_eq!(rejected("users", "truncate").await, [0]);
    assert_eq!(rejected("*", "drop").await, [0]);
    assert_eq!(rejected("orders", "truncate").await, [0; 0]);
}

/// No meaning lies in where batches are cut, nor in which instance maps them.
#[tokio::test]
async fn the_output_depends_on_mapping_shape_and_row_alone() {
    let changes: Vec<Change<'_>> = (0..40)
        .map(|n| match n % 4 {
            0 => Change::Insert(ann(n, "Oslo")),
            1 => Change::Update(ann(n, "Oslo"), ann(n, "Lima")),
            2 => Change::Move(ann(n, "Lima"), ann(n + 100, "Oslo")),
            _ => Change::Delete(ann(n, "Oslo")),
        })
        .collect();
    let values = |mapped: Mapped| mapped.commands.values.data;
    let plugin = load(redis_writer(MAPPING)).await;
    let fresh = async || {
        let mut instance = plugin.start().await.unwrap();
        let plan = instance.define(0, &batches::users()).await.unwrap();
        (instance, plan)
    };
    let (mut whole, plan) = fresh().await;
    let expected = values(whole.write(batch(&batches::users(), &plan, &changes)).await.unwrap());
    let again = values(whole.write(batch(&batches::users(), &plan, &changes)).await.unwrap());
    assert_eq!(again, expected, "a replay");
    for size in [1, 3, 7] {
        let mut all = Vec::new();
        for part in changes.chunks(size) {
            let (mut instance, plan) = fresh().await;
            let batch: Batch = changes::batch(&batches::users(), &plan, part);
            all.extend(values(instance.write(batch).await.unwrap()));
        }
        assert_eq!(all, expected, "cut into {size}");
    }
}
