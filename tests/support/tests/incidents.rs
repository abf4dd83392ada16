//! The servers, the proxy and the waiting themselves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use mysync_test_support::{Mysql, Proxy, Random, RedisServer, homes, skip, until, until_within};

#[tokio::test]
async fn a_committed_row_survives_the_kill_of_its_server() -> Result<()> {
    let homes = homes()?;
    if homes.is_empty() {
        skip("a_committed_row_survives_the_kill_of_its_server", "MYSYNC_MYSQL_HOMES names no MySQL");
    }
    for home in homes {
        let mut mysql = Mysql::start(&home, &["--sync-binlog=1"])?;
        mysql.exec("CREATE DATABASE shop; CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(20))").await?;
        mysql.exec("INSERT INTO shop.users VALUES (1, 'Ada'), (2, 'Blaise')").await?;
        mysql.kill();
        ensure!(mysql.conn().await.is_err(), "{} answers after its end", home.name());
        mysql.restart()?;
        let rows: Vec<(i32, String)> = mysql.query("SELECT * FROM shop.users ORDER BY id").await?;
        assert_eq!(rows, [(1, "Ada".to_owned()), (2, "Blaise".to_owned())]);
        let settings = "SELECT @@gtid_mode, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@sync_binlog";
        let settings: Vec<(String, String, String, String, i32)> = mysql.query(settings).await?;
        let expected = ["ON", "ROW", "FULL", "FULL"].map(str::to_owned);
        let [(gtid, format, image, metadata, 1)] = &settings[..] else { bail!("{settings:?}") };
        assert_eq!([gtid, format, image, metadata], expected.each_ref());
    }
    Ok(())
}

#[tokio::test]
async fn two_servers_are_strangers_to_each_other() -> Result<()> {
    let Some(home) = homes()?.into_iter().next() else {
        skip("two_servers_are_strangers_to_each_other", "MYSYNC_MYSQL_HOMES names no MySQL");
        return Ok(());
    };
    let servers =
        [Mysql::start(&home, &[])?, Mysql::start(&home, &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"])?];
    let mut seen = Vec::new();
    for server in &servers {
        seen.extend(server.query::<(String, u32, String)>("SELECT @@server_uuid, @@server_id, @@gtid_mode").await?);
    }
    assert!(seen[0].0 != seen[1].0 && seen[0].1 != seen[1].1, "{seen:?}");
    assert_eq!((seen[0].2.as_str(), seen[1].2.as_str()), ("ON", "OFF"));
    Ok(())
}

#[tokio::test]
async fn redis_keeps_over_a_kill_what_its_flags_ask_for() -> Result<()> {
    if RedisServer::program().is_none() {
        skip("redis_keeps_over_a_kill_what_its_flags_ask_for", "MYSYNC_REDIS_SERVER names no redis-server");
        return Ok(());
    }
    for (flags, kept) in
        [(&[][..], None), (&["--appendonly", "yes", "--appendfsync", "always"], Some("Ada".to_owned()))]
    {
        let mut redis = RedisServer::start(flags)?;
        redis.ask::<()>(&["SET", "user:1", "Ada"])?;
        redis.kill();
        ensure!(redis.conn().is_err(), "Redis answers after its end");
        redis.restart()?;
        assert_eq!(redis.ask::<Option<String>>(&["GET", "user:1"])?, kept, "{flags:?}");
    }
    Ok(())
}

/// This test's own program starts a server and is killed: nothing may be left of the server.
#[tokio::test]
async fn no_server_outlives_a_killed_test_run() -> Result<()> {
    if RedisServer::program().is_none() {
        skip("no_server_outlives_a_killed_test_run", "MYSYNC_REDIS_SERVER names no redis-server");
        return Ok(());
    }
    if std::env::var_os("STARTS_AND_STAYS").is_some() {
        let redis = RedisServer::start(&[])?;
        println!("port {}", redis.port);
        // Until it is killed from outside.
        std::thread::park();
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "no_server_outlives_a_killed_test_run", "--nocapture"]).env("STARTS_AND_STAYS", "1");
    let mut run = command.stdout(std::process::Stdio::piped()).spawn()?;
    let mut output = std::io::BufReader::new(run.stdout.take().expect("it is piped"));
    let port: u16 = loop {
        let mut line = String::new();
        ensure!(std::io::BufRead::read_line(&mut output, &mut line)? > 0, "the run ended early");
        if let Some((_, port)) = line.trim().split_once("port ") {
            break port.parse()?;
        }
    };
    TcpStream::connect(("127.0.0.1", port))?;
    run.kill()?;
    run.wait()?;
    until("the server is gone", async || {
        ensure!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it listens");
        Ok(())
    })
    .await
}

/// A server that sends back what it is sent.
fn echo() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.try_clone().and_then(|mut reader| std::io::copy(&mut reader, &mut stream));
            });
        }
    });
    Ok(port)
}

