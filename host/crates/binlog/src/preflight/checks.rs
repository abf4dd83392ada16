use std::time::Duration;

use mysync_change::position::{Checkpoint, FilePosition, GtidSet, GtidSource};

use super::facts::{Facts, Seen};
use super::{Finding, Level};
use crate::connection::{BEGIN_ANEW, ConnectionSettings};
use crate::server::Clock;

/// A binlog that lives shorter than this may be gone before somebody has seen that delivery stands.
const BINLOG_LIFE_MIN: Duration = Duration::from_secs(24 * 3600);
/// Lag and expiry are computed from the server's clock.
const CLOCK_DISTANCE_MAX: Duration = Duration::from_secs(1);

pub(super) fn ok(code: &'static str, message: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, code, message: message.into(), cure: None }
}

pub(super) fn warn(code: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { level: Level::Warn, code, message: message.into(), cure: Some(cure.into()) }
}

fn fail(code: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { level: Level::Fail, code, message: message.into(), cure: Some(cure.into()) }
}

pub(super) fn judge(facts: &Facts, settings: &ConnectionSettings, from: Option<&Checkpoint>) -> Vec<Finding> {
    let mut findings = vec![ok("SOURCE_VERSION", format!("MySQL {}", facts.version))];
    findings.push(log_bin(facts));
    findings.push(format_row(facts));
    findings.push(row_image(facts));
    findings.push(row_metadata(facts));
    findings.push(row_value_options(facts));
    findings.extend(privileges(facts, settings));
    findings.extend(server_id(facts, settings));
    findings.push(gtids(facts));
    findings.push(position(facts, from));
    findings.push(life(facts));
    findings.push(sync(facts));
    findings.push(checksum(facts));
    findings.push(filter(facts));
    findings.push(compression(facts));
    findings.push(clock(facts));
    findings
}

