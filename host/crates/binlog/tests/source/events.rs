//! Events as bytes: what is taken, and that nothing a server could send is more than an error.

use mysync_binlog::event::{
    Checksum, Cursor, Event, EventError, EventKind, Framing, Gtid, Heartbeat, Query, Rotate, decode_gtid_set,
    encode_gtid_set,
};
use mysync_change::position::{FilePosition, GtidSet};

use crate::bytes::{Random, event, plain_event, runs};

const QUERY: u8 = 2;
const ROTATE: u8 = 4;
const FORMAT: u8 = 15;
const GTID: u8 = 33;
const PREVIOUS: u8 = 35;
const HEARTBEAT: u8 = 27;
const HEARTBEAT_V2: u8 = 41;
const TAGGED: u8 = 42;

/// As MySQL 8.0.31 wrote it.
fn gtid_body() -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&[0xa2; 16]);
    body.extend_from_slice(&7u64.to_le_bytes());
    body.push(2);
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&1_795_511_945_255_752u64.to_le_bytes()[..7]);
    body.extend_from_slice(&[0xfc, 0x22, 0x01]);
    body.extend_from_slice(&80031u32.to_le_bytes());
    body
}

/// Version 2, size, last needed field, then fields 0 to 3 and 6.
fn tagged_body() -> Vec<u8> {
    let mut fields = vec![0, 0, 1 << 1];
    fields.extend(std::iter::repeat_n(0x62 << 1, 16));
    fields.extend_from_slice(&[2 << 1, (5 << 1) << 1, 3 << 1, 4 << 1]);
    fields.extend_from_slice(b"blue");
    fields.extend_from_slice(&[6 << 1, 9 << 1]);
    let mut body = vec![2, (3 + fields.len() as u8) << 1, 3 << 1];
    body.extend_from_slice(&fields);
    body
}

fn query_body(database: &[u8], statement: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.push(database.len() as u8);
    body.extend_from_slice(&[0, 0, 3, 0, 1, 2, 3]);
    body.extend_from_slice(database);
    body.push(0);
    body.extend_from_slice(statement);
    body
}

fn format_body(checksum: u8) -> Vec<u8> {
    let mut body = 4u16.to_le_bytes().to_vec();
    body.extend_from_slice(b"8.0.31");
    body.resize(2 + 50, 0);
    body.extend_from_slice(&[0, 0, 0, 0, 19]);
    let mut lengths = [0; 41];
    for (kind, bytes) in [(19, 8), (30, 10), (31, 10), (32, 10)] {
        lengths[kind - 1] = bytes;
    }
    body.extend_from_slice(&lengths);
    body.push(checksum);
    body
}

fn with_u64(number: u64, rest: &[u8]) -> Vec<u8> {
    [&number.to_le_bytes(), rest].concat()
}

fn specimens() -> Vec<Vec<u8>> {
    vec![
        event(QUERY, &query_body(b"shop", b"BEGIN"), 100),
        event(ROTATE, &with_u64(4, b"binlog.000002"), 0),
        event(FORMAT, &format_body(1), 126),
        event(GTID, &gtid_body(), 200),
        event(TAGGED, &tagged_body(), 300),
        event(
            PREVIOUS,
            &encode_gtid_set(&set(
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,3e11fa47-71ca-11e1-9e33-c80aa9429562:x:2",
            )),
            157,
        ),
        event(HEARTBEAT, b"binlog.000002", 400),
        event(
            HEARTBEAT_V2,
            &[1, 13, 98, 105, 110, 108, 111, 103, 46, 48, 48, 48, 48, 48, 50, 2, 3, 0xfc, 1, 2, 0],
            400,
        ),
        event(16, &with_u64(14, b""), 500),
    ]
}

fn set(text: &str) -> GtidSet {
    text.parse().unwrap()
}

fn framing() -> Framing {
    Framing::new(Checksum::Crc32)
}

