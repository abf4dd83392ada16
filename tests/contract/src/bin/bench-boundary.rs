//! `boundary`: a row's way through the real redis-writer, from a typed batch to the bytes that Redis is sent, its keys checked against the grant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;

use mysync_connectors::redis::resp::{Outgoing, Rendered};
use mysync_contract_tests::{measure, writers};

const MAPPING: &str = r#"
[[map]]
table = "shop.users"
as = "hash"
key = "user:{id}"
"#;
/// What a connection renders at once.
const CHUNK: usize = 128 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut out = Outgoing::default();
    let settings = mysync_wasm::PluginSettings { grant: writers::grant(), ..writers::redis_writer(MAPPING) };
    measure::bench("boundary", settings, |commands| {
        let mut rendered = Rendered::default();
        while rendered.commands < commands.len() {
            rendered.more(commands, &mut out, CHUNK).expect("commands that fit each other");
            black_box(out.bytes());
            out.clear(CHUNK * 2);
        }
    })
    .await;
}
