//! Messages of writers in the host's log lines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use mysync_contract_tests::batches;
use mysync_contract_tests::writers::{load, settings, shown};
use mysync_pipeline::ports::Writer;
use tracing_subscriber::fmt::MakeWriter;

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

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_chattering_writer_does_its_work_and_does_not_drown_the_log_lines() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let settings = settings("chatters", "");
    let limits = settings.limits.clone();
    let mut instance = load(settings).await.start().await.unwrap();
    instance.define(0, &batches::users()).await.unwrap();
    let mapped = instance.write(batches::inserts(&batches::whole(), 0, 1)).await.unwrap();
    drop((instance, guard));

    assert_eq!(shown(&mapped.commands), ["0 SET user:1 said"]);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let said: Vec<&str> = text.lines().filter(|line| line.contains("writer says")).collect();
    // A slow machine may get through more than one second.
    assert!(!said.is_empty() && said.len() <= 5 * limits.messages as usize, "{} lines", said.len());
    assert!(said.iter().all(|line| line.contains("chatters") && line.len() < limits.message_bytes + 200));
    assert!(!text.contains(['\u{1b}', '\r']), "control characters of a guest in the log lines");
    assert!(text.contains("messages of a writer were dropped"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("writer stopped")), "a guest forged a line");
}