/// Runs every parser over an event.
fn read(event: &Event<'_>) -> bool {
    let _ = event.xid();
    let mut cursor = Cursor::new(FilePosition { file: "binlog.000001".into(), offset: 4 });
    let followed = cursor.follow(event).is_ok();
    let parsed = match event.header.kind {
        EventKind::Rotate => Rotate::parse(event).is_ok(),
        EventKind::Heartbeat | EventKind::HeartbeatV2 => Heartbeat::parse(event).is_ok(),
        EventKind::Query => Query::parse(event).is_ok(),
        EventKind::Gtid | EventKind::GtidTagged | EventKind::AnonymousGtid => Gtid::parse(event).is_ok(),
        EventKind::PreviousGtids => decode_gtid_set(event).is_ok(),
        _ => true,
    };
    followed && parsed
}

#[test]
fn events_are_read_as_the_server_wrote_them() {
    let mut framing = framing();
    for bytes in specimens() {
        let event = framing.event(&bytes).unwrap();
        assert!(event.header.kind == EventKind::FormatDescription || read(&event), "{}", event.header.kind);
    }
    let bytes = event(GTID, &gtid_body(), 200);
    let gtid = Gtid::parse(&framing.event(&bytes).unwrap()).unwrap();
    assert_eq!((gtid.uuid, gtid.number, gtid.tag), ([0xa2; 16], 7, ""));
    assert_eq!((gtid.committed_us, gtid.originally_committed_us), (1_795_511_945_255_752, 1_795_511_945_255_752));
    assert_eq!(gtid.transaction_bytes, 0x0122);
    let bytes = event(TAGGED, &tagged_body(), 200);
    let gtid = Gtid::parse(&framing.event(&bytes).unwrap()).unwrap();
    assert_eq!((gtid.uuid, gtid.number, gtid.tag, gtid.committed_us), ([0x62; 16], 5, "blue", 9));
    let bytes = event(QUERY, &query_body(b"shop", b"BEGIN"), 200);
    let query = Query::parse(&framing.event(&bytes).unwrap()).unwrap();
    assert!(query.is_begin() && query.database == b"shop");
}

#[test]
fn a_flipped_bit_is_always_told() {
    for bytes in specimens() {
        // The lowest bit of the byte before a format description's checksum says that there are no checksums at all.
        let off = (bytes[4] == FORMAT).then_some((bytes.len() - 5) * 8);
        for bit in (0..bytes.len() * 8).filter(|bit| Some(*bit) != off) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(framing().event(&damaged).is_err(), "bit {bit} of {bytes:02x?}");
        }
        for length in 0..bytes.len() {
            assert!(framing().event(&bytes[..length]).is_err(), "{length} bytes of {bytes:02x?}");
        }
    }
}

#[test]
fn hostile_bodies_with_a_right_checksum_are_errors_and_nothing_worse() {
    runs(5_000, |random: &mut Random| {
        let specimens = specimens();
        let whole = &specimens[random.below(specimens.len())];
        let mut body = whole[19..whole.len() - 4].to_vec();
        body.truncate(random.below(body.len() + 1));
        for _ in 0..random.below(4) {
            let byte = random.next() as u8;
            match random.below(3) {
                0 if !body.is_empty() => {
                    let at = random.below(body.len());
                    body[at] = byte;
                }
                1 => body.push(byte),
                _ => body.splice(0..0, [0xff; 9]).for_each(drop),
            }
        }
        let kind = if random.below(2) == 0 { whole[4] } else { random.next() as u8 };
        let bytes = event(kind, &body, random.next() as u32);
        if let Ok(event) = framing().event(&bytes) {
            read(&event);
        }
    });
}

