//! Against real servers, one after the other: those that `MYSYNC_TEST_MYSQL` names (`host:port,…`; root without a password, to be
//! changed at will). Without it these tests say that they are skipped.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysync_binlog::connection::{Connection, ConnectionSettings, EventStream, SourceError, StreamFrom};
use mysync_binlog::event::{Cursor, EventKind, Gtid, Heartbeat};
use mysync_binlog::payload::PayloadReader;
use mysync_binlog::preflight::{Finding, Level, diagnose};
use mysync_binlog::server;
use mysync_binlog::source::{EventReader, Selected, StreamError};
use mysync_binlog::tls::{TlsMode, TlsSettings};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::{self, LogId, TableEvent};
use mysync_change::pattern::Pattern;
use mysync_change::position::{Checkpoint, FilePosition, GtidSet, SourcePosition};
use mysync_pipeline::failure::Kind;
use tokio::sync::{Mutex, MutexGuard};

const EVENT_BYTES_MAX: usize = 256 << 20;
/// Tests change global variables, so there is one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

struct Mysql {
    host: String,
    port: u16,
    sql: mysql_async::Conn,
}

async fn servers(test: &str) -> (MutexGuard<'static, ()>, Vec<Mysql>) {
    let guard = ONE_AT_A_TIME.lock().await;
    let Ok(named) = std::env::var("MYSYNC_TEST_MYSQL") else {
        mysync_test_support::skip(test, "MYSYNC_TEST_MYSQL names no server");
        return (guard, Vec::new());
    };
    let mut servers = Vec::new();
    for address in named.split(',') {
        let (host, port) = address.split_once(':').unwrap();
        let sql = mysql_async::Conn::from_url(format!("mysql://root@{address}")).await.unwrap();
        let mut mysql = Mysql { host: host.to_owned(), port: port.parse().unwrap(), sql };
        mysql.run("DROP DATABASE IF EXISTS source_test; CREATE DATABASE source_test").await;
        mysql.run("CREATE TABLE source_test.t (id INT PRIMARY KEY, v LONGTEXT)").await;
        mysql.account("mysync", "caching_sha2_password", "secret").await;
        servers.push(mysql);
    }
    (guard, servers)
}

