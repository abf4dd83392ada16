//! Sessions that change rows for as long as they are wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mysql_async::prelude::Queryable;
use mysync_test_support::{Mysql, Random};
use tokio::task::JoinHandle;

/// Rows that every session updates.
const SHARED_ROWS: u64 = 24;
/// Keys of each session's own, which it inserts, deletes and changes.
const OWN_KEYS: u64 = 8;
const WRITERS_MAX: u64 = 8;

/// `w.hot`, in which the version of each key only grows, and `w.mark`.
pub async fn create(mysql: &Mysql) {
    let rows: Vec<String> = (0..SHARED_ROWS).map(|id| format!("({id}, 1)")).collect();
    let create = "CREATE DATABASE w; CREATE TABLE w.hot (id INT PRIMARY KEY, version BIGINT NOT NULL); \
                  CREATE TABLE w.mark (id BIGINT PRIMARY KEY); INSERT INTO w.hot VALUES ";
    mysql.exec(&format!("{create}{}", rows.join(", "))).await.unwrap();
}

pub struct Load {
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    /// The `number`th load of a table has keys of its own.
    pub async fn start(mysql: &Mysql, number: u64, writers: u64, random: &mut Random) -> Self {
        let mut load = Self { stop: Arc::default(), transactions: Arc::default(), writers: Vec::new() };
        for writer in 0..writers {
            let mut conn = mysql.conn().await.unwrap();
            let mut own = Own { first: SHARED_ROWS + (number * WRITERS_MAX + writer) * OWN_KEYS, ..Own::default() };
            let mut random = Random::new(random.number());
            let (stop, transactions) = (load.stop.clone(), load.transactions.clone());
            load.writers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let statement =
                        if random.chance(70) { update(&mut random, writer) } else { own.change(&mut random) };
                    conn.query_drop(&statement).await.unwrap_or_else(|error| panic!("{error}: {statement}"));
                    transactions.fetch_add(1, Ordering::Relaxed);
                }
                conn.disconnect().await.unwrap();
            }));
        }
        load
    }

    /// How many transactions there were.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
        self.transactions.load(Ordering::Relaxed)
    }
}

fn update(random: &mut Random, session: u64) -> String {
    let id = random.below(SHARED_ROWS);
    match random.below(8) {
        0 => format!(
            "XA START '{session}'; UPDATE w.hot SET version = version + 1 WHERE id = {id}; XA END '{session}'; \
             XA COMMIT '{session}' ONE PHASE"
        ),
        1 | 2 => format!(
            "UPDATE w.hot SET version = version + 1 WHERE id BETWEEN {id} AND {}",
            (id + 3).min(SHARED_ROWS - 1)
        ),
        _ => format!("UPDATE w.hot SET version = version + 1 WHERE id = {id}"),
    }
}

/// Keys of one session, and which of them are there.
#[derive(Default)]
struct Own {
    first: u64,
    there: [bool; OWN_KEYS as usize],
    version: u64,
}

impl Own {
    fn change(&mut self, random: &mut Random) -> String {
        self.version += 1;
        let (one, other) = (random.below(OWN_KEYS), random.below(OWN_KEYS));
        let (id, other_id, version) = (self.first + one, self.first + other, self.version);
        let (one, other) = (one as usize, other as usize);
        if !self.there[one] {
            self.there[one] = true;
            format!("INSERT INTO w.hot VALUES ({id}, {version})")
        } else if !self.there[other] {
            self.there.swap(one, other);
            format!("UPDATE w.hot SET id = {other_id}, version = {version} WHERE id = {id}")
        } else if random.chance(50) {
            self.there[one] = false;
            format!("DELETE FROM w.hot WHERE id = {id}")
        } else {
            format!("UPDATE w.hot SET version = {version} WHERE id = {id}")
        }
    }
}
