use std::collections::BTreeMap;

use mysync_change::position::{FilePosition, GtidSet};

use crate::connection::{Connection, SourceError};
use crate::server::{self, Clock};

/// An answer that needs a privilege.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen<T> {
    Yes(T),
    Denied,
}

impl<T> Seen<T> {
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Yes(value) => Some(value),
            Self::Denied => None,
        }
    }
}

fn seen<T>(answer: Result<T, SourceError>) -> Result<Seen<T>, SourceError> {
    match answer {
        Ok(value) => Ok(Seen::Yes(value)),
        Err(error) if error.is_privilege() => Ok(Seen::Denied),
        Err(error) => Err(error),
    }
}

/// A stream that another replica has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    pub server_id: String,
    pub host: String,
    pub uuid: String,
}

/// Databases that the server leaves out of its binlog, or keeps to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub only: String,
    pub without: String,
}

/// Everything the checks look at, as the server told it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub version: String,
    /// Global variables by name. One that this server does not have is not there.
    pub variables: BTreeMap<String, String>,
    /// Needs REPLICATION SLAVE.
    pub replicas: Seen<Vec<Replica>>,
    /// These two need REPLICATION CLIENT.
    pub filter: Seen<Filter>,
    pub files: Seen<Vec<FilePosition>>,
    /// Ours, as GRANT names it.
    pub account: String,
    pub grants: Vec<String>,
    /// Which server this is.
    pub uuid: String,
    pub executed: GtidSet,
    /// Asked for before `executed`: whatever is in the binlog is in one of both.
    pub owned: GtidSet,
    pub purged: GtidSet,
    pub clock: Clock,
}

impl Facts {
    pub async fn read(connection: &mut Connection) -> Result<Self, SourceError> {
        let version = connection.server_version().to_owned();
        let variables = connection
            .query(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', \
                 'binlog_row_metadata', 'binlog_row_value_options', 'binlog_transaction_compression', 'binlog_checksum', \
                 'binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge', 'expire_logs_days', 'sync_binlog', \
                 'gtid_mode', 'server_id')",
            )
            .await?;
        let variables: BTreeMap<_, _> =
            variables.pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let has_binlog = variables.get("log_bin").is_some_and(|value| value == "ON");
        let status = seen(server::binlog_status(connection).await)?;
        let (filter, files) = match status {
            Seen::Denied => (Seen::Denied, Seen::Denied),
            Seen::Yes(status) => {
                let named = |column| status.get(0, column).unwrap_or_default().to_owned();
                let filter = Filter { only: named("Binlog_Do_DB"), without: named("Binlog_Ignore_DB") };
                let files = if has_binlog { server::files(connection).await? } else { Vec::new() };
                (Seen::Yes(filter), Seen::Yes(files))
            }
        };
        let replicas = match seen(server::replicas(connection).await)? {
            Seen::Denied => Seen::Denied,
            Seen::Yes(rows) => {
                let named = |row, columns: [&str; 2]| {
                    columns.iter().find_map(|column| rows.get(row, column)).unwrap_or_default().to_owned()
                };
                let replica = |row| Replica {
                    server_id: named(row, ["Server_Id", "Server_id"]),
                    host: named(row, ["Host", "Host"]),
                    uuid: named(row, ["Replica_UUID", "Slave_UUID"]),
                };
                Seen::Yes((0..rows.len()).map(replica).collect())
            }
        };
        let account = server::account(connection).await?;
        let grants = connection.query("SHOW GRANTS").await?.firsts().map(str::to_owned).collect();
        let uuid = server::uuid(connection).await?;
        let owned = server::owned(connection).await?;
        let (executed, purged) = (server::executed(connection).await?, server::purged(connection).await?);
        let clock = server::clock(connection).await?;
        Ok(Self { version, variables, replicas, filter, files, account, grants, uuid, executed, owned, purged, clock })
    }
}
