//! A load on the shop: several sessions that insert, change, move and delete rows of its tables, until they are told to stop.
//!
//! Every transaction also writes its session's next turn: to two rows of `shop.bulk` that are only ever changed together, and to a row of
//! `shop.visits`. [`Witness`](crate::witness::Witness) sees by them whether the store takes any step back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use mysync_test_support::{Mysql, Random};
use tokio::task::JoinHandle;

pub const SESSIONS: i32 = 3;
/// A session's transactions are at least this far apart: a small machine has to keep up.
const PACE: Duration = Duration::from_millis(4);
/// Two sessions were in each other's way: a deadlock, a lock that was not given, a key that another was faster to take.
const CLASHES: [u16; 3] = [1213, 1205, 1062];

const USERS: u64 = 60;
const ORDERS: u64 = 100;
const BULK: u64 = 1000;
const VISITS: u64 = 25;
const CITIES: [&str; 5] = ["London", "Paris", "New York", "Łódź", "x:{1}"];

/// The two rows of `shop.bulk` that hold a session's turn.
pub fn pair(session: i32) -> [i32; 2] {
    [-2 * session - 1, -2 * session - 2]
}

pub struct Load {
    stop: Arc<AtomicBool>,
    sessions: Vec<JoinHandle<Result<u64>>>,
}

impl Load {
    /// Between two transactions a session may run one of these statements.
    pub fn start(mysql: &Mysql, random: &mut Random, between: &'static [&'static str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let session = |number| {
            let session = Session { number, turn: 0, random: Random::new(random.number()), between };
            tokio::spawn(session.run(mysql.url(), stop.clone()))
        };
        let sessions = (0..SESSIONS).map(session).collect();
        Self { stop, sessions }
    }

    /// Answers how many transactions were committed.
    pub async fn stop(self) -> Result<u64> {
        self.stop.store(true, Relaxed);
        let mut committed = 0;
        for session in self.sessions {
            committed += session.await??;
        }
        Ok(committed)
    }
}

struct Session {
    number: i32,
    turn: u64,
    random: Random,
    between: &'static [&'static str],
}

impl Session {
    async fn run(mut self, url: String, stop: Arc<AtomicBool>) -> Result<u64> {
        let mut committed = 0;
        let mut pace = tokio::time::interval(PACE);
        let mut conn = None;
        while !stop.load(Relaxed) {
            pace.tick().await;
            let Some(open) = &mut conn else {
                // A server that is away comes back.
                conn = Conn::from_url(&url).await.ok();
                continue;
            };
            match self.transaction(open).await {
                Ok(()) => committed += 1,
                Err(Error::Server(error)) if CLASHES.contains(&error.code) => open.query_drop("ROLLBACK").await?,
                Err(Error::Server(error)) => return Err(error).context("the load itself is wrong"),
                Err(_) => conn = None,
            }
        }
        Ok(committed)
    }

    async fn transaction(&mut self, conn: &mut Conn) -> Result<(), Error> {
        if !self.between.is_empty() && self.random.chance(20) {
            conn.query_drop(*self.random.pick(self.between)).await?;
        }
        let mut statements = vec!["BEGIN".to_owned()];
        for _ in 0..self.random.below(4) {
            self.change(&mut statements);
        }
        self.take_turn(&mut statements);
        statements.push("COMMIT".to_owned());
        conn.query_drop(statements.join("; ")).await
    }

    fn change(&mut self, statements: &mut Vec<String>) {
        let random = &mut self.random;
        let (user, other) = (random.below(USERS), random.below(USERS));
        let (city, score) = (*random.pick(&CITIES), random.below(1000));
        let email = if random.chance(30) { "NULL".to_owned() } else { format!("'{score}@example.org'") };
        let order = random.below(ORDERS);
        let put = format!(
            "REPLACE INTO shop.users (id, name, email, city, score) VALUES ({user}, 'Zoë {score}', {email}, '{city}', {score})"
        );
        let delete = format!("DELETE FROM shop.users WHERE id = {user}");
        match random.below(10) {
            0 | 1 => statements.push(put),
            2 => statements.push(format!("UPDATE shop.users SET city = '{city}', score = {score} WHERE id = {user}")),
            3 => statements.push(delete),
            // The same key again in one transaction.
            4 => statements.extend([delete, put]),
            5 => statements.push(format!("UPDATE IGNORE shop.users SET id = {other} WHERE id = {user}")),
            6 => {
                // Two rows change places by way of a key of this session's own.
                let aside = -1 - self.number;
                let moves = [(user, aside.to_string()), (other, user.to_string())];
                statements.extend(moves.map(|(from, to)| format!("UPDATE shop.users SET id = {to} WHERE id = {from}")));
                statements.push(format!("UPDATE shop.users SET id = {other} WHERE id = {aside}"));
            }
            7 => statements.push(format!(
                "REPLACE INTO shop.orders VALUES ({order}, {user}, {score}.{:02}, {email})",
                random.below(100)
            )),
            8 => statements.push(format!("DELETE FROM shop.orders WHERE id BETWEEN {order} AND {}", order + 5)),
            _ => {
                let first = random.below(BULK);
                let rows: Vec<String> = (first..first + random.below(40) + 1)
                    .map(|id| format!("({id}, {score}, '{id}', '{city}')"))
                    .collect();
                statements.push(format!("REPLACE INTO shop.bulk VALUES {}", rows.join(", ")));
            }
        }
    }

    fn take_turn(&mut self, statements: &mut Vec<String>) {
        self.turn += 1;
        let Self { number, turn, random, .. } = self;
        let [one, other] = pair(*number);
        statements.push(format!("REPLACE INTO shop.bulk VALUES ({one}, {turn}, '', ''), ({other}, {turn}, '', '')"));
        let mut visit = || *number as u64 * VISITS + random.below(VISITS);
        let (visit, other) = (visit(), visit());
        match self.random.below(10) {
            0 => statements.push(format!("DELETE FROM shop.visits WHERE id = {visit}")),
            1 if visit != other => statements.extend([
                format!("DELETE FROM shop.visits WHERE id = {other}"),
                format!("UPDATE shop.visits SET id = {other}, turn = {turn} WHERE id = {visit}"),
            ]),
            _ => statements.push(format!("REPLACE INTO shop.visits VALUES ({visit}, 'city {number}', {turn})")),
        }
    }
}
