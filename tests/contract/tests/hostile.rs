//! Components that mean harm, or are merely wrong: each ends in its own code, and harms nobody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use mysync_change::schema::TableShape;
use mysync_contract_tests::writers::{engine, load, settings, shown};
use mysync_contract_tests::{batches, components};
use mysync_pipeline::ports::{Mapped, Writer};
use mysync_wasm::{Instance, Limits, Plugin, PluginSettings};

/// Rows of the batch that guests are given.
const ROWS: u32 = 4;

/// Starts a guest, shows it the table, and gives it one batch.
async fn run(plugin: &Plugin) -> Result<Mapped, &'static str> {
    let mut instance = plugin.start().await.map_err(|error| error.code())?;
    let plan = instance.define(0, &batches::users()).await.map_err(|failure| failure.code)?;
    let mapped = instance.write(batches::inserts(&plan, 0, ROWS)).await;
    if mapped.is_err() {
        assert_eq!(instance.write(batches::inserts(&plan, 0, ROWS)).await.unwrap_err().code, "WASM_GIVEN_UP");
    }
    mapped.map_err(|failure| failure.code)
}

/// A well-behaved writer that works before, while and after others misbehave.
async fn bystander() -> Instance {
    let mut instance = load(settings("scripted", "0 SET user:1 well")).await.start().await.unwrap();
    instance.define(0, &batches::users()).await.unwrap();
    instance
}

async fn works(bystander: &mut Instance) {
    let mapped = bystander.write(batches::inserts(&batches::whole(), 0, ROWS)).await.unwrap();
    assert_eq!(shown(&mapped.commands), ["0 SET user:1 well"]);
}

/// A guest that dies in `write` every time, for as many instances as are started, while a bystander works on.
async fn dies(settings: PluginSettings, code: &str) {
    let mut bystander = bystander().await;
    let plugin = load(settings).await;
    for _ in 0..2 {
        assert_eq!(run(&plugin).await.unwrap_err(), code);
        works(&mut bystander).await;
    }
}

#[tokio::test]
async fn identity_is_given_rows_and_makes_nothing_of_them() {
    let mapped = run(&load(settings("identity", "")).await).await.unwrap();
    assert!(mapped.commands.is_empty() && mapped.rejections.is_empty());
}

#[tokio::test]
async fn loops_for_ever_and_is_stopped_on_time() {
    let limits = Limits { deadline: Duration::from_millis(100), ..Limits::default() };
    let started = Instant::now();
    dies(PluginSettings { limits: limits.clone(), ..settings("loops", "") }, "WASM_DEADLINE").await;
    assert!(started.elapsed() >= 2 * limits.deadline);
    let plugin = load(PluginSettings { limits, ..settings("loops", "configure") }).await;
    assert_eq!(plugin.start().await.err().unwrap().code(), "WASM_DEADLINE");
}

/// Whatever else gets done here is done between the guest's turns.
#[tokio::test(flavor = "current_thread")]
async fn loops_for_ever_on_the_only_thread_and_others_go_on() {
    let limits = Limits { deadline: Duration::from_millis(300), ..Limits::default() };
    let plugin = load(PluginSettings { limits, ..settings("loops", "") }).await;
    let mut bystander = bystander().await;
    let looping = tokio::spawn(async move { run(&plugin).await.map(|_| ()) });
    let mut batches = 0;
    while !looping.is_finished() {
        works(&mut bystander).await;
        tokio::task::yield_now().await;
        batches += 1;
    }
    assert_eq!(looping.await.unwrap(), Err("WASM_DEADLINE"));
    assert!(batches >= 10, "{batches} batches beside a looping writer");
}

#[tokio::test]
async fn a_call_that_was_abandoned_is_the_last_one() {
    let mut instance = load(settings("loops", "")).await.start().await.unwrap();
    instance.define(0, &batches::users()).await.unwrap();
    let batch = || batches::inserts(&batches::whole(), 0, ROWS);
    tokio::time::timeout(Duration::from_millis(50), instance.write(batch())).await.unwrap_err();
    assert_eq!(instance.write(batch()).await.unwrap_err().code, "WASM_GIVEN_UP");
}

#[tokio::test]
async fn grows_until_it_meets_its_limit() {
    let limits = Limits { memory_bytes: 16 << 20, ..Limits::default() };
    dies(PluginSettings { limits, ..settings("grows", "") }, "WASM_MEMORY").await;
    dies(settings("grows", ""), "WASM_MEMORY").await;
}

