//! One test's world: a MySQL, a Redis, and a folder with the program's configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysync_test_support::{Home, Kafka, Mysql, Mysync, RedisServer, free_port, homes, plugin, skip, until_within};
use serde_json::Value;
use tempfile::TempDir;

use crate::shop;

/// Loads of a busy machine included.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Of the program's account in MySQL.
pub const COMPLAINTS: usize = 20;
pub const PASSWORD: &str = "tell-nobody";

/// What a world is made of, beside the usual.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Flags of the MySQL server.
    pub mysql: Vec<&'static str>,
    /// Flags of the Redis server.
    pub redis: Vec<&'static str>,
    /// Writers by name; without any: users, orders and bulk.
    pub writers: Vec<(&'static str, &'static str)>,
    /// Lines of `[log]`.
    pub log: &'static str,
    /// Lines of `[source]`.
    pub source: &'static str,
    /// Keys that writers may touch, beside those of the shop.
    pub keys: Vec<&'static str>,
    /// Tables of their own at the end of `mysync.toml`.
    pub more: &'static str,
    /// MySQL behind this port instead of its own.
    pub mysql_port: Option<u16>,
    /// Redis behind this port instead of its own.
    pub redis_port: Option<u16>,
    /// The log is there, instead of in the program's folder.
    pub kafka: Option<OnKafka>,
}

/// A log on Kafka, by what the configuration says of it.
#[derive(Debug, Clone)]
pub struct OnKafka {
    pub brokers: String,
    /// Also the name of its topic.
    pub prefix: String,
    /// Where its records are.
    pub topics: Vec<String>,
    /// Copies of each partition.
    pub replication: usize,
    /// What may be so although a promise does not hold with it.
    pub allow: Vec<&'static str>,
}

impl OnKafka {
    /// Tests that share a cluster have a log each.
    pub fn new(kafka: &Kafka, test: &str) -> Self {
        let replication = kafka.ids().count();
        // One node is enough for tests that leave it alone.
        let allow = if replication == 1 { vec!["replication.factor"] } else { Vec::new() };
        Self { brokers: kafka.brokers(), prefix: test.to_owned(), topics: vec![test.to_owned()], replication, allow }
    }

    pub fn control(&self) -> String {
        format!("{}.control", self.prefix)
    }

    fn lines(&self) -> String {
        let Self { brokers, prefix, replication, allow, .. } = self;
        format!(
            "kind = \"kafka\"\ndir = \"data\"\nbrokers = \"{brokers}\"\nprefix = \"{prefix}\"\nreplication = {replication}\nallow = {allow:?}\n"
        )
    }
}

pub struct World {
    pub mysql: Mysql,
    pub redis: RedisServer,
    dir: TempDir,
    /// Where the program can be asked, the same over its starts.
    admin: u16,
    options: Options,
    /// Copies of the folder, on which the program may have run as well.
    copies: Mutex<Vec<PathBuf>>,
}

/// What every team of the shop may write.
const KEYS: [&str; 5] = ["user:*", "users:*", "order:*", "bulk:*", "visits:*"];

impl World {
    /// Starts both servers with the shop in MySQL; none if one of them cannot be had, which is said.
    pub async fn start(test: &str, options: Options) -> Result<Option<Self>> {
        match homes()?.into_iter().next() {
            Some(home) => Self::on(test, &home, options).await,
            None => {
                skip(test, "there is no MySQL");
                Ok(None)
            }
        }
    }

    /// The same on a certain MySQL.
    pub async fn on(test: &str, home: &Home, options: Options) -> Result<Option<Self>> {
        if RedisServer::program().is_none() {
            skip(test, "there is no Redis");
            return Ok(None);
        }
        let mysql = Mysql::start(home, &options.mysql)?;
        Ok(Some(Self::with(mysql, options).await?))
    }

    /// The same with a MySQL that runs and has no shop.
    pub async fn with(mysql: Mysql, options: Options) -> Result<Self> {
        let redis = RedisServer::start(&options.redis)?;
        for statement in shop::SCHEMA {
            mysql.exec(statement).await?;
        }
        mysql.exec(&format!("CREATE USER mysync@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")).await?;
        mysql.exec("GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO mysync@'127.0.0.1'").await?;
        let world = Self { mysql, redis, dir: TempDir::new()?, admin: free_port(), options, copies: Mutex::default() };
        world.write_configuration()?;
        Ok(world)
    }

    fn write_configuration(&self) -> Result<()> {
        let team = self.team();
        std::fs::create_dir_all(&team)?;
        let component = plugin("redis-writer")?;
        std::fs::copy(&component, team.join("redis-writer.wasm")).with_context(|| component.display().to_string())?;
        let usual = [("users-cache", shop::USERS), ("orders-cache", shop::ORDERS), ("bulk-cache", shop::BULK)];
        let writers: &[(&str, &str)] = if self.options.writers.is_empty() { &usual } else { &self.options.writers };
        for (name, text) in writers {
            self.write_writer(name, text)?;
        }
        self.reconfigure(&self.options)
    }