impl Mysql {
    async fn run(&mut self, statements: &str) {
        for statement in statements.split("; ") {
            self.sql.query_drop(statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
    }

    async fn one(&mut self, query: &str) -> String {
        self.sql.query_first(query).await.unwrap().unwrap()
    }

    async fn account(&mut self, user: &str, plugin: &str, password: &str) {
        let at = format!("'{user}'@'{}'", self.host);
        self.run(&format!("DROP USER IF EXISTS {at}; CREATE USER {at} IDENTIFIED WITH {plugin} BY '{password}'")).await;
        self.run(&format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO {at}")).await;
    }

    fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            host: self.host.clone(),
            port: self.port,
            user: "mysync".into(),
            password: "secret".into(),
            tls: TlsSettings { mode: TlsMode::Disabled, ..TlsSettings::default() },
            connect_timeout: ConnectionSettings::CONNECT_TIMEOUT,
            server_id: 4711,
            replica_uuid: [0x47; 16],
            heartbeat: Duration::from_millis(500),
            event_bytes_max: EVENT_BYTES_MAX,
        }
    }

    fn with_tls(&self, mode: TlsMode, ca: Option<String>) -> ConnectionSettings {
        let tls = TlsSettings { mode, ca: ca.map(Into::into), identity: None };
        ConnectionSettings { tls, ..self.settings() }
    }

    async fn position(&self) -> SourcePosition {
        server::position(&mut Connection::connect(&self.settings()).await.unwrap()).await.unwrap()
    }

    async fn stream(&self, from: StreamFrom<'_>) -> Result<EventStream, SourceError> {
        Connection::connect(&self.settings()).await?.stream(from).await
    }

    async fn findings(&self, from: Option<&SourcePosition>) -> Vec<Finding> {
        let Some(position) = from else { return diagnose(&self.settings(), None).await.unwrap() };
        let server = server::uuid(&mut Connection::connect(&self.settings()).await.unwrap()).await.unwrap();
        self.findings_after(&Checkpoint::new(position.clone(), server)).await
    }

    async fn findings_after(&self, from: &Checkpoint) -> Vec<Finding> {
        diagnose(&self.settings(), Some(from)).await.unwrap()
    }

    async fn another_session(&self) -> mysql_async::Conn {
        mysql_async::Conn::from_url(format!("mysql://root@{}:{}", self.host, self.port)).await.unwrap()
    }

    /// Empties the binlog; GTIDs begin at 1 again.
    async fn reset_binlog(&mut self) {
        if self.sql.query_drop("RESET BINARY LOGS AND GTIDS").await.is_err() {
            self.run("RESET MASTER").await;
        }
    }
}

/// One line for each event of the file or of a payload, up to the first heartbeat at the end, or the error.
async fn lines(stream: &mut EventStream, end: &FilePosition) -> (Vec<String>, Option<SourceError>) {
    let mut cursor = Cursor::new(FilePosition { file: "".into(), offset: 4 });
    let mut payloads = PayloadReader::new(EVENT_BYTES_MAX).unwrap();
    let mut lines = Vec::new();
    loop {
        let event = match stream.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => match stream.fill().await {
                Ok(()) => continue,
                Err(error) => return (lines, Some(error)),
            },
            Err(error) => return (lines, Some(error)),
        };
        let begin = cursor.follow(&event).unwrap();
        let mut line = format!("{}:{begin} {} {}", cursor.file(), event.header.kind, event.header.size);
        match event.header.kind {
            EventKind::Gtid | EventKind::GtidTagged | EventKind::AnonymousGtid => {
                let gtid = Gtid::parse(&event).unwrap();
                line += &format!(" {}:{}", gtid.tag, gtid.number);
            }
            EventKind::TransactionPayload => {
                payloads.open(&event).unwrap();
                while let Some(inner) = payloads.next_event().unwrap() {
                    line += &format!(" [{} {}]", inner.header.kind, inner.header.size);
                }
            }
            EventKind::Heartbeat | EventKind::HeartbeatV2 => {
                Heartbeat::parse(&event).unwrap();
                if cursor.position() >= *end {
                    return (lines, None);
                }
                continue;
            }
            EventKind::Rotate | EventKind::FormatDescription | EventKind::PreviousGtids => continue,
            _ => {}
        }
        lines.push(line);
    }
}

#[tokio::test]
async fn logging_in_works_with_a_cold_and_a_warm_cache_and_over_tls() {
    let (_guard, servers) = servers("logging in").await;
    for mut mysql in servers {
        for mode in [TlsMode::Disabled, TlsMode::Disabled, TlsMode::Preferred, TlsMode::Required] {
            let connection = Connection::connect(&mysql.settings_in(mode)).await.unwrap();
            assert_eq!(connection.is_encrypted(), mode != TlsMode::Disabled);
        }
        mysql.account("mysync", "caching_sha2_password", "another").await;
        let with = |password: &str, mode| ConnectionSettings { password: password.into(), ..mysql.settings_in(mode) };
        for (password, mode) in [("another", TlsMode::Required), ("another", TlsMode::Disabled)] {
            Connection::connect(&with(password, mode)).await.unwrap();
        }
        for mode in [TlsMode::Disabled, TlsMode::Required] {
            for password in ["secret", ""] {
                let error = Connection::connect(&with(password, mode)).await.err().unwrap();
                assert_eq!((error.code(), error.kind()), ("SOURCE_ACCESS_DENIED", Kind::Definite), "{error}");
            }
        }
        let plugins = mysql
            .one("SELECT GROUP_CONCAT(plugin_name) FROM information_schema.plugins WHERE plugin_status='ACTIVE'")
            .await;
        for plugin in ["mysql_native_password", "sha256_password"].into_iter().filter(|p| plugins.contains(p)) {
            mysql.account("other", plugin, "secret").await;
            let settings = ConnectionSettings { user: "other".into(), ..mysql.settings() };
            match Connection::connect(&settings).await {
                Ok(_) => assert_eq!(plugin, "mysql_native_password"),
                Err(error) => assert!(error.to_string().contains("sha256_password"), "{error}"),
            }
        }
    }
}

