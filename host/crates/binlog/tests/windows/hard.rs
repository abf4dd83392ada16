//! Keys that move, rows without keys, tables that are altered, emptied, renamed, all while a dump reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mysql_async::prelude::Queryable;
use mysync_pipeline::dump::Stage;
use mysync_test_support::{Mysql, Random};
use tokio::task::JoinHandle;

use crate::dumps::{CHUNK_ROWS, COLUMNS, read_to_end, select};
use crate::product::Product;
use crate::servers::{Commits, can_wait, installed};

const SESSIONS: u64 = 3;
/// Errors of statements that come too early or too late: a table, column or key that is there or is not, or that changed meanwhile.
const MISSED: [u16; 8] = [1050, 1054, 1060, 1062, 1091, 1146, 1213, 1412];

/// Makes a statement of chance, of which session it is for, and of a version that only grows.
type Statement = fn(&mut Random, u64, u64) -> String;

/// Sessions that run statements for as long as they are wanted.
struct Sessions {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Sessions {
    async fn start(mysql: &Mysql, statement: Statement, sessions: u64, random: &mut Random) -> Self {
        static VERSION: AtomicU64 = AtomicU64::new(1);
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for session in 0..sessions {
            let mut conn = mysql.conn().await.unwrap();
            let (stop, mut random) = (stop.clone(), Random::new(random.number()));
            tasks.push(tokio::spawn(async move {
                let mut ran = 0;
                while !stop.load(Ordering::Relaxed) {
                    let statement = statement(&mut random, session, VERSION.fetch_add(1, Ordering::Relaxed));
                    match conn.query_drop(&statement).await {
                        Ok(()) => ran += 1,
                        Err(mysql_async::Error::Server(error)) if MISSED.contains(&error.code) => {
                            conn.query_drop("ROLLBACK").await.unwrap();
                        }
                        Err(error) => panic!("{error}: {statement}"),
                    }
                }
                conn.disconnect().await.unwrap();
                ran
            }));
        }
        Self { stop, tasks }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut ran = 0;
        for task in self.tasks {
            ran += task.await.unwrap();
        }
        ran
    }
}

/// Something that makes a chunk and the stream speak of different things.
struct Case {
    name: &'static str,
    create: &'static str,
    /// Changes rows.
    change: Statement,
    /// Changes tables, but during the last dump.
    alter: Option<Statement>,
    tables: &'static [&'static str],
    columns: [&'static str; 2],
}

impl Case {
    /// Dumps tables again and again while sessions change them, and compares what the log says in the end with the tables.
    async fn run(&self, mysql: &Mysql, least: u64, random: &mut Random) -> String {
        let mark = "DROP DATABASE IF EXISTS w; CREATE DATABASE w; USE w; CREATE TABLE mark (id BIGINT PRIMARY KEY)";
        mysql.exec(&format!("{mark}; {}", self.create)).await.unwrap();
        let changes = Sessions::start(mysql, self.change, SESSIONS, random).await;
        let mut alters = match self.alter {
            Some(alter) => Some(Sessions::start(mysql, alter, 1, random).await),
            None => None,
        };
        let mut product = Product::start(mysql, 2, CHUNK_ROWS).await.with_a_slow_writer();
        let (mut chunks, mut again, mut left_out, mut statements) = (0, 0, 0, 0);
        loop {
            let is_last = chunks >= least;
            if let Some(alters) = alters.take_if(|_| is_last) {
                statements += product.while_it(alters.stop()).await;
            }
            let status = product.dump("w.*").await;
            assert_eq!(status.stage, Stage::Done, "{}", self.name);
            chunks += status.chunks;
            again += status.chunks_again;
            left_out += status.rows_left_out;
            if is_last {
                break;
            }
        }
        statements += product.while_it(changes.stop()).await;
        read_to_end(&mut product, mysql, 1).await;
        for table in self.tables {
            let is_there =
                format!("SELECT 1 FROM information_schema.tables WHERE table_schema = 'w' AND table_name = '{table}'");
            let rows = match mysql.query::<u64>(&is_there).await.unwrap().is_empty() {
                true => Vec::new(),
                false => select(mysql, table, self.columns).await,
            };
            assert_eq!(product.picture.rows(table, self.columns), rows, "{table}");
        }
        let Product { dumped, streamed, .. } = product;
        format!(
            "{chunks} chunks, {again} read again, 0 stale; {dumped} rows dumped, {left_out} left out; {streamed} changes of {statements} \
             statements"
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_move_and_tables_that_change_while_they_are_read_bring_no_former_row_back() {
    const NAME: &str = "hard cases";
    let mut random = Random::from_env();
    let cases = [moving(), keyless(), wide(), altered(), renamed()];
    let homes = installed(NAME);
    let servers = homes.iter().flat_map(|home| [true, false].map(|gtids| (home, Commits { gtids, ordered: false })));
    let least = (crate::windows(320) / cases.len()).div_ceil(servers.clone().count().max(1)) as u64;
    for (home, commits) in servers {
        let mysql = commits.start(home);
        if !can_wait(&mysql, commits).await {
            continue;
        }
        for case in &cases {
            let told = case.run(&mysql, least, &mut random).await;
            println!("{}, {commits}: {}: {told}", home.name(), case.name);
        }
    }
}

/// Each session has words of its own. To the server 'a', 'A' and 'ä' are one key.
fn word(random: &mut Random, session: u64) -> String {
    const LETTERS: [&str; 14] = ["a", "A", "ä", "Ä", "b", "B", "c", "C", "s", "S", "ss", "ß", "z", "Z"];
    format!("{session} {}", random.pick(&LETTERS))
}

/// Keys that change their case, or change places.
fn moving() -> Case {
    let change = |random: &mut Random, session: u64, version: u64| {
        let (one, other) = (word(random, session), word(random, session));
        match random.below(6) {
            0 => format!("REPLACE INTO w.word VALUES ('{one}', {version})"),
            1 => format!("DELETE FROM w.word WHERE word = '{one}'"),
            2 | 3 => format!("UPDATE w.word SET word = '{other}', version = {version} WHERE word = '{one}'"),
            4 => format!(
                "BEGIN; UPDATE w.word SET word = '{session} tmp', version = {version} WHERE word = '{one}'; \
                 UPDATE w.word SET word = '{one}', version = {version} WHERE word = '{other}'; \
                 UPDATE w.word SET word = '{other}', version = {version} WHERE word = '{session} tmp'; COMMIT"
            ),
            _ => format!("UPDATE w.word SET version = {version} WHERE word = '{one}'"),
        }
    };
    let create = "CREATE TABLE word (word VARCHAR(20) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, version BIGINT NOT NULL)";
    let (name, columns) = ("keys that move", ["word", "version"]);
    Case { name, create, change, alter: None, tables: &["word"], columns }
}

fn keyless() -> Case {
    let change = |random: &mut Random, session: u64, version: u64| {
        let id = session * 100 + random.below(10);
        match random.below(4) {
            0 => format!("DELETE FROM w.keyless WHERE id = {id}"),
            1 => format!(
                "BEGIN; DELETE FROM w.keyless WHERE id = {id}; INSERT INTO w.keyless VALUES ({id}, {version}); COMMIT"
            ),
            _ => format!("UPDATE w.keyless SET version = {version} WHERE id = {id}"),
        }
    };
    let create = "CREATE TABLE keyless (id INT, version BIGINT)";
    let (name, columns) = ("no primary key", COLUMNS);
    Case { name, create, change, alter: None, tables: &["keyless"], columns }
}

/// A chunk is written in parts, between which the stream goes on.
fn wide() -> Case {
    let change = |random: &mut Random, session: u64, version: u64| {
        let id = session * 100 + random.below(8);
        match random.below(4) {
            0 => format!("DELETE FROM w.wide WHERE id = {id}"),
            1 => format!("REPLACE INTO w.wide VALUES ({id}, {version}, REPEAT('x', 120000))"),
            _ => format!("UPDATE w.wide SET version = {version} WHERE id = {id}"),
        }
    };
    let create = "CREATE TABLE wide (id INT PRIMARY KEY, version BIGINT NOT NULL, filler LONGTEXT)";
    let (name, columns) = ("wide rows", COLUMNS);
    Case { name, create, change, alter: None, tables: &["wide"], columns }
}

fn altered() -> Case {
    let change = |random: &mut Random, session: u64, version: u64| {
        let id = session * 100 + random.below(30);
        match random.below(4) {
            0 => format!("DELETE FROM w.altered WHERE id = {id}"),
            _ => format!("REPLACE INTO w.altered (id, version) VALUES ({id}, {version})"),
        }
    };
    let alter = |random: &mut Random, _, _| {
        let statements = [
            "ALTER TABLE w.altered ADD COLUMN extra INT DEFAULT 7",
            "ALTER TABLE w.altered ADD COLUMN extra VARCHAR(20) DEFAULT 'seven' FIRST",
            "ALTER TABLE w.altered DROP COLUMN extra",
            "ALTER TABLE w.altered MODIFY version DECIMAL(20, 0) NOT NULL",
            "ALTER TABLE w.altered MODIFY version BIGINT NOT NULL",
            "TRUNCATE TABLE w.altered",
            "DROP TABLE w.altered; CREATE TABLE w.altered (id INT PRIMARY KEY, version BIGINT NOT NULL)",
        ];
        // Most of the time a chunk is to come through.
        format!("SELECT SLEEP({}); {}", random.below(200) as f64 / 1000.0, random.pick(&statements))
    };
    let create = "CREATE TABLE altered (id INT PRIMARY KEY, version BIGINT NOT NULL)";
    let (name, columns) = ("altered", COLUMNS);
    Case { name, create, change, alter: Some(alter), tables: &["altered"], columns }
}

fn renamed() -> Case {
    let change = |random: &mut Random, session: u64, version: u64| {
        let id = session * 100 + random.below(30);
        let table = random.pick(&["alpha", "beta", "zeta"]).to_owned();
        match random.below(4) {
            0 => format!("DELETE FROM w.{table} WHERE id = {id}"),
            _ => format!("REPLACE INTO w.{table} (id, version) VALUES ({id}, {version})"),
        }
    };
    let alter = |random: &mut Random, _, _| {
        let statements = [
            "RENAME TABLE w.alpha TO w.zeta",
            "RENAME TABLE w.zeta TO w.alpha",
            "ALTER TABLE w.alpha RENAME TO w.zeta",
            "RENAME TABLE w.beta TO w.tmp, w.alpha TO w.beta, w.tmp TO w.alpha",
            "RENAME TABLE w.beta TO w.tmp, w.zeta TO w.beta, w.tmp TO w.zeta",
        ];
        format!("SELECT SLEEP({}); {}", random.below(400) as f64 / 1000.0, random.pick(&statements))
    };
    let create = "CREATE TABLE alpha (id INT PRIMARY KEY, version BIGINT NOT NULL); CREATE TABLE beta LIKE alpha";
    let (name, columns) = ("renamed", COLUMNS);
    Case { name, create, change, alter: Some(alter), tables: &["alpha", "beta", "zeta"], columns }
}
