//! `mysync log tail`: every record of the log, for people, while a process runs and after it has ended.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::{Options, World, shop};
use mysync_test_support::{Mysync, until};
use tempfile::TempDir;

const NO_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];

/// A line, as it is documented: `SEQ PARTITION TIME TRANSACTION/ROW TABLE WORD REST`.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    seq: u64,
    partition: u32,
    time: &'a str,
    transaction: &'a str,
    row: u64,
    table: &'a str,
    word: &'a str,
    rest: &'a str,
}

fn lines(said: &str) -> Result<Vec<Line<'_>>> {
    said.lines().map(|line| read(line).with_context(|| line.to_owned())).collect()
}

fn read(line: &str) -> Result<Line<'_>> {
    let mut words = line.splitn(7, ' ');
    let mut word = || words.next().context("a word is missing");
    let (seq, partition, time) = (word()?.parse()?, word()?.parse()?, word()?);
    let (transaction, row) = word()?.rsplit_once('/').context("no row number")?;
    let (table, name, rest) = (word()?, word()?, word().unwrap_or_default());
    Ok(Line { seq, partition, time, transaction, row: row.parse()?, table, word: name, rest })
}

/// Only what is streamed is in the log.
fn options() -> Options {
    Options { writers: shop::without_dumps(), ..Options::default() }
}

