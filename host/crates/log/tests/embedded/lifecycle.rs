//! Opening, and what keeps a log from being opened.

use mysync_log::{EmbeddedLog, LogSettings};
use mysync_pipeline::ports::LogReader;
use rusqlite::Connection;

use crate::support::{Leader, code, open, settings};

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = EmbeddedLog::open(&settings(dir.path())).unwrap_err();
    assert_eq!(error.code(), "LOG_LOCKED");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(log);
    open(dir.path());
}

#[tokio::test]
async fn a_log_keeps_its_id_and_a_new_directory_gives_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let id = open(dir.path()).id();
    assert_eq!(open(dir.path()).id(), id);
    assert_ne!(open(&dir.path().join("another")).id(), id);
}

#[tokio::test]
async fn another_partition_count_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let error = EmbeddedLog::open(&LogSettings { partitions: 4, ..settings(dir.path()) }).unwrap_err();
    assert_eq!(error.code(), "LOG_PARTITIONS");
    assert!(error.to_string().contains("log.partitions = 1"), "{error}");
}

#[tokio::test]
async fn another_format_and_somebody_elses_database_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let file = Connection::open(dir.path().join("log.sqlite")).unwrap();
    for format in [2, 4] {
        file.pragma_update(None, "user_version", format).unwrap();
        assert_eq!(code(EmbeddedLog::open(&settings(dir.path()))), "LOG_VERSION");
    }
    file.pragma_update(None, "application_id", 7).unwrap();
    assert_eq!(code(EmbeddedLog::open(&settings(dir.path()))), "LOG_FOREIGN");
}

#[tokio::test]
async fn that_a_store_was_written_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut reader = log.reader("w", 0).unwrap();
    assert_eq!(reader.has_advanced().await, Ok(false));
    reader.advance(0).await.unwrap();
    assert_eq!(reader.has_advanced().await, Ok(true));
    drop((reader, log));
    let log = open(dir.path());
    assert_eq!(log.reader("w", 0).unwrap().has_advanced().await, Ok(true));
    assert_eq!(log.reader("other", 0).unwrap().has_advanced().await, Ok(false));
    Leader::new(&log).await;
}