#[test]
fn an_event_that_may_carry_rows_and_is_not_known_stops_by_name() {
    let refused = |kind, name: &str| {
        let bytes = event(kind, b"body", 77);
        let error = framing().event(&bytes).unwrap_err();
        assert_eq!(error.code(), "BINLOG_UNSUPPORTED");
        assert!(error.to_string().contains(name) && error.to_string().contains("77"), "{error}");
    };
    refused(99, "type 99");
    refused(39, "PARTIAL_UPDATE_ROWS_EVENT");
    refused(20, "PRE_GA_WRITE_ROWS_EVENT");
    refused(162, "MariaDB's GTID_EVENT");
    refused(169, "MariaDB's WRITE_ROWS_COMPRESSED_EVENT");
    let mut ignorable = plain_event(99, b"body", 77);
    ignorable[17] = 0x80;
    assert_eq!(Framing::new(Checksum::None).event(&ignorable).unwrap().header.kind, EventKind::Unknown);
    let incident = event(26, b"\x01\x00\x04LOST", 77);
    assert!(matches!(framing().event(&incident), Err(EventError::Incident { message }) if message == "LOST"));
}

#[test]
fn a_file_without_checksums_says_so_in_its_first_event() {
    let mut framing = framing();
    let mut bytes = event(FORMAT, &format_body(0), 126);
    // A server that rewrote the event for us left the old checksum behind it.
    *bytes.last_mut().unwrap() ^= 0xff;
    framing.event(&bytes).unwrap();
    let bare = plain_event(16, &with_u64(14, b""), 500);
    assert_eq!(framing.event(&bare).unwrap().xid(), Ok(14));
    framing.event(&event(FORMAT, &format_body(1), 126)).unwrap();
    assert!(framing.event(&bare).is_err());
    for (at, byte) in [(0, 3), (56, 20), (57 + 18, 6), (57 + 29, 8), (57 + 41, 2)] {
        let mut body = format_body(1);
        body[at] = byte;
        assert_eq!(framing.event(&event(FORMAT, &body, 126)).unwrap_err().code(), "BINLOG_UNSUPPORTED", "byte {at}");
    }
}

#[test]
fn semi_synchronous_replication_is_named_when_it_is_on_by_mistake() {
    let bytes = [&[0xef, 0x00], &*event(16, &with_u64(14, b""), 500)].concat();
    assert_eq!(framing().event(&bytes), Err(EventError::SemiSync));
}

#[test]
fn offsets_go_on_beyond_four_gibibytes() {
    let mut cursor = Cursor::new(FilePosition { file: "binlog.000009".into(), offset: u64::from(u32::MAX) - 10 });
    let bytes = plain_event(16, &with_u64(1, b""), 16);
    let begin = cursor.follow(&Framing::new(Checksum::None).event(&bytes).unwrap()).unwrap();
    assert_eq!((begin, cursor.offset()), ((1 << 32) + 16 - bytes.len() as u64, (1 << 32) + 16));
    let rotate = plain_event(ROTATE, &with_u64(4, b"binlog.000010"), 0);
    cursor.follow(&Framing::new(Checksum::None).event(&rotate).unwrap()).unwrap();
    assert_eq!(cursor.position().to_string(), "binlog.000010:4");
}

#[test]
fn gtid_sets_survive_the_way_to_the_server_and_back() {
    runs(500, |random: &mut Random| {
        let mut text = Vec::new();
        for source in 0..random.below(4) {
            let tag = if random.below(2) == 0 { String::new() } else { format!(":tag_{}", random.below(9)) };
            let mut at = 1;
            let mut part = format!("3e11fa47-71ca-11e1-9e33-c80aa942956{source}{tag}");
            for _ in 0..1 + random.below(4) {
                let end = at + random.below(1000);
                part += &format!(":{at}-{end}");
                at = end + 2 + random.below(5);
            }
            text.push(part);
        }
        let set = set(&text.join(","));
        let bytes = event(PREVIOUS, &encode_gtid_set(&set), 157);
        assert_eq!(decode_gtid_set(&framing().event(&bytes).unwrap()).unwrap(), set);
    });
}