fn ask(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(text)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_proxy_is_slow_silent_cut_closed_and_good_again() -> Result<()> {
    let proxy = Proxy::start(echo()?)?;
    let connect = || TcpStream::connect(("127.0.0.1", proxy.port));
    let mut stream = connect()?;
    assert_eq!(ask(&mut stream, b"hello")?, b"hello");

    proxy.delay(Duration::from_millis(40));
    let asked = Instant::now();
    assert_eq!(ask(&mut stream, b"slow")?, b"slow");
    assert!(asked.elapsed() >= Duration::from_millis(80), "{:?}", asked.elapsed());

    proxy.hold();
    stream.write_all(b"held")?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    assert!(stream.read(&mut [0; 4]).is_err(), "nothing passes");
    proxy.restore();
    let mut held = [0; 4];
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.read_exact(&mut held)?;
    assert_eq!(&held, b"held");

    proxy.cut();
    assert!(ask(&mut stream, b"cut").is_err());
    let mut stream = connect()?;
    assert_eq!(ask(&mut stream, b"again")?, b"again");

    proxy.cut_after(3);
    stream.write_all(b"cut here")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    assert_eq!(answer, b"cut");

    proxy.refuse();
    assert!(ask(&mut connect()?, b"refused").is_err());
    proxy.restore();
    assert_eq!(ask(&mut connect()?, b"good")?, b"good");
    assert_eq!(proxy.connected(), 3);
    Ok(())
}

/// A server that tells what it is sent, piece by piece and with the end of each connection, and answers each piece.
fn listener() -> Result<(u16, Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (heard, told) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let heard = heard.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(size) = stream.read(&mut bytes) {
                    let _ = heard.send(String::from_utf8_lossy(&bytes[..size]).into_owned());
                    if size == 0 || stream.write_all(b"ok").is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok((port, told))
}

#[test]
fn what_was_sent_before_a_cut_arrives_after_what_was_sent_on_a_new_connection() -> Result<()> {
    let (port, told) = listener()?;
    let proxy = Proxy::start(port)?;
    let next = || told.recv_timeout(Duration::from_secs(20));
    let mut old = TcpStream::connect(("127.0.0.1", proxy.port))?;
    old.write_all(b"hello")?;
    assert_eq!(next()?, "hello");
    proxy.hold();
    old.write_all(b"commit")?;
    proxy.strand();
    old.set_read_timeout(Some(Duration::from_secs(20)))?;
    // Closed, with the answer or without.
    let _ = old.read_to_end(&mut Vec::new());

    let mut new = TcpStream::connect(("127.0.0.1", proxy.port))?;
    assert_eq!(ask(&mut new, b"me")?, b"ok");
    assert_eq!(next()?, "me");
    proxy.restore();
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "it is stranded");
    proxy.arrive_late();
    assert_eq!([next()?, next()?], ["commit", ""]);
    assert_eq!(ask(&mut new, b"me")?, b"ok");
    Ok(())
}

#[test]
fn what_is_sent_arrives_twice_at_once_or_after_a_cut() -> Result<()> {
    let (port, told) = listener()?;
    let proxy = Proxy::start(port)?;
    let connect = || TcpStream::connect(("127.0.0.1", proxy.port));
    let next = || told.recv_timeout(Duration::from_secs(20));
    let mut old = connect()?;
    assert_eq!(ask(&mut old, b"me")?, b"ok");
    proxy.duplicate(Duration::ZERO);
    assert_eq!(ask(&mut old, b"me")?, b"ok");
    let mut twice = connect()?;
    assert_eq!(ask(&mut twice, b"it")?, b"ok");
    assert_eq!([next()?, next()?, next()?, next()?], ["me", "me", "it", "it"], "only a new connection says it twice");

    let later = Duration::from_millis(500);
    proxy.duplicate(later);
    let (mut late, asked) = (connect()?, Instant::now());
    assert_eq!(ask(&mut late, b"in")?, b"ok");
    assert_eq!(next()?, "in");
    proxy.restore();
    proxy.cut();
    for mut cut in [old, twice, late] {
        let mut more = Vec::new();
        let _ = cut.read_to_end(&mut more);
        assert!(more.is_empty(), "the copy's answer came too: {more:?}");
    }
    // The ends of the three and of the first copy.
    assert_eq!([next()?, next()?, next()?, next()?].concat(), "");
    assert_eq!([next()?, next()?], ["in", ""]);
    assert!(asked.elapsed() >= later, "{:?}", asked.elapsed());

    assert_eq!(ask(&mut connect()?, b"me")?, b"ok");
    assert_eq!([next()?, next()?], ["me", ""]);
    Ok(())
}

#[tokio::test]
async fn waiting_in_vain_tells_what_was_seen_last() {
    let mut looks = 0;
    let waited = until_within(Duration::from_millis(20), "three rows", async || -> Result<()> {
        looks += 1;
        bail!("{looks} rows")
    });
    let said = format!("{:#}", waited.await.unwrap_err());
    assert_eq!(said, format!("waited 0 s in vain: three rows: {looks} rows"));
}

#[test]
fn a_seed_repeats_what_chance_did() {
    let numbers = |seed| {
        let mut random = Random::new(seed);
        (0..100).map(|_| random.below(10)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(7), numbers(7));
    assert_ne!(numbers(7), numbers(8));
    assert!((0..10).all(|number| numbers(7).contains(&number)));
}