impl Facts {
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

fn log_bin(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_LOG_BIN";
    match facts.variable("log_bin") {
        Some("ON") => ok(CODE, "log_bin is on"),
        _ => fail(
            CODE,
            "the server writes no binlog",
            "set log_bin and server_id in the server's configuration and restart it",
        ),
    }
}

fn format_row(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_BINLOG_FORMAT";
    match facts.variable("binlog_format") {
        // A server without the variable writes nothing else.
        None | Some("ROW") => ok(CODE, "binlog_format is ROW"),
        Some(other) => fail(
            CODE,
            format!("binlog_format is {other}: changes are written as statements, which hold no rows"),
            "SET PERSIST binlog_format = 'ROW'; -- sessions that are open keep their own: reconnect the applications",
        ),
    }
}

fn row_image(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_ROW_IMAGE";
    match facts.variable("binlog_row_image") {
        Some("FULL") => ok(CODE, "binlog_row_image is FULL"),
        other => fail(
            CODE,
            format!(
                "binlog_row_image is {}: rows come without all of their columns",
                other.unwrap_or("not known here")
            ),
            "SET PERSIST binlog_row_image = 'FULL'; -- sessions that are open keep their own: reconnect the applications",
        ),
    }
}

fn row_metadata(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_ROW_METADATA";
    match facts.variable("binlog_row_metadata") {
        Some("FULL") => ok(CODE, "binlog_row_metadata is FULL"),
        Some(other) => fail(
            CODE,
            format!("binlog_row_metadata is {other}: rows come without column names and keys"),
            "SET PERSIST binlog_row_metadata = 'FULL';",
        ),
        None => fail(
            CODE,
            "this server has no binlog_row_metadata: rows come without column names and keys",
            "upgrade the server to MySQL 8.0.1 or later",
        ),
    }
}

fn row_value_options(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_PARTIAL_JSON";
    match facts.variable("binlog_row_value_options") {
        None | Some("") => ok(CODE, "JSON values are written whole"),
        Some(other) => fail(
            CODE,
            format!("binlog_row_value_options is {other}: updates hold parts of JSON values"),
            "SET PERSIST binlog_row_value_options = ''; -- sessions that are open keep their own: reconnect the applications",
        ),
    }
}

fn grant_client(facts: &Facts) -> String {
    format!("GRANT REPLICATION CLIENT ON *.* TO {};", facts.account)
}

fn privileges(facts: &Facts, settings: &ConnectionSettings) -> Vec<Finding> {
    const CODE: &str = "SOURCE_PRIVILEGES";
    let user = &settings.user;
    let account = &facts.account;
    let missing = |privilege: &str| {
        fail(CODE, format!("user '{user}' lacks {privilege}"), format!("GRANT {privilege} ON *.* TO {account};"))
    };
    let mut findings = Vec::new();
    if facts.replicas == Seen::Denied {
        findings.push(missing("REPLICATION SLAVE"));
    }
    if facts.filter == Seen::Denied {
        findings.push(missing("REPLICATION CLIENT"));
    }
    // A role's privileges are not listed, so an account with roles is taken to have it.
    let reads = |grant: &String| {
        ["SELECT", "ALL PRIVILEGES"].iter().any(|text| grant.contains(text)) || !grant.contains(" ON ")
    };
    if !facts.grants.iter().any(reads) {
        let cure = format!("GRANT SELECT ON *.* TO {account}; -- or on the tables to follow");
        findings.push(warn(CODE, format!("user '{user}' may not SELECT: tables cannot be copied or compared"), cure));
    }
    if findings.is_empty() {
        findings.push(ok(CODE, format!("user '{user}' has REPLICATION SLAVE, REPLICATION CLIENT and SELECT")));
    }
    findings
}

fn server_id(facts: &Facts, settings: &ConnectionSettings) -> Vec<Finding> {
    const CODE: &str = "SOURCE_SERVER_ID";
    let ours = settings.server_id.to_string();
    let cure = "set another source.server_id";
    if facts.variable("server_id") == Some(&ours) {
        return vec![fail(CODE, format!("server_id {ours} is the server's own"), cure)];
    }
    let uuid = GtidSource::untagged(settings.replica_uuid).to_string();
    let mut findings = Vec::new();
    for replica in facts.replicas.get().into_iter().flatten() {
        if replica.uuid.eq_ignore_ascii_case(&uuid) {
            let message = format!("a stream of this source is open, from {}", replica.host);
            findings.push(warn(CODE, message, "stop the other process, or it loses its stream when this one starts"));
        } else if replica.server_id == ours {
            // Streams go by their uuids, so both run; only SHOW REPLICAS mixes them up.
            let message = format!("server_id {ours} is also that of the replica at {}", replica.host);
            findings.push(warn(CODE, message, cure));
        }
    }
    if findings.is_empty() {
        findings.push(ok(CODE, format!("server_id {ours} is free")));
    }
    findings
}

/// What turns GTIDs on, step by step.
pub(super) const GTIDS_ON: &str = "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; \
                                   SET PERSIST gtid_mode = ON_PERMISSIVE; SET PERSIST gtid_mode = ON;";

fn gtids(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_GTID_MODE";
    match facts.variable("gtid_mode") {
        Some("ON") => ok(CODE, "gtid_mode is ON: positions are GTID sets"),
        other => warn(
            CODE,
            format!(
                "gtid_mode is {}: positions are file and offset, which no other server shares",
                other.unwrap_or("OFF")
            ),
            GTIDS_ON,
        ),
    }
}

fn position(facts: &Facts, from: Option<&Checkpoint>) -> Finding {
    const CODE: &str = "SOURCE_POSITION";
    let Some(from) = from else { return ok(CODE, "there is no position to go on from yet") };
    let unlisted = || Some(warn(CODE, "the binlog files cannot be listed", grant_client(facts)));
    let (file, files) = (&from.position.file, facts.files.get());
    let finding = match (&from.position.gtids, facts.variable("gtid_mode")) {
        (Some(ours), Some("ON")) => gtids_do_not_go_on(facts, ours).or_else(|| match files {
            // Files mean nothing on another server.
            _ if from.server != facts.uuid => None,
            None => unlisted(),
            Some(files) => given_again(facts, ours, files, file),
        }),
        (Some(_), mode) => Some(fail(
            "SOURCE_GTID_MODE",
            format!("the position is a GTID set, but gtid_mode is {}", mode.unwrap_or("OFF")),
            format!("turn gtid_mode back on, or {BEGIN_ANEW}"),
        )),
        (None, _) => files.map_or_else(unlisted, |files| file_does_not_go_on(files, file)),
    };
    finding.unwrap_or_else(|| ok(CODE, "the server still has everything that follows the position"))
}

/// What the stream itself would stop with.
const PURGED: &str = "SOURCE_PURGED";
const FOREIGN: &str = "SOURCE_FOREIGN";

fn gtids_do_not_go_on(facts: &Facts, ours: &GtidSet) -> Option<Finding> {
    let gone = facts.purged.minus(ours);
    let foreign = ours.minus(&facts.executed).minus(&facts.owned);
    if !gone.is_empty() {
        let message = format!("the server has purged transactions that were not read: {gone}");
        Some(fail(PURGED, message, BEGIN_ANEW))
    } else if !foreign.is_empty() {
        let message = format!("transactions were read that the server does not have: {foreign}");
        Some(fail(FOREIGN, message, format!("check that this is the right server; if it lost them, {BEGIN_ANEW}")))
    } else {
        None
    }
}

/// A server whose binlog was reset, or lost its end in a crash, gives the numbers that are free again to other transactions. By GTIDs alone
/// these were read already. But then its files end before where they were read to.
fn given_again(facts: &Facts, ours: &GtidSet, files: &[FilePosition], read_to: &FilePosition) -> Option<Finding> {
    let base = |position: &FilePosition| position.file.rsplit_once('.').map(|(base, _)| base.to_owned());
    // A file that is purged says nothing, except that newer ones are there. None is named before the first event came.
    let end = files.iter().find(|file| file.file == read_to.file).or(files.last())?;
    let is_short = base(end) == base(read_to) && end < read_to;
    // Whoever resets the binlog and sets gtid_purged keeps the numbers from being given again.
    if !is_short || ours.is_subset_of(&facts.purged) {
        return None;
    }
    let message = format!(
        "the binlog was read to {read_to} and ends at {end}: it was reset or lost its end, and other transactions may have the GTIDs of \
         those that were read"
    );
    Some(fail(FOREIGN, message, BEGIN_ANEW))
}

fn file_does_not_go_on(files: &[FilePosition], from: &FilePosition) -> Option<Finding> {
    let message = match files.iter().find(|file| file.file == from.file) {
        None => format!("the server no longer has {}", from.file),
        Some(file) if file.offset < from.offset => {
            format!("{} ends at {}, before {}", file.file, file.offset, from.offset)
        }
        Some(_) => return None,
    };
    Some(fail(PURGED, message, BEGIN_ANEW))
}

fn life(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_BINLOG_LIFE";
    let number = |name| facts.variable(name).and_then(|value| value.parse::<u64>().ok());
    let seconds = match (number("binlog_expire_logs_seconds"), number("expire_logs_days")) {
        (Some(seconds), days) if seconds > 0 || days.is_none() => seconds,
        (_, days) => days.unwrap_or_default() * 24 * 3600,
    };
    if seconds == 0 || facts.variable("binlog_expire_logs_auto_purge") == Some("OFF") {
        return ok(CODE, "binlog files are kept until somebody purges them");
    }
    let hours = seconds / 3600;
    if seconds < BINLOG_LIFE_MIN.as_secs() {
        let message = format!("binlog files are purged after {hours} h: a longer standstill loses changes");
        return warn(CODE, message, "SET PERSIST binlog_expire_logs_seconds = 259200;");
    }
    ok(CODE, format!("binlog files are kept for {hours} h"))
}

fn sync(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_SYNC_BINLOG";
    match facts.variable("sync_binlog") {
        Some("1") => ok(CODE, "sync_binlog is 1"),
        other => warn(
            CODE,
            format!(
                "sync_binlog is {}: a crash of the server can take back transactions that were read",
                other.unwrap_or("not known here")
            ),
            "SET PERSIST sync_binlog = 1;",
        ),
    }
}

fn checksum(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_CHECKSUM";
    match facts.variable("binlog_checksum") {
        Some("CRC32") => ok(CODE, "binlog_checksum is CRC32"),
        other => warn(
            CODE,
            format!("binlog_checksum is {}: damaged events cannot be told", other.unwrap_or("not known here")),
            "SET PERSIST binlog_checksum = 'CRC32';",
        ),
    }
}

fn filter(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_BINLOG_FILTER";
    match facts.filter.get() {
        None => warn(CODE, "it is not known whether databases are left out of the binlog", grant_client(facts)),
        Some(filter) if filter.only.is_empty() && filter.without.is_empty() => {
            ok(CODE, "every database is in the binlog")
        }
        Some(filter) => warn(
            CODE,
            format!("the binlog holds only the databases [{}], without [{}]", filter.only, filter.without),
            "take binlog-do-db and binlog-ignore-db out of the server's configuration and restart it",
        ),
    }
}

fn compression(facts: &Facts) -> Finding {
    let on = facts.variable("binlog_transaction_compression") == Some("ON");
    ok(
        "SOURCE_COMPRESSION",
        format!("binlog_transaction_compression is {}; both are read", if on { "on" } else { "off" }),
    )
}

fn clock(facts: &Facts) -> Finding {
    const CODE: &str = "SOURCE_CLOCK";
    let distance = facts.clock.distance();
    if distance <= CLOCK_DISTANCE_MAX {
        return ok(CODE, "clocks agree");
    }
    let side = match facts.clock {
        Clock::Ahead(_) => "ahead",
        Clock::Behind(_) => "behind",
    };
    let message =
        format!("the server's clock is {:.1} s {side}: lag and expiry are off by as much", distance.as_secs_f64());
    warn(CODE, message, "synchronise the clocks of both machines")
}
