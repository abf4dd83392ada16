//! Real servers: taken from this machine, or fetched from the registries it already uses into the cache, and run from there.

mod debian;
mod kafka;
mod mysql;
mod redis;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::places;
use crate::step::say;
pub use server::Server;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The newest MySQL that can be had.
    Mysql,
    /// The oldest that is supported.
    Mysql80,
    Redis,
    Kafka,
}

const NAMES: &str = "mysql, mysql-8.0, redis, kafka";

impl Service {
    const ALL: [Self; 4] = [Self::Mysql, Self::Mysql80, Self::Redis, Self::Kafka];

    fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mysql80 => "mysql-8.0",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
        }
    }

    fn named(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|service| service.name() == name) {
            Some(service) => Ok(service),
            None => bail!("there is no service \"{name}\": there are {NAMES}"),
        }
    }

    /// Where it is installed, after it has been: the home of a MySQL or a Kafka, or the redis-server.
    fn install(self) -> Result<PathBuf> {
        match self {
            Self::Mysql => mysql::newest(),
            Self::Mysql80 => mysql::version_8_0(),
            Self::Redis => redis::program(),
            Self::Kafka => kafka::home(),
        }
    }

    /// Starts it on its folder, which is made if it does not exist.
    fn start(self, dir: &std::path::Path, lasting: bool) -> Result<Server> {
        match self {
            Self::Mysql | Self::Mysql80 => mysql::start(&self.install()?, dir, lasting),
            Self::Redis => redis::start(&self.install()?, dir, lasting),
            Self::Kafka => kafka::start(&self.install()?, dir, lasting),
        }
    }
}

/// The homes of all MySQLs that tests are to pass on, newest first, and why others are missing.
pub fn mysql_homes() -> Result<(Vec<PathBuf>, Vec<String>)> {
    mysql::homes()
}

/// A MySQL for a demo: any will do.
pub fn newest_mysql() -> Result<PathBuf> {
    Service::Mysql.install()
}

pub fn redis_server() -> Result<PathBuf> {
    Service::Redis.install()
}

pub fn kafka_home() -> Result<PathBuf> {
    Service::Kafka.install()
}

/// Starts the MySQL of this home for as long as this process runs.
pub fn start_mysql(home: &std::path::Path, dir: &std::path::Path) -> Result<Server> {
    mysql::start(home, dir, false)
}

/// `cargo x services`.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    let run = places::cache()?.join("run");
    match arguments {
        [] => {
            for service in Service::ALL {
                let running = Server::running(&run.join(service.name()))?;
                println!("{:10} {}", service.name(), running.map_or("not running".to_owned(), |server| server.url()));
            }
        }
        ["up", names @ ..] => {
            for service in services(names)? {
                let dir = run.join(service.name());
                let server = match Server::running(&dir)? {
                    Some(server) => server,
                    None => service.start(&dir, true)?,
                };
                println!("{}: {}", service.name(), server.url());
            }
        }
        ["down", names @ ..] => {
            for service in services(names)? {
                match Server::running(&run.join(service.name()))? {
                    Some(server) => {
                        server.stop()?;
                        say(format!(
                            "{}: stopped; its data stays in {}",
                            service.name(),
                            run.join(service.name()).display()
                        ));
                    }
                    None => say(format!("{}: not running", service.name())),
                }
            }
        }
        ["install", names @ ..] => {
            for service in services(names)? {
                println!("{}: {}", service.name(), service.install()?.display());
            }
        }
        [other, ..] => bail!("services knows up, down and install, and not \"{other}\""),
    }
    Ok(ExitCode::SUCCESS)
}

fn services(names: &[&str]) -> Result<Vec<Service>> {
    if names.is_empty() {
        bail!("which services? There are {NAMES}");
    }
    names.iter().map(|name| Service::named(name)).collect()
}
