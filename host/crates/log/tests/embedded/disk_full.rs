//! The disk is full, and then it is not: on a file system of its own, which needs `unshare`.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use mysync_pipeline::failure::Kind;
use mysync_pipeline::ports::LogWriter;

use crate::support::{Leader, child, open, read_all};

const CHILD: &str = "MYSYNC_LOG_TEST_FULL_DISK";
const BALLAST: &str = "ballast";

/// Not a test of its own: what happens on the small disk.
#[tokio::test]
async fn child_on_a_small_disk() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = Path::new(&dir);
    let ballast = dir.join(BALLAST);
    std::fs::write(&ballast, vec![1; 16 << 20]).unwrap();
    let log = open(&dir.join("log"));
    let mut reader = log.reader("w", 0).unwrap();
    let mut leader = Leader::new(&log).await;
    let mut stored = 0;
    let failure = loop {
        leader.take(stored, &[0; 10], 5000);
        match leader.store(stored).await {
            Ok(()) => stored += 1,
            Err(failure) => break failure,
        }
    };
    assert_eq!((failure.code, failure.kind), ("LOG_DISK_FULL", Kind::Transient));
    assert_eq!(read_all(&mut reader, 0).await.len() as u64, 10 * stored, "what was stored is there");

    std::fs::remove_file(ballast).unwrap();
    leader = Leader::new(&log).await;
    assert_eq!(leader.checkpoint, Some(crate::support::checkpoint(stored)));
    leader.append(stored, 10, 5000).await;
    assert_eq!(read_all(&mut reader, 0).await.len() as u64, 10 * (stored + 1), "it goes on by itself");
    drop((leader, reader, log));
    assert_eq!(
        open(&dir.join("log")).writer().lead().await.unwrap().checkpoint.unwrap().position.file.offset,
        stored + 1
    );
    File::create(dir.join("done")).unwrap();
    println!("{stored} appends until the disk was full");
}

#[test]
fn a_full_disk_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let own_disk = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
        unshare.arg(format!("mount -t tmpfs -o size=24m none {}; {command}", dir.path().display()));
        unshare
    };
    if !own_disk("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: a_full_disk_is_waited_for: 'unshare --user --mount' cannot mount a file system here");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let run = child("", "disk_full::child_on_a_small_disk", CHILD, dir.path());
    let arguments: Vec<&str> = run.get_args().map(|argument| argument.to_str().unwrap()).collect();
    let command = format!("{} {}; test -e {}/done", program.display(), arguments.join(" "), dir.path().display());
    let status = own_disk(&command).env(CHILD, dir.path()).status().unwrap();
    assert!(status.success());
}
