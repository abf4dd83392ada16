//! The servers to try, and a session of each.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use mysync_binlog::connection::{Connection, ConnectionSettings, EventStream, StreamFrom};
use mysync_binlog::server;
use mysync_binlog::tls::{TlsMode, TlsSettings};
use mysync_change::position::FilePosition;
use tokio::sync::{Mutex, MutexGuard};

/// A server has one stream of our name.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub struct Server {
    pub sql: Conn,
    pub version: String,
    settings: ConnectionSettings,
    /// Where the binlog ended when the session began.
    begin: FilePosition,
}

/// Those that `MYSYNC_TEST_MYSQL` names (`host:port,…`, root without a password), each with an empty `database` in use. Sessions are
/// without strict mode, so that values get in which no strict session would take.
pub async fn servers(test: &str, database: &str) -> (MutexGuard<'static, ()>, Vec<Server>) {
    let guard = ONE_AT_A_TIME.lock().await;
    let Ok(named) = std::env::var("MYSYNC_TEST_MYSQL") else {
        mysync_test_support::skip(test, "MYSYNC_TEST_MYSQL names no server");
        return (guard, Vec::new());
    };
    let mut servers = Vec::new();
    for address in named.split(',') {
        let (host, port) = address.split_once(':').unwrap();
        let settings = ConnectionSettings {
            host: host.to_owned(),
            port: port.parse().unwrap(),
            user: "root".into(),
            password: String::new(),
            tls: TlsSettings { mode: TlsMode::Disabled, ..TlsSettings::default() },
            connect_timeout: ConnectionSettings::CONNECT_TIMEOUT,
            server_id: 4712,
            replica_uuid: [0x48; 16],
            heartbeat: ConnectionSettings::HEARTBEAT,
            event_bytes_max: ConnectionSettings::EVENT_BYTES_MAX,
        };
        let mut sql = Conn::from_url(format!("mysql://root@{address}")).await.unwrap();
        for statement in [
            "set sql_mode='', time_zone='+00:00', names utf8mb4",
            &format!("drop database if exists {database}"),
            &format!("create database {database}"),
            &format!("use {database}"),
        ] {
            sql.query_drop(statement).await.unwrap();
        }
        let version: String = sql.query_first("select version()").await.unwrap().unwrap();
        println!("server {version} at {address}");
        let begin = end(&settings).await;
        servers.push(Server { sql, version, settings, begin });
    }
    (guard, servers)
}

async fn end(settings: &ConnectionSettings) -> FilePosition {
    server::position(&mut Connection::connect(settings).await.unwrap()).await.unwrap().file
}

impl Server {
    pub fn has_vectors(&self) -> bool {
        self.version.starts_with('9')
    }

    pub fn hides_labels(&self) -> bool {
        self.version.starts_with("8.0")
    }

    pub async fn run(&mut self, statement: &str) {
        let shown: String = statement.chars().take(2000).collect();
        self.sql.query_drop(statement).await.unwrap_or_else(|e| panic!("{e}: {shown}"));
    }

    pub async fn select(&mut self, query: &str) -> Vec<Row> {
        self.sql.exec(query, ()).await.unwrap_or_else(|e| panic!("{e}: {query}"))
    }

    /// A connection of our own.
    pub async fn connect(&self) -> Connection {
        Connection::connect(&self.settings).await.unwrap()
    }

    /// The same as another user without a password.
    pub async fn connect_as(&self, user: &str) -> Connection {
        Connection::connect(&ConnectionSettings { user: user.to_owned(), ..self.settings.clone() }).await.unwrap()
    }

    /// The stream since the session began, and where it ends now.
    pub async fn stream(&self) -> (EventStream, FilePosition) {
        let until = end(&self.settings).await;
        let connection = self.connect().await;
        (connection.stream(StreamFrom::File(&self.begin)).await.unwrap(), until)
    }

    pub async fn drop(mut self, database: &str) {
        self.run(&format!("drop database {database}")).await;
    }
}
