//! `boundary-identity`: what it costs to hand a batch to a writer that makes nothing of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mysync_contract_tests::{measure, writers};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    measure::bench("boundary-identity", writers::settings("identity", ""), |_| ()).await;
}
