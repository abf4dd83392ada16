//! The program as a process, without any server: what it says, how it ends, and what it never shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Starting takes milliseconds; a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "hunter2@:/%";

fn mysync(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mysync"));
    command.current_dir(folder).env_remove("MYSYNC_CONFIG").env("MYSYNC_PASSWORD", PASSWORD).env("MYSYNC_LOG", "trace");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A configuration whose servers are not there.
struct Fixture {
    folder: tempfile::TempDir,
    admin: u16,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (admin, source, store) = (free_port(), free_port(), free_port());
        let text = format!(
            "[source]\nname = \"shop\"\nurl = \"mysql://mysync:${{MYSYNC_PASSWORD}}@127.0.0.1:{source}\"\ntables = [\"shop.*\"]\n\
             [connectors.cache]\nkind = \"redis\"\nurl = \"redis://:${{MYSYNC_PASSWORD}}@127.0.0.1:{store}\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n"
        );
        std::fs::write(folder.path().join("mysync.toml"), text).unwrap();
        Self { folder, admin }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        mysync(self.folder.path()).args(arguments).output().unwrap()
    }

    /// Starts `mysync run` and waits until it answers.
    fn start(&self) -> Running {
        self.start_with(&["run"])
    }

    fn start_with(&self, arguments: &[&str]) -> Running {
        let mut running = Running(Some(mysync(self.folder.path()).args(arguments).spawn().unwrap()));
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.admin)).is_err() {
            assert!(Instant::now() < deadline, "nothing listens: {}", said(&running.end("KILL")));
            std::thread::yield_now();
        }
        running
    }

    fn get(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.admin)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

/// A process that does not outlive its test.
struct Running(Option<Child>);

impl Running {
    fn end(&mut self, signal: &str) -> Output {
        let child = self.0.take().unwrap();
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        child.wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_secret_is_in_no_output() {
    let fixture = Fixture::new();
    let mut running = fixture.start();
    let mut seen = Vec::new();
    for path in ["/metrics", "/healthz", "/readyz", "/api/status"] {
        seen.push(fixture.get(path));
    }
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["dump", "status"],
        &["dump"],
        &["check"],
        &["log", "tail"],
        &["writer", "rewind", "x"],
    ] {
        seen.push(said(&fixture.run(arguments)));
    }
    let ended = running.end("TERM");
    seen.push(said(&ended));
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    let encoded = "hunter2%40%3A%2F%25";
    for text in &seen {
        assert!(!text.contains("hunter2") && !text.contains(encoded), "{text}");
    }
    assert!(seen[3].contains("\"capture\"") && seen.last().unwrap().contains("mysync ended"), "{seen:?}");
}

#[test]
fn an_unset_variable_is_named_and_nothing_starts() {
    let fixture = Fixture::new();
    let output = mysync(fixture.folder.path()).arg("run").env_remove("MYSYNC_PASSWORD").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = said(&output);
    assert!(said.contains("[CONFIG_SECRET] mysync.toml:3:") && said.contains("MYSYNC_PASSWORD"), "{said}");
    assert!(!fixture.folder.path().join("data").exists());
}

#[test]
fn half_of_the_program_needs_a_log_that_processes_share() {
    let fixture = Fixture::new();
    for half in ["capture", "deliver"] {
        let output = fixture.run(&[half]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("[LOG_KIND]") && said.contains("mysync run"), "{said}");
    }
    assert!(!fixture.folder.path().join("data").exists());
}

#[test]
fn an_address_of_the_command_line_is_open_to_this_machine_only() {
    let fixture = Fixture::new();
    let output = fixture.run(&["run", "--admin", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("[CONFIG_VALUE] --admin can be reached"), "{}", said(&output));
    // Where the configuration says, somebody else listens.
    let _taken = TcpListener::bind(("127.0.0.1", fixture.admin)).unwrap();
    let fixture = Fixture { admin: free_port(), ..fixture };
    let mut running = fixture.start_with(&["run", "--admin", &format!("127.0.0.1:{}", fixture.admin)]);
    assert!(fixture.get("/api/status").contains("\"capture\""));
    assert_eq!(running.end("TERM").status.code(), Some(0));
}

#[test]
fn status_needs_no_secret_and_tells_when_nobody_answers() {
    let fixture = Fixture::new();
    let output = mysync(fixture.folder.path()).arg("status").env_remove("MYSYNC_PASSWORD").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("[ADMIN_UNREACHABLE]"), "{}", said(&output));
}

#[test]
fn a_wrong_command_line_is_not_a_failure_of_what_runs() {
    let fixture = Fixture::new();
    for arguments in [
        &["fly"][..],
        &["writer", "rewind"],
        &["writer", "rewind", "x", "--to", "end"],
        &["writer", "rewind", "x", "--to", "2026-11-25"],
        &["writer", "rewind", "x", "--to", "0@-1"],
        &["run", "--admin", "localhost:7070"],
        &["dump", "users"],
        &["dump", "--rows-per-second", "0"],
        &["dump", "--writer", "users", "cancel"],
        &[],
    ] {
        assert_eq!(fixture.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let absent = fixture.run(&["check", "--config", "absent.toml"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(said(&absent).contains("[CONFIG_UNREADABLE] absent.toml"), "{}", said(&absent));
    assert_eq!(fixture.run(&["--version"]).status.code(), Some(0));
}
