//! What is told of tables that the writer knows nothing of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use mysync_change::block::BlockBuilder;
use mysync_change::envelope::TableEvent;
use mysync_change::fence::Place;
use mysync_change::pattern::Pattern;
use mysync_change::position::{Checkpoint, FilePosition, SourcePosition, TransactionId};
use mysync_change::schema::Fingerprint;
use mysync_pipeline::feed::Feed;
use mysync_pipeline::ports::{LogWriter, Plugin};
use mysync_sim_tests::log::SimLog;
use mysync_sim_tests::random::Random;
use mysync_sim_tests::scenario::simulated;
use mysync_sim_tests::source;
use mysync_sim_tests::writer::SimPlugin;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log lines of a writer of `shop.*` and `sim.*` that comes to such an event; its log knows the shape of the source's one table.
fn lines_of(what: &str, database: &str, table: &str) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    simulated(async {
        let random = Random::new(1, 0);
        let mut log = SimLog::new(1, random.clone(), None);
        let lead = log.lead().await.unwrap();
        let mut block = BlockBuilder::new(lead.log_id, lead.next_seq, &lead.prevs);
        block.shape(source::shape().fingerprint(), source::shape());
        block.begin(TransactionId { gtid: None, file: "sim.000001".into(), offset: 7 }, 1);
        let event =
            TableEvent { database: database.into(), table: table.into(), what: what.into(), statement: String::new() };
        block.table_event(Fingerprint([0; 16]), 0, &event).unwrap();
        block.end();
        block.seal();
        let file = FilePosition { file: "sim.000001".into(), offset: 8 };
        let position = SourcePosition { gtids: None, file };
        log.append(&block, &Checkpoint::new(position, "sim".into())).await.unwrap();

        let tables = [Pattern::new("shop.*"), Pattern::new("sim.*")];
        let instance = SimPlugin::new(random, None).start().await.unwrap();
        let mut reader = log.reader(0);
        let mut feed = Feed::new("w", &tables, &mut reader, instance, &Place::default());
        feed.show_latest_shapes().await.unwrap();
        feed.ready(None).await.unwrap().expect("a batch of one event");
    });
    let text = lines.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_table_whose_rows_are_older_than_the_log_was_truncated() {
    let said = lines_of("truncate", "shop", "users");
    for part in ["WARN", "truncate of shop.users", "writer=\"w\"", "transaction=\"sim.000001:7\""] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn tables_that_the_writer_knows_or_does_not_want_are_not_worth_a_line() {
    assert_eq!(lines_of("truncate", "sim", &source::shape().name), "");
    assert_eq!(lines_of("drop", "sim", "*"), "");
    assert_eq!(lines_of("drop", "other", "users"), "");
}
