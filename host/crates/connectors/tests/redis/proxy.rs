//! What lies between: holds back requests, swallows answers, cuts at random.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
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
    /// Connections are cut after a random number of bytes, by this seed; 0: they are not.
    cuts: AtomicU64,
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

    /// From now on connections are cut after a random number of bytes.
    pub fn cut_at_random(&self, seed: u64) {
        self.state.cuts.store(seed | 1, SeqCst);
    }

    /// Everything the server has answered.
    pub fn answers(&self) -> String {
        String::from_utf8_lossy(&self.state.answers.lock().unwrap()).into_owned()
    }
}

impl State {
    /// How many bytes pass one way before the connection is cut.
    fn budget(&self) -> usize {
        let step = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ x << 17
        };
        let random = self.cuts.fetch_update(SeqCst, SeqCst, |x| (x != 0).then(|| step(x))).unwrap_or(0);
        if random == 0 { usize::MAX } else { (random % 8000) as usize }
    }
}

async fn between(client: TcpStream, to: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = state.clone();
    let (mut request_budget, mut answer_budget) = (state.budget(), state.budget());
    let forth = tokio::spawn(async move {
        let mut bytes = vec![0; 64 << 10];
        // A client that has gone does not take back what it sent.
        while let Ok(size @ 1..) = from_client.read(&mut bytes).await {
            while requests.hold.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let passed = size.min(request_budget);
            request_budget -= passed;
            if to_server.write_all(&bytes[..passed]).await.is_err() || passed < size {
                return;
            }
        }
    });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(size @ 1..) = from_server.read(&mut bytes).await {
        state.answers.lock().unwrap().extend_from_slice(&bytes[..size]);
        if !state.swallow.load(SeqCst) {
            let passed = size.min(answer_budget);
            answer_budget -= passed;
            _ = to_client.write_all(&bytes[..passed]).await;
            if passed < size {
                forth.abort();
                return;
            }
        }
    }
}
