//! A broker whose disk is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{capture, wait_rows};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{World, clusters};
use mysync_test_support::{Kafka, KafkaPlan, Random, skip, until};

use crate::crew::{Worker, options, wait_through, well};

/// Of the whole disk: all that the topics of a test need.
const SIZE: &str = "size=256m";
/// What is left when it is nearly full.
const LEFT: u64 = 1 << 20;

/// A disk in memory, which only root can make.
struct Disk(PathBuf);

impl Disk {
    fn make(at: &Path) -> Result<Self> {
        run("mount", &["-t", "tmpfs", "-o", SIZE, "tmpfs", &at.display().to_string()])?;
        Ok(Self(at.to_owned()))
    }

    /// Fills it but for a little.
    fn fill(&self) -> Result<()> {
        let said = run("df", &["--output=avail", "-B1", &self.0.display().to_string()])?;
        let free: u64 = said.lines().last().context("df says nothing")?.trim().parse()?;
        let ballast = self.ballast().display().to_string();
        run("fallocate", &["-l", &free.saturating_sub(LEFT).to_string(), &ballast]).map(drop)
    }

    fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast.txt")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", &self.0.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().context(program.to_owned())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the only node of a cluster keeps everything: by its settings, in the folder that its process runs in.
fn folder(kafka: &Kafka) -> Result<PathBuf> {
    let listens = format!("listeners=CLIENTS://{}", kafka.brokers());
    for process in std::fs::read_dir("/proc")?.flatten() {
        let here = process.path().join("cwd");
        if std::fs::read_to_string(here.join("server.properties")).is_ok_and(|settings| settings.contains(&listens)) {
            return Ok(std::fs::read_link(here)?.join("data"));
        }
    }
    anyhow::bail!("no process runs in a folder of this cluster")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_broker_only_delays() -> Result<()> {
    let test = "a_full_disk_of_the_broker_only_delays";
    let Some(mut kafka) = clusters::own(test, KafkaPlan::new(1))? else { return Ok(()) };
    let data = folder(&kafka)?;
    kafka.kill(1)?;
    let aside = data.with_extension("aside");
    std::fs::rename(&data, &aside)?;
    std::fs::create_dir(&data)?;
    let disk = match Disk::make(&data) {
        Ok(disk) => disk,
        Err(error) => {
            skip(test, &format!("no disk can be made: {error:#}"));
            return Ok(());
        }
    };
    run("cp", &["-a", &format!("{}/.", aside.display()), &data.display().to_string()])?;
    kafka.restart(1)?;

    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    disk.fill()?;
    let told = until("capture says that it cannot go on", async || {
        let told = capture(worker.process()?)?;
        ensure!(told["state"] == "retrying", "{told}");
        Ok(told)
    })
    .await?;
    println!("it says {} {}", told["code"], told["message"]);
    disk.empty()?;
    kafka.restart(1)?;
    wait_through(&world).await?;
    wait_rows(|| capture(worker.process()?), 50).await?;
    load.stop().await?;
    println!("{}", well(&world, &kafka).await?);
    witness.stop()?;
    worker.end().await?;
    kafka.kill(1)
}
