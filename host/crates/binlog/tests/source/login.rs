//! Servers that are not what they should be, played by a socket.

use std::future::Future;
use std::time::Duration;

use mysync_binlog::connection::{Connection, ConnectionSettings, SourceError, StreamFrom};
use mysync_binlog::tls::{TlsMode, TlsSettings};
use mysync_change::position::FilePosition;
use mysync_pipeline::failure::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bytes::{Random, event};

pub const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
pub const TLS_FLAG: u32 = 1 << 11;

pub fn settings(port: u16, mode: TlsMode) -> ConnectionSettings {
    ConnectionSettings {
        host: "127.0.0.1".into(),
        port,
        user: "mysync".into(),
        password: "secret".into(),
        tls: TlsSettings { mode, ..TlsSettings::default() },
        connect_timeout: Duration::from_secs(5),
        server_id: 4711,
        replica_uuid: [7; 16],
        heartbeat: Duration::from_millis(200),
        event_bytes_max: 40 << 20,
    }
}

pub fn greeting(version: &str, plugin: &str, flags: u32) -> Vec<u8> {
    let capabilities: u32 = 1 << 9 | 1 << 15 | 1 << 19 | flags;
    let [a, b, c, d] = capabilities.to_le_bytes();
    let mut packet = vec![10];
    packet.extend_from_slice(version.as_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 0]);
    packet.extend_from_slice(b"12345678\0");
    packet.extend_from_slice(&[a, b, 45, 2, 0, c, d, 21]);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(b"123456789012\0");
    packet.extend_from_slice(plugin.as_bytes());
    packet.push(0);
    packet
}

/// The server's side of one connection.
struct Played(TcpStream);

impl Played {
    async fn send(&mut self, sequence: u8, payload: &[u8]) {
        let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
        // The other side may have hung up already: that is what many of these are about.
        let _ = self.0.write_all(&[&[a, b, c, sequence], payload].concat()).await;
    }

    async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).await.ok()?;
        let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(payload)
    }

    /// Lets anybody in and agrees to everything, up to the command that asks for the binlog.
    async fn up_to_dump(&mut self) {
        self.send(0, &greeting("8.0.31", "mysql_native_password", 0)).await;
        self.receive().await.unwrap();
        self.send(2, OK).await;
        while self.receive().await.unwrap()[0] != 0x12 {
            self.send(1, OK).await;
        }
    }
}

async fn played<F>(script: impl FnOnce(Played) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(Played(stream)).await;
    });
    port
}

async fn refusal(mode: TlsMode, first: Vec<u8>, answers: Vec<Vec<u8>>) -> SourceError {
    let port = played(move |mut server| async move {
        server.send(0, &first).await;
        let mut sequence = 2;
        for answer in answers {
            server.receive().await;
            server.send(sequence, &answer).await;
            sequence += 2;
        }
        server.receive().await;
    })
    .await;
    Connection::connect(&settings(port, mode)).await.err().expect("no such server is let pass")
}

#[tokio::test]
async fn a_server_that_cannot_be_followed_is_refused_by_name() {
    let refused =
        async |version: &str| refusal(TlsMode::Disabled, greeting(version, "mysql_native_password", 0), vec![]).await;
    let error = refused("5.5.5-10.11.6-MariaDB-log").await;
    assert!(error.code() == "SOURCE_VERSION" && error.to_string().contains("MariaDB"), "{error}");
    assert_eq!(refused("5.6.51").await.code(), "SOURCE_VERSION");
    assert_eq!(refused("").await.code(), "SOURCE_VERSION");
    let error = refusal(TlsMode::Required, greeting("8.0.31", "mysql_native_password", 0), vec![]).await;
    assert!(error.code() == "SOURCE_TLS" && error.kind() == Kind::Definite, "{error}");
}

#[tokio::test]
async fn a_full_server_is_waited_for_and_one_that_bars_us_is_not() {
    for (error, code, kind) in [
        ("\x10\x04Too many connections", "SOURCE_UNREADY", Kind::Transient),
        ("\x6a\x04Host is not allowed", "SOURCE_SERVER_ERROR", Kind::Definite),
    ] {
        let error = refusal(TlsMode::Disabled, [&[0xff], error.as_bytes()].concat(), vec![]).await;
        assert_eq!((error.code(), error.kind()), (code, kind), "{error}");
    }
}

