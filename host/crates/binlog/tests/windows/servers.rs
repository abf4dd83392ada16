//! Servers that commit in every way there is.

use std::fmt;
use std::time::Duration;

use mysync_binlog::connection::{Connection, ConnectionSettings};
use mysync_binlog::dump::watermark::wait_until_executed;
use mysync_binlog::server;
use mysync_binlog::tls::{TlsMode, TlsSettings};
use mysync_test_support::{Home, Mysql, homes, skip};

/// How long a position may take to be executed. Nothing here waits for an acknowledgement.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a server commits.
#[derive(Clone, Copy)]
pub struct Commits {
    pub gtids: bool,
    /// Whether transactions become visible in the order of the binlog.
    pub ordered: bool,
}

impl Commits {
    pub const ALL: [Self; 4] = [
        Self { gtids: true, ordered: true },
        Self { gtids: true, ordered: false },
        Self { gtids: false, ordered: true },
        Self { gtids: false, ordered: false },
    ];

    pub fn start(self, home: &Home) -> Mysql {
        self.start_with(home, &[]).unwrap()
    }

    /// A server with flags of its own, which may not know them.
    pub fn start_with(self, home: &Home, more: &[&str]) -> Result<Mysql, String> {
        let on = |on| if on { "ON" } else { "OFF" };
        let flags = [
            format!("--gtid-mode={}", on(self.gtids)),
            format!("--enforce-gtid-consistency={}", on(self.gtids)),
            format!("--binlog-order-commits={}", on(self.ordered)),
            // A transaction is in the binlog for the time of a sync before it is visible.
            "--sync-binlog=1".to_owned(),
            // Some files while it lasts.
            "--max-binlog-size=1M".to_owned(),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Mysql::start(home, &flags).map_err(|error| format!("{error:#}"))
    }
}

impl fmt::Display for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gtids, order) =
            (if self.gtids { "GTIDs" } else { "files" }, if self.ordered { "ordered" } else { "any order" });
        write!(f, "{gtids}, {order}")
    }
}

/// Every version of MySQL that is installed.
pub fn installed(test: &str) -> Vec<Home> {
    let homes = homes().unwrap();
    if homes.is_empty() {
        skip(test, "MYSYNC_MYSQL_HOMES names no MySQL");
    }
    homes
}

pub fn settings(mysql: &Mysql) -> ConnectionSettings {
    ConnectionSettings {
        host: "127.0.0.1".to_owned(),
        port: mysql.port,
        user: "root".to_owned(),
        password: String::new(),
        tls: TlsSettings { mode: TlsMode::Disabled, ..TlsSettings::default() },
        connect_timeout: ConnectionSettings::CONNECT_TIMEOUT,
        server_id: 4713,
        replica_uuid: [0x49; 16],
        heartbeat: ConnectionSettings::HEARTBEAT,
        event_bytes_max: ConnectionSettings::EVENT_BYTES_MAX,
    }
}

pub async fn connect(mysql: &Mysql) -> Connection {
    Connection::connect(&settings(mysql)).await.unwrap()
}

/// Whether a position of the stream can be waited for. If not, that is refused, and only without GTIDs.
pub async fn can_wait(mysql: &Mysql, commits: Commits) -> bool {
    let mut session = connect(mysql).await;
    let streamed = server::position(&mut session).await.unwrap();
    match wait_until_executed(&mut session, &streamed, PATIENCE).await {
        Ok(executed) => executed,
        Err(error) => {
            assert!(!commits.gtids && error.code() == "DUMP_NEEDS_GTIDS", "{error}");
            false
        }
    }
}
