//! What a server says about itself, in SQL.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mysync_change::position::{FilePosition, GtidSet, SourcePosition};

use crate::connection::{Connection, Rows, SourceError};

/// Where its binlog ends at the moment. With GTIDs off the set is left out.
pub async fn position(connection: &mut Connection) -> Result<SourcePosition, SourceError> {
    let status = binlog_status(connection).await?;
    let (Some(file), Some(offset)) = (status.get(0, "File"), status.get(0, "Position")) else {
        return Err(SourceError::NoBinlog);
    };
    let file = FilePosition {
        file: file.into(),
        offset: offset.parse().map_err(|_| SourceError::Protocol("its position is no number"))?,
    };
    let gtids = if has_gtids(connection).await? { Some(gtid_set(status.get(0, "Executed_Gtid_Set"))?) } else { None };
    Ok(SourcePosition { gtids, file })
}

/// Whether every new transaction gets a GTID.
pub async fn has_gtids(connection: &mut Connection) -> Result<bool, SourceError> {
    Ok(connection.query("SELECT @@GLOBAL.gtid_mode").await?.first() == Some("ON"))
}

/// Whether names of tables are the same in capitals and in small letters (`lower_case_table_names`): rows then have them in small ones, and
/// statements as they were written.
pub async fn lowers_names(connection: &mut Connection) -> Result<bool, SourceError> {
    Ok(connection.query("SELECT @@GLOBAL.lower_case_table_names").await?.first() != Some("0"))
}

/// Its `server_uuid`, the same for as long as its data folder lives.
pub async fn uuid(connection: &mut Connection) -> Result<String, SourceError> {
    let answer = connection.query("SELECT @@GLOBAL.server_uuid").await?;
    answer.first().map(str::to_owned).ok_or(SourceError::Protocol("it has no server_uuid"))
}

/// The account that we are logged in as, quoted as GRANT wants it.
pub async fn account(connection: &mut Connection) -> Result<String, SourceError> {
    let answer = connection.query("SELECT CURRENT_USER()").await?;
    // A user may hold an @, a host does not.
    let account = answer.first().and_then(|account| account.rsplit_once('@'));
    let (user, host) = account.ok_or(SourceError::Protocol("it does not say who we are"))?;
    Ok(format!("'{}'@'{host}'", user.replace('\'', "''")))
}

/// Transactions that it has committed.
pub async fn executed(connection: &mut Connection) -> Result<GtidSet, SourceError> {
    gtid_set(connection.query("SELECT @@GLOBAL.gtid_executed").await?.first())
}

/// Transactions that sessions are about to commit. They may be in the binlog already: one that waits for a replica's acknowledgement is read
/// before it counts as executed, for as long as that takes.
pub async fn owned(connection: &mut Connection) -> Result<GtidSet, SourceError> {
    let answer = connection.query("SELECT @@GLOBAL.gtid_owned").await?;
    // Behind each number stands its thread, and behind that the next source without a comma: `uuid:tag:7#12:8#13uuid:1#14`.
    const UUID: usize = 36;
    let mut set = String::new();
    for field in answer.first().unwrap_or_default().split(':') {
        let uuid = if field.contains('-') { field.len().saturating_sub(UUID) } else { field.len() };
        let (number, uuid) = field.split_at_checked(uuid).unwrap_or((field, ""));
        if let Some(number) = number.split('#').next().filter(|number| !number.is_empty()) {
            set += &format!(":{number}");
        }
        if !uuid.is_empty() {
            set += &format!(",{uuid}");
        }
    }
    gtid_set(Some(&set))
}

/// Transactions that are no longer in its binlog.
pub async fn purged(connection: &mut Connection) -> Result<GtidSet, SourceError> {
    gtid_set(connection.query("SELECT @@GLOBAL.gtid_purged").await?.first())
}

/// Its binlog files with their sizes, oldest first.
pub async fn files(connection: &mut Connection) -> Result<Vec<FilePosition>, SourceError> {
    let logs = connection.query("SHOW BINARY LOGS").await?;
    let file = |(name, size): (&str, &str)| {
        let offset = size.parse().map_err(|_| SourceError::Protocol("the size of a binlog file is no number"))?;
        Ok(FilePosition { file: name.into(), offset })
    };
    logs.pairs().map(file).collect()
}

/// How far its clock is from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Ahead(Duration),
    Behind(Duration),
}

impl Clock {
    pub fn distance(self) -> Duration {
        match self {
            Self::Ahead(distance) | Self::Behind(distance) => distance,
        }
    }
}

/// Compares clocks: right to half the time that the question took.
pub async fn clock(connection: &mut Connection) -> Result<Clock, SourceError> {
    const BROKEN: SourceError = SourceError::Protocol("its clock cannot be read");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let asked = now();
    let answer = connection.query("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)").await?;
    let ours = (asked + now()) / 2;
    let theirs = answer.first().and_then(|text| text.parse().ok()).map(Duration::from_micros).ok_or(BROKEN)?;
    Ok(if theirs >= ours { Clock::Ahead(theirs - ours) } else { Clock::Behind(ours - theirs) })
}

/// File, position, filters and executed set. The statement got a new name in 8.2 and lost the old one in 8.4.
pub(crate) async fn binlog_status(connection: &mut Connection) -> Result<Rows, SourceError> {
    either(connection, "SHOW BINARY LOG STATUS", "SHOW MASTER STATUS").await
}

/// Replicas that are connected. The statement got a new name in 8.0.22 and lost the old one in 8.4.
pub(crate) async fn replicas(connection: &mut Connection) -> Result<Rows, SourceError> {
    either(connection, "SHOW REPLICAS", "SHOW SLAVE HOSTS").await
}

async fn either(connection: &mut Connection, new: &str, old: &str) -> Result<Rows, SourceError> {
    match connection.query(new).await {
        Err(error) if error.is_syntax() => connection.query(old).await,
        answer => answer,
    }
}

fn gtid_set(text: Option<&str>) -> Result<GtidSet, SourceError> {
    text.unwrap_or_default().parse().map_err(|_| SourceError::Protocol("a set of GTIDs from it cannot be read"))
}
