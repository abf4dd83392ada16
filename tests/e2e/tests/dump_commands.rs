//! Dumps as people order and follow them: rows that were in MySQL before the log began come to Redis, and the command line tells how it goes.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::exposition::Exposition;
use mysync_e2e_tests::world::PASSWORD;
use mysync_e2e_tests::{Options, World, shop};
use mysync_test_support::{Mysync, until};
use serde_json::Value;

const NO_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
const USERS: &str = "INSERT INTO shop.users VALUES (1, 'Ada', NULL, 'London', 1), (2, 'Bob', 'b@x', 'Paris', 2), (3, 'Cy', NULL, 'Rome', 3)";
const BULK_ROWS: u64 = 20_000;
const BULK: &str = "SET SESSION cte_max_recursion_depth = 100000; INSERT INTO shop.bulk WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
                    SELECT i + 1 FROM n WHERE i < 20000) SELECT i, i, REPEAT('c', 100), REPEAT('p', 50) FROM n";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// It ends with this exit code, and says this.
fn ends(world: &World, arguments: &[&str], code: i32, words: &str) -> Result<String> {
    let output = world.command(arguments)?;
    let said = said(&output);
    ensure!(output.status.code() == Some(code) && said.contains(words), "{arguments:?}: {}: {said}", output.status);
    Ok(said)
}

/// The dumps that the process tells of.
fn dumps(world: &World) -> Result<Vec<Value>> {
    Ok(serde_json::from_slice(&world.command(&["dump", "status", "--json"])?.stdout)?)
}

async fn wait_state(world: &World, number: u64, state: &str) -> Result<Value> {
    until(&format!("dump {number} is {state}"), async || {
        let dumps = dumps(world)?;
        let dump = dumps.iter().find(|dump| dump["number"] == number).context("it is not there")?;
        ensure!(dump["state"] == state, "{dump}");
        Ok(dump.clone())
    })
    .await
}

/// A command that follows a dump; a process that does not outlive its test.
struct Following(Option<Child>);

