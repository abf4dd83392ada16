//! Servers that go away, stand still, are full, or refuse.

use std::time::{Duration, Instant};

use mysync_change::operations::RedisCommands;
use mysync_connectors::redis::Redis;
use mysync_pipeline::failure::Kind::{Definite, Transient};
use mysync_pipeline::ports::Connector;

use crate::proxy::Proxy;
use crate::server::{Server, connector, settings, until};
use crate::{assert_failure, commands, fence, nothing};

#[tokio::test(flavor = "multi_thread")]
async fn answers_lost_after_the_batch_took_effect_show_in_the_fence() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let mut impatient = settings(&proxy.url());
    impatient.answer_timeout = Duration::from_millis(200);
    let mut writer = Redis::new(impatient.into(), "shop", "users", 0);
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    proxy.swallow_answers(true);
    assert_failure(writer.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await, Transient, "REDIS_LOST_ANSWER");
    proxy.swallow_answers(false);
    assert_eq!(writer.open().await, Ok(Some(fence("a", 1, 2))));
    assert_eq!(server.ask::<String>("GET k"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_key_in_the_middle_of_a_batch_is_never_skipped() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    writer.apply(&nothing(), &fence("a", 4, 4)).await.unwrap();
    server.ask::<()>("SET user:2 plain");
    let batch = commands(&["HSET user:1 name ada", "HSET user:2 name grace-secret", "HSET user:3 name edith"]);
    for _ in 0..2 {
        let message = assert_failure(writer.apply(&batch, &fence("a", 4, 7)).await, Definite, "REDIS_COMMAND_REFUSED");
        for part in ["HSET", "'user:2'", "row 1 ", "WRONGTYPE"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!message.contains("grace-secret"), "{message}");
        // The others are in effect, and the fence says that the batch is not.
        assert_eq!(server.ask::<String>("HGET user:3 name"), "edith");
        assert_eq!(writer.open().await, Ok(Some(fence("a", 4, 7))));
    }
    server.ask::<()>("DEL user:2");
    writer.apply(&batch, &fence("a", 4, 7)).await.unwrap();
    assert_eq!(server.ask::<String>("HGET user:2 name"), "grace-secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_the_server_does_not_know_refuses_the_whole_batch() {
    let server = Server::start(&["--rename-command", "HSET", ""]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    let batch = commands(&["SET k 1", "HSET user:1 name secret"]);
    let message = assert_failure(writer.apply(&batch, &fence("a", 0, 1)).await, Definite, "REDIS_COMMAND_REFUSED");
    assert!(
        message.contains("row 1 ") && message.contains("unknown command") && !message.contains("secret"),
        "{message}"
    );
    assert_eq!(server.ask::<i64>("DBSIZE"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_waited_for() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    server.ask::<()>("CONFIG SET maxmemory 1");
    let batch = commands(&["SET k 2", "SET l 2"]);
    assert_failure(writer.apply(&batch, &fence("a", 1, 2)).await, Transient, "REDIS_OUT_OF_MEMORY");
    assert_eq!(writer.open().await, Ok(Some(fence("a", 0, 1))));
    assert_failure(writer.apply(&nothing(), &fence("a", 1, 1)).await, Transient, "REDIS_OUT_OF_MEMORY");
    assert_eq!(server.ask::<String>("GET k"), "1");
    server.ask::<()>("CONFIG SET maxmemory 0");
    writer.open().await.unwrap();
    writer.apply(&batch, &fence("a", 1, 2)).await.unwrap();
    assert_eq!(server.ask::<String>("GET l"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_enough_replicas_is_waited_for() {
    let server = Server::start(&["--min-replicas-to-write", "1"]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    assert_failure(writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await, Transient, "REDIS_NO_REPLICAS");
    server.ask::<()>("CONFIG SET min-replicas-to-write 0");
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_log_of_its_own_keeps_batch_and_fence() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    server.restart();
    assert_failure(writer.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await, Transient, "REDIS_LOST_ANSWER");
    until_loaded(&server);
    assert_eq!(writer.open().await, Ok(Some(fence("a", 0, 1))));
    writer.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await.unwrap();
    assert_eq!(server.ask::<String>("GET k"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_loses_everything_shows_no_fence() {
    let mut server = Server::start(&["--appendonly", "no"]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    server.kill();
    assert_failure(writer.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await, Transient, "REDIS_LOST_ANSWER");
    assert_failure(writer.open().await, Transient, "REDIS_UNREACHABLE");
    server.restart();
    until_loaded(&server);
    assert_eq!(writer.open().await, Ok(None));
}

fn until_loaded(server: &Server) {
    until("the server has loaded its files", || server.ask::<String>("INFO persistence").contains("\nloading:0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_shorter_than_the_patience_only_delays() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    server.ask::<()>("CLIENT PAUSE 300 WRITE");
    let started = Instant::now();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    assert!(started.elapsed() > Duration::from_millis(200));
}

/// Reads go on during a pause of writes, so the fence is read before the batch that is stuck takes effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_longer_than_the_patience_neither_loses_nor_doubles() {
    let server = Server::start(&[]);
    let mut impatient = settings(&server.url());
    impatient.answer_timeout = Duration::from_millis(150);
    let mut writer = Redis::new(impatient.into(), "shop", "users", 0);
    writer.open().await.unwrap();
    writer.apply(&nothing(), &fence("a", 1, 1)).await.unwrap();
    server.ask::<()>("CLIENT PAUSE 600 WRITE");
    let batch = commands(&["SADD s 1", "SET k 1"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while writer.apply(&batch, &fence("a", 1, 2)).await.is_err() {
        assert!(Instant::now() < deadline);
        while writer.open().await.is_err() {
            assert!(Instant::now() < deadline);
        }
    }
    assert_eq!(writer.open().await, Ok(Some(fence("a", 1, 2))));
    assert_eq!(server.ask::<i64>("SCARD s"), 1);
}

/// More than all socket buffers between the two hold, in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_64_mib_does_not_stand_still() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    let mut batch = RedisCommands::default();
    let value = vec![b'x'; 100];
    while batch.values.data.len() < 64 << 20 {
        let row = batch.len() as u32;
        batch.rows.push(row);
        batch.arguments.push(4);
        [b"HSET".as_slice(), format!("user:{}", row % 1000).as_bytes(), format!("{row}").as_bytes(), &value]
            .iter()
            .for_each(|argument| batch.values.push(argument));
    }
    writer.apply(&batch, &fence("a", 0, 1)).await.unwrap();
    let large = [b"SET", b"one".as_slice(), &vec![b'y'; 64 << 20]];
    let mut one = RedisCommands { rows: vec![0], arguments: vec![3], ..RedisCommands::default() };
    large.iter().for_each(|argument| one.values.push(argument));
    writer.apply(&one, &fence("a", 1, 2)).await.unwrap();
    assert_eq!(server.ask::<usize>("STRLEN one"), 64 << 20);
    assert_eq!(server.ask::<usize>("DBSIZE"), 1002);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_given_up_leaves_no_connection_behind() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let mut writer = connector(&proxy.url());
    writer.open().await.unwrap();
    proxy.swallow_answers(true);
    let batch = commands(&["SET k 1"]);
    let given_up = tokio::time::timeout(Duration::from_millis(100), writer.apply(&batch, &fence("a", 0, 1))).await;
    assert!(given_up.is_err());
    proxy.swallow_answers(false);
    assert_failure(writer.apply(&batch, &fence("a", 0, 1)).await, Transient, "REDIS_CLOSED");
    assert_eq!(writer.open().await, Ok(Some(fence("a", 0, 1))));
}

/// A command that must not be repeated shows both a loss and a doubling: here the fence alone decides what is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn random_cuts_and_kills_neither_lose_nor_double_a_batch() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let proxy = Proxy::start(server.port).await;
    proxy.cut_at_random(seed);
    let mut impatient = settings(&proxy.url());
    impatient.answer_timeout = Duration::from_millis(500);
    let mut writer = Redis::new(impatient.into(), "shop", "users", 0);
    let (mut done, mut sum, mut failures) = (0, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "came to {done}");
        let began = match writer.open().await {
            Ok(fence) => fence.map_or(0, |fence| fence.began.seq),
            Err(failure) => {
                assert_eq!(failure.kind, Transient, "{failure}");
                failures += 1;
                continue;
            }
        };
        assert!(began == done || began == done + 1, "the fence says {began} after {done}");
        if began > done {
            (done, sum) = (began, sum + began % 50 * began);
        }
        if done >= 400 {
            break;
        }
        while done < 400 {
            let next = done + 1;
            let batch = commands(&vec![format!("INCRBY sum {next}").as_str(); next as usize % 50]);
            let attempt = fence("a", done, next);
            let (applied, ()) = tokio::join!(writer.apply(&batch, &attempt), async {
                if next % 100 == 0 && failures % 2 == 0 {
                    tokio::task::block_in_place(|| server.restart());
                }
            });
            match applied {
                Ok(()) => (done, sum) = (next, sum + next % 50 * next),
                Err(failure) => {
                    assert_eq!(failure.kind, Transient, "{failure}");
                    failures += 1;
                    break;
                }
            }
        }
    }
    until_loaded(&server);
    assert_eq!(server.ask::<u64>("GET sum"), sum, "after {failures} failures");
    assert!(failures > 20, "only {failures} failures");
}
