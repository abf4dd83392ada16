//! A writer of one's own, as the guide to the SDK shows it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mysync_change::image::Value;
use mysync_change::pattern::Pattern;
use mysync_change::schema::{Column, Storage, TableShape};
use mysync_contract_tests::changes::{Change, Values, batch};
use mysync_contract_tests::writers::{load, settings, shown};
use mysync_pipeline::ports::Writer;
use mysync_wasm::{Grant, PluginSettings};

fn products() -> TableShape {
    let column = |name: &str, kind: &str, storage| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        storage,
        nullable: false,
        attributes: Vec::new(),
    };
    TableShape {
        database: "shop".to_owned(),
        name: "products".to_owned(),
        columns: vec![
            column("sku", "varchar", Storage::Text),
            column("name", "varchar", Storage::Text),
            column("price", "decimal", Storage::Text),
            column("on_sale", "tinyint", Storage::Signed),
        ],
        primary_key: vec![0],
    }
}

fn product<'a>(sku: &'a str, price: &'a str, on_sale: i64) -> Values<'a> {
    vec![Value::Text(sku), Value::Text("a thing"), Value::Text(price), Value::Signed(on_sale)]
}

#[tokio::test]
async fn a_writer_of_ones_own_does_what_its_author_meant() {
    let grant = Grant::new(vec![Pattern::new("price:*")], None);
    let mut instance = load(PluginSettings { grant, ..settings("own", "") }).await.start().await.unwrap();
    let plan = instance.define(0, &products()).await.unwrap();
    assert_eq!((plan.columns.as_slice(), plan.before), (&[0, 2, 3][..], false));
    let changes = [
        Change::Insert(product("a-1", "9.50", 1)),
        Change::Update(product("a-1", "9.50", 1), product("a-1", "9.50", 0)),
        Change::Move(product("b-2", "3.00", 1), product("b-3", "3.00", 1)),
        Change::Delete(product("b-3", "3.00", 1)),
    ];
    let mapped = instance.write(batch(&products(), &plan, &changes)).await.unwrap();
    assert_eq!(
        shown(&mapped.commands),
        ["0 SET price:a-1 9.50", "1 DEL price:a-1", "2 DEL price:b-2", "3 SET price:b-3 3.00", "4 DEL price:b-3"]
    );
    let mut poorer = products();
    poorer.columns.remove(2);
    let failure = instance.define(1, &poorer).await.unwrap_err();
    assert!(
        failure.code == "MAPPING_TABLE_MISMATCH" && failure.message.contains("shop.products has no column `price`")
    );
}

#[tokio::test]
async fn a_truncated_table_stops_a_writer_that_has_no_answer_to_it() {
    let mut instance = load(settings("own", "")).await.start().await.unwrap();
    let plan = instance.define(0, &products()).await.unwrap();
    let mapped = instance.write(batch(&products(), &plan, &[Change::Event("products", "truncate")])).await.unwrap();
    assert_eq!(mapped.rejections.len(), 1);
}

#[test]
fn the_guide_shows_the_writer_that_is_tested_here() {
    let source = include_str!("../../guests/own/src/lib.rs");
    let guide = include_str!("../../../plugins/sdk/README.md");
    assert!(guide.contains(source), "plugins/sdk/README.md quotes tests/guests/own/src/lib.rs as it is");
    assert!(source.lines().count() < 40);
}
