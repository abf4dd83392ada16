//! What a batch costs on the way: one exchange, whatever its size.

use mysync_change::fence::Fence;
use mysync_pipeline::ports::Connector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::connector;
use crate::strangers::{ARMED, HELLO, PREPARED};
use crate::{commands, fence};

/// Reads until what was sent ends with `end`.
async fn hear(socket: &mut TcpStream, end: &str) {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0, "hung up before {end:?}");
    }
}

/// What a server answers to a batch of so many commands, with the fence that is armed for the next one.
fn answers(commands: usize, fence: &Fence) -> String {
    let (queued, done) = ("+QUEUED\r\n".repeat(commands + 1), ":1\r\n".repeat(commands));
    let text = fence.to_text();
    format!("+OK\r\n{queued}*{}\r\n{done}+OK\r\n+OK\r\n${}\r\n{text}\r\n", commands + 1, text.len())
}

/// The server says nothing before it has the whole batch, the fence, and the question that arms the next batch.
#[tokio::test]
async fn a_batch_of_any_size_is_one_round_trip() {
    let sizes = [0, 1, 1_000, 200_000];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut writer = connector(&format!("redis://{}", listener.local_addr().unwrap()));
    let key = writer.fence_key().to_owned();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let get = format!("GET\r\n${}\r\n{key}\r\n", key.len());
        for (end, answer) in [("mysync:users:0\r\n", HELLO), ("memory\r\n", PREPARED), (&get, ARMED)] {
            hear(&mut socket, end).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        for (nth, size) in sizes.into_iter().enumerate() {
            hear(&mut socket, &get).await;
            socket.write_all(answers(size, &fence("a", 0, nth as u64)).as_bytes()).await.unwrap();
        }
    });
    assert_eq!(writer.open().await, Ok(None));
    for (nth, size) in sizes.into_iter().enumerate() {
        let batch = commands(&vec!["SADD city:london 1"; size]);
        writer.apply(&batch, &fence("a", 0, nth as u64)).await.unwrap();
    }
    server.await.unwrap();
}