#[tokio::test]
async fn a_way_to_log_in_that_is_not_known_is_named() {
    let switch = [&[0xfe], &b"authentication_ldap_sasl\0data\0"[..]].concat();
    let error = refusal(TlsMode::Disabled, greeting("8.0.31", "caching_sha2_password", 0), vec![switch]).await;
    assert!(
        error.code() == "SOURCE_AUTHENTICATION" && error.to_string().contains("authentication_ldap_sasl"),
        "{error}"
    );
    let old = refusal(TlsMode::Disabled, greeting("8.0.31", "caching_sha2_password", 0), vec![vec![0xfe]]).await;
    assert!(old.to_string().contains("mysql_old_password"), "{old}");
}

#[tokio::test]
async fn a_public_key_that_is_none_is_an_error() {
    let pem = |body: &str| format!("\x01-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n").into_bytes();
    let keys = [
        pem(""),
        pem("!!!!"),
        pem("AAAA"),
        pem("MAA="),
        pem("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"),
        b"\x01nonsense".to_vec(),
        vec![9],
        vec![1],
    ];
    for key in keys {
        let answers = vec![vec![1, 4], key.clone()];
        let error = refusal(TlsMode::Disabled, greeting("8.0.31", "caching_sha2_password", 0), answers).await;
        assert_eq!(error.code(), "SOURCE_AUTHENTICATION", "{key:?}: {error}");
    }
}

#[tokio::test]
async fn bytes_slipped_in_before_tls_are_refused() {
    let port = played(|mut server| async move {
        let first = greeting("8.0.31", "mysql_native_password", TLS_FLAG);
        let [a, b, c, _] = (first.len() as u32).to_le_bytes();
        let both = [&[a, b, c, 0], &*first, &[1, 0, 0, 1, 0]].concat();
        server.0.write_all(&both).await.unwrap();
        server.receive().await;
    })
    .await;
    let error = Connection::connect(&settings(port, TlsMode::Preferred)).await.err().unwrap();
    assert_eq!(error.code(), "SOURCE_PROTOCOL", "{error}");
}

#[tokio::test]
async fn hostile_greetings_are_errors_and_nothing_worse() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut first = greeting("8.0.31", "caching_sha2_password", 0);
        for _ in 0..1 + random.below(5) {
            let at = random.below(first.len());
            first[at] = random.next() as u8;
        }
        first.truncate(random.below(first.len() + 1));
        let answer = (0..random.below(20)).map(|_| random.next() as u8).collect::<Vec<_>>();
        let port = played(|mut server| async move {
            server.send(0, &first).await;
            server.receive().await;
            server.send(2, &answer).await;
        })
        .await;
        if let Err(error) = Connection::connect(&settings(port, TlsMode::Disabled)).await {
            assert!(!error.code().is_empty(), "seed {seed}");
        }
    }
}

async fn stream(port: u16) -> mysync_binlog::connection::EventStream {
    let from = FilePosition { file: "binlog.000001".into(), offset: 4 };
    Connection::connect(&settings(port, TlsMode::Disabled))
        .await
        .unwrap()
        .stream(StreamFrom::File(&from))
        .await
        .unwrap()
}

/// Sizes of the events that come before the error.
async fn read(stream: &mut mysync_binlog::connection::EventStream) -> (Vec<usize>, SourceError) {
    let mut sizes = Vec::new();
    loop {
        match stream.next_event() {
            Ok(Some(event)) => sizes.push(event.header.size as usize),
            Ok(None) => {
                if let Err(error) = stream.fill().await {
                    return (sizes, error);
                }
            }
            Err(error) => return (sizes, error),
        }
    }
}

fn packets(events: &[Vec<u8>]) -> Vec<u8> {
    let (mut bytes, mut sequence) = (Vec::new(), 1u8);
    for event in events {
        let payload = [&[0], &**event].concat();
        let mut parts: Vec<_> = payload.chunks(0xff_ffff).collect();
        if payload.len() % 0xff_ffff == 0 {
            parts.push(&[]);
        }
        for part in parts {
            let [a, b, c, _] = (part.len() as u32).to_le_bytes();
            bytes.extend_from_slice(&[a, b, c, sequence]);
            bytes.extend_from_slice(part);
            sequence = sequence.wrapping_add(1);
        }
    }
    bytes
}