    /// Writes `mysync.toml` anew.
    pub fn reconfigure(&self, options: &Options) -> Result<()> {
        let mysql = options.mysql_port.unwrap_or(self.mysql.port);
        let redis = options.redis_port.unwrap_or(self.redis.port);
        let Options { source, log, more, .. } = options;
        let place = options.kafka.as_ref().map_or("kind = \"embedded\"\ndir = \"data\"\n".to_owned(), OnKafka::lines);
        let keys: Vec<&str> = KEYS.into_iter().chain(options.keys.iter().copied()).collect();
        let admin = self.admin;
        let text = format!(
            "[source]\nname = \"shop\"\nurl = \"mysql://mysync:${{MYSYNC_PASSWORD}}@127.0.0.1:{mysql}\"\ntables = [\"shop.*\"]\n{source}\n\n\
             [log]\n{place}{log}\n\n\
             [connectors.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{redis}/0\"\n\n\
             [[folders]]\npath = \"plugins/shop-team\"\nconnectors = [\"cache\"]\nkeys = {keys:?}\n\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n{more}\n"
        );
        Ok(std::fs::write(self.dir().join("mysync.toml"), text)?)
    }

    /// Writes a writer's file, or one over it.
    pub fn write_writer(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.team().join(format!("{name}.toml")), text)?)
    }

    /// The folder of `mysync.toml`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of the log.
    pub fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// The folder of the writers.
    pub fn team(&self) -> PathBuf {
        self.dir().join("plugins/shop-team")
    }

    /// Where its log is on Kafka.
    pub fn log_on_kafka(&self) -> Result<&OnKafka> {
        self.options.kafka.as_ref().context("its log is not on Kafka")
    }

    /// Starts the program, and waits until it is ready.
    pub async fn mysync(&self) -> Result<Mysync> {
        let mut mysync = self.spawn()?;
        mysync.wait_ready().await?;
        Ok(mysync)
    }

    /// Starts the program.
    pub fn spawn(&self) -> Result<Mysync> {
        self.spawn_in(self.dir())
    }

    /// Starts the program on another folder.
    pub fn spawn_in(&self, dir: &Path) -> Result<Mysync> {
        self.spawn_half(dir, "run")
    }

    /// Starts the program on another folder, or half of it: `capture` or `deliver`.
    pub fn spawn_half(&self, dir: &Path, half: &str) -> Result<Mysync> {
        let mut command = Mysync::command(dir, &[half])?;
        command.env("MYSYNC_PASSWORD", PASSWORD);
        Mysync::spawn(command, dir)
    }

    /// A copy of the folder: the log if there is one, and the same configuration but for where the program can be asked.
    pub fn copy(&self) -> Result<TempDir> {
        let copy = TempDir::new()?;
        let copied = Command::new("cp").arg("-r").arg(self.dir().join(".")).arg(copy.path()).status()?;
        ensure!(copied.success(), "cp: {copied}");
        let configuration = copy.path().join("mysync.toml");
        let listen = |port| format!("listen = \"127.0.0.1:{port}\"");
        let text = std::fs::read_to_string(&configuration)?.replace(&listen(self.admin), &listen(free_port()));
        std::fs::write(configuration, text)?;
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).push(copy.path().to_owned());
        Ok(copy)
    }

    /// Runs one of its other commands to its end.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        self.command_in(self.dir(), arguments)
    }

    fn command_in(&self, dir: &Path, arguments: &[&str]) -> Result<Output> {
        let mut command = Mysync::command(dir, arguments)?;
        Ok(command.env("MYSYNC_PASSWORD", PASSWORD).output()?)
    }

    /// The same, and it must go well.
    pub fn command_well(&self, arguments: &[&str]) -> Result<String> {
        self.command_well_in(self.dir(), arguments)
    }

    /// The same on another folder.
    pub fn command_well_in(&self, dir: &Path, arguments: &[&str]) -> Result<String> {
        let output = self.command_in(dir, arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// What the store remembers of a writer's progress.
    pub fn fence(&self, writer: &str, partition: u32) -> Result<Option<Value>> {
        let fence: Option<String> = self.redis.ask(&["GET", &format!("mysync:fence:{{shop/{writer}/{partition}}}")])?;
        Ok(fence.map(|fence| serde_json::from_str(&fence)).transpose()?)
    }

    /// Waits until Redis holds what MySQL holds.
    pub async fn wait_equal(&self) -> Result<usize> {
        let equal = crate::compare::wait_equal(&self.mysql, &self.redis).await;
        equal.with_context(|| self.complaints())
    }

    /// [`World::wait_equal`] but for the order of lists, once dumps are over.
    pub async fn wait_loaded(&self) -> Result<usize> {
        let look = async || crate::compare::equal_in_any_order(&self.mysql, &self.redis).await;
        until_within(PATIENCE, "Redis equals MySQL", look).await.with_context(|| self.complaints())
    }

    /// The last of what the program complained of, on each of its folders.
    pub fn complaints(&self) -> String {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = String::new();
        for dir in [self.dir()].into_iter().chain(copies.iter().map(PathBuf::as_path)) {
            let said = std::fs::read_to_string(dir.join("mysync.out")).unwrap_or_default();
            let lines: Vec<&str> =
                said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
            if !lines.is_empty() {
                let last = lines[lines.len().saturating_sub(COMPLAINTS)..].join("\n");
                told.push_str(&format!("\n{}:\n{last}", dir.display()));
            }
        }
        told
    }
}
