//! Windows between a stream and a SELECT: nothing that the position of the stream claims may be missing in what the SELECT finds.
//!
//! Each server has writers of its own; every change raises the version of its row. Afterwards the binlog says what each row was like at a
//! position. `MYSYNC_WINDOWS` says how many windows to look through, over all servers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod dumps;
mod follower;
mod hard;
mod held;
mod history;
mod load;
mod picture;
mod product;
mod records;
mod servers;
mod watermarks;

/// How many windows to look through.
fn windows(usually: usize) -> usize {
    let windows = std::env::var("MYSYNC_WINDOWS").ok().and_then(|windows| windows.parse().ok()).unwrap_or(usually);
    println!("{windows} windows: another number with MYSYNC_WINDOWS");
    windows
}
