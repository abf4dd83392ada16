//! Things that listen on a port and are no Redis, or not one to write to.

use mysync_pipeline::failure::Kind::{Definite, Transient};
use mysync_pipeline::ports::Connector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::server::connector;
use crate::{assert_failure, commands, fence};

pub const HELLO: &str =
    "*6\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
pub const PREPARED: &str = "+OK\r\n+OK\r\n*0\r\n$0\r\n\r\n";
pub const ARMED: &str = "+OK\r\n$-1\r\n";

/// Answers each flight with the next of `answers`, whatever was asked, then hangs up; tells what it was sent.
async fn stranger(answers: Vec<String>) -> (String, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 << 10];
        for answer in answers {
            let size = socket.read(&mut bytes).await.unwrap_or(0);
            _ = heard.send(bytes[..size].to_vec());
            _ = socket.write_all(answer.as_bytes()).await;
        }
        // Whatever else comes is heard too.
        while let Ok(size @ 1..) = socket.read(&mut bytes).await {
            _ = heard.send(bytes[..size].to_vec());
        }
    });
    (url, hears)
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_web_server_is_no_redis() {
    let (url, _) = stranger(texts(&["HTTP/1.1 400 Bad Request\r\n\r\n"])).await;
    assert_failure(connector(&url).open().await, Transient, "REDIS_PROTOCOL");
}

#[tokio::test]
async fn old_versions_are_refused() {
    let (url, _) = stranger(texts(&["-ERR unknown command `HELLO`, with args beginning with: `2`\r\n"])).await;
    assert_failure(connector(&url).open().await, Definite, "REDIS_VERSION");
    let (url, _) = stranger(texts(&[&HELLO.replace("7.0.0", "6.0.9")])).await;
    assert_failure(connector(&url).open().await, Definite, "REDIS_VERSION");
}

#[tokio::test]
async fn a_server_that_is_loading_is_waited_for() {
    let (url, _) =
        stranger(texts(&[HELLO, PREPARED, "-LOADING Redis is loading\r\n-LOADING Redis is loading\r\n"])).await;
    assert_failure(connector(&url).open().await, Transient, "REDIS_LOADING");
}

#[tokio::test]
async fn answers_that_nobody_asked_for_end_the_connection() {
    let (url, _) = stranger(texts(&[&format!("{HELLO}+OK\r\n")])).await;
    assert_failure(connector(&url).open().await, Transient, "REDIS_PROTOCOL");
    let deep = "*1000000\r\n".repeat(100_000);
    let (url, _) = stranger(texts(&[&deep])).await;
    assert_failure(connector(&url).open().await, Transient, "REDIS_PROTOCOL");
}

/// The fence was written by somebody between our EXEC and the WATCH behind it: what the armed answer is for.
#[tokio::test]
async fn a_fence_that_was_not_ours_when_it_was_armed_stops_the_next_batch_before_it_is_sent() {
    for (found, code) in [(Some(fence("other", 1, 2)), "FENCE_TAKEN"), (None, "STORE_EMPTIED")] {
        let found = found
            .map_or("$-1\r\n".to_owned(), |fence| format!("${}\r\n{}\r\n", fence.to_text().len(), fence.to_text()));
        let written = format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n+OK\r\n{found}");
        let (url, mut hears) = stranger(texts(&[HELLO, PREPARED, ARMED, &written])).await;
        let mut writer = connector(&url);
        assert_eq!(writer.open().await, Ok(None));
        writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
        assert_failure(writer.apply(&commands(&["SET k 2"]), &fence("a", 1, 2)).await, Definite, code);
        drop(writer);
        let mut heard = Vec::new();
        while let Some(bytes) = hears.recv().await {
            heard.extend(bytes);
        }
        let heard = String::from_utf8(heard).unwrap();
        assert_eq!(heard.matches("\r\nMULTI\r\n").count(), 2, "{heard}");
        assert!(heard.contains("SET\r\n$1\r\nk\r\n$1\r\n1") && !heard.contains("SET\r\n$1\r\nk\r\n$1\r\n2"), "{heard}");
    }
}

#[tokio::test]
async fn a_reply_that_belongs_to_another_command_ends_the_connection() {
    for written in [
        "+QUEUED\r\n",
        "+OK\r\n+OK\r\n",
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n",
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n*1\r\n",
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n",
    ] {
        let (url, _) = stranger(texts(&[HELLO, PREPARED, ARMED, written])).await;
        let mut writer = connector(&url);
        writer.open().await.unwrap();
        assert_failure(writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await, Transient, "REDIS_PROTOCOL");
    }
}

/// Neither side may wait for the other to read: with more on the way than all socket buffers hold, both would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reads_no_further_until_its_answers_are_taken_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 << 10];
        for answer in [HELLO, PREPARED, ARMED, "+OK\r\n"] {
            // The last of these is the answer to MULTI, whose flight has begun.
            socket.readable().await.unwrap();
            if answer != "+OK\r\n" {
                _ = socket.read(&mut bytes).await;
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        let refusal = format!("-ERR {}\r\n", "no".repeat(500));
        let mut answers = 0;
        while let Ok(size @ 1..) = socket.read(&mut bytes).await {
            for _ in bytes[..size].iter().filter(|byte| **byte == b'*') {
                // MULTI has been answered.
                if answers > 0 {
                    socket.write_all(refusal.as_bytes()).await.unwrap();
                }
                answers += 1;
            }
        }
    });
    let mut writer = connector(&url);
    writer.open().await.unwrap();
    let large = format!("SET k {}", "x".repeat(1000));
    let batch = commands(&vec![large.as_str(); 20_000]);
    assert_failure(writer.apply(&batch, &fence("a", 0, 1)).await, Definite, "REDIS_COMMAND_REFUSED");
}
