//! What lies between: holds back requests, swallows answers.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Between connectors and a server on this machine.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Requests wait here instead of going on to the server.
    hold: AtomicBool,
    /// Answers end here instead of going on to the client.
    swallow: AtomicBool,
    answers: Mutex<Vec<u8>>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(between(client, to, shared.clone()));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn hold_requests(&self, hold: bool) {
        self.state.hold.store(hold, SeqCst);
    }

    pub fn swallow_answers(&self, swallow: bool) {
        self.state.swallow.store(swallow, SeqCst);
    }

    /// Everything the server has answered.
    pub fn answers(&self) -> String {
        String::from_utf8_lossy(&self.state.answers.lock().unwrap()).into_owned()
    }
}

async fn between(client: TcpStream, to: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = state.clone();
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 << 10];
        // A client that has gone does not take back what it sent.
        while let Ok(size @ 1..) = from_client.read(&mut bytes).await {
            while requests.hold.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if to_server.write_all(&bytes[..size]).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(size @ 1..) = from_server.read(&mut bytes).await {
        state.answers.lock().unwrap().extend_from_slice(&bytes[..size]);
        if !state.swallow.load(SeqCst) {
            _ = to_client.write_all(&bytes[..size]).await;
        }
    }
}
