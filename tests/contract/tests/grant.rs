//! What a writer is granted: refusal first, then exactly what it may, then what is nearly that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mysync_change::pattern::Pattern;
use mysync_contract_tests::batches;
use mysync_contract_tests::writers::{load, settings, shown};
use mysync_pipeline::ports::{Mapped, Writer};
use mysync_wasm::{Grant, PluginSettings};

async fn mapped(settings: PluginSettings) -> Mapped {
    let mut instance = load(settings).await.start().await.unwrap();
    let plan = instance.define(0, &batches::users()).await.unwrap();
    instance.write(batches::inserts(&plan, 0, 4)).await.unwrap()
}

/// Runs a script of commands, each line `ROW COMMAND ARGUMENT…`.
async fn run(script: &str) -> Mapped {
    mapped(settings("scripted", script)).await
}

/// The only command of the script, in row 1, is refused with `code`.
async fn refused(command: &str, code: &str) {
    let mapped = run(&format!("0 SET user:0 before\n1 {command}\n2 SET user:2 after")).await;
    assert_eq!(shown(&mapped.commands), ["0 SET user:0 before", "2 SET user:2 after"], "{command}");
    assert_eq!(mapped.rejections.len(), 1, "{command}: {:?}", mapped.rejections);
    assert_eq!(mapped.rejections[0].row, 1);
    assert!(mapped.rejections[0].reason.starts_with(&format!("[{code}] ")), "{command}: {:?}", mapped.rejections);
}

async fn granted(script: &str) {
    let mapped = run(script).await;
    assert_eq!(shown(&mapped.commands), script.lines().collect::<Vec<_>>());
    assert!(mapped.rejections.is_empty(), "{:?}", mapped.rejections);
}

#[tokio::test]
async fn keys_outside_the_grant() {
    for command in ["SET admin:1 x", "DEL user:1 admin:1", "UNLINK admin:1 user:1", "HSET admin a b", "LREM admin 0 a"]
    {
        refused(command, "GRANT_KEY_REFUSED").await;
    }
}

#[tokio::test]
async fn keys_that_are_granted() {
    granted("0 SET users all\n1 SET user:1 x\n1 SET user: x\n2 DEL user:1 users user:2\n3 set user:3 lower-case").await;
}

#[tokio::test]
async fn keys_that_are_nearly_granted() {
    for key in ["user", "User:1", "xuser:1", "users:1", "users2", "user;1", ""] {
        refused(&format!("SET {key} x"), "GRANT_KEY_REFUSED").await;
    }
}

#[tokio::test]
async fn wants_narrow_the_ceiling_and_never_widen_it() {
    let run = async |wants: &str, key: &str| {
        let grant = Grant::new(vec![Pattern::new("user:*")], Some(vec![Pattern::new(wants)]));
        mapped(PluginSettings { grant, ..settings("scripted", &format!("0 SET {key} x")) }).await.rejections.len()
    };
    assert_eq!(run("user:1*", "user:2").await, 1);
    assert_eq!(run("user:1*", "user:10").await, 0);
    assert_eq!(run("*", "admin").await, 1);
    // Not even where every key is granted.
    let everything = Grant::new(vec![Pattern::new("*")], None);
    let fence = PluginSettings { grant: everything, ..settings("scripted", "0 SET mysync:fence:{shop/orders/0} x") };
    assert_eq!(mapped(fence).await.rejections.len(), 1);
    let nothing = PluginSettings { grant: Grant::default(), ..settings("scripted", "0 SET user:1 x") };
    assert_eq!(mapped(nothing).await.rejections.len(), 1);
}

#[tokio::test]
async fn commands_outside_the_list() {
    let commands = [
        "FLUSHALL",
        "EVAL x 0",
        "GET user:1",
        "APPEND user:1 x",
        "INCR user:1",
        "LPUSH user:1 x",
        "SETX user:1 x",
        " ",
    ];
    for command in commands {
        refused(command, "GRANT_COMMAND_REFUSED").await;
    }
}

#[tokio::test]
async fn commands_with_arguments_that_they_do_not_take() {
    let commands = [
        "SET user:1",
        "SET user:1 x EX 10",
        "DEL",
        "HSET user:1 field",
        "HSET user:1 a b c",
        "ZADD user:1 NX 1 a",
        "ZADD user:1 CH INCR 1 a",
        "ZADD user:1 XX GT 1 a",
        "ZADD user:1 1 a INCR b",
        "PERSIST user:1 x",
        "PEXPIREAT user:1",
    ];
    for command in commands {
        refused(command, "GRANT_COMMAND_REFUSED").await;
    }
}

#[tokio::test]
async fn each_command_as_it_may_be_sent() {
    granted(
        "0 SET user:1 v\n0 DEL user:1\n0 UNLINK user:1 user:2\n0 HSET user:1 a 1 b 2\n0 HDEL user:1 a b\n1 SADD user:1 a\n\
         1 SREM user:1 a b\n2 ZADD user:1 -1.5e3 a +inf b\n2 ZREM user:1 a\n2 LREM user:1 0 a\n2 RPUSH user:1 a\n3 PEXPIREAT user:1 1\n\
         3 PERSIST user:1",
    )
    .await;
}

#[tokio::test]
async fn nothing_is_appended_that_was_not_taken_out_right_before() {
    granted("0 LREM user:1 0 a\n0 RPUSH user:1 a\n0 LREM user:1 0 a\n0 RPUSH user:1 a").await;
    // What a delete of a row becomes.
    granted("0 LREM user:1 0 a\n0 LREM user:1 0 b\n1 LREM user:1 0 a\n1 LREM user:1 0 a\n1 RPUSH user:1 a").await;
    let halves = [
        "RPUSH user:1 a",
        "LREM user:1 1 a\n1 RPUSH user:1 a",
        "LREM user:1 0 a\n1 RPUSH user:2 a",
        "LREM user:1 0 a\n1 RPUSH user:1 b",
        "LREM user:1 0 a\n1 SET user:1 b\n1 RPUSH user:1 a",
        "LREM user:1 0 a\n1 FLUSHALL\n1 RPUSH user:1 a",
        "RPUSH user:1 a\n1 LREM user:1 0 a",
    ];
    for half in halves {
        refused(half, "GRANT_COMMAND_REFUSED").await;
    }
    let split = run("0 LREM user:1 0 a\n1 RPUSH user:1 a").await;
    assert_eq!(shown(&split.commands), ["0 LREM user:1 0 a"], "a pair belongs to one row");
    assert_eq!(split.rejections.len(), 1);
}

#[tokio::test]
async fn a_rejected_row_loses_all_its_commands_and_no_other_does() {
    let mapped =
        run("0 SET user:0 x\n1 SET user:1 x\n1 SET admin x\n1 FLUSHALL\n2 SET user:2 x\n2 reject\n3 SET user:3 x")
            .await;
    assert_eq!(shown(&mapped.commands), ["0 SET user:0 x", "3 SET user:3 x"]);
    let rows: Vec<u32> = mapped.rejections.iter().map(|rejection| rejection.row).collect();
    assert_eq!(rows, [1, 2]);
    let both = run("1 SET admin x\n1 reject").await;
    assert_eq!((both.rejections.len(), both.rejections[0].reason.as_str()), (1, "as the script says"));
}