/// Everything in the log. Neither the source's password nor anything else but `[log]` is needed for it.
fn tail(dir: &Path, arguments: &[&str]) -> Result<String> {
    let output = Mysync::run(dir, &[&["log", "tail"], arguments].concat())?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// It ends with exit code 1, names the reason on standard error, and what is good it has printed before. Answers both.
fn refused(dir: &Path, code: &str) -> Result<(String, String)> {
    let output = Mysync::run(dir, &["log", "tail"])?;
    let (printed, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.code() == Some(1) && said.starts_with(&format!("mysync: [{code}] ")), "{code}: {said}");
    Ok((printed, said))
}

/// Waits until the log ends with a change of the order, which is made now.
async fn order_is_last(world: &World, id: u32) -> Result<String> {
    world.mysql.exec(&format!("INSERT INTO shop.orders VALUES ({id}, 1, 1.50, NULL)")).await?;
    until("the order is in the log", async || {
        let said = tail(world.dir(), &[])?;
        let last = said.lines().last().unwrap_or_default();
        ensure!(last.contains(&format!(" shop.orders insert +{{id: {id}, ")), "{last}");
        Ok(said)
    })
    .await
}

/// Where MySQL's transactions begin in the binlog, as it says itself.
async fn beginnings(world: &World) -> Result<Vec<String>> {
    type Event = (String, u64, String, u32, u64, String);
    let files = world.mysql.query::<(String, u64, String)>("SHOW BINARY LOGS").await?;
    let (file, ..) = files.last().context("no binlog")?;
    let events = world.mysql.query::<Event>(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let begin = events.into_iter().filter(|(_, _, kind, ..)| ["Gtid", "Anonymous_Gtid"].contains(&kind.as_str()));
    Ok(begin.map(|(file, at, ..)| format!("{file}:{at}")).collect())
}

const CHANGES: [&str; 11] = [
    "INSERT INTO shop.users VALUES (1, 'Zoë \\n\\\"\u{1b}[31m', NULL, 'Oslo', -7), (2, 'Bob', '', 'Oslo', 0)",
    "UPDATE shop.users SET score = 8, city = 'Rome' WHERE id = 2",
    "UPDATE shop.users SET id = 3 WHERE id = 2",
    "BEGIN; DELETE FROM shop.users WHERE id = 3; INSERT INTO shop.bulk VALUES (1, NULL, REPEAT('é', 120), ''); COMMIT",
    "ALTER TABLE shop.users DROP COLUMN city, ADD COLUMN photo BLOB, ADD COLUMN price DOUBLE",
    "UPDATE shop.users SET photo = REPEAT(x'00ff', 101), price = -0e0",
    "TRUNCATE shop.bulk",
    "INSERT INTO shop.bulk VALUES (2, 2, REPEAT('c', 100), REPEAT('p', 60))",
    "CREATE TABLE shop.`odd\u{1b}` (`a b` BIGINT UNSIGNED, c VARCHAR(300))",
    "INSERT INTO shop.`odd\u{1b}` VALUES (18446744073709551615, REPEAT('x', 201))",
    "INSERT INTO shop.orders VALUES (1, 1, 1.5, NULL)",
];

/// What is printed of them behind the numbers, and with which of them.
const PRINTED: [(usize, &str); 18] = [
    (0, "shop.users shape (id int, name varchar "),
    (0, r#"shop.users insert +{id: 1, name: "Zoë \n\"\u{1b}[31m", email: NULL, city: "Oslo", score: -7}"#),
    (0, r#"shop.users insert +{id: 2, name: "Bob", email: "", city: "Oslo", score: 0} ."#),
    (
        1,
        r#"shop.users update -{id: 2, name: "Bob", email: "", city: "Oslo", score: 0} +{id: 2, name: "Bob", email: "", city: "Rome", score: 8} ."#,
    ),
    (
        2,
        r#"shop.users move-out -{id: 2, name: "Bob", email: "", city: "Rome", score: 8} +{id: 3, name: "Bob", email: "", city: "Rome", score: 8}"#,
    ),
    (
        2,
        r#"shop.users move-in -{id: 2, name: "Bob", email: "", city: "Rome", score: 8} +{id: 3, name: "Bob", email: "", city: "Rome", score: 8} ."#,
    ),
    (3, r#"shop.users delete -{id: 3, name: "Bob", email: "", city: "Rome", score: 8}"#),
    (3, "shop.bulk shape (id int, k int NULL, c char "),
    (3, r#"shop.bulk insert +{id: 1, k: NULL, c: "éé"#),
    (5, "shop.users shape (id int, name varchar "),
    (
        5,
        r#"shop.users update -{id: 1, name: "Zoë \n\"\u{1b}[31m", email: NULL, score: -7, photo: NULL, price: NULL} +{id: 1, "#,
    ),
    (6, r#"shop.bulk truncate "TRUNCATE shop.bulk""#),
    (7, r#"shop.bulk insert +{id: 2, k: 2, c: "ccc"#),
    (9, "shop.odd\\u{1b} shape (a b bigint unsigned=true NULL, c varchar "),
    (9, r#"shop.odd\u{1b} insert +{a b: 18446744073709551615, c: "xxx"#),
    (10, "shop.orders shape (id bigint, user_id int, total decimal "),
    (10, r#"shop.orders insert +{id: 1, user_id: 1, total: "1.50", note: NULL} ."#),
    (11, r#"shop.orders insert +{id: 2, user_id: 1, total: "1.50", note: NULL} ."#),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_printed_while_a_process_runs_and_after_its_end() -> Result<()> {
    let test = "every_record_is_printed_while_a_process_runs_and_after_its_end";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let (_, said) = refused(world.dir(), "LOG_ABSENT")?;
    ensure!(said.contains("'mysync run' makes it"), "{said}");
    let mysync = world.mysync().await?;
    ensure!(tail(world.dir(), &[])?.is_empty());
    let before = beginnings(&world).await?.len();
    let since = now(&world).await?;
    for change in CHANGES {
        world.mysql.exec(change).await?;
    }
    let said = order_is_last(&world, 2).await?;
    println!("{said}");
    let found = lines(&said)?;
    let begin = beginnings(&world).await?;
    let until = now(&world).await?;
    let server: String = world.mysql.query("SELECT @@server_uuid").await?.pop().context("no id")?;
    let executed: String = world.mysql.query("SELECT @@GLOBAL.gtid_executed").await?.pop().context("no set")?;
    // The server was made from a copy, which has transactions of its own.
    let own =
        executed.split(',').map(str::trim).find(|set| set.starts_with(&server)).context("no set of this server")?;
    let last: usize = own.rsplit(['-', ':']).next().context("no number")?.parse()?;
    for (line, (change, expected)) in found.iter().zip(PRINTED) {
        let shown = format!("{} {} {}", line.table, line.word, line.rest);
        ensure!(shown.starts_with(expected), "printed {shown}, expected {expected}");
        let [number, at] = [last + change - CHANGES.len(), before + change];
        let at = begin.get(at).context("a transaction is missing in the binlog")?;
        ensure!(line.transaction == format!("{server}:{number}@{at}"), "{line:?}: {server}:{number} begins at {at}");
        ensure!(line.partition == 0 && line.time >= &*since && line.time <= &*until, "{line:?} since {since}");
    }
    ensure!(found.len() == PRINTED.len(), "{said}");
    let records: Vec<&Line<'_>> = found.iter().filter(|line| line.word != "shape").collect();
    ensure!(records.windows(2).all(|two| two[1].seq == two[0].seq + 1), "numbers are missing: {said}");
    let rows: Vec<u64> = records.iter().map(|line| line.row).collect();
    ensure!(rows == [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], "{rows:?}");
    let ends: Vec<bool> = records.iter().map(|line| line.rest.ends_with(" .")).collect();
    let inside = [0, 3, 5];
    ensure!(ends.iter().enumerate().all(|(at, end)| *end != (inside.contains(&at) || records[at].word == "truncate")));
    ensure!(said.contains(&format!("photo: 0x{}… (202 bytes)", "00ff".repeat(50))), "{said}");
    ensure!(
        said.contains(&format!("c: \"{}… (201 bytes)\"", "x".repeat(200)))
            || said.contains(&format!("c: \"{}\"… (201 bytes)", "x".repeat(200))),
        "{said}"
    );
    ensure!(
        !said.contains(|character: char| character.is_control() && character != '\n'),
        "a row commands the terminal"
    );

    // From a number on, and the same after kill -9 and after an end.
    let middle = records[5].seq;
    let rest = tail(world.dir(), &["--from", &middle.to_string()])?;
    ensure!(lines(&rest)?.first().is_some_and(|line| line.seq == middle + 1), "{rest}");
    mysync.kill();
    ensure!(tail(world.dir(), &[])? == said);
    let mysync = world.mysync().await?;
    ensure!(mysync.terminate().await?.success());
    ensure!(tail(world.dir(), &[])? == said);
    Ok(())
}

/// The time now, as it is printed.
async fn now(world: &World) -> Result<String> {
    let now = "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')";
    world.mysql.query(now).await?.pop().context("no time")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_a_log_sees_what_comes_over_the_ends_of_processes() -> Result<()> {
    let test = "whoever_follows_a_log_sees_what_comes_over_the_ends_of_processes";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    let (all, late) = (TempDir::new()?, TempDir::new()?);
    let follow = |words: &[&str], output: &TempDir| {
        Mysync::spawn(Mysync::command(world.dir(), &[&["log", "tail"], words].concat())?, output.path())
    };
    let mut follower = follow(&["-f"], &all)?;
    let user = async |id: u32| {
        world.mysql.exec(&format!("INSERT INTO shop.users (id, name, city) VALUES ({id}, 'Ann', 'Oslo')")).await
    };
    let sees = async |follower: &Mysync, last: &str| {
        until(last, async || {
            let said = follower.log();
            ensure!(said.ends_with('\n') && said.lines().last().is_some_and(|line| line.contains(last)), "{said}");
            Ok(said)
        })
        .await
    };
    user(1).await?;
    sees(&follower, "shop.users insert +{id: 1, ").await?;
    world.mysql.exec("ALTER TABLE shop.users ADD COLUMN age INT; UPDATE shop.users SET age = 7").await?;
    let said = sees(&follower, "age: NULL} +{id: 1, ").await?;
    let seq = lines(&said)?.last().context("no line")?.seq;
    let mut latecomer = follow(&["--follow", "--from", &seq.to_string()], &late)?;
    mysync.kill();
    user(2).await?;
    let mysync = world.mysync().await?;
    sees(&follower, "shop.users insert +{id: 2, ").await?;
    ensure!(mysync.terminate().await?.success());
    ensure!(follower.exited()?.is_none() && latecomer.exited()?.is_none(), "a follower has ended by itself");
    let mysync = world.mysync().await?;
    user(3).await?;
    let said = sees(&follower, "shop.users insert +{id: 3, ").await?;
    ensure!(tail(world.dir(), &[])? == said, "{said}");
    let said = sees(&latecomer, "shop.users insert +{id: 3, ").await?;
    ensure!(lines(&said)?.iter().filter(|line| line.word != "shape").count() == 2, "{said}");
    ensure!(mysync.terminate().await?.success());

    // Somebody may have seen enough.
    let mysync = world.mysync().await?;
    let many = "INSERT INTO shop.bulk WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 1000) \
                SELECT id, id, REPEAT('c', 100), '' FROM n";
    world.mysql.exec(many).await?;
    order_is_last(&world, 1).await?;
    let mut reader =
        Mysync::command(world.dir(), &["log", "tail"])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(reader.stdout.take().context("no output")?).read_line(&mut line)?;
    let ended = reader.wait_with_output()?;
    ensure!(
        ended.status.success() && ended.stderr.is_empty() && line.contains("shop.users shape"),
        "{ended:?}: {line}"
    );
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_partitions_are_printed_in_one_order() -> Result<()> {
    let test = "several_partitions_are_printed_in_one_order";
    let options = Options {
        mysql: NO_GTIDS.to_vec(),
        log: "partitions = 3",
        writers: vec![("bulk-cache", shop::BULK)],
        ..Options::default()
    };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    let before = beginnings(&world).await?.len();
    let ids = 1..=30;
    for id in ids.clone() {
        world.mysql.exec(&format!("INSERT INTO shop.bulk VALUES ({id}, 0, '', '')")).await?;
    }
    world.mysql.exec("UPDATE shop.bulk SET id = id + 100 ORDER BY id").await?;
    let said = order_is_last(&world, 1).await?;
    let found = lines(&said)?;
    let bulk: Vec<&Line<'_>> = found.iter().filter(|line| line.table == "shop.bulk" && line.word != "shape").collect();
    ensure!(found.is_sorted_by_key(|line| line.seq) && bulk.len() == 90, "{said}");
    let begin = beginnings(&world).await?;
    for (at, line) in bulk.iter().enumerate() {
        let (id, transaction, row) = if at < 30 { (at + 1, at, 0) } else { ((at - 30) / 2 + 1, 30, (at - 30) / 2) };
        let word = ["insert", "move-out", "move-in"][if at < 30 { 0 } else { 1 + at % 2 }];
        ensure!(
            line.word == word && line.row == row as u64 && line.rest.contains(&format!("{{id: {id}, ")),
            "{line:?}"
        );
        ensure!(line.transaction == begin[before + transaction], "{line:?} of {}", begin[before + transaction]);
    }
    let mut partitions: Vec<u32> = bulk.iter().map(|line| line.partition).collect();
    partitions.sort();
    partitions.dedup();
    ensure!(partitions == [0, 1, 2], "{said}");
    ensure!(
        bulk.chunks(2).skip(15).any(|halves| halves[0].partition != halves[1].partition),
        "no key changed its partition"
    );
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_damaged_or_none_is_an_error_with_its_reason() -> Result<()> {
    let test = "a_log_that_is_damaged_or_none_is_an_error_with_its_reason";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    for id in 1..=3 {
        world.mysql.exec(&format!("INSERT INTO shop.users VALUES ({id}, 'needle {id}', NULL, 'Oslo', 0)")).await?;
        // Each in a block of its own.
        order_is_last(&world, id).await?;
    }
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    let whole = std::fs::read(world.data().join("log.sqlite"))?;
    let with = |bytes: &[u8]| -> Result<TempDir> {
        let copy = world.copy()?;
        let data = copy.path().join("data");
        std::fs::remove_dir_all(&data)?;
        std::fs::create_dir(&data)?;
        std::fs::write(data.join("log.sqlite"), bytes)?;
        Ok(copy)
    };
    let good = tail(with(&whole)?.path(), &[])?;
    ensure!(good == tail(world.dir(), &[])? && good.contains("needle 3"), "{good}");

    let changed = |at: usize, bytes: &[u8]| {
        let mut whole = whole.clone();
        whole[at..at + bytes.len()].copy_from_slice(bytes);
        whole
    };
    let at = whole.windows(8).position(|bytes| bytes == b"needle 2").context("no needle")?;
    let copy = with(&changed(at, b"noodle 2"))?;
    let (printed, said) = refused(copy.path(), "LOG_BLOCK_DAMAGED")?;
    ensure!(good.starts_with(&printed) && printed.contains("needle 1") && !printed.contains("needle 2"), "{printed}");
    let seq = said.split("--to ").nth(1).and_then(|rest| rest.split('\'').next()).context("no cure")?;
    let rest = tail(copy.path(), &["--from", seq])?;
    ensure!(rest.contains("needle 3") && !rest.contains("needle 2"), "{rest}");

    // In the file's first page: its name, the number of its format, and whose it is.
    for (at, bytes, code) in
        [(0, "SQLite format 2", "LOG_DAMAGED"), (60, "\0\0\0c", "LOG_VERSION"), (68, "none", "LOG_FOREIGN")]
    {
        let (printed, _) = refused(with(&changed(at, bytes.as_bytes()))?.path(), code)?;
        ensure!(printed.is_empty(), "{code}: {printed}");
    }
    refused(with(b"this is no log at all")?.path(), "LOG_DAMAGED")?;
    let (printed, _) = refused(with(&whole[..whole.len() / 2])?.path(), "LOG_DAMAGED")?;
    ensure!(good.starts_with(&printed), "{printed}");
    refused(with(b"")?.path(), "LOG_ABSENT")?;

    let nowhere = TempDir::new()?;
    let output = Mysync::run(nowhere.path(), &["log", "tail"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && said.contains("mysync.toml"), "{output:?}");
    Ok(())
}
