//! A reader of Redis who looks all the time while a [`Load`](crate::load::Load) runs, and tells the first thing it should not have seen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use mysync_test_support::RedisServer;
use redis::Connection;

use crate::load::{SESSIONS, pair};

const PAUSE: Duration = Duration::from_millis(1);

/// What is seen at one moment of a session's two rows, and of its visits.
type Seen = (Option<u64>, Option<u64>, Vec<String>);

pub struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Witness {
    /// `whole`: transactions become visible as a whole, as they do with one partition.
    pub fn start(redis: &RedisServer, whole: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, stopped) = (redis.url(), stop.clone());
        Self { stop, thread: std::thread::spawn(move || look_on(&url, whole, &stopped)) }
    }

    /// Answers how many turns were seen one after the other.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the witness panicked"))?
    }
}

fn look_on(url: &str, whole: bool, stop: &AtomicBool) -> Result<u64> {
    let client = redis::Client::open(url)?;
    let mut conn = None;
    let mut last = [0; SESSIONS as usize];
    let mut steps = 0;
    while !stop.load(Relaxed) {
        std::thread::sleep(PAUSE);
        let Some(open) = &mut conn else {
            // A server that is away comes back.
            conn = client.get_connection().ok();
            continue;
        };
        for (session, last) in (0..SESSIONS).zip(&mut last) {
            let Ok(seen) = look(open, session) else {
                conn = None;
                break;
            };
            let turn = check(session, *last, &seen, whole)?;
            steps += u64::from(turn > *last);
            *last = turn;
        }
    }
    Ok(steps)
}

fn look(conn: &mut Connection, session: i32) -> redis::RedisResult<Seen> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for id in pair(session) {
        pipe.cmd("HGET").arg(format!("bulk:{id}")).arg("k");
    }
    pipe.cmd("LRANGE").arg(format!("visits:city {session}")).arg(0).arg(-1).query(conn)
}

fn check(session: i32, last: u64, (one, other, visits): &Seen, whole: bool) -> Result<u64> {
    ensure!(!whole || one == other, "session {session}: half a transaction is visible: turn {one:?} beside {other:?}");
    let turn = one.unwrap_or(0);
    ensure!(turn >= last, "session {session}: turn {one:?} is visible after turn {last}");
    let members: BTreeSet<&String> = visits.iter().collect();
    ensure!(members.len() == visits.len(), "session {session}: a visit is in its list twice: {visits:?}");
    Ok(turn)
}
