//! Tables that change, come, go, and have columns that are not like others: each row is what its table was like when it was written.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

mod alters;
mod columns;
mod goods;
mod mends;
mod secrets;
mod tables;

use anyhow::Result;
use mysync_e2e_tests::{Options, World};
use mysync_test_support::{homes, skip};

/// A world on each MySQL there is, one after the other.
async fn on_each(test: &str, options: Options, run: impl AsyncFn(World) -> Result<()>) -> Result<()> {
    let homes = homes()?;
    if homes.is_empty() {
        skip(test, "there is no MySQL");
    }
    for home in homes {
        println!("{}", home.name());
        let Some(world) = World::on(test, &home, options.clone()).await? else { return Ok(()) };
        run(world).await?;
    }
    Ok(())
}