impl Mysql {
    fn settings_in(&self, mode: TlsMode) -> ConnectionSettings {
        self.with_tls(mode, None)
    }
}

#[tokio::test]
async fn a_certificate_is_verified_as_far_as_the_mode_asks() {
    let (_guard, servers) = servers("certificates").await;
    for mut mysql in servers {
        let ca = format!("{}/ca.pem", mysql.one("SELECT @@datadir").await);
        let client = format!("{}/client-", mysql.one("SELECT @@datadir").await);
        Connection::connect(&mysql.with_tls(TlsMode::VerifyCa, Some(ca.clone()))).await.unwrap();
        Connection::connect(&mysql.with_tls(TlsMode::Required, Some(ca.clone()))).await.unwrap();
        let error = Connection::connect(&mysql.with_tls(TlsMode::VerifyCa, None)).await.err().unwrap();
        assert_eq!((error.code(), error.kind()), ("SOURCE_TLS", Kind::Definite), "{error}");
        let error =
            Connection::connect(&mysql.with_tls(TlsMode::VerifyIdentity, Some(ca.clone()))).await.err().unwrap();
        assert_eq!((error.code(), error.kind()), ("SOURCE_TLS", Kind::Definite), "{error}");
        let error =
            Connection::connect(&mysql.with_tls(TlsMode::VerifyCa, Some("/nowhere".into()))).await.err().unwrap();
        assert!(error.code() == "SOURCE_TLS" && error.to_string().contains("/nowhere"), "{error}");
        mysql.run(&format!("ALTER USER 'mysync'@'{}' REQUIRE X509", mysql.host)).await;
        let mut settings = mysql.with_tls(TlsMode::VerifyCa, Some(ca));
        assert_eq!(Connection::connect(&settings).await.err().unwrap().code(), "SOURCE_ACCESS_DENIED");
        settings.tls.identity = Some((format!("{client}cert.pem").into(), format!("{client}key.pem").into()));
        Connection::connect(&settings).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_from_gtids_is_the_stream_from_a_file() {
    let (_guard, servers) = servers("streams").await;
    for mut mysql in servers {
        let from = mysql.position().await;
        if mysql.sql.query_drop("SET gtid_next='AUTOMATIC:blue'").await.is_ok() {
            mysql.run("INSERT INTO source_test.t VALUES (1, 'tagged'); SET gtid_next='AUTOMATIC'").await;
        }
        mysql.run("SET SESSION binlog_transaction_compression=ON; INSERT INTO source_test.t VALUES (2, 'a'), (3, REPEAT('z', 3000000))").await;
        mysql.run("SET SESSION binlog_transaction_compression=OFF; INSERT INTO source_test.t VALUES (4, 'b')").await;
        mysql.run("SET GLOBAL max_allowed_packet=1<<30; FLUSH BINARY LOGS").await;
        let mut wide = mysql.another_session().await;
        wide.query_drop("INSERT INTO source_test.t VALUES (5, REPEAT('w', 40000000)), (6, 'after')").await.unwrap();
        let to = mysql.position().await;
        let gtids = from.gtids.clone().unwrap();
        let (by_gtid, error) = lines(&mut mysql.stream(StreamFrom::Gtids(&gtids)).await.unwrap(), &to.file).await;
        assert!(error.is_none(), "{error:?}");
        let (by_file, error) = lines(&mut mysql.stream(StreamFrom::File(&from.file)).await.unwrap(), &to.file).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(by_gtid, by_file);
        let all = by_gtid.join("\n");
        assert!(all.contains("WRITE_ROWS_EVENT 40000") && all.contains("[WRITE_ROWS_EVENT 300"), "{all}");
        let (rest, _) = lines(&mut mysql.stream(StreamFrom::Gtids(&to.gtids.unwrap())).await.unwrap(), &to.file).await;
        assert_eq!(rest, Vec::<String>::new(), "nothing is sent twice");
    }
}

#[tokio::test]
async fn checksums_may_be_turned_off_and_on_while_streaming() {
    let (_guard, servers) = servers("checksums").await;
    for mut mysql in servers {
        let from = mysql.position().await;
        mysql.run("INSERT INTO source_test.t VALUES (1, 'on'); SET GLOBAL binlog_checksum=NONE").await;
        mysql.run("INSERT INTO source_test.t VALUES (2, 'off'); SET GLOBAL binlog_checksum=CRC32").await;
        mysql.run("INSERT INTO source_test.t VALUES (3, 'on')").await;
        let to = mysql.position().await;
        let (lines, error) = lines(&mut mysql.stream(StreamFrom::File(&from.file)).await.unwrap(), &to.file).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(lines.iter().filter(|line| line.contains("XID_EVENT")).count(), 3, "{lines:?}");
    }
}

#[tokio::test]
async fn a_cut_stream_is_transient_and_a_stolen_one_is_not() {
    let (_guard, servers) = servers("cuts").await;
    for mut mysql in servers {
        let from = mysql.position().await;
        let beyond = FilePosition { file: from.file.file.clone(), offset: u64::MAX };
        let mut first = mysql.stream(StreamFrom::File(&from.file)).await.unwrap();
        let dumps = "SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'";
        // The server begins with it a moment after it was asked.
        let id: u64 = loop {
            if let Some(id) = mysql.sql.query_first(dumps).await.unwrap() {
                break id;
            }
        };
        mysql.run(&format!("KILL {id}")).await;
        let (_, error) = lines(&mut first, &beyond).await;
        assert_eq!(error.unwrap().kind(), Kind::Transient);

        let mut first = mysql.stream(StreamFrom::File(&from.file)).await.unwrap();
        let _second = mysql.stream(StreamFrom::File(&from.file)).await.unwrap();
        let (_, error) = lines(&mut first, &beyond).await;
        let error = error.unwrap();
        assert_eq!((error.code(), error.kind()), ("SOURCE_DUPLICATE", Kind::Definite), "{error}");
    }
}

#[tokio::test]
async fn a_purged_position_is_named_at_the_start_and_by_the_stream() {
    let (_guard, servers) = servers("purged").await;
    for mut mysql in servers {
        let from = mysql.position().await;
        let file_only = SourcePosition { gtids: None, ..from.clone() };
        mysql.run("INSERT INTO source_test.t VALUES (1, 'gone'); FLUSH BINARY LOGS; INSERT INTO source_test.t VALUES (2, 'here')").await;
        let now = mysql.position().await;
        for position in [&from, &file_only, &now] {
            assert_eq!(level(&mysql.findings(Some(position)).await, "SOURCE_POSITION"), Level::Ok);
        }
        mysql.run(&format!("PURGE BINARY LOGS TO '{}'", now.file.file)).await;
        for position in [&from, &file_only] {
            assert_eq!(level(&mysql.findings(Some(position)).await, "SOURCE_PURGED"), Level::Fail);
        }
        let gtids = from.gtids.clone().unwrap();
        for from in [StreamFrom::Gtids(&gtids), StreamFrom::File(&from.file)] {
            let (_, error) = lines(&mut mysql.stream(from).await.unwrap(), &now.file).await;
            let error = error.unwrap();
            assert_eq!((error.code(), error.kind()), ("SOURCE_PURGED", Kind::Definite), "{error}");
        }
        let mut foreign = now.clone();
        let other: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
        for (source, intervals) in other.iter() {
            foreign.gtids.as_mut().unwrap().add_interval(source.clone(), intervals[0].0, intervals[0].1);
        }
        assert_eq!(level(&mysql.findings(Some(&foreign)).await, "SOURCE_FOREIGN"), Level::Fail);
        let uuid = mysql.one("SELECT @@server_uuid").await;
        let ahead: GtidSet = format!("{uuid}:1-999999999").parse().unwrap();
        let (_, error) = lines(&mut mysql.stream(StreamFrom::Gtids(&ahead)).await.unwrap(), &now.file).await;
        let error = error.unwrap();
        assert_eq!((error.code(), error.kind()), ("SOURCE_FOREIGN", Kind::Definite), "{error}");
    }
}

#[tokio::test]
async fn a_commit_that_hangs_behind_the_binlog_is_no_transaction_of_another_server() {
    let (_guard, servers) = servers("owned").await;
    for mysql in servers {
        let mut read = mysql.position().await;
        let other: GtidSet =
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:7:12,3e11fa47-71ca-11e1-9e33-c80aa9429563:1".parse().unwrap();
        let mut sessions = Vec::new();
        let mut tags = vec![""];
        if mysql.another_session().await.query_drop("SET gtid_next='AUTOMATIC:blue'").await.is_ok() {
            tags.push("blue");
        }
        for (source, intervals) in other.iter() {
            for (number, _) in intervals {
                for tag in &tags {
                    let mut source = source.clone();
                    source.tag = (*tag).into();
                    let mut session = mysql.another_session().await;
                    session.query_drop(format!("SET gtid_next='{source}:{number}'")).await.unwrap();
                    sessions.push(session);
                    read.gtids.as_mut().unwrap().add(&source, *number);
                }
            }
        }
        assert_eq!(level(&mysql.findings(Some(&read)).await, "SOURCE_POSITION"), Level::Ok, "{read}");
        for mut session in sessions {
            session.query_drop("ROLLBACK").await.unwrap();
            session.query_drop("SET gtid_next='AUTOMATIC'").await.unwrap();
        }
        assert_eq!(
            level(&mysql.findings(Some(&read)).await, "SOURCE_FOREIGN"),
            Level::Fail,
            "none of them was committed"
        );
    }
}

#[tokio::test]
async fn gtids_given_a_second_time_are_seen_by_a_binlog_that_ends_too_early() {
    let (_guard, servers) = servers("gtids given again").await;
    for mut mysql in servers {
        mysql.reset_binlog().await;
        mysql.run("INSERT INTO source_test.t VALUES (1, 'a'); FLUSH BINARY LOGS; INSERT INTO source_test.t VALUES (2, 'b')").await;
        let read = mysql.position().await;
        assert_eq!(level(&mysql.findings(Some(&read)).await, "SOURCE_POSITION"), Level::Ok);
        // As after a crash that took the end of the file, and commits since.
        let mut longer = read.clone();
        longer.file.offset += 1;
        assert_eq!(level(&mysql.findings(Some(&longer)).await, "SOURCE_FOREIGN"), Level::Fail);

        mysql.reset_binlog().await;
        mysql.run("DELETE FROM source_test.t; INSERT INTO source_test.t VALUES (1, 'c'); INSERT INTO source_test.t VALUES (2, 'd')").await;
        let findings = mysql.findings(Some(&read)).await;
        assert_eq!(level(&findings, "SOURCE_FOREIGN"), Level::Fail);
        let told = findings.iter().find(|finding| finding.code == "SOURCE_FOREIGN").unwrap().to_string();
        assert!(told.contains(&format!("was read to {} and ends at ", read.file)), "{told}");
        // Files of another server, and a start by GTIDs alone, say nothing.
        let elsewhere = Checkpoint::new(read.clone(), "another".to_owned());
        assert_eq!(level(&mysql.findings_after(&elsewhere).await, "SOURCE_POSITION"), Level::Ok);
        let started = SourcePosition { file: FilePosition { file: "".into(), offset: 4 }, ..read.clone() };
        assert_eq!(level(&mysql.findings(Some(&started)).await, "SOURCE_POSITION"), Level::Ok);

        // A reset that keeps what was executed gives no number again.
        mysql.reset_binlog().await;
        mysql.run(&format!("SET GLOBAL gtid_purged='{}'", read.gtids.clone().unwrap())).await;
        mysql.run("INSERT INTO source_test.t VALUES (3, 'e')").await;
        assert_eq!(level(&mysql.findings(Some(&read)).await, "SOURCE_POSITION"), Level::Ok);
        // So does a purge of what was read.
        let read = mysql.position().await;
        mysql.run("FLUSH BINARY LOGS").await;
        let newest = mysql.position().await.file.file;
        mysql.run(&format!("PURGE BINARY LOGS TO '{newest}'; INSERT INTO source_test.t VALUES (4, 'f')")).await;
        assert_eq!(level(&mysql.findings(Some(&read)).await, "SOURCE_POSITION"), Level::Ok);
    }
}

fn level(findings: &[Finding], code: &str) -> Level {
    let of_code = findings.iter().filter(|finding| finding.code == code);
    of_code.map(|finding| finding.level).max().unwrap_or_else(|| panic!("no {code} in {findings:#?}"))
}

#[tokio::test]
async fn the_sql_of_each_finding_mends_it() {
    let (_guard, servers) = servers("preflight").await;
    for mut mysql in servers {
        let breaks = [
            ("SOURCE_BINLOG_FORMAT", "binlog_format='MIXED'", Level::Fail),
            ("SOURCE_ROW_IMAGE", "binlog_row_image='MINIMAL'", Level::Fail),
            ("SOURCE_ROW_METADATA", "binlog_row_metadata='MINIMAL'", Level::Fail),
            ("SOURCE_PARTIAL_JSON", "binlog_row_value_options='PARTIAL_JSON'", Level::Fail),
            ("SOURCE_SYNC_BINLOG", "sync_binlog=0", Level::Warn),
            ("SOURCE_CHECKSUM", "binlog_checksum='NONE'", Level::Warn),
            ("SOURCE_BINLOG_LIFE", "binlog_expire_logs_seconds=3600", Level::Warn),
        ];
        for (code, change, expected) in breaks {
            mysql.run(&format!("SET GLOBAL {change}")).await;
            let findings = mysql.findings(None).await;
            assert_eq!(level(&findings, code), expected, "{change}");
            let cure = findings.iter().find(|finding| finding.code == code).unwrap().cure.clone().unwrap();
            let cure = cure.split(';').next().unwrap().to_owned();
            mysql.run(&cure).await;
            assert_eq!(level(&mysql.findings(None).await, code), Level::Ok, "{cure}");
        }
        mysql.run("RESET PERSIST").await;
        for finding in mysql.findings(None).await {
            println!("{finding}");
            assert_ne!(finding.level, Level::Fail);
        }
        let own = mysql.one("SELECT CAST(@@server_id AS CHAR)").await.parse().unwrap();
        let settings = ConnectionSettings { server_id: own, ..mysql.settings() };
        assert_eq!(level(&diagnose(&settings, None).await.unwrap(), "SOURCE_SERVER_ID"), Level::Fail);
        let here = mysql.position().await.file;
        let _stream = mysql.stream(StreamFrom::File(&here)).await.unwrap();
        assert_eq!(level(&mysql.findings(None).await, "SOURCE_SERVER_ID"), Level::Warn);
        let other = ConnectionSettings { replica_uuid: [9; 16], ..mysql.settings() };
        assert_eq!(level(&diagnose(&other, None).await.unwrap(), "SOURCE_SERVER_ID"), Level::Warn);

        mysql.run(&format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'mysync'@'{}'", mysql.host)).await;
        let findings = mysql.findings(None).await;
        let missing: Vec<_> = findings.iter().filter(|finding| finding.code == "SOURCE_PRIVILEGES").collect();
        assert_eq!(missing.len(), 3, "{missing:#?}");
    }
}

#[tokio::test]
async fn a_server_without_gtids_is_followed_by_file_and_can_be_given_them() {
    let (_guard, servers) = servers("gtid_mode").await;
    for mut mysql in servers {
        for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"] {
            mysql.run(&format!("SET GLOBAL gtid_mode={mode}")).await;
        }
        let from = mysql.position().await;
        assert_eq!(from.gtids, None);
        mysql.run("INSERT INTO source_test.t VALUES (1, 'anonymous')").await;
        let to = mysql.position().await;
        let (lines, error) = lines(&mut mysql.stream(StreamFrom::File(&from.file)).await.unwrap(), &to.file).await;
        assert!(error.is_none() && lines[0].contains("ANONYMOUS_GTID_LOG_EVENT"), "{lines:?} {error:?}");
        let findings = mysql.findings(Some(&from)).await;
        assert_eq!(
            (level(&findings, "SOURCE_GTID_MODE"), level(&findings, "SOURCE_POSITION")),
            (Level::Warn, Level::Ok)
        );
        let cure = findings.iter().find(|finding| finding.code == "SOURCE_GTID_MODE").unwrap().cure.clone().unwrap();
        mysql.run(cure.trim_end_matches(';')).await;
        mysql.run("RESET PERSIST").await;
        assert_eq!(level(&mysql.findings(Some(&from)).await, "SOURCE_GTID_MODE"), Level::Ok);
    }
}

/// What the stream behind `from` says of whole tables, up to the server's end or an error.
async fn tables(mysql: &Mysql, from: SourcePosition) -> Result<Vec<String>, StreamError> {
    let to = mysql.position().await;
    let mut stream = mysql.stream(StreamFrom::File(&from.file)).await?;
    let selected = Selected { tables: vec![Pattern::new("source_test.*")], ..Selected::default() };
    let from = Checkpoint::new(from, String::new());
    let lowers = server::lowers_names(&mut Connection::connect(&mysql.settings()).await?).await?;
    let mut reader = EventReader::new(selected, EVENT_BYTES_MAX, &from, true).unwrap().lowering_names(lowers);
    let mut block = BlockBuilder::new(LogId([7; 16]), 1, &[0]);
    while reader.checkpoint().position.file < to.file {
        match stream.next_event()? {
            Some(event) => drop(reader.take(&event, &mut block)?),
            None => stream.fill().await?,
        }
    }
    block.seal();
    let (bytes, mut at, mut told) = (&block.partitions()[0].bytes, 0, Vec::new());
    while let Some((envelope, next)) = envelope::read(bytes, at).unwrap() {
        at = next;
        if envelope.header.kind == envelope::Kind::TableEvent {
            let event: TableEvent = serde_json::from_slice(envelope.body).unwrap();
            told.push(format!("{} {}", event.what, event.table));
        }
    }
    Ok(told)
}

#[tokio::test]
async fn a_table_filled_by_the_statement_that_makes_it_is_not_gone_past() {
    let (_guard, servers) = servers("tables made by queries").await;
    for mut mysql in servers {
        let from = mysql.position().await;
        mysql.run("USE source_test; INSERT INTO t VALUES (1, 'v'); CREATE TABLE by_rows SELECT * FROM t").await;
        mysql.run("CREATE TABLE like_it LIKE t; CREATE TABLE parts (a INT) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (5))").await;
        mysql.run("SET SESSION sql_mode='ANSI_QUOTES'; DROP TABLE \"by_rows\"; TRUNCATE \"like_it\"").await;
        assert_eq!(tables(&mysql, from).await.unwrap(), ["drop by_rows", "truncate like_it"]);
        for query in ["SELECT * FROM t", "(SELECT 1)", "AS TABLE t"] {
            let from = mysql.position().await;
            mysql.run("SET SESSION binlog_format=STATEMENT").await;
            mysql.run(&format!("CREATE TABLE by_statement {query}; DROP TABLE by_statement")).await;
            let error = tables(&mysql, from).await.unwrap_err();
            assert_eq!(error.code(), "SOURCE_STATEMENT", "{query}: {error}");
        }
        let from = mysql.position().await;
        let truncated = mysql.sql.query_drop("TRUNCATE SOURCE_TEST.T").await;
        // Where capitals name another table, there is none.
        assert_eq!(tables(&mysql, from).await.unwrap(), truncated.map_or(&[][..], |()| &["truncate t"]));
    }
}
