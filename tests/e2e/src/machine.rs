//! One of several machines that run the program on the same world: a folder of its own, and an address where it can be asked.

use std::path::Path;

use anyhow::Result;
use mysync_test_support::Mysync;
use tempfile::TempDir;

use crate::World;

pub struct Machine {
    dir: TempDir,
}

impl Machine {
    /// With the world's configuration as it is now.
    pub fn new(world: &World) -> Result<Self> {
        Ok(Self { dir: world.copy()? })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the program here: `run`, or one half of it.
    pub fn spawn(&self, world: &World, half: &str) -> Result<Mysync> {
        world.spawn_half(self.dir(), half)
    }

    /// The same, and waits until it is ready.
    pub async fn start(&self, world: &World, half: &str) -> Result<Mysync> {
        let mut mysync = self.spawn(world, half)?;
        mysync.wait_ready().await?;
        Ok(mysync)
    }
}