#[tokio::test]
async fn events_survive_however_their_bytes_are_cut() {
    // Lengths around the border of 16 MiB, with the byte before the event, its header and its checksum.
    let border = 0xff_ffff - 1 - 19 - 4;
    let lengths = [10, border - 1, 5, border, 70_000, border + 1, 33_554_432, 3];
    let events: Vec<_> = lengths.iter().map(|length| event(30, &vec![7; *length], 100)).collect();
    let expected: Vec<_> = events.iter().map(Vec::len).collect();
    let bytes = packets(&events);
    for seed in 0..4 {
        let bytes = bytes.clone();
        let port = played(move |mut server| async move {
            server.up_to_dump().await;
            let mut random = Random::new(seed);
            let mut rest = &*bytes;
            while !rest.is_empty() {
                let longest = [5, 3000, 2_000_000][random.below(3)];
                let (part, later) = rest.split_at(rest.len().min(1 + random.below(longest)));
                server.0.write_all(part).await.unwrap();
                rest = later;
            }
        })
        .await;
        let (sizes, error) = read(&mut stream(port).await).await;
        assert_eq!((sizes, error.code()), (expected.clone(), "SOURCE_CONNECTION_LOST"), "seed {seed}");
        assert_eq!(error.kind(), Kind::Transient);
    }
}

#[tokio::test]
async fn what_a_stream_can_end_with_has_a_name() {
    let ends: Vec<(Vec<u8>, &str, Kind)> = vec![
        (
            [&[0xff, 0xd4, 0x04], &b"#HY000Could not find first log file name in binary log index file"[..]].concat(),
            "SOURCE_PURGED",
            Kind::Definite,
        ),
        (
            [
                &[0xff, 0xd4, 0x04],
                &b"#HY000A replica with the same server_uuid/server_id as this replica has connected"[..],
            ]
            .concat(),
            "SOURCE_DUPLICATE",
            Kind::Definite,
        ),
        (
            [&[0xff, 0xd4, 0x04], &b"#HY000log event entry exceeded max_allowed_packet"[..]].concat(),
            "SOURCE_CANNOT_READ_BINLOG",
            Kind::Definite,
        ),
        ([&[0xff, 0x1d, 0x04], &b"#08S01Server shutdown in progress"[..]].concat(), "SOURCE_UNREADY", Kind::Transient),
        (vec![0xff], "SOURCE_PROTOCOL", Kind::Definite),
        (vec![0xfe, 0, 0, 2, 0], "SOURCE_CONNECTION_LOST", Kind::Transient),
        (vec![], "SOURCE_PROTOCOL", Kind::Definite),
        (vec![0], "BINLOG_MALFORMED", Kind::Definite),
        (vec![7, 7], "SOURCE_PROTOCOL", Kind::Definite),
    ];
    for (end, code, kind) in ends {
        let sent = end.clone();
        let port = played(move |mut server| async move {
            server.up_to_dump().await;
            server.send(1, &sent).await;
        })
        .await;
        let (_, error) = read(&mut stream(port).await).await;
        assert_eq!((error.code(), error.kind()), (code, kind), "{end:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_after_three_heartbeats() {
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let port = played(|mut server| async move {
        server.up_to_dump().await;
        let _ = wait.await;
    })
    .await;
    let (_, error) = read(&mut stream(port).await).await;
    assert_eq!((error.code(), error.kind()), ("SOURCE_SILENT", Kind::Transient), "{error}");
    drop(done);
}

#[tokio::test]
async fn a_packet_out_of_sequence_and_one_too_large_are_errors() {
    let port = played(|mut server| async move {
        server.up_to_dump().await;
        server.send(2, &[0]).await;
    })
    .await;
    assert_eq!(read(&mut stream(port).await).await.1.code(), "SOURCE_PROTOCOL");
    let port = played(|mut server| async move {
        server.up_to_dump().await;
        let whole = packets(&[event(30, &vec![7; 60 << 20], 100)]);
        let _ = server.0.write_all(&whole).await;
    })
    .await;
    assert_eq!(read(&mut stream(port).await).await.1.code(), "BINLOG_EVENT_TOO_LARGE");
}