impl Following {
    fn start(world: &World, arguments: &[&str]) -> Result<(Self, BufReader<impl Read + use<>>)> {
        let mut command = Mysync::command(world.dir(), arguments)?;
        let mut child =
            command.env("MYSYNC_PASSWORD", PASSWORD).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?);
        Ok((Self(Some(child)), lines))
    }

    fn end(mut self) -> Result<Output> {
        Ok(self.0.take().context("it has ended")?.wait_with_output()?)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_the_first_start_come_with_the_dumps_of_new_writers() -> Result<()> {
    let test = "rows_from_before_the_first_start_come_with_the_dumps_of_new_writers";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    world.write_writer("orders-cache", &format!("dump = \"never\"\n{}", shop::ORDERS))?;
    world.mysql.exec(USERS).await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 9.90, NULL)").await?;
    let check = ends(&world, &["check"], 0, "OK   DUMP_PRIVILEGE: ")?;
    for (writer, begins) in [("users-cache", "a dump of its tables"), ("orders-cache", "what the log holds")] {
        let line = format!("writer {writer} is new to the store in partition 0, and begins with {begins}");
        ensure!(check.contains(&line), "{line}: {check}");
    }
    let mysync = world.mysync().await?;
    until("the users are in Redis", async || {
        let name: Option<String> = world.redis.ask(&["HGET", "user:3", "name"])?;
        Ok(ensure!(name.as_deref() == Some("Cy"), "{name:?}"))
    })
    .await?;
    wait_state(&world, 1, "done").await?;
    wait_state(&world, 2, "done").await?;
    ensure!(dumps(&world)?.len() == 2, "the third writer wants none");
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "order:1"])?);
    let status = ends(&world, &["status"], 0, "LEFT OUT")?;
    ensure!(status.lines().any(|line| line.contains("users-cache") && line.contains("done")), "{status}");
    // Which of the writers asked first is chance.
    let all = dumps(&world)?;
    let of_users = all.iter().find(|dump| dump["writer"] == "users-cache").context("no dump of the users")?;
    let number = of_users["number"].to_string();
    let labels = |state| [("dump", number.as_str()), ("writer", "users-cache"), ("state", state)];
    let figures = Exposition::parse(&mysync.metrics()?)?;
    ensure!(figures.value("mysync_dump_state", &labels("done"))? == 1.0);
    ensure!(figures.value("mysync_dump_rows_total", &labels("done")[..2])? == 3.0);

    // Now its rows are wanted all the same.
    ends(&world, &["dump", "--writer", "orders-cache"], 0, "dump 3 is done: 1 rows of 1 tables")?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_paused_left_alone_and_cancelled_while_it_runs() -> Result<()> {
    let test = "a_dump_is_paused_left_alone_and_cancelled_while_it_runs";
    let options = Options { writers: vec![("bulk-cache", shop::BULK)], ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    world.mysql.exec(BULK).await?;
    ends(&world, &["dump", "--detach"], 2, "[ADMIN_UNREACHABLE]")?;
    let mysync = world.mysync().await?;
    world.wait_equal().await?;
    wait_state(&world, 1, "done").await?;

    ends(&world, &["dump", "--writer", "bulk-cash"], 1, "[WRITER_UNKNOWN] no writer bulk-cash runs here")?;
    ends(&world, &["dump", "--rows-per-second", "300", "--detach"], 0, "dump 2 is ordered")?;
    let running = wait_state(&world, 2, "running").await?;
    ensure!(running["rows_per_second_max"] == 300 && running["writer"].is_null(), "{running}");
    ends(&world, &["dump"], 1, "[DUMP_RUNNING]")?;
    ends(&world, &["dump", "pause", "2"], 0, "dump 2 is paused")?;
    let paused = wait_state(&world, 2, "paused").await?;
    ensure!(paused["rows"].as_u64().is_some_and(|rows| rows < BULK_ROWS), "{paused}");
    ensure!(mysync.get("/healthz")?.0 == 200, "somebody wanted it so");
    ends(&world, &["dump", "resume"], 0, "dump 2 goes on")?;
    wait_state(&world, 2, "running").await?;
    ends(&world, &["dump", "cancel"], 0, "dump 2 is cancelled")?;
    ends(&world, &["dump", "cancel", "2"], 1, "[DUMP_UNKNOWN]")?;

    // Who follows one leaves it running by Ctrl-C, and sees it cancelled by somebody else.
    let slow = ["dump", "--rows-per-second", "300", "--writer", "bulk-cache"];
    let (following, mut lines) = Following::start(&world, &slow)?;
    let mut line = String::new();
    lines.read_line(&mut line)?;
    ensure!(line.starts_with("dump 3  "), "{line}");
    let pid = following.0.as_ref().context("it has ended")?.id().to_string();
    ensure!(Command::new("kill").args(["-INT", &pid]).status()?.success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest)?;
    let left = following.end()?;
    ensure!(left.status.code() == Some(130) && rest.contains("dump 3 goes on without you"), "{left:?}: {rest}");
    wait_state(&world, 3, "running").await?;
    ends(&world, &["dump", "cancel", "3"], 0, "dump 3 is cancelled")?;
    let (following, mut lines) = Following::start(&world, &slow)?;
    lines.read_line(&mut line)?;
    ends(&world, &["dump", "cancel", "4"], 0, "dump 4 is cancelled")?;
    lines.read_to_string(&mut rest)?;
    let cancelled = following.end()?;
    ensure!(cancelled.status.code() == Some(1) && said(&cancelled).contains("[DUMP_CANCELLED]"), "{cancelled:?}");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_lacks_a_privilege_says_which_and_goes_on_once_it_is_granted() -> Result<()> {
    let test = "a_dump_that_lacks_a_privilege_says_which_and_goes_on_once_it_is_granted";
    let writers = vec![("users-cache", shop::USERS)];
    let options = Options { mysql: NO_GTIDS.to_vec(), writers, ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    world.mysql.exec(USERS).await?;
    let check = ends(&world, &["check"], 0, "WARN DUMP_PRIVILEGE: ")?;
    let cure = check.lines().skip_while(|line| !line.contains("DUMP_PRIVILEGE")).nth(1).context("no cure")?.trim();
    let mysync = world.mysync().await?;
    wait_state(&world, 1, "stopped").await?;
    let (code, health) = mysync.get("/healthz")?;
    ensure!(code == 503 && health.contains("dump 1: [DUMP_PRIVILEGE] "), "{health}");
    ends(&world, &["status"], 1, "dump 1: [DUMP_PRIVILEGE] ")?;
    ends(&world, &["dump", "status"], 1, "dump 1: [DUMP_PRIVILEGE] ")?;
    // The stream goes on meanwhile.
    world.mysql.exec("UPDATE shop.users SET name = 'Al' WHERE id = 1").await?;
    until("the change is in Redis", async || {
        let name: Option<String> = world.redis.ask(&["HGET", "user:1", "name"])?;
        Ok(ensure!(name.as_deref() == Some("Al"), "{name:?}"))
    })
    .await?;
    for grant in cure.split_terminator(';') {
        world.mysql.exec(grant).await?;
    }
    ensure!(ends(&world, &["check"], 0, "OK ")?.lines().all(|line| !line.starts_with("WARN DUMP")));
    ends(&world, &["dump", "resume", "1"], 0, "dump 1 goes on")?;
    wait_state(&world, 1, "done").await?;
    world.wait_equal().await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
