//! A client of Redis that is told of changed entries, each at the moment at which any client could see it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysync_test_support::RedisServer;
use redis::Connection;

const CHANNEL: &str = "__keyspace@0__:";
/// For the first of what is awaited; a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// A subscription to what Redis itself tells of changed hashes: in order, and at once instead of at the next look.
pub struct Subscriber {
    changes: Receiver<Change>,
    redis: Connection,
    id: i64,
}

#[derive(Debug)]
struct Change {
    key: String,
    at: Instant,
}

impl Subscriber {
    /// For hashes whose keys match this, such as `user:*`.
    pub fn start(redis: &RedisServer, keys: &str) -> Result<Self> {
        redis.ask::<()>(&["CONFIG", "SET", "notify-keyspace-events", "Kh"])?;
        let mut conn = redis.conn()?;
        let id = redis::cmd("CLIENT").arg("ID").query(&mut conn)?;
        let (changed, changes) = channel();
        let (subscribed, answer) = channel();
        let pattern = format!("{CHANNEL}{keys}");
        std::thread::spawn(move || listen(&mut conn, &pattern, &subscribed, &changed));
        answer.recv().context("the subscription ended at once")??;
        Ok(Self { changes, redis: redis.conn()?, id })
    }

    /// When the next change, which must be one of this key, became visible.
    pub fn seen(&self, key: &str) -> Result<Instant> {
        let change = self.changes.recv_timeout(PATIENCE).with_context(|| format!("{key} does not change in Redis"))?;
        ensure!(change.key == key, "{} changed in Redis where {key} was next", change.key);
        Ok(change.at)
    }
}

impl Drop for Subscriber {
    /// The thread waits for Redis, so Redis ends it.
    fn drop(&mut self) {
        let ended = redis::cmd("CLIENT").arg("KILL").arg("ID").arg(self.id).query::<()>(&mut self.redis);
        let quiet = redis::cmd("CONFIG").arg("SET").arg("notify-keyspace-events").arg("").query::<()>(&mut self.redis);
        // A server that is gone tells nobody anything.
        let _ = ended.and(quiet);
    }
}

fn listen(conn: &mut Connection, pattern: &str, subscribed: &Sender<Result<()>>, changed: &Sender<Change>) {
    let mut subscription = conn.as_pubsub();
    let done = subscription.psubscribe(pattern);
    let _ = subscribed.send(done.map_err(Into::into));
    while let Ok(message) = subscription.get_message() {
        let at = Instant::now();
        let key = message.get_channel_name().trim_start_matches(CHANNEL).to_owned();
        if changed.send(Change { key, at }).is_err() {
            return;
        }
    }
}
