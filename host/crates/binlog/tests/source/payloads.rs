//! Compressed transactions, whole, cut and hostile.

use mysync_binlog::event::{Checksum, EventError, Framing};
use mysync_binlog::payload::PayloadReader;

use crate::bytes::{Random, event, plain_event, runs};

const PAYLOAD: u8 = 40;
const LIMIT: usize = 64 << 20;

fn field(kind: u8, value: u64) -> Vec<u8> {
    [&[kind, 9, 0xfe], &value.to_le_bytes()[..]].concat()
}

fn payload_of(compression: u64, plain_bytes: u64, bytes: &[u8]) -> Vec<u8> {
    [field(2, compression), field(3, plain_bytes), field(1, bytes.len() as u64), vec![0], bytes.to_vec()].concat()
}

fn payload(events: &[Vec<u8>]) -> Vec<u8> {
    let plain = events.concat();
    payload_of(0, plain.len() as u64, &zstd::encode_all(&*plain, 3).unwrap())
}

/// Bytes of every event that comes out.
fn read(reader: &mut PayloadReader, body: &[u8]) -> Result<Vec<usize>, EventError> {
    let bytes = event(PAYLOAD, body, 500);
    reader.open(&Framing::new(Checksum::Crc32).event(&bytes)?)?;
    let mut sizes = Vec::new();
    while let Some(event) = reader.next_event()? {
        sizes.push(event.header.size as usize);
    }
    Ok(sizes)
}

#[test]
fn every_event_of_a_compressed_transaction_comes_out() {
    runs(40, |random: &mut Random| {
        let mut reader = PayloadReader::new(LIMIT).unwrap();
        for _ in 0..3 {
            let events: Vec<_> = (0..random.below(60))
                .map(|_| {
                    let length = [10, 300, 20_000, 400_000][random.below(4)];
                    let body: Vec<u8> = (0..random.below(length)).map(|i| (i * i / 128) as u8).collect();
                    plain_event(30, &body, 0)
                })
                .collect();
            let sizes: Vec<_> = events.iter().map(Vec::len).collect();
            assert_eq!(read(&mut reader, &payload(&events)).as_ref(), Ok(&sizes));
            let plain = events.concat();
            assert_eq!(read(&mut reader, &payload_of(255, plain.len() as u64, &plain)), Ok(sizes));
        }
    });
}

#[test]
fn a_payload_that_ends_early_is_never_a_shorter_transaction() {
    let events = vec![plain_event(30, &[7; 3000], 0), plain_event(16, &[1; 8], 0)];
    let plain = events.concat();
    let compressed = zstd::encode_all(&*plain, 3).unwrap();
    let mut reader = PayloadReader::new(LIMIT).unwrap();
    for length in 0..compressed.len() {
        let error = read(&mut reader, &payload_of(0, plain.len() as u64, &compressed[..length])).unwrap_err();
        assert_eq!(error.code(), "BINLOG_DECOMPRESS", "{length}: {error}");
    }
    for length in [plain.len() - 1, 3019, 12] {
        let error = read(&mut reader, &payload_of(255, plain.len() as u64, &plain[..length])).unwrap_err();
        assert_eq!(error.code(), "BINLOG_DECOMPRESS", "{length}: {error}");
    }
    assert_eq!(read(&mut reader, &payload(&events)).unwrap().len(), 2, "the reader goes on with the next one");
}

#[test]
fn a_claimed_length_is_not_memory() {
    let mut reader = PayloadReader::new(LIMIT).unwrap();
    let one = plain_event(16, &[1; 8], 0);
    let error = read(&mut reader, &payload_of(0, 1 << 60, &zstd::encode_all(&*one, 3).unwrap())).unwrap_err();
    assert!(matches!(error, EventError::Decompress { .. }), "{error}");
    let mut huge = plain_event(30, &[0; 8], 0);
    huge[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = read(&mut reader, &payload(&[huge])).unwrap_err();
    assert_eq!(error.code(), "BINLOG_EVENT_TOO_LARGE");
    let bomb = plain_event(30, &vec![0; LIMIT + 1], 0);
    assert_eq!(read(&mut reader, &payload(&[bomb])).unwrap_err().code(), "BINLOG_EVENT_TOO_LARGE");
    // A frame that asks for a window of 1 GiB.
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(30).unwrap();
    std::io::Write::write_all(&mut wide, &one).unwrap();
    let error = read(&mut reader, &payload_of(0, one.len() as u64, &wide.finish().unwrap())).unwrap_err();
    assert_eq!(error.code(), "BINLOG_DECOMPRESS");
}

#[test]
fn hostile_payloads_are_errors_and_nothing_worse() {
    runs(1_000, |random: &mut Random| {
        let mut reader = PayloadReader::new(1 << 20).unwrap();
        let mut body = payload(&[plain_event(30, &[7; 3000], 0), plain_event(16, &[1; 8], 0)]);
        for _ in 0..1 + random.below(4) {
            let at = random.below(body.len());
            body[at] = random.next() as u8;
        }
        body.truncate(random.below(body.len()) + 1);
        let _ = read(&mut reader, &body);
    });
}
