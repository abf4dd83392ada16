//! The workloads of the benches are what a server sends.

use mysync_binlog::event::{Checksum, Cursor, EventKind, Framing};
use mysync_change::position::FilePosition;

use crate::server::{Server, servers};
use crate::workload::{W1_ROWS, Workload};

const DATABASE: &str = "bench";

/// Types of the events of whole transactions, and the bodies of those about rows without the table's number.
type Sent = Vec<(EventKind, Vec<u8>)>;

fn kept(kind: EventKind, body: &[u8]) -> Option<(EventKind, Vec<u8>)> {
    use EventKind as K;
    match kind {
        K::TableMap => Some((kind, body[6..].to_vec())),
        K::WriteRows | K::UpdateRows => {
            let mut body = body[6..].to_vec();
            // Only whether the statement ends: later servers have flags of their own.
            body[0] &= 1;
            Some((kind, body))
        }
        K::Gtid | K::Xid => Some((kind, Vec::new())),
        K::Query if body.ends_with(b"BEGIN") => Some((kind, Vec::new())),
        _ => None,
    }
}

async fn sent(server: &Server) -> Sent {
    let (mut stream, until) = server.stream().await;
    let mut cursor = Cursor::new(FilePosition { file: "".into(), offset: 4 });
    let mut sent = Vec::new();
    while cursor.position() < until {
        match stream.next_event().unwrap() {
            Some(event) => {
                cursor.follow(&event).unwrap();
                sent.extend(kept(event.header.kind, event.body));
            }
            None => stream.fill().await.unwrap(),
        }
    }
    // Statements that make tables have a GTID and nothing else of these.
    let begins = |at: usize| sent.get(at + 1).is_some_and(|(kind, _)| *kind == EventKind::Query);
    (0..sent.len()).filter(|at| sent[*at].0 != EventKind::Gtid || begins(*at)).map(|at| sent[at].clone()).collect()
}

fn made(workloads: &[Workload]) -> Sent {
    let mut framing = Framing::new(Checksum::Crc32);
    let events = workloads.iter().flat_map(Workload::events);
    events.map(|bytes| framing.event(bytes).unwrap()).filter_map(|event| kept(event.header.kind, event.body)).collect()
}

/// A row as `transactions.binlog` has its `nth`.
fn row(id: usize, nth: usize) -> String {
    let digits = |groups: usize, factor: usize| {
        let groups: Vec<String> = (1..=groups).map(|i| format!("{:011}", nth * factor * i)).collect();
        groups.join("-")
    };
    format!("({id},{},'{}','{}')", nth * 31, digits(10, 7919), digits(5, 104_729))
}

#[tokio::test]
async fn the_benches_decode_what_a_server_sends() {
    let (_guard, servers) = servers("workloads", DATABASE).await;
    for mut server in servers {
        server.run("create table workload (id int primary key, k int, c char(120), pad char(60))").await;
        // Events that are full repeat the first 43 rows; the last one has those behind.
        let full = W1_ROWS / 43 * 43;
        let nth = |at: usize| if at < full { 1 + at % 43 } else { 44 + at - full };
        let rows: Vec<String> = (0..W1_ROWS).map(|at| row(W1_ROWS + at, nth(at))).collect();
        server.run(&format!("insert into workload values {}", rows.join(","))).await;
        server.run(&format!("insert into workload values {}", row(1, 1))).await;
        server.run("update workload set k = k + 1 where id = 1").await;
        let mut sent = sent(&server).await;
        // The row to be updated came by a transaction of its own: five events before the last five.
        let last = sent.len() - 5;
        sent.drain(last - 5..last);
        let made = made(&[Workload::w1(1, 1), Workload::w2(1, 1)]);
        assert_eq!(
            sent.iter().map(|(kind, _)| kind).collect::<Vec<_>>(),
            made.iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        );
        for ((kind, sent), (_, made)) in sent.iter().zip(&made) {
            let at = sent.iter().zip(made).position(|(sent, made)| sent != made);
            assert!(sent == made, "{kind} of {} and {} bytes: byte {at:?} is another", sent.len(), made.len());
        }
        server.drop(DATABASE).await;
    }
}