#[tokio::test]
async fn has_no_memory_to_begin_with() {
    let limits = Limits { memory_bytes: 1 << 16, ..Limits::default() };
    let plugin = load(PluginSettings { limits, ..settings("grows", "") }).await;
    assert_eq!(plugin.start().await.err().unwrap().code(), "WASM_MEMORY");
}

#[tokio::test]
async fn traps_half_way_and_leaves_nothing_behind() {
    dies(settings("traps", ""), "WASM_TRAP").await;
}

#[tokio::test]
async fn floods_its_output() {
    let limits = Limits { output_bytes: 1 << 20, memory_bytes: 512 << 20, ..Limits::default() };
    for way in ["a little at a time", "all at once", "in empty arguments", "in its answer"] {
        dies(PluginSettings { limits: limits.clone(), ..settings("floods", way) }, "WASM_OUTPUT_LIMIT").await;
    }
}

#[tokio::test]
async fn lies_about_what_it_submits() {
    let ways = [
        "row beyond the batch",
        "rows fall",
        "rows fall between submits",
        "fewer rows than commands",
        "more arguments than values",
        "fewer arguments than values",
        "arguments that sum to more than 32 bits hold",
        "a command without a name",
        "ends fall",
        "ends beyond the data",
        "data beyond the ends",
        "rejects a row beyond the batch",
        "rejects a row twice",
        "plan names a column beyond the table",
        "plan names a column twice",
        "plan orders by a column beyond the table",
    ];
    for way in ways {
        let answer = run(&load(settings("lies", way)).await).await;
        assert_eq!(answer.unwrap_err(), "WASM_ANSWER_INVALID", "{way}");
    }
    let plugin = load(settings("lies", "plan nonsense, but ignore")).await;
    let plan = plugin.start().await.unwrap().define(0, &batches::users()).await.unwrap();
    assert!(plan.ignore && plan.columns.is_empty() && plan.order_by.is_empty());
}

#[tokio::test]
async fn refuses_a_batch_in_one_plain_line() {
    let mut instance = load(settings("lies", "refuses the batch")).await.start().await.unwrap();
    let plan = instance.define(0, &batches::users()).await.unwrap();
    let failure = instance.write(batches::inserts(&plan, 0, ROWS)).await.unwrap_err();
    assert_eq!(failure.code, "WRITER_REFUSED_BATCH");
    assert!(failure.message.ends_with("I would rather  [31mnot"), "{}", failure.message);
}

#[tokio::test]
async fn order_over_other_columns_needs_one_partition() {
    let two = PluginSettings { partitions: 2, ..settings("lies", "plan orders by a column outside the key") };
    assert_eq!(run(&load(two.clone()).await).await.unwrap_err(), "MAPPING_NEEDS_ONE_PARTITION");
    let mut one = load(PluginSettings { partitions: 1, ..two }).await.start().await.unwrap();
    assert_eq!(one.define(0, &batches::users()).await.unwrap().order_by, [0, 1]);
    let key = PluginSettings { partitions: 2, ..settings("lies", "plan orders by the key") };
    let mut by_key = load(key).await.start().await.unwrap();
    assert_eq!(by_key.define(0, &batches::users()).await.unwrap().order_by, [0]);
    // A part of the key is not what rows are partitioned by.
    let wider = TableShape { primary_key: vec![0, 3], ..batches::users() };
    assert_eq!(by_key.define(1, &wider).await.unwrap_err().code, "MAPPING_NEEDS_ONE_PARTITION");
}

#[tokio::test]
async fn asks_for_more_than_the_contract_and_is_not_even_compiled() {
    let error = Plugin::load(engine(), settings("wasi", "")).await.err().unwrap();
    assert_eq!(error.code(), "WASM_IMPORT_REFUSED");
    assert!(error.to_string().contains("wasi:clocks/wall-clock@0.2.6"), "{error}");
}

#[test]
fn every_guest_has_a_test() {
    let tests = concat!(
        include_str!("hostile.rs"),
        include_str!("grant.rs"),
        include_str!("diagnostics.rs"),
        include_str!("sdk.rs")
    );
    for guest in components::guests() {
        assert!(tests.contains(&format!("settings(\"{guest}\"")), "no test uses tests/guests/{guest}");
    }
}
