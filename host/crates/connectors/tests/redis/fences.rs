//! Batch and fence together, and only by whoever may.

use std::time::Duration;

use mysync_connectors::recording::{Recording, Store};
use mysync_connectors::redis::Redis;
use mysync_pipeline::failure::Kind::{Definite, Transient};
use mysync_pipeline::ports::Connector;

use crate::proxy::Proxy;
use crate::server::{FENCE, Server, connector, settings, until};
use crate::{assert_failure, commands, fence, nothing};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_its_fence_are_in_effect_together() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    assert_eq!(writer.open().await, Ok(None));
    let batch = commands(&[
        "HSET user:1 name ada",
        "SET name:1 ada",
        "SADD city:london 1",
        "ZADD by-age 36 1",
        "LREM list 0 1",
        "RPUSH list 1",
        "PEXPIREAT name:1 99999999999999",
        "PERSIST name:1",
        "DEL gone",
    ]);
    writer.apply(&batch, &fence("a", 0, 9)).await.unwrap();
    assert_eq!(server.ask::<String>("HGET user:1 name"), "ada");
    assert_eq!(server.ask::<i64>("TTL name:1"), -1);
    assert_eq!(server.ask::<Vec<String>>("LRANGE list 0 -1"), ["1"]);
    assert_eq!(server.ask::<String>(&format!("GET {FENCE}")), fence("a", 0, 9).to_text());

    // Idle: the fence alone.
    writer.apply(&nothing(), &fence("a", 9, 9)).await.unwrap();
    assert_eq!(writer.open().await, Ok(Some(fence("a", 9, 9))));
    let listed: String = server.ask("CLIENT LIST");
    assert!(listed.contains("name=mysync:users:0"), "{listed}");
}

/// A connection is stuck with batch 2 in it; its task gives up, and writes 2 and 3 over another. Then the stuck bytes arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_batch_that_arrives_after_its_successor_is_refused() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let mut impatient = settings(&proxy.url());
    impatient.answer_timeout = Duration::from_millis(100);
    let mut stuck = Redis::new(impatient.into(), "shop", "users", 0);
    stuck.open().await.unwrap();
    stuck.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    proxy.hold_requests(true);
    assert_failure(stuck.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await, Transient, "REDIS_LOST_ANSWER");

    let mut writer = connector(&server.url());
    assert_eq!(writer.open().await, Ok(Some(fence("a", 0, 1))));
    writer.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await.unwrap();
    writer.apply(&commands(&["SET k 3"]), &fence("a", 2, 3)).await.unwrap();
    proxy.hold_requests(false);
    until("the delayed batch is refused", || proxy.answers().contains("*-1\r\n"));
    assert_eq!(server.ask::<String>("GET k"), "3");
    // And whoever wrote meanwhile is not disturbed.
    writer.apply(&commands(&["SET k 4"]), &fence("a", 3, 4)).await.unwrap();
}

/// The delayed batch arrives before its repetition is sent, but after the fence was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_batch_that_arrives_first_makes_its_repetition_look_again() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let mut impatient = settings(&proxy.url());
    impatient.answer_timeout = Duration::from_millis(100);
    let mut stuck = Redis::new(impatient.into(), "shop", "users", 0);
    stuck.open().await.unwrap();
    proxy.hold_requests(true);
    assert_failure(stuck.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await, Transient, "REDIS_LOST_ANSWER");

    let mut writer = connector(&server.url());
    assert_eq!(writer.open().await, Ok(None));
    proxy.hold_requests(false);
    until("the delayed batch is in effect", || server.ask::<Option<String>>("GET k").is_some());
    assert_failure(writer.apply(&commands(&["SET k again"]), &fence("a", 0, 1)).await, Transient, "REDIS_LATE_WRITE");
    assert_eq!(writer.open().await, Ok(Some(fence("a", 0, 1))));
    assert_eq!(server.ask::<String>("GET k"), "1");
}

/// What a paused process finds when it goes on, here with the real store and with its twin.
async fn a_resumed_process_writes_nothing(old: &mut impl Connector, new: &mut impl Connector) {
    old.open().await.unwrap();
    old.apply(&commands(&["SET k old"]), &fence("old", 0, 1)).await.unwrap();
    assert_eq!(new.open().await, Ok(Some(fence("old", 0, 1))));
    new.apply(&nothing(), &fence("new", 1, 1)).await.unwrap();
    let message =
        assert_failure(old.apply(&commands(&["SET k older"]), &fence("old", 1, 2)).await, Definite, "FENCE_TAKEN");
    assert!(message.contains("new"), "{message}");
    // Without opening again it never comes to life.
    assert!(old.apply(&commands(&["SET k older"]), &fence("old", 1, 2)).await.is_err());
    new.apply(&commands(&["SET k new"]), &fence("new", 1, 2)).await.unwrap();
    assert_eq!(old.open().await, Ok(Some(fence("new", 1, 2))));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_name_the_resumed_one_writes_nothing() {
    let server = Server::start(&[]);
    a_resumed_process_writes_nothing(&mut connector(&server.url()), &mut connector(&server.url())).await;
    assert_eq!(server.ask::<String>("GET k"), "new");
}

#[tokio::test]
async fn the_twin_refuses_a_resumed_process_too() {
    let store = Store::default();
    a_resumed_process_writes_nothing(&mut Recording::new(&store), &mut Recording::new(&store)).await;
    let written: Vec<_> = store.applied().into_iter().map(|applied| applied.commands).collect();
    assert_eq!(written, [commands(&["SET k old"]), nothing(), commands(&["SET k new"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_store_is_noticed_before_anything_is_written() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    server.ask::<()>("FLUSHALL");
    assert_failure(writer.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await, Definite, "STORE_EMPTIED");
    assert_eq!(server.ask::<i64>("DBSIZE"), 0);
    assert_eq!(writer.open().await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_at_the_fence_and_is_none_is_not_overwritten() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    server.ask::<()>(&format!("SET {FENCE} 12"));
    assert_failure(writer.open().await, Definite, "FENCE_UNREADABLE");
    server.ask::<()>(&format!("DEL {FENCE}"));
    server.ask::<()>(&format!("HSET {FENCE} a b"));
    assert_failure(writer.open().await, Definite, "FENCE_UNREADABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_replaces_the_fence_that_was_seen_and_no_other() {
    let server = Server::start(&[]);
    let mut operator = connector(&server.url());
    assert_eq!(operator.read_fence().await, Ok(None));
    operator.replace_fence(None, &fence("operator", 5, 5)).await.unwrap();
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    writer.apply(&nothing(), &fence("a", 5, 6)).await.unwrap();
    let seen = fence("operator", 5, 5);
    assert_failure(operator.replace_fence(Some(&seen), &fence("operator", 1, 1)).await, Definite, "FENCE_CHANGED");
    assert_failure(operator.replace_fence(None, &fence("operator", 1, 1)).await, Definite, "FENCE_CHANGED");
    operator.replace_fence(Some(&fence("a", 5, 6)), &fence("operator", 1, 1)).await.unwrap();
    assert_eq!(operator.read_fence().await, Ok(Some(fence("operator", 1, 1))));
    assert_failure(writer.apply(&nothing(), &fence("a", 6, 7)).await, Definite, "FENCE_TAKEN");
}
